//! Descriptors that take for ever to close, passed on every way that there is: only who passed them has to do with it.

use super::{Held, host, options, reason, unharmed};
use crate::fixtures::child::alone;
use crate::fixtures::raw::{self, Raw, frame};
use crate::fixtures::world::{SOON, World, calm, up};
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, setsockopt, sockopt};
use rpc_plugin_system::host::{EventKind, Host, PluginConfig, PluginState, Policy, RestartPolicy};
use rpc_plugin_wire::ErrorCode;
use serde_json::{Value, json};
use std::io::{IoSlice, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc;

const CAPABILITIES: [&str; 1] = ["go"];

/// The variable with the address that a lingering socket connects to.
const SINK: &str = "LINGER_SINK";

/// The ways on which one is passed, with what the plugin's own call of it ends in: an answer, or an error.
const WAYS: &[(&str, Seen)] = &[
    ("in a request", Seen::Answer("-32602")),
    ("in a notification", Seen::Answer("sent")),
    ("in host.log", Seen::Answer("-32602")),
    ("in the queue of a socket", Seen::Answer("-32601")),
    ("in an answer", Seen::Refused),
    ("unannounced", Seen::Lost),
    ("among twenty at once", Seen::Lost),
    ("before the end of its process", Seen::Lost),
];

/// How the call ends during which it is passed.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// With a result that says so.
    Answer(&'static str),
    /// The answer itself is refused.
    Refused,
    /// With the connection.
    Lost,
}

/// A socket whose last close(2) does not return while the listener at `address` is there and accepts nothing.
fn lingering(address: &str) -> OwnedFd {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nonblocking(true).unwrap();
    while (&stream).write(&[0; 64 * 1024]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    let mut linger = getsockopt(&stream, sockopt::Linger).unwrap();
    (linger.l_onoff, linger.l_linger) = (1, 3600);
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    stream.into()
}

/// Where lingering sockets connect to; and its address.
fn sink() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Keeps whoever reads it busy, while the sender closes its own copy of what it sends next: the last close is not its.
fn busy() -> Vec<u8> {
    frame(json!({"method": "rpc.new", "params": {"pad": "x".repeat(2 << 20)}}))
}

fn attacker(world: &World, id: &str, role: &str, address: &str, restart: RestartPolicy) -> PluginConfig {
    let policy = Policy { restart, ready_timeout: SOON, hello_timeout: SOON, ..calm() };
    raw::plugin(world, id, "lingerer", role).env(SINK, address).policy(policy)
}

/// Ends a host, which does not wait for what does not close.
fn end(host: Host) {
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        host.shutdown();
        sender.send(()).unwrap();
    });
    ended.recv_timeout(SOON).expect("the host ends");
}

#[test]
fn a_descriptor_that_does_not_close_keeps_nobody_waiting() {
    alone(|| {
        let world = World::new();
        let host = host(&world, &Arc::new(Held::default()));
        let echo = up(world.echo(&host, "echo"));
        let (_sink, address) = sink();
        let ((), calls) = unharmed(&echo, || {
            for (number, (way, seen)) in WAYS.iter().enumerate() {
                let events = host.subscribe(1000).unwrap();
                let config =
                    attacker(&world, &format!("lingerer-{number}"), way, &address, RestartPolicy::Never);
                let plugin = up(host.add(config).unwrap());
                let end = plugin.call_start("go", &json!({}), options()).unwrap().wait();
                match seen {
                    Seen::Answer(text) => {
                        let answer: Value =
                            end.unwrap_or_else(|error| panic!("{way}: {error}")).parse().unwrap();
                        assert!(answer.to_string().contains(text), "{way}: {answer}");
                        let is_named = answer.to_string().contains("is a TCP socket");
                        assert_eq!(is_named, *text == "-32602", "{way}: {answer}");
                        assert_eq!(plugin.status().unwrap().state, PluginState::Healthy, "{way}");
                    }
                    Seen::Refused => {
                        let error = end.unwrap_err();
                        assert_eq!(error.code, ErrorCode::InvalidResponse, "{way}: {error}");
                        assert!(error.message.contains("is a TCP socket"), "{way}: {error}");
                        assert_eq!(plugin.status().unwrap().state, PluginState::Healthy, "{way}");
                    }
                    Seen::Lost => {
                        assert!(end.is_err(), "{way}");
                        reason(&events, 1);
                    }
                }
                // The loop has had to do with it, and goes on.
                for _ in 0..10 {
                    echo.call_with::<_, Value>("echo", &json!({}), options()).unwrap();
                }
            }
        });
        println!("{} ways to pass what does not close; {calls} calls of another plugin answered", WAYS.len());
        end(host);
    });
}

