//! The suites: each lists its cases for a seed.

pub mod abi;
pub mod accumulator;
pub mod bounded;
pub mod determinism;
pub mod exact;
pub mod memory;
pub mod sequence;
pub mod shapes;
pub mod special;
pub mod support;

use std::fmt;

use crate::case::Case;
use crate::checkpoint;

/// A suite.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SuiteKind {
    /// Identity, negotiation, handles, errors.
    Abi,
    /// Red zones, poison, inputs unchanged.
    Memory,
    /// Equality of bits.
    Exact,
    /// Error over computed bound.
    Bounded,
    /// Shapes at the edge, and those of real models.
    Shapes,
    /// NaN scales, range ends, signed zero.
    Special,
    /// Random programs over shared streams and a shared workspace.
    Sequence,
    /// What the backend declared of its bits.
    Determinism,
    /// Yes means it runs, no means it refuses.
    Support,
    /// Golden checkpoints, end to end.
    Checkpoint,
}

impl SuiteKind {
    /// Every suite, in the order in which they run.
    pub const ALL: [Self; 10] = [
        Self::Abi,
        Self::Memory,
        Self::Exact,
        Self::Bounded,
        Self::Shapes,
        Self::Special,
        Self::Sequence,
        Self::Determinism,
        Self::Support,
        Self::Checkpoint,
    ];

    /// Its name, with which its cases' names begin.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abi => "abi",
            Self::Memory => "memory",
            Self::Exact => "exact",
            Self::Bounded => "bounded",
            Self::Shapes => "shapes",
            Self::Special => "special",
            Self::Sequence => "sequence",
            Self::Determinism => "determinism",
            Self::Support => "support",
            Self::Checkpoint => "checkpoint",
        }
    }

    /// Its cases. The same seed gives the same list.
    pub fn cases(self, seed: u64) -> Vec<Case> {
        match self {
            Self::Abi => abi::cases(seed),
            Self::Memory => memory::cases(seed),
            Self::Exact => exact::cases(seed),
            Self::Bounded => bounded::cases(seed),
            Self::Shapes => shapes::cases(seed),
            Self::Special => special::cases(seed),
            Self::Sequence => sequence::cases(seed),
            Self::Determinism => determinism::cases(seed),
            Self::Support => support::cases(seed),
            Self::Checkpoint => checkpoint::cases(seed),
        }
    }
}

impl fmt::Display for SuiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
