//! `mxhal devices`: every configured backend, with its devices or why it has none.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use mxhal::config::{BackendConfig, Config, EMBEDDED};
use mxhal::core::{Backend, DeviceInfo};
use mxhal::runtime::{BackendError, library_path, load_backend};
use serde_json::{Value, json};

use super::print;
use super::selection::Selection;
use super::terminal::Terminal;

const EXAMPLES: &str = "\
Examples:
  mxhal devices
  mxhal devices --config /etc/mxhal/config.toml
  mxhal devices --backend cuda --json

A backend that cannot be loaded has a row of its own and does not keep the others from being listed. The exit code is
0 also where there is no device.";

/// A reason that is longer is written below the table.
const REASON_IN_TABLE: usize = 60;

/// List every configured backend with its devices, or why it could not be loaded
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Devices {
    /// Write JSON to standard output
    #[arg(long)]
    json: bool,
}

impl Devices {
    pub(super) fn run(self, selection: &Selection, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let config = selection.configuration()?;
        let rows: Vec<Row> =
            wanted(&config, selection)?.iter().map(|backend| Row::of(&config, backend)).collect();
        if self.json {
            let rows: Vec<Value> = rows.iter().map(Row::json).collect();
            print(&format!("{}\n", serde_json::to_string_pretty(&rows)?))?;
        } else {
            print(&table(&rows, terminal.colours(&io::stdout())))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The backend that was asked for; or the configured ones, those that a fallback names, and the embedded one.
pub(super) fn wanted(config: &Config, selection: &Selection) -> anyhow::Result<Vec<BackendConfig>> {
    if selection.backend.is_some() {
        return Ok(vec![config.backend.clone()]);
    }
    let mut backends: Vec<BackendConfig> = config.configured().cloned().collect();
    for name in config.fallback.iter().map(String::as_str).chain([EMBEDDED]) {
        if backends.iter().all(|backend| backend.name != name) {
            backends.push(config.backend_named(name)?);
        }
    }
    Ok(backends)
}

/// A backend and what came of loading it.
struct Row {
    name: String,
    library: Option<PathBuf>,
    loaded: Result<Loaded, String>,
}

struct Loaded {
    vendor: String,
    version: String,
    devices: Vec<Result<DeviceInfo, String>>,
}

impl Row {
    fn of(config: &Config, backend: &BackendConfig) -> Self {
        Self {
            name: backend.name.clone(),
            library: library_path(config, backend).ok().flatten(),
            loaded: load(config, backend).map_err(|error| error.to_string()),
        }
    }

    fn json(&self) -> Value {
        let mut row = json!({ "backend": self.name, "library": self.library, "devices": [], "error": null });
        match &self.loaded {
            Err(reason) => row["error"] = json!(reason),
            Ok(loaded) => {
                row["vendor"] = json!(loaded.vendor);
                row["version"] = json!(loaded.version);
                row["devices"] = loaded.devices.iter().enumerate().map(device_json).collect();
            }
        }
        row
    }
}

fn load(config: &Config, backend: &BackendConfig) -> Result<Loaded, BackendError> {
    let plugin = load_backend(config, backend)?;
    let count = plugin.device_count().map_err(BackendError::Count)?;
    let device =
        |index| plugin.open_device(index).and_then(|device| device.info()).map_err(|error| error.to_string());
    let identity = plugin.identity();
    Ok(Loaded {
        vendor: identity.vendor.clone(),
        version: identity.version.clone(),
        devices: (0..count).map(device).collect(),
    })
}

fn device_json((index, device): (usize, &Result<DeviceInfo, String>)) -> Value {
    match device {
        Ok(info) => json!({
            "index": index,
            "name": info.name,
            "architecture": info.architecture,
            "driver": info.driver,
            "memory_bytes": info.memory_bytes,
            "units": info.units,
            "alignment": info.alignment,
        }),
        Err(reason) => json!({ "index": index, "error": reason }),
    }
}

fn table(rows: &[Row], colours: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(["backend", "device", "name", "architecture", "memory", "units", "driver", "library"]);
    let mut reasons = String::new();
    for row in rows {
        let library = row.library.as_ref().map_or("embedded".to_owned(), |path| path.display().to_string());
        let mut add = |device: &str, cells: [String; 5], colour: Option<Color>| {
            let [name, rest @ ..] = cells;
            let name = Cell::new(name);
            let name = match colour {
                Some(colour) => name.fg(colour),
                None => name,
            };
            let mut line = vec![Cell::new(&row.name), Cell::new(device), name];
            line.extend(rest.map(Cell::new));
            line.push(Cell::new(&library));
            table.add_row(line);
        };
        let mut refusal = |reason: &str| {
            let short = reason.chars().count() <= REASON_IN_TABLE && !reason.contains('\n');
            if !short {
                reasons.push_str(&format!("\n{}: {reason}\n", row.name));
            }
            let shown = if short { reason } else { "not available; the reason is below" };
            [shown.to_owned(), String::new(), String::new(), String::new(), String::new()]
        };
        match &row.loaded {
            Err(reason) => add("-", refusal(reason), Some(Color::Red)),
            Ok(loaded) if loaded.devices.is_empty() => add("-", refusal("no device"), Some(Color::Yellow)),
            Ok(loaded) => {
                for (index, device) in loaded.devices.iter().enumerate() {
                    let index = index.to_string();
                    match device {
                        Ok(info) => add(&index, cells(info), None),
                        Err(reason) => add(&index, refusal(reason), Some(Color::Red)),
                    }
                }
            }
        }
    }
    format!("{}\n{reasons}", table.trim_fmt())
}

fn cells(info: &DeviceInfo) -> [String; 5] {
    let gibibytes = info.memory_bytes as f64 / f64::from(1 << 30);
    [
        info.name.clone(),
        info.architecture.clone(),
        format!("{gibibytes:.1} GiB"),
        info.units.to_string(),
        info.driver.clone(),
    ]
}
