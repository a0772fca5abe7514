//! The rules about whole crates: circles, names, where types are implemented, how comments begin.
//!
//! As in `rules.rs`, each carries samples that break it and samples that do not. What breaks a rule today stands
//! in `exceptions.rs`; an exception that nothing needs any more is a complaint too.

use super::exceptions as today;
use super::modules::{Crate, crates, is_file_and_parent};
use super::source::Source;
use std::collections::{BTreeMap, BTreeSet};

/// How many files may implement one type that a `mod.rs` declares: itself and files of its folder.
const FILES_OF_A_TYPE_MAX: usize = 5;

/// What breaks a rule.
pub(crate) struct Complaint {
    /// What an exception names: a file, a crate and a type.
    pub(crate) about: String,
    pub(crate) text: String,
}

/// Files of a sample: path, text.
type Sample = &'static [(&'static str, &'static str)];

/// A rule about all crates.
pub(crate) struct CrateRule {
    pub(crate) name: &'static str,
    pub(crate) complaints: fn(&[Crate]) -> Vec<Complaint>,
    /// What breaks it today.
    pub(crate) exceptions: &'static [&'static str],
    broken: &'static [Sample],
    kept: &'static [Sample],
}

pub(crate) const CRATE_RULES: &[CrateRule] = &[
    CrateRule {
        name: "files do not import one another in a circle",
        complaints: circles,
        exceptions: today::IN_A_CIRCLE,
        broken: &[
            &[("src/a.rs", "use crate::b::B;\nstruct A;"), ("src/b.rs", "use crate::a::A;\nstruct B;")],
            &[
                ("src/x/mod.rs", "mod a;"),
                ("src/x/a.rs", "use super::b;"),
                ("src/x/b.rs", "fn f() { super::c::g() }"),
                ("src/x/c.rs", "use crate::x::a::A;"),
            ],
            // By way of what the folder's own file exports again.
            &[
                ("sdk/wire/src/lib.rs", "mod a; mod b; pub use a::A; pub(crate) use b::{B, c};"),
                ("sdk/wire/src/a.rs", "use crate::B; struct A;"),
                ("sdk/wire/src/b.rs", "use crate::A; struct B;"),
            ],
            // Two files below their `mod.rs` are more than one.
            &[
                ("src/x/mod.rs", "mod a; mod b; use a::A; use b::B; struct X(A, B);"),
                ("src/x/a.rs", "use super::X; struct A;"),
                ("src/x/b.rs", "use super::X; struct B;"),
            ],
        ],
        kept: &[
            &[("src/a.rs", "use crate::b::B;"), ("src/b.rs", "struct B; // use crate::a::A;")],
            &[("src/x/mod.rs", "mod a; use a::A; struct X(A);"), ("src/x/a.rs", "use super::X; struct A;")],
            // Exporting again is no import.
            &[
                ("src/x/mod.rs", "mod a; mod b; pub(crate) use a::A; pub use b::B; struct X;"),
                ("src/x/a.rs", "use super::X; struct A;"),
                ("src/x/b.rs", "use super::{X, A}; struct B;"),
            ],
            &[
                ("src/a.rs", "use crate::b::B;"),
                ("src/b.rs", "struct B;\n#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n"),
            ],
            &[
                ("src/a.rs", "use crate::b::B;"),
                ("src/b.rs", "#[cfg(test)]\nmod b_tests;"),
                ("src/b/b_tests.rs", "use crate::a;"),
            ],
            &[("src/a.rs", "use crate::b::B;"), ("sdk/wire/src/b.rs", "use crate::a::A;")],
        ],
    },
    CrateRule {
        name: "one name is one type within a crate",
        complaints: names,
        exceptions: today::NAMES_OF_SEVERAL,
        broken: &[
            &[("src/a.rs", "struct State;"), ("src/b.rs", "pub(crate) enum State { A }")],
            &[("src/a.rs", "trait Port {}"), ("src/b.rs", "type Port = u8;")],
            &[("src/a.rs", "struct A; fn f() {\n    struct A;\n}")],
        ],
        kept: &[
            &[("src/a.rs", "struct State;"), ("sdk/wire/src/b.rs", "struct State;")],
            &[("src/a.rs", "struct State;"), ("src/b_tests.rs", "struct State;")],
            &[("src/a.rs", "struct Error;"), ("src/b.rs", "impl FromStr for B {\n    type Error = ();\n}")],
        ],
    },
    CrateRule {
        name: "no import is renamed to another type's name",
        complaints: renames,
        exceptions: today::RENAMED,
        broken: &[
            &[("src/a.rs", "use crate::b::Ticket as Asker;")],
            &[("sdk/rust/src/a.rs", "use std::{fmt, io::{self, Error as IoError}};")],
        ],
        kept: &[&[("src/a.rs", "use crate::b::X as _; use a::MAX as B_MAX; use a::b as c; use a::Config;")]],
    },
    CrateRule {
        name: "a type is implemented where it is declared",
        complaints: implementations,
        exceptions: today::IMPLEMENTED_ELSEWHERE,
        broken: &[
            &[("src/a.rs", "struct A;"), ("src/b.rs", "use crate::a::A;\nimpl A {\n}")],
            &[("src/x/mod.rs", "struct A<T>(T);"), ("src/b.rs", "impl<T: Into<u8>> A<T> {\n}")],
            &[("src/x/mod.rs", "struct A;"), ("src/x/y/b.rs", "impl A {\n}")],
            &[
                ("src/x/mod.rs", "struct A;\nimpl A {}"),
                ("src/x/b.rs", "impl A {}"),
                ("src/x/c.rs", "impl A {}"),
                ("src/x/d.rs", "impl A {}"),
                ("src/x/e.rs", "impl A {}"),
                ("src/x/f.rs", "impl A {}"),
            ],
        ],
        kept: &[
            &[
                ("src/a.rs", "struct A;\nimpl A {}"),
                ("src/b.rs", "impl Clone for A {}\nimpl<T> From<A> for B<T> {}"),
            ],
            &[("src/x/mod.rs", "struct A;\nimpl A {}"), ("src/x/b.rs", "impl super::A {}")],
            &[("src/a.rs", "struct A;"), ("src/b.rs", "#[cfg(test)]\nmod tests {\n    impl A {}\n}\n")],
        ],
    },
    CrateRule {
        name: "a comment begins with a sentence that stands alone",
        complaints: comments,
        exceptions: today::COMMENTS_THAT_DO_NOT_STAND_ALONE,
        broken: &[
            &[("src/a.rs", "/// See the module's text.\nstruct A;")],
            &[("src/a.rs", "struct A {\n    /// One.\n    a: u8,\n}")],
            &[("src/a.rs", "/// Nobody waits for it.\nstruct A;")],
            &[("src/a.rs", "/// Read at once. Bytes.\nconst A: u8 = 1;")],
            &[("src/a.rs", "/// Bytes.\n#[x]\nconst A: u8 = 1;")],
        ],
        kept: &[
            &[("src/a.rs", "/// A descriptor that nobody opens.\n/// One.\nstruct A;")],
            &[("src/a.rs", "//// One.\n// See the module's text.\n/// `None`.\nstruct A;")],
        ],
    },
];

