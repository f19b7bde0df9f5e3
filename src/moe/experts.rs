//! The experts of a layer, as one operator of the backend's or as a composition of several.

use std::sync::Arc;

use mxhal_core::op::{
    MoeFfn, MoeFfnPlan, MoeFfnTensors, MoeFfnWeights, Op, Operators, SharedExpert, WeightPosition,
};
use mxhal_core::{
    Device, Error, Format, HostTensor, Result, Span, Stream, Support, Tensor, Weights, WeightsDesc,
};

use super::composition::Composition;
use super::memory::Constant;
use super::router::Routing;
use super::{Fusion, MoeOptions};
use crate::checkpoint::MoeLayerTensors;

/// How a layer's experts are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoePath {
    /// By the backend's own operator for a whole layer.
    Fused {
        /// The kernel that the backend chose; may be empty.
        kernel: String,
    },
    /// By permute, grouped products, SwiGLU and combine.
    Composed {
        /// Why not fused: the backend's reason, or that the options say so.
        reason: String,
    },
}

pub(super) struct Experts {
    weights: ExpertWeights,
    biases: Option<(Constant, Constant)>,
    runner: Runner,
}

enum Runner {
    Fused(MoeFfnPlan),
    Composed { composition: Box<Composition>, reason: String },
}

/// The prepared weights, the same for both ways.
pub(super) struct ExpertWeights {
    pub(super) gate_up: Arc<dyn Weights>,
    pub(super) down: Arc<dyn Weights>,
    pub(super) shared: Option<(Arc<dyn Weights>, Arc<dyn Weights>)>,
}

/// The tensors of a run.
#[derive(Clone, Copy)]
pub(super) struct ExpertTensors {
    pub(super) x: Tensor,
    pub(super) routing: Routing,
    pub(super) biases: Option<(Tensor, Tensor)>,
    pub(super) y: Tensor,
}

impl Experts {
    pub(super) fn prepare(
        device: &Arc<dyn Device>,
        stream: &dyn Stream,
        layer: &MoeLayerTensors<'_>,
        options: &MoeOptions,
    ) -> Result<Self> {
        let op = operator(layer, options)?;
        let runner = match (options.fusion, device.supports(&Op::from(op))?) {
            (Fusion::Auto | Fusion::Always, Support::Yes(_)) => Runner::Fused(device.moe_ffn(op)?),
            (Fusion::Always, Support::No(refusal)) => return Err(refusal.to_error().within("a fused layer")),
            (Fusion::Auto, Support::No(refusal)) => composed(device, &op, refusal.to_string())?,
            (Fusion::Never, _) => composed(device, &op, "the options ask for it".to_owned())?,
        };

        let weights = ExpertWeights::prepare(device, layer, &op)?;
        let biases = match &layer.biases {
            None => None,
            Some((gate_up, down)) => {
                let constant = |columns, values| {
                    Constant::new(device, stream, &[layer.experts, columns], values)
                        .map_err(|error| error.within("a bias of the experts"))
                };
                Some((constant(2 * layer.inner, gate_up)?, constant(layer.hidden, down)?))
            }
        };
        Ok(Self { weights, biases, runner })
    }

    /// Enqueues the chosen experts, and the shared one, for the rows of `x`.
    pub(super) fn run(
        &self,
        stream: &dyn Stream,
        x: Tensor,
        routing: Routing,
        y: Tensor,
        workspace: Span,
    ) -> Result<()> {
        let biases = self.biases.as_ref().map(|(gate_up, down)| (gate_up.tensor(), down.tensor()));
        match &self.runner {
            Runner::Composed { composition, .. } => {
                let tensors = ExpertTensors { x, routing, biases, y };
                composition.run(stream, tensors, &self.weights, workspace)
            }
            Runner::Fused(plan) => {
                let tensors = MoeFfnTensors {
                    x,
                    ids: routing.ids,
                    weights: routing.weights,
                    expert_map: None,
                    gate_up_bias: biases.map(|(gate_up, _)| gate_up),
                    down_bias: biases.map(|(_, down)| down),
                    y,
                };
                let weights = MoeFfnWeights {
                    gate_up: &*self.weights.gate_up,
                    down: &*self.weights.down,
                    shared: self.weights.shared.as_ref().map(|(gate_up, down)| (&**gate_up, &**down)),
                };
                plan.run(stream, tensors, weights, workspace)
            }
        }
    }

    pub(super) fn path(&self) -> MoePath {
        match &self.runner {
            Runner::Fused(plan) => MoePath::Fused { kernel: plan.info().kernel.clone() },
            Runner::Composed { reason, .. } => MoePath::Composed { reason: reason.clone() },
        }
    }

    pub(super) fn workspace_bytes(&self) -> u64 {
        match &self.runner {
            Runner::Fused(plan) => plan.info().workspace_bytes,
            Runner::Composed { composition, .. } => composition.workspace_bytes(),
        }
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        let ExpertWeights { gate_up, down, shared } = &self.weights;
        let shared = shared.as_ref().map_or(0, |(gate_up, down)| gate_up.bytes() + down.bytes());
        gate_up.bytes() + down.bytes() + shared
    }
}

impl ExpertWeights {
    fn prepare(device: &Arc<dyn Device>, layer: &MoeLayerTensors<'_>, op: &MoeFfn) -> Result<Self> {
        let descs = Op::from(*op).weights();
        let prepare = |what: &str, desc: &WeightsDesc, parts: &[HostTensor<'_>]| {
            device.prepare_weights(desc, parts).map_err(|error| error.within(what))
        };
        let shared = match (&layer.shared, descs.get(2..)) {
            (Some(shared), Some([gate_up, down])) => Some((
                prepare("gate and up of the shared expert", gate_up, &shared.gate_up)?,
                prepare("down of the shared expert", down, &shared.down)?,
            )),
            _ => None,
        };
        Ok(Self {
            gate_up: prepare("gate and up of the experts", &descs[0], &layer.gate_up)?,
            down: prepare("down of the experts", &descs[1], &layer.down)?,
            shared,
        })
    }
}

/// The layer's experts as a value: what is asked of a backend, or composed where it says no.
fn operator(layer: &MoeLayerTensors<'_>, options: &MoeOptions) -> Result<MoeFfn> {
    let weight_position = options.weight_position.unwrap_or(layer.weight_position);
    if layer.biases.is_some() && weight_position == WeightPosition::BeforeDown {
        return Err(Error::invalid(
            "a routing weight before the down projection would not multiply that projection's bias, which is \
             another model than this one; use the position after it",
        ));
    }
    let op = MoeFfn {
        tokens: options.max_tokens,
        hidden: layer.hidden,
        inner: layer.inner,
        experts: layer.experts,
        top_k: layer.top_k,
        weight: layer.weight,
        activation: options.activation,
        form: layer.form,
        weight_position,
        bias: layer.biases.is_some(),
        output: Format::F32,
        mapped: None,
        shared: layer.shared.as_ref().map(|shared| SharedExpert {
            inner: shared.inner,
            weight: shared.weight,
            clamped: options.shared_clamped,
        }),
    };
    Op::from(op).validate()?;
    Ok(op)
}

fn composed(device: &Arc<dyn Device>, op: &MoeFfn, reason: String) -> Result<Runner> {
    Ok(Runner::Composed { composition: Box::new(Composition::prepare(device, op)?), reason })
}
