//! A trial: a numeric case with its data in it.

use mxhal_core::{HostBuffer, Op};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::descriptor;
use crate::opcase::tensor::layout;
use crate::opcase::{DataRecipe, Inputs, OpCase, Question, Tier};
use crate::outcome::Outcome;
use crate::subject::Subject;

/// A numeric case and what its tensors and weights hold, byte by byte: the same question wherever it is asked, also by
/// a later suite that draws other data.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What is asked. Its recipe says only how the data came to be.
    pub case: OpCase,
    /// What the recipe was drawn from; it also chooses the columns of a product that are compared.
    pub seed: u64,
    /// The data.
    pub inputs: Inputs,
}

impl Trial {
    /// A case with the data that its recipe gives for a seed.
    pub fn new(case: &OpCase, seed: u64) -> Self {
        Self { inputs: case.data.inputs(&case.op, case.rows, seed), case: case.clone(), seed }
    }

    /// Asks it, in this process.
    pub fn run(&self, subject: &Subject) -> Outcome {
        self.case.run_on(subject, self.seed, &self.inputs)
    }

    /// SHA-256 of all input bytes, in hexadecimal: tensors, then weights, each its elements, scales and factors.
    pub fn inputs_sha256(&self) -> String {
        let mut hash = Sha256::new();
        for buffer in self.inputs.tensors.iter().flatten().chain(&self.inputs.weights) {
            for part in [&buffer.data, &buffer.scales, &buffer.factors] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes of all inputs.
    pub fn bytes(&self) -> usize {
        let buffers = self.inputs.tensors.iter().flatten().chain(&self.inputs.weights);
        buffers.map(|buffer| buffer.data.len() + buffer.scales.len() + buffer.factors.len()).sum()
    }
}

/// A trial as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialRecord {
    #[serde(with = "descriptor")]
    op: Op,
    rows: usize,
    tier: Tier,
    question: Question,
    row_gap: usize,
    sampled_columns: Option<usize>,
    recipe: DataRecipe,
    seed: u64,
    inputs_sha256: String,
    tensors: Vec<TensorRecord>,
    weights: Vec<TensorRecord>,
}

/// A tensor as JSON: its bytes in hexadecimal.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorRecord {
    /// The argument's name; that of weights is their place.
    name: String,
    /// For a reader; the operator decides.
    layout: String,
    elements: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    scales: String,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    factors: String,
}

impl From<&Trial> for TrialRecord {
    fn from(trial: &Trial) -> Self {
        let Trial { case, seed, inputs } = trial;
        let arguments = case.op.arguments();
        let named = arguments.iter().zip(&inputs.tensors);
        let tensors = named.filter_map(|(a, tensor)| Some(TensorRecord::new(a.name, tensor.as_ref()?)));
        let weights = inputs.weights.iter().enumerate();
        Self {
            op: case.op,
            rows: case.rows,
            tier: case.tier,
            question: case.question,
            row_gap: case.row_gap,
            sampled_columns: case.sampled_columns,
            recipe: case.data,
            seed: *seed,
            inputs_sha256: trial.inputs_sha256(),
            tensors: tensors.collect(),
            weights: weights.map(|(place, one)| TensorRecord::new(&place.to_string(), one)).collect(),
        }
    }
}

impl TrialRecord {
    /// The trial, if all of it fits together; else the field that does not, and how.
    pub(crate) fn into_trial(self) -> Result<Trial, String> {
        let Self { op, rows, tier, question, row_gap, sampled_columns, recipe, seed, .. } = self;
        if rows > op.max_rows() {
            return Err(format!(
                "`rows` is {rows}, and the operator is planned for at most {}",
                op.max_rows()
            ));
        }
        let mut given = self.tensors.into_iter();
        let mut tensors = Vec::new();
        for argument in op.arguments() {
            let wanted = argument.present && argument.role == mxhal_core::op::Role::Input;
            tensors.push(if wanted {
                let layout = argument.layout(rows).map_err(|error| format!("`op`: {error}"))?;
                Some(TensorRecord::read(given.next(), argument.name, "tensors", HostBuffer::zeroed(layout))?)
            } else {
                None
            });
        }
        if let Some(more) = given.next() {
            return Err(format!("`tensors` has `{}`, which the operator does not take", more.name));
        }
        let mut given = self.weights.into_iter();
        let mut weights = Vec::new();
        for (place, desc) in op.weights().iter().enumerate() {
            let zeroed = HostBuffer::zeroed(layout(desc.format, &[desc.groups, desc.n, desc.k]));
            weights.push(TensorRecord::read(given.next(), &place.to_string(), "weights", zeroed)?);
        }
        if let Some(more) = given.next() {
            return Err(format!("`weights` has `{}`, which the operator does not take", more.name));
        }
        let case = OpCase { op, rows, data: recipe, tier, row_gap, sampled_columns, question };
        let trial = Trial { case, seed, inputs: Inputs { rows, tensors, weights } };
        let found = trial.inputs_sha256();
        if found != self.inputs_sha256 {
            return Err(format!(
                "`inputs_sha256` is {}, and that of the tensors and weights is {found}: they were changed",
                self.inputs_sha256
            ));
        }
        Ok(trial)
    }
}

