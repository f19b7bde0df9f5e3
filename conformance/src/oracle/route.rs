//! Route: which experts a token goes to, and with what weights.

use super::format::power_of_two;
use super::swiglu::sigmoid;
use super::{Error, Matrix, Mismatch, expect_size};

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// The logistic function of each logit.
    Sigmoid,
    /// `sqrt(log(1 + e^x))` of each logit: DeepSeek V4.
    SqrtSoftplus,
    /// The logits choose, and the weights are the softmax over the chosen ones: gpt-oss.
    SoftmaxOfChosen,
}

/// A routing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    /// How logits become scores.
    pub score: Score,
    /// Experts of a token.
    pub top_k: usize,
    /// Whether the weights of a token are divided by their sum.
    pub renormalize: bool,
    /// What the weights are multiplied by at the end.
    pub scale: f64,
}

/// The experts of each token. Everything is `[tokens, top_k]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// Expert ids, in order of descending score + bias, or as given.
    pub ids: Vec<i32>,
    /// Their weights; 0 where the id is −1.
    pub weights: Vec<f64>,
    /// For each token, how clear the choice is: the least distance between two neighbours among the top-k and the
    /// first that was not chosen, over the sum of their error bounds. At 1 or below another order is right as well.
    /// Infinite where ids were given.
    pub margins: Vec<f64>,
}

/// How far a weight may be from `weight`: 2^−18 relative, or 2^−126.
pub fn weight_bound(weight: f64) -> f64 {
    (weight.abs() * power_of_two(-18)).max(power_of_two(-126))
}

impl Route {
    /// The routing of `logits [tokens, experts]`. The experts with the greatest score + bias are chosen, the lower id
    /// first on a tie, unless `ids [tokens, top_k]` are given; the weights are the scores without the bias. A given id
    /// of −1 is nobody's, and has weight 0.
    ///
    /// # Errors
    /// [`Error::Shape`] where sizes do not belong together or there are fewer experts than top-k, [`Error::Id`].
    pub fn apply(
        &self,
        logits: &Matrix,
        bias: Option<&[f64]>,
        ids: Option<&[i32]>,
    ) -> Result<Routing, Error> {
        expect_size("the bias", logits.columns, bias.map_or(logits.columns, <[_]>::len))?;
        let routes = logits.rows * self.top_k;
        if let Some(ids) = ids {
            expect_size("the ids", routes, ids.len())?;
        } else if logits.columns < self.top_k {
            return Err(Error::Shape {
                what: "a row of logits",
                expected: self.top_k,
                found: logits.columns,
            });
        }
        let mut routing = Routing { ids: Vec::new(), weights: Vec::new(), margins: Vec::new() };
        for token in 0..logits.rows {
            let row = logits.row(token);
            let (chosen, margin) = match ids {
                Some(ids) => (ids[token * self.top_k..][..self.top_k].to_vec(), f64::INFINITY),
                None => self.choose(&self.keys(row, bias)),
            };
            routing.weights.extend(self.weights(token, row, &chosen)?);
            routing.ids.extend(chosen);
            routing.margins.push(margin);
        }
        Ok(routing)
    }

    /// Whether `ids` and `weights`, both `[tokens, top_k]`, are a right routing. Experts whose scores are closer than
    /// their error bounds may come in either order, or one in place of the other, but where logit and bias are the
    /// same the lower id comes first.
    ///
    /// `given` says that the ids were given, so that only the weights are judged.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with the first token that is wrong; otherwise as [`Route::apply`].
    pub fn check(
        &self,
        logits: &Matrix,
        bias: Option<&[f64]>,
        given: Option<&[i32]>,
        ids: &[i32],
        weights: &[f64],
    ) -> Result<(), Error> {
        expect_size("the ids", logits.rows * self.top_k, ids.len())?;
        expect_size("the weights", ids.len(), weights.len())?;
        if let Some(given) = given.filter(|&given| given != ids) {
            expect_size("the given ids", ids.len(), given.len())?;
            let differs = given.iter().zip(ids).position(|(given, id)| given != id);
            let route = differs.expect("the lists have one length and are not equal");
            return Err(self.mismatch(
                route,
                format!("the given id {}", given[route]),
                ids[route].to_string(),
            ));
        }
        // The weights that belong to these very ids, whichever they are.
        let right = self.apply(logits, bias, Some(ids))?;
        if given.is_none() {
            for token in 0..logits.rows {
                self.check_choice(
                    token,
                    &self.keys(logits.row(token), bias),
                    &ids[token * self.top_k..][..self.top_k],
                )?;
            }
        }
        for (route, (&right, &got)) in right.weights.iter().zip(weights).enumerate() {
            let bound = weight_bound(right);
            let accepted = (got - right).abs() <= bound || (got.is_nan() && right.is_nan()) || got == right;
            if !accepted {
                return Err(self.mismatch(
                    route,
                    format!("the weight {right:e} ± {bound:e}"),
                    format!("{got:e}"),
                ));
            }
        }
        Ok(())
    }

