#!/bin/sh
# Compares what include/mxhal_cann.h declares with the ACL headers in the torch-npu Python package.
#
# The package is fetched into a temporary folder, read there by libclang (of the Python package of that name), and
# removed. Nothing of it is kept, and printed are the names that differ, with --all every name that we declare. The
# aclnn operators are not among its headers; where their signatures come from stands in include/mxhal_cann.h.
#
# Needs python3 with venv, a C compiler and the network. Exit status: 0 agrees; 1 something differs; 2 could not be
# compared, and the last line, which begins with "not verified", says why.
set -eu

torch_npu=2.14.0
libclang=18.1.1

here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

not_verified() {
    echo "not verified: $1" >&2
    exit 2
}

command -v python3 >/dev/null || not_verified "there is no python3"
command -v cc >/dev/null || not_verified "there is no C compiler, whose stddef.h is needed"
python3 -m venv "$scratch/python" >"$scratch/log" 2>&1 ||
    not_verified "python3 -m venv: $(tail -n 1 "$scratch/log")"
pip="$scratch/python/bin/python -m pip --quiet --disable-pip-version-check --no-input"
$pip install --no-cache-dir "libclang==$libclang" >"$scratch/log" 2>&1 ||
    not_verified "libclang $libclang cannot be fetched: $(tail -n 1 "$scratch/log")"
# The headers are the same in each wheel; naming one makes the host's Python and processor irrelevant.
$pip download --no-cache-dir --no-deps --only-binary=:all: --implementation cp --python-version 3.11 --abi cp311 \
    --platform manylinux_2_28_x86_64 --dest "$scratch/wheel" "torch-npu==$torch_npu" >"$scratch/log" 2>&1 ||
    not_verified "torch-npu $torch_npu cannot be fetched: $(tail -n 1 "$scratch/log")"

"$scratch/python/bin/python" - "$scratch" <<'UNPACK'
import pathlib, sys, zipfile
scratch = pathlib.Path(sys.argv[1])
wheel, = (scratch / "wheel").glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(scratch, [n for n in archive.namelist() if n.startswith("torch_npu/include/acl/")])
UNPACK

"$scratch/python/bin/python" "$here/verify.py" "$scratch/torch_npu/include/acl" "$@"
