#!/usr/bin/env bash
# Installs nvcc 13.0 from its Python packages: no CUDA toolkit, no driver and no GPU are needed.
#
#   toolchain.sh [--sass] [FOLDER]
#
# FOLDER is where it goes; without it, `cuda-toolchain` in cargo's target folder, where the build script looks. With
# --sass also cuobjdump and nvdisasm, which sass.sh wants and which 13.0 did not publish yet. Run again, it does
# nothing. Needs python3 with pip, and gcc for nvcc itself; some 105 MB are downloaded.
set -euo pipefail

# nvcc declares its parts without versions: all five are pinned, or pip would mix 13.0 with whatever is newest.
compiler=(
  nvidia-cuda-nvcc==13.0.88
  nvidia-cuda-crt==13.0.88
  nvidia-nvvm==13.0.88
  nvidia-cuda-runtime==13.0.96
  nvidia-cuda-cccl==13.0.85
)
disassembler=(
  nvidia-cuda-cuobjdump==13.5.37
  nvidia-cuda-nvdisasm==13.5.37
)

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

packages=("${compiler[@]}")
folder=
for argument in "$@"; do
  case $argument in
    --sass) packages+=("${disassembler[@]}") ;;
    -*) usage ;;
    *) [ -z "$folder" ] || usage
       folder=$argument ;;
  esac
done

here=$(cd "$(dirname "$0")" && pwd)
if [ -z "$folder" ]; then
  folder=${CARGO_TARGET_DIR:-$here/../target}/cuda-toolchain
fi

# One line for each package that is in place.
installed=$folder/installed
missing=()
for package in "${packages[@]}"; do
  grep -qxF "$package" "$installed" 2>/dev/null || missing+=("$package")
done
if [ ${#missing[@]} -ne 0 ]; then
  if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "toolchain.sh: python3 has no pip; install python3-pip, or put a virtual environment's python3 first in PATH" >&2
    exit 1
  fi
  mkdir -p "$folder"
  # All at once: pip replaces the folder `nvidia`, which they share.
  python3 -m pip install --quiet --no-deps --upgrade --target "$folder" "${packages[@]}"
  printf '%s\n' "${packages[@]}" >"$installed"
fi

nvcc=$folder/nvidia/cu13/bin/nvcc
"$nvcc" --version | tail -n 2
echo "$nvcc"
