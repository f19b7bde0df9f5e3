//! Route: `aclnnMoeGatingTopKV2`, and a kernel of ours for what it lacks.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::{Gate, MoeGatingTopK};
use mxhal_core::op::{Route, Score};
use mxhal_core::{Reason, Refusal, Result};
use mxhal_kernels_ascend::parameters;

use super::{Execute, Run};
use crate::constants::Constant;
use crate::session::Session;
use crate::support::{Means, Offer, refuse};

/// The most experts that CANN scores.
const MAX_EXPERTS: usize = 2048;

impl Execute for Route {
    fn check(&self, offer: &Offer) -> Result<Means, Refusal> {
        let Err(why) = gate_of(self, offer) else { return Ok(Means::Cann) };
        if self.score == Score::Softmax {
            return Err(why);
        }
        if self.experts > parameters::Route::MOST_EXPERTS {
            let most = parameters::Route::MOST_EXPERTS;
            return refuse(Reason::Shape, format!("experts is {}; a core has room for {most}", self.experts));
        }
        match offer.needs_kernels() {
            Ok(()) => Ok(Means::Kernels),
            Err(missing) => refuse(Reason::Library, format!("{}; without it {}", why.text, missing.text)),
        }
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
        let Ok(gate) = gate_of(self, session.offer()) else {
            return enqueue_kernel(self, session, run);
        };
        let (tokens, top_k) = (run.rows, self.top_k);
        let logits = session.input(run.operand(0)?)?;
        let logits = session.tensor(DataType::Float, &[tokens, self.experts], logits)?;
        let bias = run.optional(1).map(|bias| session.tensor(DataType::Float, &[self.experts], bias.data));
        let bias = bias.transpose()?;
        // CANN looks ids up in a table by token id: the given ids are the table, and the tokens count from 0.
        let given = match run.optional(2) {
            Some(given) => {
                let given = session.input(given)?;
                let table = session.tensor(DataType::Int32, &[tokens, top_k], given)?;
                let count = session.constant(Constant::Count(self.tokens))?;
                Some((session.tensor(DataType::Int32, &[tokens], count)?, table))
            }
            None => None,
        };
        let ids = session.output(run.operand(3)?)?;
        let ids = session.tensor(DataType::Int32, &[tokens, top_k], ids)?;
        let weights = session.output(run.operand(4)?)?;
        let weights = session.tensor(DataType::Float, &[tokens, top_k], weights)?;

        let mut gating = MoeGatingTopK::new(&logits, top_k as i64, gate, &weights, &ids);
        gating.bias = bias.as_ref();
        gating.input_ids = given.as_ref().map(|(tokens, _)| tokens);
        gating.token_to_expert = given.as_ref().map(|(_, table)| table);
        gating.renorm = self.renormalize;
        gating.routed_scaling_factor = self.scale.into();
        // The sum is divided by as it is.
        gating.eps = 0.0;
        session.run(gating.prepare(session.context()))
    }
}

/// CANN's gate, or why it has none.
fn gate_of(op: &Route, offer: &Offer) -> Result<Gate, Refusal> {
    let gate = match op.score {
        Score::Softmax => Gate::Softmax,
        Score::Sigmoid => Gate::Sigmoid,
        Score::SqrtSoftplus => Gate::SqrtSoftplus,
        score => {
            let text = format!(
                "CANN has no {score}: it chooses by the softmax over all experts, in which logits far below the largest are \
                 all 0"
            );
            return refuse(Reason::Attribute, text);
        }
    };
    if gate != Gate::Softmax && !op.renormalize {
        let text = format!("CANN always divides the weights of {} by their sum", op.score);
        return refuse(Reason::Attribute, text);
    }
    if op.experts > MAX_EXPERTS {
        let text = format!("experts is {}; CANN scores at most {MAX_EXPERTS}", op.experts);
        return refuse(Reason::Shape, text);
    }
    offer.needs(Operator::MoeGatingTopK, if op.ids_given { &[2] } else { &[1, 2] })?;
    Ok(gate)
}

fn enqueue_kernel(op: &Route, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
    let mut optional = |place| run.optional(place).map_or(Ok(0), |operand| session.input(operand));
    let (bias, given) = (optional(1)?, optional(2)?);
    let logits = session.input(run.operand(0)?)?;
    let (ids, weights) = (session.output(run.operand(3)?)?, session.output(run.operand(4)?)?);
    session.launch(&parameters::Route {
        logits,
        bias,
        given,
        ids,
        weights,
        tokens: run.rows as u64,
        experts: op.experts as u64,
        top_k: op.top_k as u64,
        score: op.score as u64,
        renormalize: op.renormalize.into(),
        scale: op.scale.to_bits().into(),
    })
}
