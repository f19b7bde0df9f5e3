//! Checkpoints: the golden ones open, and each way in which one can be damaged is told from the others.

use std::fs;
use std::path::{Path, PathBuf};

use mxhal::checkpoint::{Dtype, Family};
use mxhal::{Checkpoint, NewTensor, TensorFile};
use mxhal_core::op::{Score, SwiGluForm, WeightPosition};
use mxhal_core::{Format, WeightsDesc};
use serde_json::{Value, json};
use tempfile::TempDir;

const V4: &str = "deepseek_v4_tiny";
const V4_SHARD: &str = "model-00001-of-00001.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const GPT_OSS: &str = "gpt_oss_tiny";
const SINGLE: &str = "model.safetensors";

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/golden").join(name)
}

/// A copy of a golden checkpoint that a test may damage.
struct Damaged {
    folder: TempDir,
    shard: &'static str,
}

impl Damaged {
    fn v4() -> Self {
        Self::copy_of(V4, V4_SHARD)
    }

    fn gpt_oss() -> Self {
        Self::copy_of(GPT_OSS, SINGLE)
    }

    fn copy_of(name: &str, shard: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in ["config.json", INDEX, shard] {
            let from = golden(name).join(file);
            if from.exists() {
                fs::copy(from, folder.path().join(file)).unwrap();
            }
        }
        Self { folder, shard }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn shard(&self) -> PathBuf {
        self.path(self.shard)
    }

    fn json(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::from_slice(&fs::read(self.path(file)).unwrap()).unwrap();
        change(&mut value);
        fs::write(self.path(file), serde_json::to_vec(&value).unwrap()).unwrap();
        self
    }

    fn config(self, key: &str, value: Value) -> Self {
        self.json("config.json", |config| config[key] = value)
    }

    fn without(self, key: &str) -> Self {
        self.json("config.json", |config| {
            config.as_object_mut().unwrap().remove(key).unwrap();
        })
    }

    /// Changes the bytes of the shard.
    fn bytes(self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = fs::read(self.shard()).unwrap();
        change(&mut bytes);
        fs::write(self.shard(), bytes).unwrap();
        self
    }

    /// Changes the header of the shard and leaves its data as they are.
    fn header(self, change: impl FnOnce(&mut Value)) -> Self {
        self.bytes(|bytes| {
            let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
            let mut header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
            change(&mut header);
            let header = serde_json::to_vec(&header).unwrap();
            let data = bytes.split_off(8 + length);
            *bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header);
            bytes.extend(data);
        })
    }

    /// Writes the shard again with one tensor changed, or left out.
    fn tensor(self, name: &str, change: impl FnOnce(Owned) -> Option<Owned>) -> Self {
        let file = TensorFile::open(self.shard()).unwrap();
        let mut tensors: Vec<Owned> = file.names().map(|name| Owned::read(&file, name)).collect();
        let at = tensors.iter().position(|tensor| tensor.name == name).unwrap();
        let changed = change(tensors.remove(at));
        tensors.extend(changed);
        Owned::write(&self.shard(), &tensors);
        self
    }

    /// Sets one byte of a tensor, and says where in the file it is.
    fn byte(self, name: &str, at: usize, value: u8) -> (Self, usize) {
        let offset = TensorFile::open(self.shard()).unwrap().tensor(name).unwrap().offset() + at;
        (self.bytes(|bytes| bytes[offset] = value), offset)
    }

    /// What opening it, or else reading this layer, says.
    #[track_caller]
    fn error(&self, layer: usize) -> String {
        match Checkpoint::open(self.folder.path()) {
            Err(error) => error.to_string(),
            Ok(checkpoint) => checkpoint.moe_layer(layer).unwrap_err().to_string(),
        }
    }

