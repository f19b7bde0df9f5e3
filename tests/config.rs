//! Every way in which a `config.toml` can be wrong has a message that says where, what and what to do; and the keys
//! mean what `docs/config.md` says.

use std::fs;
use std::path::{Path, PathBuf};

use mxhal::config::{BackendConfig, Config, ConfigError, Library, Problem, SecurityPolicy};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/opt/engine/config.toml"))
}

/// The message of a text that is refused, without the name of the file.
fn refused(text: &str) -> String {
    let error = parse(text).expect_err(text).to_string();
    error
        .strip_prefix("/opt/engine/config.toml:")
        .unwrap_or_else(|| panic!("no file in {error:?}"))
        .to_owned()
}

#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    let message = refused(text);
    assert!(message.starts_with(expected), "{text}\ngave\n{message}\nand not\n{expected}");
}

#[test]
fn an_empty_text_is_the_embedded_cpu_backend() {
    let config = parse("").unwrap();
    assert_eq!(config.backend, BackendConfig::default());
    assert_eq!((config.backend.name.as_str(), &config.backend.library), ("cpu", &Library::Embedded));
    assert_eq!(config.security, SecurityPolicy::Strict);
    assert!(config.fallback.is_empty() && config.others.is_empty() && config.plugin_folder.is_none());
}

#[test]
fn every_key_is_read() {
    let config = parse(
        r#"
        [backend]
        name = "cuda"
        library = "lib/libmxhal_cuda.so"
        device = 3
        sha256 = "00ff0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1DfE"
        fallback = ["ascend", "cpu"]
        [backend.options]
        threads = 2
        mask = 0x1F
        ratio = 2.5e-1
        verbose = true
        cache = "/var/cache"

        [[backends]]
        name = "ascend"
        library = "/usr/lib/libmxhal_ascend.so"
        [[backends]]
        name = "cpu"
        options = { threads = 1 }

        [plugins]
        folder = "../plugins"
        [security]
        policy = "warn"
        "#,
    )
    .unwrap();
    let backend = &config.backend;
    assert_eq!(backend.library, Library::File(PathBuf::from("/opt/engine/lib/libmxhal_cuda.so")));
    assert_eq!(backend.device, 3);
    let digest = backend.sha256.unwrap();
    assert_eq!((digest[0], digest[1], digest[30], digest[31]), (0x00, 0xff, 0x1d, 0xfe));
    let options: Vec<_> = backend.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let expected =
        [("cache", "/var/cache"), ("mask", "31"), ("ratio", "2.5e-1"), ("threads", "2"), ("verbose", "true")];
    assert_eq!(options, expected);
    assert_eq!(config.fallback, ["ascend", "cpu"]);
    assert_eq!(config.others[0].library, Library::File(PathBuf::from("/usr/lib/libmxhal_ascend.so")));
    assert_eq!(config.others[1].library, Library::Embedded);
    assert_eq!(config.others[1].options, [("threads".to_owned(), "1".to_owned())]);
    assert_eq!(config.plugin_folder, Some(PathBuf::from("/opt/engine/../plugins")));
    assert_eq!(config.security, SecurityPolicy::Warn);
}

#[test]
fn a_name_is_looked_up_in_the_configuration_then_in_the_program_then_in_the_folder() {
    let config =
        parse("[backend]\nname = 'cuda'\ndevice = 1\n[[backends]]\nname = 'x'\nlibrary = 'x.so'").unwrap();
    assert_eq!(config.backend_named("cuda").unwrap().device, 1);
    assert_eq!(config.backend_named("x").unwrap().library, Library::File("/opt/engine/x.so".into()));
    assert_eq!(config.backend_named("cpu").unwrap().library, Library::Embedded);
    assert_eq!(config.backend_named("ascend").unwrap().library, Library::InPluginFolder);
    let error = config.backend_named("lib/x.so").unwrap_err().to_string();
    assert!(error.contains("`lib/x.so` cannot be a backend's name"), "{error}");
}

#[test]
fn options_alone_are_for_the_embedded_backend() {
    let config = parse("[backend.options]\nthreads = 2").unwrap();
    assert_eq!(config.backend.library, Library::Embedded);
    assert_eq!(config.backend.options, [("threads".to_owned(), "2".to_owned())]);
}

