#!/usr/bin/env bash
# On a machine with a GPU: what it is, what its driver answers, the tests, the story, and how fast a load is. Writes all
# that is shown, and more, into $OUT (./out). Ends with a table, and with 1 if a part failed or there is no GPU.
#
#   run.sh              on the machine's driver
#   run.sh --emulated   on the emulated one, to try this script: of a GPU it says nothing
set -uo pipefail
cd "$(dirname "$0")"
here=$PWD
out=${OUT:-$here/out}
mkdir -p "$out"
export LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if [ "${1:-}" = --emulated ]; then
  export LD_LIBRARY_PATH=$here/emulated:$LD_LIBRARY_PATH
  export TENSOR_NBYTES=${TENSOR_NBYTES:-1048576}  # bench.py's 64 tensors must fit into the 1 GiB of an emulated device
  echo "EMULATED: of a GPU this says nothing"
elif ! ./transload devices | grep -q '^cuda'; then
  echo "no GPU: nothing was run ($(./cuda_probe 2>&1 >/dev/null))"
  exit 1
fi

failed=0
table=""
part() {  # NAME COMMAND…: runs it, its output into $out/NAME.txt
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$out/$name.txt" 2>&1; then
    table+="$name  ok      $((SECONDS - start)) s"$'\n'
  else
    table+="$name  FAILED  $((SECONDS - start)) s: $(tail -n 1 "$out/$name.txt")"$'\n'
    failed=1
  fi
}

{
  date -u
  uname -srm
  nproc
  command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
  ./transload devices
} | tee "$out/machine.txt"

probe() { ./cuda_probe >"$out/cuda_trace.jsonl" && wc -l <"$out/cuda_trace.jsonl"; }
part probe probe
part nn_test ./nn_test
part demo ./transload demo --folder "$out/demo"
bench() { python3 bench.py "$out"; }
if command -v python3 >/dev/null; then part bench bench; else table+="bench  not run: no python3"$'\n'; fi

[ -f "$out/bench.txt" ] && cat "$out/bench.txt"
echo
printf '%s' "$table"
exit $failed