    /// That the error names the file and says all of these.
    #[track_caller]
    fn says(&self, layer: usize, file: &str, words: &[&str]) {
        let error = self.error(layer);
        let file = self.path(file).display().to_string();
        assert!(error.contains(&file), "`{error}` does not name {file}");
        for words in words {
            assert!(error.contains(words), "`{error}` does not say `{words}`");
        }
    }
}

struct Owned {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Owned {
    fn read(file: &TensorFile, name: &str) -> Self {
        let tensor = file.tensor(name).unwrap();
        Self {
            name: name.to_owned(),
            dtype: tensor.dtype(),
            shape: tensor.shape().to_vec(),
            bytes: tensor.bytes().to_vec(),
        }
    }

    fn write(path: &Path, tensors: &[Self]) {
        let tensors: Vec<NewTensor<'_>> = tensors
            .iter()
            .map(|t| NewTensor { name: &t.name, dtype: t.dtype, shape: &t.shape, bytes: &t.bytes })
            .collect();
        TensorFile::write(path, &tensors).unwrap();
    }
}

const W1: &str = "layers.0.ffn.experts.3.w1.weight";
const W1_SCALE: &str = "layers.0.ffn.experts.3.w1.scale";
const TABLE: &str = "layers.0.ffn.gate.tid2eid";

// ---------------------------------------------------------------- what is right

#[test]
fn the_golden_deepseek_checkpoint_opens_without_a_copy() {
    let checkpoint = Checkpoint::open(golden(V4)).unwrap();
    let model = checkpoint.model();
    assert_eq!(model.family, Family::DeepSeekV4);
    assert_eq!((model.hidden, model.inner, model.experts, model.top_k), (256, 128, 16, 4));
    assert_eq!((model.layers, model.hash_layers, model.vocabulary), (2, 1, Some(64)));
    assert_eq!((model.score, model.renormalize, model.scale), (Score::SqrtSoftplus, true, 1.5));

    let file = TensorFile::open(golden(V4).join(V4_SHARD)).unwrap();
    for index in 0..2 {
        let layer = checkpoint.moe_layer(index).unwrap();
        assert_eq!(layer.form, SwiGluForm::silu(10.0));
        assert_eq!(layer.weight_position, WeightPosition::BeforeDown);
        assert_eq!(layer.router.by_token.is_some(), index == 0);
        assert_eq!(layer.router.choice_bias.is_some(), index == 1);
        assert_eq!((layer.gate_up.len(), layer.down.len(), layer.weight), (32, 16, Format::Mxfp4));
        // w1 is gate and w3 is up.
        for (part, which) in [(6, "w1"), (7, "w3")] {
            let name = format!("layers.{index}.ffn.experts.3.{which}");
            let tensor = layer.gate_up[part];
            assert_eq!(tensor.data(), file.tensor(&format!("{name}.weight")).unwrap().bytes());
            assert_eq!(tensor.scales(), file.tensor(&format!("{name}.scale")).unwrap().bytes());
        }
        let desc = WeightsDesc { format: layer.weight, groups: 16, n: 256, k: 256, activation: Format::Bf16 };
        let layouts: Vec<_> = layer.gate_up.iter().map(|part| *part.layout()).collect();
        assert_eq!(desc.check_parts(&layouts), Ok(2));
        let shared = layer.shared.as_ref().unwrap();
        assert_eq!((shared.inner, shared.weight, shared.gate_up.len()), (128, Format::Fp8Tile128, 2));
        assert_eq!(layer.expert_bytes(), 3 * 128 * 256 * 17 / 32);
        assert_eq!(layer.matrix_bytes(), 16 * layer.expert_bytes() + 3 * 128 * 256 + 2 + 2 + 2);

        // The same address from two calls: slices of the mapping, and no copy.
        let again = checkpoint.moe_layer(index).unwrap();
        assert_eq!(layer.down[5].data().as_ptr(), again.down[5].data().as_ptr());
        assert_eq!(layer.router.weight.as_ptr(), again.router.weight.as_ptr());
    }
    let table = checkpoint.moe_layer(0).unwrap().router.by_token.unwrap();
    assert_eq!(table.vocabulary(), 64);
    assert_eq!(table.experts(63).unwrap().len(), 4);
    assert_eq!((table.experts(64), table.experts(-1)), (None, None));
}

#[test]
fn the_golden_gpt_oss_checkpoint_opens() {
    let checkpoint = Checkpoint::open(golden(GPT_OSS)).unwrap();
    let layer = checkpoint.moe_layer(0).unwrap();
    assert_eq!((layer.gate_up.len(), layer.down.len()), (8, 8));
    assert_eq!(layer.gate_up[7].layout().shape(), [192, 96]);
    assert_eq!(layer.form, SwiGluForm::gpt_oss(7.0));
    assert_eq!(layer.weight_position, WeightPosition::AfterDown);
    let (gate_up, down) = layer.biases.as_ref().unwrap();
    assert_eq!((gate_up.len(), down.len()), (8 * 192, 8 * 96));
    assert_eq!(layer.router.logit_bias.as_ref().unwrap().len(), 8);
    assert!(layer.shared.is_none());

    let file = TensorFile::open(golden(GPT_OSS).join(SINGLE)).unwrap();
    let blocks = file.tensor("model.layers.0.mlp.experts.down_proj_blocks").unwrap().bytes();
    assert_eq!(layer.down[2].data(), &blocks[2 * 96 * 48..3 * 96 * 48]);
}

#[test]
fn other_spellings_of_the_same_tensors_are_read_alike() {
    let plain = Damaged::v4();
    let spelled = Damaged::v4()
        .header(|header| {
            let header = header.as_object_mut().unwrap();
            let names: Vec<String> = header.keys().filter(|name| *name != "__metadata__").cloned().collect();
            for name in names {
                let mut entry = header.remove(&name).unwrap();
                if name.contains(".experts.") && name.ends_with(".weight") {
                    let shape = entry["shape"].as_array().unwrap().clone();
                    entry["dtype"] = json!("F4");
                    entry["shape"] = json!([shape[0], shape[1].as_u64().unwrap() * 2]);
                }
                if name.ends_with(".scale") {
                    entry["dtype"] = json!("U8");
                }
                header.insert(format!("model.{name}"), entry);
            }
        })
        .json(INDEX, |index| {
            let map = index["weight_map"].as_object_mut().unwrap();
            *map = map.iter().map(|(name, file)| (format!("model.{name}"), file.clone())).collect();
        });
    let (plain, spelled) = [&plain, &spelled].map(|d| Checkpoint::open(d.folder.path()).unwrap()).into();
    for index in 0..2 {
        let (a, b): (_, _) = (plain.moe_layer(index).unwrap(), spelled.moe_layer(index).unwrap());
        assert_eq!(a.router.by_token, b.router.by_token);
        for (a, b) in a.gate_up.iter().zip(&b.gate_up) {
            assert_eq!((a.layout(), a.data(), a.scales()), (b.layout(), b.data(), b.scales()));
        }
    }
}

#[test]
fn ids_of_32_bits_are_read_as_those_of_64() {
    let narrow = Damaged::v4().tensor(TABLE, |mut table| {
        table.dtype = Dtype::I32;
        table.bytes = table.bytes.as_chunks::<8>().0.iter().flat_map(|id| id[..4].to_vec()).collect();
        Some(table)
    });
    let wide = Checkpoint::open(golden(V4)).unwrap();
    let narrow = Checkpoint::open(narrow.folder.path()).unwrap();
    let table = |checkpoint: &Checkpoint| checkpoint.moe_layer(0).unwrap().router.by_token.unwrap();
    assert_eq!(table(&narrow), table(&wide));
}

#[test]
fn experts_of_fp8_tiles_are_seen_at_the_first_one() {
    let base = Damaged::v4();
    let file = TensorFile::open(base.shard()).unwrap();
    let tensors: Vec<Owned> = file
        .names()
        .map(|name| match name.split_once(".experts.") {
            None => Owned::read(&file, name),
            Some((ffn, expert)) => {
                // The same matrices as the shared expert's.
                let (_, which) = expert.split_once('.').unwrap();
                let shared = Owned::read(&file, &format!("{ffn}.shared_experts.{which}"));
                Owned { name: name.to_owned(), ..shared }
            }
        })
        .collect();
    Owned::write(&base.shard(), &tensors);
    let checkpoint = Checkpoint::open(base.folder.path()).unwrap();
    let layer = checkpoint.moe_layer(1).unwrap();
    assert_eq!(layer.weight, Format::Fp8Tile128);
    assert_eq!(layer.gate_up[9].data(), layer.shared.unwrap().gate_up[1].data());
}

#[test]
fn shards_are_opened_only_when_one_of_their_tensors_is_wanted() {
    let damaged = Damaged::v4().json(INDEX, |index| {
        for (name, file) in index["weight_map"].as_object_mut().unwrap() {
            if name.starts_with("layers.1.") {
                *file = json!("model-00002-of-00002.safetensors");
            }
        }
    });
    let checkpoint = Checkpoint::open(damaged.folder.path()).unwrap();
    assert!(checkpoint.moe_layer(0).is_ok());
    damaged.says(
        1,
        INDEX,
        &["tensor `layers.1.ffn.gate.weight`", "model-00002-of-00002.safetensors", "no such file"],
    );
}

// ---------------------------------------------------------------- folders and configs

#[test]
fn a_folder_that_is_no_checkpoint_says_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let error = |path: &Path| Checkpoint::open(path).unwrap_err().to_string();
    assert!(
        error(&folder.path().join("absent")).contains("absent: no checkpoint: there is nothing of that name")
    );
    assert!(error(folder.path()).contains("it holds no config.json"));
    assert!(error(&golden(V4).join("config.json")).contains("it is not a folder"));

