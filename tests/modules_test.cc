// Modules that were pickled whole: their state dicts stand for them, by the names of Module.state_dict().
#include "archive/zip_write.h"
#include "golden.h"
#include "io/crc32.h"
#include "io/file.h"
#include "pickles.h"
#include "small_model.h"

namespace transload {
namespace {

using namespace pickles;
using Modules = TestFolder;

std::string dict(const std::string& pairs) { return op(Opcode::MARK) + pairs + op(Opcode::DICT); }
std::string object_of(const std::string& module, const std::string& name,
                      const std::string& state) {
  return global(module, name) + op(Opcode::EMPTY_TUPLE) + op(Opcode::NEWOBJ) + state +
         op(Opcode::BUILD);
}
std::string module(const std::string& parameters, const std::string& buffers,
                   const std::string& modules, const std::string& more = "") {
  return object_of(
      "nets", "Net",
      dict(text("training") + op(Opcode::NEWTRUE) + text("_parameters") + dict(parameters) +
           text("_buffers") + dict(buffers) + text("_modules") + dict(modules) + more));
}
// {"model": a module with a parameter, a buffer and a module within}
std::string layers(const std::string& last = "") {
  const std::string inner =
      module(text("weight") + tensor("0", 2) + text("bias") + op(Opcode::NONE),
             text("mean") + tensor("1", 2), last);
  return module(text("scale") + tensor("2", 1), text("steps") + tensor("3", 1),
                text("0") + inner + text("1") + op(Opcode::NONE));
}

// A zip file of these members, as PyTorch lays it out.
std::string zip_of(const std::vector<std::pair<std::string, std::string>>& members) {
  ZipLayout zip(64);
  for (const auto& [name, bytes] : members) zip.add(name, bytes.size());
  std::string text;
  std::vector<std::uint32_t> crcs;
  for (std::size_t i = 0; i < members.size(); ++i) {
    crcs.push_back(crc32_of(std::as_bytes(std::span(members[i].second))));
    text += zip.header(i) + members[i].second;
    if (!members[i].second.empty()) text += zip.descriptor(i, crcs.back());
  }
  return text + zip.directory(crcs);
}

std::string floats(std::size_t count, float first) {
  std::vector<float> numbers;
  for (std::size_t i = 0; i < count; ++i) numbers.push_back(first + static_cast<float>(i));
  return {reinterpret_cast<const char*>(numbers.data()), 4 * count};
}

std::string checkpoint(const std::string& value) {
  return zip_of({{"m/data.pkl", pickle(value)},
                 {"m/data/0", floats(2, 1)},
                 {"m/data/1", floats(2, 10)},
                 {"m/data/2", floats(1, 20)},
                 {"m/data/3", floats(1, 30)},
                 {"m/version", "3\n"}});
}

Index opened(const std::string& bytes) { return open(file_in_memory("m.pt", bytes)); }

std::vector<std::string> names(const StateDict& state) {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : state.tensors()) names.push_back(tensor.name);
  return names;
}

using Names = std::vector<std::string>;
const Names kLayers = {"scale", "steps", "0.weight", "0.mean"};

TEST_F(Modules, AFileThatHoldsAModuleLoadsAsItsStateDict) {
  const StateDict state = load(opened(checkpoint(layers())), {.map_location = "cpu"});
  EXPECT_EQ(state.root().kind(), ValueKind::ordered_dict);
  EXPECT_EQ(names(state), kLayers);
  EXPECT_EQ(values(state.tensor("0.weight")), (std::vector<float>{1, 2}));
  EXPECT_EQ(values(state.tensor("steps")), (std::vector<float>{30}));
}

TEST_F(Modules, WithinACheckpointTheNamesContinueThoseOfTheCheckpoint) {
  const Index index =
      opened(checkpoint(dict(text("epoch") + number(1) + text("model") + layers())));
  EXPECT_EQ(names(index.contents),
            (Names{"model/scale", "model/steps", "model/0.weight", "model/0.mean"}));
  const StateDict part = load(index, {.map_location = "cpu", .select = {.at = "model"}});
  EXPECT_EQ(names(part), kLayers);
  // What else the module holds is there by its attributes' names.
  EXPECT_EQ(str(index.contents.root().at_path("model/training")), "True");
}

TEST_F(Modules, TheStateDictIsDetached) {
  const std::string parameter = called(global("torch._utils", "_rebuild_parameter"),
                                       tensor("0", 2) + op(Opcode::NEWTRUE) + ordered_dict());
  const Index index = opened(checkpoint(module(text("w") + parameter, "", "")));
  const Tensor tensor = index.contents.tensors()[0].value.tensor();
  EXPECT_FALSE(tensor.requires_grad || tensor.is_parameter);
}

TEST_F(Modules, BuffersThatAreNotPersistentAreLeftOut) {
  const std::string set =
      called(global("__builtin__", "set"), op(Opcode::MARK) + text("mask") + op(Opcode::LIST));
  const Index index =
      opened(checkpoint(module("", text("mask") + tensor("0", 2) + text("kept") + tensor("1", 2),
                               "", text("_non_persistent_buffers_set") + set)));
  EXPECT_EQ(names(index.contents), (Names{"kept"}));
}

TEST_F(Modules, TiedParametersStayTied) {
  const Index index = opened(checkpoint(
      module(text("a") + tensor("0", 2) + op(Opcode::BINPUT, 5) + text("b") + op(Opcode::BINGET, 5),
             "", "")));
  const StateDict state = load(index, {.map_location = "cpu"});
  EXPECT_EQ(state.tensor("a").storage().identity(), state.tensor("b").storage().identity());
}

TEST_F(Modules, ConvertWritesTheStateDictUnlessObjectsAreAllowed) {
  golden::write_file(path("m.pt"), checkpoint(layers()));
  convert(path("m.pt"), path("out.safetensors"));
  EXPECT_EQ(load(path("out.safetensors")).tensors().size(), kLayers.size());
  convert(path("m.pt"), path("out.pt"));
  EXPECT_EQ(names(load(path("out.pt"))), kLayers);
  convert(path("m.pt"), path("object.pt"), {.allow_objects = true});
  EXPECT_TRUE(open(path("object.pt")).contents.root().is(ValueKind::object));
}

TEST_F(Modules, SafetensorsNamesTheWayToAModuleWithinACheckpoint) {
  golden::write_file(path("m.pt"), checkpoint(dict(text("model") + layers())));
  EXPECT_NE(message([&] {
              convert(path("m.pt"), path("out.safetensors"));
            }).find("`at` = \"model\" selects its state dict"),
            std::string::npos);
  convert(path("m.pt"), path("out.safetensors"), {.select = {.at = "model"}});
  EXPECT_TRUE(load(path("out.safetensors")).contains("0.weight"));
}

TEST_F(Modules, ALiveModelIsFilledFromAModule) {
  golden::write_file(path("m.pt"), checkpoint(dict(text("model") + layers())));
  StateDict live;
  live.set("scale", counted({1}, 0));
  live.set("steps", counted({1}, 0));
  live.set("0.weight", counted({2}, 0));
  live.set("0.mean", counted({2}, 0));
  load_into(live, path("m.pt"), {.select = {.at = "model"}});
  EXPECT_EQ(values(live.tensor("0.mean")), (std::vector<float>{10, 11}));
  EXPECT_NE(message([&] { load_into(live, path("m.pt")); }).find("at = \"model\""),
            std::string::npos);
}

TEST_F(Modules, AModuleThatIsAlsoAPartOfAnotherHasAStateDictOfItsOwn) {
  const std::string inner = module(text("w") + tensor("0", 2), "", "") + op(Opcode::BINPUT, 7);
  const Index index = opened(checkpoint(dict(text("all") + module("", "", text("part") + inner) +
                                             text("part") + op(Opcode::BINGET, 7))));
  EXPECT_EQ(names(index.contents), (Names{"all/part.w", "part/w"}));
}

TEST_F(Modules, ModulesInACircleStayObjects) {
  // A module whose _modules hold itself.
  const std::string circle =
      global("nets", "Net") + op(Opcode::EMPTY_TUPLE) + op(Opcode::NEWOBJ) + op(Opcode::BINPUT, 1) +
      dict(text("_parameters") + dict(text("w") + tensor("0", 2)) + text("_buffers") + dict("") +
           text("_modules") + dict(text("self") + op(Opcode::BINGET, 1))) +
      op(Opcode::BUILD);
  const Index index = opened(checkpoint(circle));
  EXPECT_TRUE(index.contents.root().is(ValueKind::object));
  EXPECT_FALSE(index.contents.root().object().state_dict);
}

TEST_F(Modules, ModulesThatShareModulesTwoToTheNTimesStayObjects) {
  std::string shared = module(text("w") + tensor("0", 2), "", "") + op(Opcode::BINPUT, 0);
  for (int i = 1; i < 40; ++i) {
    shared = module("", "", text("a") + shared + text("b") + op(Opcode::BINGET, i - 1)) +
             op(Opcode::BINPUT, i);
  }
  const Index index = opened(checkpoint(shared));
  EXPECT_FALSE(index.contents.root().object().state_dict);
}

TEST_F(Modules, AnObjectWithOtherAttributesIsNotAModule) {
  const Index index = opened(checkpoint(object_of(
      "nets", "Net", dict(text("_parameters") + dict("") + text("_buffers") + number(1)))));
  EXPECT_FALSE(index.contents.root().object().state_dict);
}

// ---- TorchScript ----

std::string sequential(const std::string& state) {
  return object_of("__torch__.nets", "Net", dict(state));
}

std::string program(const std::string& value, const std::string& constants, const std::string& code,
                    const std::string& version = "3\n") {
  return zip_of({{"m/data.pkl", pickle(value)},
                 {"m/data/0", floats(2, 1)},
                 {"m/constants/0", floats(2, 10)},
                 {"m/code/__torch__/nets.py", code},
                 {"m/constants.pkl", pickle(constants)},
                 {"m/version", version}});
}

const std::string kCode =
    "class Net(Module):\n  __parameters__ = [\"weight\", ]\n  __buffers__ = []\n  weight : Tensor\n"
    "  note : Tensor\n  def forward(self: __torch__.nets.Net) -> Tensor:\n    return self.weight\n";

TEST_F(Modules, AProgramHasTheNamesOfItsStateDict) {
  const std::string value =
      sequential(text("training") + op(Opcode::NEWTRUE) + text("0") +
                 sequential(text("weight") + tensor("0", 2) + text("note") + tensor("0", 2)));
  EXPECT_EQ(names(opened(program(value, tuple(""), kCode)).contents), (Names{"0.weight"}));
  // Without the class all tensors are listed.
  EXPECT_EQ(names(opened(program(value, tuple(""), "")).contents), (Names{"0.weight", "0.note"}));
}

TEST_F(Modules, AProgramOfAnyVersionIsRead) {
  const std::string value = sequential(text("weight") + tensor("0", 2));
  for (const char* const version : {"1\n", "2\n", "10\n"})
    EXPECT_EQ(names(opened(program(value, tuple(""), kCode, version)).contents), (Names{"weight"}));
}

TEST_F(Modules, TheConstantsOfAFrozenProgramAreItsTensors) {
  const Index index = opened(program(sequential(text("training") + op(Opcode::NEWFALSE)),
                                     tuple(number(3) + tensor("0", 2)), kCode));
  EXPECT_EQ(names(index.contents), (Names{"CONSTANTS.c1"}));
  EXPECT_EQ(values(load(index, {.map_location = "cpu"}).tensor("CONSTANTS.c1")),
            (std::vector<float>{10, 11}));
}

TEST_F(Modules, TagsAndListsOfAProgramAreTheValuesThatTheyGiveBack) {
  const std::string list = called(global("torch.jit._pickle", "build_tensorlist"),
                                  op(Opcode::MARK) + tensor("0", 2) + op(Opcode::LIST));
  const std::string tagged = called(global("torch.jit._pickle", "restore_type_tag"),
                                    dict(text("a") + number(1)) + text("Dict[str, int]"));
  const Index index =
      opened(program(sequential(text("list") + list + text("table") + tagged), tuple(""), ""));
  EXPECT_EQ(str(index.contents.root().at_path("table")), "{'a': 1}");
  EXPECT_TRUE(index.contents.root().at_path("list").is(ValueKind::list));
}

TEST_F(Modules, AProgramsStorageIdMayEndInNone) {
  const std::string value = sequential(text("weight") + tensor("0", 2, op(Opcode::NONE)));
  EXPECT_EQ(names(opened(program(value, tuple(""), kCode)).contents), (Names{"weight"}));
}

TEST_F(Modules, ClassesOfAProgramAreNeverCalled) {
  const std::string value = called(global("__torch__.nets", "Net"), text("argument"));
  EXPECT_EQ(str(opened(program(value, tuple(""), kCode)).contents.root()),
            "<__torch__.nets.Net>('argument',)");
}

TEST_F(Modules, AMissingRecordOfAConstantIsRefused) {
  const std::string bytes = program(sequential(""), tuple(tensor("7", 2)), kCode);
  EXPECT_NE(message([&] { opened(bytes); }).find("\"constants/7\" is mentioned by the pickle"),
            std::string::npos);
}

}  // namespace
}  // namespace transload
