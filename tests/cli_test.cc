// The program as a script sees it: its output, its messages and its exit status.
#include <sys/wait.h>
#include <algorithm>

#include <cstdio>
#include <map>
#include <sstream>

#include "golden.h"
#include "transload/transload.h"

namespace transload {
namespace {

using golden::file_text;
using golden::kData;
using namespace std::string_literals;
namespace fs = std::filesystem;

const std::string kToy = (kData / "torch-2.13/toy.safetensors").string();

struct Result {
  int status;
  std::string out, err;
};

class Cli : public golden::TemporaryFolder {
 protected:
  // Runs the program. `arguments` are shell words; `before` precedes the program: environment
  // variables.
  Result run(const std::string& arguments, const std::string& before = "") const {
    const std::string command = before + " " + TRANSLOAD_CLI + " " + arguments + " >" +
                                path("out").string() + " 2>" + path("err").string();
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, file_text(path("out")),
            file_text(path("err"))};
  }
};

std::string quoted(const fs::path& path) { return "'" + path.string() + "'"; }

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Replaces lone surrogates, which JSON allows and RapidJSON rejects. JsonIsAsciiWhereATextIsNoUtf8
// checks them.
rapidjson::Document parse(std::string text) {
  for (std::size_t at; (at = text.find("\\ud")) != std::string::npos;)
    text.replace(at, 6, "\\ufffd");
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(text.c_str());
  EXPECT_FALSE(document.HasParseError()) << text.substr(0, 200);
  return document;
}

TEST_F(Cli, HelpAndVersionAreResults) {
  EXPECT_EQ(run("--help").status, 0);
  EXPECT_TRUE(contains(run("--help").out, "inspect"));
  EXPECT_TRUE(contains(run("load --help").out, "--map-location"));
  EXPECT_TRUE(run("--version").out.starts_with("transload "));
}

TEST_F(Cli, AWrongCommandLineEndsWith2AndSaysNothingOnStdout) {
  for (const char* arguments :
       {"", "frobnicate", "inspect", "load x --map-location banana", "load x --dtype float33",
        "load x --rename abc", "inspect x --digests", "convert a b --to pickle",
        "inspect x --nonsense"}) {
    const Result result = run(arguments);
    EXPECT_EQ(result.status, 2) << arguments;
    EXPECT_EQ(result.out, "") << arguments;
    EXPECT_NE(result.err, "") << arguments;
  }
}

TEST_F(Cli, AFileAtFaultEndsWith1AndTheErrorOnStderr) {
  for (const char* command : {"inspect", "inspect --json", "explain", "load"}) {
    const Result missing = run(std::string(command) + " /no/such/file.pt");
    EXPECT_EQ(missing.status, 1) << command;
    EXPECT_EQ(missing.out, "") << command;
    EXPECT_EQ(missing.err, "/no/such/file.pt: cannot be opened: No such file or directory\n")
        << command;
  }
  EXPECT_EQ(run("inspect " + quoted(kData / "torch-2.13/refuse/hole.safetensors")).status, 1);
}

TEST_F(Cli, ANameInAFileCannotSteerTheTerminal) {
  StateDict state;
  state.set("red \x1B[31m", zeros({1}, Dtype::float32));
  save(state, path("a.pt"));
  const Result result = run("inspect " + quoted(path("a.pt")));
  EXPECT_FALSE(contains(result.out, "\x1B"));
  EXPECT_TRUE(contains(result.out, "red \\x1b[31m: float32 [1] on cpu"));
}

TEST_F(Cli, StdoutThatCannotBeWrittenIsAnError) {
  EXPECT_EQ(
      std::system(
          (std::string(TRANSLOAD_CLI) + " inspect " + kToy + " >/dev/full 2>/dev/null").c_str()) >>
          8,
      1);
  EXPECT_EQ(std::system(
                (std::string(TRANSLOAD_CLI) + " inspect --json " + kToy + " >/dev/full 2>/dev/null")
                    .c_str()) >>
                8,
            1);
}

TEST_F(Cli, InspectShowsATreeForPeople) {
  const Result result = run("inspect " + quoted(kData / "torch-2.13/checkpoint_adam.zip.pt"));
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_TRUE(contains(result.out,
                       "torch_zip, dict of 5\n  epoch: 5\n  model_state_dict: OrderedDict of 4\n   "
                       " net1.weight: float32 [10, 10] on cpu, 400 bytes\n"));
  EXPECT_TRUE(contains(result.out, "        params: [0, 1, 2, 3]\n"));
}

TEST_F(Cli, InspectSaysWhichTensorsShareAStorage) {
  const Result result = run("inspect " + quoted(kData / "torch-2.13/tied_weights.zip.pt"));
  EXPECT_TRUE(contains(
      result.out,
      "embed.weight: float32 [5, 3] on cpu, 60 bytes, storage \"0\" shared by 2 tensors\n"));
  EXPECT_TRUE(contains(result.out, "cpu: 60 bytes in 1 storage\n"));
}

TEST_F(Cli, InspectSaysWhereTensorsWereSaved) {
  const Result result = run("inspect " + quoted(kData / "torch-2.13/location_mixed.zip.pt"));
  EXPECT_TRUE(contains(result.out, " on cuda:0, "));
}

// Every golden file: its tensors are those of the manifest, or the program reports an error.
class CliManifest : public Cli, public testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Versions, CliManifest, testing::Values("torch-1.13", "torch-2.13"));

