// The zip container: by its directory, and without it.
#include "archive/zip_read.h"
#include "archive/zip_recover.h"
#include "memory_file.h"
#include "transload/error.h"

namespace {

constexpr std::uint64_t kMaxNbytes = 1 << 20;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  const File file = file_in_memory("fuzz.pt", std::as_bytes(std::span(data, nbytes)), nullptr);
  ZipContainer zip(file);
  for (Member& member : zip.members()) {
    try {
      const std::string bytes = zip.read(member, kMaxNbytes);
      if (bytes.size() != member.nbytes || member.data_offset + member.stored_nbytes > nbytes)
        std::abort();
    } catch (const Error&) {
    }
  }
  for (const Member& member : zip.examine()) {
    if (member.data_offset + member.stored_nbytes > nbytes) std::abort();
    if (read_first(file, member, kMaxNbytes).size() > kMaxNbytes) std::abort();
  }
  try {
    ZipSearch search(file);
    std::string why;
    const Member* const found = search.find("data/0", nbytes / 4, why);
    if (found && found->data_offset + found->stored_nbytes > nbytes) std::abort();
    search.text("data.pkl", kMaxNbytes);
  } catch (const Error&) {
  }
  return 0;
}
