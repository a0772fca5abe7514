//! README.md and the pages of docs/ against the code: links, command lines, names of files and tests,
//! numbers, tables, examples.
//!
//! What it deliberately does not do: judge sentences. What always holds: each check is run on a sample that
//! breaks it, so that none passes because it looks at nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod commands;
mod numbers;
pub(crate) mod pages;

use crate::difference::assert_same;
use pages::{Page, pages, read, root, rows};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{Message, RequestId};
use std::collections::BTreeSet;

fn none_wrong(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let there =
        [Page::new("a.md", "# One two\n## `x`, and *y*"), Page::new("docs/b.md", "[l](../a.md#one-two)")];
    let wrong = |text: &str| pages::broken_links(&Page::new("docs/c.md", text), &there, &|_| false);
    assert!(wrong("[l](b.md) [m](../a.md#x-and-y) [n](https://example.org) `[o](p)`").is_empty());
    assert_eq!(wrong("[l](a.md) [m](b.md#none) [n](#here)").len(), 3);

    let all = pages();
    assert!(all.len() >= 14, "{} pages", all.len());
    let exists = |path: &str| root().join(path).exists();
    let wrong: Vec<String> = all.iter().flat_map(|page| pages::broken_links(page, &all, &exists)).collect();
    none_wrong(&wrong);
}

#[test]
fn every_page_is_reachable_from_the_readme() {
    let all = pages();
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    loop {
        let from: Vec<&Page> = all.iter().filter(|page| reached.contains(&page.path)).collect();
        let more: BTreeSet<String> = from.iter().flat_map(|page| pages::linked_files(page)).collect();
        let before = reached.len();
        reached.extend(more);
        if reached.len() == before {
            break;
        }
    }
    none_wrong(
        &all.iter().map(|page| page.path.clone()).filter(|path| !reached.contains(path)).collect::<Vec<_>>(),
    );
}

#[test]
fn every_command_line_is_one_that_the_program_takes() {
    let sample = "```console\n$ rpcpluginctl plugi\nrpcpluginctl: error: x\n```\n`rpcplugind --confi=x` `rpcplugind`\n\
                  ```sh\nexec s6-setuidgid u rpcplugind --plugin a=/b 2>&1\nExecStart=/x/rpcpluginctl lo\n```\n";
    let seen: Vec<String> =
        commands::command_lines(&Page::new("a.md", sample)).map(|line| line.join(" ")).collect();
    let expected =
        ["rpcpluginctl plugi", "rpcplugind --confi=x", "rpcplugind --plugin a=/b", "rpcpluginctl lo"];
    assert_eq!(seen, expected);
    assert_eq!(commands::refused(&Page::new("a.md", sample)).len(), 3);

    let all = pages();
    let count: usize = all.iter().map(|page| commands::command_lines(page).count()).sum();
    assert!(count > 60, "{count} command lines");
    none_wrong(&all.iter().flat_map(commands::refused).collect::<Vec<_>>());
}

#[test]
fn every_file_that_is_named_exists() {
    let named = |text: &str| pages::named_files(&Page::new("a.md", text)).collect::<Vec<_>>();
    assert_eq!(named("`src/x.rs` `FILE` `fuzz/TARGET/` `src/a.rs` `b`"), ["src/x.rs", "src/a.rs"]);
    let all = pages();
    let missing = all.iter().flat_map(|page| {
        let missing = pages::named_files(page).filter(|path| !root().join(path).exists());
        missing.map(|path| format!("{} names {path}", page.path)).collect::<Vec<_>>()
    });
    none_wrong(&missing.collect::<Vec<_>>());
}

#[test]
fn every_test_of_the_threat_model_exists() {
    let page = read("docs/threat-model.md");
    let mut sources = String::new();
    for folder in ["src", "sdk", "tests"] {
        pages::walk(folder, &mut |path, text| {
            if path.ends_with(".rs") {
                sources += text;
            }
        });
    }
    let mut count = 0;
    for row in rows(&page) {
        let tests = row.last().unwrap().split('`').skip(1).step_by(2);
        for test in tests.filter(|name| name.contains('_') && !name.contains(['/', ' ', '.'])) {
            assert!(sources.contains(&format!("fn {test}()")), "there is no test {test}");
            count += 1;
        }
    }
    assert!(count > 60, "{count} tests are named");
}

