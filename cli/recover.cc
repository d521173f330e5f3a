// recover: writes the intact tensors of a damaged checkpoint into a new file.
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "progress.h"
#include "words.h"

namespace transload::cli {

bool recover_file(const RecoverArguments& arguments) {
  SaveOptions options = arguments.save;
  RecoverResult result;
  interruption().protect(arguments.to);
  run_with_progress(
      options.io, [&] { result = recover(arguments.from, arguments.to, options, arguments.open); });
  print_notes(arguments.to, result.saved);
  std::ostream& out = std::filesystem::is_regular_file(arguments.to) ? std::cout : std::cerr;
  const std::string to = printable(arguments.to.string());
  if (result.intact == 0 && result.lost.empty())
    out << fmt::format("{}: only values, the file holds no tensors\n", to);
  else
    out << fmt::format("{}: {} tensors, {}; {} lost\n", to, result.intact,
                       human_bytes(result.saved.nbytes), result.lost.size());
  for (const auto& [tensor, why] : result.lost)
    out << "  \"" << printable(tensor) << "\": " << printable(why) << "\n";
  return result.lost.empty();
}

}  // namespace transload::cli
