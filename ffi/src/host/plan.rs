//! Plans and weights over the table.

use std::any::Any;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use mxhal_core::op::{MAX_ARGUMENTS, MAX_WEIGHTS, Signature};
use mxhal_core::{
    Error, HostBuffer, HostTensor, Op, Plan, PlanInfo, Result, Span, Stream, Tensor, Weights, WeightsDesc,
};

use super::device::OpenDevice;
use super::foreign;
use super::stream::PluginStream;
use crate::checks::check_workspace;
use crate::convert::{
    RawOp, empty, host_tensor_to_c, plan_info_from_c, pointer, tensor_to_c, weights_desc_from_c,
    weights_desc_to_c,
};
use crate::sys::{mxhal_plan, mxhal_plan_info, mxhal_tensor, mxhal_weights, mxhal_weights_info};

/// A plan that a plugin made.
pub(super) struct PluginPlan {
    device: Arc<OpenDevice>,
    handle: NonNull<mxhal_plan>,
    signature: Signature,
    info: PlanInfo,
}

// SAFETY: by R7 plans are immutable and may be used by many threads at once.
unsafe impl Send for PluginPlan {}
// SAFETY: as above.
unsafe impl Sync for PluginPlan {}

impl PluginPlan {
    /// `op` validates.
    pub(super) fn new(device: &Arc<OpenDevice>, op: &Op) -> Result<Self> {
        let raw = RawOp::new(op)?;
        let handle = device.create("plan_create", |f, device, plan, error| {
            // SAFETY: the device is open, and the operator knows its size.
            unsafe { (f.plan_create)(device, raw.as_ptr(), plan, error) }
        })?;
        // From here on it is destroyed, whatever else fails.
        let mut plan =
            Self { device: Arc::clone(device), handle, signature: op.signature(), info: PlanInfo::default() };
        let mut info: mxhal_plan_info = empty();
        device.loaded.call("plan_info", |f, error| {
            // SAFETY: the plan lives, and the struct knows its size.
            unsafe { (f.plan_info)(handle.as_ptr(), &raw mut info, error) }
        })?;
        plan.info = plan_info_from_c(&info);
        Ok(plan)
    }
}

impl Drop for PluginPlan {
    fn drop(&mut self) {
        // SAFETY: the plan was created and not destroyed before.
        self.device
            .loaded
            .destroy("plan_destroy", |f, error| unsafe { (f.plan_destroy)(self.handle.as_ptr(), error) });
    }
}

impl Plan for PluginPlan {
    fn info(&self) -> &PlanInfo {
        &self.info
    }

    fn run(
        &self,
        stream: &dyn Stream,
        tensors: &[Option<Tensor>],
        weights: &[&dyn Weights],
        workspace: Span,
    ) -> Result<()> {
        let within = |error: Error| error.within(self.signature.kind());
        let stream = PluginStream::of(stream, &self.device).map_err(within)?;
        self.signature.check(tensors)?;
        self.signature.check_weights(weights.iter().map(|weights| weights.desc()))?;
        check_workspace(self.info.workspace_bytes, workspace).map_err(within)?;

        // On the stack: a run allocates nothing.
        let mut handles = [ptr::null(); MAX_WEIGHTS];
        for (handle, weights) in handles.iter_mut().zip(weights) {
            *handle = self.handle_of(*weights).map_err(within)?;
        }
        let mut values = [const { MaybeUninit::<mxhal_tensor>::uninit() }; MAX_ARGUMENTS];
        let mut pointers = [ptr::null(); MAX_ARGUMENTS];
        for ((tensor, value), pointer) in tensors.iter().zip(&mut values).zip(&mut pointers) {
            if let Some(tensor) = tensor {
                *pointer = ptr::from_ref(value.write(tensor_to_c(tensor)));
            }
        }
        self.device.loaded.call("plan_run", |f, error| {
            // SAFETY: plan, stream and weights live and are of the same device; the lists have as many entries as is
            // said, and live during the call.
            unsafe {
                (f.plan_run)(
                    self.handle.as_ptr(),
                    stream,
                    pointers.as_ptr(),
                    tensors.len() as u32,
                    handles.as_ptr(),
                    weights.len() as u32,
                    pointer(workspace.address),
                    workspace.bytes,
                    error,
                )
            }
        })
    }
}

