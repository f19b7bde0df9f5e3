//! The parameters of every kernel, as `kernels/parameters.h` has them: one struct each, passed by value.
//!
//! Addresses are of device memory, multiples of 16; 0 for what is absent. Formats are numbers of `mxhal_format`, rules
//! of `mxhal_scale_rule`. Tensors are contiguous where no stride is given; strides are in bytes, from row to row.

use crate::tensor_map::TensorMap;

/// An address in device memory.
pub type Address = u64;

macro_rules! parameters {
    ($($(#[$what:meta])* $name:ident, $bytes:literal bytes { $($(#[$field_what:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$what])*
            #[derive(Clone, Copy, Debug, Default, PartialEq)]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_what])* pub $field: $type,)*
            }

            const _: () = assert!(size_of::<$name>() == $bytes, "kernels/parameters.h says otherwise");

            impl Parameters for $name {}
        )*
    };
}

/// What a kernel takes: exactly the bytes of the struct.
pub trait Parameters: Copy {}

parameters! {
    /// Of `quantize` and `nvfp4_factors`.
    QuantizeParameters, 72 bytes {
        /// `[rows, columns]` of format `input`.
        x: Address,
        /// Codes.
        data: Address,
        /// Scale bytes.
        scales: Address,
        /// `[rows]` of F32: for NVFP4, written by `nvfp4_factors` and read by `quantize`.
        factors: Address,
        /// From row to row of `data`; a multiple of 8 (of 4 for E2M1).
        data_stride: u64,
        /// From row to row of `scales`.
        scales_stride: u64,
        /// Rows.
        rows: u32,
        /// A multiple of 32, or of 16 for NVFP4.
        columns: u32,
        /// F32, BF16 or F16.
        input: u32,
        /// MXFP4, MXFP8, MXFP8-G128, MXINT8 or NVFP4.
        format: u32,
        /// The scale rule.
        rule: u32,
        /// The least amax of a block.
        amax_floor: f32,
    }

    /// Of `dequantize` and `dequantize_elements`.
    DequantizeParameters, 56 bytes {
        /// Codes.
        data: Address,
        /// Scale bytes.
        scales: Address,
        /// F32: one, or one a row; for NVFP4.
        factors: Address,
        /// `[rows, columns]` of format `output`.
        y: Address,
        /// Rows.
        rows: u32,
        /// Columns; a multiple of 8 for `dequantize`.
        columns: u32,
        /// A block-scaled format.
        format: u32,
        /// F32, BF16 or F16.
        output: u32,
        /// 1 for a factor a row, 0 for one factor.
        factor_per_row: u32,
        /// 0.
        reserved: u32,
    }

    /// Of `swiglu` and `swiglu_elements`.
    SwiGluParameters, 96 bytes {
        /// `[rows, 2 * columns]` of format `input`.
        x: Address,
        /// `[rows]` of F32, or 0.
        row_weights: Address,
        /// `[rows, columns]` of format `format`.
        y: Address,
        /// Scale bytes, for a quantized format.
        scales: Address,
        /// A number of rows that the device knows, at most `rows`; or 0.
        rows_on_device: Address,
        /// From row to row of `y`, for a quantized format.
        data_stride: u64,
        /// From row to row of `scales`.
        scales_stride: u64,
        /// Rows.
        rows: u32,
        /// Output columns; a multiple of 8 for `swiglu`.
        columns: u32,
        /// F32, BF16 or F16.
        input: u32,
        /// F32, BF16, F16, or for `swiglu` an MX format. To NVFP4 go by way of BF16.
        format: u32,
        /// The scale rule.
        rule: u32,
        /// The least amax of a block.
        amax_floor: f32,
        /// 1 silu, 2 gpt-oss.
        variant: u32,
        /// 1 where gate and up alternate.
        interleaved: u32,
        /// The clamp; 0 for none.
        limit: f32,
        /// Of the gpt-oss variant.
        alpha: f32,
    }

    /// Of `route`.
    RouteParameters, 64 bytes {
        /// `[tokens, experts]` of F32.
        logits: Address,
        /// `[experts]` of F32, or 0.
        bias: Address,
        /// `[tokens, top_k]` of I32, or 0.
        ids_given: Address,
        /// `[tokens, top_k]` of I32.
        ids: Address,
        /// `[tokens, top_k]` of F32.
        weights: Address,
        /// Tokens.
        tokens: u32,
        /// Experts.
        experts: u32,
        /// At most `experts`.
        top_k: u32,
        /// A number of `mxhal_score`.
        score: u32,
        /// 1 to divide by the sum.
        renormalize: u32,
        /// What weights are multiplied by in the end.
        scale: f32,
    }

    /// Of `permute_count` and `permute_place`.
    PermuteParameters, 56 bytes {
        /// `[slots]` of I32.
        ids: Address,
        /// `[mapped]` of I32, or 0.
        expert_map: Address,
        /// `[experts]` of I32: written by `permute_count`.
        counts: Address,
        /// `[slots]` of I32.
        source: Address,
        /// `[slots]` of I32.
        positions: Address,
        /// Tokens times top-k.
        slots: u32,
        /// Experts.
        experts: u32,
        /// Ids that the map translates.
        mapped: u32,
        /// 0.
        reserved: u32,
    }

    /// Of `permute_rows`.
    PermuteRowsParameters, 104 bytes {
        /// As `permute_place` wrote it.
        source: Address,
        /// Data, scales and factors of the tokens.
        from: [Address; 3],
        /// The same of the rows.
        to: [Address; 3],
        /// `[rows]` of F32 by slot, or 0.
        weights: Address,
        /// `[rows]` of F32 by row, or 0.
        row_weights: Address,
        /// Bytes of a row of each; 0 for what is absent.
        bytes: [u64; 3],
        /// Rows: as many as slots.
        rows: u32,
        /// Slots of a token.
        top_k: u32,
    }

    /// Of `combine` and `combine_elements`.
    CombineParameters, 64 bytes {
        /// `[tokens * top_k, columns]` of format `input`.
        rows: Address,
        /// `[tokens, top_k]` of I32.
        positions: Address,
        /// `[tokens, top_k]` of F32, or 0.
        weights: Address,
        /// `[tokens, columns]` of format `addend_format`, or 0.
        addend: Address,
        /// `[tokens, columns]` of format `output`.
        y: Address,
        /// Tokens.
        tokens: u32,
        /// Columns; a multiple of 8 for `combine`.
        columns: u32,
        /// Slots of a token.
        top_k: u32,
        /// F32, BF16 or F16.
        input: u32,
        /// The same, of the addend.
        addend_format: u32,
        /// The same, of the output.
        output: u32,
    }

    /// Of every product, `decode_*` and `product_*`; of those in tensor memory within [`TensorProductParameters`].
    ProductParameters, 144 bytes {
        /// `[m, k]` of format `a_format`.
        a: Address,
        /// Scale bytes of the activations.
        a_scales: Address,
        /// F32: NVFP4's factors, or 0.
        a_factors: Address,
        /// Prepared weights, `[groups, n, k]`.
        w: Address,
        /// Their scale bytes.
        w_scales: Address,
        /// F32: NVFP4's factors, or 0.
        w_factors: Address,
        /// `[groups, n]` of F32, or 0.
        bias: Address,
        /// `[groups]` of I32; 0 for a product of one group.
        counts: Address,
        /// `[m, n]` of format `output`.
        y: Address,
        /// From row to row of `a`; a multiple of 16 but for `product_wide`.
        a_stride: u64,
        /// From row to row of `a_scales`.
        a_scales_stride: u64,
        /// From row to row of `w`; a multiple of 16 but for `product_wide`, of 64 for `product_tensor_w4a8`.
        w_stride: u64,
        /// From row to row of `w_scales`; a multiple of 4 for `product_w4a4` and `product_w4a8`.
        w_scales_stride: u64,
        /// Rows of all groups.
        m: u32,
        /// Output columns.
        n: u32,
        /// Columns along which is summed: a multiple of 32 but for `product_wide`.
        k: u32,
        /// Groups.
        groups: u32,
        /// Of the activations.
        a_format: u32,
        /// Of the weights.
        w_format: u32,
        /// F32, BF16 or F16.
        output: u32,
        /// 1 for a factor a row of `a`, 0 for one factor.
        a_factor_per_row: u32,
        /// 1 where MXFP4 weights are in halves, 0 where they are in order: see [`NibbleOrder`](crate::NibbleOrder).
        w_halves: u32,
        /// 1 for a factor a row of `w`, 0 for one factor.
        w_factor_per_row: u32,
    }

    /// Of `product_tensor_*`. Its alignment is that of a map.
    TensorProductParameters, 512 bytes {
        /// Of the weights, as [`ProductParameters::tensor_maps`] describes it.
        w: TensorMap,
        /// Of the activations.
        a: TensorMap,
        /// The product.
        product: ProductParameters,
    }

    /// Of `moe_gate_up` and `moe_down`: a layer of experts, for few tokens.
    MoeParameters, 208 bytes {
        /// `[tokens, hidden]` of BF16.
        x: Address,
        /// `[tokens, top_k]` of I32.
        ids: Address,
        /// `[tokens, top_k]` of F32.
        weights: Address,
        /// `[mapped]` of I32, or 0.
        expert_map: Address,
        /// Prepared weights, `[experts, 2 * inner, hidden]`.
        gate_up: Address,
        /// Their scale bytes.
        gate_up_scales: Address,
        /// `[experts, 2 * inner]` of F32, or 0.
        gate_up_bias: Address,
        /// Prepared weights, `[experts, hidden, inner]`.
        down: Address,
        /// Their scale bytes.
        down_scales: Address,
        /// `[experts, hidden]` of F32, or 0.
        down_bias: Address,
        /// `[tokens, hidden]` of format `addend_format`, added last; or 0.
        addend: Address,
        /// `[tokens * top_k, inner]` of BF16: written by `moe_gate_up` and read by `moe_down`.
        activated: Address,
        /// `[tokens, hidden]` of format `output`.
        y: Address,
        /// From row to row of `gate_up`; a multiple of 16.
        gate_up_stride: u64,
        /// From row to row of `gate_up_scales`.
        gate_up_scales_stride: u64,
        /// From row to row of `down`; a multiple of 16.
        down_stride: u64,
        /// From row to row of `down_scales`.
        down_scales_stride: u64,
        /// At most [`MoeParameters::MOST_TOKENS`].
        tokens: u32,
        /// A multiple of 32.
        hidden: u32,
        /// A multiple of 32.
        inner: u32,
        /// Experts here.
        experts: u32,
        /// Ids that the map translates.
        mapped: u32,
        /// Slots of a token; with all tokens at most [`MoeParameters::MOST_SLOTS`].
        top_k: u32,
        /// What both products' activations are quantized to: an MX format, or BF16 for none.
        format: u32,
        /// The scale rule.
        rule: u32,
        /// The least amax of a block.
        amax_floor: f32,
        /// 1 silu, 2 gpt-oss.
        variant: u32,
        /// 1 where gate and up rows alternate.
        interleaved: u32,
        /// The clamp; 0 for none.
        limit: f32,
        /// Of the gpt-oss variant.
        alpha: f32,
        /// 1 where the routing weight multiplies before the second product, 0 where it does after.
        weight_before: u32,
        /// 1 where weights are in halves, 0 where they are in order.
        w_halves: u32,
        /// F32, BF16 or F16.
        addend_format: u32,
        /// F32, BF16 or F16.
        output: u32,
        /// 0.
        reserved: u32,
    }
}
