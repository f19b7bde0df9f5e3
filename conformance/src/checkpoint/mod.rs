//! The golden files as cases: each operator's, and layers of experts from checkpoints in their published layouts, from
//! the router to the sum over experts.
//!
//! | module | holds |
//! | --- | --- |
//! | [`golden`] | the files, embedded |
//! | [`mod@piece`] | one operator on a file's inputs, against the oracle and the file's outputs |
//! | [`layer`] | a layer of a checkpoint, composed of operators, and once more in one |
//!
//! The files come from numpy and `ml_dtypes` and share no code with the project; a mistake that the oracle had in
//! common with a backend would be seen here.

pub mod golden;
pub mod layer;
pub mod piece;

pub use layer::LayerCase;
pub use piece::PieceCase;

use crate::case::{Body, Case};
use crate::opcase::listing::TIME_LIMIT;
use crate::opcase::rig::Stop;
use crate::outcome::Outcome;
use crate::profile::Profile;
use crate::subject::Subject;
use crate::suite::SuiteKind;

/// A question from a golden file.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckpointCase {
    /// About one operator.
    Piece(PieceCase),
    /// About a layer of experts.
    Layer(LayerCase),
}

impl CheckpointCase {
    /// Asks it. The data are the files', whatever the seed.
    pub fn run(&self, subject: &Subject, _seed: u64) -> Outcome {
        let asked = match self {
            Self::Piece(piece) => piece.run(subject),
            Self::Layer(layer) => layer.run(subject),
        };
        asked.map_or_else(Stop::into_outcome, Outcome::Pass)
    }
}

/// Every case.
pub fn cases(seed: u64) -> Vec<Case> {
    let case = |name: String, profile: Profile, body: CheckpointCase| Case {
        suite: SuiteKind::Checkpoint,
        name: format!("{}/{name}", SuiteKind::Checkpoint),
        profile,
        seed,
        time_limit: TIME_LIMIT,
        body: Body::Checkpoint(body),
    };
    let pieces = piece::all().into_iter().map(|piece| {
        let (name, profile) = (piece.name(), piece.profile());
        case(name, profile, CheckpointCase::Piece(piece))
    });
    let layers = layer::all().into_iter().map(|layer| {
        let (name, profile) = (layer.name(), layer.profile());
        case(name, profile, CheckpointCase::Layer(layer))
    });
    pieces.chain(layers).collect()
}
