//! Which operators there are, in which version, and where they were found.

use core::fmt;
use std::path::{Path, PathBuf};

use libloading::os::unix::Library;

use crate::sys;

/// An operator that was looked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Availability {
    /// The operator.
    pub operator: Operator,
    /// Its versions, newest first.
    pub versions: Vec<Version>,
}

impl Availability {
    /// The newest version that is there.
    pub fn chosen(&self) -> Option<&Version> {
        self.versions.iter().find(|version| version.found.is_ok())
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chosen() {
            Some(Version { symbol, found: Ok(path), .. }) => {
                write!(f, "{}: {symbol}, in {}", self.operator, path.display())
            }
            _ => {
                write!(f, "{}: not available", self.operator)?;
                for version in &self.versions {
                    if let Err(reason) = &version.found {
                        write!(f, "; {}: {reason}", version.symbol)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// A version of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// The number in its name; 1 for a name without one.
    pub number: u32,
    /// The function that runs it; the one that prepares it has `GetWorkspaceSize` after that.
    pub symbol: &'static str,
    /// The library that has both functions, or why there is none.
    pub found: Result<PathBuf, String>,
}

/// The libraries that were opened for their operators, and those that could not be.
pub(super) struct Opened {
    pub(super) libraries: Vec<(PathBuf, Library)>,
    /// What is said of an operator that no library has.
    pub(super) nowhere: String,
}

impl Opened {
    /// The first library that has both functions of an operator.
    fn find(&self, run: &'static str, prepare: &'static str) -> Result<(&Path, &Library), String> {
        let mut half = None;
        for (path, library) in &self.libraries {
            match (has(library, run), has(library, prepare)) {
                (true, true) => return Ok((path, library)),
                (true, false) => half = Some((path, run, prepare)),
                (false, true) => half = Some((path, prepare, run)),
                (false, false) => {}
            }
        }
        Err(match half {
            Some((path, there, absent)) => format!("{} has {there}, but not {absent}", path.display()),
            None => self.nowhere.clone(),
        })
    }
}

fn has(library: &Library, symbol: &str) -> bool {
    let name = format!("{symbol}\0");
    // SAFETY: the address is not used.
    unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }.is_ok()
}

macro_rules! operators {
    ($(
        $(#[$doc:meta])*
        $operator:ident { $($number:literal $run:ident $prepare:ident,)+ }
    )+) => {
        /// The operators of aclnn that this crate knows, each in one or more versions.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Operator {
            $($(#[$doc])* $operator,)+
        }

        impl Operator {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$operator,)+];

            /// The name without its version, as aclnn has it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$operator => stringify!($operator),)+
                }
            }
        }

        /// Looks for each version of each operator; both its functions come from one library.
        pub(super) fn resolve(opened: &Opened) -> (sys::mxhal_aclnn_operators, Vec<Availability>) {
            let mut table = sys::mxhal_aclnn_operators::default();
            let mut all = Vec::with_capacity(Operator::ALL.len());
            $(
                let mut versions = Vec::new();
                $(
                    let symbol = stringify!($run);
                    let found = opened.find(symbol, stringify!($prepare)).map(|(path, library)| {
                        // SAFETY: symbols of these names are functions of CANN with these signatures; see the header.
                        unsafe {
                            table.$run = library.get(concat!(stringify!($run), "\0").as_bytes()).ok().map(|f| *f);
                            table.$prepare =
                                library.get(concat!(stringify!($prepare), "\0").as_bytes()).ok().map(|f| *f);
                        }
                        path.to_owned()
                    });
                    versions.push(Version { number: $number, symbol, found });
                )+
                all.push(Availability { operator: Operator::$operator, versions });
            )+
            for (_, library) in &opened.libraries {
                if table.aclnnNpuFormatCastCalculateSizeAndFormat.is_none() {
                    let name = c"aclnnNpuFormatCastCalculateSizeAndFormat";
                    // SAFETY: as above.
                    let function = unsafe { library.get(name.to_bytes_with_nul()) };
                    table.aclnnNpuFormatCastCalculateSizeAndFormat = function.ok().map(|f| *f);
                }
            }
            (table, all)
        }

        // All members but one stand above in pairs.
        const _: () = assert!(
            size_of::<sys::mxhal_aclnn_operators>()
                == ([$($(stringify!($run), stringify!($prepare),)+)+].len() + 1) * size_of::<usize>(),
            "an operator of the header is not in the list"
        );
    };
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

operators! {
    /// MX quantisation.
    DynamicMxQuant {
        3 aclnnDynamicMxQuantV3 aclnnDynamicMxQuantV3GetWorkspaceSize,
        2 aclnnDynamicMxQuantV2 aclnnDynamicMxQuantV2GetWorkspaceSize,
        1 aclnnDynamicMxQuant aclnnDynamicMxQuantGetWorkspaceSize,
    }
    /// MX dequantisation.
    AntiMxQuant {
        1 aclnnAntiMxQuant aclnnAntiMxQuantGetWorkspaceSize,
    }
    /// Quantised matmul.
    QuantMatmul {
        5 aclnnQuantMatmulV5 aclnnQuantMatmulV5GetWorkspaceSize,
    }
    /// Quantised matmul with a weight in FRACTAL_NZ.
    QuantMatmulWeightNz {
        1 aclnnQuantMatmulWeightNz aclnnQuantMatmulWeightNzGetWorkspaceSize,
    }
    /// Matmul of floating-point rows with a quantised weight.
    WeightQuantBatchMatmul {
        3 aclnnWeightQuantBatchMatmulV3 aclnnWeightQuantBatchMatmulV3GetWorkspaceSize,
        2 aclnnWeightQuantBatchMatmulV2 aclnnWeightQuantBatchMatmulV2GetWorkspaceSize,
    }
    /// One matmul per expert.
    GroupedMatmul {
        5 aclnnGroupedMatmulV5 aclnnGroupedMatmulV5GetWorkspaceSize,
        4 aclnnGroupedMatmulV4 aclnnGroupedMatmulV4GetWorkspaceSize,
    }
    /// One matmul per expert with weights in FRACTAL_NZ.
    GroupedMatmulWeightNz {
        1 aclnnGroupedMatmulWeightNz aclnnGroupedMatmulWeightNzGetWorkspaceSize,
    }
    /// Grouped matmul, SwiGLU and MX quantisation in one.
    GroupedMatmulSwigluQuant {
        2 aclnnGroupedMatmulSwigluQuantV2 aclnnGroupedMatmulSwigluQuantV2GetWorkspaceSize,
    }
    /// The same with weights in FRACTAL_NZ.
    GroupedMatmulSwigluQuantWeightNz {
        2 aclnnGroupedMatmulSwigluQuantWeightNzV2 aclnnGroupedMatmulSwigluQuantWeightNzV2GetWorkspaceSize,
    }
    /// SwiGLU, then MX quantisation.
    SwigluMxQuant {
        1 aclnnSwigluMxQuant aclnnSwigluMxQuantGetWorkspaceSize,
    }
    /// SwiGLU in floating point.
    SwiGlu {
        1 aclnnSwiGlu aclnnSwiGluGetWorkspaceSize,
    }
    /// The gate, by softmax, sigmoid or sqrt-softplus.
    MoeGatingTopK {
        2 aclnnMoeGatingTopKV2 aclnnMoeGatingTopKV2GetWorkspaceSize,
        1 aclnnMoeGatingTopK aclnnMoeGatingTopKGetWorkspaceSize,
    }
    /// The gate by softmax.
    MoeGatingTopKSoftmax {
        2 aclnnMoeGatingTopKSoftmaxV2 aclnnMoeGatingTopKSoftmaxV2GetWorkspaceSize,
        1 aclnnMoeGatingTopKSoftmax aclnnMoeGatingTopKSoftmaxGetWorkspaceSize,
    }
    /// Rows sorted by expert.
    MoeInitRouting {
        3 aclnnMoeInitRoutingV3 aclnnMoeInitRoutingV3GetWorkspaceSize,
        2 aclnnMoeInitRoutingV2 aclnnMoeInitRoutingV2GetWorkspaceSize,
    }
    /// The weighted sum of the experts' rows.
    MoeFinalizeRouting {
        2 aclnnMoeFinalizeRoutingV2 aclnnMoeFinalizeRoutingV2GetWorkspaceSize,
    }
    /// Rows sorted by expert, without counts.
    MoeTokenPermute {
        1 aclnnMoeTokenPermute aclnnMoeTokenPermuteGetWorkspaceSize,
    }
    /// The inverse of `MoeTokenPermute`.
    MoeTokenUnpermute {
        1 aclnnMoeTokenUnpermute aclnnMoeTokenUnpermuteGetWorkspaceSize,
    }
    /// A copy into another layout.
    NpuFormatCast {
        1 aclnnNpuFormatCast aclnnNpuFormatCastGetWorkspaceSize,
    }
}
