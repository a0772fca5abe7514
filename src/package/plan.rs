//! The graph of what packages require of each other: what a change of one version would break.
//!
//! What it deliberately does not do: know which plugins run; a requirement is one of versions.
//!
//! What always holds: a change is answerable for what it breaks and not for what was broken before; both sides of what is
//! broken are named; nothing is walked in an order that changes from run to run.

use super::version::{Version, VersionRange};
use rpc_plugin_wire::PluginId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What counts of a package in the graph.
#[derive(Debug, Clone, PartialEq)]
pub struct PackageNode {
    /// Its version.
    pub version: Version,
    /// The versions of other packages that it requires.
    pub requires: BTreeMap<PluginId, VersionRange>,
}

/// The active packages.
pub type PackageGraph = BTreeMap<PluginId, PackageNode>;

/// A requirement that is not met, or that cannot be.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanFault {
    /// One package requires another one that is not there, or whose version is none of those.
    Unmet {
        /// Who requires it, and its version.
        by: (PluginId, Version),
        /// What is required.
        needed: (PluginId, VersionRange),
        /// The version that there would be.
        seen: Option<Version>,
    },
    /// Packages require one another in a circle, in this order.
    Circle(Vec<PluginId>),
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanFault::Unmet { by: (by, version), needed: (needed, range), seen } => {
                write!(f, "{by} {version} requires {needed} {range}, and ")?;
                match seen {
                    Some(seen) => write!(f, "{needed} would be {seen}"),
                    None => write!(f, "no package {needed} would be installed"),
                }
            }
            PlanFault::Circle(ids) => {
                let ids: Vec<&str> = ids.iter().map(PluginId::as_str).collect();
                write!(f, "packages would require one another in a circle: {}", ids.join(" -> "))
            }
        }
    }
}

/// What would be broken if this package became that, or were gone: what it requires itself, and what others require of it.
#[must_use]
pub fn broken_by(graph: &PackageGraph, id: &PluginId, node: Option<&PackageNode>) -> Vec<PlanFault> {
    let mut after = graph.clone();
    match node {
        Some(node) => drop(after.insert(id.clone(), node.clone())),
        None => drop(after.remove(id)),
    }
    let unmet_in = |graph: &PackageGraph| -> Vec<PlanFault> {
        let edges =
            graph.iter().flat_map(|(by, node)| node.requires.iter().map(move |needed| (by, node, needed)));
        let concerned = edges.filter(|(by, _, (needed, _))| *by == id || *needed == id);
        concerned.filter_map(|(by, node, (needed, range))| unmet(graph, (by, node), needed, range)).collect()
    };
    let is_unmet_now: BTreeSet<(PluginId, PluginId)> = unmet_in(graph).iter().filter_map(sides).collect();
    // What the package requires itself is its own to answer for, whatever was before.
    let mut faults: Vec<PlanFault> = unmet_in(&after)
        .into_iter()
        .filter(|fault| {
            sides(fault).is_none_or(|(by, needed)| by == *id || !is_unmet_now.contains(&(by, needed)))
        })
        .collect();
    if node.is_some() {
        faults.extend(circle_of(&after, id).map(PlanFault::Circle));
    }
    faults
}

fn sides(fault: &PlanFault) -> Option<(PluginId, PluginId)> {
    match fault {
        PlanFault::Unmet { by, needed, .. } => Some((by.0.clone(), needed.0.clone())),
        PlanFault::Circle(_) => None,
    }
}

fn unmet(
    graph: &PackageGraph,
    (by, node): (&PluginId, &PackageNode),
    needed: &PluginId,
    range: &VersionRange,
) -> Option<PlanFault> {
    let seen = graph.get(needed).map(|node| node.version.clone());
    let is_met = seen.as_ref().is_some_and(|seen| range.contains(seen));
    (!is_met).then(|| PlanFault::Unmet {
        by: (by.clone(), node.version.clone()),
        needed: (needed.clone(), range.clone()),
        seen,
    })
}

