// Plan: every decision of a load or a fill, as plain data, made before any of it has an effect.
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

// What is done to bytes between file and memory, in this order. One for each storage or tensor that needs it.
struct Steps {
  std::uint8_t swap_nbytes = 1;  // reverse each unit of so many bytes
  Dtype from = Dtype::uint8, to = Dtype::uint8;
  bool conj = false, neg = false;
  std::optional<Box> box;  // none: in the order they come
};

// Memory to fill: a slab to allocate, for the storages that are placed in it, or a tensor's storage that already lives.
// Or none to fill: a file of the Index's that is mapped as a whole.
struct Target {
  Device device;
  std::uint64_t nbytes;
  std::optional<Storage> existing{};
  std::optional<std::uint32_t> mapped_file{};
};

// Where one storage of the Index goes.
struct Placement {
  static constexpr std::uint32_t kNowhere = 0xFFFFFFFF;
  std::uint32_t target = kNowhere;  // number in Plan::targets; kNowhere: meta, or not loaded
  std::uint32_t rule = 0;           // number in Plan::rules
  std::uint64_t offset = 0;         // bytes from the start of the target
  std::uint64_t nbytes = 0;         // there; differs from the stored size if the dtype does
};

// One copy, at most one staging slot long. Without steps the bytes go straight in.
struct Transfer {
  static constexpr std::uint32_t kAsIs = 0xFFFFFFFF;
  std::uint32_t piece, target;
  std::uint64_t piece_offset, nbytes;  // bytes of the piece, as stored
  std::uint64_t target_offset;         // of the first byte; 0 with a box, which has its own
  std::uint64_t first = 0, numel = 0;  // with a box: elements, by number in its order
  std::uint32_t steps = kAsIs;         // number in Plan::steps
  // what it fills: of a load the number of the storage, of a load_into that of the key
  std::uint32_t fills = 0;
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
  // Of a load what will be there: selected, renamed and cast, every tensor on meta.
  StateDict contents;
  std::vector<std::string> rules;     // why storages go where they go, as the user wrote it
  std::vector<Placement> placements;  // one per storage, not per tensor: tied weights stay tied
  std::vector<Target> targets;
  std::vector<Transfer> transfers;  // sorted by file, then offset
  std::vector<Steps> steps;
  std::vector<std::string> keys;      // of a load_into: what is filled, for Transfer::fills
  std::vector<DeviceNeed> devices;    // those that the plan uses, and no others
  std::uint64_t transfer_nbytes = 0;  // to be read from files
  std::uint64_t slot_nbytes = 0;      // one staging slot: no transfer is longer
  std::uint64_t staging_nbytes = 0;  // host memory besides, at most: pinned if a GPU is in the plan
};

// A plan for people: each device with its storages, rules and bytes; then what is read, and the staging memory.
std::string str(const Plan& plan, const Index& index);

}  // namespace transload
