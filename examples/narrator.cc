// Formats the story's text and its tables of device memory.
#include "narrator.h"

#include <algorithm>
#include <iomanip>
#include <string>

using transload::Device;
using transload::DeviceKind;
using transload::MemoryUse;

namespace {

// "1536 (+512)"
std::string with_change(std::uint64_t now, std::uint64_t before) {
  const std::string number = std::to_string(now);
  if (now == before) return number;
  return number +
         (now > before ? " (+" + std::to_string(now - before)
                       : " (-" + std::to_string(before - now)) +
         ")";
}

}  // namespace

void Narrator::step(int number, std::string_view title) {
  out_ << '\n' << number << ". " << title << "\n\n";
}

void Narrator::say(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out_ << (end > 0 ? "   " : "") << text.substr(0, end) << '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void Narrator::promise(bool is_kept, std::string_view text) {
  ++(is_kept ? kept_ : broken_);
  out_ << (is_kept ? "   [ok]     " : "   [FAILED] ") << text << '\n';
}

void Narrator::planned_and_measured(Device device, std::uint64_t storages, std::uint64_t planned,
                                    std::uint64_t measured) {
  say("on " + device.str() + ": " + std::to_string(storages) +
      " bytes in storages; planned to allocate " + std::to_string(planned) + ", allocated " +
      std::to_string(measured));
  promise(planned == measured, "the memory of " + device.str() + " grew exactly as planned");
}

void Narrator::memory() {
  out_ << "\n   memory    " << std::left << std::setw(24) << "allocated" << std::setw(28)
       << "reserved"
       << "used (as nvidia-smi shows)\n";
  for (const Device device : devices_) {
    const MemoryUse now = transload::memory_use(device);
    const MemoryUse& before = shown_.try_emplace(device, now).first->second;
    const bool has_driver = device.kind == DeviceKind::cuda;
    out_ << "   " << std::setw(10) << device.str() << std::setw(24)
         << with_change(now.allocated, before.allocated) << std::setw(28)
         << (has_driver ? with_change(now.reserved, before.reserved) : "-")
         << (has_driver ? with_change(now.total - now.free, before.total - before.free) : "-")
         << '\n';
    shown_[device] = now;
  }
  out_ << std::flush;
}

int Narrator::end() {
  out_ << '\n';
  if (broken_ == 0) {
    out_ << "All " << kept_ << " statements were checked and hold.\n";
  } else {
    out_ << broken_ << " of " << kept_ + broken_
         << " statements do not hold: see [FAILED] above.\n";
  }
  return broken_ == 0 ? 0 : 1;
}