    let damaged = Damaged::gpt_oss();
    fs::remove_file(damaged.shard()).unwrap();
    let error = damaged.error(0);
    assert!(error.contains("it holds neither model.safetensors.index.json nor model.safetensors"), "{error}");
}

#[test]
fn a_config_that_is_not_understood_names_the_key() {
    let says = |damaged: Damaged, words: &[&str]| damaged.says(0, "config.json", words);
    says(
        Damaged::v4().config("model_type", json!("deepseek_v41")),
        &["`model_type` is \"deepseek_v41\"", "supported are deepseek_v4, gpt_oss"],
    );
    says(Damaged::v4().without("model_type"), &["`model_type` is \"(absent)\""]);
    says(Damaged::v4().config("model_type", json!(4)), &["`model_type` is 4; expected a string"]);
    for key in [
        "hidden_size",
        "moe_intermediate_size",
        "n_routed_experts",
        "num_experts_per_tok",
        "num_hidden_layers",
        "num_hash_layers",
        "routed_scaling_factor",
        "swiglu_limit",
        "vocab_size",
    ] {
        says(Damaged::v4().without(key), &[&format!("`{key}` is missing; deepseek_v4 needs it")]);
        says(Damaged::v4().config(key, json!("256")), &[&format!("`{key}` is \"256\"; expected")]);
        says(Damaged::v4().config(key, json!(-1e300)), &[&format!("`{key}` is -1e+300; expected")]);
    }
    for key in
        ["hidden_size", "intermediate_size", "num_local_experts", "num_experts_per_tok", "num_hidden_layers"]
    {
        says(Damaged::gpt_oss().without(key), &[&format!("`{key}` is missing; gpt_oss needs it")]);
    }
    says(Damaged::v4().config("hidden_size", json!(250)), &["`hidden_size` is 250", "a multiple of 32"]);
    says(
        Damaged::v4().config("num_experts_per_tok", json!(17)),
        &["is 17; expected an integer from 1 to 16"],
    );
    says(Damaged::v4().config("num_hash_layers", json!(3)), &["is 3; expected an integer from 0 to 2"]);
    says(Damaged::v4().config("n_group", json!(8)), &["`n_group` is 8", "limited to groups"]);
    says(
        Damaged::v4().config("scoring_func", json!("tanh")),
        &["`scoring_func` is \"tanh\"; expected \"sqrtsoftplus\" or \"sigmoid\" or \"softmax\""],
    );
    says(
        Damaged::v4()
            .json("config.json", |c| c["quantization_config"]["weight_block_size"] = json!([32, 32])),
        &["`quantization_config.weight_block_size` is [32,32]; expected [128, 128]"],
    );
    says(
        Damaged::v4().config("swiglu_limit", json!(-1)),
        &["`swiglu_limit` is -1; expected a number from 0 up"],
    );
}

