#include "transfer/output_stream.h"

#include <algorithm>

#include "transload/error.h"

namespace transload {
namespace {

constexpr std::size_t kCollected = 256 << 10;
constexpr std::size_t kMostAtOnce = 4 << 20;
constexpr auto kBetweenReports = std::chrono::milliseconds(100);

}  // namespace

OutputStream::OutputStream(const WriteFunction& write, std::vector<Literal> literals,
                           std::uint64_t nbytes, const ProgressFunction& progress)
    : write_(write), progress_(progress), literals_(std::move(literals)), nbytes_(nbytes) {
  std::ranges::stable_sort(literals_, {}, &Literal::offset);
}

void OutputStream::write(std::uint64_t offset, std::span<const std::byte> bytes) const {
  advance_to(offset);
  append(bytes);
}

void OutputStream::finish() const {
  advance_to(nbytes_);
  flush();
  if (progress_) progress_({nbytes_, nbytes_});
}

// Writes what stands before `offset`: literals, and zeros where nothing stands.
void OutputStream::advance_to(std::uint64_t offset) const {
  for (; next_ < literals_.size() && literals_[next_].offset < offset; ++next_) {
    const Literal& literal = literals_[next_];
    fill_to(literal.offset);
    append(std::as_bytes(std::span(literal.bytes)));
  }
  fill_to(offset);
}

void OutputStream::fill_to(std::uint64_t offset) const {
  if (offset < position_) {
    throw Error("offset " + std::to_string(offset) + " of a stream is written after offset " +
                std::to_string(position_));
  }
  const std::string zeros(offset - position_, '\0');
  append(std::as_bytes(std::span(zeros)));
}

void OutputStream::append(std::span<const std::byte> bytes) const {
  position_ += bytes.size();
  if (collected_.size() + bytes.size() <= kCollected) {
    collected_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return;
  }
  flush();
  while (!bytes.empty()) {
    const std::size_t part = std::min(bytes.size(), kMostAtOnce);
    pass_on(bytes.first(part));
    bytes = bytes.subspan(part);
  }
}

void OutputStream::flush() const {
  if (!collected_.empty()) pass_on(std::as_bytes(std::span(collected_)));
  collected_.clear();
}

void OutputStream::pass_on(std::span<const std::byte> bytes) const {
  write_(bytes);
  passed_nbytes_ += bytes.size();
  const auto now = std::chrono::steady_clock::now();
  if (!progress_ || now - reported_ < kBetweenReports) return;
  reported_ = now;
  progress_({nbytes_ / 2 + passed_nbytes_ / 2, nbytes_});
}

}  // namespace transload
