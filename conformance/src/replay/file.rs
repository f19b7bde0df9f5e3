//! The replay file: one JSON object that needs nothing beside it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::trial::{Trial, TrialRecord};
use crate::report::{DeviceReport, Environment, PluginReport, State, file};

/// The shape of the file.
pub const SCHEMA: &str = "mxhal-replay/1";

/// A failing trial, what was seen, and where.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The case that failed, by its name in the suite.
    pub case: String,
    /// The version of the suite that asked it.
    pub suite_version: String,
    /// How long it may take, in seconds, before a time factor.
    pub time_limit: f64,
    /// The command that asks the whole case again.
    pub reproduce: String,
    /// What came of the trial: for numbers the worst element, what was expected there, what came, and the bound.
    pub verdict: State,
    /// How the trial was made smaller; absent where it was not.
    pub shrunk: Option<ShrunkFrom>,
    /// Who was asked.
    pub plugin: PluginReport,
    /// On which device.
    pub device: DeviceReport,
    /// On which machine.
    pub environment: Environment,
    /// What is asked, and all of its data.
    pub trial: Trial,
}

/// What a trial was before it was shrunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShrunkFrom {
    /// Bytes of its inputs.
    pub bytes: usize,
    /// Smaller trials that were asked.
    pub steps: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    schema: String,
    case: String,
    suite_version: String,
    time_limit: f64,
    reproduce: String,
    verdict: State,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    shrunk: Option<ShrunkFrom>,
    plugin: PluginReport,
    device: DeviceReport,
    environment: Environment,
    trial: TrialRecord,
}

/// A replay file that could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// It could not be written.
    #[error("the replay file could not be written to {}", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be read.
    #[error("the replay file could not be read from {}", path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON, or lacks what it must have; the source has line, column and field.
    #[error("{} is no replay file of the schema {SCHEMA}", path.display())]
    Parse {
        /// Where.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
    /// It is of another schema.
    #[error("{} has the schema `{schema}`, and this program replays {SCHEMA}", path.display())]
    Schema {
        /// Where.
        path: PathBuf,
        /// What it says.
        schema: String,
    },
    /// Its data do not belong together.
    #[error("{}: `trial`: {problem}", path.display())]
    Data {
        /// Where.
        path: PathBuf,
        /// Which field, and what is wrong with it.
        problem: String,
    },
}

impl Replay {
    /// Writes it, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), ReplayError> {
        let this = self.clone();
        let record = Record {
            schema: SCHEMA.to_owned(),
            case: this.case,
            suite_version: this.suite_version,
            time_limit: this.time_limit,
            reproduce: this.reproduce,
            verdict: this.verdict,
            shrunk: this.shrunk,
            plugin: this.plugin,
            device: this.device,
            environment: this.environment,
            trial: TrialRecord::from(&this.trial),
        };
        let written = file::write_whole(path, |file| {
            serde_json::to_writer_pretty(&mut *file, &record)?;
            file.write_all(b"\n")
        });
        written.map_err(|source| ReplayError::Write { path: path.to_owned(), source })
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Read`], [`ReplayError::Parse`], [`ReplayError::Schema`] for one of another shape, and
    /// [`ReplayError::Data`] where bytes were lost or changed.
    pub fn read(path: &Path) -> Result<Self, ReplayError> {
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let text = fs::read(path).map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
        let parse = |source| ReplayError::Parse { path: path.to_owned(), source };
        let Head { schema } = serde_json::from_slice(&text).map_err(parse)?;
        if schema != SCHEMA {
            return Err(ReplayError::Schema { path: path.to_owned(), schema });
        }
        let record: Record = serde_json::from_slice(&text).map_err(parse)?;
        let data = |problem| ReplayError::Data { path: path.to_owned(), problem };
        let is_time = record.time_limit.is_finite() && record.time_limit > 0.0;
        if !is_time {
            return Err(data(format!("`time_limit` is {}; it is a positive number", record.time_limit)));
        }
        Ok(Self {
            case: record.case,
            suite_version: record.suite_version,
            time_limit: record.time_limit,
            reproduce: record.reproduce,
            verdict: record.verdict,
            shrunk: record.shrunk,
            plugin: record.plugin,
            device: record.device,
            environment: record.environment,
            trial: record.trial.into_trial().map_err(data)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use mxhal_core::op::Matmul;
    use mxhal_core::{DeviceInfo, Quantization};

    use super::*;
    use crate::opcase::{OpCase, Tier, Values};
    use crate::outcome::Failure;

    fn replay() -> Replay {
        let op = Matmul::mxfp4(2, 3, 64, Quantization::none());
        let failure = Failure {
            tensor: Some("y".into()),
            index: vec![1, 2],
            expected: Some("1".into()),
            got: Some("NaN".into()),
            bound: Some(1e-7),
            ..Failure::new("y is not what is exactly right")
        };
        Replay {
            case: "exact/matmul".into(),
            suite_version: "0.1.0".into(),
            time_limit: 60.0,
            reproduce: "mxhal conform".into(),
            verdict: State::Fail(failure),
            shrunk: Some(ShrunkFrom { bytes: 1000, steps: 7 }),
            plugin: PluginReport { name: "x".into(), ..PluginReport::default() },
            device: DeviceReport::new(
                0,
                DeviceInfo {
                    name: "d".into(),
                    architecture: "a".into(),
                    driver: "v".into(),
                    memory_bytes: 1,
                    alignment: 64,
                    units: 1,
                },
            ),
            environment: Environment::here(),
            trial: Trial::new(&OpCase::new(op, Values::Ordinary, Tier::Bounded), 4),
        }
    }

    #[test]
    fn a_file_leads_back_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.json");
        replay().write(&path).unwrap();
        let back = Replay::read(&path).unwrap();
        assert_eq!(format!("{back:?}"), format!("{:?}", replay()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = replay().write(&folder.path().join("no/such/folder.json")).unwrap_err();
        assert!(matches!(nowhere, ReplayError::Write { .. }), "{nowhere}");
    }

    #[test]
    fn a_file_that_is_wrong_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.json");
        replay().write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} is not in {text}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = Replay::read(&path).unwrap_err();
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            format!("{error}: {cause}")
        };
        let schema = refused(SCHEMA, "mxhal-replay/9");
        assert!(schema.contains("`mxhal-replay/9`") && schema.contains(SCHEMA), "{schema}");
        let format = refused("\"weight\": \"mxfp4\"", "\"weight\": \"mxfp5\"");
        assert!(format.contains("`mxfp5` is no format") && format.contains("line"), "{format}");
        let field = refused("\"time_limit\"", "\"time_limits\"");
        assert!(field.contains("time_limits") && field.contains("line"), "{field}");
        let seconds = refused("\"time_limit\": 60.0", "\"time_limit\": -1.0");
        assert!(seconds.contains("`time_limit` is -1"), "{seconds}");
        let rows = refused("\"m\": 2", "\"m\": 1");
        assert!(rows.contains("`rows` is 2"), "{rows}");
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Replay::read(&path), Err(ReplayError::Parse { .. })));
    }
}
