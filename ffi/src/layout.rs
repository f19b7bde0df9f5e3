//! Sizes and offsets of every struct that crosses, and their hash.
//!
//! The table is made from the bindings, so that it cannot name a field that is not there, or leave one out. Its text
//! is hashed into [`HASH`], which the header repeats as `MXHAL_LAYOUT_HASH` and every plugin carries in its identity: a
//! host and a plugin of the same minor version whose hashes differ were built from different headers.

use crate::sys::*;

/// A struct of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Struct {
    /// Its name in the header.
    pub name: &'static str,
    /// Bytes, padding included.
    pub size: usize,
    /// Its fields, in order.
    pub fields: &'static [Field],
}

/// A field of a struct of the ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the header.
    pub name: &'static str,
    /// Bytes from the beginning of the struct.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// FNV-1a, 64 bits, of [`text`].
pub const HASH: u64 = hash();

/// One line a struct, `name size`, and one a field, indented by two spaces, `name offset size`.
pub fn text() -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for Struct { name, size, fields } in TABLE {
        writeln!(text, "{name} {size}").expect("a string takes whatever is written to it");
        for Field { name, offset, size } in *fields {
            writeln!(text, "  {name} {offset} {size}").expect("a string takes whatever is written to it");
        }
    }
    text
}

/// The part of the header between its `GENERATED LAYOUT` marks: the hash, and an assertion for each size and offset.
pub fn header() -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("a string takes whatever is written to it");
    line(format!("#define MXHAL_LAYOUT_HASH UINT64_C({HASH:#018x})"));
    line(HEADER_MACROS.to_owned());
    for Struct { name, size, fields } in TABLE {
        line(format!("MXHAL_SIZE_IS({name}, {size});"));
        for Field { name: field, offset, .. } in *fields {
            line(format!("MXHAL_OFFSET_IS({name}, {field}, {offset});"));
        }
    }
    line("#undef MXHAL_SIZE_IS\n#undef MXHAL_OFFSET_IS\n#undef MXHAL_STATIC_ASSERT".to_owned());
    out
}

const HEADER_MACROS: &str = "
#ifdef __cplusplus
#define MXHAL_STATIC_ASSERT static_assert
#else
#define MXHAL_STATIC_ASSERT _Static_assert
#endif
#define MXHAL_SIZE_IS(type, bytes) MXHAL_STATIC_ASSERT(sizeof(type) == bytes, \"sizeof(\" #type \") is not \" #bytes)
#define MXHAL_OFFSET_IS(type, field, bytes) \\
  MXHAL_STATIC_ASSERT(offsetof(type, field) == bytes, #type \".\" #field \" is not at byte \" #bytes)
";

/// Fields of a Rust struct have the header's names but for `self`, which is a keyword.
macro_rules! header_name {
    (self_) => {
        "self"
    };
    ($field:ident) => {
        stringify!($field)
    };
}

macro_rules! table {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        /// Every struct that crosses, in the order of the header.
        pub const TABLE: &[Struct] = &[$(Struct {
            name: stringify!($name),
            size: size_of::<$name>(),
            fields: &[$(Field {
                name: header_name!($field),
                offset: std::mem::offset_of!($name, $field),
                size: size_of_field(|of: &$name| &of.$field),
            }),*],
        }),*];

        // Patterns without `..` fail to compile where the table leaves a field out.
        $(const _: fn($name) = |$name { $($field: _),* }| {};)*
    };
}

const fn size_of_field<S, T>(_: fn(&S) -> &T) -> usize {
    size_of::<T>()
}

