// Saving, top to bottom: StateDict ► Layout ► Transfers ► seal ► the file takes its place.
//
// lay_out() (format/) fixes every offset before a byte moves, so devices are read and the file is written in parallel
// (transfer/write.cc). What needs checksums is written last. AtomicFile (io/) makes the exchange durable.
#include <set>

#include "format/format.h"
#include "io/atomic_file.h"
#include "io/crc32.h"
#include "io/file.h"
#include "plan/select.h"
#include "transfer/verify.h"
#include "transfer/write.h"
#include "values/node_table.h"

namespace transload {
namespace {

const Format& format_for(const std::filesystem::path& path, const std::string& wanted) {
  const Format& format = format_named(!wanted.empty()                      ? wanted
                                      : path.extension() == ".safetensors" ? "safetensors"
                                                                           : "torch_zip");
  if (!format.lay_out)
    throw UnsupportedError(std::string(format.name) + " can be read, not written");
  return format;
}

std::vector<std::string> tags_of(const Index& index) {
  std::vector<std::string> tags;
  for (const StoredStorage& storage : index.storages)
    tags.push_back(index.locations[storage.location]);
  return tags;
}

// The location to write for a storage that is on `tag`. Rules over keys see the first tensor that uses it.
std::vector<std::string> mapped_tags(std::vector<std::string> tags, const StateDict& state,
                                     const MapLocation& map_location) {
  if (map_location.rules().empty()) return tags;
  const std::vector<std::vector<std::string>> names = names_by_storage(state);
  for (std::size_t s = 0; s < tags.size(); ++s) {
    if (tags[s].empty()) continue;  // on meta: no bytes that could be anywhere else
    const std::string key = names[s].empty() ? "" : names[s].front();
    for (const MapLocation::Rule& rule : map_location.rules()) {
      if (rule.of == MapLocation::Rule::Of::automatic)
        throw PlacementError("map_location \"auto\" places tensors; a file's tags need a device");
      const auto device = rule.device_for({tags[s], state.storages()[s].nbytes(), key});
      if (!device) continue;
      if (device->kind == DeviceKind::meta) {
        throw PlacementError("rule \"" + rule.str() + "\" tags \"" + key +
                             "\" as on meta, but a file has its bytes");
      }
      tags[s] = device->str();
      break;
    }
  }
  return tags;
}

SaveResult write(const StateDict& state, std::span<const std::string> tags,
                 const ByteSource& source, const std::filesystem::path& path,
                 const SaveOptions& options) {
  const Format& format = format_for(path, options.format);
  const std::string name = path.filename().string();
  const Layout layout = [&] {
    try {
      return format.lay_out(state, {.name = name,
                                    .locations = tags,
                                    .compact = options.compact,
                                    .allow_objects = options.allow_objects,
                                    .metadata = options.metadata});
    } catch (Error& error) {  // what the format cannot hold
      error.add("nothing was written to " + path.string());
      throw;
    }
  }();
  SaveResult result{0, leftovers(path)};
  AtomicFile file(path);
  file.reserve(layout.files.front().nbytes);
  const auto put = [&](const Literal& literal) {
    file.write(literal.offset, std::as_bytes(std::span(literal.bytes)));
    result.nbytes = std::max(result.nbytes, literal.offset + literal.bytes.size());
  };
  for (const Literal& literal : layout.literals) put(literal);
  const std::vector<std::uint32_t> crcs = write_pieces(layout, source, file, options.io);
  if (format.seal) {
    for (const Literal& literal : format.seal(layout, crcs)) put(literal);
  }
  for (const Piece& piece : layout.pieces)
    result.nbytes = std::max(result.nbytes, piece.extent.offset + piece.extent.nbytes);
  if (source.index) require_unchanged(source.index->files);
  file.commit();
  return result;
}

// Of what a salvaged index holds the checksums decide: says in why_lost of each storage that is damaged.
void compare_checksums(const Index& index, const IoOptions& io,
                       std::vector<std::string>& why_lost) {
  const auto compare = [&](std::span<const std::uint32_t> pieces) {
    const std::vector<std::uint32_t> crcs = crcs_of(index, pieces, io);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = index.pieces[pieces[i]];
      if (crcs[i] != *piece.crc32)
        why_lost[piece.storage] = "its bytes are not those that were saved";
    }
  };
  std::vector<std::uint32_t> together;
  for (std::uint32_t p = 0; p < index.pieces.size(); ++p) {
    const Piece& piece = index.pieces[p];
    if (!piece.crc32) continue;
    if (piece.encoding == Encoding::as_is) {
      together.push_back(p);
      continue;
    }
    // What does not inflate must not keep the others from being compared.
    try {
      compare({&p, 1});
    } catch (const FormatError&) {
      why_lost[piece.storage] = "it is damaged, and does not inflate";
    }
  }
  compare(together);
}

}  // namespace

SaveResult save(const StateDict& state, const std::filesystem::path& path,
                const SaveOptions& options) {
  std::vector<std::string> tags;
  for (const Storage& storage : state.storages()) {
    const Device device = storage.device();
    tags.push_back(device.kind == DeviceKind::meta ? "" : device.str());
  }
  const StateDict chosen = select(state, options.select);
  return write(chosen, mapped_tags(std::move(tags), chosen, options.map_location),
               {chosen.storages(), nullptr}, path, options);
}

SaveResult convert(const std::filesystem::path& from, const std::filesystem::path& to,
                   const SaveOptions& options, const OpenOptions& open_options) {
  Index index = open(from, open_options);
  index.contents = select(index.contents, options.select);
  SaveOptions writing = options;
  if (writing.metadata.empty()) writing.metadata = index.metadata;
  return write(index.contents, mapped_tags(tags_of(index), index.contents, options.map_location),
               {{}, &index}, to, writing);
}

RecoverResult recover(const std::filesystem::path& from, const std::filesystem::path& to,
                      const SaveOptions& options, const OpenOptions& open_options) {
  Opened opened(from);
  const Format& format = [&]() -> const Format& {
    try {
      return format_of(opened);
    } catch (const FormatError&) {
      // The first bytes, which say what a file is, may be damaged too.
      if (!opened.is_folder() && zip::has_end(opened.file())) return kTorchZip;
      throw;
    }
  }();
  if (!format.recover)
    throw UnsupportedError(from.string() + ": only files of torch.save can be recovered");
  std::vector<std::string> why_lost;
  const Index index = format.recover(opened, open_options, why_lost);
  compare_checksums(index, options.io, why_lost);
  std::vector<bool> lost;
  for (const std::string& why : why_lost) lost.push_back(!why.empty());
  const StateDict kept = without(index.contents, lost);
  std::set<std::string> whole;
  for (const NamedTensor& tensor : kept.tensors()) whole.insert(tensor.name);
  RecoverResult result;
  for (const NamedTensor& tensor : index.contents.tensors()) {
    const std::uint32_t s = tensor.value.storage_number();
    if (whole.contains(tensor.name))
      ++result.whole;
    else
      result.lost.emplace_back(tensor.name, s < lost.size() && lost[s]
                                                ? why_lost[s]
                                                : "another part of the same tensor is lost");
  }
  if (result.whole == 0 && !result.lost.empty()) {
    throw FormatError(from.string() + ": none of its " + std::to_string(result.lost.size()) +
                      " tensors is whole: \"" + result.lost.front().first +
                      "\": " + result.lost.front().second + ". Nothing was written");
  }
  result.saved = write(kept, tags_of(index), {{}, &index}, to, options);
  return result;
}

}  // namespace transload
