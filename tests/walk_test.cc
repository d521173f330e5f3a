// The walk over the places of a state dict, its order, its names and its bounds.
#include <gtest/gtest.h>

#include <set>

#include "state_dicts.h"
#include "values/node_table.h"

namespace transload {
namespace {

using Names = std::vector<std::string>;

// Of all places, if containers are entered.
Names paths_of(const StateDict& state) {
  Names paths;
  walk(state, [&](const VisitedValue& place) {
    paths.emplace_back(place.path);
    return true;
  });
  return paths;
}

// A dict with an entry for each pair.
NodeId add_dict(NodeTable& nodes, std::initializer_list<std::pair<const char*, NodeId>> entries) {
  const NodeId dict = nodes.container(ValueKind::dict);
  for (const auto& [key, value] : entries) nodes.set(dict, nodes.text(key), value);
  return dict;
}

NodeId add_tensor(NodeTable& nodes) { return nodes.tensor(TensorRow(), {}, {}); }

// n containers, each of which holds the one before twice: 2^n places of one tensor.
StateDict doubled(int n) {
  const auto nodes = std::make_shared<NodeTable>();
  NodeId inner = add_dict(*nodes, {{"t", add_tensor(*nodes)}});
  for (int i = 0; i < n; ++i) {
    const NodeId both[] = {inner, inner};
    inner = nodes->sequence(ValueKind::list, both);
  }
  nodes->root = inner;
  return {nodes, {}};
}

TEST(Walk, VisitsEachContainerBeforeWhatItHolds) {
  const StateDict state = dict_of({{"a", list_of({ints_of({{7, nullptr}}), true})}, {"b", 0.5}});
  EXPECT_EQ(paths_of(state), (Names{"", "a", "a/0", "a/0/7", "a/1", "b"}));
}

TEST(Walk, GivesThePartTheDepthAndTheValue) {
  const StateDict state = dict_of({{"a", dict_of({{"x/y", 3}})}});
  std::size_t visits = 0;
  walk(state, [&](const VisitedValue& place) {
    EXPECT_EQ(place.depth, visits++);
    if (place.depth == 1) {
      EXPECT_EQ(place.part, "a");
    }
    if (place.depth == 2) {
      EXPECT_EQ(place.part, "x/y");
      EXPECT_EQ(place.path, "a/x/y");
      EXPECT_EQ(place.value.integer(), 3);
    }
    return true;
  });
  EXPECT_EQ(visits, 3u);
}

TEST(Walk, LeavesOutWhatIsInContainersThatAreNotEntered) {
  const StateDict inner = dict_of({{"x", nullptr}}), state = dict_of({{"a", inner}, {"b", inner}});
  Names paths;
  walk(state, [&](const VisitedValue& place) {
    paths.emplace_back(place.path);
    return place.path != "a";
  });
  EXPECT_EQ(paths, (Names{"", "a", "b", "b/x"}));
}

TEST(Walk, NamesEmptyKeys) {
  const StateDict inner = dict_of({{"", nullptr}}), state = dict_of({{"", inner}, {"a", inner}});
  EXPECT_EQ(paths_of(state), (Names{"", "", "/", "a", "a/"}));
}

TEST(Walk, EntersAContainerThatHoldsItselfOnce) {
  const auto nodes = std::make_shared<NodeTable>();
  const NodeId list = nodes->container(ValueKind::list);
  nodes->root = add_dict(*nodes, {{"list", list}, {"t", add_tensor(*nodes)}});
  const NodeId items[] = {nodes->root, list};
  nodes->append(list, items);
  const StateDict state(nodes, {});
  EXPECT_EQ(paths_of(state), (Names{"", "list", "list/0", "list/1", "t"}));
  EXPECT_EQ(names_of(state), Names{"t"});
}

TEST(Walk, EntersSharedContainersAtEachPlace) {
  EXPECT_EQ(names_of(doubled(2)), (Names{"0/0/t", "0/1/t", "1/0/t", "1/1/t"}));
}

TEST(Walk, EndsThoughSharedContainersMake2ToThe100Places) {
  const StateDict state = doubled(100);
  const Names names = names_of(state);
  EXPECT_GT(names.size(), 1000u);
  EXPECT_LT(names.size(), 200'000u);
  EXPECT_EQ(paths_of(state).back(), "1");  // the end of the root is reached
}

TEST(Walk, FindsEveryTensorPastTheBound) {
  const auto nodes = std::make_shared<NodeTable>();
  const NodeId last = add_dict(*nodes, {{"last", add_tensor(*nodes)}});
  NodeId inner = nodes->container(ValueKind::list);
  for (int i = 0; i < 60; ++i) {
    const NodeId both[] = {inner, inner};
    inner = nodes->sequence(ValueKind::list, both);
  }
  nodes->root = add_dict(*nodes, {{"many", inner}, {"a", last}, {"b", last}});
  EXPECT_EQ(names_of({nodes, {}}), Names{"a/last"});  // and the shared one once
}

TEST(Walk, OfAMillionItemsIsNotBounded) {
  const auto nodes = std::make_shared<NodeTable>();
  const NodeId pair = add_dict(*nodes, {{"t", add_tensor(*nodes)}});
  const std::vector<NodeId> items(1'000'000, nodes->none());
  nodes->root = add_dict(
      *nodes, {{"long", nodes->sequence(ValueKind::list, items)}, {"a", pair}, {"b", pair}});
  EXPECT_EQ(names_of({nodes, {}}), (Names{"a/t", "b/t"}));
}

TEST(Walk, RefusesLongKeysThatManyPlacesShare) {
  const auto nodes = std::make_shared<NodeTable>();
  const NodeId inner = nodes->container(ValueKind::dict);
  nodes->set(inner, nodes->text(std::string(1 << 20, 'k')), nodes->none());
  const std::vector<NodeId> items(100'000, inner);
  nodes->root = nodes->sequence(ValueKind::list, items);
  EXPECT_THROW(StateDict(nodes, {}).tensors(), FormatError);
}

TEST(Walk, RefusesNamesThatTakeMoreMemoryThanTheFile) {
  const auto nodes = std::make_shared<NodeTable>();
  NodeId inner = add_tensor(*nodes);
  for (int i = 0; i < 20'000; ++i) {
    const NodeId both[] = {add_tensor(*nodes), inner};
    inner = nodes->sequence(ValueKind::list, both);
  }
  nodes->root = inner;
  const StateDict state(nodes, {});
  EXPECT_THROW(state.tensors(), FormatError);  // the last name has 40,000 bytes
  std::size_t places = 0;
  walk(state, [&](const VisitedValue&) { return ++places > 0; });
  EXPECT_EQ(places, 40'001u);  // which does not keep them from being visited
}

// A Parameter of a subclass: its class, what was passed to it, and its state.
TEST(Walk, AddsNoLevelForAnObject) {
  const auto nodes = std::make_shared<NodeTable>();
  const NodeId arguments[] = {add_tensor(*nodes), nodes->integer(1)};
  const NodeId called = nodes->object(nodes->global("m", "C"),
                                      nodes->sequence(ValueKind::tuple, arguments), Made::by_call);
  const NodeId with_state = nodes->object(nodes->global("m", "D"), kNoNode, Made::by_new);
  nodes->set_attributes(with_state, add_dict(*nodes, {{"w", add_tensor(*nodes)}}));
  nodes->set(with_state, nodes->text("item"), add_tensor(*nodes));
  nodes->root = add_dict(*nodes, {{"c", called}, {"d", with_state}});
  EXPECT_EQ(names_of({nodes, {}}), (Names{"c/0", "d/w", "d/item"}));
}

}  // namespace
}  // namespace transload
