//! Which of the packages that were found runs: who wins an id, and what keeps the others from running.
//!
//! What it deliberately does not do: look at a folder, or verify a file.
//!
//! What always holds: of several packages of one id at most one wins, and that is the same one in whatever order they were
//! found; a package that is wrong keeps no other id from running.

use super::manifest::Manifest;
use super::version::Version;
use crate::settings::AcceptedTypes;
use rpc_plugin_wire::PluginId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// Where a package was found. An earlier one wins over a later one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundIn {
    /// In the store, where an operator installed it.
    Store,
    /// In this folder, in one of the folders in which packages are looked for.
    Folder(PathBuf),
}

impl fmt::Display for FoundIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoundIn::Store => f.write_str("the store"),
            FoundIn::Folder(path) => write!(f, "{}", super::shown_path(path)),
        }
    }
}

/// What keeps a package from running.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// Its folder or manifest is wrong: what is.
    Broken(String),
    /// A plugin with an executable has its id.
    Configured,
    /// A package with its id was installed: that one's version.
    Installed(Version),
    /// Packages with its id were found in these places as well, which win as little.
    Ambiguous(Vec<FoundIn>),
    /// The host does not accept its type, if it has one: what the host accepts.
    Type(Option<String>, Vec<String>),
    /// It does not serve an interface of its type in an accepted version: those, and what it serves.
    Interface(String, Vec<u32>, Vec<u32>),
    /// It is for other hosts: the range that it names, and the version of this host.
    Host(String, Version),
}

fn numbers(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Invalid::Broken(problem) => f.write_str(problem),
            Invalid::Configured => f.write_str(
                "the configuration has a plugin of this id with an executable, which wins; write \"package\": true in the \
                 place of \"executable\" there, or give one of them another id",
            ),
            Invalid::Installed(version) => write!(
                f,
                "version {version} of this id is installed, which wins; run `rpcpluginctl remove` for that one, or remove \
                 this folder"
            ),
            Invalid::Ambiguous(others) => {
                let others = others.iter().map(FoundIn::to_string).collect::<Vec<_>>().join(", ");
                write!(f, "its id is also that of {others}; none of them is started; remove all but one")
            }
            Invalid::Type(kind, accepted) => {
                match kind {
                    Some(kind) => write!(f, "it is of type {kind}, which this host does not accept")?,
                    None => f.write_str("it has no type, which this host wants")?,
                }
                write!(f, "; accepted: {}", accepted.join(", "))
            }
            Invalid::Interface(name, accepted, served) if served.is_empty() => write!(
                f,
                "its type wants the interface {name}, version {}, and it does not serve that",
                numbers(accepted)
            ),
            Invalid::Interface(name, accepted, served) => write!(
                f,
                "its type wants the interface {name}, version {}, and it serves version {}",
                numbers(accepted),
                numbers(served)
            ),
            Invalid::Host(range, version) => {
                write!(f, "it requires a host of version {range}, and this one has {version}")
            }
        }
    }
}

/// A package that was found.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The place in which it was found.
    pub found_in: &'a FoundIn,
    /// Its id and version, as far as they are known: it counts by them, whatever is wrong with it.
    pub names: Option<(&'a PluginId, &'a Version)>,
    /// What its manifest says, or why that cannot be told.
    pub manifest: Result<&'a Manifest, &'a str>,
}

/// What a host takes.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance<'a> {
    /// Ids of plugins with an executable.
    pub configured: &'a BTreeSet<PluginId>,
    /// The types that are accepted.
    pub types: &'a AcceptedTypes,
    /// The host's own version.
    pub host: &'a Version,
}

impl Acceptance<'_> {
    /// Whether a host takes what a manifest says, wherever it is.
    ///
    /// # Errors
    /// Its type or an interface of that, or the hosts that it requires.
    pub fn check(&self, manifest: &Manifest) -> Result<(), Invalid> {
        check_type(self.types, manifest)?;
        match &manifest.requires.host {
            Some(range) if !range.contains(self.host) => {
                Err(Invalid::Host(range.to_string(), self.host.clone()))
            }
            _ => Ok(()),
        }
    }
}

/// Decides about each candidate, in their order.
#[must_use]
pub fn decide(acceptance: Acceptance<'_>, candidates: &[Candidate<'_>]) -> Vec<Result<(), Invalid>> {
    let mut by_id: BTreeMap<&PluginId, Vec<(&FoundIn, &Version)>> = BTreeMap::new();
    for candidate in candidates {
        if let Some((id, version)) = candidate.names {
            by_id.entry(id).or_default().push((candidate.found_in, version));
        }
    }
    let decide = |candidate: &Candidate<'_>| {
        let manifest = candidate.manifest.map_err(|problem| Invalid::Broken(problem.to_owned()))?;
        if acceptance.configured.contains(&manifest.id) {
            return Err(Invalid::Configured);
        }
        let of_id = by_id.get(&manifest.id).map_or(&[][..], Vec::as_slice);
        check_rank(candidate.found_in, of_id)?;
        acceptance.check(manifest)
    };
    candidates.iter().map(decide).collect()
}

/// Whether it wins over all others of its id.
fn check_rank(found_in: &FoundIn, of_id: &[(&FoundIn, &Version)]) -> Result<(), Invalid> {
    if *found_in == FoundIn::Store {
        return Ok(());
    }
    if let Some((_, version)) = of_id.iter().find(|(other, _)| **other == FoundIn::Store) {
        return Err(Invalid::Installed((*version).clone()));
    }
    let mut others: Vec<FoundIn> =
        of_id.iter().map(|(other, _)| *other).filter(|other| *other != found_in).cloned().collect();
    others.sort();
    if others.is_empty() { Ok(()) } else { Err(Invalid::Ambiguous(others)) }
}

