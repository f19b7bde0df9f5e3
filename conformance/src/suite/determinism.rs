//! The suite `determinism`: what a backend declares of its bits, operator by operator, is tested.
//!
//! | declared | tested |
//! | --- | --- |
//! | `run_to_run` | many runs of one plan give the same bits |
//! | `batch_invariant` | a row gives the same bits alone, at another place, and in a batch of another size |
//! | `thread_invariant` | runs on several streams, each of a thread of its own, all at once, give the bits of a run alone |
//!
//! What is not declared is not asked: the case is skipped. The suite needs nothing of the backend but its word; a
//! backend that has an option for its number of threads is asked with the one that it was given.

mod select;

use std::thread;
use std::time::Duration;

use mxhal_core::op::{Combine, GroupedMatmul, Matmul, MoeFfn, Route, Score, SwiGlu, SwiGluForm};
use mxhal_core::{Format, HostBuffer, Op, Properties, Quantization};

use super::SuiteKind;
use super::bounded::layer;
use crate::case::{Body, Case};
use crate::opcase::judge::written::first_difference;
use crate::opcase::listing::{Listing, profile_of};
use crate::opcase::rig::{Poison, Rig, Stop, during};
use crate::opcase::{Inputs, OpCase, Tier, Values, supported};
use crate::outcome::{Failure, Measures, Outcome};
use crate::subject::Subject;

/// Runs of one plan.
const RUNS: usize = 12;
/// Streams at once, each with a thread.
const STREAMS: usize = 3;
/// Runs of each of them.
const RUNS_OF_A_STREAM: usize = 6;

/// An operator on data whose sums depend on their order, and what it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct DeterminismCase {
    case: OpCase,
    declared: Declared,
}

/// What a backend may declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Declared {
    RunToRun,
    BatchInvariant,
    ThreadInvariant,
}

impl Declared {
    const ALL: [Self; 3] = [Self::RunToRun, Self::BatchInvariant, Self::ThreadInvariant];

    const fn name(self) -> &'static str {
        match self {
            Self::RunToRun => "run-to-run",
            Self::BatchInvariant => "batch-invariant",
            Self::ThreadInvariant => "thread-invariant",
        }
    }

    const fn holds(self, properties: &Properties) -> bool {
        match self {
            Self::RunToRun => properties.run_to_run,
            Self::BatchInvariant => properties.batch_invariant,
            Self::ThreadInvariant => properties.thread_invariant,
        }
    }
}

/// The suite's cases.
pub fn cases(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for declared in Declared::ALL {
        let mut listing = Listing::new(SuiteKind::Determinism, seed);
        for op in operators() {
            listing.add(declared.name(), OpCase::new(op, Values::Ordinary, Tier::Bounded));
        }
        cases.extend(listing.into_cases().into_iter().map(|case| {
            let Body::Op(asked) = case.body else { unreachable!("a listing holds numeric cases alone") };
            Case {
                profile: profile_of(&asked.op),
                body: Body::Determinism(DeterminismCase { case: asked, declared }),
                time_limit: Duration::from_secs(60),
                ..case
            }
        }));
    }
    cases
}

/// Products with every scheme and both kinds of group, and the other operators that compute in float32.
fn operators() -> Vec<Op> {
    let mut all: Vec<Op> = Vec::new();
    for scheme in
        [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4, Format::Nvfp4]
    {
        let weight = if scheme == Format::Nvfp4 { Format::Nvfp4 } else { Format::Mxfp4 };
        let input = if scheme == Format::Nvfp4 { scheme } else { Format::Bf16 };
        let each = Matmul { weight, input, ..Matmul::mxfp4(37, 72, 544, Quantization::new(scheme)) };
        all.push(each.into());
        all.push(GroupedMatmul { each: Matmul { bias: true, ..each }, groups: 5 }.into());
        let activation = Quantization::new(scheme);
        all.push(MoeFfn { tokens: 21, weight, activation, output: Format::Bf16, ..layer() }.into());
    }
    let tiles = Matmul { weight: Format::Fp8Tile128, ..Matmul::mxfp4(19, 130, 288, Quantization::none()) };
    all.push(tiles.into());
    let form = SwiGluForm::silu(10.0);
    for to in [Format::F32, Format::Mxfp8] {
        let to = Quantization::new(to);
        all.push(SwiGlu { rows: 23, n: 160, form, input: Format::Bf16, row_weights: true, to }.into());
    }
    for top_k in [2, 8] {
        let (input, output) = (Format::Bf16, Format::F32);
        let addend = Some(Format::Bf16);
        all.push(Combine { tokens: 17, columns: 100, top_k, input, output, weighted: true, addend }.into());
    }
    for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
        all.push(
            Route {
                tokens: 29,
                experts: 60,
                top_k: 6,
                score,
                bias: true,
                ids_given: false,
                renormalize: true,
                scale: 1.5,
            }
            .into(),
        );
    }
    all
}

