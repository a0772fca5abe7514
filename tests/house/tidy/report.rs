//! What is counted of the house, for people: lines, circles, names.
//!
//! `cargo test --test house report -- --nocapture` prints it. What it deliberately does not do: judge; the rules do.

use super::core::core_files;
use super::crate_rules::CRATE_RULES;
use super::modules::{Crate, crates, is_file_and_parent};
use super::source::blank_tests;
use super::{root, sources};
use std::collections::{BTreeMap, BTreeSet};

/// The room that a file is in: `src/state`, `sdk/wire`, `tests`.
fn room(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["src", _] | ["tests" | "examples" | "fuzz", ..] => parts[0].to_owned(),
        [top, room, "tests", ..] => format!("{top}/{room} tests"),
        [top, room, ..] => format!("{top}/{room}"),
        _ => path.to_owned(),
    }
}

/// The fields of a struct: lines of its body that name one.
fn fields(crates: &[Crate], name: &str) -> usize {
    let declares = |text: &str| text.find(&format!("struct {name} {{")).map(|at| text[at..].to_owned());
    let mut bodies =
        crates.iter().flat_map(|one| &one.modules).filter_map(|module| declares(&module.file.code));
    let body = bodies.next().unwrap_or_default();
    let body = body.split_once("\n}").map_or("", |(body, _)| body);
    body.lines()
        .skip(1)
        .filter(|line| line.starts_with("    ") && !line.starts_with("     ") && line.contains(": "))
        .count()
}

#[test]
fn report() {
    let sources = sources();
    let crates = crates(&sources);
    let mut lines: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for source in &sources {
        // Files of tests are counted apart from what they test.
        let is_code =
            crates.iter().flat_map(|one| &one.modules).any(|module| module.file.path == source.path);
        let room = if is_code || !source.path.contains("src/") {
            room(&source.path)
        } else {
            format!("{} tests", room(&source.path))
        };
        let (files, sum) = lines.entry(room).or_default();
        *files += 1;
        *sum += blank_tests(source).code_lines();
    }
    out(&format!("{:24} {:>6} {:>6}", "room", "files", "code"));
    for (room, (files, sum)) in &lines {
        out(&format!("{room:24} {files:>6} {sum:>6}"));
    }
    let circles: Vec<Vec<&str>> =
        crates.iter().flat_map(Crate::circles).filter(|circle| !is_file_and_parent(circle)).collect();
    for circle in &circles {
        out(&format!("circle of {}: {}", circle.len(), circle.join(" ")));
    }
    let mut everywhere: BTreeMap<String, usize> = BTreeMap::new();
    for of_type in crates.iter().flat_map(Crate::types) {
        *everywhere.entry(of_type.name).or_default() += 1;
    }
    let mut counts: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for rule in CRATE_RULES {
        let complaints = (rule.complaints)(&crates);
        counts.insert(rule.name, complaints.iter().map(|complaint| complaint.about.clone()).collect());
        for complaint in complaints.iter().filter(|_| !rule.name.contains("circle")) {
            out(&format!("{}: {}", complaint.about, complaint.text));
        }
    }
    out("");
    for (rule, about) in counts {
        out(&format!("{:>6} break: {rule}", about.len()));
    }
    let blocks = |name: &str| {
        let modules = crates.iter().filter(|one| one.root == "src/").flat_map(|one| &one.modules);
        modules.filter(|module| module.file.inherent_impls().iter().any(|(of, _)| of == name)).count()
    };
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let programs = manifest.matches("\n[[test]]\n").count();
    out(&format!(
        "{:>6} circles, the largest of {} files",
        circles.len(),
        circles.iter().map(Vec::len).max().unwrap_or(0)
    ));
    out(&format!(
        "{:>6} names stand for several types in the workspace",
        everywhere.values().filter(|count| **count > 1).count()
    ));
    out(&format!(
        "{:>6} fields has `Reactor`, {} files implement it",
        fields(&crates, "Reactor"),
        blocks("Reactor")
    ));
    out(&format!("{programs:>6} test programs"));
    let core: usize = core_files()
        .iter()
        .filter_map(|path| sources.iter().find(|source| source.path == *path))
        .map(|source| blank_tests(source).code_lines())
        .sum();
    out(&format!("{core:>6} lines of code has the core"));
}

/// Prints; the house forbids `println!` in programs and libraries, and this is neither.
#[allow(clippy::print_stdout)]
fn out(line: &str) {
    println!("{line}");
}
