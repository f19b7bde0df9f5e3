//! `conform`: what it is asked, what it writes, how it ends. What the suite finds is tested with the suite.

use std::fs;

use serde_json::Value;

use super::Folder;

/// Few cases, quickly asked.
const FEW: [&str; 2] = ["--filter", "^memory/quantize/"];

#[test]
fn a_run_that_passes_writes_its_reports() {
    let folder = Folder::new();
    let arguments = ["conform", "--seed", "5", "--json", "report.json", "--junit", "report.xml"];
    let page = ["--html", "report.html"];
    let ran = folder.run(arguments.iter().chain(&page).chain(&FEW)).with_code(0);
    assert!(ran.out.contains("cpu") && ran.out.contains("seed"), "{}", ran.out);
    let report: Value = serde_json::from_slice(&fs::read(folder.path("report.json")).unwrap()).unwrap();
    assert_eq!((&report["run"]["seed"], &report["passed"]), (&Value::from(5), &Value::Bool(true)));
    assert!(!report["cases"].as_array().unwrap().is_empty());
    assert!(fs::read_to_string(folder.path("report.xml")).unwrap().contains("<testsuites"));
    assert!(fs::read_to_string(folder.path("report.html")).unwrap().contains("PASSED"));
    assert_eq!(folder.names(), ["report.html", "report.json", "report.xml"]);
}

#[test]
fn cases_are_listed_without_being_asked() {
    let folder = Folder::new();
    let all = folder.run(["conform", "--list"]).with_code(0).out.lines().count();
    let few = folder.run(["conform", "--list"].iter().chain(&FEW)).with_code(0);
    assert!(few.out.lines().all(|name| name.starts_with("memory/quantize/")), "{}", few.out);
    let few = few.out.lines().count();
    assert!(0 < few && few < all, "{few} of {all}");
}

#[test]
fn exit_codes_tell_usage_plugin_and_device_apart() {
    let folder = Folder::new();
    folder.run(["conform", "--filter", "^nothing$"]).with_code(2).saying(&["^nothing$", "--list"]);
    let elsewhere = ["conform", "--filter", "^exact/quantize/.*nvfp4", "--profile", "core"];
    folder.run(elsewhere).with_code(2).saying(&["none of the", "of the profile nvfp4"]);
    folder.run(["conform", "--filter", "("]).with_code(2);
    folder.run(["conform", "--profile", "fast"]).with_code(2).saying(&["core, fused, w4a4, nvfp4"]);
    folder.run(["conform", "--plugin", "x.so", "--backend", "cpu"]).with_code(2);
    folder.run(["conform", "--plugin", "absent.so"]).with_code(3).saying(&["absent.so", "no such file"]);
    folder.run(["conform", "--device", "7"].iter().chain(&FEW)).with_code(4).saying(&["no device"]);
}

/// A limit on the size of a file stands for a disk that is full: what is written fails in the middle.
#[test]
fn a_report_that_does_not_fit_on_the_disk_leaves_the_old_one_whole() {
    let folder = Folder::new();
    for (flag, name) in [("--json", "report.json"), ("--html", "report.html"), ("--junit", "report.xml")] {
        folder.run(["conform", flag, name].iter().chain(&FEW)).with_code(0);
        let old = fs::read(folder.path(name)).unwrap();
        // In the shell's own way: the signal would end the process before it could say anything.
        let limited = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
        let arguments =
            ["-c", limited, "sh", env!("CARGO_BIN_EXE_mxhal"), "conform", flag, name, "--seed", "1"];
        let output = std::process::Command::new("sh")
            .current_dir(folder.path(""))
            .args(arguments.iter().chain(&FEW))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("could not be written") && said.contains(name), "{said}");
        assert_eq!(fs::read(folder.path(name)).unwrap(), old, "{name}");
    }
    assert_eq!(folder.names(), ["report.html", "report.json", "report.xml"]);
}

/// A waiver for all that FEW asks, which passes.
fn waiver(expires: &str) -> String {
    format!(
        "[[waiver]]\ncases = \"memory/quantize/.*\"\nbackend = \"cpu\"\nowner = \"someone\"\nreason = \"was wrong\"\n\
         expected = \"fail\"\nexpires = {expires}\n"
    )
}

#[test]
fn a_waiver_for_what_passes_fails_the_run_and_so_does_an_expired_one() {
    let folder = Folder::new();
    let conform = ["conform", "--waivers", "known.toml"];
    folder.write("known.toml", &waiver("9999-12-31"));
    let ran = folder.run(conform.iter().chain(&FEW)).with_code(1);
    assert!(ran.out.contains("it passed; remove its waiver (was wrong)"), "{}", ran.out);
    folder.write("known.toml", &waiver("2001-01-01"));
    let ran = folder.run(conform.iter().chain(&FEW)).with_code(1);
    assert!(ran.out.ends_with("FAILED: a waiver has expired\n"), "{}", ran.out);
    folder.write("known.toml", &waiver("2001-01-01").replace("\"cpu\"", "\"another\""));
    folder.run(conform.iter().chain(&FEW)).with_code(0);
    folder.write("known.toml", &waiver("9999-12-31").replace("memory/quantize", "no/such"));
    let ran = folder.run(conform.iter().chain(&FEW)).with_code(0);
    assert!(ran.out.contains("the waiver of known.toml:1 matches no case"), "{}", ran.out);
}

