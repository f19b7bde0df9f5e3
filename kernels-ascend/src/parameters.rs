//! What each kernel takes, field by field in the order of its source. Addresses are device memory; 0 stands for a tensor
//! that is not there.

use crate::{Kernel, Parameters};

/// Defines a kernel's parameters, and how many cores have work.
macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident,
        { $($(#[$field_doc:meta])* $field:ident),* $(,)? } $this:ident => $items:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64),* }

        impl Parameters for $name {
            const KERNEL: Kernel = Kernel::$name;
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            fn words(&self) -> Vec<u64> {
                vec![$(self.$field),*]
            }

            fn items(&self) -> u64 {
                let $this = self;
                $items
            }
        }
    )*};
}

parameters! {
    /// Rows of plain numbers to blocks.
    Quantize, {
        /// `[rows, k]`.
        x,
        /// Elements `[rows, k]`.
        y,
        /// Bytes `[rows, scale_stride]`.
        scales,
        /// How many.
        rows,
        /// Columns, a multiple of 32.
        k,
        /// The format of `x` by its number: F32, BF16 or F16.
        input,
        /// See [`ScaleCoding`](crate::ScaleCoding), as the next four.
        is_e2m1,
        /// Columns of a block.
        block,
        /// The exponent of the largest power of two.
        emax,
        /// What is added to the bits of a magnitude.
        carry,
        /// The bits of a float32.
        amax_floor,
        /// Scales of a row: as many as it has blocks, or one more for padding.
        scale_stride,
    } this => this.rows * this.k.div_ceil(4096);

    /// FP8 tiles of 128×128 to plain numbers.
    DequantizeTiles, {
        /// E4M3 `[rows, k]`.
        x,
        /// Bytes `[ceil(rows / 128), ceil(k / 128)]`.
        scales,
        /// `[rows, k]`.
        y,
        /// How many.
        rows,
        /// Columns.
        k,
        /// The format of `y` by its number.
        output,
    } this => this.rows * this.k.div_ceil(4096);

    /// BF16 rows by weights.
    Product, {
        /// BF16 `[m, k]`, sorted by group.
        a,
        /// Elements `[groups, n, k]`.
        w,
        /// Scales `[groups, ceil(n / scale_rows), ceil(k / scale_columns)]`, or 0.
        scales,
        /// F32 `[groups, n]`, or 0.
        bias,
        /// I32 `[groups]`, or 0 where all rows are of one group.
        counts,
        /// `[m, n]`.
        y,
        /// Rows of all groups together, at most.
        m,
        /// Output columns.
        n,
        /// Columns along which is summed.
        k,
        /// How many groups.
        groups,
        /// 0 for BF16 weights, 1 for E2M1, 2 for E4M3.
        element,
        /// Rows of weights that share a scale.
        scale_rows,
        /// Columns that do: 32 or 128.
        scale_columns,
        /// The format of `y` by its number.
        output,
    } this => this.groups * this.n.div_ceil(32);

    /// Gate and up to one row.
    SwiGlu, {
        /// `[rows, 2n]`.
        x,
        /// F32 `[rows]`, or 0.
        row_weights,
        /// `[rows, n]`.
        y,
        /// How many.
        rows,
        /// Output columns.
        n,
        /// The format of `x` by its number.
        input,
        /// That of `y`.
        output,
        /// Whether it is gpt-oss's.
        is_gpt_oss,
        /// The bits of a float32; 0 for no clamp.
        limit,
        /// The bits of a float32; gpt-oss's alone.
        alpha,
        /// Whether gate and up alternate.
        interleaved,
    } this => this.rows * this.n.div_ceil(2048);

    /// Logits to experts and weights.
    Route, {
        /// F32 `[tokens, experts]`.
        logits,
        /// F32 `[experts]`, or 0.
        bias,
        /// I32 `[tokens, top_k]`, or 0.
        given,
        /// I32 `[tokens, top_k]`.
        ids,
        /// F32 `[tokens, top_k]`.
        weights,
        /// How many.
        tokens,
        /// Experts that are scored, at most [`MOST_EXPERTS`](Self::MOST_EXPERTS).
        experts,
        /// Experts chosen, at most as many.
        top_k,
        /// The score by its number in the C header: sigmoid, sqrt-softplus or softmax-of-chosen.
        score,
        /// Whether weights are divided by their sum.
        renormalize,
        /// The bits of a float32.
        scale,
    } this => this.tokens;

    /// Expert ids to places.
    PermutePlaces, {
        /// I32 `[slots]`.
        ids,
        /// I32 `[mapped]`, or 0.
        expert_map,
        /// I32 `[slots]`.
        positions,
        /// I32 `[slots]`.
        source,
        /// I32 `[experts]`.
        counts,
        /// Tokens times top-k.
        slots,
        /// Experts here, at most [`MOST_EXPERTS`](Self::MOST_EXPERTS).
        experts,
        /// How many ids the map translates.
        mapped,
    } this => this.slots.div_ceil(8192);

    /// Rows to their places.
    PermuteRows, {
        /// Rows of `bytes`.
        from,
        /// Rows of `bytes`, one a slot.
        to,
        /// I32 `[slots]`: which slot a row is of; −1 past the last.
        source,
        /// How many.
        slots,
        /// Slots that share a row of `from`.
        slots_of_row,
        /// Of a row.
        bytes,
    } this => this.slots;

    /// Rows back to tokens.
    Combine, {
        /// `[tokens · top_k, columns]`.
        rows,
        /// I32 `[tokens, top_k]`.
        positions,
        /// F32 `[tokens, top_k]`, or 0.
        weights,
        /// `[tokens, columns]`, or 0.
        addend,
        /// `[tokens, columns]`.
        y,
        /// How many.
        tokens,
        /// Columns of a row.
        columns,
        /// Slots of a token.
        top_k,
        /// The format of `rows` by its number.
        input,
        /// That of the addend.
        addend_format,
        /// That of `y`.
        output,
    } this => this.tokens * this.columns.div_ceil(4096);
}

