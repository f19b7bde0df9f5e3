//! AscendCL's runtime: initialisation, devices, contexts, streams, events, memory, kernels.

mod copy;
mod device;
mod event;
mod kernel;
mod leaks;
mod stream;

use std::cell::Cell;
use std::env;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use stream::{STREAMS, stream_of};

use crate::demand;
use crate::product::Product;
use crate::refusal::{Answer, Refusal, acl, code, give};
use crate::registry::Registry;
use crate::rules;

/// Between `aclInit` and `aclFinalize`.
struct Runtime {
    references: u64,
    settings: Settings,
    devices: Vec<Device>,
}

/// What the environment says; read at `aclInit`.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) product: Product,
    /// Bytes of each device.
    pub(crate) memory: usize,
    /// The longest delay before a piece of work, in microseconds.
    pub(crate) delay: u64,
    pub(crate) seed: u64,
}

#[derive(Clone, Default)]
struct Device {
    /// `aclrtSetDevice` less `aclrtResetDevice`.
    references: u32,
    /// The context that `aclrtSetDevice` makes current.
    context: usize,
}

/// A context of a device.
pub(crate) struct Context {
    pub(crate) device: i32,
    /// Made by `aclrtSetDevice`, not by `aclrtCreateContext`.
    is_default: bool,
    /// The stream that null stands for; 0 until it is used.
    default_stream: Mutex<usize>,
}

pub(crate) static CONTEXTS: Registry<Context> = Registry::new("a context", 1);

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

thread_local! {
    /// The handle of the thread's context; 0 for none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The settings, once initialised.
pub(crate) fn settings() -> Answer<Settings> {
    with_runtime(|runtime| Ok(runtime.settings))
}

/// The thread's context with its handle.
pub(crate) fn current_context() -> Answer<(usize, Arc<Context>)> {
    settings()?;
    let handle = CURRENT.get();
    if handle == 0 {
        let what = "the calling thread has no current context; call aclrtSetDevice on it";
        return Err(Refusal::new(code::RT_CONTEXT_NULL, rules::CONTEXT, what));
    }
    let context = CONTEXTS.get(handle as *const c_void).map_err(|what| {
        Refusal::new(code::RT_CONTEXT_NULL, rules::CONTEXT, format!("the thread's context: {what}"))
    })?;
    Ok((handle, context))
}

fn with_runtime<T>(body: impl FnOnce(&mut Runtime) -> Answer<T>) -> Answer<T> {
    match lock().as_mut() {
        Some(runtime) => body(runtime),
        None => Err(Refusal::new(code::UNINITIALIZE, rules::INITIALISED, "aclInit has not been called")),
    }
}

fn lock() -> MutexGuard<'static, Option<Runtime>> {
    RUNTIME.lock().unwrap_or_else(PoisonError::into_inner)
}

acl! {
    /// The configuration file is not read.
    fn aclInit(_config: *const c_char) {
        let mut runtime = lock();
        if let Some(runtime) = runtime.as_mut() {
            runtime.references += 1;
            let what = "it was called before; the runtime goes on as it is";
            return Err(Refusal::new(code::REPEAT_INITIALIZE, rules::INIT_ONCE, what));
        }
        demand::read(&env::var("MXHAL_SIM_FAIL").unwrap_or_default())?;
        demand::failure_of("aclInit")?;
        let (settings, devices) = read_settings()?;
        *runtime = Some(Runtime { references: 1, settings, devices: vec![Device::default(); devices] });
        Ok(())
    }

    fn aclFinalize() {
        finalize()
    }

    fn aclFinalizeReference(count: *mut u64) {
        let left = with_runtime(|runtime| {
            runtime.references -= 1;
            Ok(runtime.references)
        })?;
        if !count.is_null() {
            give(count, "refCount", left)?;
        }
        if left == 0 { finalize() } else { Ok(()) }
    }

    /// ACL 1.17.0.
    fn aclrtGetVersion(major: *mut i32, minor: *mut i32, patch: *mut i32) {
        give(major, "majorVersion", 1)?;
        give(minor, "minorVersion", 17)?;
        give(patch, "patchVersion", 0)
    }
}

/// Ends everything; what was left over is reported.
fn finalize() -> Answer {
    let devices = match lock().as_ref() {
        Some(runtime) => runtime.devices.len(),
        None => {
            return Err(Refusal::new(
                code::REPEAT_FINALIZE,
                rules::INITIALISED,
                "there is nothing to finalize",
            ));
        }
    };
    let mut left = Vec::new();
    for device in 0..devices {
        left.extend(leaks::of_device(i32::try_from(device).expect("few devices")));
    }
    left.extend(leaks::of_process());
    *lock() = None;
    leaks::refuse(&left)
}

fn read_settings() -> Answer<(Settings, usize)> {
    let wrong = |what: String| Refusal::new(code::INVALID_PARAM, rules::CONFIGURATION, what);
    let number = |name: &str, default: usize| match env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.parse().map_err(|_| wrong(format!("{name} is `{text}`, expected a number"))),
    };
    let soc = env::var("MXHAL_SIM_SOC").unwrap_or_else(|_| "Ascend950PR_9599".into());
    let product = Product::named(&soc)
        .ok_or_else(|| wrong(format!("MXHAL_SIM_SOC is `{soc}`, expected one of {}", Product::names())))?;
    let settings = Settings {
        product,
        memory: number("MXHAL_SIM_MEMORY", product.memory)?,
        delay: number("MXHAL_SIM_DELAY_US", 50)? as u64,
        seed: number("MXHAL_SIM_SEED", 1)? as u64,
    };
    Ok((settings, number("MXHAL_SIM_DEVICES", 1)?))
}
