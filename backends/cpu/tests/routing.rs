//! The edges of what moves and weighs rows: Permute, Combine and Route.

mod harness;

use harness::{Host, POISON, Permuted, Random, Rows};
use mxhal_core::op::{Combine, CombineTensors, Operators, Permute, Route, RouteTensors, Score};
use mxhal_core::{Format, Quantization};

#[test]
fn permute_moves_scales_and_factors_and_leaves_the_rest() {
    let (host, mut random) = (Host::new(2), Random::new());
    let (tokens, columns, experts, top_k) = (3, 96, 4, 2);
    for format in [Format::Mxfp4, Format::Mxfp8G128, Format::Nvfp4, Format::F16, Format::F32] {
        let x = Rows::of(&Quantization::new(format), &[tokens, columns], &random.values(tokens * columns));
        let op = Permute { tokens, columns, experts, top_k, format, weights: true, mapped: None };
        let (x_there, ids) = (host.upload(&x), host.upload(&Rows::integers(&[3, 2], &[3, -1, 0, 3, 4, 0])));
        let weights = host.upload(&Rows::floats(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        let permuted = host.permute(op, [&x_there, &ids], [Some(&weights), None]);
        let Permuted { rows, row_weights, counts, source, positions } = permuted;
        let row_weights = row_weights.expect("the operator has weights");
        assert_eq!(host.download(&counts).to_integers(), [2, 0, 0, 2]);
        assert_eq!(host.download(&source).to_integers(), [2, 5, 0, 3, -1, -1]);
        assert_eq!(host.download(&positions).to_integers(), [2, -1, 0, 3, -1, 1]);
        assert_eq!(host.download(&row_weights).values()[..4], [2.0, 5.0, 0.0, 3.0]);
        let got = host.download(&rows);
        for (part, original) in [(&got.data, &x.data), (&got.scales, &x.scales), (&got.factors, &x.factors)] {
            let each = part.len() / 6;
            for (row, token) in [1, 2, 0, 1].into_iter().enumerate() {
                assert_eq!(part[row * each..][..each], original[token * each..][..each], "{format} {row}");
            }
            assert!(part[4 * each..].iter().all(|byte| *byte == POISON), "{format}");
        }
    }
}

/// Such rows are written past the caches.
#[test]
fn rows_larger_than_caches_are_permuted_as_others_are() {
    let mut random = Random::new();
    let (tokens, columns, experts, top_k) = (1030, 4096, 7, 4);
    let format = Format::Bf16;
    let data: Vec<u8> = (0..tokens * columns / 4).flat_map(|_| random.bits().to_ne_bytes()).collect();
    let x = Rows::plain(format, &[tokens, columns], data);
    let ids: Vec<i32> = (0..tokens * top_k).map(|_| random.below(experts + 1) as i32 - 1).collect();
    for host in Host::each(2) {
        let op = Permute { tokens, columns, experts, top_k, format, weights: false, mapped: None };
        let (x_there, ids) = (host.upload(&x), host.upload(&Rows::integers(&[tokens, top_k], &ids)));
        let Permuted { rows, source, .. } = host.permute(op, [&x_there, &ids], [None, None]);
        let (got, source) = (host.download(&rows).data, host.download(&source).to_integers());
        let each = format.row_bytes(columns);
        for (row, source) in got.chunks(each).zip(source) {
            match usize::try_from(source) {
                Ok(slot) => assert!(row == &x.data[slot / top_k * each..][..each], "slot {slot}"),
                Err(_) => assert!(row.iter().all(|byte| *byte == POISON)),
            }
        }
    }
}

#[test]
fn many_rows_of_bf16_are_summed_one_after_the_other() {
    let mut random = Random::new();
    for host in Host::each(2) {
        for top_k in [1, 3, 16, 17, 40] {
            let (tokens, columns) = (5, 1 + random.below(300));
            let count = tokens * top_k;
            let bf16 = Quantization::none();
            let rows = Rows::of(&bf16, &[count, columns], &random.values(count * columns));
            let addend = Rows::of(&bf16, &[tokens, columns], &random.values(tokens * columns));
            let weights = random.values(tokens * top_k);
            let positions: Vec<i32> =
                (0..tokens * top_k).map(|_| random.below(count + 1) as i32 - 1).collect();
            let (values, added) = (rows.values(), addend.values());
            let sums: Vec<f32> = (0..tokens * columns)
                .map(|at| {
                    let (token, column) = (at / columns, at % columns);
                    let slots = token * top_k..(token + 1) * top_k;
                    let terms = slots.filter(|slot| positions[*slot] >= 0);
                    let sum = terms.fold(0f32, |sum, slot| {
                        sum + values[positions[slot] as usize * columns + column] * weights[slot]
                    });
                    sum + added[at]
                })
                .collect();
            for output in [Format::Bf16, Format::F32] {
                let input = Format::Bf16;
                let op = Combine {
                    tokens,
                    columns,
                    top_k,
                    input,
                    output,
                    weighted: true,
                    addend: Some(Format::Bf16),
                };
                let plan = host.device.combine(op).unwrap();
                let workspace = host.workspace(plan.info());
                let (rows, addend) = (host.upload(&rows), host.upload(&addend));
                let positions = host.upload(&Rows::integers(&[tokens, top_k], &positions));
                let weights = host.upload(&Rows::floats(&[tokens, top_k], &weights));
                let y = host.poisoned(output, &[tokens, columns]);
                let tensors = CombineTensors {
                    rows: rows.view,
                    positions: positions.view,
                    weights: Some(weights.view),
                    addend: Some(addend.view),
                    y: y.view,
                };
                plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
                let expected = Rows::of(&Quantization::new(output), &[tokens, columns], &sums);
                assert_eq!(host.download(&y).values(), expected.values(), "{top_k} rows, {output}");
            }
        }
    }
}

#[test]
fn combine_sums_in_slot_order_with_the_addend_last() {
    let (host, mut random) = (Host::new(2), Random::new());
    let (tokens, columns, top_k) = (4, 9, 3);
    let rows = Rows::floats(&[12, columns], &random.values(12 * columns));
    let (weights, addend) = (random.values(12), random.values(tokens * columns));
    let positions = [0, 5, 3, 11, -1, 2, -1, -1, -1, 12, 7, 7];
    let op = Combine {
        tokens,
        columns,
        top_k,
        input: Format::F32,
        output: Format::F32,
        weighted: true,
        addend: Some(Format::F32),
    };
    let plan = host.device.combine(op).unwrap();
    let workspace = host.workspace(plan.info());
    let (rows_there, weights_there) = (host.upload(&rows), host.upload(&Rows::floats(&[4, 3], &weights)));
    let addend_there = host.upload(&Rows::floats(&[tokens, columns], &addend));
    let positions_there = host.upload(&Rows::integers(&[4, 3], &positions));
    let y = host.poisoned(Format::F32, &[tokens, columns]);
    let tensors = CombineTensors {
        rows: rows_there.view,
        positions: positions_there.view,
        weights: Some(weights_there.view),
        addend: Some(addend_there.view),
        y: y.view,
    };
    plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
    let values = rows.values();
    for (i, got) in host.download(&y).values().iter().enumerate() {
        let (token, column) = (i / columns, i % columns);
        let mut sum = 0.0f32;
        for slot in token * top_k..(token + 1) * top_k {
            if (0..12).contains(&positions[slot]) {
                sum += weights[slot] * values[positions[slot] as usize * columns + column];
            }
        }
        assert_eq!(got.to_bits(), (sum + addend[i]).to_bits(), "{i}");
    }
}

fn route(host: &Host, op: Route, logits: &[f32], given: Option<&[i32]>) -> (Vec<i32>, Vec<f32>) {
    let plan = host.device.route(op).unwrap();
    let workspace = host.workspace(plan.info());
    let logits = host.upload(&Rows::floats(&[op.tokens, op.experts], logits));
    let given = given.map(|given| host.upload(&Rows::integers(&[op.tokens, op.top_k], given)));
    let ids = host.poisoned(Format::I32, &[op.tokens, op.top_k]);
    let weights = host.poisoned(Format::F32, &[op.tokens, op.top_k]);
    let tensors = RouteTensors {
        logits: logits.view,
        bias: None,
        ids_given: given.as_ref().map(|given| given.view),
        ids: ids.view,
        weights: weights.view,
    };
    plan.run(&*host.stream, tensors, [], workspace.span()).unwrap();
    (host.download(&ids).to_integers(), host.download(&weights).values())
}

#[test]
fn ties_go_to_the_lower_id_and_nan_comes_first() {
    let host = Host::new(2);
    for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
        let op = Route {
            tokens: 2,
            experts: 6,
            top_k: 4,
            score,
            bias: false,
            ids_given: false,
            renormalize: true,
            scale: 1.0,
        };
        let logits = [1.0, 2.0, 1.0, 2.0, 0.5, 1.0, 0.0, -0.0, 0.0, 3.0, -0.0, 0.0];
        let (ids, weights) = route(&host, op, &logits, None);
        assert_eq!(ids, [1, 3, 0, 2, 3, 0, 1, 2], "{score}");
        for weights in weights.chunks(4) {
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{score}");
        }

        let op = Route { tokens: 1, ..op };
        let (ids, _) = route(&host, op, &[1.0, 2.0, 3.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY], None);
        assert_eq!(ids.len(), 4, "{score}");
        if score != Score::Softmax {
            assert_eq!(ids, [3, 4, 2, 1], "{score}");
        }
        // All experts chosen, too.
        let (ids, _) = route(&host, Route { top_k: 6, ..op }, &[f32::NAN; 6], None);
        assert_eq!(ids, [0, 1, 2, 3, 4, 5], "{score}");
    }
}

#[test]
fn a_given_id_that_is_no_experts_has_no_weight() {
    let host = Host::new(1);
    for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
        let op = Route {
            tokens: 1,
            experts: 3,
            top_k: 4,
            score,
            bias: false,
            ids_given: true,
            renormalize: true,
            scale: 2.0,
        };
        let op = Route { top_k: 3, ..op };
        let (ids, weights) = route(&host, op, &[0.5, 1.5, 0.5], Some(&[2, -1, 0]));
        assert_eq!((ids, weights), (vec![2, -1, 0], vec![1.0, 0.0, 1.0]), "{score}");
        let (_, weights) = route(&host, op, &[0.5, 1.5, 0.5], Some(&[-1, 3, -1]));
        assert_eq!(weights, [0.0; 3], "{score}");
    }
}
