// The program `transload`: turns the command line into the arguments of commands.h and runs one
// command. Exit status: 0 done, 1 the input is at fault, 2 the command line is wrong, 128 + n
// interrupted by signal n. Scripts rely on these.
#include <cstdio>
#include <iostream>
#include <map>
#include <set>

#include <CLI/CLI.hpp>

#include "commands.h"
#include "help.h"
#include "interruption.h"
#include "transload/version.h"
#include "words.h"

namespace {

using namespace transload;
using namespace transload::cli;

constexpr int kDone = 0, kInputAtFault = 1, kUsage = 2;
constexpr const char* kInPlace =
    "Write into the existing file instead of replacing it, which keeps hard links and needs no "
    "writable folder. A crash while the bytes are copied loses the old file.";
constexpr const char* kAllowObjects =
    "Write objects of unknown classes too. PyTorch runs their code when it loads the file.";

// Options that are parsed after the whole command line was read.
struct Texts {
  std::vector<std::string> map_location, rename;
  std::string dtype;
};

// Returns what is wrong with a rule, or "".
std::string check_map_location(const std::string& text) {
  try {
    MapLocation::parse(text);
    return "";
  } catch (const Error& error) {
    return with_command_line_options(error.what());
  }
}

void add_map_location(CLI::App& command, Texts& texts, const char* description) {
  command.add_option("--map-location", texts.map_location, description)
      ->type_name("RULE")
      ->allow_extra_args(false)  // one value per option; the option can be repeated
      ->check(check_map_location);
}

void add_open_options(CLI::App& command, OpenOptions& options) {
  command.add_flag(
      "--refuse-objects", options.refuse_objects,
      "Refuse a file that contains objects of unknown classes. By default they are shown "
      "as inert values and never constructed.");
  command.add_flag("--keep-calls", options.keep_calls,
                   "Open a file that calls code when it is unpickled. The calls are shown as inert "
                   "values and never run.");
}

void add_selection(CLI::App& command, Selection& select, Texts& texts) {
  command
      .add_option(
          "--at", select.at,
          "Select this part of a checkpoint, for example model_state_dict. Tensor names start "
          "below it.")
      ->type_name("KEY");
  command
      .add_option("--keep", select.keep,
                  "Select the tensors whose names match; * matches any text, ? one character. "
                  "Repeatable.")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command.add_option("--drop", select.drop, "Leave out the tensors whose names match. Repeatable.")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command
      .add_option("--rename", texts.rename,
                  "Rename tensors; for example, module.*=* removes a prefix. Repeatable; the first "
                  "match applies.")
      ->type_name("OLD=NEW")
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        return text.find('=') == std::string::npos ? "expected OLD=NEW" : std::string();
      });
}

void add_load_options(CLI::App& command, LoadArguments& arguments, Texts& texts) {
  command.add_option("file", arguments.file, "The file to load.")->required();
  add_map_location(
      command, texts,
      "Choose where tensors go: DEVICE (cpu, meta or cuda:0) for all of them, TAG=DEVICE for those "
      "saved on TAG, GLOB:DEVICE for those whose names match, or auto. Repeatable; the first match "
      "applies. By default tensors go to the device they were saved from.");
  add_selection(command, arguments.options.select, texts);
  command
      .add_option("--dtype", texts.dtype,
                  "Cast floating point tensors to this dtype, for example bfloat16.")
      ->type_name("DTYPE")
      ->check([](const std::string& text) {
        return dtype_from_name(text) ? std::string() : "\"" + text + "\" is not a dtype";
      });
  add_open_options(command, arguments.options.open);
}

CLI::Option& add_values(CLI::App& command, PlainValues& values, const char* description) {
  const std::map<std::string, PlainValues> names = {
      {"select", PlainValues::select}, {"keep", PlainValues::keep}, {"drop", PlainValues::drop}};
  return *command.add_option("--values", values, description)
              ->type_name("HOW")
              ->transform(CLI::CheckedTransformer(names).description(""));
}