/// How a doc comment must not begin: it says nothing alone, or speaks of people and things that it does not name.
const ALLUSIONS: [&str; 20] = [
    "See the module",
    "Somebody ",
    "Nobody ",
    "Whoever ",
    "Whom ",
    "Whose ",
    "Told ",
    "Asked ",
    "Taken ",
    "Held ",
    "Holding ",
    "Waiting ",
    "Handed ",
    "Thrown ",
    "Given ",
    "Read at once",
    "Of its ",
    "Of what ",
    "Of whom",
    "Beside ",
];

fn circles(crates: &[Crate]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for circle in crates.iter().flat_map(Crate::circles).filter(|circle| !is_file_and_parent(circle)) {
        for file in &circle {
            let text = format!("{} files import one another: {}", circle.len(), circle.join(", "));
            found.push(Complaint { about: (*file).to_owned(), text });
        }
    }
    found
}

fn names(crates: &[Crate]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for one in crates {
        let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for of_type in one.types() {
            declared.entry(of_type.name).or_default().push(format!("{}:{}", of_type.file, of_type.line));
        }
        for (name, places) in declared.into_iter().filter(|(_, places)| places.len() > 1) {
            let text = format!("`{name}` is {} types: {}", places.len(), places.join(", "));
            found.push(Complaint { about: format!("{} {name}", one.root), text });
        }
    }
    found
}

/// Whether a name is a type's, as the language writes them: `Name`, not `NAME` or `name`.
fn is_type(name: &str) -> bool {
    name.starts_with(char::is_uppercase) && (name.len() == 1 || name.contains(char::is_lowercase))
}

fn renames(crates: &[Crate]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for module in crates.iter().flat_map(|one| &one.modules) {
        let path = &module.file.path;
        for import in module.imports.iter().filter(|import| import.name != import.last) {
            if is_type(&import.last) && is_type(&import.name) {
                let text = format!("line {}: {} is called `{}`", import.line, import.path, import.name);
                found.push(Complaint { about: format!("{path} {}", import.name), text });
            }
        }
    }
    found
}

