//! The rules about one source file, each with samples that break it and samples that do not.
//!
//! What this file deliberately does not do: walk folders; `tidy.rs` does.

use super::source::Source;

/// Which modules of `src/` each module may use. All may use the wire crate; no cycles.
pub(crate) const LAYERS: &[(&str, &[&str])] = &[
    ("state", &[]),
    ("threads", &[]),
    ("confine", &[]),
    ("sys", &["threads", "confine"]),
    ("eventlog", &["state", "threads", "sys"]),
    ("cli", &[]),
    ("settings", &["state"]),
    ("package", &["state", "settings", "sys"]),
    ("engine", &["state"]),
    ("reactor", &["state", "confine", "threads", "sys", "eventlog", "engine"]),
    ("host", &["state", "threads", "sys", "reactor", "engine", "eventlog", "package"]),
    ("ctl", &["threads", "sys", "cli", "eventlog", "settings", "package"]),
    // The tour shows itself with the control client's own commands.
    ("daemon", &["state", "settings", "package", "threads", "sys", "host", "eventlog", "cli", "ctl"]),
    // It is a host with a person at it, and ends by the daemon's signals.
    ("dev", &["threads", "sys", "host", "cli", "ctl", "daemon"]),
    ("programs", &["sys", "daemon", "dev", "ctl"]),
    ("bin", &["programs"]),
];

/// Crates that only some modules of `src/` may name.
const CRATES: &[(&str, &[&str])] = &[
    ("mio", &["reactor", "engine"]),
    ("libc", &["confine", "sys"]),
    ("signal_hook", &["daemon"]),
    ("lexopt", &["cli", "ctl", "daemon"]),
    ("rpc_plugin_sdk", &["daemon", "bin"]),
];

/// The files under `sdk/` that may name libc: descriptors beside bytes, a flag of memfd_create(2) and a bound of pipe(7) that
/// nix lacks.
const LIBC_FILES: &[&str] =
    &["sdk/interface/src/scm.rs", "sdk/interface/src/fd.rs", "sdk/interface/src/during.rs"];

/// What `src/state` and `sdk/peer` must not name: anything that has a clock, an fd, a thread or a file, or an order
/// that changes from run to run.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::os",
    "std::env",
    "std::io",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "nix",
    "mio",
    "libc",
    "crossbeam_channel",
];

/// Test files that may pause, and why.
const MAY_SLEEP: &[(&str, &str)] =
    &[("tests/sdk/process.rs", "polls for a child's end until its deadline; std has no wait with one")];

/// The files outside `src/sys` with unsafe code: descriptors beside bytes, and from the number of an inherited descriptor
/// to its owner.
const UNSAFE_FILES: &[&str] = &["sdk/interface/src/scm.rs", "sdk/rust/src/inherited.rs"];

/// The files that make threads; all other code asks these for one with a name and a stack of stated size.
const THREAD_FILES: &[&str] = &["src/threads.rs", "sdk/rust/src/threads.rs"];

const FILE_LINES_MAX: usize = 600;
const BIN_LINES_MAX: usize = 40;
const FUNCTION_LINES_MAX: usize = 70;
const BAD_NAMES: &[&str] = &["util", "utils", "common", "manager", "helper", "helpers", "misc"];

