//! `mxhal replay`: a recorded failure, asked again.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use mxhal_conformance::replay::{self, Answer, Replay as File};
use mxhal_conformance::report::{State, text};
use mxhal_conformance::runner::RunOptions;

use super::conform::{option, target};
use super::print;
use super::selection::Selection;
use super::simulators::{self, Product};

const EXAMPLES: &str = "\
Examples:
  mxhal replay failures/exact.matmul.json
  mxhal replay failures/exact.matmul.json --plugin ./libmxhal_mychip.so
  mxhal replay failures/exact.matmul.json --backend cuda --json

Such files are written by mxhal conform --replay-dir DIR.
Exit codes: 0 it passes, 1 it does not, 2 usage, configuration, or a file that cannot be read, 3 the plugin could not be
loaded, 4 no device.";

/// Ask a recorded failure again, of any backend
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replay {
    /// The replay file
    file: PathBuf,

    /// The plugin to ask, instead of a configured backend
    #[arg(long, value_name = "FILE", conflicts_with = "backend")]
    plugin: Option<PathBuf>,

    /// An option for the plugin, as [backend.options] has them; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = option)]
    option: Vec<(String, String)>,

    /// Ask the plugin on a simulator of its driver, as this product
    #[arg(long, value_name = "PRODUCT", value_parser = simulators::products())]
    simulate: Option<Product>,

    /// What the time limit is multiplied by, for slow machines and simulators
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    time_factor: f64,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) fn run(self, selection: &Selection) -> anyhow::Result<ExitCode> {
        let file = File::read(&self.file)?;
        let config = selection.configuration()?;
        let (target, mut host_options) = target(self.plugin.as_deref(), &config)?;
        host_options.extend(self.option.iter().cloned());
        let mut options = RunOptions {
            host_options,
            device: selection.device.unwrap_or(if self.plugin.is_some() { 0 } else { config.backend.device }),
            time_factor: self.time_factor,
            ..RunOptions::new(target)?
        };
        // It is there until the worker is done with it.
        let _simulation = self.simulate.map(|product| product.simulate(&mut options)).transpose()?;
        let answer = replay::ask(&options, &file)?;
        if self.json {
            let mut json = serde_json::to_value(&answer)?;
            json["case"] = file.case.clone().into();
            json["question"] = file.question().into();
            json["as_recorded"] = answer.is_as_recorded(&file).into();
            print(&format!("{json:#}\n"))?;
        } else {
            print(&words(&file, &answer))?;
        }
        Ok(ExitCode::from(u8::try_from(answer.exit_code()).expect("0 or 1")))
    }
}

fn words(file: &File, answer: &Answer) -> String {
    let who = |name: &str, version: &str, device: &str| format!("{name} {version} on {device}");
    let device = answer.device.as_ref().map_or("no device", |device| device.name.as_str());
    let recorded = match answer.state.kind() {
        _ if answer.is_as_recorded(file) => "the same verdict as recorded",
        kind if kind.is_wrong() => "wrong in another way than recorded",
        _ => "not the verdict that was recorded",
    };
    let words = [
        format!("case      {}", file.case),
        format!("question  {}, {} input bytes", file.question(), file.trial.bytes()),
        format!(
            "recorded  {}: {}",
            who(&file.plugin.name, &file.plugin.version, &file.device.name),
            verdict(&file.verdict)
        ),
        format!(
            "now       {}: {}",
            who(&answer.plugin.name, &answer.plugin.version, device),
            verdict(&answer.state)
        ),
        format!("          {recorded}\n"),
    ];
    text::printable(words.join("\n"))
}

/// The state, what there is to say about it, and the worst element.
fn verdict(state: &State) -> String {
    let mut words = state.kind().name().to_owned();
    for (before, part) in [(": ", state.message()), ("\n          ", text::details(state))] {
        if !part.is_empty() {
            words.push_str(before);
            words.push_str(&part);
        }
    }
    words
}
