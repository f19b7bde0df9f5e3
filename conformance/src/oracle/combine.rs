//! Combine: the weighted inverse of permute.

use super::format::Float;
use super::matmul::Product;
use super::sum::Sum;
use super::{Error, Format, Matrix, expect_size};

/// `y[t] = Σ_s weights[t,s] · rows[positions[t,s]] (+ addend[t])`, not rounded, with what bounds its error: K = top-k,
/// and one more with an addend.
///
/// `weights` and `positions` are `[tokens, top_k]`; a position of −1 is skipped. `rows` and `weights` hold numbers of
/// float32.
///
/// # Errors
/// [`Error::Shape`] where sizes do not belong together, [`Error::Position`] for a position that is no row.
pub fn combine(
    rows: &Matrix,
    weights: &[f64],
    positions: &[i32],
    top_k: usize,
    addend: Option<&Matrix>,
) -> Result<Product, Error> {
    let tokens = tokens_of(rows, weights, positions, top_k, addend)?;
    let mut product = Product::with_capacity(tokens, rows.columns, top_k + usize::from(addend.is_some()));
    for token in 0..tokens {
        let chosen = chosen(rows, weights, positions, top_k, token);
        let largest = chosen.iter().fold(0.0f64, |largest, (weight, _)| largest.max(weight.abs()));
        for column in 0..rows.columns {
            let (mut sum, mut magnitude) = (Sum::ZERO, 0.0);
            let products = chosen.iter().map(|(weight, row)| weight * row[column]);
            for term in products.chain(addend.map(|addend| addend.row(token)[column])) {
                sum.add(term);
                magnitude += term.abs();
            }
            product.push(sum, magnitude, largest);
        }
    }
    Ok(product)
}

/// The bits of a backend that declares slot order: in float32, from +0, each product rounded and then added, the
/// addend last, and one rounding to `output` at the end.
///
/// # Errors
/// As [`combine`], and [`Error::Format`] unless `output` is a plain float.
pub fn combine_in_slot_order(
    rows: &Matrix,
    weights: &[f64],
    positions: &[i32],
    top_k: usize,
    addend: Option<&Matrix>,
    output: Format,
) -> Result<Matrix, Error> {
    let (tokens, output) = (tokens_of(rows, weights, positions, top_k, addend)?, Float::of(output)?);
    // Each step is exact or rounded innocuously in float64, and then rounded to float32.
    let round = |value| Float::F32.round(value);
    let mut values = Vec::with_capacity(tokens * rows.columns);
    for token in 0..tokens {
        let chosen = chosen(rows, weights, positions, top_k, token);
        for column in 0..rows.columns {
            let add = |sum, term| round(sum + term);
            let sum = chosen.iter().map(|(weight, row)| round(weight * row[column])).fold(0.0, add);
            let addend = addend.map(|addend| addend.row(token)[column]);
            values.push(output.round(addend.into_iter().fold(sum, add)));
        }
    }
    Matrix::new(tokens, rows.columns, values)
}

/// The weight and the row of each route of a token that is not skipped, in slot order.
fn chosen<'a>(
    rows: &'a Matrix,
    weights: &[f64],
    positions: &[i32],
    top_k: usize,
    token: usize,
) -> Vec<(f64, &'a [f64])> {
    let routes = token * top_k..(token + 1) * top_k;
    let taken = routes.filter_map(|route| Some((weights[route], usize::try_from(positions[route]).ok()?)));
    taken.map(|(weight, position)| (weight, rows.row(position))).collect()
}

fn tokens_of(
    rows: &Matrix,
    weights: &[f64],
    positions: &[i32],
    top_k: usize,
    addend: Option<&Matrix>,
) -> Result<usize, Error> {
    let tokens = positions.len() / top_k.max(1);
    expect_size("the positions", tokens * top_k, positions.len())?;
    expect_size("the weights", positions.len(), weights.len())?;
    if let Some(addend) = addend {
        expect_size("the addend's column", tokens, addend.rows)?;
        expect_size("the addend's row", rows.columns, addend.columns)?;
    }
    let is_row = |position: i32| position == -1 || usize::try_from(position).is_ok_and(|row| row < rows.rows);
    match positions.iter().position(|&position| !is_row(position)) {
        None => Ok(tokens),
        Some(route) => {
            let (token, slot) = (route / top_k, route % top_k);
            Err(Error::Position { token, slot, position: positions[route], rows: rows.rows })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_added_in_their_order_and_skipped_ones_are_not() {
        let rows = Matrix::new(3, 1, vec![1.0, f64::from(f32::EPSILON) / 2.0, f64::NAN]).unwrap();
        let positions = [0, 1, 1, -1, 1, 1, 0, -1];
        let weights = [1.0; 8];
        let bits = combine_in_slot_order(&rows, &weights, &positions, 4, None, Format::F32).unwrap();
        assert_eq!(bits.values, [1.0, 1.0 + f64::from(f32::EPSILON)]);
        let product = combine(&rows, &weights, &positions, 4, None).unwrap();
        assert_eq!(product.values().values, [1.0 + f64::from(f32::EPSILON); 2]);
        assert!(product.check_bounded(&bits, Format::F32, false).is_ok());
    }

    #[test]
    fn an_addend_is_one_more_term() {
        let rows = Matrix::new(1, 2, vec![2.0, 3.0]).unwrap();
        let addend = Matrix::new(1, 2, vec![10.0, -20.0]).unwrap();
        let product = combine(&rows, &[0.5], &[0], 1, Some(&addend)).unwrap();
        assert_eq!((product.values().values, product.terms), (vec![11.0, -18.5], 2));
        assert_eq!(product.magnitudes, [11.0, 21.5]);
        assert!(combine(&rows, &[0.5], &[1], 1, Some(&addend)).is_err());
    }
}
