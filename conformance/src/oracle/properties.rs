//! What must hold of the oracle without any expected value.

use proptest::prelude::*;

use super::interval::Intermediates;
use super::*;

#[test]
fn every_code_is_the_nearest_to_its_own_value() {
    for code in 0..=255u8 {
        if !format::e4m3(code).is_nan() {
            assert_eq!(format::nearest_e4m3(format::e4m3(code)), code);
        }
        if code < 16 {
            assert_eq!(format::nearest_e2m1(format::e2m1(code)), code);
        }
        if code != 0x80 {
            assert_eq!(format::nearest_int8(format::int8(code)), code);
        }
    }
}

const QUANTIZED: [Format; 5] =
    [Format::Mxfp4, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Nvfp4];

fn any_quantization() -> impl Strategy<Value = Quantization> {
    let rules = prop::sample::select(vec![ScaleRule::Ceil, ScaleRule::Floor, ScaleRule::Even]);
    (prop::sample::select(QUANTIZED.to_vec()), rules).prop_map(|(format, rule)| match format {
        Format::Nvfp4 => Quantization::new(format),
        _ => Quantization::new(format).with_rule(rule),
    })
}

/// Two rows of 160 numbers of float32 of very different sizes.
fn any_rows() -> impl Strategy<Value = Matrix> {
    let value = (-1.0f32..1.0, -20i32..20).prop_map(|(x, power)| f64::from(x) * 2f64.powi(power));
    prop::collection::vec(value, 320).prop_map(|values| Matrix::new(2, 160, values).unwrap())
}

proptest! {
    #[test]
    fn what_quantize_gives_is_accepted_and_one_changed_code_is_not(
        x in any_rows(), to in any_quantization(), place in 0usize..320,
    ) {
        let quantized = quantize_reference(&x, to).unwrap();
        let (factors, scales) = (quantized.factors.clone(), quantized.scales.clone());
        let got = |data| Encoded { format: to.format, rows: 2, columns: 160, data, scales: &scales, factors: &factors };
        prop_assert_eq!(check_quantized(&x, to, &got(&quantized.data)), Ok(()));
        let decoded = decode(&got(&quantized.data)).unwrap();
        prop_assert_eq!(&decoded, &quantize_dequantize(&x, to).unwrap());
        let index = place * quantized.data.len() / 320;
        let mut changed = quantized.data.clone();
        changed[index] ^= 1;
        let refused = matches!(check_quantized(&x, to, &got(&changed)), Err(Error::Mismatch(_)));
        prop_assert!(refused);
    }

    #[test]
    fn quantizing_twice_changes_nothing_more(x in any_rows(), to in any_quantization()) {
        // Not so under `ceil` and NVFP4: there the second amax, rounded, may ask for another scale.
        prop_assume!(to.rule == ScaleRule::Floor);
        let once = quantize_dequantize(&x, to).unwrap();
        prop_assert_eq!(&quantize_dequantize(&once, to).unwrap(), &once);
    }

    #[test]
    fn a_power_of_two_scales_through_quantize_and_product(
        x in any_rows(), to in any_quantization(), power in -30i32..30,
    ) {
        let factor = 2f64.powi(power);
        let quantized = quantize_dequantize(&x, to).unwrap();
        let scaled = quantize_dequantize(&x.map(|value| value * factor), to).unwrap();
        prop_assert_eq!(&scaled, &quantized.map(|value| value * factor));
        let (product, scaled) = (matmul(&quantized, &x, None).unwrap(), matmul(&scaled, &x, None).unwrap());
        prop_assert_eq!(scaled.values(), product.values().map(|value| value * factor));
    }

    #[test]
    fn permuting_k_changes_no_product(x in any_rows(), w in any_rows(), order in Just((0..160).collect::<Vec<usize>>()).prop_shuffle()) {
        let shuffled = |matrix: &Matrix| {
            let values = (0..2).flat_map(|row| order.iter().map(move |&column| matrix.row(row)[column]));
            Matrix::new(2, 160, values.collect()).unwrap()
        };
        let (product, other) = (matmul(&x, &w, None).unwrap(), matmul(&shuffled(&x), &shuffled(&w), None).unwrap());
        for output in [Format::F32, Format::Bf16] {
            prop_assert_eq!(product.rounded(output).unwrap(), other.rounded(output).unwrap());
        }
        let magnitude = product.magnitudes.iter().zip(&other.magnitudes);
        for (one, other) in magnitude {
            prop_assert!((one / other - 1.0).abs() < 1e-13);
        }
    }

    #[test]
    fn a_sum_in_float32_in_any_order_is_within_the_bound(x in any_rows(), w in any_rows()) {
        let product = matmul(&x, &w, None).unwrap();
        let sum = |terms: &mut dyn Iterator<Item = f32>| f64::from(terms.fold(0.0, |sum, term| sum + term));
        let term = |m: usize, n: usize, k: usize| (x.row(m)[k] as f32) * (w.row(n)[k] as f32);
        for (first, values) in [(0, 1), (159, 1), (0, 7)].map(|(first, step)| {
            let order: Vec<usize> = (0..160).map(|k| (first + k * step) % 160).collect();
            let sums = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(m, n)| sum(&mut order.iter().map(|&k| term(m, n, k))));
            (first, sums)
        }) {
            let got = Matrix::new(2, 2, values.to_vec()).unwrap();
            let worst = product.check_bounded(&got, Format::F32, false);
            prop_assert!(worst.is_ok(), "from {}: {:?}", first, worst);
        }
    }
}

