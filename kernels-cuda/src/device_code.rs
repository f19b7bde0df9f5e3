//! What the build script made of the kernels.

/// Keeps the device code at an address that the driver may read as an ELF file's.
#[repr(C, align(64))]
struct Aligned<Bytes: ?Sized>(Bytes);

static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("MXHAL_FATBIN")));

/// One fatbin with the kernels for `sm_90a`, `sm_100f` and `sm_120f`, to be given to `cuModuleLoadData`; or why there
/// is none: the build found no nvcc. What to do about it is [`MISSING`].
pub static DEVICE_CODE: Result<&[u8], &str> =
    if EMBEDDED.0.is_empty() { Err(MISSING) } else { Ok(&EMBEDDED.0) };

/// What to say to somebody whose build holds no device code.
pub const MISSING: &str = "this build holds no CUDA device code, because no nvcc was found when it was made; \
    run kernels-cuda/toolchain.sh, or set MXHAL_NVCC or CUDA_HOME to one of CUDA 13.0, and build again";