impl TensorRecord {
    fn new(name: &str, buffer: &HostBuffer) -> Self {
        Self {
            name: name.to_owned(),
            layout: buffer.layout.to_string(),
            elements: to_hexadecimal(&buffer.data),
            scales: to_hexadecimal(&buffer.scales),
            factors: to_hexadecimal(&buffer.factors),
        }
    }

    fn read(
        given: Option<Self>,
        name: &str,
        list: &str,
        mut buffer: HostBuffer,
    ) -> Result<HostBuffer, String> {
        let Some(given) = given else {
            return Err(format!("`{list}` lacks `{name}`, which is {}", buffer.layout));
        };
        if given.name != name {
            return Err(format!("`{list}` has `{}` where `{name}` belongs", given.name));
        }
        let one_factor = given.factors.len() == 8 && !buffer.factors.is_empty();
        let parts = [
            ("elements", given.elements, &mut buffer.data),
            ("scales", given.scales, &mut buffer.scales),
            ("factors", given.factors, &mut buffer.factors),
        ];
        for (part, text, bytes) in parts {
            let field = format!("`{list}` `{name}` `{part}`");
            let read = from_hexadecimal(&text).map_err(|place| {
                format!("{field}: character {place} and the next are no byte in hexadecimal")
            })?;
            if read.len() != bytes.len() && !(part == "factors" && one_factor) {
                let layout = buffer.layout;
                return Err(format!("{field}: {} bytes, and {layout} has {}", read.len(), bytes.len()));
            }
            *bytes = read;
        }
        Ok(buffer)
    }
}

fn to_hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes; else where a pair of digits is none.
fn from_hexadecimal(text: &str) -> Result<Vec<u8>, usize> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
    text.as_bytes()
        .chunks(2)
        .enumerate()
        .map(|(place, pair)| match *pair {
            [high, low] => digit(high).zip(digit(low)).map(|(high, low)| high << 4 | low).ok_or(2 * place),
            _ => Err(2 * place),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use mxhal_core::op::{Matmul, Permute};
    use mxhal_core::{Format, Quantization};

    use super::*;
    use crate::case::Body;
    use crate::opcase::{Load, Values};
    use crate::suite::SuiteKind;

    fn small() -> Trial {
        let each = Matmul { bias: true, ..Matmul::mxfp4(2, 3, 64, Quantization::none()) };
        Trial::new(&OpCase::new(each, Values::Ordinary, Tier::Bounded), 5)
    }

    fn back(text: &str) -> Result<Trial, String> {
        serde_json::from_str::<TrialRecord>(text).map_err(|error| error.to_string())?.into_trial()
    }

    #[test]
    fn trials_of_every_suite_lead_back() {
        for case in SuiteKind::ALL.into_iter().flat_map(|suite| suite.cases(3)).step_by(7) {
            let Body::Op(op_case) = &case.body else { continue };
            if op_case.op.work(op_case.rows).bytes() > 1 << 20 {
                continue;
            }
            let trial = Trial::new(op_case, case.seed);
            let text = serde_json::to_string(&TrialRecord::from(&trial)).unwrap();
            assert_eq!(back(&text).unwrap(), trial, "{}", case.name);
        }
    }

    #[test]
    fn ids_and_absent_tensors_lead_back() {
        let op = Permute {
            tokens: 3,
            columns: 32,
            experts: 2,
            top_k: 2,
            format: Format::Nvfp4,
            weights: false,
            mapped: Some(4),
        };
        let mut case = OpCase::new(op, Values::Exact { spread: 3 }, Tier::Exact);
        case.data.load = Load::OutOfRange;
        let trial = Trial::new(&case, 9);
        assert_eq!(back(&serde_json::to_string(&TrialRecord::from(&trial)).unwrap()).unwrap(), trial);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = serde_json::to_string_pretty(&TrialRecord::from(&small())).unwrap();
        let elements = to_hexadecimal(&small().inputs.weights[0].data);
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from} is not in {text}");
            back(&text.replacen(from, to, 1)).unwrap_err()
        };
        let shorter = refused(&elements, &elements[2..]);
        assert!(shorter.contains("`weights` `0` `elements`: 95 bytes"), "{shorter}");
        let letters = refused(&elements, &format!("xy{}", &elements[2..]));
        assert!(letters.contains("`weights` `0` `elements`: character 0"), "{letters}");
        let flipped = if elements.starts_with('0') { "1" } else { "0" };
        let changed = refused(&elements, &format!("{flipped}{}", &elements[1..]));
        assert!(changed.contains("`inputs_sha256`") && changed.contains("changed"), "{changed}");
        assert!(refused("\"name\": \"bias\"", "\"name\": \"bios\"").contains("`bios` where `bias` belongs"));
        assert!(refused("\"rows\": 2", "\"rows\": 3").contains("`rows` is 3"));
        assert!(refused("\"tier\"", "\"tear\"").contains("line"));
    }
}
