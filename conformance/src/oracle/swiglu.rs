//! SwiGLU in its two forms.

use super::format::{Float, power_of_two};
use super::{Error, Matrix, expect_size};

/// Which SwiGLU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variant {
    /// `silu(min(g, L)) · clamp(u, −L, L)`.
    Plain,
    /// gpt-oss: `(clamp(u, −L, L) + 1) · g · σ(alpha · g)` with `g = min(g, L)`.
    GptOss {
        /// 1.702 there.
        alpha: f64,
    },
}

/// A SwiGLU and where its operands lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SwiGlu {
    /// The function.
    pub variant: Variant,
    /// L; 0 (or less) for none.
    pub limit: f64,
    /// Whether gate and up columns alternate, or the gates come first.
    pub interleaved: bool,
}

impl SwiGlu {
    /// The function of one gate and one up value. A NaN stays one.
    pub fn value(&self, gate: f64, up: f64) -> f64 {
        let (gate, up) = self.clamp(gate, up);
        match self.variant {
            Variant::Plain => gate * sigmoid(gate) * up,
            Variant::GptOss { alpha } => (up + 1.0) * gate * sigmoid(alpha * gate),
        }
    }

    /// `h [rows, n]` from `gate_up [rows, 2n]`, each row times its weight where there are weights.
    ///
    /// # Errors
    /// [`Error::Shape`] where the number of columns is odd or there is not one weight for each row.
    pub fn apply(&self, gate_up: &Matrix, row_weights: Option<&[f64]>) -> Result<Matrix, Error> {
        let n = gate_up.columns / 2;
        expect_size("a row of gate and up", 2 * n, gate_up.columns)?;
        expect_size("the row weights", gate_up.rows, row_weights.map_or(gate_up.rows, <[_]>::len))?;
        let mut values = Vec::with_capacity(gate_up.rows * n);
        for row in 0..gate_up.rows {
            let weight = row_weights.map_or(1.0, |weights| weights[row]);
            for column in 0..n {
                let (gate, up) = self.operands(gate_up.row(row), column);
                values.push(self.value(gate, up) * weight);
            }
        }
        Matrix::new(gate_up.rows, n, values)
    }

    /// The gate and the up value that make column `column` of the result.
    pub(crate) fn operands(&self, gate_up: &[f64], column: usize) -> (f64, f64) {
        if self.interleaved {
            (gate_up[2 * column], gate_up[2 * column + 1])
        } else {
            (gate_up[column], gate_up[gate_up.len() / 2 + column])
        }
    }

    fn clamp(&self, gate: f64, up: f64) -> (f64, f64) {
        // f64::min would lose a NaN; these comparisons keep it.
        let limit = if self.limit > 0.0 { self.limit } else { f64::INFINITY };
        (if gate > limit { limit } else { gate }, up.clamp(-limit, limit))
    }
}

/// How far from `value` a SwiGLU may be before it is rounded: 2^−20 relative, or 2^−126.
pub fn error_before_rounding(value: f64) -> f64 {
    (value.abs() * power_of_two(-20)).max(power_of_two(-126))
}

/// How far from `value` an output may be: [`error_before_rounding`], and half a unit in the last place.
pub fn bound(value: f64, output: Float) -> f64 {
    let error = error_before_rounding(value);
    error + output.half_ulp(value.abs() + error)
}

/// `1 / (1 + e^−x)`, without cancellation on either side.
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: SwiGlu = SwiGlu { variant: Variant::Plain, limit: 0.0, interleaved: false };

    #[test]
    fn the_limit_cuts_the_gate_above_and_up_on_both_sides() {
        let limited = SwiGlu { limit: 10.0, ..PLAIN };
        assert_eq!(limited.value(50.0, 3.0), limited.value(10.0, 3.0));
        assert_eq!(limited.value(1.0, -50.0), limited.value(1.0, -10.0));
        assert!(limited.value(-20.0, 1.0) != limited.value(-10.0, 1.0));
        assert_eq!(PLAIN.value(50.0, 30.0), 1500.0);
    }

    #[test]
    fn both_layouts_hold_the_same_operands() {
        let concatenated = Matrix::new(1, 4, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let interleaved = Matrix::new(1, 4, vec![1.0, 3.0, 2.0, 4.0]).unwrap();
        let expected = PLAIN.apply(&concatenated, Some(&[0.5])).unwrap();
        assert_eq!(
            SwiGlu { interleaved: true, ..PLAIN }.apply(&interleaved, Some(&[0.5])).unwrap(),
            expected
        );
        assert_eq!(expected.values[1], PLAIN.value(2.0, 4.0) / 2.0);
    }

    #[test]
    fn nan_stays_and_a_very_negative_gate_gives_zero() {
        assert!(PLAIN.value(f64::NAN, 1.0).is_nan());
        let limited = SwiGlu { limit: 7.0, variant: Variant::GptOss { alpha: 1.702 }, ..PLAIN };
        assert!(limited.value(f64::NAN, 1.0).is_nan() && limited.value(1.0, f64::NAN).is_nan());
        assert_eq!(PLAIN.value(-2000.0, 1.0), 0.0);
    }
}
