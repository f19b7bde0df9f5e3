//! The driver's errors as core's.

use std::ffi::{CStr, c_char};

use mxhal_core::{Error, Result, Status};

use crate::sys::{self, Answer};

/// Nothing, or what the driver answered: the function, the name of the number, the number, and what it means. The
/// number is the vendor's code.
pub(crate) fn check(function: &str, result: Answer) -> Result<()> {
    if result == Answer::SUCCESS {
        return Ok(());
    }
    // SAFETY: what answered is loaded, and these two want no context.
    let text = |get: unsafe fn(Answer, *mut *const c_char) -> Answer| unsafe { text_of(get, result) };
    let (name, meaning) = (text(sys::cuGetErrorName), text(sys::cuGetErrorString));
    Err(error(function, result.0, &name, &meaning))
}

/// An error of the driver's in words, with what to do about it where that is known.
fn error(function: &str, number: i32, name: &str, meaning: &str) -> Error {
    let advice = match number {
        2 => "",
        3 | 802 => "; see what `nvidia-smi` says of the device",
        46 => {
            "; another process has the device for itself (compute mode EXCLUSIVE_PROCESS, see `nvidia-smi -q -d COMPUTE`): \
             end it, or let both share the device by MPS or `nvidia-smi -c DEFAULT`"
        }
        34 => "; the libcuda that was found is the stub for linking: take its folder out of LD_LIBRARY_PATH",
        200 | 209 | 222 => "; the device code is none, or not for this device: see `mxhal doctor`",
        803 | 804 => {
            "; the parts of the driver do not match: load the kernel module that was installed last (often a reboot), \
             or take the compatibility libcuda out of LD_LIBRARY_PATH"
        }
        _ if status(number) == Status::DeviceLost => {
            "; nothing in this process works on the device any more: start the process anew"
        }
        _ => "",
    };
    Error::new(status(number), format!("{function}: {name} ({number}): {meaning}{advice}"))
        .with_vendor_code(number.into())
}

/// # Safety
///
/// The driver is loaded, and `get` is one of the two functions that give a text for a number.
unsafe fn text_of(get: unsafe fn(Answer, *mut *const c_char) -> Answer, result: Answer) -> String {
    let mut text = std::ptr::null();
    // SAFETY: the text is written where it is ours.
    let known = unsafe { get(result, &raw mut text) } == Answer::SUCCESS;
    if !known || text.is_null() {
        return "an error without a name".to_owned();
    }
    // SAFETY: the driver gives constant texts that end in a zero byte.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// What a `CUresult` means to the caller of core's traits. The numbers are those of `cuda.h`.
fn status(number: i32) -> Status {
    match number {
        // Addresses and handles are the caller's; shapes and types were checked before. 900 to 908 are about capture.
        1 | 400 | 900..=908 => Status::InvalidArgument,
        2 => Status::OutOfMemory,
        3 | 34 | 46 | 100 | 101 | 200 | 209 | 221..=223 | 300..=303 | 802..=804 => Status::Unavailable,
        600 => Status::NotReady,
        801 => Status::Unsupported,
        // Kernels that failed or did not end, memory that broke, a context that is gone.
        4 | 201 | 214 | 219 | 220 | 226 | 700 | 702 | 709 | 710 | 714..=719 => Status::DeviceLost,
        _ => Status::Internal,
    }
}

#[cfg(test)]
mod tests {
    use cudarc::driver::sys::CUresult;

    use super::*;

    #[test]
    fn errors_carry_the_function_the_name_the_number_and_what_to_do() {
        let error =
            error("cuStreamSynchronize", 719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure");
        assert_eq!((error.status(), error.vendor_code()), (Status::DeviceLost, 719));
        for part in ["cuStreamSynchronize", "CUDA_ERROR_LAUNCH_FAILED (719)", "unspecified", "process anew"] {
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn each_kind_of_failure_has_its_status() {
        for (number, wanted) in [
            (CUresult::CUDA_ERROR_INVALID_VALUE, Status::InvalidArgument),
            (CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, Status::InvalidArgument),
            (CUresult::CUDA_ERROR_OUT_OF_MEMORY, Status::OutOfMemory),
            (CUresult::CUDA_ERROR_NO_DEVICE, Status::Unavailable),
            (CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU, Status::Unavailable),
            (CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, Status::Unavailable),
            (CUresult::CUDA_ERROR_NOT_READY, Status::NotReady),
            (CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, Status::DeviceLost),
            (CUresult::CUDA_ERROR_LAUNCH_TIMEOUT, Status::DeviceLost),
            (CUresult::CUDA_ERROR_MISALIGNED_ADDRESS, Status::DeviceLost),
            (CUresult::CUDA_ERROR_ECC_UNCORRECTABLE, Status::DeviceLost),
            (CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, Status::Internal),
        ] {
            assert_eq!(status(number as i32), wanted, "{number:?}");
        }
    }
}
