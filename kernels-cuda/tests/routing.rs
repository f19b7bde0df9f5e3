//! Emulated: route and permute, against references and the golden file.

mod emulated;
mod golden;
mod reference;

use emulated::{Device, Random};
use golden::Golden;
use mxhal_cuda_emulation::Checks;
use mxhal_kernels_cuda::parameters::{PermuteParameters, PermuteRowsParameters, RouteParameters};

/// Ids and weights in float64 of one token.
fn route_reference(
    p: &RouteParameters,
    logits: &[f32],
    bias: Option<&[f32]>,
    given: Option<&[i32]>,
) -> (Vec<i32>, Vec<f64>) {
    let logits: Vec<f64> = logits.iter().map(|z| f64::from(*z)).collect();
    let sum: f64 = logits.iter().map(|z| z.exp()).sum();
    let scores: Vec<f64> = logits
        .iter()
        .map(|z| match p.score {
            1 => z.exp() / sum,
            2 => 1.0 / (1.0 + (-z).exp()),
            3 => z.exp().ln_1p().sqrt(),
            _ => *z,
        })
        .collect();
    let key = |id: &i32| scores[*id as usize] + bias.map_or(0.0, |bias| f64::from(bias[*id as usize]));
    let ids = given.map_or_else(
        || {
            let mut ids: Vec<i32> = (0..p.experts as i32).collect();
            // A stable sort leaves the lower id first.
            ids.sort_by(|a, b| key(b).total_cmp(&key(a)));
            ids.truncate(p.top_k as usize);
            ids
        },
        <[i32]>::to_vec,
    );
    let mut weights: Vec<f64> = ids.iter().map(|id| scores[*id as usize]).collect();
    if p.score == 4 {
        let sum: f64 = weights.iter().map(|z| z.exp()).sum();
        weights.iter_mut().for_each(|z| *z = z.exp() / sum);
    }
    let sum = if p.renormalize == 1 { weights.iter().sum() } else { 1.0 };
    (ids, weights.iter().map(|w| w / sum * f64::from(p.scale)).collect())
}

#[test]
fn route_takes_the_best_and_the_lower_id_on_a_tie() {
    let mut random = Random::printed();
    for case in 0..24u64 {
        let experts = random.within(1, 80);
        let top_k = random.within(1, experts.min(8));
        let tokens = 4;
        let is_tied = case % 3 == 0;
        let mut logit = || if is_tied { (random.next() % 3) as f32 } else { random.unit() * 8.0 };
        let logits: Vec<f32> = (0..tokens * experts).map(|_| logit()).collect();
        let bias: Vec<f32> = (0..experts).map(|_| random.unit()).collect();
        let given: Vec<i32> = (0..tokens * top_k).map(|_| random.within(0, experts - 1) as i32).collect();
        let (biased, is_given) = (case % 4 == 1, case % 4 == 2);
        let mut device = Device::new(Checks::On, case);
        let parameters = RouteParameters {
            logits: device.copy(&logits),
            bias: if biased { device.copy(&bias) } else { 0 },
            ids_given: if is_given { device.copy(&given) } else { 0 },
            ids: device.alloc(tokens * top_k * 4),
            weights: device.alloc(tokens * top_k * 4),
            tokens: tokens as u32,
            experts: experts as u32,
            top_k: top_k as u32,
            score: random.within(1, 4) as u32,
            renormalize: random.within(0, 1) as u32,
            scale: 2.5,
        };
        device.launch(&parameters.launch(), parameters);
        let ids: Vec<i32> = device.read(parameters.ids, tokens * top_k);
        let weights: Vec<f32> = device.read(parameters.weights, tokens * top_k);
        for token in 0..tokens {
            let slots = token * top_k..(token + 1) * top_k;
            let (wanted_ids, wanted) = route_reference(
                &parameters,
                &logits[token * experts..][..experts],
                biased.then_some(&bias),
                is_given.then_some(&given[slots.clone()]),
            );
            assert_eq!(ids[slots.clone()], wanted_ids, "case {case} token {token}");
            for (got, wanted) in weights[slots].iter().zip(wanted) {
                assert!((f64::from(*got) - wanted).abs() <= wanted.abs() * 2f64.powi(-22), "{got} {wanted}");
            }
        }
    }
}

#[test]
fn route_gives_ids_that_are_no_experts_no_weight_and_stands_extremes() {
    let mut device = Device::new(Checks::On, 1);
    let parameters = RouteParameters {
        logits: device.copy(&[-100f32, 90.0, f32::NAN, 1.0]),
        ids_given: device.copy(&[0i32, -1, 1, 4]),
        ids: device.alloc(16),
        weights: device.alloc(16),
        tokens: 1,
        experts: 4,
        top_k: 4,
        score: 3,
        scale: 1.0,
        ..Default::default()
    };
    device.launch(&parameters.launch(), parameters);
    assert_eq!(device.read::<i32>(parameters.ids, 4), [0, -1, 1, 4]);
    let weights: Vec<f32> = device.read(parameters.weights, 4);
    let smallest = (-50f64).exp();
    assert!((f64::from(weights[0]) / smallest - 1.0).abs() < 1e-5, "{weights:?}");
    assert_eq!(weights[1..], [0.0, 90f32.sqrt(), 0.0]);
    // Left to choose, a NaN comes first.
    let chosen = RouteParameters { ids_given: 0, top_k: 2, ..parameters };
    device.launch(&chosen.launch(), chosen);
    assert_eq!(device.read::<i32>(parameters.ids, 2), [2, 1]);
}

