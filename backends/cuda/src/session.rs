//! A plan's launches, written once.
//!
//! An operator here is a sequence of kernels and copies, written as calls of a [`Session`]. It is gone through
//!
//! - **measuring**, when a plan is made: nothing is enqueued, and scratch is counted. Tensors are at address 0;
//! - **enqueuing**, at each run, with the run's addresses and rows.
//!
//! So a plan's workspace is what its runs take, and not something that is worked out a second time.

use mxhal_core::{Error, Result, Span};
use mxhal_kernels_cuda::parameters::Parameters;
use mxhal_kernels_cuda::{Launch, Target};

use crate::device::Shared;
use crate::op::Operand;
use crate::stream::CudaStream;

/// What scratch begins at a multiple of: that of the widest copies that kernels make.
const SCRATCH_ALIGNMENT: u64 = 256;

/// Where a session's calls go.
enum Mode<'a> {
    Measure { kernels: Vec<&'static str> },
    Enqueue { shared: &'a Shared, stream: &'a CudaStream, workspace: Span },
}

/// One going through the launches of an operator.
pub(crate) struct Session<'a> {
    target: Target,
    mode: Mode<'a>,
    used: u64,
    /// Outputs with gaps: their rows are copied out of these dense ones at the end.
    scattered: Vec<(Operand, u64)>,
}

impl<'a> Session<'a> {
    pub(crate) fn measure(target: Target) -> Self {
        Self { target, mode: Mode::Measure { kernels: Vec::new() }, used: 0, scattered: Vec::new() }
    }

    /// `workspace` has as many bytes as were measured, and is aligned.
    pub(crate) fn enqueue(shared: &'a Shared, stream: &'a CudaStream, workspace: Span) -> Self {
        let mode = Mode::Enqueue { shared, stream, workspace };
        Self { target: shared.offer.target, mode, used: 0, scattered: Vec::new() }
    }

    pub(crate) fn target(&self) -> Target {
        self.target
    }

    /// Whether nothing is enqueued, and tensors have no address yet.
    pub(crate) fn is_measuring(&self) -> bool {
        matches!(self.mode, Mode::Measure { .. })
    }

    /// The bytes that were asked for, with room to align them, and the kernels in their order.
    pub(crate) fn into_measured(self) -> (u64, Vec<&'static str>) {
        let bytes = if self.used == 0 { 0 } else { self.used.saturating_add(SCRATCH_ALIGNMENT) };
        match self.mode {
            Mode::Measure { kernels } => (bytes, kernels),
            Mode::Enqueue { .. } => (bytes, Vec::new()),
        }
    }

    /// Scratch that nobody has written to yet, so many rows of so many bytes.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for a workspace with less than was measured.
    pub(crate) fn scratch(&mut self, rows: usize, row_bytes: usize) -> Result<u64> {
        let bytes = (rows as u64).saturating_mul(row_bytes as u64).max(1);
        let offset = self.used;
        self.used =
            offset.saturating_add(bytes.saturating_add(SCRATCH_ALIGNMENT - 1) & !(SCRATCH_ALIGNMENT - 1));
        let Mode::Enqueue { workspace, .. } = &self.mode else { return Ok(0) };
        let first = workspace.address.next_multiple_of(SCRATCH_ALIGNMENT);
        match workspace.part(first - workspace.address + offset, bytes) {
            Some(part) => Ok(part.address),
            None => Err(Error::invalid(format!(
                "the workspace has {} bytes, and {bytes} are wanted from byte {offset} on",
                workspace.bytes
            ))),
        }
    }

    /// A kernel with its parameters; nothing where the grid is empty.
    pub(crate) fn launch<P: Parameters>(&mut self, launch: &Launch, mut parameters: P) -> Result<()> {
        if launch.kernel.parameter_bytes != size_of::<P>() {
            return Err(Error::internal(format!(
                "kernel `{}` takes {} bytes, not {}",
                launch.kernel.name,
                launch.kernel.parameter_bytes,
                size_of::<P>()
            )));
        }
        if launch.is_empty() {
            return Ok(());
        }
        match &mut self.mode {
            Mode::Measure { kernels } => {
                kernels.push(launch.kernel.name);
                Ok(())
            }
            Mode::Enqueue { shared, stream, .. } => {
                let function = shared.code.function(launch.kernel)?;
                // SAFETY: the table says that the kernel takes as many bytes. Whoever runs the plan says that its tensors
                // and workspace live until the stream has passed the run; weights live as long as their handles.
                unsafe { stream.launch(function, launch, (&raw mut parameters).cast()) }
            }
        }
    }

    /// An input without gaps: where it lies, or a copy of its rows in scratch.
    pub(crate) fn input(&mut self, operand: &Operand) -> Result<u64> {
        if !operand.has_gaps {
            return Ok(operand.data);
        }
        let width = operand.row_bytes();
        let dense = self.scratch(operand.rows, width as usize)?;
        self.copy_rows((dense, width), (operand.data, operand.stride_bytes()), operand.rows, width)?;
        Ok(dense)
    }

    /// An output without gaps: where it lies, or scratch from which its rows are copied by [`Self::finish`].
    pub(crate) fn output(&mut self, operand: &Operand) -> Result<u64> {
        // What an operator does not write stays as it was, so the rows are copied in as well as out.
        let dense = self.input(operand)?;
        if operand.has_gaps {
            self.scattered.push((*operand, dense));
        }
        Ok(dense)
    }

    /// Copies outputs with gaps to where they belong.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for (operand, dense) in std::mem::take(&mut self.scattered) {
            let width = operand.row_bytes();
            self.copy_rows((operand.data, operand.stride_bytes()), (dense, width), operand.rows, width)?;
        }
        Ok(())
    }

    /// Copies rows of `width` bytes, each address with the bytes from one row to the next.
    fn copy_rows(&self, to: (u64, u64), from: (u64, u64), rows: usize, width: u64) -> Result<()> {
        match &self.mode {
            Mode::Measure { .. } => Ok(()),
            Mode::Enqueue { stream, .. } => stream.queue.copy_rows(to, from, rows, width),
        }
    }
}

#[cfg(test)]
mod tests {
    use mxhal_kernels_cuda::parameters::{PermuteParameters, RouteParameters};

    use super::*;

    #[test]
    fn scratch_is_counted_with_room_to_align_it() {
        let mut session = Session::measure(Target::Hopper);
        assert_eq!(Session::measure(Target::Hopper).into_measured().0, 0);
        session.scratch(1, 1).unwrap();
        session.scratch(3, 100).unwrap();
        assert_eq!(session.into_measured().0, 256 + 512 + 256);
    }

    #[test]
    fn kernels_are_remembered_unless_they_have_nothing_to_do() {
        let mut session = Session::measure(Target::Hopper);
        let route = |tokens| RouteParameters { tokens, experts: 8, top_k: 2, ..Default::default() };
        session.launch(&route(0).launch(), route(0)).unwrap();
        session.launch(&route(3).launch(), route(3)).unwrap();
        assert!(session.launch(&route(3).launch(), PermuteParameters::default()).is_err());
        assert_eq!(session.into_measured().1, ["route"]);
    }
}
