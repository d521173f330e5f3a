// Which tensors are selected and what they are called: keep, drop, rename and at; and how
// load_into() matches them.
#include "plan/select.h"

#include <gtest/gtest.h>

#include "plan/match.h"
#include "state_dicts.h"
#include "transload/transload.h"
#include "values/node_table.h"

namespace transload {
namespace {

using Names = std::vector<std::string>;

// {"epoch": 3, "model": {"a.w": …, "a.b": …}, "states": [{"exp": …, "step": 5}, {"exp": …}],
// "pair": (…, …)}
StateDict checkpoint() {
  return dict_of({{"epoch", 3},
                  {"model", dict_of({{"a.w", tensor_of(1)}, {"a.b", tensor_of(2)}})},
                  {"states", list_of({dict_of({{"exp", tensor_of(3)}, {"step", 5}}),
                                      dict_of({{"exp", tensor_of(4)}})})},
                  {"pair", tuple_of({tensor_of(5), tensor_of(6)})}});
}

TEST(Patterns, StarsStandForAnyTextAndQuestionMarksForOneCharacter) {
  for (const auto& [pattern, text] :
       std::vector<std::pair<const char*, const char*>>{{"*", ""},
                                                        {"**", "a"},
                                                        {"a*", "a"},
                                                        {"*a*b", "xaxbxb"},
                                                        {"?", "x"},
                                                        {"*.w", "a.b.w"},
                                                        {"a?c*", "abc"},
                                                        {"", ""}})
    EXPECT_TRUE(fits(pattern, text)) << pattern << " " << text;
  for (const auto& [pattern, text] :
       std::vector<std::pair<const char*, const char*>>{{"", "a"},
                                                        {"a", ""},
                                                        {"?", ""},
                                                        {"a*b", "abc"},
                                                        {"*a", "b"},
                                                        {"a?", "a"},
                                                        {"*aa*aa", "aaa"}})
    EXPECT_FALSE(fits(pattern, text)) << pattern << " " << text;
}

TEST(Patterns, QuestionMarksStandForWholeUtf8Characters) {
  EXPECT_TRUE(fits("caf?", "caf\xC3\xA9"));
  EXPECT_TRUE(fits("?.w", "\xF0\x9F\x98\x80.w"));
  EXPECT_FALSE(fits("caf??", "caf\xC3\xA9"));
}

TEST(Patterns, EarlierStarsStandForAsLittleAsPossible) {
  std::vector<std::string_view> stars;
  ASSERT_TRUE(fits("*.attn.*", "a.attn.b.attn.c", &stars));
  EXPECT_EQ(stars, (std::vector<std::string_view>{"a", "b.attn.c"}));
  stars.clear();
  ASSERT_TRUE(fits("*ab*ab", "abxab", &stars));
  EXPECT_EQ(stars, (std::vector<std::string_view>{"", "x"}));
  stars.clear();
  ASSERT_TRUE(fits("l.*.w**", "l.3.w", &stars));
  EXPECT_EQ(stars, (std::vector<std::string_view>{"3", "", ""}));
}

TEST(Renames, ReplaceTheNthStarByWhatTheNthStarStoodFor) {
  const Selection selection{.rename = {{"*.attn.*", "*.attention.*"}, {"h.*.*", "layers.*.x"}}};
  EXPECT_EQ(selected_name(selection, "h.0.attn.c.bias"), "h.0.attention.c.bias");
  EXPECT_EQ(selected_name(selection, "h.1.w"), "layers.1.x");
  EXPECT_EQ(selected_name(selection, "other"), "other");
}

TEST(Renames, NeedAStarInThePatternForEachInTheNewName) {
  const Selection selection{.rename = {{"a.*", "*.*"}}};
  EXPECT_NE(message([&] { selected_name(selection, "a.w"); }).find("more stars than the pattern"),
            std::string::npos);
}

TEST(Select, KeepsAndDropsInsideOfListsAndTuples) {
  EXPECT_EQ(names_of(select(checkpoint(), {.keep = {"states/*", "pair/1"}})),
            (Names{"states/0/exp", "states/1/exp", "pair/1"}));
  EXPECT_EQ(names_of(select(checkpoint(), {.drop = {"states/0/*", "model/*"}})),
            (Names{"states/1/exp", "pair/0", "pair/1"}));
}

TEST(Select, NamesTensorsBelowIntKeysAndKeysWithSlashesAsPathsDo) {
  const StateDict state = dict_of({{"ints", ints_of({{-1, tensor_of(1)}, {10, tensor_of(2)}})},
                                   {"a/b", list_of({tensor_of(3), tensor_of(4)})}});
  EXPECT_EQ(names_of(select(state, {.keep = {"ints/-1", "a/b/1"}})), (Names{"ints/-1", "a/b/1"}));
  EXPECT_EQ(names_of(select(state, {.drop = {"ints/1?", "a/b/0"}})), (Names{"ints/-1", "a/b/1"}));
  EXPECT_EQ(names_of(select(state, {.at = "ints", .drop = {"10"}})), Names{"-1"});
  EXPECT_EQ(names_of(select(state, {.at = "a/b", .rename = {}})), (Names{"0", "1"}));
  EXPECT_THROW(select(state, {.keep = {"a/b/-1"}}), MismatchError);
  EXPECT_THROW(select(state, {.at = "a/b/2"}), MismatchError);
}

TEST(Select, KeepsPositionsByPuttingNoneForADroppedItem) {
  const StateDict state = select(checkpoint(), {.drop = {"pair/0", "states/0/exp"}});
  EXPECT_EQ(state["pair"].size(), 2u);
  EXPECT_TRUE(state["pair"].is(ValueKind::tuple));
  EXPECT_TRUE(state["pair"].item(0).is(ValueKind::none));
  EXPECT_TRUE(state["pair"].item(1).is(ValueKind::tensor));
  EXPECT_EQ(str(state.at_path("states/0")), "{'step': 5}");
}

TEST(Select, LeavesValuesThatAreNotTensorsAndAttributes) {
  StateDict model;
  model.set("w", tensor_of(1));
  model.set_attribute("_metadata", 1);
  const StateDict state = select(dict_of({{"model", model}, {"epoch", 3}, {"t", tensor_of(2)}}),
                                 {.drop = {"*w", "epoch"}});
  EXPECT_EQ(state["epoch"].integer(), 3);
  EXPECT_EQ(state["model"].size(), 0u);
  EXPECT_EQ(state["model"].attributes()->at("_metadata").integer(), 1);
}

StateDict with_values() {
  return dict_of(
      {{"w", tensor_of(1)},
       {"epoch", 3},
       {"extra", dict_of({{"amax", tensor_of(2)}, {"n", 3}})},
       {"hparams", dict_of({{"lr", 1}, {"betas", list_of({1, 2})}, {"none", dict_of({})}})},
       {"items", list_of({tensor_of(3), 4, dict_of({{"t", tensor_of(5)}})})}});
}

TEST(SelectValues, ByTheirNamesAsTensorsAre) {
  EXPECT_EQ(select(with_values(), {.drop = {"epoch"}}, PlainValues::select).size(), 4u);
  const StateDict kept =
      select(with_values(), {.keep = {"w", "hparams/betas/1"}}, PlainValues::select);
  EXPECT_EQ(kept.size(), 2u);
  EXPECT_EQ(str(kept["hparams"]), "{'betas': [None, 2]}");
  EXPECT_EQ(str(select(with_values(), {.keep = {"hparams/*"}}, PlainValues::select).root()),
            "{'hparams': {'lr': 1, 'betas': [1, 2], 'none': {}}}");
}

TEST(SelectValues, StayBesideWhatIsKeptUnlessTheyAreDropped) {
  const StateDict kept =
      select(with_values(), {.keep = {"w"}, .drop = {"hparams/*"}}, PlainValues::automatic);
  EXPECT_EQ(names_of(kept), Names{"w"});
  EXPECT_EQ(str(kept["epoch"]), "3");
  EXPECT_EQ(str(kept["extra"]), "{'n': 3}");
  EXPECT_FALSE(kept.contains("hparams"));
}

TEST(SelectValues, AnEmptiedContainerGoesWithTheLastThatItHeld) {
  const StateDict kept =
      select(with_values(), {.drop = {"extra/*", "items/*"}}, PlainValues::select);
  EXPECT_EQ(names_of(kept), Names{"w"});
  EXPECT_EQ(kept.size(), 3u);
  EXPECT_THROW(kept["extra"], Error);
  const StateDict part = select(with_values(), {.drop = {"items/2/t"}}, PlainValues::select);
  EXPECT_EQ(part["items"].size(), 3u);
  EXPECT_TRUE(part["items"].item(2).is(ValueKind::none));
}

TEST(SelectValues, AllCanBeLeftOutOrKept) {
  const StateDict tensors = select(with_values(), {}, PlainValues::drop);
  EXPECT_EQ(names_of(tensors), (Names{"w", "extra/amax", "items/0", "items/2/t"}));
  EXPECT_EQ(tensors.size(), 3u);
  EXPECT_TRUE(tensors["items"].item(1).is(ValueKind::none));
  const StateDict kept =
      select(with_values(), {.keep = {"w"}, .drop = {"epoch"}}, PlainValues::keep);
  EXPECT_EQ(kept["epoch"].integer(), 3);
}

TEST(Select, RenamesInADictThatIsAnItemOfAList) {
  const StateDict state = select(checkpoint(), {.rename = {{"states/*/exp", "states/*/exp_avg"}}});
  EXPECT_EQ(names_of(state), (Names{"model/a.w", "model/a.b", "states/0/exp_avg",
                                    "states/1/exp_avg", "pair/0", "pair/1"}));
}

TEST(Select, RefusesToRenameAnItemOfAListOrToMoveATensor) {
  EXPECT_NE(message([] {
              select(checkpoint(), {.rename = {{"pair/0", "pair/first"}}});
            }).find("its name is its position"),
            std::string::npos);
  EXPECT_NE(message([] {
              select(checkpoint(), {.rename = {{"model/*", "*"}}});
            }).find("cannot move a tensor out of \"model\""),
            std::string::npos);
}

TEST(Select, RefusesANameThatIsTaken) {
  for (const char* taken : {"a.b", "epoch", "list"}) {
    const StateDict state = dict_of(
        {{"a.w", tensor_of(1)}, {"epoch", 1}, {"list", list_of({})}, {"a.b", tensor_of(2)}});
    EXPECT_THROW(select(state, {.rename = {{"a.w", taken}}}), MismatchError) << taken;
  }
  const StateDict swapped = select(dict_of({{"a", tensor_of(1)}, {"b", tensor_of(2)}}),
                                   {.rename = {{"a", "b"}, {"b", "a"}}});
  EXPECT_EQ(names_of(swapped), (Names{"b", "a"}));
}

TEST(Select, TakesAPartOfAListByItsPosition) {
  EXPECT_EQ(names_of(select(checkpoint(), {.at = "states/1"})), Names{"exp"});
  EXPECT_EQ(names_of(select(checkpoint(), {.at = "states", .keep = {"1/*"}})), Names{"1/exp"});
  EXPECT_EQ(names_of(select(checkpoint(), {.at = "pair", .drop = {"0"}})), Names{"1"});
  EXPECT_THROW(select(checkpoint(), {.at = "states/2"}), MismatchError);
}

TEST(Select, NamesATensorOfThePartIfNothingFitsKeep) {
  EXPECT_EQ(message([] { select(checkpoint(), {.at = "model", .keep = {"model/*"}}); }),
            "no tensor has a name that fits keep \"model/*\"; one is called \"a.w\"");
}

TEST(Select, GivesEachPlaceOfASharedContainerItsOwnTensors) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  const NodeId shared = nodes->container(ValueKind::dict);
  nodes->set(shared, nodes->text("w"), nodes->tensor(TensorRow(), {}, {}));
  nodes->set(nodes->root, nodes->text("a"), shared);
  nodes->set(nodes->root, nodes->text("b"), shared);
  const StateDict state = select({nodes, {}}, {.drop = {"a/*"}});
  EXPECT_EQ(names_of(state), Names{"b/w"});
}

TEST(Select, KeepsContainersSharedInWhichNothingChanges) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  const NodeId shared = nodes->container(ValueKind::list),
               tensor = nodes->tensor(TensorRow(), {}, {});
  nodes->append(shared, {&tensor, 1});
  for (const char* key : {"a", "b"}) nodes->set(nodes->root, nodes->text(key), shared);
  nodes->set(nodes->root, nodes->text("t"), tensor);
  nodes->set(nodes->root, nodes->text("dropped"), tensor);
  const StateDict state = select({nodes, {}}, {.drop = {"dropped"}});
  EXPECT_EQ(state.size(), 3u);
  EXPECT_EQ(state["a"].id(), state["b"].id());
  EXPECT_EQ(state["a"].item(0).id(), state["t"].id());
}

