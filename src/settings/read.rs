//! Settings in a file: from its objects, and whether they go together.
//!
//! What it deliberately does not do: know which settings there are; the tables do.
//!
//! What always holds: a contradiction is told at a key or flag that was written and that takes part in it, if there is
//! one.

use super::json::{JsonSource, Node, Object};
use super::setting::Setting;
use super::value::{Checked, Kind, Value};
use crate::state::config_error::ConfigError;
use crate::state::policy::Policy;

/// Which settings an object of the file has, and where.
#[derive(Default)]
pub(crate) struct Written<'a> {
    nodes: Vec<(&'static str, Node<'a>)>,
    /// One of them was refused, so that what is in force is not what was meant.
    pub(crate) is_spoiled: bool,
}

impl<'a> Written<'a> {
    /// Where a setting was written, if it was.
    pub(crate) fn at(&self, key: &str) -> Option<&Node<'a>> {
        self.nodes.iter().find(|(written, _)| *written == key).map(|(_, node)| node)
    }
}

/// Takes the settings of `table` out of an object and puts them into `target`.
pub(crate) fn take_settings<'a, T>(
    source: &mut JsonSource<'a>,
    object: &mut Object<'a>,
    table: &'static [Setting<T>],
    target: &mut T,
) -> Written<'a> {
    let mut written = Written::default();
    for setting in table {
        let Some(node) = object.take(setting.key) else { continue };
        match checked(&node, setting.kind) {
            Ok(value) => (setting.apply)(target, value),
            Err(problem) => {
                source.error(&node, problem, setting.allowed());
                written.is_spoiled = true;
            }
        }
        written.nodes.push((setting.key, node));
    }
    written
}

/// A value of that kind as a file has it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn checked(node: &Node<'_>, kind: Kind) -> Result<Checked, String> {
    let mut text = String::new();
    match (node.value(&mut text), kind) {
        // A flag can only be a text; a file can tell, and should, for the sake of other readers.
        (Some(Value::Text(_)), Kind::Count(..) | Kind::Switch) | (None, _) => {
            Err(format!("is {}", node.kind_shown()))
        }
        (Some(Value::Text(text)), Kind::CountOr(_, _, word)) if text != word => {
            Err(format!("is {}", node.kind_shown()))
        }
        (Some(value), _) => kind.check(value),
    }
}

/// Notes everything that is wrong with `policy`. `node` is the object that `written` was taken from, absent
/// without a file; `flagged` are keys that flags set. True if nothing is.
pub(crate) fn check_policy(
    source: &mut JsonSource<'_>,
    policy: &Policy,
    node: Option<&Node<'_>>,
    written: &Written<'_>,
    flagged: &[&'static str],
) -> bool {
    let Err(errors) = policy.check() else { return true };
    for error in &errors.errors {
        note_policy_error(source, error, node, written, flagged);
    }
    source.errors.more += errors.more;
    false
}

/// Notes one contradiction, at the first of its settings that the operator wrote.
pub(crate) fn note_policy_error(
    source: &mut JsonSource<'_>,
    error: &ConfigError,
    node: Option<&Node<'_>>,
    written: &Written<'_>,
    flagged: &[&'static str],
) {
    let ConfigError { place, with, problem, allowed } = error;
    // The setting that is blamed comes first, then the others that take part.
    for key in std::iter::once(&**place).chain(with.iter().copied()) {
        let problem = if key == place { problem.clone() } else { format!("with it, {place}: {problem}") };
        // A flag went over what the file says.
        if flagged.contains(&key) {
            source.errors.add(format!("--{}", key.replace('_', "-")), problem, allowed);
            return;
        }
        if let Some(at) = written.at(key) {
            source.error(at, problem, allowed);
            return;
        }
    }
    match node {
        Some(node) => source.error_below(node, place, problem, allowed),
        None => source.errors.add(place, problem, allowed),
    }
}
