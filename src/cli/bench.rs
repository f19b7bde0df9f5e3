//! `mxhal bench`: how fast a backend is, beside what the machine can do.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use mxhal::config::{BackendConfig, Library};
use mxhal::core::{Format, Quantization};
use mxhal::moe::{UnknownScheme, scheme};
use mxhal::{Config, Runtime};
use mxhal_conformance::filter;
use regex::Regex;

use super::conform::option;
use super::failure::{FAILED, Usage};
use super::print;
use super::selection::Selection;
use super::terminal::Terminal;
use crate::bench::{
    self, BackendReport, Case, CaseReport, Clock, Comparison, Report, RunReport, Settings, Subject, Sweep,
    Verdict,
};

const EXAMPLES: &str = "\
Each line has the median of a run with its 5th and 95th percentile, and the fraction of what the ceiling named beside it
allows, measured by turns with the case. `read` and `copy` are memory's; the others are the instruction in question. A
device other than this machine's processors has its own copies as its ceiling.

Examples:
  mxhal bench
  mxhal bench --quick --filter '^moe-ffn/'
  mxhal bench --schemes mxint8,bf16 --rows 1,8,512 --threads 1,2 --json now.json --svg roofline.svg
  mxhal bench --compare before.json
  mxhal bench --plugin ./libmxhal_mychip.so --option clock=1200

Exit codes: 0 done, 1 a case is slower than in the report compared with, beyond the noise; others as for every command.";

/// Rounds, and seconds of a case in each.
const FULL: (usize, f64) = (9, 0.05);
const QUICK: (usize, f64) = (3, 0.01);

/// Weights that are taken by turns are more than this: several times what caches hold.
const CYCLED_BYTES: u64 = 256 << 20;

/// Other programs' processors from which on figures are not to be relied on.
const BUSY: f64 = 0.15;

/// Measure how fast a backend is, beside what the machine can do
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Bench {
    /// The plugin to measure, instead of a configured backend
    #[arg(long, value_name = "FILE", conflicts_with = "backend")]
    plugin: Option<PathBuf>,

    /// An option for the backend, as [backend.options] has them; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = option)]
    option: Vec<(String, String)>,

    /// Measure the cases whose names match
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,

    /// Name the cases that would be measured, and measure none
    #[arg(long)]
    list: bool,

    /// Write the JSON Schema of what --json writes to standard output, and measure nothing
    #[arg(long)]
    schema: bool,

    /// Fewer cases and rounds: half a minute instead of several
    #[arg(long)]
    quick: bool,

    /// Rows of products and tokens of layers [default: 1,2,4,8,16,32,64,256,512; with --quick 1,8,64]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = positive)]
    rows: Vec<usize>,

    /// Rows and tokens of what is done row by row [default: 1,4096; with --quick 4096]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = positive)]
    long_rows: Vec<usize>,

    /// Threads, by the backend's option of that name [default: 1 and all for the embedded backend, else as it likes]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = positive)]
    threads: Vec<usize>,

    /// What activations are multiplied as: bf16, mxfp8, mxfp8-g128, mxint8, mxfp4, nvfp4
    #[arg(long, value_name = "SCHEME,...", value_delimiter = ',', default_value = "mxint8,bf16,mxfp8,mxfp4", value_parser = activation)]
    schemes: Vec<Quantization>,

    /// Formats of weights
    #[arg(long, value_name = "FORMAT,...", value_delimiter = ',', default_value = "mxfp4")]
    weights: Vec<Format>,

    /// The matrix of a product: output columns by input columns
    #[arg(long, value_name = "NxK", default_value = "4096x4096", value_parser = extents::<2>)]
    dense: [usize; 2],

    /// A layer: hidden by inner columns by experts by experts of a token
    #[arg(long, value_name = "HxIxExK", default_value = "4096x2048x32x6", value_parser = extents::<4>)]
    layer: [usize; 4],

    /// How often every case has its turn [default: 9; with --quick 3]
    #[arg(long, value_name = "N", value_parser = positive)]
    rounds: Option<usize>,

    /// What time is measured by; `thread` is for one thread of the CPU backend, on a machine that others use too
    #[arg(long, value_enum, default_value = "wall")]
    clock: Clock,

    /// What data and routings are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Capture the runs of each sample in a graph and launch that, where the backend has graphs
    #[arg(long)]
    graph: bool,

    /// Write everything that was measured as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Draw the roofline
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Say what is faster and slower than in the JSON of an earlier run
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

fn activation(name: &str) -> Result<Quantization, UnknownScheme> {
    scheme(name)
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected an integer from 1".to_owned()),
    }
}

fn extents<const N: usize>(text: &str) -> Result<[usize; N], String> {
    let numbers: Result<Vec<usize>, String> = text.split('x').map(positive).collect();
    numbers
        .ok()
        .and_then(|numbers| <[usize; N]>::try_from(numbers).ok())
        .ok_or_else(|| format!("expected {N} positive integers with `x` between them"))
}

