//! The golden files, in the binary, so that it judges wherever it is carried.

use mxhal_core::{Format, HostBuffer};
use safetensors::{Dtype, SafeTensors};

use crate::opcase::tensor::{floats, integers, layout};
use crate::oracle::{Encoded, Matrix, decode};

macro_rules! golden {
    ($file:literal) => {
        include_bytes!(concat!("../../golden/", $file, ".safetensors"))
    };
}

/// One of the files under `conformance/golden`, whose README says what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GoldenFile {
    /// Blocks quantized to MXFP4.
    QuantizeMxfp4,
    /// Blocks quantized to MXFP8, per 32 and per 128.
    QuantizeMxfp8,
    /// Blocks quantized to MXINT8.
    QuantizeMxint8,
    /// Every MXFP4 code under every scale, and NVFP4.
    Dequantize,
    /// Products that are summed exactly.
    MatmulExact,
    /// Ordinary products, with the sums of magnitudes that bound their error.
    MatmulBounded,
    /// SwiGLU, routing, permute, combine.
    MoePieces,
    /// Two layers as DeepSeek V4 publishes them.
    DeepSeekModel,
    /// Their inputs and outputs.
    DeepSeekExpected,
    /// One layer as gpt-oss publishes it.
    GptOssModel,
    /// Its input and output.
    GptOssExpected,
}

impl GoldenFile {
    const fn bytes(self) -> &'static [u8] {
        match self {
            Self::QuantizeMxfp4 => golden!("quantize_mxfp4"),
            Self::QuantizeMxfp8 => golden!("quantize_mxfp8"),
            Self::QuantizeMxint8 => golden!("quantize_mxint8"),
            Self::Dequantize => golden!("dequantize"),
            Self::MatmulExact => golden!("matmul_exact"),
            Self::MatmulBounded => golden!("matmul_bounded"),
            Self::MoePieces => golden!("moe_pieces"),
            Self::DeepSeekModel => golden!("deepseek_v4_tiny/model-00001-of-00001"),
            Self::DeepSeekExpected => golden!("deepseek_v4_tiny/expected"),
            Self::GptOssModel => golden!("gpt_oss_tiny/model"),
            Self::GptOssExpected => golden!("gpt_oss_tiny/expected"),
        }
    }

    /// The file, read.
    pub(crate) fn open(self) -> Golden {
        let tensors = SafeTensors::deserialize(self.bytes());
        Golden { file: self, tensors: tensors.expect("the files in the binary are the tested ones") }
    }
}

/// A file, read.
pub(crate) struct Golden {
    file: GoldenFile,
    tensors: SafeTensors<'static>,
}

impl Golden {
    /// Names of tensors that end so, without that end, in order.
    pub(crate) fn names_ending_in(&self, end: &str) -> Vec<String> {
        let names = self.tensors.names().into_iter();
        let mut names: Vec<String> =
            names.filter_map(|name| name.strip_suffix(end)).map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.names().contains(&name)
    }

    pub(crate) fn shape(&self, name: &str) -> Vec<usize> {
        self.tensor(name).0
    }

    /// The bytes of a tensor as they lie in the file.
    pub(crate) fn bytes(&self, name: &str) -> &'static [u8] {
        self.tensor(name).2
    }

    /// The values of a tensor of numbers, its last dimension as columns.
    pub(crate) fn matrix(&self, name: &str) -> Matrix {
        let (shape, dtype, data) = self.tensor(name);
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<usize>() / columns.max(1);
        let plain = |format| {
            let encoded = Encoded { format, rows, columns, data, scales: &[], factors: &[] };
            decode(&encoded).expect("the file has as many bytes as its shape asks for").values
        };
        let values = match dtype {
            Dtype::F32 => plain(Format::F32),
            Dtype::BF16 => plain(Format::Bf16),
            Dtype::F64 => chunks(data).map(f64::from_le_bytes).collect(),
            Dtype::I32 => chunks(data).map(|bytes| f64::from(i32::from_le_bytes(bytes))).collect(),
            Dtype::I64 => chunks(data).map(|bytes| i64::from_le_bytes(bytes) as f64).collect(),
            _ => data.iter().map(|&byte| f64::from(byte)).collect(),
        };
        Matrix { rows, columns, values }
    }

    /// The values of a tensor of integers.
    pub(crate) fn integers(&self, name: &str) -> Vec<i32> {
        self.matrix(name).values.iter().map(|&value| value as i32).collect()
    }

    /// A tensor of plain floats in another format; the values of the files fit the formats that are asked for.
    pub(crate) fn floats(&self, name: &str, format: Format) -> HostBuffer {
        floats(format, &self.shape(name), self.matrix(name).values)
    }

    /// A tensor of integers as I32.
    pub(crate) fn ids(&self, name: &str) -> HostBuffer {
        integers(&self.shape(name), &self.integers(name))
    }

    /// A block-scaled tensor of this shape from the bytes of two.
    pub(crate) fn blocks(&self, format: Format, shape: &[usize], data: &str, scales: &str) -> HostBuffer {
        let (data, scales) = (self.bytes(data).to_vec(), self.bytes(scales).to_vec());
        HostBuffer { layout: layout(format, shape), data, scales, factors: Vec::new() }
    }

    fn tensor(&self, name: &str) -> (Vec<usize>, Dtype, &'static [u8]) {
        match self.tensors.tensor(name) {
            Ok(view) => (view.shape().to_vec(), view.dtype(), view.data()),
            Err(error) => panic!("{:?} has no tensor {name}: {error}", self.file),
        }
    }
}

fn chunks<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> {
    data.chunks_exact(N).map(|bytes| bytes.try_into().expect("chunks have N bytes"))
}
