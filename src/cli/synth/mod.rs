//! `mxhal synth`: a checkpoint of a published model's shapes, with random weights.

mod models;
mod tensors;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::ProgressBar;
use mxhal::checkpoint::Dtype;
use mxhal::{TensorSpec, TensorWriter};
use serde_json::{Map, Value, json};

use super::failure::Usage;
use super::new_folder;
use super::print;
use super::terminal::Terminal;
use crate::random::{Content, Random};
use models::{Model, Shape};
use tensors::NewTensor;

const EXAMPLES: &str = "\
The folder has config.json, safetensors files with an index, and example.safetensors, tokens to run through a layer. Of a
model's tensors it has those of the Mixture of Experts. A tensor depends on the seed and its name alone.

Examples:
  mxhal synth --model deepseek-v4-flash --layers 3..4 flash
  mxhal moe --checkpoint flash --layer 3 --input flash/example.safetensors --output y.safetensors
  mxhal synth --model gpt-oss-120b --layers 0..36 --experts 8 --seed 7 oss";

/// The most bytes of tensors in a file, as published checkpoints have it.
const FILE_BYTES: u64 = 5_000_000_000;

/// Bytes that are made up at once.
const CHUNK: usize = 1 << 20;

/// What a header takes for each tensor, generously.
const HEADER_BYTES: u64 = 200;

/// Tokens of the example.
const TOKENS: usize = 16;

/// Write a checkpoint of a published model's names and shapes, with random weights
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Synth {
    /// Whose names and shapes
    #[arg(long)]
    model: Model,

    /// Which layers: A..B from A up to but without B, or one
    #[arg(long, value_name = "A..B", value_parser = layers)]
    layers: Range<usize>,

    /// Experts of a layer, if not all
    #[arg(long, value_name = "N")]
    experts: Option<usize>,

    /// What the weights are drawn from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Where it goes: a folder that does not exist yet, or is empty
    dir: PathBuf,
}

fn layers(text: &str) -> Result<Range<usize>, String> {
    let number = |text: &str| text.parse::<usize>().ok();
    let range = match text.split_once("..") {
        Some((first, end)) => number(first).zip(number(end)),
        None => number(text).map(|layer| (layer, layer.saturating_add(1))),
    };
    match range {
        Some((first, end)) if first < end => Ok(first..end),
        Some(_) => Err("there is no layer in it; 3..5 is layers 3 and 4".to_owned()),
        None => Err("expected A..B, such as 3..5 for layers 3 and 4, or a layer".to_owned()),
    }
}

