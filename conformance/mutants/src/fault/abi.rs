//! Faults of the functions that cross, as a plugin in C could have them: sizes, errors, numbers that nobody knows.

#![allow(unsafe_code, reason = "stands between a host and a table of C functions")]

use std::ffi::{c_char, c_void};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

use mxhal_core::{Error, Format, Status};
use mxhal_ffi::convert::{empty, error_to_c, give};
use mxhal_ffi::sys::{
    self, mxhal_answer, mxhal_device, mxhal_device_info, mxhal_error, mxhal_event, mxhal_host, mxhal_op,
    mxhal_op_dequantize, mxhal_op_route, mxhal_plan, mxhal_plugin, mxhal_stream, mxhal_tensor, mxhal_weights,
};

use crate::abi::{Opened, Opening};

/// All of the table goes to the host, whose memory may end before.
pub(crate) fn table_written_whole(opening: &Opening) -> i32 {
    let mut whole: mxhal_plugin = empty();
    let status = opening.go_into(&raw mut whole);
    if status == 0 {
        // SAFETY: the fault: the host says how much room there is, and nobody looks. It gives twice as much as it says.
        unsafe {
            whole.struct_size = whole.struct_size.min((*opening.plugin).struct_size);
            opening.plugin.write_unaligned(whole);
        }
    }
    status
}

/// The size stays as the host gave it, however little of it was filled.
pub(crate) fn table_size_of_the_host(opening: &Opening) -> i32 {
    // SAFETY: the host's, whose first member it is.
    let given = unsafe { (*opening.plugin).struct_size };
    let status = opening.go();
    if status == 0 {
        // SAFETY: as above.
        unsafe { (*opening.plugin).struct_size = given };
    }
    status
}

/// `==` where `>=` belongs.
pub(crate) fn host_size_equal(opening: &Opening) -> i32 {
    // SAFETY: the host's, whose first member it is.
    let size = unsafe { (*opening.host).struct_size } as usize;
    if size > size_of::<mxhal_host>() {
        return opening.refuse(&Error::invalid(format!("struct_size of the host is {size}")));
    }
    opening.go()
}

/// The host's minor version has to be this plugin's.
pub(crate) fn newer_minor_refused(opening: &Opening) -> i32 {
    // SAFETY: the host's, of which every version has the member.
    let minor = unsafe { (*opening.host).abi_minor };
    if minor > sys::MXHAL_ABI_MINOR {
        return opening.refuse(&Error::unsupported(format!("minor version {minor} is not known here")));
    }
    opening.go()
}

/// The last member of the host's struct is read, whether it is there or not.
pub(crate) fn host_read_whole(opening: &Opening) -> i32 {
    // SAFETY: the fault: the struct may end before.
    let last = unsafe { (&raw const (*opening.host).option_values).read_volatile() };
    std::hint::black_box(last);
    opening.go()
}

/// What was opened once refuses for ever after.
pub(crate) fn opens_once(opening: &Opening) -> i32 {
    static OPENED: AtomicBool = AtomicBool::new(false);
    if OPENED.swap(true, Ordering::Relaxed) {
        return opening.refuse(&Error::internal("it was opened before"));
    }
    opening.go()
}

impl Opening {
    fn refuse(&self, why: &Error) -> i32 {
        // SAFETY: the host's, by the contract null or as large as it says.
        unsafe { give(Err(why.clone()), self.error) }
    }
}

/// A `plan_create` that plans what `$other` makes of an operator, where it makes anything of it.
macro_rules! plans {
    ($name:ident, $other:path) => {
        unsafe extern "C" fn $name(
            device: *mut mxhal_device,
            op: *const mxhal_op,
            plan: *mut *mut mxhal_plan,
            error: *mut mxhal_error,
        ) -> i32 {
            // SAFETY: handed on as it came, but for the operator, which lives during the call.
            unsafe {
                let other = $other(op);
                let op = other.as_ref().map_or(op, |other| &raw const other.op);
                right().plan_create.expect(FILLED)(device, op, plan, error)
            }
        }
    };
}

/// `==` where `>=` belongs.
pub(crate) fn operator_size_equal(opened: &mut Opened<'_>) {
    unsafe extern "C" fn create(
        device: *mut mxhal_device,
        op: *const mxhal_op,
        plan: *mut *mut mxhal_plan,
        error: *mut mxhal_error,
    ) -> i32 {
        // SAFETY: the host's, by the contract null or an operator's head.
        match unsafe { op.as_ref() } {
            Some(head)
                if head.kind == sys::MXHAL_OP_DEQUANTIZE
                    && head.struct_size as usize > size_of::<mxhal_op_dequantize>() =>
            {
                let why = Error::invalid(format!("struct_size of the operator is {}", head.struct_size));
                // SAFETY: as in `refuse`.
                unsafe { give(Err(why), error) }
            }
            // SAFETY: handed on as it came.
            _ => unsafe { right().plan_create.expect(FILLED)(device, op, plan, error) },
        }
    }
    keep(opened.table);
    opened.table.plan_create = Some(create);
}

