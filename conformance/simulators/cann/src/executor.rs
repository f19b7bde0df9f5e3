//! The two phases: a plan of checked operands, and its execution on a stream.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::element::Element;
use crate::memory;
use crate::refusal::{Answer, Refusal, acl, answer, code, give};
use crate::registry::Registry;
use crate::rules::{self, Rule};
use crate::runtime::{current_context, settings, stream_of};
use crate::tensor::{LISTS, ND, Tensor, tensor_of};
use crate::view::View;

/// An `aclTensor *`, `aclTensorList *` or `aclIntArray *`.
pub(crate) type Handle = *const c_void;

/// What an executor does on the device.
pub(crate) type Job = Box<dyn Fn(&Views) -> Answer + Send + Sync>;

pub(crate) static EXECUTORS: Registry<Executor> = Registry::new("an executor", 7);

/// What the first phase leaves for the second.
pub(crate) struct Executor {
    pub(crate) operator: &'static str,
    /// That of the context in which the first phase was called.
    pub(crate) device: i32,
    bindings: Vec<Binding>,
    workspace: usize,
    repeatable: AtomicBool,
    job: Arc<Job>,
}

/// A tensor in its place.
struct Binding {
    name: String,
    handle: usize,
    tensor: Arc<Tensor>,
    output: bool,
    /// Among the inputs or the outputs: counted with the absent ones, and without.
    index: [usize; 2],
    /// In its list.
    relative: usize,
    address: AtomicUsize,
}

/// The first phase, at work: each tensor that is named here becomes an operand of the executor.
pub(crate) struct Plan {
    bindings: Vec<Binding>,
    /// Parameters so far, inputs and outputs: with the absent ones, and without.
    counts: [[usize; 2]; 2],
    workspace: usize,
}

/// A checked tensor parameter.
#[derive(Clone)]
pub(crate) struct Operand {
    pub(crate) name: String,
    pub(crate) tensor: Arc<Tensor>,
    slot: usize,
}

/// The operands' elements during execution.
pub(crate) struct Views(Vec<Option<View>>);

impl Views {
    /// The operand's view. Operands without elements have none; jobs that can meet one ask with `get`.
    pub(crate) fn of(&self, operand: &Operand) -> &View {
        self.get(operand).expect("the job reads only operands that have elements")
    }

    pub(crate) fn get(&self, operand: &Operand) -> Option<&View> {
        self.0[operand.slot].as_ref()
    }
}

impl Plan {
    /// A tensor that must be there.
    pub(crate) fn input(&mut self, name: &str, handle: Handle) -> Answer<Operand> {
        self.bind(name, handle, false, 0)
    }

    pub(crate) fn output(&mut self, name: &str, handle: Handle) -> Answer<Operand> {
        self.bind(name, handle, true, 0)
    }

    pub(crate) fn optional(&mut self, name: &str, handle: Handle) -> Answer<Option<Operand>> {
        self.maybe(name, handle, false)
    }

    pub(crate) fn optional_output(&mut self, name: &str, handle: Handle) -> Answer<Option<Operand>> {
        self.maybe(name, handle, true)
    }

    /// A parameter that must be null here.
    pub(crate) fn absent(&mut self, name: &str, handle: Handle) -> Answer {
        if !handle.is_null() {
            return Err(Refusal::invalid(rules::ABSENT, format!("{name} is given, expected null")));
        }
        self.counts[0][0] += 1;
        Ok(())
    }

    /// A list with one tensor in it.
    pub(crate) fn single(&mut self, name: &str, list: Handle, output: bool) -> Answer<Operand> {
        match &mut self.list(name, list, output)?[..] {
            [one] => Ok(one.clone()),
            several => {
                let what = format!("{name} has {} tensors, expected 1", several.len());
                Err(Refusal::invalid(rules::LIST_LENGTH, what))
            }
        }
    }

    pub(crate) fn optional_single(&mut self, name: &str, list: Handle) -> Answer<Option<Operand>> {
        if list.is_null() {
            self.counts[0][0] += 1;
            return Ok(None);
        }
        self.single(name, list, false).map(Some)
    }

    /// Asks for device memory beside the operands.
    pub(crate) fn ask_for_workspace(&mut self, bytes: usize) {
        self.workspace = bytes.next_multiple_of(512);
    }

