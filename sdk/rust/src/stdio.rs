//! Standard input and output as the connection: transport `stdio` (protocol section 7).
//!
//! What this file is for: taking both over, and reading the host's first line, which says what the environment
//! says in the other transports. What it deliberately does not do: decide that this is the transport; `run` does,
//! when no variable of the contract is there.
//!
//! What always holds: from then on descriptor 0 is `/dev/null` and descriptor 1 is standard error, so that nothing
//! that the plugin's author prints can break the protocol; programs that the plugin launches do not inherit the
//! connection; waiting for the first line has an end.

use crate::config::{Channel, Config, HELLO_TIMEOUT_DEFAULT};
use crate::error::{ConfigError, Error};
use crate::hello::is_again;
use crate::pipes::Pipes;
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{dup2_stdin, dup2_stdout};
use rpc_plugin_peer::running_time::WaitLimit;
use rpc_plugin_wire::handshake::{Launch, METHOD_LAUNCH};
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{FrameDecoder, Message};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes asked of the connection at a time; the first line has about 200.
const READ_BYTES: usize = 1024;

/// What standard input and output came to.
pub(crate) struct Stdio {
    pub(crate) config: Config,
    pub(crate) connection: UnixStream,
    /// Where they were no socket.
    pub(crate) pipes: Option<Pipes>,
}

/// Whether both look like a connection: pipes or sockets.
pub(crate) fn is_channel() -> bool {
    let is_channel = |stat: nix::Result<FileStat>| {
        stat.is_ok_and(|stat| [SFlag::S_IFIFO, SFlag::S_IFSOCK].contains(&kind(&stat)))
    };
    is_channel(fstat(io::stdin())) && is_channel(fstat(io::stdout()))
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Takes both over and reads the first line.
///
/// # Errors
/// [`ConfigError::ByHand`] when nothing came, [`ConfigError::FirstLine`] when it was something else,
/// [`Error::Os`] when the operating system refuses it.
pub(crate) fn open() -> Result<Stdio, Error> {
    let taken = take_over();
    let (connection, pipes) =
        taken.map_err(|source| Error::Os { step: "take over standard input and output", source })?;
    let launch = read_launch(&connection, HELLO_TIMEOUT_DEFAULT)?;
    let config = Config {
        channel: Channel::Stdio,
        plugin_id: launch.plugin_id,
        generation: launch.generation,
        token: launch.token,
        host_pid: std::os::unix::process::parent_id(),
        hello_timeout: HELLO_TIMEOUT_DEFAULT,
        // The host's folders may be on another machine.
        log_folder: None,
    };
    Ok(Stdio { config, connection, pipes })
}

fn take_over() -> io::Result<(UnixStream, Option<Pipes>)> {
    let (input, output) = (fstat(io::stdin())?, fstat(io::stdout())?);
    let is_one_socket =
        kind(&input) == SFlag::S_IFSOCK && (input.st_dev, input.st_ino) == (output.st_dev, output.st_ino);
    // Duplicates are numbered from 3 on, and are close-on-exec.
    let (from_host, to_host): (OwnedFd, OwnedFd) =
        (io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?);
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    if dup2_stdout(io::stderr()).is_err() {
        // Standard error is closed.
        dup2_stdout(&null)?;
    }
    if is_one_socket {
        let connection = UnixStream::from(from_host);
        connection.set_nonblocking(false)?;
        return Ok((connection, None));
    }
    Pipes::start(from_host, to_host).map(|(connection, pipes)| (connection, Some(pipes)))
}

fn read_launch(connection: &UnixStream, timeout: Duration) -> Result<Launch, Error> {
    let (begun, mut limit) = (Instant::now(), WaitLimit::new(timeout));
    let wrong = |what: String| Error::Config(ConfigError::FirstLine(what));
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX_UNAUTHENTICATED);
    let launch = loop {
        match decoder.next_frame().map_err(|error| wrong(error.to_string()))? {
            Some(frame) => break understand(frame).map_err(wrong)?,
            None => fill(connection, &mut decoder, limit.left(begun.elapsed()))?,
        }
    };
    if decoder.buffered_bytes() > 0 {
        return Err(wrong("more came after it, before the hello".to_owned()));
    }
    Ok(launch)
}

fn understand(frame: &[u8]) -> Result<Launch, String> {
    match Message::parse(frame).map_err(|error| error.to_string())? {
        Message::Notification(notification) if notification.method == METHOD_LAUNCH => {
            params_into(notification.params).map_err(|error| format!("{METHOD_LAUNCH} has {}", error.message))
        }
        Message::Notification(other) => Err(format!("it is the notification {:?}", other.method)),
        Message::Request(request) => Err(format!("it is a request of {:?}", request.method)),
        Message::Response(_) => Err("it is an answer".to_owned()),
    }
}

/// Reads what comes, for so long at the most.
fn fill(mut connection: &UnixStream, decoder: &mut FrameDecoder, left: Duration) -> Result<(), Error> {
    let nothing = |decoder: &FrameDecoder, what: &str| match decoder.buffered_bytes() {
        0 => Error::Config(ConfigError::ByHand),
        bytes => {
            Error::Config(ConfigError::FirstLine(format!("{what} after {bytes} bytes without a line end")))
        }
    };
    if left.is_zero() {
        return Err(nothing(decoder, "nothing more came"));
    }
    connection
        .set_read_timeout(Some(left))
        .map_err(|source| Error::Os { step: "set a timeout on standard input", source })?;
    match connection.read(decoder.space(READ_BYTES)) {
        Ok(0) => Err(nothing(decoder, "it ended")),
        Ok(bytes) => {
            decoder.filled(bytes);
            Ok(())
        }
        // Whether that was all the time there is, is judged by whoever reads on.
        Err(error) if is_again(&error) => Ok(()),
        Err(source) => Err(Error::Os { step: "read standard input", source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8], keep_open: bool) -> Result<Launch, String> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        let held = keep_open.then_some(theirs);
        let result = read_launch(&ours, Duration::from_millis(20));
        drop(held);
        result.map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_line_says_who_it_is_and_anything_else_is_named() {
        let token = "5a".repeat(32);
        let good = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"rpc.launch\",\"params\":{{\"plugin_id\":\"p\",\"generation\":3,\
             \"token\":\"{token}\"}}}}\n"
        );
        for keep_open in [true, false] {
            let launch = read(good.as_bytes(), keep_open).unwrap();
            assert_eq!((launch.plugin_id.as_str(), launch.generation.get()), ("p", 3));
            assert_eq!(launch.token.to_hex(), token);
        }
        let long = "x".repeat(FRAME_BYTES_MAX_UNAUTHENTICATED + 1);
        let table: [(&str, &str); 8] = [
            ("", "no host started this process"),
            ("{\"jsonrpc\"", "without a line end"),
            ("hello\n", "first line"),
            (&long, "first line"),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{\"id\":1}}\n", "\"rpc.cancel\""),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\"}\n", "a request of \"echo\""),
            ("{\"jsonrpc\":\"2.0\",\"method\":\"rpc.launch\",\"params\":{}}\n", "rpc.launch has"),
            (&format!("{good}x"), "more came after it"),
        ];
        for (bytes, expected) in table {
            for keep_open in [true, false] {
                let error = read(bytes.as_bytes(), keep_open).unwrap_err();
                assert!(error.contains(expected) && !error.contains(&token), "{error}\n  lacks {expected:?}");
            }
        }
    }
}
