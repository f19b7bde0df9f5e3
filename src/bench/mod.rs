//! The product's own benchmark: operators and whole layers of experts, on any backend, beside what the machine can do.
//!
//! | module | holds |
//! | --- | --- |
//! | `case` | what is measured: operators with their shapes, by name |
//! | `subject` | a backend with its device, and the limits that its work has there |
//! | `operands` | tensors, weights and routing of a case, more of them than caches hold |
//! | `sample` | clocks and percentiles |
//! | `load` | what else the machine does meanwhile |
//! | `report` | what came out, as JSON |
//! | `compare` | two reports, and which differences are more than noise |
//! | `roofline` | the picture, as SVG |
//!
//! # How it is measured
//!
//! Cases that share weights are a group. A group is measured in rounds: in each first the ceilings of the machine, then
//! each case for a while, so that all of them see the same weather. A case's time is the median over all its samples, with
//! the 5th and 95th percentile; its fraction of the limit is the median over rounds of what the limit allows in the
//! ceilings of that round, divided by the median of its samples there.
//!
//! A sample is so many runs of a plan that it takes half a millisecond, enqueued one after the other, or launched as one
//! graph, and waited for together. Runs take weights by turns, of which there are more than caches hold, and routing by
//! turns, which is drawn anew in every round: what a real token meets.

mod case;
mod compare;
mod load;
mod operands;
mod report;
mod roofline;
mod sample;
mod subject;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use mxhal::core::{Support, WeightsDesc};

use crate::random::Random;
pub(crate) use case::{Case, Sweep, Task};
pub(crate) use compare::{Comparison, Verdict, compare};
use load::Load;
use operands::{Operands, WeightCopies};
pub(crate) use report::{
    BackendReport, CaseReport, Report, RunReport, Settings, read_json, schema, write_text,
};
use report::{CeilingReport, LimitReport, RoundReport};
pub(crate) use roofline::svg;
pub(crate) use sample::Clock;
use sample::{Spread, median};
pub(crate) use subject::Subject;

/// The time that a sample takes at least.
const SAMPLE: Duration = Duration::from_micros(500);

/// Measures cases on a subject; `done` hears of each group that is finished.
pub(crate) fn run(
    subject: &mut Subject,
    cases: &[Case],
    settings: &Settings,
    done: &mut dyn FnMut(&[CaseReport]),
) -> anyhow::Result<RunReport> {
    let load = Load::now();
    let mut measured: HashMap<&'static str, Vec<f64>> = HashMap::new();
    let mut reports = Vec::with_capacity(cases.len());
    let mut rest = cases;
    while let Some(first) = rest.first() {
        let (group, others) = rest.split_at(rest.iter().take_while(|case| case.group == first.group).count());
        rest = others;
        let group = run_group(subject, group, settings, &mut measured)?;
        done(&group);
        reports.extend(group);
    }
    let mut ceilings: Vec<CeilingReport> = measured
        .into_iter()
        .map(|(name, rates)| CeilingReport { name: name.to_owned(), rate: Spread::of(rates) })
        .collect();
    ceilings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(RunReport {
        threads: subject.threads,
        device: subject.device_report()?,
        ceilings,
        other_processors: load.others_since(),
        cases: reports,
    })
}

/// A case under way.
struct Running<'a> {
    case: &'a Case,
    operands: Operands,
    /// Runs in a sample.
    runs: usize,
    samples: Vec<f64>,
    rounds: Vec<RoundReport>,
}

