//! Whether what a certificate claims follows from its results. A signature says who wrote it, and not that it is so.

use std::collections::{HashMap, HashSet};

use regex::Regex;

use super::{Certificate, CertificateError, CertifiedCase};
use crate::case::Case;
use crate::outcome::{Failure, Measures};
use crate::profile::Profile;
use crate::report::verdict::{passed, profiles, waivers_hold};
use crate::report::{CaseReport, State, StateKind};
use crate::runner;
use crate::suite::abi::ProcessQuestion;

impl Certificate {
    /// Judges the results again, and compares: no case is wrong, each that was chosen has a result, a waived one a waiver
    /// in force, and the profiles stand as they follow. `false` where that cannot be said: which cases there are, and
    /// which profile requires them, is known of this program's list alone.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Contradiction`].
    pub fn judge_again(&self) -> Result<bool, CertificateError> {
        self.judge().map_err(CertificateError::Contradiction)
    }

    fn judge(&self) -> Result<bool, String> {
        let mut names = HashSet::new();
        for case in &self.results {
            case.kind()?;
            if !names.insert(case.name.as_str()) {
                return Err(format!("{} has two results", case.name));
            }
        }
        self.judge_waivers()?;
        if !self.is_of_this_suite() {
            return Ok(false);
        }
        let all = runner::all_cases(self.seed);
        let claimed = self.profile.as_deref().map(str::parse::<Profile>).transpose()?;
        self.expect_chosen(&all, &names, claimed)?;
        let by_name: HashMap<&str, &Case> = all.iter().map(|case| (case.name.as_str(), case)).collect();
        let cases = self
            .results
            .iter()
            .map(|result| {
                let case = by_name
                    .get(result.name.as_str())
                    .ok_or_else(|| format!("{} is no case of the suite", result.name))?;
                Ok(CaseReport::new(case, 0.0, result.bare_state()?, String::new))
            })
            .collect::<Result<Vec<_>, String>>()?;
        if !passed(&cases, claimed) {
            let wrong = cases.iter().find(|case| case.state.is_wrong());
            return Err(match (wrong, claimed) {
                (Some(case), _) => {
                    format!("{} {}, and no such run passes", case.name, case.state.kind().name())
                }
                (None, Some(profile)) => format!("{profile} is claimed, and not all of it is supported"),
                (None, None) => "nothing was executed".to_owned(),
            });
        }
        let judged = profiles(&cases, runner::required(&all));
        if judged.len() != self.profiles.len() {
            return Err(format!("it has verdicts on {} profiles of {}", self.profiles.len(), judged.len()));
        }
        match judged.iter().zip(&self.profiles).find(|(judged, claimed)| judged != claimed) {
            None => Ok(true),
            Some((judged, claimed)) => Err(format!(
                "it says of the profile {} \"{}\", and from its results follows of {} \"{}\"",
                claimed.profile,
                claimed.words(),
                judged.profile,
                judged.words()
            )),
        }
    }

    /// A waived case is one that a waiver in force was applied to, and none had expired.
    fn judge_waivers(&self) -> Result<(), String> {
        if !waivers_hold(&self.waivers) {
            return Err("a waiver had expired, and no such run passes".to_owned());
        }
        let applied: HashSet<&str> =
            self.waivers.iter().flat_map(|waiver| &waiver.applied).map(String::as_str).collect();
        let waived = |case: &&CertifiedCase| case.state == StateKind::Waived.name();
        match self.results.iter().filter(waived).find(|case| !applied.contains(case.name.as_str())) {
            None => Ok(()),
            Some(case) => Err(format!("{} is waived, and by none of the waivers", case.name)),
        }
    }

