//! The header: its generated part is what the bindings say, and every C and C++ compiler takes it.

use std::path::{Path, PathBuf};
use std::process::Command;

use mxhal_ffi::{identity, layout};

const BEGIN: &str = "/* BEGIN GENERATED LAYOUT */\n";
const END: &str = "/* END GENERATED LAYOUT */\n";

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/mxhal.h")
}

/// `MXHAL_BLESS=1` writes it anew.
#[test]
fn the_generated_part_is_that_of_the_bindings() {
    let found = std::fs::read_to_string(header()).unwrap();
    let (before, rest) = found.split_once(BEGIN).expect("the header has a place for the generated part");
    let (_, after) = rest.split_once(END).expect("the generated part ends");
    let wanted = format!("{before}{BEGIN}{}{END}{after}", layout::header());
    if std::env::var_os("MXHAL_BLESS").is_some() {
        std::fs::write(header(), &wanted).unwrap();
    } else {
        assert!(found == wanted, "the layout in mxhal.h is an old one; write it anew with MXHAL_BLESS=1");
    }
}

#[test]
fn the_table_has_every_struct_of_the_bindings() {
    let bindings = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sys.rs")).unwrap();
    let mut structs: Vec<&str> = Vec::new();
    for rest in bindings.split("pub struct ").skip(1) {
        let (name, body) = rest.split_once(" {").unwrap();
        if !body.trim_start().starts_with("_unused") {
            structs.push(name);
        }
    }
    let table: Vec<&str> = layout::TABLE.iter().map(|of| of.name).collect();
    assert_eq!(table, structs);
}

#[test]
fn the_magic_is_the_headers() {
    let text = std::fs::read_to_string(header()).unwrap();
    assert!(text.contains(&format!("#define MXHAL_IDENTITY_MAGIC UINT64_C({:#018x})\n", identity::MAGIC)));
}

/// The table of `mxhal.ext.graph` as `mxhal_ffi::graph` has it.
const GRAPH_LAYOUT: &str = "
int sizes[sizeof(mxhal_graph_table) == 40 ? 1 : -1];
int begins[offsetof(mxhal_graph_table, capture_begin) == 8 ? 1 : -1];
int ends[offsetof(mxhal_graph_table, graph_destroy) == 32 ? 1 : -1];
";

#[test]
fn the_table_of_graphs_is_that_of_its_header() {
    use mxhal_ffi::graph::mxhal_graph_table;
    use std::mem::offset_of;

    assert_eq!(size_of::<mxhal_graph_table>(), 40);
    assert_eq!(offset_of!(mxhal_graph_table, capture_begin), 8);
    assert_eq!(offset_of!(mxhal_graph_table, graph_destroy), 32);
    let text = std::fs::read_to_string(header().with_file_name("mxhal_graph.h")).unwrap();
    assert!(text.contains(&format!("#define MXHAL_EXT_GRAPH \"{}\"\n", mxhal_ffi::graph::NAME)));
}

#[test]
fn every_standard_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    for (standard, extension, compiler) in
        [("c11", "c", "cc"), ("c17", "c", "cc"), ("c++17", "cpp", "c++"), ("c++20", "cpp", "c++")]
    {
        for building in ["", "#define MXHAL_BUILDING_PLUGIN\n"] {
            let source = folder.path().join(format!("header.{extension}"));
            std::fs::write(&source, format!("{building}#include <mxhal_graph.h>\n{GRAPH_LAYOUT}")).unwrap();
            let answer = Command::new(compiler)
                .arg(format!("-std={standard}"))
                .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
                .args([header().parent().unwrap(), &source])
                .output()
                .expect("a C and a C++ compiler are there");
            assert!(answer.status.success(), "{standard}: {}", String::from_utf8_lossy(&answer.stderr));
        }
    }
}
