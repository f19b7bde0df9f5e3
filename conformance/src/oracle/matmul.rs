//! Matmul and grouped matmul: the exact sum, and by how much a correct backend may miss it.

use super::format::{Float, power_of_two};
use super::sum::Sum;
use super::{Error, Format, Matrix, Mismatch, expect_size};

/// Half the spacing of float32 around 1, doubled: what one step of an accumulator of 24 bits that truncates may lose.
pub const UNIT: f64 = power_of_two(-23);

/// γ of the bounded tier: what `terms` steps of such an accumulator may lose, relative to the sum of magnitudes.
pub fn gamma(terms: usize) -> f64 {
    let lost = terms as f64 * UNIT;
    if lost < 1.0 { lost / (1.0 - lost) } else { f64::INFINITY }
}

/// Whether products that are integers below `product_limit` in their unit, `k` of them, under scales that span
/// `spread` powers of two, are summed exactly in 24 bits in any order: the exact tier.
pub fn is_exact_tier(product_limit: u32, k: usize, spread: u32) -> bool {
    f64::from(product_limit) * k as f64 * power_of_two(spread.min(1000) as i32) <= power_of_two(24)
}

/// Sums of products, with what is needed to judge another's.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Rows: tokens.
    pub rows: usize,
    /// Columns: N.
    pub columns: usize,
    /// The sums, row-major.
    pub sums: Vec<Sum>,
    /// For each sum, the sum of its terms' magnitudes.
    pub magnitudes: Vec<f64>,
    /// For each sum, the largest magnitude among the weights that entered it.
    pub largest_weights: Vec<f64>,
    /// Terms of a sum (K): each costs an accumulator at most one rounding.
    pub terms: usize,
}

impl Product {
    /// No sums yet, and room for `rows × columns` of them.
    pub(crate) fn with_capacity(rows: usize, columns: usize, terms: usize) -> Self {
        let size = rows * columns;
        Self {
            rows,
            columns,
            sums: Vec::with_capacity(size),
            magnitudes: Vec::with_capacity(size),
            largest_weights: Vec::with_capacity(size),
            terms,
        }
    }

    /// The sums in float64: y*.
    pub fn values(&self) -> Matrix {
        self.matrix(|sum| sum.value())
    }

    /// The sums, each rounded once to `output`: what a backend must give where its accumulator loses nothing.
    ///
    /// # Errors
    /// [`Error::Format`] unless `output` is a plain float.
    pub fn rounded(&self, output: Format) -> Result<Matrix, Error> {
        let float = Float::of(output)?;
        Ok(self.matrix(|sum| sum.round(float)))
    }

    /// Whether every sum is known exactly, so that [`Product::rounded`] is what exact arithmetic gives.
    pub fn is_exact(&self) -> bool {
        self.sums.iter().all(|sum| sum.is_exact())
    }

    /// How far from the exact sum `index` the accumulated one may be, before it is rounded to the output format.
    /// `flushes` says whether subnormal operands may count as zero.
    pub fn accumulation_bound(&self, index: usize, flushes: bool) -> f64 {
        let rounding = gamma(self.terms) * self.magnitudes[index];
        let flushed = self.terms as f64 * power_of_two(-126) * self.largest_weights[index];
        if flushes { rounding + flushed } else { rounding }
    }

    /// How far from the exact sum `index` an output may be: [`Product::accumulation_bound`] and half a unit in the last
    /// place of the output, taken where it is largest.
    pub fn bound(&self, index: usize, output: Float, flushes: bool) -> f64 {
        let bound = self.accumulation_bound(index, flushes);
        bound + output.half_ulp(self.sums[index].value().abs() + bound)
    }

    /// Compares outputs with the bounded tier. Returns the largest error over bound and where it is: at most 1.
    ///
    /// Where the exact sum is NaN or infinite, so must the output be. Where a partial sum may leave float32, an
    /// output that is not finite is accepted.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the worst element if its error exceeds its bound.
    pub fn check_bounded(&self, got: &Matrix, output: Format, flushes: bool) -> Result<Worst, Error> {
        let float = Float::of(output)?;
        self.expect_same_size(got)?;
        let mut worst = Worst { index: 0, ratio: 0.0 };
        for (index, &got) in got.values.iter().enumerate() {
            let ratio = self.ratio(index, got, float, flushes);
            if ratio > worst.ratio {
                worst = Worst { index, ratio };
            }
        }
        if worst.ratio <= 1.0 {
            return Ok(worst);
        }
        let (exact, bound) = (self.sums[worst.index].value(), self.bound(worst.index, float, flushes));
        Err(self.mismatch(worst.index, format!("{exact:e} ± {bound:e}"), got.values[worst.index]))
    }

