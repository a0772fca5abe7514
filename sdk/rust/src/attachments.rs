//! What is attached to a frame: descriptors as they are, or as streams in band, as the connection has it.
//!
//! What it deliberately does not do: send anything; frames do.
//!
//! What always holds: a session has one of both ways, or none; what does not go out is closed.

use crate::streams::{InBandStreams, Opening};
use rpc_plugin_peer::{Agreed, Refused, SendQueue, Span};
use rpc_plugin_wire::ErrorCode;
use std::fmt::Write;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How descriptors travel on a connection.
#[derive(Debug, Default)]
pub(crate) enum FdTransport {
    /// Not at all.
    #[default]
    None,
    /// As they are.
    Fds,
    /// As streams in band.
    Streams(Arc<InBandStreams>),
}

/// What is attached to one frame.
#[derive(Debug, Default)]
pub(crate) enum Attachments {
    #[default]
    None,
    Fds(Vec<OwnedFd>),
    Streams(Opening),
}

impl FdTransport {
    /// As both sides agreed.
    ///
    /// # Errors
    /// This process cannot have more descriptors.
    pub(crate) fn agreed(agreed: Agreed) -> io::Result<FdTransport> {
        Ok(match (agreed.fds, agreed.streams) {
            (true, _) => FdTransport::Fds,
            (false, true) => FdTransport::Streams(Arc::new(InBandStreams::new(agreed.frame_bytes_max)?)),
            (false, false) => FdTransport::None,
        })
    }

    /// Makes descriptors ready to travel with one frame.
    ///
    /// # Errors
    /// Why they cannot.
    pub(crate) fn attach(&self, fds: Vec<OwnedFd>) -> Result<Attachments, Refused> {
        match self {
            _ if fds.is_empty() => Ok(Attachments::None),
            FdTransport::None => {
                let why = "a stream or blob, and this host takes no file descriptors";
                Err(Refused::new(ErrorCode::InvalidParams, why))
            }
            FdTransport::Fds => Ok(Attachments::Fds(fds)),
            FdTransport::Streams(streams) => streams.reserve(fds).map(Attachments::Streams),
        }
    }

    pub(crate) fn streams(&self) -> Option<&Arc<InBandStreams>> {
        if let FdTransport::Streams(streams) = self { Some(streams) } else { None }
    }
}

/// Whole frames on their way to the host, with what is attached to some of them: one [`Attachments`] a frame.
pub(crate) type Frames = SendQueue<Attachments>;

/// Attaches this to the frame at `span`, which is the last one.
pub(crate) fn attach(frames: &mut Frames, span: Span, attachments: Attachments) {
    if !matches!(attachments, Attachments::None) {
        frames.attach(span, vec![attachments]);
    }
}

impl Attachments {
    /// How many descriptors travel as they are.
    pub(crate) fn fds(&self) -> usize {
        if let Attachments::Fds(fds) = self { fds.len() } else { 0 }
    }

    /// The numbers of those that travel in band.
    pub(crate) fn numbers(&self) -> &[u64] {
        if let Attachments::Streams(opening) = self { opening.numbers() } else { &[] }
    }

    /// Begins what is to begin with the first byte of the frame, which is about to be written.
    pub(crate) fn begin(&mut self) {
        if let Attachments::Streams(opening) = self {
            opening.begin();
        }
    }

    /// The member of a frame that announces it, behind another one.
    pub(crate) fn member(&self) -> String {
        match self {
            Attachments::None => String::new(),
            Attachments::Fds(fds) => format!(",\"fds\":{}", fds.len()),
            Attachments::Streams(opening) => {
                let mut text = ",\"streams\":[".to_owned();
                for (at, number) in opening.numbers().iter().enumerate() {
                    let _ = write!(text, "{}{number}", if at > 0 { "," } else { "" });
                }
                text + "]"
            }
        }
    }
}

/// Frames of these bytes, for tests.
#[cfg(test)]
pub(crate) fn frames_of(bytes: &[u8]) -> Frames {
    let mut frames = Frames::default();
    frames.write(|out| out.extend_from_slice(bytes));
    frames
}
