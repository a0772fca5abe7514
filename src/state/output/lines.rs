//! Bytes into lines of text.
//!
//! What always holds: a line is at most [`LINE_BYTES_MAX`] bytes of what was printed, then perhaps a marker;
//! it is UTF-8, whatever was printed.

/// Longest line; a longer one is split, with a marker. Bytes.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;
/// Ends a piece of a line that goes on in the next.
pub(super) const SPLIT_MARKER: &str = " [line continues]";
/// Memory that is kept for the next line. Bytes.
const KEPT_BYTES_MAX: usize = 1024;

/// The beginning of a line, until its end comes.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Takes bytes up to the end of a line; gives the line, and the bytes that follow it. `None`: all were
    /// taken, and no line is whole.
    pub(super) fn push<'a>(&mut self, bytes: &'a [u8]) -> Option<(String, &'a [u8])> {
        // A line of just the greatest length is whole: what splits it is one byte more.
        let room = LINE_BYTES_MAX - self.line.len();
        let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
        let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len().min(room)));
        self.line.extend_from_slice(piece);
        match (end, rest) {
            (Some(_), [_, rest @ ..]) => Some((self.take(), rest)),
            (_, []) => None,
            (_, rest) => {
                let part = self.line.split_off(self.line.len() - unfinished_char(&self.line));
                let mut text = self.take();
                text.push_str(SPLIT_MARKER);
                self.line = part;
                Some((text, rest))
            }
        }
    }

    /// What stands without a line end, if anything does.
    pub(super) fn finish(&mut self) -> Option<String> {
        (!self.line.is_empty()).then(|| self.take())
    }

    fn take(&mut self) -> String {
        let mut text = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if self.line.capacity() > KEPT_BYTES_MAX {
            self.line = Vec::new();
        }
        if text.ends_with('\r') {
            text.pop();
        }
        text
    }
}

/// How many bytes at the end are the beginning of a character. RFC 3629, section 3.
fn unfinished_char(bytes: &[u8]) -> usize {
    let first = bytes.iter().rev().take(3).position(|byte| byte & 0xc0 != 0x80);
    let Some((at, byte)) = first.and_then(|at| Some((at + 1, bytes.get(bytes.len() - 1 - at)?))) else {
        return 0;
    };
    let length = match byte {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    };
    if length > at { at } else { 0 }
}
