//! Reading Rust source for the rules of `tidy.rs`: by lines and tokens, without a parser.
//!
//! What this file deliberately does not do: understand macros or types. It knows comments, strings,
//! braces and paths, which is what the rules are about.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// As it stands.
    pub(crate) text: String,
    /// The same with comments and the insides of strings blanked; lines and columns stay.
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// Whether it lies in one of these folders.
    pub(crate) fn is_in(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(&format!("{folder}/")))
    }

    /// Whether it is compiled for tests only.
    pub(crate) fn is_test(&self) -> bool {
        self.is_in(&["tests"])
            || self.path.contains("/tests/")
            || self.path.ends_with("_tests.rs")
            || self.path.ends_with("/tests.rs")
            || self.path.contains("/tests_")
    }

    /// The module of `src/` that it belongs to: `sys` for `src/sys/spawn.rs` and `src/sys.rs`.
    pub(crate) fn layer(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src/")?.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// Every path in the code with its line, `use` trees spelt out: `std::{fs, io}` is two.
    pub(crate) fn paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut rest = self.code.as_str();
        let mut line = 1;
        while let Some(at) = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_') {
            line += newlines(&rest[..at]);
            rest = &rest[at..];
            let token = &rest[..path_bytes(rest)];
            let after = &rest[token.len()..];
            match after.find(';') {
                Some(end) if token == "use" && !after.trim_start().starts_with('<') => {
                    spell_out("", &after[..end], &mut |path, _| found.push((line, path)));
                    line += newlines(&after[..end]);
                    rest = &after[end..];
                }
                _ => {
                    found.push((line, token.to_owned()));
                    rest = after;
                }
            }
        }
        found
    }

    /// Every name that a `use` brings in.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        for (from, to) in self.use_statements() {
            let before = self.code[..from].trim_end();
            let exported = before.ends_with("pub")
                || before.ends_with(')')
                    && before.rfind("pub(").is_some_and(|at| {
                        before[at..].find(')').is_some_and(|close| at + close + 1 == before.len())
                    });
            let line = newlines(&self.code[..from]) + 1;
            let mut take = |path: String, renamed: Option<&str>| {
                let last = path.rsplit("::").next().unwrap_or_default().to_owned();
                let name = renamed.map_or_else(|| last.clone(), str::to_owned);
                found.push(Import { path, last, name, exported, line });
            };
            spell_out("", &self.code[from + "use".len()..to], &mut take);
        }
        found
    }

    /// Where each `use` begins, and where its semicolon is.
    fn use_statements(&self) -> Vec<(usize, usize)> {
        let starts = self.code.match_indices("use ").map(|(at, _)| at);
        let starts = starts.filter(|at| self.code[..*at].chars().next_back().is_none_or(|c| !is_ident(c)));
        starts.filter_map(|at| Some((at, at + self.code[at..].find(';')?))).collect()
    }

    /// Whether a name stands in the code other than in a `use`.
    pub(crate) fn uses(&self, name: &str) -> bool {
        let mut rest = 0;
        let has = |text: &str| text.split(|c| !is_ident(c)).any(|word| word == name);
        for (from, to) in self.use_statements() {
            if self.code.get(rest..from).is_some_and(has) {
                return true;
            }
            rest = to;
        }
        self.code.get(rest..).is_some_and(has)
    }

    /// Each item that is declared here: its keyword, its name, its line.
    fn items(&self) -> Vec<(&'static str, String, usize)> {
        const KEYWORDS: [&str; 8] =
            ["struct", "enum", "trait", "type", "fn", "const", "static", "macro_rules!"];
        let mut found = Vec::new();
        for (number, line) in (1..).zip(self.code.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            for (at, word) in words.iter().enumerate() {
                let Some(keyword) = KEYWORDS.iter().find(|keyword| **keyword == *word) else { continue };
                let name = words.get(at + 1).map(|next| next.chars().take_while(|c| is_ident(*c)).collect());
                // An associated type is no type of its own; it is indented, as its `impl` or `trait` has it.
                if *keyword != "type" || !line.starts_with(' ') {
                    found.extend(
                        name.filter(|name: &String| !name.is_empty()).map(|name| (*keyword, name, number)),
                    );
                }
            }
        }
        found
    }

    /// The names of all items that are declared here.
    pub(crate) fn item_names(&self) -> BTreeSet<String> {
        self.items().into_iter().map(|(_, name, _)| name).collect()
    }

    /// Each type and trait that is declared here, with its line.
    pub(crate) fn types(&self) -> Vec<(String, usize)> {
        let kinds = ["struct", "enum", "trait", "type"];
        let types = self.items().into_iter().filter(|(keyword, ..)| kinds.contains(keyword));
        types.map(|(_, name, line)| (name, line)).collect()
    }

    /// The type of each inherent `impl` block, with its line.
    pub(crate) fn inherent_impls(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        let mut at = 0;
        for (number, line) in (1..).zip(self.code.split_inclusive('\n')) {
            let indent = line.find(|c: char| !c.is_whitespace());
            let from = at + indent.unwrap_or(0);
            at += line.len();
            if indent.is_none() {
                continue;
            }
            let Some(header) = self.code[from..].strip_prefix("impl") else { continue };
            let Some(header) = header.split(['{', ';']).next().filter(|_| header.starts_with([' ', '<']))
            else {
                continue;
            };
            let header = behind_generics(header);
            let of_trait = header.split_whitespace().any(|word| word == "for");
            let name = header.split(['<', ' ', '\n']).next().unwrap_or_default().rsplit("::").next();
            found.extend(
                name.filter(|name| !of_trait && !name.is_empty()).map(|name| (name.to_owned(), number)),
            );
        }
        found
    }

    /// The modules that are declared for tests only.
    pub(crate) fn test_modules(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (from, to) in test_parts(&self.code) {
            let words: Vec<&str> = self.code[from..to].split_whitespace().collect();
            let named = words.iter().position(|word| *word == "mod").and_then(|at| words.get(at + 1));
            found.extend(named.map(|name| name.trim_end_matches(';').to_owned()));
        }
        found
    }

    /// How many lines hold code: neither blank nor comment.
    pub(crate) fn code_lines(&self) -> usize {
        self.code
            .lines()
            .zip(self.text.lines())
            .filter(|(code, text)| {
                // The inside of a string is blanked, and code all the same.
                !code.trim().is_empty() || !text.trim().is_empty() && !text.trim_start().starts_with("//")
            })
            .count()
    }

    /// Every function with a body: name, first line, lines.
    pub(crate) fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let starts_a_word = self.code[..at].chars().next_back().is_none_or(|c| !is_ident(c));
            let name: String = self.code[at + 3..].chars().take_while(|c| is_ident(*c)).collect();
            if starts_a_word
                && !name.is_empty()
                && let Some(bytes) = body_end(&self.code[at..])
            {
                let lines = newlines(&self.code[at..at + bytes]) + 1;
                found.push((name, newlines(&self.code[..at]) + 1, lines));
            }
        }
        found
    }

    /// The lines on which this word stands in the code, from 1.
    pub(crate) fn lines_with(&self, word: &str) -> Vec<usize> {
        let has = |line: &str| line.split(|c| !is_ident(c)).any(|seen| seen == word);
        (1..).zip(self.code.lines()).filter(|(_, line)| has(line)).map(|(number, _)| number).collect()
    }
}

