#include "unused_rules.h"

#include <iostream>

#include "words.h"

namespace transload::cli {

void warn_of(const std::vector<UnusedRule>& unused_rules) {
  for (const UnusedRule& unused : unused_rules)
    std::cerr << "warning: " << printable(with_command_line_options(str(unused))) << "\n";
}

}  // namespace transload::cli
