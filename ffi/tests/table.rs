//! The plugin's side of the table, called as a C host would: null pointers, foreign handles, hosts that are older or newer.

#[allow(dead_code, reason = "shared by two tests")]
mod backend;

use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::{null, null_mut};

use backend::Small;
use mxhal_core::op::Quantize;
use mxhal_core::{Format, Op, Quantization, Status};
use mxhal_ffi::convert::{self, RawOp};
use mxhal_ffi::export;
use mxhal_ffi::sys::*;

/// Opens a table with this much room for it, the rest poisoned.
fn open_with(struct_size: usize) -> (i32, mxhal_plugin, mxhal_error) {
    let host = mxhal_host {
        struct_size: size_of::<mxhal_host>() as u32,
        abi_minor: MXHAL_ABI_MINOR,
        context: null_mut(),
        log: None,
        option_keys: null(),
        option_values: null(),
    };
    let mut plugin: mxhal_plugin = convert::empty();
    plugin.struct_size = struct_size as u32;
    let mut error: mxhal_error = convert::empty();
    // SAFETY: the structs are whole, or said to be shorter than they are.
    let status = unsafe { export::open::<Small>(&host, &mut plugin, &mut error) };
    (status, plugin, error)
}

struct Host {
    table: mxhal_plugin,
    device: *mut mxhal_device,
    stream: *mut mxhal_stream,
}

/// Calls a function of the table with an error, and gives status and message.
macro_rules! call {
    ($table:expr, $function:ident($($argument:expr),*)) => {{
        let mut error: mxhal_error = convert::empty();
        // SAFETY: that bad arguments are refused is what these tests are about; the good ones are good.
        let status = unsafe { ($table.$function.unwrap())($($argument,)* &mut error) };
        if status != 0 {
            assert_eq!(error.status, status);
        }
        (status, convert::text(&error.message))
    }};
}

const OK: (i32, String) = (0, String::new());

fn invalid(text: &str) -> (i32, String) {
    (MXHAL_INVALID_ARGUMENT as i32, text.to_owned())
}

impl Host {
    fn new() -> Self {
        let (status, table, _) = open_with(size_of::<mxhal_plugin>());
        assert_eq!(status, 0);
        let (mut device, mut stream) = (null_mut(), null_mut());
        assert_eq!(call!(table, device_open(table.self_, 0, &mut device)), OK);
        assert_eq!(call!(table, stream_create(device, &mut stream)), OK);
        Self { table, device, stream }
    }

    fn plan(&self) -> *mut mxhal_plan {
        let mut plan = null_mut();
        let op = quantize();
        assert_eq!(call!(self.table, plan_create(self.device, op.as_ptr(), &mut plan)), OK);
        plan
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        assert_eq!(call!(self.table, device_close(self.device)), OK);
        assert_eq!(
            call!(self.table, stream_destroy(self.stream)),
            OK,
            "children may be destroyed after their parents"
        );
        assert_eq!(call!(self.table, shutdown(self.table.self_)), OK);
    }
}

fn quantize() -> RawOp {
    let to = Quantization::new(Format::Mxfp4);
    RawOp::new(&Op::from(Quantize { rows: 4, k: 64, input: Format::F32, to })).unwrap()
}

