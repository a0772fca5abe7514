//! What can still be told of a frame that is no message: whose answer, whose request, or a notification.
//!
//! What this file is for: a frame is one line, so the stream is in step after a bad one, and one bad answer need not cost
//! all other calls. A second, lenient reader passes over a frame that [`Message::parse`](crate::Message::parse) refused. It
//! goes on over what only spoils a value: NaN, infinities, and control bytes, bad UTF-8 and lone surrogates in strings.
//! At any other fault it stops, and only what stands before the fault counts. What it deliberately does not do: take
//! anything out of the frame but its id and what it was; see a good frame.
//!
//! What always holds: an id is told only where exactly one complete one was read; a frame that may be of either
//! direction, or of a stream in band, is nobody's.

use crate::error::ErrorCode;
use crate::limits::NESTING_MAX;
use crate::message_error::MessageError;
use crate::request_id::RequestId;
use crate::words::beginning_of;
use std::fmt;

/// A frame that is no message, and of which its sender's intent is known all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFrame {
    /// What it was meant to be.
    pub meant: Meant,
    /// Why it is no message.
    pub error: MessageError,
    /// What spoils a value in it, and the byte at which that stands, counted from 1.
    spoilt: Option<(&'static str, usize)>,
    has_one_deadline: bool,
    /// Its first bytes, as they may be shown.
    beginning: String,
}

/// What a bad frame was meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// The answer to the request of that id.
    Answer(RequestId),
    /// A request of that id.
    Request(RequestId),
    /// A notification that is not of a stream in band.
    Notification,
}

impl BadFrame {
    /// Reads what can be told of a frame that was refused for `error`.
    ///
    /// # Errors
    /// Gives the error back where the frame leaves in doubt whose it is, or where it ends.
    pub fn read(frame: &[u8], error: MessageError) -> Result<BadFrame, MessageError> {
        let mut lexer = Lexer { bytes: frame, at: 0, spoilt: None, surrogate: None };
        let mut members = Members::default();
        let is_whole = lexer.frame(&mut members).is_some();
        // What follows the object may be the next one, whose line end is missing.
        let rest = frame.get(lexer.at..).unwrap_or_default();
        let has_one_deadline = members.deadlines == 1;
        let meant = members.meant(is_whole).filter(|_| !is_whole || rest.trim_ascii().is_empty());
        let Some(meant) = meant else { return Err(error) };
        let is_syntax = is_whole && matches!(error, MessageError::Syntax(_));
        let spoilt = lexer.spoilt.or(lexer.surrogate).filter(|_| is_syntax);
        Ok(BadFrame { meant, error, spoilt, has_one_deadline, beginning: beginning_of(frame) })
    }

    /// The code that answers it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.error.code()
    }

    /// Whether it is a request whose deadline is beyond the range, and which is a message but for that. A number of whoever
    /// made the call says nothing of how its plugin writes frames.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        let is_wrong = matches!(self.error, MessageError::Member("deadline_ms", _));
        is_wrong && self.has_one_deadline && matches!(self.meant, Meant::Request(_))
    }
}

/// Says why it is no message, and how it begins.
impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spoilt {
            Some((what, column)) => write!(f, "{what} at column {column}: {}", self.error)?,
            None => write!(f, "{}", self.error)?,
        }
        write!(f, "; it begins {}", self.beginning)
    }
}

impl fmt::Display for Meant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Meant::Answer(id) => write!(f, "an answer to request {id}"),
            Meant::Request(id) => write!(f, "a request of id {id}"),
            Meant::Notification => write!(f, "a notification"),
        }
    }
}

/// The members of the frame's own object that say whose it is.
#[derive(Debug, Default)]
struct Members {
    /// How many are called `id`.
    ids: usize,
    /// The value of the last of them, where it is a request's id.
    id: Option<RequestId>,
    has_method: bool,
    /// Whether its method is, or may be, one of a stream in band.
    is_of_stream: bool,
    has_answer: bool,
    /// How many numbers are called `deadline_ms`, and twice as many of other values.
    deadlines: usize,
}

impl Members {
    /// What the frame was meant to be; `is_whole` says that its object was read to its end.
    fn meant(self, is_whole: bool) -> Option<Meant> {
        let Members { ids, id, has_method, is_of_stream, has_answer, .. } = self;
        match (id, has_method, has_answer) {
            _ if ids > 1 => None,
            (Some(id), true, false) => Some(Meant::Request(id)),
            (Some(id), false, true) => Some(Meant::Answer(id)),
            // `{"jsonrpc":"2.0","id":7}`: a result that its writer left out because it was undefined.
            (Some(id), false, false) if is_whole => Some(Meant::Answer(id)),
            (None, true, false) if is_whole && ids == 0 && !is_of_stream => Some(Meant::Notification),
            _ => None,
        }
    }
}

