// The arguments of the opcodes of protocols 0 and 1, which are lines of text. Only what a pickler writes is read: Python takes
// other spellings of numbers too.
// Facts: CPython, Lib/pickle.py, _Unpickler; codecs.escape_decode and the codec raw_unicode_escape.
#pragma once

#include <cstdint>
#include <string_view>

#include "pickle/opcodes.h"
#include "values/node_table.h"

namespace transload {

// Returns the value of INT, LONG, FLOAT, STRING or UNICODE. Throws OpcodeError if the line is not one.
NodeId value_of_line(NodeTable& nodes, const Instruction& now);

// The number of PUT and GET.
std::uint64_t number_of_line(std::string_view line);

// Python 2's str: a text, as PyTorch loads it, or bytes if it is not UTF-8, as those of an array.
NodeId text_or_bytes(NodeTable& nodes, std::string_view value);

}  // namespace transload
