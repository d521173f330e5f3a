// Tells what happens, shows the memory of the devices after each step, and keeps count of what was promised and not
// seen to hold.
#pragma once

#include <cstdint>
#include <map>
#include <ostream>
#include <string_view>
#include <vector>

#include "transload/device.h"

class Narrator {
 public:
  // `devices`: those whose memory is shown.
  Narrator(std::ostream& out, std::vector<transload::Device> devices)
      : out_(out), devices_(std::move(devices)) {}

  void step(int number, std::string_view title);
  void say(std::string_view text);  // a line, or several; indented
  // Whether it is so was seen, not assumed.
  void promise(bool is_kept, std::string_view text);
  void planned_and_measured(transload::Device device, std::uint64_t storages, std::uint64_t planned,
                            std::uint64_t measured);
  void memory();  // in bytes, with what has changed since it was shown last

  int end();  // 0 if all promises were kept, else 1

 private:
  std::ostream& out_;
  std::vector<transload::Device> devices_;
  std::map<transload::Device, transload::MemoryUse> shown_;
  int kept_ = 0, broken_ = 0;
};
