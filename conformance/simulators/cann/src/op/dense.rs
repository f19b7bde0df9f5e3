//! `aclnnQuantMatmulV5` and `aclnnQuantMatmulWeightNz`: products of MX matrices.
//!
//! # Chosen
//!
//! - A view whose strides swap its last two dimensions turns the transpose flag around; the scales then must be such a
//!   view as well.
//! - FRACTAL_NZ tiles are 16 rows by 32 bytes of columns, also for FP4; see `format_cast`.

use super::product::{Line, OUTPUTS, dot};
use super::scales::{self, BLOCK};
use crate::element::Element;
use crate::executor::{Handle, Job, Operand, Plan, Views, operators};
use crate::refusal::{Answer, Refusal};
use crate::rules;
use crate::tensor::FRACTAL_NZ;
use crate::view::{View, coordinates, is_transposed, nz_storage, transposed_strides};

/// `[1, 1, 32]`: K in the low 16 bits, then N, then M.
const GROUP_SIZE: i64 = 32 | 1 << 16 | 1 << 32;

struct Product {
    x1: Handle,
    x2: Handle,
    x1_scale: Handle,
    x2_scale: Handle,
    /// yScale, x1Offset, x2Offset, yOffset.
    unused: [Handle; 4],
    bias: Handle,
    transpose: [bool; 2],
    group_size: i64,
    out: Handle,
    weight_nz: bool,
}

macro_rules! products {
    ($($two:ident $one:ident $nz:literal;)*) => { operators! {$(
        $two $one MX (
            x1: Handle, x2: Handle, x1_scale: Handle, x2_scale: Handle, y_scale: Handle, x1_offset: Handle, x2_offset: Handle,
            y_offset: Handle, bias: Handle, transpose_x1: bool, transpose_x2: bool, group_size: i64, out: Handle,
        ) => |plan| Product {
            x1, x2, x1_scale, x2_scale, unused: [y_scale, x1_offset, x2_offset, y_offset], bias,
            transpose: [transpose_x1, transpose_x2], group_size, out, weight_nz: $nz,
        }.check(plan);
    )*}};
}

products! {
    aclnnQuantMatmulV5 aclnnQuantMatmulV5GetWorkspaceSize false;
    aclnnQuantMatmulWeightNz aclnnQuantMatmulWeightNzGetWorkspaceSize true;
}

/// A matrix operand: which of its last two axes is K.
struct Matrix {
    operand: Operand,
    scale: Operand,
    k_axis: usize,
}

