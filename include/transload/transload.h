// START HERE. Open, load, fill, save, convert: a model from any device to a file, and from a file to any device.
//
//   transload::StateDict state = transload::load("model.pt", {.map_location = "cpu"});
//   std::cout << transload::str(state.tensor("net1.weight")) << '\n';
//   transload::save(state, "model.safetensors");
//
// There is nothing to initialize or to close. Any thread may call any function, with different values at the same time. All
// errors are exceptions of error.h. The library never prints and never exits.
//
// The options are in options.h. More: state_dict.h (nested values), state_dict_builder.h (building them), tensor.h,
// view.h (slices), lazy_tensor.h (one tensor of a file), source.h (reading from anywhere), scan.h (files you do not trust).
#pragma once

#include <filesystem>
#include <vector>

#include "transload/device.h"
#include "transload/dtype.h"
#include "transload/error.h"
#include "transload/index.h"
#include "transload/lazy_tensor.h"
#include "transload/options.h"
#include "transload/plan.h"
#include "transload/scan.h"
#include "transload/source.h"
#include "transload/state_dict.h"
#include "transload/state_dict_builder.h"
#include "transload/tensor.h"
#include "transload/version.h"
#include "transload/view.h"

namespace transload {

// ---- open ----

// Returns what a file holds and where its bytes lie. Reads headers and values, but no tensor's bytes. The format is
// recognized by content. `path` of a model in shards: its folder, or its index (*.index.json). A folder is opened as its
// only model, or as the one that from_pretrained() looks for. Throws IoError if the file
// cannot be read, FormatError if it is damaged or not a model, UnsupportedError for formats that are not read, and
// UnsafePickleError as OpenOptions say.
Index open(const std::filesystem::path& path, const OpenOptions& options = {});
// The same from any source: part of a file, bytes in memory, a class of your own.
Index open(const File& file, const OpenOptions& options = {});

// ---- load ----

// Loads a file. Each storage is read once, straight to its device. A failure leaves nothing behind. Throws what open() and
// plan_load() throw, and DeviceError.
StateDict load(const std::filesystem::path& path, const LoadOptions& options = {});
StateDict load(const Index& index, const LoadOptions& options = {});

// Returns every decision of load(), as data: allocates nothing, reads nothing. memory: the devices that the plan may use,
// as memory_for() returns them. Throws PlacementError if rules conflict or name a device that is not in `memory`, and
// DeviceError if memory does not suffice, with what is needed, what is free and where it would fit.
Plan plan_load(const Index& index, const LoadOptions& options,
               const std::vector<MemoryUse>& memory);
// The same with this machine's memory as it is now.
Plan plan_load(const Index& index, const LoadOptions& options);

// Returns the memory of the devices that a load with these rules could use. Asks no other device.
std::vector<MemoryUse> memory_for(const Index& index, const MapLocation& map_location);

// ---- fill tensors that already live ----

// Fills the tensors of `live` in place with those of a file, on whatever device they are, cast to their dtype, by their
// strides. Compares keys and shapes as torch's load_state_dict does and reports everything that does not fit in one
// MismatchError, before a byte moves. If bytes fail to move, the error lists which keys are new, torn and untouched. A key
// that the file lacks is not missing if other keys fill its bytes (tied weights). By path, opens the file for the
// selection alone.
FillResult load_into(const StateDict& live, const std::filesystem::path& path,
                     const FillOptions& options = {});
FillResult load_into(const StateDict& live, const Index& index, const FillOptions& options = {});
// Returns every decision of load_into(), as data.
Plan plan_load_into(const StateDict& live, const Index& index, const FillOptions& options);

// The same from tensors in memory, on any devices. Throws MismatchError if a source tensor is on meta and its live tensor
// is not.
FillResult load_state_dict(const StateDict& live, const StateDict& source,
                           const FillOptions& options = {});

// ---- save and convert ----

// Writes to a temporary file, syncs it, renames it over the target and syncs the folder: a crash at any moment leaves the
// old file or the new one, whole. PyTorch opens what it writes. Throws UnsupportedError or UnsafePickleError before
// anything is written if the format cannot hold the state dict; IoError if the disk fails or is full.
SaveResult save(const StateDict& state, const std::filesystem::path& path,
                const SaveOptions& options = {});

// Writes a file to anything that takes bytes in order: a socket, a member of an archive. An empty format means "torch_zip".
// Tensors are read twice where the format has checksums, which come before the end of the file. Throws UnsupportedError for
// a format of several files, and as the other save() does. What `write` was given before a failure stays written.
SaveResult save(const StateDict& state, const WriteFunction& write,
                const SaveOptions& options = {});

// Rewrites a file in another format, or with other location tags, names or tensors. Holds only staging and what open()
// reads. With the format "shards", `to` is a folder, which must be new or empty.
SaveResult convert(const std::filesystem::path& from, const std::filesystem::path& to,
                   const SaveOptions& options = {}, const OpenOptions& open_options = {});

// Return what save() and convert() would do, as data: they write nothing and read no tensor. They assume that the file
// system allows writes past the page cache.
Plan plan_save(const StateDict& state, const std::filesystem::path& path,
               const SaveOptions& options = {});
Plan plan_convert(const Index& index, const std::filesystem::path& to,
                  const SaveOptions& options = {});

// ---- verify and recover ----

// Reads a whole file and compares all bytes with its checksums, which PyTorch never does. Throws FormatError that names the
// members that differ, and what open() throws.
VerifyResult verify(const std::filesystem::path& path, const IoOptions& io = {},
                    const OpenOptions& open_options = {});
VerifyResult verify(const Index& index, const IoOptions& io = {});
// Returns what verify() would read, as data.
Plan plan_verify(const Index& index);

// Writes the intact tensors of a truncated or damaged file of torch.save or safetensors to another file. Checksums decide
// which are intact; safetensors has none, and its tensors are intact if all of their bytes are there. Throws FormatError if
// the values or the header, which stand at the beginning of the file, are damaged too, and if no tensor is intact.
RecoverResult recover(const std::filesystem::path& from, const std::filesystem::path& to,
                      const SaveOptions& options = {}, const OpenOptions& open_options = {});

// The formats that can be read, and which of them can be written.
std::vector<FormatInfo> formats();

}  // namespace transload
