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
  const double seconds = run_with_progress(
      options.io, [&] { result = convert(arguments.from, arguments.to, options, arguments.open); });
  warn_of(result.unused_rules);
  for (const auto& leftover : result.leftovers)
    std::cerr << printable(leftover.string())
              << ": left behind by an interrupted save; you can remove it\n";
  if (!result.left_out.empty()) {
    std::cerr << fmt::format("left out, because the format cannot store it: {}\n",
                             fmt::join(result.left_out, ", "));
  }
  std::cout << fmt::format("{}: {} written in {:.3f} s, {}\n", printable(arguments.to.string()),
                           human_bytes(result.nbytes), seconds, human_rate(result.nbytes, seconds));
}

}  // namespace transload::cli
