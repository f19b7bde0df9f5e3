//! How each kernel is launched: which one, and its grid, block and shared memory, from its parameters.

use crate::kernel::{Kernel, Target};
use crate::parameters::{
    CombineParameters, DequantizeParameters, MoeParameters, PermuteParameters, PermuteRowsParameters,
    ProductParameters, QuantizeParameters, RouteParameters, SwiGluParameters,
};

/// The numbers of `mxhal_format` that kernels know.
#[allow(missing_docs, reason = "each is documented at the variant of mxhal_core::Format with its name")]
pub mod format {
    pub const F32: u32 = 1;
    pub const BF16: u32 = 2;
    pub const F16: u32 = 3;
    pub const MXFP4: u32 = 16;
    pub const MXFP8: u32 = 17;
    pub const MXFP8_G128: u32 = 18;
    pub const MXINT8: u32 = 19;
    pub const NVFP4: u32 = 20;
    pub const FP8_TILE128: u32 = 21;
}

/// One launch. A grid with an extent of 0 is nothing to do, and not to be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Dynamic shared memory; above 48 KiB the function's attribute must allow it first.
    pub shared_bytes: u32,
}

impl Launch {
    fn new(name: &str, grid: [u32; 3]) -> Self {
        let kernel =
            Kernel::named(name).expect("launches name kernels of the table; a test makes each of them");
        Self { kernel, grid, shared_bytes: 0 }
    }

    /// As many blocks as there are threads wanted.
    fn over(name: &str, threads: u64) -> Self {
        let mut launch = Self::new(name, [0, 1, 1]);
        let blocks = threads.div_ceil(u64::from(launch.kernel.threads));
        launch.grid[0] =
            u32::try_from(blocks).expect("tensors of 2^31 rows and columns do not fit into memory");
        launch
    }

    /// Threads of a block along x, y and z.
    pub const fn block(&self) -> [u32; 3] {
        [self.kernel.threads, 1, 1]
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.grid.contains(&0)
    }
}

/// Threads of a row that is quantized: eight values each, in whole blocks.
fn row_lanes(columns: u32, format: u32) -> u64 {
    let block = match format {
        format::NVFP4 => 16,
        format::MXFP8_G128 => 128,
        format::MXFP4 | format::MXFP8 | format::MXINT8 => 32,
        _ => 8,
    };
    u64::from(columns.div_ceil(block) * (block / 8))
}

impl QuantizeParameters {
    /// One after the other: for NVFP4 the rows' factors come first.
    pub fn launches(&self) -> Vec<Launch> {
        let quantize = Launch::over("quantize", u64::from(self.rows) * row_lanes(self.columns, self.format));
        if self.format == format::NVFP4 {
            vec![Launch::new("nvfp4_factors", [self.rows, 1, 1]), quantize]
        } else {
            vec![quantize]
        }
    }
}

impl DequantizeParameters {
    /// Eight elements a thread where rows allow it.
    pub fn launch(&self) -> Launch {
        let elements = u64::from(self.rows) * u64::from(self.columns);
        if self.columns.is_multiple_of(8) {
            Launch::over("dequantize", elements / 8)
        } else {
            Launch::over("dequantize_elements", elements)
        }
    }
}

impl SwiGluParameters {
    /// Eight columns a thread where rows allow it; a quantized output's do.
    pub fn launch(&self) -> Launch {
        let rows = u64::from(self.rows);
        if self.columns.is_multiple_of(8) {
            Launch::over("swiglu", rows * row_lanes(self.columns, self.format))
        } else {
            Launch::over("swiglu_elements", rows * u64::from(self.columns))
        }
    }
}

impl RouteParameters {
    /// A warp for each token; shared memory for the scores of all experts and of the chosen, and who was taken.
    pub fn launch(&self) -> Launch {
        let shared_bytes = 8 * (self.experts + self.top_k) + 4 * self.experts;
        Launch { shared_bytes, ..Launch::new("route", [self.tokens, 1, 1]) }
    }
}

impl PermuteParameters {
    /// Count, then place: a warp for each expert.
    pub fn launches(&self) -> [Launch; 2] {
        let threads = 32 * u64::from(self.experts);
        [Launch::over("permute_count", threads), Launch::over("permute_place", threads)]
    }
}

impl PermuteRowsParameters {
    /// A block for each row.
    pub fn launch(&self) -> Launch {
        Launch::new("permute_rows", [self.rows, 1, 1])
    }
}

impl CombineParameters {
    /// Eight columns a thread where rows allow it.
    pub fn launch(&self) -> Launch {
        let elements = u64::from(self.tokens) * u64::from(self.columns);
        if self.columns.is_multiple_of(8) {
            Launch::over("combine", elements / 8)
        } else {
            Launch::over("combine_elements", elements)
        }
    }
}

