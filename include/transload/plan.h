// Plan: every decision of a load, fill, save, conversion, verification or copy, as plain data. It is made before any of
// it has an effect; one engine carries it out.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "transload/index.h"

namespace transload {

// Where storages go: rules, the first that fits decides. A storage that no rule fits goes where it was saved.
// Decided for each storage, not each tensor, so that what shares bytes goes on sharing them.
class MapLocation {
 public:
  // What a function of the user's is shown of a storage. It returns a device, or nothing for no opinion.
  struct Stored {
    std::string_view tag;  // where it was saved: "cuda:0"
    std::uint64_t nbytes;
    std::string_view key;  // the first tensor that uses it: "encoder.layers.0.weight"
  };
  using Function = std::function<std::optional<Device>(const Stored&)>;

  struct Rule {
    enum class Of : std::uint8_t { everything, tag, key, function, automatic } of;
    // of a tag: the whole tag; of a key: a glob, where * stands for any text, ? for one character
    std::string pattern;
    Device device;
    Function function;
    std::string str() const;  // as the user wrote it
    // Where it sends a storage; nothing: it does not fit, or is `automatic`, which the plan decides.
    std::optional<Device> device_for(const Stored& storage) const;
  };

  MapLocation() = default;             // each where it was saved
  MapLocation(Device device);          // all there
  MapLocation(std::string_view text);  // as parse()
  MapLocation(const char* text) : MapLocation(std::string_view(text)) {}
  MapLocation(const std::string& text) : MapLocation(std::string_view(text)) {}
  MapLocation(Function function);
  // {"encoder.*:cuda:0", "cuda:1=cpu", "cpu"}
  MapLocation(std::initializer_list<const char*> rules);

  // "cuda:1": everything there. "cuda:3=cuda:0": what was saved there, as torch's dict. "encoder.*:cuda:0": the
  // tensors with such keys. "auto": devices in the order of their free memory, then the CPU. Throws PlacementError
  // for any other text.
  static Rule parse(std::string_view text);
  void add(Rule rule) { rules_.push_back(std::move(rule)); }
  const std::vector<Rule>& rules() const { return rules_; }

 private:
  std::vector<Rule> rules_;
};

// What is done to elements on their way, in this order.
struct Steps {
  std::uint8_t swap_nbytes = 1;  // reverse each unit of so many bytes
  Dtype from = Dtype::uint8, to = Dtype::uint8;
  bool conj = false, neg = false;
  // From the source's elements to the target's; none: the same order on both sides. Its origins count from the place
  // that a transfer copies from and to; of a piece in a file, from the piece's first byte.
  std::optional<Box> box;
};

// Memory that bytes are copied from or to: to be allocated, a storage that already lives, or a file of the Index
// that is mapped as a whole.
struct Memory {
  Device device;
  std::uint64_t nbytes;
  std::optional<Storage> existing{};
  std::optional<std::uint32_t> mapped_file{};
};

// Where one storage of the Index goes.
struct Placement {
  static constexpr std::uint32_t kNowhere = 0xFFFFFFFF;
  std::uint32_t memory = kNowhere;  // number in Plan::memories; kNowhere: meta, or not loaded
  std::uint32_t rule = 0;           // number in Plan::rules
  std::uint64_t offset = 0;         // bytes from the start of the memory
  std::uint64_t nbytes = 0;         // there; differs from the stored size if the dtype does
};

// Where a transfer's bytes come from or go to.
struct Place {
  enum class Kind : std::uint8_t { none, file, memory } kind = Kind::none;
  // Of a file: in Plan::inputs or Plan::outputs. Of a memory: in Plan::memories.
  std::uint32_t number = 0;
  std::uint64_t offset = 0;  // bytes
};

// One copy, at most one staging slot long if it is staged. Without steps the bytes are copied as they are.
//
// With a box, the transfer is a part of it: `numel` elements from number `first` on, in the box's order. A transfer that
// is as long as the source bytes which those elements span reads all of them; a shorter one reads the elements alone.
struct Transfer {
  static constexpr std::uint32_t kAsIs = 0xFFFFFFFF, kNoPiece = 0xFFFFFFFF;
  Place from;                // of a deflated piece: as if it lay inflated in the file
  Place to;                  // with a box: of its target's origin
  std::uint64_t nbytes = 0;  // that are read, before any step
  std::uint64_t first = 0, numel = 0;
  std::uint32_t steps = kAsIs;  // number in Plan::steps
  std::uint32_t label = 0;      // number in Plan::keys, or of a storage; see Plan::keys
  // Pieces of the Index and of the Layout. A number beyond those of an Index's pieces is one of its metadata members.
  std::uint32_t reads = kNoPiece, writes = kNoPiece;
};

// How bytes get into and out of a file.
enum class How : std::uint8_t {
  cached,  // through the page cache
  direct,  // past it, where stretches are long and aligned
  mapped,  // by the memory mapping of the file
};

// A file that a plan reads or writes.
struct FileUse {
  std::string name;
  How how = How::cached;
  std::string why;           // for people
  std::uint64_t nbytes = 0;  // of tensors, that are read from it or written to it
};

// What a plan needs of one device, in bytes.
struct DeviceNeed {
  Device device;
  std::uint64_t storage_nbytes = 0;  // the model's own bytes there
  // By how much MemoryUse::allocated will grow: padding and the pool's rounding included.
  std::uint64_t allocated = 0;
  std::uint64_t filled_nbytes = 0;  // into memory that already lives
  std::uint64_t mapped_nbytes = 0;  // of storages that stay in a mapped file
  std::uint64_t free = 0;           // when the plan was made
};

struct Plan {
  // Of a load what will be there: selected, renamed and cast, every tensor on meta. Of a save what is written.
  StateDict contents;
  std::vector<std::string> rules;  // why storages go where they go, as the user wrote it
  std::vector<Placement>
      placements;  // of a load: one per storage, not per tensor; tied weights stay tied
  std::vector<Memory> memories;
  std::vector<FileUse> inputs;      // one for each of Index::files
  std::vector<FileUse> outputs;     // one for each of Layout::files
  std::vector<Transfer> transfers;  // in the order of the files read, or else written
  std::vector<Steps> steps;
  // Of a fill: what is filled, by Transfer::label. If there are none, a label is the number of a storage, which goes by
  // the name of the first tensor of `contents` that uses it.
  std::vector<std::string> keys;
  std::vector<DeviceNeed> devices;  // that the plan fills, and no others
  // Pieces that are read whole, each byte once: their CRC-32 is computed on the way. See Transfer::reads.
  std::vector<std::uint32_t> checked;
  bool sums_written = false;          // CRC-32s of what is written are computed on the way
  std::uint64_t transfer_nbytes = 0;  // that are read
  std::uint64_t slot_nbytes = 0;      // one staging slot
  std::uint64_t staging_nbytes = 0;  // host memory besides, at most: pinned if a GPU is in the plan
};

// A plan for people: each device with its storages, rules and bytes; the files that are read and written, and how; the
// staging memory.
std::string str(const Plan& plan);

}  // namespace transload
