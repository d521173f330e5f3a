// StateDictBuilder: nested values as Python's pickle can nest them, there and back through a file.
#include "transload/state_dict_builder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "transload/error.h"
#include "transload/transload.h"

namespace transload {
namespace {

using Handle = StateDictBuilder::Handle;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string there_and_back(const StateDict& state) {
  const auto path = std::filesystem::path(testing::TempDir()) / "builder.pt";
  save(state, path, {.allow_objects = true});
  return str(load(path).root());
}

TEST(StateDictBuilder, WritesACheckpointOfAllKindsOfValues) {
  StateDict model;
  model.set("w", from_values(std::vector<float>{1, 2}, {2}));
  StateDictBuilder b;
  const Handle checkpoint = b.dict();
  b.set(checkpoint, "model", model);
  b.set(checkpoint, "epoch", 3);
  const Handle history = b.list();
  b.append(history, 0.5);
  b.append(history, nullptr);
  b.set(checkpoint, "history", history);
  const Handle sizes[] = {b.add(2), b.add(3)};
  b.set(checkpoint, "tuple", b.tuple(sizes));
  b.set(checkpoint, "size", b.size(sizes));
  b.set(checkpoint, "raw", b.bytes(bytes_of("ab")));
  b.set(checkpoint, 7, true);
  b.set(checkpoint, "where", b.device("mps:0"));
  b.set(checkpoint, "complex", b.complex({1, -2}));
  const StateDict state = b.build(checkpoint);
  const std::string text = str(state.root());
  EXPECT_EQ(there_and_back(state), text);
  EXPECT_EQ(state["model"].at("w").tensor().numel(), 2);
  EXPECT_EQ(state.root().at(std::int64_t{7}).boolean(), true);
  EXPECT_EQ(state["size"].kind(), ValueKind::size);
  EXPECT_EQ(state["complex"].complex(), std::complex<double>(1, -2));
  EXPECT_EQ(state["where"].text(), "mps:0");
}

TEST(StateDictBuilder, SharedContainersStayOneValue) {
  StateDictBuilder b;
  const Handle root = b.list(), inner = b.dict();
  b.set(inner, "x", 1);
  const Handle both[] = {inner, inner, root};
  b.append(root, both);
  const StateDict state = b.build(root);
  EXPECT_EQ(state.root().item(0).id(), state.root().item(1).id());
  EXPECT_EQ(state.root().item(2).id(), state.root().id());
}

TEST(StateDictBuilder, TensorsOverOneStorageStayTied) {
  const Tensor w = from_values(std::vector<float>{1, 2}, {2});
  StateDict model;
  model.set("w", w);
  StateDictBuilder b;
  const Handle root = b.dict();
  b.set(root, "model", model);
  b.set(root, "w", w);
  b.set(root, "bare", b.storage(w.storage(), Dtype::float32));
  const StateDict state = b.build(root);
  EXPECT_EQ(state.storages().size(), 1u);
  EXPECT_EQ(state["bare"].storage_number(), state["w"].storage_number());
}

TEST(StateDictBuilder, ObjectsKeepWhatTheyWereMadeFrom) {
  StateDictBuilder b;
  const Handle object =
      b.object(b.global("collections", "deque"), b.tuple({b.add(4)}), Made::by_new);
  b.append(object, "item");
  b.set(object, "key", 5);
  const Handle state_of_it = b.dict();
  b.set(state_of_it, "lr", 0.5);
  b.set_attributes(object, state_of_it);
  const StateDict state = b.build(object);
  const ObjectParts parts = state.root().object();
  EXPECT_EQ(parts.callable.global().module, "collections");
  EXPECT_EQ(parts.callable.global().name, "deque");
  EXPECT_EQ(parts.arguments.item(0).integer(), 4);
  EXPECT_EQ(parts.list_items->item(0).text(), "item");
  EXPECT_EQ(parts.dict_items->at("key").integer(), 5);
  EXPECT_EQ(parts.state->at("lr").real(), 0.5);
  EXPECT_EQ(parts.made, Made::by_new);
  StateDictBuilder plain;
  const StateDict empty =
      plain.build(plain.object(plain.global("m", "C"), plain.tuple({}), Made::by_call));
  EXPECT_FALSE(empty.root().object().list_items || empty.root().object().dict_items ||
               empty.root().object().state);
}

TEST(StateDictBuilder, AnOrderedDictHasAttributes) {
  StateDictBuilder b;
  const Handle root = b.ordered_dict(), attributes = b.dict();
  b.set(attributes, "version", 2);
  b.set_attributes(root, attributes);
  EXPECT_EQ(b.build(root).root().attributes()->at("version").integer(), 2);
  const Handle list = b.list();
  EXPECT_THROW(b.set_attributes(list, b.dict()), Error);
  EXPECT_THROW(b.set_attributes(b.ordered_dict(), list), Error);
}

TEST(StateDictBuilder, RefusesKeysThatPythonWouldRefuse) {
  StateDictBuilder b;
  const Handle root = b.dict(), list = b.list();
  EXPECT_TRUE(b.can_be_key(b.tuple({b.add(1), b.add("x")})));
  EXPECT_FALSE(b.can_be_key(list));
  EXPECT_THROW(b.set(root, list, b.add(1)), Error);
  EXPECT_THROW(b.set(list, "key", 1), Error);
  EXPECT_THROW(b.append(root, 1), Error);
  EXPECT_EQ(b.build(root).size(), 0u);
}

TEST(StateDictBuilder, IsEmptyAfterBuildAndRefusesOldHandles) {
  StateDictBuilder b;
  b.add(1'000'000);
  const Handle old = b.list();
  b.build(old);
  EXPECT_THROW(b.append(old, 1), Error);
}

TEST(StateDictBuilder, AValueThatIsNotAnObjectHasNoParts) {
  StateDict state;
  state.set("x", 1);
  EXPECT_THROW(state["x"].object(), Error);
  EXPECT_THROW(state["x"].global(), Error);
  EXPECT_EQ(state["x"].complex(), std::complex<double>(1, 0));
  EXPECT_TRUE(state["x"].is_hashable());
  EXPECT_FALSE(state.root().is_hashable());
}

}  // namespace
}  // namespace transload
