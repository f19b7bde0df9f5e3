//! Whether two backends gave the same bits, without both being on one machine.

use std::collections::HashMap;

use super::{Certificate, CertificateError};

/// How two certificates compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Cases of which both have a digest, and the same.
    pub agreed: usize,
    /// Those of which the digests differ, in the order of the suites.
    pub differing: Vec<Difference>,
    /// Cases of which one alone has a digest, because the other refuses them or was not asked.
    pub one_sided: usize,
}

/// A case in which two backends gave other bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub case: String,
    /// The digest of the first.
    pub one: String,
    /// The digest of the second.
    pub other: String,
}

impl Agreement {
    /// Compares the digests of two certificates.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Incomparable`] where they answer other questions, or the same on other data.
    pub fn of(one: &Certificate, other: &Certificate) -> Result<Self, CertificateError> {
        let facts = |of: &Certificate| {
            [
                ("the version of the suite", of.suite.version.clone()),
                ("the hash of the list of cases", of.suite.cases_sha256.clone()),
                ("the seed", of.seed.to_string()),
            ]
        };
        for ((what, one), (_, other)) in facts(one).into_iter().zip(facts(other)) {
            if one != other {
                return Err(CertificateError::Incomparable { what, one, other });
            }
        }
        let digests = |of: &Certificate| {
            let with = of.results.iter().filter_map(|case| Some((case.name.clone(), case.digest.clone()?)));
            with.collect::<Vec<_>>()
        };
        let mut others: HashMap<String, String> = digests(other).into_iter().collect();
        let mut agreement = Self { agreed: 0, differing: Vec::new(), one_sided: 0 };
        for (case, one) in digests(one) {
            match others.remove(&case) {
                Some(other) if other == one => agreement.agreed += 1,
                Some(other) => agreement.differing.push(Difference { case, one, other }),
                None => agreement.one_sided += 1,
            }
        }
        agreement.one_sided += others.len();
        Ok(agreement)
    }

    /// Whether there was something to compare, and all of it is equal.
    pub fn holds(&self) -> bool {
        self.agreed > 0 && self.differing.is_empty()
    }
}
