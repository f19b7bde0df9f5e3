#!/usr/bin/env bash
# The first hours on an Ascend 950: does the checklist of docs/ascend.md and gathers what only hardware answers.
#
# Usage: backends/ascend/on-device.sh [--simulate PRODUCT] [FOLDER]
#
# Run it in a checkout, with Rust and a C compiler, after sourcing CANN's set_env.sh, where nobody else works on the NPU:
# faults on purpose are among the questions. Everything is written to FOLDER (ascend-report by default): read it before you
# send it to anybody, since paths, host names and device ids are in it. Nothing of CANN is copied but names of symbols and
# what it says. With --simulate the same is done on a simulated product, to try the script.
#
# Exit status: 0 everything was gathered (whatever came of it), 1 something could not be built, 2 usage, 4 no NPU.
set -uo pipefail

usage() {
  sed -n '4p' "$0" | cut -c3- >&2
  exit 2
}

simulate=
report=
while [ $# -gt 0 ]; do
  case $1 in
    --simulate) [ $# -ge 2 ] || usage; simulate=$2; shift 2 ;;
    -*) usage ;;
    *) [ -z "$report" ] || usage; report=$1; shift ;;
  esac
done
cd "$(dirname "$0")/../.." || exit 1
report=${report:-ascend-report}
mkdir -p "$report" || exit 1
report=$(cd "$report" && pwd)
summary=$report/summary.txt
: >"$summary"

say() {
  printf '%s\n' "$*" | tee -a "$summary"
}

# gather FILE COMMAND...: its output to a file; how it ended, and the suite's verdict, to the summary.
gather() {
  local file=$1 status verdict
  shift
  printf '$ %s\n' "$*" >"$report/$file"
  "$@" >>"$report/$file" 2>&1
  status=$?
  verdict=$(grep -E '^(PASSED|FAILED)' "$report/$file" | tail -n 1)
  if [ $status -ne 0 ] && [ -z "$verdict" ]; then
    verdict="status $status: $(tail -n 1 "$report/$file")"
  fi
  say "$(printf '%-24s %s' "$file" "${verdict:-done}")"
  return $status
}

say "== 1. The machine"
gather system.txt uname -a
gather devices-in-dev.txt ls -l /dev/davinci0 /dev/davinci_manager
gather groups.txt id
gather npu-smi.txt npu-smi info
cann=${ASCEND_HOME_PATH:-/usr/local/Ascend/ascend-toolkit/latest}
for file in "$cann/version.info" "$cann/$(uname -m)-linux/ascend_toolkit_install.info" \
  /usr/local/Ascend/driver/version.info /usr/local/Ascend/firmware/version.info; do
  [ -r "$file" ] && { printf '%s\n' "$file"; cat "$file"; } >>"$report/versions.txt"
done
[ -e "$report/versions.txt" ] && say "versions.txt             done" || say "versions.txt             no version.info under $cann"

if [ -z "$simulate" ] && [ ! -e /dev/davinci_manager ]; then
  say "There is no NPU here: /dev/davinci_manager does not exist, so the driver is not loaded or this is a container without"
  say "devices. Nothing was asked. To try this script, use --simulate Ascend950PR_9599."
  exit 4
fi

say "== 2. Built here"
packages=(-p mxhal -p mxhal-ascend-plugin)
[ -n "$simulate" ] && packages+=(-p mxhal-simulated-cann)
gather build.txt cargo build --release "${packages[@]}" || exit 1
gather build-probe.txt cargo build --release -p mxhal-cann --examples || exit 1
kernels=
if [ -z "$simulate" ]; then
  # Not installed: the options name them.
  gather kernels-configured.txt cmake -S kernels-ascend -B "$report/kernels" &&
    gather kernels-built.txt cmake --build "$report/kernels" && kernels=$report/kernels/mxhal_kernels.o
fi
target=${CARGO_TARGET_DIR:-target}
mxhal=$target/release/mxhal
mkdir -p "$report/config"
config=$report/config/config.toml
{
  printf '[backend]\nname = "ascend"\nlibrary = "%s"\n' "$(cd "$target/release" && pwd)/libmxhal_ascend.so"
  [ -n "$kernels" ] && printf '[backend.options]\nkernels = "%s"\n' "$kernels"
} >"$config"
conform=("$mxhal" conform --config "$config")
probe=("$target/release/examples/probe")
if [ -n "$simulate" ]; then
  conform+=(--simulate "$simulate")
  # As the simulator's package lays it out.
  cann=$report/config/cann
  mkdir -p "$cann/lib64"
  for name in libmxhal_simulated_cann.so libacl_rt.so libnnopbase.so libopapi_math.so; do
    ln -sf "$(cd "$target/release" && pwd)/libmxhal_simulated_cann.so" "$cann/lib64/$name"
  done
  export ASCEND_HOME_PATH=$cann ASCEND_OPP_PATH= MXHAL_SIM_SOC=$simulate
  probe+=(--small)
fi

say "== 3. CANN as it is installed"
gather declarations.txt ffi/cann/verify.sh
gather doctor.txt "$mxhal" doctor --config "$config" --backend ascend --all
gather operators.txt "$mxhal" devices --config "$config" --backend ascend -vv
if command -v nm >/dev/null; then
  for library in "$cann"/lib64/libopapi*.so "$cann"/lib64/libnnopbase.so "$cann"/lib64/libacl_rt.so; do
    [ -e "$library" ] || continue
    nm -D --defined-only "$library" 2>/dev/null | awk -v library="$(basename "$library")" \
      '$3 ~ /^(aclnn.*(Mx|QuantMatmul|GroupedMatmul|Moe|SwiGlu|FormatCast)|acl[A-Z].*|aclrt.*)/ { print library, $3 }'
  done >"$report/symbols.txt"
  say "symbols.txt              $(wc -l <"$report/symbols.txt") names"
fi

say "== 4. What no document answers: behaviour, error texts, speeds"
gather probe.txt "${probe[@]}"

say "== 5. The suite, in portions that answer the questions of docs/ascend.md"
# portion NAME FILTER [OPTION...]
portion() {
  local name=$1 filter=$2
  shift 2
  gather "$name.txt" "${conform[@]}" --filter "$filter" --json "$report/$name.json" "$@"
}
portion abi '^(abi|memory)/'
portion quantize '^(exact|special)/(de)?quantize/'
portion products '^(exact|special|bounded)/(grouped-)?matmul/'
portion accumulator '^exact/accumulator/'
portion nan-scales '^special/'
portion routing '/(route|permute|combine)/'
portion tiles '/(grouped-)?matmul/' --option weights=nz
portion repeated '^(exact|sequence)/' --option executors=repeat
portion without-skipped-ids '/(route|permute|combine)/' --option skipped_ids=never
portion native-w4a16 '/matmul/' --option w4a16=native
portion core '' --profile core
portion everything '' --html "$report/everything.html"
portion everything-again '' --seed 1
grep -h 'accumulator_bits' "$report"/accumulator.json 2>/dev/null | sort -u | sed 's/^ */accumulator: /' | tee -a "$summary"

say "== 6. What CANN logged"
if [ -d "$HOME/ascend/log" ]; then
  say "$(find "$HOME/ascend/log" -newer "$report/build.txt" -type f | wc -l) files in ~/ascend/log are newer than this run; look there for what failed"
else
  say "there is no ~/ascend/log"
fi
say "Done: $report. Where an answer differs from the simulator's, change the simulator first, see the suite fail under it,"
say "and then the backend."
