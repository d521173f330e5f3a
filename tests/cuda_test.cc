// The CUDA backend on the emulated driver. Every test checks that nothing is left on any device.
#include "device/cuda.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "device/cuda_device.h"
#include "device/cuda_driver.h"
#include "device/cuda_stream.h"
#include "emulated.h"
#include "transload/error.h"

namespace transload {
namespace {

constexpr std::uint64_t kMiB = 1ull << 20;
constexpr std::uint64_t kTotal = 256 * kMiB;
constexpr int kDevices = 2;

constexpr char kPtx[] = R"(.version 5.0
.target sm_60
.address_size 64
.visible .entry transload_probe_add_one(.param .u64 values, .param .u32 count) { ret; }
.visible .entry transload_fill(.param .u64 y, .param .f32 value, .param .u64 numel) { ret; }
)";

class Cuda : public testing::Test {
 protected:
  void SetUp() override {
    emulated_.find<decltype(fake_cuda_reset)>("fake_cuda_reset")();
    ASSERT_EQ(
        emulated_.find<decltype(fake_cuda_configure)>("fake_cuda_configure")(kDevices, kTotal), 1)
        << "the test before has left a context";
    backend_ = make_cuda_backend();
  }

  void TearDown() override {
    let_go();
    backend_.reset();
    for (int device = 0; device < kDevices; ++device) {
      const FakeCudaCounters left = counters(device);
      EXPECT_EQ(left.allocations_alive, 0u) << "cuda:" << device;
      EXPECT_EQ(left.pools_alive, 0u) << "cuda:" << device;
      EXPECT_EQ(left.streams_alive, 0u) << "cuda:" << device;
      EXPECT_EQ(left.events_alive, 0u) << "cuda:" << device;
      EXPECT_EQ(left.modules_alive, 0u) << "cuda:" << device;
      EXPECT_EQ(left.contexts_alive, 0u) << "cuda:" << device;
    }
    EXPECT_EQ(emulated_.find<decltype(fake_cuda_pinned_nbytes)>("fake_cuda_pinned_nbytes")(), 0u);
    CUcontext current;
    cuda_driver()->cuCtxGetCurrent(&current);
    EXPECT_EQ(current, nullptr) << "the thread was not given its context back";
  }

  FakeCudaCounters counters(int device) { return emulated_.counters(device); }
  void hold() { emulated_.find<decltype(fake_cuda_hold)>("fake_cuda_hold")(); }
  void let_go() { emulated_.find<decltype(fake_cuda_let_go)>("fake_cuda_let_go")(); }
  void delay(std::uint64_t us) { emulated_.find<decltype(fake_cuda_delay)>("fake_cuda_delay")(us); }
  void fail_allocation(std::uint64_t number, std::uint64_t times) {
    emulated_.find<decltype(fake_cuda_fail_allocation)>("fake_cuda_fail_allocation")(0, number,
                                                                                     times);
  }
  void fail_copy(std::uint64_t number, FakeCudaFailure when) {
    emulated_.find<decltype(fake_cuda_fail_copy)>("fake_cuda_fail_copy")(0, number, when);
  }

  // Returns pinned memory filled with one value.
  Storage pinned(std::uint64_t nbytes, int value) {
    Storage storage = backend_->allocate_staging(cuda(0), nbytes);
    std::memset(storage.data(), value, nbytes);
    return storage;
  }

  static std::span<std::byte> bytes(const Storage& storage) {
    return {storage.data(), storage.nbytes()};
  }
  static bool all_are(const Storage& host, int value) {
    return std::ranges::all_of(bytes(host),
                               [&](std::byte b) { return b == static_cast<std::byte>(value); });
  }

