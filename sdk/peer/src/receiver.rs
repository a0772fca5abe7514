//! What the peer sends: bytes until they are messages, and descriptors until the messages that announce them.
//!
//! What it deliberately does not do: read from a socket, or know what a message means. What always holds: at most a
//! frame and one read are buffered; each descriptor goes to the one frame that announces it; a frame brings nothing that
//! both sides have not agreed on.

use crate::role::Role;
use crate::violation::{Unread, Violation, unread, without_fds};
use rpc_plugin_wire::fds::{FdsError, Waiting};
use rpc_plugin_wire::limits::FDS_PER_FRAME_MAX;
use rpc_plugin_wire::{ErrorCode, FrameDecoder, Message};

/// What the two sides agreed on in the hello and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// Largest frame, line end not counted. Bytes.
    pub frame_bytes_max: usize,
    /// Whether frames bring file descriptors.
    pub fds: bool,
    /// Whether frames bring streams in band.
    pub streams: bool,
}

/// The receiving end of a connection. `F` is a descriptor; dropping it closes it.
#[derive(Debug)]
pub struct Receiver<F> {
    decoder: FrameDecoder,
    fds: Waiting<F>,
    /// Bytes that were received.
    received: u64,
    /// The side that receives.
    role: Role,
    /// `None` before the hello is answered.
    agreed: Option<Agreed>,
    /// What was wrong with descriptors as they came; told by the next [`Receiver::next`].
    fault: Option<Violation>,
}

