//! `mxhal conform`: the conformance suite, judging a backend.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use indicatif::ProgressBar;
use mxhal::config::{BackendConfig, Config};
use mxhal::runtime::{library_path, policy};
use mxhal_conformance::profile::Profile;
use mxhal_conformance::replay::{self, Recording, Shrinking};
use mxhal_conformance::report::html::Picture;
use mxhal_conformance::report::{Report, file, text};
use mxhal_conformance::runner::{self, Event, RunOptions, Target};
use mxhal_conformance::waiver::Waivers;
use mxhal_conformance::worker;
use mxhal_cpu::Cpu;
use regex::Regex;

use super::certificate::Certificates;
use super::failure::FAILED;
use super::print;
use super::selection::Selection;
use super::simulators::{self, Product};
use super::terminal::Terminal;
use crate::bench;

const EXAMPLES: &str = "\
Examples:
  mxhal conform
  mxhal conform --plugin ./libmxhal_mychip.so --profile fused
  mxhal conform --backend cuda --filter '^exact/quantize' --seed 7
  mxhal conform --backend ascend --simulate Ascend950PR_9599
  mxhal conform --backend cuda --simulate sm_120
  mxhal conform --plugin ./libmxhal_mychip.so --waivers known.toml
  mxhal conform --plugin ./libmxhal_mychip.so --json report.json --html report.html
  mxhal conform --plugin ./libmxhal_mychip.so --filter ^exact/ --replay-dir failures
  mxhal conform --plugin ./libmxhal_mychip.so --certificate mychip.json --key our.key
  mxhal conform --verify mychip.json --plugin ./libmxhal_mychip.so --public-key our.key.pub
  mxhal conform --agree mychip.json theirs.json

Exit codes: 0 all required cases pass, 1 a failure, 2 usage or configuration, 3 the plugin could not be loaded, 4 no
device.";

/// Judge a backend by the conformance suite
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Conform {
    /// The plugin to judge, instead of a configured backend
    #[arg(long, value_name = "FILE", conflicts_with = "backend")]
    plugin: Option<PathBuf>,

    /// An option for the plugin, as [backend.options] has them; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = option)]
    option: Vec<(String, String)>,

    /// Judge the plugin on a simulator of its driver, as this product; reports say so
    #[arg(long, value_name = "PRODUCT", value_parser = simulators::products())]
    simulate: Option<Product>,

    /// The profile that the backend claims; what it refuses of that is a failure
    #[arg(long, value_name = "NAME", value_parser = profiles())]
    profile: Option<Profile>,

    /// Ask the cases whose names match
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,

    /// What random data are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Worker processes at once [default: 1; for the embedded backend one a processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// What every time limit is multiplied by, for slow machines; simulators have ten times as long by themselves
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    time_factor: f64,

    /// Name the cases that would be asked, and ask none
    #[arg(long)]
    list: bool,

    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the report as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Write the report as one HTML page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Show the roofline of what `mxhal bench --json` measured of the same backend on the HTML page
    #[arg(long, value_name = "FILE", requires = "html")]
    bench: Option<PathBuf>,

    /// Failures that are known, each with an owner, a reason and an end
    #[arg(long, value_name = "FILE")]
    waivers: Option<PathBuf>,

    /// Write each failing case of an operator, made small, to a file here that `mxhal replay` asks again
    #[arg(long, value_name = "DIR")]
    replay_dir: Option<PathBuf>,

    /// Write those cases as they failed
    #[arg(long, requires = "replay_dir")]
    no_shrink: bool,

    /// How long all of them may take to be made small; those that are left then are not written
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        requires = "replay_dir",
        conflicts_with = "no_shrink"
    )]
    shrink_time: u64,

    #[command(flatten)]
    certificates: Certificates,
}

fn profiles() -> impl TypedValueParser<Value = Profile> {
    PossibleValuesParser::new(Profile::ALL.map(Profile::name)).try_map(|name| name.parse::<Profile>())
}

pub(super) fn option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Serves a run as its worker.
pub(super) fn worker() -> ExitCode {
    worker::main(Some(&|options| mxhal_ffi::embedded::<Cpu>(options)))
}

impl Conform {
    pub(super) fn run(self, selection: &Selection, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        if let Some(code) = self.certificates.run(self.plugin.as_deref())? {
            return Ok(code);
        }
        let mut options = self.options(selection)?;
        if self.list {
            let names: String =
                runner::list(&options)?.iter().map(|case| format!("{}\n", case.name)).collect();
            print(&names)?;
            return Ok(ExitCode::SUCCESS);
        }
        let key = self.certificates.secret_key()?;
        let measured = self.bench.as_deref().map(bench::read_json).transpose()?;
        // It is there until the workers are done with it.
        let _simulation = self.simulate.map(|product| product.simulate(&mut options)).transpose()?;
        let bar = terminal.bar(0, false);
        let result = runner::run(&options, &mut |event| show(&event, &bar));
        bar.finish_and_clear();
        let report = result?;
        print(&text::summary(&report))?;
        self.write(&report, measured.as_ref())?;
        self.certificates.write(&report, key.as_ref())?;
        self.record(&options, &report)?;
        Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }

    fn options(&self, selection: &Selection) -> anyhow::Result<RunOptions> {
        let config = selection.configuration()?;
        let (target, mut host_options) = target(self.plugin.as_deref(), &config)?;
        host_options.extend(self.option.iter().cloned());
        let defaults = RunOptions::new(target)?;
        Ok(RunOptions {
            host_options,
            device: selection.device.unwrap_or(if self.plugin.is_some() { 0 } else { config.backend.device }),
            profile: self.profile,
            filter: self.filter.clone(),
            seed: self.seed,
            waivers: self.waivers.as_deref().map(Waivers::read).transpose()?.unwrap_or_default(),
            jobs: self.jobs.unwrap_or(defaults.jobs),
            time_factor: self.time_factor,
            reproduce_prefix: self.command(selection),
            ..defaults
        })
    }

    /// The command that asks the same backend again.
    fn command(&self, selection: &Selection) -> String {
        let mut command = "mxhal conform".to_owned();
        let mut add = |flag: &str, value: &str| command.push_str(&format!(" {flag} {}", shell_word(value)));
        if let Some(config) = &selection.config {
            add("--config", &config.to_string_lossy());
        }
        if let Some(backend) = &selection.backend {
            add("--backend", backend);
        }
        if let Some(plugin) = &self.plugin {
            add("--plugin", &plugin.to_string_lossy());
        }
        if let Some(device) = selection.device {
            add("--device", &device.to_string());
        }
        if let Some(product) = self.simulate {
            add("--simulate", product.name());
        }
        for (key, value) in &self.option {
            add("--option", &format!("{key}={value}"));
        }
        command
    }

    /// Writes replay files, or says that they can be had.
    fn record(&self, options: &RunOptions, report: &Report) -> anyhow::Result<()> {
        let Some(folder) = &self.replay_dir else {
            if replay::has_recordable(options, report)? {
                eprintln!(
                    "with --replay-dir DIR, each operator's failing case is made small and kept in a file"
                );
            }
            return Ok(());
        };
        let total = Duration::from_secs(self.shrink_time);
        let shrink = (!self.no_shrink).then(|| Shrinking { total, ..Shrinking::default() });
        let recording = Recording { folder: folder.clone(), shrink };
        let left = replay::record(options, report, &recording, &mut |path, replay| {
            let path = shell_word(&path.to_string_lossy());
            eprintln!(
                "mxhal replay {path} asks {} ({} input bytes)",
                replay.question(),
                replay.trial.bytes()
            );
        })?;
        if left > 0 {
            eprintln!(
                "{left} more failures are not in {}: the {} s for making them small are over; see --shrink-time, \
                 --filter and --no-shrink",
                folder.display(),
                self.shrink_time
            );
        }
        Ok(())
    }

    fn write(&self, report: &Report, measured: Option<&bench::Report>) -> anyhow::Result<()> {
        let write = |path: &Option<PathBuf>, write: fn(&Report, &Path) -> Result<(), file::FileError>| {
            path.as_deref().map_or(Ok(()), |path| write(report, path))
        };
        write(&self.json, file::write_json)?;
        write(&self.junit, file::write_junit)?;
        if let Some(path) = &self.html {
            let roofline: Vec<Picture> =
                measured.into_iter().filter_map(|measured| roofline(report, measured)).collect();
            file::write_html_with(report, &roofline, path)?;
        }
        Ok(())
    }
}

/// The roofline of a backend that was measured before; none, and a word why, where that was another.
fn roofline(report: &Report, measured: &bench::Report) -> Option<Picture> {
    let (plugin, backend) = (&report.plugin, &measured.backend);
    if (&plugin.name, &plugin.version) != (&backend.name, &backend.version) {
        eprintln!(
            "no roofline is shown: {} {} was measured, and this report is of {} {}",
            backend.name, backend.version, plugin.name, plugin.version
        );
        return None;
    }
    let title = format!("Roofline of {} {}", backend.name, backend.version);
    let words =
        "What products and layers reach, beside what the machine can do; measured by mxhal bench.".to_owned();
    // Within a page of HTML an element needs no name of its language.
    let svg = bench::svg(measured).replace(" xmlns=\"http://www.w3.org/2000/svg\"", "");
    Some(Picture { title, words, svg })
}

/// What is judged, and its options: a plugin's file, or else the configured backend.
pub(super) fn target(
    plugin: Option<&Path>,
    config: &Config,
) -> anyhow::Result<(Target, Vec<(String, String)>)> {
    if let Some(path) = plugin {
        let backend = BackendConfig::in_file("plugin", path)?;
        let policy = policy(config, &backend);
        return Ok((Target::File { path: path.to_owned(), policy }, Vec::new()));
    }
    let backend = &config.backend;
    let target = match library_path(config, backend)? {
        Some(path) => Target::File { path, policy: policy(config, backend) },
        None => Target::Embedded { name: backend.name.clone() },
    };
    Ok((target, backend.options.clone()))
}

fn show(event: &Event, bar: &ProgressBar) {
    match event {
        Event::Planned { cases } => bar.set_length(*cases as u64),
        Event::Ready { plugin, device } => {
            tracing::info!("{} {} on {}", plugin.name, plugin.version, device.name);
        }
        Event::Started { name } => bar.set_message(name.clone()),
        Event::Done { case, done } => {
            bar.set_position(*done as u64);
            if case.state.is_wrong() {
                bar.suspend(|| eprintln!("{}", text::failure(case)));
            }
        }
        _ => {}
    }
}

/// A word as a shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