/// A name that a `use` brings in.
pub(crate) struct Import {
    pub(crate) path: String,
    /// The last name of the path.
    pub(crate) last: String,
    /// What it is called here.
    pub(crate) name: String,
    /// Whether others can import it from here.
    pub(crate) exported: bool,
    pub(crate) line: usize,
}

/// The same file without what is compiled for tests only; lines stay.
pub(crate) fn blank_tests(source: &Source) -> Source {
    let (mut text, mut code) = (source.text.clone(), source.code.clone());
    for (from, to) in test_parts(&source.code).into_iter().rev() {
        let lines = "\n".repeat(newlines(&code[from..to]));
        let (first, last) = (newlines(&code[..from]), newlines(&code[..to]));
        code.replace_range(from..to, &lines);
        let kept =
            (0..).zip(text.lines()).map(|(at, line)| if (first..=last).contains(&at) { "" } else { line });
        text = kept.collect::<Vec<_>>().join("\n");
    }
    Source { path: source.path.clone(), text, code }
}

/// Where each item begins and ends that stands below `#[cfg(test)]`.
fn test_parts(code: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for (from, _) in code.match_indices("#[cfg(test)]") {
        if found.last().is_some_and(|(_, end)| from < *end) {
            continue;
        }
        let mut item = from;
        while code[item..].trim_start().starts_with("#[") {
            item += code[item..].find(']').map_or(1, |end| end + 1);
        }
        let declaration = code[item..].find(';').map_or(code.len(), |end| item + end + 1);
        found.push((from, body_end(&code[item..]).map_or(declaration, |end| item + end)));
    }
    found
}

/// What stands behind the `<…>` that a text may begin with.
fn behind_generics(text: &str) -> &str {
    let text = text.trim_start();
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return if at == 0 { text } else { text[at + 1..].trim_start() };
        }
    }
    text
}

fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

