//! Profiles: what a backend must do, and what it may claim.

use std::fmt;
use std::str::FromStr;

/// A must-pass list.
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
pub enum Profile {
    /// MXFP4 Core: what every backend must do.
    Core,
    /// The fused layer, `moe-ffn`.
    Fused,
    /// Activations in MXFP4.
    W4a4,
    /// NVFP4 weights and activations.
    Nvfp4,
    /// Activations in MXINT8: the fast scheme of CPUs, which much hardware lacks.
    Mxint8,
    /// Weights of eight bits, MXFP8 and MXINT8.
    W8,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 6] = [Self::Core, Self::Fused, Self::W4a4, Self::Nvfp4, Self::Mxint8, Self::W8];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Fused => "fused",
            Self::W4a4 => "w4a4",
            Self::Nvfp4 => "nvfp4",
            Self::Mxint8 => "mxint8",
            Self::W8 => "w8",
        }
    }

    /// Whether a case of that profile must pass for this one: its own, and Core's.
    pub fn contains(self, other: Self) -> bool {
        other == self || other == Self::Core
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|profile| profile.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|profile| profile.name()).collect();
            format!("`{name}` is not a profile; the profiles are {}", names.join(", "))
        })
    }
}
