#!/usr/bin/env bash
# Runs each fuzzer: run.sh BUILD SECONDS. What they find is left in BUILD/found, what they learnt in BUILD/corpus.
set -uo pipefail
build=$1 seconds=$2
here=$(dirname "$0")
mkdir -p "$build/found"
python3 "$here/seeds.py" "$here/../data" "$build/seeds"
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16
declare -A dictionary=([pickle]=pickle [pickle_scan]=pickle [unpickler]=pickle [zip]=zip [open]=zip
  [safetensors_header]=json [shards]=json [texts]=texts)
total=0 failed=0
for fuzzer in open pickle pickle_scan unpickler safetensors_header zip shards texts; do
  corpus=$build/corpus/$fuzzer
  mkdir -p "$corpus" "$build/seeds/$fuzzer"
  "$build/fuzz_$fuzzer" -dict="$here/${dictionary[$fuzzer]}.dict" -max_total_time="$seconds" -timeout=2 -rss_limit_mb=1024 \
    -malloc_limit_mb=256 -max_len=16384 -print_final_stats=1 -artifact_prefix="$build/found/$fuzzer-" \
    "$corpus" "$build/seeds/$fuzzer" >"$build/$fuzzer.log" 2>&1 || failed=1
  runs=$(grep -aoP '(?<=number_of_executed_units: )\d+' "$build/$fuzzer.log" || echo 0)
  total=$((total + runs))
  printf '%-20s %10d executions  %s\n' "$fuzzer" "$runs" \
    "$(grep -a -m1 -E 'ERROR:|SUMMARY:' "$build/$fuzzer.log" || echo 'nothing found')"
done
printf '%-20s %10d executions\n' all "$total"
exit $failed
