// Prints the story's steps and the memory of the devices after each, and counts the statements that
// were checked and those that did not hold.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <string_view>
#include <vector>

#include "transload/device.h"

class Narrator {
 public:
  // Shows the memory of `devices`. `out` must outlive the narrator.
  Narrator(std::ostream& out, std::vector<transload::Device> devices)
      : out_(out), devices_(std::move(devices)) {}

  void step(int number, std::string_view title);
  void say(std::string_view text);  // prints one or more lines, indented
  // Prints a statement and whether the program found it to be true.
  void promise(bool is_kept, std::string_view text);
  // Prints the bytes that the plan announced and those that were allocated, and checks that they
  // are equal.
  void planned_and_measured(transload::Device device, std::uint64_t storages, std::uint64_t planned,
                            std::uint64_t measured);
  void memory();  // prints the memory of the devices in bytes, with the change since the last call

  int end();  // prints the summary; returns 0 if all statements held, otherwise 1

 private:
  std::ostream& out_;
  std::vector<transload::Device> devices_;
  std::map<transload::Device, transload::MemoryUse> shown_;
  int kept_ = 0, broken_ = 0;
};
