//! What is measured.

use mxhal::core::op::{
    Combine, Dequantize, GroupedMatmul, Matmul, MoeFfn, Permute, Quantize, Route, Score, SwiGlu, SwiGluForm,
    WeightPosition,
};
use mxhal::core::{Format, Op, Quantization, WeightsDesc};

/// A task with a name.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// `OPERATOR/SHAPE/FORMATS/ROWS`: the same in every report.
    pub(crate) name: String,
    /// Cases with the same group follow each other, share weights and are measured by turns.
    pub(crate) group: String,
    pub(crate) task: Task,
    /// Rows or tokens of a run.
    pub(crate) rows: usize,
}

/// What is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Runs of a plan.
    Run(Op),
    /// Weights brought into the backend's layout.
    PrepareWeights(WeightsDesc),
}

impl Case {
    fn run(op: impl Into<Op>, [shape, formats]: [String; 2], rows: usize) -> Self {
        let op = op.into();
        let name = format!("{}/{shape}/{formats}/{rows}", op.kind());
        let weights = op.weights();
        // Experts of a layer and of a grouped product are the same.
        let group = match weights.first() {
            Some(first) => format!("{}, {}, {}", first.format, first.groups, first.activation),
            None => op.kind().to_string(),
        };
        Self { name, group, task: Task::Run(op), rows }
    }

    /// The weights that it runs with.
    pub(crate) fn weights(&self) -> Vec<WeightsDesc> {
        match &self.task {
            Task::Run(op) => op.weights(),
            Task::PrepareWeights(_) => Vec::new(),
        }
    }

    /// What activations are multiplied as, where they are.
    pub(crate) fn scheme(&self) -> Option<Format> {
        self.weights().first().map(|weights| weights.activation)
    }
}

/// Which cases there are: each product for each scheme and number of rows, and what goes before and after.
#[derive(Clone, Debug)]
pub(crate) struct Sweep {
    /// Rows of products, or tokens.
    pub(crate) rows: Vec<usize>,
    /// Rows and tokens of what is done row by row.
    pub(crate) long: Vec<usize>,
    pub(crate) schemes: Vec<Quantization>,
    pub(crate) weights: Vec<Format>,
    /// `[n, k]` of a product.
    pub(crate) dense: [usize; 2],
    /// `[hidden, inner, experts, top_k]` of a layer.
    pub(crate) layer: [usize; 4],
}