impl MoeParameters {
    /// The most tokens of a launch.
    pub const MOST_TOKENS: u32 = 8;
    /// The most slots of all tokens.
    pub const MOST_SLOTS: u32 = 128;

    /// Whether these kernels do a layer of so many tokens in this scheme.
    pub fn is_for(tokens: u32, top_k: u32, format: u32) -> bool {
        tokens <= Self::MOST_TOKENS
            && tokens.saturating_mul(top_k) <= Self::MOST_SLOTS
            && matches!(
                format,
                format::BF16 | format::MXFP8 | format::MXFP8_G128 | format::MXINT8 | format::MXFP4
            )
    }

    /// Gate, up and SwiGLU, then down and the sum: sixteen columns a block.
    pub fn launches(&self) -> [Launch; 2] {
        // As `few_shared_bytes` of `kernels/few_rows.cuh`.
        let shared_bytes = 2 * self.tokens.min(8) * 2048 * 2;
        let slots = self.tokens * self.top_k;
        let down = if slots == 0 { 0 } else { 1 };
        [
            Launch { shared_bytes, ..Launch::new("moe_gate_up", [self.inner / 16, slots, 1]) },
            Launch { shared_bytes, ..Launch::new("moe_down", [self.hidden / 16, down, 1]) },
        ]
    }
}

/// The kernels of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Few rows and MXFP4 weights: tiles of 8 rows, and blocks that share K rather than rows.
    Decode,
    /// MXFP4 by MXFP4 on `sm_120f`: tiles of 32 or 128 rows.
    W4A4(u32),
    /// MXFP8, per 32 or per 128, by MXFP4 on `sm_120f`: tiles of 32 or 128 rows.
    W4A8(u32),
    /// NVFP4 by NVFP4 on `sm_120f`: tiles of 32 or 128 rows.
    Nvfp4(u32),
    /// MXFP4 by MXFP4 on `sm_100f`: tiles of 32 rows, or by pairs of blocks of 128 or 256.
    TensorW4A4(u32),
    /// BF16 by MXFP4 in halves, widened to BF16, on `sm_100f`: tiles as of [`Self::TensorW4A4`].
    TensorW4A16(u32),
    /// MXFP8, per 32 or per 128, by MXFP4 in order on `sm_100f`: tiles as of [`Self::TensorW4A4`].
    TensorW4A8(u32),
    /// NVFP4 by NVFP4 on `sm_100f`: tiles as of [`Self::TensorW4A4`].
    TensorNvfp4(u32),
    /// MXFP4 weights by any activations but NVFP4, widened to BF16, on `sm_90a`: tiles of 32 or 128 rows.
    Wgmma(u32),
    /// Any formats, widened to BF16.
    Wide,
}

