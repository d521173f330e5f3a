// The program's commands and their arguments. main.cc fills the arguments from the command line and
// calls one command. Commands print results to stdout and messages to stderr, and throw the
// library's Error if the input is at fault.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "transload/scan.h"
#include "transload/transload.h"

namespace transload::cli {

struct InspectArguments {
  std::filesystem::path file;
  bool json = false;
  bool digests = false;  // requires json
  OpenOptions open;
};

struct LoadArguments {
  std::filesystem::path file;
  LoadOptions options;
};

struct ExplainArguments {
  LoadArguments load;
  std::filesystem::path
      save;            // what converting to this file would do, instead of a load; empty: a load
  std::string format;  // of that file
  PlainValues values = PlainValues::automatic;  // in that file
};

struct ConvertArguments {
  std::filesystem::path from, to;
  SaveOptions save;
  OpenOptions open;
};

struct ScanArguments {
  std::vector<std::filesystem::path> paths;  // files, and folders to scan recursively
  bool json = false;
};

struct VerifyArguments {
  std::filesystem::path file;
  std::filesystem::path manifest, new_manifest;  // to compare with and to write; empty: neither
  OpenOptions open;
};

struct RecoverArguments {
  std::filesystem::path from, to;
  SaveOptions save;
  OpenOptions open;
};

// The functions that return bool or int decide the exit status.
void inspect(const InspectArguments& arguments);
void explain(const ExplainArguments& arguments);
void load_file(const LoadArguments& arguments);
void convert_file(const ConvertArguments& arguments);
bool scan_files(const ScanArguments& arguments);  // true if all files are harmless and complete
void verify_file(const VerifyArguments& arguments);
bool recover_file(const RecoverArguments& arguments);  // true if no tensor is lost
void list_devices();
int demo(const std::filesystem::path&
             folder);  // returns the exit status; an empty folder means a temporary one

}  // namespace transload::cli
