// Judging containers: each member by its contents, and what is odd about the container itself.
#pragma once

#include <string>
#include <vector>

#include "archive/container.h"
#include "scan/contents.h"

namespace transload {

// Offsets in the scanned file of bytes that are known to be tensors', sorted: they are not looked at.
using KnownOffsets = std::vector<std::uint64_t>;

// Judges a zip archive, or several one after the other, as torch.distributed.checkpoint writes them. Returns what it is:
// "torch_zip", "torchscript", "pt2", "npz", "zip", or "archives" for several.
std::string judge_archives(const Part& part, Report& report, const KnownOffsets& known = {});

// The same for a container that was opened before.
std::string judge_archive(Container& zip, const Part& part, Report& report,
                          const KnownOffsets& known);

// Judges PyTorch's legacy stream: each of its pickles. What lies behind the storages is another stream, perhaps.
void judge_torch_stream(const Part& part, Report& report);

// Judges the archive that a file of another kind ends with, if there is one: readers of zip look for its end first.
void judge_last_archive(const Part& part, Report& report);

// Judges PyTorch's tar, before 0.1.10: pickles with storages between them.
void judge_tar(const Part& part, Report& report);

}  // namespace transload
