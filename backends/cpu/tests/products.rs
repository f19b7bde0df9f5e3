//! Products of random shapes, formats and schemes against float64 sums written here.

mod harness;

use harness::{Host, POISON, Random, Rows, sum_bound};
use mxhal_core::op::{GroupedMatmul, GroupedMatmulTensors, Matmul, MatmulTensors, Operators};
use mxhal_core::{Format, HostTensor, Layout, Quantization, Span, Status, Tensor, Weights, WeightsDesc};

const SCHEMES: [Format; 6] =
    [Format::Bf16, Format::Mxfp8, Format::Mxfp8G128, Format::Mxint8, Format::Mxfp4, Format::Nvfp4];

const WEIGHTS: [Format; 7] = [
    Format::Mxfp4,
    Format::Mxfp8,
    Format::Mxfp8G128,
    Format::Mxint8,
    Format::Nvfp4,
    Format::Fp8Tile128,
    Format::Bf16,
];

const OUTPUTS: [Format; 3] = [Format::F32, Format::Bf16, Format::F16];

/// A product whose sums are known.
struct Case {
    op: Matmul,
    /// As it is passed, and as it is multiplied.
    a: Rows,
    multiplied: Vec<f32>,
    matrices: Vec<Rows>,
    bias: Option<Vec<f32>>,
}

impl Case {
    fn random(random: &mut Random, groups: usize) -> Self {
        let activation = Quantization::new(random.choose(&SCHEMES));
        let weight = random.choose(&WEIGHTS);
        // Only where neither has blocks may K be anything.
        let multiple = activation.format.column_multiple().max(weight.column_multiple());
        let (m, n) = (1 + random.below(40), 1 + random.below(90));
        let k = multiple * (1 + random.below(if multiple == 1 { 300 } else { 11 }));
        let input = random.choose(&[Format::Bf16, activation.format]);
        let values = random.values(m * k);
        let a = Rows::of(&Quantization::new(input), &[m, k], &values);
        let multiplied = if input == activation.format {
            a.values()
        } else {
            Rows::of(&activation, &[m, k], &a.values()).values()
        };
        let bias = random.below(2) == 1;
        Self {
            op: Matmul { m, n, k, input, weight, output: random.choose(&OUTPUTS), bias, activation },
            a,
            multiplied,
            matrices: (0..groups).map(|_| random.matrix(weight, n, k)).collect(),
            bias: bias.then(|| random.values(groups * n)),
        }
    }

    fn check(&self, row: usize, group: usize, got: &[f32]) {
        let Matmul { n, k, output, .. } = self.op;
        let matrix = self.matrices[group].values();
        for (column, got) in got.iter().enumerate() {
            let (mut sum, mut magnitude) = (0.0, 0.0);
            for (a, w) in self.multiplied[row * k..][..k].iter().zip(&matrix[column * k..][..k]) {
                let product = f64::from(*a) * f64::from(*w);
                sum += product;
                magnitude += product.abs();
            }
            if let Some(bias) = &self.bias {
                sum += f64::from(bias[group * n + column]);
                magnitude += f64::from(bias[group * n + column]).abs();
            }
            let bound = sum_bound(output, k + usize::from(self.bias.is_some()), sum, magnitude);
            let error = (f64::from(*got) - sum).abs();
            assert!(error <= bound, "{:?} row {row} column {column}: {got}, {sum} ± {bound}", self.op);
        }
    }

    fn run(&self, host: &Host) -> Rows {
        let op = self.op;
        let plan = host.device.matmul(op).unwrap();
        let workspace = host.workspace(plan.info());
        let weights = host.weights(&self.matrices, op.activation.format);
        let (a, y) = (host.upload(&self.a), host.poisoned(op.output, &[self.a.shape[0], op.n]));
        let bias = self.bias.as_ref().map(|bias| host.upload(&Rows::floats(&[op.n], bias)));
        let tensors = MatmulTensors { a: a.view, bias: bias.as_ref().map(|bias| bias.view), y: y.view };
        plan.run(&*host.stream, tensors, [&*weights], workspace.span()).unwrap();
        host.download(&y)
    }

