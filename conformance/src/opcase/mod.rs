//! Numeric cases: an operator on generated data, run on a device and compared with the oracle.
//!
//! | module | holds |
//! | --- | --- |
//! | [`recipe`], [`routing`] | what data a case is about, as plain values |
//! | `draw`, `quantizable`, [`random`] | how they are drawn |
//! | `rig` | the run on the device: red zones, poison, inputs watched |
//! | `judge` | the comparison with the oracle |
//! | `tensor` | tensors in host memory |
//! | `digest` | the digest of outputs that have one right answer |
//! | `listing` | how suites list such cases: names and profiles |
//!
//! A case is run twice, over outputs poisoned with two patterns. What still holds both patterns afterwards was written
//! by nobody; what differs otherwise is not what the backend declared if it declared the same bits from run to run.

mod digest;
mod draw;
pub(crate) mod judge;
pub(crate) mod listing;
mod quantizable;
pub mod random;
pub mod recipe;
pub(crate) mod rig;
pub mod routing;
pub(crate) mod tensor;

use mxhal_core::op::MoeFfn;
use mxhal_core::{Format, HostBuffer, Op, OpKind, Properties, Quantization, Status, Support};
use serde::{Deserialize, Serialize};

pub use recipe::{DataRecipe, Inputs, Values};
pub use routing::Load;

use crate::outcome::{Failure, Measures, Outcome};
use crate::subject::Subject;
use judge::{Evidence, Verdict};
use random::Random;
use rig::{Poison, Rig, Stop, during};

/// A numeric case, as data: with a seed it is the same question on every machine.
#[derive(Clone, Debug, PartialEq)]
pub struct OpCase {
    /// What is planned.
    pub op: Op,
    /// Rows (tokens) of the run: at most those of the plan, and 0 is a run too.
    pub rows: usize,
    /// What the tensors hold.
    pub data: DataRecipe,
    /// How near the outputs must come.
    pub tier: Tier,
    /// Elements by which rows of plain tensors lie further apart than they must; 0 for contiguous tensors.
    pub row_gap: usize,
    /// How many output columns of a product are compared, chosen by the seed, where all would take the oracle long;
    /// `None` for all.
    pub sampled_columns: Option<usize>,
    /// What is asked.
    pub question: Question,
}

/// How near outputs must come to the oracle's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The same bits, up to the sign of a sum's zero and the payload of NaN.
    Exact,
    /// Within the bound that the oracle computes.
    Bounded,
}

/// What is asked of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// That it runs, and what it computes.
    Run,
    /// That its weights, prepared from so many parts a group, are exported as they were given.
    ExportWeights {
        /// Matrices that stack to the one of a group.
        parts: usize,
    },
    /// That more memory than there can be is refused, and that the operator runs afterwards as if nothing had been.
    AfterOutOfMemory,
}

impl OpCase {
    /// A run with as many rows as the plan allows, on contiguous tensors.
    pub fn new(op: impl Into<Op>, values: Values, tier: Tier) -> Self {
        let op = op.into();
        Self {
            rows: op.max_rows(),
            op,
            data: DataRecipe::new(values),
            tier,
            row_gap: 0,
            sampled_columns: None,
            question: Question::Run,
        }
    }

    /// Asks it.
    pub fn run(&self, subject: &Subject, seed: u64) -> Outcome {
        let drawn = || self.data.inputs(&self.op, self.rows, seed);
        self.ask(subject, seed, drawn).unwrap_or_else(Stop::into_outcome)
    }

    /// Asks it with these inputs in place of those that its recipe gives; the seed still chooses the columns that are
    /// compared.
    pub(crate) fn run_on(&self, subject: &Subject, seed: u64, inputs: &Inputs) -> Outcome {
        self.ask(subject, seed, || inputs.clone()).unwrap_or_else(Stop::into_outcome)
    }

    fn ask(&self, subject: &Subject, seed: u64, inputs: impl FnOnce() -> Inputs) -> Result<Outcome, Stop> {
        let properties = supported(subject, &self.op)?;
        let inputs = inputs();
        match self.question {
            Question::Run => {}
            Question::ExportWeights { parts } => return self.export(subject, &inputs, parts),
            Question::AfterOutOfMemory => expect_out_of_memory(subject)?,
        }
        let (measures, _) = self.compare(subject, seed, &inputs, &properties)?;
        Ok(Outcome::Pass(measures))
    }