#[test]
fn null_is_destroyed_and_otherwise_refused() {
    let host = Host::new();
    let Host { table, device, stream } = &host;
    assert_eq!(call!(table, device_close(null_mut())), OK);
    assert_eq!(call!(table, stream_destroy(null_mut())), OK);
    assert_eq!(call!(table, event_destroy(null_mut())), OK);
    assert_eq!(call!(table, plan_destroy(null_mut())), OK);
    assert_eq!(call!(table, weights_destroy(null_mut())), OK);

    assert_eq!(call!(table, device_count(null_mut(), null_mut())), invalid("the backend is null"));
    assert_eq!(call!(table, device_count(table.self_, null_mut())), invalid("count is null"));
    assert_eq!(call!(table, device_open(table.self_, 0, null_mut())), invalid("device is null"));
    assert_eq!(call!(table, device_info(null_mut(), null_mut())), invalid("the device is null"));
    assert_eq!(call!(table, device_info(*device, null_mut())), invalid("info is null"));
    assert_eq!(call!(table, memory_alloc(*device, 8, null_mut())), invalid("address is null"));
    let mut number = 0;
    assert_eq!(call!(table, memory_info(*device, null_mut(), &mut number)), invalid("free_bytes is null"));
    assert_eq!(call!(table, memory_info(*device, &mut number, null_mut())), invalid("total_bytes is null"));
    assert_eq!(call!(table, stream_create(*device, null_mut())), invalid("stream is null"));
    assert_eq!(call!(table, event_create(*device, null_mut())), invalid("event is null"));
    assert_eq!(call!(table, event_record(null_mut(), *stream)), invalid("the event is null"));
    assert_eq!(call!(table, stream_synchronize(null_mut(), 0)), invalid("the stream is null"));
    assert_eq!(
        call!(table, copy_to_device(*stream, null_mut(), null(), 4)),
        invalid("to is null, and 4 bytes are wanted of it")
    );
    let op = quantize();
    let mut answer: mxhal_answer = convert::empty();
    assert_eq!(call!(table, op_supports(*device, null(), &mut answer)), invalid("op is null"));
    assert_eq!(call!(table, op_supports(*device, op.as_ptr(), null_mut())), invalid("answer is null"));
    assert_eq!(call!(table, plan_create(*device, op.as_ptr(), null_mut())), invalid("plan is null"));
    let plan = host.plan();
    let run = |tensors: *const *const mxhal_tensor, count| {
        call!(table, plan_run(plan, *stream, tensors, count, null(), 0, null_mut(), 0))
    };
    assert_eq!(run(null(), 2), invalid("tensors is null"));
    assert!(run([null(), null()].as_ptr(), 2).1.contains("tensor `x` is missing"));
    assert!(run(null(), 0).1.contains("0 tensors were passed, and it takes 2"));
    assert_eq!(
        call!(table, weights_prepare(*device, null(), null(), 0, null_mut())),
        invalid("desc is null")
    );
    assert_eq!(call!(table, plan_destroy(plan)), OK);
}

#[test]
fn an_error_may_be_null() {
    let host = Host::new();
    // SAFETY: null is allowed everywhere here.
    let status = unsafe { (host.table.device_info.unwrap())(null_mut(), null_mut(), null_mut()) };
    assert_eq!(status, MXHAL_INVALID_ARGUMENT as i32);
    // SAFETY: as above.
    assert!(unsafe { (host.table.extension.unwrap())(host.table.self_, null()) }.is_null());
    // SAFETY: the name ends in a zero byte, and is not UTF-8.
    assert!(unsafe { (host.table.extension.unwrap())(host.table.self_, c"\xff".as_ptr()) }.is_null());
}

#[test]
fn handles_of_another_kind_are_refused() {
    let host = Host::new();
    let Host { table, device, stream } = &host;
    let mut info: mxhal_device_info = convert::empty();
    let (status, said) = call!(table, device_info(stream.cast(), &mut info));
    assert_eq!(status, MXHAL_INVALID_ARGUMENT as i32);
    assert!(
        said.starts_with("what was passed as device at 0x") && said.ends_with(" is something else"),
        "{said}"
    );
    let (_, said) = call!(table, stream_synchronize(device.cast(), 0));
    assert!(said.starts_with("what was passed as stream"), "{said}");
    let (_, said) = call!(table, device_close(table.self_.cast()));
    assert!(said.starts_with("what was passed as device"), "{said}");
    let stranger = [0_u64; 8];
    let (_, said) = call!(table, plan_destroy(stranger.as_ptr().cast_mut().cast()));
    assert!(said.ends_with("is something else"), "{said}");
    let (_, said) =
        call!(table, plan_destroy(stranger.as_ptr().cast::<u8>().wrapping_add(1).cast_mut().cast()));
    assert!(said.ends_with("is no handle of this backend"), "{said}");
}

#[test]
fn a_handle_that_was_made_elsewhere_is_refused() {
    let host = Host::new();
    // The same code in another library makes handles that look alike, but for where they were made.
    let mut copy = [0_u64; 8];
    // SAFETY: a device's handle holds a tag, a place and a fat pointer: 32 bytes.
    unsafe { std::ptr::copy_nonoverlapping(host.device.cast::<u64>(), copy.as_mut_ptr(), 4) };
    copy[1] ^= 0x1000;
    let mut info: mxhal_device_info = convert::empty();
    let (_, said) = call!(host.table, device_info(copy.as_mut_ptr().cast(), &mut info));
    assert!(said.ends_with("was made by another backend"), "{said}");
}

