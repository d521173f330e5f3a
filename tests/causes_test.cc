// The error about a file that is not a model, or that was damaged, names the cause; and it names none that the bytes do not
// show.
#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>

#include "golden.h"
#include "small_model.h"
#include "stored_zip.h"

namespace transload {
namespace {

using golden::file_text;
using golden::kData;
using namespace std::string_literals;

class Causes : public golden::TemporaryFolder {
 protected:
  // What opening these bytes says, under a name that says nothing.
  std::string said(const std::string& bytes) const {
    golden::write_file(path("file"), bytes);
    const std::string by_path = message([&] { open(path("file")); });
    EXPECT_EQ(message([&] { open(file_in_memory(path("file").string(), bytes)); }), by_path);
    return by_path.substr(path("file").string().size());
  }
  std::string of_torch() const {
    save(small_model(), path("m.pt"));
    return file_text(path("m.pt"));
  }
  std::string of_safetensors() const {
    StateDict state;
    state.set("w", noise(200'000));
    save(state, path("m.safetensors"));
    return file_text(path("m.safetensors"));
  }
  // Bytes of every value, as trained weights have them.
  static Tensor noise(std::int64_t nbytes) {
    const Tensor t = empty({nbytes}, Dtype::uint8);
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < nbytes; ++i) {
      state = state * 1'664'525 + 1'013'904'223;
      t.data()[i] = static_cast<std::byte>(state >> 24);
    }
    return t;
  }
};

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

// Python's bytes.decode("utf-8", "replace").encode(), but for characters of three and four bytes.
std::string read_as_utf8(const std::string& bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = [&](std::size_t at) {
      return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0u;
    };
    const bool is_pair = byte(i) >= 0xC2 && byte(i) < 0xE0 && (byte(i + 1) & 0xC0) == 0x80;
    if (is_pair)
      text += bytes.substr(i++, 2);
    else
      text += byte(i) < 0x80 ? bytes.substr(i, 1) : "\xEF\xBF\xBD";
  }
  return text;
}

std::string read_as_latin1(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80)
      text += c;
    else
      text += {static_cast<char>(0xC0 | byte >> 6), static_cast<char>(0x80 | (byte & 0x3F))};
  }
  return text;
}

