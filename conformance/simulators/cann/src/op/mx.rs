//! Blocks: a line of values to codes and one E8M0 byte each.
//!
//! # Chosen
//!
//! - Where the byte of the OCP rule is 0, all codes are 0, as the operator's kernel does; its golden script differs.
//! - Which of dstTypeMax 6 and 7 looks at one and which at two mantissa bits is not documented: 6 (and 0, the
//!   default) at one, 7 at two. Literally so: at an amax of exactly 1.5 · 2^e the exponent is already raised.
//! - A block with a NaN or an infinity has the byte 0xFF and codes 0.
//! - maxLowBound is the least amax of a block.

use crate::element::{Element, Rounding, floor_log2, power};

/// How scales are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// OCP: the exponent of amax less the largest of the element.
    Floor,
    /// The least power of two at which nothing saturates.
    Ceil,
    /// OCP, one more where the leading so many mantissa bits of amax are ones.
    Raised(u32),
    /// The least power of two that is not below amax over this.
    Max(f64),
}

/// Quantization of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipe {
    pub(crate) element: Element,
    pub(crate) rule: Rule,
    pub(crate) rounding: Rounding,
    pub(crate) least_amax: f64,
}

impl Recipe {
    /// OCP to nearest even.
    pub(crate) fn ocp(element: Element) -> Self {
        Self { element, rule: Rule::Floor, rounding: Rounding::Rint, least_amax: 0.0 }
    }

    /// The scale byte of a block, and its codes.
    pub(crate) fn block(&self, values: &[f32]) -> (u8, Vec<u8>) {
        let zeros = vec![0; values.len()];
        if values.iter().any(|value| !value.is_finite()) {
            return (0xFF, zeros);
        }
        let amax = values.iter().fold(self.least_amax, |amax, value| amax.max(f64::from(value.abs())));
        let byte = self.byte(amax);
        if byte == 0 && !matches!(self.rule, Rule::Ceil | Rule::Max(_)) || amax == 0.0 {
            return (byte, zeros);
        }
        let scale = power(i32::from(byte) - 127);
        let code = |value: &f32| self.element.encode(f64::from(*value) / scale, self.rounding) as u8;
        (byte, values.iter().map(code).collect())
    }

    fn byte(&self, amax: f64) -> u8 {
        let (largest, max) = self.element.largest();
        let floor = floor_log2(amax) - largest;
        let exponent = match self.rule {
            Rule::Floor => floor,
            Rule::Ceil => least_above(amax / max),
            Rule::Max(max) => least_above(amax / max),
            Rule::Raised(bits) => {
                let leading = amax.to_bits() << 12 >> (64 - bits);
                floor + i32::from(leading == (1 << bits) - 1)
            }
        };
        u8::try_from((exponent + 127).clamp(0, 254)).expect("clamped")
    }
}

/// The least exponent whose power of two is not below the value.
fn least_above(value: f64) -> i32 {
    let exponent = floor_log2(value);
    exponent + i32::from(value > 0.0 && power(exponent.max(-1022)) < value)
}

#[cfg(test)]
mod tests {
    use super::{Recipe, Rule};
    use crate::element::{Element, Rounding};

    fn byte(rule: Rule, element: Element, amax: f32) -> u8 {
        Recipe { element, rule, rounding: Rounding::Rint, least_amax: 0.0 }.block(&[amax]).0
    }

    #[test]
    fn the_rules_differ_where_they_should() {
        let fp4 = |rule, amax| byte(rule, Element::E2m1, amax);
        assert_eq!([fp4(Rule::Floor, 4.0), fp4(Rule::Floor, 7.9), fp4(Rule::Floor, 8.0)], [127, 127, 128]);
        assert_eq!(
            [fp4(Rule::Raised(1), 5.9), fp4(Rule::Raised(1), 6.0), fp4(Rule::Raised(2), 6.9)],
            [127, 128, 127]
        );
        assert_eq!(
            [fp4(Rule::Raised(2), 7.0), fp4(Rule::Max(6.0), 6.0), fp4(Rule::Max(6.0), 6.1)],
            [128, 127, 128]
        );
        assert_eq!(byte(Rule::Ceil, Element::E4m3, 448.0), 127);
        assert_eq!(byte(Rule::Ceil, Element::E4m3, 449.0), 128);
        assert_eq!(fp4(Rule::Floor, 0.0), 0);
        assert_eq!(fp4(Rule::Floor, f32::NAN), 0xFF);
    }
}
