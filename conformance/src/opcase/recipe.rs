//! Recipes: which data a case is asked about. A recipe and a seed give the same bytes on every machine.

use mxhal_core::op::{Argument, Combine, Matmul, Op, Role, Route, SwiGlu};
use mxhal_core::{Format, HostBuffer};
use serde::{Deserialize, Serialize};

use super::draw::{self, Draw, integer_limit, integer_unit};
use super::quantizable;
use super::random::Random;
use super::routing::{self, Load};
use super::tensor::{floats, integers, read};
use crate::oracle::format::power_of_two;

/// What the tensors and weights of a case hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DataRecipe {
    /// The numbers.
    pub values: Values,
    /// How rows are spread over experts, for operators that have any.
    pub load: Load,
}

impl DataRecipe {
    /// Such numbers, evenly spread over experts.
    pub const fn new(values: Values) -> Self {
        Self { values, load: Load::Even }
    }

    /// The same with another load.
    #[must_use]
    pub const fn with_load(self, load: Load) -> Self {
        Self { load, ..self }
    }
}

/// Which numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// About normal, of sizes that differ from column to column; weights are any codes under neighbouring scales.
    Ordinary,
    /// Operands whose sums no accumulator of 24 bits rounds, in any order: scales span so many powers of two, or
    /// fewer where the columns leave less room. For Route, Permute and Combine, numbers whose sums are exact.
    Exact {
        /// Powers of two between the least and the largest product of two scales.
        spread: u32,
    },
    /// For Quantize: middles between neighbouring codes, largest magnitudes around every boundary of the rules,
    /// range ends; nothing that may be answered in two ways. For Route: equal logits.
    Ties,
    /// For Quantize: blocks whose scale clamps to 0, subnormal numbers, blocks of zeros.
    Tiny,
    /// For Quantize: zeros of both signs beside other numbers.
    SignedZeros,
    /// For Quantize: largest magnitudes within 2^−22 above a boundary of the `ceil` rule.
    Boundary,
    /// NaN and infinities: in blocks to quantize, in rows to multiply, among gates and ups.
    NonFinite,
    /// For Dequantize: every code under every scale byte, as far as the rows go.
    EveryCode,
    /// NaN scales in the weights, each row's in another block, some rows without.
    NanWeightScales,
    /// The same in the activations, of products whose input is block-scaled.
    NanInputScales,
    /// Weights under scale byte 0, activations under 254 (or numbers that bring the products back to 1).
    LowWeightScales,
    /// Weights under scale byte 254, activations under 0.
    HighWeightScales,
    /// Numbers of one sign, under scales so large that the sums leave float32.
    Overflow,
    /// Numbers of one sign whose sums leave F16, and not float32.
    OverflowF16,
}

/// What an operator is given: a tensor for each of its inputs, and its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Rows (tokens) of the run.
    pub rows: usize,
    /// In the order of [`Op::arguments`]; `None` for outputs, and for inputs that the attributes exclude.
    pub tensors: Vec<Option<HostBuffer>>,
    /// In the order of [`Op::weights`], each `[groups, n, k]`.
    pub weights: Vec<HostBuffer>,
}

impl Inputs {
    /// The input with this name, if the operator takes it.
    pub fn get(&self, op: &Op, name: &str) -> Option<&HostBuffer> {
        let place = op.arguments().iter().position(|argument| argument.name == name)?;
        self.tensors[place].as_ref()
    }
}

impl DataRecipe {
    /// What a case with this recipe is given. `op` validates, and `rows` is at most its rows.
    pub fn inputs(&self, op: &Op, rows: usize, seed: u64) -> Inputs {
        let operands = Operands::of(op, self.values, &mut Random::new(seed, "operands"));
        let tensors = op.arguments().into_iter().map(|argument| {
            let wanted = argument.present && argument.role == Role::Input;
            wanted.then(|| self.tensor(op, &argument, rows, seed, &operands))
        });
        let weights = op.weights().into_iter().enumerate().map(|(place, desc)| {
            let draw = match operands.weight {
                // Sums over k then are about 1, whatever k is.
                Draw::Ordinary { .. } => Draw::Ordinary { base: -2 - desc.k.ilog2() as i32 / 2 },
                draw => draw,
            };
            let mut random = Random::new(seed, &format!("weights {place}"));
            draw::tensor(&mut random, desc.format, &[desc.groups, desc.n, desc.k], draw)
        });
        Inputs { rows, tensors: tensors.collect(), weights: weights.collect() }
    }