/// A rule about one source file: its complaints, and samples (path, text) that do and do not break it.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) complaints: fn(&Source) -> Vec<String>,
    pub(crate) broken: &'static [(&'static str, &'static str)],
    pub(crate) kept: &'static [(&'static str, &'static str)],
}

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "a file says first what it is for",
        complaints: header,
        broken: &[("src/x.rs", "use std::fs;"), ("tests/x.rs", "/// not inner"), ("src/x.rs", "")],
        kept: &[("src/x.rs", "//! For this.")],
    },
    Rule {
        name: "modules use only the layers below them",
        complaints: layers,
        broken: &[
            ("src/state/x.rs", "use crate::sys::spawn;"),
            ("src/state/x.rs", "use crate::{\n    state::y,\n    host::z,\n};"),
            ("src/sys/x.rs", "fn f() { crate::state::policy::x() }"),
            ("src/sys/x.rs", "use super::super::reactor::Loop;"),
            ("src/eventlog/x.rs", "use crate::reactor;"),
            ("src/reactor/x.rs", "use crate::host::Host;"),
            ("src/cli/mod.rs", "pub use crate::ctl::x;"),
            ("src/bin/x.rs", "use rpc_plugin_system::reactor::Loop;"),
            ("src/novel/x.rs", "use std::fmt;"),
        ],
        kept: &[
            ("src/state/x.rs", "use crate::state::policy; use super::super::state; // crate::sys"),
            ("src/host/x.rs", "use crate::{reactor::Loop, sys, eventlog::Log};"),
            ("src/sys/x.rs", "const X: &str = \"crate::host\";"),
            ("src/bin/x.rs", "fn main() { rpc_plugin_system::programs::rpcplugind() }"),
            ("src/lib.rs", "pub use crate::host::Host;"),
        ],
    },
    Rule {
        name: "some crates are named in their own layer only",
        complaints: crates,
        broken: &[
            ("src/host/x.rs", "use mio::Poll;"),
            ("src/daemon/x.rs", "fn f(p: mio::Poll) {}"),
            ("src/reactor/x.rs", "fn f() { libc::getpid(); }"),
            ("src/reactor/x.rs", "fn f() -> i32 { nix::libc::EIO }"),
            ("sdk/record/src/x.rs", "use nix::libc::S_IFREG;"),
            ("src/host/x.rs", "use signal_hook::consts::{SIGINT};"),
        ],
        kept: &[
            ("src/reactor/x.rs", "use mio::{Poll, Token};"),
            ("src/host/x.rs", "use self::mio_like::X;"),
            ("sdk/interface/src/scm.rs", "fn f() { libc::getpid(); }"),
        ],
    },
    Rule {
        name: "state and the peer crate have no clock, fd, thread or file",
        complaints: purity,
        broken: &[
            ("src/state/x.rs", "use std::fs;"),
            ("src/state/x.rs", "use std::{fmt, time::{Duration, Instant}};"),
            ("src/state/x.rs", "fn f() { std::thread::spawn(g); }"),
            ("src/state/x.rs", "use std::time; fn f() { time::SystemTime::now(); }"),
            ("src/state/x.rs", "use std::collections::HashMap;"),
            ("src/state/x.rs", "use nix::unistd::Pid;"),
            ("src/state/x.rs", "use crossbeam_channel::Sender;"),
            ("sdk/peer/src/x.rs", "use std::sync::Mutex; use std::os::fd::OwnedFd;"),
        ],
        kept: &[
            ("src/state/x.rs", "use std::time::Duration; use std::{fmt, collections::BTreeMap};"),
            ("src/host/x.rs", "use std::{fs, thread};"),
        ],
    },
    Rule {
        name: "files and functions stay short",
        complaints: lengths,
        broken: &[],
        kept: &[("src/x.rs", "fn f();\nfn g() {\n}\n")],
    },
    Rule {
        name: "unsafe stands where it may only, each block with its reason",
        complaints: unsafe_code,
        broken: &[
            ("src/host/x.rs", "// SAFETY: no\nunsafe { f() }"),
            ("tests/x.rs", "fn t() { unsafe { f() } }"),
            ("sdk/rust/src/x.rs", "unsafe impl Send for X {}"),
            ("sdk/interface/src/fd.rs", "// SAFETY: no\nunsafe { f() }"),
            ("sdk/interface/src/scm.rs", "let x = unsafe { f() };"),
            ("src/sys/x.rs", "fn t() {\n    let x = unsafe { f() };\n}"),
            ("src/sys/x.rs", "// SAFETY: far away.\nlet y = 1;\nlet x = unsafe { f() };"),
            ("src/sys/x.rs", "// Not the word.\nlet x = unsafe { f() };"),
            ("src/sys/x.rs", "/// Does it.\npub unsafe fn f() {}"),
        ],
        kept: &[
            ("src/host/x.rs", "#![forbid(unsafe_code)] // unsafe { }"),
            ("src/sys/x.rs", "// SAFETY: it is open,\n// and stays so.\nlet x =\n    unsafe { f() };"),
            ("sdk/interface/src/scm.rs", "// SAFETY: it is open.\nlet x = unsafe { f() };"),
            (
                "src/sys/x.rs",
                "/// Does it.\n///\n/// # Safety\n/// Only once.\n#[inline]\npub unsafe fn f() {}",
            ),
        ],
    },
    Rule {
        name: "every thread has a name and a stack of stated size",
        complaints: threads,
        broken: &[
            ("src/host/x.rs", "fn f() { std::thread::spawn(g); }"),
            ("src/host/x.rs", "use std::thread; fn f() { thread::Builder::new().spawn(g); }"),
            ("src/host/x.rs", "use std::thread::Builder; fn f() {}"),
            ("src/dev/x.rs", "fn f() { std::thread::scope(|scope| {\n    scope.spawn(g); }) }"),
            ("sdk/rust/src/x.rs", "use std::thread::{self, spawn};"),
            ("sdk/record/src/x.rs", "use std::thread as t;"),
            ("src/sys/x.rs", "#[cfg(test)]\nuse a::b;\nfn f() { thread::spawn(g); }"),
        ],
        kept: &[
            ("src/threads.rs", "use std::thread::Builder; fn f() -> Builder { Builder::new() }"),
            ("src/host/x.rs", "fn f() { crate::threads::builder(\"x\").spawn(g); }"),
            ("src/dev/x.rs", "fn f() { std::thread::scope(|scope| builder(\"x\").spawn_scoped(scope, g)) }"),
            (
                "src/sys/x.rs",
                "fn f() {}\n#[cfg(test)]\nmod tests {\n    fn t() { std::thread::spawn(g); }\n}",
            ),
            ("src/sys/x_tests.rs", "fn t() { std::thread::spawn(g); }"),
            ("examples/x.rs", "fn f() { std::thread::spawn(g); }"),
        ],
    },
    Rule {
        name: "crates without unsafe forbid it",
        complaints: forbids_unsafe,
        broken: &[("sdk/wire/src/lib.rs", "//! x"), ("src/state/mod.rs", "// #![forbid(unsafe_code)]")],
        kept: &[
            ("sdk/wire/src/lib.rs", "#![forbid(unsafe_code)]"),
            ("sdk/rust/src/lib.rs", "#![deny(unsafe_code)]"),
            ("sdk/interface/src/lib.rs", "#![deny(unsafe_code)]"),
            ("src/sys/mod.rs", ""),
        ],
    },
    Rule {
        name: "no module is named for nothing in particular",
        complaints: names,
        broken: &[
            ("src/host/utils.rs", ""),
            ("tests/common/mod.rs", ""),
            ("src/x.rs", "mod helpers;"),
            ("src/x.rs", "pub(crate) mod manager {}"),
        ],
        kept: &[("src/host/calls.rs", "mod model; // mod utils;")],
    },
    Rule {
        name: "tests wait on conditions",
        complaints: sleeps,
        broken: &[
            ("tests/x.rs", "fn t() { std::thread::sleep(d) }"),
            ("tests/x.rs", "use std::thread::{self, sleep};"),
            ("sdk/rust/tests/x.rs", "fn t() { thread::sleep(d) }"),
            ("tests/x.rs", "fn t() { nix::unistd::sleep(1) }"),
        ],
        kept: &[("tests/x.rs", "call(\"sleep\"); // thread::sleep"), ("examples/x.rs", "thread::sleep(d)")],
    },
];