std::string zlib_bytes(const std::string& bytes) {
  std::string out(compressBound(bytes.size()), '\0');
  uLongf nbytes = out.size();
  compress(reinterpret_cast<Bytef*>(out.data()), &nbytes,
           reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  out.resize(nbytes);
  return out;
}

TEST_F(Causes, OnlyZerosAreRoomThatWasReserved) {
  for (const std::size_t nbytes : {1u, 100u, 100'000u, 3'000'000u}) {
    const std::string text = said(std::string(nbytes, '\0'));
    EXPECT_TRUE(contains(text, "only zeros, " + std::to_string(nbytes) + " bytes")) << text;
    EXPECT_TRUE(contains(text, "a crash before the data was written")) << text;
  }
  EXPECT_TRUE(contains(said(std::string(5000, '\0') + "data"), "begins with 5000 zeros"));
  EXPECT_FALSE(contains(said(std::string(100, '\0') + "data"), "only zeros"));
}

TEST_F(Causes, AnArchiveThatEndsWithZerosWasNotWrittenToItsEnd) {
  const std::string whole = of_torch();
  const std::string text = said(whole.substr(0, 1000) + std::string(whole.size() - 1000, '\0'));
  EXPECT_TRUE(contains(text, "the file ends with")) << text;
  EXPECT_TRUE(contains(text, "room that was reserved")) << text;
}

TEST_F(Causes, ChangedLineEndsAreNamed) {
  for (const std::string& whole : {of_torch(), of_safetensors(),
                                   "\x80\x02\x8A\x0A\x6C\xFC\x9C\x46\xF9\x20\x6A\xA8\x50\x19."s}) {
    const std::string text = said(replaced(whole, "\n", "\r\n"));
    EXPECT_TRUE(contains(text, "line ends were changed on the way")) << text;
  }
}

TEST_F(Causes, ATextConversionIsNamed) {
  for (const std::string& whole : {of_torch(), of_safetensors(), "\x80\x04\x95\x10\0\0\0"s}) {
    for (const std::string& bytes : {read_as_utf8(whole), read_as_latin1(whole)}) {
      const std::string text = said(bytes);
      EXPECT_TRUE(contains(text, "text conversion")) << text;
    }
  }
  std::string wide = "\xFF\xFE";
  for (const char c : of_torch()) wide += {c, '\0'};
  EXPECT_TRUE(contains(said(wide), "UTF-16"));
  EXPECT_TRUE(contains(said("\xEF\xBB\xBF" + of_torch()), "text conversion"));
}

TEST_F(Causes, OrdinaryDamageGetsNoCauseThatItDoesNotShow) {
  const auto is_innocent = [](const std::string& text) {
    return !contains(text, "line ends") && !contains(text, "text conversion") &&
           !contains(text, "zeros");
  };
  for (const std::string& whole : {of_torch(), of_safetensors()}) {
    for (std::size_t part = 1; part < 8; ++part) {
      const std::string text = said(whole.substr(0, whole.size() * part / 8));
      EXPECT_TRUE(contains(text, "truncated") || contains(text, "% are missing")) << text;
      EXPECT_TRUE(is_innocent(text)) << text;
    }
  }
  EXPECT_TRUE(is_innocent(said(of_safetensors() + "more")));
  for (const auto& entry : std::filesystem::directory_iterator(kData / "torch-2.13/refuse")) {
    if (entry.is_regular_file() && entry.file_size() == 8)
      continue;  // a length of zero, and no more
    const std::string text = message([&] { open(entry.path()); });
    EXPECT_TRUE(is_innocent(text)) << text;
  }
}

TEST_F(Causes, ASafetensorsFileWithForeignNamesThatIsCutWasNotConverted) {
  StateDict state;
  for (const char* name : {"é", "ü", "重み", "偏り", "ß", "å"})
    state.set(name, zeros({100}, Dtype::float32));
  save(state, path("m.safetensors"));
  const std::string whole = file_text(path("m.safetensors"));
  const std::string text = said(whole.substr(0, whole.size() - 100));
  EXPECT_TRUE(contains(text, "% are missing")) << text;
  EXPECT_FALSE(contains(text, "conversion")) << text;
}

TEST_F(Causes, TheAnswerOfAServerIsShown) {
  EXPECT_TRUE(contains(said("Entry not found"), "this is text, not a model: \"Entry not found\""));
  EXPECT_TRUE(contains(said("Invalid username or password."), "\"Invalid username or password.\""));
  const std::string json = said(R"({"error":"Repository not found"})");
  EXPECT_TRUE(contains(json, "this is JSON, not a model: \"{\"error\":\"Repository not found\"}\""))
      << json;
  const std::string page =
      said("\n<!DOCTYPE html>\n<html><head><title>Sign in\n to GitHub</title></head>" +
           std::string(3000, ' '));
  EXPECT_TRUE(contains(page, "this is a web page, not a model: \"Sign in to GitHub\"")) << page;
  EXPECT_TRUE(
      contains(said("<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"), "NoSuchKey"));
}

TEST_F(Causes, ALongTextIsShownInPartAndInOneLine) {
  const std::string text = said("first\n\tsecond " + replaced(std::string(3000, '-'), "-", "ü"));
  EXPECT_TRUE(contains(text, "\"first second ü")) << text;
  EXPECT_TRUE(contains(text, "ü …\"")) << text;
  EXPECT_LT(text.size(), 400u);
}

TEST_F(Causes, FormatsOfOtherProgramsAreNamed) {
  const std::string onnx = "\x08\x08\x12\x07pytorch\x1A\x03"s + "2.1:\x0E\x12\x0Cmain_graph_1"s;
  const std::pair<std::string, const char*> files[] = {
      {onnx, "ONNX"},
      {"\x89HDF\r\n\x1A\n\0\0\0\0\0\x08\x08\0"s, "HDF5"},
      {"\x1C\0\0\0TFL3\x14\0\x20\0"s, "TFLite"},
      {"GGUF\x03\0\0\0\x23\x01\0\0"s, "GGUF"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"},
      {"\x1F\x8B\x08\0\0\0\0\0\0\x03"s, "gunzip"},
      {"\xFD"
       "7zXZ\0\0\x04\xE6\xD6\xB4\x46"s,
       "unxz"},
      {"BZh91AY&SY\x4E\xEC\xE8\x36", "bunzip2"},
      {"\x28\xB5\x2F\xFD\x04\x58\x09\x00"s, "unzstd"},
      {zlib_bytes("any bytes at all, which are long enough to count"), "zlib"},
      {"\x80\x04\x95\x0C\0\0\0\0"s, "bare pickle"},
      {"", "empty"},
      {"\x01\x02", "only 2 bytes"},
      {"\x93\x12\x77 no format that is known here \xFF\x01",
       "neither a file of torch.save nor safetensors"},
  };
  for (const auto& [bytes, cause] : files) {
    const std::string text = said(bytes);
    EXPECT_TRUE(contains(text, cause)) << cause << text;
  }
}

TEST_F(Causes, ArchivesOfOtherProgramsAreNamed) {
  const std::pair<const char*, const char*> archives[] = {
      {"package/.data/extern_modules", "PackageImporter opens it"},
      {"model/archive_format", "torch.export.load opens"},
      {"model.weights.h5", "Keras"},
      {"MAR-INF/MANIFEST.json", "TorchServe"},
      {"run7/model.safetensors", "around \"run7/model.safetensors\"; unzip it"},
      {"notes/a.txt", "it is not a file of torch.save"},
  };
  for (const auto& [member, cause] : archives) {
    const std::string text = said(stored_zip({{"config.json", "{}"}, {member, "bytes"}}));
    EXPECT_TRUE(contains(text, cause)) << text;
  }
}

TEST_F(Causes, AMagicAloneIsNotEvidence) {
  for (const std::string& bytes :
       {"BZh is not how this text begins"s, "x\x9C is text"s, "\x80 is no protocol of pickles"s,
        "\x08\x08\x12\xFF\x01\x02\x03\x04\x05\x06"s}) {
    const std::string text = said(bytes);
    EXPECT_FALSE(contains(text, "bzip2") || contains(text, "zlib") || contains(text, "pickle,") ||
                 contains(text, "ONNX"))
        << text;
  }
}

TEST_F(Causes, AnIndexOfShardsIsNotReadWithoutItsFolder) {
  EXPECT_TRUE(contains(
      message([] { open(file_in_memory("bytes", R"({"weight_map": {"a": "1.safetensors"}})")); }),
      "this is an index of shards"));
}

}  // namespace
}  // namespace transload
