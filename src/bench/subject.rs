//! Who is measured, and what limits its work.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use mxhal::core::{Buffer, Device, Format, Stream};
use mxhal::{Config, Runtime};
use mxhal_conformance::report::DeviceReport;
use mxhal_cpu::ceilings::{Ceiling, Ceilings};

use super::case::{Case, Task};
use super::report::Settings;
use super::sample::median;

/// Bytes of a device that are copied at once, where its own copies are its only ceiling.
const COPIED_BYTES: u64 = 256 << 20;

/// A backend with its device.
pub(crate) struct Subject {
    runtime: Runtime,
    pub(super) device: Arc<dyn Device>,
    pub(super) stream: Box<dyn Stream>,
    /// The threads that it was asked to use; `None` where it was not asked.
    pub(super) threads: Option<usize>,
    limits: Limiter,
}

/// Where ceilings come from.
enum Limiter {
    /// The CPU backend's: those of this machine.
    Machine(Ceilings),
    /// Those of a device: its own copies. `None` where there was no memory for them.
    Copies(Option<(Buffer, Buffer)>),
}

/// Which ceilings hold for a case, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) memory: Option<&'static str>,
    pub(super) compute: Option<&'static str>,
}

impl Subject {
    /// Loads the backend of a configuration, with the option `threads` if a number of them is asked for.
    pub(crate) fn open(config: &Config, threads: Option<usize>) -> anyhow::Result<Self> {
        let mut config = config.clone();
        config.fallback.clear();
        if let Some(threads) = threads {
            config.backend.options.retain(|(key, _)| key != "threads");
            config.backend.options.push(("threads".to_owned(), threads.to_string()));
        }
        let runtime = Runtime::from_config_value(&config)?;
        let device = Arc::clone(runtime.device());
        let stream = device.create_stream()?;
        let identity = runtime.backend().identity();
        let limits = if identity.name == "cpu" && identity.vendor == "mxhal" {
            let info = device.info()?;
            let ceilings = Ceilings::new(&info.units.to_string(), &info.architecture);
            Limiter::Machine(ceilings.context("the machine's ceilings cannot be measured")?)
        } else {
            let buffer = || Buffer::new(&device, COPIED_BYTES).ok();
            Limiter::Copies(buffer().zip(buffer()))
        };
        Ok(Self { runtime, device, stream, threads, limits })
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn name(&self) -> &str {
        &self.runtime.report().name
    }

    pub(super) fn device_report(&self) -> anyhow::Result<DeviceReport> {
        let info = self.device.info()?;
        Ok(DeviceReport {
            index: self.runtime.report().device,
            name: info.name,
            architecture: info.architecture,
            driver: info.driver,
            memory_bytes: info.memory_bytes,
            alignment: info.alignment,
            units: info.units,
        })
    }

    /// The ceilings that hold for a case. A product reads its weights, and whatever else it moves is little beside them;
    /// what is done row by row reads and writes as a copy does.
    pub(super) fn limits(&self, case: &Case) -> Limits {
        let copies = Limits { memory: Some("copy"), compute: None };
        let ceilings = match &self.limits {
            Limiter::Machine(ceilings) => ceilings,
            Limiter::Copies(Some(_)) => return copies,
            Limiter::Copies(None) => return Limits { memory: None, compute: None },
        };
        match case.weights().first() {
            None => copies,
            Some(weights) => {
                let integers = matches!(
                    (weights.activation, weights.format),
                    (Format::Mxint8 | Format::Mxfp4, Format::Mxfp4) | (Format::Nvfp4, Format::Nvfp4)
                );
                let compute = if integers { Ceiling::Integers } else { Ceiling::Floats };
                Limits { memory: Some(ceilings.name(Ceiling::Read)), compute: Some(ceilings.name(compute)) }
            }
        }
    }

    /// The rates of the ceilings that hold for some cases, each measured for as long as a case is.
    pub(super) fn measure_ceilings(
        &mut self,
        cases: &[Case],
        settings: &Settings,
    ) -> anyhow::Result<HashMap<&'static str, f64>> {
        let wanted: BTreeSet<&'static str> = cases
            .iter()
            .map(|case| self.limits(case))
            .flat_map(|limits| [limits.memory, limits.compute])
            .flatten()
            .collect();
        let mut rates = HashMap::new();
        for name in wanted {
            let (round, mut measured) = (Instant::now(), Vec::new());
            while measured.is_empty() || round.elapsed().as_secs_f64() < settings.seconds_of_round {
                let start = settings.clock.now();
                let amount = self.reach(name)?;
                measured.push(amount / (settings.clock.now() - start).max(1e-9));
            }
            rates.insert(name, median(&measured));
        }
        Ok(rates)
    }

    /// Does a piece of the work that a ceiling is about, and gives its amount.
    fn reach(&mut self, name: &str) -> anyhow::Result<f64> {
        match &mut self.limits {
            Limiter::Machine(ceilings) => {
                let all = [Ceiling::Read, Ceiling::Copy, Ceiling::Integers, Ceiling::Floats];
                let ceiling = all.into_iter().find(|ceiling| ceilings.name(*ceiling) == name);
                Ok(ceiling.map_or(0.0, |ceiling| ceilings.run(ceiling)))
            }
            Limiter::Copies(buffers) => {
                let Some((from, to)) = buffers else { return Ok(0.0) };
                self.stream.copy_on_device(to.span().address, from.span())?;
                self.stream.synchronize(None)?;
                Ok(2.0 * COPIED_BYTES as f64)
            }
        }
    }
}

impl Task {
    /// Bytes that a copy of the same amount would move, for weights brought into a layout.
    pub(super) fn prepared_bytes(&self) -> Option<u64> {
        match self {
            Self::Run(_) => None,
            Self::PrepareWeights(desc) => {
                let layout = desc.layout().ok()?;
                let bytes = layout.data_bytes() + layout.scales_bytes() + layout.factors_bytes();
                Some(2 * bytes as u64)
            }
        }
    }
}
