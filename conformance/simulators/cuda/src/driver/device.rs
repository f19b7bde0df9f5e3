//! What can be asked before there is a context.

use core::ffi::{c_char, c_int};

use crate::demand;
use crate::kernels;
use crate::refusal::{Answer, Refusal, code, cu, give, words};
use crate::settings::{read, settings};

/// A device's number, if there is such a device.
pub(crate) fn device_of(device: c_int) -> Answer<c_int> {
    let devices = settings()?.devices;
    if (0..devices).contains(&device) {
        return Ok(device);
    }
    Err(Refusal::new(code::INVALID_DEVICE, format!("device {device} of {devices}")))
}

fn copy_words(text: &str, to: *mut c_char, room: c_int) -> Answer {
    let room = usize::try_from(room).unwrap_or(0);
    if to.is_null() || room == 0 {
        return Err(Refusal::invalid("there is no room for a name"));
    }
    let bytes = text.as_bytes();
    let len = bytes.len().min(room - 1);
    // SAFETY: the caller says that there is room for so many bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast(), len);
        to.add(len).write(0);
    }
    Ok(())
}

cu! {
    /// Reads the environment, the first time.
    fn cuInit(flags: u32) {
        let first = settings().is_err();
        read()?;
        if first {
            // The demand was not known when the call was counted.
            demand::failure_of("cuInit")?;
        }
        if flags != 0 {
            return Err(Refusal::invalid(format!("Flags is {flags}, expected 0")));
        }
        if settings()?.devices == 0 {
            return Err(Refusal::new(code::NO_DEVICE, "MXHAL_SIM_DEVICES is 0"));
        }
        kernels::load()
    }

    /// May be asked before `cuInit`.
    fn cuDriverGetVersion(version: *mut c_int) {
        read()?;
        give(version, "driverVersion", settings()?.version)
    }

    fn cuDeviceGetCount(count: *mut c_int) {
        give(count, "count", settings()?.devices)
    }

    fn cuDeviceGet(device: *mut c_int, ordinal: c_int) {
        give(device, "device", device_of(ordinal)?)
    }

    fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) {
        device_of(device)?;
        copy_words(settings()?.product.name, name, len)
    }

    /// 16 bytes: the architecture's name and the device's number.
    fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) {
        device_of(device)?;
        let mut bytes = *b"simulated\0\0\0\0\0\0\0";
        bytes[12..].copy_from_slice(&device.to_be_bytes());
        give(uuid, "uuid", bytes)
    }

    fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) {
        device_of(device)?;
        give(bytes, "bytes", settings()?.memory)
    }

    fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) {
        device_of(device)?;
        let product = settings()?.product;
        let known = product.attribute(attribute);
        let known =
            known.ok_or_else(|| Refusal::invalid(format!("attribute {attribute} is not simulated")))?;
        give(value, "pi", known)
    }

    fn cuGetErrorName(error: c_int, text: *mut *const c_char) {
        let (name, _) = words(error).ok_or_else(|| Refusal::invalid(format!("{error} is no error")))?;
        give(text, "pStr", name.as_ptr().cast())
    }

    fn cuGetErrorString(error: c_int, text: *mut *const c_char) {
        let (_, sentence) = words(error).ok_or_else(|| Refusal::invalid(format!("{error} is no error")))?;
        give(text, "pStr", sentence.as_ptr().cast())
    }
}
