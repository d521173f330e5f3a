// recover: writes the intact tensors of a damaged checkpoint into a new file.
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "words.h"

namespace transload::cli {

bool recover_file(const RecoverArguments& arguments) {
  const RecoverResult result =
      recover(arguments.from, arguments.to, arguments.save, arguments.open);
  const std::string to = printable(arguments.to.string());
  if (result.intact == 0 && result.lost.empty())
    std::cout << fmt::format("{}: only values, the file holds no tensors\n", to);
  else
    std::cout << fmt::format("{}: {} tensors, {}; {} lost\n", to, result.intact,
                             human_bytes(result.saved.nbytes), result.lost.size());
  for (const auto& [tensor, why] : result.lost)
    std::cout << "  \"" << printable(tensor) << "\": " << printable(why) << "\n";
  return result.lost.empty();
}

}  // namespace transload::cli
