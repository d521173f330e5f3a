// The allow-list: what each kind of name is judged as, by the scanner and by the reader.
#include "pickle/globals.h"

#include <gtest/gtest.h>

#include <set>
#include <sstream>
#include <string>

namespace transload {
namespace {

using How = PickleUse::How;
using enum GlobalKind;

struct Name {
  const char *module, *name;
};

std::string shown(const Name& of) { return std::string(of.module) + "." + of.name; }

void expect_kind(GlobalKind kind, std::initializer_list<Name> names) {
  for (const Name& of : names)
    EXPECT_EQ(static_cast<int>(kind_of_global(of.module, of.name)), static_cast<int>(kind))
        << shown(of);
}

void expect_judged(How how, Verdict verdict, bool is_refused, std::initializer_list<Name> names) {
  for (const Name& of : names) {
    const Judgement judgement = judge_global(of.module, of.name, how);
    EXPECT_EQ(name(judgement.verdict), name(verdict)) << name(how) << " " << shown(of);
    EXPECT_EQ(judgement.is_refused, is_refused) << name(how) << " " << shown(of);
  }
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream stream{std::string(text)};
  return {std::istream_iterator<std::string>(stream), {}};
}

TEST(Globals, EachNameIsInOneRow) {
  std::set<std::pair<std::string, std::string>> seen;
  for (const GlobalRow& row : global_rows()) {
    for (const std::string& module : words_of(row.modules)) {
      for (const std::string& name : words_of(row.names))
        EXPECT_TRUE(seen.emplace(module, name).second) << module << "." << name;
    }
  }
  EXPECT_GT(seen.size(), 300);
}

TEST(Globals, PlainDataIsPlainHoweverItIsUsed) {
  const std::initializer_list<Name> plain = {{"collections", "OrderedDict"},
                                             {"collections", "Counter"},
                                             {"__builtin__", "set"},
                                             {"builtins", "range"},
                                             {"__builtin__", "xrange"},
                                             {"numpy", "ndarray"},
                                             {"numpy._core.multiarray", "scalar"},
                                             {"datetime", "timezone"},
                                             {"pathlib._local", "PosixPath"},
                                             {"torch", "Tensor"},
                                             {"torch._utils", "_rebuild_qtensor"}};
  expect_kind(plain_data, plain);
  for (const How how : {How::mention, How::call, How::make, How::set_state})
    expect_judged(how, Verdict::plain, false, plain);
  for (const Name& of : plain) EXPECT_TRUE(is_plain_data(of.module, of.name)) << shown(of);
}

TEST(Globals, WhatTheReaderMakesIsPlainButIsNotWrittenAsAName) {
  const std::initializer_list<Name> made = {{"torch", "Size"},
                                            {"torch._utils", "_rebuild_tensor_v2"},
                                            {"_codecs", "encode"},
                                            {"builtins", "bytearray"},
                                            {"torch.tensor", "_rebuild_from_type_v2"}};
  expect_kind(made_by_reader, made);
  expect_judged(How::call, Verdict::plain, false, made);
  for (const Name& of : made) EXPECT_FALSE(is_plain_data(of.module, of.name)) << shown(of);
}

TEST(Globals, DataTypesArePlain) {
  expect_kind(data_type, {{"torch", "float32"},
                          {"torch", "bfloat16"},
                          {"numpy", "int8"},
                          {"torch", "FloatStorage"},
                          {"torch.cuda", "HalfStorage"},
                          {"torch.storage", "UntypedStorage"},
                          {"torch.sparse", "FloatTensor"}});
  expect_kind(code, {{"torch", "FooTensor"}, {"numpy.core", "int8"}, {"os", "float32"}});
}

TEST(Globals, PythonsOwnNamesAreCodeAndARefusedMention) {
  const std::initializer_list<Name> names = {{"os", "system"},
                                             {"posix", "system"},
                                             {"nt", "system"},
                                             {"subprocess", "Popen"},
                                             {"builtins", "eval"},
                                             {"__builtin__", "apply"},
                                             {"importlib", "import_module"},
                                             {"operator", "attrgetter"},
                                             {"cPickle", "loads"},
                                             {"SocketServer", "TCPServer"},
                                             {"_sqlite3", "Connection"},
                                             {"os.path", "os.system"},
                                             {"sympy", "S"},
                                             {"pip", "main"},
                                             {"o s", "System"},
                                             {"collections", "OrderedDict.__init__"}};
  for (const How how : {How::mention, How::call, How::make, How::set_state})
    expect_judged(how, Verdict::runs_code, true, names);
}

TEST(Globals, FunctionsOfTorchAreCodeWhenTheyAreCalled) {
  const std::initializer_list<Name> names = {{"torch", "load"},
                                             {"torch.hub", "load"},
                                             {"torch.jit", "load"},
                                             {"torch.storage", "_load_from_bytes"},
                                             {"numpy", "load"},
                                             {"numpy.testing._private.utils", "runstring"},
                                             {"torch.nn.functional", "importlib"},
                                             {"torch", "Size.mro"},
                                             {"torch._C", "PyTorchFileWriter"},
                                             {"torch.distributed", "TCPStore"},
                                             {"torch.nn.modules.module", "GraphModule"},
                                             {"torch.nn.modules.module", "Node"}};
  expect_judged(How::call, Verdict::runs_code, true, names);
  expect_judged(How::make, Verdict::runs_code, true, names);
  // Models hold functions as values: that opens.
  expect_judged(How::mention, Verdict::runs_code, false, names);
}

TEST(Globals, ClassesOfModelsAndUsersAreNeeded) {
  const std::initializer_list<Name> names = {{"torch.nn.modules.linear", "Linear"},
                                             {"torch.optim.adam", "Adam"},
                                             {"torch.ao.quantization.observer", "MinMaxObserver"},
                                             {"torch.return_types", "max"},
                                             {"torch", "ScriptObject"},
                                             {"numpy.random.mtrand", "RandomState"},
                                             {"my_package.layers", "_Block"},
                                             {"my_package.trees", "Node"},
                                             {"my_package.layers", "Outer.Inner"}};
  expect_kind(needed_class, names);
  for (const How how : {How::mention, How::call, How::make, How::set_state})
    expect_judged(how, Verdict::needs_classes, false, names);
}

TEST(Globals, FunctionsOfUsersAreCodeButOpen) {
  const std::initializer_list<Name> names = {
      {"my_package", "run_it"}, {"weird.module", "func"}, {"my_package", "Color.red"}};
  expect_kind(unknown_function, names);
  expect_judged(How::call, Verdict::runs_code, false, names);
  expect_judged(How::mention, Verdict::runs_code, false, names);
  expect_judged(How::make, Verdict::needs_classes, false, names);
}

TEST(Globals, ActivationsAndAnnotationsAreValuesAndNotCalls) {
  const std::initializer_list<Name> names = {{"torch.nn.functional", "relu"},
                                             {"torch._C._nn", "gelu"},
                                             {"torch._C", "_VariableFunctionsClass"},
                                             {"torch._C", "_VariableFunctionsClass.tanh"},
                                             {"torch.nn.init", "xavier_uniform_"},
                                             {"torch.optim.swa_utils", "SWALR._cosine_anneal"},
                                             {"typing", "Any"},
                                             {"collections.abc", "Callable"},
                                             {"builtins", "getattr"}};
  expect_kind(kept_as_value, names);
  expect_judged(How::mention, Verdict::needs_classes, false, names);
  expect_judged(How::call, Verdict::runs_code, true, names);
}

TEST(Globals, OnlyExactNamesOfTorchAndNumPyArePassed) {
  expect_kind(code, {{"torch.nn.init", "builtins.exec_"},
                     {"torch.nn.init", "torch.builtins.exec.__call__"},
                     {"torch.nn.init", "no_grad_"},
                     {"torch.nn.modules.module", "OrderedDict"},
                     {"torch.nn.modules.linear", "Linear.forward"},
                     {"torch.return_types", "OrderedDict"},
                     {"torch.distributed._shard.api", "ThreadPool"},
                     {"torch.distributed.checkpoint.filesystem", "FileSystemWriter"},
                     {"torch.optim.adam", "Adam._cosine_anneal"},
                     {"numpy.random.mtrand", "Mapping"}});
  expect_kind(needed_class, {{"torch.distributed._mesh_layout", "_MeshLayout"},
                             {"torch.distributed.device_mesh", "DeviceMesh"},
                             {"torch.distributed.tensor.placement_types", "Shard"},
                             {"torch.distributed._tensor.placement_types", "Replicate"},
                             {"torch.nn.quantized.modules.linear", "Linear"},
                             {"torch.quantization.observer", "MinMaxObserver"}});
}

TEST(Globals, ClassesThatConnectOrStartProcessesAreCode) {
  expect_judged(How::make, Verdict::runs_code, true,
                {{"aiohttp.client", "ClientSession"},
                 {"requests.sessions", "Session"},
                 {"joblib._parallel_backends", "ThreadPool"},
                 {"my_package.net", "ClientSession"}});
}

TEST(Globals, APartialIsAsHarmlessAsItsFunction) {
  expect_judged(How::mention, Verdict::needs_classes, false, {{"functools", "partial"}});
  expect_judged(How::call, Verdict::needs_classes, false, {{"functools", "partial"}});
  expect_judged(How::make, Verdict::runs_code, true, {{"functools", "partial"}});
  EXPECT_EQ(judge_wrapped("torch.optim.adamw", "AdamW").verdict, Verdict::needs_classes);
  EXPECT_EQ(judge_wrapped("torch.nn.functional", "gelu").verdict, Verdict::needs_classes);
  EXPECT_EQ(judge_wrapped("my_package", "run_it").verdict, Verdict::runs_code);
  EXPECT_TRUE(judge_wrapped("os", "system").is_refused);
}

TEST(Globals, MakersOfCodeAreCodeInAnyModule) {
  const std::initializer_list<Name> names = {{"my_package", "FunctionType"},
                                             {"my_package.tests", "Popen"},
                                             {"my_package", "os.Popen"},
                                             {"torch.fx._symbolic_trace", "FunctionType"}};
  expect_judged(How::call, Verdict::runs_code, true, names);
  expect_judged(How::mention, Verdict::runs_code, false, names);
}

TEST(Globals, MakersAreJudgedByTheirArgumentsAndTorchScriptOpens) {
  expect_judged(How::call, Verdict::plain, false,
                {{"copyreg", "_reconstructor"}, {"numpy", "recarray"}, {"builtins", "object"}});
  expect_judged(How::call, Verdict::runs_code, false, {{"torch.jit._pickle", "build_intlist"}});
}

TEST(Globals, AttributesAreJudgedAsDottedNames) {
  EXPECT_TRUE(judge_attribute("torch", "Size.mro").is_refused);
  EXPECT_TRUE(judge_attribute("os", "path.join").is_refused);
  EXPECT_FALSE(judge_attribute("my_package", "Color.red").is_refused);
  EXPECT_EQ(judge_attribute("my_package", "Color.RED").verdict, Verdict::needs_classes);
}

TEST(Globals, TheReaderFindsItsConstructorsInTheTable) {
  const auto expect = [](const char* module, const char* name, Constructor constructor) {
    EXPECT_EQ(static_cast<int>(constructor_of(module, name)), static_cast<int>(constructor))
        << module << "." << name;
  };
  expect("collections", "OrderedDict", Constructor::ordered_dict);
  expect("__builtin__", "set", Constructor::set);
  expect("torch._utils", "_rebuild_tensor_v3", Constructor::tensor_v3);
  expect("torch._tensor", "_rebuild_from_type_v2", Constructor::from_type);
  expect("builtins", "getattr", Constructor::attribute);
  expect("my_package", "_rebuild_tensor_v2", Constructor::none);
  expect("collections", "Counter", Constructor::none);
}

}  // namespace
}  // namespace transload
