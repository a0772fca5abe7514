//! One connection to the daemon, one request at a time on it.
//!
//! What this file is for: finding the admin socket, making sure who serves it, asking, and seeing its end.
//! What it deliberately does not do: know any method, or retry.
//!
//! What always holds: every wait ends at the deadline; nothing is sent before the kernel named the
//! process at the other end as this user's, root's, or (when root asks) the folder owner's.

use super::exit::{Exit, Failure};
use crate::cli::runtime_dir::ResolvedDir;
use crate::cli::text;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use rpc_plugin_interface::scm::{self, Received};
use rpc_plugin_peer::running_time::WaitLimit;
use rpc_plugin_wire::ident::ADMIN_SOCKET;
use rpc_plugin_wire::life::METHOD_PROGRESS;
use rpc_plugin_wire::limits::{FRAME_BYTES_MAX_RANGE, SOCKET_PATH_BYTES_MAX};
use rpc_plugin_wire::message::{NewRequest, params_from, request_bytes_max, write_cancel, write_request};
use rpc_plugin_wire::{FrameDecoder, Message, Notification, RequestId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Read buffer of the connection. Bytes.
const READ_BYTES: usize = 64 * 1024;

/// How long an answer to a request that was cancelled is waited for.
const CANCEL_WAIT: Duration = Duration::from_secs(1);

/// What goes with a request beside its params.
pub(super) struct RequestExtras<'a> {
    /// Is told of its progress.
    pub(super) progress: &'a mut dyn FnMut(&RawValue),
    /// Descriptors that the daemon is passed; closed here once they are sent.
    pub(super) fds: Vec<OwnedFd>,
    /// The request is cancelled once one of these is readable.
    pub(super) cancelled_by: Vec<BorrowedFd<'a>>,
}

impl<'a> RequestExtras<'a> {
    /// Nothing but progress.
    pub(super) fn nothing(progress: &'a mut dyn FnMut(&RawValue)) -> RequestExtras<'a> {
        RequestExtras { progress, fds: Vec::new(), cancelled_by: Vec::new() }
    }
}

/// An answer of the daemon.
pub(super) struct Answer {
    /// The result as it came.
    pub(super) result: Box<RawValue>,
    /// Descriptors that came with it.
    pub(super) fds: Vec<OwnedFd>,
}

/// A connection to a daemon's admin socket.
pub(super) struct AdminClient {
    stream: UnixStream,
    socket_path: PathBuf,
    /// The daemon's process; 0 where it is in a pid namespace that this process does not see.
    pub(super) daemon_pid: u32,
    decoder: FrameDecoder,
    /// Descriptors that came and were not taken yet.
    came: Vec<OwnedFd>,
    /// The id of the request before.
    last_id: u64,
    /// When the connection was begun, from which its end counts.
    begun: Instant,
    /// The end of all waits on it. What came in time is read, though this process was stopped.
    limit: WaitLimit,
    /// How long they may take, for messages.
    wait: Duration,
}

fn unreachable(message: String) -> Failure {
    Failure::new(Exit::Unreachable, message)
}

impl AdminClient {
    /// Connects to the daemon of that runtime folder, at its own socket or at the one that was named; everything
    /// on this connection ends within `wait`.
    pub(super) fn connect(
        runtime_dir: &ResolvedDir,
        named: Option<&Path>,
        wait: Duration,
    ) -> Result<AdminClient, Failure> {
        let (begun, limit) = (Instant::now(), WaitLimit::new(wait));
        let socket_path = named.map_or_else(|| runtime_dir.path.join(ADMIN_SOCKET), Path::to_owned);
        check_socket(runtime_dir, &socket_path)?;
        let stream = open(&socket_path, wait).map_err(|errno| refused(&socket_path, wait, errno))?;
        let peer = nix::sys::socket::getsockopt(&stream, sockopt::PeerCredentials)
            .map_err(|errno| unreachable(format!("cannot tell who serves {socket_path:?}: {errno}")))?;
        let folder_uid = std::fs::symlink_metadata(&runtime_dir.path).map_or(0, |folder| folder.uid());
        let own_uid = nix::unistd::geteuid().as_raw();
        let is_vouched = || named.is_some_and(|path| vouches_for(path, peer.uid()));
        if !may_be_trusted(peer.uid(), own_uid, folder_uid) && !is_vouched() {
            let message = format!(
                "{socket_path:?} is served by process {} of user {}, not by user {own_uid} or root; \
                 nothing was sent",
                peer.pid(),
                peer.uid()
            );
            return Err(Failure::new(Exit::Denied, message));
        }
        // The daemon may be configured to any limit of the protocol, and does not tell it here.
        let decoder = FrameDecoder::new(*FRAME_BYTES_MAX_RANGE.end());
        let daemon_pid = peer.pid().unsigned_abs();
        Ok(AdminClient {
            stream,
            socket_path,
            daemon_pid,
            decoder,
            came: Vec::new(),
            last_id: 0,
            begun,
            limit,
            wait,
        })
    }