impl PluginPlan {
    fn handle_of(&self, weights: &dyn Weights) -> Result<*const mxhal_weights> {
        match (weights as &dyn Any).downcast_ref::<PluginWeights>() {
            Some(weights) if Arc::ptr_eq(&weights.device, &self.device) => {
                Ok(weights.handle.as_ptr().cast_const())
            }
            _ => Err(foreign("prepared weight")),
        }
    }
}

/// Weights that a plugin prepared.
pub(super) struct PluginWeights {
    device: Arc<OpenDevice>,
    handle: NonNull<mxhal_weights>,
    desc: WeightsDesc,
    bytes: u64,
}

// SAFETY: by R7 weights are immutable and may be used by many threads at once.
unsafe impl Send for PluginWeights {}
// SAFETY: as above.
unsafe impl Sync for PluginWeights {}

impl PluginWeights {
    /// `parts` stack as the description says.
    pub(super) fn prepare(
        device: &Arc<OpenDevice>,
        desc: &WeightsDesc,
        parts: &[HostTensor<'_>],
    ) -> Result<Self> {
        let raw = weights_desc_to_c(desc)?;
        let values: Vec<mxhal_tensor> = parts.iter().map(host_tensor_to_c).collect();
        let pointers: Vec<*const mxhal_tensor> = values.iter().map(ptr::from_ref).collect();
        let count = u32::try_from(parts.len())
            .map_err(|_| Error::invalid(format!("{} parts are more than can be passed", parts.len())))?;
        let handle = device.create("weights_prepare", |f, device, weights, error| {
            // SAFETY: the device is open, the structs know their sizes, and the parts live during the call.
            unsafe { (f.weights_prepare)(device, &raw const raw, pointers.as_ptr(), count, weights, error) }
        })?;
        let mut weights = Self { device: Arc::clone(device), handle, desc: *desc, bytes: 0 };
        let mut info: mxhal_weights_info = empty();
        info.desc = empty();
        device.loaded.call("weights_info", |f, error| {
            // SAFETY: the weights live, and the struct knows its size.
            unsafe { (f.weights_info)(handle.as_ptr(), &raw mut info, error) }
        })?;
        let said = weights_desc_from_c(&info.desc).map_err(|error| {
            Error::internal(format!("weights_info gave a description that is none: {error}"))
        })?;
        if said != *desc {
            return Err(Error::internal(format!(
                "weights_info says {said:?} of weights that were prepared as {desc:?}"
            )));
        }
        weights.bytes = info.bytes;
        Ok(weights)
    }
}

impl Drop for PluginWeights {
    fn drop(&mut self) {
        // SAFETY: the weights were prepared and not destroyed before.
        self.device.loaded.destroy("weights_destroy", |f, error| unsafe {
            (f.weights_destroy)(self.handle.as_ptr(), error)
        });
    }
}

impl Weights for PluginWeights {
    fn desc(&self) -> &WeightsDesc {
        &self.desc
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn export(&self) -> Result<HostBuffer> {
        let mut buffer = HostBuffer::zeroed(self.desc.layout()?);
        let mut to = host_tensor_to_c(&buffer.view()?);
        // The addresses again, this time to write to.
        let place = |bytes: &mut [u8]| if bytes.is_empty() { 0 } else { Span::of_mut(bytes).address };
        to.data = pointer(place(&mut buffer.data));
        to.scales = pointer(place(&mut buffer.scales));
        to.factors = pointer(place(&mut buffer.factors));
        self.device.loaded.call("weights_export", |f, error| {
            // SAFETY: the weights live, and the tensor is the buffer's, with as many bytes as its layout takes.
            unsafe { (f.weights_export)(self.handle.as_ptr(), &raw const to, error) }
        })?;
        Ok(buffer)
    }
}
