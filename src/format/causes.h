// Causes: what a file is that no format reads, and what happened to one that is damaged. Every error about an unreadable file
// asks here, so that the cause is named whatever the file is called. A cause is stated only if the file's bytes show it.
#pragma once

#include <string>

#include "format/opened.h"

namespace transload {

// Returns what a file is instead of a model, and the way out: "this is ONNX, …". Never empty.
std::string cause_of(Opened& opened);

// Returns what happened to a file of which a part could not be read: converted line ends, a text conversion, room that was
// never written. Empty if its bytes do not show it.
std::string cause_of_damage(const File& file);

// Returns what a zip archive without the pickle of torch.save is, and the way out. Empty if it is unknown.
std::string cause_of_archive(ZipContainer& zip);

}  // namespace transload