// "_modules/net1/_parameters/weight" or "net1/weight" as a state dict has it: "net1.weight".
std::string state_dict_name(std::string name) {
  for (const std::string part : {"_modules/", "_parameters/", "_buffers/"}) {
    for (std::size_t at = name.find(part); at != name.npos; at = name.find(part))
      name.erase(at, part.size());
  }
  std::ranges::replace(name, '/', '.');
  return name;
}

TEST_P(CliManifest, InspectPrintsWhatTheManifestSays) {
  const auto manifest = golden::manifest(GetParam());
  int loaded = 0, refused = 0;
  for (const auto& entry : manifest["files"].GetArray()) {
    const fs::path file = kData / GetParam() / entry["file"].GetString();
    const std::string expect = entry["expect"].GetString(),
                      container =
                          entry.HasMember("container") ? entry["container"].GetString() : "";
    const bool is_read = container == "zip" || container == "legacy" ||
                         container == "torchscript" || container == "tar" ||
                         container == "safetensors" || container == "index";
    if (!fs::exists(file) || (expect != "refuse" && !is_read)) continue;
    SCOPED_TRACE(file.string());
    const Result result = run("inspect --json --digests " + quoted(file));
    if (expect == "refuse") {
      const bool may_load = entry.HasMember("may_load") && result.status == 0;
      EXPECT_TRUE(may_load || (result.status == 1 && result.err.size() > 20)) << result.err;
      ++refused;
      continue;
    }
    ASSERT_EQ(result.status, 0) << result.err;
    const auto found = parse(result.out);
    std::map<std::string, const rapidjson::Value*> by_name;
    for (const auto& tensor : found["tensors"].GetArray())
      by_name[tensor["name"].GetString()] = &tensor;
    ++loaded;
    const bool is_module =
        container == "torchscript" || file.filename().string().starts_with("whole_module");
    for (const auto& expected : entry["tensors"].GetArray()) {
      const std::string name = expected["name"].GetString();
      const auto tensor = by_name.find(is_module ? state_dict_name(name) : name);
      ASSERT_NE(tensor, by_name.end()) << name;
      // The manifest counts from the beginning of the part of the storage that the file names.
      const bool is_in_a_view = file.filename() == "synthetic_old_views.legacy.pt" ||
                                file.filename() == "synthetic_old.tar.pt";
      for (const char* field : {"dtype", "shape", "stride", "storage_offset", "requires_grad",
                                "location", "storage", "sha256"}) {
        if (!expected.HasMember(field)) continue;
        if (is_module && std::string_view(field) == "requires_grad") continue;  // detached
        if (is_in_a_view && std::string_view(field) == "storage_offset") continue;
        EXPECT_TRUE(expected[field] == (*tensor->second)[field])
            << expected["name"].GetString() << " " << field;
      }
    }
  }
  EXPECT_GE(loaded, 40);
  EXPECT_TRUE(refused >= 100 || GetParam() == std::string("torch-1.13")) << refused;
}

