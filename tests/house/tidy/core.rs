//! The core as docs/architecture.md lists it: each file once, in reading order, within its budget.
//!
//! What it deliberately does not do: judge whether a file belongs there. In a room that is core as a whole, a file that is
//! not on the list stands in `NOT_CORE`, with the reason.

use super::modules::crates;
use super::source::blank_tests;
use super::sources;
use crate::docs::pages::root;

/// Lines of code, without blanks, comments and tests.
const LINES_MAX: usize = 7800;

/// Rooms of which each file is core, unless it says why not.
const WHOLE_ROOMS: [&str; 4] = ["sdk/wire/src/", "sdk/peer/src/", "src/state/session/", "src/state/plugin/"];

/// Files of these rooms that are not core, and why.
const NOT_CORE: &[(&str, &str)] = &[
    ("sdk/wire/src/lib.rs", "lists the modules"),
    ("sdk/wire/src/admin.rs", "types of the admin interface: no call of a plugin passes them"),
    ("sdk/wire/src/admin_install.rs", "what operators ask of what is installed"),
    ("sdk/wire/src/admin_packages.rs", "what operators ask of packages"),
    ("sdk/wire/src/describe.rs", "what a plugin says of its methods: no call depends on it"),
    ("sdk/wire/src/answered_error.rs", "who is told to have said an error, once its call has ended"),
    ("sdk/wire/src/carried_error.rs", "the same, read where another side carried the call"),
    ("sdk/wire/src/event.rs", "types of the record"),
    ("sdk/wire/src/suggest.rs", "names that were probably meant"),
    ("sdk/wire/src/health_status.rs", "names of what plugins say of themselves"),
    ("sdk/wire/src/memory.rs", "asks whether there is memory: without it a call ends, it does not go astray"),
    ("sdk/wire/src/scalar.rs", "how much of a wrong value is quoted"),
    ("sdk/wire/src/informational.rs", "members that are only shown"),
    ("sdk/wire/src/objects.rs", "lets derived readers of members use what the envelope has"),
    ("sdk/wire/src/phrase.rs", "parts of sentences for people"),
    ("sdk/wire/src/plugin_state.rs", "names of states, as they are shown"),
    ("sdk/wire/src/services.rs", "params of what plugins ask of their host"),
    ("sdk/wire/src/stream.rs", "streams in band: their bytes, not the calls that open them"),
    ("src/state/plugin/launch_events.rs", "events that tell how far a start is"),
    (
        "sdk/wire/src/bad_frame.rs",
        "frames that are no messages: whether an id was asked is checked elsewhere",
    ),
    ("sdk/wire/src/brief.rs", "what is kept and shown of answers"),
    ("sdk/wire/src/cancel.rs", "the cause of a cancel, by which nothing is decided"),
    (
        "sdk/wire/src/retry_limits.rs",
        "how often a call is repeated: which end repeats it is decided elsewhere",
    ),
    ("sdk/wire/src/words.rs", "what is said of texts that are refused"),
    ("sdk/wire/src/cut.rs", "cuts texts that are kept or shown"),
    ("sdk/peer/src/violation.rs", "what a peer did wrong, in words"),
    ("sdk/peer/src/bad_frames.rs", "counts frames that are no messages"),
    (
        "src/state/session/bad_frames.rs",
        "frames that are no messages end calls by the same tables as good ones",
    ),
    ("sdk/peer/src/streams.rs", "streams in band: which are open, not the calls that open them"),
    ("sdk/peer/src/running_time.rs", "when a standstill counts for no deadline"),
    ("sdk/peer/src/shares.rs", "who of many may call now: what is admitted is as before"),
    (
        "src/state/session/late_frames.rs",
        "since when a plugin has a call: who is told of its end is decided before",
    ),
    ("src/state/session/peer_features.rs", "which extension members a plugin is sent"),
    ("src/state/session/outbox_shares.rs", "who of many may call now: it refuses before anything is written"),
    ("src/state/plugin/logged.rs", "what plugins put on the record"),
    ("src/state/plugin/ignored_members.rs", "what is told of members on which nothing depends"),
    ("src/state/plugin/reasons.rs", "texts of failures"),
    ("src/state/plugin/host_shortage.rs", "delays a launch: which process is launched is decided elsewhere"),
    (
        "src/state/plugin/permanent_fault.rs",
        "when a launch that failed is made again: which process is launched is decided elsewhere",
    ),
    ("src/state/session/proof_error.rs", "why a proof fails: whether it does is decided elsewhere"),
    (
        "src/state/plugin/presence.rs",
        "whether a launch waits for other plugins: the launch itself is the same",
    ),
    (
        "src/state/plugin/demand.rs",
        "when calls wait for a launch: they are sent as any other, once there is a generation",
    ),
    (
        "src/state/plugin/idle.rs",
        "when a plugin that nobody uses is stopped: how it is stopped is decided elsewhere",
    ),
    ("src/state/plugin/status.rs", "what is shown of a plugin"),
    (
        "src/state/plugin/reconfigured.rs",
        "which configuration is the newest: a launch carries the one that it takes",
    ),
];

