//! What is attached to a frame: descriptors as they are, or as streams in band, as the connection has it.
//!
//! What it deliberately does not do: send anything; frames do.
//!
//! What always holds: a session has one of both ways, or none; what does not go out is closed.

use crate::streams::{Opening, Streams};
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
    Streams(Arc<Streams>),
}

/// What is attached to one frame.
#[derive(Debug, Default)]
pub(crate) enum Attachments {
    #[default]
    None,
    Fds(Vec<OwnedFd>),
    Streams(Opening),
}

/// Why descriptors cannot be attached.
#[derive(Debug)]
pub(crate) enum NotAttached {
    /// This host takes none.
    Never,
    /// Not now: too many streams are open.
    Full(String),
}

impl NotAttached {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            NotAttached::Never => ErrorCode::InvalidParams,
            NotAttached::Full(_) => ErrorCode::Overloaded,
        }
    }

    pub(crate) fn into_text(self) -> String {
        match self {
            NotAttached::Never => "a stream or blob, and this host takes no file descriptors".to_owned(),
            NotAttached::Full(text) => text,
        }
    }
}

impl FdTransport {
    /// As both sides agreed.
    ///
    /// # Errors
    /// This process cannot have more descriptors.
    pub(crate) fn agreed(fds: bool, streams: bool, frame_bytes_max: usize) -> io::Result<FdTransport> {
        Ok(match (fds, streams) {
            (true, _) => FdTransport::Fds,
            (false, true) => FdTransport::Streams(Arc::new(Streams::new(frame_bytes_max)?)),
            (false, false) => FdTransport::None,
        })
    }

    /// Makes descriptors ready to travel with one frame.
    ///
    /// # Errors
    /// Why they cannot.
    pub(crate) fn attach(&self, fds: Vec<OwnedFd>) -> Result<Attachments, NotAttached> {
        match self {
            _ if fds.is_empty() => Ok(Attachments::None),
            FdTransport::None => Err(NotAttached::Never),
            FdTransport::Fds => Ok(Attachments::Fds(fds)),
            FdTransport::Streams(streams) => {
                streams.reserve(fds).map(Attachments::Streams).map_err(NotAttached::Full)
            }
        }
    }

    pub(crate) fn streams(&self) -> Option<&Arc<Streams>> {
        if let FdTransport::Streams(streams) = self { Some(streams) } else { None }
    }
}

impl Attachments {
    /// How many descriptors travel as they are.
    pub(crate) fn fds(&self) -> usize {
        if let Attachments::Fds(fds) = self { fds.len() } else { 0 }
    }

    /// The numbers of those that travel in band.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        if let Attachments::Streams(opening) = self { opening.numbers() } else { Vec::new() }
    }

    /// The member of a frame that announces it, behind another one.
    pub(crate) fn member(&self) -> String {
        match self {
            Attachments::None => String::new(),
            Attachments::Fds(fds) => format!(",\"fds\":{}", fds.len()),
            Attachments::Streams(opening) => {
                let mut text = ",\"streams\":[".to_owned();
                for (at, number) in opening.numbers().into_iter().enumerate() {
                    let _ = write!(text, "{}{number}", if at > 0 { "," } else { "" });
                }
                text + "]"
            }
        }
    }
}
