// Wraps the texts of the help.
#include "help.h"

#include <sstream>

namespace transload::cli {
namespace {

constexpr std::size_t kWidth = 80, kNameWidth = 26;  // columns: of a line, of its left part

}  // namespace

std::string wrapped(std::string_view text, std::size_t width) {
  std::istringstream words{std::string(text)};
  std::string lines;
  std::size_t column = 0;
  for (std::string word; words >> word; column += word.size()) {
    if (column > 0) {
      const bool fits = column + 1 + word.size() <= width;
      lines += fits ? ' ' : '\n';
      column = fits ? column + 1 : 0;
    }
    lines += word;
  }
  return lines;
}

HelpFormatter::HelpFormatter() { column_width(kNameWidth); }

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  return wrapped(Formatter::make_option_desc(option), kWidth - kNameWidth);
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  std::stringstream out;
  CLI::detail::format_help(out, command->get_name(),
                           wrapped(command->get_description(), kWidth - kNameWidth), kNameWidth);
  return out.str();
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  return wrapped(Formatter::make_description(app), kWidth) + "\n";
}

std::string HelpFormatter::make_footer(const CLI::App* app) const {
  return wrapped(Formatter::make_footer(app), kWidth) + "\n";
}

}  // namespace transload::cli
