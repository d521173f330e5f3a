// Pickles assembled from opcodes, as texts to be joined by +, and what the reader makes of them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "pickle/opcode_encoder.h"
#include "pickle/reader.h"
#include "pickle/rebuild.h"
#include "transload/transload.h"

namespace transload::pickles {

inline std::string op(Opcode opcode) { return OpcodeEncoder().add(opcode).take(); }
inline std::string op(Opcode opcode, std::int64_t number) {
  return OpcodeEncoder().add(opcode, number).take();
}
inline std::string op(Opcode opcode, std::string_view text) {
  return OpcodeEncoder().add(opcode, text).take();
}
inline std::string op(Opcode opcode, std::string_view line, std::string_view second_line) {
  return OpcodeEncoder().add(opcode, line, second_line).take();
}
inline std::string number(std::int64_t value) { return OpcodeEncoder().add_integer(value).take(); }
inline std::string text(std::string_view value) { return op(Opcode::BINUNICODE, value); }
inline std::string global(std::string_view module, std::string_view name) {
  return op(Opcode::GLOBAL, module, name);
}
inline std::string stack_global(std::string_view module, std::string_view name) {
  return text(module) + text(name) + op(Opcode::STACK_GLOBAL);
}
inline std::string tuple(const std::string& items) {
  return op(Opcode::MARK) + items + op(Opcode::TUPLE);
}
inline std::string called(const std::string& callable, const std::string& arguments) {
  return callable + tuple(arguments) + op(Opcode::REDUCE);
}
// A whole pickle of protocol 2 that holds this value.
inline std::string pickle(const std::string& value) {
  return op(Opcode::PROTO, 2) + value + op(Opcode::STOP);
}

// ("storage", class, key, location, numel) of torch.FloatStorage on the CPU; `last`: what the legacy stream has behind.
inline std::string storage(std::string_view key, std::int64_t numel, const std::string& last = "") {
  return tuple(text("storage") + global("torch", "FloatStorage") + text(key) + text("cpu") +
               number(numel) + last) +
         op(Opcode::BINPERSID);
}
inline std::string ordered_dict() {
  return global("collections", "OrderedDict") + op(Opcode::EMPTY_TUPLE) + op(Opcode::REDUCE);
}
// The arguments of _rebuild_tensor_v2, for a tensor of one dimension.
inline std::string tensor_arguments(std::string_view key, std::int64_t numel,
                                    const std::string& last = "") {
  return storage(key, numel, last) + number(0) + tuple(number(numel)) + tuple(number(1)) +
         op(Opcode::NEWFALSE) + ordered_dict();
}
inline std::string tensor(std::string_view key, std::int64_t numel, const std::string& last = "") {
  return called(global("torch._utils", "_rebuild_tensor_v2"), tensor_arguments(key, numel, last));
}

struct Read {
  Index index;
  StateDict state;
};

// Reads a pickle as a torch zip file does. Its storages are on meta.
inline Read read(std::string_view bytes, const OpenOptions& options = {}) {
  Read made;
  const auto nodes = std::make_shared<NodeTable>();
  const std::string where = "m.pt: data.pkl";
  TorchObjects objects(*nodes, made.index, options, where);
  nodes->root = read_pickle(std::as_bytes(std::span(bytes)), *nodes, objects, where).root;
  std::vector<Storage> storages;
  for (const StoredStorage& stored : made.index.storages)
    storages.emplace_back(kMeta, nullptr, stored.nbytes, std::make_shared<char>());
  made.state = StateDict(nodes, std::move(storages));
  return made;
}

// The value as Python prints it.
inline std::string value_of(std::string_view bytes, const OpenOptions& options = {}) {
  const Read made = read(bytes, options);
  return str(made.state.root());
}

inline std::string error_of(std::string_view bytes, const OpenOptions& options = {}) {
  try {
    read(bytes, options);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace transload::pickles