    /// Whether the cases that have results are those that filter and profile choose. Those of the runner's own are
    /// recorded also where they were not chosen.
    fn expect_chosen(
        &self,
        all: &[Case],
        names: &HashSet<&str>,
        claimed: Option<Profile>,
    ) -> Result<(), String> {
        let filter = self.filter.as_deref().map(Regex::new).transpose();
        let filter = filter.map_err(|error| format!("its filter is none: {error}"))?;
        for case in all {
            let chosen = claimed.is_none_or(|profile| profile.contains(case.profile))
                && filter.as_ref().is_none_or(|filter| filter.is_match(&case.name));
            match (chosen, names.contains(case.name.as_str())) {
                (true, false) => return Err(format!("{} was chosen, and has no result", case.name)),
                (false, true) if ProcessQuestion::of(case).is_none() => {
                    return Err(format!("{} has a result, and was not chosen", case.name));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl CertifiedCase {
    fn kind(&self) -> Result<StateKind, String> {
        StateKind::from_name(&self.state)
            .ok_or_else(|| format!("{} ended as `{}`, which is no state", self.name, self.state))
    }

    /// The state without what verdicts do not look at.
    fn bare_state(&self) -> Result<State, String> {
        let text = String::new;
        Ok(match self.kind()? {
            StateKind::Pass => State::Pass(Measures::default()),
            StateKind::Fail => State::Fail(Failure::default()),
            StateKind::NotSupported => State::NotSupported { reason: text(), text: text() },
            StateKind::Waived => State::Waived { reason: text(), message: text() },
            StateKind::UnexpectedPass => State::UnexpectedPass { reason: text() },
            StateKind::Crash => State::Crash { how: text(), output: text() },
            StateKind::Timeout => State::Timeout { limit: 0.0 },
            StateKind::DeviceLost => State::DeviceLost { text: text() },
            StateKind::Skipped => State::Skipped { text: text() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::signature::{SecretKey, signer};
    use crate::certificate::{read, write};
    use crate::report::{Report, Standing};
    use crate::suite::SuiteKind;

    /// What somebody does to a certificate.
    type Alteration<'a> = &'a dyn Fn(&mut Certificate);

    /// A run of a part of the suite in which all passed but one, which was refused.
    fn report() -> Report {
        let all = runner::all_cases(5);
        let chosen = all.iter().filter(|case| case.name.starts_with("special/quantize/"));
        let mut cases: Vec<CaseReport> = chosen
            .map(|case| CaseReport::new(case, 0.0, State::Pass(Measures::default()), String::new))
            .collect();
        let nvfp4 = cases.iter().position(|case| case.profile == Profile::Nvfp4).expect("it is asked for");
        cases[nvfp4].state = State::NotSupported { reason: "format".into(), text: "not offered".into() };
        let mut report = crate::certificate::tests::report();
        report.suite = runner::suite_report(&all);
        report.run.seed = 5;
        report.run.filter = Some("^special/quantize/".to_owned());
        report.profiles = profiles(&cases, runner::required(&all));
        report.cases = cases;
        report
    }

    #[test]
    fn a_verdict_that_was_altered_and_signed_anew_does_not_follow_from_the_results() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("certificate.json"), folder.path().join("key"));
        SecretKey::create(&key).unwrap();
        let key = SecretKey::read(&key).unwrap();
        let right = Certificate::of(&report()).unwrap();
        let elsewhere = SuiteKind::Exact.cases(5).swap_remove(0).name;
        let judged = |change: Alteration<'_>| {
            let mut certificate = right.clone();
            change(&mut certificate);
            write(&certificate, &path).unwrap();
            key.sign(&path).unwrap();
            // Whole, canonical and signed.
            assert!(signer(&path).unwrap().is_some());
            read(&path).unwrap().judge_again().map_err(|error| error.to_string())
        };
        assert_eq!(judged(&|_| {}), Ok(true));
        let alterations: [(&str, Alteration<'_>); 10] = [
            ("of the profile core \"met", &|of| of.profiles[0].standing = Standing::Met),
            ("of the profile core", &|of| of.profiles[0].satisfied += 1),
            ("of the profile nvfp4", &|of| of.profiles[3].not_supported.clear()),
            ("on 5 profiles", &|of| of.profiles.truncate(5)),
            ("failed, and no such run", &|of| of.results[0].state = "failed".to_owned()),
            ("`fine`, which is no state", &|of| of.results[0].state = "fine".to_owned()),
            ("two results", &|of| of.results.push(of.results[0].clone())),
            ("has no result", &|of| drop(of.results.remove(0))),
            ("was not chosen", &|of| of.results[0].name.clone_from(&elsewhere)),
            ("by none of the waivers", &|of| of.results[0].state = "waived".to_owned()),
        ];
        for (said, change) in alterations {
            let answer = judged(change).unwrap_err();
            assert!(answer.contains(said), "{answer} does not say `{said}`");
        }
        assert!(judged(&|of| of.profile = Some("nvfp4".to_owned())).unwrap_err().contains("was not chosen"));
    }

    #[test]
    fn of_another_list_of_cases_the_verdicts_are_not_known() {
        let mut certificate = Certificate::of(&report()).unwrap();
        certificate.suite.cases_sha256 = "ab".repeat(32);
        assert!(!certificate.judge_again().unwrap());
    }
}
