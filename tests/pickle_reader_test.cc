// Reading a pickle: what each opcode makes, the memo and the marks, and what is refused with which words.
#include "pickle/reader.h"

#include <gtest/gtest.h>

#include "pickles.h"

namespace transload {
namespace {

using namespace pickles;
using namespace std::string_literals;

const std::string kNone = op(Opcode::NONE);
const std::string kTrue = op(Opcode::NEWTRUE);
const std::string kDict = op(Opcode::EMPTY_DICT);
const std::string kMark = op(Opcode::MARK);

void expect_value(const std::string& value, std::string_view shown) {
  EXPECT_EQ(value_of(pickle(value)), shown);
}

void expect_error(const std::string& value, std::string_view part) {
  const std::string error = error_of(pickle(value));
  EXPECT_NE(error.find(part), std::string::npos) << error << "\nhas no " << part;
  EXPECT_TRUE(error.starts_with("m.pt: data.pkl: ")) << error;
}

TEST(Opcodes, TheTableHasEachOpcodeOnceAndItsNameIsKnown) {
  EXPECT_EQ(opcodes().size(), 68);
  for (const OpcodeInfo& known : opcodes()) {
    EXPECT_EQ(find_opcode(static_cast<std::uint8_t>(known.code)), &known) << known.name;
    EXPECT_EQ(name(known.code), known.name);
  }
  EXPECT_EQ(find_opcode(0xFF), nullptr);
}

TEST(Opcodes, WhatIsEncodedIsDecoded) {
  const std::string bytes = op(Opcode::BININT, -7) + op(Opcode::BINGET, 200) +
                            op(Opcode::LONG_BINGET, 0xFFFFFFFF) + op(Opcode::BINUNICODE, "abc") +
                            op(Opcode::GLOBAL, "m", "n") + op(Opcode::FRAME, 1ll << 40) +
                            "G\xBF\xF0\0\0\0\0\0\0"s;
  OpcodeDecoder decoder(std::as_bytes(std::span(bytes)));
  const auto next = [&]() -> const Instruction& {
    EXPECT_TRUE(decoder.next()) << decoder.error();
    return decoder.now();
  };
  EXPECT_EQ(next().integer(), -7);
  EXPECT_EQ(next().number, 200);
  EXPECT_EQ(decoder.now().offset, 5);
  EXPECT_EQ(next().number, 0xFFFFFFFF);
  EXPECT_EQ(next().text, "abc");
  EXPECT_EQ(next().text, "m");
  EXPECT_EQ(decoder.now().second_line, "n");
  EXPECT_EQ(next().number, 1ull << 40);
  EXPECT_EQ(next().real(), -1.0);
  EXPECT_EQ(decoder.end_offset(), bytes.size());
  EXPECT_FALSE(decoder.next());
}

TEST(PickleReader, Numbers) {
  expect_value(kNone, "None");
  expect_value(kTrue, "True");
  expect_value(op(Opcode::NEWFALSE), "False");
  expect_value(op(Opcode::BININT1, 255), "255");
  expect_value(op(Opcode::BININT2, 65535), "65535");
  expect_value(op(Opcode::BININT, -2), "-2");
  expect_value(op(Opcode::LONG1, ""), "0");
  expect_value(op(Opcode::LONG1, "\xFF"), "-1");
  expect_value(op(Opcode::LONG4, "\0\0\0\0\1"s), "4294967296");
  expect_value("G\x3F\xF8\0\0\0\0\0\0"s, "1.5");
}

TEST(PickleReader, TextsAndBytes) {
  for (const Opcode opcode : {Opcode::BINUNICODE, Opcode::SHORT_BINUNICODE, Opcode::BINUNICODE8,
                              Opcode::BINSTRING, Opcode::SHORT_BINSTRING})
    expect_value(op(opcode, "ab"), "'ab'");
  for (const Opcode opcode : {Opcode::BINBYTES, Opcode::SHORT_BINBYTES, Opcode::BINBYTES8})
    expect_value(op(opcode, "ab"), "b'ab'");
  expect_value(op(Opcode::BYTEARRAY8, "ab"), "bytearray(b'ab')");
  expect_error(text("\xFF"), "offset 2: opcode BINUNICODE has a text that is not UTF-8");
}

TEST(PickleReader, Containers) {
  const std::string one = number(1), two = number(2), three = number(3);
  expect_value(op(Opcode::EMPTY_TUPLE), "()");
  expect_value(one + op(Opcode::TUPLE1), "(1,)");
  expect_value(one + two + op(Opcode::TUPLE2), "(1, 2)");
  expect_value(one + two + three + op(Opcode::TUPLE3), "(1, 2, 3)");
  expect_value(tuple(one + two + three + one), "(1, 2, 3, 1)");
  expect_value(kMark + one + op(Opcode::LIST), "[1]");
  expect_value(op(Opcode::EMPTY_LIST) + one + op(Opcode::APPEND), "[1]");
  expect_value(op(Opcode::EMPTY_LIST) + kMark + one + two + op(Opcode::APPENDS), "[1, 2]");
  expect_value(kMark + text("a") + one + op(Opcode::DICT), "{'a': 1}");
  expect_value(kDict + text("a") + one + op(Opcode::SETITEM), "{'a': 1}");
  expect_value(kDict + kMark + text("a") + one + text("a") + two + op(Opcode::SETITEMS),
               "{'a': 2}");
  expect_value(op(Opcode::EMPTY_SET) + kMark + one + op(Opcode::ADDITEMS), "{1}");
  expect_value(kMark + one + op(Opcode::FROZENSET), "frozenset({1})");
}

TEST(PickleReader, TheStackAndItsMarks) {
  expect_value(kTrue + kNone + op(Opcode::POP), "True");
  expect_value(kTrue + kMark + op(Opcode::POP), "True");  // the mark
  expect_value(kTrue + kMark + kNone + kNone + op(Opcode::POP_MARK), "True");
  expect_value(kTrue + op(Opcode::DUP) + op(Opcode::TUPLE2), "(True, True)");
  expect_value(kMark + kMark + kTrue + op(Opcode::TUPLE) + op(Opcode::TUPLE), "((True,),)");
  expect_value(op(Opcode::FRAME, 1) + kTrue, "True");
  expect_error(op(Opcode::POP), "offset 2: opcode POP needs 1 value, but the stack has 0");
  expect_error(kNone + kMark + op(Opcode::DUP),
               "offset 4: opcode DUP needs 1 value, but the stack has 0 above the last mark");
  expect_error(kNone + op(Opcode::TUPLE2),
               "offset 3: opcode TUPLE2 needs 2 values, but the stack has 1");
  for (const Opcode opcode :
       {Opcode::TUPLE, Opcode::LIST, Opcode::DICT, Opcode::APPENDS, Opcode::SETITEMS,
        Opcode::ADDITEMS, Opcode::FROZENSET, Opcode::POP_MARK})
    expect_error(kNone + op(opcode), "needs a mark, but there is none");
}

TEST(PickleReader, WhatIsLeftWhereThePickleEndsIsNamed) {
  expect_error(kNone + kNone, "offset 4: opcode STOP leaves a value on the stack");
  expect_error(kNone + kNone + kNone, "opcode STOP leaves 2 values on the stack");
  expect_error(kMark + kNone, "opcode STOP leaves a mark on the stack");
  expect_error(kNone + kMark + kMark + kNone, "opcode STOP leaves a value and 2 marks");
  EXPECT_EQ(error_of("\x80\x02N"), "m.pt: data.pkl: offset 3: the pickle ends without STOP");
}

TEST(PickleReader, TheMemo) {
  const std::string list = op(Opcode::EMPTY_LIST);
  for (const std::string& put :
       {op(Opcode::BINPUT, 0), op(Opcode::LONG_BINPUT, 0), op(Opcode::MEMOIZE)}) {
    for (const std::string& get : {op(Opcode::BINGET, 0), op(Opcode::LONG_BINGET, 0)}) {
      const Read made = read(pickle(list + put + get + op(Opcode::TUPLE2)));
      EXPECT_EQ(made.state.root().item(0).id(), made.state.root().item(1).id());
    }
  }
  expect_value(kTrue + op(Opcode::LONG_BINPUT, 1'000'000) + op(Opcode::POP) +
                   op(Opcode::LONG_BINGET, 1'000'000),
               "True");
  expect_value(kTrue + op(Opcode::BINPUT, 3) + op(Opcode::POP) + kNone + op(Opcode::BINPUT, 3) +
                   op(Opcode::POP) + op(Opcode::BINGET, 3),
               "None");
  expect_error(op(Opcode::BINGET, 7),
               "offset 2: opcode BINGET reads memo entry 7, which was never stored");
}

TEST(PickleReader, NamesAndCalls) {
  const std::string arguments = tuple(number(1));
  expect_value(global("my", "Class"), "<my.Class>");
  expect_value(stack_global("my", "Class"), "<my.Class>");
  for (const std::string& value :
       {called(global("my", "Class"), number(1)),
        global("my", "Class") + arguments + op(Opcode::NEWOBJ),
        global("my", "Class") + arguments + kDict + op(Opcode::NEWOBJ_EX)})
    EXPECT_EQ(read(pickle(value)).state.root().kind(), ValueKind::object);
  expect_error(text("my") + number(1) + op(Opcode::STACK_GLOBAL),
               "opcode STACK_GLOBAL takes a name of type int, expected str");
  expect_error(text("a\nb") + text("C") + op(Opcode::STACK_GLOBAL), "has a name with a line break");
  expect_error(global(std::string(1001, 'm'), "C"), "has a name of more than 1000 bytes");
  expect_error(global("my", "Class") + number(1) + op(Opcode::REDUCE),
               "opcode REDUCE takes arguments of type int, expected a tuple");
  expect_error(called(number(1), ""), "a value of type int is called");
  expect_error(number(1) + kDict + op(Opcode::BUILD), "the state of a value of type int is set");
}

TEST(PickleReader, PlainValuesThatAreSpelledAsCalls) {
  const std::string list = kMark + number(1) + op(Opcode::LIST);
  expect_value(called(global("builtins", "set"), list), "{1}");
  expect_value(called(global("__builtin__", "frozenset"), list), "frozenset({1})");
  expect_value(called(global("_codecs", "encode"), text("\xC3\xBF") + text("latin1")), "b'\\xff'");
  expect_value(called(global("builtins", "complex"), number(1) + number(2)), "(1.0+2.0j)");
  expect_value(called(global("torch", "Size"), tuple(number(2))), "torch.Size([2])");
  expect_value(global("torch", "float32"), "torch.float32");
  expect_error(called(global("builtins", "set"), number(1)), "the set's argument is not a list");
  expect_error(called(global("torch", "Size"), tuple(number(-2))),
               "the torch.Size has a negative item, -2");
  expect_error(called(global("_codecs", "encode"), text("\xC4\x80") + text("latin1")),
               "a character that latin1 does not have");
}

TEST(PickleReader, TensorsOverStorages) {
  const Read made = read(pickle(tuple(tensor("0", 3) + tensor("weights", 2))));
  ASSERT_EQ(made.index.storages.size(), 2);
  EXPECT_EQ(made.index.storages[1].key, "weights");
  EXPECT_EQ(made.index.storages[0].nbytes, 12);
  EXPECT_EQ(made.state.root().item(0).tensor().shape().str(), "[3]");
  const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2");
  expect_error(called(rebuild, number(1)), "the tensor is made from 1 arguments, expected 6 or 7");
  const std::string rest =
      number(0) + tuple(number(3)) + tuple(number(1)) + op(Opcode::NEWFALSE) + ordered_dict();
  expect_error(called(rebuild, number(1) + rest), "the tensor's first argument is not a storage");
  expect_error(called(rebuild, storage("0", 2) + rest), "(storage \"0\")");  // one element too few
  expect_error(tuple(tensor("0", 3) + tensor("0", 4)), "but before as float32 of 12");
  expect_error(text("x") + op(Opcode::BINPERSID), "the persistent id is not a tuple");
  expect_error(storage("0", -1), "storage \"0\" has a negative number of elements, -1");
}

TEST(PickleReader, KeysThatPythonWouldNotTake) {
  const std::string set = op(Opcode::SETITEM);
  for (const std::string& key : {op(Opcode::EMPTY_LIST), kDict, op(Opcode::EMPTY_SET),
                                 op(Opcode::EMPTY_LIST) + op(Opcode::TUPLE1),
                                 called(global("builtins", "complex"), number(1) + number(0))})
    expect_error(kDict + key + kNone + set, "as a key: it is not hashable");
  expect_error(kDict + kMark + kNone + op(Opcode::SETITEMS), "sets a key without a value");
  expect_error(number(1) + kNone + kNone + set, "of a value of type int, expected a dict");
  expect_error(kDict + kNone + op(Opcode::APPEND), "of type dict, expected a list");
  expect_error(kDict + kMark + kNone + op(Opcode::ADDITEMS), "of type dict, expected a set");
}

// The value of a pickle without PROTO, as protocols 0 and 1 write it.
std::string old_value(const std::string& opcodes) { return value_of(opcodes + "."); }

TEST(PickleReader, LinesOfProtocols0And1) {
  EXPECT_EQ(old_value("(I7\nI-8\nI01\nI00\nt"), "(7, -8, True, False)");
  EXPECT_EQ(old_value("(L0L\nL-1L\nL1180591620717411303424L\nL-1180591620717411303424L\nt"),
            "(0, -1, 1180591620717411303424, -1180591620717411303424)");
  EXPECT_EQ(old_value("(L255L\nL-128L\nL-129L\nL9223372036854775807L\nt"),
            "(255, -128, -129, 9223372036854775807)");
  EXPECT_EQ(old_value("(F1.5\nF-1e300\nFinf\nt"), "(1.5, -1e+300, inf)");
  EXPECT_EQ(old_value("(S'a'\nS\"b\\x63\\n\"\nS'\\xff'\nt"), "('a', 'bc\\n', b'\\xff')");
  EXPECT_EQ(old_value("V\xE9\\u20ac\\U0001F600\n"), "'\u00e9\u20ac\U0001F600'");
  EXPECT_EQ(old_value("(I1\np0\ng0\nt"), "(1, 1)");
  EXPECT_EQ(old_value("(I1\nim\nNet\n"), "<m.Net>(1,)");
  EXPECT_EQ(old_value("(cm\nNet\nI1\no"), "<m.Net>(1,)");
}

TEST(PickleReader, LinesThatNoPicklerWritesAreRefused) {
  for (const std::string line :
       {"I 7\n", "I0x7\n", "I1_0\n", "I\n", "L\n", "L-L\n", "L1e5L\n", "F1.5x\n", "F\n", "Sa\n",
        "S'a\n", "S'\\q'\n", "S'\\x4'\n", "V\\u12\n", "V\\Uffffffff\n", "I1\np-1\n", "gx\n"})
    EXPECT_NE(error_of(line + "."), "no error") << line;
  EXPECT_NE(error_of("L" + std::string(4301, '1') + "L\n.").find("4300"), std::string::npos);
}

TEST(PickleReader, OpcodesThatAreNotReadAreNamed) {
  const std::string old[] = {op(Opcode::INT, "1"),       op(Opcode::LONG, "1L"),
                             op(Opcode::FLOAT, "1"),     op(Opcode::STRING, "'a'"),
                             op(Opcode::UNICODE, "a"),   op(Opcode::PERSID, "a"),
                             op(Opcode::PUT, "0"),       op(Opcode::GET, "0"),
                             op(Opcode::INST, "m", "n"), op(Opcode::OBJ)};
  for (const std::string& opcode : old) {
    const std::string code(name(static_cast<Opcode>(opcode[0])));
    expect_error(opcode, "offset 2: opcode " + code + " is of pickle protocol 0 or 1");
  }
  for (const std::string& opcode : {op(Opcode::EXT1, 1), op(Opcode::NEXT_BUFFER)})
    expect_error(opcode, "is not supported; PyTorch writes no checkpoint with it");
  expect_error("\xFF", "offset 2: byte 255 is not a pickle opcode");
  expect_error(op(Opcode::PROTO, 6), "opcode PROTO names protocol 6, the latest that is supported");
  expect_error("T\xFF\xFF\xFF\xFF"s, "opcode BINSTRING has a negative length, -1");
}

TEST(PickleReader, APickleThatIsCutAtAnyByteIsAnError) {
  const std::string whole =
      pickle(kDict + kMark + text("w") + tensor("0", 3) + text("n") + op(Opcode::LONG1, "\1\2") +
             op(Opcode::SHORT_BINUNICODE, "b") + op(Opcode::BINBYTES8, "xyz") +
             stack_global("m", "C") + "G\x3F\xF8\0\0\0\0\0\0"s + op(Opcode::SETITEMS));
  EXPECT_EQ(read(whole).state.root().size(), 4);
  for (std::size_t nbytes = 0; nbytes < whole.size(); ++nbytes) {
    const std::string error = error_of(whole.substr(0, nbytes));
    EXPECT_TRUE(error.ends_with("left") || error.ends_with("no line break follows") ||
                error.ends_with("ends without STOP"))
        << nbytes << ": " << error;
  }
}

TEST(PickleReader, WhatFollowsThePickleIsNotRead) {
  const std::string bytes = pickle(kNone) + "\xFF";
  NodeTable nodes;
  Index index;
  const OpenOptions options;
  const std::string where = "m.pt";
  TorchObjects objects(nodes, index, options, where);
  EXPECT_EQ(read_pickle(std::as_bytes(std::span(bytes)), nodes, objects, where).nbytes, 4);
}

TEST(PickleReader, CodeIsRefusedUnlessCallsAreKept) {
  const std::string system = global("os", "system"), calls = called(system, text("true"));
  const std::string torch_load = called(global("torch", "load"), text("x"));
  const std::string getattr = global("builtins", "getattr");
  EXPECT_TRUE(
      error_of(pickle(system)).starts_with("m.pt: data.pkl: holds os.system, which is not"));
  EXPECT_TRUE(error_of(pickle(torch_load)).starts_with("m.pt: data.pkl: calls torch.load, which"));
  const std::string by_type =
      called(global("torch._tensor", "_rebuild_from_type_v2"),
             global("torch", "load") + global("my", "Tensor") + tuple(text("x")) + kDict);
  EXPECT_TRUE(error_of(pickle(by_type)).starts_with("m.pt: data.pkl: calls torch.load, which"));
  const std::string attribute = called(getattr, global("torch", "Size") + text("mro"));
  EXPECT_TRUE(error_of(pickle(attribute)).starts_with("m.pt: data.pkl: holds torch.Size.mro,"));
  for (const std::string& value : {calls, torch_load, by_type, attribute}) {
    EXPECT_THROW(read(pickle(value)), UnsafePickleError);
    EXPECT_EQ(read(pickle(value), {.keep_calls = true}).state.root().kind(), ValueKind::object);
  }
  EXPECT_EQ(error_of(pickle(called(getattr, global("my", "Color") + text("RED")))), "no error");
}

TEST(PickleReader, ObjectsAreRefusedOnRequest) {
  const OpenOptions strict = {.refuse_objects = true};
  const std::string object = pickle(called(global("my", "Class"), ""));
  EXPECT_EQ(error_of(object), "no error");
  EXPECT_EQ(error_of(object, strict),
            "m.pt: data.pkl: holds an object of my.Class, which is not plain data; without "
            "refuse_objects it is kept as an inert object");
  EXPECT_EQ(error_of(pickle(called(global("collections", "Counter"), "")), strict), "no error");
}

TEST(PickleReader, TensorsInsideOfInertObjectsAreFound) {
  const std::string layout =
      called(global("torch.serialization", "_get_layout"), text("torch.sparse_coo"));
  const Read sparse = read(pickle(called(global("torch._utils", "_rebuild_sparse_tensor"),
                                         layout + tuple(tensor("0", 2) + tensor("1", 2)))));
  std::vector<std::string> names;
  for (const NamedTensor& named : sparse.state.tensors()) names.push_back(named.name);
  EXPECT_EQ(names, (std::vector<std::string>{"#indices", "#values"}));
  expect_error(called(global("torch.serialization", "_get_layout"), text("torch.round")),
               "the argument of _get_layout is not a layout of torch");
}

TEST(PickleReader, AttributesThatWouldReplaceATensorAreRefused) {
  const auto with = [](const std::string& key) {
    return called(global("torch._utils", "_rebuild_parameter_with_state"),
                  tensor("0", 3) + op(Opcode::NEWFALSE) + ordered_dict() + op(Opcode::EMPTY_DICT) +
                      key + number(1) + op(Opcode::SETITEM));
  };
  EXPECT_EQ(error_of(pickle(with(text("note")))), "no error");
  for (const char* key : {"data", "grad", "requires_grad", "__class__"})
    expect_error(with(text(key)), "the tensor's state has the attribute \"" + std::string(key));
  expect_error(with(number(1)), "the tensor's state has a key that is not a str");
}

TEST(PickleReader, FewBytesMayNotTakeMuchMemory) {
  std::string bytes = kMark;
  for (int i = 0; i < 1 << 16; ++i) bytes += kNone;
  bytes += op(Opcode::LIST) + op(Opcode::BINPUT, 0) + op(Opcode::POP) + global("builtins", "set") +
           op(Opcode::BINPUT, 1) + op(Opcode::POP);
  for (int i = 0; i < 1000; ++i)
    bytes += op(Opcode::BINGET, 1) + op(Opcode::BINGET, 0) + op(Opcode::TUPLE1) +
             op(Opcode::REDUCE) + op(Opcode::POP);
  expect_error(bytes + kNone, "bytes of memory, from");
}

}  // namespace
}  // namespace transload
