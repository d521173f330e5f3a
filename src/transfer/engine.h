// The engine: carries out a plan's transfers. It is the only code that moves tensors' bytes, and knows no format and no
// rule.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/output.h"
#include "plan/layout.h"
#include "transload/options.h"

namespace transload {

// What a plan's places are: its numbers count in these.
struct Endpoints {
  const Index* index = nullptr;            // of the files that are read
  std::span<const Storage> memories{};     // one for each of Plan::memories
  const Layout* layout = nullptr;          // of the files that are written
  std::span<const Output* const> files{};  // one for each of Plan::outputs
};

// How far a transfer came.
enum class Reached : std::uint8_t { untouched, begun, done };

struct Outcome {
  std::vector<Reached> reached;            // by transfer, also after a failure
  std::vector<std::uint32_t> read_crc32;   // of Plan::checked, in its order
  std::vector<std::uint32_t> wrote_crc32;  // of Layout::pieces; only with Endpoints::layout
};

// Moves every transfer's bytes: each once, files and devices at the same time, with nothing held but the staging that the
// plan says. Returns when all is there. On failure it waits for what is under way, then throws, with the name of what was
// copied. `progress` of the options is called from this thread.
void run(const Plan& plan, const Endpoints& endpoints, const IoOptions& io, Outcome& outcome);

}  // namespace transload
