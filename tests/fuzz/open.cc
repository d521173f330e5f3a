// Everything that is done with a file of any kind: open, print, load with and without its checksums, scan, verify, recover.
#include "memory_file.h"
#include "transload/scan.h"
#include "transload/transload.h"

namespace {

constexpr std::uint64_t kMemory = 32 << 20;

template <class Function>
bool succeeds(const Function& function) {
  try {
    function();
    return true;
  } catch (const transload::Error&) {
    return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t nbytes) {
  using namespace transload;
  static fuzz::MemoryFile memory;
  memory.set({data, nbytes});
  const std::filesystem::path path = memory.path();
  const auto load_it = [&](bool verify) {
    return succeeds([&] {
      load(path, {.map_location = "cpu",
                  .verify = verify,
                  .memory_limits = {{kCpu, kMemory}},
                  .io = {.staging_nbytes = 1 << 20, .threads = 1}});
    });
  };
  succeeds([&] {
    const Index index = open(path, {.keep_calls = true});
    str(index.contents.root());
    index.contents.tensors();
  });
  if (load_it(true) && !load_it(false)) std::abort();
  const bool is_plain = succeeds([&] { open(path, {.refuse_objects = true}); });
  const Scan found = scan(path);
  if (is_plain && found.verdict == Verdict::runs_code && found.format != "torchscript") {
    for (const PickleUse& use : found.uses) {
      const bool is_call = use.how != PickleUse::How::mention;
      if (is_call && use.verdict == Verdict::runs_code && use.member.ends_with("data.pkl"))
        std::abort();
    }
  }
  succeeds([&] { verify(path, {.staging_nbytes = 1 << 20, .threads = 1}); });
  static const std::filesystem::path recovered =
      std::filesystem::temp_directory_path() / ("transload-fuzz-" + std::to_string(getpid()));
  if (nbytes % 16 == 0) {  // it syncs
    if (succeeds([&] { recover(path, recovered, {.allow_objects = true}); })) {
      open(recovered, {.keep_calls = true});
      std::filesystem::remove(recovered);
    }
  }
  return 0;
}
