//! `mxhal quantize`: the float tensors of a file, quantized.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use mxhal::checkpoint::{Dtype, FileTensor};
use mxhal::core::{Format, HostTensor, Layout, Quantization, ScaleRule};
use mxhal::{TensorFile, TensorSpec, TensorWriter};
use regex::Regex;

use super::failure::Usage;
use super::row_operator::RowOperator;
use super::selection::Selection;
use super::terminal::Terminal;

/// The key of a file's metadata that says what its tensors were quantized to.
pub(super) const FORMAT_KEY: &str = "mxhal.format";
/// The key of the rule of scales, which is told for the record.
const RULE_KEY: &str = "mxhal.scale_rule";
/// The key of the floor on amax, likewise.
const FLOOR_KEY: &str = "mxhal.amax_floor";

/// What is put behind the name of a tensor for that of its scales.
pub(super) const SCALE_SUFFIX: &str = "_scale";
/// The same for the factors of NVFP4.
pub(super) const FACTOR_SUFFIX: &str = "_factor";

const EXAMPLES: &str = "\
Each F32, BF16 or F16 tensor `t` becomes `t`, U8 [..., K/2] (mxfp4, nvfp4) or [..., K], and `t_scale`, U8
[..., K/group]; nvfp4 has `t_factor`, F32 [...], too. Other tensors are copied. The format is written into the file's
metadata, where `mxhal dequantize` finds it.

Examples:
  mxhal quantize --format mxfp4 --input weights.safetensors --output packed.safetensors
  mxhal quantize --format mxfp8-g128 --amax-floor 1e-4 --input x.safetensors --output q.safetensors
  mxhal quantize --format mxfp4 --scale-rule floor --filter 'experts\\.' --input a.safetensors --output b.safetensors";

/// Quantize the float tensors of a safetensors file
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Quantize {
    /// The file to read
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// The file to write; it appears when it is complete
    #[arg(long, value_name = "FILE")]
    output: PathBuf,

    /// mxfp4, mxfp8, mxfp8-g128, mxint8 or nvfp4
    #[arg(long, value_parser = row_format)]
    format: Format,

    /// How scales are chosen: ceil, floor or even; nearest for nvfp4 [default: ceil, nearest]
    #[arg(long, value_name = "RULE")]
    scale_rule: Option<ScaleRule>,

    /// The least amax that a block's scale is chosen for
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    amax_floor: f32,

    /// Quantize the tensors whose names match, and copy the others
    #[arg(long, value_name = "REGEX")]
    filter: Option<Regex>,

    /// Copy tensors whose columns are no multiple of the format's block, instead of failing
    #[arg(long)]
    keep_unfit: bool,
}

/// Parses the name of a format that rows can be quantized to.
pub(super) fn row_format(name: &str) -> Result<Format, String> {
    let formats = || Format::ALL.into_iter().filter(|format| format.is_row_quantized());
    formats().find(|format| format.name() == name).ok_or_else(|| {
        let names: Vec<&str> = formats().map(Format::name).collect();
        format!("the formats are {}", names.join(", "))
    })
}

impl Quantize {
    pub(super) fn run(self, selection: &Selection, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let to = self.quantization()?;
        let file = TensorFile::open(&self.input)?;
        if let Some(format) = file.metadata().get(FORMAT_KEY) {
            let input = self.input.display();
            bail!(
                "{input}: its tensors are {format} already; dequantize them first: mxhal dequantize --input {input}"
            );
        }
        let jobs = self.jobs(&file)?;
        let specs: Vec<TensorSpec> = jobs.iter().flat_map(|job| job.specs(to.format)).collect();
        let runtime = selection.runtime()?;
        let mut writer = TensorWriter::create(&self.output, &specs, &metadata(&file, &to))?;

        let start = Instant::now();
        let bytes: usize = jobs.iter().map(|job| job.tensor.bytes().len()).sum();
        let bar = terminal.bar(bytes as u64, true);
        let mut operator: Option<RowOperator> = None;
        let mut quantized = 0;
        for Job { tensor, rows } in &jobs {
            bar.set_message(tensor.name().to_owned());
            let Some(rows) = rows else {
                writer.write(tensor.name(), tensor.bytes())?;
                bar.inc(tensor.bytes().len() as u64);
                continue;
            };
            quantized += 1;
            let operator = match &mut operator {
                Some(operator) if operator.input() == (rows.format, rows.k) => operator,
                other => other.insert(RowOperator::quantize(runtime.device(), rows.k, rows.format, to)?),
            };
            quantize(tensor, rows, operator, &mut writer, |bytes| bar.inc(bytes))
                .with_context(|| format!("tensor `{}` of {}", tensor.name(), self.input.display()))?;
        }
        bar.finish_and_clear();
        writer.finish()?;
        let seconds = start.elapsed().as_secs_f64();
        let (to, gigabytes) = (to.format, bytes as f64 / 1e9);
        let copied = jobs.len() - quantized;
        eprintln!(
            "quantized to {to}: {quantized}; copied: {copied}; {gigabytes:.3} GB read in {seconds:.2} s"
        );
        Ok(ExitCode::SUCCESS)
    }

