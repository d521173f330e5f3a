// The program `transload`: turns the command line into the arguments of commands.h. Exit status: 0 done, 1 the input
// is at fault, 2 the command line is.
#include <cstdio>
#include <iostream>
#include <set>

#include <CLI/CLI.hpp>

#include "commands.h"
#include "transload/version.h"
#include "words.h"

namespace {

using namespace transload;
using namespace transload::cli;

constexpr int kDone = 0, kInputAtFault = 1, kUsage = 2;
constexpr const char* kAllowObjects =
    "Write objects of unknown classes too. PyTorch runs their code when it loads the file";

// What is on the command line as text, until it is parsed.
struct Texts {
  std::vector<std::string> map_location, rename;
  std::string dtype;
};

void add_map_location(CLI::App& command, Texts& texts, const char* what) {
  command.add_option("--map-location", texts.map_location, what)
      ->type_name("RULE")
      ->allow_extra_args(false)  // one a time; repeatable
      ->check([](const std::string& text) {
        try {
          MapLocation::parse(text);
          return std::string();
        } catch (const Error& error) {
          return std::string(error.what());
        }
      });
}

void add_open_options(CLI::App& command, OpenOptions& options) {
  command.add_flag("--refuse-objects", options.refuse_objects,
                   "Refuse a file that holds objects of unknown classes. They are never made; "
                   "without this, they are kept as\n"
                   "inert values and shown");
  command.add_flag(
      "--keep-calls", options.keep_calls,
      "Open a file that would run code where it is unpickled, too. Nothing in it is run; "
      "its calls are shown");
}

void add_selection(CLI::App& command, Selection& select, Texts& texts) {
  command
      .add_option("--at", select.at,
                  "Only this part of a checkpoint, as model_state_dict; names begin there")
      ->type_name("KEY");
  command.add_option("--keep", select.keep, "Only tensors with such names; * and ? as in a shell")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command.add_option("--drop", select.drop, "No tensors with such names")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command.add_option("--rename", texts.rename, "Rename tensors: module.*=* strips a prefix")
      ->type_name("OLD=NEW")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return text.find('=') == std::string::npos ? "expected OLD=NEW" : std::string();
      });
}

void add_load_options(CLI::App& command, LoadArguments& arguments, Texts& texts) {
  command.add_option("file", arguments.file, "The file to load")->required();
  add_map_location(
      command, texts,
      "Where tensors go. A device (cpu, meta, cuda:0), TAG=DEVICE (what was saved there), "
      "GLOB:DEVICE (tensors by\n"
      "name), or auto. Repeatable; the first that fits decides. Without: where they were saved");
  add_selection(command, arguments.options.select, texts);
  command
      .add_option("--dtype", texts.dtype,
                  "Cast floating point tensors to this dtype, as float16 or bfloat16")
      ->type_name("DTYPE")
      ->check([](const std::string& text) {
        return dtype_from_name(text) ? std::string() : "no dtype is called " + text;
      });
  add_open_options(command, arguments.options.open);
}

MapLocation map_location_of(const Texts& texts) {
  MapLocation map_location;
  for (const std::string& text : texts.map_location) map_location.add(MapLocation::parse(text));
  return map_location;
}

void add_renames(Selection& select, const Texts& texts) {
  for (const std::string& text : texts.rename) {
    const std::size_t sign = text.find('=');
    select.rename.emplace_back(text.substr(0, sign), text.substr(sign + 1));
  }
}

void finish(LoadArguments& arguments, const Texts& texts) {
  LoadOptions& options = arguments.options;
  options.map_location = map_location_of(texts);
  if (!texts.dtype.empty()) options.dtype = dtype_from_name(texts.dtype);
  add_renames(options.select, texts);
}

