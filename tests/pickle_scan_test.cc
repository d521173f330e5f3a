// The scanner's walk over a pickle: every way to name and call something, and pickles that break.
#include "scan/pickle_scan.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "pickles.h"

namespace transload {
namespace {

using namespace pickles;
using How = PickleUse::How;

PickleScan scanned(std::string_view bytes) {
  return scan_pickle(std::as_bytes(std::span(bytes)), "m/data.pkl");
}

const PickleUse* find(const PickleScan& scan, How how, std::string_view name) {
  const auto found = std::ranges::find_if(
      scan.uses, [&](const PickleUse& use) { return use.how == how && use.name == name; });
  return found == scan.uses.end() ? nullptr : &*found;
}

std::string all(const PickleScan& scan) {
  std::string text;
  for (const PickleUse& use : scan.uses)
    text +=
        std::string(name(use.how)) + " " + use.name + ": " + std::string(name(use.verdict)) + "\n";
  return text + scan.broken;
}

void expect_runs(const std::string& value, How how, std::string_view name) {
  const PickleScan scan = scanned(pickle(value));
  EXPECT_EQ(scan.broken, "") << name;
  const PickleUse* const use = find(scan, how, name);
  ASSERT_TRUE(use) << name << " is not among\n" << all(scan);
  EXPECT_EQ(use->verdict, Verdict::runs_code) << name;
}

const std::string kSystem = global("os", "system");
const std::string kTrue = text("true");
const std::string kSize = global("torch", "Size");
const std::string kRuns = called(kSystem, kTrue);

TEST(PickleScan, AHarmlessPickleSaysWhatItUses) {
  const std::string bytes =
      pickle(op(Opcode::EMPTY_DICT) + text("w") + tensor("0", 3) + op(Opcode::SETITEM));
  const PickleScan scan = scanned(bytes + "behind");
  EXPECT_EQ(scan.broken, "");
  EXPECT_EQ(scan.nbytes, bytes.size());
  ASSERT_EQ(scan.uses.size(), 5) << all(scan);
  for (const PickleUse& use : scan.uses) {
    EXPECT_EQ(use.verdict, Verdict::plain) << use.name;
    EXPECT_EQ(use.member, "m/data.pkl");
  }
  const PickleUse* const rebuild = find(scan, How::call, "torch._utils._rebuild_tensor_v2");
  ASSERT_TRUE(rebuild);
  EXPECT_EQ(rebuild->offset, bytes.size() - 3);  // REDUCE, then SETITEM and STOP
  EXPECT_TRUE(find(scan, How::mention, "torch.FloatStorage"));
}

TEST(PickleScan, UsesAreCounted) {
  const PickleScan scan = scanned(pickle(kRuns + op(Opcode::POP) + kRuns));
  ASSERT_EQ(scan.uses.size(), 2) << all(scan);
  EXPECT_EQ(scan.uses[1].count, 2);
}

TEST(PickleScan, EveryOpcodeThatCallsIsSeen) {
  const std::string popen = global("subprocess", "Popen"), empty = op(Opcode::EMPTY_TUPLE);
  expect_runs(kRuns, How::call, "os.system");
  expect_runs(op(Opcode::MARK) + kTrue + op(Opcode::INST, "os", "system"), How::call, "os.system");
  expect_runs(op(Opcode::MARK) + kSystem + kTrue + op(Opcode::OBJ), How::call, "os.system");
  expect_runs(popen + tuple(kTrue) + op(Opcode::NEWOBJ), How::make, "subprocess.Popen");
  expect_runs(popen + empty + op(Opcode::EMPTY_DICT) + op(Opcode::NEWOBJ_EX), How::make,
              "subprocess.Popen");
  expect_runs(global("functools", "partial") + empty + op(Opcode::NEWOBJ) + op(Opcode::EMPTY_DICT) +
                  op(Opcode::BUILD),
              How::make, "functools.partial");
  expect_runs(op(Opcode::EXT1, 7), How::extension, "extension 7");
  expect_runs(op(Opcode::EXT2, 700), How::extension, "extension 700");
  expect_runs(op(Opcode::EXT4, 70000), How::extension, "extension 70000");
}

TEST(PickleScan, EveryOpcodeThatNamesIsSeen) {
  const std::string to_call = tuple(kTrue) + op(Opcode::REDUCE);
  expect_runs(kSystem, How::mention, "os.system");
  expect_runs(stack_global("os", "system") + to_call, How::call, "os.system");
  for (const Opcode opcode : {Opcode::SHORT_BINUNICODE, Opcode::BINUNICODE8, Opcode::BINSTRING,
                              Opcode::SHORT_BINSTRING, Opcode::UNICODE}) {
    expect_runs(op(opcode, "os") + op(opcode, "system") + op(Opcode::STACK_GLOBAL) + to_call,
                How::call, "os.system");
  }
  expect_runs(op(Opcode::STRING, "'os'") + op(Opcode::STRING, "'system'") +
                  op(Opcode::STACK_GLOBAL) + to_call,
              How::call, "os.system");
}

TEST(PickleScan, NamesFromTheMemoAreSeen) {
  const std::string drop = op(Opcode::POP), stack = op(Opcode::STACK_GLOBAL);
  expect_runs(kSystem + op(Opcode::BINPUT, 5) + drop + op(Opcode::BINGET, 5) + tuple(kTrue) +
                  op(Opcode::REDUCE),
              How::call, "os.system");
  expect_runs(kSystem + op(Opcode::MEMOIZE) + drop + op(Opcode::LONG_BINGET, 0) + tuple(kTrue) +
                  op(Opcode::REDUCE),
              How::call, "os.system");
  expect_runs(op(Opcode::UNICODE, "os") + op(Opcode::PUT, "7") + drop +
                  op(Opcode::UNICODE, "system") + op(Opcode::PUT, "8") + drop +
                  op(Opcode::GET, "7") + op(Opcode::GET, "8") + stack,
              How::mention, "os.system");
  // A memo entry that is overwritten
  expect_runs(text("collections") + op(Opcode::BINPUT, 1) + drop + text("subprocess") +
                  op(Opcode::BINPUT, 1) + drop + op(Opcode::BINGET, 1) + text("Popen") + stack,
              How::mention, "subprocess.Popen");
}

TEST(PickleScan, NamesThatAreMadeOrWrittenOddlyAreCode) {
  const std::string stack = op(Opcode::STACK_GLOBAL);
  constexpr std::string_view kMade = "a name that is made while loading";
  expect_runs(
      called(global("_codecs", "encode"), text("os") + text("latin1")) + text("system") + stack,
      How::mention, kMade);
  expect_runs(op(Opcode::UNICODE, "\\u0073ubprocess") + op(Opcode::UNICODE, "Popen") + stack,
              How::mention, kMade);
  expect_runs(op(Opcode::STRING, "'\\x73ubprocess'") + op(Opcode::STRING, "'Popen'") + stack,
              How::mention, kMade);
  for (const char* odd : {"+1", "0_1", "01", " 1"})
    expect_runs(text("x") + op(Opcode::PUT, odd), How::mention, "a memo entry with an odd number");
  EXPECT_NE(scanned(text("x") + op(Opcode::PUT, "one")).broken, "");
}

TEST(PickleScan, WhatIsThrownAwayOrNestedIsSeen) {
  const std::string none = op(Opcode::NONE);
  for (const std::string& value :
       {kRuns + op(Opcode::POP) + none, op(Opcode::MARK) + kRuns + op(Opcode::POP_MARK) + none,
        op(Opcode::EMPTY_DICT) + kRuns + none + op(Opcode::SETITEM),
        op(Opcode::EMPTY_SET) + op(Opcode::MARK) + kRuns + op(Opcode::ADDITEMS),
        kRuns + op(Opcode::BINPERSID), ordered_dict() + kRuns + op(Opcode::BUILD),
        none + op(Opcode::POP) + op(Opcode::PROTO, 5) + kRuns,
        op(Opcode::FRAME, std::int64_t{1} << 62) + kRuns})
    expect_runs(value, How::call, "os.system");
}

TEST(PickleScan, WaysThroughAttributesResultsAndOtherCallsAreSeen) {
  const std::string getattr = global("__builtin__", "getattr");
  const std::string from_type = global("torch._tensor", "_rebuild_from_type_v2");
  const std::string dict = op(Opcode::EMPTY_DICT), run_it = global("my_package", "run_it");
  expect_runs(called(getattr, kSize + text("__class__")), How::mention, "torch.Size.__class__");
  expect_runs(called(getattr, called(kSize, "") + text("x")), How::call, "__builtin__.getattr");
  expect_runs(called(called(getattr, global("my", "Class") + text("RUN")), ""), How::call,
              "my.Class.RUN()");
  expect_runs(called(called(kSize, ""), ""), How::call, "torch.Size()");
  expect_runs(called(from_type, run_it + kSize + tuple(kTrue) + dict), How::call,
              "my_package.run_it");
  expect_runs(called(global("torch._tensor", "_rebuild_from_type"), run_it + kSize), How::call,
              "my_package.run_it");
  expect_runs(from_type + called(global("builtins", "tuple"), kTrue) + op(Opcode::REDUCE),
              How::call, "a value that is not a name");
  expect_runs(global("torch.nn", "Module") + dict + op(Opcode::BUILD), How::set_state,
              "torch.nn.Module itself");
  expect_runs(text("x") + op(Opcode::BINPERSID) + dict + op(Opcode::BUILD), How::set_state,
              "what was looked up, itself");
  expect_runs(called(tuple(text("module") + global("torch._C", "PyTorchFileWriter")) +
                         op(Opcode::BINPERSID),
                     kTrue),
              How::call, "torch._C.PyTorchFileWriter");
}

TEST(PickleScan, MembersOfEnumsAndMethodsOfLayersOnlyNeedTheirClasses) {
  const std::string getattr = global("__builtin__", "getattr");
  const std::string layer = global("torch.nn.modules.linear", "LazyLinear") +
                            op(Opcode::EMPTY_TUPLE) + op(Opcode::NEWOBJ);
  for (const std::string& value : {called(getattr, global("my", "Color") + text("RED")),
                                   called(getattr, layer + text("_infer_parameters")), layer}) {
    const PickleScan scan = scanned(pickle(value));
    EXPECT_EQ(scan.broken, "");
    for (const PickleUse& use : scan.uses)
      EXPECT_EQ(use.verdict, Verdict::needs_classes) << all(scan);
  }
  EXPECT_TRUE(find(scanned(pickle(called(getattr, layer + text("__reduce__")))), How::call,
                   "__builtin__.getattr"));
}

TEST(PickleScan, MakersAndClassesAreJudgedByWhatTheyAreGiven) {
  const std::string run_it = global("my_package", "run_it"), cls = global("my", "Class");
  const std::string none = op(Opcode::NONE), made = called(cls, "");
  expect_runs(called(global("copyreg", "_reconstructor"), made + kSize + none), How::call,
              "copyreg._reconstructor of what is not a class");
  expect_runs(called(global("numpy.random._pickle", "__generator_ctor"), text("x") + run_it),
              How::call, "my_package.run_it");
  expect_runs(called(cls, text("http://a.b/c")), How::call, "my.Class with a path, URL or command");
  expect_runs(called(cls, global("my", "Other")), How::call, "my.Class with something to call");
  expect_runs(op(Opcode::EMPTY_LIST) + global("builtins", "getattr") + op(Opcode::APPEND),
              How::mention, "builtins.getattr");
  expect_runs(cls + text("x") + none + op(Opcode::SETITEM), How::set_state, "items of my.Class");
  const std::string dtype = called(global("numpy", "dtype"), text("O8"));
  expect_runs(called(global("numpy.core.multiarray", "scalar"), dtype + number(4096)), How::call,
              "numpy.core.multiarray.scalar of a dtype that may hold pointers");
}

TEST(PickleScan, AClassMayHaveALowerCaseName) {
  const PickleScan scan =
      scanned(pickle(global("my", "layer") + op(Opcode::EMPTY_TUPLE) + op(Opcode::NEWOBJ) +
                     op(Opcode::EMPTY_DICT) + op(Opcode::BUILD)));
  ASSERT_FALSE(scan.uses.empty());
  for (const PickleUse& use : scan.uses)
    EXPECT_EQ(use.verdict, Verdict::needs_classes) << all(scan);
}

TEST(PickleScan, AMemoNumberEndsAtANulAsInC) {
  expect_runs(text("x") + op(Opcode::PUT, std::string_view("1\0x", 3)), How::mention,
              "a memo entry with an odd number");
}

TEST(PickleScan, GivingUpIsSaid) {
  std::string value;
  for (int i = 0; i < 10'010; ++i)
    value += global("my", "Class" + std::to_string(i)) + op(Opcode::POP);
  const PickleScan scan = scanned(pickle(value + kRuns));
  EXPECT_TRUE(scan.gave_up);
  EXPECT_NE(scan.broken, "");
}

// What joblib writes for an array of eight bytes, "padding" included, then `after`.
std::string joblib_array(const std::string& elements, const std::string& after) {
  return op(Opcode::MARK) + global("joblib.numpy_pickle", "NumpyArrayWrapper") +
         op(Opcode::EMPTY_TUPLE) + op(Opcode::NEWOBJ) + op(Opcode::EMPTY_DICT) + op(Opcode::MARK) +
         text("shape") + tuple(number(8)) + text("dtype") +
         called(global("numpy", "dtype"), text("u1")) + text("numpy_array_alignment_bytes") +
         number(16) + op(Opcode::SETITEMS) + op(Opcode::BUILD) + std::string("\2\xFF\xFF") +
         elements + after + op(Opcode::LIST);
}

TEST(PickleScan, ArraysOfJoblibAreSteppedOver) {
  const PickleScan good = scanned(pickle(joblib_array(std::string(8, '\xFF'), "")));
  EXPECT_EQ(good.broken, "");
  for (const PickleUse& use : good.uses) EXPECT_NE(use.verdict, Verdict::runs_code) << use.name;
  // As opcodes, these elements swallow what follows.
  const std::string swallow("B\xFF\xFF\0\0\0\0\0", 8);
  expect_runs(joblib_array(swallow, kRuns), How::call, "os.system");
}

TEST(PickleScan, IdsThatAreNotStoragesAreLookedUp) {
  EXPECT_TRUE(find(scanned(pickle(op(Opcode::PERSID, "abc"))), How::persistent_id, "\"abc\""));
  const PickleScan scan = scanned(pickle(text("x") + op(Opcode::BINPERSID)));
  EXPECT_TRUE(find(scan, How::persistent_id, "an id that is not a storage"));
  EXPECT_TRUE(scanned(pickle(storage("0", 1))).uses.size() == 1);  // torch.FloatStorage
}

TEST(PickleScan, WhatBreaksLaterHasRunBefore) {
  struct Case {
    std::string end, broken;
  };
  const Case cases[] = {
      {"", "the pickle ends without STOP"},
      {"\xFF", "byte 255 is not a pickle opcode"},
      {op(Opcode::POP) + op(Opcode::REDUCE), "opcode REDUCE needs a value, but the stack has none"},
      {op(Opcode::TUPLE), "opcode TUPLE needs a mark, but there is none"},
      {std::string("X\xFF\xFF\xFF\x7F"), "opcode BINUNICODE needs 2147483647 bytes, but only 0"},
      {"cabc", "opcode GLOBAL needs a line, but no line break follows"},
      {std::string("\x95\0", 2), "opcode FRAME needs 8 bytes, but only 1 is left"},
      {op(Opcode::PROTO, 6), "opcode PROTO names protocol 6"},
  };
  for (const Case& end : cases) {
    const PickleScan scan = scanned(op(Opcode::PROTO, 2) + kRuns + end.end);
    EXPECT_TRUE(find(scan, How::call, "os.system")) << end.broken;
    EXPECT_NE(scan.broken.find(end.broken), std::string::npos) << scan.broken;
    EXPECT_TRUE(scan.broken.starts_with("offset ")) << scan.broken;
  }
}

TEST(PickleScan, AnOpcodeThatIsCutShortUsesNothing) {
  for (const std::string& end : {op(Opcode::EXT4, 70000), op(Opcode::PERSID, "a")}) {
    const PickleScan scan = scanned(kRuns + end.substr(0, end.size() - 1));
    EXPECT_EQ(scan.uses.size(), 2) << all(scan);
    EXPECT_EQ(scan.nbytes, kRuns.size() + end.size() - 1);
    EXPECT_NE(scan.broken, "");
  }
}

}  // namespace
}  // namespace transload