impl Product {
    /// The kernels for a product, by target, formats and the rows that a group has on average.
    ///
    /// | rows a group | weights | activations | target | product |
    /// | --- | --- | --- | --- | --- |
    /// | up to 8 | MXFP4 | all but NVFP4 | any | decode |
    /// | up to 64 | MXFP4 | MXFP4, MXFP8 | `sm_120f` | block-scaled, 32 rows |
    /// | more | MXFP4 | MXFP4, MXFP8 | `sm_120f` | block-scaled, 128 rows |
    /// | up to 64 | NVFP4 | NVFP4 | `sm_120f` | block-scaled, 32 rows |
    /// | more | NVFP4 | NVFP4 | `sm_120f` | block-scaled, 128 rows |
    /// | up to 32 | MXFP4, NVFP4 | MXFP4, MXFP8, BF16; NVFP4 | `sm_100f` | tensor memory, 32 rows |
    /// | up to 128 | MXFP4, NVFP4 | MXFP4, MXFP8, BF16; NVFP4 | `sm_100f` | tensor memory, 128 rows by pairs |
    /// | more | MXFP4, NVFP4 | MXFP4, MXFP8, BF16; NVFP4 | `sm_100f` | tensor memory, 256 rows by pairs |
    /// | up to 32 | MXFP4 | all but NVFP4 | `sm_90a` | warpgroups, 32 rows |
    /// | more | MXFP4 | all but NVFP4 | `sm_90a` | warpgroups, 128 rows |
    /// | any other | | | | wide |
    ///
    /// NVFP4 rows whose bytes are no multiple of 16 (K no multiple of 32) go the wide way, and so do MXFP4 weights in
    /// another [`NibbleOrder`] than [`NibbleOrder::for_activation`] says, or with rows that are not padded as
    /// [`code_row_multiple`] says, and on `sm_100f` more than 2^31 rows of either operand.
    pub fn choose(target: Target, parameters: &ProductParameters) -> Self {
        let rows = parameters.m.div_ceil(parameters.groups.max(1));
        let tile = if rows <= 64 { 32 } else { 128 };
        let hopper_tile = if rows <= 32 { 32 } else { 128 };
        let tensor_tile = if rows > 128 { 256 } else { hopper_tile };
        let in_order = parameters.w_halves == 0;
        let is_padded = parameters.w_stride.is_multiple_of(code_row_multiple(target, parameters.a_format));
        // Of decode: within a group offsets have 32 bits.
        let is_small = u64::from(parameters.n).saturating_mul(parameters.w_stride) <= u64::from(u32::MAX);
        // Of copies by tensor maps, which count rows with a sign.
        let has_maps = target == Target::Blackwell100
            && [u64::from(parameters.m), u64::from(parameters.groups) * u64::from(parameters.n)]
                .into_iter()
                .all(|rows| i32::try_from(rows).is_ok());
        let aligned = (parameters.a_stride | parameters.w_stride).is_multiple_of(16)
            && parameters.w_scales_stride.is_multiple_of(4);
        match (parameters.w_format, parameters.a_format, target) {
            (format::MXFP4, activation, _) if rows <= 8 && activation != format::NVFP4 && is_small => {
                Self::Decode
            }
            (format::MXFP4, format::MXFP4, _) if has_maps => Self::TensorW4A4(tensor_tile),
            (format::MXFP4, format::BF16, _) if has_maps && !in_order => Self::TensorW4A16(tensor_tile),
            (format::MXFP4, format::MXFP8 | format::MXFP8_G128, _) if has_maps && in_order && is_padded => {
                Self::TensorW4A8(tensor_tile)
            }
            (format::NVFP4, format::NVFP4, _) if has_maps && aligned => Self::TensorNvfp4(tensor_tile),
            (format::NVFP4, format::NVFP4, Target::Blackwell120) if aligned => Self::Nvfp4(tile),
            (format::MXFP4, activation, Target::Hopper)
                if activation != format::NVFP4 && in_order == (activation == format::MXFP4) =>
            {
                Self::Wgmma(hopper_tile)
            }
            (format::MXFP4, format::MXFP4, Target::Blackwell120) => Self::W4A4(tile),
            (format::MXFP4, format::MXFP8 | format::MXFP8_G128, Target::Blackwell120) => Self::W4A8(tile),
            _ => Self::Wide,
        }
    }

    /// Rows of a tile.
    pub const fn tile_rows(self) -> u32 {
        match self {
            Self::Decode => 8,
            Self::W4A4(rows)
            | Self::W4A8(rows)
            | Self::Nvfp4(rows)
            | Self::TensorW4A4(rows)
            | Self::TensorW4A8(rows)
            | Self::TensorW4A16(rows)
            | Self::TensorNvfp4(rows)
            | Self::Wgmma(rows) => rows,
            Self::Wide => 64,
        }
    }

    /// The launch with these parameters. The number of tiles follows from the rows of all groups alone: which tile
    /// is whose, the device finds from the counts.
    pub fn launch(self, parameters: &ProductParameters) -> Launch {
        let rows = self.tile_rows();
        let &ProductParameters { m, n, groups, .. } = parameters;
        let tiles =
            if parameters.counts == 0 { m.div_ceil(rows) } else { m.min(groups.saturating_add(m / rows)) };
        let (name, columns) = match self {
            Self::Decode => {
                let activation = match parameters.a_format {
                    format::MXFP4 => "mxfp4",
                    format::MXFP8 | format::MXFP8_G128 => "mxfp8",
                    format::MXINT8 => "mxint8",
                    _ => "bf16",
                };
                (format!("decode_{activation}"), 16)
            }
            Self::W4A4(rows) => (format!("product_w4a4_{rows}"), 128),
            Self::W4A8(rows) => (format!("product_w4a8_{rows}"), 128),
            Self::Nvfp4(rows) => (format!("product_nvfp4_{rows}"), 128),
            Self::TensorW4A4(rows) => (format!("product_tensor_w4a4_{rows}"), 128),
            Self::TensorW4A8(rows) => (format!("product_tensor_w4a8_{rows}"), 128),
            Self::TensorW4A16(rows) => (format!("product_tensor_w4a16_{rows}"), 128),
            Self::TensorNvfp4(rows) => (format!("product_tensor_nvfp4_{rows}"), 128),
            Self::Wgmma(rows) => {
                let activation = match parameters.a_format {
                    format::MXFP4 => "mxfp4",
                    format::BF16 => "bf16",
                    _ => "mx",
                };
                (format!("product_wgmma_{activation}_{rows}"), wgmma_columns(rows))
            }
            Self::Wide => ("product_wide".to_owned(), 64),
        };
        let blocks = if self.is_by_pairs() { n.div_ceil(2 * columns) * 2 } else { n.div_ceil(columns) };
        Launch { shared_bytes: self.shared_bytes(m), ..Launch::new(&name, [blocks, tiles, 1]) }
    }