impl Bench {
    pub(super) fn run(self, selection: &Selection, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        if self.schema {
            print(&format!("{:#}\n", bench::schema()))?;
            return Ok(ExitCode::SUCCESS);
        }
        let cases = self.cases()?;
        if self.list {
            let names: String = cases.iter().map(|case| format!("{}\n", case.name)).collect();
            print(&names)?;
            return Ok(ExitCode::SUCCESS);
        }
        let before = self.compare.as_deref().map(bench::read_json).transpose()?;
        let config = self.configuration(selection)?;
        let sweep = self.sweep_of_threads(&config)?;
        let settings = self.settings();

        let mut report: Option<Report> = None;
        for threads in sweep {
            let mut subject = Subject::open(&config, threads)?;
            let report = report.get_or_insert_with(|| {
                Report::new(now(), backend(subject.runtime(), &config), settings.clone())
            });
            print(&heading(&subject)?)?;
            let bar = terminal.bar(cases.len() as u64, false);
            bar.set_message(cases[0].name.clone());
            let run = bench::run(&mut subject, &cases, &settings, &mut |group| {
                let text: String = group.iter().map(line).collect();
                // That nobody reads on ends no run whose files are wanted.
                bar.suspend(|| drop(print(&text)));
                bar.inc(group.len() as u64);
                if let Some(next) = cases.get(bar.position() as usize) {
                    bar.set_message(next.name.clone());
                }
            });
            bar.finish_and_clear();
            let run = run?;
            print(&footing(&run))?;
            report.runs.push(run);
        }
        let report = report.expect("there is at least one number of threads, or the backend's own");
        if let Some(path) = &self.json {
            bench::write_text(path, &format!("{}\n", serde_json::to_string_pretty(&report)?))?;
        }
        if let Some(path) = &self.svg {
            bench::write_text(path, &bench::svg(&report))?;
        }
        match before {
            Some(before) => self.judge(&before, &report),
            None => Ok(ExitCode::SUCCESS),
        }
    }