#[test]
fn json_that_is_none_names_the_byte() {
    let damaged = Damaged::v4();
    fs::write(damaged.path("config.json"), b"{\n\"a\": 1,\n}").unwrap();
    damaged.says(0, "config.json", &["not JSON", "byte 10"]);
    fs::write(damaged.path("config.json"), b"{\"\xff\"}").unwrap();
    damaged.says(0, "config.json", &["not UTF-8", "byte 2"]);
    let damaged = Damaged::v4();
    fs::write(damaged.path(INDEX), b"[]").unwrap();
    damaged.says(0, INDEX, &["an object was expected"]);
}

#[test]
fn an_index_that_is_none_says_what_it_holds() {
    let says = |damaged: Damaged, words: &[&str]| damaged.says(0, INDEX, words);
    says(Damaged::v4().json(INDEX, |index| *index = json!({})), &["there is no \"weight_map\""]);
    says(Damaged::v4().json(INDEX, |index| index["weight_map"] = json!([1])), &["\"weight_map\" is [1]"]);
    for name in [json!("../elsewhere.safetensors"), json!("/etc/passwd"), json!(""), json!(7)] {
        says(
            Damaged::v4().json(INDEX, |index| index["weight_map"][W1] = name.clone()),
            &[W1, &name.to_string(), "no file name"],
        );
    }
    says(
        Damaged::v4().json(INDEX, |index| {
            index["weight_map"].as_object_mut().unwrap().remove(W1).unwrap();
        }),
        &[&format!("tensor `{W1}` is missing")],
    );
}

