//! What plugins print: cut into lines, kept as far as the bounds allow.
//!
//! What always holds: a line that is handed on is at most [`LINE_BYTES_MAX`] long and text; memory is
//! bounded whatever is printed; reading never stops, so a plugin never hangs in a print.

use crate::state::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Longest line; a longer one is split, with a marker. Bytes.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;
/// Ends a piece of a line that goes on in the next.
const SPLIT_MARKER: &str = " [line continues]";
/// Lines that one stream may print in a second; further ones are counted and dropped.
const LINES_PER_SECOND_MAX: u32 = 1000;
/// Lines of standard error that become part of the exit's record.
const TAIL_LINES_MAX: usize = 20;
/// Longest line in that tail. Bytes.
const TAIL_LINE_BYTES_MAX: usize = 1024;

/// One stream of one generation.
#[derive(Debug, Default)]
pub(super) struct Output {
    line: Vec<u8>,
    tail: VecDeque<String>,
    window: Time,
    in_window: u32,
    dropped: u64,
}

/// What became of printed bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Printed {
    /// A line, or a piece of a long one.
    Line(String),
    /// That many lines were dropped since the last one.
    Dropped(u64),
}

impl Output {
    /// Takes printed bytes.
    pub(super) fn push(&mut self, now: Time, mut bytes: &[u8], out: &mut Vec<Printed>) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.line.len();
            let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len().min(room)));
            self.line.extend_from_slice(piece);
            bytes = rest;
            if end.is_some() {
                bytes = bytes.get(1..).unwrap_or_default();
                self.finish_line(now, false, out);
            } else if self.line.len() >= LINE_BYTES_MAX && !bytes.is_empty() {
                self.finish_line(now, true, out);
            }
        }
    }

    /// The stream ended: what stands without a line end is a line too.
    pub(super) fn finish(&mut self, now: Time, out: &mut Vec<Printed>) {
        if !self.line.is_empty() {
            self.finish_line(now, false, out);
        }
        if self.dropped > 0 {
            out.push(Printed::Dropped(std::mem::take(&mut self.dropped)));
        }
    }

    /// The last lines, for the record of the exit.
    pub(super) fn take_tail(&mut self) -> Vec<String> {
        self.tail.drain(..).collect()
    }

    fn finish_line(&mut self, now: Time, goes_on: bool, out: &mut Vec<Printed>) {
        let mut text = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if text.ends_with('\r') {
            text.pop();
        }
        if goes_on {
            text.push_str(SPLIT_MARKER);
        }
        let mut cut = text.len().min(TAIL_LINE_BYTES_MAX);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        if self.tail.len() == TAIL_LINES_MAX {
            self.tail.pop_front();
        }
        self.tail.push_back(text.get(..cut).unwrap_or_default().to_owned());
        if now.since(self.window) >= Duration::from_secs(1) {
            (self.window, self.in_window) = (now, 0);
        }
        self.in_window = self.in_window.saturating_add(1);
        if self.in_window > LINES_PER_SECOND_MAX {
            self.dropped += 1;
            return;
        }
        if self.dropped > 0 {
            out.push(Printed::Dropped(std::mem::take(&mut self.dropped)));
        }
        out.push(Printed::Line(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(parts: &[&[u8]]) -> Vec<Printed> {
        let (mut output, mut out) = (Output::default(), Vec::new());
        for part in parts {
            output.push(Time::ZERO, part, &mut out);
        }
        output.finish(Time::ZERO, &mut out);
        out
    }

    fn line(text: &str) -> Printed {
        Printed::Line(text.to_owned())
    }

    #[test]
    fn lines_are_cut_where_they_end_however_they_arrive() {
        let expected = vec![line("one"), line(""), line("two\u{fffd}"), line("rest")];
        assert_eq!(printed(&[b"one\n\ntwo\xff\r\nrest"]), expected);
        assert_eq!(printed(&[b"on", b"e\n", b"\nt", b"wo\xff\r", b"\nre", b"st"]), expected);
    }

    #[test]
    fn a_long_line_is_split_with_a_marker_and_never_closed() {
        let long = vec![b'x'; LINE_BYTES_MAX * 2 + 5];
        let out = printed(&[&long, b"\nnext\n"]);
        assert_eq!(out.len(), 4);
        assert!(matches!(&out[0], Printed::Line(text) if text.ends_with(SPLIT_MARKER)));
        assert_eq!(out[2], line("xxxxx"));
        assert_eq!(out[3], line("next"));
        let exact = vec![b'y'; LINE_BYTES_MAX];
        assert_eq!(printed(&[&exact, b"\n"]).len(), 1, "a line of just that length is whole");
    }

    #[test]
    fn a_flood_is_counted_and_the_tail_is_kept() {
        let (mut output, mut out) = (Output::default(), Vec::new());
        for number in 0..5000 {
            output.push(Time::ZERO, format!("{number}\n").as_bytes(), &mut out);
        }
        assert_eq!(out.len(), LINES_PER_SECOND_MAX as usize);
        output.push(Time::ZERO.plus(Duration::from_secs(1)), b"later\n", &mut out);
        assert_eq!(out[1000..], [Printed::Dropped(4000), line("later")]);
        let tail = output.take_tail();
        assert_eq!((tail.len(), tail[0].as_str(), tail[19].as_str()), (20, "4981", "later"));
    }
}