    /// Waits until the daemon hangs up, at most so long, which is at least 1 ms; whether it has. For when no
    /// answer is due.
    pub(super) fn hangs_up_within(&mut self, wait: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + wait;
        let mut unasked = [0; 512];
        loop {
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            match self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut unasked)) {
                Ok(0) => return Ok(true),
                Err(error) if hung_up(&error) => return Ok(true),
                Err(error) if !again(&error) => return Err(self.broken("read from", &error)),
                _ if Instant::now() >= until => return Ok(false),
                _ => {}
            }
        }
    }

    /// Sends the request and waits for its answer.
    pub(super) fn request<P: Serialize>(
        &mut self,
        method: &str,
        params: &P,
    ) -> Result<Box<RawValue>, Failure> {
        self.request_with(method, params, RequestExtras::nothing(&mut |_| {})).map(|answer| answer.result)
    }

    /// Sends the request with what goes with it, and waits for its answer and what comes with that. Its deadline is as long
    /// as everything on this connection may take.
    pub(super) fn request_with<P: Serialize>(
        &mut self,
        method: &str,
        params: &P,
        beside: RequestExtras<'_>,
    ) -> Result<Answer, Failure> {
        let params = params_from(params).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let params = params.as_deref();
        let RequestExtras { progress, fds, mut cancelled_by } = beside;
        let bytes_max = *FRAME_BYTES_MAX_RANGE.end();
        if request_bytes_max(method, params) > bytes_max {
            let message = format!("the params do not fit into the {bytes_max} bytes of the largest frame");
            return Err(Failure::new(Exit::Failed, message));
        }
        let mut frame = Vec::new();
        let params = params.map(RawValue::get);
        self.last_id += 1;
        let id = self.last_id;
        let deadline_ms = Some(u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX));
        let count = fds.len();
        write_request(
            &mut frame,
            &NewRequest { id, method, params, deadline_ms, fds: count, ..NewRequest::default() },
        );
        self.send(method, &frame, &fds)?;
        // Who reads a stream of ours sees its end only once nobody else has it.
        drop(fds);
        let socket_path = self.socket_path.clone();
        let garbage = |what: &dyn std::fmt::Display| garbage(&socket_path, what);
        loop {
            while let Some(frame) = self.decoder.next_frame().map_err(|error| garbage(&error))? {
                let message = Message::parse(frame).map_err(|error| garbage(&error))?;
                let Message::Response(response) = message else {
                    // Notifications may be added to the protocol; requests to a client never.
                    if let Message::Notification(notification) = message {
                        if let Some(value) = progress_of(&notification, id) {
                            progress(value);
                        }
                        continue;
                    }
                    return Err(garbage(&"it sent a request"));
                };
                return match (response.id, response.result) {
                    // Without an id: the daemon refused before it read the request.
                    (None, Err(error)) => Err(Failure::answered(method, error)),
                    (Some(RequestId::Number(of)), Err(error)) if of == id => {
                        Err(Failure::answered(method, error))
                    }
                    (Some(RequestId::Number(of)), Ok(result)) if of == id => {
                        let fds = take_fds(&mut self.came, response.fds.into())?;
                        Ok(Answer { result: result.to_owned(), fds })
                    }
                    (id, _) => {
                        let id = id.map_or("null".to_owned(), |id| id.to_string());
                        Err(garbage(&format_args!("it answered request {id}, which was never made")))
                    }
                };
            }
            if self.is_cancelled(method, &cancelled_by)? {
                cancelled_by.clear();
                self.cancel(method, id)?;
            }
            if self.read(method)? == 0 {
                self.decoder.finish().map_err(|error| garbage(&error))?;
                let message = format!("the daemon at {:?} hung up without an answer", self.socket_path);
                return Err(unreachable(message).hint("did it end? 'rpcpluginctl logs --daemon' may tell"));
            }
        }
    }

    /// Waits for the daemon; whether one of these came first.
    fn is_cancelled(&mut self, method: &str, by: &[BorrowedFd<'_>]) -> Result<bool, Failure> {
        while !by.is_empty() {
            let wait = PollTimeout::try_from(self.remaining(method)?).unwrap_or(PollTimeout::MAX);
            let fds = [self.stream.as_fd()].into_iter().chain(by.iter().copied());
            let mut polled: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match poll(&mut polled, wait) {
                Ok(0) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.broken("wait for", &errno.into())),
                Ok(_) => {
                    let came =
                        |polled: &PollFd<'_>| polled.revents().is_some_and(|events| !events.is_empty());
                    return Ok(polled.iter().skip(1).any(came));
                }
            }
        }
        Ok(false)
    }

    /// Cancels a request. Its answer is waited for, but not for long.
    fn cancel(&mut self, method: &str, id: u64) -> Result<(), Failure> {
        let mut frame = Vec::new();
        write_cancel(&mut frame, id, None);
        self.send(method, &frame, &[])?;
        (self.begun, self.limit, self.wait) = (Instant::now(), WaitLimit::new(CANCEL_WAIT), CANCEL_WAIT);
        Ok(())
    }

    fn send(&mut self, method: &str, frame: &[u8], mut fds: &[OwnedFd]) -> Result<(), Failure> {
        let mut rest = frame;
        while !rest.is_empty() {
            let wait = self.remaining(method)?;
            let written = self
                .stream
                .set_write_timeout(Some(wait))
                .and_then(|()| scm::send(self.stream.as_fd(), rest, fds, true));
            match written {
                Ok(bytes) => {
                    rest = rest.get(bytes..).unwrap_or_default();
                    fds = if bytes > 0 { &[] } else { fds };
                }
                Err(error) if again(&error) => {}
                // It hung up, perhaps after saying why: the answer is still to be read.
                Err(error) if hung_up(&error) => return Ok(()),
                Err(error) => return Err(self.broken("write to", &error)),
            }
        }
        Ok(())
    }

    /// Reads once, into the decoder; 0 bytes where the daemon has hung up.
    fn read(&mut self, method: &str) -> Result<usize, Failure> {
        loop {
            let wait = self.remaining(method)?;
            let space = self.decoder.space(READ_BYTES);
            let read = self
                .stream
                .set_read_timeout(Some(wait))
                .and_then(|()| scm::receive(self.stream.as_fd(), space));
            match read {
                Ok(Received { bytes, fds, .. }) => {
                    self.decoder.filled(bytes);
                    self.came.extend(fds);
                    return Ok(bytes);
                }
                Err(error) if again(&error) => {}
                Err(error) if hung_up(&error) => return Ok(0),
                Err(error) => return Err(self.broken("read from", &error)),
            }
        }
    }

    fn remaining(&mut self, method: &str) -> Result<Duration, Failure> {
        let remaining = self.limit.left(self.begun.elapsed());
        if remaining.is_zero() {
            let wait = text::duration(self.wait);
            let message = format!("no answer to {method} from {:?} within {wait}", self.socket_path);
            return Err(Failure::new(Exit::Deadline, message)
                .hint("the daemon is busy or suspended, and may still do it; see --timeout"));
        }
        Ok(remaining)
    }

    fn broken(&self, action: &str, error: &io::Error) -> Failure {
        unreachable(format!("cannot {action} {:?}: {error}", self.socket_path))
    }
}

