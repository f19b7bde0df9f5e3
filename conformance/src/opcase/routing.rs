//! Drawing what decides which rows go to which expert: ids, counts, positions, maps, logits.

use mxhal_core::op::{MoeFfn, Op, Permute, Route};
use serde::{Deserialize, Serialize};

use super::random::Random;
use super::recipe::Values;
use crate::oracle::{self, Matrix};

/// How rows are spread over experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Any expert, the experts of a token different as far as there are enough.
    Even,
    /// All on one expert; further slots of a token are −1.
    OneExpert,
    /// Every third expert, from the second on, and nobody else.
    Sparse,
    /// As even, with a third of the slots at −1 (or of the rows beyond the last group).
    Missing,
    /// As even, with ids here and there that no expert has.
    OutOfRange,
    /// No expert at all: every id −1, every count 0.
    Nobody,
}

/// Experts, top-k and the length of the expert map of an operator that has ids.
pub(crate) fn shape_of(op: &Op) -> (usize, usize, Option<usize>) {
    match *op {
        Op::Permute(Permute { experts, top_k, mapped, .. })
        | Op::MoeFfn(MoeFfn { experts, top_k, mapped, .. }) => (experts, top_k, mapped),
        _ => (1, 1, None),
    }
}

/// `[tokens, top_k]` ids below `experts`, or −1.
pub(crate) fn ids(random: &mut Random, tokens: usize, experts: usize, top_k: usize, load: Load) -> Vec<i32> {
    let popular = random.below(experts) as i32;
    let mut ids = Vec::with_capacity(tokens * top_k);
    for _ in 0..tokens {
        let open: Vec<i32> = match load {
            Load::Sparse if experts > 1 => (1..experts as i32).step_by(3).collect(),
            _ => (0..experts as i32).collect(),
        };
        let mut left = Vec::new();
        for slot in 0..top_k {
            if left.is_empty() {
                left.clone_from(&open);
                random.shuffle(&mut left);
            }
            let id = left.pop().expect("there is at least one expert");
            ids.push(match load {
                Load::Even | Load::Sparse => id,
                Load::OneExpert => {
                    if slot == 0 {
                        popular
                    } else {
                        -1
                    }
                }
                Load::Missing => {
                    if random.one_in(3) {
                        -1
                    } else {
                        id
                    }
                }
                Load::OutOfRange if random.one_in(4) => {
                    random.pick(&[experts as i32, experts as i32 + 1, i32::MAX, -2, i32::MIN])
                }
                Load::OutOfRange => id,
                Load::Nobody => -1,
            });
        }
    }
    ids
}

/// Rows of each of `groups`, at most `rows` together.
pub(crate) fn counts(random: &mut Random, rows: usize, groups: usize, load: Load) -> Vec<i32> {
    let mut counts = vec![0; groups];
    let placed = if matches!(load, Load::Missing | Load::OutOfRange) { rows - rows / 3 } else { rows };
    let popular = random.below(groups);
    for _ in 0..placed {
        let group = match load {
            Load::Nobody => break,
            Load::OneExpert => popular,
            Load::Sparse if groups > 1 => 1 + 3 * random.below((groups - 1).div_ceil(3)),
            _ => random.below(groups),
        };
        counts[group] += 1;
    }
    counts
}

/// The row of each slot, as [`Permute`] would give: every row at most once, skipped slots −1.
pub(crate) fn positions(random: &mut Random, tokens: usize, top_k: usize, load: Load) -> Vec<i32> {
    let experts = (2 * top_k).max(4);
    let ids = ids(random, tokens, experts, top_k, load);
    oracle::permute(&local(&ids, None, experts), top_k, experts)
        .expect("local ids are below the number of experts")
        .positions
}

/// A map from `mapped` ids to local experts: as many of them as fit, each at one place; −1 elsewhere.
pub(crate) fn expert_map(random: &mut Random, mapped: usize, experts: usize) -> Vec<i32> {
    let mut map: Vec<i32> = (0..mapped).map(|id| if id < experts { id as i32 } else { -1 }).collect();
    random.shuffle(&mut map);
    map
}

/// What ids mean to the experts here: mapped, and −1 where there is none.
pub(crate) fn local(ids: &[i32], map: Option<&[i32]>, experts: usize) -> Vec<i32> {
    let known = |id: i32, limit: usize| usize::try_from(id).ok().filter(|&id| id < limit);
    let one = |&id: &i32| {
        let expert = match map {
            Some(map) => known(id, map.len()).map_or(-1, |id| map[id]),
            None => id,
        };
        known(expert, experts).map_or(-1, |expert| expert as i32)
    };
    ids.iter().map(one).collect()
}

