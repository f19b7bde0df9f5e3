//! Which profiles are met, and whether a run passed.
//!
//! Without a claim, a backend is held to what it says it can do: no case may be wrong (failed, crashed, timed out,
//! device lost, an unexpected pass), and what it refuses with a reason only leaves a profile unmet. Where a profile is
//! claimed, a refusal within it (or within Core, which every profile contains) is a failure too. A run in which nothing
//! was executed has not passed. A waiver that is for the backend and has expired fails the run by itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaseReport, StateKind, WaiverReport, WaiverStanding};
use crate::profile::Profile;

/// Whether a profile is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Every case that it requires passed.
    Met,
    /// One or more were refused or wrong.
    NotMet,
    /// Not all of its cases were asked, and none that was is in the way.
    NotJudged,
}

/// A profile and what is missing for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileVerdict {
    /// The profile.
    pub profile: Profile,
    /// Whether it is met.
    pub standing: Standing,
    /// Cases that it requires, its own and Core's.
    pub required: usize,
    /// Those that passed, were waived or did not apply.
    pub satisfied: usize,
    /// Names of those that the backend refused.
    pub not_supported: Vec<String>,
    /// Names of those that are wrong.
    pub wrong: Vec<String>,
}

impl ProfileVerdict {
    /// In words: `met: 698 of 698`.
    pub fn words(&self) -> String {
        let Self { required, satisfied, not_supported, wrong, .. } = self;
        match self.standing {
            Standing::Met => format!("met: {satisfied} of {required}"),
            Standing::NotJudged => format!("not judged: {satisfied} of {required} were asked"),
            Standing::NotMet => format!(
                "not met: {satisfied} of {required}, {} not supported, {} wrong",
                not_supported.len(),
                wrong.len()
            ),
        }
    }
}

/// Judges every profile. `required` counts the cases of the whole list, chosen or not.
pub fn profiles(cases: &[CaseReport], required: impl Fn(Profile) -> usize) -> Vec<ProfileVerdict> {
    Profile::ALL.into_iter().map(|profile| judge(profile, cases, &required)).collect()
}

/// Whether no waiver that is for this run has expired: one that has fails it.
pub fn waivers_hold(waivers: &[WaiverReport]) -> bool {
    waivers.iter().all(|waiver| waiver.standing != WaiverStanding::Expired)
}

/// Whether the cases of a run passed, where `claimed` is the profile that was asked for.
pub fn passed(cases: &[CaseReport], claimed: Option<Profile>) -> bool {
    let kinds = || cases.iter().map(|case| case.state.kind());
    let executed = kinds().any(|kind| !matches!(kind, StateKind::NotSupported | StateKind::Skipped));
    let refused = cases.iter().any(|case| {
        case.state.kind() == StateKind::NotSupported
            && claimed.is_some_and(|profile| profile.contains(case.profile))
    });
    executed && !refused && !kinds().any(StateKind::is_wrong)
}

fn judge(profile: Profile, cases: &[CaseReport], required: &impl Fn(Profile) -> usize) -> ProfileVerdict {
    let names = |wanted: fn(StateKind) -> bool| -> Vec<String> {
        let of_profile = cases.iter().filter(|case| profile.contains(case.profile));
        of_profile.filter(|case| wanted(case.state.kind())).map(|case| case.name.clone()).collect()
    };
    let wrong = names(StateKind::is_wrong);
    let not_supported = names(|kind| kind == StateKind::NotSupported);
    let satisfied =
        names(|kind| matches!(kind, StateKind::Pass | StateKind::Waived | StateKind::Skipped)).len();
    let required = required(profile);
    let standing = if !wrong.is_empty() || !not_supported.is_empty() {
        Standing::NotMet
    } else if satisfied < required || required == 0 {
        Standing::NotJudged
    } else {
        Standing::Met
    };
    ProfileVerdict { profile, standing, required, satisfied, not_supported, wrong }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Failure, Measures};
    use crate::report::State;
    use crate::suite::SuiteKind;

    fn case(profile: Profile, state: State) -> CaseReport {
        let suite = SuiteKind::Exact;
        CaseReport { name: format!("exact/{profile}"), suite, profile, seconds: 0.0, state, reproduce: None }
    }

    fn refusal() -> State {
        State::NotSupported { reason: "operator".into(), text: "there is no moe-ffn here".into() }
    }

    #[test]
    fn what_is_refused_fails_only_a_profile_that_is_claimed() {
        let pass = || State::Pass(Measures::default());
        let cases = [case(Profile::Core, pass()), case(Profile::Fused, refusal())];
        assert!(passed(&cases, None));
        assert!(passed(&cases, Some(Profile::Core)));
        assert!(!passed(&cases, Some(Profile::Fused)));
        let verdicts = profiles(&cases, |profile| if profile == Profile::Fused { 2 } else { 1 });
        assert_eq!(verdicts[0].standing, Standing::Met);
        assert_eq!(verdicts[1].standing, Standing::NotMet);
        assert_eq!(verdicts[1].not_supported, ["exact/fused"]);
    }

    #[test]
    fn core_is_part_of_every_profile() {
        let cases = [case(Profile::Core, refusal()), case(Profile::Fused, State::Pass(Measures::default()))];
        assert!(passed(&cases, None));
        assert!(!passed(&cases, Some(Profile::Fused)));
        assert_eq!(profiles(&cases, |_| 2)[1].standing, Standing::NotMet);
    }

    #[test]
    fn each_wrong_state_fails_the_run() {
        for wrong in [
            State::Fail(Failure::new("bits differ")),
            State::Crash { how: "SIGSEGV".into(), output: String::new() },
            State::Timeout { limit: 1.0 },
            State::DeviceLost { text: "gone".into() },
            State::UnexpectedPass { reason: "known".into() },
        ] {
            assert!(wrong.is_wrong(), "{wrong:?}");
            let cases = [case(Profile::Core, State::Pass(Measures::default())), case(Profile::Fused, wrong)];
            assert!(!passed(&cases, None));
        }
    }

    #[test]
    fn a_run_that_executed_nothing_has_not_passed() {
        assert!(!passed(&[], None));
        assert!(!passed(&[case(Profile::Core, refusal())], None));
        assert!(!passed(&[case(Profile::Core, State::Skipped { text: "one device".into() })], None));
    }

    #[test]
    fn a_profile_of_which_a_part_was_asked_is_not_judged() {
        let cases = [case(Profile::Core, State::Pass(Measures::default()))];
        let verdicts = profiles(&cases, |_| 2);
        assert_eq!(verdicts[0].standing, Standing::NotJudged);
        assert_eq!((verdicts[0].satisfied, verdicts[0].required), (1, 2));
    }
}
