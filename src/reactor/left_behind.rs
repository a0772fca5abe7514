//! Processes that plugins leave behind: reaped when they have ended, ended when their plugin is gone.
//!
//! What always holds: a process that belongs to a living plugin is spared, as it may be at its service; so are children
//! of this program that are no plugins.

use super::hub::Hub;
use crate::state::action::Note;
use crate::sys::attendants::Attendants;
use crate::sys::orphans::{self, Leader};
use rpc_plugin_wire::event::EventKind;
use std::io;
use std::time::{Duration, Instant};

/// How long the end of a host waits for what plugins left behind.
pub(super) const ORPHANS_END_TIMEOUT: Duration = Duration::from_secs(2);

/// The orphans that this host adopts, where it does.
pub(super) struct LeftBehind {
    adopts: bool,
    attendants: Attendants,
}

impl LeftBehind {
    /// `adopts`: this process is the parent of its orphaned descendants. `attendants`: children that are no plugins.
    pub(super) fn new(adopts: bool, attendants: Attendants) -> LeftBehind {
        LeftBehind { adopts, attendants }
    }

    /// Sweeps where a process of a plugin has ended and this host adopts what it leaves.
    pub(super) fn sweep_after_exit(&self, hub: &mut Hub, leaders: impl FnOnce() -> Vec<Leader>) {
        if self.adopts {
            self.sweep(hub, leaders());
        }
    }

    /// Reaps what has ended, and ends what plugins that are gone left behind. `leaders` are the processes of all
    /// plugins.
    pub(super) fn sweep(&self, hub: &mut Hub, mut leaders: Vec<Leader>) {
        let swept = self.attendants.sweep(|known| {
            leaders.extend(known);
            orphans::sweep(&leaders)
        });
        // None: one of them is being launched, and asks for this again.
        if let Some(Err(error)) = swept {
            hub.fault("what a plugin left behind could not be ended", &error);
        }
    }

    /// Ends and reaps all that any plugin left behind, where this host adopts it.
    pub(super) fn end(&self, hub: &mut Hub) {
        if !self.adopts {
            return;
        }
        let until = Instant::now() + ORPHANS_END_TIMEOUT;
        let swept = loop {
            let end = |known: Vec<Leader>| orphans::kill_and_reap_orphans(&known, ORPHANS_END_TIMEOUT);
            match self.attendants.sweep(end) {
                Some(swept) => break swept,
                None if Instant::now() < until => std::thread::yield_now(),
                None => {
                    break Err(io::Error::other("a program that takes the record is still being launched"));
                }
            }
        };
        match swept {
            Ok((_, left)) if left.is_empty() => {}
            Ok((_, left)) => {
                let text = format!("processes {left:?} do not end");
                let note = Note::new(EventKind::HostFault, "plugins left something behind");
                hub.recorder.record(note.error(text));
            }
            Err(error) => hub.fault("what plugins left behind could not be ended", &error),
        }
    }
}
