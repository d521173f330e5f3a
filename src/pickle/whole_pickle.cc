#include "pickle/whole_pickle.h"

#include <algorithm>

#include "io/file.h"
#include "pickle/opcodes.h"
#include "transload/error.h"

namespace transload {
namespace {

class NoObjects final : public PickleObjects {
 public:
  NodeId global(std::string_view module, std::string_view name) override {
    fail("the name " + std::string(module) + "." + std::string(name));
  }
  NodeId persistent(NodeId) override { fail("a persistent id"); }
  NodeId call(NodeId, NodeId, Made) override { fail("a call"); }
  void build(NodeId, NodeId) override { fail("an object"); }

 private:
  [[noreturn]] static void fail(const std::string& found) {
    throw FormatError("expected plain values, found " + found);
  }
};

}  // namespace

std::string read_whole_pickle(const File& file, std::uint64_t begin, std::uint64_t end,
                              const std::string& what) {
  constexpr std::uint64_t kFirstNbytes = 1024, kMostNbytes = 8ull << 30;
  const std::uint64_t left = end - std::min(begin, end);
  for (std::uint64_t nbytes = kFirstNbytes;; nbytes *= 4) {
    nbytes = std::min({nbytes, left, kMostNbytes});
    std::string bytes = read_text(file, begin, nbytes);
    OpcodeDecoder decoder(std::as_bytes(std::span(bytes)));
    while (decoder.next()) {
      if (decoder.now().opcode != Opcode::STOP) continue;
      bytes.resize(decoder.end_offset());
      return bytes;
    }
    const bool ends_early = decoder.end_offset() == bytes.size();
    if (ends_early && nbytes < left && nbytes < kMostNbytes) continue;
    throw FormatError(file.name + ": offset " + std::to_string(begin + decoder.now().offset) +
                      ": " + what + ": " + decoder.error() +
                      (ends_early && nbytes == left ? " (the file is truncated)" : ""));
  }
}

NodeId read_plain_pickle(const std::string& bytes, NodeTable& nodes, const std::string& where) {
  NoObjects objects;
  return read_pickle(std::as_bytes(std::span(bytes)), nodes, objects, where).root;
}

}  // namespace transload
