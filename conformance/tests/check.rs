//! The suite as a library, as a vendor's tests call it: on a backend that is right, and on ones that are not.

use std::sync::Arc;

use mxhal_conformance::check::{self, CheckError};
use mxhal_conformance::profile::Profile;
use mxhal_conformance::report::{State, StateKind};
use mxhal_conformance::suite::SuiteKind;
use mxhal_core::{Backend, Device, Error, Identity, Result};
use mxhal_cpu::Cpu;
use mxhal_ffi::export::{Host, PluginBackend};

#[test]
fn a_backend_that_is_right_passes_each_short_suite() {
    let cpu = || mxhal_ffi::embedded::<Cpu>(&Default::default());
    // Skipped are the three that the runner alone can answer, the one about a file, the one about limits, and the one
    // about hosts from before the first version that the plugin runs on, of which there are none for 1.0.
    let abi = check::abi(&cpu).unwrap();
    assert_eq!((abi.not_supported, abi.skipped), (0, 6));
    for ask in [check::memory, check::special, check::support] {
        let summary = ask(&cpu).unwrap();
        assert!(summary.passed > 0, "{summary:?}");
    }
}

/// It has no device.
struct Absent(Identity);

impl Backend for Absent {
    fn identity(&self) -> &Identity {
        &self.0
    }

    fn device_count(&self) -> Result<u32> {
        Ok(0)
    }

    fn open_device(&self, _index: u32) -> Result<Arc<dyn Device>> {
        Err(Error::invalid("there is no device"))
    }
}

impl PluginBackend for Absent {
    const NAME: &'static str = "absent";
    const VENDOR: &'static str = "tests";
    const VERSION: &'static str = "1";

    fn open(host: &Host<'_>) -> Result<Self> {
        if let Some((key, _)) = host.options().first() {
            return Err(Error::invalid(format!("unknown option `{key}`")));
        }
        let [name, vendor, version] = [Self::NAME, Self::VENDOR, Self::VERSION].map(str::to_owned);
        Ok(Self(Identity { name, vendor, version }))
    }
}

#[test]
fn a_backend_without_a_device_is_not_judged() {
    let error = check::abi(&|| mxhal_ffi::embedded::<Absent>(&Default::default())).unwrap_err();
    assert!(matches!(error, CheckError::NoDevice(_)), "{error}");
    assert!(error.to_string().contains("there is no device"), "{error}");
}

#[test]
fn a_backend_that_does_not_open_is_not_judged() {
    let options = mxhal_ffi::HostOptions {
        options: vec![("speed".to_owned(), "fast".to_owned())],
        ..Default::default()
    };
    let error = check::suite(SuiteKind::Exact, &|| mxhal_ffi::embedded::<Absent>(&options)).unwrap_err();
    assert!(matches!(error, CheckError::NotLoaded(_)), "{error}");
    assert!(error.to_string().contains("unknown option `speed`"), "{error}");
}

/// The CPU backend, with a device that refuses every operator.
struct Modest(Cpu, Identity);

impl Backend for Modest {
    fn identity(&self) -> &Identity {
        &self.1
    }

    fn device_count(&self) -> Result<u32> {
        Ok(1)
    }

    fn open_device(&self, index: u32) -> Result<Arc<dyn Device>> {
        Ok(Arc::new(modest::Refusing(self.0.open_device(index)?)))
    }
}

impl PluginBackend for Modest {
    const NAME: &'static str = "modest";
    const VENDOR: &'static str = "tests";
    const VERSION: &'static str = "1";

    fn open(_host: &Host<'_>) -> Result<Self> {
        let [name, vendor, version] = [Self::NAME, Self::VENDOR, Self::VERSION].map(str::to_owned);
        Ok(Self(Cpu::new(&[])?, Identity { name, vendor, version }))
    }
}

#[test]
fn a_suite_that_is_refused_whole_has_not_passed() {
    let modest = || mxhal_ffi::embedded::<Modest>(&Default::default());
    let error = check::exact(&modest).unwrap_err();
    assert!(matches!(error, CheckError::NothingExecuted(cases) if cases > 100), "{error}");
    // To refuse is allowed, and to say so is what `support` asks about.
    assert!(check::support(&modest).unwrap().passed > 0);
}

#[test]
fn what_a_profile_needs_and_the_backend_refuses_is_named_with_its_command() {
    let modest = || mxhal_ffi::embedded::<Modest>(&Default::default());
    let error = check::profile(Profile::Core, &modest).unwrap_err();
    let CheckError::Wrong(cases) = &error else { panic!("{error}") };
    assert!(cases.iter().all(|case| case.state.kind() == StateKind::NotSupported), "{error}");
    let refused =
        cases.iter().find(|case| case.name.starts_with("exact/matmul/")).expect("Core has products");
    assert!(matches!(&refused.state, State::NotSupported { text, .. } if text == "this one is modest"));
    assert!(error.to_string().contains(&refused.name), "{error}");
}

mod modest {
    use super::*;
    use mxhal_core::{
        DeviceInfo, Event, HostTensor, MemoryInfo, Op, Plan, Reason, Refusal, Stream, Support, Weights,
        WeightsDesc,
    };

    /// A device that refuses every operator.
    pub(super) struct Refusing(pub(super) Arc<dyn Device>);

    fn refusal() -> Refusal {
        Refusal { reason: Reason::Operator, text: "this one is modest".to_owned() }
    }

    impl Device for Refusing {
        fn info(&self) -> Result<DeviceInfo> {
            self.0.info()
        }

        fn memory(&self) -> Result<MemoryInfo> {
            self.0.memory()
        }

        fn allocate(&self, bytes: u64) -> Result<u64> {
            self.0.allocate(bytes)
        }

        fn free(&self, address: u64) -> Result<()> {
            self.0.free(address)
        }

        fn allocate_host(&self, bytes: u64) -> Result<u64> {
            self.0.allocate_host(bytes)
        }

        fn free_host(&self, address: u64) -> Result<()> {
            self.0.free_host(address)
        }

        fn create_stream(&self) -> Result<Box<dyn Stream>> {
            self.0.create_stream()
        }

        fn create_event(&self) -> Result<Arc<dyn Event>> {
            self.0.create_event()
        }

        fn supports(&self, op: &Op) -> Result<Support> {
            op.validate()?;
            Ok(Support::No(refusal()))
        }

        fn prepare(&self, op: &Op) -> Result<Box<dyn Plan>> {
            op.validate()?;
            Err(refusal().to_error())
        }

        fn prepare_weights(&self, _: &WeightsDesc, _: &[HostTensor<'_>]) -> Result<Arc<dyn Weights>> {
            Err(refusal().to_error())
        }
    }
}