std::set<std::string> writable_formats() {
  std::set<std::string> names;
  for (const auto& [name, can_write] : formats())
    if (can_write) names.insert(name);
  return names;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Moves models between files and devices: each byte once, straight to where it is to live.");
  app.set_version_flag("--version", std::string("transload ") + kVersion);
  app.require_subcommand(1);
  app.get_formatter()->column_width(30);
  app.footer(
      "Results go to stdout, words to stderr. Exit status: 0 done, 1 the input is at fault, 2 the "
      "command line is.");

  InspectArguments inspected;
  CLI::App& inspect_command =
      *app.add_subcommand("inspect", "Show what a file holds, without reading its tensors");
  inspect_command.add_option("file", inspected.file, "A file of torch.save or safetensors")
      ->required();
  CLI::Option* const json =
      inspect_command.add_flag("--json", inspected.json, "As JSON, for scripts");
  inspect_command
      .add_flag("--digests", inspected.digests,
                "With the SHA-256 of each tensor's elements; reads the whole file")
      ->needs(json);
  add_open_options(inspect_command, inspected.open);

  LoadArguments explained, loaded;
  Texts explained_texts, loaded_texts, converted_texts;
  CLI::App& explain_command = *app.add_subcommand(
      "explain", "Show what load would do: where bytes go, why, and the memory that takes");
  add_load_options(explain_command, explained, explained_texts);
  CLI::App& load_command =
      *app.add_subcommand("load", "Load a file, and say where its bytes went and how fast");
  add_load_options(load_command, loaded, loaded_texts);

  ConvertArguments converted;
  CLI::App& convert_command = *app.add_subcommand(
      "convert", "Rewrite a file in another format, or as if saved from other devices");
  convert_command.add_option("in", converted.from, "The file to read")->required();
  convert_command
      .add_option("out", converted.to,
                  "The file to write; replaced only when all of it is on the disk")
      ->required();
  convert_command
      .add_option("--to", converted.save.format,
                  "Its format; without: safetensors for that suffix, else torch_zip. shards: a "
                  "model in shards\nas it is, into a new folder")
      ->check(CLI::IsMember(writable_formats()));
  add_map_location(convert_command, converted_texts,
                   "The devices to write as those the tensors were saved from; as for load");
  add_selection(convert_command, converted.save.select, converted_texts);
  convert_command.add_flag("--compact", converted.save.compact,
                           "Leave out the bytes of storages that no tensor uses");
  convert_command.add_flag("--allow-objects", converted.save.allow_objects, kAllowObjects);
  add_open_options(convert_command, converted.open);

  ScanArguments scanned;
  CLI::App& scan_command = *app.add_subcommand(
      "scan",
      "Show what a file would do to a program that unpickles it; exit status 1 if it is no good");
  scan_command.add_option("path", scanned.paths, "Files of any kind, or folders of them")
      ->required();
  scan_command.add_flag("--json", scanned.json, "As JSON, with harmless names too");

  VerifyArguments verified;
  CLI::App& verify_command = *app.add_subcommand(
      "verify", "Compare every byte of a file with its checksums, or with a manifest");
  verify_command.add_option("file", verified.file, "The file to read")->required();
  verify_command.add_option("--manifest", verified.manifest,
                            "Compare each tensor's digest with this");
  verify_command.add_option("--write-manifest", verified.new_manifest,
                            "Write the digest of each tensor there");
  add_open_options(verify_command, verified.open);

  RecoverArguments recovered;
  CLI::App& recover_command =
      *app.add_subcommand("recover",
                          "Write what is whole of a damaged file of torch.save into a good one; "
                          "exit status 1 if any is lost");
  recover_command.add_option("in", recovered.from, "The damaged file")->required();
  recover_command.add_option("out", recovered.to, "The file to write")->required();
  recover_command.add_flag("--allow-objects", recovered.save.allow_objects, kAllowObjects);
  add_open_options(recover_command, recovered.open);

  CLI::App& devices_command =
      *app.add_subcommand("devices", "List the devices here and their memory");

  std::filesystem::path folder;
  CLI::App& demo_command = *app.add_subcommand(
      "demo", "Train on a GPU, load on a CPU: the whole story, with the memory of each device");
  demo_command.add_option("--folder", folder, "Keep the files there; without: they are removed");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? kDone : kUsage;
  }
  if (inspect_command) inspect(inspected);
  if (explain_command) finish(explained, explained_texts), explain(explained);
  if (load_command) finish(loaded, loaded_texts), load_file(loaded);
  if (convert_command) {
    converted.save.map_location = map_location_of(converted_texts);
    add_renames(converted.save.select, converted_texts);
    convert_file(converted);
  }
  if (scan_command) return scan_files(scanned) ? kDone : kInputAtFault;
  if (verify_command) verify_file(verified);
  if (recover_command) return recover_file(recovered) ? kDone : kInputAtFault;
  if (devices_command) list_devices();
  return demo_command ? demo(folder) : kDone;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const int status = run(argc, argv);
    if (std::cout.flush() && std::fflush(stdout) == 0) return status;
    std::cerr << "stdout cannot be written\n";
  } catch (const std::exception& error) {
    // Line by line: names out of a file are quoted in it.
    const std::string text = error.what();
    for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
      end = text.find('\n', begin);
      std::cerr << printable(text.substr(begin, end - begin)) << "\n";
    }
  }
  return kInputAtFault;
}