#[test]
fn an_unknown_key_is_pointed_at_and_the_nearest_is_named() {
    assert_eq!(
        refused("[backend]\nname = \"cuda\"\nlibary = \"x.so\"\n"),
        "3:1: unknown key `libary` in [backend]; did you mean `library`?\n  \
         |\n3 | libary = \"x.so\"\n  | ^^^^^^"
    );
    assert_refused(
        "[backends]\n",
        "1:1: `backends` is a table; expected an array of tables: write [[backends]]",
    );
    assert_refused("[bakcend]\n", "1:2: unknown key `bakcend` in the file; did you mean `backend`?");
    assert_refused(
        "[plugins]\nfolders = 'x'",
        "2:1: unknown key `folders` in [plugins]; did you mean `folder`?",
    );
    assert_refused("[security]\npin = 'x'", "2:1: unknown key `pin` in [security]; the keys are `policy`");
    assert_refused(
        "[[backends]]\nname = 'x'\ncolour = 1",
        "3:1: unknown key `colour` in [[backends]]; the keys are `name`, `library`, `device`, `sha256`, `options`",
    );
    // The first in the file, whatever their order in the alphabet.
    assert_refused("[backend]\nzzz = 1\naaa = 1", "2:1: unknown key `zzz`");
}

#[test]
fn a_wrong_type_says_which_it_is_and_which_it_should_be() {
    assert_refused("[backend]\nname = 1", "2:8: `backend.name` is an integer; expected a string");
    assert_refused("[backend]\ndevice = \"0\"", "2:10: `backend.device` is a string; expected an integer");
    assert_refused("[backend]\ndevice = 1.0", "2:10: `backend.device` is a float; expected an integer");
    assert_refused(
        "[backend]\nfallback = \"cpu\"",
        "2:12: `backend.fallback` is a string; expected an array of strings",
    );
    assert_refused("[backend]\nfallback = [1]", "2:13: `backend.fallback` is an integer; expected a string");
    assert_refused("backend = \"cuda\"", "1:11: `backend` is a string; expected a table");
    assert_refused(
        "[backend.options]\nthreads = [1]",
        "2:11: `backend.options.threads` is an array; expected a string, a number or a boolean",
    );
    assert_refused("[backend]\noptions = 2026-01-01", "2:11: `backend.options` is a date; expected a table");
    assert_refused("[security]\npolicy = true", "2:10: `security.policy` is a boolean; expected a string");
    assert_refused("[[backends]]\nname = 'x'\ndevice = true", "3:10: `backends.device` is a boolean");
}

#[test]
fn a_missing_name_is_asked_for_where_it_is_missing() {
    assert_refused(
        "[backend]\nlibrary = \"x.so\"",
        "1:1: `name` is missing in [backend]; add `name = \"…\"`",
    );
    assert_refused(
        "[backend]\nname='cpu'\n\n[[backends]]\ndevice = 1",
        "4:1: `name` is missing in [[backends]]; add `name",
    );
}