impl Product {
    fn check(&self, plan: &mut Plan) -> Answer<Job> {
        let (x1, x2) = (plan.input("x1", self.x1)?, plan.input("x2", self.x2)?);
        let (x1_scale, x2_scale) =
            (plan.input("x1Scale", self.x1_scale)?, plan.input("x2Scale", self.x2_scale)?);
        for (name, handle) in ["yScale", "x1Offset", "x2Offset", "yOffset"].into_iter().zip(self.unused) {
            plan.absent(name, handle)?;
        }
        let bias = plan.optional("bias", self.bias)?;
        let out = plan.output("out", self.out)?;

        let mixed = x1.element() == Element::E4m3 && x2.element() == Element::E2m1;
        let both_fp8 = x1.element().is_fp8() && x2.element().is_fp8();
        let both_fp4 = x1.element() == Element::E2m1 && x2.element() == Element::E2m1;
        if !(mixed || both_fp8 || both_fp4) {
            let what = format!("x1 {} by x2 {}", x1.element(), x2.element());
            return Err(Refusal::invalid(rules::DTYPE, what));
        }
        if !(matches!(self.group_size, 0 | GROUP_SIZE) || mixed && self.group_size == 32) {
            return Err(Refusal::invalid(rules::GROUP_SIZE, format!("groupSize {}", self.group_size)));
        }
        out.element_in(if mixed { &OUTPUTS[..2] } else { &OUTPUTS })?;
        out.is_plain()?;

        let x1 = Matrix::new(x1, x1_scale, self.transpose[0], 1)?;
        let x2 = Matrix::new(x2, x2_scale, self.transpose[1], 0)?;
        x1.operand.is_nd()?;
        if self.weight_nz {
            x2.is_nz()?;
        } else {
            x2.operand.is_nd()?;
        }
        let (m, k) = (x1.rows(), x1.k());
        let n = x2.rows();
        if x2.k() != k {
            return Err(x2.operand.refuse(rules::SHAPE, format!("has K = {}, x1 has {k}", x2.k())));
        }
        if mixed {
            let plain = x1.operand.rank() == 2 && x2.operand.rank() == 2;
            if !plain || self.transpose != [false, true] {
                let what = "E4M3 by FP4 wants two dimensions, transposeX1 false and transposeX2 true";
                return Err(Refusal::invalid(rules::SHAPE, what));
            }
            if k % 8 != 0 {
                return Err(x1.operand.refuse(rules::K_EIGHT, format!("has K = {k}")));
            }
        }
        for matrix in [&x1, &x2] {
            matrix.check_fp4(k)?;
            matrix.check_scale()?;
        }
        let batch = broadcast(&x1, &x2)?;
        let mut shape = batch.clone();
        shape.extend([m, n]);
        out.shape_is(&shape)?;
        if let Some(bias) = &bias {
            bias.element_in(&[if mixed { out.element() } else { Element::F32 }])?;
            bias.is_plain()?;
            let flat = bias.shape() == [n] && !mixed || bias.shape() == [1, n];
            let batched = bias.rank() == 3 && batch.len() == 1 && bias.shape() == [batch[0], 1, n];
            if !flat && !batched {
                return Err(bias.refuse(rules::SHAPE, format!("expected shape [{n}] or [1, {n}]")));
            }
        }
        plan.ask_for_workspace(4096 + 4 * m * n);
        Ok(Box::new(move |views| {
            if views.get(&out).is_some() {
                multiply(views, (&x1, &x2), bias.as_ref(), &out, &batch);
            }
            Ok(())
        }))
    }
}

impl Matrix {
    /// `k_last` says which of the last two axes is K if nothing is transposed: 1 for the last.
    fn new(operand: Operand, scale: Operand, transposed: bool, k_last: usize) -> Answer<Self> {
        operand.rank_in(2..=6)?;
        if operand.tensor.format != FRACTAL_NZ
            && !operand.tensor.is_contiguous()
            && !is_transposed(&operand.tensor)
        {
            let what =
                format!("has strides {:?}, expected contiguous or transposed ones", operand.tensor.strides);
            return Err(operand.refuse(rules::STRIDES, what));
        }
        let k_axis = operand.rank() - 2 + (k_last ^ usize::from(transposed));
        Ok(Self { operand, scale, k_axis })
    }

    fn k(&self) -> usize {
        self.operand.shape()[self.k_axis]
    }

    fn other_axis(&self) -> usize {
        2 * self.operand.rank() - 3 - self.k_axis
    }

    /// M or N.
    fn rows(&self) -> usize {
        self.operand.shape()[self.other_axis()]
    }

    fn batch(&self) -> &[usize] {
        &self.operand.shape()[..self.operand.rank() - 2]
    }

    fn is_nz(&self) -> Answer {
        check_nz(&self.operand)
    }

    fn check_fp4(&self, k: usize) -> Answer {
        if !self.operand.element().is_fp4() {
            return Ok(());
        }
        let inner = self.operand.rank() - 1 - usize::from(is_transposed(&self.operand.tensor));
        if self.operand.shape()[inner] % 2 == 1 {
            return Err(self
                .operand
                .refuse(rules::EVEN, format!("has an inner dimension of {}", self.operand.shape()[inner])));
        }
        if k <= 2 {
            return Err(self.operand.refuse(rules::INNER_TWO, format!("has K = {k}")));
        }
        Ok(())
    }

    fn check_scale(&self) -> Answer {
        scales::check(&self.scale, &scales::shape_of(self.operand.shape(), self.k_axis, BLOCK))?;
        check_scale_strides(&self.operand, &self.scale)
    }

