//! Whole frames on their way to the host, with the descriptors or streams that travel with some of them.
//!
//! What it deliberately does not do: wait for room, or decide who writes; the outbox does that.
//!
//! What always holds: descriptors go out with the first byte of their frame and with no byte before it, however the
//! frames were joined and however few bytes the socket takes; ours are closed as soon as the kernel has its own.

use crate::attachments::Attachments;
use nix::sys::socket::{MsgFlags, send};
use rpc_plugin_interface::scm;
use rpc_plugin_wire::frame::is_oversized;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;

/// Buffers that grew past this are given back once they are empty and little of them is used. Bytes.
const KEPT_BYTES_MAX: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// To append whole frames to.
    pub(crate) bytes: Vec<u8>,
    /// How many of them the socket has taken.
    written: usize,
    /// The places of frames with something attachments them, in order.
    parcels: VecDeque<(usize, Attachments)>,
}

impl Frames {
    /// Bytes that are still to be sent.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says what travels with the frame that begins at byte `at`. No later frame has something already.
    pub(crate) fn attach(&mut self, at: usize, attachments: Attachments) {
        if !matches!(attachments, Attachments::None) {
            self.parcels.push_back((at, attachments));
        }
    }

    /// Moves all of `more` behind what is there.
    pub(crate) fn append(&mut self, more: &mut Frames) {
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(more.bytes.get(more.written..).unwrap_or_default());
        let written = more.written;
        self.parcels
            .extend(more.parcels.drain(..).map(|(at, attachments)| (shift + at - written, attachments)));
        more.clear();
    }

    /// Empties it, and gives most of the buffer back where it has become large and little of it is used.
    pub(crate) fn clear(&mut self) {
        let is_oversized = is_oversized(self.bytes.capacity(), self.bytes.len(), KEPT_BYTES_MAX);
        self.bytes.clear();
        (self.written, self.parcels) = (0, VecDeque::new());
        if is_oversized {
            self.bytes.shrink_to(KEPT_BYTES_MAX);
        }
    }

    /// Writes all of it, or as much as the socket takes without waiting. Says whether that was all.
    pub(crate) fn send(&mut self, socket: &UnixStream, wait: bool) -> io::Result<bool> {
        while !self.is_empty() {
            // Before the first byte, after which the host may speak of them at once. What they send waits behind this frame.
            if let Some((_, Attachments::Streams(_))) =
                self.parcels.front().filter(|(at, _)| *at == self.written)
                && let Some((_, Attachments::Streams(opening))) = self.parcels.pop_front()
            {
                opening.begin();
            }
            let attachments = self
                .parcels
                .front()
                .filter(|(at, _)| *at == self.written)
                .map(|(_, attachments)| attachments);
            let begins = attachments.is_some();
            let next = self.parcels.get(usize::from(begins));
            let end = next.map_or(self.bytes.len(), |(at, _)| *at);
            let part = self.bytes.get(self.written..end).unwrap_or_default();
            let sent = match attachments {
                Some(Attachments::Fds(fds)) => scm::send(socket.as_fd(), part, fds, wait),
                _ => {
                    let patience = if wait { MsgFlags::empty() } else { MsgFlags::MSG_DONTWAIT };
                    send(socket.as_raw_fd(), part, MsgFlags::MSG_NOSIGNAL | patience).map_err(io::Error::from)
                }
            };
            match sent {
                Ok(bytes) => {
                    self.written += bytes;
                    if begins {
                        self.parcels.pop_front();
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !wait => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl From<Vec<u8>> for Frames {
    fn from(bytes: Vec<u8>) -> Frames {
        Frames { bytes, ..Frames::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_wire::fds::Waiting;
    use rpc_plugin_wire::{FrameDecoder, Message};

    /// A notification that announces `count` descriptors, and them.
    fn push(frames: &mut Frames, count: usize, pad: usize) {
        let at = frames.bytes.len();
        let pad = "x".repeat(pad);
        let text = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"fds\":{count},\"pad\":\"{pad}\"}}\n");
        frames.bytes.extend_from_slice(text.as_bytes());
        let fds: Vec<_> = (0..count).map(|_| io::pipe().unwrap().0.into()).collect();
        frames.attach(at, if fds.is_empty() { Attachments::None } else { Attachments::Fds(fds) });
    }

    #[test]
    fn descriptors_stay_with_their_frames_however_those_are_joined_and_sent() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let counts = [0, 2, 0, 16, 1, 0, 3, 16, 16, 0];
        let mut all = Frames::default();
        for (number, count) in counts.iter().enumerate() {
            let mut one = Frames::default();
            push(&mut one, *count, number * 30_000);
            all.append(&mut one);
            assert!(one.is_empty() && one.parcels.is_empty());
        }
        let (mut decoder, mut waiting, mut seen) =
            (FrameDecoder::new(1 << 20), Waiting::default(), Vec::new());
        let mut is_sent = false;
        while !is_sent {
            is_sent = all.send(&ours, false).unwrap();
            loop {
                theirs.set_nonblocking(true).unwrap();
                let received = match scm::receive(theirs.as_fd(), decoder.space(20_000)) {
                    Ok(received) => received,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                };
                decoder.filled(received.bytes);
                waiting.received(received.bytes, received.fds).unwrap();
                while let Some(frame) = decoder.next_frame().unwrap() {
                    let Message::Notification(notification) = Message::parse(frame).unwrap() else {
                        panic!()
                    };
                    seen.push(waiting.take(notification.fds.into()).unwrap().len());
                }
                waiting.check(decoder.buffered_bytes()).unwrap();
            }
        }
        seen.retain(|count| *count > 0);
        assert_eq!(seen, counts.iter().copied().filter(|count| *count > 0).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_sent_is_closed() {
        let mut frames = Frames::default();
        let (reader, writer) = io::pipe().unwrap();
        frames.bytes.extend_from_slice(b"{}\n");
        frames.attach(0, Attachments::Fds(vec![writer.into()]));
        frames.clear();
        assert_eq!(io::read_to_string(reader).unwrap(), "");
        assert!(frames.is_empty());
    }
}
