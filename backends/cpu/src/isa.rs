//! Instruction sets: which there are, which this machine has, and which is used.

use mxhal_core::{Error, Result};

use crate::kernel::Kernels;

/// An instruction set that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// What every machine of the architecture has.
    Portable,
    /// x86: AVX2 with FMA.
    Avx2,
    /// x86: AVX-512 F, BW, DQ, VL, VBMI, VNNI and BF16: Zen 4, Cooper Lake and Sapphire Rapids, and what came after.
    Avx512,
}

impl Isa {
    /// From the least to the best one. NEON, with its integer and BF16 products, would be the next of them.
    pub(crate) const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }

    /// Those that run here.
    pub(crate) fn available() -> impl DoubleEndedIterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| Kernels::of(*isa).is_some())
    }

    /// The one that `option` names, or without it the best that runs here.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for one that does not run here; the message
    /// lists those that do.
    pub(crate) fn choose(option: Option<&str>) -> Result<Kernels> {
        let found = match option {
            None => Self::available().next_back(),
            Some(name) => Self::available().find(|isa| isa.name() == name.trim()),
        };
        found.and_then(Kernels::of).ok_or_else(|| {
            let names: Vec<&str> = Self::available().map(Self::name).collect();
            Error::invalid(format!(
                "option `isa` is `{}`; this machine runs `{}`",
                option.unwrap_or_default(),
                names.join("`, `")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_runs_the_portable_one_and_chooses_its_best() {
        assert_eq!(Isa::choose(Some("portable")).unwrap().isa, Isa::Portable);
        assert_eq!(Some(Isa::choose(None).unwrap().isa), Isa::available().last());
        let error = Isa::choose(Some("avx1024")).err().unwrap();
        assert!(error.message().contains("`avx1024`") && error.message().contains("`portable`"), "{error}");
    }
}
