// What the program's commands are given, and the commands. Results go to stdout, words about the work to stderr; what
// is wrong with the input is thrown as the library's Error. main.cc turns the command line into this.
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
  bool digests = false;  // only with json
  OpenOptions open;
};

struct LoadArguments {
  std::filesystem::path file;
  LoadOptions options;
};

struct ConvertArguments {
  std::filesystem::path from, to;
  SaveOptions save;
  OpenOptions open;
};

struct ScanArguments {
  std::vector<std::filesystem::path> paths;  // files, and folders with all that is in them
  bool json = false;
};

struct VerifyArguments {
  std::filesystem::path file;
  std::filesystem::path manifest, new_manifest;  // to compare with, to write; empty: none
  OpenOptions open;
};

struct RecoverArguments {
  std::filesystem::path from, to;
  SaveOptions save;
  OpenOptions open;
};

void inspect(const InspectArguments& arguments);
void explain(const LoadArguments& arguments);
void load_file(const LoadArguments& arguments);
void convert_file(const ConvertArguments& arguments);
bool scan_files(const ScanArguments& arguments);  // whether all are harmless, and whole
void verify_file(const VerifyArguments& arguments);
bool recover_file(const RecoverArguments& arguments);  // whether nothing is lost
void list_devices();
int demo(const std::filesystem::path& folder);  // the exit status

}  // namespace transload::cli