    /// Prints what is faster and what is slower.
    fn judge(&self, before: &Report, now: &Report) -> anyhow::Result<ExitCode> {
        let comparisons = bench::compare(before, now);
        let file = self.compare.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        if comparisons.is_empty() {
            return Err(
                Usage(format!("{file} has none of the cases, with none of the numbers of threads")).into()
            );
        }
        let mut text = format!("\ncompared with {file}: time now over time then\n");
        comparisons.iter().map(comparison).for_each(|line| text.push_str(&line));
        let count = |verdict| comparisons.iter().filter(|comparison| comparison.verdict == verdict).count();
        text.push_str(&format!(
            "{} faster, {} slower, {} the same within the noise, {} with too few rounds to say\n",
            count(Verdict::Faster),
            count(Verdict::Slower),
            count(Verdict::Same),
            count(Verdict::Unknown)
        ));
        print(&text)?;
        Ok(if count(Verdict::Slower) > 0 { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
    }

    fn cases(&self) -> Result<Vec<Case>, Usage> {
        let given = |given: &[usize], full: &[usize], quick: &[usize]| match given {
            [] if self.quick => quick.to_vec(),
            [] => full.to_vec(),
            given => given.to_vec(),
        };
        let sweep = Sweep {
            rows: given(&self.rows, &[1, 2, 4, 8, 16, 32, 64, 256, 512], &[1, 8, 64]),
            long: given(&self.long_rows, &[1, 4096], &[4096]),
            schemes: self.schemes.clone(),
            weights: self.weights.clone(),
            dense: self.dense,
            layer: self.layer,
        };
        let [.., experts, top_k] = self.layer;
        if top_k > experts {
            return Err(Usage(format!("--layer: a token cannot have {top_k} of {experts} experts")));
        }
        let all = sweep.cases();
        if all.is_empty() {
            return Err(Usage("no operator takes these shapes and formats".to_owned()));
        }
        let Some(filter) = &self.filter else { return Ok(all) };
        let cases: Vec<Case> = all.iter().filter(|case| filter.is_match(&case.name)).cloned().collect();
        if cases.is_empty() {
            let near = match &filter::nearest(filter, all.iter().map(|case| &*case.name), 3)[..] {
                [] => String::new(),
                near => format!("; the nearest are {}", near.join(", ")),
            };
            return Err(Usage(format!(
                "--filter {filter} matches none of the {} cases{near}; --list without it names them",
                all.len()
            )));
        }
        Ok(cases)
    }

    fn configuration(&self, selection: &Selection) -> anyhow::Result<Config> {
        let mut config = selection.configuration()?;
        if let Some(path) = &self.plugin {
            config.backend = BackendConfig::in_file("plugin", path)?;
            config.backend.device = selection.device.unwrap_or(0);
        }
        for (key, value) in &self.option {
            config.backend.options.retain(|(other, _)| other != key);
            config.backend.options.push((key.clone(), value.clone()));
        }
        Ok(config)
    }

    /// The numbers of threads to measure with; `None` for what the backend does by itself.
    fn sweep_of_threads(&self, config: &Config) -> Result<Vec<Option<usize>>, Usage> {
        let set = config.backend.options.iter().any(|(key, _)| key == "threads");
        let threads: Vec<Option<usize>> = match &self.threads[..] {
            [] if config.backend.library == Library::Embedded && !set => {
                let all = std::thread::available_parallelism().map_or(1, usize::from);
                if all == 1 { vec![Some(1)] } else { vec![Some(1), Some(all)] }
            }
            [] => vec![None],
            given => given.iter().copied().map(Some).collect(),
        };
        if self.clock == Clock::Thread && threads != [Some(1)] {
            let text = "--clock thread measures the calling thread alone, and goes with --threads 1";
            return Err(Usage(text.to_owned()));
        }
        Ok(threads)
    }

    fn settings(&self) -> Settings {
        let (rounds, seconds_of_round) = if self.quick { QUICK } else { FULL };
        Settings {
            rounds: self.rounds.unwrap_or(rounds),
            seconds_of_round,
            cycled_bytes: CYCLED_BYTES,
            clock: self.clock,
            seed: self.seed,
            graph: self.graph,
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn backend(runtime: &Runtime, config: &Config) -> BackendReport {
    let identity = runtime.backend().identity();
    BackendReport {
        name: identity.name.clone(),
        vendor: identity.vendor.clone(),
        version: identity.version.clone(),
        options: config.backend.options.clone(),
    }
}

fn heading(subject: &Subject) -> anyhow::Result<String> {
    let info = subject.runtime().device().info()?;
    Ok(format!(
        "{} {} on {} ({}), {} units\n{:<46} {:>12} {:>25} {:>10} {:>8}  fraction\n",
        subject.runtime().backend().identity().name,
        subject.runtime().backend().identity().version,
        info.name,
        info.architecture,
        info.units,
        "case",
        "median",
        "5th to 95th percentile",
        "GFLOP/s",
        "GB/s",
    ))
}

fn line(case: &CaseReport) -> String {
    let Some(seconds) = &case.seconds else {
        let why = case.refused.as_deref().unwrap_or_default();
        return format!("{:<46} not supported: {why}\n", case.name);
    };
    let rate = |amount: f64| amount / seconds.median / 1e9;
    let flops = if case.flops > 0.0 { format!("{:.1}", rate(case.flops)) } else { "-".to_owned() };
    let fraction = match case.fraction.zip(case.limit.as_ref()) {
        Some((fraction, limit)) => format!("{fraction:.2} of {}", limit.name),
        None => "-".to_owned(),
    };
    format!(
        "{:<46} {:>12} {:>25} {flops:>10} {:>8.2}  {fraction}\n",
        case.name,
        duration(seconds.median),
        format!("{} to {}", duration(seconds.p5), duration(seconds.p95)),
        rate(case.bytes),
    )
}

/// The ceilings, and whether the machine was quiet.
fn footing(run: &RunReport) -> String {
    let mut text = String::new();
    for ceiling in &run.ceilings {
        let unit = if ceiling.name == "read" || ceiling.name == "copy" { "GB/s" } else { "GFLOP/s" };
        let [median, p5, p95] =
            [ceiling.rate.median, ceiling.rate.p5, ceiling.rate.p95].map(|rate| rate / 1e9);
        text.push_str(&format!("ceiling {}: {median:.1} {unit} ({p5:.1} to {p95:.1})\n", ceiling.name));
    }
    if let Some(others) = run.other_processors.filter(|others| *others > BUSY) {
        text.push_str(&format!(
            "other programs kept {others:.1} processors busy meanwhile: measure again when the machine is quiet\n"
        ));
    }
    text.push('\n');
    text
}

fn comparison(comparison: &Comparison) -> String {
    let threads = comparison.threads.map_or_else(String::new, |threads| format!("{threads} threads"));
    let how = if comparison.over_limit { "over the machine's limit" } else { "in seconds" };
    let Comparison { name, ratio, verdict, .. } = comparison;
    format!("{name:<46} {threads:<10} {ratio:>6.3} {:<8} {how}\n", verdict.name())
}

/// With four digits, in the unit that suits.
fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s < 1e-6 => (s * 1e9, "ns"),
        s if s < 1e-3 => (s * 1e6, "us"),
        s if s < 1.0 => (s * 1e3, "ms"),
        s => (s, "s"),
    };
    let digits = if value < 10.0 {
        3
    } else if value < 100.0 {
        2
    } else {
        1
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_as_many_as_there_are_to_be() {
        assert_eq!(extents::<2>("64x4096"), Ok([64, 4096]));
        for wrong in ["64", "64x0", "64x64x64", "ax64", "64x"] {
            assert!(extents::<2>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_in_the_unit_that_suits() {
        for (seconds, text) in
            [(1.5e-8, "15.00 ns"), (0.9e-3, "900.0 us"), (2.5e-3, "2.500 ms"), (12.0, "12.00 s")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