    fn tensor(
        &self,
        op: &Op,
        argument: &Argument,
        rows: usize,
        seed: u64,
        operands: &Operands,
    ) -> HostBuffer {
        let random = &mut Random::new(seed, argument.name);
        let shape: Vec<usize> = argument.shape.iter().map(|extent| extent.at(rows)).collect();
        let draw_as = |random: &mut Random, draw| draw::tensor(random, argument.format, &shape, draw);
        match (op, argument.name) {
            (Op::Quantize(quantize), _) => {
                let values = quantizable::values(random, quantize, rows, self.values);
                floats(argument.format, &shape, values)
            }
            (Op::Dequantize(_), _) if self.values == Values::EveryCode => {
                every_code(draw_as(random, Draw::Ordinary { base: 0 }))
            }
            (Op::GroupedMatmul(grouped), "counts") => {
                integers(&shape, &routing::counts(random, rows, grouped.groups, self.load))
            }
            (Op::Permute(_) | Op::MoeFfn(_), "ids") => {
                let (experts, top_k, mapped) = routing::shape_of(op);
                integers(&shape, &routing::ids(random, rows, mapped.unwrap_or(experts), top_k, self.load))
            }
            (_, "expert_map") => {
                let (experts, _, mapped) = routing::shape_of(op);
                integers(&shape, &routing::expert_map(random, mapped.unwrap_or(experts), experts))
            }
            (Op::Route(route), "logits") => {
                // The bias is drawn as its own tensor is, so that logits can be kept apart with it.
                let bias =
                    route.bias.then(|| router_bias(&mut Random::new(seed, "bias"), route, self.values));
                floats(
                    Format::F32,
                    &shape,
                    routing::logits(random, route, rows, self.values, bias.as_deref()),
                )
            }
            (Op::Route(route), "bias") => {
                floats(Format::F32, &shape, router_bias(random, route, self.values))
            }
            (Op::Route(route), "ids_given") => {
                integers(&shape, &routing::ids(random, rows, route.experts, route.top_k, self.load))
            }
            (Op::Combine(Combine { top_k, .. }), "positions") => {
                integers(&shape, &routing::positions(random, rows, *top_k, self.load))
            }
            (Op::Permute(_) | Op::Combine(_) | Op::MoeFfn(_), "weights") => {
                let exact = matches!(self.values, Values::Exact { .. });
                let weight = |random: &mut Random| {
                    if exact { random.pick(&[0.25, 0.5, 1.0, 2.0]) } else { 0.0625 + random.uniform() }
                };
                let weights: Vec<f64> = (0..shape.iter().product()).map(|_| weight(random)).collect();
                floats(Format::F32, &shape, weights)
            }
            (Op::SwiGlu(swiglu), "x") => {
                let mut values = draw::plain(random, shape.iter().product(), shape[1], SWIGLU);
                if self.values == Values::NonFinite {
                    break_gates_and_ups(random, swiglu, &mut values);
                }
                floats(argument.format, &shape, values)
            }
            (_, "bias" | "gate_up_bias" | "down_bias") => draw_as(random, operands.bias),
            (Op::Matmul(each), "a") => input_of_product(random, each, &shape, operands.input),
            (Op::GroupedMatmul(grouped), "a") => {
                input_of_product(random, &grouped.each, &shape, operands.input)
            }
            _ => draw_as(random, operands.input),
        }
    }
}

/// How the operands of an operator are drawn.
#[derive(Clone, Copy, Debug)]
struct Operands {
    input: Draw,
    weight: Draw,
    bias: Draw,
}

