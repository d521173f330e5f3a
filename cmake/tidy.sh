#!/usr/bin/env bash
# Runs clang-tidy: tidy.sh BUILD JOBS [--changed]
#
# --changed: only on the sources that differ from the main branch (on the main branch: from the commit before), and on those
# that include a header that differs. On all if there is no history to compare with, or the list of checks differs.
set -euo pipefail
build=$1 jobs=$2 changed=${3:-}
mapfile -t files < <(git ls-files 'src/*.cc' 'cli/*.cc' 'examples/*.cc' 'tests/fake_cuda/*.cc')

if [ -n "$changed" ]; then
  base=$(git merge-base HEAD origin/main 2>/dev/null || git merge-base HEAD main 2>/dev/null || true)
  [ "$base" != "$(git rev-parse HEAD)" ] || base=$(git rev-parse --verify -q HEAD^ || true)
  if [ -n "$base" ] && git diff --quiet "$base" -- .clang-tidy; then
    mapfile -t differ < <(git diff --name-only --diff-filter=d "$base")
    chosen=()
    for file in "${files[@]}"; do
      for other in "${differ[@]}"; do
        # A header is included as "folder/name.h", from src/ or include/ or the file's own folder.
        header=${other#src/} header=${header#include/} header=${header#cli/} header=${header#examples/}
        if [ "$other" = "$file" ] || { [[ $other == *.h ]] && grep -qF "#include \"$header\"" "$file"; }; then
          chosen+=("$file")
          break
        fi
      done
    done
    files=("${chosen[@]}")
  fi
fi
echo "clang-tidy: ${#files[@]} files"
[ ${#files[@]} -gt 0 ] || exit 0
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "$jobs" clang-tidy-14 -p "$build" --quiet 2> >(grep -v 'warnings generated' >&2)
