// Trains a model on a GPU, saves it and loads it on the CPU; story.cc does the work. Without a GPU,
// it uses the emulated driver.
//
//   train_on_gpu_load_on_cpu [FOLDER]    writes its files into FOLDER; by default the working directory
#include <iostream>

#include "story.h"
#include "transload/transload.h"

int main(int argc, char** argv) try {
  const bool has_gpu = transload::devices().back().kind == transload::DeviceKind::cuda;
  if (!has_gpu) transload::use_cuda_driver(TRANSLOAD_EMULATED);
  return tell_story(std::cout, argc > 1 ? argv[1] : ".");
} catch (const transload::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
