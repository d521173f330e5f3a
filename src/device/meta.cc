// The backend of the meta device.
#include "device/meta.h"

#include "transload/error.h"

namespace transload {
namespace {

class MetaBackend : public Backend {
 public:
  int device_count() const override { return 1; }
  MemoryUse memory_use(Device device) const override {
    MemoryUse use;
    use.device = device;
    use.name = "shapes without bytes";
    // A plan may place any number of bytes here.
    use.total = use.free = ~std::uint64_t{0};
    return use;
  }
  Storage allocate(Device device, std::uint64_t nbytes) override {
    return Storage(device, nullptr, nbytes, std::make_shared<char>());
  }
  void empty_cache(Device) override {}
  Storage allocate_staging(Device, std::uint64_t) override {
    throw Error("meta: storages have no bytes to stage");
  }
  std::unique_ptr<CopyStream> open_stream(Device, std::uintptr_t) override {
    throw Error("meta: storages have no bytes to copy");
  }
};

}  // namespace

std::unique_ptr<Backend> make_meta_backend() { return std::make_unique<MetaBackend>(); }

}  // namespace transload