    /// Compares outputs with the exact tier: every value as [`Product::rounded`] has it. Zeros may have either sign,
    /// for that depends on the order of the sum.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the first element that differs.
    pub fn check_exact(&self, got: &Matrix, output: Format) -> Result<(), Error> {
        self.expect_same_size(got)?;
        let expected = self.rounded(output)?;
        let same = |(x, y): (&f64, &f64)| x == y || (x.is_nan() && y.is_nan());
        match expected.values.iter().zip(&got.values).position(|pair| !same(pair)) {
            None => Ok(()),
            Some(index) => {
                let expected = format!("exactly {:e}", expected.values[index]);
                Err(self.mismatch(index, expected, got.values[index]))
            }
        }
    }

    pub(crate) fn push(&mut self, sum: Sum, magnitude: f64, largest_weight: f64) {
        self.sums.push(sum);
        self.magnitudes.push(magnitude);
        self.largest_weights.push(largest_weight);
    }

    /// The error of an output over its bound; infinite where it is wrong and no bound applies.
    pub(crate) fn ratio(&self, index: usize, got: f64, output: Float, flushes: bool) -> f64 {
        let exact = self.sums[index].value();
        let bound = self.accumulation_bound(index, flushes);
        let accepted = if !exact.is_finite() {
            got == exact || (got.is_nan() && exact.is_nan())
        } else if !got.is_finite() {
            let overflows = self.magnitudes[index] + bound > Float::F32.largest;
            overflows || output.round(exact + bound.copysign(got)) == got
        } else {
            return (got - exact).abs() / self.bound(index, output, flushes);
        };
        if accepted { 0.0 } else { f64::INFINITY }
    }

    fn matrix(&self, value: impl FnMut(&Sum) -> f64) -> Matrix {
        Matrix { rows: self.rows, columns: self.columns, values: self.sums.iter().map(value).collect() }
    }

    fn expect_same_size(&self, got: &Matrix) -> Result<(), Error> {
        expect_size("the result's column", self.rows, got.rows)?;
        expect_size("the result's row", self.columns, got.columns)
    }

    fn mismatch(&self, index: usize, expected: String, got: f64) -> Error {
        let (row, element) = (index / self.columns, Some(index % self.columns));
        Mismatch { row, block: None, element, expected, got: format!("{got:e}") }.into()
    }
}

/// The output that is nearest to its bound, or the furthest beyond it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Its place in the matrix, row-major.
    pub index: usize,
    /// Its error over its bound.
    pub ratio: f64,
}

/// `y[m,n] = Σ_k a[m,k] · w[n,k] + bias[n]`, not rounded.
///
/// The operands hold numbers of float32, of which each product is exact in float64. NaN and infinite operands have
/// the effect that IEEE 754 gives them.
///
/// # Errors
/// [`Error::Shape`] unless both have K columns, and there is one bias for each row of `w`.
pub fn matmul(a: &Matrix, w: &Matrix, bias: Option<&[f64]>) -> Result<Product, Error> {
    let mut product = Product::with_capacity(a.rows, w.rows, a.columns);
    append(&mut product, a, 0..a.rows, w, bias)?;
    Ok(product)
}

/// [`matmul`] for rows sorted by expert: the first `counts[0]` rows by `weights[0]`, the next by `weights[1]`, …
/// Rows of `a` beyond the last group are not looked at; the product has one row for each of the others.
///
/// # Errors
/// [`Error::Shape`] where the weights differ in shape, the counts are not one for each, or their sum exceeds `a`.
pub fn grouped_matmul(
    a: &Matrix,
    weights: &[Matrix],
    counts: &[usize],
    biases: Option<&[Vec<f64>]>,
) -> Result<Product, Error> {
    expect_size("the counts", weights.len(), counts.len())?;
    expect_size("the biases", weights.len(), biases.map_or(weights.len(), <[_]>::len))?;
    let total: usize = counts.iter().sum();
    if total > a.rows {
        return Err(Error::Shape { what: "the activation's column", expected: total, found: a.rows });
    }
    let columns = weights.first().map_or(0, |w| w.rows);
    let mut product = Product::with_capacity(total, columns, a.columns);
    let mut first = 0;
    for (expert, (w, &count)) in weights.iter().zip(counts).enumerate() {
        expect_size("an expert's column", columns, w.rows)?;
        let bias = biases.map(|biases| &biases[expert][..]);
        append(&mut product, a, first..first + count, w, bias)?;
        first += count;
    }
    Ok(product)
}

