//! One host with a healthy neighbour and any number of plugins that fail, and what is told about each.
//!
//! What always holds: the neighbour is asked again and again while anything is awaited, and has to answer.

use crate::fixtures::world::{SOON, World, eventually};
use rpc_plugin_system::host::{CallError, CallOptions, EventStream, Host, Note, PluginHandle, Policy};
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::life::PluginState;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) host: Host,
    neighbour: PluginHandle,
    first: PluginStatus,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let world = World::new();
        let host = world.host();
        // Its heartbeats are patient: this machine may be busy, and it is not what is tested.
        let policy = Policy { heartbeat_interval: SOON, heartbeat_timeout: SOON, ..Policy::default() };
        let neighbour = world.failing(&host, "neighbour", &[], policy);
        neighbour.start().unwrap();
        let first = neighbour.wait_routable(None, SOON).unwrap();
        Scene { world, host, neighbour, first }
    }

    /// Runs each case on a thread of its own, and names those that failed.
    pub(crate) fn play<C: Sync>(&self, cases: &[C], name: fn(&C) -> &str, play: impl Fn(&Scene, &C) + Sync) {
        let failed: Vec<&str> = std::thread::scope(|scope| {
            let running: Vec<_> = cases
                .iter()
                .map(|case| scope.spawn(|| catch_unwind(AssertUnwindSafe(|| play(self, case))).is_err()))
                .collect();
            let over = running.into_iter().map(|case| case.join().unwrap());
            cases.iter().zip(over).filter(|(_, failed)| *failed).map(|(case, _)| name(case)).collect()
        });
        assert!(failed.is_empty(), "what the host does is wrong in the modes {failed:?}; see above");
        let now = self.neighbour.status().unwrap();
        assert_eq!((now.pid, now.generation), (self.first.pid, self.first.generation));
        assert_eq!((now.state, now.restarts, now.calls_failed), (PluginState::Healthy, 0, 0));
    }

    fn neighbour_answers(&self) {
        let params = json!({"are you": "well"});
        let answer: Value = self
            .neighbour
            .call_with("work", &params, CallOptions::default().timeout(SOON))
            .expect("the neighbour answers");
        assert_eq!(answer, params);
    }

    /// Starts the plugin in this mode, which ends with its first generation unless `more` says otherwise.
    pub(crate) fn start(&self, mode: &'static str, more: &[(&str, &str)], policy: Policy) -> Case<'_> {
        let mut env = [&[("FAILURE_MODE", mode)], more].concat();
        if !env.iter().any(|(name, _)| *name == "FAILURE_GENERATIONS") {
            env.push(("FAILURE_GENERATIONS", "1"));
        }
        let events = self.host.subscribe(1 << 16).unwrap();
        let plugin = self.world.failing(&self.host, mode, &env, policy);
        plugin.start().unwrap();
        Case { scene: self, mode, plugin, events, seen: Vec::new() }
    }
}

/// One plugin that fails.
pub(crate) struct Case<'a> {
    scene: &'a Scene,
    pub(crate) mode: &'static str,
    pub(crate) plugin: PluginHandle,
    events: EventStream,
    /// What was told about it so far.
    pub(crate) seen: Vec<Note>,
}

impl Case<'_> {
    /// Waits for an event of this plugin.
    pub(crate) fn until(&mut self, what: &str, found: impl Fn(&Note) -> bool) -> Note {
        let end = Instant::now() + SOON;
        loop {
            self.scene.neighbour_answers();
            while let Some(event) = self.events.next_within(10 * MS) {
                assert_eq!(event.missed, 0);
                let note = event.note;
                if note.plugin_id.as_ref().is_some_and(|id| id.as_str() == self.mode) {
                    self.seen.push(note.clone());
                    if found(&note) {
                        return note;
                    }
                }
            }
            let story = || self.seen.iter().map(|note| format!("\n  {note:?}")).collect::<String>();
            assert!(Instant::now() < end, "{}: waited {SOON:?} for {what}; seen:{}", self.mode, story());
        }
    }

    /// Waits until it takes calls.
    pub(crate) fn until_routable(&mut self) -> PluginStatus {
        self.plugin.wait_routable(None, SOON).unwrap_or_else(|error| panic!("{}: {error}", self.mode))
    }

    /// Waits until a generation after the first is healthy.
    pub(crate) fn until_recovered(&mut self) {
        self.until("a healthy replacement", |note| {
            let to_healthy = note.details.as_ref().is_some_and(|details| details["to"] == "healthy");
            note.kind == EventKind::StateChanged && to_healthy && note.generation.unwrap().get() > 1
        });
        eventually("the replacement works", || self.work(&json!({"again": true})).ok());
    }

    pub(crate) fn work(&self, params: &Value) -> Result<Value, CallError> {
        self.plugin.call_with("work", params, CallOptions::default().timeout(SOON))
    }

    /// What was told of this kind about its first generation.
    pub(crate) fn told(&self, kind: EventKind) -> Vec<&Note> {
        let first = |note: &&Note| note.generation.is_some_and(|generation| generation.get() == 1);
        self.seen.iter().filter(first).filter(|note| note.kind == kind).collect()
    }

    /// The one event of this kind that its first generation has.
    pub(crate) fn the(&self, kind: EventKind) -> &Note {
        let told = self.told(kind);
        assert_eq!(told.len(), 1, "{}: events {kind}: {told:?}", self.mode);
        told[0]
    }

    /// Whether a text says all that it should.
    pub(crate) fn says(&self, said: &str, texts: &[&str]) {
        for text in texts {
            assert!(said.contains(text), "{}: {said:?} should say {text:?}", self.mode);
        }
    }

    /// Its first generation ended in one of these ways, and the last that it said was kept.
    pub(crate) fn ended_with(&self, ways: &[&str]) {
        let exited = self.the(EventKind::Exited);
        assert!(ways.iter().any(|way| exited.message.contains(way)), "{}: {}", self.mode, exited.message);
        let tail = exited.details.as_ref().map(|details| details["stderr_tail"].to_string());
        self.says(&tail.unwrap_or_default(), &[&format!("failure: mode {}: ", self.mode)]);
        assert!(exited.pid.is_some());
    }

    /// Everything that tells why it was replaced says these texts, how its process ended, and its last words.
    pub(crate) fn replaced_because(&self, texts: &[&str], ways: &[&str]) {
        self.ended_with(ways);
        let scheduled = self.the(EventKind::RestartScheduled).reason.clone().unwrap();
        let to_backoff = self
            .told(EventKind::StateChanged)
            .into_iter()
            .find(|note| note.details.as_ref().is_some_and(|details| details["to"] == "backoff"));
        let last_error = to_backoff.and_then(|note| note.error.clone()).expect("it went into backoff");
        for said in [scheduled, last_error] {
            self.says(&said, texts);
            self.says(&said, &["its last words on stderr: ", &format!("failure: mode {}: ", self.mode)]);
            assert!(ways.iter().any(|way| said.contains(&format!("({way})"))), "{}: {said}", self.mode);
        }
    }
}
