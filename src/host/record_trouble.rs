//! Telling that the record cannot be written: to subscribers, to sinks, and, once it can be, on record. Sinks are told the
//! same way of an end of the host which the record may not show.
//!
//! What always holds: telling does not wait for the record, and runs on the writer's thread without blocking it.

use crate::engine::CommandSender;
use crate::eventlog::sinks::Unrecorded;
use crate::eventlog::{EventLog, RecordTrouble};
use crate::reactor::LoopCommand;
use crate::state::action::Note;
use rpc_plugin_wire::event::EventKind;
use std::sync::{Mutex, PoisonError};

const BEGAN: &str = "the record cannot be written; events wait for it, and those that there is no room for are counted; it is tried again until it can be";

/// What is told of an end that the record may not show.
const ENDS: &str = "the host ends";

/// Has it told when files of the record cannot be written, and when they are again.
pub(super) fn tell_trouble(log: &EventLog, commands: CommandSender<LoopCommand>, sinks: Vec<Unrecorded>) {
    let record = move |note: Note| commands.deliver(LoopCommand::Record(Box::new(note)));
    // Of what waits for a sink, the newest stays: nothing is to take the place of the end.
    let has_ended = Mutex::new(false);
    log.on_trouble(move |trouble| match trouble {
        // The host's record takes it as soon as it takes anything.
        RecordTrouble::Began(error) => record(Note::new(EventKind::HostShortage, BEGAN).error(error)),
        RecordTrouble::Hidden(error) => {
            let has_ended = has_ended.lock().unwrap_or_else(PoisonError::into_inner);
            if !*has_ended {
                sinks.iter().for_each(|sink| sink.hand_in(EventKind::HostShortage, BEGAN, error));
            }
        }
        RecordTrouble::Ends(reason) => {
            let mut has_ended = has_ended.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::replace(&mut *has_ended, true) {
                sinks.iter().for_each(|sink| sink.hand_in(EventKind::HostFault, ENDS, reason));
            }
        }
        RecordTrouble::Over => record(Note::new(EventKind::HostShortageOver, "the record is written again")),
    });
}
