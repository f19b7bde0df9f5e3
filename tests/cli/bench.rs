//! `bench`: that it measures what it says, and what becomes of it.

use std::fs;
use std::path::Path;

use mxhal_simulated_cuda_install as simulated;
use serde_json::Value;

use super::{Folder, Ran, cargo_build};

/// Small enough for a moment; the figures are of no use.
const SMALL: [&str; 14] = [
    "bench",
    "--quick",
    "--rounds",
    "3",
    "--dense",
    "64x128",
    "--layer",
    "64x64x4x2",
    "--rows",
    "1,3",
    "--long-rows",
    "5",
    "--threads",
    "1",
];

fn bench(folder: &Folder, more: &[&str]) -> Ran {
    folder.run(SMALL.iter().chain(more))
}

#[test]
fn every_operator_is_measured_and_the_report_has_the_shape_of_its_schema() {
    let folder = Folder::new();
    let ran =
        bench(&folder, &["--schemes", "bf16,mxint8", "--json", "r.json", "--svg", "r.svg"]).with_code(0);
    let operators = ["matmul", "grouped-matmul", "moe-ffn", "quantize", "dequantize", "prepare-weights"];
    for operator in operators.into_iter().chain(["route", "permute", "swiglu", "combine"]) {
        assert!(ran.out.contains(&format!("\n{operator}/")), "{operator}: {}", ran.out);
    }
    for word in ["ceiling read", "ceiling copy", " of read", "GFLOP/s"] {
        assert!(ran.out.contains(word), "{word}: {}", ran.out);
    }

    let report: Value = serde_json::from_slice(&fs::read(folder.path("r.json")).unwrap()).unwrap();
    let schema: Value = serde_json::from_str(&bench(&folder, &["--schema"]).with_code(0).out).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");

    let cases = report["runs"][0]["cases"].as_array().unwrap();
    let case = |name: &str| cases.iter().find(|case| case["name"] == name).unwrap();
    let product = case("matmul/64x128/mxfp4/mxint8/3");
    assert_eq!(product["flops"], f64::from(2 * 3 * 64 * 128));
    assert_eq!(product["bytes"], f64::from(3 * 128 * 2 + 64 * 4 * 17 + 3 * 64 * 2));
    assert_eq!(product["rounds"].as_array().unwrap().len(), 3);
    let seconds = &product["seconds"];
    let number = |name: &str| seconds[name].as_f64().unwrap();
    assert!(0.0 < number("p5") && number("p5") <= number("median") && number("median") <= number("p95"));
    assert!(product["fraction"].as_f64().unwrap() > 0.0);
    // One token goes to two of four experts, each of 3 matrices of 64x64.
    let tokens = 64 * 2 + 2 * 8 + 64 * 2;
    assert_eq!(case("moe-ffn/64x64x4x2/mxfp4/bf16/1")["bytes"], f64::from(tokens + 2 * 3 * 64 * 2 * 17));

    let svg = fs::read_to_string(folder.path("r.svg")).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(
        svg.matches("<circle").count(),
        2 * 6 + 6,
        "a point for each case, and for each line of the legend"
    );
    assert_eq!(svg.matches("http").count(), 1, "the name space, and nothing that is fetched");
}

#[test]
fn a_report_is_compared_with_another() {
    let folder = Folder::new();
    let filter = ["--filter", "^matmul/", "--schemes", "mxint8"];
    bench(&folder, &[&filter[..], &["--json", "before.json"]].concat()).with_code(0);
    let path = folder.path("before.json");
    let mut report: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (factor, code, word) in [(1e-3, 1, "2 slower"), (1e3, 0, "2 faster")] {
        for case in report["runs"][0]["cases"].as_array_mut().unwrap() {
            for round in case["rounds"].as_array_mut().unwrap() {
                round["seconds"] = (factor * 1e-5).into();
                round["fraction"] = (1.0 / factor * 1e-2).into();
            }
        }
        fs::write(&path, report.to_string()).unwrap();
        let ran = bench(&folder, &[&filter[..], &["--compare", "before.json"]].concat()).with_code(code);
        assert!(ran.out.contains(word) && ran.out.contains("over the machine's limit"), "{}", ran.out);
    }
    let other = ["--filter", "^route/", "--compare", "before.json"];
    bench(&folder, &other).with_code(2).saying(&["before.json has none of the cases"]);
    folder.write("other.json", "{\"schema\": \"mxhal-bench/9\"}");
    let other = ["--filter", "^route/", "--compare", "other.json"];
    bench(&folder, &other).with_code(1).saying(&["`mxhal-bench/9`"]);
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is() {
    let folder = Folder::new();
    for (arguments, said) in [
        (&["--filter", "nothing"][..], "matches none"),
        (&["--filter", "^matmull/"], "the nearest are matmul/"),
        (&["--dense", "64"], "2 positive integers"),
        (&["--layer", "64x64x2x3"], "3 of 2 experts"),
        (&["--clock", "thread", "--threads", "2"], "--threads 1"),
        (&["--schemes", "fp8"], "mxint8"),
        (&["--rows", "0"], "from 1"),
        (&["--option", "isa=avx1024"], "avx1024"),
    ] {
        let arguments: Vec<&str> = ["bench", "--quick"].iter().chain(arguments).copied().collect();
        let ran = folder.run(arguments);
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
        assert!(ran.code.is_some_and(|code| code > 1) && ran.out.is_empty(), "{:?} {}", ran.code, ran.out);
    }
}

#[test]
fn a_sample_is_one_graph_where_the_backend_has_graphs() {
    let folder = Folder::new();
    // Weights this small would be taken by turns of so many copies that the simulator has no room for them.
    let few = ["--filter", "^(swiglu|combine|prepare-weights)/", "--schemes", "bf16"];
    let graph = [&few[..], &["--graph", "--json", "r.json"]].concat();
    bench(&folder, &graph).with_code(1).saying(&["no graphs"]);

    let driver = cargo_build::library("mxhal-simulated-cuda", "mxhal_simulated_cuda");
    let plugin = cargo_build::library("mxhal-cuda-plugin", "mxhal_cuda");
    let environment = simulated::install(&folder.path("driver"), &driver, "sm_90").unwrap();
    let code = format!("device_code={}", folder.path("driver").join(simulated::STAND_IN).display());
    let output = folder
        .command()
        .envs(environment)
        .args(SMALL.iter().filter(|argument| !["--threads", "1"].contains(argument)))
        .args(["--plugin", plugin.to_str().unwrap(), "--option", &code])
        .args(&graph)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&fs::read(folder.path("r.json")).unwrap()).unwrap();
    assert_eq!(report["settings"]["graph"], true);
    let cases = report["runs"][0]["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    assert!(cases.iter().all(|case| case["seconds"]["median"].as_f64().unwrap() > 0.0), "{cases:?}");
}

#[test]
fn cases_are_listed_and_the_schema_that_is_written_down_is_the_programs() {
    let folder = Folder::new();
    let listed = bench(&folder, &["--list", "--filter", "^moe-ffn/", "--schemes", "bf16"]).with_code(0).out;
    assert_eq!(listed, "moe-ffn/64x64x4x2/mxfp4/bf16/1\nmoe-ffn/64x64x4x2/mxfp4/bf16/3\n");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/bench.schema.json");
    let expected = bench(&folder, &["--schema"]).with_code(0).out;
    let found = fs::read_to_string(path).unwrap();
    assert!(found == expected, "write it again: mxhal bench --schema > docs/bench.schema.json");
}