impl Operands {
    fn of(op: &Op, values: Values, random: &mut Random) -> Self {
        let same = |draw| Self { input: draw, weight: draw, bias: Draw::Integers { base: 0, spread: 0 } };
        let ordinary = Draw::Ordinary { base: 0 };
        match (op, values) {
            (Op::Matmul(each), Values::Exact { spread }) => Self::exact(each, spread, random),
            (Op::GroupedMatmul(grouped), Values::Exact { spread }) => {
                Self::exact(&grouped.each, spread, random)
            }
            (_, Values::Exact { .. }) => same(Draw::Integers { base: 0, spread: 0 }),
            (_, Values::NanWeightScales) => {
                Self { weight: Draw::NanScales { base: 0 }, ..same(Draw::Integers { base: 0, spread: 0 }) }
            }
            (_, Values::NanInputScales) => {
                Self { input: Draw::NanScales { base: 0 }, ..same(Draw::Integers { base: 0, spread: 0 }) }
            }
            (_, Values::LowWeightScales) => {
                Self { input: Draw::HighScales, weight: Draw::LowScales, ..same(ordinary) }
            }
            (_, Values::HighWeightScales) => {
                Self { input: Draw::LowScales, weight: Draw::HighScales, ..same(ordinary) }
            }
            (_, Values::Overflow) => Self {
                input: Draw::Positive { base: 0 },
                weight: Draw::Positive { base: 124 },
                ..same(ordinary)
            },
            (_, Values::OverflowF16) => {
                Self { weight: Draw::Positive { base: 10 }, ..same(Draw::Positive { base: 0 }) }
            }
            (_, Values::NonFinite) => Self { input: Draw::NonFinite, ..same(ordinary) }.with_bias(ordinary),
            _ => same(ordinary).with_bias(ordinary),
        }
    }

    fn with_bias(self, bias: Draw) -> Self {
        Self { bias, ..self }
    }

    /// Products that are integers below P in their unit, K of them and a bias, under scales that span R powers of
    /// two, with log2(P · (K + 1)) + R at most 24.
    fn exact(each: &Matmul, spread: u32, random: &mut Random) -> Self {
        let (input, weight) = (each.activation.format, each.weight);
        let products = u64::from(integer_limit(input) * integer_limit(weight)) * (each.k as u64 + 1);
        let room = (0..spread).rev().map(|below| below + 1).find(|&spread| products << spread <= 1 << 24);
        assert!(products <= 1 << 24, "{each:?} has no exact tier: {products} units are more than 2^24");
        let spread = room.unwrap_or(0);
        // A plain input has no scale.
        let input_spread = if input.is_block_scaled() { spread / 2 } else { 0 };
        let weight_spread = if weight.is_block_scaled() { spread - input_spread } else { 0 };
        let (input_base, weight_base) = (random.between(-3, 3), random.between(-3, 3));
        let bias_base = input_base + weight_base + integer_unit(input) + integer_unit(weight);
        Self {
            input: Draw::Integers { base: input_base, spread: input_spread },
            weight: Draw::Integers { base: weight_base, spread: weight_spread },
            bias: Draw::Integers { base: bias_base, spread: 0 },
        }
    }
}

/// How gates and ups are drawn.
const SWIGLU: Draw = Draw::Ordinary { base: 2 };

/// Puts a NaN or an infinity among the gates or the ups of each row but the first, and a second one into longer rows. No
/// gate is -infinity, of which it is not said what becomes.
fn break_gates_and_ups(random: &mut Random, swiglu: &SwiGlu, values: &mut [f64]) {
    const BROKEN: [(bool, f64); 5] = [
        (true, f64::NAN),
        (false, f64::NAN),
        (true, f64::INFINITY),
        (false, f64::INFINITY),
        (false, f64::NEG_INFINITY),
    ];
    let n = swiglu.n;
    for (row, values) in values.chunks_mut(2 * n).enumerate().skip(1) {
        for (is_gate, value) in
            [BROKEN[row % 5], BROKEN[(row + row / 5) % 5]].into_iter().take(n.div_ceil(64))
        {
            let column = random.below(n);
            let place = match swiglu.form.interleaved {
                true => 2 * column + usize::from(!is_gate),
                false => column + if is_gate { 0 } else { n },
            };
            values[place] = value;
        }
    }
}

/// The activations of a product. Where BF16 is quantized in front of it, integers are drawn in the format that they
/// will be quantized to, and that changes none of them.
fn input_of_product(random: &mut Random, each: &Matmul, shape: &[usize], draw: Draw) -> HostBuffer {
    let scheme = each.activation.format;
    let through_scheme =
        each.input != scheme && matches!(draw, Draw::Integers { .. } | Draw::Positive { .. });
    if through_scheme {
        let values = read(&draw::tensor(random, scheme, shape, draw)).values;
        floats(each.input, shape, values)
    } else {
        draw::tensor(random, each.input, shape, draw)
    }
}

fn router_bias(random: &mut Random, route: &Route, values: Values) -> Vec<f64> {
    let one = |random: &mut Random| {
        if values == Values::Ties { 0.0 } else { f64::from(random.between(-8, 8)) * power_of_two(-5) }
    };
    (0..route.experts).map(|_| one(random)).collect()
}

