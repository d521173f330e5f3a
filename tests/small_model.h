// A folder for what a test writes, and a small model.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mixed_model.h"
#include "transload/transload.h"

namespace transload {

class TestFolder : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "transload-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  std::filesystem::path folder_;
};

inline std::vector<float> values(const Tensor& t) {
  const auto bytes = element_bytes(t);
  std::vector<float> out(bytes.size() / sizeof(float));
  if (!bytes.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

// What a call throws.
inline std::string message(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

inline StateDict small_model(float from = 0) {
  StateDict state;
  state.set("net1.weight", counted({10, 10}, from));
  state.set("net1.bias", counted({10}, from + 1));
  state.set("net2.weight", counted({1, 10}, from + 2));
  state.set("net2.bias", counted({1}, from + 3));
  return state;
}

}  // namespace transload
