//! The numeric cases and the golden checkpoints against the CPU backend, behind the C table as any plugin is.

use std::collections::{BTreeMap, HashSet};

use mxhal_conformance::case::{Body, Case};
use mxhal_conformance::outcome::Outcome;
use mxhal_conformance::profile::Profile;
use mxhal_conformance::subject::Subject;
use mxhal_conformance::suite::SuiteKind;
use mxhal_cpu::Cpu;
use mxhal_ffi::HostOptions;

const SUITES: [SuiteKind; 8] = [
    SuiteKind::Memory,
    SuiteKind::Exact,
    SuiteKind::Bounded,
    SuiteKind::Shapes,
    SuiteKind::Special,
    SuiteKind::Sequence,
    SuiteKind::Determinism,
    SuiteKind::Checkpoint,
];

fn cpu() -> Subject {
    let plugin = mxhal_ffi::embedded::<Cpu>(&HostOptions::default()).unwrap();
    Subject::new(plugin, 0).unwrap()
}

fn cases(seed: u64) -> Vec<Case> {
    SUITES.iter().flat_map(|suite| suite.cases(seed)).collect()
}

#[test]
fn the_cpu_backend_passes_every_case() {
    let (mut subject, seed) = (cpu(), 20_261_122);
    println!("seed {seed}");
    let mut failed = Vec::new();
    for case in cases(seed) {
        match case.run(&mut subject) {
            // Only where there are no rows, or none in any group, is there nothing to compare.
            Outcome::Pass(measures) => {
                let nothing = case.name.contains("/no-rows/") || case.name.contains("nobody/");
                assert!(measures.elements > 0 || nothing, "{}", case.name);
            }
            other => failed.push(format!("{}: {other:?}", case.name)),
        }
    }
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_exact_tier_gives_the_same_digests_with_one_thread_and_with_three() {
    let with_threads = |threads: &str| {
        let options = vec![("threads".to_owned(), threads.to_owned())];
        let plugin = mxhal_ffi::embedded::<Cpu>(&HostOptions { options, log: None }).unwrap();
        let mut subject = Subject::new(plugin, 0).unwrap();
        let digest = |case: Case| match case.run(&mut subject) {
            Outcome::Pass(measures) => measures.digest.map(|digest| (case.name, digest)),
            other => panic!("{}: {other:?}", case.name),
        };
        SuiteKind::Exact.cases(7).into_iter().filter_map(digest).collect::<BTreeMap<_, _>>()
    };
    let digests = with_threads("1");
    assert!(digests.len() > 150, "{} digests", digests.len());
    assert_eq!(digests, with_threads("3"));
}

#[test]
fn names_are_unique_and_the_same_for_every_seed() {
    let names = |seed| cases(seed).into_iter().map(|case| case.name).collect::<Vec<_>>();
    let all = names(1);
    assert_eq!(all, names(2));
    let mut seen = HashSet::new();
    let twice: Vec<_> = all.iter().filter(|name| !seen.insert(*name)).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for case in cases(1) {
        assert!(case.name.starts_with(&format!("{}/", case.suite)), "{}", case.name);
        let can_be_typed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/-_.".contains(c);
        assert!(case.name.chars().all(can_be_typed), "{}", case.name);
    }
}

#[test]
fn every_operator_of_a_case_validates() {
    for case in cases(1) {
        if let Body::Op(asked) = &case.body {
            asked.op.validate().unwrap_or_else(|error| panic!("{}: {error}", case.name));
            assert!(asked.rows <= asked.op.max_rows(), "{}", case.name);
        }
    }
}

#[test]
fn every_profile_asks_for_something() {
    let mut asked = BTreeMap::<Profile, usize>::new();
    for case in cases(1) {
        *asked.entry(case.profile).or_default() += 1;
    }
    println!("{asked:?}");
    assert!(
        Profile::ALL.iter().all(|profile| asked.get(profile).is_some_and(|&cases| cases >= 10)),
        "{asked:?}"
    );
}
