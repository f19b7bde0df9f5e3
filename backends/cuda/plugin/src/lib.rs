//! `libmxhal_cuda.so`: the CUDA backend as a plugin.

mxhal_ffi::export_backend!(mxhal_cuda::Cuda);