impl DeterminismCase {
    /// Asks it.
    pub fn run(&self, subject: &Subject, seed: u64) -> Outcome {
        self.ask(subject, seed).unwrap_or_else(Stop::into_outcome)
    }

    fn ask(&self, subject: &Subject, seed: u64) -> Result<Outcome, Stop> {
        let properties = supported(subject, &self.case.op)?;
        if !self.declared.holds(&properties) {
            let text = format!("{} is not declared of it", self.declared.name());
            return Ok(Outcome::Skipped { text });
        }
        let inputs = self.case.data.inputs(&self.case.op, self.case.rows, seed);
        let elements = match self.declared {
            Declared::RunToRun => self.run_to_run(subject, &inputs)?,
            Declared::BatchInvariant => self.batches(subject, &inputs)?,
            Declared::ThreadInvariant => self.threads(subject, &inputs)?,
        };
        Ok(Outcome::Pass(Measures { elements, ..Measures::default() }))
    }

    fn run_to_run(&self, subject: &Subject, inputs: &Inputs) -> Result<u64, Stop> {
        let rig = Rig::new(subject.device(), subject.stream(), &self.case.op, inputs, 0)?;
        let alone = rig.run(Poison::BOTH[0])?;
        for run in 1..RUNS {
            let again = rig.run(Poison::BOTH[run % 2])?;
            self.expect_same(inputs, &alone, again, || format!("run {} of one plan", run + 1))?;
        }
        Ok(RUNS as u64 * elements(&alone))
    }

    /// Each row of some choices of rows against the same row in the whole batch; both under the plan of the whole
    /// batch, and under one that is made for so many rows.
    fn batches(&self, subject: &Subject, inputs: &Inputs) -> Result<u64, Stop> {
        let op = self.case.op;
        let run = |op: &Op, inputs: &Inputs| {
            Rig::new(subject.device(), subject.stream(), op, inputs, 0)?.run(Poison::BOTH[0])
        };
        let whole = run(&op, inputs)?;
        let mut compared = 0;
        for rows in select::choices(&op, inputs) {
            let part = select::rows(&op, inputs, &rows);
            for plan in [op, select::with_rows(op, rows.len())] {
                let got = run(&plan, &part)?;
                compared += elements(&got);
                for (place, argument) in op.arguments().iter().enumerate() {
                    let [Some(whole), Some(got)] = [&whole[place], &got[place]] else { continue };
                    for (at, &row) in rows.iter().enumerate() {
                        if select::row(whole, row) != select::row(got, at) {
                            return Err(Failure {
                                tensor: Some(argument.name.to_owned()),
                                index: vec![row],
                                ..Failure::new(format!(
                                    "row {row} of {} gives other bits as row {at} of {} in a plan of {} than in a \
                                     batch of {}, and the same bits in any batch were declared",
                                    argument.name,
                                    rows.len(),
                                    plan.max_rows(),
                                    inputs.rows
                                ))
                            }
                            .into());
                        }
                    }
                }
            }
        }
        Ok(compared)
    }

    fn threads(&self, subject: &Subject, inputs: &Inputs) -> Result<u64, Stop> {
        let (op, device) = (&self.case.op, subject.device());
        let alone = Rig::new(device, subject.stream(), op, inputs, 0)?.run(Poison::BOTH[0])?;
        let on_a_stream = || -> Result<Vec<_>, Stop> {
            let stream = during("stream_create", device.create_stream())?;
            let rig = Rig::new(device, &*stream, op, inputs, 0)?;
            (0..RUNS_OF_A_STREAM).map(|run| rig.run(Poison::BOTH[run % 2])).collect()
        };
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..STREAMS).map(|_| scope.spawn(on_a_stream)).collect();
            threads.into_iter().map(|thread| thread.join().expect("a rig does not panic")).collect()
        });
        for (stream, runs) in results.into_iter().enumerate() {
            for run in runs? {
                self.expect_same(inputs, &alone, run, || {
                    format!("a run on stream {stream} of {STREAMS} at once")
                })?;
            }
        }
        Ok((STREAMS * RUNS_OF_A_STREAM) as u64 * elements(&alone))
    }

    fn expect_same(
        &self,
        inputs: &Inputs,
        alone: &[Option<HostBuffer>],
        again: Vec<Option<HostBuffer>>,
        which: impl Fn() -> String,
    ) -> Result<(), Stop> {
        let runs = [alone.to_vec(), again];
        let Some(name) = first_difference(&self.case.op, inputs, &runs) else { return Ok(()) };
        let message = format!(
            "{} gives other bits of {name} than a run alone, and {} was declared",
            which(),
            self.declared.name()
        );
        Err(Failure { tensor: Some(name.to_owned()), ..Failure::new(message) }.into())
    }
}

fn elements(outputs: &[Option<HostBuffer>]) -> u64 {
    outputs.iter().flatten().map(|output| output.layout.elements() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_valid_and_asked_for_all_that_can_be_declared() {
        let cases = cases(1);
        assert_eq!(cases.len(), 3 * operators().len());
        for op in operators() {
            op.validate().unwrap();
        }
    }
}