fn implementations(crates: &[Crate]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for one in crates {
        let types = one.types();
        let mut blocks: BTreeMap<String, BTreeSet<(&str, usize)>> = BTreeMap::new();
        for module in &one.modules {
            for (name, line) in module.file.inherent_impls() {
                blocks.entry(name).or_default().insert((&module.file.path, line));
            }
        }
        for (name, blocks) in blocks {
            let declared: Vec<&str> =
                types.iter().filter(|of_type| of_type.name == name).map(|of_type| of_type.file).collect();
            let folder = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
            let in_folder = |path: &str| {
                declared.iter().any(|home| home.ends_with("/mod.rs") && folder(home) == folder(path))
            };
            let files: BTreeSet<&str> =
                blocks.iter().map(|(path, _)| *path).filter(|path| in_folder(path)).collect();
            for (path, line) in &blocks {
                let spread = in_folder(path) && files.len() <= FILES_OF_A_TYPE_MAX;
                if !declared.is_empty() && !declared.contains(path) && !spread {
                    let text = format!(
                        "line {line}: `{name}` is declared in {}, and {} files of its folder implement it (at \
                                        most {FILES_OF_A_TYPE_MAX}, where that is a mod.rs)",
                        declared.join(", "),
                        files.len()
                    );
                    found.push(Complaint { about: format!("{path} {name}"), text });
                }
            }
        }
    }
    found
}

fn comments(crates: &[Crate]) -> Vec<Complaint> {
    let mut found = Vec::new();
    for module in crates.iter().flat_map(|one| &one.modules) {
        let mut before = "";
        for (number, line) in (1..).zip(module.file.text.lines().map(str::trim)) {
            let first = line.strip_prefix("/// ").filter(|_| !before.starts_with("///"));
            let alone = |text: &&str| {
                let word = text.strip_suffix('.').unwrap_or(text);
                let is_word = word.chars().all(|c| c.is_alphabetic() || c == '\'');
                !is_word && !ALLUSIONS.iter().any(|allusion| text.starts_with(allusion))
            };
            if let Some(text) = first.filter(|text| !alone(text)) {
                let text = format!("line {number}: `{text}` says nothing to who does not know it already");
                found.push(Complaint { about: module.file.path.clone(), text });
            }
            before = line;
        }
    }
    found
}

/// What breaks a rule, and the exceptions that nothing needs.
fn not_excepted(rule: &CrateRule, crates: &[Crate]) -> Vec<String> {
    let mut found = Vec::new();
    let complaints = (rule.complaints)(crates);
    let mut before = "";
    for complaint in &complaints {
        if !rule.exceptions.contains(&&*complaint.about) {
            let text = if complaint.text == before { "the same" } else { &complaint.text };
            found.push(format!("{}: {text}  [{}]", complaint.about, rule.name));
            before = &complaint.text;
        }
    }
    for exception in rule.exceptions {
        if !complaints.iter().any(|complaint| complaint.about == *exception) {
            found.push(format!(
                "{exception}: remove it from exceptions.rs, it is not needed  [{}]",
                rule.name
            ));
        }
    }
    found
}

fn of_sample(sample: Sample) -> Vec<Crate> {
    crates(&sample.iter().map(|(path, text)| Source::new(path, text)).collect::<Vec<_>>())
}

#[test]
fn every_rule_about_crates_catches_what_breaks_it_and_nothing_else() {
    for rule in CRATE_RULES {
        for sample in rule.broken {
            assert!(
                !(rule.complaints)(&of_sample(sample)).is_empty(),
                "{:?} does not catch {sample:?}",
                rule.name
            );
        }
        for sample in rule.kept {
            let complaints = (rule.complaints)(&of_sample(sample));
            let texts: Vec<_> = complaints.into_iter().map(|complaint| complaint.text).collect();
            assert!(texts.is_empty(), "{:?} complains about {sample:?}: {texts:?}", rule.name);
        }
    }
    let rule = CrateRule { exceptions: &["src/a.rs Y", "src/b.rs X"], ..CRATE_RULES[2] };
    let found =
        not_excepted(&rule, &of_sample(&[("src/a.rs", "use b::X as Y;"), ("src/c.rs", "use b::X as Z;")]));
    assert_eq!(found.len(), 2, "one is new, one exception is not needed: {found:?}");
}

#[test]
fn the_crates_keep_the_rules() {
    let crates = crates(&super::sources());
    assert!(crates.len() >= 5 && crates.iter().all(|one| one.modules.len() > 5), "{} crates", crates.len());
    let complaints: Vec<String> = CRATE_RULES.iter().flat_map(|rule| not_excepted(rule, &crates)).collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}