#[test]
fn a_layer_beyond_the_last_is_refused() {
    Damaged::v4().says(2, "config.json", &["there is no layer 2", "`num_hidden_layers` is 2: 0 to 1"]);
    Damaged::v4().config("num_hidden_layers", json!(3)).says(
        2,
        INDEX,
        &["tensor `layers.2.ffn.gate.weight` is missing"],
    );
}

// ---------------------------------------------------------------- shards

#[test]
fn a_shard_that_was_cut_short_says_by_how_much() {
    let whole = fs::metadata(golden(V4).join(V4_SHARD)).unwrap().len();
    let cut = |bytes: u64| Damaged::v4().bytes(|file| file.truncate(bytes as usize));
    cut(whole - 5).says(
        0,
        V4_SHARD,
        &[
            "tensor `",
            &format!("ends at byte {whole}"),
            &format!("has {} bytes", whole - 5),
            "cut short by at least 5",
        ],
    );
    cut(1000).says(
        0,
        V4_SHARD,
        &["the file has 1000 bytes in all", "bytes 0 to 7 say that the header takes"],
    );
    cut(7).says(0, V4_SHARD, &["the file has 7 bytes", "8 bytes of header length"]);
    cut(0).says(0, V4_SHARD, &["the file has 0 bytes"]);
}