    fn run_grouped(&self, host: &Host, counts: &[i32]) -> Result<Rows, mxhal_core::Error> {
        let op = GroupedMatmul { each: self.op, groups: self.matrices.len() };
        let plan = host.device.grouped_matmul(op).unwrap();
        let workspace = host.workspace(plan.info());
        let weights = host.weights(&self.matrices, self.op.activation.format);
        let (a, y) = (host.upload(&self.a), host.poisoned(self.op.output, &[self.op.m, self.op.n]));
        let counts = host.upload(&Rows::integers(&[op.groups], counts));
        let bias = self.bias.as_ref().map(|bias| host.upload(&Rows::floats(&[op.groups, self.op.n], bias)));
        let tensors = GroupedMatmulTensors {
            a: a.view,
            counts: counts.view,
            bias: bias.as_ref().map(|bias| bias.view),
            y: y.view,
        };
        let result = plan.run(&*host.stream, tensors, [&*weights], workspace.span());
        let y = host.download(&y);
        if result.is_err() {
            assert!(y.data.iter().all(|byte| *byte == POISON), "something was written");
        }
        result.map(|()| y)
    }
}

#[test]
fn products_of_every_scheme_and_weight_keep_their_bound_and_their_bits_with_any_threads() {
    let (mut random, [one, two, three]) = (Random::new(), [1, 2, 3].map(Host::each));
    for _ in 0..150 {
        let case = Case::random(&mut random, 1);
        for ((one, two), three) in one.iter().zip(&two).zip(&three) {
            let y = case.run(one);
            for (row, got) in y.values().chunks(case.op.n).enumerate() {
                case.check(row, 0, got);
            }
            for host in [two, three, two] {
                assert_eq!(case.run(host), y, "{:?}", case.op);
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone() {
    let (hosts, mut random) = (Host::each(2), Random::new());
    for turn in 0..60 {
        let host = &hosts[turn % hosts.len()];
        let case = Case::random(&mut random, 1);
        let Matmul { m, n, input, .. } = case.op;
        let all = case.run(host);
        let row = random.below(m);
        let part =
            |bytes: &[u8], rows: usize| bytes[row * (bytes.len() / rows)..][..bytes.len() / rows].to_vec();
        let alone = Case {
            a: Rows {
                shape: vec![1, case.op.k],
                data: part(&case.a.data, m),
                scales: part(&case.a.scales, m),
                factors: part(&case.a.factors, m),
                format: input,
            },
            ..case
        };
        let expected = &all.data[row * (all.data.len() / m)..][..all.data.len() / m];
        assert_eq!(alone.run(host).data, expected, "row {row} of {m}, {n} columns");
    }
}

#[test]
fn groups_keep_their_bound_and_rows_beyond_them_are_left() {
    let (hosts, mut random) = (Host::each(2), Random::new());
    for turn in 0..90 {
        let host = &hosts[turn % hosts.len()];
        let groups = 1 + random.below(6);
        let case = Case::random(&mut random, groups);
        let mut left = case.op.m;
        let counts: Vec<i32> = (0..groups)
            .map(|_| {
                let count = if random.below(3) == 0 { 0 } else { random.below(left + 1) };
                left -= count;
                count as i32
            })
            .collect();
        let y = case.run_grouped(host, &counts).unwrap();
        let values = y.values();
        let owners = (0..groups).flat_map(|group| vec![group; counts[group] as usize]);
        let mut rows = 0;
        for (row, group) in owners.enumerate() {
            case.check(row, group, &values[row * case.op.n..][..case.op.n]);
            rows += 1;
        }
        let row_bytes = case.op.output.row_bytes(case.op.n);
        assert!(y.data[rows * row_bytes..].iter().all(|byte| *byte == POISON), "{counts:?}");
    }
}

#[test]
fn many_rows_of_one_group_are_divided_and_none_is_lost() {
    let (host, mut random) = (Host::new(2), Random::new());
    let (m, n, k) = (530, 35, 32);
    let values = random.values(m * k);
    let a = Rows::of(&Quantization::none(), &[m, k], &values);
    let op = Matmul::mxfp4(m, n, k, Quantization::none());
    let matrices = vec![random.matrix(Format::Mxfp4, n, k), random.matrix(Format::Mxfp4, n, k)];
    let case = Case { op, multiplied: a.values(), a, matrices, bias: None };
    let y = case.run_grouped(&host, &[3, 527]).unwrap().values();
    for (row, got) in y.chunks(n).enumerate() {
        case.check(row, usize::from(row >= 3), got);
    }
}

#[test]
fn counts_that_cannot_be_are_refused_before_anything_is_written() {
    let (host, mut random) = (Host::new(2), Random::new());
    let case = Case::random(&mut random, 3);
    let m = case.op.m as i32;
    for (counts, word) in [([0, -1, 1], "group 1 is -1"), ([m, 0, 1], "sum to"), ([i32::MAX; 3], "sum to")] {
        let error = case.run_grouped(&host, &counts).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(error.message().contains(word), "{error}");
    }
}

#[test]
fn no_rows_and_rows_that_lie_apart_are_fine() {
    let (host, mut random) = (Host::new(2), Random::new());
    let (m, n, k) = (5, 7, 64);
    let op = Matmul { output: Format::Bf16, ..Matmul::mxfp4(m, n, k, Quantization::new(Format::Mxint8)) };
    let values = random.values(m * k);
    let a = Rows::of(&Quantization::none(), &[m, k], &values);
    let matrices = vec![random.matrix(Format::Mxfp4, n, k)];
    let case = Case { op, multiplied: Vec::new(), a, matrices, bias: None };
    let expected = case.run(&host);

    let plan = host.device.matmul(op).unwrap();
    let workspace = host.workspace(plan.info());
    let weights = host.weights(&case.matrices, Format::Mxint8);
    let empty =
        |columns| Tensor::new(Layout::contiguous(Format::Bf16, &[0, columns]).unwrap(), Span::NONE).unwrap();
    let tensors = MatmulTensors { a: empty(k), bias: None, y: empty(n) };
    plan.run(&*host.stream, tensors, [&*weights], workspace.span()).unwrap();

    let (a_stride, y_stride) = (k + 6, n + 3);
    let mut a = vec![0xffu8; a_stride * m * 2];
    for (row, data) in case.a.data.chunks(2 * k).enumerate() {
        a[row * a_stride * 2..][..2 * k].copy_from_slice(data);
    }
    let a_wide = host.upload(&Rows::plain(Format::Bf16, &[m, a_stride], a));
    let y_wide = host.poisoned(Format::Bf16, &[m, y_stride]);
    let strided = |columns, stride, data| {
        Tensor::new(Layout::strided(Format::Bf16, &[m, columns], &[stride, 1]).unwrap(), data).unwrap()
    };
    let tensors = MatmulTensors {
        a: strided(k, a_stride, a_wide.view.data()),
        bias: None,
        y: strided(n, y_stride, y_wide.view.data()),
    };
    plan.run(&*host.stream, tensors, [&*weights], workspace.span()).unwrap();
    for (row, got) in host.download(&y_wide).data.chunks(2 * y_stride).enumerate() {
        assert_eq!(got[..2 * n], expected.data[row * 2 * n..][..2 * n]);
        assert!(got[2 * n..].iter().all(|byte| *byte == POISON), "the gap was written");
    }
}

/// Exact products, whose right bits are known, of numbers within and far beyond what kernels take in their stride.
#[test]
fn sums_without_rounding_have_every_bit_with_every_scale() {
    let mut random = Random::new();
    for host in Host::each(2) {
        for _ in 0..60 {
            let activation = Quantization::new(random.choose(&SCHEMES[..5]));
            let (m, n, k) = (1 + random.below(20), 1 + random.below(70), 32 * (1 + random.below(40)));
            // One exponent for all rows and one for all columns: their product is a number, or close to none.
            let row = random.choose(&[-110, -60, -20, 0, 20, 60, 110]);
            let column = random.choose(&[-100, -60, -20, 0, 20, 60, 100]).clamp(-115 - row, 100 - row);
            let integers = |random: &mut Random, count: usize, exponent: i32| -> Vec<f32> {
                let value = |random: &mut Random| random.choose(&[0.0, 1.0, -1.0, 2.0, -3.0, 4.0, -6.0]);
                (0..count).map(|_| value(random) * 2f32.powi(exponent)).collect()
            };
            let a = Rows::of(&activation, &[m, k], &integers(&mut random, m * k, row));
            let w = integers(&mut random, n * k, column);
            let w = Rows::of(&Quantization::new(Format::Mxfp4), &[n, k], &w);
            let op = Matmul { input: activation.format, ..Matmul::mxfp4(m, n, k, activation) };
            let (a_values, w_values) = (a.values(), w.values());
            let y = Case { op, multiplied: Vec::new(), a, matrices: vec![w], bias: None }.run(&host).values();
            for (place, y) in y.iter().enumerate() {
                let (a, w) = (&a_values[place / n * k..][..k], &w_values[place % n * k..][..k]);
                let exact: f64 = a.iter().zip(w).map(|(a, w)| f64::from(*a) * f64::from(*w)).sum();
                assert_eq!(f64::from(*y), exact, "{op:?} 2^{row} 2^{column} at {place}");
            }
        }
    }
}

#[test]
fn a_long_sum_is_off_by_less_than_a_millionth() {
    let mut random = Random::new();
    let (m, n, k) = (4, 64, 4096);
    for host in Host::each(2) {
        for activation in [Format::Bf16, Format::Mxint8, Format::Mxfp8].map(Quantization::new) {
            let a = Rows::of(&activation, &[m, k], &random.values(m * k));
            let w = random.matrix(Format::Mxfp4, n, k);
            let op = Matmul { input: activation.format, ..Matmul::mxfp4(m, n, k, activation) };
            let (a_values, w_values) = (a.values(), w.values());
            let y = Case { op, multiplied: Vec::new(), a, matrices: vec![w], bias: None }.run(&host).values();
            let (mut error, mut norm) = (0.0, 0.0);
            for (place, y) in y.iter().enumerate() {
                let (a, w) = (&a_values[place / n * k..][..k], &w_values[place % n * k..][..k]);
                let exact: f64 = a.iter().zip(w).map(|(a, w)| f64::from(*a) * f64::from(*w)).sum();
                error += (f64::from(*y) - exact).powi(2);
                norm += exact.powi(2);
            }
            let relative = (error / norm).sqrt();
            let architecture = host.device.info().unwrap().architecture;
            assert!(relative < 1e-6, "{architecture} {}: {relative:e}", activation.format);
            println!("{architecture} {}: {relative:.1e}", activation.format);
        }
    }
}

#[test]
fn a_nan_scale_reaches_the_sums_that_it_enters_and_no_others() {
    let mut random = Random::new();
    let (m, n, k) = (3, 40, 96);
    let mut w = random.matrix(Format::Mxfp4, n, k);
    w.scales[33 * 3 + 1] = 255;
    let values = random.values(m * k);
    let a = Rows::of(&Quantization::new(Format::Mxfp8), &[m, k], &values);
    let op = Matmul { input: Format::Mxfp8, ..Matmul::mxfp4(m, n, k, Quantization::new(Format::Mxfp8)) };
    let case = Case { op, a, multiplied: Vec::new(), matrices: vec![w], bias: None };
    for host in Host::each(2) {
        for (i, value) in case.run(&host).values().iter().enumerate() {
            assert_eq!(value.is_nan(), i % n == 33, "{i}");
        }
    }
}

#[test]
fn weights_are_exported_as_they_were_given_however_they_were_cut() {
    let (host, mut random) = (Host::new(1), Random::new());
    for format in WEIGHTS {
        let (groups, n, k) = (3, 130 + 128, 160);
        let matrices: Vec<Rows> = (0..2 * groups)
            .map(|part| random.matrix(format, if part % 2 == 0 { 128 } else { n - 128 }, k))
            .collect();
        let desc = WeightsDesc { format, groups, n, k, activation: Format::Bf16 };
        let parts: Vec<HostTensor<'_>> = matrices.iter().map(Rows::host).collect();
        let weights = host.device.prepare_weights(&desc, &parts).unwrap();
        let back = weights.export().unwrap();
        let all =
            |bytes: fn(&Rows) -> &Vec<u8>| matrices.iter().flat_map(|m| bytes(m).clone()).collect::<Vec<_>>();
        assert_eq!(back.layout.shape(), [groups, n, k]);
        assert_eq!(back.data, all(|m| &m.data));
        assert_eq!(back.scales, all(|m| &m.scales));
        assert_eq!(back.factors, all(|m| &m.factors));
        assert!(weights.bytes() >= (back.data.len() + back.scales.len() + back.factors.len()) as u64);
    }
}

#[test]
fn a_factor_for_the_whole_matrix_is_that_of_every_row() {
    let (host, mut random) = (Host::new(1), Random::new());
    let (m, n, k) = (2, 5, 48);
    let mut w = random.matrix(Format::Nvfp4, n, k);
    w.factors = 0.375f32.to_ne_bytes().to_vec();
    let values = random.values(m * k);
    let a = Rows::of(&Quantization::none(), &[m, k], &values);
    let op = Matmul { weight: Format::Nvfp4, ..Matmul::mxfp4(m, n, k, Quantization::none()) };
    let case = Case { op, multiplied: a.values(), a, matrices: vec![w], bias: None };
    for (row, got) in case.run(&host).values().chunks(n).enumerate() {
        case.check(row, 0, got);
    }
}

#[test]
fn weights_of_another_description_or_backend_are_refused() {
    let (host, other, mut random) = (Host::new(1), Host::new(1), Random::new());
    let op = Matmul::mxfp4(1, 4, 32, Quantization::none());
    let plan = host.device.matmul(op).unwrap();
    let workspace = host.workspace(plan.info());
    let matrices = [random.matrix(Format::Mxfp4, 4, 32)];
    let a = host.upload(&Rows::of(&Quantization::none(), &[1, 32], &[1.0; 32]));
    let y = host.poisoned(Format::F32, &[1, 4]);
    let tensors = MatmulTensors { a: a.view, bias: None, y: y.view };
    let refused = |weights: &dyn Weights, stream: &Host, workspace: Span| {
        let error = plan.run(&*stream.stream, tensors, [weights], workspace).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        error.message().to_owned()
    };
    let right = host.weights(&matrices, Format::Bf16);
    assert!(refused(&*host.weights(&matrices, Format::Mxfp8), &host, workspace.span()).contains("mxfp8"));
    assert!(refused(&*other.weights(&matrices, Format::Bf16), &host, workspace.span()).contains("another"));
    assert!(refused(&*right, &other, workspace.span()).contains("stream"));
    let small = Span { bytes: workspace.span().bytes - 1, ..workspace.span() };
    let message = refused(&*right, &host, small);
    assert!(message.contains(&small.bytes.to_string()), "{message}");
    assert!(message.contains(&plan.info().workspace_bytes.to_string()), "{message}");
    plan.run(&*host.stream, tensors, [&*right], workspace.span()).unwrap();

    let desc = WeightsDesc { format: Format::I32, groups: 1, n: 4, k: 32, activation: Format::Bf16 };
    let error = host.device.prepare_weights(&desc, &[]).err().unwrap();
    assert_eq!(error.status(), Status::Unsupported);
}