    fn keys(&self, logits: &[f64], bias: Option<&[f64]>) -> Vec<Key> {
        let scores = self.scores(logits);
        let key = |(expert, &score): (usize, &f64)| {
            let bias = bias.map_or(0.0, |bias| bias[expert]);
            // -0 and +0 are a tie: adding +0 makes them one.
            let value = score + bias + 0.0;
            let rounding = if bias == 0.0 { 0.0 } else { value.abs() * power_of_two(-24) };
            // A logit is compared as it came; every other score was computed.
            let score_error = if self.score == Score::SoftmaxOfChosen { 0.0 } else { weight_bound(score) };
            Key { value, error: score_error + rounding, origin: (logits[expert] + 0.0, bias + 0.0) }
        };
        scores.iter().enumerate().map(key).collect()
    }

    fn scores(&self, logits: &[f64]) -> Vec<f64> {
        match self.score {
            Score::Softmax => softmax(logits),
            Score::Sigmoid => logits.iter().map(|&logit| sigmoid(logit)).collect(),
            Score::SqrtSoftplus => logits.iter().map(|&logit| softplus(logit).sqrt()).collect(),
            Score::SoftmaxOfChosen => logits.to_vec(),
        }
    }

    fn choose(&self, keys: &[Key]) -> (Vec<i32>, f64) {
        let mut order: Vec<usize> = (0..keys.len()).collect();
        // A stable sort: on a tie the lower id stays first.
        order.sort_by(|&a, &b| keys[b].value.total_cmp(&keys[a].value));
        let margin = |pair: &[usize]| {
            let (first, second) = (&keys[pair[0]], &keys[pair[1]]);
            let distance = first.value - second.value;
            if first.origin == second.origin {
                f64::INFINITY
            } else {
                distance / (first.error + second.error)
            }
        };
        let contested = &order[..order.len().min(self.top_k + 1)];
        let margin = contested.windows(2).map(margin).fold(f64::INFINITY, f64::min);
        (order[..self.top_k].iter().map(|&expert| expert as i32).collect(), margin)
    }

    fn weights(&self, token: usize, logits: &[f64], ids: &[i32]) -> Result<Vec<f64>, Error> {
        let experts = logits.len();
        let mut chosen = Vec::with_capacity(ids.len());
        for (slot, &id) in ids.iter().enumerate() {
            match usize::try_from(id) {
                Ok(expert) if expert < experts => chosen.push(Some(expert)),
                Err(_) if id == -1 => chosen.push(None),
                _ => return Err(Error::Id { token, slot, id, experts }),
            }
        }
        let mut weights = if self.score == Score::SoftmaxOfChosen {
            // e^−∞ is the 0 of a slot that is nobody's.
            softmax(&chosen.iter().map(|e| e.map_or(f64::NEG_INFINITY, |e| logits[e])).collect::<Vec<_>>())
        } else {
            let scores = self.scores(logits);
            chosen.iter().map(|expert| expert.map_or(0.0, |expert| scores[expert])).collect()
        };
        if chosen.iter().all(Option::is_none) {
            return Ok(vec![0.0; ids.len()]);
        }
        let sum: f64 = weights.iter().sum();
        for weight in &mut weights {
            *weight = if self.renormalize { *weight / sum } else { *weight } * self.scale;
        }
        Ok(weights)
    }

    fn check_choice(&self, token: usize, keys: &[Key], ids: &[i32]) -> Result<(), Error> {
        let mut left: Vec<usize> = (0..keys.len()).collect();
        for (slot, &id) in ids.iter().enumerate() {
            let route = token * self.top_k + slot;
            let Some(place) = left.iter().position(|&expert| expert as i32 == id) else {
                let expected = "an expert that is not in an earlier slot";
                return Err(self.mismatch(route, expected.to_owned(), id.to_string()));
            };
            let expert = left.remove(place);
            // Nobody who comes later, or not at all, may be ahead of this one.
            if let Some(&better) =
                left.iter().find(|&&other| keys[other].is_ahead_of(&keys[expert], other < expert))
            {
                let (expected, got) = (keys[better].value, keys[expert].value);
                let expected = format!("expert {better} with {expected:e} before expert {expert}");
                return Err(self.mismatch(route, expected, format!("expert {expert} with {got:e}")));
            }
        }
        Ok(())
    }

