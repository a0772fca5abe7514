//! The crates of the workspace as modules: which file is which module, what it declares, what it imports.
//!
//! What it deliberately does not do: resolve names as the compiler does. Paths that begin with `crate`, `self`,
//! `super` or a module below are followed, through what a `mod.rs` exports again, to the file that declares the
//! name. Tests do not count: neither files of tests nor what stands below `#[cfg(test)]`.

use super::source::{Import, Source, blank_tests};
use std::collections::{BTreeMap, BTreeSet};

/// One file of a crate.
pub(crate) struct Module {
    pub(crate) file: Source,
    /// Names from the crate's root: empty for `lib.rs`, `["state", "plugin"]` for `state/plugin/mod.rs`.
    pub(crate) path: Vec<String>,
    pub(crate) imports: Vec<Import>,
    /// The names of what it declares.
    items: BTreeSet<String>,
}

/// One crate of the workspace, without its tests.
pub(crate) struct Crate {
    /// Where its sources are: `src/`, `sdk/wire/src/`.
    pub(crate) root: String,
    pub(crate) modules: Vec<Module>,
}

/// A type that a file declares: its name, and the line.
pub(crate) struct Declared<'s> {
    pub(crate) file: &'s str,
    pub(crate) name: String,
    pub(crate) line: usize,
}

/// Where the sources of the crate begin that a file belongs to; `None` for programs, tests and examples.
fn crate_root(path: &str) -> Option<&str> {
    match path.strip_prefix("sdk/") {
        Some(below) => {
            let end = "sdk/".len() + below.find('/')? + "/src/".len();
            path.get(..end).filter(|root| root.ends_with("/src/"))
        }
        None => path.starts_with("src/").then_some("src/"),
    }
    .filter(|_| !path.starts_with("src/bin/"))
}

/// The crates that these files make.
pub(crate) fn crates(sources: &[Source]) -> Vec<Crate> {
    let mut crates: Vec<Crate> = Vec::new();
    for source in sources {
        let Some(root) = crate_root(&source.path) else { continue };
        let names = source.path[root.len()..].trim_end_matches(".rs").split('/').map(str::to_owned);
        let mut path: Vec<String> = names.collect();
        path.pop_if(|last| ["mod", "lib"].contains(&&**last));
        let file = blank_tests(source);
        let (imports, items) = (file.imports(), file.item_names());
        let module = Module { file, path, imports, items };
        match crates.iter_mut().find(|known| known.root == root) {
            Some(known) => known.modules.push(module),
            None => crates.push(Crate { root: root.to_owned(), modules: vec![module] }),
        }
    }
    for one in &mut crates {
        let tests: BTreeSet<Vec<String>> = one
            .modules
            .iter()
            .flat_map(|module| {
                let text = sources.iter().find(|source| source.path == module.file.path);
                let names = text.map(|text| text.test_modules()).unwrap_or_default();
                names.into_iter().map(|name| module.path.iter().cloned().chain([name]).collect())
            })
            .collect();
        one.modules.retain(|module| {
            let below_tests = (1..=module.path.len()).any(|end| tests.contains(&module.path[..end]));
            !below_tests && !module.file.is_test()
        });
    }
    crates
}

impl Crate {
    /// The file that a module stands in, by its names from the root.
    fn module(&self, path: &[String]) -> Option<usize> {
        self.modules.iter().position(|module| module.path == path)
    }

    /// The module that a path names from within `from`, and the names that are left over.
    fn follow(&self, from: usize, path: &str) -> Option<(usize, Vec<String>)> {
        let mut names: Vec<String> = path.split("::").map(str::to_owned).collect();
        if names.len() < 2 {
            return None;
        }
        let mut at = self.modules[from].path.clone();
        let below = |at: &[String], name: &String| {
            self.module(&at.iter().cloned().chain([name.clone()]).collect::<Vec<_>>())
        };
        match names.first()?.as_str() {
            "crate" => at.clear(),
            "self" => {}
            "super" => {
                at.pop()?;
            }
            _ => {
                below(&at, names.first()?)?;
                names.insert(0, "self".to_owned());
            }
        }
        names.remove(0);
        while names.first().is_some_and(|name| name == "super") {
            names.remove(0);
            at.pop()?;
        }
        while let Some(name) = names.first()
            && below(&at, name).is_some()
        {
            at.push(names.remove(0));
        }
        Some((self.module(&at)?, names))
    }

    /// The file that declares what a path names: through what modules on the way export again.
    fn declares(&self, from: usize, path: &str, depth: usize) -> Option<usize> {
        let (at, left) = self.follow(from, path)?;
        let Some(name) = left.first().filter(|_| depth < 8) else { return Some(at) };
        let module = &self.modules[at];
        if module.items.contains(name) {
            return Some(at);
        }
        let again = module.imports.iter().find(|import| import.name == *name);
        again.and_then(|import| self.declares(at, &import.path, depth + 1)).or(Some(at))
    }

    /// Which files each file imports: by their places in `modules`. What a file only exports again is no
    /// import of its own.
    fn imports(&self) -> Vec<BTreeSet<usize>> {
        let of_file = |from: usize| {
            let Module { file, imports, .. } = &self.modules[from];
            let again = imports.iter().filter(|import| import.exported && !file.uses(&import.name));
            let again: BTreeSet<&str> = again.map(|import| import.path.as_str()).collect();
            let paths: BTreeSet<String> = file.paths().into_iter().map(|(_, path)| path).collect();
            let paths = paths.iter().filter(|path| path.contains("::") && !again.contains(path.as_str()));
            paths.filter_map(|path| self.declares(from, path, 0)).filter(|to| *to != from).collect()
        };
        (0..self.modules.len()).map(of_file).collect()
    }

    /// The circles: sets of files of which each imports every other, by way of files of the set.
    pub(crate) fn circles(&self) -> Vec<Vec<&str>> {
        let imports = self.imports();
        let reached: Vec<BTreeSet<usize>> = (0..imports.len()).map(|from| reached(&imports, from)).collect();
        let mut circles: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (at, module) in self.modules.iter().enumerate() {
            let first = (0..imports.len())
                .find(|other| *other == at || reached[at].contains(other) && reached[*other].contains(&at));
            circles.entry(first.unwrap_or(at)).or_default().push(&module.file.path);
        }
        circles.into_values().filter(|files| files.len() > 1).collect()
    }

    /// Every struct, enum, union, trait and type alias of the crate; associated types are none.
    pub(crate) fn types(&self) -> Vec<Declared<'_>> {
        let declared = self.modules.iter().flat_map(|module| {
            let file = module.file.path.as_str();
            module.file.types().into_iter().map(move |(name, line)| Declared { file, name, line })
        });
        declared.collect()
    }
}

/// What can be reached from `from` by one or more imports.
fn reached(imports: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut next: Vec<usize> = imports[from].iter().copied().collect();
    while let Some(at) = next.pop() {
        if found.insert(at) {
            next.extend(&imports[at]);
        }
    }
    found
}

/// Whether a circle is no larger than a file and its `mod.rs`, or the file that declares it.
pub(crate) fn is_file_and_parent(files: &[&str]) -> bool {
    let parent = |of: &str| {
        let (folder, _) =
            of.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit_once('/').unwrap_or_default();
        [format!("{folder}/mod.rs"), format!("{folder}/lib.rs"), format!("{folder}.rs")]
    };
    let [a, b] = files else { return files.len() < 2 };
    parent(a).contains(&(*b).to_owned()) || parent(b).contains(&(*a).to_owned())
}
