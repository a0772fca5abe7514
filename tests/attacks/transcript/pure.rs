//! The transcript against the supervisor, in virtual time.

use crate::bad_input::life::{self, Life};
use crate::fixtures::conformance::ANYONE;
use rpc_plugin_system::host::Policy;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{ErrorCode, Outcome};

/// What the plugin says, each line once the host has asked for it: see [`ask`].
fn transcript() -> Vec<Vec<u8>> {
    let lines = [
        life::hello(&ANYONE),
        life::capabilities(&ANYONE),
        r#"{"jsonrpc":"2.0","id":1,"result":{"status":"healthy","uptime_ms":12}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":2,"result":{"status":"degraded","uptime_ms":2012,"work_count":1}}"#
            .to_owned(),
        r#"{"jsonrpc":"2.0","id":4,"result":{"text":"ä\u00e4\n","deep":[[{"a":[]}],null]}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":7,"message":"not today","data":{"why":[1,2]}}}"#
            .to_owned(),
        r#"{"jsonrpc":"2.0","id":"mine","method":"host.log","params":{"message":"hä?"},"x":[0]}"#.to_owned(),
        r#"{"jsonrpc":"2.0","method":"rpc.cancel","params":{"id":"mine"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#.to_owned(),
    ];
    lines.map(|line| format!("{line}\n").into_bytes()).to_vec()
}

/// The last line, before which the host stops the plugin.
const SHUTDOWN_LINE: usize = 8;
/// The line before which the host calls twice.
const CALLS_LINE: usize = 4;

