//! Route: `aclnnMoeGatingTopKV2`.

use mxhal_cann::library::Operator;
use mxhal_cann::safe::DataType;
use mxhal_cann::safe::op::{Gate, MoeGatingTopK};
use mxhal_core::op::{Route, Score};
use mxhal_core::{Reason, Refusal, Result};

use super::{Execute, Run};
use crate::constants::Constant;
use crate::session::Session;
use crate::support::{Offer, refuse};

/// The most experts that CANN scores.
const MAX_EXPERTS: usize = 2048;

impl Execute for Route {
    fn check(&self, offer: &Offer) -> Result<(), Refusal> {
        let gate = gate(self.score)?;
        if gate != Gate::Softmax && !self.renormalize {
            let text = format!("CANN always divides the weights of {} by their sum", self.score);
            return refuse(Reason::Attribute, text);
        }
        if self.experts > MAX_EXPERTS {
            let text = format!("experts is {}; CANN scores at most {MAX_EXPERTS}", self.experts);
            return refuse(Reason::Shape, text);
        }
        offer.needs(Operator::MoeGatingTopK, if self.ids_given { &[2] } else { &[1, 2] })
    }

    fn enqueue(&self, session: &mut Session<'_>, run: &Run<'_>) -> Result<()> {
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

        let gate = gate(self.score).map_err(|refusal| refusal.to_error())?;
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

fn gate(score: Score) -> Result<Gate, Refusal> {
    Ok(match score {
        Score::Softmax => Gate::Softmax,
        Score::Sigmoid => Gate::Sigmoid,
        Score::SqrtSoftplus => Gate::SqrtSoftplus,
        _ => {
            let text = format!(
                "{score} is not offered: CANN chooses by the softmax over all experts, in which logits far below the largest \
                 are all 0"
            );
            return refuse(Reason::Attribute, text);
        }
    })
}
