// PyTorch's legacy stream: golden files of PyTorch 1.13 and 2.13 are in cli_test; here is each way in which a stream can lie.
#include <cstring>

#include "golden.h"
#include "io/file.h"
#include "pickles.h"
#include "small_model.h"
#include "transload/scan.h"

namespace transload {
namespace {

using namespace pickles;
using TorchStream = TestFolder;

std::string magic_number() {
  return pickle(OpcodeEncoder().add_big_integer("\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19").take());
}

std::string list(const std::string& items) { return op(Opcode::MARK) + items + op(Opcode::LIST); }

// The number of elements and the elements: 1, 2, 3, …
std::string stored(std::uint64_t numel, std::size_t there) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &numel, 8);
  for (std::size_t i = 0; i < there; ++i) {
    const auto value = static_cast<float>(i + 1);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return bytes;
}

std::string stream(const std::string& value, const std::string& keys, const std::string& storages,
                   std::int64_t version = 1001) {
  return magic_number() + pickle(number(version)) + pickle(op(Opcode::EMPTY_DICT)) + pickle(value) +
         pickle(list(keys)) + storages;
}

// ("storage", torch.FloatStorage, key, "cpu", numel, (view key, offset, size))
std::string view(std::string_view key, std::int64_t numel, std::string_view view_key,
                 std::int64_t offset, std::int64_t size) {
  return tuple(text("storage") + global("torch", "FloatStorage") + text(key) + text("cpu") +
               number(numel) + tuple(text(view_key) + number(offset) + number(size))) +
         op(Opcode::BINPERSID);
}

std::string stored_tensor(std::string_view key, std::int64_t numel) {
  return tensor(key, numel, op(Opcode::NONE));
}

std::string over(const std::string& storage, std::int64_t offset, std::int64_t size) {
  return called(global("torch._utils", "_rebuild_tensor"),
                storage + number(offset) + tuple(number(size)) + tuple(number(1)));
}

std::string variable(const std::string& name, const std::string& tensor) {
  return called(global(name.substr(0, name.rfind('.')), name.substr(name.rfind('.') + 1)), tensor) +
         tuple(op(Opcode::NEWTRUE) + op(Opcode::NEWFALSE) + ordered_dict()) + op(Opcode::BUILD);
}

Index opened(const std::string& bytes, const OpenOptions& options = {}) {
  return open(file_in_memory("old.pt", bytes), options);
}
StateDict loaded(const std::string& bytes) { return load(opened(bytes), {.map_location = "cpu"}); }
std::string refusal(const std::string& bytes) {
  return message([&] { opened(bytes); });
}

#define EXPECT_REFUSED(bytes, words) \
  EXPECT_NE(refusal(bytes).find(words), std::string::npos) << refusal(bytes)

TEST_F(TorchStream, StoragesLieInTheOrderOfTheList) {
  const StateDict state = loaded(stream(list(stored_tensor("b", 1) + stored_tensor("a", 2)),
                                        text("a") + text("b"), stored(2, 2) + stored(1, 1)));
  EXPECT_EQ(values(state.root().item(0).tensor()), (std::vector<float>{1}));
  EXPECT_EQ(values(state.root().item(1).tensor()), (std::vector<float>{1, 2}));
}

TEST_F(TorchStream, APartOfAStorageSharesItsBytes) {
  const StateDict state = loaded(stream(
      list(over(view("1", 6, "2", 2, 3), 1, 2) + stored_tensor("1", 6)), text("1"), stored(6, 6)));
  const Tensor part = state.root().item(0).tensor(), whole = state.root().item(1).tensor();
  EXPECT_EQ(values(part), (std::vector<float>{4, 5}));
  EXPECT_EQ(part.storage().identity(), whole.storage().identity());
}

TEST_F(TorchStream, ATensorMayNotLeaveItsPartOfAStorage) {
  EXPECT_REFUSED(stream(over(view("1", 6, "2", 2, 3), 0, 4), text("1"), stored(6, 6)),
                 "beyond its storage of 12 bytes");
}

TEST_F(TorchStream, APartThatIsNotInItsStorageIsRefused) {
  for (const auto& [offset, size] : {std::pair<int, int>{-1, 2}, {3, 4}, {7, 0}, {0, -1}}) {
    EXPECT_REFUSED(stream(over(view("1", 6, "2", offset, size), 0, 0), text("1"), stored(6, 6)),
                   "of a storage of 6");
  }
}

TEST_F(TorchStream, OneKeyIsOnePart) {
  EXPECT_REFUSED(
      stream(list(over(view("1", 6, "2", 0, 3), 0, 1) + over(view("1", 6, "2", 1, 3), 0, 1)),
             text("1"), stored(6, 6)),
      "two different parts");
  EXPECT_REFUSED(stream(list(over(view("1", 6, "2", 0, 3), 0, 1) + stored_tensor("2", 6)),
                        text("1") + text("2"), stored(6, 6) + stored(6, 6)),
                 "as a storage and as a part");
}

TEST_F(TorchStream, APartThatIsAValueIsNotRead) {
  EXPECT_REFUSED(stream(view("1", 6, "2", 2, 3), text("1"), stored(6, 6)), "a value of its own");
}

TEST_F(TorchStream, TensorsOfPyTorch0110HaveTheirStateBehindThem) {
  const std::string old =
      called(global("torch", "FloatTensor"), "") + op(Opcode::BINPUT, 9) +
      tuple(storage("1", 4, op(Opcode::NONE)) + number(1) + tuple(number(2)) + tuple(number(1))) +
      op(Opcode::BUILD);
  const StateDict state =
      loaded(stream(list(old + op(Opcode::BINGET, 9)), text("1"), stored(4, 4)));
  for (const std::size_t i : {0u, 1u})
    EXPECT_EQ(values(state.root().item(i).tensor()), (std::vector<float>{2, 3}));
}

TEST_F(TorchStream, OldParametersAndVariablesAreTensors) {
  const StateDict state =
      loaded(stream(list(variable("torch.nn.parameter.Parameter", stored_tensor("1", 2)) +
                         variable("torch.autograd.variable.Variable", stored_tensor("1", 2))),
                    text("1"), stored(2, 2)));
  const Tensor parameter = state.root().item(0).tensor(), plain = state.root().item(1).tensor();
  EXPECT_TRUE(parameter.is_parameter && parameter.requires_grad);
  EXPECT_TRUE(!plain.is_parameter && plain.requires_grad);
  EXPECT_EQ(values(plain), (std::vector<float>{1, 2}));
}

// A Parameter made the new way has no state to be set.
TEST_F(TorchStream, TheStateOfAnyOtherTensorIsRefused) {
  EXPECT_REFUSED(stream(stored_tensor("1", 2) +
                            tuple(op(Opcode::NEWTRUE) + op(Opcode::NEWFALSE) + ordered_dict()) +
                            op(Opcode::BUILD),
                        text("1"), stored(2, 2)),
                 "the state of a value of type Tensor");
}

TEST_F(TorchStream, AModuleIdStandsForItsClassAndNothingIsCalled) {
  const auto module = [](const std::string& of) {
    return tuple(text("module") + of + op(Opcode::NONE) + op(Opcode::NONE)) + op(Opcode::BINPERSID);
  };
  const StateDict state = loaded(stream(module(global("nets", "Net")), "", ""));
  EXPECT_EQ(state.root().global().name, "Net");
  EXPECT_REFUSED(stream(called(module(global("os", "system")), text("true")), "", ""), "os.system");
  EXPECT_REFUSED(stream(called(module(text("os.system")), text("true")), "", ""),
                 "a value of type str is called");
  EXPECT_EQ(message([&] {
              open(file_in_memory("m.pt", stream(module(global("nets", "Net")), "", "")),
                   {.refuse_objects = true});
            }),
            "no error");  // a name alone is not an object
}

TEST_F(TorchStream, NamesOfThePastAreInert) {
  const std::string call =
      called(global("torch.nn.backends.thnn", "_get_thnn_function_backend"), "");
  EXPECT_EQ(str(loaded(stream(call, "", "")).root()),
            "<torch.nn.backends.thnn._get_thnn_function_backend>()");
  EXPECT_EQ(scan(file_in_memory("m.pt", stream(call, "", ""))).verdict, Verdict::needs_classes);
}

TEST_F(TorchStream, TheIdOfAZipFileIsRefused) {
  EXPECT_REFUSED(stream(tensor("1", 2), text("1"), stored(2, 2)), "the persistent id is not");
}

TEST_F(TorchStream, AnotherNumberOfElementsIsRefused) {
  EXPECT_REFUSED(stream(stored_tensor("1", 2), text("1"), stored(3, 3)),
                 "has 3 elements, but the values say 2");
}

TEST_F(TorchStream, AKeyThatTheValuesDoNotMentionIsRefused) {
  EXPECT_REFUSED(stream(stored_tensor("1", 2), text("0") + text("1"), stored(2, 2) + stored(2, 2)),
                 "\"0\" is listed, but the values do not mention it");
}

TEST_F(TorchStream, AStorageThatIsNotListedIsRefused) {
  EXPECT_REFUSED(stream(stored_tensor("1", 2), "", stored(2, 2)), "not in the list");
}

TEST_F(TorchStream, AKeyThatIsListedTwiceIsRefused) {
  EXPECT_REFUSED(stream(stored_tensor("1", 2), text("1") + text("1"), stored(2, 2) + stored(2, 2)),
                 "is listed twice");
}

TEST_F(TorchStream, AListOfOtherThingsIsRefused) {
  EXPECT_REFUSED(stream(stored_tensor("1", 2), number(1), stored(2, 2)),
                 "an item that is not a str");
  EXPECT_REFUSED(stream(stored_tensor("1", 2), global("os", "system"), stored(2, 2)),
                 "expected plain values, found the name os.system");
}

TEST_F(TorchStream, AnotherProtocolVersionIsNotRead) {
  EXPECT_REFUSED(stream(stored_tensor("1", 2), text("1"), stored(2, 2), 1002), "expected 1001");
}

TEST_F(TorchStream, ASizeBeyondTheFileIsRefusedBeforeAnythingIsAllocated) {
  EXPECT_REFUSED(
      stream(stored_tensor("1", std::int64_t{1} << 40), text("1"), stored(1ull << 40, 2)),
      "needs 4398046511104 bytes");
  EXPECT_REFUSED(
      stream(stored_tensor("1", std::int64_t{1} << 62), text("1"), stored(1ull << 62, 2)),
      "needs more than 64 bits");
}

TEST_F(TorchStream, ATruncatedFileSaysHowMuchIsMissing) {
  const std::string whole = stream(list(stored_tensor("1", 100) + stored_tensor("2", 100)),
                                   text("1") + text("2"), stored(100, 100) + stored(100, 100));
  const std::string cut = whole.substr(0, whole.size() - 204);
  EXPECT_REFUSED(cut, "only 196 are left (the file is truncated)");
  EXPECT_REFUSED(cut,
                 std::to_string(cut.size()) + " of " + std::to_string(whole.size()) + " bytes");
}

TEST_F(TorchStream, EveryTruncationIsAnError) {
  const std::string whole = stream(list(stored_tensor("1", 3) + stored_tensor("2", 0)),
                                   text("1") + text("2"), stored(3, 3) + stored(0, 0));
  EXPECT_EQ(refusal(whole), "no error");
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_NE(refusal(whole.substr(0, n)), "no error");
}

TEST_F(TorchStream, RecoverWritesTheWholeTensors) {
  const std::string whole = stream(list(stored_tensor("1", 100) + stored_tensor("2", 100)),
                                   text("1") + text("2"), stored(100, 100) + stored(100, 100));
  golden::write_file(path("cut.pt"), whole.substr(0, whole.size() - 1));
  const RecoverResult result = recover(path("cut.pt"), path("good.pt"));
  EXPECT_EQ(result.intact, 1u);
  ASSERT_EQ(result.lost.size(), 1u);
  EXPECT_EQ(result.lost[0].name, "1");
  EXPECT_EQ(values(load(path("good.pt")).root().item(0).tensor()).back(), 100.0f);
}

TEST_F(TorchStream, ScanJudgesEachPickleAndWhatBreaksOff) {
  const std::string evil = called(global("os", "system"), text("true"));
  const auto verdict = [](const std::string& bytes) {
    return scan(file_in_memory("m.pt", bytes)).verdict;
  };
  EXPECT_EQ(verdict(stream(stored_tensor("1", 2), text("1"), stored(2, 2))), Verdict::plain);
  EXPECT_EQ(verdict(stream(evil, "", "")), Verdict::runs_code);
  EXPECT_EQ(verdict(stream(stored_tensor("1", 2), evil, stored(2, 2))), Verdict::runs_code);
  const std::string start = magic_number() + pickle(number(1001)) + pickle(op(Opcode::EMPTY_DICT));
  EXPECT_EQ(verdict(start + op(Opcode::PROTO, 2) + evil), Verdict::runs_code);
  EXPECT_EQ(scan(file_in_memory("m.pt", stream(evil, "", ""))).format, "legacy stream");
}

}  // namespace
}  // namespace transload
