// recover: writes the intact tensors of a damaged checkpoint into a new file.
#include <iostream>

#include <fmt/format.h>

#include "commands.h"
#include "words.h"

namespace transload::cli {

bool recover_file(const RecoverArguments& arguments) {
  const RecoverResult result =
      recover(arguments.from, arguments.to, arguments.save, arguments.open);
  std::cout << fmt::format("{}: {} tensors, {}; {} lost\n", printable(arguments.to.string()),
                           result.intact, human_bytes(result.saved.nbytes), result.lost.size());
  for (const auto& [tensor, why] : result.lost)
    std::cout << "  \"" << printable(tensor) << "\": " << printable(why) << "\n";
  return result.lost.empty();
}

}  // namespace transload::cli