TEST_F(Cli, JsonHasThePlainValuesToo) {
  const auto found =
      parse(run("inspect --json " + quoted(kData / "torch-2.13/checkpoint_adam.zip.pt")).out);
  EXPECT_STREQ(found["format"].GetString(), "torch_zip");
  EXPECT_EQ(found["values"]["epoch"].GetInt(), 5);
  EXPECT_EQ(found["values"]["optimizer_state_dict/param_groups/0/lr"].GetDouble(), 0.001);
  EXPECT_TRUE(found["values"]["optimizer_state_dict/param_groups/0/foreach"].IsNull());
  EXPECT_FALSE(found["tensors"][0].HasMember("sha256"));
}

TEST_F(Cli, JsonIsAsciiWhereATextIsNoUtf8) {
  const std::string nested =
      run("inspect --json " + quoted(kData / "torch-2.13/nested_containers.zip.pt")).out;
  EXPECT_TRUE(contains(nested, "\\ud800")) << nested;

  const fs::path odd = path("caf\xE9.pt");  // Latin-1
  fs::copy_file(kToy, odd);
  const std::string file = run("inspect --json " + quoted(odd)).out;
  EXPECT_TRUE(contains(file, "caf\\udce9.pt\"")) << file.substr(0, 200);
}

TEST_F(Cli, ExplainDecidesAndLoadsNothing) {
  const Result result = run("explain " + kToy + " --map-location meta");
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(contains(result.out, "0 bytes in 0 transfers")) << result.out;
  EXPECT_TRUE(contains(run("explain " + kToy).out, "cpu: 484 bytes in 4 storages"));
}

TEST_F(Cli, ExplainSaysWhatAConversionWouldDo) {
  const Result result = run("explain " + kToy + " --save out.safetensors");
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(contains(result.out, "484 bytes in 4 transfers")) << result.out;
  EXPECT_TRUE(
      contains(result.out, "write out.safetensors: 484 bytes of tensors, through the page cache"))
      << result.out;
  EXPECT_EQ(run("explain " + kToy + " --save out.pt --dtype float16").status, 2);
}

TEST_F(Cli, LoadSaysWhereEveryByteWent) {
  const Result result = run("load " + quoted(kData / "torch-2.13/location_cuda0.zip.pt") +
                            " --map-location cuda:0=cpu");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.out, "4 tensors, 484 bytes read in ")) << result.out;
  EXPECT_TRUE(contains(
      result.out, "cpu: 484 bytes of tensors; allocated memory grew by 640 bytes, 640 planned\n"))
      << result.out;
  EXPECT_EQ(result.err, "");  // no progress in a pipe
}

TEST_F(Cli, LoadTakesRulesSelectionsAndADtype) {
  const Result result =
      run("load " + kToy +
          " --map-location 'net1.*:meta' --map-location cpu --drop '*.bias' --dtype float16");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.out, "2 tensors, 40 bytes read")) << result.out;
  EXPECT_TRUE(contains(result.out, "meta: ")) << result.out;
  EXPECT_TRUE(contains(result.out,
                       "cpu: 20 bytes of tensors; allocated memory grew by 64 bytes, "
                       "64 planned"))
      << result.out;
  EXPECT_TRUE(contains(run("explain " + kToy + " --keep '*.bias'").out, "44 bytes in 2 transfers"));
}

TEST_F(Cli, ConvertTakesAPartOfACheckpointUnderOtherNames) {
  const std::string checkpoint = quoted(kData / "torch-2.13/checkpoint_adam.zip.pt");
  const fs::path out = path("m.safetensors");
  EXPECT_TRUE(contains(run("convert " + checkpoint + " " + quoted(out)).err, "--at "));
  const Result wrong = run("convert " + checkpoint + " " + quoted(out) + " --at model");
  EXPECT_TRUE(contains(wrong.err, "the parts are ")) << wrong.err;
  EXPECT_TRUE(contains(wrong.err, "\"model_state_dict\"")) << wrong.err;
  const Result done = run("convert " + checkpoint + " " + quoted(out) +
                          " --at model_state_dict --drop '*.bias' --rename 'net1.*=first.*'");
  EXPECT_EQ(done.status, 0) << done.err;
  const Index index = open(out);
  EXPECT_EQ(index.contents.size(), 2u);
  EXPECT_TRUE(index.contents.contains("first.weight"));
}

