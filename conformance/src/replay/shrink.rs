//! Shrinking: the smallest trial, of those that are tried, that fails in the same way.
//!
//! Which trials are tried depends on the trial and on the answers alone: the same backend gives the same result again,
//! unless the time runs out.

use std::time::{Duration, Instant};

use mxhal_core::op::{GroupedMatmul, Op};
use mxhal_core::{Format, HostBuffer};

use super::cut::{Axis, cut, place_of, set};
use super::trial::Trial;
use crate::opcase::tensor::read_integers;
use crate::opcase::{Question, Tier};
use crate::oracle::format::{nearest_e2m1, nearest_e4m3};
use crate::report::{State, StateKind};

/// How much shrinking may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// All of it.
    pub time: Duration,
    /// Trials.
    pub steps: usize,
}

impl Default for Budget {
    /// 20 seconds, 500 trials.
    fn default() -> Self {
        Self { time: Duration::from_secs(20), steps: 500 }
    }
}

/// The way in which something fails: what stays the same while all numbers change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    state: StateKind,
    words: String,
}

impl Kind {
    /// That of a state.
    pub fn of(state: &State) -> Self {
        let words = match state {
            State::Fail(failure) => {
                let sentence = failure.message.split(':').next().unwrap_or_default();
                let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
                sentence.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ")
            }
            _ => String::new(),
        };
        Self { state: state.kind(), words }
    }
}

/// What came of shrinking.
#[derive(Clone, Debug)]
pub(super) struct Shrunk {
    pub(super) trial: Trial,
    pub(super) state: State,
    /// Trials that were asked.
    pub(super) steps: usize,
}

/// Makes a trial smaller for as long as `ask` gives a state of the same kind.
pub(super) fn shrink(
    trial: &Trial,
    state: &State,
    budget: Budget,
    ask: &mut dyn FnMut(&Trial) -> State,
) -> Shrunk {
    let best = Shrunk { trial: trial.clone(), state: state.clone(), steps: 0 };
    let mut search = Search { kind: Kind::of(state), best, budget, end: Instant::now() + budget.time, ask };
    loop {
        let before = search.best.trial.clone();
        for axis in Axis::ALL {
            search.trim(axis);
        }
        for simplify in ATTRIBUTES {
            search.attempt(simplify);
        }
        search.simplify_values();
        if search.is_over() || search.best.trial == before {
            return search.best;
        }
    }
}

