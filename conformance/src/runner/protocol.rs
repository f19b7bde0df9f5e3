//! What parent and worker say to each other: JSON, one message a line, over a socket that the worker finds as its
//! standard input.
//!
//! Of the suite's cases only names cross: both sides make the same list from the same seed. Trials, which belong to no
//! list, cross whole.

use std::path::PathBuf;

use mxhal_ffi::loader::{Policy, WritablePolicy};
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;
use crate::replay::TrialRecord;
use crate::report::{AbiReport, DeviceReport};

/// From the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub(crate) enum Order {
    /// The first: what to load. Answered by `Ready`, `NotLoaded` or `NoDevice`.
    Load(Load),
    /// Answered by `Done` or `Panicked`.
    Run {
        /// The case.
        name: String,
    },
    /// A case that comes with its data. Answered by `Done` or `Panicked`.
    Try {
        /// The case and the data.
        trial: Box<TrialRecord>,
    },
    /// Let go of everything. Answered by `Finished`, after which the worker exits.
    Finish,
}

/// What to load, and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// The plugin's file and what is demanded of it; absent for the embedded one.
    pub(crate) file: Option<PluginFile>,
    /// The backend's options.
    pub(crate) options: Vec<(String, String)>,
    /// Which device.
    pub(crate) device: u32,
    /// The seed of the cases.
    pub(crate) seed: u64,
}

/// A plugin's file, with the loader's policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PluginFile {
    pub(crate) path: PathBuf,
    pub(crate) deny_writable: bool,
    pub(crate) sha256: Option<[u8; 32]>,
}

impl PluginFile {
    pub(crate) fn new(path: PathBuf, policy: &Policy) -> Self {
        let deny_writable = matches!(policy.writable, WritablePolicy::Deny);
        Self { path, deny_writable, sha256: policy.sha256 }
    }

    pub(crate) fn policy(&self) -> Policy {
        let writable = if self.deny_writable { WritablePolicy::Deny } else { WritablePolicy::Warn };
        Policy { writable, sha256: self.sha256 }
    }
}

/// From the worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// Loaded, and a device opened.
    Ready(Box<Ready>),
    /// The loader's refusal, with its causes.
    NotLoaded {
        /// The causes.
        error: String,
    },
    /// Loaded, and there is no such device.
    NoDevice {
        /// What was said.
        error: String,
    },
    /// A case was asked.
    Done {
        /// Its name.
        name: String,
        /// What came of it.
        outcome: Outcome,
        /// How long it took.
        seconds: f64,
    },
    /// A panic reached the worker: a fault of the suite, or of an embedded backend.
    Panicked {
        /// The case.
        name: String,
        /// Message and place.
        text: String,
    },
    /// Everything is closed.
    Finished {
        /// Names of threads that run on a second after the plugin was shut down, and did not before it was loaded.
        left_behind: Vec<String>,
        /// Whether the plugin says that it may be unmapped.
        may_unload: bool,
    },
}

/// Who was loaded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) name: String,
    pub(crate) vendor: String,
    pub(crate) version: String,
    pub(crate) abi: AbiReport,
    pub(crate) device: DeviceReport,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Failure, Measures};

    #[test]
    fn messages_are_one_line_and_lead_back() {
        let order = Order::Load(Load {
            file: Some(PluginFile { path: "/opt/x y.so".into(), deny_writable: true, sha256: Some([7; 32]) }),
            options: vec![("threads".into(), "1\n2".into())],
            device: 3,
            seed: u64::MAX,
        });
        let line = serde_json::to_string(&order).unwrap();
        assert!(!line.contains('\n'), "{line}");
        let Order::Load(load) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert_eq!((load.device, load.seed, load.options[0].1.as_str()), (3, u64::MAX, "1\n2"));
        assert_eq!(load.file.unwrap().sha256, Some([7; 32]));
    }

    #[test]
    fn outcomes_keep_their_numbers() {
        let measures =
            Measures { elements: 1 << 40, error_over_bound: Some(0.123_456_789), ..Measures::default() };
        let failure = Failure { index: vec![3, 4], bound: Some(1e-300), ..Failure::new("bits differ") };
        for outcome in [Outcome::Pass(measures), Outcome::Fail(failure)] {
            let reply = Reply::Done { name: "exact/×".into(), outcome: outcome.clone(), seconds: 0.25 };
            let line = serde_json::to_string(&reply).unwrap();
            let Reply::Done { outcome: back, .. } = serde_json::from_str(&line).unwrap() else {
                panic!("{line}")
            };
            assert_eq!(format!("{back:?}"), format!("{outcome:?}"));
        }
    }
}
