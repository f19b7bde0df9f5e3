//! The products by name, with memory and cores (the platform configuration files of the runtime).

/// An SoC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) soc: &'static str,
    pub(crate) cube_cores: i64,
    pub(crate) memory: usize,
    pub(crate) l2: i64,
}

const GIB: usize = 1 << 30;
const MIB: i64 = 1 << 20;

const fn of(soc: &'static str, cube_cores: i64, gib: usize, l2_mib: i64) -> Product {
    Product { soc, cube_cores, memory: gib * GIB, l2: l2_mib * MIB }
}

/// The last two have no MX formats and are there to be refused; their sizes, and the L2 of the small ones, are not sourced.
const PRODUCTS: [Product; 16] = [
    of("Ascend950PR_9599", 36, 128, 128),
    of("Ascend950PR_9589", 32, 128, 128),
    of("Ascend950PR_9579", 28, 128, 128),
    of("Ascend950PR_958b", 32, 112, 112),
    of("Ascend950PR_957b", 28, 112, 112),
    of("Ascend950PR_957c", 28, 84, 112),
    of("Ascend950PR_957d", 28, 96, 96),
    of("Ascend950PR_950z", 4, 24, 32),
    of("Ascend950DT_9591", 36, 144, 128),
    of("Ascend950DT_95A1", 36, 144, 128),
    of("Ascend950DT_9581", 32, 144, 128),
    of("Ascend950DT_9582", 32, 96, 128),
    of("Ascend950DT_9592", 36, 96, 128),
    of("Ascend950DT_950x", 8, 24, 32),
    of("Ascend910B1", 24, 64, 192),
    of("Ascend910_9391", 24, 64, 192),
];

impl Product {
    pub(crate) fn named(soc: &str) -> Option<Self> {
        PRODUCTS.iter().copied().find(|product| product.soc == soc)
    }

    pub(crate) fn names() -> String {
        PRODUCTS.map(|product| product.soc).join(", ")
    }

    /// Whether the MX formats and their operators are there.
    pub(crate) fn has_mx(&self) -> bool {
        self.soc.starts_with("Ascend950")
    }

    /// `NpuArch` of the platform files; 2201 is that of the 910B.
    pub(crate) fn npu_arch(&self) -> i64 {
        if self.has_mx() { 3510 } else { 2201 }
    }
}