struct Search<'a> {
    kind: Kind,
    best: Shrunk,
    budget: Budget,
    end: Instant,
    ask: &'a mut dyn FnMut(&Trial) -> State,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.best.steps >= self.budget.steps || Instant::now() >= self.end
    }

    /// Keeps what `change` makes of the trial if that is another one and fails alike.
    fn attempt(&mut self, change: impl FnOnce(&Trial) -> Option<Trial>) -> bool {
        if self.is_over() {
            return false;
        }
        let Some(next) = change(&self.best.trial).filter(|next| *next != self.best.trial) else {
            return false;
        };
        self.best.steps += 1;
        let state = (self.ask)(&next);
        if Kind::of(&state) != self.kind {
            return false;
        }
        self.best.trial = next;
        self.best.state = state;
        true
    }

    /// Takes as much as it can from the end and from the beginning, halves first.
    fn trim(&mut self, axis: Axis) {
        let step = axis.step(&self.best.trial.case.op);
        let Some(mut size) = axis.extent(&self.best.trial).map(|extent| (extent / 2).next_multiple_of(step))
        else {
            return;
        };
        while size >= step {
            while self.attempt(|trial| cut(trial, axis, 0..left(trial, axis, size)?))
                || self.attempt(|trial| {
                    left(trial, axis, size)?;
                    cut(trial, axis, size..axis.extent(trial)?)
                })
            {}
            if size == step {
                return;
            }
            size = (size / 2).next_multiple_of(step);
        }
    }

    fn simplify_values(&mut self) {
        if matches!(self.best.trial.case.op, Op::Route(_)) {
            // Its scores are kept so far apart that the choice among them is no matter of rounding.
            return;
        }
        let arguments = self.best.trial.case.op.arguments();
        let places = (0..arguments.len()).map(Place::Tensor);
        let places: Vec<_> =
            places.chain((0..self.best.trial.inputs.weights.len()).map(Place::Weights)).collect();
        for place in places {
            for simplify in [ones_everywhere, unit_scales, zero_first_half, zero_last_half] {
                self.attempt(|trial| {
                    let mut next = trial.clone();
                    let has_bias =
                        place_of(trial, "bias").is_some_and(|bias| trial.inputs.tensors[bias].is_some());
                    if has_bias && trial.case.tier == Tier::Exact {
                        // It is a multiple of the products' unit, which would no longer be the same.
                        return None;
                    }
                    let buffer = match place {
                        Place::Tensor(place) => next.inputs.tensors[place].as_mut()?,
                        Place::Weights(place) => &mut next.inputs.weights[place],
                    };
                    simplify(buffer)?;
                    Some(next)
                });
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    Tensor(usize),
    Weights(usize),
}

/// What is left of an axis after `size` are taken from it, if anything is.
fn left(trial: &Trial, axis: Axis, size: usize) -> Option<usize> {
    axis.extent(trial)?.checked_sub(size).filter(|left| *left > 0)
}

type Simplify = fn(&Trial) -> Option<Trial>;

/// Attributes made plain, one at a time.
const ATTRIBUTES: [Simplify; 9] =
    [tight_plan, contiguous, one_part, plain_run, no_bias, no_weights, no_map, no_addend, no_shared];

/// A plan for no more rows than are run.
fn tight_plan(trial: &Trial) -> Option<Trial> {
    cut(trial, Axis::Rows, 0..trial.case.rows)
}

fn contiguous(trial: &Trial) -> Option<Trial> {
    let mut next = trial.clone();
    next.case.row_gap = 0;
    Some(next)
}

fn one_part(trial: &Trial) -> Option<Trial> {
    let Question::ExportWeights { .. } = trial.case.question else { return None };
    let mut next = trial.clone();
    next.case.question = Question::ExportWeights { parts: 1 };
    Some(next)
}

fn plain_run(trial: &Trial) -> Option<Trial> {
    let Question::AfterOutOfMemory = trial.case.question else { return None };
    let mut next = trial.clone();
    next.case.question = Question::Run;
    Some(next)
}

fn no_bias(trial: &Trial) -> Option<Trial> {
    with_op(trial, |op| match op {
        Op::Matmul(each) | Op::GroupedMatmul(GroupedMatmul { each, .. }) => each.bias = false,
        Op::MoeFfn(op) => op.bias = false,
        _ => {}
    })
}

fn no_weights(trial: &Trial) -> Option<Trial> {
    with_op(trial, |op| match op {
        Op::SwiGlu(op) => op.row_weights = false,
        Op::Permute(op) => op.weights = false,
        Op::Combine(op) => op.weighted = false,
        _ => {}
    })
}

/// Ids of the experts here, in place of a map to them.
fn no_map(trial: &Trial) -> Option<Trial> {
    let op = &trial.case.op;
    let map = read_integers(trial.inputs.get(op, "expert_map")?);
    let ids = read_integers(trial.inputs.get(op, "ids")?);
    let local = |id: i32| usize::try_from(id).ok().and_then(|id| map.get(id)).copied().unwrap_or(-1);
    let ids: Vec<i32> = ids.into_iter().map(local).collect();
    let mut next = with_op(trial, |op| match op {
        Op::Permute(op) => op.mapped = None,
        Op::MoeFfn(op) => op.mapped = None,
        _ => {}
    })?;
    set(&mut next, "ids", &ids)?;
    Some(next)
}

fn no_addend(trial: &Trial) -> Option<Trial> {
    with_op(trial, |op| {
        if let Op::Combine(op) = op {
            op.addend = None;
        }
    })
}

fn no_shared(trial: &Trial) -> Option<Trial> {
    with_op(trial, |op| {
        if let Op::MoeFfn(op) = op {
            op.shared = None;
        }
    })
}

/// The trial with other attributes, and without the inputs that those exclude.
fn with_op(trial: &Trial, change: impl FnOnce(&mut Op)) -> Option<Trial> {
    let mut next = trial.clone();
    change(&mut next.case.op);
    next.case.op.validate().ok()?;
    for (argument, tensor) in next.case.op.arguments().iter().zip(&mut next.inputs.tensors) {
        if !argument.present {
            *tensor = None;
        }
    }
    next.inputs.weights.truncate(next.case.op.weights().len());
    Some(next)
}

fn is_number(format: Format) -> bool {
    format.is_plain_float() || format.is_block_scaled()
}

/// Every element 1, under scales of 1.
fn ones_everywhere(buffer: &mut HostBuffer) -> Option<()> {
    let format = buffer.layout.format();
    if !is_number(format) {
        return None;
    }
    let one: Vec<u8> = match format {
        Format::F32 => 1f32.to_le_bytes().to_vec(),
        Format::Bf16 => 0x3f80u16.to_le_bytes().to_vec(),
        Format::F16 => 0x3c00u16.to_le_bytes().to_vec(),
        Format::Mxfp4 | Format::Nvfp4 => vec![nearest_e2m1(1.0) * 0x11],
        Format::Mxint8 => vec![64],
        _ => vec![nearest_e4m3(1.0)],
    };
    for element in buffer.data.chunks_exact_mut(one.len()) {
        element.copy_from_slice(&one);
    }
    unit_scales(buffer).or(Some(()))
}

/// Every scale and factor 1.
fn unit_scales(buffer: &mut HostBuffer) -> Option<()> {
    let format = buffer.layout.format();
    if !format.is_block_scaled() {
        return None;
    }
    buffer.scales.fill(if format == Format::Nvfp4 { nearest_e4m3(1.0) } else { 127 });
    for factor in buffer.factors.chunks_exact_mut(4) {
        factor.copy_from_slice(&1f32.to_le_bytes());
    }
    Some(())
}

fn zero_first_half(buffer: &mut HostBuffer) -> Option<()> {
    let half = halfway(buffer)?;
    buffer.data[..half].fill(0);
    Some(())
}

fn zero_last_half(buffer: &mut HostBuffer) -> Option<()> {
    let half = halfway(buffer)?;
    buffer.data[half..].fill(0);
    Some(())
}

/// The byte with which the second half of the elements begins.
fn halfway(buffer: &HostBuffer) -> Option<usize> {
    let format = buffer.layout.format();
    is_number(format).then(|| (buffer.data.len() / 2).next_multiple_of(format.bits().div_ceil(8)))
}

#[cfg(test)]
mod tests {
    use mxhal_core::Quantization;
    use mxhal_core::op::{Matmul, Permute};

    use super::*;
    use crate::opcase::{OpCase, Values};
    use crate::outcome::{Failure, Measures};

    fn product() -> Trial {
        let each = Matmul { bias: true, ..Matmul::mxfp4(9, 33, 160, Quantization::none()) };
        let mut case = OpCase::new(each, Values::Ordinary, Tier::Bounded);
        case.row_gap = 5;
        Trial::new(&case, 3)
    }

    fn fail(message: &str) -> State {
        State::Fail(Failure::new(message))
    }

    fn matmul(trial: &Trial) -> Matmul {
        let Op::Matmul(each) = trial.case.op else { panic!("{:?}", trial.case.op) };
        each
    }

    /// Wrong where there are 64 columns or more; other numbers in each message.
    fn needs_two_blocks(trial: &Trial) -> State {
        match matmul(trial).k {
            64.. => fail(&format!("element {} of y is wrong", matmul(trial).n)),
            _ => State::Pass(Measures::default()),
        }
    }

    #[test]
    fn what_the_failure_needs_is_left_and_nothing_else() {
        let run = || {
            let trial = product();
            shrink(&trial, &needs_two_blocks(&trial), Budget::default(), &mut needs_two_blocks)
        };
        let small = run();
        let each = matmul(&small.trial);
        assert_eq!((each.m, each.n, each.k, each.bias, small.trial.case.row_gap), (1, 1, 64, false, 0));
        assert!(small.trial.inputs.weights[0].scales.iter().all(|&scale| scale == 127));
        assert!(small.steps < 100, "{}", small.steps);
        assert_eq!(run().trial, small.trial);
    }

    #[test]
    fn the_row_that_is_wrong_is_found_wherever_it_is() {
        let op = Permute {
            tokens: 21,
            columns: 64,
            experts: 8,
            top_k: 3,
            format: Format::Bf16,
            weights: true,
            mapped: Some(12),
        };
        let trial = Trial::new(&OpCase::new(op, Values::Ordinary, Tier::Exact), 1);
        let weight_at = |trial: &Trial, slot: usize| {
            let place = place_of(trial, "weights")?;
            Some(trial.inputs.tensors[place].as_ref()?.data[4 * slot..][..4].to_vec())
        };
        let culprit = weight_at(&trial, 13 * 3 + 1).unwrap();
        let mut ask = |trial: &Trial| {
            let slots = trial.case.rows * axis_top_k(trial);
            match (0..slots).any(|slot| weight_at(trial, slot).as_ref() == Some(&culprit)) {
                true => fail("row_weights is not what is exactly right"),
                false => State::Pass(Measures::default()),
            }
        };
        let small = shrink(&trial, &ask(&trial), Budget::default(), &mut ask).trial;
        let Op::Permute(op) = small.case.op else { panic!("{:?}", small.case.op) };
        assert_eq!((op.tokens, op.columns, op.experts, op.top_k, op.mapped), (1, 1, 1, 1, None));
        assert_eq!(weight_at(&small, 0).unwrap(), culprit);
    }

    fn axis_top_k(trial: &Trial) -> usize {
        Axis::TopK.extent(trial).expect("Permute has it")
    }

    #[test]
    fn another_failure_is_not_followed_and_the_budget_is_kept() {
        let trial = product();
        let mut ask = |trial: &Trial| match matmul(trial).m {
            9 => fail("y is not what is exactly right"),
            _ => fail("red zone: a byte 1 past the end of y was written"),
        };
        let small = shrink(&trial, &ask(&trial), Budget::default(), &mut ask);
        assert_eq!((matmul(&small.trial).m, matmul(&small.trial).n), (9, 1));
        let budget = Budget { steps: 3, ..Budget::default() };
        let small = shrink(&trial, &needs_two_blocks(&trial), budget, &mut needs_two_blocks);
        assert_eq!(small.steps, 3);
        let budget = Budget { time: Duration::ZERO, ..Budget::default() };
        assert_eq!(shrink(&trial, &needs_two_blocks(&trial), budget, &mut needs_two_blocks).trial, trial);
    }
}