    /// Whether two blocks, neighbours along the columns, make a tile: its kernel is compiled for clusters of two.
    const fn is_by_pairs(self) -> bool {
        match self {
            Self::TensorW4A4(rows)
            | Self::TensorW4A8(rows)
            | Self::TensorW4A16(rows)
            | Self::TensorNvfp4(rows) => rows > 32,
            _ => false,
        }
    }

    /// Stages of both operands and their scales, as `ScaledStage` of `kernels/block_scaled.cu`, `TensorShared` of
    /// `kernels/tensor_product.cuh` or `HopperStage` of `kernels/wgmma.cu`; two chunks of a tile's activations, as
    /// `few_shared_bytes` of `kernels/few_rows.cuh`.
    fn shared_bytes(self, m: u32) -> u32 {
        let (stages, a_bytes, scale_bytes) = match self {
            Self::W4A4(_) => (4, 64, 4),
            Self::Nvfp4(_) => (4, 64, 8),
            Self::W4A8(_) => (3, 128, 4),
            Self::TensorW4A8(rows) => return tensor_shared_bytes(rows, 1),
            Self::TensorW4A4(rows) => return tensor_shared_bytes(rows, 2),
            Self::TensorNvfp4(rows) => return tensor_shared_bytes(rows, 4),
            Self::TensorW4A16(rows) => return tensor_shared_bytes(rows, 0),
            Self::Decode => return 2 * m.min(8) * 2048 * 2,
            Self::Wgmma(rows) => {
                return 4 * (rows * 256 + wgmma_columns(rows) * (64 + 4)).next_multiple_of(1024);
            }
            Self::Wide => return 0,
        };
        stages * (self.tile_rows() * (a_bytes + scale_bytes) + 128 * (64 + scale_bytes)).next_multiple_of(128)
    }
}

/// Columns of a tile by warpgroups.
const fn wgmma_columns(rows: u32) -> u32 {
    if rows == 128 { 256 } else { 128 }
}

/// Stages of 128 bytes of K, of 128 rows of weights and the tile's of activations, of which a block of a pair has half;
/// so many tiles of scales of 512 bytes for the weights and for each 128 rows of activations; without them, 32 bytes of
/// codes of each row of weights for some stages; and the barriers.
const fn tensor_shared_bytes(rows: u32, scale_tiles: u32) -> u32 {
    let (stages, own_rows) = match rows {
        256 => (5, 128),
        128 => (4, 64),
        _ => (4, rows),
    };
    let stage = (128 + own_rows) * 128 + (1 + rows.div_ceil(128)) * 512 * scale_tiles;
    let codes = match (scale_tiles, rows) {
        (0, 32) => 8 * 128 * 32,
        (0, _) => 4 * 128 * 32,
        _ => 0,
    };
    let barriers = 3 * stages + 1;
    (codes + stages * stage.next_multiple_of(1024) + 8 * barriers + 4).next_multiple_of(1024)
}

/// What the bytes of a row of codes are a multiple of, in MXFP4 weights that are prepared for activations of this format
/// on this target: of K/2 bytes, what is missing is zeros.
///
/// Tensor maps of 4-bit codes that land in 8 bits each, which W4A8 on `sm_100f` reads weights by, want 128 codes
/// (`cuda.h`, `cuTensorMapEncodeTiled`). K is a multiple of 32, so that all others need none.
pub const fn code_row_multiple(target: Target, activation: u32) -> u64 {
    match (activation, target) {
        (format::MXFP8 | format::MXFP8_G128, Target::Blackwell100) => 64,
        _ => 1,
    }
}

/// How the codes of a block of 32 lie in its 16 bytes, in prepared MXFP4 weights.
///
/// Rows of codes are K/2 bytes each, padded to a multiple of [`code_row_multiple`] bytes; rows of scales are padded to a
/// multiple of 4 bytes, with any byte but 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NibbleOrder {
    /// Byte j holds elements 2j (low nibble) and 2j + 1: as in the checkpoint.
    InOrder,
    /// Byte j holds elements j (low nibble) and 16 + j, so that a 32-bit word gives four neighbours of each half with
    /// one mask.
    Halves,
}