    fn mismatch(&self, route: usize, expected: String, got: String) -> Error {
        let (row, element) = (route / self.top_k, Some(route % self.top_k));
        Mismatch { row, block: None, element, expected, got }.into()
    }
}

/// What an expert is chosen by.
struct Key {
    value: f64,
    error: f64,
    /// Its logit and bias: two experts with the same have the same score on any device.
    origin: (f64, f64),
}

impl Key {
    fn is_ahead_of(&self, other: &Self, has_lower_id: bool) -> bool {
        if self.origin == other.origin {
            has_lower_id
        } else {
            self.value - other.value > self.error + other.error
        }
    }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// `log(1 + e^x)`. PyTorch gives x itself above 20, which differs by less than 2^−33 of it.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route { score: Score::Sigmoid, top_k: 2, renormalize: true, scale: 1.0 };

    #[test]
    fn on_a_tie_the_lower_id_comes_first() {
        let logits = Matrix::new(1, 4, vec![-0.0, 1.0, 1.0, 0.0]).unwrap();
        for score in [Score::Softmax, Score::Sigmoid, Score::SqrtSoftplus, Score::SoftmaxOfChosen] {
            let route = Route { score, ..ROUTE };
            let routing = route.apply(&logits, None, None).unwrap();
            assert_eq!((routing.ids, &routing.weights[..]), (vec![1, 2], &[0.5, 0.5][..]));
            assert!(route.check(&logits, None, None, &[1, 2], &[0.5, 0.5]).is_ok());
            let error = route.check(&logits, None, None, &[2, 1], &[0.5, 0.5]).unwrap_err();
            assert!(error.to_string().starts_with("row 0, element 0: expected expert 1"), "{error}");
        }
        let three = Route { top_k: 3, ..ROUTE }.apply(&logits, None, None).unwrap();
        assert_eq!(three.ids, [1, 2, 0]);
    }

    #[test]
    fn scores_within_their_bounds_may_come_in_either_order() {
        let near = 1.0 + f64::from(f32::EPSILON);
        let logits = Matrix::new(1, 3, vec![1.0, near, -3.0]).unwrap();
        let routing = ROUTE.apply(&logits, None, None).unwrap();
        assert_eq!(routing.ids, [1, 0]);
        assert!(routing.margins[0] < 1.0);
        assert!(ROUTE.check(&logits, None, None, &[1, 0], &[0.5, 0.5]).is_ok());
        assert!(ROUTE.check(&logits, None, None, &[0, 1], &[0.5, 0.5]).is_ok());
        assert!(ROUTE.check(&logits, None, None, &[0, 2], &[0.94, 0.06]).is_err());
        assert!(ROUTE.check(&logits, None, None, &[0, 0], &[0.5, 0.5]).is_err());
        assert!(ROUTE.check(&logits, None, None, &[0, 1], &[0.5, 0.50001]).is_err());
        let logits_decide = Route { score: Score::SoftmaxOfChosen, ..ROUTE };
        assert!(logits_decide.check(&logits, None, None, &[0, 1], &[0.5, 0.5]).is_err());
    }

    #[test]
    fn the_bias_chooses_and_does_not_weigh() {
        let logits = Matrix::new(1, 3, vec![0.0, 0.0, 0.0]).unwrap();
        let routing = Route { scale: 3.0, ..ROUTE }.apply(&logits, Some(&[0.0, 0.5, 1.0]), None).unwrap();
        assert_eq!((routing.ids, routing.weights), (vec![2, 1], vec![1.5, 1.5]));
    }

    #[test]
    fn a_given_id_of_minus_one_weighs_nothing() {
        let logits = Matrix::new(2, 3, vec![0.0; 6]).unwrap();
        for score in [Score::Sigmoid, Score::SoftmaxOfChosen] {
            let routing = Route { score, ..ROUTE }.apply(&logits, None, Some(&[-1, 2, -1, -1])).unwrap();
            assert_eq!(routing.weights, [0.0, 1.0, 0.0, 0.0]);
        }
        assert!(ROUTE.apply(&logits, None, Some(&[0, 3, 0, 1])).is_err());
        assert!(ROUTE.check(&logits, None, Some(&[0, 1, 1, 2]), &[0, 1, 2, 1], &[0.5; 4]).is_err());
    }
}
