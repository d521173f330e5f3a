// The layout of `transload --help`: texts wrapped at 80 columns.
#pragma once

#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

namespace transload::cli {

// Breaks a text between words into lines of at most `width` characters.
std::string wrapped(std::string_view text, std::size_t width);

// CLI11's formatter prints descriptions as they are; this one wraps them.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_option_desc(const CLI::Option* option) const override;
  std::string make_subcommand(const CLI::App* command) const override;
  std::string make_description(const CLI::App* app) const override;
  std::string make_footer(const CLI::App* app) const override;
};

}  // namespace transload::cli
