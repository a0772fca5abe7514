//! What a sink reads from the record: the events that are for it, in order, and the gaps between them.
//!
//! What it deliberately does not do: hand anything over.
//!
//! What always holds: an event is in the batch once until [`SinkBatch::rewind`]; a jump in the numbers of a stream
//! becomes one event that tells it; at most a batch is in memory.

use super::options::{BATCH_MAX, SinkOptions};
use super::target::Event;
use crate::eventlog::owner::StreamOwner;
use rpc_plugin_record::{Damage, FILE_NAME, Forward, Place, Position, format_time};
use rpc_plugin_wire::event::{EventKind, Level, Record};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A batch is not made larger than this by a further event. Bytes.
const BATCH_BYTES: usize = 256 * 1024;
/// Damaged parts that wait to be told; further ones are not told.
const DAMAGE_MAX: usize = 8;
/// Lines of one stream that are looked at before others have their turn.
const LINES_PER_TURN: usize = 1000;

/// What an event stands for.
#[derive(Debug, Clone)]
pub(super) struct EventOrigin {
    pub(super) owner: StreamOwner,
    /// The number of its line.
    pub(super) seq: u64,
    /// Of a gap: how many events were removed.
    pub(super) lost: u64,
    /// Whether it is from the record. Otherwise the number is a count of those that are not.
    pub(super) is_recorded: bool,
}

#[derive(Debug)]
struct SinkStream {
    reader: Option<Forward>,
    /// Up to here everything was read.
    read: u64,
    /// Up to here everything was taken by the other side, or was not for it.
    taken: u64,
    /// Events that were read, are for it, and are not known to be taken.
    in_flight: usize,
}

/// The streams that a sink reads, and the events of the next batch.
#[derive(Debug)]
pub(super) struct SinkBatch {
    runtime_dir: PathBuf,
    level: Level,
    name: String,
    batch_max: usize,
    streams: BTreeMap<StreamOwner, SinkStream>,
    /// Those that may have lines, in the order of their turns.
    turns: VecDeque<StreamOwner>,
    events: Vec<Event>,
    marks: VecDeque<EventOrigin>,
    bytes: usize,
    /// A stream was read further without an event for the sink.
    has_moved: bool,
    /// What is not on record and not known to be taken, with its number among such events.
    unrecorded: Option<(u64, Event)>,
    /// It is in the batch, or was handed over.
    is_unrecorded_read: bool,
    unrecorded_count: u64,
    /// Damaged parts of packed files that were passed over, and are not told.
    damage: Vec<Damage>,
}

impl SinkBatch {
    pub(super) fn new(runtime_dir: &Path, options: &SinkOptions) -> SinkBatch {
        SinkBatch {
            runtime_dir: runtime_dir.to_owned(),
            level: options.level,
            name: options.name.clone(),
            batch_max: options.batch_max.clamp(1, BATCH_MAX),
            streams: BTreeMap::new(),
            turns: VecDeque::new(),
            events: Vec::new(),
            marks: VecDeque::new(),
            bytes: 0,
            has_moved: false,
            unrecorded: None,
            is_unrecorded_read: false,
            unrecorded_count: 0,
            damage: Vec::new(),
        }
    }

