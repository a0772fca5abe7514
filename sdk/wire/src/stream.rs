//! Streams in band, where a connection passes no descriptors (protocol section 6): their frames, and how many bytes
//! may be on their way.
//!
//! What it deliberately does not do: read or write a stream; the ends of the connection do. Each stream goes both
//! ways, and each way ends by itself.
//!
//! What always holds: no more than [`STREAM_WINDOW_BYTES`] of a stream are with its receiver and not yet taken from
//! there; bytes come in the order in which they were sent, or the connection ends; each way of a stream has one end
//! and one drop, after which both sides have forgotten it, so that its number is free.

use crate::limits::{STREAM_DATA_BYTES_MAX, STREAM_WINDOW_BYTES};
use crate::message::{params_into, write_notification};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Bytes of a stream.
pub const METHOD_STREAM_DATA: &str = "rpc.stream.data";
/// So many bytes more may be sent.
pub const METHOD_STREAM_ACK: &str = "rpc.stream.ack";
/// The sender has no more bytes.
pub const METHOD_STREAM_END: &str = "rpc.stream.end";
/// The receiver wants no more bytes, or has passed on all that there were.
pub const METHOD_STREAM_DROP: &str = "rpc.stream.drop";

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFrame {
    /// [`METHOD_STREAM_DATA`].
    Data {
        /// Of which stream.
        stream: u64,
        /// How many such frames came before.
        seq: u64,
        /// The bytes, at least one, at most [`STREAM_DATA_BYTES_MAX`].
        data: Vec<u8>,
    },
    /// [`METHOD_STREAM_ACK`].
    Ack {
        /// Of which stream.
        stream: u64,
        /// How many bytes more.
        credit: u64,
    },
    /// [`METHOD_STREAM_END`].
    End {
        /// Of which stream.
        stream: u64,
    },
    /// [`METHOD_STREAM_DROP`].
    Drop {
        /// Of which stream.
        stream: u64,
    },
}

#[derive(Deserialize)]
struct DataParams<'a> {
    stream: u64,
    seq: u64,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

#[derive(Deserialize)]
struct AckParams {
    stream: u64,
    credit: u64,
}

#[derive(Deserialize)]
struct EndParams {
    stream: u64,
}

impl StreamFrame {
    /// Reads a notification, if it is one of these.
    ///
    /// # Errors
    /// What is wrong with its params; the connection should end.
    pub fn read(method: &str, params: Option<&RawValue>) -> Result<Option<StreamFrame>, String> {
        let wrong = |error: crate::ErrorObject| format!("{method} has {}", error.message);
        Ok(Some(match method {
            METHOD_STREAM_DATA => {
                let DataParams { stream, seq, data } = params_into(params).map_err(wrong)?;
                let data =
                    STANDARD.decode(&*data).map_err(|error| format!("{method} has no base64: {error}"))?;
                if data.is_empty() || data.len() > STREAM_DATA_BYTES_MAX {
                    let bytes = data.len();
                    return Err(format!(
                        "{method} has {bytes} bytes, 1 to {STREAM_DATA_BYTES_MAX} are allowed"
                    ));
                }
                StreamFrame::Data { stream, seq, data }
            }
            METHOD_STREAM_ACK => {
                let AckParams { stream, credit } = params_into(params).map_err(wrong)?;
                StreamFrame::Ack { stream, credit }
            }
            METHOD_STREAM_END => {
                let EndParams { stream } = params_into(params).map_err(wrong)?;
                StreamFrame::End { stream }
            }
            METHOD_STREAM_DROP => {
                let EndParams { stream } = params_into(params).map_err(wrong)?;
                StreamFrame::Drop { stream }
            }
            _ => return Ok(None),
        }))
    }

    /// Which stream it is about.
    #[must_use]
    pub fn stream(&self) -> u64 {
        match self {
            StreamFrame::Data { stream, .. }
            | StreamFrame::Ack { stream, .. }
            | StreamFrame::End { stream }
            | StreamFrame::Drop { stream } => *stream,
        }
    }

