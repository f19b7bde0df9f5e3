//! A Mixture-of-Experts layer on a device: router, experts and shared expert of a checkpoint, made ready once and run
//! often.
//!
//! ```no_run
//! use mxhal::moe::{MoeLayer, MoeOptions, scheme};
//! # fn example(device: std::sync::Arc<dyn mxhal_core::Device>, x: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let checkpoint = mxhal::Checkpoint::open("DeepSeek-V4-Flash")?;
//! let tensors = checkpoint.moe_layer(3)?;
//! let options = MoeOptions { activation: scheme("mxfp8-g128")?, ..MoeOptions::default() };
//! let mut layer = MoeLayer::prepare(&device, &tensors, &options)?;
//!
//! let stream = device.create_stream()?;
//! let x = mxhal_core::HostTensor::new(
//!     mxhal_core::Layout::contiguous(mxhal_core::Format::Bf16, &[16, tensors.hidden])?, x, &[], &[])?;
//! let output = layer.forward(&*stream, x, None)?;
//! println!("{} experts read, y[0] = {}", output.traffic.experts, output.y[0]);
//! # Ok(())
//! # }
//! ```
//!
//! Where the backend has an operator for the whole of the experts it is used, and elsewhere they are composed of
//! permute, grouped products, SwiGLU and combine; [`MoeLayer::path`] says which. The numbers are held to the same
//! intervals by the conformance suite either way.

mod composition;
mod experts;
mod memory;
mod router;
mod scheme;

use std::sync::Arc;

use mxhal_core::op::{Extent, WeightPosition};
use mxhal_core::{
    Buffer, Device, Error, Format, HostTensor, Layout, Quantization, Result, Stream, Tensor, buffer,
};

use crate::checkpoint::MoeLayerTensors;
pub use experts::MoePath;
pub use router::Routing;
pub use scheme::{SCHEMES, UnknownScheme, scheme};

use experts::Experts;
use memory::Rows;
use router::Router;

/// How a layer is to be run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MoeOptions {
    /// What activations are quantized to, before both products.
    pub activation: Quantization,
    /// Where the routing weight multiplies; `None` for where the model's own code does it.
    pub weight_position: Option<WeightPosition>,
    /// Whether the shared expert's SwiGLU is clamped like the routed ones'.
    pub shared_clamped: bool,
    /// The most tokens of a run: plans and intermediates are made for so many.
    pub max_tokens: usize,
    /// Whether to use the backend's operator for the whole of the experts.
    pub fusion: Fusion,
}

impl Default for MoeOptions {
    /// BF16 activations, the model's own position of weights, a clamped shared expert, 256 tokens a run, and fused
    /// where the backend can.
    fn default() -> Self {
        Self {
            activation: Quantization::none(),
            weight_position: None,
            shared_clamped: true,
            max_tokens: 256,
            fusion: Fusion::Auto,
        }
    }
}

/// Whether to use a backend's operator for the whole of the experts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fusion {
    /// Where the backend supports this layer.
    #[default]
    Auto,
    /// Never: compose it.
    Never,
    /// Or fail with the backend's reason.
    Always,
}

/// A layer made ready for a device.
///
/// It owns the memory of its intermediates, so one run is under way at a time; the next is enqueued on the same stream,
/// or after this one is done.
pub struct MoeLayer {
    device: Arc<dyn Device>,
    router: Router,
    experts: Experts,
    workspace: Buffer,
    ids_given: Option<Rows>,
    /// Device copies of a host's input and output, once there was such a call.
    staging: Option<Staging>,
    shape: Shape,
}

#[derive(Clone, Copy)]
struct Shape {
    layer: usize,
    hidden: usize,
    experts: usize,
    top_k: usize,
    max_tokens: usize,
    /// Canonical bytes of one routed expert, and of what every run reads: shared expert and router.
    expert_bytes: u64,
    common_bytes: u64,
}

struct Staging {
    x: Rows,
    y: Rows,
}

/// What a run on the host's tensors gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MoeOutput {
    /// `[tokens, hidden]`.
    pub y: Vec<f32>,
    /// `[tokens, top_k]`: which experts were chosen.
    pub expert_ids: Vec<i32>,
    /// `[tokens, top_k]`: their routing weights.
    pub expert_weights: Vec<f32>,
    /// What had to be read for it.
    pub traffic: Traffic,
}

/// Weights that a run reads, each counted once for each chunk of [`MoeOptions::max_tokens`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Routed experts that a token chose.
    pub experts: usize,
    /// Bytes of their matrices, of the shared expert's and of the router's, in the checkpoint's layout.
    pub weight_bytes: u64,
}