TEST(Select, LeavesAContainerThatHoldsItselfInItself) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  const NodeId between = nodes->container(ValueKind::list),
               tensor = nodes->tensor(TensorRow(), {}, {});
  nodes->append(between, {&nodes->root, 1});
  for (const char* key : {"a", "b"}) nodes->set(nodes->root, nodes->text(key), tensor);
  nodes->set(nodes->root, nodes->text("between"), between);
  const StateDict state = select({nodes, {}}, {.drop = {"a"}});
  EXPECT_EQ(names_of(state), Names{"b"});
  EXPECT_EQ(state.at_path("between/0").id(), state.root().id());
}

TEST(Select, EndsThoughSharedContainersMake2ToThe100Places) {
  const auto nodes = std::make_shared<NodeTable>();
  NodeId inner = nodes->container(ValueKind::dict);
  const NodeId tensor = nodes->tensor(TensorRow(), {}, {});
  nodes->set(inner, nodes->text("a"), tensor);
  nodes->set(inner, nodes->text("b"), tensor);
  for (int i = 0; i < 100; ++i) {
    const NodeId both[] = {inner, inner};
    inner = nodes->sequence(ValueKind::list, both);
  }
  nodes->root = inner;
  const StateDict state = select({nodes, {}}, {.drop = {"*a"}});
  EXPECT_LT(state.nodes().size(), 500'000u);
  std::string path;
  for (int i = 0; i < 100; ++i) path += "1/";
  EXPECT_TRUE(state.at_path(path + "b").is(ValueKind::tensor));
  EXPECT_THROW(state.at_path(path + "a"), Error);
}

TEST(Select, GoesAsDeepAsContainersNest) {
  StateDict inner = dict_of({{"w", tensor_of(1)}, {"b", tensor_of(2)}});
  for (int i = 0; i < 300; ++i) inner = dict_of({{"d", inner}});
  EXPECT_EQ(select(inner, {.drop = {"*w"}}).tensors().size(), 1u);
}

// As sparse tensors are read: an object with a dict of its parts.
TEST(Select, DropsAndRenamesASparseTensorAsOne) {
  const auto nodes = std::make_shared<NodeTable>();
  nodes->root = nodes->container(ValueKind::dict);
  const NodeId parts = nodes->container(ValueKind::dict);
  for (const char* part : {"#indices", "#values"})
    nodes->set(parts, nodes->text(part), nodes->tensor(TensorRow(), {}, {}));
  const NodeId object = nodes->object(nodes->global("torch", "f"), kNoNode, Made::by_call);
  nodes->set_parts(object, parts);
  for (const char* key : {"a", "b"}) nodes->set(nodes->root, nodes->text(key), object);
  const StateDict state = select({nodes, {}}, {.drop = {"a"}, .rename = {{"b", "c"}}});
  EXPECT_EQ(names_of(state), (Names{"c#indices", "c#values"}));
}

TEST(Without, LostTensorsDictsLoseTheEntryAndListsGetNone) {
  const Tensor lost = tensor_of(1), kept = tensor_of(2);
  const StateDict state =
      dict_of({{"lost", lost}, {"kept", kept}, {"list", list_of({lost, kept})}});
  std::vector<bool> lost_storages(2);
  lost_storages[state["lost"].storage_number()] = true;
  const StateDict left = without(state, lost_storages);
  EXPECT_EQ(names_of(left), (Names{"kept", "list/1"}));
  EXPECT_EQ(left["list"].size(), 2u);
}

FillOptions selecting(Selection selection) {
  FillOptions options;
  options.select = std::move(selection);
  return options;
}

TEST(LoadStateDict, FillsFromAPartThatIsInAList) {
  const StateDict live = dict_of({{"exp", tensor_of(0)}});
  load_state_dict(live, checkpoint(), selecting({.at = "states/1"}));
  EXPECT_EQ(element_bytes(live.tensor("exp")), element_bytes(tensor_of(4)));
}

TEST(LoadStateDict, TakesThePartByTheSameRuleAsLoad) {
  // "a/b" is a key, and a path to another tensor.
  const StateDict source = dict_of({{"a", dict_of({{"b", dict_of({{"w", tensor_of(1)}})}})},
                                    {"a/b", dict_of({{"w", tensor_of(2)}})}});
  const StateDict live = dict_of({{"w", tensor_of(0)}});
  load_state_dict(live, source, selecting({.at = "a/b"}));
  EXPECT_EQ(element_bytes(live.tensor("w")), element_bytes(tensor_of(2)));
  EXPECT_EQ(names_of(select(source, {.at = "a/b"})), Names{"w"});
}

TEST(LoadStateDict, RefusesTwoTensorsOfOneNewName) {
  const StateDict source = dict_of({{"a.w", tensor_of(1)}, {"b.w", tensor_of(2)}});
  const StateDict live = dict_of({{"w", tensor_of(0)}});
  EXPECT_NE(message([&] {
              load_state_dict(live, source, selecting({.rename = {{"*.w", "w"}}}));
            }).find("two tensors would be called \"w\""),
            std::string::npos);
}

TEST(LoadStateDict, NamesTheRenameThatStripsAPrefixAndItWorks) {
  const StateDict source = dict_of({{"module.a.w", tensor_of(1)}, {"module.b", tensor_of(2)}});
  const StateDict live = dict_of({{"a.w", tensor_of(0)}, {"b", tensor_of(0)}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("select.rename = {{\"module.*\", \"*\"}} strips it"), std::string::npos)
      << text;
  load_state_dict(live, source, selecting({.rename = {{"module.*", "*"}}}));
  EXPECT_EQ(element_bytes(live.tensor("b")), element_bytes(tensor_of(2)));
}

TEST(LoadStateDict, NamesTheRenameThatAddsAPrefixAndItWorks) {
  const StateDict source = dict_of({{"a.w", tensor_of(1)}, {"b", tensor_of(2)}});
  const StateDict live = dict_of({{"module.a.w", tensor_of(0)}, {"module.b", tensor_of(0)}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("select.rename = {{\"*\", \"module.*\"}} adds it"), std::string::npos)
      << text;
  load_state_dict(live, source, selecting({.rename = {{"*", "module.*"}}}));
  EXPECT_EQ(element_bytes(live.tensor("module.b")), element_bytes(tensor_of(2)));
}

// Which tensors there are, with which names: {"a", 1} is a float32 tensor "a" of one element.
struct Named {
  std::string name;
  std::int64_t numel;
};

StateDict flat(const std::vector<Named>& tensors) {
  StateDict state = StateDict::dict();
  for (const auto& [name, numel] : tensors) state.set(name, zeros({numel}, Dtype::float32));
  return state;
}

TEST(LoadStateDict, NamesOneRenameThatStripsTheMiddleOfAllBlocks) {
  const StateDict source =
      flat({{"stem.w", 1}, {"blocks.0._orig_mod.w", 1}, {"blocks.11._orig_mod.a.w", 1}});
  const StateDict live = flat({{"stem.w", 1}, {"blocks.0.w", 1}, {"blocks.11.a.w", 1}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("select.rename = {{\"*._orig_mod.*\", \"*.*\"}} strips it"),
            std::string::npos)
      << text;
  load_state_dict(live, source, selecting({.rename = {{"*._orig_mod.*", "*.*"}}}));
}

TEST(LoadStateDict, NamesOneRenameThatStripsAPartFromTheBeginningAndTheMiddle) {
  const StateDict source =
      flat({{"_orig_mod.w", 1}, {"blocks._orig_mod.w", 1}, {"b._orig_mod.w", 1}});
  const StateDict live = flat({{"w", 1}, {"blocks.w", 1}, {"b.w", 1}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("select.rename = {{\"*_orig_mod.*\", \"**\"}} strips it"), std::string::npos)
      << text;
  load_state_dict(live, source, selecting({.rename = {{"*_orig_mod.*", "**"}}}));
}

TEST(LoadStateDict, NamesOneRenameThatAddsAPartInTheMiddleOfAllBlocks) {
  const StateDict source = flat({{"blocks.0.w", 1}, {"blocks.11.a.w", 1}});
  const StateDict live = flat({{"blocks.0._orig_mod.w", 1}, {"blocks.11._orig_mod.a.w", 1}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("select.rename = {{\"blocks.*.*\", \"blocks.*._orig_mod.*\"}} adds it"),
            std::string::npos)
      << text;
  load_state_dict(live, source, selecting({.rename = {{"blocks.*.*", "blocks.*._orig_mod.*"}}}));
}

TEST(LoadStateDict, LooksPastKeysThatTheLiveModelDoesNotHaveAtAll) {
  const StateDict source = flat({{"ema", 1}, {"module.a", 1}, {"module.b", 1}});
  const StateDict live = flat({{"x", 1}, {"a", 1}, {"b", 1}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("select.rename = {{\"module.*\", \"*\"}} strips it"), std::string::npos)
      << text;
}

// Each of these renames would make more keys match than do without it.
TEST(LoadStateDict, AdvisesNoRenameThatTakesAwayAMatch) {
  const StateDict source = flat({{"module.a", 1}, {"module.c", 1}, {"module.b", 1}});
  const StateDict live = flat({{"a", 1}, {"c", 1}, {"module.b", 1}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("missing keys"), std::string::npos) << text;
  EXPECT_EQ(text.find("strips"), std::string::npos) << text;
}

TEST(LoadStateDict, AdvisesNoRenameThatMakesTwoNamesOne) {
  const StateDict source = flat({{"module.a", 1}, {"module.b", 1}, {"a", 1}});
  const StateDict live = flat({{"a", 1}, {"b", 1}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("missing keys"), std::string::npos) << text;
  EXPECT_EQ(text.find("strips"), std::string::npos) << text;
}

TEST(LoadStateDict, NamesTheDropThatLeavesOutWhatHasAnotherSizeAndItWorks) {
  const StateDict live = flat({{"body.w", 4}, {"fc.w", 7}, {"fc.b", 7}});
  const StateDict source = flat({{"body.w", 4}, {"fc.w", 1000}, {"fc.b", 1000}});
  const std::string text = message([&] { load_state_dict(live, source); });
  EXPECT_NE(text.find("\n  select.drop = {\"fc.*\"}, strict = false leaves them as they are"),
            std::string::npos)
      << text;
  FillOptions options{.select = {.drop = {"fc.*"}}, .strict = false};
  EXPECT_EQ(load_state_dict(live, source, options).missing, (Names{"fc.w", "fc.b"}));
}

TEST(LoadStateDict, NamesADropOfWhatDoesNotFitAloneBesideThoseOfTheOptions) {
  const StateDict live = flat({{"fc.w", 7}, {"fc.b", 1}, {"x", 1}});
  const StateDict source = flat({{"fc.w", 1000}, {"fc.b", 1}, {"x", 1}, {"old", 1}});
  const std::string text =
      message([&] { load_state_dict(live, source, selecting({.drop = {"old"}})); });
  EXPECT_NE(text.find("select.drop = {\"old\", \"fc.w\"}, strict = false leaves it as it is"),
            std::string::npos)
      << text;
}

TEST(LoadStateDict, NamesADropByTheNameBeforeTheRenames) {
  const StateDict live = flat({{"top.w", 7}, {"x", 1}});
  const StateDict source = flat({{"fc.w", 1000}, {"x", 1}});
  FillOptions options = selecting({.rename = {{"fc.*", "top.*"}}});
  const std::string text = message([&] { load_state_dict(live, source, options); });
  EXPECT_NE(text.find("select.drop = {\"fc.*\"}"), std::string::npos) << text;
  options.select.drop = {"fc.*"};
  options.strict = false;
  EXPECT_EQ(load_state_dict(live, source, options).missing, Names{"top.w"});
}

TEST(LoadStateDict, NamesThePartOfAPartAndItWorks) {
  const StateDict source =
      dict_of({{"run", list_of({dict_of({{"model", dict_of({{"w", tensor_of(1)}})}})})}});
  const StateDict live = dict_of({{"w", tensor_of(0)}});
  EXPECT_NE(message([&] {
              load_state_dict(live, source, selecting({.at = "run/0"}));
            }).find("pass select.at = \"run/0/model\""),
            std::string::npos);
  load_state_dict(live, source, selecting({.at = "run/0/model"}));
  EXPECT_EQ(element_bytes(live.tensor("w")), element_bytes(tensor_of(1)));
}

TEST(LoadStateDict, NamesKeysThatAreNearlyThere) {
  const StateDict source =
      dict_of({{"encoder.wieght", tensor_of(1)}, {"encoder.Bias", tensor_of(2)}});
  const StateDict live =
      dict_of({{"encoder.weight", tensor_of(0)}, {"encoder.bias", tensor_of(0)}});
  const std::string text = message([&] { load_state_dict(live, source); });
  for (const char* part : {"\"encoder.weight\" is nearly the file's \"encoder.wieght\"",
                           "\"encoder.bias\" is nearly the file's \"encoder.Bias\"",
                           "{\"encoder.Bias\", \"encoder.bias\"}} matches them"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

}  // namespace
}  // namespace transload