    fn list(&mut self, name: &str, list: Handle, output: bool) -> Answer<Vec<Operand>> {
        if list.is_null() {
            return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, format!("{name} is null")));
        }
        let list =
            LISTS.get(list).map_err(|what| Refusal::invalid(rules::HANDLE, format!("{name} is {what}")))?;
        let before = self.counts[usize::from(output)];
        let mut operands = Vec::new();
        for (relative, tensor) in list.tensors.iter().enumerate() {
            self.counts[usize::from(output)] = before;
            operands.push(self.bind(&format!("{name}[{relative}]"), *tensor as Handle, output, relative)?);
        }
        self.counts[usize::from(output)] = before.map(|count| count + 1);
        Ok(operands)
    }

    fn maybe(&mut self, name: &str, handle: Handle, output: bool) -> Answer<Option<Operand>> {
        if handle.is_null() {
            self.counts[usize::from(output)][0] += 1;
            return Ok(None);
        }
        self.bind(name, handle, output, 0).map(Some)
    }

    fn bind(&mut self, name: &str, handle: Handle, output: bool, relative: usize) -> Answer<Operand> {
        let tensor = tensor_of(handle, name)?;
        let count = &mut self.counts[usize::from(output)];
        let index = *count;
        *count = count.map(|count| count + 1);
        let address = tensor.address();
        if address != 0 && tensor.elements() > 0 {
            let device = current_context()?.1.device;
            memory::span(device, address, tensor.storage_bytes(), name, code::NN_PARAM_INVALID)?;
        }
        let operand = Operand { name: name.into(), tensor: Arc::clone(&tensor), slot: self.bindings.len() };
        self.bindings.push(Binding {
            name: name.into(),
            handle: handle as usize,
            tensor,
            output,
            index,
            relative,
            address: AtomicUsize::new(address),
        });
        Ok(operand)
    }
}

impl Operand {
    pub(crate) fn element(&self) -> Element {
        self.tensor.element
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    pub(crate) fn rank(&self) -> usize {
        self.tensor.shape.len()
    }

    pub(crate) fn refuse(&self, rule: &'static Rule, what: impl std::fmt::Display) -> Refusal {
        Refusal::invalid(rule, format!("{} ({}) {what}", self.name, self.tensor))
    }

    pub(crate) fn element_in(&self, elements: &[Element]) -> Answer<Element> {
        if elements.contains(&self.element()) {
            return Ok(self.element());
        }
        let names: Vec<_> = elements.iter().map(ToString::to_string).collect();
        Err(self
            .refuse(rules::DTYPE, format!("is of type {}, expected {}", self.element(), names.join(" or "))))
    }

    pub(crate) fn rank_in(&self, ranks: std::ops::RangeInclusive<usize>) -> Answer {
        if ranks.contains(&self.rank()) {
            return Ok(());
        }
        let what = format!("has {} dimensions, expected {} to {}", self.rank(), ranks.start(), ranks.end());
        Err(self.refuse(rules::RANK, what))
    }

    /// The shape of `rank` dimensions.
    pub(crate) fn dims<const RANK: usize>(&self) -> Answer<[usize; RANK]> {
        self.rank_in(RANK..=RANK)?;
        Ok(self.shape().try_into().expect("the rank was checked"))
    }

    pub(crate) fn shape_is(&self, shape: &[usize]) -> Answer {
        self.shape_by(rules::SHAPE, shape)
    }

    /// As `shape_is`, with the rule to name. Half of the last dimension of an FP4 tensor is a mistake of its own.
    pub(crate) fn shape_by(&self, rule: &'static Rule, shape: &[usize]) -> Answer {
        if self.shape() == shape {
            return Ok(());
        }
        let mut doubled = self.shape().to_vec();
        if let Some(last) = doubled.last_mut() {
            *last *= 2;
        }
        let rule = if self.element().is_fp4() && doubled == shape { rules::FP4_ELEMENTS } else { rule };
        Err(self.refuse(rule, format!("has shape {:?}, expected {shape:?}", self.shape())))
    }

    /// Row-major and of no special format.
    pub(crate) fn is_plain(&self) -> Answer {
        self.is_nd()?;
        if self.tensor.is_contiguous() {
            return Ok(());
        }
        Err(self.refuse(
            rules::STRIDES,
            format!("has strides {:?}, expected contiguous ones", self.tensor.strides),
        ))
    }

    pub(crate) fn is_nd(&self) -> Answer {
        if self.tensor.format == ND {
            return Ok(());
        }
        Err(self.refuse(rules::FORMAT, format!("has format {}, expected ND ({ND})", self.tensor.format)))
    }
}

/// Refuses a parameter out of its range.
pub(crate) fn parameter(holds: bool, what: impl FnOnce() -> String) -> Answer {
    if holds { Ok(()) } else { Err(Refusal::invalid(rules::PARAMETER, what())) }
}

/// The first phase of an operator; `mx` if only Ascend 950 has it.
pub(crate) fn plan(
    operator: &'static str,
    function: &str,
    mx: bool,
    (workspace, executor): (*mut u64, *mut *mut c_void),
    build: impl FnOnce(&mut Plan) -> Answer<Job>,
) -> i32 {
    answer(function, || {
        if workspace.is_null() || executor.is_null() {
            let what = "workspaceSize or executor is null";
            return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, what));
        }
        let device = current_context()?.1.device;
        let product = settings()?.product;
        if mx && !product.has_mx() {
            let what = format!("the SoC is {}, expected Ascend950PR or Ascend950DT", product.soc);
            return Err(Refusal::new(code::NN_RUNTIME_ERROR, rules::PLATFORM, what));
        }
        let mut plan = Plan { bindings: Vec::new(), counts: [[0; 2]; 2], workspace: 0 };
        let job = Arc::new(build(&mut plan)?);
        give(workspace, "workspaceSize", plan.workspace as u64)?;
        let repeatable = AtomicBool::new(false);
        let Plan { bindings, workspace, .. } = plan;
        give(
            executor,
            "executor",
            EXECUTORS.insert(Executor { operator, device, bindings, workspace, repeatable, job }),
        )
    })
}

