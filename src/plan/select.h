// Selection: which tensors of a state dict are meant, and by what names. Between reading a file's
// values and planning what to do with their bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "transload/options.h"

namespace transload {

// Returns whether `text` fits a pattern where * stands for any text and ? for one character. If it
// does, `stars` gets what each * stands for: the first ones as little as possible, so that
// "*.attn.*" splits at the first ".attn.".
bool fits(std::string_view pattern, std::string_view text,
          std::vector<std::string_view>* stars = nullptr);

// Returns the value at `at`, which is the root if that is empty. Throws MismatchError with the
// parts that exist.
Value part_at(const StateDict& contents, std::string_view at);

// Returns the part at selection.at without the tensors that are not selected, the others under
// their new names. Dicts, lists, tuples and sets are looked through, and objects are not: they stay
// as they are, unless they stand for a tensor (sparse, quantized). Names are positions within a
// list, so a tensor that is dropped from one leaves None. Containers that are the same everywhere stay shared. Storages keep their numbers. Throws
// MismatchError if there is no such part, if no tensor fits `keep`, and if a new name is taken or
// would move the tensor to another container.
//
// `values` says what becomes of other values: unless they are all kept, a container that is left
// with nothing goes too.
//
// Where the part itself is a module that was pickled whole, its state dict is meant
// (values/modules.h), unless `modules` says that it stays an object.
enum class Modules : std::uint8_t { as_state_dicts, as_objects };
StateDict select(const StateDict& contents, const Selection& selection,
                 PlainValues values = PlainValues::keep, Modules modules = Modules::as_state_dicts);

// Returns the contents without the tensors over the storages s with lost[s]: dicts lose the entry,
// elsewhere None takes its place.
StateDict without(const StateDict& contents, const std::vector<bool>& lost);

}  // namespace transload
