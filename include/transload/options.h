// The options and results of the functions in transload.h. All options have defaults; designated initializers name those
// that differ:
//
//   transload::load("model.pt", {.map_location = "cpu", .select = {.at = "model_state_dict"}, .verify = true});
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "transload/device.h"
#include "transload/dtype.h"
#include "transload/plan.h"
#include "transload/tensor.h"

namespace transload {

struct Progress {
  std::uint64_t done_nbytes, total_nbytes;
};
// Called by the thread that called load(), save() and the like, about ten times a second. If it throws, the work stops and
// the exception comes out of that call.
using ProgressFunction = std::function<void(const Progress&)>;

// A new name for the tensors whose names fit a pattern. {"module.*", "*"} strips a prefix, {"*._orig_mod.*", "*.*"} a part
// in the middle: the n-th * of the new name is the text that the n-th * of the pattern stands for, the first ones as little
// as possible.
struct Rename {
  std::string pattern, new_name;
};

// Selects tensors by name: the keys and positions on the way to them, joined by '/', as StateDict::tensors() gives them.
// In patterns, * stands for any text and ? for one character. A tensor that is not selected is left out of a dict; in a
// list or tuple None takes its place, so that the others keep their positions. Loads and fills leave values that are not
// tensors as they are; saves select them too (PlainValues).
struct Selection {
  // The path of a part, such as "model_state_dict" or "optimizer_states/0": only what is below it, with names that begin
  // there.
  std::string at{};
  std::vector<std::string> keep{};  // only these; empty: all
  std::vector<std::string> drop{};  // but not these
  std::vector<Rename> rename{};     // the first that fits renames; a tensor stays in its dict
};

// A rule of a Selection or a MapLocation that fits nothing: it has no effect.
struct UnusedRule {
  std::string option;   // keep, drop, rename or map_location
  std::string rule;     // the pattern, or the rule as the user wrote it
  std::string problem;  // what it does not fit, and what was probably meant, for people
};

// Returns a line for people: `drop "heads.*" fits no tensor; did you mean "head.*"?`
std::string str(const UnusedRule& unused);

// Returns the rules that fit nothing in a file, so that a caller can warn of them: loads, fills and saves ignore them. A
// rule TAG=DEVICE may fit nothing, since scripts have it for any file; it is unused only if TAG is a pattern of names,
// which GLOB:DEVICE is for. Throws MismatchError if there is no part `select.at`.
std::vector<UnusedRule> unused_rules(const Index& index, const Selection& select,
                                     const MapLocation& map_location = {});

// A stream of the caller's on a device: a CUstream handle.
struct DeviceStream {
  Device device;
  std::uintptr_t handle;
};

// The most bytes that a load may allocate on a device.
struct MemoryLimit {
  Device device;
  std::uint64_t nbytes;
};

// Returns the name that a tensor gets, or nothing if it is not selected. Throws MismatchError if a
// new name has more stars than its pattern.
std::optional<std::string> selected_name(const Selection& select, std::string_view name);

struct OpenOptions {
  // Objects of classes that are not plain data are kept as inert values, which can be printed and saved again. With
  // refuse_objects, the first one is an UnsafePickleError.
  bool refuse_objects = false;
  // Calls that run code, such as os.system, are an UnsafePickleError. With keep_calls they are kept as inert values.
  // Nothing is called either way.
  bool keep_calls = false;
  // Of a model in shards, only those shards must be there that have a tensor that `at`, `keep` and `drop` select. load(),
  // load_into() and convert() of a path set it to their own selection.
  // A value outside of `at` is never refused, but kept as an inert value.
  Selection select{};
  // Nor is a value that `keep` and `drop` leave out by its name, as they do tensors: load_into() takes nothing else.
  bool values_by_name = false;
};

struct IoOptions {
  // The most host memory for bytes in transit: staging. With everything else a load needs, it stays below 64 MiB.
  std::uint64_t staging_nbytes = 48ull << 20;
  int threads = 0;  // that read and write; 0: one per core, at most 8
  ProgressFunction progress{};
  // Copies to and from the caller's memory start after what is queued on these.
  std::vector<DeviceStream> streams{};
};

// Returns nbytes of the caller's memory on a device; its bytes need not be initialized. May throw.
using AllocateFunction = std::function<Storage(Device, std::uint64_t nbytes)>;

struct LoadOptions {
  MapLocation map_location{};  // without rules: where each storage was saved
  Selection select{};
  std::optional<Dtype> dtype{};  // casts floating point tensors
  // Called once for each storage, instead of allocate(). Without it, small storages share allocations.
  AllocateFunction allocate{};
  // Maps the file on the CPU instead of reading it, where its bytes need no change. The memory is private to the process
  // and read from disk when it is first touched. The file must not be truncated while the tensors live.
  bool mapped = false;
  // Compares the bytes with the file's checksums while they are read. Throws FormatError that names the storages that
  // differ.
  bool verify = false;
  std::vector<MemoryLimit> memory_limits{};  // where they are less than what is free
  IoOptions io{};
  OpenOptions open{};
};

struct FillOptions {
  Selection select{};  // of the source's tensors, before they are matched with the live ones
  bool strict = true;  // missing and unexpected keys are a MismatchError
  // Loads the source beside the live tensors first, so that a failure to read changes nothing. load_state_dict() reads
  // nothing and throws UnsupportedError.
  bool transactional = false;
  // Compares the file's bytes with its checksums before the first live byte changes. load_state_dict() throws
  // UnsupportedError.
  bool verify = false;
  IoOptions io{};
  OpenOptions open{};  // for load_into() by path
};

struct FillResult {
  std::vector<std::string> missing;     // keys that only the live model has; left as they were
  std::vector<std::string> unexpected;  // keys that only the source has
};

// What a save does with values that are not tensors, such as numbers, texts and None.
enum class PlainValues : std::uint8_t {
  // Leaves out what `drop` names, and what `keep` does not name if the format holds tensors only: safetensors, shards.
  automatic,
  select,  // writes those that `keep` and `drop` select by their names, as they do tensors
  keep,    // writes all
  drop,    // writes none
};

struct SaveOptions {
  // "torch_zip", "safetensors" or "shards"; empty: by the path's suffix. A suffix of a format that is not written is an
  // UnsupportedError.
  std::string format{};
  Selection select{};                           // which tensors are written, and under which names
  PlainValues values = PlainValues::automatic;  // what else is written
  bool compact = false;        // leaves out the bytes of storages that no tensor uses
  bool allow_objects = false;  // writes inert objects of classes that are not plain data
  MapLocation locations{};     // the location tags to write; without rules: the tensors' devices
  std::map<std::string, std::string> metadata{};  // for safetensors
  // Writes into the file that is there instead of replacing it: hard links, an immovable mount and a folder that is not
  // writable are no obstacle then. The old file is untouched until all new bytes are in a temporary file (beside it, or
  // in TMPDIR), but a crash or a full disk while they are copied leaves neither the old nor the new one. Readers see the
  // change, and tensors that are mapped from the old file are damaged. For a single file; without an old file no effect.
  bool in_place = false;
  IoOptions io{};
};

// Called with the bytes of a file from its first to its last, at most a few MiB at a time, by the thread that called
// save(). If it throws, the save ends and the exception comes out of that call.
using WriteFunction = std::function<void(std::span<const std::byte>)>;

struct SaveResult {
  std::uint64_t nbytes = 0;  // of all files
  // Temporary files that killed saves left beside the target and that cannot be removed. The others are removed.
  std::vector<std::filesystem::path> leftovers;
  // What the format cannot store and the file therefore lacks, for people: "attributes of tensors".
  std::vector<std::string> left_out;
  std::vector<UnusedRule> unused_rules;  // see unused_rules()
  // What of the replaced file the new one does not have, for people: "its owner (user 1000)", "1 other hard link ...".
  std::vector<std::string> not_kept;
};

struct VerifyResult {
  std::uint64_t checked_nbytes = 0;  // of tensors, compared with checksums
  std::uint64_t unchecked_nbytes =
      0;  // of tensors without checksums: safetensors, or CRCs turned off
};

// A tensor that recover() could not write, and why.
struct LostTensor {
  std::string name, reason;
};

struct RecoverResult {
  SaveResult saved;
  std::size_t intact = 0;  // tensors that were written
  std::vector<LostTensor> lost;
};

struct FormatInfo {
  std::string name;
  bool can_write;
};

}  // namespace transload