    /// Whether the cursor moved by reading alone since the last question.
    pub(super) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// The damaged parts that were passed over since the last question, at most [`DAMAGE_MAX`].
    pub(super) fn take_damage(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.damage)
    }

    pub(super) fn has_damage(&self) -> bool {
        !self.damage.is_empty()
    }

    /// Takes a stream in that is read after this number.
    pub(super) fn begin(&mut self, owner: &StreamOwner, after: u64) {
        let stream = SinkStream { reader: None, read: after, taken: after, in_flight: 0 };
        self.streams.insert(owner.clone(), stream);
        self.turns.push_back(owner.clone());
    }

    /// Streams that got lines; one that is new is read from its first line on.
    pub(super) fn wake(&mut self, streams: BTreeSet<StreamOwner>) {
        for owner in streams {
            if !self.streams.contains_key(&owner) {
                self.begin(&owner, 0);
            } else if !self.turns.contains(&owner) {
                self.turns.push_back(owner);
            }
        }
    }

    /// Takes in an event that is not on record. One that was not taken yet is replaced.
    pub(super) fn add_unrecorded(&mut self, event: Event) {
        self.unrecorded_count += 1;
        (self.unrecorded, self.is_unrecorded_read) = (Some((self.unrecorded_count, event)), false);
    }

    pub(super) fn is_empty(&self) -> bool {
        let has_unrecorded = self.unrecorded.is_some() && !self.is_unrecorded_read;
        self.events.is_empty() && self.turns.is_empty() && !has_unrecorded
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    /// How far each stream was taken.
    pub(super) fn taken(&self) -> impl Iterator<Item = (&StreamOwner, u64)> {
        self.streams.iter().map(|(owner, stream)| (owner, stream.taken))
    }

    /// Reads until the batch is full or there is nothing more.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if let Some((number, event)) = self.unrecorded.as_ref().filter(|_| !self.is_unrecorded_read) {
            self.is_unrecorded_read = true;
            self.bytes += event.text.len();
            self.marks.push_back(EventOrigin { owner: None, seq: *number, lost: 0, is_recorded: false });
            self.events.push(event.clone());
        }
        while self.events.len() < self.batch_max && self.bytes < BATCH_BYTES {
            let Some(owner) = self.turns.pop_front() else { break };
            let result = self.read_some(&owner);
            if !matches!(result, Ok(false)) {
                self.turns.push_back(owner);
            }
            result?;
        }
        Ok(())
    }

    /// Reads from one stream; whether there may be more.
    fn read_some(&mut self, owner: &StreamOwner) -> io::Result<bool> {
        let Some(stream) = self.streams.get_mut(owner) else { return Ok(false) };
        let mut reader = match stream.reader.take() {
            Some(reader) => reader,
            None => {
                let folder = Place::of(&self.runtime_dir, owner.as_ref()).path();
                Forward::new(&folder, FILE_NAME, Position::After(stream.read))?
            }
        };
        let mut has_more = true;
        for _ in 0..LINES_PER_TURN {
            if self.events.len() >= self.batch_max || self.bytes >= BATCH_BYTES {
                break;
            }
            let Some(line) = reader.next_line()? else {
                has_more = false;
                break;
            };
            let (Some(seq), Some((record, text))) = (line.seq, line.record()) else { continue };
            let gap = (seq > stream.read + 1).then(|| gap(&self.name, owner, stream.read + 1, seq - 1));
            if let Some(event) = gap {
                let lost = seq - 1 - stream.read;
                stream.in_flight += 1;
                self.bytes += event.text.len();
                self.marks.push_back(EventOrigin {
                    owner: owner.clone(),
                    seq: seq - 1,
                    lost,
                    is_recorded: true,
                });
                self.events.push(event);
            }
            stream.read = seq;
            if level_of(&record) >= self.level {
                stream.in_flight += 1;
                self.bytes += text.len();
                self.marks.push_back(EventOrigin { owner: owner.clone(), seq, lost: 0, is_recorded: true });
                self.events.push(Event { text: text.to_owned(), record });
            }
        }
        if stream.in_flight == 0 && stream.taken != stream.read {
            stream.taken = stream.read;
            self.has_moved = true;
        }
        if reader.damaged() > 0 {
            let room = DAMAGE_MAX.saturating_sub(self.damage.len());
            self.damage.extend(reader.take_damage().into_iter().take(room));
        }
        if !has_more {
            reader.pause();
        }
        stream.reader = Some(reader);
        Ok(has_more)
    }

    /// The first `count` events of the batch were handed over; what they stand for.
    pub(super) fn hand_over(&mut self, count: usize) -> Vec<EventOrigin> {
        let count = count.min(self.events.len());
        self.bytes -= self.events.drain(..count).map(|event| event.text.len()).sum::<usize>();
        self.marks.drain(..count).collect()
    }

    /// The other side has taken this one.
    pub(super) fn settle(&mut self, taken: &EventOrigin) {
        if !taken.is_recorded {
            self.unrecorded.take_if(|(number, _)| *number == taken.seq);
        } else if let Some(stream) = self.streams.get_mut(&taken.owner) {
            stream.in_flight = stream.in_flight.saturating_sub(1);
            stream.taken = if stream.in_flight == 0 { stream.read } else { taken.seq };
        }
    }

    /// Everything that was read and not taken is to be read again. Until then no file is open.
    pub(super) fn rewind(&mut self) {
        self.events.clear();
        self.marks.clear();
        self.bytes = 0;
        self.is_unrecorded_read = false;
        for (owner, stream) in &mut self.streams {
            if std::mem::take(&mut stream.in_flight) > 0 {
                (stream.reader, stream.read) = (None, stream.taken);
                if !self.turns.contains(owner) {
                    self.turns.push_back(owner.clone());
                }
            } else if let Some(reader) = &mut stream.reader {
                reader.pause();
            }
        }
    }
}

fn level_of(record: &Record) -> Level {
    // What has a level that is not known is not hidden.
    Level::named(&record.level).unwrap_or(Level::Error)
}

/// What a sink is told of events that it cannot get any more.
fn gap(sink: &str, owner: &StreamOwner, first: u64, last: u64) -> Event {
    let kind = EventKind::SinkGap;
    let details = serde_json::json!({"sink": sink, "first": first, "last": last});
    let record = Record {
        time: format_time(SystemTime::now()),
        level: kind.level().as_str().into(),
        component: kind.component().as_str().into(),
        event: kind.as_str().into(),
        plugin_id: owner.clone(),
        message: format!(
            "events {first} to {last} could no longer be read from the record when this sink came to them"
        ),
        details: serde_json::value::to_raw_value(&details).ok(),
        ..Record::default()
    };
    Event { text: serde_json::to_string(&record).unwrap_or_default(), record }
}
