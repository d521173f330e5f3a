// START HERE. Open, load, save, convert: a model from any device to a file, and from a file to any device.
//
//   transload::StateDict state = transload::load("model.pt", {.map_location = "cpu"});
//   transload::save(state, "model.safetensors");
//
// Nothing to initialise and nothing to close. All functions may be called from any thread, on different
// values at the same time. They throw what error.h declares; the library never prints and never exits.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "transload/device.h"
#include "transload/dtype.h"
#include "transload/error.h"
#include "transload/index.h"
#include "transload/plan.h"
#include "transload/state_dict.h"
#include "transload/tensor.h"

namespace transload {

struct Progress {
  std::uint64_t done_nbytes, total_nbytes;
};
// Called from the thread that called load or save, about ten times a second. If it throws, the work
// stops and the exception comes out of that call.
using ProgressFunction = std::function<void(const Progress&)>;

struct OpenOptions {
  // Objects of classes that are not plain data are kept, inert and printable. With `refuse_objects`
  // the first one is an UnsafePickleError instead.
  bool refuse_objects = false;
  // Calls of what runs code, as os.system, are an UnsafePickleError. With `keep_calls` they are kept as inert objects
  // too; nothing is called either way.
  bool keep_calls = false;
};

// Which tensors are meant, by name: keys and positions joined by '/', as StateDict::tensors() gives them. In patterns
// * stands for any text, ? for one character. Values that are not tensors stay. A tensor that is not selected is
// left out of a dict; in a list or tuple, None takes its place, so that the others keep their positions.
struct Selection {
  // The path of the part that is meant, as "model_state_dict" or "optimizer_states/0": what is below it, by names
  // that begin there.
  std::string at{};
  std::vector<std::string> keep{};  // only these; empty: all
  std::vector<std::string> drop{};  // but not these
  // {"module.*", "*"} strips a prefix; {"*.attn.*", "*.attention.*"} changes the middle. The n-th * of the new name is
  // what the n-th * of the pattern stood for. The first pattern that fits renames. A tensor stays in its dict.
  std::vector<std::pair<std::string, std::string>> rename{};
};

struct IoOptions {
  // Host memory for bytes on their way, at most. With all else that a load needs it stays below 64 MiB.
  std::uint64_t staging_nbytes = 48ull << 20;
  int threads = 0;  // that read or write; 0: as many as there are cores, at most 8
  ProgressFunction progress{};
  // Streams of the caller's (CUstream handles) that use the memory in question, by device: copies start after what is
  // queued there.
  std::vector<std::pair<Device, std::uintptr_t>> streams{};
};

// Memory of the caller's own making for nbytes on a device, not initialised. It may throw.
using AllocateFunction = std::function<Storage(Device, std::uint64_t nbytes)>;

struct LoadOptions {
  MapLocation map_location{};  // where it was saved, unless said
  Selection select{};
  std::optional<Dtype> dtype{};  // that floating point tensors are cast to
  // Each storage is one call of this, instead of allocate() and slabs of small ones.
  AllocateFunction allocate{};
  // On the CPU, what lies in the file as it is to be in memory is mapped, not read: private to this process, from disk
  // when it is first looked at. The file must not be truncated while the tensors live.
  bool mapped = false;
  // Compares each byte that has a checksum in the file with it, on the way: FormatError names the storages that differ.
  bool verify = false;
  // What a load may take of a device, if that is less than what is free there, in bytes.
  std::vector<std::pair<Device, std::uint64_t>> memory_limits{};
  IoOptions io{};
  OpenOptions open{};
};

// What the file holds and where its bytes lie. Reads headers only, no tensor's bytes. The format is
// recognised by content. Of a model in shards, `path` is the folder or its index (*.index.json). Throws IoError,
// FormatError, UnsupportedError, UnsafePickleError.
Index open(const std::filesystem::path& path, const OpenOptions& options = {});
// The same from any source: a part of a file, bytes in memory, a class of your own. See source.h.
Index open(const File& file, const OpenOptions& options = {});

// Every decision of load(): pure, allocates nothing, opens nothing. `memory` holds the devices that the
// plan may use, as memory_for() gives them. Throws PlacementError (rules that conflict, a device that is
// not among `memory`) and DeviceError (memory that is not enough, with what is needed, free, and would fit).
Plan plan_load(const Index& index, const LoadOptions& options,
               const std::vector<MemoryUse>& memory);

// The same with the memory of this machine as it is now.
Plan plan_load(const Index& index, const LoadOptions& options);

// The memory of those devices that a load of the index with these rules could use; asks no other device.
std::vector<MemoryUse> memory_for(const Index& index, const MapLocation& map_location);

// Loads a file: each storage once, straight to where it is to live. A failure leaves nothing behind.
StateDict load(const std::filesystem::path& path, const LoadOptions& options = {});
StateDict load(const Index& index, const LoadOptions& options = {});  // of what open() gave

struct FillOptions {
  Selection select{};  // of the source's tensors, before they are matched with the live ones
  bool strict = true;  // missing and unexpected keys are an error
  // Loads what is needed beside the live tensors first, so that a failure to read changes nothing. Not for
  // load_state_dict, which reads nothing: UnsupportedError.
  bool transactional = false;
  // Compares the bytes of the file with their checksums, where they have any, before the first live byte changes. Not for
  // load_state_dict: UnsupportedError.
  bool verify = false;
  IoOptions io{};
  OpenOptions open{};  // of the path
};

struct FillResult {
  std::vector<std::string> missing;     // keys only the live model has; left as they were
  std::vector<std::string> unexpected;  // keys only the file has
};

// Fills the tensors of `live` in place with the file's, whatever device they are on, cast to their dtype
// and laid out by their strides. Keys and shapes are compared as torch's load_state_dict does, and all
// that does not fit is reported together, in one MismatchError, before a byte moves. Views of one storage
// are filled each. A failure while bytes move throws an error that lists which keys are new, which are
// torn and which untouched.
FillResult load_into(const StateDict& live, const std::filesystem::path& path,
                     const FillOptions& options = {});
FillResult load_into(const StateDict& live, const Index& index, const FillOptions& options = {});
Plan plan_load_into(const StateDict& live, const Index& index, const FillOptions& options);

// The same from tensors in memory, on any devices. Throws MismatchError if a source is on meta and its live tensor is not.
FillResult load_state_dict(const StateDict& live, const StateDict& source,
                           const FillOptions& options = {});

struct SaveOptions {
  // "torch_zip" or "safetensors"; empty: safetensors for that suffix, else torch_zip
  std::string format{};
  Selection select{};          // what is written, and by what names; not of shards
  bool compact = false;        // a tensor that uses a part of its storage is saved without the rest
  bool allow_objects = false;  // write inert objects of classes that are not plain data
  MapLocation locations{};     // the location tags to write; without rules, of the tensors' devices
  std::map<std::string, std::string> metadata{};  // of safetensors
  IoOptions io{};
};

struct SaveResult {
  std::uint64_t nbytes = 0;  // of the file
  // Files beside it that saves which were killed have left. They are named, not removed.
  std::vector<std::filesystem::path> leftovers;
};

// Writes beside the target, syncs, renames over it, syncs the folder: a crash at any moment leaves the old
// file or the new one, whole. PyTorch opens what it writes. Throws before anything is written if the
// format cannot hold the state dict.
SaveResult save(const StateDict& state, const std::filesystem::path& path,
                const SaveOptions& options = {});

// Rewrites a file in another format, or with other tags. Never holds more than staging and metadata. A model in shards
// becomes one file, or, with the format "shards", as many in the folder `to`, which must be new or empty.
SaveResult convert(const std::filesystem::path& from, const std::filesystem::path& to,
                   const SaveOptions& options = {}, const OpenOptions& open_options = {});

// What save() and convert() would do: pure, they write and read nothing of tensors. They suppose that the file system can
// be written past the page cache.
Plan plan_save(const StateDict& state, const std::filesystem::path& path,
               const SaveOptions& options = {});
Plan plan_convert(const Index& index, const std::filesystem::path& to,
                  const SaveOptions& options = {});

struct VerifyResult {
  std::uint64_t checked_nbytes = 0;    // of tensors, compared with checksums
  std::uint64_t unchecked_nbytes = 0;  // of those that have none: safetensors, or CRCs turned off
};

// Reads the whole file and compares each member of an archive with its checksum, which PyTorch never does. Throws
// FormatError that names the members that differ, and all that open() throws.
VerifyResult verify(const std::filesystem::path& path, const IoOptions& io = {},
                    const OpenOptions& open_options = {});

// What verify() would read.
Plan plan_verify(const Index& index);

struct RecoverResult {
  SaveResult saved;
  std::size_t whole = 0;                                  // tensors that were written
  std::vector<std::pair<std::string, std::string>> lost;  // tensors, and why
};

// Of a file of torch.save that was cut short or damaged: writes all tensors that are whole into a good file. Needs the
// values, which stand at the beginning; throws FormatError without them.
RecoverResult recover(const std::filesystem::path& from, const std::filesystem::path& to,
                      const SaveOptions& options = {}, const OpenOptions& open_options = {});

// The names of the formats that can be read, and whether each can be written.
std::vector<std::pair<std::string, bool>> formats();

}  // namespace transload