#[test]
fn an_older_host_gets_the_functions_that_it_knows() {
    let whole = size_of::<mxhal_plugin>();
    for struct_size in (0..=whole).step_by(8).chain([4, 5, 7]) {
        let (status, table, error) = open_with(struct_size);
        if struct_size < 4 {
            assert_eq!(status, MXHAL_INVALID_ARGUMENT as i32);
            assert!(convert::text(&error.message).contains("struct_size of plugin is 0"));
            continue;
        }
        assert_eq!(status, 0);
        assert_eq!(table.struct_size as usize, struct_size);
        let known = |offset: usize| struct_size >= offset + 8;
        assert_eq!(table.weights_destroy.is_some(), known(offset_of!(mxhal_plugin, weights_destroy)));
        assert_eq!(table.extension.is_some(), known(offset_of!(mxhal_plugin, extension)));
        assert_eq!(table.device_count.is_some(), known(offset_of!(mxhal_plugin, device_count)));
        if known(offset_of!(mxhal_plugin, shutdown)) {
            assert_eq!(call!(table, shutdown(table.self_)), OK);
        }
    }
}

#[test]
fn a_newer_host_is_told_where_the_table_ends() {
    #[repr(C)]
    struct Newer {
        table: mxhal_plugin,
        more: [u64; 4],
    }
    let mut newer = Newer { table: convert::empty(), more: [0x5a5a; 4] };
    newer.table.struct_size = size_of::<Newer>() as u32;
    let mut host: mxhal_host = convert::empty();
    host.struct_size += 64;
    host.abi_minor = MXHAL_ABI_MINOR + 7;
    let hosts = [host; 2];
    // SAFETY: behind the first host lies the second, which is as many bytes as are said and more.
    let status = unsafe { export::open::<Small>(hosts.as_ptr(), (&raw mut newer).cast(), null_mut()) };
    assert_eq!(status, 0);
    assert_eq!(newer.table.struct_size as usize, size_of::<mxhal_plugin>());
    assert_eq!(newer.table.abi_minor, MXHAL_ABI_MINOR);
    assert_eq!(newer.more, [0x5a5a; 4]);
    assert_eq!(call!(newer.table, shutdown(newer.table.self_)), OK);
}

#[test]
fn a_host_that_is_broken_is_refused() {
    let refused = |change: fn(&mut mxhal_host)| {
        let mut host: mxhal_host = convert::empty();
        host.abi_minor = MXHAL_ABI_MINOR;
        change(&mut host);
        let (mut plugin, mut error): (mxhal_plugin, mxhal_error) = (convert::empty(), convert::empty());
        // SAFETY: the structs are whole, or said to be shorter than they are.
        let status = unsafe { export::open::<Small>(&host, &mut plugin, &mut error) };
        (Status::from_number(status), convert::text(&error.message))
    };
    assert!(refused(|host| host.struct_size = 8).1.contains("set it to sizeof(mxhal_host)"));
    static KEYS: [usize; 2] = [1, 0];
    let (status, said) = refused(|host| {
        // A key and no values: the key itself is not read.
        host.option_keys = KEYS.as_ptr().cast();
    });
    assert_eq!(
        (status, &*said),
        (Some(Status::InvalidArgument), "option 0 of the host has a key and no value")
    );
}

