//! `mxhal dequantize`: the quantized tensors of a file, made floats again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use mxhal::checkpoint::{Dtype, FileTensor};
use mxhal::core::{Format, HostTensor, Layout};
use mxhal::{TensorFile, TensorSpec, TensorWriter};

use super::failure::Usage;
use super::quantize::{FACTOR_SUFFIX, FORMAT_KEY, SCALE_SUFFIX, row_format};
use super::row_operator::RowOperator;
use super::selection::Selection;
use super::terminal::Terminal;

const EXAMPLES: &str = "\
Each tensor `t` of bytes that has a `t_scale` beside it becomes floats `t`; others are copied.

Examples:
  mxhal dequantize --input packed.safetensors --output weights.safetensors
  mxhal dequantize --input packed.safetensors --output weights.safetensors --to bf16
  mxhal dequantize --input foreign.safetensors --output weights.safetensors --format mxfp4";

/// Turn the tensors that `mxhal quantize` wrote back into floats
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Dequantize {
    /// The file to read
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The file to write; it appears when it is complete
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// What to make; f32 holds the values of every format
    #[arg(long, value_enum, default_value = "f32")]
    to: Float,

    /// What the tensors are, if the file's metadata do not say it: mxfp4, mxfp8, mxfp8-g128, mxint8 or nvfp4
    #[arg(long, value_parser = row_format)]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Float {
    F32,
    Bf16,
    F16,
}

impl Float {
    const fn format(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::Bf16 => Format::Bf16,
            Self::F16 => Format::F16,
        }
    }

    const fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }
}

impl Dequantize {
    pub(super) fn run(self, selection: &Selection, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let file = TensorFile::open(&self.input)?;
        let format = self.format_of(&file)?;
        let jobs = jobs(&file, format).with_context(|| format!("{}, as {format}", self.input.display()))?;
        let specs: Vec<TensorSpec> = jobs.iter().map(|job| job.spec(self.to.dtype())).collect();
        let metadata: BTreeMap<String, String> = file
            .metadata()
            .iter()
            .filter(|(key, _)| !key.starts_with("mxhal."))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let runtime = selection.runtime()?;
        let mut writer = TensorWriter::create(&self.output, &specs, &metadata)?;

        let bytes: usize = jobs.iter().map(|job| job.tensor.bytes().len()).sum();
        let bar = terminal.bar(bytes as u64, true);
        let mut operator: Option<RowOperator> = None;
        let mut dequantized = 0;
        for Job { tensor, packed } in &jobs {
            bar.set_message(tensor.name().to_owned());
            let Some(packed) = packed else {
                writer.write(tensor.name(), tensor.bytes())?;
                bar.inc(tensor.bytes().len() as u64);
                continue;
            };
            dequantized += 1;
            let operator = match &mut operator {
                Some(operator) if operator.input() == (format, packed.k) => operator,
                other => {
                    let to = self.to.format();
                    other.insert(RowOperator::dequantize(runtime.device(), packed.k, format, to)?)
                }
            };
            for range in operator.chunks(packed.rows) {
                let x = packed.part(tensor, format, range)?;
                let y = operator.run(x).with_context(|| format!("tensor `{}`", tensor.name()))?;
                writer.write(tensor.name(), &y.data)?;
                bar.inc(x.data().len() as u64);
            }
        }
        bar.finish_and_clear();
        writer.finish()?;
        eprintln!("made {}: {dequantized}; copied: {}", self.to.format(), jobs.len() - dequantized);
        Ok(ExitCode::SUCCESS)
    }

    fn format_of(&self, file: &TensorFile) -> anyhow::Result<Format> {
        let input = self.input.display();
        let Some(name) = file.metadata().get(FORMAT_KEY) else {
            let unsaid = || Usage(format!("{input}: its metadata do not say `{FORMAT_KEY}`; give --format"));
            return Ok(self.format.ok_or_else(unsaid)?);
        };
        let said = row_format(name).map_err(|known| {
            anyhow::anyhow!("{input}: `{FORMAT_KEY}` in its metadata is `{name}`; {known}")
        })?;
        if let Some(given) = self.format
            && given != said
        {
            return Err(Usage(format!("{input} is {said} by its metadata, and --format says {given}")).into());
        }
        Ok(said)
    }
}

/// A tensor of the output.
struct Job<'a> {
    tensor: FileTensor<'a>,
    /// Where its scales are; `None` for one that is copied.
    packed: Option<Packed<'a>>,
}

struct Packed<'a> {
    scales: &'a [u8],
    /// A float32 for each row, for NVFP4.
    factors: Cow<'a, [u8]>,
    outer: &'a [usize],
    rows: usize,
    k: usize,
}

