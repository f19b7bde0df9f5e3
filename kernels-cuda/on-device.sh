#!/usr/bin/env bash
# Everything that only a GPU can tell, in ten minutes: builds the backend, asks its instructions, runs the whole
# conformance suite on it, measures it beside what the device can do, and runs a part of the suite under compute-sanitizer.
#
#   on-device.sh [--built BUILT] [FOLDER]
#
# FOLDER is where results go (default: results-DATE): summary.txt says what was done, what was not and why, and
# performance.md is what belongs into docs/performance.md. Needs Rust with the crates of Cargo.lock and a C compiler, or, for
# a machine without network, --built: mxhal and libmxhal_cuda.so in a folder BUILT, built elsewhere. And nvcc 13
# (MXHAL_NVCC, CUDA_HOME, PATH, or that of toolchain.sh), and a GPU of compute capability 9.0, 10.x or 12.x with its
# driver. What is missing is named, and the rest is done. Ends with status 0 if everything was done and was right, 1 if
# anything was wrong, 3 if something could not be done.
set -uo pipefail

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

built=
if [ "${1:-}" = --built ]; then
  [ $# -ge 2 ] || usage
  built=$(cd "$2" && pwd) || exit 2
  shift 2
fi
if [ $# -gt 1 ] || [[ ${1:-} == -* ]]; then usage; fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
results=${1:-results-$(date +%Y-%m-%d)}
mkdir -p "$results" || exit 2
results=$(cd "$results" && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
summary=$results/summary.txt
: >"$summary"
wrong=0
missing=0

say() { printf '%4d s  %s\n' "$SECONDS" "$*" | tee -a "$summary"; }

lacks() {
  say "MISSING: $*"
  missing=1
}

# A step NAME LIMIT COMMAND...: its output goes to NAME.log; it is wrong if it fails or takes longer than LIMIT seconds.
# After ten minutes nothing is begun any more.
a_step() {
  local name=$1 limit=$2 left=$((590 - SECONDS)) status
  shift 2
  if [ "$left" -lt 5 ]; then
    lacks "$name: ten minutes are over"
    return 1
  fi
  if [ "$left" -lt "$limit" ]; then limit=$left; fi
  timeout --kill-after=10 "$limit" "$@" >"$results/$name.log" 2>&1
  status=$?
  case $status in
    0) say "ok: $name" ;;
    124 | 137) say "WRONG: $name did not end within $limit s; see $name.log"; wrong=1 ;;
    *) say "WRONG: $name ended with status $status; see $name.log"; wrong=1 ;;
  esac
  return "$status"
}

finish() {
  if [ "$wrong" -ne 0 ]; then
    say 'something was wrong'
    exit 1
  elif [ "$missing" -ne 0 ]; then
    say 'what was done was right, but not everything could be done'
    exit 3
  fi
  say 'everything was done and right'
  exit 0
}

# Which nvcc: as the build script looks for it.
nvcc=${MXHAL_NVCC:-}
if [ -z "$nvcc" ] && [ -n "${CUDA_HOME:-}" ] && [ -x "$CUDA_HOME/bin/nvcc" ]; then nvcc=$CUDA_HOME/bin/nvcc; fi
if [ -z "$nvcc" ]; then nvcc=$(command -v nvcc || true); fi
if [ -z "$nvcc" ] && [ -x "$target/cuda-toolchain/nvidia/cu13/bin/nvcc" ]; then
  nvcc=$target/cuda-toolchain/nvidia/cu13/bin/nvcc
fi
if [ -n "$nvcc" ]; then
  export MXHAL_NVCC=$nvcc
  "$nvcc" --version >"$results/nvcc.txt" 2>&1
  release=$(sed -n 's/.*release \([0-9]*\)\..*/\1/p' "$results/nvcc.txt")
  if [ "${release:-0}" -lt 13 ]; then
    lacks "nvcc 13: $nvcc is of release ${release:-unknown}; see nvcc.txt"
    [ -n "$built" ] || finish
    nvcc=
  fi
elif [ -n "$built" ]; then
  lacks 'nvcc: the programs of bench/ are not compiled; set MXHAL_NVCC or CUDA_HOME'
else
  lacks 'nvcc: set MXHAL_NVCC or CUDA_HOME, or run kernels-cuda/toolchain.sh; without it there is no device code'
  finish
fi

gpu=
if command -v nvidia-smi >/dev/null; then
  gpu=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>"$results/nvidia-smi.log" | head -n 1)
fi
if [ -n "$gpu" ]; then
  nvidia-smi -q >"$results/gpu.txt"
  nvidia-smi --query-gpu=name,driver_version,compute_cap,clocks.max.sm,clocks.max.mem --format=csv,noheader | head -n 1 >"$results/device.csv"
  say "device: $(cat "$results/device.csv")"
else
  lacks 'a GPU: nvidia-smi is absent or lists none; only what can be built is built'