/// A position in a frame, and what was passed over. `None` of its methods is a fault over which it does not go on.
struct Lexer<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The first value that is spoilt, and where: a number that JSON does not have, or a string with a control byte.
    spoilt: Option<(&'static str, usize)>,
    /// The first lone surrogate, which is a fault in some strings only.
    surrogate: Option<(&'static str, usize)>,
}

/// What passes the value of a member, of at most so many levels, and is told its name.
type PassMember<'f, 'a> = dyn FnMut(&mut Lexer<'a>, &[u8], usize) -> Option<()> + 'f;

impl<'a> Lexer<'a> {
    /// Passes the frame's own object.
    fn frame(&mut self, members: &mut Members) -> Option<()> {
        if self.peek() != Some(b'{') {
            return None;
        }
        self.object(NESTING_MAX, &mut |lexer, name, levels| {
            members.has_method |= name == b"method";
            members.has_answer |= name == b"result" || name == b"error";
            lexer.skip_space();
            let begin = lexer.at;
            lexer.value(levels)?;
            let text = lexer.bytes.get(begin..lexer.at)?;
            if name == b"id" {
                members.ids += 1;
                members.id = serde_json::from_slice(text).ok();
            }
            if name == b"method" {
                members.is_of_stream |= text.starts_with(b"\"rpc.stream.") || text.contains(&b'\\');
            }
            if name == b"deadline_ms" {
                let is_number =
                    text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
                members.deadlines += if is_number { 1 } else { 2 };
            }
            Some(())
        })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Passes this byte, if it is the next beside white space; whether it was.
    fn takes(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Passes this word, if it is next; whether it was.
    fn takes_word(&mut self, word: &str) -> bool {
        let is_next = self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes()));
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    /// Passes an object of at most so many levels. `member` passes the value of each member, of which it is told the name.
    fn object(&mut self, levels: usize, member: &mut PassMember<'_, 'a>) -> Option<()> {
        let inside = levels.checked_sub(1)?;
        self.takes(b'{').then_some(())?;
        if self.takes(b'}') {
            return Some(());
        }
        loop {
            self.skip_space();
            let quoted = self.string()?;
            let plain = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            // A name that is itself spoilt is none that matters here.
            let escaped: Option<String> =
                if plain.contains(&b'\\') { serde_json::from_slice(quoted).ok() } else { None };
            self.takes(b':').then_some(())?;
            member(self, escaped.as_ref().map_or(plain, String::as_bytes), inside)?;
            if self.takes(b'}') {
                return Some(());
            }
            self.takes(b',').then_some(())?;
        }
    }

    fn array(&mut self, levels: usize) -> Option<()> {
        let inside = levels.checked_sub(1)?;
        self.takes(b'[').then_some(())?;
        if self.takes(b']') {
            return Some(());
        }
        loop {
            self.value(inside)?;
            if self.takes(b']') {
                return Some(());
            }
            self.takes(b',').then_some(())?;
        }
    }

    /// Passes a value of at most so many levels.
    fn value(&mut self, levels: usize) -> Option<()> {
        self.skip_space();
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(levels, &mut |lexer, _, levels| lexer.value(levels)),
            b'[' => self.array(levels),
            b't' | b'f' | b'n' => {
                ["true", "false", "null"].iter().any(|word| self.takes_word(word)).then_some(())
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<()> {
        let begin = self.at;
        for (word, shown) in [("NaN", "`NaN`"), ("Infinity", "`Infinity`"), ("-Infinity", "`-Infinity`")] {
            if self.takes_word(word) {
                self.spoilt.get_or_insert((shown, begin + 1));
                return Some(());
            }
        }
        self.takes_word("-");
        if !self.takes_word("0") {
            self.digits()?;
        }
        if self.takes_word(".") {
            self.digits()?;
        }
        if self.takes_word("e") || self.takes_word("E") {
            let _has_sign = self.takes_word("+") || self.takes_word("-");
            self.digits()?;
        }
        Some(())
    }

    /// Passes one digit or more.
    fn digits(&mut self) -> Option<()> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }

    /// Passes a string. Returns it with its quotes. Bytes that are no UTF-8 end none.
    fn string(&mut self) -> Option<&'a [u8]> {
        let begin = self.at;
        self.takes_word("\"").then_some(())?;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return self.bytes.get(begin..self.at),
                b'\\' => self.escape()?,
                0..b' ' => {
                    self.spoilt.get_or_insert(("a control character in a string", self.at));
                }
                _ => {}
            }
        }
    }

    /// Passes what follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let begin = self.at;
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let is_lone = match self.unit()? {
                    0xd800..0xdc00 => {
                        let first = self.at;
                        let is_pair = self.takes_word("\\u") && matches!(self.unit(), Some(0xdc00..0xe000));
                        // What follows a lone one is looked at by itself.
                        self.at = if is_pair { self.at } else { first };
                        !is_pair
                    }
                    unit => (0xdc00..0xe000).contains(&unit),
                };
                if is_lone {
                    self.surrogate.get_or_insert(("a lone surrogate in a string", begin));
                }
                Some(())
            }
            _ => None,
        }
    }

    /// Passes the four hexadecimal digits of a UTF-16 unit.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.bytes.get(self.at..self.at.checked_add(4)?)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

#[cfg(test)]
#[path = "bad_frame_tests.rs"]
mod tests;