impl MoeLayer {
    /// Prepares weights and plans, and allocates everything that runs need but what [`Self::forward`] stages.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for tensors that do not fit each other or the
    /// options (a position of weights that the model's biases exclude, columns that the scheme's blocks do not
    /// divide), [`Status::Unsupported`](mxhal_core::Status::Unsupported) with the backend's reason, and
    /// [`Status::OutOfMemory`](mxhal_core::Status::OutOfMemory).
    pub fn prepare(
        device: &Arc<dyn Device>,
        tensors: &MoeLayerTensors<'_>,
        options: &MoeOptions,
    ) -> Result<Self> {
        Self::prepared(device, tensors, options)
            .map_err(|error| error.within(format!("layer {}", tensors.layer)))
    }

    fn prepared(
        device: &Arc<dyn Device>,
        tensors: &MoeLayerTensors<'_>,
        options: &MoeOptions,
    ) -> Result<Self> {
        let stream = device.create_stream()?;
        let experts = Experts::prepare(device, &*stream, tensors, options)?;
        let router = Router::prepare(device, &*stream, tensors, options.max_tokens)?;
        let workspace = Buffer::new(device, router.workspace_bytes().max(experts.workspace_bytes()))?;
        let slots = [Extent::PerRow(1), Extent::Fixed(tensors.top_k)];
        let ids_given = match router.by_token() {
            None => None,
            Some(_) => Some(Rows::new(device, Format::I32, &slots, options.max_tokens)?),
        };
        let expert_bytes = tensors.expert_bytes();
        let routed = expert_bytes * tensors.experts as u64;
        let common_bytes = tensors.matrix_bytes() - routed + tensors.router.weight.len() as u64;
        let shape = Shape {
            layer: tensors.layer,
            hidden: tensors.hidden,
            experts: tensors.experts,
            top_k: tensors.top_k,
            max_tokens: options.max_tokens,
            expert_bytes,
            common_bytes,
        };
        Ok(Self { device: Arc::clone(device), router, experts, workspace, ids_given, staging: None, shape })
    }

    /// Runs tensors of the host's, in chunks of at most [`MoeOptions::max_tokens`], and waits for them: `x` is BF16
    /// `[tokens, hidden]`; `token_ids`, one for each token, are needed by layers that look their experts up, and not
    /// looked at by others.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for an `x` of another shape, for token ids that
    /// are missing, not as many as tokens, or beyond the vocabulary; and those of the stream.
    pub fn forward(
        &mut self,
        stream: &dyn Stream,
        x: HostTensor<'_>,
        token_ids: Option<&[i64]>,
    ) -> Result<MoeOutput> {
        let place = format!("layer {}", self.shape.layer);
        self.forward_chunks(stream, x, token_ids).map_err(|error| error.within(place))
    }

    /// Enqueues a run on tensors of the device, and returns at once: `x` is BF16 `[tokens, hidden]` with at most
    /// [`MoeOptions::max_tokens`] tokens, `y` F32 of the same shape. `ids_given`, I32 `[tokens, top_k]`, is passed for
    /// a layer that looks its experts up (see [`Self::needs_token_ids`]), and for no other.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument), naming the tensor that does not fit, and those
    /// of the plans.
    pub fn run(
        &mut self,
        stream: &dyn Stream,
        x: Tensor,
        ids_given: Option<Tensor>,
        y: Tensor,
    ) -> Result<Routing> {
        let Shape { layer, max_tokens, .. } = self.shape;
        let enqueue = || {
            let tokens = self.tokens_of(x.layout())?;
            if tokens > max_tokens {
                return Err(Error::invalid(format!(
                    "x has {tokens} tokens, and the layer was prepared for at most {max_tokens}"
                )));
            }
            let workspace = self.workspace.span();
            let routing = self.router.run(stream, x, ids_given, workspace)?;
            self.experts.run(stream, x, routing, y, workspace)?;
            Ok(routing)
        };
        enqueue().map_err(|error: Error| error.within(format!("layer {layer}")))
    }

    /// Whether experts are looked up by token id, and not chosen by score.
    pub const fn needs_token_ids(&self) -> bool {
        self.router.by_token().is_some()
    }

    /// How the experts are run.
    pub fn path(&self) -> MoePath {
        self.experts.path()
    }

    /// Memory that the prepared weights hold, on the device and the host together, in bytes.
    pub fn weight_bytes(&self) -> u64 {
        self.experts.weight_bytes() + self.router.weight_bytes()
    }

