// Outputs of a save that has no file of its own: bytes that go to a function in the order of the file, and bytes that are
// only summed.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "io/output.h"
#include "plan/layout.h"
#include "transload/options.h"

namespace transload {

// Takes a run that computes checksums and writes nothing.
class DiscardedOutput final : public Output {
 public:
  void write(std::uint64_t, std::span<const std::byte>) const override {}
};

// Passes bytes on in order, with the literals between them. Small pieces are collected, so that a call of the function
// costs little beside what it writes. One thread at a time.
class OutputStream final : public Output {
 public:
  // `literals`: all bytes of the file that belong to no tensor.
  OutputStream(const WriteFunction& write, std::vector<Literal> literals, std::uint64_t nbytes,
               const ProgressFunction& progress);

  // Throws Error if an earlier offset was written before.
  void write(std::uint64_t offset, std::span<const std::byte> bytes) const override;
  // Writes the literals behind the last tensor.
  void finish() const;

 private:
  void advance_to(std::uint64_t offset) const;
  void fill_to(std::uint64_t offset) const;
  void append(std::span<const std::byte> bytes) const;
  void flush() const;
  void pass_on(std::span<const std::byte> bytes) const;

  const WriteFunction& write_;
  const ProgressFunction& progress_;
  std::vector<Literal> literals_;  // by offset
  std::uint64_t nbytes_;           // of the whole file
  mutable std::size_t next_ = 0;   // literal
  mutable std::uint64_t position_ = 0, passed_nbytes_ = 0;
  mutable std::string collected_;
  mutable std::chrono::steady_clock::time_point reported_;
};

}  // namespace transload
