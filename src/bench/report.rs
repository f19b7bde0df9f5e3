//! What came out, as JSON: `docs/bench.schema.json` is the schema of it, and `docs/benchmarks.md` says how to read it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use mxhal_conformance::report::{DeviceReport, Environment};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::sample::{Clock, Spread};

/// The name of the schema.
const SCHEMA: &str = "mxhal-bench/1";

/// A run of `mxhal bench`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Report {
    /// `mxhal-bench/1`. It changes when a field is removed or means something else; fields may be added without that.
    pub(crate) schema: String,
    /// The version of the program that measured.
    pub(crate) version: String,
    /// When it began, in seconds since 1970.
    pub(crate) started: u64,
    /// The machine that measured.
    pub(crate) environment: Environment,
    /// Who was measured.
    pub(crate) backend: BackendReport,
    /// How.
    pub(crate) settings: Settings,
    /// The same cases with each number of threads.
    pub(crate) runs: Vec<RunReport>,
}

/// The backend that was measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct BackendReport {
    /// Its name.
    pub(crate) name: String,
    /// Who made it.
    pub(crate) vendor: String,
    /// Its own version.
    pub(crate) version: String,
    /// Its options, as `config.toml` has them, but for the threads of a run.
    pub(crate) options: Vec<(String, String)>,
}

/// How it was measured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Settings {
    /// How often every case had its turn.
    pub(crate) rounds: usize,
    /// For how long, each time.
    pub(crate) seconds_of_round: f64,
    /// Weights that are taken by turns are together more than so many bytes.
    pub(crate) cycled_bytes: u64,
    /// What time was measured by.
    pub(crate) clock: Clock,
    /// What data and routings were drawn from.
    pub(crate) seed: u64,
    /// Whether the runs of a sample were captured in a graph and launched as one.
    #[serde(default)]
    pub(crate) graph: bool,
}

/// Cases on one device, with one number of threads.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RunReport {
    /// The threads that the backend was asked to use; absent where it was not asked.
    pub(crate) threads: Option<usize>,
    /// The device.
    pub(crate) device: DeviceReport,
    /// What the device can do at most, over all rounds.
    pub(crate) ceilings: Vec<CeilingReport>,
    /// Processors that other programs kept busy meanwhile, on average; absent where that is not known.
    pub(crate) other_processors: Option<f64>,
    /// The cases.
    pub(crate) cases: Vec<CaseReport>,
}

/// What a device can do at most.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CeilingReport {
    /// `read`, `copy` (bytes read and bytes written), or an instruction that products are made of.
    pub(crate) name: String,
    /// Bytes or operations a second.
    pub(crate) rate: Spread,
}

/// A case and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CaseReport {
    /// `OPERATOR/SHAPE/FORMATS/ROWS`.
    pub(crate) name: String,
    /// Rows or tokens of a run.
    pub(crate) rows: usize,
    /// What activations are multiplied as; absent where nothing is multiplied.
    pub(crate) scheme: Option<String>,
    /// Useful operations of a run, two for a product that is added.
    pub(crate) flops: f64,
    /// Bytes that a run reads and writes, weights that it does not touch not counted; on average over the routings.
    pub(crate) bytes: f64,
    /// The kernel that the backend chose, if it says so.
    pub(crate) kernel: String,
    /// Seconds of a run, over all samples; absent where the backend refused.
    pub(crate) seconds: Option<Spread>,
    /// How many samples there were.
    pub(crate) samples: usize,
    /// What each round came to.
    pub(crate) rounds: Vec<RoundReport>,
    /// The ceiling that binds; absent where none is known.
    pub(crate) limit: Option<LimitReport>,
    /// The time that the limit allows, divided by the time that was needed: the median over rounds.
    pub(crate) fraction: Option<f64>,
    /// Why the backend refused, in its words.
    pub(crate) refused: Option<String>,
}

/// A round of a case.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RoundReport {
    /// The median of its samples, in seconds.
    pub(crate) seconds: f64,
    /// The time that the limit allowed in this round, divided by that.
    pub(crate) fraction: Option<f64>,
}

/// What a run cannot be faster than.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LimitReport {
    /// The name of the ceiling.
    pub(crate) name: String,
    /// The seconds that a run takes at least.
    pub(crate) seconds: f64,
}

impl Report {
    pub(crate) fn new(started: u64, backend: BackendReport, settings: Settings) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            environment: Environment::here(),
            backend,
            settings,
            runs: Vec::new(),
        }
    }
}

impl CaseReport {
    /// Of a case that was not measured; empty words where it is about to be.
    pub(super) fn refused(case: &Case, why: String) -> Self {
        Self {
            name: case.name.clone(),
            rows: case.rows,
            scheme: case.scheme().map(|scheme| scheme.name().to_owned()),
            flops: 0.0,
            bytes: 0.0,
            kernel: String::new(),
            seconds: None,
            samples: 0,
            rounds: Vec::new(),
            limit: None,
            fraction: None,
            refused: (!why.is_empty()).then_some(why),
        }
    }
}

/// The schema (draft 2020-12) of a report.
pub(crate) fn schema() -> serde_json::Value {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Report>();
    schema.insert("$id".to_owned(), format!("urn:{}", SCHEMA.replace('/', ":")).into());
    schema.insert("title".to_owned(), "A report of mxhal bench".into());
    if let Some(name) = schema.pointer_mut("/properties/schema").and_then(|name| name.as_object_mut()) {
        name.insert("const".to_owned(), SCHEMA.into());
    }
    schema.to_value()
}

/// Reads a report.
pub(crate) fn read_json(path: &Path) -> anyhow::Result<Report> {
    let shown = path.display();
    let text = fs::read(path).with_context(|| format!("{shown} could not be read"))?;
    let other = || format!("{shown} is not a report of mxhal bench: it is not JSON of the schema {SCHEMA}");
    let value: serde_json::Value = serde_json::from_slice(&text).with_context(other)?;
    match value.get("schema").and_then(|schema| schema.as_str()) {
        Some(schema) if schema != SCHEMA => {
            bail!("{shown} has the schema `{schema}`, and this program reads {SCHEMA}")
        }
        _ => serde_json::from_value(value).with_context(other),
    }
}

/// Writes a file beside `path`, and renames it when it is whole.
pub(crate) fn write_text(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(&part)))
        .with_context(|| format!("{} could not be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.json");
        for (text, said) in [
            ("{", "is not a report"),
            ("{}", "is not a report"),
            ("{\"schema\": \"mxhal-bench/0\"}", "`mxhal-bench/0`"),
        ] {
            write_text(&path, text).unwrap();
            let error = read_json(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_text(&folder.path().join("no/r.json"), "").is_err());
    }
}
