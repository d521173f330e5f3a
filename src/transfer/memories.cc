#include "transfer/memories.h"

#include <algorithm>

#include "io/file.h"
#include "plan/plans.h"
#include "transload/error.h"

namespace transload {
namespace {

Storage memory_for(const Memory& memory, const Index* index, const AllocateFunction& allocate_one) {
  if (memory.existing) return *memory.existing;
  if (memory.mapped_file) return map_file(index->files[*memory.mapped_file]);
  return allocate_one ? allocate_one(memory.device, memory.nbytes)
                      : allocate(memory.device, memory.nbytes);
}

// For whom the memory is: "for "encoder.weight" (float32 [10, 10]) and 3 more storages". Empty if nobody is known.
std::string users_of(const Plan& plan, std::size_t memory) {
  const auto is_there = [&](const Placement& p) { return p.memory == memory; };
  const auto first = std::ranges::find_if(plan.placements, is_there);
  const auto count = std::count_if(first, plan.placements.end(), is_there);
  if (count == 0) return "";
  const auto storage = static_cast<std::uint32_t>(first - plan.placements.begin());
  const std::string label = label_of(plan, storage);
  return "for " + (label.empty() ? "storage " + std::to_string(storage) : label) +
         (count > 1 ? " and " + std::to_string(count - 1) + " more storages" : "");
}

}  // namespace

std::vector<Storage> memories_of(const Plan& plan, const Index* index,
                                 const AllocateFunction& allocate_one) {
  std::vector<Storage> memories;
  memories.reserve(plan.memories.size());
  for (const Memory& memory : plan.memories) {
    try {
      memories.push_back(memory_for(memory, index, allocate_one));
    } catch (Error& error) {
      const std::string users = users_of(plan, memories.size());
      if (!users.empty()) error.add(users);
      throw;
    }
  }
  return memories;
}

std::vector<Storage> storages_in(const Plan& plan, std::span<const Storage> memories) {
  std::vector<Storage> storages;
  storages.reserve(plan.placements.size());
  for (std::size_t s = 0; s < plan.placements.size(); ++s) {
    const Placement& placement = plan.placements[s];
    if (placement.memory == Placement::kNowhere) {
      storages.push_back(plan.contents.storages()[s]);
      continue;
    }
    const Storage& memory = memories[placement.memory];
    if (placement.offset == 0 && placement.nbytes == memory.nbytes()) {
      storages.push_back(memory);
      continue;
    }
    std::byte* const data = memory.data() + placement.offset;
    storages.emplace_back(memory.device(), data, placement.nbytes,
                          std::shared_ptr<void>(memory.owner(), data));
  }
  return storages;
}

}  // namespace transload