TEST_F(Cli, ConvertSaysWhatSafetensorsHasNoPlaceFor) {
  const auto words = [&](const char* file) {
    return run("convert " + quoted(kData / "torch-2.13" / file) + " " +
               quoted(path("m.safetensors")))
        .err;
  };
  EXPECT_TRUE(contains(words("parameters.zip.pt"), "which tensors are Parameters"));
  EXPECT_TRUE(contains(words("views_shared_storage.zip.pt"), "views of the same storage"));
  EXPECT_EQ(words("toy_state_dict.zip.pt"), "");
  // Only the selected tensors count.
  const Index views = open(kData / "torch-2.13/views_shared_storage.zip.pt");
  const Result one = run("convert " + quoted(std::filesystem::path(views.files[0].name)) + " " +
                         quoted(path("one.safetensors")) + " --keep " +
                         quoted(fs::path(views.contents.tensors().front().name)));
  EXPECT_EQ(one.status, 0);
  EXPECT_EQ(one.err, "");
}

TEST_F(Cli, ASelectionThatFitsNothingSaysSo) {
  const Result result = run("load " + kToy + " --keep 'nett.*'");
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(contains(result.err, "--keep \"nett.*\"")) << result.err;
}

TEST_F(Cli, RulesThatFitNothingAreWarnedOfAndNoOthers) {
  for (const std::string& command : std::vector<std::string>{
           "load " + kToy, "explain " + kToy, "explain " + kToy + " --save out.pt",
           "convert " + kToy + " " + quoted(path("rules.pt"))}) {
    const Result fits = run(command +
                            " --map-location 'net1.*:cpu' --map-location cuda:0=cpu "
                            "--drop net1.bias --rename 'net2.*=top.*' --keep 'net*'");
    EXPECT_EQ(fits.status, 0) << fits.err;
    EXPECT_EQ(fits.err, "") << command;
    const Result vain = run(command +
                            " --map-location 'nett1.*:cpu' --map-location 'net2.*=cpu' "
                            "--drop net1.bias --drop 'net3.*' --rename net1=x");
    EXPECT_EQ(vain.status, 0) << vain.err;
    EXPECT_EQ(vain.err,
              "warning: --drop \"net3.*\" fits no tensor; did you mean \"net1.*\"?\n"
              "warning: --rename \"net1\" fits no tensor; did you mean \"net1.*\"?\n"
              "warning: --map-location \"nett1.*\" fits no tensor; did you mean \"net1.*\"?\n"
              "warning: --map-location \"net2.*=cpu\" fits no tensor: before \"=\" stands the "
              "device that tensors were saved on; did you mean \"net2.*:cpu\"?\n")
        << command;
  }
}

TEST_F(Cli, ADeviceThatIsNotSupportedIsNamedWithThoseThatAreHere) {
  for (const char* rule : {"mps", "cpu=xpu:0", "net1.*:hpu"}) {
    const Result result = run("explain " + kToy + " --map-location '" + rule + "'");
    EXPECT_EQ(result.status, 2) << rule;
    EXPECT_TRUE(contains(result.err, "is not a supported device; the devices here are cpu, meta"))
        << result.err;
  }
  const Result absent = run("explain " + kToy + " --map-location cuda:7");
  EXPECT_EQ(absent.status, 1);
  EXPECT_TRUE(contains(absent.err, "to cuda:7, which is not here\n  --map-location cpu loads"))
      << absent.err;
}

TEST_F(Cli, ATagOfADeviceThatIsNotHereNamesTheWayOut) {
  const Result result = run("load " + quoted(kData / "torch-2.13/location_cuda_15.zip.pt"));
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(contains(result.err, "cuda:15")) << result.err;
  EXPECT_TRUE(contains(result.err, "--map-location cpu")) << result.err;
  const Result two = run("load " + quoted(kData / "torch-2.13/location_mixed.zip.pt"));
  EXPECT_TRUE(contains(two.err, "--map-location cuda:0=cpu --map-location cuda:1=cpu")) << two.err;
  EXPECT_TRUE(contains(two.err, "the devices here are cpu, meta")) << two.err;
}

TEST_F(Cli, LoadOntoAnEmulatedGpuGrowsItAsPlanned) {
  const std::string folder = fs::path(TRANSLOAD_FAKE_CUDA).parent_path().string();
  const Result result = run("load " + kToy + " --map-location cuda:0", "LD_LIBRARY_PATH=" + folder);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.out, "cuda:0: 484 bytes of tensors; allocated memory grew by "))
      << result.out;
  EXPECT_TRUE(contains(run("devices", "LD_LIBRARY_PATH=" + folder).out, "cuda:0"));
}