fn header(source: &Source) -> Vec<String> {
    if source.text.starts_with("//!") { vec![] } else { vec!["does not begin with `//!`".to_owned()] }
}

fn layers(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer().filter(|layer| *layer != "lib") else { return vec![] };
    let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("`{layer}` is not in the table of layers")];
    };
    let known = |name: &str| LAYERS.iter().any(|(known, _)| *known == name);
    let mut complaints = Vec::new();
    for (line, path) in source.paths() {
        let climbs = |path: &str| path.strip_prefix("super::super::").map(str::to_owned);
        let inside =
            path.strip_prefix("crate::").or(path.strip_prefix("rpc_plugin_system::")).map(str::to_owned);
        let Some(below) = inside.or_else(|| climbs(&path)) else { continue };
        let used = below.trim_start_matches("super::").split("::").next().unwrap_or_default();
        if known(used) && used != layer && !allowed.contains(&used) {
            complaints.push(format!("line {line}: `{layer}` must not use `{used}` ({path})"));
        }
    }
    complaints
}

fn crates(source: &Source) -> Vec<String> {
    let is_sdk = source.path.starts_with("sdk/") && source.path.contains("/src/");
    let layer = match source.layer() {
        Some(layer) => layer,
        None if is_sdk && !LIBC_FILES.contains(&source.path.as_str()) => "sdk",
        None => return vec![],
    };
    let mut complaints = Vec::new();
    for (line, path) in source.paths() {
        // nix hands on all of libc.
        let path = path.strip_prefix("nix::").filter(|path| path.starts_with("libc::")).unwrap_or(&path);
        let first = path.split("::").next().unwrap_or_default();
        let rule = CRATES.iter().find(|(name, _)| *name == first && path.contains("::"));
        if let Some((name, allowed)) = rule.filter(|(_, allowed)| !allowed.contains(&layer)) {
            complaints.push(format!("line {line}: `{name}` is for {allowed:?} only ({path})"));
        }
    }
    complaints
}

