//! The house rules that a test can hold (docs/architecture.md): layers, lengths, unsafe, names, words.
//!
//! What always holds: each rule about source carries samples that break it and samples that do not, and
//! is run on them, so that no rule passes because it looks at nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod core;
mod crate_rules;
mod exceptions;
mod modules;
mod report;
mod rules;
mod source;

use crate::docs::pages::root;
use rules::{LAYERS, RULES};
use source::{Source, files_below};
use std::path::PathBuf;

/// What stands at the top of the repository; `target` and `.git` are not ours.
const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".clippy.toml",
    ".gitignore",
    ".cargo",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "docs",
    "examples",
    "fuzz",
    "sdk",
    "src",
    "tests",
];

pub(crate) fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for folder in ["src", "sdk", "examples", "tests", "fuzz"] {
        for path in files_below(root(), folder) {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(root().join(&path)).unwrap();
                found.push(Source::new(path.to_str().unwrap(), &text));
            }
        }
    }
    found
}

#[test]
fn every_rule_catches_what_breaks_it_and_nothing_else() {
    for rule in RULES {
        for (path, text) in rule.broken {
            let complaints = (rule.complaints)(&Source::new(path, text));
            assert!(!complaints.is_empty(), "{:?} does not catch {path}: {text}", rule.name);
        }
        for (path, text) in rule.kept {
            let complaints = (rule.complaints)(&Source::new(path, text));
            assert!(complaints.is_empty(), "{:?} complains about {path}: {complaints:?}", rule.name);
        }
    }
}

#[test]
fn the_sources_keep_the_rules() {
    let sources = sources();
    assert!(sources.len() > 15, "{} files were found", sources.len());
    let mut complaints = Vec::new();
    for source in &sources {
        for rule in RULES {
            let found = (rule.complaints)(source);
            complaints.extend(found.iter().map(|what| format!("{}: {what}  [{}]", source.path, rule.name)));
        }
    }
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn the_table_of_layers_has_no_cycle() {
    for (at, (name, allowed)) in LAYERS.iter().enumerate() {
        for below in *allowed {
            let place = LAYERS.iter().position(|(known, _)| known == below);
            assert!(place.is_some_and(|place| place < at), "`{name}` uses `{below}`, which stands after it");
        }
    }
}

#[test]
fn the_top_level_is_as_drawn() {
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let ours = ![".git", "target"].contains(&&*name);
        assert!(!ours || TOP_LEVEL.contains(&&*name), "{name} is not drawn in docs/architecture.md");
    }
}

/// Each is linked with everything, and one runs after the other: a new subject is a module of one of them.
#[test]
fn there_are_few_test_programs() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nautotests = false\n"));
    let programs = manifest.matches("\n[[test]]\n").count();
    assert!((5..=10).contains(&programs), "{programs} test programs");
    let elsewhere: Vec<_> = files_below(root(), "sdk")
        .into_iter()
        .filter(|path| path.components().nth(2).is_some_and(|folder| folder.as_os_str() == "tests"))
        .collect();
    assert_eq!(elsewhere, Vec::<PathBuf>::new(), "the SDK's tests are in tests/sdk");
}

/// Each file that people read, with its text: sources, pages, manifests, scripts.
fn texts() -> Vec<(String, String)> {
    let mut paths: Vec<_> = TOP_LEVEL.iter().map(PathBuf::from).collect();
    paths.extend(TOP_LEVEL.iter().flat_map(|folder| files_below(root(), folder)));
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "lock"));
    let read =
        |path: PathBuf| Some((path.to_str()?.to_owned(), std::fs::read_to_string(root().join(path)).ok()?));
    paths.into_iter().filter_map(read).collect()
}

/// The words of `words` that stand in `text`; a word of letters only as a whole word.
fn words_in<'w>(text: &str, words: &[&'w str]) -> Vec<&'w str> {
    let whole = |word: &str| text.split(|c: char| !c.is_alphanumeric()).any(|seen| seen == word);
    let alphabetic = |word: &str| word.chars().all(char::is_alphabetic);
    let has = |word: &&&str| if alphabetic(word) { whole(word) } else { text.contains(**word) };
    words.iter().filter(has).copied().collect()
}

