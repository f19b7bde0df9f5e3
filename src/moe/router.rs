//! The router of a layer: logits, then expert ids and weights.

use std::sync::Arc;

use mxhal_core::op::{Extent, Matmul, MatmulPlan, MatmulTensors, Operators, Route, RoutePlan, RouteTensors};
use mxhal_core::{
    Device, Error, Format, HostTensor, Layout, Quantization, Result, Span, Stream, Tensor, Weights,
    WeightsDesc,
};

use super::memory::{Constant, Rows};
use crate::checkpoint::{MoeLayerTensors, TokenTable};

/// Logits are a product of BF16 by BF16, exact but for the rounding of its float32 sum.
pub(super) struct Router {
    weight: Arc<dyn Weights>,
    logits_plan: MatmulPlan,
    logit_bias: Option<Constant>,
    logits: Rows,
    route_plan: RoutePlan,
    choice_bias: Option<Constant>,
    by_token: Option<TokenTable>,
    ids: Rows,
    weights: Rows,
}

impl Router {
    pub(super) fn prepare(
        device: &Arc<dyn Device>,
        stream: &dyn Stream,
        layer: &MoeLayerTensors<'_>,
        max_tokens: usize,
    ) -> Result<Self> {
        let (experts, hidden, top_k, from) = (layer.experts, layer.hidden, layer.top_k, &layer.router);
        if let Some(table) = &from.by_token
            && table.top_k() != top_k
        {
            return Err(Error::invalid(format!(
                "the table of experts by token id has {} for each, and top_k is {top_k}",
                table.top_k()
            )));
        }
        let logits_plan = device.matmul(Matmul {
            m: max_tokens,
            n: experts,
            k: hidden,
            input: Format::Bf16,
            weight: Format::Bf16,
            output: Format::F32,
            bias: from.logit_bias.is_some(),
            activation: Quantization::none(),
        })?;
        let route_plan = device.route(Route {
            tokens: max_tokens,
            experts,
            top_k,
            score: from.score,
            bias: from.choice_bias.is_some(),
            ids_given: from.by_token.is_some(),
            renormalize: from.renormalize,
            scale: from.scale,
        })?;

        let desc =
            WeightsDesc { format: Format::Bf16, groups: 1, n: experts, k: hidden, activation: Format::Bf16 };
        let layout = Layout::contiguous(Format::Bf16, &[experts, hidden])?;
        let weight = device.prepare_weights(&desc, &[HostTensor::new(layout, &from.weight, &[], &[])?])?;
        let constant = |values: &Option<Vec<f32>>| {
            values.as_ref().map(|values| Constant::new(device, stream, &[experts], values)).transpose()
        };
        let slots = [Extent::PerRow(1), Extent::Fixed(top_k)];
        let rows = |format, shape: &[Extent]| Rows::new(device, format, shape, max_tokens);
        Ok(Self {
            weight,
            logits_plan,
            logit_bias: constant(&from.logit_bias).map_err(|error| error.within("the bias of logits"))?,
            logits: rows(Format::F32, &[Extent::PerRow(1), Extent::Fixed(experts)])?,
            route_plan,
            choice_bias: constant(&from.choice_bias).map_err(|error| error.within("the bias of scores"))?,
            by_token: from.by_token.clone(),
            ids: rows(Format::I32, &slots)?,
            weights: rows(Format::F32, &slots)?,
        })
    }

    /// Enqueues the choice of experts for the rows of `x`.
    pub(super) fn run(
        &self,
        stream: &dyn Stream,
        x: Tensor,
        ids_given: Option<Tensor>,
        workspace: Span,
    ) -> Result<Routing> {
        let tokens = x.layout().rows();
        let logits = self.logits.view(tokens)?;
        let routing = Routing { ids: self.ids.view(tokens)?, weights: self.weights.view(tokens)? };
        let bias = self.logit_bias.as_ref().map(Constant::tensor);
        let product = MatmulTensors { a: x, bias, y: logits };
        self.logits_plan.run(stream, product, [&*self.weight], workspace)?;
        let choice = RouteTensors {
            logits,
            bias: self.choice_bias.as_ref().map(Constant::tensor),
            ids_given,
            ids: routing.ids,
            weights: routing.weights,
        };
        self.route_plan.run(stream, choice, [], workspace)?;
        Ok(routing)
    }

    /// The table from which experts are looked up, where they are not chosen by score.
    pub(super) const fn by_token(&self) -> Option<&TokenTable> {
        self.by_token.as_ref()
    }

    pub(super) fn workspace_bytes(&self) -> u64 {
        self.logits_plan.info().workspace_bytes.max(self.route_plan.info().workspace_bytes)
    }

    pub(super) fn weight_bytes(&self) -> u64 {
        self.weight.bytes()
    }
}

/// Which experts a run chose: memory of the layer, good until its next run.
#[derive(Clone, Copy, Debug)]
pub struct Routing {
    /// I32 `[tokens, top_k]`.
    pub ids: Tensor,
    /// F32 `[tokens, top_k]`.
    pub weights: Tensor,
}