fi
arch=${gpu/./}
case $arch in
  90) arch=90a ;;
  100 | 103) arch=100f ;;
  120 | 121) arch=120f ;;
  '') arch=90a ;;
  *) say "WRONG: compute capability $gpu has no kernels here: 9.0, 10.0, 10.3, 12.0 and 12.1 have"; wrong=1; finish ;;
esac

if [ -n "$built" ]; then
  mxhal=$built/mxhal
  plugin=$built/libmxhal_cuda.so
  for file in "$mxhal" "$plugin"; do
    if [ ! -r "$file" ]; then
      lacks "$file"
      finish
    fi
  done
elif command -v cargo >/dev/null; then
  # Crates that are there are taken first: without a network, asking for newer ones takes minutes to fail.
  a_step build 270 bash -c 'cargo build --offline "$@" || cargo build "$@"' build --release --locked \
    --manifest-path "$root/Cargo.toml" -p mxhal -p mxhal-cuda-plugin || finish
  mxhal=$target/release/mxhal
  plugin=$target/release/libmxhal_cuda.so
else
  lacks 'cargo: install Rust, or build elsewhere and give --built'
  finish
fi

# A program of bench/, with what nvcc is told besides: compiled, and run where there is a GPU. 2 if it does not compile.
a_program() {
  local name=$1 home compile=("$nvcc" -std=c++17 -O3 -gencode "arch=compute_$arch,code=sm_$arch")
  shift
  [ -n "$nvcc" ] || return 1
  # The packages of toolchain.sh have their libraries where nvcc does not look, and neither may the loader.
  home=$(dirname "$(dirname "$nvcc")")
  if ! timeout 100 "${compile[@]}" -I "$here/kernels" -I "$here/ptx" -L "$home/lib" -Xlinker "-rpath=$home/lib64:$home/lib" \
    "$here/bench/$name.cu" "$@" -o "$results/$name" 2>>"$results/$name.compile.log"; then
    lacks "$name${*:+ with $*}: it does not compile here; see $name.compile.log"
    return 2
  fi
  # tiles gives each of its five questions ten seconds.
  [ -n "$gpu" ] && a_step "$name" 60 "$results/$name"
}

# Fragment maps are asked of Hopper alone, whose matrix instructions they use.
if [ "$arch" = 90a ]; then
  a_program fragments || true
else
  lacks 'the fragment maps: bench/fragments.cu asks instructions of Hopper'
fi
a_program tiles || true
# Without cuBLAS what is bound by memory has its ceiling all the same.
a_program ceilings -lcublas || { [ $? -eq 2 ] && a_program ceilings -DWITHOUT_CUBLAS; } || true
[ -n "$gpu" ] || finish

a_step devices 30 "$mxhal" doctor "$plugin" || true
a_step conform 150 "$mxhal" conform --plugin "$plugin" --json "$results/conform.json" --html "$results/conform.html" \
  --replay-dir "$results/replays" || true

nvidia-smi --query-gpu=clocks.sm,clocks.mem,temperature.gpu,power.draw --format=csv -lms 500 >"$results/clocks.csv" 2>/dev/null &
watcher=$!
# Rows enough for what is done row by row that no cache holds them.
a_step bench 120 "$mxhal" bench --plugin "$plugin" --rows 1,2,4,8,64,512,4096 --long-rows 1,32768 --schemes bf16,mxfp8,mxfp4 \
  --rounds 5 --json "$results/bench.json" --svg "$results/roofline.svg" || true
kill "$watcher" 2>/dev/null
# A decode step's kernels without the host between them.
a_step graph 60 "$mxhal" bench --graph --plugin "$plugin" --filter '^(matmul|moe-ffn)/' --rows 1,2,4,8 --schemes bf16 \
  --rounds 5 --json "$results/graph.json" || true
if [ ! -s "$results/bench.json" ]; then
  lacks 'performance.md: the benchmark did not end'
elif command -v python3 >/dev/null; then
  a_step performance 20 bash -c 'python3 "$1" "$2" >"$2/performance.md"' performance "$here/bench/performance.py" "$results" || true
else
  lacks 'python3: what goes into docs/performance.md was not written; bench.json and ceilings.log have the numbers'
fi

# A sanitizer makes everything many times slower: the cases that look for stray accesses, of each operator, and products
# of many rows. What the driver refuses, as the suite has it refuse, is no error of a kernel's.
sanitizer=$(command -v compute-sanitizer || true)
if [ -z "$sanitizer" ] && [ -x "$(dirname "$nvcc")/compute-sanitizer" ]; then sanitizer=$(dirname "$nvcc")/compute-sanitizer; fi
if [ -n "$sanitizer" ]; then
  sanitized=(--target-processes all --error-exitcode 86)
  judged=("$mxhal" conform --plugin "$plugin" --filter '^memory/|/many-rows/' --time-factor 20)
  a_step memcheck 90 "$sanitizer" --tool memcheck --report-api-errors no "${sanitized[@]}" "${judged[@]}" || true
  a_step racecheck 90 "$sanitizer" --tool racecheck "${sanitized[@]}" "${judged[@]}" || true
else
  lacks 'compute-sanitizer: memcheck and racecheck were not run'
fi

finish