#[test]
fn a_value_that_cannot_be_says_what_can() {
    assert_refused(
        "[backend]\nname = \"\"",
        "2:8: `backend.name`: `` cannot be a backend's name: expected ASCII letters",
    );
    for name in ["lib/cuda", "..", "a b", "cüda", "cuda.so", "a\\\\b"] {
        let message = refused(&format!("[backend]\nname = \"{name}\""));
        assert!(
            message.contains("cannot be a backend's name") && message.contains("goes into `library`"),
            "{message}"
        );
    }
    assert_refused("[backend]\nname='x'\nlibrary=''", "3:9: `backend.library`: it is empty; expected a path");
    assert_refused(
        "[backend]\nname='x'\nlibrary=\"a\\u0000b\"",
        "3:9: `backend.library`: it holds a zero byte",
    );
    assert_refused("[plugins]\nfolder=''", "2:8: `plugins.folder`: it is empty");
    assert_refused(
        "[backend]\ndevice = -1",
        "2:10: `backend.device`: -1 is out of range; expected an integer from 0",
    );
    assert_refused("[backend]\ndevice = 0x100000000", "2:10: `backend.device`: 0x100000000 is out of range");
    assert_refused(
        "[security]\npolicy = 'lax'",
        "2:10: `security.policy`: `lax` is no policy; expected \"strict\" or",
    );
    let with_pin = |pin: &str| format!("[backend]\nname = 'x'\nsha256 = '{pin}'");
    assert_refused(
        &with_pin("abc"),
        "3:10: `backend.sha256`: it has 3 digits; expected 64 hexadecimal digits",
    );
    assert_refused(
        &with_pin(&"g".repeat(64)),
        "3:10: `backend.sha256`: 'g' is no hexadecimal digit; expected 64",
    );
    assert_refused(&with_pin(&"é".repeat(32)), "3:10: `backend.sha256`: 'é' is no hexadecimal digit");
    assert_refused(
        &format!("[backend]\nname = 'cpu'\nsha256 = '{}'", "0".repeat(64)),
        "3:10: `backend.sha256`: it pins a file, and `cpu` without `library` is part of the program",
    );
    assert_refused(
        &format!("[backend.options]\nx = {}", "9".repeat(30)),
        "2:5: `backend.options.x`: does not fit 64 bits; write it as a string",
    );
}

#[test]
fn names_and_fallbacks_that_contradict_each_other_are_refused() {
    assert_refused(
        "[backend]\nname = 'x'\n[[backends]]\nname = 'x'",
        "4:8: a second backend named `x`, after that of line 2",
    );
    assert_refused(
        "[backend]\nname='x'\nfallback=['x']",
        "3:11: `backend.fallback`: `x` is the backend that this is",
    );
    assert_refused("[backend]\nname='x'\nfallback=['y','y']", "3:15: `backend.fallback`: `y` is there twice");
    assert_refused(
        "[backend]\nname='x'\nfallback=['a/b']",
        "3:11: `backend.fallback`: `a/b` cannot be a backend's name",
    );
    assert_refused(
        "[[backends]]\nname='x'\nfallback=['cpu']",
        "3:11: `backends.fallback`: only [backend] has a fallback",
    );
}

#[test]
fn what_is_not_toml_is_pointed_at() {
    assert_refused("[backend]\nname = cuda\n", "2:8: not TOML: ");
    assert_refused("[backend\n", "1:9: not TOML: ");
    assert_refused("[backend]\nname='a'\nname='b'", "3:1: not TOML: duplicate key");
    // Columns count characters, not bytes.
    assert_refused("[backend.options]\n\"größe\" = [1]", "2:11: `backend.options.größe` is an array");
}

#[test]
fn files_that_are_absent_or_not_utf8_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let error = Config::load(&path).unwrap_err();
    assert!(matches!(error.problem(), Problem::Read(_)) && error.place().is_none());
    assert!(
        error.to_string().ends_with("cannot read the configuration: No such file or directory (os error 2)")
    );

    fs::write(&path, b"[backend]\nname = \"c\xffda\"\n").unwrap();
    let error = Config::load(&path).unwrap_err();
    assert!(matches!(error.problem(), Problem::NotUtf8 { offset: 19 }));
    let expected = format!("{}:2:10: not UTF-8 at byte 19", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");

    fs::write(&path, "[backend]\nname = \"cuda\"\nlibrary = \"lib/x.so\"\n").unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.backend.library, Library::File(folder.path().join("lib/x.so")));
    assert_eq!(config.file.as_deref(), Some(path.as_path()));
}

#[test]
fn the_examples_of_the_documentation_are_accepted() {
    let documentation = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.md")).unwrap();
    let mut examples = 0;
    for block in documentation.split("```toml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        examples += 1;
    }
    assert!(examples >= 3, "the documentation has {examples} examples");
}

mod any_text {
    use super::parse;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_answered_without_a_panic(text in "(\\[{0,2}(backend|backends|security|plugins|x)?[a-z.]{0,5}\\]{0,2}|[a-z]{0,7} ?= ?['\"\\[{]?[a-zé0-9]{0,5}['\"\\]}]?|\\PC{0,6}|\n){0,20}") {
            if let Err(error) = parse(&text) {
                let place = error.place().expect("a text has places");
                prop_assert!(text.get(place.span.clone()).is_some());
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
