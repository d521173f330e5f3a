// Compares the emulated driver with real ones: with every trace that cuda_probe recorded on a GPU
// (tests/data/cuda_trace), and with the answers that the driver API's manual documents.
#include <gtest/gtest.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "golden.h"

namespace transload {
namespace {

namespace fs = std::filesystem;
using Answers = std::map<std::string, std::string>;  // answers as JSON, by question

Answers answers_in(std::istream& trace) {
  Answers answers;
  for (std::string line; std::getline(trace, line);) {
    rapidjson::Document document;
    document.Parse(line.c_str());
    EXPECT_FALSE(document.HasParseError()) << line;
    if (document.HasParseError() || !document.HasMember("probe")) continue;  // information
    rapidjson::StringBuffer text;
    rapidjson::Writer<rapidjson::StringBuffer> writer(text);
    document["answer"].Accept(writer);
    answers[document["probe"].GetString()] = text.GetString();
  }
  return answers;
}

Answers of_the_emulated_driver() {
  FILE* const probe = popen(TRANSLOAD_PROBE " " TRANSLOAD_FAKE_CUDA, "r");
  std::stringstream trace;
  char buffer[4096];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, probe)) > 0;)
    trace.write(buffer, static_cast<std::streamsize>(n));
  EXPECT_EQ(pclose(probe), 0);
  return answers_in(trace);
}

TEST(CudaTrace, TheProbeGetsTheSameAnswersEachTime) {
  const Answers first = of_the_emulated_driver();
  EXPECT_GT(first.size(), 50u);
  EXPECT_EQ(first, of_the_emulated_driver());
}

// CUDA Driver API reference: the pages of the functions and attributes named.
TEST(CudaTrace, TheEmulatedDriverAnswersAsTheManualSays) {
  const Answers documented = {
      // cuDeviceGet, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRelease, cuMemGetInfo
      {"get a device that is not there", "\"CUDA_ERROR_INVALID_DEVICE\""},
      {"context of a device that was only counted is active", "false"},
      {"memory info without a context", "\"CUDA_ERROR_INVALID_CONTEXT\""},
      {"context is active after retain", "true"},
      {"retained twice it is the same context", "true"},
      {"context is active when released once of twice", "true"},
      {"context is active after the last release", "false"},
      // CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, _USED_MEM_HIGH; cuMemPoolTrimTo; cuMemAllocFromPoolAsync
      {"new pool: used", "0"},
      {"after free: used", "0"},
      {"after free under the highest threshold: reserved is what it was", "true"},
      {"used high is the most that was used", "true"},
      {"after trim: reserved", "0"},
      {"used high after it was set to 0", "0"},
      {"allocate 0 bytes", "\"CUDA_ERROR_INVALID_VALUE\""},
      {"allocate twice the memory that is there", "\"CUDA_ERROR_OUT_OF_MEMORY\""},
      {"allocate after that", "\"CUDA_SUCCESS\""},
      // cuMemcpy…Async, cuEventQuery, cuStreamWaitEvent
      {"the bytes are there", "true"},
      {"the pageable bytes are there", "true"},
      {"query an event that was never recorded", "\"CUDA_SUCCESS\""},
      {"the copies before the event are done", "true"},
      {"query the event then", "\"CUDA_SUCCESS\""},
      {"two devices: the bytes are there", "true"},
      // cuModuleGetFunction, cuLaunchKernel, CUDA_ERROR_ILLEGAL_ADDRESS
      {"find a kernel that is not in the image", "\"CUDA_ERROR_NOT_FOUND\""},
      {"the kernel has run on each value once", "true"},
      {"a kernel wrote to address 8: launch", "\"CUDA_SUCCESS\""},
      {"a kernel wrote to address 8: synchronize", "\"CUDA_ERROR_ILLEGAL_ADDRESS\""},
      {"a kernel wrote to address 8: synchronize again", "\"CUDA_ERROR_ILLEGAL_ADDRESS\""},
      {"a kernel wrote to address 8: allocate", "\"CUDA_ERROR_ILLEGAL_ADDRESS\""},
  };
  const Answers emulated = of_the_emulated_driver();
  for (const auto& [question, answer] : documented) {
    ASSERT_TRUE(emulated.contains(question)) << question;
    EXPECT_EQ(emulated.at(question), answer) << question;
  }
}

TEST(CudaTrace, TheEmulatedDriverAnswersAsEachGpuThatWasAsked) {
  const fs::path folder = golden::kData / "cuda_trace";
  int traces = 0;
  const Answers emulated = of_the_emulated_driver();
  if (fs::exists(folder)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      SCOPED_TRACE(entry.path());
      std::ifstream trace(entry.path());
      // A trace from a machine with one GPU has no answers about two.
      for (const auto& [question, answer] : answers_in(trace)) {
        ASSERT_TRUE(emulated.contains(question)) << question;
        EXPECT_EQ(emulated.at(question), answer) << question;
      }
      ++traces;
    }
  }
  if (traces == 0)
    GTEST_SKIP() << "no trace has been recorded on a GPU yet: see docs/gpu-results.md";
}

}  // namespace
}  // namespace transload
