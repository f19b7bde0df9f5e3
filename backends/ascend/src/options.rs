//! What `config.toml` may say.

use std::path::PathBuf;

use mxhal_core::{Error, Result};

/// `[backend.options]` of `config.toml`.
///
/// | key | value | default |
/// | --- | --- | --- |
/// | `cann_path` | the folder of the CANN installation, with `lib64` in it; the only one that is looked at | `ASCEND_HOME_PATH`, then the usual places |
/// | `kernels` | the binary of mxhal's own kernels; the only one that is looked at | `mxhal_kernels.o` beside the plugin, then in `opp/vendors/mxhal` of the CANN folder |
/// | `w4a8` | how MXFP4 weights lie for MXFP8 activations: `expand`, as E4M3 (two times the memory; all outputs, biases and groups), or `native`, as E2M1 (single products to BF16 and F16 without a bias) | `expand` |
/// | `weights` | the layout of weights for quantized activations: `nd`, rows; or `nz`, FRACTAL_NZ, which takes the operators for it and `aclnnNpuFormatCast` | `nd` |
/// | `w4a16` | what multiplies BF16 activations: `kernel`, ours, on the vector units (every weight, output, bias and group), or `native`, CANN's, on the cube units (single MXFP4 matrices of an even number of rows, to BF16 without a bias) | `kernel` |
/// | `executors` | `once`: each run prepares CANN's executors; or `repeat`: a plan keeps those of earlier runs and gives them other addresses, where CANN lets it | `once` |
/// | `skipped_ids` | what is known of expert ids: `possible`, some may be -1, and a kernel of ours permutes because no operator of CANN takes them; or `never`, whoever calls permute promises that each is an expert's, and CANN's operators do | `possible` |
/// | `strided_rows` | what becomes of plain tensors whose rows lie apart: `copy`, row by row through the workspace, which plans then ask for; or `refuse`, when a plan is run | `copy` |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// `cann_path`.
    pub cann_path: Option<PathBuf>,
    /// `kernels`.
    pub kernels: Option<PathBuf>,
    /// `w4a8`.
    pub w4a8: W4a8,
    /// `weights`.
    pub weights: WeightLayout,
    /// `w4a16`.
    pub w4a16: W4a16,
    /// Whether `executors` is `repeat`.
    pub repeats_executors: bool,
    /// Whether `skipped_ids` is `never`.
    pub ids_are_never_skipped: bool,
    /// Whether `strided_rows` is `refuse`.
    pub refuses_strided_rows: bool,
}

/// How MXFP4 weights lie for MXFP8 activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum W4a8 {
    /// As E4M3, which holds each E2M1 number exactly: what CANN's products take with every output, bias and group.
    #[default]
    Expand,
    /// As E2M1.
    Native,
}

/// The layout of weights for quantized activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightLayout {
    /// Rows, as in checkpoints.
    #[default]
    Nd,
    /// FRACTAL_NZ: tiles.
    Nz,
}

/// What multiplies BF16 activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum W4a16 {
    /// A kernel of ours: every weight, output, bias and group.
    #[default]
    Kernel,
    /// `aclnnWeightQuantBatchMatmul`.
    Native,
}

impl Options {
    /// The keys.
    pub const KEYS: [&str; 8] =
        ["cann_path", "kernels", "w4a8", "w4a16", "weights", "executors", "skipped_ids", "strided_rows"];

    /// Reads keys and values.
    ///
    /// # Errors
    ///
    /// [`Status::InvalidArgument`](mxhal_core::Status::InvalidArgument) for a key or a value that is none of the table's.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self> {
        let mut options = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "cann_path" if value.is_empty() => {
                    return Err(Error::invalid("option `cann_path` is empty; it is a folder, or left out"));
                }
                "cann_path" => options.cann_path = Some(PathBuf::from(value)),
                "kernels" if value.is_empty() => {
                    return Err(Error::invalid("option `kernels` is empty; it is a file, or left out"));
                }
                "kernels" => options.kernels = Some(PathBuf::from(value)),
                "w4a16" => {
                    options.w4a16 =
                        one_of(key, value, [("kernel", W4a16::Kernel), ("native", W4a16::Native)])?;
                }
                "w4a8" => {
                    options.w4a8 = one_of(key, value, [("expand", W4a8::Expand), ("native", W4a8::Native)])?;
                }
                "weights" => {
                    options.weights =
                        one_of(key, value, [("nd", WeightLayout::Nd), ("nz", WeightLayout::Nz)])?;
                }
                "executors" => {
                    options.repeats_executors = one_of(key, value, [("once", false), ("repeat", true)])?;
                }
                "skipped_ids" => {
                    options.ids_are_never_skipped =
                        one_of(key, value, [("possible", false), ("never", true)])?;
                }
                "strided_rows" => {
                    options.refuses_strided_rows = one_of(key, value, [("copy", false), ("refuse", true)])?;
                }
                _ => {
                    return Err(Error::invalid(format!(
                        "`{key}` is not an option of the Ascend backend; its options are `{}`",
                        Self::KEYS.join("`, `")
                    )));
                }
            }
        }
        Ok(options)
    }
}

fn one_of<T: Copy>(key: &str, value: &str, words: [(&str, T); 2]) -> Result<T> {
    let found = words.iter().find(|(word, _)| *word == value.trim());
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let [(one, _), (other, _)] = words;
        Error::invalid(format!("option `{key}` is `{value}`; it is `{one}` or `{other}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Options> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Options::parse(&pairs)
    }

    #[test]
    fn each_option_is_read() {
        let options = parse(&[
            ("cann_path", "/opt/cann"),
            ("kernels", "/opt/mxhal_kernels.o"),
            ("w4a8", "native"),
            ("weights", "nz"),
            ("w4a16", "native"),
            ("executors", "repeat"),
            ("skipped_ids", "never"),
            ("strided_rows", "refuse"),
        ])
        .unwrap();
        assert_eq!(options.cann_path.as_deref(), Some(std::path::Path::new("/opt/cann")));
        assert_eq!(options.kernels.as_deref(), Some(std::path::Path::new("/opt/mxhal_kernels.o")));
        assert_eq!((options.w4a8, options.w4a16), (W4a8::Native, W4a16::Native));
        assert_eq!(options.weights, WeightLayout::Nz);
        assert!(options.ids_are_never_skipped && options.refuses_strided_rows && options.repeats_executors);
        assert_eq!(parse(&[]).unwrap(), Options::default());
    }

    #[test]
    fn what_is_no_option_is_named_with_those_that_are() {
        for (key, value, wanted) in [
            ("cann", "/opt/cann", "`cann_path`"),
            ("cann_path", "", "a folder"),
            ("kernels", "", "a file"),
            ("w4a16", "cube", "`kernel` or `native`"),
            ("w4a8", "fast", "`expand` or `native`"),
            ("executors", "twice", "`once` or `repeat`"),
            ("weights", "zn", "`nd` or `nz`"),
            ("skipped_ids", "", "`possible` or `never`"),
            ("strided_rows", "yes", "`copy` or `refuse`"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err();
            assert!(error.message().contains(wanted) && error.message().contains(key), "{error}");
        }
    }
}
