// Asks a CUDA driver questions that the emulated driver must answer in the same way, and prints the
// answers as a trace. cuda_trace_test.cc compares the traces of real GPUs with the emulated driver.
//
//   cuda_probe [LIBRARY]               prints one JSON object per line: {"probe": …, "answer": …}, equal on
//                                      every run, or {"information": …, "answer": …}, which varies
//   cuda_probe --bandwidth [LIBRARY]   prints the GB/s of copies from pinned memory, the limit of a load
//
// LIBRARY is libcuda.so.1 by default.
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "device/cuda_driver.h"
#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// Adds 1 to each of `count` float32 values.
constexpr char kPtx[] = R"(.version 5.0
.target sm_60
.address_size 64
.visible .entry transload_probe_add_one(.param .u64 values, .param .u32 count)
{
  .reg .pred %p<2>;
  .reg .b32 %r<6>;
  .reg .b64 %rd<5>;
  .reg .f32 %f<3>;
  ld.param.u64 %rd1, [values];
  ld.param.u32 %r1, [count];
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mov.u32 %r4, %tid.x;
  mad.lo.s32 %r5, %r2, %r3, %r4;
  setp.ge.u32 %p1, %r5, %r1;
  @%p1 bra DONE;
  cvta.to.global.u64 %rd2, %rd1;
  mul.wide.u32 %rd3, %r5, 4;
  add.s64 %rd4, %rd2, %rd3;
  ld.global.f32 %f1, [%rd4];
  add.f32 %f2, %f1, 0f3F800000;
  st.global.f32 [%rd4], %f2;
DONE:
  ret;
}
)";

using Line = rapidjson::Writer<rapidjson::StringBuffer>;

void put(Line& line, bool answer) { line.Bool(answer); }
void put(Line& line, std::uint64_t answer) { line.Uint64(answer); }
void put(Line& line, const std::string& answer) { line.String(answer.c_str()); }

template <class Answer>
void write(const char* kind, const std::string& what, const Answer& answer) {
  rapidjson::StringBuffer buffer;
  Line line(buffer);
  line.StartObject();
  line.Key(kind);
  line.String(what.c_str());
  line.Key("answer");
  put(line, answer);
  line.EndObject();
  std::printf("%s\n", buffer.GetString());
  std::fflush(stdout);
}

template <class Answer>
void probe(const std::string& what, const Answer& answer) {
  write("probe", what, answer);
}

template <class Answer>
void information(const std::string& what, const Answer& answer) {
  write("information", what, answer);
}

