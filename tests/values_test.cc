// Values and the table under them: lifetimes, copies on write, keys, names by storage, Python's
// notation.
#include <gtest/gtest.h>

#include <limits>

#include "state_dicts.h"
#include "types/flat_index.h"
#include "values/names.h"
#include "values/node_table.h"

namespace transload {
namespace {

StateDict checkpoint() {
  return dict_of({{"args", dict_of({{"name", "a text that is too long for a small string"}})},
                  {"weight", tensor_of(7)}});
}

TEST(Values, OutliveTheirStateDict) {
  const Value name = checkpoint()["args"].at("name");
  const Value weight = checkpoint()["weight"];
  EXPECT_EQ(name.text(), "a text that is too long for a small string");
  EXPECT_EQ(value_of(weight.tensor()), 7);
}

TEST(Values, OfTensorsOutliveTheirStateDict) {
  const std::vector<NamedTensor> tensors = checkpoint().tensors();
  ASSERT_EQ(tensors.size(), 1u);
  EXPECT_EQ(value_of(tensors[0].value.tensor()), 7);
  for (const NamedTensor& tensor : checkpoint().tensors())
    EXPECT_EQ(value_of(tensor.value.tensor()), 7);
}

TEST(Values, KeepShowingWhatWasThereBeforeAChange) {
  StateDict state = checkpoint();
  const Value root = state.root(), weight = state["weight"];
  state.set("weight", tensor_of(8));
  state.set("more", std::int64_t{1});
  EXPECT_EQ(value_of(weight.tensor()), 7);
  EXPECT_EQ(root.size(), 2u);
  EXPECT_EQ(value_of(state.tensor("weight")), 8);
  EXPECT_EQ(state.size(), 3u);
}

TEST(Values, SayWhichKindTheyAreInsteadOfTheOneThatIsAskedFor) {
  const std::string text = message([] { checkpoint()["args"].tensor(); });
  EXPECT_EQ(text.find("expected a tensor, found dict: {'name': "), 0u) << text;
}

TEST(StateDicts, AreCopiedOnlyWhileAValueOrACopyShares) {
  StateDict state;
  state.set("a", tensor_of(1));
  const NodeTable* const table = &state.nodes();
  for (int i = 0; i < 100; ++i) {
    state.set(std::to_string(i), tensor_of(1));
    EXPECT_EQ(state.tensors().size(),
              static_cast<std::size_t>(i) + 2);  // the values are gone by now
  }
  EXPECT_EQ(&state.nodes(), table);
  const StateDict copy = state;
  state.set("b", nullptr);
  EXPECT_NE(&state.nodes(), table);
  EXPECT_EQ(&copy.nodes(), table);
  EXPECT_FALSE(copy.contains("b"));
}

TEST(StateDicts, OverOtherStoragesKeepTheirOwn) {
  StateDict state;
  state.set("a", tensor_of(1));
  StateDict over = state.over({tensor_of(2).storage()});
  over.set("b", tensor_of(3));
  EXPECT_EQ(value_of(over.tensor("a")), 2);
  EXPECT_EQ(value_of(state.tensor("a")), 1);
  EXPECT_FALSE(state.contains("b"));
  EXPECT_THROW(state.over({}), Error);
}

TEST(StateDicts, CanBePutIntoThemselves) {
  StateDict state;
  state.set("a", tensor_of(1));
  state.set("self", std::cref(state));
  EXPECT_EQ(value_of(state.tensor("self/a")), 1);
  EXPECT_EQ(state.storages().size(), 1u);
}

TEST(StateDicts, FindKeysAmongManyAndSuggestNearOnes) {
  StateDict state;
  for (std::int64_t i = 0; i < 5000; ++i) state.set("layer." + std::to_string(i), i);
  for (std::int64_t i = 0; i < 5000; ++i)
    EXPECT_EQ(state["layer." + std::to_string(i)].integer(), i);
  state.set("layer.7", std::string("replaced"));
  EXPECT_EQ(state.size(), 5000u);
  EXPECT_EQ(state["layer.7"].text(), "replaced");
  StateDict small;
  small.set("net1.weight", nullptr);
  const std::string text = message([&] { small["net1.wieght"]; });
  EXPECT_EQ(text, "no key \"net1.wieght\"; did you mean \"net1.weight\"?");
}

TEST(StateDicts, FindIntKeysInSmallAndLargeDicts) {
  for (const std::int64_t count : {5, 500}) {
    StateDict state;
    for (std::int64_t i = 0; i < count; ++i) state.set(i - 2, i);
    state.set("1", std::string("a text"));
    for (std::int64_t i = 0; i < count; ++i) EXPECT_EQ(state.root().at(i - 2).integer(), i);
    EXPECT_FALSE(state.root().find(count));
    EXPECT_EQ(state["1"].text(), "a text");
  }
}

TEST(StateDicts, KeepTiesWhenPutIntoOneAnother) {
  const Tensor tied = tensor_of(3);
  StateDict inner, outer = StateDict::dict();
  inner.set("a", tied);
  inner.set("b", tied);
  outer.set("model", inner);
  outer.set("c", tied);
  EXPECT_EQ(outer.storages().size(), 1u);
  EXPECT_EQ(value_of(outer.tensor("model/b")), 3);
  EXPECT_EQ(inner.size(), 2u);
}

TEST(NamesByStorage, ListTiedTensorsInTheOrderOfTheFile) {
  const Tensor tied = tensor_of(1);
  StateDict inner, state;
  inner.set("head", tied);
  state.set("embed", tied);
  state.set("bias", tensor_of(2));
  state.set("model", inner);
  const auto names = names_by_storage(state);
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(names[state["embed"].storage_number()],
            (std::vector<std::string>{"embed", "model/head"}));
  EXPECT_EQ(names[state["bias"].storage_number()], std::vector<std::string>{"bias"});
}

TEST(NamesByStorage, AreEmptyForStoragesWithoutTensors) {
  StateDict state;
  state.set("a", tensor_of(1));
  state.set("a", nullptr);
  EXPECT_EQ(names_by_storage(state), std::vector<std::vector<std::string>>(1));
  EXPECT_EQ(first_user(state, 0), "");
}

TEST(NamesByStorage, TheFirstUserComesWithItsDtypeAndShape) {
  StateDict state;
  state.set("w", zeros({2, 3}, Dtype::float16));
  EXPECT_EQ(first_user(state, 0), "\"w\" (float16 [2, 3])");
}

TEST(Keys, AreEqualAsPythonComparesThem) {
  NodeTable nodes;
  const NodeId one = nodes.integer(1), yes = nodes.boolean(true), real = nodes.real(1.0);
  const NodeId text = nodes.text("1");
  EXPECT_TRUE(equal_keys(nodes, one, yes));
  EXPECT_TRUE(equal_keys(nodes, real, yes));
  EXPECT_EQ(hash_key(nodes, one), hash_key(nodes, real));
  EXPECT_EQ(hash_key(nodes, one), hash_key(std::int64_t{1}));
  EXPECT_FALSE(equal_keys(nodes, one, text));
  // 2^53 + 1 is not a float: Python compares exactly.
  EXPECT_FALSE(equal_keys(nodes, nodes.integer((std::int64_t{1} << 53) + 1),
                          nodes.real(9007199254740992.0)));
  const NodeId pair[] = {one, text}, same[] = {real, text}, other[] = {text, one};
  EXPECT_TRUE(equal_keys(nodes, nodes.sequence(ValueKind::tuple, pair),
                         nodes.sequence(ValueKind::size, same)));
  EXPECT_FALSE(equal_keys(nodes, nodes.sequence(ValueKind::tuple, pair),
                          nodes.sequence(ValueKind::tuple, other)));
}

TEST(Keys, MustBeHashable) {
  NodeTable nodes;
  const NodeId list = nodes.container(ValueKind::list), text = nodes.text("a");
  const NodeId with_list[] = {text, list}, texts[] = {text, nodes.text("b")};
  EXPECT_FALSE(can_be_key(nodes, list));
  EXPECT_FALSE(can_be_key(nodes, nodes.sequence(ValueKind::tuple, with_list)));
  EXPECT_TRUE(can_be_key(nodes, nodes.sequence(ValueKind::tuple, texts)));
  EXPECT_FALSE(can_be_key(nodes, nodes.sequence(ValueKind::frozenset, texts)));
  EXPECT_TRUE(can_be_key(nodes, nodes.complex(1, 2)));
  EXPECT_FALSE(can_be_key(nodes, nodes.complex(1, 0)));
}

TEST(Keys, ThatAreLongCannotBeUsedWithoutEnd) {
  NodeTable nodes;
  const NodeId dict = nodes.container(ValueKind::dict),
               key = nodes.text(std::string(64 << 20, 'k'));
  const auto use = [&](int times) {
    for (int i = 0; i < times; ++i) nodes.set(dict, key, nodes.none());
  };
  EXPECT_NO_THROW(use(8));
  EXPECT_NE(message([&] { use(100); }).find("use long keys so often"), std::string::npos);
}

TEST(Keys, OfAFloatAndALongIntThatMayBeEqualAreRefused) {
  NodeTable nodes;
  const NodeId dict = nodes.container(ValueKind::dict);
  std::array<std::byte, 9> two_to_64{};
  two_to_64[8] = std::byte{1};
  nodes.set(dict, nodes.big_integer(two_to_64), nodes.none());
  EXPECT_NO_THROW(nodes.set(dict, nodes.real(0.5), nodes.none()));
  EXPECT_NO_THROW(
      nodes.set(dict, nodes.real(std::numeric_limits<double>::infinity()), nodes.none()));
  EXPECT_THROW(nodes.set(dict, nodes.real(18446744073709551616.0), nodes.none()), FormatError);
}

TEST(FlatIndex, RefusesKeysOfOneHash) {
  FlatIndex<std::uint32_t> index;
  for (std::uint32_t i = 0; i < 1000; ++i) index.add(7, i);
  EXPECT_EQ(*index.find(7, [](std::uint32_t i) { return i == 999; }), 999u);
  const auto add_more = [&] {
    for (std::uint32_t i = 0; i < 1000; ++i) index.add(7, i);
  };
  EXPECT_THROW(add_more(), HashCollisionError);
}

TEST(Texts, AreCutWithinTheirLimit) {
  StateDict state = StateDict::list();
  for (int i = 0; i < 100; ++i) state.append(std::string("ä"));
  EXPECT_EQ(str(state.root(), 10), "['ä', 'ä…");
  EXPECT_EQ(str(state.root(), 4), "['ä…");
  EXPECT_EQ(str(state.root(), 3), "['…");  // not half of the ä
}

TEST(Texts, OfContainersAreThoseOfPython) {
  StateDict state = dict_of({{"list", list_of({1e22, "it's\n"})}, {"one", tuple_of({true})}});
  const StateDict empty;
  state.set(std::int64_t{-3}, empty);
  EXPECT_EQ(str(state.root()),
            "{'list': [1e+22, \"it's\\n\"], 'one': (True,), -3: OrderedDict({})}");
}

}  // namespace
}  // namespace transload
