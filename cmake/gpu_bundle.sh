#!/usr/bin/env bash
# gpu_bundle.sh BUILD BUNDLE: what was built, with the libraries it needs, the tests' files and run.sh, in one folder.
set -euo pipefail
build=$1 bundle=$2
rm -rf "$bundle"
mkdir -p "$bundle/lib" "$bundle/data"
for program in transload cuda_probe load_bench nn_test; do
  strip -o "$bundle/$program" "$build/$program"
  # All but what every glibc system has of the same age: the loader, and libc with its parts.
  ldd "$build/$program" | awk '/=> \//{print $3}' | grep -vE '/(libc|libm|libdl|libpthread|librt)\.so' |
    xargs -I{} cp -Ln {} "$bundle/lib/"
done
mkdir -p "$bundle/emulated"
cp -L "$build/emulated/libcuda.so.1" "$bundle/emulated/"
cp -r tests/data/torch-2.13 "$bundle/data/"
cp cmake/gpu_run.sh "$bundle/run.sh"
cp cmake/gpu_bench.py "$bundle/bench.py"
du -sh "$bundle"
echo "on a machine with a GPU: cd $(basename "$bundle") && bash run.sh"