impl NibbleOrder {
    /// The order of MXFP4 weights that are prepared for activations of this format on this target.
    ///
    /// Products with MXFP4 activations take 64 elements as they come, so that both sides lie alike, and so do those
    /// with MXFP8 activations where the tensor core itself spreads codes; for all others they are spread to bytes
    /// first.
    pub const fn for_activation(target: Target, activation: u32) -> Self {
        match (activation, target) {
            (format::MXFP4, _) | (format::MXFP8 | format::MXFP8_G128, Target::Blackwell100) => Self::InOrder,
            _ => Self::Halves,
        }
    }

    /// A block in order, in this order.
    pub fn from_order(self, block: [u8; 16]) -> [u8; 16] {
        let code = |k: usize| block[k / 2] >> (4 * (k % 2)) & 15;
        match self {
            Self::InOrder => block,
            Self::Halves => core::array::from_fn(|j| code(j) | code(16 + j) << 4),
        }
    }

    /// A block in this order, in order: what an export gives.
    pub fn to_order(self, block: [u8; 16]) -> [u8; 16] {
        let code = |k: usize| block[k % 16] >> (4 * (k / 16)) & 15;
        match self {
            Self::InOrder => block,
            Self::Halves => core::array::from_fn(|j| code(2 * j) | code(2 * j + 1) << 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::KERNELS;

    #[test]
    fn halves_lead_back() {
        let block = core::array::from_fn(|i| (i * 37 + 11) as u8);
        let halves = NibbleOrder::Halves.from_order(block);
        assert_eq!(halves[3], block[1] >> 4 | (block[9] & 0xf0));
        assert_eq!(NibbleOrder::Halves.to_order(halves), block);
    }

    #[test]
    fn what_maps_cannot_describe_goes_the_wide_way() {
        let p = ProductParameters {
            m: 100,
            n: 128,
            k: 96,
            groups: 1,
            a_format: format::MXFP8,
            w_format: format::MXFP4,
            a_stride: 96,
            w_stride: 64,
            ..Default::default()
        };
        assert_eq!(code_row_multiple(Target::Blackwell100, p.a_format), 64);
        assert_eq!(Product::choose(Target::Blackwell100, &p), Product::TensorW4A8(128));
        let as_they_come = ProductParameters { w_stride: 48, ..p };
        assert_eq!(Product::choose(Target::Blackwell100, &as_they_come), Product::Wide);
        assert_eq!(Product::choose(Target::Blackwell120, &as_they_come), Product::W4A8(128));
        let four_bits = ProductParameters { a_format: format::MXFP4, a_stride: 48, ..as_they_come };
        assert_eq!(Product::choose(Target::Blackwell100, &four_bits), Product::TensorW4A4(128));
        let many_columns = ProductParameters { n: 1 << 20, m: 1 << 20, groups: 1 << 11, ..four_bits };
        assert_eq!(Product::choose(Target::Blackwell100, &many_columns), Product::Wide);
    }

    #[test]
    fn every_product_is_in_the_table_and_fits_into_shared_memory() {
        let mut made = 0;
        for target in Target::ALL {
            for (a_format, w_format) in [
                (format::BF16, format::MXFP4),
                (format::MXFP4, format::MXFP4),
                (format::MXFP8_G128, format::MXFP4),
                (format::MXINT8, format::MXFP4),
                (format::NVFP4, format::NVFP4),
            ] {
                for m in [1, 2, 3, 8, 9, 64, 65, 4096] {
                    let p = ProductParameters {
                        m,
                        n: 1000,
                        k: 64,
                        groups: 1,
                        a_format,
                        w_format,
                        w_halves: u32::from(
                            NibbleOrder::for_activation(target, a_format) == NibbleOrder::Halves,
                        ),
                        ..Default::default()
                    };
                    let launch = Product::choose(target, &p).launch(&p);
                    assert!(launch.kernel.targets.contains(&target), "{target} {}", launch.kernel.name);
                    // What a block may have, of sm_100 half of what two share but for those of a pair.
                    let room = match target {
                        Target::Hopper => 227,
                        Target::Blackwell100 if launch.kernel.name.ends_with("_256") => 227,
                        Target::Blackwell100 => 113,
                        Target::Blackwell120 => 99,
                    };
                    assert!(launch.shared_bytes <= room << 10, "{launch:?}");
                    made += usize::from(KERNELS.contains(launch.kernel));
                }
            }
        }
        assert_eq!(made, 3 * 5 * 8);
    }
}
