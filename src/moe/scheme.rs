//! Activation schemes by name.

use mxhal_core::{Format, Quantization};

/// The schemes that the command line and `config.toml` know, by the name of the format that activations take.
pub const SCHEMES: [&str; 6] = ["bf16", "mxfp8", "mxfp8-g128", "mxint8", "mxfp4", "nvfp4"];

/// DeepSeek's floor on the amax of an activation's block (`inference/kernel.py`, `act_quant`).
const DEEPSEEK_FLOOR: f32 = 1e-4;

/// What activations are quantized to, by name: `bf16` (not at all), `mxfp8` and `mxfp8-g128` (as DeepSeek does,
/// with a floor on amax of 1e-4), `mxint8`, `mxfp4` and `nvfp4` (no floor). Scales of all but NVFP4 are chosen by
/// [`ScaleRule::Ceil`](mxhal_core::ScaleRule::Ceil).
///
/// # Errors
///
/// [`UnknownScheme`], with the names that there are.
pub fn scheme(name: &str) -> Result<Quantization, UnknownScheme> {
    Ok(match name {
        "bf16" => Quantization::none(),
        "mxfp8" => Quantization::new(Format::Mxfp8).with_amax_floor(DEEPSEEK_FLOOR),
        "mxfp8-g128" => Quantization::new(Format::Mxfp8G128).with_amax_floor(DEEPSEEK_FLOOR),
        "mxint8" => Quantization::new(Format::Mxint8),
        "mxfp4" => Quantization::new(Format::Mxfp4),
        "nvfp4" => Quantization::new(Format::Nvfp4),
        _ => return Err(UnknownScheme(name.to_owned())),
    })
}

/// A name that is no activation scheme's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an activation scheme; the schemes are {known}", known = SCHEMES.join(", "))]
pub struct UnknownScheme(
    /// What was given.
    pub String,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_the_name_of_its_format() {
        for name in SCHEMES {
            let quantization = scheme(name).unwrap();
            assert_eq!(quantization.format.name(), name);
            assert_eq!(quantization.validate(), Ok(()));
        }
        assert_eq!(scheme("mxfp8-g128"), Ok(Quantization::deepseek()));
        assert_eq!(
            scheme("fp8").unwrap_err().to_string(),
            "`fp8` is not an activation scheme; the schemes are bf16, mxfp8, mxfp8-g128, mxint8, mxfp4, nvfp4"
        );
    }
}
