//! The files of a new backend's project, from the templates.
//!
//! A template holds placeholders such as `@NAME@`; each is replaced by the text that belongs to the backend. What a
//! template says is then complete: a project refers to nothing in this repository but, in Rust, to the two crates.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use toml::Value;

/// What a backend is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// C11, built by make or CMake
    C,
    /// C++20, built by make or CMake
    Cpp,
    /// Rust, built by cargo
    Rust,
}

/// Where the crates come from that a project in Rust depends on.
#[derive(Clone, Debug)]
pub(super) enum Crates {
    /// The repository that this program was built from.
    Repository,
    /// A checkout: an absolute path.
    Checkout(String),
}

/// A backend to be.
#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) name: String,
    pub(super) language: Language,
    pub(super) crates: Crates,
}

const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

const HEADER: &str = include_str!("../../../ffi/include/mxhal.h");

/// Paths in the project and what the files hold.
type Files = &'static [(&'static str, &'static str)];

const SHARED: Files = &[
    (".github/workflows/ci.yml", include_str!("templates/shared/ci.yml")),
    ("README.md", include_str!("templates/shared/README.md")),
    ("config.toml", include_str!("templates/shared/config.toml")),
    ("expected-failures.toml", include_str!("templates/shared/expected-failures.toml")),
];

const C: Files = &[
    (".gitignore", "/build\n"),
    ("CMakeLists.txt", include_str!("templates/c/CMakeLists.txt")),
    ("Makefile", include_str!("templates/c/Makefile")),
    ("exports.map", include_str!("templates/shared/exports.map")),
    ("src/backend.c", include_str!("templates/c/backend.c")),
];

const CPP: Files = &[
    (".gitignore", "/build\n"),
    ("CMakeLists.txt", include_str!("templates/cpp/CMakeLists.txt")),
    ("Makefile", include_str!("templates/cpp/Makefile")),
    ("exports.map", include_str!("templates/shared/exports.map")),
    ("src/backend.cpp", include_str!("templates/cpp/backend.cpp")),
];

const RUST: Files = &[
    (".gitignore", "/target\n"),
    ("Cargo.toml", include_str!("templates/rust/Cargo.toml.txt")),
    ("rustfmt.toml", "edition = \"2024\"\nmax_width = 110\nuse_small_heuristics = \"Max\"\n"),
    ("src/device.rs", include_str!("templates/rust/device.rs")),
    ("src/lib.rs", include_str!("templates/rust/lib.rs")),
    ("src/memory.rs", include_str!("templates/rust/memory.rs")),
    ("src/op/dequantize.rs", include_str!("templates/rust/op/dequantize.rs")),
    ("src/op/mod.rs", include_str!("templates/rust/op/mod.rs")),
    ("src/stream.rs", include_str!("templates/rust/stream.rs")),
    ("src/support.rs", include_str!("templates/rust/support.rs")),
];

impl Project {
    /// Every file: its path in the project, and its text.
    pub(super) fn files(&self) -> Vec<(PathBuf, String)> {
        let own = match self.language {
            Language::C => C,
            Language::Cpp => CPP,
            Language::Rust => RUST,
        };
        let replacements = self.replacements();
        let mut files: Vec<_> = SHARED
            .iter()
            .chain(own)
            .map(|(path, template)| (PathBuf::from(path), filled(template, &replacements)))
            .collect();
        if self.language != Language::Rust {
            // As it is, byte for byte: it is the contract.
            files.push((PathBuf::from("include/mxhal.h"), HEADER.to_owned()));
        }
        files
    }

    /// The command that builds it.
    pub(super) const fn build_command(&self) -> &'static str {
        match self.language {
            Language::C | Language::Cpp => "make",
            Language::Rust => "cargo build --release",
        }
    }

    /// Where the library is then, in the project.
    pub(super) fn library(&self) -> String {
        match self.language {
            Language::C | Language::Cpp => format!("build/libmxhal_{}.so", self.name),
            Language::Rust => format!("target/release/libmxhal_{}.so", self.crate_suffix()),
        }
    }

    /// The name as a part of the name of a Rust library, which has no `-`.
    fn crate_suffix(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Placeholders and their texts. Those that hold placeholders themselves come first.
    fn replacements(&self) -> Vec<(&'static str, String)> {
        let is_rust = self.language == Language::Rust;
        let [language, source] = match self.language {
            Language::C => ["C11", "src/backend.c"],
            Language::Cpp => ["C++20", "src/backend.cpp"],
            Language::Rust => ["Rust", "src/lib.rs"],
        };
        let [build, files, device, contract] = if is_rust {
            [
                include_str!("templates/rust/build.md"),
                include_str!("templates/rust/files.md"),
                "`src/device.rs`, `src/memory.rs`, `src/stream.rs`",
                "`mxhal_core::op` (`cargo doc --open`)",
            ]
        } else {
            [
                include_str!("templates/shared/build.md"),
                include_str!("templates/shared/files.md"),
                "sections 3 and 4 of `@SOURCE@`",
                "`include/mxhal.h`",
            ]
        };
        vec![
            ("@BUILD@", build.trim_end().to_owned()),
            ("@FILES@", files.trim_end().to_owned()),
            ("@DEVICE@", device.to_owned()),
            ("@CONTRACT@", contract.to_owned()),
            ("@LANGUAGE@", language.to_owned()),
            ("@SOURCE@", source.to_owned()),
            ("@LIBRARY@", self.library()),
            ("@MAKE@", self.build_command().to_owned()),
            ("@CORE@", self.crates.dependency("core")),
            ("@FFI@", self.crates.dependency("ffi")),
            ("@REPOSITORY@", REPOSITORY.to_owned()),
            ("@SNAKE@", self.crate_suffix()),
            ("@NAME@", self.name.clone()),
        ]
    }
}