std::string name_of(const CudaDriver& driver, CUresult result) {
  const char* name = nullptr;
  if (driver.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
    return "error " + std::to_string(result);
  return name;
}

// For calls that must succeed before a question can be asked.
void need(const CudaDriver& driver, CUresult result, const char* call) {
  if (result != CUDA_SUCCESS) throw DeviceError(std::string(call) + ": " + name_of(driver, result));
}

// Device 0, set up as device/cuda_device.cc sets it up.
class Session {
 public:
  explicit Session(const CudaDriver& driver) : driver_(driver) {
    need(driver, driver.cuDevicePrimaryCtxRetain(&context_, 0), "cuDevicePrimaryCtxRetain");
    need(driver, driver.cuCtxPushCurrent(context_), "cuCtxPushCurrent");
    need(driver, driver.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    CUmemPoolProps properties{};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    need(driver, driver.cuMemPoolCreate(&pool_, &properties), "cuMemPoolCreate");
    std::uint64_t all = std::numeric_limits<std::uint64_t>::max();
    need(driver, driver.cuMemPoolSetAttribute(pool_, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all),
         "cuMemPoolSetAttribute");
  }
  ~Session() {
    driver_.cuMemPoolDestroy(pool_);
    driver_.cuStreamDestroy(stream_);
    CUcontext popped;
    driver_.cuCtxPopCurrent(&popped);
    driver_.cuDevicePrimaryCtxRelease(0);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  CUcontext context() const { return context_; }
  CUstream stream() const { return stream_; }
  CUmemoryPool pool() const { return pool_; }

  std::uint64_t get(CUmemPool_attribute attribute) const {
    std::uint64_t value = 0;
    need(driver_, driver_.cuMemPoolGetAttribute(pool_, attribute, &value), "cuMemPoolGetAttribute");
    return value;
  }
  CUresult try_allocate(std::uint64_t nbytes, CUdeviceptr& address) const {
    return driver_.cuMemAllocFromPoolAsync(&address, nbytes, pool_, stream_);
  }
  CUdeviceptr allocate(std::uint64_t nbytes) const {
    CUdeviceptr address = 0;
    need(driver_, try_allocate(nbytes, address), "cuMemAllocFromPoolAsync");
    return address;
  }
  void free(CUdeviceptr address) const {
    need(driver_, driver_.cuMemFreeAsync(address, stream_), "cuMemFreeAsync");
  }
  void synchronize() const {
    need(driver_, driver_.cuStreamSynchronize(stream_), "cuStreamSynchronize");
  }

 private:
  const CudaDriver& driver_;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  CUmemoryPool pool_ = nullptr;
};

class Pinned {
 public:
  Pinned(const CudaDriver& driver, std::uint64_t nbytes) : driver_(driver), nbytes_(nbytes) {
    need(driver, driver.cuMemHostAlloc(&data_, nbytes, CU_MEMHOSTALLOC_PORTABLE), "cuMemHostAlloc");
  }
  ~Pinned() { driver_.cuMemFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  void* data() const { return data_; }
  void fill(int value) const { std::memset(data_, value, nbytes_); }
  bool all_are(int value) const {
    const auto* bytes = static_cast<const unsigned char*>(data_);
    return std::all_of(bytes, bytes + nbytes_, [&](unsigned char b) { return b == value; });
  }

 private:
  const CudaDriver& driver_;
  std::uint64_t nbytes_;
  void* data_ = nullptr;
};

bool is_active(const CudaDriver& driver, CUdevice device) {
  unsigned flags = 0;
  int active = 0;
  need(driver, driver.cuDevicePrimaryCtxGetState(device, &flags, &active),
       "cuDevicePrimaryCtxGetState");
  return active != 0;
}

void probe_devices(const CudaDriver& driver) {
  int count = 0, version = 0;
  need(driver, driver.cuDeviceGetCount(&count), "cuDeviceGetCount");
  need(driver, driver.cuDriverGetVersion(&version), "cuDriverGetVersion");
  char name[256] = {};
  need(driver, driver.cuDeviceGetName(name, sizeof name, 0), "cuDeviceGetName");
  information("driver version", static_cast<std::uint64_t>(version));
  information("devices", static_cast<std::uint64_t>(count));
  information("name", std::string(name));
  CUdevice device;
  probe("get a device that is not there", name_of(driver, driver.cuDeviceGet(&device, count)));
  probe("context of a device that was only counted is active", is_active(driver, 0));
  std::size_t free = 0, total = 0;
  probe("memory info without a context", name_of(driver, driver.cuMemGetInfo(&free, &total)));

  CUcontext first, second;
  need(driver, driver.cuDevicePrimaryCtxRetain(&first, 0), "cuDevicePrimaryCtxRetain");
  probe("context is active after retain", is_active(driver, 0));
  need(driver, driver.cuDevicePrimaryCtxRetain(&second, 0), "cuDevicePrimaryCtxRetain");
  probe("retained twice it is the same context", first == second);
  driver.cuDevicePrimaryCtxRelease(0);
  probe("context is active when released once of twice", is_active(driver, 0));
  driver.cuDevicePrimaryCtxRelease(0);
  probe("context is active after the last release", is_active(driver, 0));
}

void probe_pool(const CudaDriver& driver) {
  const Session session(driver);
  const auto used = [&] { return session.get(CU_MEMPOOL_ATTR_USED_MEM_CURRENT); };
  const auto reserved = [&] { return session.get(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT); };
  std::size_t free = 0, total = 0;
  need(driver, driver.cuMemGetInfo(&free, &total), "cuMemGetInfo");
  information("total memory", static_cast<std::uint64_t>(total));
  probe("new pool: used", used());
  probe("new pool: reserved", reserved());
  std::vector<CUdeviceptr> addresses;
  bool aligned = true;
  for (const std::uint64_t nbytes : {std::uint64_t{1}, std::uint64_t{4}, std::uint64_t{512},
                                     std::uint64_t{513}, std::uint64_t{4096}, kMiB, 33 * kMiB}) {
    const std::uint64_t used_before = used(), reserved_before = reserved();
    addresses.push_back(session.allocate(nbytes));
    session.synchronize();
    aligned = aligned && addresses.back() % 256 == 0;
    const std::string what = "allocate " + std::to_string(nbytes) + ": ";
    probe(what + "used grows by", used() - used_before);
    probe(what + "reserved grows by", reserved() - reserved_before);
  }
  probe("addresses are multiples of 256", aligned);
  const std::uint64_t most_used = used(), most_reserved = reserved();
  for (const CUdeviceptr address : addresses) session.free(address);
  session.synchronize();
  probe("after free: used", used());
  probe("after free under the highest threshold: reserved is what it was",
        reserved() == most_reserved);
  probe("used high is the most that was used",
        session.get(CU_MEMPOOL_ATTR_USED_MEM_HIGH) == most_used);
  probe("allocated again the memory is reused: reserved grows by", [&] {
    const CUdeviceptr again = session.allocate(4096);
    session.synchronize();
    const std::uint64_t grown = reserved() - most_reserved;
    session.free(again);
    session.synchronize();
    return grown;
  }());
  need(driver, driver.cuMemPoolTrimTo(session.pool(), 0), "cuMemPoolTrimTo");
  probe("after trim: reserved", reserved());
  std::uint64_t zero = 0;
  need(driver, driver.cuMemPoolSetAttribute(session.pool(), CU_MEMPOOL_ATTR_USED_MEM_HIGH, &zero),
       "cuMemPoolSetAttribute");
  probe("used high after it was set to 0", session.get(CU_MEMPOOL_ATTR_USED_MEM_HIGH));

  CUdeviceptr address = 0;
  probe("allocate 0 bytes", name_of(driver, session.try_allocate(0, address)));
  probe("allocate twice the memory that is there",
        name_of(driver, session.try_allocate(2 * total, address)));
  probe("allocate after that", name_of(driver, session.try_allocate(512, address)));
  session.free(address);
  session.synchronize();
  probe("free a second time", name_of(driver, driver.cuMemFreeAsync(address, session.stream())));
}

void probe_copies(const CudaDriver& driver) {
  const Session session(driver);
  const Pinned from(driver, kMiB), to(driver, kMiB);
  const CUdeviceptr a = session.allocate(kMiB), b = session.allocate(kMiB);
  from.fill(7), to.fill(0);
  probe("pinned to device",
        name_of(driver, driver.cuMemcpyHtoDAsync(a, from.data(), kMiB, session.stream())));
  probe("on the device", name_of(driver, driver.cuMemcpyDtoDAsync(b, a, kMiB, session.stream())));
  probe("device to pinned",
        name_of(driver, driver.cuMemcpyDtoHAsync(to.data(), b, kMiB, session.stream())));
  session.synchronize();
  probe("the bytes are there", to.all_are(7));

  std::vector<unsigned char> pageable(kMiB, 9), back(kMiB, 0);
  probe("pageable to device",
        name_of(driver, driver.cuMemcpyHtoDAsync(a, pageable.data(), kMiB, session.stream())));
  probe("device to pageable",
        name_of(driver, driver.cuMemcpyDtoHAsync(back.data(), a, kMiB, session.stream())));
  session.synchronize();
  probe("the pageable bytes are there", back == pageable);
  probe("copy of 0 bytes",
        name_of(driver, driver.cuMemcpyHtoDAsync(a, from.data(), 0, session.stream())));

  CUstream other;
  CUevent event;
  need(driver, driver.cuStreamCreate(&other, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  need(driver, driver.cuEventCreate(&event, CU_EVENT_DISABLE_TIMING), "cuEventCreate");
  probe("query an event that was never recorded", name_of(driver, driver.cuEventQuery(event)));
  from.fill(5);
  for (int i = 0; i < 50; ++i) driver.cuMemcpyHtoDAsync(a, from.data(), kMiB, session.stream());
  driver.cuEventRecord(event, session.stream());
  probe("wait for an event of another stream",
        name_of(driver, driver.cuStreamWaitEvent(other, event, 0)));
  driver.cuMemcpyDtoHAsync(to.data(), a, kMiB, other);
  driver.cuStreamSynchronize(other);
  probe("the copies before the event are done", to.all_are(5));
  probe("query the event then", name_of(driver, driver.cuEventQuery(event)));
  driver.cuEventDestroy(event);
  driver.cuStreamDestroy(other);

  int count = 0;
  driver.cuDeviceGetCount(&count);
  if (count > 1) {
    CUcontext second;
    need(driver, driver.cuDevicePrimaryCtxRetain(&second, 1), "cuDevicePrimaryCtxRetain");
    need(driver, driver.cuCtxPushCurrent(second), "cuCtxPushCurrent");
    CUcontext popped;
    CUmemPoolProps properties{};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 1};
    CUmemoryPool pool;
    CUstream stream;
    CUdeviceptr there = 0;
    need(driver, driver.cuMemPoolCreate(&pool, &properties), "cuMemPoolCreate");
    need(driver, driver.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    need(driver, driver.cuMemAllocFromPoolAsync(&there, kMiB, pool, stream), "of device 1");
    to.fill(0);
    const CUresult copied =
        driver.cuMemcpyPeerAsync(there, second, a, session.context(), kMiB, stream);
    driver.cuMemcpyDtoHAsync(to.data(), there, kMiB, stream);
    driver.cuStreamSynchronize(stream);
    probe("two devices: copy from one to the other", name_of(driver, copied));
    probe("two devices: the bytes are there", to.all_are(5));
    driver.cuMemFreeAsync(there, stream);
    driver.cuStreamSynchronize(stream);
    driver.cuStreamDestroy(stream);
    driver.cuMemPoolDestroy(pool);
    driver.cuCtxPopCurrent(&popped);
    driver.cuDevicePrimaryCtxRelease(1);
  }
  session.free(a);
  session.free(b);
  session.synchronize();
}

CUresult launch(const CudaDriver& driver, CUfunction function, CUstream stream, CUdeviceptr values,
                std::uint32_t count) {
  void* arguments[] = {&values, &count};
  return driver.cuLaunchKernel(function, (count + 255) / 256, 1, 1, 256, 1, 1, 0, stream, arguments,
                               nullptr);
}

void probe_kernels(const CudaDriver& driver) {
  const Session session(driver);
  CUmodule module;
  probe("load what is no image", name_of(driver, driver.cuModuleLoadData(&module, "garbage")));
  need(driver, driver.cuModuleLoadData(&module, kPtx), "cuModuleLoadData");
  CUfunction function;
  probe("find a kernel that is not in the image",
        name_of(driver, driver.cuModuleGetFunction(&function, module, "no_such_kernel")));
  need(driver, driver.cuModuleGetFunction(&function, module, "transload_probe_add_one"),
       "cuModuleGetFunction");
  constexpr std::uint32_t kCount = 1000;
  const Pinned host(driver, kCount * sizeof(float));
  auto* const values = static_cast<float*>(host.data());
  for (std::uint32_t i = 0; i < kCount; ++i) values[i] = static_cast<float>(i);
  const CUdeviceptr device = session.allocate(kCount * sizeof(float));
  driver.cuMemcpyHtoDAsync(device, values, kCount * sizeof(float), session.stream());
  probe("launch", name_of(driver, launch(driver, function, session.stream(), device, kCount)));
  driver.cuMemcpyDtoHAsync(values, device, kCount * sizeof(float), session.stream());
  session.synchronize();
  bool right = true;
  for (std::uint32_t i = 0; i < kCount; ++i)
    right = right && values[i] == static_cast<float>(i + 1);
  probe("the kernel has run on each value once", right);
  session.free(device);
  session.synchronize();
  driver.cuModuleUnload(module);
}

// Must run last, because it breaks the device's context permanently.
void probe_a_broken_context(const CudaDriver& driver) {
  const Session session(driver);
  CUmodule module;
  CUfunction function;
  need(driver, driver.cuModuleLoadData(&module, kPtx), "cuModuleLoadData");
  need(driver, driver.cuModuleGetFunction(&function, module, "transload_probe_add_one"),
       "cuModuleGetFunction");
  const CUdeviceptr lives = session.allocate(512);
  session.synchronize();
  const auto say = [&](const char* what, CUresult result) {
    probe(std::string("a kernel wrote to address 8: ") + what, name_of(driver, result));
  };
  say("launch", launch(driver, function, session.stream(), 8, 1));
  say("synchronize", driver.cuStreamSynchronize(session.stream()));
  say("synchronize again", driver.cuStreamSynchronize(session.stream()));
  CUdeviceptr address = 0;
  say("allocate", session.try_allocate(512, address));
  say("free what lives", driver.cuMemFreeAsync(lives, session.stream()));
  std::size_t free = 0, total = 0;
  say("memory info", driver.cuMemGetInfo(&free, &total));
}

void measure_bandwidth(const CudaDriver& driver) {
  const Session session(driver);
  constexpr std::uint64_t kNbytes = 256 * kMiB;
  constexpr int kTimes = 16;
  const Pinned from(driver, kNbytes);
  from.fill(0x5A);
  const CUdeviceptr to = session.allocate(kNbytes);
  std::vector<double> rates;
  for (int run = 0; run < 6; ++run) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kTimes; ++i)
      need(driver, driver.cuMemcpyHtoDAsync(to, from.data(), kNbytes, session.stream()), "copy");
    session.synchronize();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (run > 0) rates.push_back(kTimes * static_cast<double>(kNbytes) / took.count() / 1e9);
  }
  std::sort(rates.begin(), rates.end());
  std::printf("%.2f\n", rates[rates.size() / 2]);
  session.free(to);
  session.synchronize();
}

int run(std::vector<std::string> arguments) {
  const bool bandwidth = !arguments.empty() && arguments[0] == "--bandwidth";
  if (bandwidth) arguments.erase(arguments.begin());
  if (!arguments.empty()) use_cuda_driver(std::filesystem::absolute(arguments[0]));
  const CudaDriver* const driver = cuda_driver();
  if (!driver) {
    std::fprintf(stderr, "no CUDA driver: %s\n", why_no_cuda_driver().c_str());
    return 1;
  }
  if (bandwidth) {
    measure_bandwidth(*driver);
    return 0;
  }
  probe_devices(*driver);
  probe_pool(*driver);
  probe_copies(*driver);
  probe_kernels(*driver);
  probe_a_broken_context(*driver);
  return 0;
}

}  // namespace
}  // namespace transload

int main(int argc, char** argv) try {
  return transload::run({argv + 1, argv + argc});
} catch (const transload::Error& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
