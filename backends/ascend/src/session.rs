//! The two phases of an operator of CANN's behind one plan.
//!
//! An operator here is a sequence of CANN's operators, copies and fills, written once as calls of a [`Session`]. It is
//! gone through twice:
//!
//! - **measuring**, when a plan is made: the first phase of each operator is called, which says how much workspace it
//!   wants, and nothing is enqueued. The addresses are not known yet, so tensors are described with address 0, of which
//!   the first phase reads nothing; it is done for several numbers of rows, because an operator may want more for
//!   fewer.
//! - **enqueuing**, at each run: the first phase with the run's addresses and rows, then the second. An executor is used
//!   once and destroyed by CANN; or it is made repeatable and recorded, and `program` enqueues it again.
//!
//! A session is the only place that enqueues. What CANN lacks is done by a kernel of ours, launched on the same stream with
//! scratch from the same workspace.
//!
//! The workspace of a run begins with what the operators want for themselves, shared by all of them because a stream
//! runs them one after the other; behind it lies the scratch that holds what one hands to the next.

use mxhal_cann::safe::{self, Context, DataType, Executor, TensorList, TensorSpec, TensorView};
use mxhal_cann::sys;
use mxhal_core::{Error, Format, Result, Span};
use mxhal_kernels_ascend::Parameters;

use crate::constants::Constant;
use crate::device::Shared;
use crate::error::from_cann;
use crate::memory::ALIGNMENT;
use crate::op::Operand;
use crate::program::{Recording, Step};
use crate::stream::{copy, fill, pointer};
use crate::support::Offer;

/// What a plan wants of its workspace, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The most that one of CANN's operators wants.
    pub(crate) executor: u64,
    /// What one of them hands to the next.
    pub(crate) scratch: u64,
}

impl Needs {
    /// All of it.
    pub(crate) fn total(self) -> u64 {
        self.executor + self.scratch
    }

    /// Enough for both.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { executor: self.executor.max(other.executor), scratch: self.scratch.max(other.scratch) }
    }
}

/// Where a session's calls go.
enum Mode<'a> {
    Measure,
    Enqueue { stream: &'a safe::Stream, workspace: Span, planned: Needs },
}

/// One going through the calls of an operator.
pub(crate) struct Session<'a> {
    shared: &'a Shared,
    mode: Mode<'a>,
    used: Needs,
    functions: Vec<&'static str>,
    /// What is enqueued, where that is asked for.
    recording: Option<Recording>,
    /// Outputs with gaps: their rows are copied out of these dense ones at the end.
    gathered: Vec<(Operand, u64)>,
}

impl<'a> Session<'a> {
    pub(crate) fn measure(shared: &'a Shared) -> Self {
        Self::new(shared, Mode::Measure)
    }

    /// `workspace` has [`Needs::total`] bytes of what was measured, and is aligned.
    pub(crate) fn enqueue(
        shared: &'a Shared,
        stream: &'a safe::Stream,
        workspace: Span,
        planned: Needs,
    ) -> Self {
        Self::new(shared, Mode::Enqueue { stream, workspace, planned })
    }

    fn new(shared: &'a Shared, mode: Mode<'a>) -> Self {
        Self {
            shared,
            mode,
            used: Needs::default(),
            functions: Vec::new(),
            recording: None,
            gathered: Vec::new(),
        }
    }

    /// The same, recorded.
    pub(crate) fn recorded(self) -> Self {
        Self { recording: Some(Recording { steps: Vec::new(), is_whole: true }), ..self }
    }

    /// What was recorded, if it was asked for.
    pub(crate) fn into_recording(self) -> Option<Recording> {
        self.recording
    }