/// The files that the page lists, in its order.
pub(crate) fn core_files() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    listed(&page).into_iter().map(|(path, _)| path).collect()
}

/// The rows of the table below the heading: path, sentence.
fn listed(page: &str) -> Vec<(String, String)> {
    let section = page.split_once("\n## The core\n").map_or("", |(_, behind)| behind);
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows =
        section.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |")?.split_once("` | "));
    rows.map(|(path, sentence)| (path.to_owned(), sentence.to_owned())).collect()
}

/// What is wrong with the list, for these files.
fn wrong(listed: &[(String, String)], files: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, (path, sentence)) in listed.iter().enumerate() {
        if !files.contains(&path.as_str()) {
            wrong.push(format!("{path} is on the list and no file of a crate"));
        }
        if listed[..at].iter().any(|(before, _)| before == path) {
            wrong.push(format!("{path} is on the list twice"));
        }
        let ends = sentence.matches(['.', ';']).count();
        if !sentence.ends_with('.') || ends > 1 {
            wrong.push(format!("{path}: `{sentence}` is not one sentence"));
        }
    }
    let is_listed = |file: &&str| listed.iter().any(|(path, _)| path == file);
    let excepted = |file: &&str| NOT_CORE.iter().any(|(path, _)| *path == *file);
    for file in files.iter().filter(|file| WHOLE_ROOMS.iter().any(|room| file.starts_with(room))) {
        match (is_listed(file), excepted(file)) {
            (false, false) => wrong.push(format!("{file} is not on the list, nor in NOT_CORE")),
            (true, true) => wrong.push(format!("{file} is on the list and in NOT_CORE")),
            _ => {}
        }
    }
    wrong
}

#[test]
fn the_core_is_the_list_of_its_page_and_within_its_budget() {
    let page = "# A\n\n## The core\n\n| file | what it says |\n|---|---|\n| `sdk/wire/src/a.rs` | Cuts frames. |\n\n## B\n| `x` | y |\n";
    let a = listed(page);
    assert_eq!(a, [("sdk/wire/src/a.rs".to_owned(), "Cuts frames.".to_owned())]);
    assert!(wrong(&a, &["sdk/wire/src/a.rs", "sdk/wire/src/lib.rs", "src/host/x.rs"]).is_empty());
    assert_eq!(wrong(&a, &["sdk/wire/src/b.rs"]).len(), 2, "one is missing, one is new");
    assert_eq!(wrong(&[a[0].clone(), a[0].clone()], &["sdk/wire/src/a.rs"]).len(), 1, "listed twice");
    for sentence in ["Two. Sentences.", "No end", "One; two."] {
        let rows = [("sdk/wire/src/a.rs".to_owned(), sentence.to_owned())];
        assert_eq!(wrong(&rows, &["sdk/wire/src/a.rs"]).len(), 1, "{sentence}");
    }
    assert_eq!(
        wrong(&[("sdk/wire/src/event.rs".to_owned(), "Is.".to_owned())], &["sdk/wire/src/event.rs"]).len(),
        1
    );

    let sources = sources();
    let crates = crates(&sources);
    let files: Vec<&str> =
        crates.iter().flat_map(|one| &one.modules).map(|module| &*module.file.path).collect();
    let listed = listed(&std::fs::read_to_string(root().join("docs/architecture.md")).unwrap());
    let mut wrong = wrong(&listed, &files);
    for (path, _) in NOT_CORE.iter().filter(|(path, _)| !files.contains(path)) {
        wrong.push(format!("{path} is in NOT_CORE and no file of a crate"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let of_core = sources.iter().filter(|source| listed.iter().any(|(path, _)| *path == source.path));
    let lines: usize = of_core.map(|source| blank_tests(source).code_lines()).sum();
    assert!(lines <= LINES_MAX, "the core has {lines} lines of code, {LINES_MAX} are its budget");
    assert!(listed.len() > 30 && lines > 3000, "{} files, {lines} lines", listed.len());
}