    /// Runs it on these inputs and compares it with the oracle. Gives what was measured, and the outputs.
    pub(crate) fn compare(
        &self,
        subject: &Subject,
        seed: u64,
        inputs: &Inputs,
        properties: &Properties,
    ) -> Result<(Measures, Vec<Option<HostBuffer>>), Stop> {
        let rig = Rig::new(subject.device(), subject.stream(), &self.op, inputs, self.row_gap)?;
        let [first, second] = Poison::BOTH;
        let runs = [rig.run(first)?, rig.run(second)?];
        let verdict = self.judge(seed, inputs, properties, &runs)?;
        let mut measures = Measures {
            elements: verdict.elements,
            error_over_bound: (self.tier == Tier::Bounded).then_some(verdict.error_over_bound),
            ..Measures::default()
        };
        if self.has_one_answer() {
            measures.digest = Some(digest::of(&self.op, &runs[0]));
        }
        if !rig.kernel().is_empty() {
            measures.properties.insert("kernel".to_owned(), rig.kernel().to_owned());
        }
        let [outputs, _] = runs;
        Ok((measures, outputs))
    }

    /// Whether two runs, over the two poisons, gave what they must. The outputs are as the rig gives them.
    pub(crate) fn judge(
        &self,
        seed: u64,
        inputs: &Inputs,
        properties: &Properties,
        runs: &[Vec<Option<HostBuffer>>; 2],
    ) -> Result<Verdict, Failure> {
        judge::written::expect_written(&self.op, inputs, runs)?;
        let evidence = |outputs| Evidence {
            op: &self.op,
            tier: self.tier,
            inputs,
            outputs,
            properties,
            columns: self.sampled_columns.map(|count| sample(&self.op, count, seed)),
        };
        let verdict = judge::judge(&evidence(&runs[0]))?;
        let Some(name) = judge::written::first_difference(&self.op, inputs, runs) else { return Ok(verdict) };
        if properties.run_to_run {
            let message =
                format!("{name} differs between two runs, and the same bits from run to run were declared");
            return Err(Failure { tensor: Some(name.to_owned()), ..Failure::new(message) });
        }
        judge::judge(&evidence(&runs[1]))
    }

    fn export(&self, subject: &Subject, inputs: &Inputs, parts: usize) -> Result<Outcome, Stop> {
        let mut elements = 0;
        for (desc, given) in self.op.weights().iter().zip(&inputs.weights) {
            let prepared = rig::prepare_weights(subject.device(), desc, given, parts)?;
            if prepared.desc() != desc {
                let message = format!("weights prepared as {desc:?} call themselves {:?}", prepared.desc());
                return Err(Failure::new(message).into());
            }
            let exported = during("weights_export", prepared.export())?;
            judge::weights::expect_same_weights(given, &exported)?;
            elements += given.layout.elements() as u64;
        }
        Ok(Outcome::Pass(Measures { elements, ..Measures::default() }))
    }

    /// Whether only one sequence of bits is right, once NaN and the zeros of sums are made one.
    fn has_one_answer(&self) -> bool {
        let free = matches!(
            self.data.values,
            Values::Tiny | Values::SignedZeros | Values::Boundary | Values::NonFinite | Values::Overflow
        );
        self.tier == Tier::Exact && !free && self.op.kind() != OpKind::Route
    }
}

/// What holds of an operator that the device offers; the end of the case where it does not.
pub(crate) fn supported(subject: &Subject, op: &Op) -> Result<Properties, Stop> {
    let refusal = match during("supports", subject.device().supports(op))? {
        Support::Yes(properties) => return Ok(properties),
        Support::No(refusal) => refusal,
    };
    // A backend without the fused layer lacks that, and not a scheme in it.
    if let Op::MoeFfn(moe) = *op {
        let plain = Op::from(MoeFfn { activation: Quantization::none(), weight: Format::Mxfp4, ..moe });
        if plain != *op && !during("supports", subject.device().supports(&plain))?.is_yes() {
            let text = format!("{} is not offered in its plainest form either: {refusal}", op.kind());
            return Err(Outcome::Skipped { text }.into());
        }
    }
    let reason = refusal.reason.name().to_owned();
    Err(Outcome::NotSupported { reason, text: refusal.text }.into())
}

/// Columns of the output, the first and the last among them.
fn sample(op: &Op, count: usize, seed: u64) -> Vec<usize> {
    let n = op.weights().first().map_or(1, |desc| desc.n);
    let mut random = Random::new(seed, "columns");
    let mut columns: Vec<usize> = (2..count).map(|_| random.below(n)).chain([0, n - 1]).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// More than any machine has.
const ABSURD_BYTES: u64 = 1 << 60;

fn expect_out_of_memory(subject: &Subject) -> Result<(), Stop> {
    let device = subject.device();
    let wrong = match device.allocate(ABSURD_BYTES) {
        Err(error) if error.status() == Status::OutOfMemory => return Ok(()),
        Err(error) => format!("refused with `{error}`"),
        Ok(address) => {
            during("free", device.free(address))?;
            format!("given, at {address:#x}")
        }
    };
    let message = format!("{ABSURD_BYTES} bytes were {wrong}; out of memory is the answer");
    Err(Failure::new(message).into())
}