    /// Appends it as a frame, line end included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (method, params) = match self {
            StreamFrame::Data { stream, seq, data } => {
                let data = STANDARD.encode(data);
                (METHOD_STREAM_DATA, format!("{{\"stream\":{stream},\"seq\":{seq},\"data\":\"{data}\"}}"))
            }
            StreamFrame::Ack { stream, credit } => {
                (METHOD_STREAM_ACK, format!("{{\"stream\":{stream},\"credit\":{credit}}}"))
            }
            StreamFrame::End { stream } => (METHOD_STREAM_END, format!("{{\"stream\":{stream}}}")),
            StreamFrame::Drop { stream } => (METHOD_STREAM_DROP, format!("{{\"stream\":{stream}}}")),
        };
        write_notification(out, method, Some(&params));
    }
}

/// What a peer did wrong with a stream. The connection is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFault {
    /// Data of another place in the order: expected, seen.
    OutOfOrder(u64, u64),
    /// More bytes than it had credit for: so many too many.
    NoCredit(u64),
    /// Something of one way after that had its end.
    AfterEnd,
    /// More credit than bytes were sent.
    TooMuchCredit,
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamFault::OutOfOrder(expected, seen) => {
                write!(f, "data number {seen} of a stream came, number {expected} was next")
            }
            StreamFault::NoCredit(bytes) => {
                write!(f, "{bytes} bytes of a stream came for which there was no credit")
            }
            StreamFault::AfterEnd => write!(f, "something of a stream came after its end"),
            StreamFault::TooMuchCredit => {
                write!(f, "a stream was given more credit than bytes of it are on their way")
            }
        }
    }
}

/// Bytes of a data frame beside its data, at the most.
const DATA_ENVELOPE_BYTES: usize = 256;

/// The sending side of one way of a stream.
#[derive(Debug)]
pub struct Outflow {
    stream: u64,
    seq: u64,
    credit: u64,
    data_bytes_max: usize,
    is_ended: bool,
    is_dropped: bool,
}

impl Outflow {
    /// One that may send a whole window, in frames of at most so many bytes.
    #[must_use]
    pub fn new(stream: u64, frame_bytes_max: usize) -> Outflow {
        let fits = frame_bytes_max.saturating_sub(DATA_ENVELOPE_BYTES) / 4 * 3;
        let data_bytes_max = fits.clamp(1, STREAM_DATA_BYTES_MAX);
        let credit = STREAM_WINDOW_BYTES as u64;
        Outflow { stream, seq: 0, credit, data_bytes_max, is_ended: false, is_dropped: false }
    }

    /// How many bytes may be sent in one frame now; none once it ended or nobody wants them.
    #[must_use]
    pub fn allowance(&self) -> usize {
        let credit = usize::try_from(self.credit).unwrap_or(usize::MAX);
        if self.is_ended || self.is_dropped { 0 } else { credit.min(self.data_bytes_max) }
    }

    /// Whether the end was sent.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether the receiver wants no more.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.is_dropped
    }

    /// Whether both sides have said all that there is to say.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_ended && self.is_dropped
    }

    /// The frame of these bytes, at most [`Outflow::allowance`] of them.
    pub fn send(&mut self, data: Vec<u8>) -> StreamFrame {
        self.credit = self.credit.saturating_sub(data.len() as u64);
        self.seq += 1;
        StreamFrame::Data { stream: self.stream, seq: self.seq - 1, data }
    }

    /// The frame that says that there are no more bytes; once. Due also after [`Outflow::dropped`].
    pub fn end(&mut self) -> Option<StreamFrame> {
        let was_ended = std::mem::replace(&mut self.is_ended, true);
        (!was_ended).then_some(StreamFrame::End { stream: self.stream })
    }

    /// The receiver took bytes.
    ///
    /// # Errors
    /// [`StreamFault::TooMuchCredit`]; [`StreamFault::AfterEnd`] where it wanted no more.
    pub fn acknowledged(&mut self, credit: u64) -> Result<(), StreamFault> {
        if self.is_dropped {
            return Err(StreamFault::AfterEnd);
        }
        let sum = self.credit.checked_add(credit).filter(|sum| *sum <= STREAM_WINDOW_BYTES as u64);
        self.credit = sum.ok_or(StreamFault::TooMuchCredit)?;
        Ok(())
    }

    /// The receiver wants no more, or has passed on all.
    ///
    /// # Errors
    /// [`StreamFault::AfterEnd`]: it said so before.
    pub fn dropped(&mut self) -> Result<(), StreamFault> {
        if std::mem::replace(&mut self.is_dropped, true) { Err(StreamFault::AfterEnd) } else { Ok(()) }
    }
}

