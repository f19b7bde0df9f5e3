//! `libmxhal_cpu.so`: the CPU backend as a plugin.

mxhal_ffi::export_backend!(mxhal_cpu::Cpu);
