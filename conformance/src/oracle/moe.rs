//! MoeFfn: the chain of DeepSeek's own inference code, with its roundings.

use super::combine::combine;
use super::format::Float;
use super::matmul::matmul;
use super::permute::permute;
use super::quantize::quantize_dequantize;
use super::swiglu::SwiGlu;
use super::{Error, Matrix, Quantization, expect_size};

/// The decoded weights of an expert.
#[derive(Clone, Debug, PartialEq)]
pub struct Expert {
    /// `[2 · inner, hidden]`: gate rows, then up rows, or the two alternating, as [`SwiGlu::interleaved`] says.
    pub gate_up: Matrix,
    /// `[2 · inner]`.
    pub gate_up_bias: Option<Vec<f64>>,
    /// `[hidden, inner]`.
    pub down: Matrix,
    /// `[hidden]`.
    pub down_bias: Option<Vec<f64>>,
}

/// An expert that every token passes; its gate rows come before its up rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    /// Its weights.
    pub expert: Expert,
    /// Whether its SwiGLU has the limit of the others.
    pub clamped: bool,
}

/// A feed-forward layer of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct Moe {
    /// The experts here.
    pub experts: Vec<Expert>,
    /// The expert that every token passes.
    pub shared: Option<Shared>,
    /// What is multiplied, in both products; a plain float format for none.
    pub activation: Quantization,
    /// The SwiGLU of the experts.
    pub swiglu: SwiGlu,
    /// Whether the routing weight multiplies the SwiGLU's output (DeepSeek), or that of the down projection (gpt-oss).
    pub weight_before_down: bool,
}

impl Moe {
    /// `y [tokens, hidden]`, not rounded, of `x [tokens, hidden]` (BF16), `ids` and `weights` `[tokens, top_k]`.
    ///
    /// An id is a local expert's, or −1 for an expert that is not here; whoever has an expert map applies it first.
    /// Gate and up are rounded to BF16; SwiGLU to float32, its product with the routing weight again, then to BF16;
    /// the down projection to BF16. As in the code that it follows, a value passes float32 on its way to BF16.
    ///
    /// # Errors
    /// [`Error::Shape`] where sizes do not belong together, [`Error::Id`] for an expert that does not exist, and what
    /// quantizing refuses.
    pub fn apply(&self, x: &Matrix, ids: &[i32], weights: &[f64]) -> Result<Matrix, Error> {
        let top_k = self.top_k(x, ids, weights)?;
        let permutation = permute(ids, top_k, self.experts.len())?;
        let mut rows = Matrix::zeros(0, x.columns);
        for (expert, &count) in self.experts.iter().zip(&permutation.counts) {
            let routes = &permutation.source[rows.rows..][..count];
            let routes: Vec<usize> = routes.iter().map(|&route| route as usize).collect();
            let tokens: Vec<usize> = routes.iter().map(|route| route / top_k).collect();
            let before: Vec<f64> = routes.iter().map(|&route| Float::F32.round(weights[route])).collect();
            let before = self.weight_before_down.then_some(&before[..]);
            rows = rows.stack(&self.expert(&x.gather(&tokens), expert, self.swiglu, before)?)?;
        }
        let shared = match &self.shared {
            Some(shared) => Some(self.expert(x, &shared.expert, self.shared_swiglu(shared), None)?),
            None => None,
        };
        let after = self.weights_after(weights);
        Ok(combine(&rows, &after, &permutation.positions, top_k, shared.as_ref())?.values())
    }

    /// How many experts a token has.
    pub(crate) fn top_k(&self, x: &Matrix, ids: &[i32], weights: &[f64]) -> Result<usize, Error> {
        let top_k = ids.len() / x.rows.max(1);
        expect_size("the ids", x.rows * top_k, ids.len())?;
        expect_size("the routing weights", ids.len(), weights.len())?;
        Ok(top_k)
    }

    /// What the experts' outputs are multiplied by.
    pub(crate) fn weights_after(&self, weights: &[f64]) -> Vec<f64> {
        let after = |&weight| if self.weight_before_down { 1.0 } else { Float::F32.round(weight) };
        weights.iter().map(after).collect()
    }

    pub(crate) fn shared_swiglu(&self, shared: &Shared) -> SwiGlu {
        let limit = if shared.clamped { self.swiglu.limit } else { 0.0 };
        SwiGlu { limit, interleaved: false, ..self.swiglu }
    }

    fn expert(
        &self,
        x: &Matrix,
        expert: &Expert,
        swiglu: SwiGlu,
        weights: Option<&[f64]>,
    ) -> Result<Matrix, Error> {
        let gate_up = self.project(x, &expert.gate_up, expert.gate_up_bias.as_deref())?;
        let mut h = swiglu.apply(&gate_up, None)?.map(|value| Float::F32.round(value));
        if let Some(weights) = weights {
            for (row, weight) in h.values.chunks_mut(h.columns.max(1)).zip(weights) {
                row.iter_mut().for_each(|value| *value = Float::F32.round(*value * weight));
            }
        }
        self.project(&h.map(|value| Float::BF16.round(value)), &expert.down, expert.down_bias.as_deref())
    }

    /// A product under the activation scheme, rounded to BF16.
    fn project(&self, x: &Matrix, w: &Matrix, bias: Option<&[f64]>) -> Result<Matrix, Error> {
        let product = if self.activation.is_none() {
            matmul(x, w, bias)?
        } else {
            matmul(&quantize_dequantize(x, self.activation)?, w, bias)?
        };
        let values = product.sums.iter().map(|sum| Float::BF16.round(sum.round(Float::F32)));
        Matrix::new(product.rows, product.columns, values.collect())
    }
}
