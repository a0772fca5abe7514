//! The transcript against a live host, cut at a sample of its bytes: one generation for each.

use crate::bad_input::{life, replay};
use crate::fixtures::conformance::{ANYONE, Played};
use crate::fixtures::world::{SOON, World};
use rpc_plugin_system::host::{EventStream, PluginHandle};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{ErrorCode, Generation, Outcome};
use serde_json::{Value, json};

const ID: &str = "cut";
/// Cuts of each line, its begin and its end included.
const CUTS_PER_LINE: usize = 13;

fn transcript(generation: u64) -> [String; 5] {
    let played = Played { token: ANYONE.token, plugin_id: ID, generation };
    [
        life::hello(&played),
        life::capabilities(&played),
        r#"{"jsonrpc":"2.0","id":1,"result":{"status":"healthy","uptime_ms":12}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":2,"result":{"text":"ä\u00e4\n"}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":3,"result":{}}"#.to_owned(),
    ]
    .map(|line| format!("{line}\n"))
}

/// One generation: how far it gets.
struct Cut {
    generation: u64,
    /// What it says before its connection ends.
    bytes: Vec<u8>,
    /// Bytes of a line that was begun.
    into_frame: usize,
    /// Lines that were begun.
    lines: usize,
    is_whole: bool,
}

fn cuts() -> Vec<Cut> {
    let cut = |generation: u64| {
        let lines = transcript(generation);
        // The lines take turns, so that each kind of end follows each other kind.
        let step = generation as usize - 1;
        let (line, part) = (step % lines.len(), step / lines.len());
        let length = lines[line].len() * part / (CUTS_PER_LINE - 1);
        let before: usize = lines[..line].iter().map(String::len).sum();
        let into_frame = if length == lines[line].len() { 0 } else { length };
        let bytes = lines.concat().as_bytes()[..before + length].to_vec();
        let is_whole = bytes.len() == lines.concat().len();
        Cut { generation, bytes, into_frame, lines: line + usize::from(length > 0), is_whole }
    };
    (1..=5 * CUTS_PER_LINE as u64).map(cut).collect()
}

/// Brings a generation as far as it gets, and to its end; all that the record says was wrong.
fn live_through(plugin: &PluginHandle, events: &EventStream, cut: &Cut) -> String {
    if cut.lines > 3 {
        let before = cut.generation.checked_sub(1).filter(|before| *before > 0);
        let before: Option<Generation> = before.map(|before| before.to_string().parse().unwrap());
        let status = plugin.wait_routable(before, SOON).unwrap();
        assert_eq!(status.generation.unwrap().get(), cut.generation);
        let result = plugin.call::<_, Value>("work", &json!({}));
        if cut.lines == 4 && cut.into_frame > 0 {
            let error = result.unwrap_err();
            assert_eq!(
                (error.code, error.outcome),
                (ErrorCode::PluginLost, Outcome::Indeterminate),
                "{error}"
            );
        } else {
            assert_eq!(result.unwrap(), json!({"text": "ää\n"}));
        }
    }
    let last = if cut.lines > 4 {
        plugin.stop().unwrap();
        plugin.wait_for(PluginState::Stopped, SOON).unwrap();
        EventKind::Exited
    } else {
        EventKind::RestartScheduled
    };
    let mut said = String::new();
    loop {
        let event = events.next_within(SOON).unwrap_or_else(|| panic!("stuck: {:?}", plugin.status()));
        let note = event.note;
        assert_eq!(event.missed, 0);
        assert_ne!(note.kind, EventKind::HostFault, "{note:?}");
        if note.plugin_id.as_ref() != Some(plugin.id())
            || note.generation.map(Generation::get) != Some(cut.generation)
        {
            continue;
        }
        for text in [&note.error, &note.reason].into_iter().flatten() {
            said.push_str(text);
            said.push('\n');
        }
        if note.kind == last {
            return said;
        }
    }
}

#[test]
fn a_life_cut_anywhere_is_named_and_replaced_by_a_live_host() {
    let cuts = cuts();
    assert!(cuts.len() >= 60);
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1 << 16).unwrap();
    let neighbour = world.echo(&host, "echo");
    neighbour.start().unwrap();
    let lines: Vec<String> = cuts.iter().map(|cut| replay::line("asked", true, &cut.bytes)).collect();
    let plugin = replay::plugin(&world, &host, ID, lines.iter().map(String::as_str));
    plugin.start().unwrap();
    neighbour.wait_routable(None, SOON).unwrap();
    for cut in &cuts {
        let said = live_through(&plugin, &events, cut);
        let shown = format!("generation {}, {} bytes: {said}", cut.generation, cut.bytes.len());
        if cut.into_frame > 0 {
            let expected = format!("the stream ended {} bytes into a frame", cut.into_frame);
            assert!(said.contains(&expected), "{shown}");
        } else if cut.is_whole {
            assert!(!said.contains("connection"), "{shown}");
        } else {
            assert!(said.contains("the plugin closed the connection"), "{shown}");
        }
        let answer: Value = neighbour.call("echo", &json!({"n": cut.generation})).unwrap();
        assert_eq!(answer, json!({"n": cut.generation}));
        if cut.lines > 4 {
            plugin.start().unwrap();
        }
    }
    // What has no record behaves.
    plugin.wait_routable(None, SOON).unwrap();
    assert_eq!(plugin.call::<_, Value>("work", &json!({"a": 1})).unwrap(), json!({"a": 1}));
    assert_eq!(neighbour.status().unwrap().restarts, 0);
}
