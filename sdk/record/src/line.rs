//! One line of a stream, as a reader hands it out.
//!
//! What this file deliberately does not do: any I/O.
//!
//! What always holds: what is no record is handed out too, for the caller to count.

use crate::file_lines::RawLine;
use rpc_plugin_wire::event::Record;

/// Where the number stands in a line that our own writer wrote: after `{"time":"` and 24 bytes of time.
pub(crate) const SEQ_AT: u64 = 33;

/// One line of a stream, its line end not included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// `None`: longer than a megabyte, which no record is.
    pub bytes: Option<Vec<u8>>,
    /// Its number, if it has one that can be read.
    pub seq: Option<u64>,
    /// Where it begins in its file. Bytes, as if the file were not packed.
    pub offset: u64,
    /// Whether a line end follows it; the last one may be torn, or on its way.
    pub is_finished: bool,
}

impl Line {
    pub(crate) fn new(raw: RawLine) -> Line {
        let RawLine { offset, bytes, is_finished, follows_damage } = raw;
        let seq = bytes.as_deref().and_then(|line| {
            // The end of a line that lost its beginning may look like one of another number.
            if follows_damage { record_of(line).and_then(|(record, _)| record.seq) } else { seq_of(line) }
        });
        Line { seq, bytes, offset, is_finished }
    }

    /// The line as a record and as the text that it is; `None` if it is no record.
    #[must_use]
    pub fn record(&self) -> Option<(Record, &str)> {
        record_of(self.bytes.as_deref()?)
    }
}

/// A line as a record, and as the text it is.
#[must_use]
pub fn record_of(line: &[u8]) -> Option<(Record, &str)> {
    let text = std::str::from_utf8(line).ok()?;
    serde_json::from_str(text).ok().map(|record| (record, text))
}

/// The number of a line, without reading all of a line that our own writer wrote.
pub(crate) fn seq_of(line: &[u8]) -> Option<u64> {
    // `{"time":"` and 24 bytes of time, then `","seq":`.
    let rest = line.get(33..).filter(|_| line.starts_with(b"{\"time\":\"") && line.ends_with(b"}"));
    if let Some(digits) = rest.and_then(|rest| rest.strip_prefix(b"\",\"seq\":")) {
        let end = digits.iter().position(|b| !b.is_ascii_digit())?;
        return std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok();
    }
    record_of(line).and_then(|(record, _)| record.seq)
}