/// The second phase of an operator.
pub(crate) fn launch(
    operator: &'static str,
    (workspace, size): (*mut c_void, u64),
    executor: *mut c_void,
    stream: *mut c_void,
) -> i32 {
    answer(operator, || {
        let stream = stream_of(stream)?;
        if executor.is_null() {
            return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, "executor is null"));
        }
        let object = EXECUTORS.get(executor).map_err(|what| {
            let rule = if what.contains("destroyed") { rules::EXECUTOR_ONCE } else { rules::HANDLE };
            Refusal::invalid(rule, format!("executor is {what}"))
        })?;
        if object.operator != operator {
            let what = format!("executor {executor:p} is of {}", object.operator);
            return Err(Refusal::invalid(rules::EXECUTOR_MATCH, what));
        }
        // One that runs once is gone from here on, whatever comes of it.
        if !object.repeatable.load(Ordering::Relaxed) {
            let _ = EXECUTORS.remove(executor);
        }

        let scratch = object.workspace_at(workspace, size, stream.device)?;
        let views = object.views(stream.device)?;
        let job = Arc::clone(&object.job);
        stream.enqueue(operator, move || {
            if let Some(scratch) = scratch {
                // An operator may leave anything there.
                scratch.fill(0xA5);
            }
            job(&views)
        });
        Ok(())
    })
}

impl Executor {
    fn workspace_at(&self, workspace: *mut c_void, size: u64, device: i32) -> Answer<Option<memory::Span>> {
        if size < self.workspace as u64 {
            let what = format!("workspaceSize is {size}, the first phase asked for {}", self.workspace);
            return Err(Refusal::invalid(rules::WORKSPACE, what));
        }
        if self.workspace == 0 {
            return Ok(None);
        }
        let span =
            memory::span(device, workspace as usize, self.workspace, "workspace", code::NN_PARAM_INVALID);
        span.map(Some).map_err(|refusal| match refusal.rule == rules::BOUNDS || workspace.is_null() {
            true => Refusal { rule: rules::WORKSPACE, ..refusal },
            false => refusal,
        })
    }

    fn views(&self, device: i32) -> Answer<Views> {
        let views = self.bindings.iter().map(|binding| {
            let Binding { name, tensor, .. } = binding;
            tensor_of(binding.handle as Handle, name)
                .map_err(|refusal| Refusal { rule: rules::TENSOR_LIVES, ..refusal })?;
            if tensor.elements() == 0 {
                return Ok(None);
            }
            let address = binding.address.load(Ordering::Relaxed);
            let span = memory::span(device, address, tensor.storage_bytes(), name, code::NN_PARAM_INVALID)?;
            Ok(Some(View::new(Arc::clone(tensor), span)))
        });
        views.collect::<Answer<_>>().map(Views)
    }
}

fn executor_of(executor: Handle) -> Answer<Arc<Executor>> {
    if executor.is_null() {
        return Err(Refusal::new(code::NN_PARAM_NULLPTR, rules::NULL, "executor is null"));
    }
    EXECUTORS.get(executor).map_err(|what| Refusal::invalid(rules::HANDLE, format!("executor is {what}")))
}

/// Which operands an address setter means.
enum Among {
    Inputs,
    Outputs,
    All,
}

