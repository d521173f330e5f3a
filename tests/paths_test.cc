// What a path "a/b/c" means: StateDict::at_path(), and Selection::at, which shares its rule.
#include <gtest/gtest.h>

#include "plan/select.h"
#include "state_dicts.h"
#include "values/node_table.h"

namespace transload {
namespace {

// {"model": {"net.weight": …}, "optimizer_states": [{"state": {0: …, 1: {"exp_avg": 10}}}],
// "betas": (20, 21)}
StateDict lightning() {
  const StateDict moments = ints_of({{0, dict_of({})}, {1, dict_of({{"exp_avg", 10}})}});
  return dict_of({{"model", dict_of({{"net.weight", 1}, {"net.bias", nullptr}})},
                  {"optimizer_states", list_of({dict_of({{"state", moments}})})},
                  {"betas", tuple_of({20, 21})}});
}

TEST(Paths, GoThroughListsTuplesAndIntKeys) {
  const StateDict state = lightning();
  EXPECT_EQ(state.at_path("optimizer_states/0/state/1/exp_avg").integer(), 10);
  EXPECT_EQ(state.at_path("betas/1").integer(), 21);
  EXPECT_EQ(state.at_path("model/net.weight").integer(), 1);
  EXPECT_EQ(state["optimizer_states"].item(0).at_path("state/1/exp_avg").integer(), 10);
}

TEST(Paths, ThatAreEmptyAreTheValueItself) {
  EXPECT_EQ(lightning().at_path("").size(), 3u);
  EXPECT_EQ(dict_of({{"", 5}}).at_path("").integer(), 5);
}

TEST(Paths, TakeTheLongestKeyThatFits) {
  const StateDict state =
      dict_of({{"a", dict_of({{"b", 1}})}, {"a/b", dict_of({{"c", 2}})}, {"a/b/c", 3}});
  EXPECT_EQ(state.at_path("a/b/c").integer(), 3);
  EXPECT_TRUE(state.at_path("a/b").is_dict());
}

TEST(Paths, TakeAShorterKeyWhereTheLongestLeadsNowhere) {
  const StateDict state = dict_of({{"a", dict_of({{"b/c", 1}})}, {"a/b", dict_of({{"d", 2}})}});
  EXPECT_EQ(state.at_path("a/b/c").integer(), 1);
  EXPECT_EQ(state.at_path("a/b/d").integer(), 2);
}

TEST(Paths, PreferATextKeyToAnIntOfTheSameDigits) {
  StateDict state = ints_of({{1, "int"}});
  EXPECT_EQ(state.at_path("1").text(), "int");
  state.set("1", std::string("text"));
  EXPECT_EQ(state.at_path("1").text(), "text");
}

TEST(Paths, TakePositionsOnlyAsTheyArePrinted) {
  const StateDict state = lightning();
  for (const char* path : {"betas/2", "betas/-1", "betas/01", "betas/+1", "betas/1 ", "betas/",
                           "betas/99999999999999999999", "betas/1/", "betas//1", "/betas/1"})
    EXPECT_THROW(state.at_path(path), Error) << path;
}

TEST(Paths, OfOtherKeysAreAsPythonPrintsThem) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  const NodeId parts[] = {nodes->integer(1), nodes->text("a/b")};
  nodes->set(nodes->root, nodes->sequence(ValueKind::tuple, parts), nodes->integer(5));
  nodes->set(nodes->root, nodes->real(0.5), nodes->container(ValueKind::list));
  const StateDict state(nodes, {});
  EXPECT_EQ(state.at_path("(1, 'a/b')").integer(), 5);
  EXPECT_TRUE(state.at_path("0.5").is(ValueKind::list));
}

TEST(Paths, OfEveryTensorLeadToIt) {
  const Tensor t = tensor_of(1);
  const StateDict ints = ints_of({{-5, t}});
  const StateDict odd = dict_of({{"", t}, {"a/", t}, {"a", dict_of({{"", dict_of({{"b", t}})}})}});
  const StateDict state =
      dict_of({{"list", list_of({t, odd})}, {"x/y", ints}, {"x", ints}, {"", t}});
  const std::vector<NamedTensor> tensors = state.tensors();
  ASSERT_EQ(tensors.size(), 7u);
  for (const NamedTensor& named : tensors)
    EXPECT_EQ(state.at_path(named.name).id(), named.value.id()) << named.name;
}

// As sparse tensors are read: an object with a dict of its parts, by suffix.
TEST(Paths, LeadToThePartsOfASparseTensor) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  const NodeId parts = nodes->container(ValueKind::dict);
  const NodeId indices = nodes->tensor(TensorRow(), {}, {});
  nodes->set(parts, nodes->text("#indices"), indices);
  const NodeId object = nodes->object(nodes->global("torch", "f"), kNoNode, Made::by_call);
  nodes->set_parts(object, parts);
  nodes->set(nodes->root, nodes->text("weight"), object);
  const StateDict state(nodes, {});
  ASSERT_EQ(state.tensors().size(), 1u);
  EXPECT_EQ(state.tensors()[0].name, "weight#indices");
  EXPECT_EQ(state.at_path("weight#indices").id(), indices);
  EXPECT_EQ(state.at_path("weight").id(), object);
}

