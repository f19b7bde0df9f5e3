//! What the environment asks for, read once by `cuInit`.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use mxhal_cuda_emulation::Checks;

use crate::demand;
use crate::product::{PRODUCTS, Product};
use crate::refusal::{Answer, Refusal, code};

/// The settings of the process.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) product: &'static Product,
    pub(crate) devices: i32,
    /// Bytes of each device.
    pub(crate) memory: usize,
    /// What `cuDriverGetVersion` gives.
    pub(crate) version: i32,
    /// The longest delay before a piece of work, in microseconds.
    pub(crate) delay: u64,
    /// Of delays and orders; 0 runs the threads of a block in order.
    pub(crate) seed: u64,
    pub(crate) checks: Checks,
    /// A library of emulated kernels instead of the embedded ones.
    pub(crate) kernels: Option<PathBuf>,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Reads the environment. The first time counts.
pub(crate) fn read() -> Answer {
    if SETTINGS.get().is_some() {
        return Ok(());
    }
    let architecture = env::var("MXHAL_SIM_ARCH").unwrap_or_else(|_| "sm_120".to_owned());
    let product = Product::of(&architecture).ok_or_else(|| {
        let known: Vec<_> = PRODUCTS.iter().map(|product| product.architecture).collect();
        wrong(format!("MXHAL_SIM_ARCH is `{architecture}`, expected one of {}", known.join(", ")))
    })?;
    let checks = match env::var("MXHAL_SIM_CHECKS").as_deref() {
        Err(_) | Ok("off") => Checks::Off,
        Ok("on") => Checks::On,
        Ok(other) => return Err(wrong(format!("MXHAL_SIM_CHECKS is `{other}`, expected on or off"))),
    };
    let settings = Settings {
        product,
        devices: number("MXHAL_SIM_DEVICES", 1)?,
        memory: number("MXHAL_SIM_MEMORY", product.memory)?,
        version: number("MXHAL_SIM_DRIVER", 13000)?,
        delay: number("MXHAL_SIM_DELAY_US", 50)?,
        seed: number("MXHAL_SIM_SEED", 1)?,
        checks,
        kernels: env::var_os("MXHAL_SIM_KERNELS").map(PathBuf::from),
    };
    demand::read(&env::var("MXHAL_SIM_FAIL").unwrap_or_default())?;
    SETTINGS.get_or_init(|| settings);
    Ok(())
}

/// The settings, once `cuInit` was called.
pub(crate) fn settings() -> Answer<&'static Settings> {
    let missing = || Refusal::new(code::NOT_INITIALIZED, "cuInit has not been called");
    SETTINGS.get().ok_or_else(missing)
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> Answer<T> {
    match env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text.parse().map_err(|_| wrong(format!("{name} is `{text}`, expected a number"))),
    }
}

fn wrong(what: String) -> Refusal {
    Refusal::new(code::SYSTEM_NOT_READY, what)
}
