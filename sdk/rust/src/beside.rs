//! What travels beside the JSON of a frame: descriptors as they are, or as streams in band, as the connection has it.
//!
//! What it deliberately does not do: send anything; [`crate::frames`] does.
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
pub(crate) enum Bulk {
    /// Not at all.
    #[default]
    None,
    /// As they are.
    Fds,
    /// As streams in band.
    Streams(Arc<Streams>),
}

/// What travels beside one frame.
#[derive(Debug, Default)]
pub(crate) enum Beside {
    #[default]
    Nothing,
    Fds(Vec<OwnedFd>),
    Streams(Opening),
}

/// Why descriptors cannot travel.
#[derive(Debug)]
pub(crate) enum NoBulk {
    /// This host takes none.
    Never,
    /// Not now: too many streams are open.
    Full(String),
}

impl NoBulk {
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            NoBulk::Never => ErrorCode::InvalidParams,
            NoBulk::Full(_) => ErrorCode::Overloaded,
        }
    }

    pub(crate) fn into_text(self) -> String {
        match self {
            NoBulk::Never => "it holds a stream or blob, and this host takes none".to_owned(),
            NoBulk::Full(text) => text,
        }
    }
}

impl Bulk {
    /// As both sides agreed.
    ///
    /// # Errors
    /// This process cannot have more descriptors.
    pub(crate) fn agreed(fds: bool, streams: bool, frame_bytes_max: usize) -> io::Result<Bulk> {
        Ok(match (fds, streams) {
            (true, _) => Bulk::Fds,
            (false, true) => Bulk::Streams(Arc::new(Streams::new(frame_bytes_max)?)),
            (false, false) => Bulk::None,
        })
    }

    /// Makes descriptors ready to travel with one frame.
    pub(crate) fn pack(&self, fds: Vec<OwnedFd>) -> Result<Beside, NoBulk> {
        match self {
            _ if fds.is_empty() => Ok(Beside::Nothing),
            Bulk::None => Err(NoBulk::Never),
            Bulk::Fds => Ok(Beside::Fds(fds)),
            Bulk::Streams(streams) => streams.reserve(fds).map(Beside::Streams).map_err(NoBulk::Full),
        }
    }

    pub(crate) fn streams(&self) -> Option<&Arc<Streams>> {
        if let Bulk::Streams(streams) = self { Some(streams) } else { None }
    }
}

impl Beside {
    /// How many descriptors travel as they are.
    pub(crate) fn fds(&self) -> usize {
        if let Beside::Fds(fds) = self { fds.len() } else { 0 }
    }

    /// The numbers of those that travel in band.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        if let Beside::Streams(opening) = self { opening.numbers() } else { Vec::new() }
    }

    /// The member of a frame that announces it, behind another one.
    pub(crate) fn member(&self) -> String {
        match self {
            Beside::Nothing => String::new(),
            Beside::Fds(fds) => format!(",\"fds\":{}", fds.len()),
            Beside::Streams(opening) => {
                let mut text = ",\"streams\":[".to_owned();
                for (at, number) in opening.numbers().into_iter().enumerate() {
                    let _ = write!(text, "{}{number}", if at > 0 { "," } else { "" });
                }
                text + "]"
            }
        }
    }
}
