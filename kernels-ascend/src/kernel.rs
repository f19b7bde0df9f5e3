//! Kernels and launches.

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kernel {
    /// Rows of blocks, of any scale rule.
    Quantize,
    /// FP8 tiles to plain numbers.
    DequantizeTiles,
    /// BF16 rows by weights of any format, single and in groups.
    Product,
    /// The gated activation, in every form.
    SwiGlu,
    /// Scores, choice and weights of experts.
    Route,
    /// Where each slot's row goes.
    PermutePlaces,
    /// Rows to their places.
    PermuteRows,
    /// Weighted sums in order of slot.
    Combine,
}

impl Kernel {
    /// Every kernel.
    pub const ALL: [Self; 8] = [
        Self::Quantize,
        Self::DequantizeTiles,
        Self::Product,
        Self::SwiGlu,
        Self::Route,
        Self::PermutePlaces,
        Self::PermuteRows,
        Self::Combine,
    ];

    /// Its name in the binary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quantize => "mxhal_quantize",
            Self::DequantizeTiles => "mxhal_dequantize_tiles",
            Self::Product => "mxhal_product",
            Self::SwiGlu => "mxhal_swiglu",
            Self::Route => "mxhal_route",
            Self::PermutePlaces => "mxhal_permute_places",
            Self::PermuteRows => "mxhal_permute_rows",
            Self::Combine => "mxhal_combine",
        }
    }
}

/// What a kernel takes.
pub trait Parameters {
    /// Which kernel.
    const KERNEL: Kernel;
    /// The parameters' names, as the source has them.
    const NAMES: &'static [&'static str];

    /// The parameters in order: addresses and numbers of 64 bits.
    fn words(&self) -> Vec<u64>;

    /// How many cores have something to do.
    fn items(&self) -> u64;

    /// The launch.
    fn launch(&self) -> Launch {
        Launch { kernel: Self::KERNEL, items: self.items(), arguments: self.words() }
    }
}

/// A kernel with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which.
    pub kernel: Kernel,
    /// How many cores have something to do; more find nothing left, fewer do more each.
    pub items: u64,
    /// One after another, eight bytes each.
    pub arguments: Vec<u64>,
}