impl Crates {
    /// What stands between the braces of a dependency on the crate in this folder.
    fn dependency(&self, folder: &str) -> String {
        match self {
            Self::Repository => format!("git = \"{REPOSITORY}\""),
            Self::Checkout(path) => {
                // A string of TOML, whatever characters the path has.
                let path = Value::String(Path::new(path).join(folder).to_string_lossy().into_owned());
                format!("path = {path}")
            }
        }
    }
}

fn filled(template: &str, replacements: &[(&str, String)]) -> String {
    replacements
        .iter()
        .fold(template.to_owned(), |text, (placeholder, value)| text.replace(placeholder, value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn project(language: Language) -> Project {
        let crates = Crates::Checkout("/opt/a \"b\"".to_owned());
        Project { name: "my-chip".to_owned(), language, crates }
    }

    #[test]
    fn no_placeholder_is_left() {
        let pattern = regex::Regex::new("@[A-Z]+@").unwrap();
        for language in Language::value_variants() {
            for (path, text) in project(*language).files() {
                let left = pattern.find(&text).map(|found| found.as_str().to_owned());
                assert_eq!(left, None, "in {} of {language:?}", path.display());
                assert!(text.ends_with('\n'), "{} of {language:?}", path.display());
            }
        }
    }

    #[test]
    fn a_project_in_rust_is_toml_whatever_the_path_of_the_crates() {
        let files = project(Language::Rust).files();
        let manifest = &files.iter().find(|(path, _)| path.ends_with("Cargo.toml")).unwrap().1;
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("mxhal-my-chip"));
        assert_eq!(manifest["dependencies"]["mxhal-core"]["path"].as_str(), Some("/opt/a \"b\"/core"));
    }

    #[test]
    fn the_header_is_copied_as_it_is() {
        for language in [Language::C, Language::Cpp] {
            let files = project(language).files();
            assert!(files.contains(&(PathBuf::from("include/mxhal.h"), HEADER.to_owned())));
        }
    }

    /// Functions of C by name: each from a line that begins with its type to the brace that ends it.
    fn functions(source: &str) -> BTreeMap<&str, String> {
        let mut found = BTreeMap::new();
        let mut lines = source.lines();
        while let Some(line) = lines.next() {
            let begins = line.starts_with(|c: char| c.is_ascii_lowercase())
                && !["struct", "enum", "typedef"].iter().any(|word| line.starts_with(word))
                && !line.ends_with(';');
            let Some(name) = line.split('(').next().filter(|_| begins && line.contains('(')) else {
                continue;
            };
            let name = name.rsplit([' ', '*']).next().unwrap_or_default();
            let mut text = line.to_owned();
            if !(line.contains(") {") && line.ends_with('}')) {
                for line in lines.by_ref() {
                    text = format!("{text}\n{line}");
                    if line == "}" {
                        break;
                    }
                }
            }
            found.insert(name, text);
        }
        found
    }

    /// Each is a file to be read alone, so that what both need is in both; it does not drift apart.
    #[test]
    fn the_project_in_c_and_the_example_share_what_is_no_operator() {
        // Those that know operators and weights, which the example has more of, and options.
        const OWN: [&str; 12] = [
            "judge",
            "judge_dequantize",
            "mxfp4_value",
            "mxhal_plugin_open",
            "no",
            "plan_info",
            "plan_run",
            "run_dequantize",
            "weights_destroy",
            "weights_export",
            "weights_info",
            "weights_prepare",
        ];
        let example = functions(include_str!("../../../examples/c-plugin/mxhal_c.c"));
        let template = functions(include_str!("templates/c/backend.c"));
        let both: Vec<_> = template.iter().filter(|(name, _)| example.contains_key(*name)).collect();
        assert!(both.len() >= 50, "{} functions are in both", both.len());
        for (name, text) in both {
            assert_eq!(*text == example[name], !OWN.contains(name), "{name}");
        }
    }
}
