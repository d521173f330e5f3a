#!/usr/bin/env bash
# Builds and runs the consumer beside this file, in the way that other projects get the library: run.sh BUILD WAY
#
#   installed      installs BUILD in a temporary folder, moves it, and uses it by find_package and by pkg-config
#   subdirectory   by add_subdirectory, which compiles the library again
set -euo pipefail
build=$(realpath "$1") way=$2
here=$(realpath "$(dirname "$0")")
cmake=$(sed -n 's/^CMAKE_COMMAND:INTERNAL=//p' "$build/CMakeCache.txt")
compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")
generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() {  # HOW PROGRAM: it must say the version, and that the tensor has two dimensions
  local said expected
  expected="$(sed -n 's/.*kVersion\[\] = "\(.*\)";/\1/p' "$here/../../include/transload/version.h") 2"
  said=$("$2" "$work/model.pt")
  [ "$said" = "$expected" ] || { echo "$1: the program said \"$said\", expected \"$expected\"" >&2; exit 1; }
  echo "$1: $said"
}

configure_and_build() {  # NAME OPTION…
  "$cmake" -G "$generator" -DCMAKE_CXX_COMPILER="$compiler" -S "$here" -B "$work/$1" "${@:2}" >"$work/$1.txt" &&
    "$cmake" --build "$work/$1" >>"$work/$1.txt" || { cat "$work/$1.txt" >&2; exit 1; }
}

case $way in
  installed)
    "$cmake" --install "$build" --prefix "$work/first" >/dev/null
    mv "$work/first" "$work/prefix"  # nothing may depend on where it was installed
    configure_and_build package -DCMAKE_PREFIX_PATH="$work/prefix"
    check find_package "$work/package/cli"

    pc=$(dirname "$(find "$work/prefix" -name transload.pc)")
    static=$([ -n "$(find "$work/prefix" -name libtransload.a)" ] && echo --static || true)
    read -ra flags < <(PKG_CONFIG_PATH=$pc pkg-config $static --cflags --libs transload)
    "$compiler" -std=c++20 "$here/main.cc" -o "$work/by_pkg_config" "${flags[@]}" -Wl,-rpath,"$(dirname "$pc")"
    check pkg-config "$work/by_pkg_config"

    program=$work/prefix/bin/transload
    if [ -e "$program" ]; then
      "$program" demo >"$work/demo.txt" || { cat "$work/demo.txt" >&2; exit 1; }
    fi
    ;;
  subdirectory)
    configure_and_build subdirectory -DTRANSLOAD_SOURCE="$(realpath "$here/../..")"
    check add_subdirectory "$work/subdirectory/cli"
    ;;
  *)
    echo "run.sh BUILD installed|subdirectory" >&2
    exit 2
    ;;
esac