/// The receiving side of one way of a stream.
#[derive(Debug)]
pub struct Inflow {
    stream: u64,
    next_seq: u64,
    /// Bytes that came and were not taken.
    held: u64,
    /// Bytes that were taken and for which no credit was given back.
    owed: u64,
    is_ended: bool,
    is_dropped: bool,
}

impl Inflow {
    /// One that nothing came of.
    #[must_use]
    pub fn new(stream: u64) -> Inflow {
        Inflow { stream, next_seq: 0, held: 0, owed: 0, is_ended: false, is_dropped: false }
    }

    /// Whether no more bytes will come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether the sender was told that nobody wants more.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.is_dropped
    }

    /// Whether both sides have said all that there is to say.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_ended && self.is_dropped
    }

    /// Data came; whether anybody wants it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn received(&mut self, seq: u64, bytes: usize) -> Result<bool, StreamFault> {
        if self.is_ended {
            return Err(StreamFault::AfterEnd);
        }
        if seq != self.next_seq {
            return Err(StreamFault::OutOfOrder(self.next_seq, seq));
        }
        self.next_seq += 1;
        let on_their_way = self.held + self.owed + bytes as u64;
        if let Some(above) = on_their_way.checked_sub(STREAM_WINDOW_BYTES as u64).filter(|above| *above > 0) {
            return Err(StreamFault::NoCredit(above));
        }
        self.held += bytes as u64;
        if self.is_dropped {
            self.taken(bytes);
        }
        Ok(!self.is_dropped)
    }

    /// The sender has no more.
    ///
    /// # Errors
    /// [`StreamFault::AfterEnd`].
    pub fn ended(&mut self) -> Result<(), StreamFault> {
        if std::mem::replace(&mut self.is_ended, true) { Err(StreamFault::AfterEnd) } else { Ok(()) }
    }

    /// So many bytes were taken from here.
    pub fn taken(&mut self, bytes: usize) {
        let bytes = (bytes as u64).min(self.held);
        self.held -= bytes;
        self.owed += bytes;
    }

    /// The frame that gives credit back, once enough was taken for one to be worth it.
    pub fn acknowledge(&mut self) -> Option<StreamFrame> {
        if self.is_ended || self.is_dropped || self.owed < STREAM_WINDOW_BYTES as u64 / 4 {
            return None;
        }
        let credit = std::mem::take(&mut self.owed);
        Some(StreamFrame::Ack { stream: self.stream, credit })
    }

    /// The frame that says that nobody wants more, or that all was passed on; once.
    pub fn give_up(&mut self) -> Option<StreamFrame> {
        let was_dropped = std::mem::replace(&mut self.is_dropped, true);
        (!was_dropped).then_some(StreamFrame::Drop { stream: self.stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn every_frame_survives_the_wire() {
        let (stream, credit) = (7, 65_536);
        for frame in [
            StreamFrame::Data { stream, seq: 3, data: (0..=255).collect() },
            StreamFrame::Data { stream, seq: 4, data: vec![1] },
            StreamFrame::Ack { stream, credit },
            StreamFrame::End { stream },
            StreamFrame::Drop { stream },
        ] {
            let mut out = Vec::new();
            frame.write(&mut out);
            let Message::Notification(read) = Message::parse(out.trim_ascii_end()).unwrap() else { panic!() };
            assert_eq!(StreamFrame::read(&read.method, read.params), Ok(Some(frame)));
        }
        assert_eq!(StreamFrame::read("rpc.cancel", None), Ok(None));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let read = |method: &str, params: &str| {
            let raw = RawValue::from_string(params.to_owned()).unwrap();
            StreamFrame::read(method, Some(&raw)).unwrap_err()
        };
        assert!(read(METHOD_STREAM_DATA, r#"{"stream":1,"seq":0,"data":"a"}"#).contains("no base64"));
        assert!(read(METHOD_STREAM_DATA, r#"{"stream":1,"seq":0,"data":""}"#).contains("0 bytes"));
        let long = format!(r#"{{"stream":1,"seq":0,"data":"{}"}}"#, "AAAA".repeat(STREAM_DATA_BYTES_MAX));
        assert!(read(METHOD_STREAM_DATA, &long).contains("are allowed"));
        assert!(read(METHOD_STREAM_ACK, r#"{"stream":1,"credit":-1}"#).contains("invalid"));
        assert!(read(METHOD_STREAM_END, "{}").contains("stream"));
    }

    #[test]
    fn a_sender_stops_without_credit_and_a_receiver_holds_it_to_that() {
        let (mut outflow, mut inflow) = (Outflow::new(1, 1 << 20), Inflow::new(1));
        let mut sent = 0;
        while outflow.allowance() > 0 {
            let StreamFrame::Data { seq, data, .. } = outflow.send(vec![0; outflow.allowance()]) else {
                panic!()
            };
            assert_eq!(inflow.received(seq, data.len()), Ok(true));
            sent += data.len();
        }
        assert_eq!(sent, STREAM_WINDOW_BYTES);
        assert_eq!(inflow.acknowledge(), None, "nothing was taken");
        inflow.taken(STREAM_WINDOW_BYTES / 2);
        let Some(StreamFrame::Ack { credit, .. }) = inflow.acknowledge() else { panic!() };
        outflow.acknowledged(credit).unwrap();
        assert_eq!(outflow.allowance(), STREAM_DATA_BYTES_MAX.min(STREAM_WINDOW_BYTES / 2));
        assert_eq!(outflow.acknowledged(STREAM_WINDOW_BYTES as u64), Err(StreamFault::TooMuchCredit));
        assert_eq!(outflow.acknowledged(u64::MAX), Err(StreamFault::TooMuchCredit));
        let seq = sent.div_ceil(STREAM_DATA_BYTES_MAX) as u64;
        assert_eq!(inflow.received(seq + 1, 1), Err(StreamFault::OutOfOrder(seq, seq + 1)));
        assert!(matches!(inflow.received(seq, STREAM_WINDOW_BYTES), Err(StreamFault::NoCredit(_))));
    }

    #[test]
    fn each_way_has_one_end_and_one_drop_in_either_order() {
        let (mut outflow, mut inflow) = (Outflow::new(1, 1 << 20), Inflow::new(1));
        assert!(outflow.end().is_some() && outflow.end().is_none() && outflow.allowance() == 0);
        inflow.ended().unwrap();
        assert_eq!(inflow.ended(), Err(StreamFault::AfterEnd));
        assert_eq!(inflow.received(0, 1), Err(StreamFault::AfterEnd));
        assert!(!inflow.is_over() && inflow.give_up().is_some() && inflow.give_up().is_none());
        assert!(inflow.is_over() && !outflow.is_over());
        outflow.acknowledged(0).unwrap();
        outflow.dropped().unwrap();
        assert!(outflow.is_over());
        assert_eq!(outflow.dropped(), Err(StreamFault::AfterEnd));
        assert_eq!(outflow.acknowledged(0), Err(StreamFault::AfterEnd));
    }

    #[test]
    fn what_nobody_wants_is_passed_over() {
        let mut inflow = Inflow::new(1);
        assert!(inflow.give_up().is_some() && inflow.give_up().is_none());
        assert_eq!(inflow.received(0, 1000), Ok(false));
        assert_eq!(inflow.acknowledge(), None, "whoever gave up gives no credit");
        let mut outflow = Outflow::new(1, 1 << 20);
        outflow.dropped().unwrap();
        assert!(outflow.allowance() == 0 && !outflow.is_over(), "the end is due");
        assert!(outflow.end().is_some() && outflow.is_over());
    }

    #[test]
    fn a_full_data_frame_fits_the_smallest_frame_that_may_be_agreed_on() {
        for frame_bytes_max in [16 * 1024, 40_000, 1 << 20] {
            let mut outflow = Outflow::new(crate::limits::REQUEST_ID_MAX, frame_bytes_max);
            outflow.seq = u64::MAX / 2;
            let mut frame = Vec::new();
            outflow.send(vec![0; outflow.allowance()]).write(&mut frame);
            assert!(frame.len() <= frame_bytes_max && outflow.allowance() > 11_000, "{frame_bytes_max}");
        }
    }
}
