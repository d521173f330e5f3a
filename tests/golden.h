// The golden files in tests/data, what their manifest says of each, and a folder for what a test writes.
#pragma once

#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace transload::golden {

namespace fs = std::filesystem;

inline const fs::path kData = TRANSLOAD_DATA;

inline std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void write_file(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
}

// manifest.json of the folder of one version of torch, "torch-2.13".
inline rapidjson::Document manifest(const std::string& version) {
  rapidjson::Document document;
  document.Parse(file_text(kData / version / "manifest.json").c_str());
  EXPECT_FALSE(document.HasParseError());
  return document;
}

class TemporaryFolder : public testing::Test {
 protected:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "transload-test-XXXXXX").string();
    folder_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() override { fs::remove_all(folder_); }
  fs::path path(const std::string& name) const { return folder_ / name; }

 private:
  fs::path folder_;
};

}  // namespace transload::golden
