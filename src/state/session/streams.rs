//! Which streams go in band over a connection that passes no descriptors (protocol section 6).
//!
//! What it deliberately does not do: carry them; the event loop relays between descriptors and frames.
//!
//! What always holds: at most [`STREAMS_MAX`] are open; the host's own have even numbers, the plugin's odd ones; no
//! number is used twice.

use rpc_plugin_wire::ErrorCode;
use rpc_plugin_wire::limits::{REQUEST_ID_MAX, STREAMS_MAX};
use std::collections::BTreeSet;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Whether both sides agreed on them.
    agreed: bool,
    open: BTreeSet<u64>,
    /// How many the host began.
    begun: u64,
    /// The least number that the plugin may give to its next one.
    next_theirs: u64,
}

impl Streams {
    /// Both sides agreed on them.
    pub(super) fn agree(&mut self) {
        (self.agreed, self.next_theirs) = (true, 1);
    }

    /// Whether so many more can go out.
    pub(super) fn check(&self, count: usize) -> Result<(), (ErrorCode, String)> {
        if !self.agreed {
            let text =
                "it comes with file descriptors, and this connection passes neither them nor streams in band";
            return Err((ErrorCode::InvalidParams, text.to_owned()));
        }
        if self.open.len() + count > STREAMS_MAX {
            let text = format!("{} streams are open in band, at most {STREAMS_MAX} may be", self.open.len());
            return Err((ErrorCode::Overloaded, text));
        }
        Ok(())
    }

    /// The number that the next one of the host's will have; the one after it has two more.
    pub(super) fn next_number(&self) -> u64 {
        self.begun * 2
    }

    /// Opens one of the host's.
    pub(super) fn open(&mut self) -> u64 {
        let number = self.next_number();
        self.begun += 1;
        self.open.insert(number);
        number
    }

    /// A frame of the plugin brings these.
    pub(super) fn came(&mut self, numbers: &[u64]) -> Result<(), String> {
        for number in numbers {
            if !self.agreed {
                return Err("a frame brings streams in band, which were not agreed on".to_owned());
            }
            if number % 2 == 0 || *number < self.next_theirs || *number > REQUEST_ID_MAX {
                let next = self.next_theirs;
                return Err(format!(
                    "a frame brings stream {number}; its own have odd numbers, the next is {next}"
                ));
            }
            if self.open.len() >= STREAMS_MAX {
                return Err(format!("more than {STREAMS_MAX} streams are open in band"));
            }
            self.next_theirs = number + 2;
            self.open.insert(*number);
        }
        Ok(())
    }

    /// One has ended in both directions.
    pub(super) fn closed(&mut self, number: u64) {
        self.open.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_once_and_by_who_they_belong_to() {
        let mut streams = Streams::default();
        assert_eq!(streams.check(1).unwrap_err().0, ErrorCode::InvalidParams);
        assert!(streams.came(&[1]).is_err() && streams.came(&[]).is_ok());
        streams.agree();
        assert!(streams.came(&[1, 3]).is_ok());
        for wrong in [0, 2, 3, 1] {
            assert!(streams.came(&[wrong]).is_err(), "{wrong}");
        }
        assert_eq!([streams.open(), streams.open(), streams.next_number()], [0, 2, 4]);
        assert!(streams.came(&[u64::MAX]).is_err());
        assert!(streams.came(&[REQUEST_ID_MAX]).is_ok() && streams.came(&[REQUEST_ID_MAX]).is_err());
    }

    #[test]
    fn they_are_bounded_and_room_comes_back() {
        let mut streams = Streams::default();
        streams.agree();
        for at in 0..STREAMS_MAX as u64 / 2 {
            streams.came(&[at * 2 + 1]).unwrap();
            streams.open();
        }
        assert_eq!(streams.check(1).unwrap_err().0, ErrorCode::Overloaded);
        assert!(streams.came(&[1001]).is_err());
        streams.closed(0);
        assert!(streams.check(1).is_ok() && streams.check(2).is_err());
    }
}
