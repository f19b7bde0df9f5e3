//! Drawing one tensor.

use mxhal_core::{Format, HostBuffer};

use super::random::Random;
use super::tensor::{floats, layout};
use crate::oracle::format::{E4M3, nearest_e2m1, nearest_e4m3, power_of_two};

/// How the values of an operand are drawn. Block-scaled formats draw codes and scales, plain ones numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Draw {
    /// Any codes under scales of four neighbouring powers of two from `2^base`; plain numbers about normal, of sizes
    /// that differ from column to column.
    Ordinary {
        /// The exponent of the least scale.
        base: i32,
    },
    /// Integers below [`integer_limit`] in a unit, under scales from `2^base` that span `spread` powers of two.
    Integers {
        /// The exponent of the least scale.
        base: i32,
        /// How many powers of two lie between the least and the largest scale.
        spread: u32,
    },
    /// As integers of spread 0, none below zero and most well above it.
    Positive {
        /// The exponent of the scale.
        base: i32,
    },
    /// As integers, with one NaN scale in every row of scales but each `blocks + 1`st, each in the next place.
    NanScales {
        /// The exponent of the other scales.
        base: i32,
    },
    /// Scale byte 0 (1 for MXINT8) over elements that it does not make subnormal.
    LowScales,
    /// Scale byte 254 over elements that it does not make infinite.
    HighScales,
    /// About normal, with a NaN or an infinity in every second row.
    NonFinite,
}

/// The largest integer that [`Draw::Integers`] draws for a format, in its unit.
pub(crate) const fn integer_limit(format: Format) -> u32 {
    match format {
        Format::Mxfp4 | Format::Nvfp4 => 12,
        Format::Mxint8 => 127,
        // 15 would saturate under the floor rule, which makes 2^-5 its scale.
        Format::Mxfp8 | Format::Mxfp8G128 | Format::Fp8Tile128 => 14,
        _ => 15,
    }
}

/// The exponent of that unit, under a scale of 2^0.
pub(crate) const fn integer_unit(format: Format) -> i32 {
    match format {
        Format::Mxfp4 | Format::Nvfp4 => -1,
        Format::Mxint8 => -6,
        _ => 0,
    }
}

/// A tensor drawn so.
pub(crate) fn tensor(random: &mut Random, format: Format, shape: &[usize], draw: Draw) -> HostBuffer {
    if format.is_block_scaled() {
        encoded(random, format, shape, draw)
    } else {
        let columns = shape.last().copied().unwrap_or(1);
        let values = plain(random, shape.iter().product(), columns, draw);
        floats(format, shape, values)
    }
}

/// Numbers drawn so, for `count` elements of a plain format in rows of so many columns.
pub(crate) fn plain(random: &mut Random, count: usize, columns: usize, draw: Draw) -> Vec<f64> {
    let sizes: Vec<f64> = (0..columns).map(|_| power_of_two(random.between(-2, 2))).collect();
    let one = |index: usize, random: &mut Random| match draw {
        Draw::Ordinary { base } => random.normal() * sizes[index % columns] * power_of_two(base),
        Draw::Integers { base, .. } | Draw::NanScales { base } => {
            f64::from(random.between(-15, 15)) * power_of_two(base)
        }
        Draw::Positive { base } => f64::from(random.between(8, 15)) * power_of_two(base),
        Draw::LowScales => f64::from(random.between(-15, 15)) * power_of_two(-30),
        Draw::HighScales => f64::from(random.between(-15, 15)) * power_of_two(30),
        Draw::NonFinite => random.normal(),
    };
    let mut values: Vec<f64> = (0..count).map(|index| one(index, random)).collect();
    if draw == Draw::NonFinite {
        for row in values.chunks_mut(columns).skip(1).step_by(2) {
            let place = random.below(row.len());
            row[place] = random.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        }
    }
    values
}

fn encoded(random: &mut Random, format: Format, shape: &[usize], draw: Draw) -> HostBuffer {
    let mut buffer = HostBuffer::zeroed(layout(format, shape));
    let two_a_byte = format.bits() == 4;
    for byte in &mut buffer.data {
        *byte = code(random, format, draw);
        if two_a_byte {
            *byte |= code(random, format, draw) << 4;
        }
    }
    let row_scales = format.row_scales(buffer.layout.columns()).max(1);
    for (index, scale) in buffer.scales.iter_mut().enumerate() {
        *scale = match draw {
            // Row 0 keeps all its scales, row 1 loses the first, row 2 the second, …
            Draw::NanScales { .. }
                if index % row_scales == (index / row_scales + row_scales) % (row_scales + 1) =>
            {
                if format == Format::Nvfp4 { 0x7f } else { 255 }
            }
            _ => scale_byte(random, format, draw),
        };
    }
    let (exponent, mantissa) = match draw {
        Draw::Ordinary { base } => (base, 1.0 + random.uniform()),
        Draw::Integers { base, .. } | Draw::Positive { base } | Draw::NanScales { base } => (base, 1.0),
        Draw::LowScales | Draw::HighScales | Draw::NonFinite => (0, 1.0),
    };
    for factor in buffer.factors.chunks_exact_mut(4) {
        factor.copy_from_slice(&((power_of_two(exponent) * mantissa) as f32).to_le_bytes());
    }
    buffer
}