/// `[tokens, experts]` logits, whose scores are apart by several times the error that they may have; for
/// [`Values::Ties`], of four values only, so that many are equal.
pub(crate) fn logits(
    random: &mut Random,
    route: &Route,
    tokens: usize,
    values: Values,
    bias: Option<&[f64]>,
) -> Vec<f64> {
    let experts = route.experts;
    let mut logits = Vec::with_capacity(tokens * experts);
    for _ in 0..tokens {
        if values == Values::Ties {
            logits.extend((0..experts).map(|_| f64::from(random.between(-1, 2))));
            continue;
        }
        // A shuffled ladder with jitter. A bias may bring two scores together by chance: then another is drawn.
        let row = (0..1000).map(|_| ladder(random, experts)).find(|row| is_clear(route, row, bias));
        logits.extend(row.expect("of a thousand rows of logits one is clear"));
    }
    logits
}

fn ladder(random: &mut Random, experts: usize) -> Vec<f64> {
    let step = 8.0 / experts as f64;
    let rung = |rung: usize, random: &mut Random| -4.0 + step * (rung as f64 + 0.5 * random.uniform());
    let mut row: Vec<f64> = (0..experts).map(|place| f64::from(rung(place, random) as f32)).collect();
    random.shuffle(&mut row);
    row
}

fn is_clear(route: &Route, row: &[f64], bias: Option<&[f64]>) -> bool {
    let logits = Matrix { rows: 1, columns: row.len(), values: row.to_vec() };
    super::judge::oracle_route(route)
        .apply(&logits, bias, None)
        .is_ok_and(|routing| routing.margins.iter().all(|&margin| margin > 2.0))
}

#[cfg(test)]
mod tests {
    use mxhal_core::op::Score;

    use super::*;

    #[test]
    fn each_load_is_what_it_says() {
        let random = &mut Random::new(3, "loads");
        let one = ids(random, 10, 8, 2, Load::OneExpert);
        assert!(one.chunks(2).all(|slots| slots == [one[0], -1]) && one[0] >= 0);
        let sparse = ids(random, 50, 8, 2, Load::Sparse);
        assert!(sparse.iter().all(|id| [1, 4, 7].contains(id)));
        assert!(ids(random, 50, 8, 2, Load::Even).chunks(2).all(|slots| slots[0] != slots[1]));
        assert!(ids(random, 50, 8, 2, Load::Missing).contains(&-1));
        assert_eq!(ids(random, 2, 8, 2, Load::Nobody), [-1; 4]);
        assert_eq!(counts(random, 9, 4, Load::Even).iter().sum::<i32>(), 9);
        assert_eq!(counts(random, 9, 4, Load::Missing).iter().sum::<i32>(), 6);
        let sparse = counts(random, 90, 7, Load::Sparse);
        assert!(sparse.iter().enumerate().all(|(group, &count)| (count > 0) == [1, 4].contains(&group)));
        let one = counts(random, 9, 4, Load::OneExpert);
        assert!(one.contains(&9));
    }

    #[test]
    fn ids_become_local_through_the_map_and_nobody_beyond_it() {
        assert_eq!(local(&[0, 2, 3, -1, -2], Some(&[1, -1, 0]), 2), [1, 0, -1, -1, -1]);
        assert_eq!(local(&[0, 2, i32::MIN], None, 2), [0, -1, -1]);
        let mut map = expert_map(&mut Random::new(1, "map"), 6, 4);
        map.sort_unstable();
        assert_eq!(map, [-1, -1, 0, 1, 2, 3]);
    }

    #[test]
    fn logits_are_apart_also_with_a_bias() {
        for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
            let route = Route {
                tokens: 20,
                experts: 64,
                top_k: 6,
                score,
                bias: true,
                ids_given: false,
                renormalize: true,
                scale: 1.0,
            };
            let bias: Vec<f64> = (0..64).map(|expert| f64::from(expert % 5) / 8.0).collect();
            let random = &mut Random::new(1, "logits");
            assert_eq!(logits(random, &route, 20, Values::Ordinary, Some(&bias)).len(), 20 * 64);
        }
    }
}
