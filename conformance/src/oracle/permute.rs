//! Permute: rows in order of expert, stable in (token, slot).

use super::{Error, expect_size};

/// Where each row goes, and where it came from. A route's number is `token · top_k + slot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permutation {
    /// Rows of each expert.
    pub counts: Vec<usize>,
    /// For each row, its route; −1 past the last row.
    pub source: Vec<i32>,
    /// For each route, its row; −1 where it is skipped.
    pub positions: Vec<i32>,
}

/// The permutation for `ids [tokens, top_k]`; an id of −1, an expert on another device, is skipped.
///
/// # Errors
/// [`Error::Id`] for an id that is neither −1 nor below `experts`, [`Error::Shape`] where the last token is incomplete.
pub fn permute(ids: &[i32], top_k: usize, experts: usize) -> Result<Permutation, Error> {
    expect_size("the ids", ids.len().next_multiple_of(top_k.max(1)), ids.len())?;
    let mut routes_of = vec![Vec::new(); experts];
    for (route, &id) in ids.iter().enumerate() {
        match usize::try_from(id) {
            Ok(expert) if expert < experts => routes_of[expert].push(route),
            Err(_) if id == -1 => {}
            _ => return Err(Error::Id { token: route / top_k, slot: route % top_k, id, experts }),
        }
    }
    let mut permutation = Permutation {
        counts: routes_of.iter().map(Vec::len).collect(),
        source: vec![-1; ids.len()],
        positions: vec![-1; ids.len()],
    };
    for (row, &route) in routes_of.iter().flatten().enumerate() {
        permutation.source[row] = route as i32;
        permutation.positions[route] = row as i32;
    }
    Ok(permutation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_routes_leave_room_at_the_end() {
        let permutation = permute(&[2, -1, 0, 2, -1, 0], 2, 4).unwrap();
        assert_eq!(permutation.counts, [2, 0, 2, 0]);
        assert_eq!(permutation.source, [2, 5, 0, 3, -1, -1]);
        assert_eq!(permutation.positions, [2, -1, 0, 3, -1, 1]);
    }

    #[test]
    fn ids_out_of_range_are_named() {
        let error = permute(&[0, 1, 4, 0], 2, 4).unwrap_err();
        let expected = "the id of token 1, slot 0 is 4; there are 4 experts, and -1 means none";
        assert_eq!(error.to_string(), expected);
        assert!(permute(&[-2], 1, 4).is_err());
        assert!(permute(&[0, 1, 2], 2, 4).is_err());
    }
}
