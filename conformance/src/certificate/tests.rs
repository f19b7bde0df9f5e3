//! Certificates of a report made by hand.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::agreement::Agreement;
use super::signature::{PublicKey, SecretKey, signer};
use super::*;
use crate::outcome::Measures;
use crate::profile::Profile;
use crate::report::{CaseReport, PluginReport, RunReport};
use crate::suite::SuiteKind;

pub(super) fn report() -> Report {
    let case = |name: &str, state| CaseReport {
        name: name.to_owned(),
        suite: SuiteKind::Exact,
        profile: Profile::Core,
        seconds: 0.1,
        state,
        reproduce: None,
    };
    let digest =
        |digit: &str| State::Pass(Measures { digest: Some(digit.repeat(64)), ..Measures::default() });
    let refused = State::NotSupported { reason: "format".into(), text: "not offered".into() };
    Report {
        schema: crate::report::SCHEMA.into(),
        suite: SuiteReport { version: "0.1.0".into(), cases: 3, cases_sha256: "ab".repeat(32) },
        plugin: PluginReport {
            path: Some("/opt/x.so".into()),
            sha256: Some("cd".repeat(32)),
            name: "x".into(),
            vendor: "y".into(),
            version: "1".into(),
            abi: None,
        },
        device: Some(DeviceReport {
            index: 0,
            name: "d".into(),
            architecture: "a".into(),
            driver: "1.2".into(),
            memory_bytes: 1 << 40,
            alignment: 64,
            units: 1,
        }),
        environment: Environment::here(),
        run: RunReport { seed: u64::MAX, started: 1, ..RunReport::default() },
        cases: vec![case("exact/b", digest("1")), case("exact/a", digest("2")), case("exact/c", refused)],
        waivers: Vec::new(),
        notes: Vec::new(),
        profiles: Vec::new(),
        passed: true,
    }
}

fn with(change: impl FnOnce(&mut Report)) -> Report {
    let mut report = report();
    change(&mut report);
    report
}

fn written(folder: &Path) -> PathBuf {
    let path = folder.join("certificate.json");
    write(&Certificate::of(&report()).unwrap(), &path).unwrap();
    path
}

#[test]
fn a_certificate_leads_back_and_says_nothing_of_paths() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    assert_eq!(read(&path).unwrap(), Certificate::of(&report()).unwrap());
    assert!(!fs::read_to_string(&path).unwrap().contains("/opt/"));
}

#[test]
fn what_failed_or_was_simulated_is_not_certified() {
    let failed = Certificate::of(&with(|report| report.passed = false)).unwrap_err();
    assert!(matches!(failed, CertificateError::NotPassed), "{failed}");
    let simulated =
        Certificate::of(&with(|report| report.run.simulated = Some("a driver".into()))).unwrap_err();
    assert!(simulated.to_string().contains("a driver"), "{simulated}");
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    let (secret, public) = (folder.path().join("key"), folder.path().join("key.pub"));
    assert_eq!(SecretKey::create(&secret).unwrap(), public);
    let signature = SecretKey::read(&secret).unwrap().sign(&path).unwrap();
    assert_eq!(signer(&path).unwrap(), Some(PublicKey::read(&public).unwrap()));

    let right = fs::read(&path).unwrap();
    for place in 0..right.len() {
        for flip in [1, 0x20, 0x80] {
            let mut wrong = right.clone();
            wrong[place] ^= flip;
            fs::write(&path, &wrong).unwrap();
            assert!(read(&path).is_err(), "byte {place} ^ {flip} of the certificate");
            assert!(signer(&path).is_err(), "byte {place} ^ {flip} of what is signed");
        }
    }
    fs::write(&path, &right[..right.len() - 1]).unwrap();
    assert!(read(&path).is_err() && signer(&path).is_err());
    fs::write(&path, [&right[..], b"\n"].concat()).unwrap();
    assert!(read(&path).is_err() && signer(&path).is_err());

    fs::write(&path, &right).unwrap();
    let right = fs::read(&signature).unwrap();
    for place in 0..right.len() {
        let mut wrong = right.clone();
        wrong[place] ^= 1;
        fs::write(&signature, &wrong).unwrap();
        assert!(signer(&path).is_err(), "byte {place} of the signature");
    }
    fs::write(&signature, &right).unwrap();
    assert!(signer(&path).unwrap().is_some());
}

#[test]
fn who_makes_the_hash_fit_is_betrayed_by_the_signature() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(folder.path());
    assert_eq!(signer(&path).unwrap(), None);
    let secret = folder.path().join("key");
    SecretKey::create(&secret).unwrap();
    SecretKey::read(&secret).unwrap().sign(&path).unwrap();
    write(&Certificate::of(&with(|report| report.run.seed = 7)).unwrap(), &path).unwrap();
    read(&path).unwrap();
    let error = signer(&path).unwrap_err();
    assert!(error.to_string().contains("certificate.json.sig"), "{error}");
}

#[test]
fn keys_are_kept_from_others_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("key");
    SecretKey::create(&secret).unwrap();
    let before = fs::read(&secret).unwrap();
    assert!(matches!(SecretKey::create(&secret), Err(CertificateError::Write { .. })));
    assert_eq!(fs::read(&secret).unwrap(), before);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = SecretKey::read(&secret).err().unwrap();
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
    let no_key = PublicKey::read(&secret).unwrap_err();
    assert!(no_key.to_string().contains("mxhal-public-key"), "{no_key}");
}

#[test]
fn digests_are_compared_in_the_order_of_the_suites() {
    let one = Certificate::of(&report()).unwrap();
    assert_eq!(Agreement::of(&one, &one).unwrap(), Agreement { agreed: 2, differing: vec![], one_sided: 0 });
    assert!(Agreement::of(&one, &one).unwrap().holds());
    let mut other = one.clone();
    other.results[1].digest = Some("3".repeat(64));
    other.results[0].digest = None;
    let agreement = Agreement::of(&one, &other).unwrap();
    assert_eq!((agreement.agreed, agreement.one_sided), (0, 1));
    assert_eq!(agreement.differing[0].case, "exact/a");
    assert!(!agreement.holds());
    let seed = Agreement::of(&one, &Certificate { seed: 3, ..one.clone() }).unwrap_err();
    assert!(seed.to_string().contains("the seed is 18446744073709551615"), "{seed}");
}
