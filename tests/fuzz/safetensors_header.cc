// The header of safetensors. What is read, is the same written and read again.
#include <cstdlib>

#include "format/safetensors_header.h"
#include "transload/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  std::string text(reinterpret_cast<const char*>(data), nbytes);
  SafetensorsHeader header;
  try {
    header = parse_safetensors_header(text, "fuzz");
  } catch (const Error&) {
    return 0;
  }
  std::string written = write_safetensors_header(header).substr(kSafetensorsLengthNbytes);
  const SafetensorsHeader again = parse_safetensors_header(written, "again");
  if (again.metadata != header.metadata || again.entries.size() != header.entries.size())
    std::abort();
  for (std::size_t i = 0; i < header.entries.size(); ++i) {
    const auto &a = header.entries[i], &b = again.entries[i];
    const auto sa = header.shape(a), sb = again.shape(b);
    const bool same = a.name == b.name && a.dtype == b.dtype && a.begin == b.begin &&
                      a.end == b.end && std::equal(sa.begin(), sa.end(), sb.begin(), sb.end());
    if (!same) std::abort();
  }
  return 0;
}