/// Four experts and a shared one, 64 × 96 × 64, with weights of E2M1.
fn any_moe(to: Quantization, weight_before_down: bool) -> impl Strategy<Value = Moe> {
    let matrix = |rows: usize, columns: usize| {
        let codes = prop::collection::vec(0u8..16, rows * columns);
        codes.prop_map(move |codes| {
            Matrix::new(rows, columns, codes.iter().map(|&code| format::e2m1(code) / 16.0).collect()).unwrap()
        })
    };
    let expert = (matrix(192, 64), matrix(64, 96)).prop_map(|(gate_up, down)| Expert {
        gate_up,
        gate_up_bias: Some(vec![0.125; 192]),
        down,
        down_bias: None,
    });
    prop::collection::vec(expert, 5).prop_map(move |mut experts| Moe {
        shared: experts.pop().map(|expert| Shared { expert, clamped: false }),
        experts,
        activation: to,
        swiglu: SwiGlu { variant: Variant::Plain, limit: 3.0, interleaved: false },
        weight_before_down,
    })
}

/// A fused backend's way: float32 throughout, sums from the last term to the first, nothing rounded to BF16.
fn moe_in_float32(moe: &Moe, x: &Matrix, ids: &[i32], weights: &[f64]) -> Matrix {
    let project = |x: &[f64], w: &Matrix, bias: Option<&[f64]>| {
        let x = Matrix::new(1, x.len(), x.to_vec()).unwrap();
        let x = if moe.activation.is_none() { x } else { quantize_dequantize(&x, moe.activation).unwrap() };
        let sum = |n: usize| {
            let terms = x.values.iter().zip(w.row(n)).rev().map(|(&x, &w)| (x * w) as f32);
            f64::from(terms.fold(bias.map_or(0.0, |bias| bias[n] as f32), |sum, term| sum + term))
        };
        Matrix::new(1, w.rows, (0..w.rows).map(sum).collect()).unwrap()
    };
    let run = |x: &[f64], expert: &Expert, swiglu: SwiGlu, weight: f64| {
        let gate_up = project(x, &expert.gate_up, expert.gate_up_bias.as_deref());
        let h = swiglu.apply(&gate_up, Some(&[weight])).unwrap().map(|h| f64::from(h as f32));
        project(&h.values, &expert.down, None).values
    };
    let top_k = ids.len() / x.rows;
    let mut y = Matrix::zeros(x.rows, x.columns);
    for (token, y) in y.values.chunks_mut(x.columns).enumerate() {
        let shared = moe.shared.as_ref().expect("any_moe gives one");
        let mut parts = vec![(run(x.row(token), &shared.expert, moe.shared_swiglu(shared), 1.0), 1.0)];
        for route in token * top_k..(token + 1) * top_k {
            let (weight, expert) = (weights[route], &moe.experts[ids[route] as usize]);
            let (before, after) = if moe.weight_before_down { (weight, 1.0) } else { (1.0, weight) };
            parts.push((run(x.row(token), expert, moe.swiglu, before), after));
        }
        for (column, y) in y.iter_mut().enumerate() {
            *y = f64::from(
                parts.iter().fold(0.0f32, |sum, (part, after)| sum + (part[column] * after) as f32),
            );
        }
    }
    y
}

fn any_layer() -> impl Strategy<Value = (Moe, Matrix)> {
    let mut schemes = vec![Quantization::none(), Quantization::deepseek()];
    schemes.extend(QUANTIZED.map(Quantization::new));
    let x = prop::collection::vec(-3.0f64..3.0, 2 * 64)
        .prop_map(|values| Matrix::new(2, 64, values).unwrap().map(|value| format::Float::BF16.round(value)));
    (prop::sample::select(schemes), any::<bool>())
        .prop_flat_map(|(to, before)| any_moe(to, before))
        .prop_flat_map(move |moe| (Just(moe), x.clone()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ways_through_a_layer_end_in_its_ranges((moe, x) in any_layer()) {
        let (ids, weights) = ([0, 3, 2, 1], [0.75, 0.25, 0.625, 0.375]);
        let rounded = moe.apply(&x, &ids, &weights).unwrap();
        let ranges = moe.ranges(&x, &ids, &weights, Intermediates::Bf16).unwrap();
        prop_assert_eq!(ranges.check(&rounded.map(|y| format::Float::F32.round(y)), Format::F32), Ok(()));
        let ranges = moe.ranges(&x, &ids, &weights, Intermediates::Bf16OrBetter).unwrap();
        let fused = moe_in_float32(&moe, &x, &ids, &weights);
        for y in [&rounded, &fused] {
            for output in [Format::F32, Format::Bf16] {
                let float = format::Float::of(output).unwrap();
                prop_assert_eq!(ranges.check(&y.map(|y| float.round(y)), output), Ok(()));
            }
        }
        // A mistake is far outside: the weights of the two experts exchanged, the limit forgotten.
        let exchanged = moe.apply(&x, &ids, &[0.25, 0.75, 0.375, 0.625]).unwrap();
        prop_assert!(ranges.check(&exchanged, Format::F32).is_err());
        let unlimited = Moe { swiglu: SwiGlu { limit: 0.0, ..moe.swiglu }, ..moe };
        prop_assert!(ranges.check(&unlimited.apply(&x, &ids, &weights).unwrap(), Format::F32).is_err());
    }
}