#[test]
fn nothing_is_left_for_later_and_no_machine_is_named() {
    // Put together here, so that this file does not hold them itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("..", "/shared"),
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/shared"),
        concat!("/tmp", "/wt"),
        concat!("/ro", "ot/."),
        concat!("crates", ".io"),
    ];
    for word in words {
        assert_eq!(words_in(&format!("see {word}, x"), &words), [word], "each is noticed");
    }
    assert!(words_in(concat!("TO", "DOS and X", "XX", "X"), &words).is_empty());
    let texts = texts();
    assert!(texts.len() > 20, "{} files were read", texts.len());
    for (path, text) in texts {
        assert_eq!(words_in(&text, &words), Vec::<&str>::new(), "in {path}");
    }
}

/// The names below the dependency headings of a manifest; those of this project aside.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut heading = "";
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            heading = line.trim_matches(['[', ']']);
            let single = heading.rsplit_once("dependencies.").map(|(_, name)| name.to_owned());
            names.extend(single);
        } else if heading.ends_with("dependencies") && !line.starts_with('#') && !line.contains("path = ") {
            let name = line.split(['=', '.']).next().unwrap_or_default().trim().trim_matches('"');
            names.extend((!name.is_empty()).then(|| name.to_owned()));
        }
    }
    names.retain(|name| !name.starts_with("rpc-plugin-"));
    names
}

/// The dependencies without a row `| `name` | …` in the page.
fn without_a_row(names: &[String], page: &str) -> Vec<String> {
    let has_row = |name: &String| page.lines().any(|line| line.starts_with(&format!("| `{name}` |")));
    names.iter().filter(|name| !has_row(name)).cloned().collect()
}

#[test]
fn every_dependency_has_a_row() {
    let sample = "[dependencies]\nserde.workspace = true\n# x = 1\nrpc-plugin-wire = {}\nx = { path = \"../x\" }\n[lints]\nz = 1\n\
                  [dev-dependencies]\ntempfile = \"3\"\n[target.x.dependencies.nix]\nversion = \"1\"\n";
    assert_eq!(dependencies(sample), ["serde", "tempfile", "nix"]);
    assert_eq!(without_a_row(&dependencies(sample), "| `serde` | x |\n| `nix` | y |"), ["tempfile"]);

    let page = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let mut manifests = vec!["Cargo.toml".into()];
    for folder in ["sdk", "fuzz", "examples"] {
        manifests.extend(files_below(root(), folder).into_iter().filter(|path| path.ends_with("Cargo.toml")));
    }
    assert!(manifests.len() >= 4, "{manifests:?}");
    for manifest in manifests {
        let names = dependencies(&std::fs::read_to_string(root().join(&manifest)).unwrap());
        assert_eq!(without_a_row(&names, &page), Vec::<String>::new(), "{} has more", manifest.display());
    }
}

/// The files of these with unsafe code that no row of the inventory is about: neither one that names
/// the file, nor one below a heading that does.
fn not_in_the_inventory<'s>(sources: &'s [Source], page: &str) -> Vec<&'s str> {
    let listed = |source: &&Source| {
        let name = source.path.trim_start_matches("src/");
        let mut below_its_heading = false;
        page.lines().any(|line| {
            if line.starts_with('#') {
                below_its_heading = line.contains(name);
            }
            let is_row = line.starts_with('|') && !line.starts_with("|-");
            is_row && (below_its_heading || line.contains(name))
        })
    };
    let with_unsafe = sources.iter().filter(|source| !source.lines_with("unsafe").is_empty());
    with_unsafe.filter(|source| !listed(source)).map(|source| source.path.as_str()).collect()
}

#[test]
fn every_file_with_unsafe_code_is_in_the_inventory() {
    let sample = [Source::new("src/sys/a.rs", "unsafe { x() }"), Source::new("src/sys/b.rs", "// unsafe")];
    assert_eq!(not_in_the_inventory(&sample, "| `sys/b.rs` |"), ["src/sys/a.rs"]);
    assert!(not_in_the_inventory(&sample, "| `src/sys/a.rs` | why |").is_empty());
    assert!(not_in_the_inventory(&sample, "## `src/sys/a.rs`\n\n| `f` | why |").is_empty());
    assert_eq!(not_in_the_inventory(&sample, "## `src/sys/a.rs`\n## Others\n| `f` |"), ["src/sys/a.rs"]);

    let sources = sources();
    // The page comes with the first unsafe block.
    let page = std::fs::read_to_string(root().join("docs/unsafe-inventory.md")).unwrap_or_default();
    assert_eq!(not_in_the_inventory(&sources, &page), Vec::<&str>::new(), "docs/unsafe-inventory.md");
}