impl Route {
    /// The most experts that a core has room to score.
    pub const MOST_EXPERTS: usize = 4096;
}

impl PermutePlaces {
    /// The most experts that a core has room to count.
    pub const MOST_EXPERTS: usize = 16_384;
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The parameters' names of a kernel, as its source has them.
    fn names_in_source(kernel: Kernel) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let declaration = format!("void {}(", kernel.name());
        let source = fs::read_dir(folder)
            .unwrap()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .find(|source| source.contains(&declaration))
            .unwrap_or_else(|| panic!("no source declares {}", kernel.name()));
        let (_, rest) = source.split_once(&declaration).unwrap();
        let (list, _) = rest.split_once(')').unwrap();
        list.split(',').map(|one| one.split_whitespace().last().unwrap().to_owned()).collect()
    }

    fn check<P: Parameters + Default>() -> Kernel {
        assert_eq!(names_in_source(P::KERNEL), P::NAMES, "{:?}", P::KERNEL);
        assert_eq!(P::default().words().len(), P::NAMES.len());
        P::KERNEL
    }

    #[test]
    fn parameters_are_those_of_the_sources_in_their_order() {
        let checked = [
            check::<Quantize>(),
            check::<DequantizeTiles>(),
            check::<Product>(),
            check::<SwiGlu>(),
            check::<Route>(),
            check::<PermutePlaces>(),
            check::<PermuteRows>(),
            check::<Combine>(),
        ];
        assert_eq!(checked, Kernel::ALL);
    }

    #[test]
    fn as_many_cores_have_work_as_there_are_items() {
        assert_eq!(Product { n: 65, groups: 3, ..Product::default() }.launch().items, 9);
        assert_eq!(Quantize { rows: 2, k: 4128, ..Quantize::default() }.launch().items, 4);
        let launch = Combine { rows: 64, tokens: 5, columns: 7, ..Combine::default() }.launch();
        assert_eq!((launch.kernel, launch.items, launch.arguments[0]), (Kernel::Combine, 5, 64));
    }
}
