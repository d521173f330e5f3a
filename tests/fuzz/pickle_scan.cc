// The scanner, which knows every opcode and goes on where a loader would stop.
#include <cstdlib>

#include "scan/pickle_scan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  const PickleScan scan = scan_pickle(std::as_bytes(std::span(data, nbytes)), "member");
  if (scan.nbytes > nbytes) std::abort();
  for (const PickleUse& use : scan.uses) {
    if (use.offset >= nbytes || use.count == 0 || use.name.empty()) std::abort();
  }
  return 0;
}
