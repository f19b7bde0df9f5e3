//! `libmxhal_ascend.so`: the Ascend 950 backend as a plugin.

mxhal_ffi::export_backend!(mxhal_ascend::Ascend);