fn purity(source: &Source) -> Vec<String> {
    // The one file that says what passes through the others.
    let is_pure = source.layer() == Some("state") || source.is_in(&["sdk/peer/src"]);
    if !is_pure || source.path == "src/state/fds.rs" {
        return vec![];
    }
    let within = |path: &str, root: &str| path == root || path.starts_with(&format!("{root}::"));
    let impure = |path: &str| {
        let is_crate = |root: &&&str| within(path, root) && (root.contains("::") || path.contains("::"));
        let clock = path.split("::").any(|part| part == "SystemTime") || path.ends_with("Instant::now");
        clock || IMPURE.iter().any(|root| is_crate(&root))
    };
    let found = source.paths().into_iter().filter(|(_, path)| impure(path));
    found.map(|(line, path)| format!("line {line}: {path}")).collect()
}

fn lengths(source: &Source) -> Vec<String> {
    if !source.is_in(&["src", "sdk", "examples"]) {
        return vec![];
    }
    let mut complaints = Vec::new();
    let lines = source.text.lines().count();
    let lines_max = if source.layer() == Some("bin") { BIN_LINES_MAX } else { FILE_LINES_MAX };
    if lines > lines_max {
        complaints.push(format!("has {lines} lines, more than {lines_max}"));
    }
    for (name, line, lines) in source.functions() {
        if lines > FUNCTION_LINES_MAX {
            complaints.push(format!("line {line}: `{name}` has {lines} lines, over {FUNCTION_LINES_MAX}"));
        }
    }
    complaints
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let found = source.lines_with("unsafe");
    if !source.is_in(&["src/sys"]) && !UNSAFE_FILES.contains(&&*source.path) {
        return found.iter().map(|line| format!("line {line}: unsafe outside src/sys")).collect();
    }
    let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
    let mut complaints = Vec::new();
    for line in found {
        let declares = lines[line - 1].contains("unsafe fn");
        let wanted = if declares { "# Safety" } else { "SAFETY:" };
        if !comment_above(&lines, line - 1).contains(wanted) {
            complaints.push(format!("line {line}: unsafe without `{wanted}` right before"));
        }
    }
    complaints
}

