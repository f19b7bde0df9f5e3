//! Operators with their arguments, ready to run.

use core::ffi::c_void;
use core::{fmt, ptr};

use super::{Context, DeviceBuffer, IntArray, Stream, TensorList, TensorView, report};
use crate::error::{Error, Result};
use crate::sys;

/// The second function of an operator.
pub(super) type Run = unsafe extern "C" fn(
    workspace: *mut c_void,
    workspace_bytes: u64,
    executor: *mut sys::aclOpExecutor,
    stream: sys::aclrtStream,
) -> sys::aclnnStatus;

/// What an executor refers to, and so keeps alive.
pub(super) enum Held {
    Tensor(TensorView),
    List(TensorList),
    Ints(#[expect(dead_code, reason = "kept alive")] IntArray),
}

/// An operator with its arguments, to be run once: CANN destroys it when it runs.
pub struct Executor(Inner);

struct Inner {
    context: Context,
    function: &'static str,
    run: Run,
    /// Null once CANN has taken it.
    handle: *mut sys::aclOpExecutor,
    repeatable: bool,
    workspace_bytes: u64,
    /// Tensors and lists in the order of the parameters, the absent ones left out.
    held: Vec<Held>,
}

// SAFETY: an executor is used from one thread at a time, which has its context set.
unsafe impl Send for Inner {}

impl Executor {
    /// What the first function of an operator answered, as an executor.
    pub(super) fn new(
        context: &Context,
        functions: (&'static str, &'static str, Run),
        held: Vec<Held>,
        code: sys::aclnnStatus,
        workspace_bytes: u64,
        handle: *mut sys::aclOpExecutor,
    ) -> Result<Self> {
        let (prepare, function, run) = functions;
        context.library().check(prepare, code)?;
        if handle.is_null() {
            return Err(Error::Null {
                function: prepare,
                recent_message: context.library().acl_get_recent_err_msg(),
            });
        }
        Ok(Self(Inner {
            context: context.clone(),
            function,
            run,
            handle,
            repeatable: false,
            workspace_bytes,
            held,
        }))
    }

    /// The function that runs it, such as `aclnnQuantMatmulV5`.
    pub fn function(&self) -> &'static str {
        self.0.function
    }

    /// The bytes of workspace that it wants.
    pub fn workspace_bytes(&self) -> u64 {
        self.0.workspace_bytes
    }

    /// Enqueues it. The workspace may be null where none is wanted.
    ///
    /// # Errors
    ///
    /// The workspace is smaller than wanted, or what the operator answers.
    ///
    /// # Safety
    ///
    /// So many bytes of workspace, and the memory of the tensors, are memory of the device that stays alive until the
    /// stream has done it, and nobody else touches what it writes.
    pub unsafe fn run(mut self, stream: &Stream, workspace: *mut c_void, bytes: u64) -> Result<()> {
        // SAFETY: as the caller promises.
        unsafe { self.0.run(stream, workspace, bytes) }
    }

    /// Runs it with a workspace of its own, and waits until the stream has done it.
    ///
    /// # Errors
    ///
    /// There is no memory for the workspace; what the operator answers; the failure of something on the stream.
    pub fn run_and_wait(mut self, stream: &Stream) -> Result<()> {
        self.0.run_and_wait(stream)
    }

    /// The same operator, to be run often.
    ///
    /// # Errors
    ///
    /// What `aclSetAclOpExecutorRepeatable` answers; not every operator can.
    pub fn into_repeatable(self) -> Result<RepeatableExecutor> {
        self.try_into_repeatable().map_err(|refused| refused.0)
    }

    /// The same operator, to be run often; or, where it cannot, itself, to be run once.
    ///
    /// # Errors
    ///
    /// What `aclSetAclOpExecutorRepeatable` answers, with the executor.
    pub fn try_into_repeatable(mut self) -> Result<RepeatableExecutor, Box<(Error, Self)>> {
        match self.0.make_repeatable() {
            Ok(()) => Ok(RepeatableExecutor(self.0)),
            Err(error) => Err(Box::new((error, self))),
        }
    }
}

/// An operator with its arguments, to be run as often as wanted, on other memory each time.
pub struct RepeatableExecutor(Inner);

