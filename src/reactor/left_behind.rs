//! Processes that plugins leave behind: reaped when they have ended, ended when their plugin is gone.
//!
//! What it deliberately does not do: read about a process; a thread of its own does ([`Sweeper`]).
//!
//! What always holds: a process that belongs to a living plugin is spared, as it may be at its service; so are children
//! of this program that somebody looks after.

use super::hub::Hub;
use super::loop_commands::LoopCommand;
use crate::engine::CommandSender;
use crate::state::action::Note;
use crate::sys::known_children::KnownChildren;
use crate::sys::orphans::KilledOrphan;
use crate::sys::sweeper::Sweeper;
use rpc_plugin_wire::event::EventKind;
use std::io;
use std::time::Duration;

/// How long the end of a host waits for what plugins left behind.
pub(super) const ORPHANS_END_TIMEOUT: Duration = Duration::from_secs(2);

/// The orphans that this host adopts, where it does.
pub(super) struct LeftBehind {
    sweeper: Option<Sweeper>,
}

impl LeftBehind {
    /// `adopts`: this process is the parent of its orphaned descendants.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub(super) fn start(
        adopts: bool,
        children: KnownChildren,
        commands: CommandSender<LoopCommand>,
    ) -> io::Result<LeftBehind> {
        let records = commands.clone();
        let on_kill = move |killed: Vec<KilledOrphan>| {
            let _ = records.post(LoopCommand::Record(Box::new(note_of(&killed))));
        };
        let on_fault = move |error: io::Error| {
            let note = Note::new(EventKind::HostFault, "what a plugin left behind could not be ended");
            // A loop that has too much to do has more to tell.
            let _ = commands.post(LoopCommand::Record(Box::new(note.error(error.to_string()))));
        };
        let sweeper = adopts.then(|| Sweeper::start(children, on_kill, on_fault)).transpose()?;
        Ok(LeftBehind { sweeper })
    }

    /// Has reaped what has ended, and ended what plugins that are gone left behind, where this host adopts it.
    pub(super) fn sweep(&self) {
        if let Some(sweeper) = &self.sweeper {
            sweeper.want();
        }
    }

    /// Ends and reaps all that any plugin left behind, where this host adopts it.
    pub(super) fn end(&self, hub: &mut Hub) {
        let Some(sweeper) = &self.sweeper else { return };
        let ended = sweeper.end_all(ORPHANS_END_TIMEOUT);
        if let Some(Ok((killed, _))) = &ended
            && !killed.is_empty()
        {
            hub.recorder.record(note_of(killed));
        }
        match ended {
            Some(Ok((_, left))) if left.is_empty() => {}
            Some(Ok((_, left))) => {
                let text = format!("processes {left:?} do not end");
                let note = Note::new(EventKind::HostFault, "plugins left something behind");
                hub.recorder.record(note.error(text));
            }
            Some(Err(error)) => hub.fault("what plugins left behind could not be ended", &error),
            None => {
                let error = io::Error::other("reading about a process hangs");
                hub.fault("what plugins left behind could not be looked for", &error);
            }
        }
    }
}

/// What is put on record of processes that escaped from their plugin and were ended.
fn note_of(killed: &[KilledOrphan]) -> Note {
    let names: Vec<String> = killed
        .iter()
        .map(|orphan| match &orphan.command {
            Some(command) => format!("{} ({command})", orphan.pid),
            None => orphan.pid.to_string(),
        })
        .collect();
    let processes: Vec<_> = (killed.iter())
        .map(|orphan| serde_json::json!({"pid": orphan.pid, "command": orphan.command}))
        .collect();
    let text = format!("what a plugin left behind was sent SIGKILL: {}", names.join(", "));
    Note::new(EventKind::OrphansKilled, text).details(serde_json::json!({"processes": processes}))
}
