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

// Judges a file of a format without pickles as if it were one, as a program does that unpickles every file it is given.
void judge_polyglot(const Part& part, Report& report);

// Judges NumPy's .npy: an array of objects is a pickle behind the header.
void judge_array(const Part& part, Report& report);

}  // namespace transload
