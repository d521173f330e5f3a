// The smallest program that uses the library: saves a tensor, loads it, and shows it.
#include <transload/transload.h>
#include <transload/version.h>

#include <iostream>

int main(int, char** argv) {
  transload::StateDict state;
  state.set("weight", transload::zeros({2, 3}, transload::Dtype::float32));
  transload::save(state, argv[1]);
  std::cout << transload::kVersion << ' '
            << transload::load(argv[1]).tensor("weight").shape().size() << '\n';
}