#[test]
fn what_is_wrong_with_waivers_is_said_with_its_line() {
    let folder = Folder::new();
    let conform = ["conform", "--waivers", "known.toml"];
    folder.run(conform).with_code(2).saying(&["known.toml", "could not be read"]);
    folder.write("known.toml", &waiver("9999-12-31").replace("owner", "owners"));
    folder.run(conform).with_code(2).saying(&["known.toml:4:", "unknown field `owners`"]);
}

#[test]
fn what_was_measured_of_the_same_backend_is_on_the_page() {
    let folder = Folder::new();
    let bench =
        ["bench", "--quick", "--filter", "^matmul/", "--rows", "1", "--schemes", "bf16", "--threads", "1"];
    let small = ["--dense", "64x64", "--rounds", "1", "--json", "speed.json"];
    folder.run(bench.iter().chain(&small)).with_code(0);
    let conform = ["conform", "--html", "report.html", "--bench", "speed.json"];
    folder.run(conform.iter().chain(&FEW)).with_code(0);
    let page = fs::read_to_string(folder.path("report.html")).unwrap();
    assert!(page.contains("Roofline of cpu") && page.contains("<svg viewBox"), "{page}");
    assert!(!page.contains("http://"), "it names nothing elsewhere");
    let text = fs::read_to_string(folder.path("speed.json")).unwrap();
    folder.write("speed.json", &text.replacen("\"name\": \"cpu\"", "\"name\": \"other\"", 1));
    let ran = folder.run(conform.iter().chain(&FEW)).with_code(0);
    assert!(ran.err.contains("no roofline is shown: other"), "{}", ran.err);
    folder.write("speed.json", "{}");
    folder.run(conform.iter().chain(&FEW)).saying(&["speed.json", "is not a report of mxhal bench"]);
}

/// Few cases, some of which have one right answer.
const EXACT: [&str; 2] = ["--filter", "^exact/(de)?quantize/"];

#[test]
fn a_certificate_is_given_signed_checked_and_compared() {
    let folder = Folder::new();
    folder.run(["conform", "--new-key", "our.key"]).with_code(0);
    folder.run(["conform", "--new-key", "other.key"]).with_code(0);
    folder.run(["conform", "--new-key", "our.key"]).with_code(2).saying(&["our.key", "could not be written"]);
    let certify = |name: &'static str, more: &[&'static str]| {
        folder.run(["conform", "--certificate", name].iter().chain(more).chain(&EXACT)).with_code(0)
    };
    let signed = certify("a.json", &["--key", "our.key"]);
    assert!(signed.err.contains("a.json is signed by a.json.sig"), "{}", signed.err);
    let unsigned = certify("b.json", &["--jobs", "2"]);
    assert!(unsigned.err.contains("not signed"), "{}", unsigned.err);

    let verify = ["conform", "--verify", "a.json"];
    let said = folder.run(verify.iter().chain(&["--public-key", "our.key.pub"])).with_code(0).out;
    assert!(said.contains("as it should be") && said.ends_with("VALID: whole and unchanged\n"), "{said}");
    assert!(said.contains("cpu") && said.contains("the list of this program"), "{said}");
    assert!(said.contains("verdicts   follow from the results"), "{said}");
    let other = folder.run(verify.iter().chain(&["--public-key", "other.key.pub"])).with_code(1);
    other.saying(&["a.json", "is signed by", "and not by"]);
    let plugin = folder.write("x.so", "no plugin").display().to_string();
    folder.run(verify.iter().chain(&["--plugin", plugin.as_str()])).with_code(1).saying(&["x.so", "sha256"]);
    let said = folder.run(["conform", "--verify", "b.json"]).with_code(0).out;
    assert!(said.contains("anyone could have written it"), "{said}");
    folder.run(["conform", "--verify", "b.json", "--public-key", "our.key.pub"]).with_code(1);
    folder.run(["conform", "--verify", "absent.json"]).with_code(2);

    let said = folder.run(["conform", "--agree", "a.json", "b.json"]).with_code(0).out;
    assert!(said.contains(" 0 differ") && said.ends_with("AGREE\n"), "{said}");
    certify("c.json", &["--seed", "1"]);
    folder
        .run(["conform", "--agree", "a.json", "c.json"])
        .with_code(2)
        .saying(&["the seed is 0 in the first"]);

    let text = fs::read_to_string(folder.path("a.json")).unwrap();
    folder.write("a.json", &text.replacen("\"passed\"", "\"passeD\"", 1));
    folder.run(verify).with_code(1).saying(&["a.json", "was changed"]);
}

#[test]
fn what_is_simulated_or_wrong_is_not_certified() {
    let folder = Folder::new();
    let simulated = ["conform", "--certificate", "a.json", "--simulate", "Ascend950PR_9599"];
    folder.run(simulated).with_code(2).saying(&["--simulate"]);
    folder.write("known.toml", &waiver("2001-01-01"));
    let failed = ["conform", "--certificate", "a.json", "--waivers", "known.toml"];
    let ran = folder.run(failed.iter().chain(&FEW)).with_code(1);
    assert!(ran.err.contains("no certificate of a run that did not pass"), "{}", ran.err);
    assert_eq!(folder.names(), ["known.toml"]);
}
