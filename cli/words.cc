// Formats rates, names from files and errors for people.
#include "words.h"

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

#include "transload/device.h"

namespace transload::cli {
namespace {

// An option of the library and its name on the command line.
struct OptionName {
  std::string_view library, command_line;
  bool is_english;  // also an English word: an option only in backquotes, or before a quoted value
};
constexpr std::array kOptionNames = {
    OptionName{"map_location", "--map-location", false},
    OptionName{"allow_objects", "--allow-objects", false},
    OptionName{"refuse_objects", "--refuse-objects", false},
    OptionName{"keep_calls", "--keep-calls", false},
    OptionName{"in_place", "--in-place", false},
    OptionName{"at", "--at", true},
    OptionName{"keep", "--keep", true},
    OptionName{"drop", "--drop", true},
    OptionName{"rename", "--rename", true},
    OptionName{"dtype", "--dtype", true},
    OptionName{"compact", "--compact", true},
    OptionName{"values", "--values", true},
    OptionName{"format", "--to", true},
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// Returns whether the text around a word lets it be a name of its own: not a part of a path, of an
// expression such as x.map_location, or of a keyword argument such as map_location="cpu".
bool stands_alone(std::string_view before, std::string_view after) {
  const bool starts = before.empty() || before.back() == ' ' || before.back() == '(';
  if (!after.empty() && (after.front() == '.' || after.front() == ':')) after.remove_prefix(1);
  return starts && (after.empty() ||
                    std::string_view(" ,;)\n").find(after.front()) != std::string_view::npos);
}

std::string shell_word(const std::string& text) {
  const auto is_plain = [](char c) {
    return is_word(c) || std::string_view("-+./:=@%,").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::ranges::all_of(text, is_plain)) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

}  // namespace

std::string command_line(const Setting& setting) {
  const auto* const option = std::ranges::find(kOptionNames, setting.option, &OptionName::library);
  if (option == kOptionNames.end() || setting.values.empty()) return str(setting);
  std::string text;
  for (std::size_t i = 0; i < setting.values.size(); ++i) {
    const std::string value =
        setting.values[i] + (setting.mapped_to.empty() ? "" : "=" + setting.mapped_to[i]);
    text += (i ? " " : "") + std::string(option->command_line) + " " + shell_word(value);
  }
  return text;
}

std::string with_command_line_options(std::string_view message) {
  std::string out;
  bool is_quoted = false;
  for (std::size_t i = 0; i < message.size();) {
    if (!is_word(message[i])) {
      if (message[i] == '"') is_quoted = !is_quoted;
      if (message[i] == '\n') is_quoted = false;
      out += message[i++];
      continue;
    }
    std::size_t end = i;
    while (end < message.size() && is_word(message[end])) ++end;
    const std::string_view word = message.substr(i, end - i), before = message.substr(0, i),
                           after = message.substr(end);
    const auto* const option = std::ranges::find(kOptionNames, word, &OptionName::library);
    const bool in_backquotes = before.ends_with('`') && after.starts_with('`');
    i = end;
    if (is_quoted || option == kOptionNames.end()) {
      out += word;
    } else if (in_backquotes) {
      out.back() = '-';  // in place of the backquote
      out += option->command_line.substr(1);
      ++i;
    } else if (stands_alone(before, after) &&
               (!option->is_english || ((word == "keep" || word == "drop" || word == "rename") &&
                                        after.starts_with(" \"")))) {
      out += option->command_line;
    } else {
      out += word;
    }
  }
  return out;
}

std::string human_rate(std::uint64_t nbytes, double seconds) {
  return human_bytes(
             static_cast<std::uint64_t>(static_cast<double>(nbytes) / std::max(seconds, 1e-9))) +
         "/s";
}

std::string printable(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters too; in UTF-8 they are C2 80 to C2 9F.
    const bool is_c1 = byte == 0xC2 && i + 1 < text.size() &&
                       (static_cast<unsigned char>(text[i + 1]) & 0xE0) == 0x80;
    if (is_c1)
      out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[++i]));
    else if (byte < 0x20 || byte == 0x7F)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += text[i];
  }
  return out;
}

}  // namespace transload::cli