fn append(
    product: &mut Product,
    a: &Matrix,
    rows: std::ops::Range<usize>,
    w: &Matrix,
    bias: Option<&[f64]>,
) -> Result<(), Error> {
    expect_size("a row of the weights", a.columns, w.columns)?;
    expect_size("the bias", w.rows, bias.map_or(w.rows, <[_]>::len))?;
    let largest = |n| w.row(n).iter().fold(0.0f64, |largest, weight| largest.max(weight.abs()));
    let largest_weights: Vec<f64> = (0..w.rows).map(largest).collect();
    for row in rows {
        for (n, &largest_weight) in largest_weights.iter().enumerate() {
            let (mut sum, mut magnitude) = (Sum::ZERO, 0.0);
            for (&x, &weight) in a.row(row).iter().zip(w.row(n)) {
                let term = x * weight;
                sum.add(term);
                magnitude += term.abs();
            }
            if let Some(bias) = bias {
                sum.add(bias[n]);
                magnitude += bias[n].abs();
            }
            product.push(sum, magnitude, largest_weight);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix<const N: usize>(rows: &[[f64; N]]) -> Matrix {
        Matrix::new(rows.len(), N, rows.concat()).unwrap()
    }

    #[test]
    fn the_exact_tier_ends_at_24_bits() {
        assert!(is_exact_tier(144, 2880, 5));
        assert!(!is_exact_tier(144, 2880, 6));
        assert!(!is_exact_tier(1, 1, u32::MAX));
    }

    #[test]
    fn groups_take_their_own_weights_and_leave_the_rest() {
        let a = matrix(&[[1.0, 2.0], [3.0, 4.0], [f64::NAN, 0.0]]);
        let weights = [matrix(&[[1.0, 1.0]]), matrix(&[[5.0, 5.0]]), matrix(&[[2.0, -1.0]])];
        let biases = [vec![0.0], vec![0.0], vec![100.0]];
        let product = grouped_matmul(&a, &weights, &[1, 0, 1], Some(&biases)).unwrap();
        assert_eq!(product.values().values, [3.0, 102.0]);
        assert_eq!(product.magnitudes, [3.0, 110.0]);
        assert!(grouped_matmul(&a, &weights, &[1, 0, 3], None).is_err());
        assert!(grouped_matmul(&a, &weights, &[1, 0], None).is_err());
    }

    #[test]
    fn a_nan_reaches_every_sum_it_enters_and_no_other() {
        let a = matrix(&[[0.0, 1.0], [f64::INFINITY, 1.0]]);
        let w = matrix(&[[f64::NAN, 1.0], [2.0, 1.0], [0.0, 1.0]]);
        let product = matmul(&a, &w, None).unwrap();
        let values = product.values();
        assert!(values.row(0)[0].is_nan() && values.row(1)[0].is_nan() && values.row(1)[2].is_nan());
        assert_eq!((values.row(0)[1], values.row(1)[1]), (1.0, f64::INFINITY));
        assert!(product.check_bounded(&values, Format::F32, false).is_ok());
        let mut wrong = values;
        wrong.values[0] = 1.0;
        assert!(product.check_bounded(&wrong, Format::F32, false).is_err());
    }

    #[test]
    fn the_bound_is_met_and_not_exceeded() {
        let product = matmul(&matrix(&[[1.0, 1.0]]), &matrix(&[[1.0, 0.5]]), None).unwrap();
        let bound = product.bound(0, Float::F32, false);
        assert!((bound - (1.5 * gamma(2) + power_of_two(-24))).abs() < 1e-20);
        let worst = product.check_bounded(&matrix(&[[1.5 + bound * 0.99]]), Format::F32, false).unwrap();
        assert!(worst.ratio > 0.98);
        let error = product.check_bounded(&matrix(&[[1.5 + bound * 1.01]]), Format::F32, false).unwrap_err();
        assert!(error.to_string().starts_with("row 0, element 0: expected 1.5e0 ± "), "{error}");
        assert!(product.check_exact(&matrix(&[[1.5]]), Format::Bf16).is_ok());
        assert!(product.check_exact(&matrix(&[[1.5078125]]), Format::Bf16).is_err());
    }

    #[test]
    fn an_overflow_of_the_output_is_infinite() {
        let product = matmul(&matrix(&[[65000.0, 1000.0]]), &matrix(&[[1.0, 1.0]]), None).unwrap();
        assert_eq!(product.rounded(Format::F16).unwrap().values, [f64::INFINITY]);
        assert!(product.check_bounded(&matrix(&[[f64::INFINITY]]), Format::F16, false).is_ok());
        assert!(product.check_bounded(&matrix(&[[f64::NEG_INFINITY]]), Format::F16, false).is_err());
        assert!(product.check_bounded(&matrix(&[[f64::INFINITY]]), Format::F32, false).is_err());
    }
}