impl RepeatableExecutor {
    /// The function that runs it, such as `aclnnQuantMatmulV5`.
    pub fn function(&self) -> &'static str {
        self.0.function
    }

    /// The bytes of workspace that it wants.
    pub fn workspace_bytes(&self) -> u64 {
        self.0.workspace_bytes
    }

    /// Enqueues it. The workspace may be null where none is wanted.
    ///
    /// # Errors
    ///
    /// The workspace is smaller than wanted, or what the operator answers.
    ///
    /// # Safety
    ///
    /// So many bytes of workspace, and the memory of the tensors, are memory of the device that stays alive until the
    /// stream has done it, and nobody else touches what it writes. The executor stays alive as long.
    pub unsafe fn run(&mut self, stream: &Stream, workspace: *mut c_void, bytes: u64) -> Result<()> {
        // SAFETY: as the caller promises.
        unsafe { self.0.run(stream, workspace, bytes) }
    }

    /// Runs it with a workspace of its own, and waits until the stream has done it.
    ///
    /// # Errors
    ///
    /// There is no memory for the workspace; what the operator answers; the failure of something on the stream.
    pub fn run_and_wait(&mut self, stream: &Stream) -> Result<()> {
        self.0.run_and_wait(stream)
    }
}

impl RepeatableExecutor {
    /// Gives every tensor other memory: what `place` answers for where it was when it was made.
    ///
    /// Tensors are counted among all, in the order of the operator's parameters, absent ones left out; a list counts as
    /// one. CANN does not document that.
    ///
    /// # Errors
    ///
    /// Those of [`Self::set_address`]. Some tensors have other memory then, and some do not.
    ///
    /// # Safety
    ///
    /// As for [`Self::set_address`], for each address.
    pub unsafe fn relocate(&mut self, place: impl FnMut(*mut c_void) -> *mut c_void) -> Result<()> {
        let held = core::mem::take(&mut self.0.held);
        // SAFETY: as the caller promises.
        let outcome = unsafe { self.relocate_all(&held, place) };
        self.0.held = held;
        outcome
    }

    /// # Safety
    ///
    /// As for [`Self::relocate`].
    unsafe fn relocate_all(
        &mut self,
        held: &[Held],
        mut place: impl FnMut(*mut c_void) -> *mut c_void,
    ) -> Result<()> {
        let mut index = 0;
        for argument in held {
            match argument {
                Held::Tensor(tensor) => {
                    // SAFETY: as the caller promises.
                    unsafe { self.set_address(index, tensor, place(tensor.pointer())) }?;
                }
                Held::List(list) => {
                    for (relative, pointer) in list.pointers().enumerate() {
                        // SAFETY: as the caller promises.
                        unsafe { self.set_list_address(index, relative, list, place(pointer)) }?;
                    }
                }
                // Numbers have no memory of the device's.
                Held::Ints(_) => continue,
            }
            index += 1;
        }
        Ok(())
    }
}

macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident($($index:ident),+; $what:ident: $type:ty) = $function:ident;)+) => {
        impl RepeatableExecutor {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                ///
                /// The address is not aligned to 32, or what CANN answers, such as that there is no such tensor.
                ///
                /// # Safety
                ///
                /// It is memory of the device, as much as the storage of the tensor takes, that is alive whenever the executor
                /// runs, until addresses are set again.
                pub unsafe fn $name(&mut self, $($index: usize,)+ $what: &$type, address: *mut c_void) -> Result<()> {
                    aligned(address)?;
                    let _current = self.0.context.enter()?;
                    let library = self.0.context.library();
                    // SAFETY: executor and tensor are alive; the address is as the caller promises.
                    unsafe { library.$function(self.0.handle, $($index,)+ $what.handle(), address) }
                }
            )+
        }
    };
}

addresses! {
    /// New memory for the input tensor at this place among the inputs.
    set_input_address(index; tensor: TensorView) = acl_set_input_tensor_addr;
    /// New memory for the output tensor at this place among the outputs.
    set_output_address(index; tensor: TensorView) = acl_set_output_tensor_addr;
    /// New memory for the tensor at this place among all.
    set_address(index; tensor: TensorView) = acl_set_tensor_addr;
    /// New memory for a tensor of the input list at this place among the inputs.
    set_input_list_address(index, relative_index; list: TensorList) = acl_set_dynamic_input_tensor_addr;
    /// New memory for a tensor of the output list at this place among the outputs.
    set_output_list_address(index, relative_index; list: TensorList) = acl_set_dynamic_output_tensor_addr;
    /// New memory for a tensor of the list at this place among all.
    set_list_address(index, relative_index; list: TensorList) = acl_set_dynamic_tensor_addr;
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(f, "Executor")
    }
}

