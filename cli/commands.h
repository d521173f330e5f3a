// What the program's commands are given, and the commands. Results go to stdout, words about the work to stderr; what
// is wrong with the input is thrown as the library's Error. main.cc turns the command line into this.
#pragma once

#include <filesystem>
#include <string>

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

void inspect(const InspectArguments& arguments);
void explain(const LoadArguments& arguments);
void load_file(const LoadArguments& arguments);
void convert_file(const ConvertArguments& arguments);
void list_devices();
int demo(const std::filesystem::path& folder);  // the exit status

}  // namespace transload::cli
