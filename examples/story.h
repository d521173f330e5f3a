// The story of a model that is trained on a GPU and loaded on a CPU, in ten steps. story.cc shows
// the calls that a program would make, and checks every statement that it prints.
#pragma once

#include <filesystem>
#include <ostream>

// Runs the story on the GPUs of the driver in use, which may be the emulated one
// (use_cuda_driver()). Prints to `out` and writes its files into `folder`. Returns 0 if every
// statement holds, otherwise 1. Throws transload::Error.
int tell_story(std::ostream& out, const std::filesystem::path& folder);