#[test]
fn a_header_that_is_wrong_names_the_tensor_and_the_byte() {
    let says = |damaged: Damaged, words: &[&str]| damaged.says(0, V4_SHARD, words);
    let length = |length: u64| Damaged::v4().bytes(|file| file[..8].copy_from_slice(&length.to_le_bytes()));
    says(length(u64::MAX), &["the header takes 18446744073709551615 bytes"]);
    says(length(1 << 40), &["the header takes 1099511627776 bytes"]);
    says(Damaged::v4().bytes(|file| file[8] = b'['), &["not a JSON object", "at byte 8"]);
    says(Damaged::v4().bytes(|file| file[20] = 0xff), &["byte 20 of the header is not UTF-8"]);
    says(Damaged::v4().bytes(|file| file.push(0)), &["the last tensor ends at byte", "1 belong to none"]);
    says(
        Damaged::v4().header(|header| header[W1]["data_offsets"] = json!([0, 7])),
        &[W1, "give it 7 bytes", "I8 [128, 128] takes 16384 bytes"],
    );
    says(
        Damaged::v4().header(|header| header[W1]["shape"] = json!([1_u64 << 63, 2, 1_u64 << 62])),
        &[W1, "larger than this machine's address space"],
    );
    says(
        Damaged::v4().header(|header| header[W1]["data_offsets"] = header[TABLE]["data_offsets"].clone()),
        &[W1, "give it 2048 bytes"],
    );
    says(
        Damaged::v4().header(|header| {
            let other = "layers.0.ffn.experts.4.w1.weight";
            header[W1]["data_offsets"] = header[other]["data_offsets"].clone();
        }),
        &["overlap", "layers.0.ffn.experts."],
    );
    says(
        Damaged::v4().header(|header| {
            header.as_object_mut().unwrap().remove(W1).unwrap();
        }),
        &["begins at byte", "the format allows no gap"],
    );
    says(
        Damaged::v4().header(|header| header[W1]["dtype"] = json!("F5")),
        &[W1, "`dtype` is \"F5\"", "safetensors type"],
    );
}

#[test]
fn a_tensor_that_is_missing_is_named_with_where_it_should_be() {
    Damaged::v4().tensor(W1, |_| None).says(
        0,
        V4_SHARD,
        &[&format!("tensor `{W1}` is missing"), INDEX, "says that it is here"],
    );
    let name = "model.layers.0.mlp.experts.down_proj_blocks";
    Damaged::gpt_oss().tensor(name, |_| None).says(
        0,
        SINGLE,
        &["tensor `layers.0.mlp.experts.down_proj_blocks` is missing", "with and without the prefix"],
    );
}

#[test]
fn types_shapes_and_scale_counts_are_compared_with_the_config() {
    let says = |name: &str, change: &dyn Fn(&mut Owned), words: &[&str]| {
        let damaged = Damaged::v4().tensor(name, |mut tensor| {
            change(&mut tensor);
            Some(tensor)
        });
        damaged.says(0, V4_SHARD, &[&[&format!("`{name}` at byte "), "expected "], words].concat()[..]);
    };
    says(W1, &|t| t.shape = vec![64, 256], &["I8 [64, 256]; expected [128, 128]"]);
    says(W1, &|t| t.dtype = Dtype::BOOL, &["is BOOL; expected I8 or U8 or F4"]);
    says(
        W1_SCALE,
        &|t| t.dtype = Dtype::I8,
        &["is I8; expected F8_E8M0 or U8 (a byte of E8M0 for each block)"],
    );
    says(
        TABLE,
        &|t| t.shape = vec![32, 8],
        &["I64 [32, 8]; expected [64, 4] (vocab_size × num_experts_per_tok)"],
    );
    says(TABLE, &|t| t.dtype = Dtype::F64, &["is F64; expected I64 or I32"]);
    says(
        "layers.0.ffn.gate.weight",
        &|t| t.shape = vec![8, 512],
        &["BF16 [8, 512]; expected [16, 256] (n_routed_experts × hidden_size)"],
    );
    says(
        "layers.0.ffn.shared_experts.w2.weight",
        &|t| t.dtype = Dtype::F8_E5M2,
        &["is F8_E5M2; expected F8_E4M3"],
    );

    let scales = |name: &str, shape: Vec<usize>, words: &str| {
        let damaged = Damaged::v4().tensor(name, |mut t| {
            t.bytes.resize(shape.iter().product(), 127);
            t.shape = shape;
            Some(t)
        });
        damaged.says(0, V4_SHARD, &[&format!("scales `{name}` at byte "), words]);
    };
    scales(
        W1_SCALE,
        vec![128, 16],
        "are [128, 16], and its weight has blocks [128, 8]: one for each 32 columns",
    );
    scales(W1_SCALE, vec![128, 1], "are [128, 1], and its weight has blocks [128, 8]");
    let shared = "layers.0.ffn.shared_experts.w1.scale";
    scales(shared, vec![4, 8], "are [4, 8], and its weight has blocks [1, 2]: one for each tile");

    let name = "model.layers.0.mlp.experts.gate_up_proj_scales";
    let damaged = Damaged::gpt_oss().tensor(name, |mut t| {
        t.shape = vec![8, 96, 6];
        Some(t)
    });
    damaged.says(0, SINGLE, &[&format!("scales `{name}`"), "[8, 96, 6]", "[8, 192, 3]"]);
}