#[test]
fn the_layers_are_those_that_are_held() {
    let rules = read("tests/house/tidy/rules.rs");
    let table = rules.split_once("LAYERS: &[(&str, &[&str])] = &[").unwrap().1.split_once("];").unwrap().0;
    let mut held = Vec::new();
    for line in table.lines().map(str::trim).filter(|line| line.starts_with('(')) {
        let names: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        held.push((names[0].to_owned(), names[1..].join(", ")));
    }
    assert!(held.len() >= 8, "{held:?}");
    let page = read("docs/architecture.md");
    let section = page.split_once("## Layers").unwrap().1.split_once("\n## ").unwrap().0;
    let shown: Vec<(String, String)> =
        rows(section).iter().map(|row| (row[0].replace('`', ""), row[1].replace(['`', '-'], ""))).collect();
    assert_eq!(shown, held);
}

#[test]
fn every_bound_has_the_value_of_the_code() {
    numbers::check_samples();
    let page = read("docs/architecture.md");
    let section = page.split_once("## Bounds").unwrap().1.split_once("\n## ").unwrap().0;
    let mut wrong = Vec::new();
    let rows = rows(section);
    assert!(rows.len() > 40, "{} bounds", rows.len());
    for row in rows {
        let names: Vec<&str> = row[1].split('`').skip(1).step_by(2).collect();
        let [file, name] = names[..] else { panic!("{row:?} does not say where") };
        let seen = numbers::constant(&read(file), name);
        let shown = numbers::shown(&row[2]);
        if shown.is_none() || seen != shown {
            wrong.push(format!("{file} {name} is {seen:?}, the page says {} ({shown:?})", row[2]));
        }
    }
    none_wrong(&wrong);
}

#[test]
fn every_state_is_explained() {
    let operations = read("docs/operations.md");
    let states = operations.split_once("## States").unwrap().1;
    for state in PluginState::ALL {
        assert!(states.contains(&format!("\n| `{state}` |")), "{state} is not in docs/operations.md");
    }
}

/// The kinds with what the source says of each, as rows of a table.
fn kinds() -> String {
    let source = read("sdk/wire/src/event.rs");
    let list = source.split_once("events! {").unwrap().1.split_once("\n}").unwrap().0;
    let mut meanings = Vec::new();
    let mut meaning = String::new();
    for line in list.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning = format!("{meaning} {text}").trim().to_owned();
        } else if line.contains(" = \"") {
            meanings.push(std::mem::take(&mut meaning));
        }
    }
    assert_eq!(meanings.len(), EventKind::ALL.len());
    let mut table = "| event | component | level | meaning |\n|---|---|---|---|\n".to_owned();
    for (kind, meaning) in EventKind::ALL.iter().zip(meanings) {
        let (component, level) = (kind.component().as_str(), kind.level().as_str());
        table += &format!("| `{kind}` | {component} | {level} | {meaning} |\n");
    }
    table
}

#[test]
fn the_events_are_those_of_the_code() {
    let page = read("docs/events.md");
    let start = page.find("<!-- From").and_then(|at| Some(at + page[at..].find('\n')? + 1)).unwrap();
    let end = page.find("<!-- end -->").unwrap();
    let wanted = format!("{}\n{}\n{}", &page[..start], kinds(), &page[end..]);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(root().join("docs/events.md"), wanted).unwrap();
        return;
    }
    assert_same(
        "docs/events.md is not what the code says; UPDATE_DOCS=1 cargo test --test house docs",
        &wanted,
        &page,
    );
    let details = page.split_once("## Details").unwrap().1;
    for row in rows(details) {
        let name = row[0].trim_matches('`');
        assert!(EventKind::ALL.iter().any(|kind| kind.as_str() == name), "there is no event {name}");
    }
}