#[test]
fn route_gives_the_golden_file() {
    let golden = Golden::open("moe_pieces");
    for (name, score) in [("softmax", 1), ("sigmoid", 2), ("sqrtsoftplus", 3)] {
        for kind in ["plain", "bias", "fixed"] {
            let mut device = Device::new(Checks::Off, 0);
            let wanted_ids = golden.integers(&format!("route.{name}.{kind}.ids"));
            let wanted = golden.doubles(&format!("route.{name}.{kind}.weights"));
            let mut parameters = RouteParameters {
                logits: device.copy(&golden.floats("route.logits")),
                ids: device.alloc(24 * 6 * 4),
                weights: device.alloc(24 * 6 * 4),
                tokens: 24,
                experts: 64,
                top_k: 6,
                score,
                scale: 1.0,
                ..Default::default()
            };
            if kind == "bias" {
                parameters.bias = device.copy(&golden.floats("route.bias"));
            }
            if kind == "fixed" {
                parameters.ids_given = device.copy(&golden.integers("route.fixed_ids"));
            }
            device.launch(&parameters.launch(), parameters);
            assert_eq!(device.read::<i32>(parameters.ids, 24 * 6), wanted_ids, "{name} {kind}");
            let weights: Vec<f32> = device.read(parameters.weights, 24 * 6);
            // The file's weights are renormalised or scaled: up to one factor a token they are these.
            for (got, wanted) in weights.chunks(6).zip(wanted.chunks(6)) {
                let ratio = wanted[0] / f64::from(got[0]);
                for (got, wanted) in got.iter().zip(wanted) {
                    assert!((f64::from(*got) * ratio / wanted - 1.0).abs() < 2f64.powi(-20), "{name} {kind}");
                }
            }
        }
    }
}

#[test]
fn permute_is_stable_and_moves_scales_and_weights_with_rows() {
    let mut random = Random::printed();
    for case in 0..16u64 {
        let (tokens, top_k, experts) = (random.within(1, 40), random.within(1, 6), random.within(1, 40));
        let slots = tokens * top_k;
        let mapped = case % 2 == 1;
        let ids: Vec<i32> = (0..slots).map(|_| random.within(0, experts + 2) as i32 - 2).collect();
        let map: Vec<i32> =
            (0..experts as i32).map(|id| if id % 3 == 0 { -1 } else { (id * 5) % experts as i32 }).collect();
        let bytes = [random.pick(&[48usize, 36, 33]), random.pick(&[0, 3, 4]), 4];
        let from: Vec<Vec<u8>> =
            bytes.iter().map(|bytes| (0..tokens * bytes).map(|_| random.next() as u8).collect()).collect();
        let weights: Vec<f32> = (0..slots).map(|_| random.unit()).collect();
        let mut device = Device::new(Checks::On, case);
        let place = PermuteParameters {
            ids: device.copy(&ids),
            expert_map: if mapped { device.copy(&map) } else { 0 },
            counts: device.alloc(experts * 4),
            source: device.alloc(slots * 4),
            positions: device.alloc(slots * 4),
            slots: slots as u32,
            experts: experts as u32,
            mapped: if mapped { map.len() as u32 } else { 0 },
            reserved: 0,
        };
        let move_rows = PermuteRowsParameters {
            source: place.source,
            from: [0, 1, 2].map(|i| device.copy(&from[i])),
            to: [0, 1, 2].map(|i| device.alloc(slots * bytes[i])),
            weights: device.copy(&weights),
            row_weights: device.alloc(slots * 4),
            bytes: bytes.map(|bytes| bytes as u64),
            rows: slots as u32,
            top_k: top_k as u32,
        };
        for launch in place.launches() {
            device.launch(&launch, place);
        }
        device.launch(&move_rows.launch(), move_rows);

        let expert = |slot: usize| -> Option<usize> {
            let id = usize::try_from(ids[slot]).ok()?;
            let id = if mapped { usize::try_from(*map.get(id)?).ok()? } else { id };
            (id < experts).then_some(id)
        };
        let mut order: Vec<usize> = (0..slots).filter(|slot| expert(*slot).is_some()).collect();
        order.sort_by_key(|slot| expert(*slot));
        let counts: Vec<i32> = (0..experts)
            .map(|e| order.iter().filter(|slot| expert(**slot) == Some(e)).count() as i32)
            .collect();
        let positions: Vec<i32> = (0..slots)
            .map(|slot| order.iter().position(|s| *s == slot).map_or(-1, |row| row as i32))
            .collect();
        let mut source: Vec<i32> = order.iter().map(|slot| *slot as i32).collect();
        source.resize(slots, -1);
        assert_eq!(device.read::<i32>(place.counts, experts), counts);
        assert_eq!(device.read::<i32>(place.source, slots), source);
        assert_eq!(device.read::<i32>(place.positions, slots), positions);
        let row_weights: Vec<f32> = device.read(move_rows.row_weights, slots);
        for row in 0..slots {
            for (part, bytes) in bytes.into_iter().enumerate() {
                let got: Vec<u8> = device.read(move_rows.to[part], slots * bytes);
                let wanted = match order.get(row) {
                    Some(slot) => from[part][slot / top_k * bytes..][..bytes].to_vec(),
                    None => vec![0xa5; bytes],
                };
                assert_eq!(got[row * bytes..][..bytes], wanted, "row {row} part {part}");
            }
            if let Some(slot) = order.get(row) {
                assert_eq!(row_weights[row], weights[*slot]);
            }
        }
    }
}