fn run_group(
    subject: &mut Subject,
    group: &[Case],
    settings: &Settings,
    measured: &mut HashMap<&'static str, Vec<f64>>,
) -> anyhow::Result<Vec<CaseReport>> {
    let mut random = Random::named(settings.seed, &group[0].group);
    let mut weights: HashMap<WeightsDesc, WeightCopies> = HashMap::new();
    let mut refused: HashMap<&str, String> = HashMap::new();
    let mut running = Vec::new();
    for case in group {
        if let Task::Run(op) = &case.task
            && let Support::No(refusal) = subject.device.supports(op)?
        {
            refused.insert(&case.name, refusal.to_string());
            continue;
        }
        let context = || format!("{} on {}", case.name, subject.name());
        for desc in case.weights() {
            if let std::collections::hash_map::Entry::Vacant(place) = weights.entry(desc) {
                let bytes = settings.cycled_bytes;
                place.insert(
                    WeightCopies::new(&subject.device, desc, bytes, &mut random).with_context(context)?,
                );
            }
        }
        let operands = Operands::new(subject, case, &mut random).with_context(context)?;
        running.push(Running { case, operands, runs: 1, samples: Vec::new(), rounds: Vec::new() });
    }

    for running in &mut running {
        running.warm_up(subject, &weights, settings.clock).with_context(|| running.case.name.clone())?;
    }
    for _ in 0..settings.rounds {
        let ceilings = subject.measure_ceilings(group, settings)?;
        for (ceiling, rate) in &ceilings {
            measured.entry(ceiling).or_default().push(*rate);
        }
        for running in &mut running {
            running.operands.redraw(subject, running.case, &mut random)?;
            let seconds =
                running.round(subject, &weights, settings).with_context(|| running.case.name.clone())?;
            let limit = running.limit(subject, &ceilings);
            let fraction = limit.as_ref().map(|limit| limit.seconds / seconds);
            running.rounds.push(RoundReport { seconds, fraction });
        }
    }
    // What is named at last holds for the group: the median of its rounds.
    let last: HashMap<&'static str, f64> = {
        let rounds = settings.rounds;
        measured
            .iter()
            .map(|(name, rates)| (*name, median(&rates[rates.len().saturating_sub(rounds)..])))
            .collect()
    };
    let mut finished: HashMap<&str, CaseReport> = running
        .into_iter()
        .map(|running| (running.case.name.as_str(), running.finish(subject, &last)))
        .collect();
    Ok(group
        .iter()
        .map(|case| match finished.remove(case.name.as_str()) {
            Some(report) => report,
            None => CaseReport::refused(case, refused.remove(case.name.as_str()).unwrap_or_default()),
        })
        .collect())
}

impl Running<'_> {
    /// Runs once, and decides how many runs a sample has.
    fn warm_up(
        &mut self,
        subject: &Subject,
        weights: &HashMap<WeightsDesc, WeightCopies>,
        clock: Clock,
    ) -> anyhow::Result<()> {
        self.operands.run(subject, self.case, weights, 1)?;
        let start = clock.now();
        self.operands.run(subject, self.case, weights, 1)?;
        let seconds = (clock.now() - start).max(1e-9);
        self.runs = (SAMPLE.as_secs_f64() / seconds).ceil().clamp(1.0, 10_000.0) as usize;
        Ok(())
    }

    /// Takes samples for a while, and gives their median.
    fn round(
        &mut self,
        subject: &Subject,
        weights: &HashMap<WeightsDesc, WeightCopies>,
        settings: &Settings,
    ) -> anyhow::Result<f64> {
        let graph = match settings.graph {
            true => self.operands.capture(subject, self.case, weights, self.runs)?,
            false => None,
        };
        let (start, first) = (Instant::now(), self.samples.len());
        while self.samples.len() == first || start.elapsed().as_secs_f64() < settings.seconds_of_round {
            let start = settings.clock.now();
            match &graph {
                Some(graph) => {
                    graph.launch(&*subject.stream)?;
                    subject.stream.synchronize(None)?;
                }
                None => self.operands.run(subject, self.case, weights, self.runs)?,
            }
            self.samples.push((settings.clock.now() - start) / self.runs as f64);
        }
        Ok(median(&self.samples[first..]))
    }

    /// The least time that the ceilings allow a run, and the one that allows no less.
    fn limit(&self, subject: &Subject, ceilings: &HashMap<&'static str, f64>) -> Option<LimitReport> {
        let work = self.operands.work();
        let limits = subject.limits(self.case);
        let seconds = |name: Option<&'static str>, amount: f64| {
            let name = name?;
            let rate = ceilings.get(name)?;
            Some(LimitReport { name: name.to_owned(), seconds: amount / rate })
        };
        let memory = seconds(limits.memory, work.bytes);
        let compute = seconds(limits.compute, work.flops);
        [memory, compute].into_iter().flatten().max_by(|a, b| a.seconds.total_cmp(&b.seconds))
    }

    fn finish(self, subject: &Subject, ceilings: &HashMap<&'static str, f64>) -> CaseReport {
        let work = self.operands.work();
        let fractions: Vec<f64> = self.rounds.iter().filter_map(|round| round.fraction).collect();
        CaseReport {
            limit: self.limit(subject, ceilings),
            fraction: (!fractions.is_empty()).then(|| median(&fractions)),
            flops: work.flops,
            bytes: work.bytes,
            kernel: self.operands.kernel().to_owned(),
            samples: self.samples.len(),
            seconds: Some(Spread::of(self.samples)),
            rounds: self.rounds,
            ..CaseReport::refused(self.case, String::new())
        }
    }
}
