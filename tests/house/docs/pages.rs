//! Pages: where they are, what they link to, which files and tables they hold.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A page of the documentation.
pub(crate) struct Page {
    /// From the top of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn new(path: &str, text: &str) -> Page {
        Page { path: path.to_owned(), text: text.to_owned() }
    }

    /// Its lines, each with whether it stands in a fenced block. Fences are left out.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (bool, &str)> {
        let mut in_block = false;
        self.text.lines().filter_map(move |line| {
            if line.trim_start().starts_with("```") {
                in_block = !in_block;
                return None;
            }
            Some((in_block, line))
        })
    }

    /// What stands between backquotes in running text.
    pub(crate) fn quoted(&self) -> impl Iterator<Item = &str> {
        self.lines()
            .filter(|(in_block, _)| !in_block)
            .flat_map(|(_, line)| line.split('`').skip(1).step_by(2))
    }
}

/// The repository: where cargo says now, which may be a copy, or said when this was compiled.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into()).into()
    })
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The blocks of a page whose fence is this, each with its last line end.
pub(crate) fn blocks(page: &str, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<(bool, String)> = None;
    for line in page.lines() {
        match (line.strip_prefix("```"), &mut block) {
            (Some(fence), None) => block = Some((fence == wanted, String::new())),
            (Some(_), Some((is_wanted, text))) => {
                found.extend(is_wanted.then(|| std::mem::take(text)));
                block = None;
            }
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "a block has no end: {block:?}");
    found
}

/// A transcript as commands with what they print.
pub(crate) fn commands(block: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    for line in block.lines() {
        match (line.strip_prefix("$ "), found.last_mut()) {
            (Some(command), _) => found.push((command, String::new())),
            (None, Some((_, printed))) => *printed += &format!("{line}\n"),
            (None, None) => panic!("a transcript begins with a command, not with {line:?}"),
        }
    }
    found
}

/// Calls `seen` with each file below a folder that is text.
pub(crate) fn walk(folder: &str, seen: &mut impl FnMut(&str, &str)) {
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            walk(&path, seen);
        } else if let Ok(text) = std::fs::read_to_string(entry.path()) {
            seen(&path, &text);
        }
    }
}

/// README.md and every page of docs/.
pub(crate) fn pages() -> Vec<Page> {
    let mut pages = vec![Page::new("README.md", &read("README.md"))];
    walk("docs", &mut |path, text| {
        if path.ends_with(".md") {
            pages.push(Page::new(path, text));
        }
    });
    pages
}

/// The rows of all tables of a text, as their cells, without headings and rules.
pub(crate) fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = text.lines().collect();
    let is_rule = |line: Option<&&str>| line.is_some_and(|line| line.starts_with("|-"));
    let mut rows = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('|') && !is_rule(Some(line)) && !is_rule(lines.get(at + 1)) {
            rows.push(line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
        }
    }
    rows
}

/// The targets of the links in running text.
fn links(page: &Page) -> Vec<String> {
    let mut found = Vec::new();
    for (in_block, line) in page.lines() {
        if in_block {
            continue;
        }
        // What is quoted is no link.
        let text: String = line.split('`').step_by(2).collect();
        for rest in text.split("](").skip(1) {
            found.extend(rest.split_once(')').map(|(target, _)| target.to_owned()));
        }
    }
    found
}

/// A relative link as a path from the top of the repository.
fn resolve(page: &Page, target: &str) -> String {
    let mut parts: Vec<&str> = page.path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

fn is_outside(target: &str) -> bool {
    target.starts_with("https://")
}

/// The anchor that a heading gets: small letters, no punctuation, hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn has_anchor(page: &Page, wanted: &str) -> bool {
    let headings = page.lines().filter(|(in_block, line)| !in_block && line.starts_with('#'));
    headings.map(|(_, line)| anchor(line.trim_start_matches('#'))).any(|seen| seen == wanted)
}

/// The links of a page that lead nowhere. `exists`: whether there is a file that is no page.
pub(crate) fn broken_links(page: &Page, all: &[Page], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let is_broken = |target: &String| {
        let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { page.path.clone() } else { resolve(page, file) };
        let to = all.iter().find(|other| other.path == path);
        match to.or((path == page.path).then_some(page)) {
            Some(to) => !wanted.is_empty() && !has_anchor(to, wanted),
            None => !wanted.is_empty() || !exists(&path),
        }
    };
    let links = links(page).into_iter().filter(|target| !is_outside(target));
    links.filter(is_broken).map(|target| format!("{} links to {target}", page.path)).collect()
}

/// The files that a page links to, from the top of the repository.
pub(crate) fn linked_files(page: &Page) -> Vec<String> {
    let inside = links(page).into_iter().filter(|target| !is_outside(target));
    inside.map(|target| resolve(page, target.split('#').next().unwrap_or_default())).collect()
}

/// The files of this repository that a page names: paths in backquotes. Names in capitals stand for others.
pub(crate) fn named_files(page: &Page) -> impl Iterator<Item = String> {
    let folders = ["src/", "sdk/", "tests/", "examples/", "fuzz/", "docs/", ".ci/"];
    let is_path = move |text: &&str| folders.iter().any(|folder| text.starts_with(folder));
    let is_exact = |text: &&str| !text.contains(|c: char| c.is_ascii_uppercase() || "*<… ".contains(c));
    page.quoted().filter(is_path).filter(is_exact).map(|text| text.trim_end_matches('/').to_owned())
}