TEST_F(Cli, ConvertThereAndBackKeepsEveryTensor) {
  const fs::path there = path("toy.pt"), back = path("back.safetensors");
  ASSERT_EQ(run("convert " + kToy + " " + quoted(there) + " --map-location cuda:1").status, 0);
  EXPECT_EQ(open(there).format, "torch_zip");
  EXPECT_EQ(open(there).locations, std::vector<std::string>{"cuda:1"});
  ASSERT_EQ(run("convert " + quoted(there) + " " + quoted(back)).status, 0);
  const auto digests = [&](const fs::path& file) {
    std::map<std::string, std::string> all;
    const auto found = parse(run("inspect --json --digests " + quoted(file)).out);
    for (const auto& tensor : found["tensors"].GetArray())
      all[tensor["name"].GetString()] = tensor["sha256"].GetString();
    return all;
  };
  EXPECT_EQ(digests(kToy), digests(back));
  EXPECT_EQ(digests(kToy), digests(there));
}

TEST_F(Cli, ConvertTakesTheFormatByNameToo) {
  ASSERT_EQ(run("convert " + kToy + " " + quoted(path("a.bin")) + " --to safetensors").status, 0);
  EXPECT_EQ(file_text(path("a.bin")), file_text(kToy));
}

TEST_F(Cli, ConvertToAFormatThatCannotHoldItWritesNothing) {
  const Result result = run("convert " + quoted(kData / "torch-2.13/checkpoint_adam.zip.pt") + " " +
                            quoted(path("a.safetensors")));
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(
      contains(result.err, "\"epoch\" is of type int; safetensors holds a flat dict of tensors"))
      << result.err;
  EXPECT_FALSE(fs::exists(path("a.safetensors")));
}

TEST_F(Cli, ConvertWritesTheTensorsBesidePlainValues) {
  StateDict state;
  state.set("conv.weight", zeros({2}, Dtype::float32));
  state.set("epoch", std::int64_t{10});
  save(state, path("mixed.pt"));
  const std::string convert =
      "convert " + quoted(path("mixed.pt")) + " " + quoted(path("m.safetensors"));
  const Result refused = run(convert);
  EXPECT_EQ(refused.status, 1);
  EXPECT_TRUE(contains(refused.err, "--values drop leaves out what is not a tensor"))
      << refused.err;
  EXPECT_TRUE(contains(refused.err, "--to torch_zip holds everything")) << refused.err;
  for (const char* option : {" --values drop", " --keep 'conv*'", " --drop epoch"}) {
    fs::remove(path("m.safetensors"));
    EXPECT_EQ(run(convert + option).status, 0) << option;
    EXPECT_EQ(load(path("m.safetensors")).size(), 1u) << option;
  }
  EXPECT_EQ(run(convert + " --keep 'conv*' --values keep").status, 1);
  EXPECT_EQ(run(convert + " --values some").status, 2);
  EXPECT_EQ(
      run("explain " + quoted(path("mixed.pt")) + " --save a.safetensors --values drop").status, 0);
}

TEST_F(Cli, ConvertSaysWhatTheFormatLeavesOut) {
  const Result result = run("convert " + quoted(kData / "torch-2.13/parameters.zip.pt") + " " +
                            quoted(path("a.safetensors")) + " --values drop");
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(contains(result.err,
                       "left out, because the format cannot store it: which tensors are "
                       "Parameters or require gradients"))
      << result.err;
}

TEST_F(Cli, TheSuffixOfAnotherFormatIsAnErrorThatNamesTheOption) {
  for (const char* command : {"convert ", "recover "}) {
    const Result result = run(command + kToy + " " + quoted(path("model.onnx")));
    EXPECT_EQ(result.status, 1);
    EXPECT_TRUE(contains(result.err, ".onnx is the suffix of ONNX")) << result.err;
    EXPECT_TRUE(contains(result.err, "--to: torch_zip or safetensors")) << result.err;
    EXPECT_FALSE(fs::exists(path("model.onnx")));
    EXPECT_EQ(run(command + kToy + " " + quoted(path("model.onnx")) + " --to torch_zip").status, 0);
    EXPECT_EQ(open(path("model.onnx")).format, "torch_zip");
    fs::remove(path("model.onnx"));
  }
}