/// Those of an answer that announces so many.
fn take_fds(came: &mut Vec<OwnedFd>, count: usize) -> Result<Vec<OwnedFd>, Failure> {
    let there = came.len();
    if there < count {
        let message = format!("{there} of {count} file descriptors of the result could be taken");
        let failure = Failure::new(Exit::Failed, message);
        return Err(failure.hint("may this process have more? see 'ulimit -n'"));
    }
    Ok(came.drain(..count).collect())
}

fn garbage(socket_path: &Path, what: &dyn std::fmt::Display) -> Failure {
    let message = format!("what serves {socket_path:?} does not speak this protocol: {what}");
    Failure::new(Exit::Failed, message).hint("is it another program's socket, or another version?")
}

/// The value, where a notification tells of the progress of that request.
fn progress_of<'a>(notification: &Notification<'a>, request: u64) -> Option<&'a RawValue> {
    #[derive(serde::Deserialize)]
    struct ProgressParams<'a> {
        id: u64,
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let params = notification.params.filter(|_| notification.method == METHOD_PROGRESS)?;
    let progress: ProgressParams<'a> = serde_json::from_str(params.get()).ok()?;
    (progress.id == request).then_some(progress.value)
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// Whether a daemon of this user may be sent anything: our own user's or root's; and where we are root, who may look
/// after all daemons, also that of the owner of the folder.
fn may_be_trusted(peer_uid: u32, own_uid: u32, folder_uid: u32) -> bool {
    peer_uid == own_uid || peer_uid == 0 || (own_uid == 0 && peer_uid == folder_uid)
}

/// Whether that user made the socket at a path that was named, and nobody but root and that user can put another in its
/// place.
fn vouches_for(socket_path: &Path, peer_uid: u32) -> bool {
    let (socket, folder) =
        (std::fs::symlink_metadata(socket_path), socket_path.parent().map(std::fs::metadata));
    let (Ok(socket), Some(Ok(folder))) = (socket, folder) else { return false };
    socket.uid() == peer_uid
        && (folder.uid() == 0 || folder.uid() == peer_uid)
        && (folder.mode() & 0o022 == 0 || folder.mode() & 0o1000 != 0)
}

