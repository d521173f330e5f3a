// Which rules of the options fit nothing: unused_rules() of what is in memory, too.
#pragma once

#include <string>
#include <vector>

#include "transload/options.h"

namespace transload {

// `tags`: where the storages were saved, or are.
std::vector<UnusedRule> unused_rules(const StateDict& contents,
                                     const std::vector<std::string>& tags, const Selection& select,
                                     const MapLocation& map_location);

}  // namespace transload
