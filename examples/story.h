// The story of a model that is trained on a GPU and loaded on a CPU, in ten steps. Read story.cc: it is what a program
// of yours would do, with a check of each thing that is said.
#pragma once

#include <filesystem>
#include <ostream>

// Tells it on the GPUs that are here, or on the emulated ones that the caller has chosen with use_cuda_driver(). Writes
// its files into `folder`. Returns 0 if all that it says was seen to hold, 1 if not; throws transload::Error.
int tell_story(std::ostream& out, const std::filesystem::path& folder);