    fn line(&self, views: &Views, batch: &[usize], row: usize) -> Line {
        // A batch of 1 serves all; missing batch dimensions are 1.
        let own = self.batch();
        let skipped = batch.len() - own.len();
        let mut at: Vec<_> = batch[skipped..].iter().zip(own).map(|(at, dim)| at % dim).collect();
        at.extend([0, 0]);
        at[self.other_axis()] = row;
        let k = self.k();
        Line {
            values: views.of(&self.operand).line(&at, self.k_axis, k),
            scales: scales::line(views.of(&self.scale), &at, self.k_axis, k.div_ceil(BLOCK)),
        }
    }
}

/// Checks a weight in FRACTAL_NZ.
pub(crate) fn check_nz(weight: &Operand) -> Answer {
    if weight.tensor.format != FRACTAL_NZ {
        let what = format!("has format {}, expected FRACTAL_NZ ({FRACTAL_NZ})", weight.tensor.format);
        return Err(weight.refuse(rules::FORMAT, what));
    }
    let mut stored = weight.shape().to_vec();
    if is_transposed(&weight.tensor) {
        let rank = stored.len();
        stored.swap(rank - 1, rank - 2);
    }
    let expected = nz_storage(&stored, weight.element());
    if weight.tensor.storage != expected {
        let what = format!("has storage {:?}, expected {expected:?}", weight.tensor.storage);
        return Err(weight.refuse(rules::STORAGE_NZ, what));
    }
    Ok(())
}

/// Scales are stored as their matrix is: both contiguous, or both with two dimensions swapped.
pub(crate) fn check_scale_strides(matrix: &Operand, scale: &Operand) -> Answer {
    let pairs = scale.rank() - 1;
    let swapped: Vec<_> =
        transposed_strides(&scale.shape()[..pairs]).iter().map(|stride| 2 * stride).chain([1]).collect();
    let contiguous = scale.tensor.is_contiguous();
    let transposed = scale.tensor.has_strides(&swapped);
    if !contiguous && !transposed {
        let what = format!("has strides {:?}, expected contiguous ones or {swapped:?}", scale.tensor.strides);
        return Err(scale.refuse(rules::STRIDES, what));
    }
    let agrees = if is_transposed(&matrix.tensor) { transposed } else { contiguous };
    // A matrix with a dimension of 1 is both.
    let either = matrix.shape()[matrix.rank() - 2..].contains(&1);
    if !agrees && !either {
        let what = format!("has strides {:?}, the matrix {:?}", scale.tensor.strides, matrix.tensor.strides);
        return Err(scale.refuse(rules::TRANSPOSITION, what));
    }
    Ok(())
}

fn broadcast(x1: &Matrix, x2: &Matrix) -> Answer<Vec<usize>> {
    let (a, b) = (x1.batch(), x2.batch());
    let rank = a.len().max(b.len());
    let dim = |batch: &[usize], axis: usize| {
        let missing = rank - batch.len();
        if axis < missing { 1 } else { batch[axis - missing] }
    };
    (0..rank)
        .map(|axis| match (dim(a, axis), dim(b, axis)) {
            (p, q) if p == q || q == 1 => Ok(p),
            (1, q) => Ok(q),
            _ => Err(x2.operand.refuse(rules::SHAPE, format!("has batch {b:?}, x1 has {a:?}"))),
        })
        .collect()
}

fn multiply(
    views: &Views,
    (x1, x2): (&Matrix, &Matrix),
    bias: Option<&Operand>,
    out: &Operand,
    batch: &[usize],
) {
    let result: &View = views.of(out);
    for at in coordinates(batch) {
        let rows: Vec<Line> = (0..x1.rows()).map(|m| x1.line(views, &at, m)).collect();
        for n in 0..x2.rows() {
            let column = x2.line(views, &at, n);
            let added = bias.map_or(0.0, |bias| match bias.rank() {
                1 => views.of(bias).get(&[n]),
                2 => views.of(bias).get(&[0, n]),
                _ => views.of(bias).get(&[at[0], 0, n]),
            });
            for (m, row) in rows.iter().enumerate() {
                let mut place = at.clone();
                place.extend([m, n]);
                result.put(&place, dot(row, &column) + added);
            }
        }
    }
}
