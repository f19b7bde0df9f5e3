//! What came of a case.

use std::collections::BTreeMap;

use mxhal_core::{Error, Status};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a case found, as the worker that ran it says. Crashes and timeouts are what its parent adds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Pass(Measures),
    /// Not as it should be.
    Fail(Failure),
    /// The backend says that it cannot, and why; `reason` is the name of a `mxhal_reason`.
    NotSupported {
        /// The kind of reason.
        reason: String,
        /// The backend's words.
        text: String,
    },
    /// The device failed under it.
    DeviceLost {
        /// The backend's words.
        text: String,
    },
    /// It did not apply, and why.
    Skipped {
        /// Why.
        text: String,
    },
}

/// What was measured on the way.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Measures {
    /// Output elements that were compared.
    pub elements: u64,
    /// The worst error divided by its computed bound; absent in the exact tier.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error_over_bound: Option<f64>,
    /// SHA-256 of the outputs, where every backend must give the same bits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
    /// Anything else worth printing, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub properties: BTreeMap<String, String>,
}

/// What was wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// A sentence: what was seen, and what was expected.
    pub message: String,
    /// The tensor in which it was seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tensor: Option<String>,
    /// The place of the worst element, outermost index first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub index: Vec<usize>,
    /// The block within the row, where the tensor has blocks and one of them is to blame: its scale, if the place has no
    /// column.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub block: Option<usize>,
    /// What was expected there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected: Option<String>,
    /// What came.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub got: Option<String>,
    /// The computed bound on their difference.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bound: Option<f64>,
    /// How many elements were wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wrong_elements: Option<u64>,
}

impl Failure {
    /// A failure that is said in a sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// Where it was seen: `y[3, 40], block 1`; empty where that is not known.
    pub fn place(&self) -> String {
        let Some(tensor) = &self.tensor else { return String::new() };
        let mut place = tensor.clone();
        if !self.index.is_empty() {
            place.push_str(&format!("{:?}", self.index));
        }
        if let Some(block) = self.block {
            place.push_str(&format!(", block {block}"));
        }
        place
    }
}

/// A number as failures show it: in full, or with a power of ten where that would be long.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e9).contains(&size) || !size.is_finite() {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

impl From<Error> for Outcome {
    /// An error where none should be: a failure, or a lost device.
    fn from(error: Error) -> Self {
        match error.status() {
            Status::DeviceLost => Self::DeviceLost { text: error.to_string() },
            _ => Self::Fail(Failure::new(error.to_string())),
        }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Fail(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_lead_back() {
        let shown = [3.0, -0.0, 41.25, -5947.05, 1e-7, 1e300, f64::INFINITY].map(number);
        assert_eq!(shown, ["3", "-0", "41.25", "-5947.05", "1e-7", "1e300", "inf"]);
    }
}
