// Which values of a pickle a reader refuses: calls of what runs code, and its mere names. TorchObjects asks while it reads;
// an opener asks again of the values that a caller has selected, once the pickle has been read with keep_calls.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "pickle/globals.h"
#include "transload/error.h"
#include "transload/options.h"
#include "values/node_table.h"

namespace transload {

struct RefusedName {
  const char* verb;  // "calls", "holds" or "holds an object of"
  std::string module, name;
};

// The error, whose text begins with `where`: "model.pt: data.pkl".
UnsafePickleError refusal_of(const RefusedName& refused, const std::string& where);

// Each returns the name that is refused without keep_calls, or nothing.
std::optional<RefusedName> refused_mention(std::string_view module, std::string_view name);
// `callable` is a global, `arguments` a tuple.
std::optional<RefusedName> refused_call(const NodeTable& nodes, NodeId callable, NodeId arguments,
                                        Made made);
// The name that is refused with refuse_objects.
std::optional<RefusedName> refused_object(std::string_view module, std::string_view name);

// Returns the first name that the options refuse in a value and all that it holds, or nothing.
std::optional<RefusedName> refused_in(const NodeTable& nodes, NodeId value,
                                      const OpenOptions& options);

}  // namespace transload
