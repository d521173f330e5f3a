// Writing a pickle: the bytes of known values, and what is written is the same when it is read.
#include "pickle/writer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "pickles.h"

namespace transload {
namespace {

using namespace pickles;
using namespace std::string_literals;

std::string written(const Read& read, bool allow_objects = false) {
  std::vector<StorageRecord> records;
  for (const StoredStorage& storage : read.index.storages)
    records.push_back(
        {storage.key, read.index.locations[storage.location], 0, storage.nbytes, storage.dtype});
  return write_pickle(read.state, records, allow_objects);
}

// Protocol 2 of a value that was read.
std::string written(const std::string& value) { return written(read(pickle(value))); }

void expect_same_again(const std::string& value) {
  const Read first = read(pickle(value));
  const std::string bytes = written(first, true);
  EXPECT_EQ(value_of(bytes), str(first.state.root()));
}

TEST(PickleWriter, IntegersTakeTheShortestForm) {
  EXPECT_EQ(written(number(0)), "\x80\x02K\0."s);
  EXPECT_EQ(written(number(255)), "\x80\x02K\xFF."s);
  EXPECT_EQ(written(number(256)), "\x80\x02M\0\1."s);
  EXPECT_EQ(written(number(65535)), "\x80\x02M\xFF\xFF."s);
  EXPECT_EQ(written(number(65536)), "\x80\x02J\0\0\1\0."s);
  EXPECT_EQ(written(number(-1)), "\x80\x02J\xFF\xFF\xFF\xFF."s);
  EXPECT_EQ(written(number(INT32_MIN)), "\x80\x02J\0\0\0\x80."s);
  EXPECT_EQ(written(number(1ll << 31)), "\x80\x02\x8A\5\0\0\0\x80\0."s);
  EXPECT_EQ(written(number(INT64_MIN)), "\x80\x02\x8A\x08\0\0\0\0\0\0\0\x80."s);
  EXPECT_EQ(written(op(Opcode::LONG1, "\0\0\0\0\0\0\0\0\1"s)),
            "\x80\x02\x8A\x09\0\0\0\0\0\0\0\0\1."s);
}

TEST(PickleWriter, KnownValuesHaveTheBytesOfPythonsPickler) {
  EXPECT_EQ(written(op(Opcode::NONE)), "\x80\x02N.");
  EXPECT_EQ(written(op(Opcode::NEWTRUE)), "\x80\x02\x88.");
  EXPECT_EQ(written("G\x3F\xF8\0\0\0\0\0\0"s), "\x80\x02G\x3F\xF8\0\0\0\0\0\0."s);  // 1.5
  EXPECT_EQ(written(text("ab")), "\x80\x02X\2\0\0\0ab."s);
  EXPECT_EQ(written(op(Opcode::EMPTY_TUPLE)), "\x80\x02).");
  EXPECT_EQ(written(tuple(number(1) + number(2))), "\x80\x02K\1K\2\x86.");
  EXPECT_EQ(written(tuple(number(1) + number(2) + number(3) + number(4))),
            "\x80\x02(K\1K\2K\3K\4t.");
  EXPECT_EQ(written(op(Opcode::MARK) + number(1) + op(Opcode::LIST)), "\x80\x02](K\1e.");
  EXPECT_EQ(written(op(Opcode::MARK) + text("a") + number(1) + op(Opcode::DICT)),
            "\x80\x02}(X\1\0\0\0aK\1u."s);
  EXPECT_EQ(written(op(Opcode::SHORT_BINBYTES, "\xFF")),
            "\x80\x02"
            "c_codecs\nencode\nq\0X\2\0\0\0\xC3\xBFX\6\0\0\0latin1q\1\x86R."s);
}

TEST(PickleWriter, WhatIsWrittenIsReadAsTheSame) {
  const std::string set =
      op(Opcode::EMPTY_SET) + op(Opcode::MARK) + number(1) + text("a") + op(Opcode::ADDITEMS);
  for (const std::string& value :
       {op(Opcode::SHORT_BINBYTES, "\0\x7F\x80\xFF"s), op(Opcode::BYTEARRAY8, "xyz"), set,
        op(Opcode::MARK) + number(1) + op(Opcode::FROZENSET),
        called(global("builtins", "complex"), number(1) + number(-2)),
        called(global("torch", "device"), text("cuda") + number(1)),
        called(global("torch", "device"), text("cpu")), global("torch", "bfloat16"),
        called(global("torch", "Size"), tuple(number(2) + number(3))),
        called(global("torch", "Size"), op(Opcode::EMPTY_TUPLE)),
        op(Opcode::LONG1, std::string(300, '\1').substr(0, 255)),
        op(Opcode::LONG4, std::string(300, '\1')), tensor("0", 3),
        called(global("torch._utils", "_rebuild_parameter"),
               tensor("0", 3) + op(Opcode::NEWTRUE) + ordered_dict()),
        called(global("my", "Class"), number(1)),
        global("my", "Class") + op(Opcode::EMPTY_TUPLE) + op(Opcode::NEWOBJ) +
            op(Opcode::EMPTY_DICT) + op(Opcode::BUILD)})
    expect_same_again(value);
}

TEST(PickleWriter, ItemsGoInBatchesOfAThousand) {
  for (const std::size_t count : {999, 1000, 1001, 2000}) {
    std::string items, pairs;
    for (std::size_t i = 0; i < count; ++i) {
      items += op(Opcode::NONE);
      pairs += number(static_cast<std::int64_t>(i)) + op(Opcode::NONE);
    }
    const std::size_t batches = (count + 999) / 1000;
    const std::string list = written(op(Opcode::MARK) + items + op(Opcode::LIST));
    // PROTO, EMPTY_LIST, a MARK and APPENDS for each batch, STOP
    EXPECT_EQ(list.size(), 2 + 1 + 2 * batches + count + 1);
    EXPECT_EQ(std::ranges::count(list, '('), static_cast<std::ptrdiff_t>(batches));
    expect_same_again(op(Opcode::MARK) + pairs + op(Opcode::DICT));
  }
}

TEST(PickleWriter, SharedValuesStayShared) {
  const std::string shared =
      op(Opcode::EMPTY_LIST) + op(Opcode::BINPUT, 0) + op(Opcode::BINGET, 0) + op(Opcode::TUPLE2);
  EXPECT_EQ(written(shared), "\x80\x02]q\0h\0\x86."s);
  const Read again = read(written(shared));
  EXPECT_EQ(again.state.root().item(0).id(), again.state.root().item(1).id());
}

TEST(PickleWriter, ValuesThatHoldThemselvesAreWritten) {
  const std::string get = op(Opcode::BINGET, 0);
  const std::string list = op(Opcode::EMPTY_LIST) + op(Opcode::BINPUT, 0);
  EXPECT_EQ(written(list + get + op(Opcode::APPEND)), "\x80\x02]q\0(h\0e."s);
  // A tuple of one, whose list holds the tuple: Python takes back what it wrote and reads the tuple from the memo.
  const std::string tuple_in_itself = list + op(Opcode::TUPLE1) + op(Opcode::BINPUT, 1) + get +
                                      op(Opcode::BINGET, 1) + op(Opcode::APPEND) + op(Opcode::POP);
  const Read again = read(written(tuple_in_itself));
  const Value root = again.state.root();
  EXPECT_EQ(root.kind(), ValueKind::tuple);
  EXPECT_EQ(root.item(0).item(0).id(), root.id());
}

TEST(PickleWriter, ValuesThatNoContainerBreaksTheCycleOfAreAnError) {
  const std::string set = op(Opcode::EMPTY_SET) + op(Opcode::BINPUT, 0) + op(Opcode::MARK);
  const std::string object = called(global("my", "Class"), op(Opcode::BINGET, 0));
  for (const std::string& item : {op(Opcode::BINGET, 0), object}) {
    const Read first = read(pickle(set + item + op(Opcode::ADDITEMS)));
    EXPECT_THROW(written(first, true), UnsupportedError);
  }
}

TEST(PickleWriter, ManyMemoEntriesTakeLongNumbers) {
  std::string twice;
  for (int i = 0; i < 300; ++i)
    twice += op(Opcode::EMPTY_LIST) + op(Opcode::LONG_BINPUT, i) + op(Opcode::LONG_BINGET, i);
  const std::string bytes = written(op(Opcode::MARK) + twice + op(Opcode::LIST));
  EXPECT_NE(bytes.find("r\0\1\0\0j\0\1\0\0"s), std::string::npos);
  const Read again = read(bytes);
  EXPECT_EQ(again.state.root().item(598).id(), again.state.root().item(599).id());
}

TEST(PickleWriter, TensorsKeepTheirStorageAndAttributes) {
  const std::string both = tensor("0", 3) + tensor("0", 3);
  const Read first = read(pickle(tuple(both)));
  const Read again = read(written(first));
  ASSERT_EQ(again.index.storages.size(), 1);
  EXPECT_EQ(again.index.storages[0].nbytes, 12);
  EXPECT_EQ(again.index.locations[0], "cpu");
  const std::string with_note =
      called(global("torch._utils", "_rebuild_parameter_with_state"),
             tensor("0", 3) + op(Opcode::NEWFALSE) + ordered_dict() + op(Opcode::EMPTY_DICT) +
                 text("note") + number(7) + op(Opcode::SETITEM));
  const Read parameter = read(written(read(pickle(with_note))));
  EXPECT_EQ(parameter.state.root().attributes()->at("note").integer(), 7);
}

TEST(PickleWriter, StorageOffsetsCountFromWhatIsLeftOut) {
  const Read first =
      read(pickle(called(global("torch._utils", "_rebuild_tensor_v2"),
                         storage("0", 10) + number(4) + tuple(number(2)) + tuple(number(1)) +
                             op(Opcode::NEWFALSE) + ordered_dict())));
  const StorageRecord record = {"0", "cpu", 16, 8, Dtype::float32};
  const Read again = read(write_pickle(first.state, {&record, 1}, false));
  EXPECT_EQ(again.index.storages[0].nbytes, 8);
  EXPECT_EQ(again.state.root().tensor().storage_offset(), 0);
}

TEST(PickleWriter, ObjectsAreWrittenOnlyIfTheyAreAllowed) {
  const Read object = read(pickle(called(global("my", "Class"), number(1))));
  EXPECT_THROW(written(object), UnsafePickleError);
  EXPECT_EQ(written(object, true),
            "\x80\x02"
            "cmy\nClass\nq\0K\1\x85R."s);
  const Read mention = read(pickle(global("my", "Class")));
  EXPECT_THROW(written(mention), UnsafePickleError);
  EXPECT_NO_THROW(written(read(pickle(called(global("collections", "Counter"), "")))));
  const Read keywords = read(pickle(global("my", "Class") + op(Opcode::EMPTY_TUPLE) +
                                    op(Opcode::EMPTY_DICT) + op(Opcode::NEWOBJ_EX)));
  EXPECT_THROW(written(keywords, true), UnsupportedError);
}

}  // namespace
}  // namespace transload