/// How many bytes of `text` are one path: identifiers joined by `::`.
fn path_bytes(text: &str) -> usize {
    let mut end = 0;
    loop {
        let ident = text[end..].find(|c: char| !is_ident(c)).unwrap_or(text.len() - end);
        end += ident;
        match text[end..].strip_prefix("::") {
            Some(next) if next.starts_with(is_ident) => end += 2,
            _ => return end,
        }
    }
}

/// Spells out a `use` tree below `prefix`.
fn spell_out(prefix: &str, tree: &str, found: &mut dyn FnMut(String, Option<&str>)) {
    let tree = tree.trim().trim_start_matches("::");
    let Some(open) = tree.find('{') else {
        let mut parts = tree.split(" as ").map(str::trim);
        let path = format!("{prefix}{}", parts.next().unwrap_or_default());
        return found(path.strip_suffix("::self").unwrap_or(&path).to_owned(), parts.next());
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inside = tree[open + 1..].strip_suffix('}').unwrap_or(&tree[open + 1..]);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if !inside[start..at].trim().is_empty() {
                    spell_out(&prefix, &inside[start..at], found);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Where the body that begins in `code` ends: behind its closing brace. `None` for a declaration.
fn body_end(code: &str) -> Option<usize> {
    let (mut inside, mut depth) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => inside += 1,
            ')' | ']' => inside -= 1,
            ';' if inside == 0 && depth == 0 => return None,
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth <= 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Blanks comments and the insides of strings and characters.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = chars.get(at) {
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).copied();
        let end = match (c, chars.get(at + 1)) {
            ('/', Some('/')) => line_end(&chars, at),
            ('/', Some('*')) => block_comment_end(&chars, at),
            ('"', _) => string_end(&chars, at),
            ('r', Some('"' | '#')) if !before.is_some_and(|b| is_ident(b) && b != 'b' && b != 'c') => {
                raw_string_end(&chars, at)
            }
            ('\'', Some('\\')) => char_end(&chars, at + 3),
            ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => at,
        };
        if end == at {
            out.push(*c);
            at += 1;
        } else {
            let end = end.min(chars.len());
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |bytes| at + bytes)
}

fn block_comment_end(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != '"' {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    end + 1
}

fn raw_string_end(chars: &[char], at: usize) -> usize {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + 1 + hashes) != Some(&'"') {
        return at;
    }
    let mut end = at + 2 + hashes;
    while end < chars.len() {
        let closes = chars[end] == '"' && chars[end + 1..].iter().take(hashes).all(|c| *c == '#');
        end += 1;
        if closes {
            break;
        }
    }
    end + hashes
}

fn char_end(chars: &[char], from: usize) -> usize {
    let rest = chars.get(from..).unwrap_or_default();
    rest.iter().position(|c| *c == '\'').map_or(chars.len(), |more| from + more + 1)
}

/// Folders that hold what was built or found, not what was written.
const NOT_OURS: [&str; 5] = ["target", "corpus", "artifacts", "coverage", "__pycache__"];

/// Every file below `folder`, relative to `root`, in order; build output, corpora and hidden folders
/// aside.
pub(crate) fn files_below(root: &Path, folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return found };
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a folder can be listed")).collect();
    names.sort_by_key(std::fs::DirEntry::file_name);
    for entry in names {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        match entry.file_type().expect("a file has a type") {
            kind if kind.is_dir() && !NOT_OURS.contains(&&*name) => found.extend(files_below(root, &path)),
            kind if kind.is_file() => found.push(PathBuf::from(path)),
            _ => {}
        }
    }
    found
}

#[test]
fn comments_and_strings_are_blanked_and_lifetimes_are_not() {
    let code = blank("a /* b /* c */ d */ 'x' '\\'' '{' \"}\\\"{\" r#\"\"{\"# &'a str // {\nz");
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "&'a", "str", "z"]);
    assert_eq!(blank("let r = br\"{\"; for x in r {}").matches('{').count(), 1);
}

#[test]
fn use_trees_are_spelt_out_and_functions_measured() {
    let text =
        "use crate::{a::{self, b}, c as d};\nfn f(x: [u8; 2]) -> u8\n{\n  std::fs::read(x)\n}\nfn g();";
    let source = Source::new("src/x.rs", text);
    let paths: Vec<String> = source.paths().into_iter().map(|(_, path)| path).collect();
    for path in ["crate::a", "crate::a::b", "crate::c", "std::fs::read"] {
        assert!(paths.iter().any(|seen| seen == path), "{path} in {paths:?}");
    }
    assert_eq!(source.functions(), [("f".to_owned(), 2, 4)]);
    assert!(source.paths().contains(&(4, "std::fs::read".to_owned())));
}
