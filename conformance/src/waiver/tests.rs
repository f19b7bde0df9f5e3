use super::*;
use crate::outcome::{Failure, Measures};
use crate::profile::Profile;
use crate::suite::SuiteKind;

const WAIVER: &str = "\
[[waiver]]
cases = \"exact/quantize/.*\"
backend = \"chip\"
device = \"Chip [12]\"
driver = \">=9, <10\"
owner = \"someone\"
reason = \"ties go away from zero\"
expected = \"fail\"
expires = 2026-12-31
";

fn parse(text: &str) -> Result<Waivers, String> {
    Waivers::parse(text, Path::new("w.toml")).map_err(|error| error.to_string())
}

fn device(name: &str, driver: &str) -> DeviceReport {
    DeviceReport {
        index: 0,
        name: name.into(),
        architecture: "c1".into(),
        driver: driver.into(),
        memory_bytes: 1,
        alignment: 64,
        units: 1,
    }
}

fn today(day: u8) -> Date {
    Date { year: 2026, month: 12, day }
}

fn case(name: &str, state: State) -> CaseReport {
    let reproduce = state.is_wrong().then(|| "again".to_owned());
    let (suite, profile) = (SuiteKind::Exact, Profile::Core);
    CaseReport { name: name.into(), suite, profile, seconds: 0.0, reproduce, state }
}

fn pass() -> State {
    State::Pass(Measures::default())
}

fn fail() -> State {
    State::Fail(Failure::new("bits differ"))
}

/// What becomes of a case under the waiver above.
fn applied(name: &str, state: State) -> CaseReport {
    let waivers = parse(WAIVER).unwrap();
    let device = device("Chip 1", "9.4");
    waivers.in_run("chip", Some(&device), today(31)).apply(case(name, state), || "again".to_owned())
}

fn standing(text: &str, backend: &str, device: Option<&DeviceReport>, today: Date) -> WaiverStanding {
    let waivers = parse(text).unwrap();
    let names = ["exact/quantize/ties".to_owned()];
    waivers.in_run(backend, device, today).conclude(&names)[0].standing
}

#[test]
fn a_case_that_ends_as_expected_is_waived() {
    let case = applied("exact/quantize/ties", fail());
    let State::Waived { reason, message } = &case.state else { panic!("{case:?}") };
    assert_eq!((reason.as_str(), message.as_str()), ("ties go away from zero", "bits differ"));
    assert_eq!(case.reproduce.as_deref(), Some("again"));
}

#[test]
fn a_case_that_passes_is_an_unexpected_pass_with_its_command() {
    let case = applied("exact/quantize/ties", pass());
    assert_eq!(case.state.kind(), StateKind::UnexpectedPass);
    assert_eq!(case.reproduce.as_deref(), Some("again"));
}

#[test]
fn a_case_that_ends_otherwise_is_what_it_is() {
    let crash = State::Crash { how: "SIGSEGV".into(), output: String::new() };
    assert_eq!(applied("exact/quantize/ties", crash).state.kind(), StateKind::Crash);
    let skipped = State::Skipped { text: "one device".into() };
    assert_eq!(applied("exact/quantize/ties", skipped).state.kind(), StateKind::Skipped);
}

#[test]
fn a_pattern_matches_whole_names() {
    assert_eq!(applied("exact/quantize", fail()).state.kind(), StateKind::Fail);
    assert_eq!(applied("not/exact/quantize/ties", fail()).state.kind(), StateKind::Fail);
}

#[test]
fn of_several_waivers_the_one_that_expects_it_is_taken() {
    let second = WAIVER.replace("\"fail\"", "\"timeout\"").replace("ties go away from zero", "slow");
    let waivers = parse(&format!("{WAIVER}{second}")).unwrap();
    let device = device("Chip 1", "9.4");
    let mut in_run = waivers.in_run("chip", Some(&device), today(1));
    let case = in_run.apply(case("exact/quantize/ties", State::Timeout { limit: 1.0 }), String::new);
    assert!(matches!(&case.state, State::Waived { reason, .. } if reason == "slow"), "{case:?}");
    let reports = in_run.conclude(&[case.name]);
    assert_eq!([reports[0].applied.len(), reports[1].applied.len()], [0, 1]);
    assert_eq!([&reports[0].place, &reports[1].place], ["w.toml:1", "w.toml:10"]);
}

#[test]
fn a_waiver_holds_through_its_last_day() {
    let device = device("Chip 2", "9");
    assert_eq!(standing(WAIVER, "chip", Some(&device), today(31)), WaiverStanding::InForce);
    let after = Date { year: 2027, month: 1, day: 1 };
    assert_eq!(standing(WAIVER, "chip", Some(&device), after), WaiverStanding::Expired);
    let waivers = parse(WAIVER).unwrap();
    let mut in_run = waivers.in_run("chip", Some(&device), after);
    assert_eq!(in_run.apply(case("exact/quantize/a", fail()), String::new).state.kind(), StateKind::Fail);
}

#[test]
fn a_waiver_for_another_backend_device_or_driver_is_elsewhere() {
    let (chip, other, old) = (device("Chip 1", "9.4"), device("Chip 3", "9.4"), device("Chip 1", "8"));
    let after = Date { year: 2030, month: 1, day: 1 };
    for (backend, device) in
        [("cpu", Some(&chip)), ("chip", Some(&other)), ("chip", Some(&old)), ("chip", None)]
    {
        assert_eq!(standing(WAIVER, backend, device, after), WaiverStanding::Elsewhere);
    }
}

#[test]
fn a_waiver_that_matches_no_case_is_unused() {
    let text = WAIVER.replace("quantize", "quantise");
    assert_eq!(standing(&text, "chip", Some(&device("Chip 1", "9")), today(1)), WaiverStanding::Unused);
}

#[test]
fn a_day_may_be_quoted_and_a_file_may_be_empty() {
    parse(&WAIVER.replace("2026-12-31", "\"2026-12-31\"")).unwrap();
    assert!(parse("").unwrap().waivers.is_empty());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (from, to, words) in [
        ("owner =", "owners =", &["w.toml:6:", "unknown field `owners`"][..]),
        ("[[waiver]]", "[[waivers]]", &["w.toml:1:", "waivers"]),
        ("\"fail\"", "\"pass\"", &["w.toml:8:", "`pass`", "device-lost"]),
        ("2026-12-31", "\"soon\"", &["w.toml:9:", "soon", "2027-01-31"]),
        ("2026-12-31", "2026-02-30", &["w.toml:9:"]),
        ("2026-12-31", "2026-12-31T10:00:00Z", &["w.toml:9:", "expected a day"]),
        ("exact/quantize/.*", "(", &["w.toml:2:", "`(`", "regular expression"]),
        ("exact/quantize/.*", "a)(b", &["w.toml:2:", "regular expression"]),
        ("\">=9, <10\"", "\"9\"", &["w.toml:5:", "`9`", ">=570.10"]),
        ("\"someone\"", "\" \"", &["w.toml:6:", "`owner` is empty"]),
        ("reason = \"ties go away from zero\"\n", "", &["w.toml:1:", "reason"]),
    ] {
        let error = parse(&WAIVER.replace(from, to)).unwrap_err();
        for word in words {
            assert!(error.contains(word), "{to}: {error}");
        }
    }
}
