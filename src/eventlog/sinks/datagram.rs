//! DatagramSink sockets: syslog, the journal, and whoever takes JSON lines.
//!
//! What always holds: an event is one datagram; one that the receiver's system does not take because of its
//! length is refused and does not hold the others up; a receiver that is gone is looked for again.

use super::format::{journald, json_line, syslog};
use super::options::SyslogFormat;
use super::target::{Event, EventTarget, SinkFault};
use super::window::write_by;
use nix::errno::Errno;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is in a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatagramFormat {
    /// The line as it is on record.
    Json,
    /// A syslog message.
    Syslog(SyslogFormat),
    /// Fields of the journal.
    Journald,
}

/// A sink that sends each event as one datagram.
#[derive(Debug)]
pub struct DatagramSink {
    path: PathBuf,
    format: DatagramFormat,
    socket: Option<UnixDatagram>,
}

impl DatagramSink {
    /// Datagrams to the socket at `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: &Path, format: DatagramFormat) -> DatagramSink {
        DatagramSink { path: path.to_owned(), format, socket: None }
    }

    fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.path)?;
        Ok(socket)
    }

    fn bytes(&self, event: &Event) -> Vec<u8> {
        match self.format {
            DatagramFormat::Json => json_line(event),
            DatagramFormat::Syslog(format) => syslog(&event.record, format),
            DatagramFormat::Journald => journald(event),
        }
    }

    fn fault(&mut self, taken: usize, error: &io::Error) -> SinkFault {
        self.socket = None;
        SinkFault::down(taken, format!("{}: {error}", self.path.display()))
    }
}

impl EventTarget for DatagramSink {
    fn deliver(&mut self, events: &[Event], timeout: Duration) -> Result<(), SinkFault> {
        let mut socket = match self.socket.take().map_or_else(|| self.connect(), Ok) {
            Ok(socket) => socket,
            Err(error) => return Err(self.fault(0, &error)),
        };
        for (taken, event) in events.iter().enumerate() {
            let bytes = self.bytes(event);
            let sent = write_by(&mut socket, &bytes, timeout, UnixDatagram::send, |_| Vec::new(), |_| ());
            if let Err(error) = sent {
                if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) {
                    self.socket = Some(socket);
                    let text = format!("{}: {} bytes are too long for it", self.path.display(), bytes.len());
                    return Err(SinkFault { is_refused: true, ..SinkFault::down(taken, text) });
                }
                return Err(self.fault(taken, &error));
            }
        }
        self.socket = Some(socket);
        Ok(())
    }
}