#[test]
fn a_plugin_whose_descriptors_are_not_closed_is_not_launched_again_until_they_are() {
    alone(|| {
        let world = World::new();
        let host = host(&world, &Arc::new(Held::default()));
        let echo = up(world.echo(&host, "echo"));
        let (sink, address) = sink();
        let config = attacker(&world, "lingerer", "hoards", &address, RestartPolicy::Always);
        let plugin = up(host.add(config).unwrap());
        let events = host.subscribe_to_all(10_000).unwrap();
        let (last, calls) = unharmed(&echo, || {
            // Nothing more is read from it, and so it never answers.
            let call = plugin.call_start("go", &json!({}), options()).unwrap();
            let mut told = std::iter::from_fn(|| events.next_within(SOON));
            told.find(|event| event.note.message.contains("hoarded")).expect("it says that it has");
            plugin.restart().unwrap();
            assert!(call.wait().is_err());
            let refused = told.find(|event| event.note.kind == EventKind::HostShortage);
            let error = refused.expect("it is told why it is not launched").note.error.unwrap();
            assert!(error.contains("that it passed wait to be closed"), "{error}");
            let status = plugin.status().unwrap();
            assert_eq!(status.state, PluginState::Backoff);
            assert!(status.last_error.is_some_and(|error| error.contains("wait to be closed")));
            drop(sink);
            let status = plugin.wait_routable(None, SOON).unwrap();
            status.generation.unwrap().get()
        });
        assert!(last > 1);
        println!("launched again as generation {last}; {calls} calls of another plugin answered meanwhile");
    });
}

#[test]
fn a_control_client_that_passes_what_does_not_close_keeps_nobody_waiting() {
    alone(|| {
        let world = World::new();
        let host = world.builder().admin_socket(true).start().unwrap();
        let echo = up(world.echo(&host, "echo"));
        let (_sink, address) = sink();
        let socket = host.runtime_dir().join("admin.sock");
        let ask = frame(json!({"id": 1, "method": "admin.status", "params": {}}));
        let ((), calls) = unharmed(&echo, || {
            for is_read in [true, false] {
                let client = UnixStream::connect(&socket).unwrap();
                client.set_read_timeout(Some(SOON)).unwrap();
                // What ends the connection stands before it where it is not to be read.
                let before = if is_read { busy() } else { [busy(), b"no frame\n".to_vec(), busy()].concat() };
                let _ = (&client).write_all(&before);
                let fd = lingering(&address);
                let numbers = [fd.as_raw_fd()];
                let (part, rights) = ([IoSlice::new(&ask)], [ControlMessage::ScmRights(&numbers)]);
                let sent = sendmsg::<()>(client.as_raw_fd(), &part, &rights, MsgFlags::MSG_NOSIGNAL, None);
                // Where the connection has ended, the last close is this one.
                std::thread::spawn(move || drop(fd));
                if is_read {
                    sent.unwrap();
                    let mut answer = [0; 16];
                    std::io::Read::read_exact(&mut &client, &mut answer).expect("it is answered");
                }
                let other = UnixStream::connect(&socket).unwrap();
                other.set_read_timeout(Some(SOON)).unwrap();
                (&other).write_all(&ask).unwrap();
                std::io::Read::read_exact(&mut &other, &mut [0; 16]).expect("others are served");
            }
        });
        println!("{calls} calls answered meanwhile");
        end(host);
    });
}

