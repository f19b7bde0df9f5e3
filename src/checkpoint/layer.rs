//! The tensors of one Mixture-of-Experts layer, in words that no model family owns.

use std::borrow::Cow;

use mxhal_core::format::bf16;
use mxhal_core::op::{Score, SwiGluForm, WeightPosition};
use mxhal_core::{Format, HostTensor, Layout};
use safetensors::Dtype;

use super::Checkpoint;
use super::error::{CheckpointError, Result};
use super::shard::FileTensor;

/// One layer: its router, its experts and its shared expert. Matrices are slices of the mapped files, in the order
/// in which [`Device::prepare_weights`](mxhal_core::Device::prepare_weights) takes them.
///
/// An engine that has the tensors elsewhere fills one itself.
#[derive(Clone, Debug)]
pub struct MoeLayerTensors<'a> {
    /// Which layer it is.
    pub layer: usize,
    /// Columns of a token.
    pub hidden: usize,
    /// Inner columns of an expert.
    pub inner: usize,
    /// How many experts there are.
    pub experts: usize,
    /// Experts chosen for each token.
    pub top_k: usize,
    /// Who chooses them.
    pub router: Router<'a>,
    /// The format of the experts' matrices.
    pub weight: Format,
    /// `[2 · inner, hidden]` of each expert: one part, or gate and up as two parts.
    pub gate_up: Vec<HostTensor<'a>>,
    /// `[hidden, inner]` of each expert.
    pub down: Vec<HostTensor<'a>>,
    /// Biases of both products: `[experts, 2 · inner]` and `[experts, hidden]`.
    pub biases: Option<(Vec<f32>, Vec<f32>)>,
    /// The expert that every token passes.
    pub shared: Option<Shared<'a>>,
    /// The gated activation.
    pub form: SwiGluForm,
    /// Where the model's own code multiplies by the routing weight.
    pub weight_position: WeightPosition,
}

impl MoeLayerTensors<'_> {
    /// Bytes of all matrices of experts, routed and shared, with their scales.
    pub fn matrix_bytes(&self) -> u64 {
        let shared = self.shared.iter().flat_map(|shared| shared.gate_up.iter().chain(&shared.down));
        self.gate_up.iter().chain(&self.down).chain(shared).map(bytes_of).sum()
    }

    /// Bytes of the matrices of one routed expert, with their scales.
    pub fn expert_bytes(&self) -> u64 {
        let all: u64 = self.gate_up.iter().chain(&self.down).map(bytes_of).sum();
        all / self.experts.max(1) as u64
    }
}

fn bytes_of(tensor: &HostTensor<'_>) -> u64 {
    (tensor.data().len() + tensor.scales().len() + tensor.factors().len()) as u64
}

/// How a layer chooses experts.
#[derive(Clone, Debug)]
pub struct Router<'a> {
    /// BF16 `[experts, hidden]`, little-endian.
    pub weight: Cow<'a, [u8]>,
    /// Added to the logits: `[experts]`.
    pub logit_bias: Option<Vec<f32>>,
    /// Added to the scores for the choice alone: `[experts]`.
    pub choice_bias: Option<Vec<f32>>,
    /// The experts of each token id, where the layer does not choose by score.
    pub by_token: Option<TokenTable>,
    /// How logits become scores.
    pub score: Score,
    /// Whether the weights of a token are divided by their sum.
    pub renormalize: bool,
    /// What they are multiplied by in the end.
    pub scale: f32,
}

/// The experts of each token id: the table of a hash layer, whose every entry is an expert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenTable {
    top_k: usize,
    ids: Vec<i32>,
}

impl TokenTable {
    /// A table of `top_k` experts for each token id. `Err` is the place of the first id that is none of `experts`,
    /// or of the incomplete row at the end.
    pub fn new(ids: Vec<i32>, top_k: usize, experts: usize) -> core::result::Result<Self, usize> {
        let none = |id: &i32| usize::try_from(*id).map_or(true, |id| id >= experts);
        if let Some(place) = ids.iter().position(none) {
            return Err(place);
        }
        if top_k == 0 || !ids.len().is_multiple_of(top_k) {
            return Err(ids.len());
        }
        Ok(Self { top_k, ids })
    }

