#include "writing.h"

#include <algorithm>
#include <iterator>

#include "format/suffixes.h"
#include "io/file.h"
#include "plan/select.h"
#include "transfer/engine.h"
#include "transfer/memories.h"
#include "transfer/output_files.h"
#include "transfer/output_stream.h"
#include "transload/transload.h"
#include "values/node_table.h"

namespace transload {
namespace {

// Of all files, as far as something was written.
std::uint64_t nbytes_of(const Layout& layout, const std::vector<Literal>& sealed) {
  std::vector<std::uint64_t> ends(layout.files.size());
  const auto reach = [&](std::uint32_t file, std::uint64_t end) {
    ends[file] = std::max(ends[file], end);
  };
  for (const auto* literals : {&layout.literals, &sealed})
    for (const Literal& literal : *literals)
      reach(literal.file, literal.offset + literal.bytes.size());
  for (const Piece& piece : layout.pieces)
    reach(piece.extent.file, piece.extent.offset + piece.extent.nbytes);
  std::uint64_t nbytes = 0;
  for (const std::uint64_t end : ends) nbytes += end;
  return nbytes;
}

// The first device that a rule gives.
std::string mapped_tag(const std::string& tag, std::uint64_t nbytes, const std::string& key,
                       const MapLocation& locations) {
  for (const MapLocation::Rule& rule : locations.rules()) {
    if (rule.of == MapLocation::Rule::Of::automatic)
      throw PlacementError("map_location \"auto\" places tensors; a file's tags need a device");
    const auto device = rule.device_for({tag, nbytes, key});
    if (!device) continue;
    if (device->kind == DeviceKind::meta) {
      throw PlacementError("rule \"" + rule.str() + "\" tags \"" + key +
                           "\" as on meta, but a file has its bytes");
    }
    return device->str();
  }
  return tag;
}

// Runs a plan that only reads, and returns the checksums of the pieces. The other half of the progress is the writing.
std::vector<std::uint32_t> checksums_of(const Layout& layout, const Plan& plan, IoOptions io) {
  if (io.progress) {
    io.progress = [report = io.progress](const Progress& now) {
      report({now.done_nbytes / 2, now.total_nbytes});
    };
  }
  const std::vector<Storage> memories = memories_of(plan);
  const DiscardedOutput nowhere;
  const Output* const files[] = {&nowhere};
  Outcome outcome;
  run(plan, {.memories = memories, .layout = &layout, .files = files}, io, outcome);
  return std::move(outcome.wrote_crc32);
}

}  // namespace

const Format& format_to_write(const std::filesystem::path& path, const std::string& name) {
  const Format& format = format_named(name.empty() ? format_by_suffix(path) : name);
  if (!format.lay_out)
    throw UnsupportedError(std::string(format.name) + " can be read, not written");
  return format;
}

StateDict select_to_write(const StateDict& state, const Format& format,
                          const SaveOptions& options) {
  const bool is_selecting = options.values == PlainValues::automatic && format.is_tensors_only;
  // A module is written as an object only where objects are.
  return select(state, options.select, is_selecting ? PlainValues::select : options.values,
                options.allow_objects ? Modules::as_objects : Modules::as_state_dicts);
}

Layout lay_out(const Format& format, const StateDict& state, std::span<const std::string> tags,
               const std::filesystem::path& path, const SaveOptions& options,
               std::span<const std::string> files) {
  const std::string name = path.filename().string();
  try {
    return format.lay_out(state, {.name = name,
                                  .locations = tags,
                                  .files = files,
                                  .compact = options.compact,
                                  .allow_objects = options.allow_objects,
                                  .metadata = options.metadata});
  } catch (Error& error) {
    error.add("nothing was written to " + path.string());
    throw;
  }
}

std::vector<std::string> tags_of(const Index& index) {
  std::vector<std::string> tags;
  for (const StoredStorage& storage : index.storages)
    tags.push_back(index.locations[storage.location]);
  return tags;
}

std::vector<std::string> tags_to_write(std::vector<std::string> tags, const StateDict& state,
                                       const MapLocation& locations) {
  if (locations.rules().empty()) return tags;
  std::vector<std::string> keys(tags.size());  // of the first tensor that uses each storage
  for (const NamedTensor& tensor : state.tensors()) {
    const std::uint32_t s = tensor.value.storage_number();
    if (s != TensorRow::kNoStorage && keys[s].empty()) keys[s] = tensor.name;
  }
  for (std::size_t s = 0; s < tags.size(); ++s) {
    if (!tags[s].empty())
      tags[s] = mapped_tag(tags[s], state.storages()[s].nbytes(), keys[s], locations);
  }
  return tags;
}

SaveResult write(const Format& format, const Layout& layout, const std::filesystem::path& path,
                 const Index* index, const SaveOptions& options,
                 const std::function<Plan(const WriteFacts&)>& make_plan) {
  OutputFiles files(path, layout, options.in_place ? Replacement::in_place : Replacement::atomic);
  const Plan plan =
      make_plan({.has_direct = files.has_direct(), .needs_checksums = format.seal != nullptr});
  files.write(layout.literals);
  const std::vector<Storage> memories = memories_of(plan);
  Outcome outcome;
  try {
    run(plan, {.index = index, .memories = memories, .layout = &layout, .files = files.files()},
        options.io, outcome);
  } catch (Error& error) {
    error.add("nothing was replaced");
    throw;
  }
  std::vector<Literal> sealed;
  if (format.seal) sealed = format.seal(layout, outcome.wrote_crc32);
  files.write(sealed);
  if (index) require_unchanged(index->files);
  files.commit();
  SaveResult result;
  result.nbytes = nbytes_of(layout, sealed);
  result.leftovers = files.leftovers();
  result.not_kept = files.not_kept();
  result.left_out = layout.left_out;
  return result;
}

SaveResult write(const Format& format, const Layout& layout, const WriteFunction& write,
                 const IoOptions& io, const std::function<Plan(const WriteFacts&)>& make_plan) {
  if (layout.files.size() != 1 || !layout.files.front().name.empty())
    throw UnsupportedError(std::string(format.name) +
                           " makes a folder of files; save it to a path instead");
  std::vector<Literal> literals = layout.literals;
  if (format.seal) {
    const Plan sums = make_plan({.has_direct = false, .needs_checksums = true});
    std::ranges::move(format.seal(layout, checksums_of(layout, sums, io)),
                      std::back_inserter(literals));
  }
  SaveResult result;
  result.nbytes = nbytes_of(layout, literals);
  result.left_out = layout.left_out;
  const Plan plan = make_plan({.has_direct = false, .needs_checksums = false});
  const std::vector<Storage> memories = memories_of(plan);
  OutputStream stream(write, std::move(literals), result.nbytes, io.progress);
  const Output* const files[] = {&stream};
  // One thread, the caller's, carries transfers out in the order of the file. Without a progress function no other starts.
  IoOptions in_order = io;
  in_order.threads = 1;
  in_order.progress = {};
  Outcome outcome;
  run(plan, {.memories = memories, .layout = &layout, .files = files}, in_order, outcome);
  stream.finish();
  return result;
}

}  // namespace transload