    fn forward_chunks(
        &mut self,
        stream: &dyn Stream,
        x: HostTensor<'_>,
        token_ids: Option<&[i64]>,
    ) -> Result<MoeOutput> {
        let Shape { hidden, max_tokens, .. } = self.shape;
        let tokens = self.tokens_of(x.layout())?;
        let ids_given = self.look_up(tokens, token_ids)?;
        let mut output = MoeOutput::default();
        for first in (0..tokens).step_by(max_tokens) {
            let count = max_tokens.min(tokens - first);
            let x = &x.data()[first * hidden * 2..][..count * hidden * 2];
            let ids =
                ids_given.as_deref().map(|ids| &ids[first * self.shape.top_k..][..count * self.shape.top_k]);
            self.chunk(stream, x, ids, &mut output)?;
        }
        Ok(output)
    }

    /// The tokens of an input, which has the layer's format and columns.
    fn tokens_of(&self, x: &Layout) -> Result<usize> {
        let hidden = self.shape.hidden;
        if x.format() == Format::Bf16 && x.shape().len() == 2 && x.columns() == hidden {
            return Ok(x.rows());
        }
        Err(Error::invalid(format!("x is {x}, and it should be bf16[tokens, {hidden}]")))
    }

    /// The experts of each token, where the layer looks them up.
    fn look_up(&self, tokens: usize, token_ids: Option<&[i64]>) -> Result<Option<Vec<i32>>> {
        let Some(table) = self.router.by_token() else { return Ok(None) };
        let Some(token_ids) = token_ids else {
            return Err(Error::invalid(
                "this layer looks experts up by token id; pass the ids of the tokens",
            ));
        };
        if token_ids.len() != tokens {
            return Err(Error::invalid(format!("{} token ids for {tokens} tokens", token_ids.len())));
        }
        let mut ids = Vec::with_capacity(tokens * self.shape.top_k);
        for (place, &token) in token_ids.iter().enumerate() {
            let experts = table.experts(token).ok_or_else(|| {
                let last = table.vocabulary() - 1;
                Error::invalid(format!("token {place} has id {token}, and the vocabulary has 0 to {last}"))
            })?;
            ids.extend_from_slice(experts);
        }
        Ok(Some(ids))
    }

    fn chunk(
        &mut self,
        stream: &dyn Stream,
        x: &[u8],
        ids: Option<&[i32]>,
        output: &mut MoeOutput,
    ) -> Result<()> {
        let Shape { hidden, experts, expert_bytes, common_bytes, .. } = self.shape;
        let tokens = x.len() / (2 * hidden);
        let (staged_x, y) = self.staged(tokens)?;
        buffer::write(stream, staged_x.data(), x)?;
        let ids_given = match (&self.ids_given, ids) {
            (Some(memory), Some(ids)) => {
                let view = memory.view(tokens)?;
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                buffer::write(stream, view.data(), &bytes)?;
                Some(view)
            }
            _ => None,
        };
        let routing = self.run(stream, staged_x, ids_given, y)?;

        let read = |tensor: Tensor| {
            let mut bytes = vec![0; tensor.layout().data_bytes()];
            buffer::read(stream, tensor.data(), &mut bytes).map(|()| bytes)
        };
        output.y.extend(words(&read(y)?).map(f32::from_le_bytes));
        output.expert_weights.extend(words(&read(routing.weights)?).map(f32::from_le_bytes));
        let first = output.expert_ids.len();
        output.expert_ids.extend(words(&read(routing.ids)?).map(i32::from_le_bytes));

        let mut hit = vec![false; experts];
        for &id in &output.expert_ids[first..] {
            if let Some(hit) = usize::try_from(id).ok().and_then(|id| hit.get_mut(id)) {
                *hit = true;
            }
        }
        let hit = hit.into_iter().filter(|hit| *hit).count();
        output.traffic.experts += hit;
        output.traffic.weight_bytes += hit as u64 * expert_bytes + common_bytes;
        Ok(())
    }

    /// Device memory for input and output, allocated at the first call.
    fn staged(&mut self, tokens: usize) -> Result<(Tensor, Tensor)> {
        let Staging { x, y } = match &mut self.staging {
            Some(staging) => staging,
            absent => {
                let shape = [Extent::PerRow(1), Extent::Fixed(self.shape.hidden)];
                let rows = |format| Rows::new(&self.device, format, &shape, self.shape.max_tokens);
                absent.insert(Staging { x: rows(Format::Bf16)?, y: rows(Format::F32)? })
            }
        };
        Ok((x.view(tokens)?, y.view(tokens)?))
    }
}

/// The words of four bytes; what a device holds is little-endian.
fn words(bytes: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    bytes.as_chunks().0.iter().copied()
}