// Parses the rules and renames into the options of a load or a conversion.
void finish(const Texts& texts, MapLocation& map_location, Selection& select) {
  for (const std::string& text : texts.map_location) map_location.add(MapLocation::parse(text));
  for (const std::string& text : texts.rename) {
    const std::size_t sign = text.find('=');
    select.rename.push_back({text.substr(0, sign), text.substr(sign + 1)});
  }
}

void finish(const Texts& texts, LoadOptions& options) {
  finish(texts, options.map_location, options.select);
  options.open.select = options.select;
  if (!texts.dtype.empty()) options.dtype = dtype_from_name(texts.dtype);
}

std::set<std::string> writable_formats() {
  std::set<std::string> names;
  for (const auto& [name, can_write] : formats())
    if (can_write) names.insert(name);
  return names;
}

int run(int argc, char** argv) {
  CLI::App app(
      "Move models between files and devices. Each byte is copied once, straight to its "
      "destination.");
  app.formatter(std::make_shared<HelpFormatter>());
  app.set_help_flag("-h,--help", "Print this help and exit.");
  app.set_version_flag("--version", std::string("transload ") + kVersion,
                       "Print the version and exit.");
  app.require_subcommand(1);
  app.footer(
      "Results go to stdout, messages to stderr. Exit status: 0 done, 1 the input is at fault, 2 "
      "the "
      "command line is wrong, 128 + n interrupted by signal n.");

  InspectArguments inspected;
  CLI::App& inspect_command = *app.add_subcommand(
      "inspect", "Show the tensors and values in a file without reading the tensors' bytes.");
  inspect_command.add_option("file", inspected.file, "A checkpoint, or a folder that holds one.")
      ->required();
  CLI::Option* const json =
      inspect_command.add_flag("--json", inspected.json, "Print JSON, for scripts.");
  inspect_command
      .add_flag("--digests", inspected.digests,
                "Add the SHA-256 of each tensor's elements. Reads the whole file.")
      ->needs(json);
  add_open_options(inspect_command, inspected.open);

  ExplainArguments explained;
  LoadArguments loaded;
  Texts explained_texts, loaded_texts, converted_texts;
  CLI::App& explain_command = *app.add_subcommand(
      "explain", "Show where load would place tensors, why, and how much memory they need.");
  add_load_options(explain_command, explained.load, explained_texts);
  CLI::Option* const explain_save =
      explain_command
          .add_option(
              "--save", explained.save,
              "Show what convert to this file would do instead: what is read and written, and "
              "how.")
          ->type_name("OUT")
          ->excludes(explain_command.get_option("--dtype"));
  explain_command.add_option("--to", explained.format, "The format of that file, as for convert.")
      ->needs(explain_save)
      ->check(CLI::IsMember(writable_formats()));
  add_values(explain_command, explained.values, "What convert does with other values.")
      .needs(explain_save);
  CLI::App& load_command =
      *app.add_subcommand("load", "Load a file and report where its bytes went and how fast.");
  add_load_options(load_command, loaded, loaded_texts);

  ConvertArguments converted;
  CLI::App& convert_command = *app.add_subcommand(
      "convert", "Rewrite a file in another format, or as if it was saved on other devices.");
  convert_command.add_option("in", converted.from, "The file to read.")->required();
  convert_command
      .add_option("out", converted.to,
                  "The file to write. An existing file is replaced only when the new one is "
                  "complete on the disk.")
      ->required();
  convert_command
      .add_option(
          "--to", converted.save.format,
          "The format to write, under any name. By default it is safetensors for the suffix "
          ".safetensors, otherwise torch_zip; suffixes of other formats are an error. shards "
          "keeps the shards of a model and needs a new folder.")
      ->type_name("FORMAT")
      ->check(CLI::IsMember(writable_formats()));
  add_map_location(convert_command, converted_texts,
                   "Choose the devices to record as those the tensors were saved on. Rules are "
                   "those of load; by default the recorded devices stay.");
  add_selection(convert_command, converted.save.select, converted_texts);
  add_values(convert_command, converted.save.values,
             "Choose what to do with values that are not tensors: drop writes none, keep writes "
             "all, select writes those whose names --keep and --drop select. By default --drop "
             "selects them too, and --keep for formats that hold tensors only.");
  convert_command.add_flag("--compact", converted.save.compact,
                           "Leave out the bytes of storages that no tensor uses.");
  convert_command.add_flag("--in-place", converted.save.in_place, kInPlace);
  convert_command.add_flag("--allow-objects", converted.save.allow_objects, kAllowObjects);
  add_open_options(convert_command, converted.open);

  ScanArguments scanned;
  CLI::App& scan_command = *app.add_subcommand(
      "scan",
      "Show what files would do to a program that unpickles them. Exit status 1 if a file is "
      "dangerous or cannot be read completely.");
  scan_command
      .add_option("path", scanned.paths,
                  "Files of any kind, or folders, which are searched recursively.")
      ->required();
  scan_command.add_flag("--json", scanned.json, "Print JSON, which includes harmless names.");

  VerifyArguments verified;
  CLI::App& verify_command = *app.add_subcommand(
      "verify", "Compare every byte of a file with its checksums or with a manifest.");
  verify_command.add_option("file", verified.file, "The file to read.")->required();
  verify_command.add_option("--manifest", verified.manifest,
                            "Compare the digest of each tensor with this manifest.");
  verify_command.add_option("--write-manifest", verified.new_manifest,
                            "Write a manifest with the digest of each tensor.");
  add_open_options(verify_command, verified.open);

  RecoverArguments recovered;
  CLI::App& recover_command =
      *app.add_subcommand("recover",
                          "Recover the intact tensors of a damaged checkpoint. Exit status 1 if "
                          "any tensor is lost.");
  recover_command.add_option("in", recovered.from, "The damaged file.")->required();
  recover_command.add_option("out", recovered.to, "The file to write.")->required();
  recover_command.add_option("--to", recovered.save.format, "The format to write, as for convert.")
      ->type_name("FORMAT")
      ->check(CLI::IsMember(writable_formats()));
  recover_command.add_flag("--in-place", recovered.save.in_place, kInPlace);
  recover_command.add_flag("--allow-objects", recovered.save.allow_objects, kAllowObjects);
  add_open_options(recover_command, recovered.open);

  CLI::App& devices_command =
      *app.add_subcommand("devices", "List the devices of this machine and their memory.");

  std::filesystem::path folder;
  CLI::App& demo_command = *app.add_subcommand(
      "demo", "Train a model on a GPU and load it on the CPU, with the memory of each device.");
  demo_command.add_option("--folder", folder,
                          "Keep the files in this folder. By default they are removed.");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, std::cout, std::cerr) == 0 ? kDone : kUsage;
  }
  if (inspect_command) inspect(inspected);
  if (explain_command) finish(explained_texts, explained.load.options), explain(explained);
  if (load_command) finish(loaded_texts, loaded.options), load_file(loaded);
  if (convert_command) {
    finish(converted_texts, converted.save.locations, converted.save.select);
    convert_file(converted);
  }
  if (scan_command) return scan_files(scanned) ? kDone : kInputAtFault;
  if (verify_command) verify_file(verified);
  if (recover_command) return recover_file(recovered) ? kDone : kInputAtFault;
  if (devices_command) list_devices();
  return demo_command ? demo(folder) : kDone;
}

// Prints a message of the library in the words of the command line.
void print_error(std::string_view message) {
  // printable() escapes line breaks too, so it gets the message line by line.
  const std::string text = with_command_line_options(message);
  for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = text.find('\n', begin);
    std::cerr << printable(text.substr(begin, end - begin)) << "\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  interruption();  // before any thread starts
  try {
    const int status = run(argc, argv);
    if (const auto interrupted = interruption().report()) return *interrupted;
    if (std::cout.flush() && std::fflush(stdout) == 0) return status;
    std::cerr << "cannot write to stdout\n";
  } catch (const Interrupted&) {
    return interruption().report().value_or(kInputAtFault);
  } catch (const Error& error) {
    print_error(error.message(command_line));
  } catch (const std::exception& error) {
    print_error(error.what());
  }
  return kInputAtFault;
}
