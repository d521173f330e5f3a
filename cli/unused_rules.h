// Warns on stderr of options that fit nothing in a file: a typing error, most likely.
#pragma once

#include <vector>

#include "transload/options.h"

namespace transload::cli {

void warn_of(const std::vector<UnusedRule>& unused_rules);

}  // namespace transload::cli
