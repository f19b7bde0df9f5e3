#!/usr/bin/env bash
# Builds the peers that benches/compare.py measures beside mxhal, outside the project:
#
#   benches/peers/build.sh FOLDER
#
# ggml comes as the sources within the Python package llama-cpp-python, ONNX Runtime as the package onnxruntime; versions are
# pinned here. Needs a C++ compiler, make and Python with venv and pip, and installs nothing outside FOLDER.
set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: $0 FOLDER" >&2
  exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)

llama=0.3.36
python=$folder/venv/bin/python
[ -x "$python" ] || python3 -m venv "$folder/venv"
"$python" -m pip install -q onnxruntime==1.32.0 onnx numpy 'cmake<5'

cd "$folder"
if [ ! -d "llama_cpp_python-$llama" ]; then
  "$python" -m pip download -q --no-deps --no-binary llama-cpp-python "llama-cpp-python==$llama" -d .
  tar xf "llama_cpp_python-$llama.tar.gz"
fi
source=$folder/llama_cpp_python-$llama/vendor/llama.cpp
"$folder/venv/bin/cmake" -S "$source" -B build -G 'Unix Makefiles' -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
  -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF \
  -DLLAMA_BUILD_SERVER=OFF >cmake.log
make -C build -j"$(nproc)" ggml ggml-cpu >make.log 2>&1

mapfile -t libraries < <(find build/ggml/src -name 'libggml*.a')
g++ -O2 -std=c++17 -march=native -I"$source/ggml/include" "$here/ggml.cpp" -o ggml \
  -Wl,--start-group "${libraries[@]}" -Wl,--end-group -fopenmp -lpthread -ldl -lm
echo "$folder: ggml of llama-cpp-python $llama, onnxruntime $("$python" -c 'import onnxruntime; print(onnxruntime.__version__)')"