    pub(crate) fn context(&self) -> &'a Context {
        &self.shared.context
    }

    /// What is installed, and what the options say.
    pub(crate) fn offer(&self) -> &'a Offer {
        &self.shared.offer
    }

    /// What was asked for, and the functions that were used, in their order.
    pub(crate) fn into_measured(self) -> (Needs, Vec<&'static str>) {
        (self.used, self.functions)
    }

    /// Scratch that nobody has written to yet.
    ///
    /// # Errors
    ///
    /// [`Status::Internal`](mxhal_core::Status::Internal) for more than was measured.
    pub(crate) fn scratch(&mut self, bytes: usize) -> Result<u64> {
        let offset = self.used.scratch;
        self.used.scratch += (bytes.max(1) as u64).next_multiple_of(ALIGNMENT);
        let Mode::Enqueue { workspace, planned, .. } = self.mode else { return Ok(0) };
        if self.used.scratch > planned.scratch {
            return Err(Error::internal(format!(
                "{} bytes of scratch are wanted, and {} were measured when the plan was made",
                self.used.scratch, planned.scratch
            )));
        }
        Ok(workspace.address + planned.executor + offset)
    }

    /// A constant, which the device keeps.
    pub(crate) fn constant(&self, constant: Constant) -> Result<u64> {
        self.shared.constants.address(self.context(), constant)
    }

    /// An input without gaps: where it lies, or a copy of its rows in scratch.
    pub(crate) fn input(&mut self, operand: &Operand) -> Result<u64> {
        if !operand.has_gaps {
            return Ok(operand.data);
        }
        let dense = self.scratch(operand.dense_bytes())?;
        let (width, pitch) = (operand.row_bytes(), operand.stride_bytes());
        self.copy_rows((dense, width), (operand.data, pitch), operand.rows, width)?;
        Ok(dense)
    }

    /// An output without gaps: where it lies, or scratch from which its rows are copied by [`Self::finish`].
    pub(crate) fn output(&mut self, operand: &Operand) -> Result<u64> {
        // What an operator does not write stays as it was, so the rows are copied in as well as out.
        let dense = self.input(operand)?;
        if operand.has_gaps {
            self.gathered.push((*operand, dense));
        }
        Ok(dense)
    }

    /// Copies outputs with gaps to where they belong.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for (operand, dense) in std::mem::take(&mut self.gathered) {
            let (width, pitch) = (operand.row_bytes(), operand.stride_bytes());
            self.copy_rows((operand.data, pitch), (dense, width), operand.rows, width)?;
        }
        Ok(())
    }

    /// Copies rows of `width` bytes between addresses, each with the bytes from one row to the next.
    ///
    /// CANN's two-dimensional copies are between host and device only, so each row is a copy of its own.
    pub(crate) fn copy_rows(
        &mut self,
        to: (u64, u64),
        from: (u64, u64),
        rows: usize,
        width: u64,
    ) -> Result<()> {
        if let Mode::Measure = self.mode {
            return Ok(());
        }
        if to.1 == width && from.1 == width {
            return self.copy(to.0, from.0, rows as u64 * width);
        }
        for row in 0..rows as u64 {
            self.copy(to.0 + row * to.1, from.0 + row * from.1, width)?;
        }
        Ok(())
    }

    /// Copies within the device.
    pub(crate) fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<()> {
        let Mode::Enqueue { stream, .. } = self.mode else { return Ok(()) };
        let from = Span { address: from, bytes };
        self.record(|| Step::Copy { to, from });
        copy(stream, to, from, sys::ACL_MEMCPY_DEVICE_TO_DEVICE)
    }

    /// Sets bytes to 0.
    pub(crate) fn clear(&mut self, address: u64, bytes: u64) -> Result<()> {
        let Mode::Enqueue { stream, .. } = self.mode else { return Ok(()) };
        let to = Span { address, bytes };
        self.record(|| Step::Fill { to, value: 0 });
        fill(stream, to, 0)
    }

    fn record(&mut self, step: impl FnOnce() -> Step) {
        if let Some(recording) = &mut self.recording {
            recording.steps.push(step());
        }
    }

    /// A contiguous tensor at an address.
    pub(crate) fn tensor(&self, data_type: DataType, dims: &[usize], address: u64) -> Result<TensorView> {
        self.view(spec(data_type, dims)?, address)
    }

    /// A tensor at an address.
    pub(crate) fn view(&self, spec: TensorSpec, address: u64) -> Result<TensorView> {
        // SAFETY: whoever runs the plan says that its tensors and workspace are memory of the device that lives until
        // the stream has passed the run; constants and weights live as long as the device and their handles. While
        // measuring nothing runs.
        unsafe { TensorView::from_raw(self.context(), spec, pointer(address)) }.map_err(from_cann)
    }

    /// A list of one tensor.
    pub(crate) fn list(&self, tensor: TensorView) -> Result<TensorList> {
        TensorList::new(self.context(), vec![tensor]).map_err(from_cann)
    }

    /// Launches a kernel of ours.
    ///
    /// # Errors
    ///
    /// [`Status::Internal`](mxhal_core::Status::Internal) where none are loaded: whoever launches them refuses before.
    pub(crate) fn launch(&mut self, parameters: &impl Parameters) -> Result<()> {
        let launch = parameters.launch();
        self.functions.push(launch.kernel.name());
        let Some(kernels) = &self.shared.kernels else {
            return Err(Error::internal(format!("{} is launched, and is not loaded", launch.kernel.name())));
        };
        let Mode::Enqueue { stream, .. } = self.mode else { return Ok(()) };
        // It is not told which of its arguments are addresses, and preparing it costs nothing.
        if let Some(recording) = &mut self.recording {
            recording.is_whole = false;
        }
        // SAFETY: as for `view`.
        unsafe { kernels.launch(stream, &launch) }
    }

    /// Takes what the first phase of an operator gave, and calls the second.
    pub(crate) fn run(&mut self, prepared: mxhal_cann::Result<Executor>) -> Result<()> {
        let executor = prepared.map_err(from_cann)?;
        let wanted = executor.workspace_bytes();
        self.used.executor = self.used.executor.max(wanted.next_multiple_of(ALIGNMENT));
        self.functions.push(executor.function());
        let Mode::Enqueue { stream, workspace, planned } = self.mode else { return Ok(()) };
        if wanted > planned.executor {
            return Err(Error::internal(format!(
                "{} wants {wanted} bytes of workspace for this number of rows, and at most {} were measured when the \
                 plan was made; make a plan for this number of rows",
                executor.function(),
                planned.executor
            )));
        }
        let at = if wanted == 0 { 0 } else { workspace.address };
        let executor = match self.recording.as_mut().filter(|recording| recording.is_whole) {
            None => executor,
            Some(recording) => match executor.try_into_repeatable() {
                Ok(mut executor) => {
                    // SAFETY: as below; what is recorded outlives the run.
                    unsafe { executor.run(stream, pointer(at), wanted) }.map_err(from_cann)?;
                    recording.steps.push(Step::Execute { executor, workspace: at });
                    return Ok(());
                }
                Err(refused) => {
                    recording.is_whole = false;
                    refused.1
                }
            },
        };
        // SAFETY: as for `view`; the workspace is the run's own, and shared only with operators of the same stream.
        unsafe { executor.run(stream, pointer(at), wanted) }.map_err(from_cann)
    }
}

/// A contiguous tensor.
pub(crate) fn spec(data_type: DataType, dims: &[usize]) -> Result<TensorSpec> {
    Ok(TensorSpec::contiguous(data_type, &signed(dims)?))
}

/// Dims as CANN counts them.
pub(crate) fn signed(dims: &[usize]) -> Result<Vec<i64>> {
    dims.iter()
        .map(|dim| {
            i64::try_from(*dim).map_err(|_| Error::invalid(format!("{dims:?} is more than CANN counts")))
        })
        .collect()
}

/// The elements of a format, without their scales.
pub(crate) fn data_type(format: Format) -> Result<DataType> {
    Ok(match format {
        Format::F32 => DataType::Float,
        Format::Bf16 => DataType::Bf16,
        Format::F16 => DataType::Float16,
        Format::I32 => DataType::Int32,
        Format::I64 => DataType::Int64,
        Format::U8 => DataType::Uint8,
        Format::Mxfp4 => DataType::Float4E2m1,
        Format::Mxfp8 | Format::Mxfp8G128 | Format::Fp8Tile128 => DataType::Float8E4m3fn,
        _ => return Err(Error::unsupported(format!("{format} is not a format of the Ascend 950"))),
    })
}
