//! Permute: a counting sort of the slots by expert, and copies of rows.

use mxhal_core::op::Permute;
use mxhal_core::{Error, Format, Result};

use super::{Execute, Tensors};
use crate::device::Shared;
use crate::pool::Scratch;
use crate::view::{Input, Output};
use crate::weights::CpuWeights;
use crate::workspace::{Workspace, room};

impl Execute for Permute {
    fn workspace_bytes(&self, _shared: &Shared) -> u64 {
        Sorted::room(self.experts, self.tokens.saturating_mul(self.top_k))
    }

    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        _weights: &[&CpuWeights],
        mut workspace: Workspace<'_>,
    ) -> Result<()> {
        let x = tensors.input(0, "x")?;
        let ids = tensors.input(1, "ids")?;
        let expert_map = tensors.optional_input(3, "expert_map")?;
        let rows = tensors.output(4, "rows")?;
        ensure_factors_fit(self.format, &x, &rows)?;

        let sorted = Sorted::new(&mut workspace, &ids, expert_map.as_ref(), self.experts)?;
        tensors.output(6, "counts")?.row(0).store_integers(sorted.counts);
        tensors.output(7, "source")?.row(0).store_integers(sorted.source);
        if let Some(weights) = tensors.optional_input(2, "weights")? {
            let mut row_weights = tensors.output(5, "row_weights")?;
            let mut row_weights = row_weights.row(0);
            for (row, source) in sorted.source[..sorted.rows].iter().enumerate() {
                let source = *source as usize;
                let weight = weights.row(source / self.top_k).float(source % self.top_k);
                row_weights.set_float(row, weight);
            }
        }
        // Token by token, so that a row is read once; its copies go to all over the place, and if they are many, nothing of
        // them would be in a cache when it is wanted.
        let past_caches = (sorted.rows * self.format.row_bytes(self.columns)) > CACHES;
        let kernels = &shared.kernels.rows;
        let mut positions = tensors.output(8, "positions")?;
        shared.pool.rows(
            positions.rows(),
            self.top_k * self.columns,
            [&mut positions],
            &mut Scratch::none(),
            |_, token, [mut positions]| {
                let places = &sorted.positions[token * self.top_k..][..self.top_k];
                positions.store_integers(places);
                let x = x.row(token);
                for place in places.iter().filter_map(|place| usize::try_from(*place).ok()) {
                    // SAFETY: no two slots have the same place.
                    let mut row = unsafe { rows.row_of_many(place) };
                    if past_caches { row.copy_past_caches(kernels, &x) } else { row.copy(&x) }
                }
                if past_caches {
                    (kernels.settle)();
                }
            },
        );
        Ok(())
    }
}

/// Bytes that are more than most machines' caches hold.
const CACHES: usize = 32 << 20;

/// Refuses rows with one factor for all where each token has its own.
fn ensure_factors_fit(format: Format, x: &Input<'_>, rows: &Output<'_>) -> Result<()> {
    let lost = x.has_factor_per_row() && x.rows() > 1 && !rows.has_factor_per_row();
    if format == Format::Nvfp4 && lost {
        return Err(Error::invalid(
            "permute: tensor `x` has a factor for each row, and tensor `rows` has one for all",
        ));
    }
    Ok(())
}

/// The slots of all tokens in order of expert, and within an expert in order of (token, slot).
pub(super) struct Sorted<'a> {
    /// Rows of each expert.
    pub(super) counts: &'a [i32],
    /// The slot that a row comes from, counted over all tokens; −1 past the last row.
    pub(super) source: &'a [i32],
    /// The row that a slot goes to; −1 where it is skipped.
    pub(super) positions: &'a [i32],
    /// The rows that there are.
    pub(super) rows: usize,
}

impl<'a> Sorted<'a> {
    /// What [`Self::new`] takes of a workspace.
    pub(super) fn room(experts: usize, slots: usize) -> u64 {
        room::<i32>(experts).saturating_add(room::<i32>(slots)).saturating_mul(2)
    }

    /// Sorts. Slots whose id, or what the map makes of it, is none of the experts are skipped.
    pub(super) fn new(
        workspace: &mut Workspace<'a>,
        ids: &Input<'_>,
        expert_map: Option<&Input<'_>>,
        experts: usize,
    ) -> Result<Self> {
        let slots = ids.rows() * ids.columns();
        let counts: &mut [i32] = workspace.take(experts)?;
        let next: &mut [i32] = workspace.take(experts)?;
        let source: &mut [i32] = workspace.take(slots)?;
        let positions: &mut [i32] = workspace.take(slots)?;

        let expert = |id: i32| {
            let local = match expert_map {
                None => id,
                Some(map) => {
                    let id = usize::try_from(id).ok().filter(|id| *id < map.columns())?;
                    map.row(0).integer(id)
                }
            };
            usize::try_from(local).ok().filter(|local| *local < experts)
        };
        let each_slot = || (0..ids.rows()).flat_map(|token| ids.row(token).integers());

        counts.fill(0);
        each_slot().filter_map(expert).for_each(|expert| counts[expert] += 1);
        let mut rows = 0;
        for (next, count) in next.iter_mut().zip(&*counts) {
            *next = rows;
            rows += count;
        }
        source.fill(-1);
        for ((slot, id), position) in (0..).zip(each_slot()).zip(&mut *positions) {
            *position = match expert(id) {
                None => -1,
                Some(expert) => {
                    let row = next[expert];
                    next[expert] += 1;
                    source[row as usize] = slot;
                    row
                }
            };
        }
        Ok(Self { counts, source, positions, rows: rows as usize })
    }
}
