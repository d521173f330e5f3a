// Scan: what a file would do to a process that unpickles it, found without unpickling it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "transload/source.h"

namespace transload {

// From harmless to not. Of a file, the worst of its uses.
enum class Verdict : std::uint8_t { plain, needs_classes, runs_code };
std::string_view name(Verdict verdict);  // "plain", "needs classes", "would run code"

// One way in which a file's pickles use a name, or anything else that is looked up in the process that loads them.
struct PickleUse {
  enum class How : std::uint8_t {
    mention,        // imported, kept as a value
    call,           // REDUCE, INST, OBJ
    make,           // NEWOBJ: its __new__
    set_state,      // BUILD: its __setstate__, or its attributes
    persistent_id,  // what the loader's own persistent_load would be asked for, and is no storage
    extension,      // a number of the copyreg extension registry: nobody knows of what
  };
  How how;
  Verdict verdict;
  std::string name;      // "os.system"; of a call of what a call returned, "os.system()()"
  std::string member;    // of the archive: "model/data.pkl"; empty: of the file itself
  std::uint64_t offset;  // in the member's bytes, of the first opcode that does so
  std::uint64_t count = 1;
};
std::string_view name(PickleUse::How how);

// What is odd about a file beside its pickles' names: places where readers differ on what is in it, and damage.
struct Finding {
  bool suspicious;       // no writer of models makes it; it can hide one thing behind another
  std::uint64_t offset;  // in the file
  std::string what;
};

struct Scan {
  std::filesystem::path path;
  std::string format;  // as Index::format, or what else it is: "pickle", "legacy stream", "unknown"
  Verdict verdict = Verdict::plain;
  bool broken = false;  // it cannot be read to its end: what comes then is not known
  std::vector<PickleUse> uses;
  std::vector<Finding> findings;

  // In words: "plain" is only what can be read to its end and holds nothing odd; else "needs classes", "would run code",
  // "suspicious", "broken", or several of them: "would run code, broken". "no model": of no format that is known.
  std::string summary() const;
  // Whether to keep hands off it.
  bool is_dangerous() const;
};

// Reads every pickle in a file and the archive around it. Imports, calls and makes nothing. A file that is broken is no
// error: what was found up to there is returned. Throws IoError if it cannot be read at all.
Scan scan(const std::filesystem::path& path);
// The same of any source; Scan::path is its name.
Scan scan(const File& file);

}  // namespace transload