    fn quantization(&self) -> anyhow::Result<Quantization> {
        let mut to = Quantization::new(self.format).with_amax_floor(self.amax_floor);
        if let Some(rule) = self.scale_rule {
            to = to.with_rule(rule);
        }
        to.validate().map_err(|error| Usage(error.to_string()))?;
        Ok(to)
    }

    /// What becomes of each tensor, in the order of their bytes.
    fn jobs<'a>(&self, file: &'a TensorFile) -> anyhow::Result<Vec<Job<'a>>> {
        let mut jobs = Vec::new();
        for name in file.names() {
            let tensor = file.tensor(name)?;
            let is_wanted = self.filter.as_ref().is_none_or(|filter| filter.is_match(name));
            let rows = match float_format(tensor.dtype()) {
                Some(format) if is_wanted => self.rows(&tensor, format)?,
                _ => None,
            };
            jobs.push(Job { tensor, rows });
        }
        if jobs.iter().all(|job| job.rows.is_none()) {
            let which = self
                .filter
                .as_ref()
                .map_or(String::new(), |filter| format!(" whose name matches `{filter}`"));
            bail!("{}: there is no F32, BF16 or F16 tensor{which} to quantize", self.input.display());
        }
        Ok(jobs)
    }

    /// The rows of a tensor that is to be quantized; `None` for one that does not fit and may be kept.
    fn rows(&self, tensor: &FileTensor<'_>, format: Format) -> anyhow::Result<Option<Rows>> {
        let multiple = self.format.column_multiple();
        if let Some((&k, outer)) = tensor.shape().split_last()
            && k > 0
            && k.is_multiple_of(multiple)
        {
            return Ok(Some(Rows { format, k, count: outer.iter().product() }));
        }
        if self.keep_unfit {
            return Ok(None);
        }
        bail!(
            "{}: tensor `{}` is {} {:?}, and {} wants a last dimension that is a multiple of {multiple}; choose tensors \
             with --filter, or copy such as they are with --keep-unfit",
            self.input.display(),
            tensor.name(),
            tensor.dtype(),
            tensor.shape(),
            self.format
        )
    }
}

/// A tensor of the input.
struct Job<'a> {
    tensor: FileTensor<'a>,
    /// How it is quantized; `None` for one that is copied.
    rows: Option<Rows>,
}

struct Rows {
    format: Format,
    k: usize,
    count: usize,
}

impl Job<'_> {
    /// The tensors of the output.
    fn specs(&self, to: Format) -> Vec<TensorSpec> {
        let name = self.tensor.name();
        let spec = |suffix: &str, dtype, shape| TensorSpec { name: format!("{name}{suffix}"), dtype, shape };
        let Some(Rows { k, .. }) = self.rows else {
            return vec![spec("", self.tensor.dtype(), self.tensor.shape().to_vec())];
        };
        let outer = &self.tensor.shape()[..self.tensor.shape().len() - 1];
        let with = |columns: usize| [outer, &[columns]].concat();
        let mut specs = vec![
            spec("", Dtype::U8, with(to.row_bytes(k))),
            spec(SCALE_SUFFIX, Dtype::U8, with(to.row_scales(k))),
        ];
        if to == Format::Nvfp4 {
            specs.push(spec(FACTOR_SUFFIX, Dtype::F32, outer.to_vec()));
        }
        specs
    }
}

fn quantize(
    tensor: &FileTensor<'_>,
    rows: &Rows,
    operator: &RowOperator,
    writer: &mut TensorWriter,
    progress: impl Fn(u64),
) -> anyhow::Result<()> {
    let name = tensor.name();
    let row_bytes = rows.format.row_bytes(rows.k);
    for range in operator.chunks(rows.count) {
        let layout = Layout::contiguous(rows.format, &[range.len(), rows.k])?;
        let bytes = &tensor.bytes()[range.start * row_bytes..range.end * row_bytes];
        let packed = operator.run(HostTensor::new(layout, bytes, &[], &[])?)?;
        writer.write(name, &packed.data)?;
        writer.write(&format!("{name}{SCALE_SUFFIX}"), &packed.scales)?;
        if !packed.factors.is_empty() {
            writer.write(&format!("{name}{FACTOR_SUFFIX}"), &packed.factors)?;
        }
        progress(bytes.len() as u64);
    }
    Ok(())
}

const fn float_format(dtype: Dtype) -> Option<Format> {
    match dtype {
        Dtype::F32 => Some(Format::F32),
        Dtype::BF16 => Some(Format::Bf16),
        Dtype::F16 => Some(Format::F16),
        _ => None,
    }
}

fn metadata(file: &TensorFile, to: &Quantization) -> BTreeMap<String, String> {
    let mut metadata: BTreeMap<String, String> =
        file.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    metadata.insert(FORMAT_KEY.to_owned(), to.format.to_string());
    metadata.insert(RULE_KEY.to_owned(), to.rule.to_string());
    metadata.insert(FLOOR_KEY.to_owned(), to.amax_floor.to_string());
    metadata
}
