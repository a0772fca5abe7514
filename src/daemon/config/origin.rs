//! Where a plugin or the runtime folder was configured, for errors that show only later.

use crate::settings::{JsonSource, Node};

/// A key of the file, or another place in words.
pub(super) enum Origin<'a> {
    Key(Node<'a>),
    Other(String),
}

impl Origin<'_> {
    /// The place, for mention in the error of another.
    pub(super) fn place(&self, source: &JsonSource<'_>) -> String {
        match self {
            Origin::Key(node) => source.position(node),
            Origin::Other(place) => place.clone(),
        }
    }

    /// Notes an error there.
    pub(super) fn error(&self, source: &mut JsonSource<'_>, problem: String, allowed: String) {
        match self {
            Origin::Key(node) => source.error(node, problem, allowed),
            Origin::Other(place) => source.errors.add(place.clone(), problem, allowed),
        }
    }
}