/// Gives an operand of a repeatable executor another address. Whether the index counts absent optional parameters
/// is not documented: both are accepted, as long as the tensor is the one that stands there.
fn set_address(
    executor: Handle,
    among: &Among,
    (index, relative): (usize, usize),
    tensors: &[usize],
    address: *mut c_void,
) -> Answer {
    let executor = executor_of(executor)?;
    if !executor.repeatable.load(Ordering::Relaxed) {
        return Err(Refusal::invalid(rules::EXECUTOR_REPEATABLE, "the executor is not repeatable"));
    }
    Tensor::check_address(address as usize)?;
    let inputs = executor.bindings.iter().filter(|binding| !binding.output).count();
    let binding = executor.bindings.iter().enumerate().find(|(place, binding)| {
        let here = match among {
            Among::Inputs => !binding.output && binding.index.contains(&index),
            Among::Outputs => binding.output && binding.index.contains(&index),
            Among::All => *place == index || binding.output && *place - inputs == index,
        };
        here && tensors.contains(&binding.handle) && binding.relative == relative
    });
    let Some((_, binding)) = binding else {
        let what = format!("index {index} of {} is not the tensor given", executor.operator);
        return Err(Refusal::invalid(rules::PARAMETER, what));
    };
    binding.address.store(address as usize, Ordering::Relaxed);
    Ok(())
}

fn set_in_list(
    executor: Handle,
    among: &Among,
    at: (usize, usize),
    list: Handle,
    address: *mut c_void,
) -> Answer {
    let list =
        LISTS.get(list).map_err(|what| Refusal::invalid(rules::HANDLE, format!("tensors is {what}")))?;
    set_address(executor, among, at, &list.tensors, address)
}

acl! {
    fn aclSetAclOpExecutorRepeatable(executor: *mut c_void) {
        executor_of(executor)?.repeatable.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn aclDestroyAclOpExecutor(executor: *mut c_void) {
        if !executor_of(executor)?.repeatable.load(Ordering::Relaxed) {
            return Err(Refusal::invalid(rules::EXECUTOR_REPEATABLE, format!("executor {executor:p} is not repeatable")));
        }
        let _ = EXECUTORS.remove(executor);
        Ok(())
    }
}

/// Both spellings of the address setters.
macro_rules! setters {
    ($($among:ident: $one:ident $one_twin:ident $of_list:ident $of_list_twin:ident;)*) => {
        acl! {$(
            fn $one(executor: *mut c_void, index: usize, tensor: *mut c_void, address: *mut c_void) {
                set_address(executor, &Among::$among, (index, 0), &[tensor as usize], address)
            }
            fn $one_twin(executor: *mut c_void, index: usize, tensor: *mut c_void, address: *mut c_void) {
                set_address(executor, &Among::$among, (index, 0), &[tensor as usize], address)
            }
            fn $of_list(executor: *mut c_void, index: usize, relative: usize, tensors: *mut c_void, address: *mut c_void) {
                set_in_list(executor, &Among::$among, (index, relative), tensors, address)
            }
            fn $of_list_twin(executor: *mut c_void, index: usize, relative: usize, tensors: *mut c_void, address: *mut c_void) {
                set_in_list(executor, &Among::$among, (index, relative), tensors, address)
            }
        )*}
    };
}

setters! {
    Inputs: aclSetInputTensorAddr AclSetInputTensorAddr aclSetDynamicInputTensorAddr AclSetDynamicInputTensorAddr;
    Outputs: aclSetOutputTensorAddr AclSetOutputTensorAddr aclSetDynamicOutputTensorAddr AclSetDynamicOutputTensorAddr;
    All: aclSetTensorAddr AclSetTensorAddr aclSetDynamicTensorAddr AclSetDynamicTensorAddr;
}

/// Declares operators: both phases, on which products, and the function that checks and computes.
macro_rules! operators {
    ($($two:ident $one:ident $mx:ident ($($arg:ident: $type:ty),* $(,)?) => $build:expr;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $one($($arg: $type,)* workspace: *mut u64, executor: *mut *mut std::ffi::c_void) -> i32 {
            let (operator, function) = (stringify!($two), stringify!($one));
            $crate::executor::plan(operator, function, $crate::executor::$mx, (workspace, executor), $build)
        }

        #[unsafe(no_mangle)]
        extern "C" fn $two(
            workspace: *mut std::ffi::c_void, size: u64, executor: *mut std::ffi::c_void, stream: *mut std::ffi::c_void,
        ) -> i32 {
            $crate::executor::launch(stringify!($two), (workspace, size), executor, stream)
        }
    )*};
}
pub(crate) use operators;

/// Offered on Ascend 950 only.
pub(crate) const MX: bool = true;
/// Offered on the older products as well.
pub(crate) const ANY: bool = false;