/// A way from a package back to itself, if there is one: its ids in order, the first one again at the end.
fn circle_of(graph: &PackageGraph, id: &PluginId) -> Option<Vec<PluginId>> {
    let mut from: BTreeMap<&PluginId, &PluginId> = BTreeMap::new();
    let mut pending = vec![id];
    while let Some(here) = pending.pop() {
        for needed in graph.get(here).into_iter().flat_map(|node| node.requires.keys()) {
            if needed == id {
                let mut way = vec![id.clone(), here.clone()];
                let mut at = here;
                while let Some(before) = from.get(at).filter(|_| at != id) {
                    way.push((*before).clone());
                    at = before;
                }
                way.reverse();
                // One that requires itself is its own beginning and end.
                way.dedup();
                return Some(if way.len() == 1 { vec![id.clone(), id.clone()] } else { way });
            }
            if needed != here && !from.contains_key(needed) {
                from.insert(needed, here);
                pending.push(needed);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> PluginId {
        text.parse().unwrap()
    }

    fn node(version: &str, requires: &[(&str, &str)]) -> PackageNode {
        PackageNode {
            version: version.parse().unwrap(),
            requires: requires.iter().map(|(of, range)| (id(of), range.parse().unwrap())).collect(),
        }
    }

    /// An id, a version, and what it requires.
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

    fn graph(nodes: &[Row<'_>]) -> PackageGraph {
        nodes.iter().map(|(of, version, requires)| (id(of), node(version, requires))).collect()
    }

    fn told(graph: &PackageGraph, of: &str, to: Option<PackageNode>) -> Vec<String> {
        broken_by(graph, &id(of), to.as_ref()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_sides_of_what_a_change_breaks_are_named() {
        let graph = graph(&[
            ("clock", "1.2.0", &[]),
            ("kv", "1.0.0", &[("clock", "^1.1")]),
            ("web", "1.0.0", &[("kv", "*")]),
        ]);
        assert_eq!(told(&graph, "clock", Some(node("1.3.0", &[]))), Vec::<String>::new());
        assert_eq!(
            told(&graph, "clock", Some(node("2.0.0", &[]))),
            ["kv 1.0.0 requires clock ^1.1, and clock would be 2.0.0"]
        );
        assert_eq!(
            told(&graph, "clock", Some(node("1.0.9", &[]))),
            ["kv 1.0.0 requires clock ^1.1, and clock would be 1.0.9"]
        );
        assert_eq!(
            told(&graph, "clock", None),
            ["kv 1.0.0 requires clock ^1.1, and no package clock would be installed"]
        );
        assert_eq!(told(&graph, "web", None), Vec::<String>::new());
        assert_eq!(
            told(&graph, "new", Some(node("1.0.0", &[("clock", "^2"), ("gone", "*")]))),
            [
                "new 1.0.0 requires clock ^2, and clock would be 1.2.0",
                "new 1.0.0 requires gone *, and no package gone would be installed"
            ]
        );
    }

    #[test]
    fn what_was_broken_before_is_not_the_changes_fault() {
        let graph = graph(&[("clock", "2.0.0", &[]), ("kv", "1.0.0", &[("clock", "^1")])]);
        assert_eq!(told(&graph, "clock", Some(node("3.0.0", &[]))), Vec::<String>::new());
        assert_eq!(told(&graph, "clock", Some(node("1.0.0", &[]))), Vec::<String>::new(), "it mends it");
        assert_eq!(told(&graph, "kv", Some(node("1.0.1", &[("clock", "^1")]))).len(), 1, "its own is");
    }

    #[test]
    fn a_circle_is_told_in_its_order() {
        let graph =
            graph(&[("a", "1.0.0", &[("b", "*")]), ("b", "1.0.0", &[("c", "*")]), ("c", "1.0.0", &[])]);
        assert_eq!(
            told(&graph, "c", Some(node("1.1.0", &[("a", "*")]))),
            ["packages would require one another in a circle: c -> a -> b -> c"]
        );
        assert_eq!(
            told(&graph, "c", Some(node("1.1.0", &[("c", "*")]))),
            ["packages would require one another in a circle: c -> c"]
        );
        assert_eq!(told(&graph, "c", Some(node("1.1.0", &[]))), Vec::<String>::new());
    }
}