  Emulated emulated_;
  std::unique_ptr<Backend> backend_;
};

// Returns the message of the error that `work` throws, or "" if it throws none.
template <class Work>
std::string error_of(Work work) {
  try {
    work();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return {};
}

TEST_F(Cuda, ADeviceThatIsOnlyCountedSeesNoContext) {
  EXPECT_EQ(backend_->device_count(), kDevices);
  EXPECT_EQ(counters(0).contexts_made, 0u);
  EXPECT_EQ(counters(1).contexts_made, 0u);
}

TEST_F(Cuda, ADeviceThatIsOnlyAskedForItsMemoryKeepsNoContext) {
  const MemoryUse use = backend_->memory_use(cuda(1));
  EXPECT_EQ(use.device, cuda(1));
  EXPECT_EQ(use.name, "emulated");
  EXPECT_EQ(use.total, kTotal);
  EXPECT_EQ(use.granularity, 512u);
  EXPECT_EQ(use.allocated, 0u);
  EXPECT_EQ(use.reserved, 0u);
  EXPECT_EQ(counters(1).contexts_made, 1u);
  EXPECT_EQ(counters(1).contexts_alive, 0u);
  EXPECT_EQ(counters(0).contexts_made, 0u);
}

TEST_F(Cuda, AnAllocationMakesAContextOnItsOwnDeviceOnly) {
  const Storage storage = backend_->allocate(cuda(1), 100);
  EXPECT_EQ(counters(0).contexts_made, 0u);
  EXPECT_EQ(counters(1).contexts_made, 1u);
}

TEST_F(Cuda, AllocatedGrowsByTheBytesRoundedUpToTheGranularity) {
  const Storage first = backend_->allocate(cuda(0), 1);
  EXPECT_EQ(backend_->memory_use(cuda(0)).allocated, 512u);
  const Storage second = backend_->allocate(cuda(0), 513);
  EXPECT_EQ(backend_->memory_use(cuda(0)).allocated, 512u + 1024u);
  {
    const Storage third = backend_->allocate(cuda(0), 40 * kMiB);
    EXPECT_EQ(backend_->memory_use(cuda(0)).allocated, 1536u + 40 * kMiB);
  }
  const MemoryUse use = backend_->memory_use(cuda(0));
  EXPECT_EQ(use.allocated, 1536u);
  EXPECT_EQ(use.allocated_peak, 1536u + 40 * kMiB);
}

TEST_F(Cuda, MeasuringTheGranularityLeavesNothingReservedAndNoPeak) {
  const Storage none = backend_->allocate(cuda(0), 0);
  const MemoryUse use = backend_->memory_use(cuda(0));
  EXPECT_EQ(use.reserved, 0u);
  EXPECT_EQ(use.reserved_peak, 0u);
  EXPECT_EQ(use.allocated_peak, 0u);
}

TEST_F(Cuda, AStorageThatIsDroppedStaysReservedUntilTheCacheIsEmptied) {
  Storage storage = backend_->allocate(cuda(0), 10 * kMiB);
  const MemoryUse full = backend_->memory_use(cuda(0));
  storage = {};
  const MemoryUse dropped = backend_->memory_use(cuda(0));
  EXPECT_EQ(dropped.allocated, 0u);
  EXPECT_EQ(dropped.reserved, full.reserved);
  EXPECT_EQ(dropped.free, full.free);
  backend_->empty_cache(cuda(0));
  const MemoryUse emptied = backend_->memory_use(cuda(0));
  EXPECT_EQ(emptied.reserved, 0u);
  EXPECT_EQ(emptied.free, full.free + full.reserved);
  EXPECT_EQ(emptied.reserved_peak, full.reserved);
}

TEST_F(Cuda, EmptyingTheCacheOfADeviceThatIsNotUsedMakesNoContext) {
  backend_->empty_cache(cuda(0));
  EXPECT_EQ(counters(0).contexts_made, 0u);
}

TEST_F(Cuda, StoragesWithoutBytesAreDifferentStorages) {
  const Storage a = backend_->allocate(cuda(0), 0), b = backend_->allocate(cuda(0), 0);
  EXPECT_EQ(a.data(), nullptr);
  EXPECT_NE(a.identity(), b.identity());
}

TEST_F(Cuda, AnAllocationStartsAtAMultipleOfTheAlignment) {
  const Storage a = backend_->allocate(cuda(0), 1), b = backend_->allocate(cuda(0), 1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.data()) % backend_->memory_use(cuda(0)).alignment,
            0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) % backend_->memory_use(cuda(0)).alignment,
            0u);
}

