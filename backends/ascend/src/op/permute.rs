//! Permute: `aclnnMoeInitRoutingV3`, twice.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::op::MoeInitRouting;
use mxhal_cann::safe::{DataType, TensorView};
use mxhal_core::op::Permute;
use mxhal_core::{Format, Reason, Refusal, Result};

use super::{Execute, Run};
use crate::integers;
use crate::session::{Session, data_type};
use crate::support::{Offer, refuse};

/// The most experts that CANN sorts by.
const MAX_EXPERTS: usize = 10_240;

impl Execute for Permute {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        if !offer.options.ids_are_never_skipped {
            let text = "CANN takes only ids of experts that are here, and -1 is to be skipped; whoever promises that no id \
                        is -1 sets option `skipped_ids` to `never`";
            return refuse(Reason::Attribute, text);
        }
        if self.mapped.is_some() {
            return refuse(Reason::Attribute, "CANN translates ids by no expert map");
        }
        if self.format.is_block_scaled() && self.format != Format::Mxfp4 {
            let text = format!("CANN moves rows of mxfp4 with their scales, and not of {}", self.format);
            return refuse(Reason::Format, text);
        }
        if self.format == Format::Mxfp4 && !self.columns.is_multiple_of(64) {
            let text = format!("columns is {}: CANN moves scales in pairs, one for 64 columns", self.columns);
            return refuse(Reason::Shape, text);
        }
        if self.experts > MAX_EXPERTS {
            let text = format!("experts is {}; CANN sorts by at most {MAX_EXPERTS}", self.experts);
            return refuse(Reason::Shape, text);
        }
        offer.needs(Operator::MoeInitRouting, &[3])
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let ids = session.input(run.operand(1)?)?;
        let counts = session.scratch(8 * self.experts)?;
        let places = Places { ids, counts, slots: run.rows * self.top_k };
        move_rows(self, session, run, &places)?;
        move_weights(self, session, run, &places)?;
        integers::narrow(session, counts, run.operand(6)?.data, self.experts)
    }

    fn enqueue_nothing(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        session.clear(run.operand(6)?.data, 4 * self.experts as u64)
    }
}

/// What both calls have in common.
struct Places {
    ids: u64,
    /// INT64, which both write.
    counts: u64,
    slots: usize,
}

/// The rows, and where each slot's went.
fn move_rows(op: &Permute, session: &mut Session<'_>, run: &Run<'_>, places: &Places) -> Result<()> {
    let (x, rows) = (run.operand(0)?, run.operand(4)?);
    let (pairs, element) = (op.columns.div_ceil(64), data_type(op.format)?);
    let scales = match op.format.is_block_scaled() {
        true => Some((
            session.tensor(DataType::Float8E8m0, &[run.rows, pairs, 2], x.scales)?,
            session.tensor(DataType::Float8E8m0, &[places.slots, pairs, 2], rows.scales)?,
        )),
        false => None,
    };
    let (x, rows) = (session.input(x)?, session.output(rows)?);
    let x = session.tensor(element, &[run.rows, op.columns], x)?;
    let rows = session.tensor(element, &[places.slots, op.columns], rows)?;
    let ids = session.tensor(DataType::Int32, &[run.rows, op.top_k], places.ids)?;
    let positions = session.output(run.operand(8)?)?;
    let positions = session.tensor(DataType::Int32, &[places.slots], positions)?;
    let counts = session.tensor(DataType::Int64, &[op.experts], places.counts)?;
    let mut routing = MoeInitRouting::new(&x, &ids, op.experts as i64, &rows, &positions, &counts);
    routing.scale = scales.as_ref().map(|(from, _)| from);
    routing.expanded_scale = scales.as_ref().map(|(_, to)| to);
    session.run(routing.prepare(session.context()))
}

/// The weights, and which slot each row came from: slots are tokens with one expert here. Without weights the ids
/// are moved, into scratch.
fn move_weights(op: &Permute, session: &mut Session<'_>, run: &Run<'_>, places: &Places) -> Result<()> {
    let slots = places.slots;
    let weights = match run.optional(2) {
        Some(weights) => session.input(weights)?,
        None => places.ids,
    };
    let moved = match run.optional(5) {
        Some(moved) => session.output(moved)?,
        None => session.scratch(4 * slots)?,
    };
    let one_each = |session: &Session<'_>, data_type, address| -> Result<TensorView> {
        session.tensor(data_type, &[slots, 1], address)
    };
    let weights = one_each(session, DataType::Float, weights)?;
    let moved = one_each(session, DataType::Float, moved)?;
    let ids = one_each(session, DataType::Int32, places.ids)?;
    let source = session.tensor(DataType::Int32, &[slots], run.operand(7)?.data)?;
    let counts = session.tensor(DataType::Int64, &[op.experts], places.counts)?;
    let mut routing = MoeInitRouting::new(&weights, &ids, op.experts as i64, &moved, &source, &counts);
    routing.row_type = 1;
    session.run(routing.prepare(session.context()))
}
