//! The C ABI as bindgen reads it from `include/mxhal.h`: names, sizes and offsets are those of the header.
//!
//! Generated. To change it, change the header and run `MXHAL_BLESS=1 cargo test -p mxhal-ffi --test bindings`.
//! Enums are integer constants, because their values come from strangers.

#![allow(missing_docs, reason = "each name is documented in the header")]
#![allow(non_camel_case_types, reason = "the names are those of the header")]
#![allow(unreachable_pub, reason = "bindgen writes `pub` everywhere")]
#![allow(clippy::use_self, clippy::pub_underscore_fields, reason = "bindgen's output")]

pub const MXHAL_ABI_MAJOR: u32 = 1;
pub const MXHAL_ABI_MINOR: u32 = 0;
pub const MXHAL_MAX_RANK: u32 = 4;
pub const MXHAL_OK: mxhal_status = 0;
pub const MXHAL_INVALID_ARGUMENT: mxhal_status = 1;
pub const MXHAL_UNSUPPORTED: mxhal_status = 2;
pub const MXHAL_OUT_OF_MEMORY: mxhal_status = 3;
pub const MXHAL_NOT_READY: mxhal_status = 4;
pub const MXHAL_TIMEOUT: mxhal_status = 5;
pub const MXHAL_DEVICE_LOST: mxhal_status = 6;
pub const MXHAL_UNAVAILABLE: mxhal_status = 7;
pub const MXHAL_INTERNAL: mxhal_status = 8;
pub type mxhal_status = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_error {
    pub struct_size: u32,
    pub status: i32,
    pub vendor_code: i64,
    pub message: [::std::os::raw::c_char; 496usize],
}
pub const MXHAL_SANITIZER_NONE: _bindgen_ty_1 = 0;
pub const MXHAL_SANITIZER_ADDRESS: _bindgen_ty_1 = 1;
pub const MXHAL_SANITIZER_THREAD: _bindgen_ty_1 = 2;
pub const MXHAL_SANITIZER_MEMORY: _bindgen_ty_1 = 3;
pub type _bindgen_ty_1 = u32;
pub const MXHAL_PLUGIN_MAY_UNLOAD: _bindgen_ty_2 = 1;
pub type _bindgen_ty_2 = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_plugin_identity {
    pub magic: u64,
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor_least: u32,
    pub abi_minor_built: u32,
    pub layout_hash: u64,
    pub sanitizer: u32,
    pub flags: u32,
    pub name: [::std::os::raw::c_char; 32usize],
    pub vendor: [::std::os::raw::c_char; 64usize],
    pub version: [::std::os::raw::c_char; 32usize],
}
#[repr(C)]
#[derive(Debug)]
pub struct mxhal_device {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct mxhal_stream {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct mxhal_event {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct mxhal_plan {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug)]
pub struct mxhal_weights {
    _unused: [u8; 0],
}
pub const MXHAL_F32: mxhal_format = 1;
pub const MXHAL_BF16: mxhal_format = 2;
pub const MXHAL_F16: mxhal_format = 3;
pub const MXHAL_I32: mxhal_format = 4;
pub const MXHAL_I64: mxhal_format = 5;
pub const MXHAL_U8: mxhal_format = 6;
pub const MXHAL_MXFP4: mxhal_format = 16;
pub const MXHAL_MXFP8: mxhal_format = 17;
pub const MXHAL_MXFP8_G128: mxhal_format = 18;
pub const MXHAL_MXINT8: mxhal_format = 19;
pub const MXHAL_NVFP4: mxhal_format = 20;
pub const MXHAL_FP8_TILE128: mxhal_format = 21;
pub type mxhal_format = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_tensor {
    pub struct_size: u32,
    pub format: u32,
    pub rank: u32,
    pub reserved: u32,
    pub shape: [i64; 4usize],
    pub stride: [i64; 4usize],
    pub data: *mut ::std::os::raw::c_void,
    pub data_bytes: u64,
    pub scales: *mut ::std::os::raw::c_void,
    pub scales_bytes: u64,
    pub factors: *mut ::std::os::raw::c_void,
    pub factors_bytes: u64,
}
pub const MXHAL_OP_QUANTIZE: mxhal_op_kind = 1;
pub const MXHAL_OP_DEQUANTIZE: mxhal_op_kind = 2;
pub const MXHAL_OP_MATMUL: mxhal_op_kind = 3;
pub const MXHAL_OP_GROUPED_MATMUL: mxhal_op_kind = 4;
pub const MXHAL_OP_SWIGLU: mxhal_op_kind = 5;
pub const MXHAL_OP_ROUTE: mxhal_op_kind = 6;
pub const MXHAL_OP_PERMUTE: mxhal_op_kind = 7;
pub const MXHAL_OP_COMBINE: mxhal_op_kind = 8;
pub const MXHAL_OP_MOE_FFN: mxhal_op_kind = 9;
pub type mxhal_op_kind = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op {
    pub struct_size: u32,
    pub kind: u32,
}
pub const MXHAL_SCALE_CEIL: mxhal_scale_rule = 1;
pub const MXHAL_SCALE_FLOOR: mxhal_scale_rule = 2;
pub const MXHAL_SCALE_EVEN: mxhal_scale_rule = 3;
pub const MXHAL_SCALE_NEAREST: mxhal_scale_rule = 4;
pub type mxhal_scale_rule = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_quantization {
    pub format: u32,
    pub scale_rule: u32,
    pub amax_floor: f32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_quantize {
    pub op: mxhal_op,
    pub rows: i64,
    pub k: i64,
    pub input_format: u32,
    pub reserved: u32,
    pub to: mxhal_quantization,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_dequantize {
    pub op: mxhal_op,
    pub rows: i64,
    pub k: i64,
    pub from_format: u32,
    pub output_format: u32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_matmul {
    pub op: mxhal_op,
    pub m: i64,
    pub n: i64,
    pub k: i64,
    pub input_format: u32,
    pub weight_format: u32,
    pub output_format: u32,
    pub has_bias: u32,
    pub activation: mxhal_quantization,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_grouped_matmul {
    pub each: mxhal_op_matmul,
    pub groups: i64,
}
pub const MXHAL_SWIGLU_SILU: mxhal_swiglu_variant = 1;
pub const MXHAL_SWIGLU_GPT_OSS: mxhal_swiglu_variant = 2;
pub type mxhal_swiglu_variant = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_swiglu_form {
    pub variant: u32,
    pub interleaved: u32,
    pub limit: f32,
    pub alpha: f32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_swiglu {
    pub op: mxhal_op,
    pub rows: i64,
    pub n: i64,
    pub form: mxhal_swiglu_form,
    pub input_format: u32,
    pub has_row_weights: u32,
    pub to: mxhal_quantization,
}
pub const MXHAL_SCORE_SOFTMAX: mxhal_score = 1;
pub const MXHAL_SCORE_SIGMOID: mxhal_score = 2;
pub const MXHAL_SCORE_SQRT_SOFTPLUS: mxhal_score = 3;
pub const MXHAL_SCORE_SOFTMAX_OF_CHOSEN: mxhal_score = 4;
pub type mxhal_score = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_route {
    pub op: mxhal_op,
    pub tokens: i64,
    pub experts: i64,
    pub top_k: i64,
    pub score: u32,
    pub has_bias: u32,
    pub ids_given: u32,
    pub renormalize: u32,
    pub scale: f32,
    pub reserved: u32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_permute {
    pub op: mxhal_op,
    pub tokens: i64,
    pub columns: i64,
    pub experts: i64,
    pub top_k: i64,
    pub mapped: i64,
    pub format: u32,
    pub has_weights: u32,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_combine {
    pub op: mxhal_op,
    pub tokens: i64,
    pub columns: i64,
    pub top_k: i64,
    pub input_format: u32,
    pub output_format: u32,
    pub weighted: u32,
    pub addend_format: u32,
}
pub const MXHAL_WEIGHT_BEFORE_DOWN: mxhal_weight_position = 1;
pub const MXHAL_WEIGHT_AFTER_DOWN: mxhal_weight_position = 2;
pub type mxhal_weight_position = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_op_moe_ffn {
    pub op: mxhal_op,
    pub tokens: i64,
    pub hidden: i64,
    pub inner: i64,
    pub experts: i64,
    pub top_k: i64,
    pub mapped: i64,
    pub shared_inner: i64,
    pub weight_format: u32,
    pub shared_weight_format: u32,
    pub activation: mxhal_quantization,
    pub form: mxhal_swiglu_form,
    pub weight_position: u32,
    pub has_bias: u32,
    pub output_format: u32,
    pub shared_clamped: u32,
}
pub const MXHAL_REASON_NONE: mxhal_reason = 0;
pub const MXHAL_REASON_OPERATOR: mxhal_reason = 1;
pub const MXHAL_REASON_FORMAT: mxhal_reason = 2;
pub const MXHAL_REASON_SHAPE: mxhal_reason = 3;
pub const MXHAL_REASON_ATTRIBUTE: mxhal_reason = 4;
pub const MXHAL_REASON_ARCHITECTURE: mxhal_reason = 5;
pub const MXHAL_REASON_LIBRARY: mxhal_reason = 6;
pub const MXHAL_REASON_OTHER: mxhal_reason = 7;
pub type mxhal_reason = u32;
pub const MXHAL_CAPTURABLE: _bindgen_ty_3 = 1;
pub const MXHAL_RUN_TO_RUN: _bindgen_ty_3 = 2;
pub const MXHAL_BATCH_INVARIANT: _bindgen_ty_3 = 4;
pub const MXHAL_THREAD_INVARIANT: _bindgen_ty_3 = 8;
pub const MXHAL_SLOT_ORDER: _bindgen_ty_3 = 16;
pub type _bindgen_ty_3 = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_answer {
    pub struct_size: u32,
    pub yes: u32,
    pub reason: u32,
    pub flags: u32,
    pub text: [::std::os::raw::c_char; 240usize],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_plan_info {
    pub struct_size: u32,
    pub reserved: u32,
    pub workspace_bytes: u64,
    pub kernel: [::std::os::raw::c_char; 64usize],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_device_info {
    pub struct_size: u32,
    pub units: u32,
    pub memory_bytes: u64,
    pub alignment: u64,
    pub name: [::std::os::raw::c_char; 96usize],
    pub architecture: [::std::os::raw::c_char; 32usize],
    pub driver: [::std::os::raw::c_char; 64usize],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_weights_desc {
    pub struct_size: u32,
    pub format: u32,
    pub activation_format: u32,
    pub reserved: u32,
    pub groups: i64,
    pub n: i64,
    pub k: i64,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_weights_info {
    pub struct_size: u32,
    pub reserved: u32,
    pub bytes: u64,
    pub desc: mxhal_weights_desc,
}
pub const MXHAL_LOG_ERROR: mxhal_log_level = 1;
pub const MXHAL_LOG_WARN: mxhal_log_level = 2;
pub const MXHAL_LOG_INFO: mxhal_log_level = 3;
pub const MXHAL_LOG_DEBUG: mxhal_log_level = 4;
pub const MXHAL_LOG_TRACE: mxhal_log_level = 5;
pub type mxhal_log_level = u32;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_host {
    pub struct_size: u32,
    pub abi_minor: u32,
    pub context: *mut ::std::os::raw::c_void,
    pub log: ::std::option::Option<
        unsafe extern "C" fn(
            context: *mut ::std::os::raw::c_void,
            level: i32,
            target: *const ::std::os::raw::c_char,
            message: *const ::std::os::raw::c_char,
        ),
    >,
    pub option_keys: *const *const ::std::os::raw::c_char,
    pub option_values: *const *const ::std::os::raw::c_char,
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct mxhal_plugin {
    pub struct_size: u32,
    pub abi_minor: u32,
    pub self_: *mut ::std::os::raw::c_void,
    pub shutdown: ::std::option::Option<
        unsafe extern "C" fn(self_: *mut ::std::os::raw::c_void, error: *mut mxhal_error) -> i32,
    >,
    pub device_count: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            count: *mut u32,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub device_open: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            index: u32,
            device: *mut *mut mxhal_device,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub device_close: ::std::option::Option<
        unsafe extern "C" fn(device: *mut mxhal_device, error: *mut mxhal_error) -> i32,
    >,
    pub device_info: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            info: *mut mxhal_device_info,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub memory_alloc: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            bytes: u64,
            address: *mut *mut ::std::os::raw::c_void,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub memory_free: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            address: *mut ::std::os::raw::c_void,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub memory_info: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            free_bytes: *mut u64,
            total_bytes: *mut u64,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub memory_host_alloc: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            bytes: u64,
            address: *mut *mut ::std::os::raw::c_void,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub memory_host_free: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            address: *mut ::std::os::raw::c_void,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub stream_create: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            stream: *mut *mut mxhal_stream,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub stream_wrap: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            native: *mut ::std::os::raw::c_void,
            stream: *mut *mut mxhal_stream,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub stream_destroy: ::std::option::Option<
        unsafe extern "C" fn(stream: *mut mxhal_stream, error: *mut mxhal_error) -> i32,
    >,
    pub stream_synchronize: ::std::option::Option<
        unsafe extern "C" fn(stream: *mut mxhal_stream, timeout_ns: u64, error: *mut mxhal_error) -> i32,
    >,
    pub event_create: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            event: *mut *mut mxhal_event,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub event_destroy:
        ::std::option::Option<unsafe extern "C" fn(event: *mut mxhal_event, error: *mut mxhal_error) -> i32>,
    pub event_record: ::std::option::Option<
        unsafe extern "C" fn(
            event: *mut mxhal_event,
            stream: *mut mxhal_stream,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub event_wait: ::std::option::Option<
        unsafe extern "C" fn(
            event: *mut mxhal_event,
            stream: *mut mxhal_stream,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub event_synchronize: ::std::option::Option<
        unsafe extern "C" fn(event: *mut mxhal_event, timeout_ns: u64, error: *mut mxhal_error) -> i32,
    >,
    pub event_elapsed: ::std::option::Option<
        unsafe extern "C" fn(
            from: *mut mxhal_event,
            to: *mut mxhal_event,
            seconds: *mut f64,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub copy_to_device: ::std::option::Option<
        unsafe extern "C" fn(
            stream: *mut mxhal_stream,
            to: *mut ::std::os::raw::c_void,
            from: *const ::std::os::raw::c_void,
            bytes: u64,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub copy_to_host: ::std::option::Option<
        unsafe extern "C" fn(
            stream: *mut mxhal_stream,
            to: *mut ::std::os::raw::c_void,
            from: *const ::std::os::raw::c_void,
            bytes: u64,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub copy_on_device: ::std::option::Option<
        unsafe extern "C" fn(
            stream: *mut mxhal_stream,
            to: *mut ::std::os::raw::c_void,
            from: *const ::std::os::raw::c_void,
            bytes: u64,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub fill: ::std::option::Option<
        unsafe extern "C" fn(
            stream: *mut mxhal_stream,
            to: *mut ::std::os::raw::c_void,
            value: u8,
            bytes: u64,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub op_supports: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            op: *const mxhal_op,
            answer: *mut mxhal_answer,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub plan_create: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            op: *const mxhal_op,
            plan: *mut *mut mxhal_plan,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub plan_info: ::std::option::Option<
        unsafe extern "C" fn(
            plan: *const mxhal_plan,
            info: *mut mxhal_plan_info,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub plan_run: ::std::option::Option<
        unsafe extern "C" fn(
            plan: *const mxhal_plan,
            stream: *mut mxhal_stream,
            tensors: *const *const mxhal_tensor,
            tensor_count: u32,
            weights: *const *const mxhal_weights,
            weights_count: u32,
            workspace: *mut ::std::os::raw::c_void,
            workspace_bytes: u64,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub plan_destroy:
        ::std::option::Option<unsafe extern "C" fn(plan: *mut mxhal_plan, error: *mut mxhal_error) -> i32>,
    pub weights_prepare: ::std::option::Option<
        unsafe extern "C" fn(
            device: *mut mxhal_device,
            desc: *const mxhal_weights_desc,
            parts: *const *const mxhal_tensor,
            part_count: u32,
            weights: *mut *mut mxhal_weights,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub weights_export: ::std::option::Option<
        unsafe extern "C" fn(
            weights: *const mxhal_weights,
            to: *const mxhal_tensor,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub weights_info: ::std::option::Option<
        unsafe extern "C" fn(
            weights: *const mxhal_weights,
            info: *mut mxhal_weights_info,
            error: *mut mxhal_error,
        ) -> i32,
    >,
    pub weights_destroy: ::std::option::Option<
        unsafe extern "C" fn(weights: *mut mxhal_weights, error: *mut mxhal_error) -> i32,
    >,
    pub extension: ::std::option::Option<
        unsafe extern "C" fn(
            self_: *mut ::std::os::raw::c_void,
            name: *const ::std::os::raw::c_char,
        ) -> *const ::std::os::raw::c_void,
    >,
}
pub type mxhal_plugin_open_function = ::std::option::Option<
    unsafe extern "C" fn(host: *const mxhal_host, plugin: *mut mxhal_plugin, error: *mut mxhal_error) -> i32,
>;