TEST_F(Cuda, AnAllocationThatIsTooLargeSaysWhatWasAskedAndWhatIsFree) {
  const Storage kept = backend_->allocate(cuda(0), 1000);
  const MemoryUse use = backend_->memory_use(cuda(0));
  const std::string error = error_of([&] { backend_->allocate(cuda(0), 2 * kTotal); });
  EXPECT_EQ(error, "cuda:0: cannot allocate " + std::to_string(2 * kTotal) +
                       " bytes: " + std::to_string(use.free) + " of " + std::to_string(kTotal) +
                       " are free; this process has 1024 allocated and " +
                       std::to_string(use.reserved) + " reserved");
}

TEST_F(Cuda, MemoryThatIsKeptForReuseIsGivenUpForAnAllocationThatNeedsIt) {
  {
    std::vector<Storage> small;
    for (int i = 0; i < 6; ++i) small.push_back(backend_->allocate(cuda(0), 32 * kMiB));
  }
  EXPECT_EQ(backend_->memory_use(cuda(0)).reserved, 6 * 32 * kMiB);
  const Storage large = backend_->allocate(cuda(0), 200 * kMiB);
  EXPECT_EQ(backend_->memory_use(cuda(0)).reserved, 224 * kMiB);
}

TEST_F(Cuda, AnAllocationThatFailsOnceIsTriedAgain) {
  const Storage first = backend_->allocate(cuda(0), 1);
  fail_allocation(1, 1);
  EXPECT_NE(backend_->allocate(cuda(0), 1).data(), nullptr);
  fail_allocation(2, 2);
  const Storage second = backend_->allocate(cuda(0), 1);
  EXPECT_NE(
      error_of([&] { backend_->allocate(cuda(0), 77); }).find("cuda:0: cannot allocate 77 bytes"),
      std::string::npos);
}

TEST_F(Cuda, ADeviceWhoseFirstByteCannotBeAllocatedIsStillThere) {
  fail_allocation(1, 1);
  EXPECT_EQ(backend_->memory_use(cuda(0)).granularity, 512u);
}

TEST_F(Cuda, ADeviceThatIsNotThereIsAnErrorOfTheDriver) {
  EXPECT_EQ(error_of([&] { backend_->allocate(cuda(7), 1); }),
            "cuda:7: cuDeviceGet failed: CUDA_ERROR_INVALID_DEVICE (invalid device ordinal)");
}

TEST_F(Cuda, BytesCrossTheBusOnceEachWay) {
  const Storage on_gpu = backend_->allocate(cuda(0), 3 * kMiB);
  const Storage from = pinned(3 * kMiB, 7), to = pinned(3 * kMiB, 0);
  const auto stream = backend_->open_stream(cuda(0));
  stream->to_device(on_gpu.data(), bytes(from));
  stream->to_host(bytes(to), on_gpu.data());
  stream->wait(stream->mark());
  EXPECT_TRUE(all_are(to, 7));
  EXPECT_EQ(counters(0).to_device, 3 * kMiB);
  EXPECT_EQ(counters(0).to_host, 3 * kMiB);
  EXPECT_EQ(counters(0).unpinned, 0u);
}

TEST_F(Cuda, ACopyHasNotHappenedBeforeItIsWaitedFor) {
  const Storage on_gpu = backend_->allocate(cuda(0), 100);
  const Storage from = pinned(100, 7), to = pinned(100, 0);
  const auto stream = backend_->open_stream(cuda(0));
  hold();
  stream->to_device(on_gpu.data(), bytes(from));
  stream->to_host(bytes(to), on_gpu.data());
  const std::uint64_t mark = stream->mark();
  EXPECT_TRUE(all_are(to, 0));
  let_go();
  stream->wait(mark);
  EXPECT_TRUE(all_are(to, 7));
}