impl fmt::Debug for RepeatableExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(f, "RepeatableExecutor")
    }
}

impl Inner {
    /// # Safety
    ///
    /// As for [`Executor::run`].
    unsafe fn run(&mut self, stream: &Stream, workspace: *mut c_void, bytes: u64) -> Result<()> {
        let wanted = self.workspace_bytes;
        if bytes < wanted || (wanted > 0 && workspace.is_null()) {
            let function = self.function;
            return Err(Error::InvalidArgument(format!(
                "{function} wants {wanted} bytes of workspace, but was given {bytes} at {workspace:p}"
            )));
        }
        let _current = self.context.enter()?;
        let handle = self.handle;
        if !self.repeatable {
            // Also when it fails: CANN has it by then.
            self.handle = ptr::null_mut();
        }
        // SAFETY: the executor is alive; one that runs once is not touched again. The rest is the caller's promise.
        let code = unsafe { (self.run)(workspace, bytes, handle, stream.handle()) };
        self.context.library().check(self.function, code)
    }

    fn run_and_wait(&mut self, stream: &Stream) -> Result<()> {
        let bytes = self.workspace_bytes;
        let workspace = match usize::try_from(bytes) {
            Ok(0) => None,
            Ok(bytes) => Some(DeviceBuffer::new(&self.context, bytes)?),
            Err(_) => {
                let function = self.function;
                return Err(Error::InvalidArgument(format!(
                    "{function} wants {bytes} bytes of workspace, too many"
                )));
            }
        };
        let pointer = workspace.as_ref().map_or(ptr::null_mut(), DeviceBuffer::pointer);
        // SAFETY: workspace and tensors live until the stream is done, below.
        unsafe { self.run(stream, pointer, bytes) }?;
        stream.synchronize()
    }

    fn make_repeatable(&mut self) -> Result<()> {
        // SAFETY: the executor is alive, and was not run.
        unsafe { self.context.library().acl_set_acl_op_executor_repeatable(self.handle) }?;
        self.repeatable = true;
        Ok(())
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name)
            .field("function", &self.function)
            .field("workspace_bytes", &self.workspace_bytes)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.handle.is_null() {
            return;
        }
        // One that was never run is still ours, but only a repeatable one may be destroyed by its caller.
        let outcome = if self.repeatable { Ok(()) } else { self.make_repeatable() };
        report(outcome.and_then(|()| {
            // SAFETY: alive, repeatable, and not touched again.
            unsafe { self.context.library().acl_destroy_acl_op_executor(self.handle) }
        }));
    }
}

/// What an operator is passed: a tensor or list, which the executor then holds on to, or a number.
pub(super) trait Argument {
    /// What the C function takes.
    type Passed;

    fn pass(self, held: &mut Vec<Held>) -> Self::Passed;
}

macro_rules! held {
    ($($type:ident => $passed:ident, $held:ident;)+) => {$(
        impl Argument for &$type {
            type Passed = *mut sys::$passed;

            fn pass(self, held: &mut Vec<Held>) -> Self::Passed {
                held.push(Held::$held(self.clone()));
                self.handle()
            }
        }

        /// Null for none.
        impl Argument for Option<&$type> {
            type Passed = *mut sys::$passed;

            fn pass(self, held: &mut Vec<Held>) -> Self::Passed {
                self.map_or(ptr::null_mut(), |argument| argument.pass(held))
            }
        }
    )+};
}

held! {
    TensorView => aclTensor, Tensor;
    TensorList => aclTensorList, List;
    IntArray => aclIntArray, Ints;
}

macro_rules! numbers {
    ($($type:ty)+) => {$(
        impl Argument for $type {
            type Passed = Self;

            fn pass(self, _: &mut Vec<Held>) -> Self {
                self
            }
        }
    )+};
}

numbers! { i32 i64 f64 bool }

impl Argument for &'static core::ffi::CStr {
    type Passed = *mut core::ffi::c_char;

    /// Some are not declared const, but none is written to.
    fn pass(self, _: &mut Vec<Held>) -> Self::Passed {
        self.as_ptr().cast_mut()
    }
}

fn aligned(address: *mut c_void) -> Result<()> {
    if !address.addr().is_multiple_of(32) {
        return Err(Error::InvalidArgument(format!(
            "a tensor at {address:p}: CANN wants its memory aligned to 32"
        )));
    }
    Ok(())
}