table! {
    mxhal_error { struct_size, status, vendor_code, message }
    mxhal_plugin_identity {
        magic, struct_size, abi_major, abi_minor_least, abi_minor_built, layout_hash, sanitizer, flags,
        name, vendor, version,
    }
    mxhal_tensor {
        struct_size, format, rank, reserved, shape, stride, data, data_bytes, scales, scales_bytes, factors,
        factors_bytes,
    }
    mxhal_op { struct_size, kind }
    mxhal_quantization { format, scale_rule, amax_floor, reserved }
    mxhal_op_quantize { op, rows, k, input_format, reserved, to }
    mxhal_op_dequantize { op, rows, k, from_format, output_format }
    mxhal_op_matmul { op, m, n, k, input_format, weight_format, output_format, has_bias, activation }
    mxhal_op_grouped_matmul { each, groups }
    mxhal_swiglu_form { variant, interleaved, limit, alpha }
    mxhal_op_swiglu { op, rows, n, form, input_format, has_row_weights, to }
    mxhal_op_route {
        op, tokens, experts, top_k, score, has_bias, ids_given, renormalize, scale, reserved,
    }
    mxhal_op_permute { op, tokens, columns, experts, top_k, mapped, format, has_weights }
    mxhal_op_combine { op, tokens, columns, top_k, input_format, output_format, weighted, addend_format }
    mxhal_op_moe_ffn {
        op, tokens, hidden, inner, experts, top_k, mapped, shared_inner, weight_format,
        shared_weight_format, activation, form, weight_position, has_bias, output_format, shared_clamped,
    }
    mxhal_answer { struct_size, yes, reason, flags, text }
    mxhal_plan_info { struct_size, reserved, workspace_bytes, kernel }
    mxhal_device_info { struct_size, units, memory_bytes, alignment, name, architecture, driver }
    mxhal_weights_desc { struct_size, format, activation_format, reserved, groups, n, k }
    mxhal_weights_info { struct_size, reserved, bytes, desc }
    mxhal_host { struct_size, abi_minor, context, log, option_keys, option_values }
    mxhal_plugin {
        struct_size, abi_minor, self_, shutdown, device_count, device_open, device_close, device_info,
        memory_alloc, memory_free, memory_info, memory_host_alloc, memory_host_free, stream_create,
        stream_wrap, stream_destroy, stream_synchronize, event_create, event_destroy, event_record,
        event_wait, event_synchronize, event_elapsed, copy_to_device, copy_to_host, copy_on_device, fill,
        op_supports, plan_create, plan_info, plan_run, plan_destroy, weights_prepare, weights_export,
        weights_info, weights_destroy, extension,
    }
}

const fn hash() -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    let mut at = 0;
    while at < TABLE.len() {
        let Struct { name, size, fields } = TABLE[at];
        hash = hash.bytes(name.as_bytes()).byte(b' ').number(size).byte(b'\n');
        let mut field = 0;
        while field < fields.len() {
            let Field { name, offset, size } = fields[field];
            hash = hash.bytes(b"  ").bytes(name.as_bytes()).byte(b' ');
            hash = hash.number(offset).byte(b' ').number(size).byte(b'\n');
            field += 1;
        }
        at += 1;
    }
    hash.0
}

/// The bytes of [`text`], hashed as they come: a constant has no strings to write into.
struct Fnv(u64);

impl Fnv {
    const fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
    }

    const fn bytes(mut self, bytes: &[u8]) -> Self {
        let mut at = 0;
        while at < bytes.len() {
            self = self.byte(bytes[at]);
            at += 1;
        }
        self
    }

    /// In decimal.
    const fn number(self, number: usize) -> Self {
        let this = if number >= 10 { self.number(number / 10) } else { self };
        this.byte(b'0' + (number % 10) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_text() {
        assert_eq!(Fnv(0xcbf2_9ce4_8422_2325).bytes(text().as_bytes()).0, HASH);
        // The vector of the FNV page for "foobar".
        assert_eq!(Fnv(0xcbf2_9ce4_8422_2325).bytes(b"foobar").0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn structs_that_cross_begin_with_their_size() {
        let nested = ["mxhal_quantization", "mxhal_swiglu_form"];
        for Struct { name, fields, .. } in TABLE.iter().filter(|of| !nested.contains(&of.name)) {
            let first = match *name {
                "mxhal_plugin_identity" => ("magic", "struct_size"),
                _ => (fields[0].name, fields[1].name),
            };
            assert!(
                ["struct_size", "op", "each", "magic"].contains(&first.0),
                "{name} begins with {}",
                first.0
            );
        }
    }
}
