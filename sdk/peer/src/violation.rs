//! What a peer did wrong, and what it costs: its connection, or only what a frame was about.

use rpc_plugin_wire::fds::FdsError;
use rpc_plugin_wire::words::beginning_of;
use rpc_plugin_wire::{BadFrame, ErrorCode, FrameError, Meant, Message, MessageError};

/// How the peer broke the protocol. Its connection is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The code that tells the peer.
    pub code: ErrorCode,
    /// What is wrong, in words.
    pub why: String,
}

impl Violation {
    /// A request, or what came beside it, that this protocol does not have.
    #[must_use]
    pub fn invalid(why: impl ToString) -> Violation {
        Violation { code: ErrorCode::InvalidRequest, why: why.to_string() }
    }
}

impl From<FrameError> for Violation {
    fn from(error: FrameError) -> Violation {
        Violation { code: error.code(), why: error.to_string() }
    }
}

/// Why [`Receiver::next`](crate::Receiver::next) gives no message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// The peer broke the protocol. Its connection is to end.
    Violation(Violation),
    /// The next frame is no message. It costs what it was about, and the connection may go on.
    BadFrame(Box<BadFrame>),
    /// A message came with file descriptors that this process could not open, because it has as many as it may. It costs
    /// what it was meant to be, and the connection goes on.
    FdsLost(Meant),
}

/// Says so to whoever sent or awaits such a message.
pub const FDS_LOST: &str = "file descriptors came with it that could not be opened here, because this process has as many as \
                            it may: raise its limit (RLIMIT_NOFILE)";

impl From<Violation> for Unread {
    fn from(violation: Violation) -> Unread {
        Unread::Violation(violation)
    }
}

impl From<FrameError> for Unread {
    fn from(error: FrameError) -> Unread {
        Unread::Violation(error.into())
    }
}

/// For where no frame may be bad.
impl From<Unread> for Violation {
    fn from(unread: Unread) -> Violation {
        match unread {
            Unread::Violation(violation) => violation,
            Unread::BadFrame(bad) => Violation { code: bad.code(), why: bad.to_string() },
            Unread::FdsLost(_) => Violation::invalid(FDS_LOST),
        }
    }
}

/// Says whether a frame that is no message costs more than what it was about: before the proof, and where descriptors
/// wait that may be its own.
#[cold]
pub(crate) fn unread(frame: &[u8], error: MessageError, may_go_on: bool) -> Unread {
    let bad = if may_go_on { BadFrame::read(frame, error) } else { Err(error) };
    match bad {
        Ok(bad) => Unread::BadFrame(Box::new(bad)),
        Err(error) => {
            let why = format!("{error}; it begins {}", beginning_of(frame));
            Unread::Violation(Violation { code: error.code(), why })
        }
    }
}

/// Says what it costs that the descriptors of a message are not there: `code` tells the peer where it is a violation.
#[cold]
pub(crate) fn without_fds(message: &Message<'_>, error: FdsError, code: ErrorCode) -> Unread {
    let meant = match message {
        _ if error != FdsError::Lost => None,
        Message::Request(request) => Some(Meant::Request(request.id.clone())),
        Message::Response(response) => response.id.clone().map(Meant::Answer),
        Message::Notification(_) => Some(Meant::Notification),
    };
    meant.map_or_else(|| Violation { code, why: error.to_string() }.into(), Unread::FdsLost)
}
