// The parts of the torch_zip format that reading, saving and recovery share.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "archive/container.h"
#include "format/format.h"
#include "pickle/torch_storages.h"
#include "values/node_table.h"

namespace transload::torch_zip {

inline constexpr std::uint64_t kMaxPickleNbytes = 8ull << 30;

// Values and the storages that they mention, before the storages' bytes were found.
struct Values {
  std::shared_ptr<NodeTable> nodes;
  std::size_t pickle_nbytes;  // up to and including STOP
};

// Reads data.pkl; storages and their locations go to `index`. `name`: of the file, for errors.
Values read_values(std::string_view pickle, Index& index, const OpenOptions& options,
                   const std::string& name, PersistentIds ids = PersistentIds::zip);

// Fills pieces and contents. records: by storage, located; null where a storage's record is missing.
void add_pieces(Index& index, const Values& values, std::span<Member* const> records,
                bool is_big_endian);

// What is before "data.pkl" in the name of the only member that is called so: "model/" in what torch.save writes, anything
// in a file that was unpacked and zipped again. Nothing if there is none or more than one.
std::optional<std::string> find_root(ZipContainer& zip);

// Throws UnsupportedError for a file of torch.distributed.checkpoint, whose tensors are archives of their own.
void refuse_several_archives(const File& file);

// torch_zip_save.cc
Layout lay_out(const StateDict& state, const LayoutOptions& options);
std::vector<Literal> seal(const Layout& layout, std::span<const std::uint32_t> crc32_of_piece);

// torch_zip_recover.cc
Index recover(Opened& opened, const OpenOptions& options, std::vector<std::string>& lost);
// For a file without a directory: how much of it is missing at least, computed from the values; empty if unknown.
std::string missing_part(const File& file);

}  // namespace transload::torch_zip
