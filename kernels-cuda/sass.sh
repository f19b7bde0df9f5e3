#!/usr/bin/env bash
# Looks into the compiled device code: the instructions that each product is there for, no spills, and no more
# registers than let as many blocks run as its file says.
#
#   sass.sh [FOLDER]
#
# FOLDER is where `toolchain.sh --sass` put nvcc, cuobjdump and nvdisasm (default: as there). The kernels are compiled
# anew, one target at a time. Ends with status 1 if anything is not as it should be.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${CARGO_TARGET_DIR:-$here/../target}/cuda-toolchain}
bin=$folder/nvidia/cu13/bin
for tool in nvcc cuobjdump nvdisasm; do
  if [ ! -x "$bin/$tool" ]; then
    echo "sass.sh: no $tool in $bin; run kernels-cuda/toolchain.sh --sass $folder" >&2
    exit 2
  fi
done
PATH=$bin:$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wrong=0

complain() {
  echo "wrong: $*"
  wrong=1
}

# The instructions of one kernel of one target.
instructions() {
  awk -v name="$2" '/Function : /{inside = ($NF == name)} inside' "$work/$1.sass"
}

# limits TARGET KERNEL REGISTERS: no more a thread, so that as many blocks fit as the kernel is written for.
limits() {
  local used
  used=$(awk -v name="$2:" '$NF == name {getline; sub(/.*REG:/, ""); print $1}' "$work/$1.usage")
  if [ -z "$used" ] || [ "$used" -gt "$3" ]; then
    complain "$2 for sm_$1 uses ${used:-an unknown number of} registers, more than $3"
  fi
}

# wants TARGET KERNEL PATTERN: at least one instruction matches.
wants() {
  local found
  found=$(instructions "$1" "$2" | grep -cE "$3" || true)
  if [ "$found" -eq 0 ]; then
    complain "$2 for sm_$1 has no instruction $3"
  else
    printf '  %-24s sm_%-5s %4d x %s\n' "$2" "$1" "$found" "$3"
  fi
}

# within TARGET KERNEL REGISTERS: it takes no more.
within() {
  local taken
  taken=$(grep -A1 "^ Function $2:" "$work/$1.usage" | sed -n 's/.*REG:\([0-9]*\).*/\1/p')
  if [ -z "$taken" ] || [ "$taken" -gt "$3" ]; then
    complain "$2 for sm_$1 takes ${taken:-unknown} registers, more than $3"
  else
    printf '  %-22s sm_%-5s %4d of %d registers\n' "$2" "$1" "$taken" "$3"
  fi
}

for target in 90a 100f 120f; do
  if ! nvcc -cubin -O3 -std=c++17 -fmad=false -arch="sm_$target" -I"$here/kernels" -I"$here/ptx" \
    "$here/kernels/all.cu" -o "$work/$target.cubin" -Xptxas -v 2>"$work/$target.words"; then
    cat "$work/$target.words" >&2
    exit 1
  fi
  # What ptxas says where it waits for every instruction of a warpgroup before it issues the next.
  if grep 'instructions are serialized' "$work/$target.words"; then
    complain "matrix instructions for sm_$target are serialized"
  fi
  cuobjdump -res-usage "$work/$target.cubin" >"$work/$target.usage" 2>&1
  cuobjdump -sass "$work/$target.cubin" >"$work/$target.sass"
  cuobjdump -res-usage "$work/$target.cubin" >"$work/$target.usage" 2>&1
  # Local memory is where what has no register goes.
  grep -oE 'Function : (product|decode|moe)_.*' "$work/$target.sass" | awk '{print $NF}' >"$work/$target.kernels"
  while read -r kernel; do
    spills=$(instructions "$target" "$kernel" | grep -cE '\b(STL|LDL)\b' || true)
    [ "$spills" -eq 0 ] || complain "$kernel for sm_$target touches local memory $spills times"
  done <"$work/$target.kernels"
done

echo 'instructions:'
for rows in 32 128; do
  wants 120f product_w4a4_$rows 'OMMA\.SF\.16864\.F32\.E2M1\.E2M1\.E8'
  wants 120f product_nvfp4_$rows 'OMMA\.SF\.16864\.F32\.E2M1\.E2M1\.UE4M3\.4X'
  wants 120f product_w4a8_$rows 'QMMA\.SF\.16832\.F32\.E4M3\.E2M1\.E8'
  for scheme in w4a4 w4a8 nvfp4; do
    wants 120f product_${scheme}_$rows 'LDSM\.16\.M88\.4'
    wants 120f product_${scheme}_$rows 'LDGSTS\.E\.BYPASS\.128'
  done
done
for rows in 32 128; do
  for scheme in w4a4 w4a8 nvfp4; do
    # Two blocks of 256 threads where shared memory has room for two; what a launch wants of that is tested in src/launch.rs.
    limits 120f product_${scheme}_$rows $((rows == 32 ? 128 : 255))
  done
done
for rows in 32 128 256; do
  # Of more than 32 rows by pairs of blocks.
  pair=$([ $rows = 32 ] || echo '\.2CTA')
  wants 100f product_tensor_w4a4_$rows "UTCOMMA$pair "
  wants 100f product_tensor_w4a8_$rows "UTCQMMA$pair "
  wants 100f product_tensor_w4a16_$rows "UTCHMMA$pair "
  wants 100f product_tensor_nvfp4_$rows "UTCOMMA$pair\.4X"
  for scheme in w4a4 w4a8 w4a16 nvfp4; do
    # Two blocks of 160 threads a multiprocessor, or one.
    limits 100f product_tensor_${scheme}_$rows $((rows == 256 ? 255 : 204))
    # Operands by tiles, scales to tensor memory, and sums from it.
    wants 100f product_tensor_${scheme}_$rows 'UTMALDG\.2D'
    [ $scheme = w4a16 ] || wants 100f product_tensor_${scheme}_$rows "UTCCP\.T\.S$pair\.4x32dp128bit"
    wants 100f product_tensor_${scheme}_$rows 'LDTM\.x16'
    [ -z "$pair" ] || wants 100f product_tensor_${scheme}_$rows 'UTCBAR\.2CTA\.MULTICAST'
  done
done
for rows in 32 128; do
  for activation in bf16 mx mxfp4; do
    wants 90a product_wgmma_${activation}_$rows "HGMMA\\.64x${rows}x16\\.F32\\.BF16"
    wants 90a product_wgmma_${activation}_$rows 'LDGSTS\.E\.BYPASS\.128'
  done
done
for target in 90a 100f 120f; do
  wants $target product_wide 'HMMA\.16816\.F32\.BF16'
  for activation in bf16 mxfp8 mxint8 mxfp4; do
    wants $target decode_$activation 'LDG\.E.*\.128\.CONSTANT'
    wants $target decode_$activation 'HMMA\.16816\.F32\.BF16'
  done
  for kernel in moe_gate_up moe_down; do
    wants $target $kernel 'LDG\.E.*\.128\.CONSTANT'
    wants $target $kernel 'HMMA\.16816\.F32\.BF16'
  done
done

echo 'registers:'
for target in 90a 100f 120f; do
  # Three blocks of 256 threads a multiprocessor; two on Blackwell.
  for activation in bf16 mxfp8 mxint8 mxfp4; do
    within $target decode_$activation "$([ $target = 90a ] && echo 80 || echo 128)"
  done
  within $target moe_gate_up 128
  within $target moe_down 128
done
for activation in bf16 mx mxfp4; do
  within 90a product_wgmma_${activation}_128 255
  within 90a product_wgmma_${activation}_32 128
done
exit $wrong
