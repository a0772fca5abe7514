//! Telling that the record cannot be written: to subscribers, to sinks, and, once it can be, on record.
//!
//! What always holds: telling does not wait for the record, and runs on the writer's thread without blocking it.

use crate::engine::CommandSender;
use crate::eventlog::sinks::Unrecorded;
use crate::eventlog::{EventLog, RecordTrouble};
use crate::reactor::LoopCommand;
use crate::state::action::Note;
use rpc_plugin_wire::event::EventKind;

const BEGAN: &str = "the record cannot be written; events wait for it, and those that there is no room for are counted; it is tried again until it can be";

/// Has it told when files of the record cannot be written, and when they are again.
pub(super) fn tell_trouble(log: &EventLog, commands: CommandSender<LoopCommand>, sinks: Vec<Unrecorded>) {
    let record = move |note: Note| commands.deliver(LoopCommand::Record(Box::new(note)));
    log.on_trouble(move |trouble| match trouble {
        // The host's record takes it as soon as it takes anything.
        RecordTrouble::Began(error) => record(Note::new(EventKind::HostShortage, BEGAN).error(error)),
        RecordTrouble::Hidden(error) => {
            sinks.iter().for_each(|sink| sink.hand_in(EventKind::HostShortage, BEGAN, error));
        }
        RecordTrouble::Over => record(Note::new(EventKind::HostShortageOver, "the record is written again")),
    });
}
