// convert: rewrites a file in another format or with other device tags.
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "progress.h"
#include "unused_rules.h"
#include "words.h"

namespace transload::cli {
void convert_file(const ConvertArguments& arguments) {
  SaveOptions options = arguments.save;
  SaveResult result;
  interruption().protect(arguments.to);
  const double seconds = run_with_progress(
      options.io, [&] { result = convert(arguments.from, arguments.to, options, arguments.open); });
  warn_of(result.unused_rules);
  print_notes(arguments.to, result);
  if (!result.left_out.empty()) {
    std::cerr << fmt::format("left out, because the format cannot store it: {}\n",
                             fmt::join(result.left_out, ", "));
  }
  // What is written to a pipe, such as /dev/stdout, must not be mixed with words.
  std::ostream& out =
      std::filesystem::is_regular_file(arguments.to) || std::filesystem::is_directory(arguments.to)
          ? std::cout
          : std::cerr;
  out << fmt::format("{}: {} written in {:.3f} s, {}\n", printable(arguments.to.string()),
                     human_bytes(result.nbytes), seconds, human_rate(result.nbytes, seconds));
}

}  // namespace transload::cli