/// What the host does before it gets a line.
fn ask(life: &mut Life, line: usize) {
    match line {
        3 => life.pass(life::policy().heartbeat_interval),
        CALLS_LINE => {
            life.call(1, "work", r#"{"n":1}"#);
            life.call(2, "sleep", r#"{"ms":0}"#);
        }
        SHUTDOWN_LINE => life.stop(),
        _ => {}
    }
}

/// What became of a life.
#[derive(Debug, PartialEq, Eq)]
struct Outcomes {
    notes: Vec<String>,
    calls: Vec<(u64, String)>,
    written: String,
    signals: usize,
    closed: bool,
    state: PluginState,
}

/// Plays these lines, in pieces that end where `ends_piece` says, as far as `cut`; then the connection and the
/// process end.
fn play(lines: &[Vec<u8>], cut: usize, ends_piece: impl Fn(usize) -> bool) -> Life {
    let mut life = Life::connected(Policy { restarts_max: 5, ..life::policy() });
    let mut at = 0;
    for (number, line) in lines.iter().enumerate() {
        if at >= cut {
            break;
        }
        ask(&mut life, number);
        let line = &line[..line.len().min(cut - at)];
        let mut begin = 0;
        for end in (1..=line.len()).filter(|end| *end == line.len() || ends_piece(at + end)) {
            life.feed(&line[begin..end]);
            begin = end;
        }
        at += line.len();
    }
    life.end_of_stream();
    life.exit();
    life
}

fn outcomes(life: Life) -> Outcomes {
    let state = life.state();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let notes = life.notes.iter().map(|note| {
        format!("{} {} | {} | {}", note.kind, note.message, text(&note.error), text(&note.reason))
    });
    let calls = life.ends.iter().map(|(key, end)| {
        let end = match &end.result {
            Ok(result) => result.get().to_owned(),
            Err(error) => format!("{error} {:?}", error.data),
        };
        (key.0, end)
    });
    Outcomes {
        notes: notes.collect(),
        calls: calls.collect(),
        written: String::from_utf8(life.written.clone()).unwrap(),
        signals: life.signals.len(),
        closed: life.closed,
        state,
    }
}

#[test]
fn the_whole_life_goes_well() {
    let lines = transcript();
    let whole = outcomes(play(&lines, usize::MAX, |_| false));
    assert_eq!(whole.state, PluginState::Stopped);
    assert_eq!((whole.signals, whole.closed), (0, true));
    let (second, first) = (&whole.calls[0], &whole.calls[1]);
    assert_eq!((second.0, second.1.as_str()), (2, r#"{"text":"ä\u00e4\n","deep":[[{"a":[]}],null]}"#));
    assert!(
        first.0 == 1 && first.1.contains("not today") && first.1.contains(r#"{"why":[1,2]}"#),
        "{first:?}"
    );
    assert!(whole.notes.iter().all(|note| note.ends_with(" |  | ") || note.contains("stop")), "{whole:#?}");
    // Hello, two requests at once, a heartbeat, two calls, an answer, the shutdown.
    assert_eq!(whole.written.lines().count(), 8, "{}", whole.written);
}

#[test]
fn a_life_split_at_every_byte_is_the_same_life() {
    let lines = transcript();
    let whole = outcomes(play(&lines, usize::MAX, |_| false));
    let bytes = lines.concat().len();
    for at in 1..bytes {
        assert_eq!(outcomes(play(&lines, usize::MAX, |end| end == at)), whole, "split at {at}");
    }
    assert_eq!(outcomes(play(&lines, usize::MAX, |_| true)), whole, "byte by byte");
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let splits: Vec<bool> = (0..=bytes).map(|_| rng.u8(..) < 32).collect();
        assert_eq!(outcomes(play(&lines, usize::MAX, |end| splits[end])), whole, "seed {seed}");
    }
}

/// Where the line begins that holds the byte before `cut`, and its number.
fn line_of(lines: &[Vec<u8>], cut: usize) -> (usize, usize) {
    let mut start = 0;
    for (number, line) in lines.iter().enumerate() {
        if cut <= start + line.len() {
            return (number, start);
        }
        start += line.len();
    }
    panic!("{cut} is past the end");
}

#[test]
fn a_life_cut_at_every_byte_ends_with_a_clear_error() {
    let lines = transcript();
    let bytes = lines.concat();
    for cut in 0..=bytes.len() {
        let life = play(&lines, cut, |_| false);
        let (line, start) = line_of(&lines, cut);
        let said = life.complaints();
        let mut calls: Vec<u64> = life.ends.iter().map(|(key, _)| key.0).collect();
        calls.sort_unstable();
        assert_eq!(calls, if line >= CALLS_LINE { vec![1, 2] } else { vec![] }, "cut at {cut}");
        for (_, end) in &life.ends {
            if let Err(error) = &end.result
                && error.outcome != Outcome::Answered
            {
                assert_eq!((error.code, error.outcome), (ErrorCode::PluginLost, Outcome::Indeterminate));
            }
        }
        let expected = if line == SHUTDOWN_LINE { PluginState::Stopped } else { PluginState::Backoff };
        assert_eq!(life.state(), expected, "cut at {cut}: {said}");
        if cut > 0 && bytes[cut - 1] != b'\n' {
            let expected = format!("the stream ended {} bytes into a frame", cut - start);
            assert!(said.contains(&expected), "cut at {cut}: {said}");
        } else if line == SHUTDOWN_LINE {
            assert_eq!(cut, bytes.len());
            assert!(!said.contains("connection"), "{said}");
        } else {
            assert!(said.contains("the plugin closed the connection"), "cut at {cut}: {said}");
        }
        let phase = if cut < lines[0].len() { "before it proved its identity" } else { "" };
        let note = life.notes.iter().find(|note| note.message.starts_with("the connection ended"));
        assert!(note.is_none_or(|note| note.message.contains(phase)), "cut at {cut}: {note:?}");
    }
}

#[test]
fn any_byte_changed_in_a_life_ends_every_call_once() {
    let lines = transcript();
    let bytes = lines.concat().len();
    for at in 0..bytes {
        for byte in [b'\n', b'"', b'9', b'{', 0, 0xff] {
            let (number, start) = line_of(&lines, at + 1);
            let mut changed = lines.clone();
            changed[number][at - start] = byte;
            let life = play(&changed, usize::MAX, |_| false);
            let mut calls: Vec<u64> = life.ends.iter().map(|(key, _)| key.0).collect();
            calls.sort_unstable();
            assert_eq!(calls, [1, 2], "{byte:#x} at {at}");
            let state = life.state();
            // Stopped before its process ended, or its process ended before it was stopped.
            assert_eq!(state, PluginState::Stopped, "{byte:#x} at {at}: {}", life.complaints());
            assert!(life.closed, "{byte:#x} at {at}");
        }
    }
}
