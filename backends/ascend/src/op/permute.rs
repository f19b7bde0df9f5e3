//! Permute: two kernels of ours, places and rows; or, where no id is skipped, `aclnnMoeInitRoutingV3`, once for the rows, once
//! for the weights, and once for scales.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::MoeInitRouting;
use mxhal_core::op::Permute;
use mxhal_core::{Format, Reason, Refusal, Result};
use mxhal_kernels_ascend::parameters;

use super::{Execute, Run};
use crate::integers;
use crate::session::{Session, data_type};
use crate::support::{Means, Offer, refuse};

/// The most experts that CANN sorts by.
const MAX_EXPERTS: usize = 10_240;

impl Execute for Permute {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        if self.format == Format::Nvfp4 {
            return refuse(
                Reason::Format,
                "rows of nvfp4 have factors that may be one for all rows, which cannot be moved",
            );
        }
        let Err(why) = by_cann(self, offer) else { return Ok(Means::Cann) };
        if self.experts > parameters::PermutePlaces::MOST_EXPERTS {
            let most = parameters::PermutePlaces::MOST_EXPERTS;
            return refuse(Reason::Shape, format!("experts is {}; a core has room for {most}", self.experts));
        }
        match offer.needs_kernels() {
            Ok(()) => Ok(Means::Kernels),
            Err(missing) => refuse(Reason::Library, format!("{}; without it {}", why.text, missing.text)),
        }
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        if by_cann(self, session.offer()).is_err() {
            return enqueue_kernels(self, session, run);
        }
        let (tokens, slots) = (run.rows, run.rows * self.top_k);
        let ids = session.input(run.operand(1)?)?;
        let counts = session.scratch(8 * self.experts)?;
        let by_token = Places { ids, tokens, top_k: self.top_k, experts: self.experts, counts };
        enqueue_rows(self, session, run, &by_token)?;

        // Slots are tokens with one expert here: their weights move, and it is said from where. Without weights the ids
        // are moved, into scratch.
        let by_slot = Places { tokens: slots, top_k: 1, ..by_token };
        let weights = match run.optional(2) {
            Some(weights) => session.input(weights)?,
            None => ids,
        };
        let moved = match run.optional(5) {
            Some(moved) => session.output(moved)?,
            None => session.scratch(4 * slots)?,
        };
        let source = Index::Source(run.operand(7)?.data);
        by_slot.enqueue(session, (DataType::Float, 1), (weights, moved), source)?;
        integers::narrow(session, counts, run.operand(6)?.data, self.experts)
    }

    fn enqueue_nothing(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        session.clear(run.operand(6)?.data, 4 * self.experts as u64)
    }
}

/// Whether CANN's operator does it, or why not.
fn by_cann(op: &Permute, offer: &Offer) -> Result<(), Refusal> {
    if !offer.options.ids_are_never_skipped {
        let text = "CANN takes only ids of experts that are here, and -1 is to be skipped; whoever promises that no id is -1 \
                    sets option `skipped_ids` to `never`";
        return refuse(Reason::Attribute, text);
    }
    if op.mapped.is_some() {
        return refuse(Reason::Attribute, "CANN translates ids by no expert map");
    }
    if !op.format.row_scales(op.columns).is_multiple_of(2) {
        let text = format!(
            "columns is {}: scales are moved as words of two bytes, and {} has an odd number of them a row",
            op.columns, op.format
        );
        return refuse(Reason::Shape, text);
    }
    if op.experts > MAX_EXPERTS {
        let text = format!("experts is {}; CANN sorts by at most {MAX_EXPERTS}", op.experts);
        return refuse(Reason::Shape, text);
    }
    offer.needs(Operator::MoeInitRouting, &[3])
}