TEST(Paths, ThroughAValueThatHoldsItselfEnd) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  std::string long_path;
  for (const char* key : {"a", "a/a", "a/a/a"})
    nodes->set(nodes->root, nodes->text(key), nodes->root);
  for (int i = 0; i < 300; ++i) long_path += "a/";
  const StateDict state(nodes, {});
  EXPECT_EQ(state.at_path(long_path + "a").id(), nodes->root);
  EXPECT_THROW(state.at_path(long_path + "b"), Error);  // without trying all 2^300 ways
}

TEST(MissingPaths, NameThePartsThatExistAndTheNearestOne) {
  const StateDict state = lightning();
  EXPECT_EQ(message([&] { state.at_path("modle/net.weight"); }),
            "there is nothing at \"modle/net.weight\": the parts are \"model\", "
            "\"optimizer_states\", \"betas\"");
  EXPECT_EQ(message([&] { state.at_path("modle"); }),
            "there is nothing at \"modle\": the parts are \"model\", \"optimizer_states\", "
            "\"betas\"; did you mean \"model\"?");
  EXPECT_EQ(message([&] { state.at_path("model/net.wieght"); }),
            "there is nothing at \"model/net.wieght\": in \"model\" the parts are \"net.weight\", "
            "\"net.bias\"; did you mean \"model/net.weight\"?");
}

TEST(MissingPaths, SayHowLongAListIs) {
  EXPECT_EQ(message([&] { lightning().at_path("optimizer_states/1/state"); }),
            "there is nothing at \"optimizer_states/1/state\": \"optimizer_states\" is a list of 1 "
            "item, whose position is 0");
  EXPECT_EQ(message([&] { lightning().at_path("betas/2"); }),
            "there is nothing at \"betas/2\": \"betas\" is a tuple of 2 items, whose positions are "
            "0 to 1");
}

TEST(MissingPaths, SayWhatHasNoParts) {
  EXPECT_EQ(message([&] { lightning().at_path("model/net.weight/0"); }),
            "there is nothing at \"model/net.weight/0\": \"model/net.weight\" is 1, which has no "
            "parts");
}

TEST(MissingPaths, ListAFewOfManyParts) {
  StateDict state;
  for (int i = 0; i < 100; ++i) state.set("layer." + std::to_string(i), nullptr);
  EXPECT_EQ(message([&] { state.at_path("optimizer"); }),
            "there is nothing at \"optimizer\": the parts are \"layer.0\", \"layer.1\", "
            "\"layer.2\", \"layer.3\", \"layer.4\" and 95 more");
}

TEST(MissingPaths, AreAMismatchWhereASelectionNamesThem) {
  const StateDict state = lightning();
  EXPECT_EQ(part_at(state, "optimizer_states/0").id(), state.at_path("optimizer_states/0").id());
  EXPECT_EQ(part_at(state, "").id(), state.root().id());
  EXPECT_THROW(part_at(state, "optimizer_states/7"), MismatchError);
}

}  // namespace
}  // namespace transload