/// Says what is missing before connecting, while it can still be told apart.
fn check_socket(runtime_dir: &ResolvedDir, socket_path: &Path) -> Result<(), Failure> {
    let folder = socket_path.parent().unwrap_or(&runtime_dir.path);
    let bytes = socket_path.as_os_str().as_bytes().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        return Err(unreachable(format!(
            "the socket path {socket_path:?} has {bytes} bytes; a Unix socket takes {SOCKET_PATH_BYTES_MAX}"
        ))
        .hint("use a runtime folder with a shorter path"));
    }
    let started = "is rpcplugind running? with which --runtime-dir?";
    match std::fs::symlink_metadata(socket_path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(_) => Err(unreachable(format!("{socket_path:?} is not a socket")).hint(started)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let message = match folder.exists() {
                true => format!("no admin socket at {socket_path:?}"),
                false => format!("no runtime folder at {folder:?} (from {})", runtime_dir.source),
            };
            Err(unreachable(message).hint(started))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(no_permission(folder)),
        Err(error) => Err(unreachable(format!("cannot look at {socket_path:?}: {error}")).hint(started)),
    }
}

/// A path that this user may not look at.
pub(super) fn no_permission(path: &Path) -> Failure {
    Failure::new(Exit::Denied, format!("permission denied at {path:?}"))
        .hint("only the user that runs rpcplugind, and root, may use it; is this the right --runtime-dir? members of its \
               admin group name their socket with --admin-socket")
}

/// Connects. A full backlog makes connect(2) wait for the send timeout (unix(7)), so that comes first.
fn open(path: &Path, wait: Duration) -> Result<UnixStream, Errno> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let wait_us = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX).clamp(1, i64::from(u32::MAX));
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::microseconds(wait_us))?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Err(Errno::EINTR) => {}
            Ok(()) => return Ok(UnixStream::from(fd)),
            Err(errno) => return Err(errno),
        }
    }
}

fn refused(path: &Path, wait: Duration, errno: Errno) -> Failure {
    match errno {
        Errno::ECONNREFUSED => unreachable(format!("nobody listens at {path:?}: connection refused"))
            .hint("rpcplugind ended without cleaning up; start it again"),
        Errno::EACCES | Errno::EPERM => no_permission(path),
        Errno::EAGAIN | Errno::ETIMEDOUT => {
            let message = format!("{path:?} took no connection within {}", text::duration(wait));
            Failure::new(Exit::Deadline, message).hint("the daemon is busy or suspended; see --timeout")
        }
        errno => unreachable(format!("cannot connect to {path:?}: {errno}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// This process was stopped until its wait was long over; the daemon answered meanwhile.
    #[test]
    fn an_answer_that_came_in_time_is_read_though_it_is_late() {
        let (stream, mut daemon) = UnixStream::pair().unwrap();
        daemon.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n").unwrap();
        let wait = Duration::from_millis(500);
        let client = |stream| AdminClient {
            stream,
            socket_path: "x".into(),
            daemon_pid: 0,
            decoder: FrameDecoder::new(1000),
            came: Vec::new(),
            last_id: 0,
            begun: Instant::now().checked_sub(Duration::from_secs(9)).unwrap(),
            limit: WaitLimit::new(wait),
            wait,
        };
        let answer = client(stream).request("admin.status", &()).unwrap();
        assert_eq!(answer.get(), "{}");
        let (stream, _silent) = UnixStream::pair().unwrap();
        let failure = client(stream).request("admin.status", &()).unwrap_err();
        assert!(failure.message.contains("within 500ms"), "{}", failure.message);
    }

    #[test]
    fn only_our_own_roots_or_the_folder_owners_daemon_is_trusted() {
        let table = [
            (1000, 1000, 1000, true),
            (0, 1000, 1000, true),
            (1001, 1000, 1000, false),
            (1001, 1000, 1001, false),
            (1001, 0, 1001, true),
            (1002, 0, 1001, false),
            (0, 0, 0, true),
        ];
        for (peer, own, folder, trusted) in table {
            assert_eq!(may_be_trusted(peer, own, folder), trusted, "{peer} {own} {folder}");
        }
    }

    #[test]
    fn who_made_a_named_socket_is_trusted_where_nobody_else_can_replace_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let mode = |mode| std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
        for (bits, trusted) in [(0o755, true), (0o700, true), (0o1777, true), (0o777, false), (0o775, false)]
        {
            mode(bits);
            assert_eq!(vouches_for(&path, uid), trusted, "{bits:o}");
        }
        mode(0o755);
        assert!(!vouches_for(&path, uid + 1), "somebody else serves it");
        assert!(!vouches_for(&folder.path().join("none"), uid));
    }
}
