//! Comparing values, and saying what was wrong.

use crate::opcase::judge::Verdict;
use crate::oracle::{Error, Matrix};
use crate::outcome::{Failure, number};

/// Equality, in the given sense, of each element.
pub(super) fn equal(
    tensor: &str,
    expected: &Matrix,
    got: &Matrix,
    same: impl Fn(f64, f64) -> bool,
) -> Result<Verdict, Failure> {
    let pairs = || expected.values.iter().zip(&got.values).map(|(&expected, &got)| (expected, got));
    let wrong = pairs().filter(|&(expected, got)| !same(expected, got)).count();
    match pairs().position(|(expected, got)| !same(expected, got)) {
        None => Ok(Verdict { elements: expected.values.len() as u64, error_over_bound: 0.0 }),
        Some(first) => Err(Failure {
            tensor: Some(tensor.to_owned()),
            index: vec![first / expected.columns, first % expected.columns],
            expected: Some(number(expected.values[first])),
            got: Some(number(got.values[first])),
            wrong_elements: Some(wrong as u64),
            ..Failure::new(format!("{tensor} is not what is exactly right"))
        }),
    }
}

/// Equality of values; the sign of a zero depends on the order of a sum.
pub(super) fn same_value(expected: f64, got: f64) -> bool {
    expected == got || (expected.is_nan() && got.is_nan())
}

pub(super) fn equal_integers(
    tensor: &str,
    expected: &[i32],
    got: &[i32],
    columns: usize,
) -> Result<(), Failure> {
    let wrong = expected.iter().zip(got).filter(|(expected, got)| expected != got).count();
    match expected.iter().zip(got).position(|(expected, got)| expected != got) {
        None => Ok(()),
        Some(place) => Err(Failure {
            tensor: Some(tensor.to_owned()),
            index: if columns == expected.len() {
                vec![place]
            } else {
                vec![place / columns, place % columns]
            },
            expected: Some(expected[place].to_string()),
            got: Some(got[place].to_string()),
            wrong_elements: Some(wrong as u64),
            ..Failure::new(format!("{tensor} is not what is exactly right"))
        }),
    }
}

/// Errors over their bounds. `expected` gives a value and its bound, for the report.
pub(super) fn within_bounds(
    tensor: &str,
    got: &Matrix,
    ratio: impl Fn(usize) -> f64,
    expected: impl Fn(usize) -> (f64, f64),
) -> Result<Verdict, Failure> {
    let ratios: Vec<f64> = (0..got.values.len()).map(ratio).collect();
    // A ratio that is NaN is as wrong as an infinite one.
    let (mut worst, mut most) = (0, 0.0);
    for (index, &ratio) in ratios.iter().enumerate() {
        let ratio = if ratio.is_nan() { f64::INFINITY } else { ratio };
        if ratio > most {
            (worst, most) = (index, ratio);
        }
    }
    if most <= 1.0 {
        return Ok(Verdict { elements: ratios.len() as u64, error_over_bound: most });
    }
    let (value, bound) = expected(worst);
    let wrong = ratios.iter().filter(|&&ratio| ratio.is_nan() || ratio > 1.0).count();
    Err(Failure {
        tensor: Some(tensor.to_owned()),
        index: vec![worst / got.columns, worst % got.columns],
        expected: Some(number(value)),
        got: Some(number(got.values[worst])),
        bound: Some(bound),
        wrong_elements: Some(wrong as u64),
        ..Failure::new(format!("{tensor} is further from what is right than its bound, {most:.3} times that"))
    })
}

/// A failure in the oracle's words: what it found wrong, or that it was asked something it cannot answer.
pub(crate) fn wrong_answer(error: Error) -> Failure {
    match error {
        Error::Mismatch(mismatch) => Failure {
            index: [Some(mismatch.row), mismatch.element].into_iter().flatten().collect(),
            block: mismatch.block,
            expected: Some(mismatch.expected),
            got: Some(mismatch.got),
            ..Failure::new("not an allowed answer")
        },
        other => Failure::new(format!("the oracle cannot answer: {other}")),
    }
}

pub(crate) fn in_tensor(tensor: &str) -> impl Fn(Failure) -> Failure {
    let tensor = tensor.to_owned();
    move |failure| Failure { tensor: Some(tensor.clone()), ..failure }
}

pub(super) fn in_row(mut failure: Failure, row: usize) -> Failure {
    if let Some(first) = failure.index.first_mut() {
        *first = row;
    }
    failure
}

/// The place in the output of a place among the columns that were compared.
pub(super) fn in_column(mut failure: Failure, columns: &[usize]) -> Failure {
    if let [_, column] = &mut failure.index[..] {
        *column = columns[*column];
    }
    failure
}
