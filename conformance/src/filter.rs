//! What a filter was probably meant to match, where it matches nothing.

use regex::Regex;

/// Beyond these lengths nothing is compared: a name has some 60 letters, and distances take the product of two lengths.
const LONGEST: usize = 256;

/// At most so many of these names, those most like the filter first; none where no name is like it.
///
/// A name is as like as its words are: those between the punctuation of the filter are sought among those of the name.
///
/// ```
/// use mxhal_conformance::filter;
///
/// let names = ["exact/quantize/ties", "exact/matmul/plain", "bounded/swiglu/silu"];
/// let filter = regex::Regex::new("^exact/matmull/")?;
/// assert_eq!(filter::nearest(&filter, names, 1), ["exact/matmul/plain"]);
/// # Ok::<_, regex::Error>(())
/// ```
pub fn nearest<'a>(filter: &Regex, names: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let pattern = filter.as_str();
    let wanted: Vec<&str> = words(pattern).collect();
    if wanted.is_empty() || pattern.len() > LONGEST {
        return Vec::new();
    }
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| name.len() <= LONGEST)
        .filter_map(|name| distance(&wanted, name).map(|distance| (distance, name)))
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    near.into_iter().take(most).map(|(_, name)| name).collect()
}

/// Letters by which the words that are wanted are missed; `None` where not one of them is in the name, or nearly.
fn distance(wanted: &[&str], name: &str) -> Option<usize> {
    let mut found = false;
    let missed = wanted.iter().map(|word| {
        let letters = word.chars().count();
        let least =
            words(name).map(|other| strsim::damerau_levenshtein(word, other)).min().unwrap_or(letters);
        // A third of the letters wrong is a slip; more is another word.
        let slip = least <= letters / 3;
        found |= slip;
        if slip { least } else { letters }
    });
    let missed = missed.sum();
    found.then_some(missed)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-')).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = [
        "abi/plan/info",
        "exact/matmul/exact/7x33x96",
        "exact/grouped-matmul/exact/7x33x96",
        "exact/quantize/ties",
    ];

    fn near(filter: &str) -> Vec<&'static str> {
        nearest(&Regex::new(filter).unwrap(), NAMES, 2)
    }

    #[test]
    fn slips_of_the_hand_are_understood_and_other_words_are_not() {
        assert_eq!(near("^exact/quantise/"), ["exact/quantize/ties", "exact/matmul/exact/7x33x96"]);
        assert_eq!(near("groupd-matmul"), ["exact/grouped-matmul/exact/7x33x96"]);
        assert_eq!(near("^exact/matmul/exact/7x33x69$")[0], "exact/matmul/exact/7x33x96");
        assert_eq!(near("[^/]+/plans/info")[0], "abi/plan/info");
        assert!(
            near("^convolution$").is_empty() && near("^$").is_empty() && near(&"x".repeat(300)).is_empty()
        );
    }
}
