//! How wide the sums of a product are: a property that is measured, and held to the 24 bits that all bounds assume.
//!
//! Each row of the weights holds `2^R`, ones, and `-2^R`, each in a block of K of its own, in an order that differs from
//! row to row; the activations are ones. The exact sum is the number of ones, which every output format holds, but an
//! accumulator of fewer than `R + 1` bits loses a one that it adds while `2^R` is in it. R grows until a bit is lost.
//!
//! An accumulator that meets `2^R` and `-2^R` first loses nothing; with so many orders, some row meets a one between them
//! in any scheme of lanes, tiles and partial sums.

use std::time::Duration;

use mxhal_core::op::Matmul;
use mxhal_core::{Format, HostBuffer, Op, Quantization};

use super::SuiteKind;
use crate::case::{Body, Case};
use crate::opcase::listing::profile_of;
use crate::opcase::random::Random;
use crate::opcase::rig::{Poison, Rig, Stop};
use crate::opcase::tensor::{floats, layout, read};
use crate::opcase::{Inputs, supported};
use crate::outcome::{Failure, Measures, Outcome, number};
use crate::subject::Subject;

/// The name under which the width is reported.
pub const PROPERTY: &str = "accumulator_bits";

/// What the bounded tier assumes and the exact tier demands.
const LEAST_BITS: u32 = 24;
/// The sweep ends here: no accumulator that is asked for is wider.
const MOST_BITS: u32 = 60;

/// Columns that share a scale in MXFP4 weights.
const BLOCK: usize = 32;
/// Blocks of a row.
const BLOCKS: usize = 24;
/// Orders of the blocks.
const ORDERS: usize = 96;
/// Ones in a row; fewer than the least unit of an output of three bits can count would do.
const ONES: usize = 3;

/// A product in a scheme, with MXFP4 weights.
#[derive(Clone, Debug, PartialEq)]
pub struct AccumulatorCase {
    op: Matmul,
}

/// A case for each scheme whose scales are powers of two.
pub fn cases(seed: u64) -> Vec<Case> {
    let schemes = [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4];
    let case = |scheme: Format| {
        let op = Matmul::mxfp4(5, ORDERS, BLOCK * BLOCKS, Quantization::new(scheme));
        let op = Matmul { output: Format::F32, ..op };
        let name = format!("{}/accumulator/{}_{scheme}", SuiteKind::Exact, op.weight);
        Case {
            suite: SuiteKind::Exact,
            seed: Random::new(seed, &name).bits(),
            name,
            profile: profile_of(&op.into()),
            time_limit: Duration::from_secs(60),
            body: Body::Accumulator(AccumulatorCase { op }),
        }
    };
    schemes.map(case).into()
}

impl AccumulatorCase {
    /// Sweeps.
    pub fn run(&self, subject: &Subject, seed: u64) -> Outcome {
        self.ask(subject, seed).unwrap_or_else(Stop::into_outcome)
    }

    fn ask(&self, subject: &Subject, seed: u64) -> Result<Outcome, Stop> {
        let op = Op::from(self.op);
        supported(subject, &op)?;
        let (mut bits, mut elements) = (1, 0);
        let lost = loop {
            let rig = Rig::new(subject.device(), subject.stream(), &op, &self.inputs(bits, seed), 0)?;
            let outputs = rig.run(Poison::BOTH[0])?;
            let y = read(outputs.iter().flatten().next().expect("a product has an output"));
            elements += y.values.len() as u64;
            if let Some(place) = y.values.iter().position(|&value| value != ONES as f64) {
                break Some((place, y.values[place]));
            }
            if bits == MOST_BITS {
                break None;
            }
            bits += 1;
        };
        let Some((place, got)) = lost else { return Ok(measured(elements, format!("{bits} or more"))) };
        // The sum of `bits` bits was the first to lose one.
        let width = bits - 1;
        if width >= LEAST_BITS {
            return Ok(measured(elements, width.to_string()));
        }
        Err(Failure {
            tensor: Some("y".to_owned()),
            index: vec![place / ORDERS, place % ORDERS],
            expected: Some(ONES.to_string()),
            got: Some(number(got)),
            ..Failure::new(format!(
                "the accumulator has {width} bits: it loses a one beside 2^{}; {LEAST_BITS} bits are the least, which \
                 every bound assumes",
                bits - 1
            ))
        }
        .into())
    }

    /// Operands whose partial sums need so many bits.
    fn inputs(&self, bits: u32, seed: u64) -> Inputs {
        let Matmul { m, n, k, input, weight, .. } = self.op;
        let mut random = Random::new(seed, "orders");
        let mut weights = HostBuffer::zeroed(layout(weight, &[1, n, k]));
        weights.scales.fill(127);
        for row in 0..n {
            let mut blocks: Vec<usize> = (0..BLOCKS).collect();
            random.shuffle(&mut blocks);
            for (at, &block) in blocks[..2 + ONES].iter().enumerate() {
                let column = row * k + block * BLOCK + random.below(BLOCK);
                // E2M1 has 1 as code 2, and -1 as code 10.
                let code = if at == 1 { 10 } else { 2 };
                weights.data[column / 2] |= code << (4 * (column % 2));
                if at < 2 {
                    weights.scales[row * BLOCKS + block] = (127 + bits - 1) as u8;
                }
            }
        }
        let ones = floats(input, &[m, k], std::iter::repeat(1.0));
        Inputs { rows: m, tensors: vec![Some(ones), None, None], weights: vec![weights] }
    }
}

fn measured(elements: u64, bits: String) -> Outcome {
    let properties = [(PROPERTY.to_owned(), bits)].into();
    Outcome::Pass(Measures { elements, properties, ..Measures::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcase::tensor::read_rows;

    #[test]
    fn a_row_sums_to_the_ones_in_it_and_needs_the_bits_that_are_swept() {
        let Body::Accumulator(case) = &cases(1)[0].body else { panic!("of another kind") };
        let inputs = case.inputs(30, 7);
        for row in 0..ORDERS {
            let weights = read_rows(&inputs.weights[0], 0, &[row]).values;
            assert_eq!(weights.iter().sum::<f64>(), ONES as f64);
            let largest = weights.iter().copied().fold(0.0, f64::max);
            assert_eq!(largest, 2f64.powi(29));
        }
    }
}