/// Where each slot's row goes; then elements, scales and weights, each to their places.
fn enqueue_kernels(op: &Permute, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
    let slots = (run.rows * op.top_k) as u64;
    let (x, rows) = (run.operand(0)?, run.operand(4)?);
    let ids = session.input(run.operand(1)?)?;
    let positions = session.output(run.operand(8)?)?;
    let source = run.operand(7)?.data;
    session.launch(&parameters::PermutePlaces {
        ids,
        expert_map: run.optional(3).map_or(0, |map| map.data),
        positions,
        source,
        counts: run.operand(6)?.data,
        slots,
        experts: op.experts as u64,
        mapped: op.mapped.unwrap_or(0) as u64,
    })?;
    let move_rows = |session: &mut Session<'_>, from, to, slots_of_row: usize, bytes: usize| {
        let slots_of_row = slots_of_row as u64;
        let bytes = bytes as u64;
        session.launch(&parameters::PermuteRows { from, to, source, slots, slots_of_row, bytes })
    };
    let (from, to) = (session.input(x)?, session.output(rows)?);
    move_rows(session, from, to, op.top_k, op.format.row_bytes(op.columns))?;
    if op.format.is_block_scaled() {
        move_rows(session, x.scales, rows.scales, op.top_k, op.format.row_scales(op.columns))?;
    }
    if let (Some(weights), Some(moved)) = (run.optional(2), run.optional(5)) {
        let (from, to) = (session.input(weights)?, session.output(moved)?);
        move_rows(session, from, to, 1, 4)?;
    }
    Ok(())
}

/// Rows, and where each slot's went.
fn enqueue_rows(op: &Permute, session: &mut Session<'_>, run: &Run<'_>, places: &Places) -> Result<()> {
    let (x, rows) = (run.operand(0)?, run.operand(4)?);
    let positions = session.output(run.operand(8)?)?;
    if op.format.is_plain_float() {
        let moved = (session.input(x)?, session.output(rows)?);
        return places.enqueue(
            session,
            (data_type(op.format)?, op.columns),
            moved,
            Index::Positions(positions),
        );
    }
    // Rows are copied as they are, so that any two bytes pass for a number.
    let (elements, scales) = (op.format.row_bytes(op.columns), op.format.row_scales(op.columns));
    let unused = Index::Positions(session.scratch(4 * places.slots())?);
    places.enqueue(session, (DataType::Bf16, scales / 2), (x.scales, rows.scales), unused)?;
    places.enqueue(session, (DataType::Bf16, elements / 2), (x.data, rows.data), Index::Positions(positions))
}

/// Which tokens go to which experts.
#[derive(Clone, Copy)]
struct Places {
    ids: u64,
    tokens: usize,
    top_k: usize,
    experts: usize,
    /// INT64, in scratch.
    counts: u64,
}

/// What is said of the move, I32 for each slot.
enum Index {
    /// The row that each slot went to.
    Positions(u64),
    /// The slot that each row came from.
    Source(u64),
}

impl Places {
    fn slots(&self) -> usize {
        self.tokens * self.top_k
    }

    /// Copies each token's row once for each of its experts, in order of expert.
    fn enqueue(
        &self,
        session: &mut Session<'_>,
        (element, columns): (DataType, usize),
        (from, to): (u64, u64),
        index: Index,
    ) -> Result<()> {
        let (row_type, index) = match index {
            Index::Positions(address) => (0, address),
            Index::Source(address) => (1, address),
        };
        let x = session.tensor(element, &[self.tokens, columns], from)?;
        let ids = session.tensor(DataType::Int32, &[self.tokens, self.top_k], self.ids)?;
        let rows = session.tensor(element, &[self.slots(), columns], to)?;
        let index = session.tensor(DataType::Int32, &[self.slots()], index)?;
        let counts = session.tensor(DataType::Int64, &[self.experts], self.counts)?;
        let mut routing = MoeInitRouting::new(&x, &ids, self.experts as i64, &rows, &index, &counts);
        routing.row_type = row_type;
        session.run(routing.prepare(session.context()))
    }
}
