//! The table of bad inputs, each sent by a real process to a real host: one generation for each row.
//!
//! What always holds: the record of that generation names what is wrong with the row, a healthy neighbour answers
//! throughout, and after the last row the plugin itself is healthy again.

use super::pure::{as_answer, expected_first};
use super::replay;
use crate::fixtures::conformance::{self, ANYONE, Fault, Played, Row, Stage};
use crate::fixtures::world::{SOON, World};
use rpc_plugin_system::host::{EventStream, Host, PluginHandle};
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::{BadFrame, Message};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// Plugins that misbehave at the same time.
const PLUGINS: usize = 4;

/// One generation: what it plays, and what the host must say.
struct Scene {
    name: String,
    says: String,
    line: String,
}

fn scenes(greeted: bool, stages: &[Stage]) -> Vec<Vec<Scene>> {
    let rows = conformance::bad().into_iter().filter(|row| stages.contains(&row.stage));
    // A deadline beyond its range is answered, and not put on record.
    let rows = rows.filter(|row| !(greeted && bad_frames(&row.bytes(&ANYONE)).any(|bad| bad.is_deadline())));
    let mut scenes: Vec<Vec<Scene>> = (0..PLUGINS).map(|_| Vec::new()).collect();
    for (number, row) in rows.enumerate() {
        let plugin = number % PLUGINS;
        scenes[plugin].push(scene(greeted, &row, plugin, number / PLUGINS + 1));
    }
    scenes
}

fn scene(greeted: bool, row: &Row, plugin: usize, generation: usize) -> Scene {
    let plugin_id = id(plugin);
    let played = Played { token: ANYONE.token, plugin_id: &plugin_id, generation: generation as u64 };
    let mut bytes = row.bytes(&played);
    if greeted {
        bytes = as_answer(row, bytes, &played);
    }
    // Without the end of the stream nothing is wrong yet with these; and a bad heartbeat alone ends nothing.
    let closes = row.fault() == Fault::Truncated || matches!(row.stage, Stage::Heartbeat | Stage::Cancel);
    let closes = closes || (greeted && bad_frames(&bytes).next().is_some());
    Scene {
        name: row.name.clone(),
        says: if greeted { row.says.clone() } else { expected_first(row) },
        line: replay::line(if greeted { "greeted" } else { "first" }, closes, &bytes),
    }
}

/// The frames that are no messages and cost no more than what they are about.
fn bad_frames(bytes: &[u8]) -> impl Iterator<Item = BadFrame> {
    let frames = bytes.split(|byte| *byte == b'\n');
    frames.filter_map(|frame| BadFrame::read(frame, Message::parse(frame).err()?).ok())
}

fn id(plugin: usize) -> String {
    format!("bad{plugin}")
}

/// What the record says was wrong, by plugin and generation, once the plugins have played to their end.
fn play(
    host: &Host,
    neighbour: &PluginHandle,
    events: &EventStream,
    ends: &[u64],
) -> BTreeMap<(String, u64), String> {
    let mut complaints: BTreeMap<(String, u64), String> = BTreeMap::new();
    let mut well = Vec::new();
    let mut ended = 0u32;
    while well.len() < ends.len() {
        let event = events.next_within(SOON).unwrap_or_else(|| panic!("stuck at {:?}", host.plugins()));
        assert_eq!(event.missed, 0);
        let note = event.note;
        assert_ne!(note.kind, EventKind::HostFault, "{note:?}");
        let (Some(plugin), Some(generation)) = (note.plugin_id, note.generation) else { continue };
        if plugin == *neighbour.id() {
            continue;
        }
        let said = complaints.entry((plugin.to_string(), generation.get())).or_default();
        for text in [&note.error, &note.reason].into_iter().flatten() {
            said.push_str(text);
            said.push('\n');
        }
        if note.kind == EventKind::StateChanged && note.message.ends_with("-> healthy") {
            let number: usize = plugin.as_str().trim_start_matches("bad").parse().unwrap();
            assert_eq!(generation.get(), ends[number] + 1, "{plugin} is trusted: {said}");
            well.push(plugin);
            continue;
        }
        let is_failed = note.kind == EventKind::StateChanged && note.message.ends_with("-> failed");
        if is_failed {
            // No version in common is not tried again by itself: an operator says so.
            host.plugin(&plugin).unwrap().start().unwrap();
        }
        if is_failed || note.kind == EventKind::RestartScheduled {
            ended += 1;
            if ended.is_multiple_of(8) {
                let answer: Value = neighbour.call("echo", &json!({"ended": ended})).unwrap();
                assert_eq!(answer, json!({"ended": ended}));
            }
        }
    }
    complaints
}

/// Plays all rows of these stages; how many there were.
fn run(greeted: bool, stages: &[Stage]) -> usize {
    let begin = Instant::now();
    let scenes = scenes(greeted, stages);
    let world = World::new();
    let host = world.host();
    let events = host.subscribe(1 << 16).unwrap();
    let neighbour = world.echo(&host, "echo");
    neighbour.start().unwrap();
    neighbour.wait_routable(None, SOON).unwrap();
    for (plugin, scenes) in scenes.iter().enumerate() {
        let lines = scenes.iter().map(|scene| scene.line.as_str());
        replay::plugin(&world, &host, &id(plugin), lines).start().unwrap();
    }
    let ends: Vec<u64> = scenes.iter().map(|scenes| scenes.len() as u64).collect();
    let complaints = play(&host, &neighbour, &events, &ends);
    assert_eq!(neighbour.status().unwrap().restarts, 0);
    let mut wrong = Vec::new();
    for (plugin, scenes) in scenes.iter().enumerate() {
        for (scene, generation) in scenes.iter().zip(1..) {
            let said = complaints.get(&(id(plugin), generation)).map_or("nothing", String::as_str);
            if !said.contains(&scene.says) {
                wrong.push(format!("{}: wanted {:?}, got {said:?}", scene.name, scene.says));
            }
        }
    }
    let rows: u64 = ends.iter().sum();
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{rows} bad inputs of live plugins in {:?}", begin.elapsed());
    rows as usize
}

#[test]
fn a_live_host_refuses_every_bad_input_before_the_proof() {
    assert!(run(false, &[Stage::Frame, Stage::Message, Stage::Hello]) >= 300);
}

#[test]
fn a_live_host_refuses_every_bad_input_after_the_proof() {
    let stages = [Stage::Frame, Stage::Message, Stage::Cancel, Stage::Capabilities, Stage::Heartbeat];
    assert!(run(true, &stages) >= 300);
}