impl<F> Receiver<F> {
    /// A receiver for a connection whose hello is not answered, of frames of at most `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(role: Role, frame_bytes_max: usize) -> Receiver<F> {
        let decoder = FrameDecoder::new(frame_bytes_max);
        Receiver { decoder, fds: Waiting::default(), received: 0, role, agreed: None, fault: None }
    }

    /// Counts from the next frame on.
    pub fn agree(&mut self, agreed: Agreed) {
        self.decoder.set_frame_bytes_max(agreed.frame_bytes_max);
        self.agreed = Some(agreed);
    }

    /// Room to read `bytes` more bytes into; follow with [`Receiver::filled`].
    pub fn space(&mut self, bytes: usize) -> &mut [u8] {
        self.decoder.space(bytes)
    }

    /// Reads into `buffer` from now on; see [`FrameDecoder::lend`].
    pub fn lend(&mut self, buffer: &mut Vec<u8>) {
        self.decoder.lend(buffer);
    }

    /// Gives a lent buffer back.
    pub fn give_back(&mut self, buffer: &mut Vec<u8>) {
        self.decoder.give_back(buffer);
    }

    /// Says how many bytes of [`Receiver::space`] one read filled, which descriptors came with them, and whether the
    /// kernel dropped some of those (MSG_CTRUNC).
    pub fn filled(&mut self, bytes: usize, fds: Vec<F>, were_dropped: bool) {
        self.decoder.filled(bytes);
        self.received += bytes as u64;
        let unwanted = match self.agreed {
            _ if fds.is_empty() && !were_dropped => None,
            // A host may send them right behind its answer to the hello, which one read brings together.
            None if self.role == Role::Plugin => None,
            None => Some("file descriptors came before the proof"),
            Some(agreed) => (!agreed.fds).then_some("file descriptors came, which were not agreed on"),
        };
        let too_many = were_dropped && fds.len() >= usize::from(FDS_PER_FRAME_MAX);
        let too_many = too_many.then_some("more file descriptors came at once than a frame may have");
        let counted = self.fds.received(bytes, fds).map_err(|error| error.to_string());
        if were_dropped {
            self.fds.lost();
        }
        let why = too_many.or(unwanted).map(str::to_owned).or(counted.err());
        self.fault = why.map(|why| self.beside(why)).or(self.fault.take());
    }

    /// The next whole message with its descriptors; `None` when more bytes are needed.
    ///
    /// # Errors
    /// What the peer did wrong, or a frame that is no message.
    #[expect(clippy::should_implement_trait, reason = "what it gives borrows from it")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<(Message<'_>, Vec<F>)>, Unread> {
        if let Some(fault) = self.fault.take() {
            return Err(fault.into());
        }
        let unhandled_bytes = self.decoder.buffered_bytes();
        let (agreed, code) = (self.agreed, self.code_beside());
        let beside = |why: FdsError| Unread::from(Violation { code, why: why.to_string() });
        let Some(frame) = self.decoder.next_frame()? else {
            return self.fds.check(unhandled_bytes).map(|()| None).map_err(beside);
        };
        let message = Message::parse(frame)
            .map_err(|error| unread(frame, error, agreed.is_some() && self.fds.is_empty()))?;
        let (count, has_streams) = match &message {
            Message::Request(request) => (request.fds, !request.streams.is_empty()),
            Message::Response(response) => (response.fds, !response.streams.is_empty()),
            Message::Notification(notification) => (notification.fds, false),
        };
        let unwanted = if has_streams && !agreed.is_some_and(|agreed| agreed.streams) {
            Some("streams in band")
        } else {
            (count > 0 && !agreed.is_some_and(|agreed| agreed.fds)).then_some("file descriptors")
        };
        if let Some(what) = unwanted {
            let why = format!("a frame brings {what}, which were not agreed on");
            return Err(Violation { code, why }.into());
        }
        let fds = if count > 0 {
            self.fds.take(count.into()).map_err(|error| without_fds(&message, error, code))?
        } else {
            Vec::new()
        };
        Ok(Some((message, fds)))
    }

    /// How many bytes were received in all.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes of a frame that is not whole are there.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        self.decoder.buffered_bytes()
    }

    /// Whether the stream may end here, once [`Receiver::next`] has nothing more.
    ///
    /// # Errors
    /// It ends inside a frame.
    pub fn finish(&self) -> Result<(), Violation> {
        Ok(self.decoder.finish()?)
    }

    fn beside(&self, why: String) -> Violation {
        Violation { code: self.code_beside(), why }
    }

    /// What tells a fault that is not of the frame itself: before the proof nothing else is asked (protocol section 3).
    fn code_beside(&self) -> ErrorCode {
        if self.agreed.is_some() { ErrorCode::InvalidRequest } else { ErrorCode::NotAuthenticated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_wire::Meant;

    const FRAME: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"fds\":2}\n";

    fn receiver(fds: bool, streams: bool) -> Receiver<u8> {
        let mut receiver = Receiver::new(Role::Host, 100);
        receiver.agree(Agreed { frame_bytes_max: 1000, fds, streams });
        receiver
    }

    /// Reads bytes with descriptors; all frames with theirs, or what is wrong.
    fn read(receiver: &mut Receiver<u8>, bytes: &[u8], fds: &[u8]) -> Result<Vec<Vec<u8>>, Violation> {
        receiver.space(bytes.len()).copy_from_slice(bytes);
        receiver.filled(bytes.len(), fds.to_vec(), false);
        let mut next = || receiver.next().map(|read| read.map(|(_, fds)| fds)).map_err(Violation::from);
        std::iter::from_fn(|| next().transpose()).collect()
    }

    #[test]
    fn descriptors_come_with_the_frame_that_announces_them_however_the_bytes_are_cut() {
        for at in 1..FRAME.len() {
            let mut receiver = receiver(true, false);
            let (first, rest) = FRAME.split_at(at);
            assert_eq!(read(&mut receiver, first, &[1, 2]), Ok(vec![]));
            assert_eq!(receiver.unfinished_bytes(), at);
            assert!(receiver.finish().is_err());
            assert_eq!(read(&mut receiver, rest, &[]), Ok(vec![vec![1, 2]]));
            assert!(receiver.finish().is_ok());
        }
    }

    #[test]
    fn what_was_not_agreed_on_is_a_violation_with_the_bytes_it_came_with() {
        let streams = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\",\"streams\":[3]}\n";
        let why = |read: Result<Vec<Vec<u8>>, Violation>| read.unwrap_err();
        assert!(why(read(&mut receiver(false, true), FRAME, &[1, 2])).why.contains("not agreed on"));
        assert!(why(read(&mut receiver(false, true), b"{", &[1])).why.contains("not agreed on"));
        assert!(why(read(&mut receiver(true, false), streams, &[])).why.contains("not agreed on"));
        assert_eq!(read(&mut receiver(false, true), streams, &[]), Ok(vec![vec![]]));
        let before = why(read(&mut Receiver::new(Role::Host, 100), b"{", &[1]));
        assert_eq!(before.code, ErrorCode::NotAuthenticated, "{before:?}");
        assert_eq!(
            why(read(&mut Receiver::new(Role::Host, 100), streams, &[])).code,
            ErrorCode::NotAuthenticated
        );
    }

    #[test]
    fn a_plugin_may_be_sent_descriptors_right_behind_the_answer_to_its_hello() {
        let answer = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n";
        let both = [&answer[..], FRAME].concat();
        for (fds, is_fine) in [(true, true), (false, false)] {
            let mut receiver = Receiver::new(Role::Plugin, 100);
            receiver.space(both.len()).copy_from_slice(&both);
            receiver.filled(both.len(), vec![1, 2], false);
            assert!(matches!(receiver.next(), Ok(Some((Message::Response(_), fds))) if fds.is_empty()));
            receiver.agree(Agreed { frame_bytes_max: 100, fds, streams: false });
            let next = receiver.next().map(|read| read.map(|(_, fds)| fds));
            assert_eq!(next.is_ok(), is_fine, "{next:?}");
        }
        let mut early = Receiver::new(Role::Plugin, 100);
        assert!(read(&mut early, FRAME, &[1, 2]).is_err(), "before the answer");
    }

    #[test]
    fn descriptors_that_do_not_add_up_are_a_violation() {
        let why = |read: Result<Vec<Vec<u8>>, Violation>| read.unwrap_err().why;
        assert!(why(read(&mut receiver(true, false), FRAME, &[1])).contains("announces 2"));
        assert!(why(read(&mut receiver(true, false), FRAME, &[1, 2, 3])).contains("no frame announces"));
        assert!(why(read(&mut receiver(true, false), b"{", &[0; 17])).contains("more than 16"));
        let mut dropped = receiver(true, false);
        dropped.filled(0, vec![0; 16], true);
        assert!(Violation::from(dropped.next().unwrap_err()).why.contains("at once"));
        let mut unwanted = receiver(false, false);
        unwanted.filled(0, Vec::new(), true);
        assert!(Violation::from(unwanted.next().unwrap_err()).why.contains("not agreed on"));
    }

    #[test]
    fn descriptors_that_this_process_could_not_open_cost_their_frame_only() {
        for (there, frame, meant) in [
            (1, FRAME, Meant::Notification),
            (0, b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"m\",\"fds\":2}\n", Meant::Request(7.into())),
            (1, b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1,\"fds\":2}\n", Meant::Answer(7.into())),
        ] {
            let mut receiver = receiver(true, false);
            receiver.space(frame.len()).copy_from_slice(frame);
            receiver.filled(frame.len(), vec![1; there], true);
            assert_eq!(receiver.next().unwrap_err(), Unread::FdsLost(meant));
            assert_eq!(read(&mut receiver, FRAME, &[3, 4]), Ok(vec![vec![3, 4]]), "the next has its own");
        }
    }

    #[test]
    fn a_bad_frame_is_handed_on_after_the_proof_and_where_no_descriptors_wait() {
        let bad = b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":NaN}\n";
        let mut open = receiver(true, false);
        open.space(bad.len()).copy_from_slice(bad);
        open.filled(bad.len(), Vec::new(), false);
        let Err(Unread::BadFrame(frame)) = open.next() else { panic!("it is one answer") };
        assert_eq!(frame.meant, Meant::Answer(7.into()));
        assert_eq!(read(&mut open, FRAME, &[1, 2]), Ok(vec![vec![1, 2]]), "the stream is in step");
        for (mut ending, fds) in [(receiver(true, false), vec![1]), (Receiver::new(Role::Host, 100), vec![])]
        {
            ending.space(bad.len()).copy_from_slice(bad);
            ending.filled(bad.len(), fds, false);
            assert!(matches!(ending.next(), Err(Unread::Violation(_))));
        }
    }

    #[test]
    fn the_limit_counts_from_the_next_frame_on() {
        let mut receiver = receiver(false, false);
        let long = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"m\",\"pad\":\"{}\"}}\n", "x".repeat(200));
        assert_eq!(read(&mut receiver, long.as_bytes(), &[]), Ok(vec![vec![]]));
        let violation = read(&mut Receiver::new(Role::Host, 100), long.as_bytes(), &[]).unwrap_err();
        assert_eq!(violation.code, ErrorCode::TooLarge);
        assert_eq!(read(&mut receiver, b"[]\n", &[]).unwrap_err().code, ErrorCode::ParseError);
    }
}