impl Synth {
    pub(super) fn run(self, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let shape = self.shape()?;
        let place = new_folder::place(&self.dir)?;
        let tensors = self.layers.clone().flat_map(|layer| tensors::of_layer(&shape, layer)).collect();
        let files = tensors::into_files(tensors, FILE_BYTES);
        let bytes: u64 = files.iter().flatten().map(NewTensor::bytes).sum();
        ensure_room(&place, bytes + HEADER_BYTES * files.iter().flatten().count() as u64)?;

        let partial = Partial::create(&place)?;
        let bar = terminal.bar(bytes, true);
        let failed = || format!("{} could not be written", self.dir.display());
        let names = self.write_files(&partial.path, &files, &bar)?;
        self.write_example(&partial.path, &shape)?;
        write_json(&partial.path.join("model.safetensors.index.json"), &index(&files, &names, bytes))
            .and_then(|()| write_json(&partial.path.join("config.json"), &self.model.config(&shape)))
            .with_context(failed)?;
        partial.finish(&place).with_context(failed)?;
        bar.finish_and_clear();

        let dir = self.dir.display();
        print(&format!(
            "{dir}: layers {}..{} of {} experts, {:.2} GB in {}\n\n  mxhal moe --checkpoint {dir} --layer {} --input \
             {dir}/example.safetensors --output y.safetensors\n",
            self.layers.start,
            self.layers.end,
            shape.experts,
            bytes as f64 / 1e9,
            if files.len() == 1 { "one file".to_owned() } else { format!("{} files", files.len()) },
            self.layers.start,
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The model's shape with the layers and experts that were asked for, which it has.
    fn shape(&self) -> Result<Shape, Usage> {
        let shape = self.model.shape();
        if self.layers.end > shape.layers {
            let Range { start, end } = self.layers;
            let last = shape.layers - 1;
            return Err(Usage(format!("--layers {start}..{end}: the model has layers 0 to {last}")));
        }
        let experts = self.experts.unwrap_or(shape.experts);
        if !(shape.top_k..=shape.experts).contains(&experts) {
            let Shape { top_k, experts: most, .. } = shape;
            return Err(Usage(format!(
                "--experts {experts}: a token has {top_k} of them and the model {most}; name a number from {top_k} to \
                 {most}"
            )));
        }
        Ok(Shape { experts, ..shape })
    }

    /// Writes the tensors, and gives the names of the files.
    fn write_files(
        &self,
        folder: &Path,
        files: &[Vec<NewTensor>],
        bar: &ProgressBar,
    ) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::with_capacity(files.len());
        let mut chunk = vec![0; CHUNK];
        for (place, tensors) in files.iter().enumerate() {
            let name = format!("model-{:05}-of-{:05}.safetensors", place + 1, files.len());
            let specs: Vec<TensorSpec> = tensors.iter().map(|tensor| tensor.spec.clone()).collect();
            let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
            let mut writer = TensorWriter::create(folder.join(&name), &specs, &metadata)?;
            for tensor in tensors {
                bar.set_message(tensor.spec.name.clone());
                self.write_tensor(&mut writer, tensor, &mut chunk, bar)?;
            }
            writer.finish()?;
            names.push(name);
        }
        Ok(names)
    }

    fn write_tensor(
        &self,
        writer: &mut TensorWriter,
        tensor: &NewTensor,
        chunk: &mut [u8],
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        let name = &tensor.spec.name;
        let mut random = Random::named(self.seed, name);
        let granule = tensor.content.granule();
        let most = chunk.len() / granule * granule;
        let mut left = tensor.bytes();
        while left > 0 {
            let count = most.min(usize::try_from(left).unwrap_or(most));
            random.fill(tensor.content, &mut chunk[..count]);
            writer.write(name, &chunk[..count])?;
            bar.inc(count as u64);
            left -= count as u64;
        }
        Ok(())
    }

    /// Tokens as `mxhal moe` takes them.
    fn write_example(&self, folder: &Path, shape: &Shape) -> anyhow::Result<()> {
        let spec = |name: &str, dtype, shape: &[usize]| TensorSpec {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
        };
        let tensors = [
            (spec("x", Dtype::BF16, &[TOKENS, shape.hidden]), Content::Bf16(1.0)),
            (spec("token_ids", Dtype::I64, &[TOKENS]), Content::Experts(TOKENS, shape.vocabulary)),
        ];
        let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let path = folder.join("example.safetensors");
        let mut writer = TensorWriter::create(path, &specs, &BTreeMap::new())?;
        for (spec, content) in tensors {
            let mut bytes = vec![0; spec.shape.iter().product::<usize>() * spec.dtype.bitsize() / 8];
            Random::named(self.seed, &spec.name).fill(content, &mut bytes);
            writer.write(&spec.name, &bytes)?;
        }
        Ok(writer.finish()?)
    }
}

/// The folder while it is filled: beside its place, under its name with `.partial`. It goes with this value, but for what
/// a process leaves that is killed.
struct Partial {
    path: PathBuf,
}

impl Partial {
    fn create(place: &Path) -> anyhow::Result<Self> {
        let mut name = OsString::from(place.file_name().unwrap_or_default());
        name.push(".partial");
        let path = place.with_file_name(name);
        match fs::create_dir(&path) {
            Ok(()) => Ok(Self { path }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let path = path.display();
                let text = format!("{path} is there: of a run that goes on, or was cut off; then delete it");
                Err(Usage(text).into())
            }
            Err(error) => Err(error).with_context(|| format!("{} could not be made", path.display())),
        }
    }

    /// Over an empty folder this succeeds, and over one that has been filled since it fails.
    fn finish(self, place: &Path) -> std::io::Result<()> {
        fs::rename(&self.path, place)?;
        // The name is in the parent, and lasts once that is on the disk.
        place.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After `finish` there is nothing of that name; and who fails to write can hardly say that deleting failed too.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Refuses to begin what the file system has no room for.
fn ensure_room(place: &Path, bytes: u64) -> anyhow::Result<()> {
    let parent = place.parent().expect("the place of a new folder has a parent");
    let disk =
        rustix::fs::statvfs(parent).with_context(|| format!("{}: its free space", parent.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    if bytes > free {
        bail!(
            "the checkpoint takes {:.2} GB, and {} has {:.2} GB free; fewer --layers or --experts take less",
            gigabytes(bytes),
            parent.display(),
            gigabytes(free)
        );
    }
    tracing::info!("{:.2} GB to write, {:.2} GB free", gigabytes(bytes), gigabytes(free));
    Ok(())
}

fn index(files: &[Vec<NewTensor>], names: &[String], bytes: u64) -> Value {
    let mut map = Map::new();
    for (tensors, file) in files.iter().zip(names) {
        for tensor in tensors {
            map.insert(tensor.spec.name.clone(), file.clone().into());
        }
    }
    json!({ "metadata": { "total_size": bytes }, "weight_map": map })
}

fn write_json(path: &Path, value: &Value) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(format!("{value:#}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_a_range_or_one() {
        assert_eq!(layers("3..5"), Ok(3..5));
        assert_eq!(layers("7"), Ok(7..8));
        for wrong in ["5..5", "5..3", "a..b", "", "1..", "..2", "1..=2", "-1"] {
            assert!(layers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_the_disk_is_not_begun() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x");
        assert!(ensure_room(&place, 0).is_ok());
        let error = ensure_room(&place, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("18446744073.71 GB") && error.contains("--experts"), "{error}");
    }
}
