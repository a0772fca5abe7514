//! What the host says happened, checked against what was done to its plugins.

use super::strikes::Struck;
use rpc_plugin_system::host::{Host, LifecycleEvent};
use rpc_plugin_wire::event::EventKind;
use std::collections::BTreeMap;
use std::thread::JoinHandle;

/// Far more events than a run makes.
const EVENTS_MAX: usize = 1 << 18;

/// What happened.
#[derive(Default)]
pub struct Seen {
    pub launches: usize,
    pub heartbeat_failures: usize,
    /// Why each generation was replaced, by plugin and generation.
    replaced: BTreeMap<(String, u64), String>,
    /// How each generation's process ended.
    exits: BTreeMap<(String, u64), String>,
    /// What must not happen.
    faults: Vec<String>,
}

/// Follows a host's events to its end.
pub struct Record(JoinHandle<Seen>);

impl Record {
    pub fn follow(host: &Host) -> Record {
        let events = host.subscribe(EVENTS_MAX).unwrap();
        Record(std::thread::spawn(move || {
            let mut seen = Seen::default();
            events.for_each(|event| seen.take(event));
            seen
        }))
    }

    pub fn finish(self) -> Seen {
        self.0.join().unwrap()
    }
}

impl Seen {
    fn take(&mut self, event: LifecycleEvent) {
        let note = event.note;
        if event.missed > 0 {
            self.faults.push(format!("{} events were missed", event.missed));
        }
        let key = || (note.plugin_id.as_ref().unwrap().to_string(), note.generation.unwrap().get());
        match note.kind {
            EventKind::Launched => self.launches += 1,
            EventKind::HeartbeatMissed => self.heartbeat_failures += 1,
            EventKind::RestartScheduled => {
                let twice = self.replaced.insert(key(), note.reason.clone().unwrap_or_default());
                self.faults.extend(twice.map(|_| format!("{:?} was replaced twice", key())));
            }
            EventKind::Exited => {
                let twice = self.exits.insert(key(), note.message.clone());
                self.faults.extend(twice.map(|_| format!("{:?} ended twice", key())));
            }
            EventKind::HostFault
            | EventKind::GaveUp
            | EventKind::ProtocolViolation
            | EventKind::AuthenticationFailed
            | EventKind::ConnectionPoisoned
            | EventKind::LaunchFailed => self.faults.push(format!("{note:?}")),
            _ => {}
        }
    }

    /// Every generation that was struck ended for that reason and was replaced; nothing else went wrong.
    pub fn check(&self, struck: &Struck) {
        assert!(self.faults.is_empty(), "{:#?}", self.faults);
        for strike in &struck.all {
            let key = (format!("p{}", strike.plugin), strike.generation.get());
            let exit = self.exits.get(&key).unwrap_or_else(|| panic!("{strike:?}: no exit"));
            let reason = self.replaced.get(&key).unwrap_or_else(|| panic!("{strike:?}: not replaced"));
            // A host that was giving it up in that very moment may have been quicker, with SIGTERM.
            assert!(exit.contains("SIGKILL") || exit.contains("SIGTERM"), "{strike:?}: {exit}");
            if strike.stops {
                assert!(
                    reason.contains("heartbeats in a row failed")
                        || reason.contains("heartbeats missed while call "),
                    "{strike:?}: {reason}"
                );
            }
        }
        assert_eq!(self.launches, self.exits.len(), "every process that was launched was reaped");
    }
}
