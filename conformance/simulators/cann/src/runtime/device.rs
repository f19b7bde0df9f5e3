//! Devices and contexts.

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, OnceLock};

use super::{CONTEXTS, CURRENT, Context, Device, STREAMS, current_context, leaks, settings, with_runtime};
use crate::memory;
use crate::refusal::{Answer, Refusal, acl, answer_pointer, code, give};
use crate::rules;

/// The device's record in the runtime.
fn with_device<T>(device: i32, body: impl FnOnce(&mut Device) -> Answer<T>) -> Answer<T> {
    with_runtime(|runtime| {
        let count = runtime.devices.len();
        match usize::try_from(device).ok().and_then(|index| runtime.devices.get_mut(index)) {
            Some(device) => body(device),
            None => {
                let what = format!("device {device}, expected below {count}");
                Err(Refusal::new(code::RT_INVALID_DEVICE, rules::DEVICE, what))
            }
        }
    })
}

fn new_context(device: i32, is_default: bool) -> *mut c_void {
    CONTEXTS.insert(Context { device, is_default, default_stream: Mutex::new(0) })
}

fn find(context: *mut c_void) -> Answer<Arc<Context>> {
    CONTEXTS
        .get(context)
        .map_err(|what| Refusal::new(code::RT_INVALID_HANDLE, rules::HANDLE, format!("context is {what}")))
}

fn reset(device: i32, forced: bool) -> Answer {
    let last = with_device(device, |record| {
        if record.references == 0 {
            let what = format!("device {device} is not set");
            return Err(Refusal::new(code::RT_PARAM_INVALID, rules::DEVICE, what));
        }
        record.references = if forced { 0 } else { record.references - 1 };
        let last = record.references == 0;
        if last {
            record.context = 0;
        }
        Ok(last)
    })?;
    if last { leaks::refuse(&leaks::of_device(device)) } else { Ok(()) }
}

fn capability(device: u32, attribute: &str, value: *mut i64, of: Option<i64>) -> Answer {
    with_device(i32::try_from(device).unwrap_or(-1), |_| Ok(()))?;
    match of {
        Some(number) => give(value, "value", number),
        None => Err(Refusal::new(
            code::RT_PARAM_INVALID,
            rules::PARAMETER,
            format!("{attribute} is not documented"),
        )),
    }
}

acl! {
    fn aclrtGetDeviceCount(count: *mut u32) {
        let devices = with_runtime(|runtime| Ok(runtime.devices.len()))?;
        if devices == 0 {
            return Err(Refusal::new(207_004, rules::DEVICE, "there is no device"));
        }
        give(count, "count", u32::try_from(devices).expect("few devices"))
    }

    fn aclrtSetDevice(device: i32) {
        let context = with_device(device, |record| {
            record.references += 1;
            if record.context == 0 {
                record.context = new_context(device, true) as usize;
            }
            Ok(record.context)
        })?;
        CURRENT.set(context);
        Ok(())
    }

    fn aclrtResetDevice(device: i32) {
        reset(device, false)
    }

    fn aclrtResetDeviceForce(device: i32) {
        reset(device, true)
    }

    fn aclrtGetDevice(device: *mut i32) {
        give(device, "deviceId", current_context()?.1.device)
    }

    fn aclrtGetDeviceInfo(device: u32, attribute: i32, value: *mut i64) {
        let product = settings()?.product;
        let total = i64::try_from(settings()?.memory).unwrap_or(i64::MAX);
        let number = match attribute {
            101 | 102 => Some(product.cube_cores),
            // Two vector cores a cube core.
            201 => Some(2 * product.cube_cores),
            202 => Some(32),
            204 => Some(253_952),
            301 => Some(total),
            302 => Some(product.l2),
            402 => Some(i64::from(device)),
            501 => Some(0),
            601 => Some(product.npu_arch()),
            _ => None,
        };
        capability(device, &format!("attr {attribute}"), value, number)
    }

    fn aclGetDeviceCapability(device: u32, info: i32, value: *mut i64) {
        let product = settings()?.product;
        let number = match info {
            0 => Some(product.cube_cores),
            1 => Some(2 * product.cube_cores),
            2 => Some(product.l2),
            _ => None,
        };
        capability(device, &format!("deviceInfo {info}"), value, number)
    }

    fn aclrtGetRunMode(mode: *mut i32) {
        settings()?;
        // ACL_HOST: the program runs on the host.
        give(mode, "runMode", 1)
    }

    fn aclrtQueryDeviceStatus(device: i32, status: *mut i32) {
        with_device(device, |_| Ok(()))?;
        give(status, "deviceStatus", 0)
    }

    fn aclrtGetMemInfo(attribute: i32, free: *mut usize, total: *mut usize) {
        let (_, context) = current_context()?;
        // HBM_MEM and its halves; the older kinds answer the same.
        if !(0..=13).contains(&attribute) {
            return Err(Refusal::new(code::RT_PARAM_INVALID, rules::PARAMETER, format!("attr {attribute}, expected 0 to 13")));
        }
        let memory = settings()?.memory;
        give(free, "free", memory - memory::used(context.device).min(memory))?;
        give(total, "total", memory)
    }

    fn aclrtCreateContext(context: *mut *mut c_void, device: i32) {
        with_device(device, |_| Ok(()))?;
        let handle = new_context(device, false);
        give(context, "context", handle)?;
        CURRENT.set(handle as usize);
        Ok(())
    }

    fn aclrtDestroyContext(context: *mut c_void) {
        settings()?;
        if find(context)?.is_default {
            let what = "the context of aclrtSetDevice is destroyed by aclrtResetDevice";
            return Err(Refusal::new(code::RT_PARAM_INVALID, rules::HANDLE, what));
        }
        for (handle, stream) in STREAMS.all() {
            if stream.context == context as usize {
                stream.stop(false);
                let _ = STREAMS.remove(handle as *const c_void);
            }
        }
        let _ = CONTEXTS.remove(context);
        if CURRENT.get() == context as usize {
            CURRENT.set(0);
        }
        Ok(())
    }

    fn aclrtSetCurrentContext(context: *mut c_void) {
        settings()?;
        find(context)?;
        CURRENT.set(context as usize);
        Ok(())
    }

    fn aclrtGetCurrentContext(context: *mut *mut c_void) {
        give(context, "context", current_context()?.0 as *mut c_void)
    }
}

/// The name of device 0's SoC; null before `aclInit`.
#[unsafe(no_mangle)]
extern "C" fn aclrtGetSocName() -> *const c_char {
    static NAMES: OnceLock<Mutex<Vec<CString>>> = OnceLock::new();
    answer_pointer("aclrtGetSocName", || {
        let name = CString::new(settings()?.product.soc).expect("names have no zeros");
        let mut names = NAMES.get_or_init(Mutex::default).lock().expect("nothing panics with it held");
        if !names.contains(&name) {
            names.push(name.clone());
        }
        // A name is never removed, and its characters do not move when the vector grows.
        let kept = names.iter().find(|kept| **kept == name).map_or(ptr::null(), |kept| kept.as_ptr());
        Ok(kept.cast_mut())
    })
}
