// convert: rewrites a file in another format, or with other tags.
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "progress.h"
#include "words.h"

namespace transload::cli {

void convert_file(const ConvertArguments& arguments) {
  SaveOptions options = arguments.save;
  SaveResult result;
  double seconds = 0;
  {
    ProgressLine progress;
    options.engine.progress = progress.function();
    result = convert(arguments.from, arguments.to, options, arguments.open);
    seconds = progress.seconds();
  }
  for (const auto& leftover : result.leftovers)
    std::cerr << "beside it lies " << leftover.string()
              << ", which a save that was killed has left; it can be removed\n";
  std::cout << fmt::format("{}: {} written in {:.3f} s, {}\n", arguments.to.string(),
                           human_bytes(result.nbytes), seconds, human_rate(result.nbytes, seconds));
}

}  // namespace transload::cli