/// The comment right above a line, or above the statement that the line belongs to.
fn comment_above(lines: &[&str], mut at: usize) -> String {
    let mut comment = Vec::new();
    while let Some(before) = at.checked_sub(1) {
        let line = lines[before];
        let within_statement =
            comment.is_empty() && !line.is_empty() && !line.ends_with([';', '{', '}', ',']);
        if line.starts_with("//") {
            comment.push(line);
        } else if !(within_statement || comment.is_empty() && line.starts_with("#[")) {
            break;
        }
        at = before;
    }
    comment.join("\n")
}

fn threads(source: &Source) -> Vec<String> {
    let is_test = source.is_test() || source.path == "src/sys/testing.rs";
    if is_test || !source.is_in(&["src", "sdk"]) || THREAD_FILES.contains(&&*source.path) {
        return vec![];
    }
    let own = source.code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = own.lines().count();
    let is_maker = |path: &str| {
        let made = ["spawn", "Builder", "Builder::new"].map(|last| format!("thread::{last}"));
        made.iter().any(|made| path == made || path.ends_with(&format!("::{made}")))
    };
    let paths = source.paths().into_iter().filter(|(line, path)| *line <= lines && is_maker(path));
    let mut complaints: Vec<String> = paths.map(|(line, path)| format!("line {line}: {path}")).collect();
    let unnamed = ["scope.spawn(", "thread as "];
    let found = (1..).zip(own.lines()).filter(|(_, line)| unnamed.iter().any(|text| line.contains(text)));
    complaints.extend(found.map(|(line, _)| format!("line {line}: a thread without a stated stack")));
    complaints
}

fn forbids_unsafe(source: &Source) -> Vec<String> {
    let path = source.path.as_str();
    let must = path.starts_with("sdk/") && path.ends_with("/src/lib.rs") || path == "src/state/mod.rs";
    // A crate with one such file cannot forbid it, and denies it everywhere else.
    let of_crate = path.strip_suffix("lib.rs");
    let deny = UNSAFE_FILES.iter().any(|file| of_crate.is_some_and(|of_crate| file.starts_with(of_crate)));
    let wanted = if deny { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
    let does = source.code.lines().any(|line| line.trim() == wanted);
    if must && !does { vec!["lacks #![forbid(unsafe_code)]".to_owned()] } else { vec![] }
}

fn names(source: &Source) -> Vec<String> {
    let bad = |name: &str| BAD_NAMES.contains(&name);
    let of_path = source.path.split('/').map(|part| part.trim_end_matches(".rs"));
    let words: Vec<&str> = source.code.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let of_mods = words.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1]);
    of_path
        .chain(of_mods)
        .filter(|name| bad(name))
        .map(|name| format!("a module is named `{name}`"))
        .collect()
}

fn sleeps(source: &Source) -> Vec<String> {
    if !source.is_test() || MAY_SLEEP.iter().any(|(path, _)| *path == source.path) {
        return vec![];
    }
    let pauses = ["sleep", "sleep_ms", "usleep", "nanosleep", "sleep_until"];
    let found = source
        .paths()
        .into_iter()
        .filter(|(_, path)| path.rsplit_once("::").is_some_and(|(_, last)| pauses.contains(&last)));
    found.map(|(line, path)| format!("line {line}: {path}; wait on a condition with a deadline")).collect()
}

#[test]
fn lengths_are_counted_to_the_line() {
    let long = |lines: usize| "//! x\n".repeat(lines);
    assert!(lengths(&Source::new("src/x.rs", &long(600))).is_empty());
    assert_eq!(lengths(&Source::new("src/x.rs", &long(601))).len(), 1);
    assert_eq!(lengths(&Source::new("src/bin/x.rs", &long(41))).len(), 1);
    let function = |lines: usize| format!("fn f() {{\n{}}}", "x;\n".repeat(lines - 2));
    assert!(lengths(&Source::new("sdk/x.rs", &function(70))).is_empty());
    assert_eq!(lengths(&Source::new("sdk/x.rs", &function(71))).len(), 1);
}