TEST_F(Cli, RecoverOfSafetensorsListsWhatIsLost) {
  const std::string whole = file_text(kToy);
  golden::write_file(path("cut.safetensors"), whole.substr(0, whole.size() - 1));
  const Result result =
      run("recover " + quoted(path("cut.safetensors")) + " " + quoted(path("good.safetensors")));
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(contains(result.out, "3 tensors, ")) << result.out;
  EXPECT_TRUE(contains(result.out, "; 1 lost\n")) << result.out;
  golden::write_file(path("more.safetensors"), whole + "more");
  EXPECT_EQ(
      run("recover " + quoted(path("more.safetensors")) + " " + quoted(path("good.safetensors")))
          .status,
      0);
}

// How often the program opens this file, by strace.
class CliOpens : public Cli {
 protected:
  int opens_of(const fs::path& file, const std::string& arguments) const {
    const fs::path trace = path("trace");
    EXPECT_EQ(run(arguments,
                  "ASAN_OPTIONS=detect_leaks=0 strace -f -e trace=open,openat -o " + quoted(trace))
                  .status,
              0)
        << arguments;
    std::istringstream lines(file_text(trace));
    int count = 0;
    for (std::string line; std::getline(lines, line);)
      count += contains(line, "\"" + file.string() + "\"") && !contains(line, "O_DIRECTORY");
    return count;
  }
};

TEST_F(CliOpens, EachFileOnce) {
  if (std::system("strace -o /dev/null true >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "strace is missing";
  for (const char* name : {"toy.safetensors", "toy_state_dict.zip.pt"}) {
    const fs::path file = kData / "torch-2.13" / name, out = path("out.safetensors");
    for (const std::string& command :
         {"inspect "s, "inspect --json --digests "s, "load --map-location cpu "s, "explain "s,
          "verify "s, "verify --write-manifest " + quoted(path("manifest")) + " ", "scan "s})
      EXPECT_EQ(opens_of(file, command + quoted(file)), 1) << command << name;
    EXPECT_EQ(opens_of(file, "convert " + quoted(file) + " " + quoted(out)), 1) << name;
    EXPECT_EQ(opens_of(file, "recover " + quoted(file) + " " + quoted(out)), 1) << name;
  }
}

TEST_F(Cli, ErrorsNameTheOptionsOfTheCommandLine) {
  const Result rule = run("load " + kToy + " --map-location banana");
  EXPECT_TRUE(contains(rule.err, "--map-location \"banana\"")) << rule.err;
  EXPECT_FALSE(contains(rule.err, "map_location")) << rule.err;
  const Result objects =
      run("inspect --refuse-objects " + quoted(kData / "torch-2.13/python_objects.zip.pt"));
  EXPECT_EQ(objects.status, 1);
  EXPECT_TRUE(contains(objects.err, "--refuse-objects")) << objects.err;
}

TEST_F(Cli, ErrorsLeaveTheNamesOfFilesAndKeysAlone) {
  StateDict state;
  state.set("to keep_calls or not", std::int64_t{1});
  save(state, path("map_location"));
  const Result result =
      run("convert " + quoted(path("map_location")) + " " + quoted(path("a.safetensors")));
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(contains(result.err, "\"to keep_calls or not\" is of type int")) << result.err;
  const Result missing = run("inspect " + quoted(path("map_location/a.pt")));
  EXPECT_TRUE(contains(missing.err, "/map_location/a.pt: ")) << missing.err;
}

TEST_F(Cli, HelpFitsEightyColumns) {
  for (const char* command : {"", "inspect", "explain", "load", "convert", "scan", "verify",
                              "recover", "devices", "demo"}) {
    std::istringstream help(run(std::string(command) + " --help").out);
    for (std::string line; std::getline(help, line);) {
      if (line.starts_with("Usage: ")) continue;
      EXPECT_LE(line.size(), 80u) << command << ": " << line;
    }
  }
}

TEST_F(Cli, DevicesListsWhatIsHere) {
  const Result result = run("devices");
  EXPECT_EQ(result.status, 0);
  EXPECT_TRUE(contains(result.out, "\ncpu "));
  EXPECT_TRUE(contains(result.out, "\nmeta "));
}

}  // namespace
}  // namespace transload