impl Sweep {
    /// The cases in order of group; those that do not validate, such as formats whose blocks do not divide a shape, are
    /// not among them.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for weight in &self.weights {
            for scheme in &self.schemes {
                self.products(*weight, *scheme, &mut cases);
            }
        }
        self.conversions(&mut cases);
        self.routing(&mut cases);
        let valid = |case: &Case| match &case.task {
            Task::Run(op) => op.validate().is_ok(),
            Task::PrepareWeights(desc) => desc.layout().is_ok(),
        };
        cases.retain(valid);
        cases
    }

    fn products(&self, weight: Format, activation: Quantization, cases: &mut Vec<Case>) {
        let [n, k] = self.dense;
        let [hidden, inner, experts, top_k] = self.layer;
        let formats = format!("{weight}/{}", activation.format);
        let product = |m, n, k| Matmul { weight, output: Format::Bf16, ..Matmul::mxfp4(m, n, k, activation) };
        for &rows in &self.rows {
            let shape = [format!("{n}x{k}"), formats.clone()];
            cases.push(Case::run(product(rows, n, k), shape, rows));
        }
        for &rows in &self.rows {
            let each = product(rows * top_k, 2 * inner, hidden);
            let shape = [format!("{experts}x{}x{hidden}", 2 * inner), formats.clone()];
            cases.push(Case::run(GroupedMatmul { each, groups: experts }, shape, rows * top_k));
        }
        for &tokens in &self.rows {
            let op = MoeFfn {
                tokens,
                hidden,
                inner,
                experts,
                top_k,
                weight,
                activation,
                form: SwiGluForm::silu(10.0),
                weight_position: WeightPosition::BeforeDown,
                bias: false,
                output: Format::Bf16,
                mapped: None,
                shared: None,
            };
            let shape = [format!("{hidden}x{inner}x{experts}x{top_k}"), formats.clone()];
            cases.push(Case::run(op, shape, tokens));
        }
    }

    fn conversions(&self, cases: &mut Vec<Case>) {
        let [n, k] = self.dense;
        let formats = [Format::Mxfp4, Format::Mxint8, Format::Mxfp8, Format::Nvfp4];
        for &rows in &self.long {
            for format in formats {
                let op = Quantize { rows, k, input: Format::F32, to: Quantization::new(format) };
                cases.push(Case::run(op, [k.to_string(), format!("f32/{format}")], rows));
            }
        }
        for &rows in &self.long {
            for output in [Format::F32, Format::Bf16] {
                for from in formats {
                    let op = Dequantize { rows, k, from, output };
                    cases.push(Case::run(op, [k.to_string(), format!("{from}/{output}")], rows));
                }
            }
        }
        for format in &self.weights {
            let desc = WeightsDesc { format: *format, groups: 4, n, k, activation: Format::Bf16 };
            cases.push(Case {
                name: format!("prepare-weights/4x{n}x{k}/{format}/1"),
                group: "prepare-weights".to_owned(),
                task: Task::PrepareWeights(desc),
                rows: 1,
            });
        }
    }

    fn routing(&self, cases: &mut Vec<Case>) {
        let [hidden, inner, experts, top_k] = self.layer;
        let bf16 = Format::Bf16;
        for &tokens in &self.long {
            let op = Route {
                tokens,
                experts,
                top_k,
                score: Score::SqrtSoftplus,
                bias: true,
                ids_given: false,
                renormalize: true,
                scale: 1.5,
            };
            cases.push(Case::run(op, [format!("{experts}x{top_k}"), "f32".to_owned()], tokens));
        }
        for &tokens in &self.long {
            let op = Permute {
                tokens,
                columns: hidden,
                experts,
                top_k,
                format: bf16,
                weights: true,
                mapped: None,
            };
            cases.push(Case::run(op, [format!("{hidden}x{experts}x{top_k}"), "bf16".to_owned()], tokens));
        }
        for &rows in &self.long {
            for scheme in &self.schemes {
                let op = SwiGlu {
                    rows,
                    n: inner,
                    form: SwiGluForm::silu(10.0),
                    input: bf16,
                    row_weights: true,
                    to: *scheme,
                };
                cases.push(Case::run(op, [inner.to_string(), format!("bf16/{}", scheme.format)], rows));
            }
        }
        for &tokens in &self.long {
            let op = Combine {
                tokens,
                columns: hidden,
                top_k,
                input: bf16,
                output: bf16,
                weighted: true,
                addend: None,
            };
            cases.push(Case::run(op, [format!("{hidden}x{top_k}"), "bf16".to_owned()], tokens));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_operator_is_measured_names_differ_and_groups_are_whole() {
        let sweep = Sweep {
            rows: vec![1, 8],
            long: vec![64],
            schemes: vec![Quantization::none(), Quantization::new(Format::Mxint8)],
            weights: vec![Format::Mxfp4, Format::Fp8Tile128],
            dense: [256, 512],
            layer: [256, 128, 8, 2],
        };
        let cases = sweep.cases();
        let names: HashSet<_> = cases.iter().map(|case| &case.name).collect();
        assert_eq!(names.len(), cases.len());
        for kind in mxhal::core::OpKind::ALL {
            assert!(cases.iter().any(|case| case.name.starts_with(&format!("{kind}/"))), "{kind}");
        }
        assert!(names.contains(&"matmul/256x512/mxfp4/mxint8/8".to_owned()));
        let mut groups: Vec<_> = cases.iter().map(|case| case.group.clone()).collect();
        groups.dedup();
        assert_eq!(groups.len(), groups.iter().collect::<HashSet<_>>().len(), "{groups:?}");

        // NVFP4's blocks go into 48 columns, and MXFP4's do not.
        let narrow = Sweep { dense: [32, 48], layer: [48, 48, 2, 1], ..sweep };
        let narrow = Sweep { weights: vec![Format::Mxfp4, Format::Nvfp4], ..narrow };
        let cases = narrow.cases();
        assert!(cases.iter().any(|case| case.name == "matmul/32x48/nvfp4/bf16/1"));
        assert!(!cases.iter().any(|case| case.name.contains("/mxfp4/bf16")));
    }
}
