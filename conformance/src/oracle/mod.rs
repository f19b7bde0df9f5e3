//! The oracle: what every operator must compute, worked out slowly and by other means than a backend's.
//!
//! It is plain scalar code in float64 or exact integers: no SIMD, no threads, and none of mxhal-core's codecs. The
//! element tables, the roundings and the sums are written here a second time, from the definitions, so that a
//! mistake in the one is not excused by the same mistake in the other. From core come only names: [`Format`],
//! [`ScaleRule`] and [`Quantization`].
//!
//! Two kinds of answers come out of it:
//!
//! - **exact** ones, where one result is right, or a small set of them: [`decode()`], [`quantize`], [`permute()`], and
//!   products of the exact tier;
//! - **bounded** ones, a float64 value with an error that no correct backend exceeds: [`matmul()`], [`swiglu`],
//!   [`route`], [`combine()`]. The bound is computed from the data, never written down by hand.
//!
//! [`moe`] is the whole chain, with the roundings of DeepSeek's own inference code, and [`interval`] the same chain for
//! all the values that a correct backend may reach, for where a chain quantizes, a value at a rounding edge falls to
//! either side.
//!
//! | module | holds |
//! | --- | --- |
//! | [`mod@format`] | the value of each code; rounding a float64 once to a narrower format; distances between neighbours |
//! | [`mod@decode`] | whole tensors from bytes, and to bytes for tests |
//! | [`sum`] | sums that know what they have lost |
//! | [`mod@quantize`], [`mod@matmul`], [`swiglu`], [`route`], [`mod@permute`], [`mod@combine`], [`moe`] | the operators |
//!
//! # How it is checked
//!
//! `tests/oracle_golden.rs` compares it with the golden files, which come from `ml_dtypes` and numpy and share no code
//! with the project. The tests in `properties.rs` are those that need no expected value: each code round-trips, a power
//! of two scales through, permuting K changes nothing, a layer computed another way ends in its intervals. None of
//! that involves a backend.

pub mod combine;
pub mod decode;
pub mod format;
pub mod interval;
pub mod matmul;
pub mod moe;
pub mod permute;
#[cfg(test)]
mod properties;
pub mod quantize;
pub mod route;
pub mod sum;
pub mod swiglu;

pub use combine::{combine, combine_in_slot_order};
pub use decode::{Encoded, decode};
pub use matmul::{Product, grouped_matmul, matmul};
pub use moe::{Expert, Moe, Shared};
pub use permute::{Permutation, permute};
pub use quantize::{Quantized, check_quantized, quantize_dequantize, quantize_reference};
pub use route::{Route, Routing, Score};
pub use swiglu::{SwiGlu, Variant};

pub use mxhal_core::format::{Format, Quantization, ScaleRule};

use std::fmt;

/// A matrix of float64, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Rows: tokens, or N for weights.
    pub rows: usize,
    /// Columns: K.
    pub columns: usize,
    /// `rows × columns` values.
    pub values: Vec<f64>,
}

impl Matrix {
    /// A matrix of these values.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are `rows × columns` of them.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Result<Self, Error> {
        expect_size("a matrix", rows * columns, values.len())?;
        Ok(Self { rows, columns, values })
    }

    /// A matrix of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { rows, columns, values: vec![0.0; rows * columns] }
    }

    /// The rows of `self`, then those of `below`: how a gate and an up projection become one.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both have as many columns.
    pub fn stack(&self, below: &Self) -> Result<Self, Error> {
        expect_size("a row of the matrix below", self.columns, below.columns)?;
        let values = [&self.values[..], &below.values[..]].concat();
        Ok(Self { rows: self.rows + below.rows, columns: self.columns, values })
    }

    /// Row `index`, which is below [`Matrix::rows`].
    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.columns..][..self.columns]
    }

    /// The matrix with `f` applied to each value.
    pub fn map(&self, f: impl FnMut(f64) -> f64) -> Self {
        let values = self.values.iter().copied().map(f).collect();
        Self { rows: self.rows, columns: self.columns, values }
    }

    /// The rows named by `indices`, in that order.
    pub(crate) fn gather(&self, indices: &[usize]) -> Self {
        let values = indices.iter().flat_map(|&index| self.row(index)).copied().collect();
        Self { rows: indices.len(), columns: self.columns, values }
    }
}

/// A question that the oracle cannot answer, or an answer that it rejects.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Sizes that do not belong together.
    #[error("{what} has {found} elements where {expected} are needed")]
    Shape {
        /// The argument.
        what: &'static str,
        /// What the other arguments ask for.
        expected: usize,
        /// What it has.
        found: usize,
    },
    /// A format that this operator does not have.
    #[error("{format} cannot be {role}; give one of {expected}")]
    Format {
        /// What was given.
        format: Format,
        /// What it was to be.
        role: &'static str,
        /// What would do.
        expected: &'static str,
    },
    /// A rule that does not choose this format's scales.
    #[error(
        "the scale rule `{rule}` does not go with {format}; `nearest` is NVFP4's, and NVFP4 has no other"
    )]
    Rule {
        /// The format asked for.
        format: Format,
        /// The rule asked for.
        rule: ScaleRule,
    },
    /// An expert id outside the range.
    #[error("the id of token {token}, slot {slot} is {id}; there are {experts} experts, and -1 means none")]
    Id {
        /// The token.
        token: usize,
        /// Which of its experts.
        slot: usize,
        /// What was given.
        id: i32,
        /// How many experts there are.
        experts: usize,
    },
    /// A position that is no row.
    #[error(
        "the position of token {token}, slot {slot} is {position}; there are {rows} rows, and -1 means none"
    )]
    Position {
        /// The token.
        token: usize,
        /// Which of its experts.
        slot: usize,
        /// What was given.
        position: i32,
        /// How many rows there are.
        rows: usize,
    },
    /// A result that is not what it must be.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// Where a result is wrong, what it is and what it should be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Mismatch {
    /// The row, or token.
    pub row: usize,
    /// The block within the row, where the tensor has blocks and one of them is to blame.
    pub block: Option<usize>,
    /// The column within the row, where one element is to blame.
    pub element: Option<usize>,
    /// What would have been right.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(block) = self.block {
            write!(f, ", block {block}")?;
        }
        if let Some(element) = self.element {
            write!(f, ", element {element}")?;
        }
        write!(f, ": expected {}, got {}", self.expected, self.got)
    }
}

fn expect_size(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Shape { what, expected, found }) }
}
