// The part of the torch_stream format that bare pickles need: they hold whole streams as bytes.
#pragma once

#include <string>
#include <vector>

#include "archive/torch_stream.h"
#include "transload/index.h"
#include "transload/options.h"
#include "values/node_table.h"

namespace transload {

// Reads one stream into nodes and an index that may hold others before it.
class StreamReader {
 public:
  // `file`: the stream. Its bytes are those of file `number` of the index from `begin` on. All must outlive this.
  StreamReader(const File& file, std::uint32_t number, std::uint64_t begin, NodeTable& nodes,
               Index& index, const OpenOptions& options)
      : file_(file),
        number_(number),
        begin_(begin),
        nodes_(nodes),
        index_(index),
        options_(options),
        stream_(file),
        first_(static_cast<std::uint32_t>(index.storages.size())) {}

  // Reads the values, adds their storages and pieces, and sets nodes.root. Throws FormatError at the first storage that is not
  // whole.
  void read();

  // The same, but sets lost[s] to the reason that storage s is not whole, or leaves it empty. Throws FormatError if the values or
  // the list of storages are not whole.
  void recover(std::vector<std::string>& lost);

 private:
  void read_values();
  std::vector<std::string> find_storages();
  [[noreturn]] void throw_damaged(const std::string& fault) const;

  const File& file_;
  const std::uint32_t number_;
  const std::uint64_t begin_;
  NodeTable& nodes_;
  Index& index_;
  const OpenOptions& options_;
  TorchStream stream_;
  const std::uint32_t first_;  // of its storages
};

}  // namespace transload