#[test]
fn answers_go_as_far_as_the_callers_struct() {
    let host = Host::new();
    let Host { table, device, .. } = &host;
    let op = RawOp::new(&Op::from(Quantize {
        rows: 4,
        k: 64,
        input: Format::F16,
        to: Quantization::new(Format::Mxfp4),
    }))
    .unwrap();
    let poison = 0x5a;
    for struct_size in [4_u32, 8, 12, 16, 17, 20, 40, 256, 300] {
        #[repr(C)]
        struct Roomy(mxhal_answer, [u8; 64]);
        let mut bytes = [poison; size_of::<Roomy>()];
        bytes[..4].copy_from_slice(&struct_size.to_ne_bytes());
        let mut roomy = std::mem::MaybeUninit::<Roomy>::uninit();
        // SAFETY: it is as large as the bytes, which are a value of it.
        let roomy = unsafe {
            roomy.as_mut_ptr().cast::<[u8; size_of::<Roomy>()]>().write(bytes);
            roomy.assume_init_mut()
        };
        assert_eq!(call!(table, op_supports(*device, op.as_ptr(), (&raw mut roomy.0))), OK);
        // SAFETY: the bytes were all written above.
        let after = unsafe { *std::ptr::from_ref(roomy).cast::<[u8; size_of::<Roomy>()]>() };
        let end = (struct_size as usize).min(256);
        assert!(after[end..].iter().all(|byte| *byte == poison), "{struct_size}");
        if struct_size >= 12 {
            assert_eq!((roomy.0.yes, roomy.0.reason), (0, MXHAL_REASON_FORMAT));
        }
        if struct_size > 16 {
            assert_eq!(after[end - 1], 0, "the text ends within the struct");
            assert!("f16 is not read here; f32 is".starts_with(&convert::text(&roomy.0.text)));
        }
    }
    let (status, said) = {
        let mut answer: mxhal_answer = convert::empty();
        answer.struct_size = 0;
        call!(table, op_supports(*device, op.as_ptr(), &mut answer))
    };
    assert_eq!((status, &*said), (1, "struct_size of answer is 0; set it to sizeof(mxhal_answer)"));
}

#[test]
fn unknown_operators_are_unsupported() {
    let host = Host::new();
    let op = mxhal_op { struct_size: size_of::<mxhal_op>() as u32, kind: 4711 };
    let mut answer: mxhal_answer = convert::empty();
    let said = call!(host.table, op_supports(host.device, &op, &mut answer));
    assert_eq!(said, (MXHAL_UNSUPPORTED as i32, "operator kind 4711 is not known here".to_owned()));
    let mut plan = null_mut();
    assert_eq!(call!(host.table, plan_create(host.device, &op, &mut plan)), said);
    assert!(plan.is_null());
}

#[test]
fn an_export_goes_where_it_fits() {
    let host = Host::new();
    let Host { table, device, .. } = &host;
    let mut desc: mxhal_weights_desc = convert::empty();
    (desc.format, desc.activation_format) = (MXHAL_MXFP4, MXHAL_BF16);
    (desc.groups, desc.n, desc.k) = (1, 2, 32);
    let (mut data, mut scales) = ([7_u8; 32], [9_u8; 2]);
    let mut part: mxhal_tensor = convert::empty();
    (part.format, part.rank) = (MXHAL_MXFP4, 2);
    part.shape[..2].copy_from_slice(&[2, 32]);
    part.stride[..2].copy_from_slice(&[32, 1]);
    (part.data, part.data_bytes) = (data.as_mut_ptr().cast(), 32);
    (part.scales, part.scales_bytes) = (scales.as_mut_ptr().cast(), 2);
    let mut weights = null_mut();
    let parts: [*const mxhal_tensor; 1] = [&raw const part];
    assert_eq!(call!(table, weights_prepare(*device, &desc, parts.as_ptr(), 1, &mut weights)), OK);
    let mut info: mxhal_weights_info = convert::empty();
    assert_eq!(call!(table, weights_info(weights, &mut info)), OK);
    assert_eq!((info.bytes, info.desc.n, info.desc.struct_size), (34, 2, desc.struct_size));

    let (mut to_data, mut to_scales) = ([0_u8; 40], [0_u8; 4]);
    let mut to = part;
    to.rank = 3;
    to.shape[..3].copy_from_slice(&[1, 2, 32]);
    to.stride[..3].copy_from_slice(&[64, 32, 1]);
    (to.data, to.data_bytes) = (to_data.as_mut_ptr().cast::<c_void>(), 32);
    (to.scales, to.scales_bytes) = (to_scales.as_mut_ptr().cast::<c_void>(), 2);
    assert_eq!(call!(table, weights_export(weights, &to)), OK);
    assert_eq!((&to_data[..32], &to_data[32..]), (&data[..], &[0; 8][..]));
    assert_eq!(to_scales, [9, 9, 0, 0]);
    let (_, said) = call!(table, weights_export(weights, &part));
    assert!(said.starts_with("to is mxfp4[2, 32], and it should be mxfp4[1, 2, 32]"), "{said}");
    to.data_bytes = 31;
    assert!(call!(table, weights_export(weights, &to)).1.contains("take 32 bytes, and 31 were given"));
    assert_eq!(call!(table, weights_destroy(weights)), OK);
}