TEST_F(Cuda, CopiesRunInTheOrderGiven) {
  delay(200);
  const Storage on_gpu = backend_->allocate(cuda(0), 64);
  const auto stream = backend_->open_stream(cuda(0));
  std::vector<Storage> from, to;
  for (int i = 0; i < 20; ++i) {
    from.push_back(pinned(64, i));
    to.push_back(pinned(64, 99));
    stream->to_device(on_gpu.data(), bytes(from.back()));
    stream->to_host(bytes(to.back()), on_gpu.data());
  }
  stream->wait(stream->mark());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(all_are(to[static_cast<std::size_t>(i)], i)) << i;
}

TEST_F(Cuda, AMarkStandsForWhatWasQueuedBeforeItAndNotForTheRest) {
  const Storage on_gpu = backend_->allocate(cuda(0), 64);
  const Storage from = pinned(64, 7), first = pinned(64, 0), second = pinned(64, 0);
  const auto stream = backend_->open_stream(cuda(0));
  stream->to_device(on_gpu.data(), bytes(from));
  stream->to_host(bytes(first), on_gpu.data());
  const std::uint64_t mark = stream->mark();
  stream->wait(mark);
  hold();
  stream->to_host(bytes(second), on_gpu.data());
  stream->wait(mark);  // would block forever if it waited for later copies
  EXPECT_TRUE(all_are(first, 7));
  EXPECT_TRUE(all_are(second, 0));
  let_go();
  stream->wait(stream->mark());
  EXPECT_TRUE(all_are(second, 7));
}

TEST_F(Cuda, EventsOfMarksThatWereReachedAreUsedAgain) {
  const auto stream = backend_->open_stream(cuda(0));
  for (int i = 0; i < 100; ++i) stream->wait(stream->mark());
  EXPECT_LE(counters(0).events_alive, 2u);
}