/// Reads a transcript; the requests that were not answered.
fn unanswered(page: &str) -> Result<Vec<(char, RequestId)>, String> {
    let mut open = Vec::new();
    let frames = page.lines().filter_map(|line| {
        let from = line.chars().next().filter(|c| "→←".contains(*c))?;
        Some((from, line[from.len_utf8()..].trim()))
    });
    for (from, frame) in frames {
        match Message::parse(frame.as_bytes()).map_err(|error| format!("{frame}: {error}"))? {
            Message::Request(request) => open.push((from, request.id)),
            Message::Notification(_) => {}
            Message::Response(response) => {
                let id = response.id.ok_or_else(|| format!("{frame}: no id"))?;
                let asked = open.iter().position(|(asker, asked)| *asker != from && *asked == id);
                open.remove(asked.ok_or_else(|| format!("{frame}: never asked"))?);
            }
        }
    }
    Ok(open)
}

#[test]
fn the_transcript_for_authors_is_a_whole_life() {
    let request = "← {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}\n";
    assert_eq!(unanswered(request).unwrap().len(), 1);
    assert!(unanswered("→ {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}").is_err());
    assert!(unanswered("→ {}").is_err());

    let page = read("docs/plugin-authors.md");
    assert_eq!(unanswered(&page), Ok(vec![]));
    for method in ["host.hello", "plugin.capabilities", "plugin.heartbeat", "rpc.cancel", "plugin.shutdown"] {
        assert!(page.contains(&format!("\"method\":\"{method}\"")), "{method} is not in the transcript");
    }
}

#[test]
fn no_page_names_a_registry_or_a_machine() {
    // Put together here, so that this file does not hold them itself.
    let words = [
        concat!("crates", ".io"),
        concat!("docs", ".rs/"),
        concat!("py", "pi.org"),
        concat!("npm", "js.com"),
        concat!("..", "/shared"),
        concat!("/wo", "rk/"),
        concat!("/tmp", "/wt"),
    ];
    let mut wrong = Vec::new();
    for page in pages() {
        wrong.extend(
            words
                .iter()
                .filter(|word| page.text.contains(**word))
                .map(|word| format!("{}: {word}", page.path)),
        );
    }
    none_wrong(&wrong);
}

/// The methods `Type::name` of a cell that no source has.
fn missing_methods(cell: &str, sources: &str) -> Vec<String> {
    let words = cell.split('`').skip(1).step_by(2);
    let missing = words.filter(|word| match word.rsplit_once("::") {
        // The block of the type, then its function: both stand in one file.
        Some((of, name)) => !sources.split("\u{0}").any(|source| {
            let is_its = source.lines().any(|line| line.starts_with("impl") && line.contains(of));
            is_its
                && (source.contains(&format!("pub fn {name}("))
                    || source.contains(&format!("pub fn {name}<")))
        }),
        None => !["struct", "trait", "enum"].iter().any(|kind| {
            let declared = format!("pub {kind} {word}");
            let after =
                |at: usize| sources[at + declared.len()..].starts_with(|c: char| !c.is_alphanumeric());
            sources.match_indices(&declared).any(|(at, _)| after(at))
        }),
    });
    missing.map(str::to_owned).collect()
}

#[test]
fn the_table_of_both_sides_names_what_there_is() {
    let sources = |folders: &[&str]| {
        let mut sources = String::new();
        for folder in folders {
            pages::walk(folder, &mut |_, text| sources += &format!("{text}\u{0}"));
        }
        sources
    };
    let (host, plugin) =
        (sources(&["src/host", "sdk/interface/src"]), sources(&["sdk/rust/src", "sdk/interface/src"]));
    let page = read("docs/embedding.md");
    let (_, section) = page.split_once("\n## The same on both sides\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = rows(section);
    assert!(rows.len() >= 15, "{rows:?}");
    let mut wrong = Vec::new();
    for row in rows {
        wrong.extend(missing_methods(&row[1], &host).into_iter().map(|name| format!("a host has no {name}")));
        wrong.extend(
            missing_methods(&row[2], &plugin).into_iter().map(|name| format!("a plugin has no {name}")),
        );
    }
    assert_eq!(missing_methods("`Callee::call_nothing`, `Nothing`", &host).len(), 2, "it would be seen");
    none_wrong(&wrong);
}