impl Job<'_> {
    fn spec(&self, to: Dtype) -> TensorSpec {
        let (dtype, shape) = match &self.packed {
            None => (self.tensor.dtype(), self.tensor.shape().to_vec()),
            Some(packed) => (to, [packed.outer, &[packed.k]].concat()),
        };
        TensorSpec { name: self.tensor.name().to_owned(), dtype, shape }
    }
}

impl<'a> Packed<'a> {
    fn part(
        &'a self,
        tensor: &FileTensor<'a>,
        format: Format,
        rows: std::ops::Range<usize>,
    ) -> anyhow::Result<HostTensor<'a>> {
        let of = |bytes: &'a [u8], row_bytes: usize| &bytes[rows.start * row_bytes..rows.end * row_bytes];
        let layout = Layout::contiguous(format, &[rows.len(), self.k])?;
        let factors = if self.factors.is_empty() { &[] } else { of(&self.factors, 4) };
        let data = of(tensor.bytes(), format.row_bytes(self.k));
        Ok(HostTensor::new(layout, data, of(self.scales, format.row_scales(self.k)), factors)?)
    }
}

/// The tensors of the output, in the order of their bytes in the input.
fn jobs(file: &TensorFile, format: Format) -> anyhow::Result<Vec<Job<'_>>> {
    let names: BTreeSet<&str> = file.names().collect();
    let mut taken = BTreeSet::new();
    let mut packed = BTreeMap::new();
    for &name in &names {
        let scale_name = format!("{name}{SCALE_SUFFIX}");
        let is_bytes =
            |tensor: &FileTensor<'_>| matches!(tensor.dtype(), Dtype::U8 | Dtype::I8 | Dtype::F8_E4M3);
        if !names.contains(scale_name.as_str()) || !is_bytes(&file.tensor(name)?) {
            continue;
        }
        packed.insert(name, packed_tensor(file, name, format)?);
        taken.insert(scale_name);
        taken.insert(format!("{name}{FACTOR_SUFFIX}"));
    }
    if packed.is_empty() {
        bail!("there is no tensor of bytes with a `…{SCALE_SUFFIX}` beside it");
    }
    let job = |name: &str| Ok(Job { tensor: file.tensor(name)?, packed: packed.remove(name) });
    file.names().filter(|name| !taken.contains(*name)).map(job).collect()
}

fn packed_tensor<'a>(file: &'a TensorFile, name: &str, format: Format) -> anyhow::Result<Packed<'a>> {
    let tensor = file.tensor(name)?;
    let scales = file.tensor(&format!("{name}{SCALE_SUFFIX}"))?;
    let Some((&columns, outer)) = tensor.shape().split_last() else {
        bail!("tensor `{name}` has no dimension, and so no columns");
    };
    let k = columns * 8 / format.bits();
    if k == 0 || !k.is_multiple_of(format.column_multiple()) {
        let multiple = format.row_bytes(format.column_multiple());
        bail!("tensor `{name}` has {columns} bytes a row; {format} has a multiple of {multiple}");
    }
    let expected = [outer, &[format.row_scales(k)]].concat();
    if scales.shape() != expected || scales.dtype().bitsize() != 8 {
        bail!(
            "tensor `{name}{SCALE_SUFFIX}` is {} {:?}; expected U8 {expected:?}, a byte for each block of `{name}`, {} {:?}",
            scales.dtype(),
            scales.shape(),
            tensor.dtype(),
            tensor.shape()
        );
    }
    let rows = outer.iter().product();
    let factors =
        if format == Format::Nvfp4 { factors(file, name, outer, rows)? } else { Cow::Borrowed(&[][..]) };
    Ok(Packed { scales: scales.bytes(), factors, outer, rows, k })
}

/// A factor a row; one for the whole tensor is repeated.
fn factors<'a>(
    file: &'a TensorFile,
    name: &str,
    outer: &[usize],
    rows: usize,
) -> anyhow::Result<Cow<'a, [u8]>> {
    let factors = file.tensor(&format!("{name}{FACTOR_SUFFIX}"))?;
    let is_single = factors.shape().iter().product::<usize>() == 1;
    if factors.dtype() != Dtype::F32 || !(is_single || factors.shape() == outer) {
        bail!(
            "tensor `{name}{FACTOR_SUFFIX}` is {} {:?}; expected F32 {outer:?}, one a row, or a single one",
            factors.dtype(),
            factors.shape()
        );
    }
    Ok(if is_single { Cow::Owned(factors.bytes().repeat(rows)) } else { Cow::Borrowed(factors.bytes()) })
}