/// Started by the hosts of these tests.
pub(crate) fn lingerer_body() {
    let (way, address) = (raw::role(), std::env::var(SINK).unwrap());
    let mut raw = Raw::greet(&CAPABILITIES);
    let go = raw.until("go", &CAPABILITIES);
    if raw.config.generation.get() > 1 {
        raw.say(json!({"id": go["id"], "result": {}}));
        raw.live(&CAPABILITIES);
    }
    let ask = |method: &str| frame(json!({"id": 1, "method": method, "params": {}, "fds": 1}));
    let fd = lingering(&address);
    raw.send(&busy(), &[]);
    let fds = vec![fd];
    let answer = match way.as_str() {
        "in a request" => refused(&mut raw, ask("nobody.has.it"), fds),
        "in host.log" => refused(&mut raw, ask("host.log"), fds),
        "in the queue of a socket" => {
            let (one, other) = UnixStream::pair().unwrap();
            let number = [fds[0].as_raw_fd()];
            let (part, rights) = ([IoSlice::new(b"x")], [ControlMessage::ScmRights(&number)]);
            sendmsg::<()>(one.as_raw_fd(), &part, &rights, MsgFlags::empty(), None).unwrap();
            drop(fds);
            refused(&mut raw, ask("nobody.has.it"), vec![other.into()])
        }
        "in a notification" => {
            pass(&raw, frame(json!({"method": "rpc.new", "fds": 1})), fds);
            json!("sent")
        }
        "in an answer" => {
            pass(&raw, frame(json!({"id": go["id"], "result": {}, "fds": 1})), fds);
            raw.live(&CAPABILITIES);
        }
        "unannounced" => {
            pass(&raw, frame(json!({"method": "rpc.new"})), fds);
            raw.live(&CAPABILITIES);
        }
        "among twenty at once" => {
            let fds = raw::nulls(19).into_iter().chain(fds).collect();
            pass(&raw, frame(json!({"method": "rpc.new", "fds": 16})), fds);
            raw.live(&CAPABILITIES);
        }
        "before the end of its process" => {
            pass(&raw, b"{\"half\":".to_vec(), fds);
            std::process::exit(0);
        }
        "hoards" => {
            // One whose last close is the host's is enough.
            let more_fds = (0..3).map(|_| lingering(&address)).collect::<Vec<_>>();
            for fd in fds.into_iter().chain(more_fds) {
                raw.send(&busy(), &[]);
                pass(&raw, frame(json!({"method": "rpc.new", "fds": 1})), vec![fd]);
            }
            let more = frame(json!({"method": "rpc.new", "fds": 16}));
            assert!((0..15).all(|_| raw.send(&more, &raw::nulls(16))));
            // With these there are more than may wait; they are there once it is answered.
            raw.send(&frame(json!({"id": 1, "method": "nobody.has.it", "fds": 16})), &raw::nulls(16));
            raw.next_call(&CAPABILITIES).unwrap();
            println!("hoarded");
            // Blocks, since nobody reads it.
            while raw.send(&more, &raw::nulls(16)) {}
            std::process::exit(0);
        }
        other => panic!("{other}"),
    };
    raw.say(json!({"id": go["id"], "result": answer}));
    raw.live(&CAPABILITIES)
}

/// Sends bytes with these, and closes the copies here at once: on a thread, because where the host was faster yet, that does
/// not return. It is sent when this returns.
fn pass(raw: &Raw, bytes: Vec<u8>, fds: Vec<OwnedFd>) {
    let connection = raw.connection.try_clone().unwrap();
    let (sender, sent) = mpsc::channel();
    std::thread::spawn(move || {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let (part, rights) = ([IoSlice::new(&bytes)], [ControlMessage::ScmRights(&numbers)]);
        let passed = sendmsg::<()>(connection.as_raw_fd(), &part, &rights, MsgFlags::MSG_NOSIGNAL, None);
        let is_passed = passed == Ok(bytes.len());
        sender.send(is_passed).unwrap();
        drop(fds);
    });
    assert!(sent.recv().unwrap(), "it is taken in one piece");
}

/// The error that a request with these is answered with.
fn refused(raw: &mut Raw, bytes: Vec<u8>, fds: Vec<OwnedFd>) -> Value {
    pass(raw, bytes, fds);
    raw.next_call(&CAPABILITIES).unwrap()["error"].clone()
}
