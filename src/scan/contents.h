// Judging the bytes of a file or member, whatever they are: pickles one after the other, arrays of NumPy, archives.
#pragma once

#include <cstdint>
#include <string>

#include "scan/report.h"
#include "transload/source.h"

namespace transload {

// Bytes that are judged: the whole file, or a member of a container in it.
struct Part {
  File file;
  std::string member;  // "model/data.pkl"; empty: the file itself
  std::uint64_t
      offset;  // of its first byte in the scanned file; of a compressed member, of its stored bytes
  int depth;   // 0: the file itself; 1: a member; 2: a member of an archive within an archive
  // Before a message: "model/data.pkl: ".
  std::string label() const { return member.empty() ? "" : member + ": "; }
};

// Judges a member by its first bytes: an archive, an array, or a pickle if it can be read as one.
void judge_contents(const Part& part, Report& report);

// Judges a member that is a pickle by its name, and what follows it.
void judge_pickle(const Part& part, Report& report);

// Judges bytes behind or between the parts of a container, which loaders do not read, as pickles.
void judge_leftover(const Part& part, Report& report);

// Judges a whole file that no format and no container recognizes: a bare pickle, PyTorch's old stream of five pickles, or
// neither. Returns what it is: "pickle", "legacy stream", "unknown".
std::string judge_stream(const Part& part, Report& report);

// What bytes have been judged as.
enum class Judged : std::uint8_t { archive, array, tar, pickle, other };

// Judges bytes as everything else that a loader could take them for: an archive at their end, a tar, a pickle.
void judge_polyglot(const Part& part, Judged as, Report& report);

// Judges what is inside of a compressed file. Returns false if it is not compressed.
bool judge_compressed(const Part& part, std::string_view head, Report& report);

// Whether NumPy's magic number is at this offset.
bool is_array(const File& file, std::uint64_t offset);

// Judges NumPy's .npy: an array of objects is a pickle behind the header.
void judge_array(const Part& part, Report& report);

}  // namespace transload
