//! The table of kernels.

use core::fmt;

use crate::parameters::{
    CombineParameters, DequantizeParameters, MoeParameters, PermuteParameters, PermuteRowsParameters,
    ProductParameters, QuantizeParameters, RouteParameters, SwiGluParameters, TensorProductParameters,
};

/// What device code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Hopper: `sm_90a`.
    Hopper,
    /// Blackwell with tensor memory: `sm_100f`, which is `sm_100` and `sm_103`.
    Blackwell100,
    /// Blackwell without: `sm_120f`, which is `sm_120` and `sm_121`.
    Blackwell120,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 3] = [Self::Hopper, Self::Blackwell100, Self::Blackwell120];

    /// The target whose code runs on a device of this compute capability, if there is one.
    pub const fn of_compute_capability(major: u32, minor: u32) -> Option<Self> {
        match (major, minor) {
            (9, 0) => Some(Self::Hopper),
            (10, 0 | 3) => Some(Self::Blackwell100),
            (12, 0 | 1) => Some(Self::Blackwell120),
            _ => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hopper => "sm_90a",
            Self::Blackwell100 => "sm_100f",
            Self::Blackwell120 => "sm_120f",
        })
    }
}

/// One kernel of the device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The symbol's name.
    pub name: &'static str,
    /// Bytes of its one parameter.
    pub parameter_bytes: usize,
    /// Threads of a block.
    pub threads: u32,
    /// Where it runs; on other targets it is in the device code and traps.
    pub targets: &'static [Target],
}

const EVERYWHERE: &[Target] = &Target::ALL;
const SM_90: &[Target] = &[Target::Hopper];
const SM_100: &[Target] = &[Target::Blackwell100];
const SM_120: &[Target] = &[Target::Blackwell120];

macro_rules! kernels {
    ($($name:literal $parameters:ty, $threads:literal, $targets:ident;)*) => {
        /// Every kernel of the device code, by name.
        pub const KERNELS: &[Kernel] = &[$(Kernel {
            name: $name,
            parameter_bytes: size_of::<$parameters>(),
            threads: $threads,
            targets: $targets,
        }),*];
    };
}

kernels! {
    // name                parameters          threads  targets
    "combine"              CombineParameters,      256, EVERYWHERE;
    "combine_elements"     CombineParameters,      256, EVERYWHERE;
    "decode_bf16"          ProductParameters,      256, EVERYWHERE;
    "decode_mxfp4"         ProductParameters,      256, EVERYWHERE;
    "decode_mxfp8"         ProductParameters,      256, EVERYWHERE;
    "decode_mxint8"        ProductParameters,      256, EVERYWHERE;
    "dequantize"           DequantizeParameters,   256, EVERYWHERE;
    "dequantize_elements"  DequantizeParameters,   256, EVERYWHERE;
    "moe_down"             MoeParameters,          256, EVERYWHERE;
    "moe_gate_up"          MoeParameters,          256, EVERYWHERE;
    "nvfp4_factors"        QuantizeParameters,     256, EVERYWHERE;
    "permute_count"        PermuteParameters,      256, EVERYWHERE;
    "permute_place"        PermuteParameters,      256, EVERYWHERE;
    "permute_rows"         PermuteRowsParameters,  128, EVERYWHERE;
    "product_nvfp4_128"    ProductParameters,      256, SM_120;
    "product_nvfp4_32"     ProductParameters,      256, SM_120;
    "product_tensor_nvfp4_128" TensorProductParameters, 160, SM_100;
    "product_tensor_nvfp4_256" TensorProductParameters, 160, SM_100;
    "product_tensor_nvfp4_32"  TensorProductParameters, 160, SM_100;
    "product_tensor_w4a16_128" TensorProductParameters, 160, SM_100;
    "product_tensor_w4a16_256" TensorProductParameters, 160, SM_100;
    "product_tensor_w4a16_32"  TensorProductParameters, 160, SM_100;
    "product_tensor_w4a4_128"  TensorProductParameters, 160, SM_100;
    "product_tensor_w4a4_256"  TensorProductParameters, 160, SM_100;
    "product_tensor_w4a4_32"   TensorProductParameters, 160, SM_100;
    "product_tensor_w4a8_128"  TensorProductParameters, 160, SM_100;
    "product_tensor_w4a8_256"  TensorProductParameters, 160, SM_100;
    "product_tensor_w4a8_32"   TensorProductParameters, 160, SM_100;
    "product_w4a4_128"     ProductParameters,      256, SM_120;
    "product_w4a4_32"      ProductParameters,      256, SM_120;
    "product_w4a8_128"     ProductParameters,      256, SM_120;
    "product_w4a8_32"      ProductParameters,      256, SM_120;
    "product_wgmma_bf16_128"  ProductParameters,   256, SM_90;
    "product_wgmma_bf16_32"   ProductParameters,   256, SM_90;
    "product_wgmma_mx_128"    ProductParameters,   256, SM_90;
    "product_wgmma_mx_32"     ProductParameters,   256, SM_90;
    "product_wgmma_mxfp4_128" ProductParameters,   256, SM_90;
    "product_wgmma_mxfp4_32"  ProductParameters,   256, SM_90;
    "product_wide"         ProductParameters,      128, EVERYWHERE;
    "quantize"             QuantizeParameters,     256, EVERYWHERE;
    "route"                RouteParameters,         32, EVERYWHERE;
    "swiglu"               SwiGluParameters,       256, EVERYWHERE;
    "swiglu_elements"      SwiGluParameters,       256, EVERYWHERE;
}

impl Kernel {
    /// The kernel of this name, if there is one.
    pub fn named(name: &str) -> Option<&'static Self> {
        KERNELS.iter().find(|kernel| kernel.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_lead_back() {
        assert!(KERNELS.is_sorted_by(|a, b| a.name < b.name));
        for kernel in KERNELS {
            assert_eq!(Kernel::named(kernel.name), Some(kernel));
        }
        assert_eq!(Kernel::named("nothing"), None);
    }

    #[test]
    fn capabilities_have_targets() {
        assert_eq!(Target::of_compute_capability(12, 1), Some(Target::Blackwell120));
        assert_eq!(Target::of_compute_capability(8, 9), None);
    }
}