TEST_F(Cuda, ManyThreadsCopyOnOneStream) {
  delay(20);
  constexpr int kThreads = 4;
  const Storage on_gpu = backend_->allocate(cuda(0), kThreads * kMiB);
  const auto stream = backend_->open_stream(cuda(0));
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const Storage from = pinned(1000, i + 1), to = pinned(1000, 0);
      std::byte* const place = on_gpu.data() + static_cast<std::uint64_t>(i) * kMiB;
      for (int round = 0; round < 20; ++round) {
        std::memset(to.data(), 0, to.nbytes());
        stream->to_device(place, bytes(from));
        const std::uint64_t there = stream->mark();
        stream->to_host(bytes(to), place);
        const std::uint64_t back = stream->mark();
        stream->wait(back);
        stream->wait(there);
        if (!all_are(to, i + 1)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Cuda, TheEndOfAStreamWaitsForItsCopies) {
  delay(2000);
  const Storage on_gpu = backend_->allocate(cuda(0), 64);
  const Storage from = pinned(64, 7), to = pinned(64, 0);
  {
    const auto stream = backend_->open_stream(cuda(0));
    stream->to_device(on_gpu.data(), bytes(from));
    stream->to_host(bytes(to), on_gpu.data());
  }
  EXPECT_TRUE(all_are(to, 7));
}

TEST_F(Cuda, CopiesStartAfterWhatIsQueuedOnTheCallersStream) {
  const CudaDriver& driver = *cuda_driver();
  CudaDevice user(driver,
                  cuda(0));  // like PyTorch: the same primary context, another stream
  const CurrentContext current(user.context());
  CudaStream theirs(user.context(), CU_STREAM_NON_BLOCKING);
  const Storage on_gpu = backend_->allocate(cuda(0), 64);
  const Storage old_bytes = pinned(64, 1), new_bytes = pinned(64, 2), to = pinned(64, 0);
  const auto address = reinterpret_cast<CUdeviceptr>(on_gpu.data());

  hold();
  ASSERT_EQ(driver.cuMemcpyHtoDAsync(address, old_bytes.data(), 64, theirs.handle()), CUDA_SUCCESS);
  const auto stream =
      backend_->open_stream(cuda(0), reinterpret_cast<std::uintptr_t>(theirs.handle()));
  stream->to_device(on_gpu.data(), bytes(new_bytes));
  delay(500);
  let_go();
  stream->wait(stream->mark());
  stream->to_host(bytes(to), on_gpu.data());
  stream->wait(stream->mark());
  theirs.synchronize();
  EXPECT_TRUE(all_are(to, 2));
}

TEST_F(Cuda, TheCallersContextIsCurrentAgainAfterEachCall) {
  CudaDevice user(*cuda_driver(), cuda(1));
  const CurrentContext current(user.context());
  const Storage on_gpu = backend_->allocate(cuda(0), 64);
  backend_->open_stream(cuda(0))->mark();
  EXPECT_FALSE(error_of([&] { backend_->allocate(cuda(0), kTotal); }).empty());
  CUcontext now;
  cuda_driver()->cuCtxGetCurrent(&now);
  EXPECT_EQ(now, user.context().handle());
}

TEST_F(Cuda, BytesGoFromOneDeviceToAnotherWithoutTheHost) {
  const Storage first = backend_->allocate(cuda(0), kMiB),
                second = backend_->allocate(cuda(1), kMiB);
  const Storage third = backend_->allocate(cuda(1), kMiB);
  const Storage from = pinned(kMiB, 5), to = pinned(kMiB, 0);
  const auto upload = backend_->open_stream(cuda(0)), peer = backend_->open_stream(cuda(1));
  upload->to_device(first.data(), bytes(from));
  upload->wait(upload->mark());
  peer->on_device(second.data(), first.data(), cuda(0), kMiB);
  peer->on_device(third.data(), second.data(), cuda(1), kMiB);
  peer->to_host(bytes(to), third.data());
  peer->wait(peer->mark());
  EXPECT_TRUE(all_are(to, 5));
  EXPECT_EQ(counters(0).peer_out, kMiB);
  EXPECT_EQ(counters(1).peer_in, kMiB);
  EXPECT_EQ(counters(1).on_device, kMiB);
  EXPECT_EQ(counters(1).to_device, 0u);
}

TEST_F(Cuda, StagingIsPinnedPageAlignedAndOnTheHost) {
  const Storage staging = backend_->allocate_staging(cuda(0), 1000);
  EXPECT_EQ(staging.device(), kCpu);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(staging.data()) % 4096, 0u);
  const Storage on_gpu = backend_->allocate(cuda(1), 1000);
  const auto stream = backend_->open_stream(cuda(1));  // memory is pinned for all devices
  stream->to_device(on_gpu.data(), bytes(staging));
  stream->wait(stream->mark());
  EXPECT_EQ(counters(1).unpinned, 0u);
}

TEST_F(Cuda, MemoryThatIsNotPinnedIsCopiedToo) {
  std::vector<std::byte> from(1000, std::byte{3}), to(1000);
  const Storage on_gpu = backend_->allocate(cuda(0), 1000);
  const auto stream = backend_->open_stream(cuda(0));
  stream->to_device(on_gpu.data(), from);
  stream->to_host(to, on_gpu.data());
  stream->wait(stream->mark());
  EXPECT_EQ(to, from);
  EXPECT_EQ(counters(0).unpinned, 2000u);
}

TEST_F(Cuda, PinnedMemoryThatIsNotThereIsAnErrorThatSaysHowMuchWasAsked) {
  emulated_.find<decltype(fake_cuda_fail_host_allocation)>("fake_cuda_fail_host_allocation")(1);
  EXPECT_EQ(error_of([&] { backend_->allocate_staging(cuda(0), 4096); }),
            "cuda:0: cuMemHostAlloc of 4096 bytes of pinned host memory failed: "
            "CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
}

TEST_F(Cuda, ACopyThatTheDriverRefusesIsAnErrorWithDeviceAndBytes) {
  const Storage on_gpu = backend_->allocate(cuda(0), 100), from = pinned(100, 1);
  const auto stream = backend_->open_stream(cuda(0));
  fail_copy(2, fake_cuda_fails_at_once);
  stream->to_device(on_gpu.data(), bytes(from));
  EXPECT_EQ(error_of([&] { stream->to_device(on_gpu.data(), bytes(from)); }),
            "cuda:0: cuMemcpyHtoDAsync of 100 bytes failed: CUDA_ERROR_ECC_UNCORRECTABLE "
            "(uncorrectable ECC error "
            "encountered)");
  stream->wait(stream->mark());
}

TEST_F(Cuda, ACopyThatFailsLaterIsReportedByAWait) {
  const Storage on_gpu = backend_->allocate(cuda(0), 100), from = pinned(100, 1);
  const auto stream = backend_->open_stream(cuda(0));
  fail_copy(3, fake_cuda_fails_later);
  hold();
  for (int i = 0; i < 5; ++i) stream->to_device(on_gpu.data(), bytes(from));
  const std::uint64_t mark = stream->mark();
  let_go();
  const std::string error = error_of([&] { stream->wait(mark); });
  EXPECT_NE(error.find("cuda:0: cuEventSynchronize after copies failed: CUDA_ERROR_ECC"),
            std::string::npos)
      << error;
  EXPECT_EQ(error_of([&] { stream->wait(mark); }), error);
  EXPECT_EQ(counters(0).to_device, 200u);
}

TEST_F(Cuda, ACopyBeyondTheEndOfAStorageIsAnError) {
  const Storage on_gpu = backend_->allocate(cuda(0), 100), from = pinned(200, 1);
  const auto stream = backend_->open_stream(cuda(0));
  EXPECT_FALSE(error_of([&] { stream->to_device(on_gpu.data(), bytes(from)); }).empty());
}

TEST_F(Cuda, ADeviceThatIsLostThrowsAndNothingIsLeft) {
  const Storage on_gpu = backend_->allocate(cuda(0), 100), from = pinned(100, 1);
  const auto stream = backend_->open_stream(cuda(0));
  stream->to_device(on_gpu.data(), bytes(from));
  const std::uint64_t mark = stream->mark();
  emulated_.find<decltype(fake_cuda_lose_device)>("fake_cuda_lose_device")(0);
  EXPECT_FALSE(error_of([&] { stream->wait(mark); }).empty());
  EXPECT_FALSE(error_of([&] { stream->mark(); }).empty());
  EXPECT_FALSE(error_of([&] { backend_->allocate(cuda(0), 1); }).empty());
  EXPECT_FALSE(error_of([&] { backend_->memory_use(cuda(0)); }).empty());
  EXPECT_FALSE(error_of([&] { backend_->open_stream(cuda(0)); }).empty());
  EXPECT_NO_THROW(backend_->allocate(cuda(1), 1));
}

TEST_F(Cuda, ADeviceThatFailsWhileItIsTakenIntoUseIsGivenBack) {
  emulated_.find<decltype(fake_cuda_lose_device)>("fake_cuda_lose_device")(0);
  EXPECT_FALSE(error_of([&] { backend_->allocate(cuda(0), 1); }).empty());
  emulated_.find<decltype(fake_cuda_reset)>("fake_cuda_reset")();
  EXPECT_NO_THROW(backend_->allocate(cuda(0), 1));
}

TEST_F(Cuda, AStorageAndAStreamMayOutliveTheBackend) {
  const Storage on_gpu = backend_->allocate(cuda(0), 100), from = pinned(100, 1);
  const auto stream = backend_->open_stream(cuda(0));
  backend_.reset();
  stream->to_device(on_gpu.data(), bytes(from));
  stream->wait(stream->mark());
  EXPECT_EQ(counters(0).to_device, 100u);
}

TEST_F(Cuda, AKernelRunsOnTheArgumentsThatItHadWhenItWasLaunched) {
  CudaDevice device(*cuda_driver(), cuda(0));
  const Storage values = backend_->allocate(cuda(0), 1000 * sizeof(float));
  const Storage host = pinned(1000 * sizeof(float), 0);
  const auto upload = backend_->open_stream(cuda(0));
  upload->to_device(values.data(), bytes(host));
  upload->wait(upload->mark());

  std::byte* address = values.data();
  std::uint32_t count = 999;
  void* arguments[] = {&address, &count};
  hold();
  device.launch(kPtx, "transload_probe_add_one", count, arguments);
  device.launch(kPtx, "transload_probe_add_one", count, arguments);
  address = nullptr;
  count = 0;
  let_go();
  device.synchronize();

  const auto download = backend_->open_stream(cuda(0));
  download->to_host(bytes(host), values.data());
  download->wait(download->mark());
  const auto* const results = reinterpret_cast<const float*>(host.data());
  EXPECT_EQ(results[0], 2.0f);
  EXPECT_EQ(results[998], 2.0f);
  EXPECT_EQ(results[999], 0.0f);
  EXPECT_EQ(counters(0).modules_loaded, 1u);
  EXPECT_EQ(counters(0).launches, 2u);
}

TEST_F(Cuda, CopiesStartAfterTheKernelsThatWereLaunchedBeforeTheStreamWasOpened) {
  const auto devices = std::make_shared<CudaDevices>();
  const Storage values = backend_->allocate(cuda(0), 4), host = pinned(4, 0);
  {
    CudaCopies upload(devices, cuda(0), 0);
    upload.to_device(values.data(), bytes(host));
  }
  std::byte* address = values.data();
  std::uint32_t count = 1;
  void* arguments[] = {&address, &count};
  hold();
  devices->use(cuda(0))->launch(kPtx, "transload_probe_add_one", count, arguments);
  CudaCopies download(devices, cuda(0), 0);
  download.to_host(bytes(host), values.data());
  delay(500);
  let_go();
  download.wait(download.mark());
  EXPECT_EQ(*reinterpret_cast<const float*>(host.data()), 1.0f);
}

TEST_F(Cuda, AKernelThatIsNotInTheImageIsAnErrorThatNamesIt) {
  CudaDevice device(*cuda_driver(), cuda(0));
  EXPECT_EQ(error_of([&] { device.launch(kPtx, "missing", 1, nullptr); }),
            "cuda:0: cuModuleGetFunction of \"missing\" failed: CUDA_ERROR_NOT_FOUND (named symbol "
            "not found)");
  EXPECT_NE(error_of([&] {
              device.launch("no ptx", "missing", 1, nullptr);
            }).find("cuda:0: cuModuleLoadData failed"),
            std::string::npos);
}

TEST_F(Cuda, AKernelWithAWrongAddressIsReportedWhenItIsWaitedFor) {
  CudaDevice device(*cuda_driver(), cuda(0));
  std::uint64_t address = 64;
  std::uint32_t count = 1;
  void* arguments[] = {&address, &count};
  device.launch(kPtx, "transload_probe_add_one", count, arguments);
  EXPECT_EQ(error_of([&] { device.synchronize(); }),
            "cuda:0: cuStreamSynchronize failed: CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory "
            "access was encountered)");
}

TEST(CudaDriver, ALibraryThatIsNoDriverIsRefused) {
  EXPECT_NE(error_of([] { use_cuda_driver("libm.so.6"); }).find("is not a CUDA driver"),
            std::string::npos);
  EXPECT_NE(error_of([] { use_cuda_driver("/nowhere/libcuda.so"); }).find("/nowhere/libcuda.so"),
            std::string::npos);
}

TEST(CudaDriver, TheDriverOfAProcessIsNotChanged) {
  const Emulated emulated;
  ASSERT_NE(cuda_driver(), nullptr);
  EXPECT_EQ(why_no_cuda_driver(), "");
  EXPECT_THROW(use_cuda_driver(TRANSLOAD_FAKE_CUDA), Error);
}

}  // namespace
}  // namespace transload
