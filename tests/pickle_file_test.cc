// Bare pickles: the golden files of generate_pickles.py, and each way in which what they hold can lie.
#include "golden.h"
#include "io/file.h"
#include "pickles.h"
#include "small_model.h"
#include "transload/scan.h"

namespace transload {
namespace {

using namespace pickles;

Index opened(const std::string& bytes, const OpenOptions& options = {}) {
  return open(file_in_memory("zoo.pkl", bytes), options);
}
std::string refusal(const std::string& bytes) {
  return message([&] { opened(bytes); });
}

// A number's dtype, as NumPy pickles it.
std::string dtype(const std::string& type, const std::string& order, const std::string& fields) {
  return called(global("numpy", "dtype"), text(type) + op(Opcode::NEWFALSE) + op(Opcode::NEWTRUE)) +
         tuple(number(3) + text(order) + fields + fields + fields + number(-1) + number(-1) +
               number(0)) +
         op(Opcode::BUILD);
}
std::string array(const std::string& shape, const std::string& type, const std::string& bytes) {
  return called(global("numpy.core.multiarray", "_reconstruct"),
                global("numpy", "ndarray") + tuple(number(0)) + op(Opcode::BINBYTES, "b")) +
         tuple(number(1) + tuple(shape) + type + op(Opcode::NEWFALSE) +
               op(Opcode::BINBYTES, bytes)) +
         op(Opcode::BUILD);
}
const std::string kFloat = dtype("f4", "<", op(Opcode::NONE));
const std::string kTwo("\0\0\x80\x3F\0\0\0\x40", 8);  // 1 and 2

TEST(PickleFile, ArraysOfEveryProtocolAreTensors) {
  for (int protocol = 0; protocol <= 5; ++protocol) {
    const std::string file = "pickles/zoo_" + std::to_string(protocol) + ".pkl";
    SCOPED_TRACE(file);
    const StateDict state = load(golden::kData / file, {.map_location = "cpu"});
    const Value model = state.root().at_path("model");
    const std::vector<float> six = {0, 1, 2, 3, 4, 5};
    EXPECT_EQ(values(model.at_path("conv.weight").tensor()), six);
    EXPECT_EQ(values(model.at_path("fortran").tensor()), six);
    EXPECT_EQ(model.at_path("fortran").tensor().stride(), (Dims{1, 2}));
    EXPECT_EQ(str(model.at_path("big").tensor()).find("[0, 1, 2]") != std::string::npos, true)
        << str(model.at_path("big").tensor());
    EXPECT_EQ(model.at_path("empty").tensor().shape(), (Dims{0, 3}));
    EXPECT_EQ(model.at_path("scalar").tensor().shape(), (Dims{}));
    EXPECT_EQ(element_bytes(model.at_path("bytes").tensor())[1], std::byte{128});
    EXPECT_EQ(state["author"].text(), "x");
    EXPECT_EQ(state["lr"].real(), 0.5);
    EXPECT_FALSE(state["no"].boolean());
    EXPECT_EQ(str(state["big"]), "1180591620717411303424");
    EXPECT_TRUE(state["labels"].is(ValueKind::object));  // not numbers
  }
}

TEST(PickleFile, TensorsAreThoseOfTheStreamsInside) {
  for (const char* const file : {"pickles/tensors_2.pkl", "pickles/tensors_4.pkl"}) {
    const StateDict state = load(golden::kData / file, {.map_location = "cpu"});
    EXPECT_EQ(values(state.tensor("w")), (std::vector<float>{0, 1, 2, 3}));
    EXPECT_EQ(state.tensor("half").dtype(), Dtype::bfloat16);
    EXPECT_TRUE(state.tensor("p").is_parameter);
  }
}

TEST(PickleFile, AnArrayHasAsManyBytesAsItsShapeNeeds) {
  EXPECT_EQ(refusal(pickle(array(number(2), kFloat, kTwo))), "no error");
  for (const std::string& shape : {number(3), number(1), number(2) + number(0)}) {
    EXPECT_NE(refusal(pickle(array(shape, kFloat, kTwo))).find("but has 8"), std::string::npos);
  }
  const std::string huge = number(std::int64_t{1} << 62) + number(8);
  EXPECT_NE(refusal(pickle(array(huge, kFloat, kTwo))).find("64 bits"), std::string::npos);
  EXPECT_NE(refusal(pickle(array(number(-2), kFloat, kTwo))).find("negative"), std::string::npos);
}

TEST(PickleFile, AnArrayWithoutElementsMayHaveAnyShape) {
  const std::string shape =
      number(0) + number(std::int64_t{1} << 62) + number(std::int64_t{1} << 62);
  EXPECT_EQ(refusal(pickle(array(shape, kFloat, ""))), "no error");
}

TEST(PickleFile, ArraysOfOtherThingsStayObjects) {
  for (const std::string& type :
       {dtype("O8", "|", op(Opcode::NONE)), dtype("V8", "|", text("f0")),
        dtype("f4", "<", text("f0")), dtype("U2", "<", op(Opcode::NONE))}) {
    const Index index = opened(pickle(array(number(2), type, kTwo)));
    EXPECT_TRUE(index.contents.root().is(ValueKind::object));
  }
}

TEST(PickleFile, ArraysThatShareBytesCannotGrowBeyondTheFile) {
  const std::string bytes = op(Opcode::BINBYTES, std::string(4000, '\1')) + op(Opcode::BINPUT, 1);
  std::string arrays = op(Opcode::MARK) + bytes;
  for (int i = 0; i < 100; ++i) {
    arrays += called(global("numpy.core.multiarray", "_reconstruct"),
                     global("numpy", "ndarray") + tuple(number(0)) + op(Opcode::BINBYTES, "b")) +
              tuple(number(1) + tuple(number(1000)) + kFloat + op(Opcode::NEWFALSE) +
                    op(Opcode::BINGET, 1)) +
              op(Opcode::BUILD);
  }
  EXPECT_NE(refusal(pickle(arrays + op(Opcode::LIST))).find("more bytes than the file"),
            std::string::npos);
}

TEST(PickleFile, AStreamInsideIsReadByTheSameRules) {
  const auto storage_of = [](const std::string& stream) {
    return refusal(
        pickle(called(global("torch.storage", "_load_from_bytes"), op(Opcode::BINBYTES, stream))));
  };
  EXPECT_NE(storage_of("PK").find("not a legacy stream"), std::string::npos);
  const std::string magic =
      pickle(OpcodeEncoder().add_big_integer("\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19").take());
  const auto stream = [&](const std::string& value) {
    return magic + pickle(number(1001)) + pickle(op(Opcode::EMPTY_DICT)) + pickle(value) +
           pickle(op(Opcode::EMPTY_LIST));
  };
  EXPECT_NE(storage_of(stream(called(global("os", "system"), text("true")))).find("os.system"),
            std::string::npos);
  // A stream within a stream is not followed.
  const std::string again = called(global("torch.storage", "_load_from_bytes"),
                                   op(Opcode::BINBYTES, stream(op(Opcode::NONE))));
  EXPECT_NE(storage_of(stream(again)).find("calls torch.storage._load_from_bytes"),
            std::string::npos);
  const std::string cut = stream(op(Opcode::NONE)).substr(0, 27);
  EXPECT_NE(storage_of(cut).find("a storage: offset 27: data.pkl"), std::string::npos)
      << storage_of(cut);
}

TEST(PickleFile, OnlyAWholePickleIsOne) {
  const std::string whole =
      pickle(op(Opcode::EMPTY_DICT) + text("a") + number(7) + op(Opcode::SETITEM));
  EXPECT_EQ(opened(whole).format, "pickle");
  EXPECT_NE(refusal(whole + "x").find("not a whole one"), std::string::npos);
  EXPECT_NE(refusal(whole.substr(0, 3)).find("not a whole one"), std::string::npos);
  EXPECT_NE(refusal("hello, hello.").find("text"), std::string::npos);
  EXPECT_NE(refusal("NNNNNNNNN0000000.").find("text"), std::string::npos);
  EXPECT_NE(refusal(pickle(number(7))).find("not a model"),
            std::string::npos);  // opcodes, by chance
}

TEST(PickleFile, CodeIsRefusedAndNeverCalled) {
  EXPECT_NE(refusal(pickle(called(global("os", "system"), text("true")))).find("os.system"),
            std::string::npos);
  EXPECT_NE(refusal("(S'true'\nios\nsystem\n.").find("os.system"), std::string::npos);
  EXPECT_EQ(scan(file_in_memory("m.pkl", std::string("(S'true'\nios\nsystem\n."))).verdict,
            Verdict::runs_code);
}

TEST(PickleFile, PersistentIdsAreRefused) {
  EXPECT_NE(refusal(pickle(tensor("0", 2))).find("persistent id"), std::string::npos);
}

TEST(PickleFile, TheMetadataOfADistributedCheckpointNamesItsTool) {
  const std::string metadata = global("torch.distributed.checkpoint.metadata", "Metadata") +
                               op(Opcode::EMPTY_TUPLE) + op(Opcode::NEWOBJ) +
                               op(Opcode::EMPTY_DICT) + op(Opcode::BUILD);
  EXPECT_NE(refusal(pickle(metadata)).find("dcp_to_torch"), std::string::npos);
}

// ---- the tar of PyTorch 0.1 ----

std::string number_bytes(std::int64_t value, std::size_t nbytes) {
  return {reinterpret_cast<const char*>(&value), nbytes};
}

std::string tar_of(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string tar;
  for (const auto& [name, bytes] : members) {
    std::string header(512, '\0');
    header.replace(0, name.size(), name);
    char size[13];
    std::snprintf(size, sizeof size, "%011zo", bytes.size());
    header.replace(124, 11, size, 11);
    header.replace(257, 5, "ustar");
    tar += header + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
  }
  return tar + std::string(1024, '\0');
}

std::string stored(const std::string& key, std::int64_t numel, const std::string& elements) {
  return pickle(tuple(key + text("cpu") + global("torch", "FloatStorage"))) +
         number_bytes(numel, 8) + elements;
}
std::string view_of(std::int64_t offset, std::int64_t size) {
  return pickle(op(Opcode::MARK) + tuple(number(2) + number(1) + number(offset) + number(size)) +
                op(Opcode::LIST));
}
// A tensor of one dimension over the storage of this key.
std::string described(std::int64_t storage, std::int64_t numel, std::int64_t offset,
                      std::int64_t ndim = 1) {
  return pickle(tuple(number(9) + number(storage) + global("torch", "FloatTensor"))) +
         number_bytes(ndim, 4) + number_bytes(0, 4) + number_bytes(numel, 8) + number_bytes(1, 8) +
         number_bytes(offset, 8);
}
std::string tar(const std::string& storages, const std::string& tensors,
                const std::string& value = text("9") + op(Opcode::BINPERSID)) {
  return tar_of({{"sys_info", pickle(op(Opcode::EMPTY_DICT))},
                 {"pickle", pickle(value)},
                 {"tensors", tensors},
                 {"storages", storages}});
}
const std::string kStorages = pickle(number(1)) + stored(number(1), 2, kTwo) + view_of(1, 1);

TEST(TorchTar, TensorsLieOverStoragesAndPartsOfThem) {
  const StateDict whole =
      load(opened(tar(kStorages, pickle(number(1)) + described(1, 2, 0))), {.map_location = "cpu"});
  EXPECT_EQ(values(whole.root().tensor()), (std::vector<float>{1, 2}));
  const StateDict part =
      load(opened(tar(kStorages, pickle(number(1)) + described(2, 1, 0))), {.map_location = "cpu"});
  EXPECT_EQ(values(part.root().tensor()), (std::vector<float>{2}));
}

TEST(TorchTar, TheGoldenFileIsRead) {
  const StateDict state =
      load(golden::kData / "torch-1.13/synthetic_old.tar.pt", {.map_location = "cpu"});
  EXPECT_EQ(state.tensors().size(), 2u);
  EXPECT_EQ(state.tensor("a").storage().identity(), state.tensor("b").storage().identity());
}

TEST(TorchTar, WhatDoesNotFitIsRefused) {
  const std::string one = pickle(number(1)), tensors = one + described(1, 2, 0);
  const std::pair<std::string, const char*> wrong[] = {
      {tar(one + stored(number(1), 3, kTwo), tensors), "12 bytes are needed"},
      {tar(one + stored(number(1), -1, kTwo), tensors), "-1 elements"},
      {tar(one + stored(number(1), std::int64_t{1} << 62, kTwo), tensors), "64 bits"},
      {tar(one + stored(text("1"), 2, kTwo), tensors), "expected an int"},
      {tar(pickle(number(2)) + stored(number(1), 2, kTwo), tensors), "storages"},
      {tar(one + stored(number(1), 2, kTwo) + view_of(1, 2), tensors),
       "from 1 on of a storage of 2"},
      {tar(one + stored(number(1), 2, kTwo) + view_of(-1, 1), tensors), "from -1 on"},
      {tar(kStorages, one + described(1, 3, 0)), "beyond its storage"},
      {tar(kStorages, one + described(2, 2, 0)), "beyond its storage"},
      {tar(kStorages, one + described(7, 2, 0)), "a storage that is not there"},
      {tar(kStorages, one + described(1, 2, 0, 65)), "65 dimensions"},
      {tar(kStorages, one + described(1, 2, 0, -1)), "-1 dimensions"},
      {tar(kStorages, tensors, text("8") + op(Opcode::BINPERSID)), "\"8\" is not the key"},
      {tar(kStorages, tensors, text("2") + op(Opcode::BINPERSID)), "a value of its own"},
      {tar(kStorages, tensors, called(global("os", "system"), text("true"))), "os.system"},
  };
  for (const auto& [bytes, words] : wrong)
    EXPECT_NE(refusal(bytes).find(words), std::string::npos) << words << ": " << refusal(bytes);
}

TEST(TorchTar, AMemberThatIsThereTwiceIsRefused) {
  const std::string tensors = pickle(number(1)) + described(1, 2, 0);
  const std::string value = pickle(text("9") + op(Opcode::BINPERSID));
  EXPECT_NE(refusal(tar_of({{"pickle", value},
                            {"pickle", value},
                            {"tensors", tensors},
                            {"storages", kStorages}}))
                .find("is there twice"),
            std::string::npos);
}

TEST(TorchTar, AnyOtherTarIsNotOne) {
  EXPECT_NE(refusal(tar_of({{"weights.bin", "x"}})).find("this is a tar"), std::string::npos);
}

}  // namespace
}  // namespace transload
