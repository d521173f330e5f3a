// The zip archive: by its directory, and without it.
#include "archive/zip_read.h"
#include "archive/zip_recover.h"
#include "memory_file.h"
#include "transload/error.h"

namespace {

constexpr std::uint64_t kMaxNbytes = 1 << 20;

void read(transload::ZipArchive& zip) {
  using namespace transload;
  for (ZipMember& member : zip.members()) {
    try {
      const std::string bytes = zip.read(member, kMaxNbytes);
      if (bytes.size() != member.nbytes ||
          member.data_offset + member.stored_nbytes > zip.file().nbytes())
        std::abort();
      zip.local_header(member);
    } catch (const Error&) {
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  static fuzz::MemoryFile memory;
  memory.set({data, nbytes});
  const File file = open_file(memory.path());
  try {
    ZipArchive zip(file);
    read(zip);
  } catch (const Error&) {
  }
  try {
    ZipArchive zip(file, [](std::uint64_t, const std::string&) {});
    read(zip);
  } catch (const Error&) {
  }
  try {
    ZipSearch search(file);
    std::string why;
    const ZipMember* const found = search.find("data/0", nbytes / 4, why);
    if (found && found->data_offset + found->stored_nbytes > nbytes) std::abort();
    search.text("data.pkl", kMaxNbytes);
  } catch (const Error&) {
  }
  return 0;
}