/// A number that nobody knows is taken for one that is.
pub(crate) fn enum_guessed(opened: &mut Opened<'_>) {
    /// The operator with a known format in place of an unknown one.
    unsafe fn guessed(op: *const mxhal_op) -> Option<mxhal_op_dequantize> {
        // SAFETY: the host's, by the contract null or an operator of as many bytes as it says.
        let head = unsafe { op.as_ref() }?;
        let is_whole = head.struct_size as usize >= size_of::<mxhal_op_dequantize>();
        if head.kind != sys::MXHAL_OP_DEQUANTIZE || !is_whole {
            return None;
        }
        // SAFETY: it is an operator of this kind, and whole.
        let mut dequantize = unsafe { op.cast::<mxhal_op_dequantize>().read() };
        if Format::from_number(dequantize.output_format).is_none() {
            dequantize.output_format = sys::MXHAL_F32;
        }
        dequantize.op.struct_size = size_of::<mxhal_op_dequantize>() as u32;
        Some(dequantize)
    }

    plans!(create, guessed);

    unsafe extern "C" fn supports(
        device: *mut mxhal_device,
        op: *const mxhal_op,
        answer: *mut mxhal_answer,
        error: *mut mxhal_error,
    ) -> i32 {
        // SAFETY: as above.
        unsafe {
            let guessed = guessed(op);
            let op = guessed.as_ref().map_or(op, |guessed| &raw const guessed.op);
            right().op_supports.expect(FILLED)(device, op, answer, error)
        }
    }

    keep(opened.table);
    opened.table.plan_create = Some(create);
    opened.table.op_supports = Some(supports);
}

/// More experts are chosen than there are: as many as there are then.
pub(crate) fn top_k_cut(opened: &mut Opened<'_>) {
    /// The operator with as many experts as can be chosen.
    unsafe fn cut(op: *const mxhal_op) -> Option<mxhal_op_route> {
        // SAFETY: the host's, by the contract null or an operator of as many bytes as it says.
        let head = unsafe { op.as_ref() }?;
        if head.kind != sys::MXHAL_OP_ROUTE || (head.struct_size as usize) < size_of::<mxhal_op_route>() {
            return None;
        }
        // SAFETY: it is an operator of this kind, and whole.
        let mut route = unsafe { op.cast::<mxhal_op_route>().read() };
        route.top_k = route.top_k.min(route.experts);
        route.op.struct_size = size_of::<mxhal_op_route>() as u32;
        Some(route)
    }

    plans!(create, cut);

    keep(opened.table);
    opened.table.plan_create = Some(create);
}

/// A tensor that the operator does not have is as good as null: where a run with it is refused, it is run without.
pub(crate) fn excluded_tensor_ignored(opened: &mut Opened<'_>) {
    unsafe extern "C" fn run(
        plan: *const mxhal_plan,
        stream: *mut mxhal_stream,
        tensors: *const *const mxhal_tensor,
        tensor_count: u32,
        weights: *const *const mxhal_weights,
        weights_count: u32,
        workspace: *mut c_void,
        workspace_bytes: u64,
        error: *mut mxhal_error,
    ) -> i32 {
        let go = |tensors: *const *const mxhal_tensor| {
            // SAFETY: handed on as it came; where tensors are others, there are as many.
            unsafe {
                right().plan_run.expect(FILLED)(
                    plan,
                    stream,
                    tensors,
                    tensor_count,
                    weights,
                    weights_count,
                    workspace,
                    workspace_bytes,
                    error,
                )
            }
        };
        let status = go(tensors);
        if status != Status::InvalidArgument as i32 || tensors.is_null() {
            return status;
        }
        // SAFETY: by the contract there are as many.
        let given = unsafe { std::slice::from_raw_parts(tensors, tensor_count as usize) };
        for place in 0..given.len() {
            let mut others = given.to_vec();
            others[place] = std::ptr::null();
            if go(others.as_ptr()) == 0 {
                return 0;
            }
        }
        go(tensors)
    }

    keep(opened.table);
    opened.table.plan_run = Some(run);
}

/// An unknown operator is refused, and nobody learns which it was.
pub(crate) fn unknown_kind_unnamed(opened: &mut Opened<'_>) {
    unsafe extern "C" fn create(
        device: *mut mxhal_device,
        op: *const mxhal_op,
        plan: *mut *mut mxhal_plan,
        error: *mut mxhal_error,
    ) -> i32 {
        // SAFETY: the host's, by the contract null or an operator's head.
        let kind = unsafe { op.as_ref() }.map_or(sys::MXHAL_OP_QUANTIZE, |head| head.kind);
        if kind == 0 || kind > sys::MXHAL_OP_MOE_FFN {
            // SAFETY: as in `refuse`.
            return unsafe { give(Err(Error::unsupported("there is no such operator")), error) };
        }
        // SAFETY: handed on as it came.
        unsafe { right().plan_create.expect(FILLED)(device, op, plan, error) }
    }
    keep(opened.table);
    opened.table.plan_create = Some(create);
}

