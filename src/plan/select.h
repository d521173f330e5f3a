// Which tensors are meant, and by what name.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "transload/transload.h"

namespace transload {

// Whether `text` fits a pattern where * stands for any text and ? for one character.
bool fits(std::string_view pattern, std::string_view text);

// The name a tensor gets, or nothing if it is not selected.
std::optional<std::string> selected_name(const Selection& select, std::string_view name);

// The value that a part is, by its name. Throws MismatchError, with the parts there are.
std::uint32_t part_at(const StateDict& contents, std::string_view at);

// The part that is meant, without the tensors that are not selected, the others under their new names. Numbers of storages
// stay. Throws MismatchError if there is no such part, or if nothing fits what is to be kept.
StateDict select(const StateDict& contents, const Selection& selection);

// The contents without the tensors of these storages: entries of dicts are left out, elsewhere None takes their place.
StateDict without(const StateDict& contents, const std::vector<bool>& lost_storages);

}  // namespace transload