fn check_type(types: &AcceptedTypes, manifest: &Manifest) -> Result<(), Invalid> {
    let Some(types) = types else { return Ok(()) };
    let Some(accepted) = manifest.kind.as_ref().and_then(|kind| types.get(kind)) else {
        return Err(Invalid::Type(manifest.kind.clone(), types.keys().cloned().collect()));
    };
    for (name, versions) in &accepted.interfaces {
        let served = manifest.config.interfaces.get(name).cloned().unwrap_or_default();
        if !served.iter().any(|version| versions.contains(version)) {
            return Err(Invalid::Interface(name.clone(), versions.clone(), served));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::AcceptedType;
    use std::path::Path;

    fn manifest(id: &str, members: &str) -> Manifest {
        let text = format!(
            "{{\"manifest\": 1, \"id\": {id:?}, \"version\": \"1.0.0\", \"entrypoint\": \"p\", {members}\"files\": {{\"p\": \
             \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}}}}"
        );
        Manifest::read(Path::new("plugin.json"), text.as_bytes()).unwrap()
    }

    fn folder(path: &str) -> FoundIn {
        FoundIn::Folder(path.into())
    }

    fn decided(
        configured: &[&str],
        types: &AcceptedTypes,
        found: &[(FoundIn, Result<Manifest, &str>)],
    ) -> Vec<String> {
        let configured = configured.iter().map(|id| id.parse().unwrap()).collect();
        let host = "1.4.0".parse().unwrap();
        let acceptance = Acceptance { configured: &configured, types, host: &host };
        let candidates: Vec<Candidate<'_>> = found
            .iter()
            .map(|(found_in, manifest)| Candidate {
                found_in,
                names: manifest.as_ref().ok().map(|manifest| (&manifest.id, &manifest.version)),
                manifest: manifest.as_ref().map_err(|text| *text),
            })
            .collect();
        let shown =
            |decided: Result<(), Invalid>| decided.map_or_else(|why| why.to_string(), |()| "runs".into());
        decide(acceptance, &candidates).into_iter().map(shown).collect()
    }

    #[test]
    fn configuration_wins_over_store_over_folders_and_of_two_folders_neither_does() {
        let plain = |id: &str| Ok(manifest(id, ""));
        let found = [
            (folder("/p/a"), plain("a")),
            (folder("/p/b"), plain("b")),
            (FoundIn::Store, plain("b")),
            (FoundIn::Store, plain("c")),
            (folder("/p/c"), plain("c")),
            (folder("/p/broken"), Err("plugin.json: there is no such file")),
            (folder("/p/d"), plain("d")),
            (folder("/q/d"), plain("d")),
            (folder("/p/d copy"), plain("d")),
        ];
        let all = decided(&["c"], &None, &found);
        assert_eq!(all[0], "runs");
        assert!(all[1].starts_with("version 1.0.0 of this id is installed"), "{}", all[1]);
        assert_eq!(all[2], "runs");
        assert!(all[3].starts_with("the configuration has") && all[3] == all[4], "{}", all[3]);
        assert_eq!(all[5], "plugin.json: there is no such file");
        assert_eq!(
            all[6],
            "its id is also that of /p/d copy, /q/d; none of them is started; remove all but one"
        );
        assert!(all[7].contains("/p/d, /p/d copy;") && all[8].contains("/p/d, /q/d;"), "{all:?}");
        let reversed: Vec<_> = found.iter().rev().cloned().collect();
        let mut again = decided(&["c"], &None, &reversed);
        again.reverse();
        assert_eq!(again, all);
    }

    #[test]
    fn a_package_of_a_type_that_nobody_accepts_does_not_run() {
        let animal = AcceptedType {
            interfaces: BTreeMap::from([("animal".into(), vec![1, 2])]),
            ..Default::default()
        };
        let types =
            Some(BTreeMap::from([("animal".into(), animal), ("plain".into(), AcceptedType::default())]));
        let found = [
            ("a", "\"type\": \"animal\", \"interfaces\": {\"animal\": [2, 3]},", "runs"),
            ("b", "\"type\": \"plain\",", "runs"),
            ("c", "", "it has no type, which this host wants; accepted: animal, plain"),
            (
                "d",
                "\"type\": \"tool\",",
                "it is of type tool, which this host does not accept; accepted: animal, plain",
            ),
            (
                "e",
                "\"type\": \"animal\",",
                "its type wants the interface animal, version 1, 2, and it does not serve that",
            ),
            (
                "f",
                "\"type\": \"animal\", \"interfaces\": {\"animal\": [3, 4]},",
                "its type wants the interface animal, version 1, 2, and it serves version 3, 4",
            ),
            (
                "g",
                "\"type\": \"plain\", \"requires\": {\"host\": \">=2\"},",
                "it requires a host of version >=2, and this one has 1.4.0",
            ),
            ("h", "\"type\": \"plain\", \"requires\": {\"host\": \"^1.2\"},", "runs"),
        ];
        let candidates: Vec<_> =
            found.iter().map(|(id, members, _)| (folder(id), Ok(manifest(id, members)))).collect();
        let expected: Vec<&str> = found.iter().map(|(_, _, expected)| *expected).collect();
        assert_eq!(decided(&[], &types, &candidates), expected);
        let any = decided(&[], &None, &candidates);
        assert_eq!(
            any.iter().filter(|decided| *decided == "runs").count(),
            7,
            "all but that for other hosts"
        );
    }
}
