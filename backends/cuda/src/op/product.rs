//! Products: what single ones, grouped ones and layers of experts share.
//!
//! Which kernel it is says [`Product::choose`], by the architecture, the formats and the rows that a group has on
//! average; its documentation has the table.

use std::mem::discriminant;

use mxhal_core::op::{Matmul, WeightsDesc};
use mxhal_core::{Format, Refusal, Result};
use mxhal_kernels_cuda::Product;
use mxhal_kernels_cuda::parameters::{ProductParameters, TensorProductParameters};
use mxhal_kernels_cuda::tensor_map::TensorMap;

use super::quantize::{self, Rows};
use super::{Operand, Run, rows_to_measure, small};
use crate::session::Session;
use crate::support::Offer;
use crate::tensor_map;
use crate::weights::{Matrix, Operands};

/// What strides of activations are a multiple of, for kernels that read 16 bytes at once.
const STRIDE_ALIGNMENT: u64 = 16;

/// Whether launches hold a product, with few rows and with the most.
pub(super) fn check(offer: &Offer, op: &Matmul, groups: usize) -> Result<(), Refusal> {
    offer.ensure_elements(&[op.m, op.k])?;
    offer.ensure_elements(&[op.m, op.n])?;
    for rows in rows_to_measure(op.m) {
        let parameters = parameters(offer, op, groups, rows);
        let launch = Product::choose(offer.target, &parameters).launch(&parameters);
        let name = launch.kernel.name;
        offer.ensure_grid(name, launch.grid)?;
        offer.ensure_shared_memory(name, launch.shared_bytes.into())?;
    }
    Ok(())
}

/// Whether a row gives the same bits in whatever batch: it does where rows, be they few or many, have the same kernel.
/// Tiles of 32 and of 128 rows add in the same order.
pub(super) fn is_batch_invariant(offer: &Offer, op: &Matmul, groups: usize) -> bool {
    let chosen = |rows| discriminant(&Product::choose(offer.target, &parameters(offer, op, groups, rows)));
    rows_to_measure(1 << 30).all(|rows| chosen(rows) == chosen(1))
}

/// What a product of so many rows is chosen and launched by, without addresses. Extents are at most 2^31, which their
/// validation saw to; the formats are those of the scheme.
fn parameters(offer: &Offer, op: &Matmul, groups: usize, rows: usize) -> ProductParameters {
    let &Matmul { n, k, weight, activation, .. } = op;
    let desc = WeightsDesc { format: weight, groups, n, k, activation: activation.format };
    let matrix = Matrix::of(offer.target, &desc);
    ProductParameters {
        // Not 0, which stands for counts that there are: without them there are fewer tiles.
        counts: 1,
        m: rows as u32,
        n: n as u32,
        k: k as u32,
        groups: groups as u32,
        a_format: activation.format as u32,
        a_stride: activation.format.row_bytes(k) as u64,
        w_format: weight as u32,
        w_stride: matrix.row_bytes() as u64,
        w_scales_stride: matrix.row_scales() as u64,
        w_halves: matrix.is_in_halves().into(),
        output: op.output as u32,
        ..ProductParameters::default()
    }
}

/// Rows that are multiplied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activations {
    pub(super) rows: Rows,
    pub(super) stride: u64,
}

impl Activations {
    /// The tensor `a` in the format that is multiplied: as it is, or quantized in scratch.
    pub(super) fn of(session: &mut Session<'_>, run: &Run<'_>, op: &Matmul) -> Result<Self> {
        let a = run.operand(0)?;
        if op.input != op.activation.format {
            let x = session.input(a)?;
            let rows = Rows::scratch(session, op.activation.format, run.rows, op.k)?;
            quantize::rows(session, (x, op.input), run.rows, op.k, &op.activation, &rows)?;
            return Ok(rows.into());
        }
        let rows = Rows::of(a, op.input, op.k);
        if may_stay(a) {
            return Ok(Self { rows, stride: a.stride_bytes() });
        }
        Ok(Rows { data: session.input(a)?, ..rows }.into())
    }
}

impl From<Rows> for Activations {
    fn from(rows: Rows) -> Self {
        Self { rows, stride: rows.bytes[0] as u64 }
    }
}

/// Whether a tensor with gaps is read where it is. While measuring, it is not: another run's may not be.
fn may_stay(a: &Operand) -> bool {
    a.has_gaps && a.data != 0 && a.stride_bytes().is_multiple_of(STRIDE_ALIGNMENT)
}

/// One product, of one group or of many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Multiply<'a> {
    pub(super) a: Activations,
    pub(super) weights: &'a Operands,
    /// F32 `[groups, n]`; 0 for none.
    pub(super) bias: u64,
    /// I32 `[groups]`; 0 for one group.
    pub(super) counts: u64,
    pub(super) y: u64,
    pub(super) output: Format,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) groups: usize,
}

impl Multiply<'_> {
    pub(super) fn enqueue(&self, session: &mut Session<'_>) -> Result<()> {
        let Self { a, weights, .. } = self;
        let matrix = &weights.matrix;
        let parameters = ProductParameters {
            a: a.rows.data,
            a_scales: a.rows.scales,
            a_factors: a.rows.factors,
            w: weights.data,
            w_scales: weights.scales,
            w_factors: weights.factors,
            bias: self.bias,
            counts: self.counts,
            y: self.y,
            a_stride: a.stride,
            a_scales_stride: a.rows.bytes[1] as u64,
            w_stride: matrix.row_bytes() as u64,
            w_scales_stride: matrix.row_scales() as u64,
            m: small(self.m)?,
            n: small(self.n)?,
            k: small(self.k)?,
            groups: small(self.groups)?,
            a_format: a.rows.format as u32,
            w_format: matrix.format as u32,
            output: self.output as u32,
            a_factor_per_row: a.rows.factor_per_row.into(),
            w_halves: matrix.is_in_halves().into(),
            w_factor_per_row: 1,
        };
        let product = Product::choose(session.target(), &parameters);
        let launch = product.launch(&parameters);
        let Some([w, a]) = parameters.tensor_maps(product) else {
            return session.launch(&launch, parameters);
        };
        // At each run: some hundred nanoseconds of the host's for addresses that may be others each time. What is captured
        // has its maps in the parameters of the launch. Without addresses, or without rows, there is nothing to map.
        let [w, a] = if session.is_measuring() || launch.is_empty() {
            [TensorMap::default(); 2]
        } else {
            [tensor_map::encode("weights", &w)?, tensor_map::encode("activations", &a)?]
        };
        session.launch(&launch, TensorProductParameters { w, a, product: parameters })
    }
}
