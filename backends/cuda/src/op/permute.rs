//! Permute: `permute_count`, `permute_place` and `permute_rows`.

use mxhal_core::op::Permute;
use mxhal_core::{Error, Refusal, Result};
use mxhal_kernels_cuda::parameters::{PermuteParameters, PermuteRowsParameters};

use super::quantize::Rows;
use super::{Execute, Run, small};
use crate::session::Session;
use crate::support::Offer;

impl Execute for Permute {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        offer.ensure_elements(&[self.tokens, self.top_k, self.columns])
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let (x, rows) = (run.operand(0)?, run.operand(4)?);
        if x.factor_per_row && !rows.factor_per_row && rows.factors != 0 {
            return Err(Error::invalid(format!(
                "tensor `rows` has one factor for {} rows, and each token has its own",
                rows.rows
            )));
        }
        let place = Place {
            ids: session.input(run.operand(1)?)?,
            expert_map: run.input_or_none(session, 3)?,
            mapped: self.mapped.unwrap_or(0),
            experts: self.experts,
            slots: run.rows * self.top_k,
            counts: run.operand(6)?.data,
            source: run.operand(7)?.data,
            positions: session.output(run.operand(8)?)?,
        };
        place.enqueue(session)?;

        let mut from = Rows::of(x, self.format, self.columns);
        let mut to = Rows::of(rows, self.format, self.columns);
        (from.data, to.data) = (session.input(x)?, session.output(rows)?);
        let weights = run.input_or_none(session, 2)?;
        let row_weights = run.optional(5).map_or(0, |operand| operand.data);
        if from.factor_per_row {
            return copy_rows(session, &place, self.top_k, (&from, &to), (weights, row_weights));
        }
        // One factor for all: it is copied as that of token 0, which every slot is of where tokens have so many.
        let only = |rows: &Rows, place: usize| {
            let bytes = std::array::from_fn(|i| if i == place { rows.bytes[i] } else { 0 });
            Rows { bytes, ..*rows }
        };
        let without = |rows: &Rows| Rows { bytes: [rows.bytes[0], rows.bytes[1], 0], ..*rows };
        copy_rows(session, &place, self.top_k, (&without(&from), &without(&to)), (weights, row_weights))?;
        let slots = if to.factor_per_row { place.slots } else { place.slots.min(1) };
        let place = Place { slots, ..place };
        copy_rows(session, &place, u32::MAX as usize, (&only(&from, 2), &only(&to, 2)), (0, 0))
    }
}

/// Which slot goes to which row; addresses of I32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) ids: u64,
    pub(super) expert_map: u64,
    pub(super) mapped: usize,
    pub(super) experts: usize,
    pub(super) slots: usize,
    pub(super) counts: u64,
    pub(super) source: u64,
    pub(super) positions: u64,
}

impl Place {
    /// Writes counts, sources and positions.
    pub(super) fn enqueue(&self, session: &mut Session<'_>) -> Result<()> {
        let parameters = PermuteParameters {
            ids: self.ids,
            expert_map: self.expert_map,
            counts: self.counts,
            source: self.source,
            positions: self.positions,
            slots: small(self.slots)?,
            experts: small(self.experts)?,
            mapped: small(self.mapped)?,
            reserved: 0,
        };
        for launch in parameters.launches() {
            session.launch(&launch, parameters)?;
        }
        Ok(())
    }
}

/// Copies each token to its rows, and its weights (0 for none) beside them.
pub(super) fn copy_rows(
    session: &mut Session<'_>,
    place: &Place,
    top_k: usize,
    (from, to): (&Rows, &Rows),
    (weights, row_weights): (u64, u64),
) -> Result<()> {
    let parameters = PermuteRowsParameters {
        source: place.source,
        from: [from.data, from.scales, from.factors],
        to: [to.data, to.scales, to.factors],
        weights,
        row_weights,
        bytes: from.bytes.map(|bytes| bytes as u64),
        rows: small(place.slots)?,
        top_k: small(top_k)?,
    };
    session.launch(&parameters.launch(), parameters)
}