fn code(random: &mut Random, format: Format, draw: Draw) -> u8 {
    let signed = |random: &mut Random, magnitude: f64| if random.one_in(2) { -magnitude } else { magnitude };
    match (format, draw) {
        (Format::Mxfp4 | Format::Nvfp4, Draw::Positive { .. }) => {
            nearest_e2m1(random.pick(&[1.0, 1.5, 2.0, 3.0]))
        }
        (Format::Mxfp4 | Format::Nvfp4, Draw::LowScales) => {
            let magnitude = random.pick(&[0.0, 2.0, 3.0, 4.0, 6.0]);
            nearest_e2m1(signed(random, magnitude))
        }
        (Format::Mxfp4 | Format::Nvfp4, Draw::HighScales) => {
            let magnitude = random.pick(&[0.0, 0.5, 1.0, 1.5]);
            nearest_e2m1(signed(random, magnitude))
        }
        (Format::Mxfp4 | Format::Nvfp4, _) => random.below(16) as u8,
        (Format::Mxint8, Draw::Positive { .. }) => random.between(32, 127) as u8,
        (Format::Mxint8, Draw::LowScales) => {
            let magnitude = f64::from(random.between(64, 127));
            signed(random, magnitude) as i8 as u8
        }
        (Format::Mxint8, _) => random.between(-127, 127) as i8 as u8,
        (_, Draw::Ordinary { .. } | Draw::NonFinite) => {
            // Up to 4, so that neither sums nor SwiGLU leave their ordinary range.
            let magnitude = E4M3[random.below(0x49)];
            nearest_e4m3(signed(random, magnitude))
        }
        (_, Draw::Positive { .. }) => nearest_e4m3(f64::from(random.between(8, 14))),
        (_, Draw::LowScales) => {
            let magnitude = f64::from(random.between(2, 14));
            nearest_e4m3(signed(random, magnitude))
        }
        (_, Draw::HighScales) => nearest_e4m3(f64::from(random.between(-14, 14)) / 8.0),
        (_, Draw::Integers { .. } | Draw::NanScales { .. }) => {
            nearest_e4m3(f64::from(random.between(-14, 14)))
        }
    }
}

fn scale_byte(random: &mut Random, format: Format, draw: Draw) -> u8 {
    let above = match draw {
        Draw::Ordinary { .. } | Draw::NonFinite => random.between(0, 3),
        Draw::Integers { spread, .. } => random.between(0, spread as i32),
        _ => 0,
    };
    if format == Format::Nvfp4 {
        // E4M3; the base is the factor's.
        let unit =
            if matches!(draw, Draw::Ordinary { .. }) { 1.0 + random.below(8) as f64 / 8.0 } else { 1.0 };
        return nearest_e4m3(unit * power_of_two(above));
    }
    match draw {
        Draw::LowScales => u8::from(format == Format::Mxint8),
        Draw::HighScales => 254,
        Draw::Ordinary { base }
        | Draw::Integers { base, .. }
        | Draw::Positive { base }
        | Draw::NanScales { base } => (127 + base + above) as u8,
        Draw::NonFinite => (127 + above) as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcase::tensor::read;

    const BLOCKS: [Format; 6] =
        [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Nvfp4, Format::Fp8Tile128];

    #[test]
    fn integers_are_integers_in_their_unit_below_their_limit() {
        for format in BLOCKS.into_iter().chain([Format::Bf16, Format::F32]) {
            let drawn =
                tensor(&mut Random::new(1, "x"), format, &[5, 256], Draw::Integers { base: 3, spread: 2 });
            let unit = power_of_two(integer_unit(format) + 3);
            let limit = f64::from(integer_limit(format)) * 4.0;
            for value in read(&drawn).values {
                let steps = value / unit;
                assert!(steps == steps.trunc() && steps.abs() <= limit, "{format}: {value}");
            }
        }
    }

    #[test]
    fn nan_scales_take_every_place_and_leave_some_rows_alone() {
        let drawn = tensor(&mut Random::new(1, "x"), Format::Mxfp4, &[4, 96], Draw::NanScales { base: 0 });
        let nan: Vec<_> = (0..12).filter(|&place| drawn.scales[place] == 255).collect();
        assert_eq!(nan, [3, 7, 11]);
    }

    #[test]
    fn the_ends_of_the_scales_give_normal_finite_numbers() {
        for format in [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8] {
            for draw in [Draw::LowScales, Draw::HighScales] {
                for value in read(&tensor(&mut Random::new(2, "x"), format, &[4, 128], draw)).values {
                    let normal = power_of_two(-126)..=f64::from(f32::MAX);
                    assert!(value == 0.0 || normal.contains(&value.abs()), "{format} {draw:?}: {value:e}");
                }
            }
        }
    }
}
