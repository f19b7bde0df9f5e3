//! Operator × scheme × shape class: how many cases passed, are wrong, or are refused.

use std::collections::BTreeMap;

use maud::{Markup, html};
use mxhal_core::OpKind;

use super::{Section, scrolled};
use crate::report::{CaseReport, Report, StateKind};

/// How large a run is, and whether its shape is that of a published model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ShapeClass {
    NoRows,
    OneRow,
    FewRows,
    ManyRows,
    Model,
}

impl ShapeClass {
    const ALL: [Self; 5] = [Self::NoRows, Self::OneRow, Self::FewRows, Self::ManyRows, Self::Model];

    const fn name(self) -> &'static str {
        match self {
            Self::NoRows => "no rows",
            Self::OneRow => "1 row",
            Self::FewRows => "2–16 rows",
            Self::ManyRows => "17 and more",
            Self::Model => "a model’s shape",
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Cell {
    passed: usize,
    wrong: usize,
    waived: usize,
    refused: usize,
    skipped: usize,
}

impl Cell {
    const fn add(&mut self, kind: StateKind) {
        let counter = match kind {
            StateKind::Pass => &mut self.passed,
            StateKind::Waived => &mut self.waived,
            StateKind::NotSupported => &mut self.refused,
            StateKind::Skipped => &mut self.skipped,
            _ => &mut self.wrong,
        };
        *counter += 1;
    }

    /// What is there, the worst first, each with its colour.
    fn parts(self) -> impl Iterator<Item = (usize, &'static str, &'static str)> {
        [
            (self.wrong, "bad", "wrong"),
            (self.passed, "good", "passed"),
            (self.waived, "known", "waived"),
            (self.refused, "quiet", "not supported"),
            (self.skipped, "quiet", "skipped"),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
    }
}

/// The matrix; absent where no case of the run is about an operator's numbers.
pub(super) fn section(report: &Report) -> Option<Section> {
    let mut rows: BTreeMap<(usize, &str), [Cell; ShapeClass::ALL.len()]> = BTreeMap::new();
    for case in &report.cases {
        if let Some((op, scheme, class)) = place(case) {
            let cells = rows.entry((op, scheme)).or_default();
            cells[class as usize].add(case.state.kind());
        }
    }
    if rows.is_empty() {
        return None;
    }
    let table = html! {
        table.matrix {
            thead {
                tr {
                    th scope="col" { "operator" }
                    th scope="col" { "scheme" }
                    @for class in ShapeClass::ALL { th scope="col" { (class.name()) } }
                }
            }
            @for (index, op) in OpKind::ALL.iter().enumerate() {
                @let of_op: Vec<_> = rows.range((index, "")..(index + 1, "")).collect();
                @if !of_op.is_empty() {
                    tbody {
                        @for (place, ((_, scheme), cells)) in of_op.iter().enumerate() {
                            tr {
                                @if place == 0 {
                                    th scope="rowgroup" rowspan=(of_op.len()) { (op) }
                                }
                                th.scheme scope="row" { (scheme) }
                                @for each in *cells { td { (cell(*each)) } }
                            }
                        }
                    }
                }
            }
        }
    };
    let content = html! {
        p {
            "Cases of all suites that run one operator. The scheme is what the operator takes: weights and activations "
            "of products and layers, input and output of conversions, scores of routing. A model’s shape is one of "
            "DeepSeek V4’s or gpt-oss’s."
        }
        (scrolled("Operators by scheme and shape class", table))
    };
    Section::new("matrix", "Operators, schemes and shapes", content)
}

fn cell(cell: Cell) -> Markup {
    html! {
        @for (count, class, words) in cell.parts() {
            span.cell.(class) { (count) " " (words) }
        }
    }
}

/// Where a case belongs, from its name, `suite/operator/what/shape/formats`; `None` for one that has another form.
fn place(case: &CaseReport) -> Option<(usize, &str, ShapeClass)> {
    let mut parts = case.name.split('/').skip(1);
    let [op, what, shape, formats] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let op = OpKind::ALL.iter().position(|kind| kind.name() == op)?;
    let digits = shape.bytes().take_while(u8::is_ascii_digit).count();
    let rows: usize = shape[..digits].parse().ok()?;
    if formats.is_empty() || parts.next().is_some() || !shape[digits..].starts_with(['x', 'o']) {
        return None;
    }
    let class = match rows {
        0 => ShapeClass::NoRows,
        _ if ["deepseek", "gpt-oss"].iter().any(|model| what.starts_with(model)) => ShapeClass::Model,
        1 => ShapeClass::OneRow,
        2..=16 => ShapeClass::FewRows,
        _ => ShapeClass::ManyRows,
    };
    let words = match OpKind::ALL[op] {
        OpKind::Route | OpKind::Permute | OpKind::Combine => 1,
        _ => 2,
    };
    let scheme = formats.match_indices('_').nth(words - 1).map_or(formats, |(end, _)| &formats[..end]);
    Some((op, scheme, class))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Measures;
    use crate::report::State;
    use crate::suite::SuiteKind;

    fn of(name: &str) -> Option<(&'static str, String, ShapeClass)> {
        let case = CaseReport {
            name: name.into(),
            suite: SuiteKind::Exact,
            profile: crate::profile::Profile::Core,
            seconds: 0.0,
            state: State::Pass(Measures::default()),
            reproduce: None,
        };
        place(&case).map(|(op, scheme, class)| (OpKind::ALL[op].name(), scheme.to_owned(), class))
    }

    #[test]
    fn a_name_says_operator_scheme_and_shape() {
        for (name, expected) in [
            ("exact/matmul/exact/7x33x96/mxfp4_bf16_f32_bias", ("matmul", "mxfp4_bf16", ShapeClass::FewRows)),
            ("memory/quantize/no-rows/0of7x160/bf16_mxfp8", ("quantize", "bf16_mxfp8", ShapeClass::NoRows)),
            ("memory/route/one-row/1of7x19x3/softmax_1", ("route", "softmax", ShapeClass::OneRow)),
            ("shapes/matmul/gpt-oss/1x5760x2880/mxfp4_bf16_f32", ("matmul", "mxfp4_bf16", ShapeClass::Model)),
            ("exact/permute/even/24x64x5x3/bf16", ("permute", "bf16", ShapeClass::ManyRows)),
        ] {
            let (op, scheme, class) = expected;
            assert_eq!(of(name), Some((op, scheme.to_owned(), class)), "{name}");
        }
    }

    #[test]
    fn a_name_of_another_form_has_no_place() {
        for name in [
            "abi/load",
            "abi/plan/zero-rows",
            "checkpoint/layer/deepseek-v4/0/w4a8_g128/composed",
            "x/matmul/é/é/é",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn every_numeric_case_of_the_suites_has_a_place() {
        for suite in [SuiteKind::Exact, SuiteKind::Bounded, SuiteKind::Shapes, SuiteKind::Memory] {
            for case in suite.cases(0) {
                // The width of an accumulator is a property, and is measured on no shape in particular.
                let measures_a_property = case.name.starts_with("exact/accumulator/");
                assert_eq!(of(&case.name).is_some(), !measures_a_property, "{}", case.name);
            }
        }
    }
}
