//! Attacks with file descriptors on a live host: each ends the attacker's connection with a reason that names it, or
//! does nothing; nothing leaks; another plugin answers all the time.
//!
//! What it deliberately does not do: look at single frames; the unit tests of `state::session` do.
//!
//! What always holds: the host of a test is alone in its process, so that its descriptors can be counted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs
)]

mod attacker;
pub(crate) mod closing;
pub(crate) mod limits;

use crate::fixtures::child::alone;
use crate::fixtures::raw;
use crate::fixtures::world::{SOON, World, calm, eventually, up};
use attacker::{ATTACKS, Expected};
use rpc_plugin_system::host::{
    CallOptions, EventKind, EventStream, Host, PluginHandle, PluginState, Policy, RestartPolicy, ServiceCall,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Open descriptors of this process by what they are. Those of the record stay with each plugin that ever was.
fn fds_by_kind() -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        // The folder's own descriptor is gone when it is asked for.
        let Ok(target) = std::fs::read_link(entry.unwrap().path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let kind = target.split_once(":[").map_or(target.as_str(), |(kind, _)| kind).to_owned();
        if !kind.starts_with("/proc/") && !kind.contains("/run/") {
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    kinds
}

/// Waits until no descriptor is open that was not before.
fn none_leaked(before: &BTreeMap<String, usize>, what: &str) {
    let end = Instant::now() + SOON;
    loop {
        let now = fds_by_kind();
        if now == *before {
            return;
        }
        assert!(Instant::now() < end, "{what}: descriptors before {before:?}, now {now:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// What the host's service `hold` has under way.
#[derive(Default)]
struct Held(AtomicU64);

fn options() -> CallOptions {
    CallOptions::default().timeout(SOON)
}

/// A host with a service that holds what it is given until its caller has gone.
fn host(world: &World, held: &Arc<Held>) -> Host {
    let held = Arc::clone(held);
    let hold = move |call: &ServiceCall, _: Value| {
        held.0.fetch_add(1, Ordering::SeqCst);
        let waited = call.wait(SOON * 10);
        held.0.fetch_sub(1, Ordering::SeqCst);
        waited.map(|()| json!({}))
    };
    world.builder().service("hold", hold).service_threads(2).start().unwrap()
}

/// Calls a plugin that behaves until told to stop; how often it answered. It has to, each time.
fn unharmed<R>(echo: &PluginHandle, during: impl FnOnce() -> R) -> (R, u64) {
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let params = json!({"n": calls.load(Ordering::SeqCst)});
                let answer: Value = echo.call_with("echo", &params, options()).expect("echo is unharmed");
                assert_eq!(answer, params);
                calls.fetch_add(1, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _stop = Stop(&stop);
        during()
    });
    (result, calls.into_inner())
}

/// Waits for the end of that generation's connection; its reason.
pub(crate) fn reason(events: &EventStream, generation: u64) -> (EventKind, String) {
    let ends = [
        EventKind::ProtocolViolation,
        EventKind::AuthenticationFailed,
        EventKind::ConnectionLost,
        EventKind::ConnectionPoisoned,
        EventKind::Exited,
    ];
    let (end, mut seen) = (Instant::now() + SOON, Vec::new());
    loop {
        let event = events.next_within(end.saturating_duration_since(Instant::now()));
        let note = event.unwrap_or_else(|| panic!("the connection does not end: {seen:?}")).note;
        seen.push(format!("{} {:?} {:?}", note.kind, note.generation, note.error));
        let is_its = note.generation.is_some_and(|number| number.get() == generation);
        if is_its && ends.contains(&note.kind) {
            return (note.kind, note.error.unwrap_or_default());
        }
    }
}

/// `id` is used once, since a generation's number is.
fn attack(world: &World, host: &Host, held: &Held, id: &str, name: &str, expected: Expected) {
    let events = host.subscribe(1000).unwrap();
    // In its second generation it behaves.
    let policy =
        Policy { restart: RestartPolicy::Always, ready_timeout: SOON, hello_timeout: SOON, ..calm() };
    let config = raw::plugin(world, id, "attacker", name).policy(policy);
    let plugin = host.add(config).unwrap();
    plugin.start().unwrap();
    let first = 1;
    if expected.is_before_hello() {
        let (kind, why) = reason(&events, first);
        assert_eq!(kind, EventKind::AuthenticationFailed, "{name}: {why}");
        assert!(why.contains(expected.text()), "{name}: {why}");
    } else {
        plugin.wait_routable(None, SOON).unwrap();
        let call = plugin.call_start("go", &json!({}), options()).unwrap();
        match expected {
            Expected::Lives => {
                let ended =
                    call.wait().unwrap_or_else(|error| panic!("{name}: {error}\n{}", world.record(id)));
                let answer: Value = ended.parse().unwrap();
                println!("  {name}: {answer}");
                assert_eq!(plugin.status().unwrap().generation.map(|seen| seen.get()), Some(first), "{name}");
                assert_eq!(plugin.status().unwrap().state, PluginState::Healthy, "{name}");
            }
            _ => {
                let (kind, why) = reason(&events, first);
                let is_lost = matches!(expected, Expected::Lost);
                assert!(is_lost || kind == expected.kind(), "{name}: {kind} {why}");
                assert!(why.contains(expected.text()), "{name}: {why}");
                assert!(call.wait().is_err(), "{name}: its call ends");
            }
        }
    }
    if !matches!(expected, Expected::Lives) {
        let after = plugin.wait_routable(rpc_plugin_system::host::Generation::try_from(first).ok(), SOON);
        assert_eq!(
            after.unwrap().generation.map(|seen| seen.get()),
            Some(first + 1),
            "{name}: it is replaced"
        );
    }
    plugin.stop().unwrap();
    plugin.wait_for(PluginState::Stopped, SOON).unwrap();
    host.remove(plugin.id()).unwrap();
    eventually("what was held is given up", || (held.0.load(Ordering::SeqCst) == 0).then_some(()));
}

#[test]
fn every_attack_ends_its_connection_and_nothing_else() {
    alone(|| {
        let world = World::new();
        let held = Arc::new(Held::default());
        let host = host(&world, &held);
        let echo = up(world.echo(&host, "echo"));
        // What is opened once only is open now.
        attack(&world, &host, &held, "first", "answer with as many as announced", Expected::Lives);
        let before = fds_by_kind();
        let ((), calls) = unharmed(&echo, || {
            for (number, (name, expected)) in ATTACKS.iter().enumerate() {
                attack(&world, &host, &held, &format!("attacker-{number}"), name, *expected);
                none_leaked(&before, name);
            }
        });
        let ended = ATTACKS.iter().filter(|(_, expected)| !matches!(expected, Expected::Lives)).count();
        println!(
            "{} attacks with descriptors: {ended} ended their connection with the reason, {} did nothing; \
         0 descriptors leaked; {calls} calls of another plugin answered meanwhile",
            ATTACKS.len(),
            ATTACKS.len() - ended
        );
        assert!(calls > ATTACKS.len() as u64, "{calls} calls");
        assert_eq!(echo.status().unwrap().generation.map(|seen| seen.get()), Some(1));
    });
}

/// The attacker: this program, started by the hosts of these tests.
pub(crate) fn attacker_body() {
    attacker::run(&raw::role());
}