/// All codes of a format with blocks along rows under all scale bytes: blocks take the bytes in turn, and where a
/// block does not hold all codes, each round of bytes goes on with the next.
fn every_code(mut x: HostBuffer) -> HostBuffer {
    let format = x.layout.format();
    let width = format.blocks().map_or(1, |blocks| blocks.columns);
    // The scales of NVFP4 are E4M3 without a sign.
    let scales = if format == Format::Nvfp4 { 128 } else { 256 };
    for (block, scale) in x.scales.iter_mut().enumerate() {
        *scale = (block % scales) as u8;
    }
    let code = |element: usize| (element / width / scales * width + element % width) as u8;
    for (place, byte) in x.data.iter_mut().enumerate() {
        *byte = match format.bits() {
            4 => (code(2 * place) & 15) | (code(2 * place + 1) & 15) << 4,
            _ => code(place),
        };
    }
    x
}

#[cfg(test)]
mod tests {
    use mxhal_core::Quantization;
    use mxhal_core::op::Dequantize;

    use super::*;
    use crate::opcase::tensor::read_rows;

    #[test]
    fn exact_operands_fill_24_bits_and_no_more() {
        for activation in [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4] {
            for weight in [Format::Mxfp4, Format::Fp8Tile128, Format::Bf16] {
                for input in [Format::Bf16, activation] {
                    let each = Matmul {
                        input,
                        weight,
                        bias: true,
                        ..Matmul::mxfp4(3, 5, 2880, Quantization::new(activation))
                    };
                    let op = Op::from(each);
                    let inputs = DataRecipe::new(Values::Exact { spread: 6 }).inputs(&op, 3, 11);
                    let a = read(inputs.get(&op, "a").unwrap());
                    let w = read_rows(&inputs.weights[0], 0, &[0, 1, 2, 3, 4]);
                    let bias = read(inputs.get(&op, "bias").unwrap()).values;
                    let products = |m: usize, n: usize| {
                        let product = a.row(m).iter().zip(w.row(n)).map(|(a, w)| a * w);
                        product.chain([bias[n]]).collect::<Vec<_>>()
                    };
                    for (m, n) in [(0, 0), (2, 4)] {
                        let terms = products(m, n);
                        let unit = terms.iter().filter(|&&x| x != 0.0).map(|&x| lowest_bit(x));
                        let unit = unit.fold(f64::INFINITY, f64::min);
                        let magnitude: f64 = terms.iter().map(|term| term.abs()).sum();
                        assert!(magnitude / unit <= power_of_two(24), "{each:?}: {}", magnitude / unit);
                    }
                }
            }
        }
    }

    fn lowest_bit(x: f64) -> f64 {
        let bits = x.to_bits();
        let zeros = (bits & ((1 << 52) - 1) | 1 << 52).trailing_zeros() as i32;
        power_of_two((bits >> 52 & 0x7ff) as i32 - 1023 - 52 + zeros)
    }

    #[test]
    fn every_code_meets_every_scale() {
        for (from, rows, codes) in
            [(Format::Mxfp4, 64, 16), (Format::Mxint8, 512, 256), (Format::Nvfp4, 32, 16)]
        {
            let op = Op::from(Dequantize { rows, k: 128, from, output: Format::F32 });
            let inputs = DataRecipe::new(Values::EveryCode).inputs(&op, rows, 0);
            let x = inputs.get(&op, "x").unwrap();
            let width = from.blocks().unwrap().columns;
            let mut pairs: Vec<(u8, u8)> = (0..rows * 128)
                .map(|element| {
                    let byte = x.data[element * from.bits() / 8];
                    let code = if codes == 16 { byte >> (4 * (element % 2)) & 15 } else { byte };
                    (x.scales[element / width], code)
                })
                .collect();
            pairs.sort_unstable();
            pairs.dedup();
            let scales = if from == Format::Nvfp4 { 128 } else { 256 };
            assert_eq!(pairs.len(), scales * codes, "{from}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_one_others() {
        let op = Op::from(Matmul::mxfp4(2, 3, 64, Quantization::none()));
        let recipe = DataRecipe::new(Values::Ordinary);
        assert_eq!(recipe.inputs(&op, 2, 5), recipe.inputs(&op, 2, 5));
        assert_ne!(recipe.inputs(&op, 2, 5).weights, recipe.inputs(&op, 2, 6).weights);
    }
}