/// A refusal without words.
pub(crate) fn error_without_message(opened: &mut Opened<'_>) {
    unsafe extern "C" fn open(
        self_: *mut c_void,
        index: u32,
        device: *mut *mut mxhal_device,
        error: *mut mxhal_error,
    ) -> i32 {
        // SAFETY: handed on as it came; a whole error was written to if the call failed.
        unsafe {
            let status = right().device_open.expect(FILLED)(self_, index, device, error);
            if status != 0 && !error.is_null() && (*error).struct_size as usize >= size_of::<mxhal_error>() {
                (*error).message[0] = 0;
            }
            status
        }
    }
    keep(opened.table);
    opened.table.device_open = Some(open);
}

/// The whole of an error is written, however short the host's is.
pub(crate) fn error_overrun(opened: &mut Opened<'_>) {
    unsafe extern "C" fn info(
        device: *mut mxhal_device,
        info: *mut mxhal_device_info,
        error: *mut mxhal_error,
    ) -> i32 {
        // SAFETY: handed on as it came. The fault: an error's size is not looked at.
        unsafe {
            let status = right().device_info.expect(FILLED)(device, info, error);
            if status != 0 && !error.is_null() {
                let whole = error_to_c(&Error::invalid("a message where there is no room for one"));
                (*error).message = whole.message;
            }
            status
        }
    }
    keep(opened.table);
    opened.table.device_info = Some(info);
}

/// The whole of a result is written, however short the host's is.
pub(crate) fn result_overrun(opened: &mut Opened<'_>) {
    unsafe extern "C" fn info(
        device: *mut mxhal_device,
        info: *mut mxhal_device_info,
        error: *mut mxhal_error,
    ) -> i32 {
        let mut whole: mxhal_device_info = empty();
        // SAFETY: handed on as it came. The fault: the result's size is not looked at.
        unsafe {
            let status = right().device_info.expect(FILLED)(device, &raw mut whole, error);
            if status == 0 && !info.is_null() {
                whole.struct_size = (*info).struct_size;
                info.write(whole);
            }
            status
        }
    }
    keep(opened.table);
    opened.table.device_info = Some(info);
}

/// There is one device, whichever is asked for.
pub(crate) fn index_ignored(opened: &mut Opened<'_>) {
    unsafe extern "C" fn open(
        self_: *mut c_void,
        _index: u32,
        device: *mut *mut mxhal_device,
        error: *mut mxhal_error,
    ) -> i32 {
        // SAFETY: handed on as it came.
        unsafe { right().device_open.expect(FILLED)(self_, 0, device, error) }
    }
    keep(opened.table);
    opened.table.device_open = Some(open);
}

/// Nothing is done with nothing.
pub(crate) fn null_accepted(opened: &mut Opened<'_>) {
    unsafe extern "C" fn record(
        event: *mut mxhal_event,
        stream: *mut mxhal_stream,
        error: *mut mxhal_error,
    ) -> i32 {
        if event.is_null() || stream.is_null() {
            return 0;
        }
        // SAFETY: handed on as it came.
        unsafe { right().event_record.expect(FILLED)(event, stream, error) }
    }
    keep(opened.table);
    opened.table.event_record = Some(record);
}

/// Whatever is asked for is there.
pub(crate) fn every_extension(opened: &mut Opened<'_>) {
    unsafe extern "C" fn extension(self_: *mut c_void, _name: *const c_char) -> *const c_void {
        self_.cast_const()
    }
    opened.table.extension = Some(extension);
}

/// A panic goes through the table, as an exception of C++ does.
pub(crate) fn unwinds(opened: &mut Opened<'_>) {
    type Elapsed<T> =
        unsafe extern "C" fn(*mut mxhal_event, *mut mxhal_event, *mut f64, *mut mxhal_error) -> T;
    unsafe extern "C-unwind" fn elapsed(
        _from: *mut mxhal_event,
        _to: *mut mxhal_event,
        _seconds: *mut f64,
        _error: *mut mxhal_error,
    ) -> i32 {
        panic!("a mutant unwinds");
    }
    // SAFETY: the two conventions are alike but for what may leave the function, which is the fault.
    let elapsed =
        unsafe { std::mem::transmute::<*const c_void, Elapsed<i32>>(elapsed as *const () as *const c_void) };
    opened.table.event_elapsed = Some(elapsed);
}

/// Why a function is there.
const FILLED: &str = "the CPU backend fills its table";

/// The table as the CPU backend filled it.
struct Right(mxhal_plugin);

// SAFETY: it is read only, and by R7 of the header its functions may be called from any thread.
unsafe impl Send for Right {}
// SAFETY: as above.
unsafe impl Sync for Right {}

static RIGHT: RwLock<Option<Right>> = RwLock::new(None);

/// Keeps the table, as far as it was filled, for the functions that replace some of it.
fn keep(table: &mxhal_plugin) {
    *RIGHT.write().expect("nobody panics while it is held") = Some(Right(*table));
}

fn right() -> mxhal_plugin {
    let right = RIGHT.read().expect("nobody panics while it is held");
    right.as_ref().expect("it was kept before its functions were replaced").0
}