    /// Experts of each token id.
    pub const fn top_k(&self) -> usize {
        self.top_k
    }

    /// How many token ids it knows.
    pub fn vocabulary(&self) -> usize {
        self.ids.len() / self.top_k
    }

    /// The experts of a token; `None` for an id that the table does not hold.
    pub fn experts(&self, token: i64) -> Option<&[i32]> {
        let row = usize::try_from(token).ok().filter(|&row| row < self.vocabulary())?;
        Some(&self.ids[row * self.top_k..][..self.top_k])
    }
}

/// An expert that every token passes.
#[derive(Clone, Debug)]
pub struct Shared<'a> {
    /// Its inner columns.
    pub inner: usize,
    /// The format of its matrices.
    pub weight: Format,
    /// `[2 · inner, hidden]`: one part, or gate and up as two.
    pub gate_up: Vec<HostTensor<'a>>,
    /// `[hidden, inner]`.
    pub down: Vec<HostTensor<'a>>,
}

/// A matrix `[n, k]` over bytes whose number the file's header and the checks of shapes have settled.
pub(super) fn matrix<'a>(
    format: Format,
    [n, k]: [usize; 2],
    data: &'a [u8],
    scales: &'a [u8],
) -> HostTensor<'a> {
    let layout = Layout::contiguous(format, &[n, k])
        .expect("its extents are those of a tensor that lies in a file, and k is a multiple of the block");
    HostTensor::new(layout, data, scales, &[])
        .expect("shapes were compared, and the header counted the bytes")
}

/// The scales of a weight with so many blocks, none of them NaN unless that is allowed.
pub(super) fn scales<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
    blocks: &[usize],
    why: &'static str,
) -> Result<FileTensor<'a>> {
    let tensor =
        checkpoint.tensor(name)?.of_dtype(&[Dtype::F8_E8M0, Dtype::U8], "a byte of E8M0 for each block")?;
    if tensor.shape() != blocks {
        return Err(CheckpointError::ScaleCount {
            path: tensor.path().to_owned(),
            tensor: tensor.name().to_owned(),
            offset: tensor.offset(),
            found: tensor.shape().to_vec(),
            expected: blocks.to_vec(),
            why,
        });
    }
    if !checkpoint.allow_nan_scales {
        no_nan(&tensor)?;
    }
    Ok(tensor)
}

/// That no scale of `tensor` is 255.
fn no_nan(tensor: &FileTensor<'_>) -> Result<()> {
    // `contains` runs at the speed of memory; where the byte is matters only if there is one.
    if !tensor.bytes().contains(&u8::MAX) {
        return Ok(());
    }
    let columns = tensor.shape().last().copied().unwrap_or(1).max(1);
    match tensor.bytes().iter().position(|&byte| byte == u8::MAX) {
        None => Ok(()),
        Some(position) => Err(CheckpointError::NanScale {
            path: tensor.path().to_owned(),
            tensor: tensor.name().to_owned(),
            row: position / columns,
            block: position % columns,
            offset: tensor.offset() + position,
        }),
    }
}

/// The bytes of a router as BF16: as they are, or rounded from F32 where that changes nothing.
pub(super) fn router_weight<'a>(tensor: &FileTensor<'a>) -> Result<Cow<'a, [u8]>> {
    if tensor.dtype() == Dtype::BF16 {
        return Ok(Cow::Borrowed(tensor.bytes()));
    }
    let mut bytes = Vec::with_capacity(tensor.bytes().len() / 2);
    for (place, value) in tensor.floats().into_iter().enumerate() {
        let rounded = bf16::from_f32(value);
        if bf16::to_f32(rounded).to_bits() != value.to_bits() {
            let columns = tensor.shape().last().copied().unwrap_or(1).max(1);
            return Err(CheckpointError::RouterNotBf16 {
                path: tensor.path().to_owned(),
                tensor: tensor.name().to_owned(),
                row: place / columns,
                column: place % columns,
                offset: tensor.offset() + 4 * place,
                found: value,
            });
        }
        bytes.extend_from_slice(&rounded.to_le_bytes());
    }
    Ok(Cow::Owned(bytes))
}