#[test]
fn a_nan_scale_is_found_and_may_be_allowed() {
    let (damaged, offset) = Damaged::v4().byte(W1_SCALE, 5 * 8 + 6, 255);
    damaged.says(0, V4_SHARD, &[W1_SCALE, "row 5, block 6", &format!("(byte {offset}) is 255")]);
    let checkpoint = Checkpoint::open(damaged.folder.path()).unwrap();
    assert!(checkpoint.moe_layer(1).is_ok(), "the other layer is whole");
    let checkpoint = checkpoint.allow_nan_scales();
    assert_eq!(checkpoint.moe_layer(0).unwrap().gate_up[6].scales()[5 * 8 + 6], 255);

    let name = "model.layers.0.mlp.experts.down_proj_scales";
    let (damaged, offset) = Damaged::gpt_oss().byte(name, (2 * 96 + 10) * 3 + 1, 255);
    damaged.says(0, SINGLE, &[name, "row 202, block 1", &format!("(byte {offset})")]);
}

#[test]
fn an_expert_that_there_is_not_is_found_in_the_table() {
    // The lowest byte of the id, and its sign.
    for (byte, value, found) in [(0, 16, "16"), (7, 0x80, "-9223372036854775")] {
        let (damaged, offset) = Damaged::v4().byte(TABLE, (9 * 4 + 2) * 8 + byte, value);
        let id = format!("(byte {}) names expert {found}", offset - byte);
        damaged.says(0, V4_SHARD, &[TABLE, "row 9, slot 2", &id, "16 experts, 0 to 15"]);
    }
}

#[test]
fn a_float32_router_is_taken_where_bf16_holds_it() {
    let name = "layers.1.ffn.gate.weight";
    let widened = |damage: &dyn Fn(&mut Vec<u8>)| {
        Damaged::v4().tensor(name, |mut router| {
            let halves = router.bytes.as_chunks::<2>().0;
            router.bytes = halves.iter().flat_map(|half| [0, 0, half[0], half[1]]).collect();
            router.dtype = Dtype::F32;
            damage(&mut router.bytes);
            Some(router)
        })
    };
    let wide = widened(&|_| ());
    let (wide, plain) =
        (Checkpoint::open(wide.folder.path()).unwrap(), Checkpoint::open(golden(V4)).unwrap());
    assert_eq!(wide.moe_layer(1).unwrap().router.weight, plain.moe_layer(1).unwrap().router.weight);
    widened(&|bytes| bytes[(2 * 256 + 3) * 4] = 1).says(
        1,
        V4_SHARD,
        &[name, "row 2, column 3", "is no bfloat16"],
    );
}
