//! A case: what is asked of a backend, as data.
//!
//! Cases are made from a profile and a seed, the same list in the parent that schedules and in the worker that runs:
//! only a case's name crosses between them.

use std::time::Duration;

use crate::checkpoint::CheckpointCase;
use crate::opcase::OpCase;
use crate::outcome::Outcome;
use crate::profile::Profile;
use crate::subject::Subject;
use crate::suite::SuiteKind;
use crate::suite::abi::AbiCase;
use crate::suite::accumulator::AccumulatorCase;
use crate::suite::determinism::DeterminismCase;
use crate::suite::sequence::SequenceCase;
use crate::suite::support::SupportCase;

/// One question.
#[derive(Clone, Debug)]
pub struct Case {
    /// The suite that asks.
    pub suite: SuiteKind,
    /// Unique, stable from run to run, and chosen from by `--filter`: `exact/matmul/exact/7x33x96/mxfp4_mxfp8_f32`.
    pub name: String,
    /// The profile that requires it.
    pub profile: Profile,
    /// What its random data are drawn from.
    pub seed: u64,
    /// How long it may take before its worker is killed.
    pub time_limit: Duration,
    /// What is done.
    pub body: Body,
}

/// What a case does; one kind for all operators' numbers, and one for each suite that asks something else.
#[derive(Clone, Debug)]
pub enum Body {
    /// An operator on generated data, its outputs compared with the oracle.
    Op(OpCase),
    /// A question about the ABI itself.
    Abi(AbiCase),
    /// How wide the sums of a product are.
    Accumulator(AccumulatorCase),
    /// A random program of operators.
    Sequence(SequenceCase),
    /// What was declared of an operator's bits.
    Determinism(DeterminismCase),
    /// Whether `supports` tells the truth.
    Support(SupportCase),
    /// A golden checkpoint, end to end.
    Checkpoint(CheckpointCase),
}

impl Case {
    /// Asks it, in this process. Where the device is lost, the subject is not to be used any more.
    pub fn run(&self, subject: &mut Subject) -> Outcome {
        match &self.body {
            Body::Op(case) => case.run(subject, self.seed),
            Body::Abi(case) => case.run(subject, self.seed),
            Body::Accumulator(case) => case.run(subject, self.seed),
            Body::Sequence(case) => case.run(subject, self.seed),
            Body::Determinism(case) => case.run(subject, self.seed),
            Body::Support(case) => case.run(subject, self.seed),
            Body::Checkpoint(case) => case.run(subject, self.seed),
        }
    }
}
