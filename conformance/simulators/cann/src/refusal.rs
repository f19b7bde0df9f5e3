//! How a call ends: a code, and a message that `aclGetRecentErrMsg` gives once.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use crate::demand;
use crate::rules::{self, Rule};

/// Codes of AscendCL and of aclnn (`acl_base.h`, `rt_error_codes.h` and `op_errno.h`, by number).
pub(crate) mod code {
    pub(crate) const INVALID_PARAM: i32 = 100_000;
    pub(crate) const UNINITIALIZE: i32 = 100_001;
    pub(crate) const REPEAT_INITIALIZE: i32 = 100_002;
    pub(crate) const INVALID_FILE: i32 = 100_003;
    pub(crate) const REPEAT_FINALIZE: i32 = 100_037;
    pub(crate) const INTERNAL_ERROR: i32 = 500_000;
    pub(crate) const RT_PARAM_INVALID: i32 = 107_000;
    pub(crate) const RT_INVALID_DEVICE: i32 = 107_001;
    pub(crate) const RT_CONTEXT_NULL: i32 = 107_002;
    pub(crate) const RT_STREAM_CONTEXT: i32 = 107_003;
    pub(crate) const RT_INVALID_MALLOC_TYPE: i32 = 107_018;
    pub(crate) const RT_INVALID_HANDLE: i32 = 107_017;
    pub(crate) const RT_WAIT_TIMEOUT: i32 = 107_019;
    pub(crate) const RT_MEMORY_ALLOCATION: i32 = 207_001;
    pub(crate) const RT_AICORE_EXCEPTION: i32 = 507_015;
    pub(crate) const RT_KERNEL_LOOKUP: i32 = 507_027;
    pub(crate) const RT_VECTOR_CORE_EXCEPTION: i32 = 507_035;
    pub(crate) const RT_STREAM_SYNC_TIMEOUT: i32 = 507_046;
    pub(crate) const NN_PARAM_NULLPTR: i32 = 161_001;
    pub(crate) const NN_PARAM_INVALID: i32 = 161_002;
    pub(crate) const NN_RUNTIME_ERROR: i32 = 361_001;
    pub(crate) const NN_INNER: i32 = 561_000;
}

/// A call that is refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: i32,
    pub(crate) rule: &'static Rule,
    /// What was seen where, and what was expected.
    pub(crate) what: String,
}

pub(crate) type Answer<T = ()> = Result<T, Refusal>;

impl Refusal {
    pub(crate) fn new(code: i32, rule: &'static Rule, what: impl Into<String>) -> Self {
        Self { code, rule, what: what.into() }
    }

    /// For an aclnn parameter: 161002.
    pub(crate) fn invalid(rule: &'static Rule, what: impl Into<String>) -> Self {
        Self::new(code::NN_PARAM_INVALID, rule, what)
    }

    fn message(&self, function: &str) -> String {
        let Rule { id, text, source } = self.rule;
        format!("[{id}] {function}: {}; the rule: {text} ({source})", self.what)
    }
}

/// Runs the body of a C function: failures on demand first, then the body; the message is kept for the thread.
pub(crate) fn answer(function: &str, body: impl FnOnce() -> Answer) -> i32 {
    let outcome = demand::failure_of(function).and_then(|()| run(body));
    match outcome {
        Ok(()) => 0,
        Err(refusal) => {
            let code = refusal.code;
            note(function, &refusal);
            code
        }
    }
}

/// As [`answer`], for a function that gives a pointer: null when it is refused.
pub(crate) fn answer_pointer<T>(function: &str, body: impl FnOnce() -> Answer<*mut T>) -> *mut T {
    match demand::failure_of(function).and_then(|()| run(body)) {
        Ok(pointer) => pointer,
        Err(refusal) => {
            note(function, &refusal);
            ptr::null_mut()
        }
    }
}

/// Keeps a message for the calling thread, and writes it to `MXHAL_SIM_REPORT`.
pub(crate) fn note(function: &str, refusal: &Refusal) {
    let message = refusal.message(function);
    LAST_ERROR.set(refusal.code);
    report(refusal.code, &message);
    let text = CString::new(message.replace('\0', " ")).expect("the zeros are replaced");
    PENDING.with_borrow_mut(|pending| *pending = Some(text));
}

/// Appends a code and its message to the file that `MXHAL_SIM_REPORT` names, if there is one.
fn report(code: i32, message: &str) {
    let Some(path) = std::env::var_os("MXHAL_SIM_REPORT") else { return };
    // A report that cannot be written must not become an error of the simulated driver.
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(format!("{code} {}\n", message.replace('\n', " ")).as_bytes());
    }
}

thread_local! {
    /// The message that nobody has asked for yet.
    static PENDING: RefCell<Option<CString>> = const { RefCell::new(None) };
    /// The message that was given last; its pointer stays valid until the next is given.
    static GIVEN: RefCell<Option<CString>> = const { RefCell::new(None) };
    static LAST_ERROR: std::cell::Cell<i32> = const { std::cell::Cell::new(0) };
}

#[unsafe(no_mangle)]
extern "C" fn aclGetRecentErrMsg() -> *const c_char {
    let Some(message) = PENDING.take() else { return ptr::null() };
    GIVEN.with_borrow_mut(|given| given.insert(message).as_ptr())
}

/// The thread's last error, and forgets it. There is one level, the thread's (0).
#[unsafe(no_mangle)]
extern "C" fn aclrtGetLastError(_level: i32) -> i32 {
    LAST_ERROR.replace(0)
}

#[unsafe(no_mangle)]
extern "C" fn aclrtPeekAtLastError(_level: i32) -> i32 {
    LAST_ERROR.get()
}

/// Defines C functions whose bodies give an [`Answer`].
macro_rules! acl {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block)*) => {$(
        $(#[$doc])*
        #[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $type),*) -> i32 {
            $crate::refusal::answer(stringify!($name), move || $body)
        }
    )*};
}
pub(crate) use acl;

/// Stores a result where the caller wants it.
pub(crate) fn give<T>(place: *mut T, argument: &str, value: T) -> Answer {
    if place.is_null() {
        return Err(Refusal::new(code::INVALID_PARAM, rules::NULL, format!("{argument} is null")));
    }
    // SAFETY: not null; that it points to a T is what the C declaration asks of the caller.
    unsafe { place.write(value) };
    Ok(())
}

fn run<T>(body: impl FnOnce() -> Answer<T>) -> Answer<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Refusal::new(code::NN_INNER, rules::INTERNAL, what.unwrap_or_else(|| "a panic".into())))
    })
}
