// Allocations and copies that fail, each at every k, in a load, a fill and a save: the error says what it was, nothing
// leaks, and what is promised about the state afterwards holds. Each in a process of its own, as a copy that fails
// later breaks its device for good.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>

#include "emulated.h"
#include "mixed_model.h"
#include "own_process.h"

namespace transload {
namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::function<void(const Emulated&, std::uint64_t k)>> kFaults = {
    {"allocation",
     [](const Emulated& emulated, std::uint64_t k) {
       // From there on: what fails once is tried again after the cache was emptied.
       emulated.find<decltype(fake_cuda_fail_allocation)>("fake_cuda_fail_allocation")(0, k, 1000);
     }},
    {"pinned",
     [](const Emulated& emulated, std::uint64_t k) {
       emulated.find<decltype(fake_cuda_fail_host_allocation)>("fake_cuda_fail_host_allocation")(k);
     }},
    {"copy",
     [](const Emulated& emulated, std::uint64_t k) {
       emulated.find<decltype(fake_cuda_fail_copy)>("fake_cuda_fail_copy")(0, k,
                                                                           fake_cuda_fails_at_once);
     }},
    {"copy_later",
     [](const Emulated& emulated, std::uint64_t k) {
       emulated.find<decltype(fake_cuda_fail_copy)>("fake_cuda_fail_copy")(0, k,
                                                                           fake_cuda_fails_later);
     }},
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// What is wrong with the message of a failure on cuda:0.
std::string wrong_with(const std::string& message, const std::string& fault) {
  std::string missing;
  if (!contains(message, "cuda:0")) missing += " the device";
  if (!contains(message, " bytes")) missing += " the bytes";
  if (fault != "pinned" && !contains(message, "for \"")) missing += " the key";
  return missing.empty() ? "" : "the error does not name" + missing + ": " + message + "\n";
}

std::string leaked(const Emulated& emulated) {
  std::string text;
  for (int device = 0; device < 2; ++device) {
    memory_use(cuda(device));  // memory is given back in stream order: this waits for that
    if (const auto n = emulated.counters(device).allocations_alive)
      text += std::to_string(n) + " allocations are left on cuda:" + std::to_string(device) + "\n";
  }
  if (emulated.find<decltype(fake_cuda_pinned_nbytes)>("fake_cuda_pinned_nbytes")() != 0)
    text += "pinned memory is left\n";
  return text;
}

class Faults : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "transload-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    file_ = folder_ / "model.pt";
    save(mixed_model(), file_, {.locations = {"head.bias:cuda:1", "cuda:0"}});
  }
  void TearDown() override { fs::remove_all(folder_); }

  // How many k there are at which `work` fails. Work is given a function to call when the fault is to be armed, does
  // what may fail, and returns what is wrong; "done" if nothing failed.
  int failures(
      const std::function<std::string(const Emulated&, const std::function<void()>& arm)>& work) {
    for (int k = 1; k < 200; ++k) {
      const std::string wrong = in_own_process([&] {
        const Emulated emulated;
        emulated.find<decltype(fake_cuda_configure)>("fake_cuda_configure")(2, 256ull << 20);
        const auto arm = [&] { kFaults.at(GetParam())(emulated, static_cast<std::uint64_t>(k)); };
        return work(emulated, arm);
      });
      if (wrong == "done") return k - 1;
      EXPECT_EQ(wrong, "") << GetParam() << " " << k;
    }
    ADD_FAILURE() << "it never ends without a failure";
    return 0;
  }
  bool breaks_the_device() const { return GetParam() == "copy_later"; }

  fs::path folder_, file_;
};

TEST_P(Faults, OfALoadLeaveNothing) {
  const int count = failures([&](const Emulated& emulated, const std::function<void()>& arm) {
    memory_use(cuda(0));
    arm();
    std::string message;
    try {
      load(file_, {.map_location = "cuda:0"});
    } catch (const DeviceError& error) {
      message = error.what();
    }
    if (message.empty()) return std::string("done");
    return wrong_with(message, GetParam()) + (breaks_the_device() ? "" : leaked(emulated));
  });
  EXPECT_GE(count, 1);
}

// The line of an error's text that lists such keys.
std::string listed(const std::string& text, const std::string& as) {
  const std::size_t at = text.find(as + ": ");
  return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
}

TEST_P(Faults, OfAFillSayTrulyWhatIsNewAndWhatUntouched) {
  const int count = failures([&](const Emulated& emulated, const std::function<void()>& arm) {
    const StateDict expected = mixed_model();
    std::string message, wrong;
    {
      StateDict live;
      for (const NamedTensor& t : expected.tensors()) {
        const Device device = t.name == "wide" || t.name == "head.bias" ? cuda(1) : cuda(0);
        live.set(t.name, zeros(t.value.tensor().shape(), Dtype::float32, device));
      }
      arm();
      try {
        load_into(live, file_);
      } catch (const DeviceError& error) {
        message = error.what();
      }
      if (message.empty()) return std::string("done");
      wrong = wrong_with(message, GetParam());
      for (const NamedTensor& t : live.tensors()) {
        const Tensor tensor = t.value.tensor();
        const std::string key = '"' + t.name + '"';
        if (tensor.numel() == 0) continue;
        if (!contains(message, key) && GetParam() != "pinned") wrong += key + " is not listed\n";
        if (breaks_the_device() && tensor.device() == cuda(0)) continue;  // cannot be read
        const auto now = element_bytes(tensor);
        const bool is_new = now == element_bytes(expected.tensor(t.name));
        const bool is_untouched = now == std::vector<std::byte>(now.size());
        if (contains(listed(message, "new"), key) && !is_new) wrong += key + " is not new\n";
        if (contains(listed(message, "untouched"), key) && !is_untouched)
          wrong += key + " is not untouched\n";
      }
      if (!wrong.empty()) wrong += message;
    }
    return wrong + (breaks_the_device() ? "" : leaked(emulated));
  });
  EXPECT_EQ(count > 0, GetParam() != "allocation");  // a fill allocates nothing on a device
}

TEST_P(Faults, OfASaveLeaveTheOldFile) {
  const auto old_time = fs::last_write_time(file_);
  const int count = failures([&](const Emulated& emulated, const std::function<void()>& arm) {
    std::string message;
    {
      const StateDict loaded = load(file_, {.map_location = "cuda:0"});
      arm();
      try {
        save(loaded, file_);
      } catch (const DeviceError& error) {
        message = error.what();
      }
    }
    if (message.empty()) return std::string("done");
    std::string wrong = wrong_with(message, GetParam());
    if (fs::last_write_time(file_) != old_time) wrong += "the file has changed\n";
    if (std::distance(fs::directory_iterator(folder_), {}) != 1)
      wrong += "something is left beside the file\n";
    const StateDict expected = mixed_model(), old = load(file_, {.map_location = "cpu"});
    for (const NamedTensor& t : expected.tensors()) {
      if (element_bytes(old.tensor(t.name)) != element_bytes(t.value.tensor()))
        wrong += t.name + " has other bytes\n";
    }
    return wrong + (breaks_the_device() ? "" : leaked(emulated));
  });
  EXPECT_EQ(count > 0, GetParam() != "allocation");  // a save allocates nothing on a device
}

INSTANTIATE_TEST_SUITE_P(Of, Faults, testing::Values("allocation", "pinned", "copy", "copy_later"),
                         [](const auto& param) { return param.param; });

}  // namespace
}  // namespace transload
