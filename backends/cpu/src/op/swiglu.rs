//! SwiGlu: the gated activation.

use mxhal_core::op::{SwiGlu, SwiGluForm, SwiGluVariant};
use mxhal_core::{Format, Quantization, Result};

use super::{Execute, Tensors, ensure_factor_per_row};
use crate::device::Shared;
use crate::gate::{Gate, GateUp};
use crate::kernel::RowKernels;
use crate::pool::Scratch;
use crate::view::{Row, RowMut};
use crate::weights::CpuWeights;
use crate::workspace::Workspace;

impl Execute for SwiGlu {
    fn workspace_bytes(&self, shared: &Shared) -> u64 {
        Scratch::<f32>::room(&shared.pool, scratch_values(self.n))
    }

    fn execute(
        &self,
        shared: &Shared,
        tensors: Tensors<'_>,
        _weights: &[&CpuWeights],
        mut workspace: Workspace<'_>,
    ) -> Result<()> {
        let x = tensors.input(0, "x")?;
        let row_weights = tensors.optional_input(1, "row_weights")?;
        let mut y = tensors.output(2, "y")?;
        ensure_factor_per_row("y", &y, self.to.format)?;
        let mut scratch = Scratch::take(&shared.pool, &mut workspace, scratch_values(self.n))?;
        let weight = |row| row_weights.as_ref().map(|weights| weights.row(0).float(row));
        let (rows, n) = (y.rows(), self.n);
        shared.pool.rows(rows, 32 * n, [&mut y], &mut scratch, |values, r, [mut y]| {
            row(
                &shared.kernels.rows,
                &self.form,
                &x.row(r),
                weight(r),
                &self.to,
                &mut values[..3 * n],
                &mut y,
            );
        });
        Ok(())
    }
}

/// Float32 values of scratch that each thread needs for `n` columns.
pub(super) fn scratch_values(n: usize) -> usize {
    n.saturating_mul(3)
}

/// Activates one row; the scratch is [`scratch_values`].
pub(super) fn row(
    kernels: &RowKernels,
    form: &SwiGluForm,
    x: &Row<'_>,
    weight: Option<f32>,
    to: &Quantization,
    scratch: &mut [f32],
    y: &mut RowMut<'_>,
) {
    let (gate_up, values) = scratch.split_at_mut(scratch.len() / 3 * 2);
    let gate = Gate { weight: weight.unwrap_or(1.0), to_bf16: to.format.is_block_scaled(), ..gate(form) };
    let x = match x.format() {
        Format::Bf16 => GateUp::Bf16(x.data()),
        _ => GateUp::F32(x.values(kernels, gate_up)),
    };
    (kernels.activate)(&gate, x, values);
    y.store(kernels, values, to);
}

/// The function with its constants as they are used, without weight or rounding.
fn gate(form: &SwiGluForm) -> Gate {
    let (slope, plus) = match form.variant {
        SwiGluVariant::GptOss => (form.alpha, 1.0),
        _ => (1.0, 0.0),
    };
    let limit = if form.limit == 0.0 { f32::INFINITY } else { form.limit };
    Gate { limit, slope, plus, interleaved: form.interleaved, weight: 1.0, to_bf16: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(form: SwiGluForm, gate: f32, up: f32) -> f32 {
        super::gate(&form).value(gate, up)
    }

    #[test]
    fn the_limit_cuts_the_gate_above_and_up_on_both_sides() {
        let limited = SwiGluForm::silu(10.0);
        assert_eq!(value(limited, 50.0, 3.0), value(limited, 10.0, 3.0));
        assert_eq!(value(limited, 1.0, -50.0), value(limited, 1.0, -10.0));
        assert_ne!(value(limited, -20.0, 1.0), value(limited, -10.0, 1.0));
        assert_eq!(value(SwiGluForm::silu(0.0), 50.0, 30.0), 1500.0);
    }

    #[test]
    fn nan_stays_and_a_very_negative_gate_gives_zero() {
        for form in [SwiGluForm::silu(0.0), SwiGluForm::silu(10.0), SwiGluForm::gpt_oss(7.0)] {
            assert!(value(form, f32::NAN, 1.0).is_nan());
            assert!(value(form, 1.0, f32::NAN).is_nan());
            assert_eq!(value(form, -2000.0, 1.0), 0.0);
        }
    }
}
