//! Ranges of driver versions.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Comparisons that all hold: `>=570.10, <580`.
#[derive(Clone, Debug)]
pub(super) struct DriverRange {
    text: String,
    comparisons: Vec<(Relation, Vec<u64>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Relation {
    /// By their signs, longer ones first, so that `<=` is not read as `<`.
    const SIGNS: [(&str, Self); 5] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("<", Self::Less),
        (">", Self::Greater),
        ("=", Self::Equal),
    ];

    const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Equal => ordering.is_eq(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

impl DriverRange {
    /// Whether a driver's version lies within. Of the version, the numbers count, whatever is between them; a version
    /// without a number lies in no range.
    pub(super) fn contains(&self, version: &str) -> bool {
        let version = numbers(version);
        !version.is_empty()
            && self.comparisons.iter().all(|(relation, bound)| relation.holds(compare(&version, bound)))
    }
}

impl FromStr for DriverRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let comparison = |part: &str| {
            let part = part.trim();
            let (relation, version) = Relation::SIGNS
                .into_iter()
                .find_map(|(sign, relation)| Some((relation, part.strip_prefix(sign)?.trim())))?;
            let dotted = version.split('.').all(|number| number.parse::<u64>().is_ok());
            dotted.then(|| (relation, numbers(version)))
        };
        let comparisons = text.split(',').map(comparison).collect::<Option<Vec<_>>>().ok_or_else(|| {
            format!(
                "`driver` is `{text}`; expected comparisons with <, <=, =, >= or >, as \">=570.10, <580\""
            )
        })?;
        Ok(Self { text: text.to_owned(), comparisons })
    }
}

impl fmt::Display for DriverRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The numbers in a version; one that is too large for 64 bits counts as the largest.
fn numbers(version: &str) -> Vec<u64> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    digits.map(|digits| digits.parse().unwrap_or(u64::MAX)).collect()
}

/// By the first number that differs; what is not there is 0.
fn compare(one: &[u64], other: &[u64]) -> Ordering {
    let number = |version: &[u64], place: usize| version.get(place).copied().unwrap_or(0);
    let places = 0..one.len().max(other.len());
    places
        .map(|place| number(one, place).cmp(&number(other, place)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_number_by_number() {
        let range: DriverRange = ">=570.10, <580".parse().unwrap();
        for within in ["570.10", "570.124.06", "579.999", "driver 575"] {
            assert!(range.contains(within), "{within}");
        }
        for outside in ["570.9", "580", "580.0.1", "57", "", "unknown"] {
            assert!(!range.contains(outside), "{outside}");
        }
        let equal: DriverRange = "=8.3".parse().unwrap();
        assert!(equal.contains("8.3.0") && !equal.contains("8.3.1") && !equal.contains("8.30"));
        let open: DriverRange = ">8".parse().unwrap();
        assert!(open.contains("8.0.1") && !open.contains("8.0"));
    }

    #[test]
    fn what_is_no_comparison_is_refused() {
        for wrong in ["", "570", "~570", ">=", ">=570.x", ">=570,", "<99999999999999999999999"] {
            let problem = wrong.parse::<DriverRange>().unwrap_err();
            assert!(problem.contains(wrong) && problem.contains(">=570.10"), "{problem}");
        }
    }
}
