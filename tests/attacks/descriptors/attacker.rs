//! The attacks, as the plugin makes them, and what each is to lead to.
//!
//! What always holds: only the first generation attacks, so that a host can be seen to replace it.

use crate::fixtures::raw::{Raw, frame, nulls};
use rpc_plugin_system::host::EventKind;
use serde_json::{Value, json};
use std::os::unix::net::UnixStream;

/// What an attack leads to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// Its connection ends; the reason says this.
    Violation(&'static str),
    /// The same before its hello was answered.
    Refused(&'static str),
    /// Its process ends, and so does its connection: the host may see either first.
    Lost,
    /// Nothing: it is within the protocol.
    Lives,
}

impl Expected {
    pub(crate) fn is_before_hello(self) -> bool {
        matches!(self, Expected::Refused(_))
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Expected::Violation(text) | Expected::Refused(text) => text,
            Expected::Lost | Expected::Lives => "",
        }
    }

    pub(crate) fn kind(self) -> EventKind {
        match self {
            Expected::Refused(_) => EventKind::AuthenticationFailed,
            Expected::Lost => EventKind::ConnectionLost,
            _ => EventKind::ProtocolViolation,
        }
    }
}

use Expected::{Lives, Lost, Refused, Violation};

/// By name.
pub(crate) const ATTACKS: &[(&str, Expected)] = &[
    ("one announced, none sent", Violation("announces 1 file descriptors, 0 came")),
    ("two announced, one sent", Violation("announces 2 file descriptors, 1 came")),
    ("one announced, two sent", Violation("1 file descriptors came that no frame announces")),
    ("one unannounced with a whole frame", Violation("1 file descriptors came that no frame announces")),
    ("one unannounced with half a frame", Violation("1 file descriptors came that no frame announces")),
    (
        "one unannounced with a frame byte by byte",
        Violation("1 file descriptors came that no frame announces"),
    ),
    ("one with every byte of a frame", Violation("more than 16 file descriptors")),
    ("sixteen, and one more before their frame is whole", Violation("more than 16 file descriptors")),
    ("seventeen announced", Violation("`fds` is more than 16")),
    ("a negative number announced", Violation("`fds`")),
    ("twenty in one message", Violation("more file descriptors came at once")),
    ("two hundred in one message", Violation("more file descriptors came at once")),
    ("before the hello", Refused("before the proof")),
    ("with the hello", Refused("before the proof")),
    ("announced and sent with the hello", Refused("before the proof")),
    ("announced with the hello and not sent", Refused("file descriptors, which were not agreed on")),
    ("unannounced with a notification", Violation("2 file descriptors came that no frame announces")),
    ("in an answer to an unknown id", Violation("unknown id 999")),
    ("fewer in an answer than announced", Violation("announces 3 file descriptors, 2 came")),
    ("a frame that is no message", Violation("the frame is not a message")),
    ("the end in the middle of a frame", Lost),
    ("the end with requests that hold some", Lost),
    ("its own connection's end, held by the host", Lost),
    ("a socket that holds itself", Lives),
    ("sixteen each with thirty frames in pieces", Lives),
    ("a thousand notifications with sixteen each", Lives),
    ("answer with as many as announced", Lives),
    ("more in unanswered requests than are held", Lives),
];

const CAPABILITIES: [&str; 1] = ["go"];

/// A request of a method that the host does not have.
fn ask(id: u64, fds: u64) -> Vec<u8> {
    frame(json!({"id": id, "method": "nobody.has.it", "fds": fds}))
}

/// One that the host holds until it is given up.
fn hold(id: u64, fds: u64) -> Vec<u8> {
    frame(json!({"id": id, "method": "hold", "fds": fds}))
}

pub(crate) fn run(name: &str) -> ! {
    let mut raw = Raw::connect();
    let attacks = raw.config.generation.get() == 1;
    if attacks {
        before_hello(&raw, name);
    }
    raw.say(raw.hello(&CAPABILITIES));
    let answer = raw.next();
    assert!(answer.is_some_and(|answer| answer["result"].is_object()));
    let go = raw.until("go", &CAPABILITIES);
    if attacks {
        let said = attack(&mut raw, name, &go);
        raw.say(json!({"id": go["id"], "result": said}));
    }
    raw.live(&CAPABILITIES)
}

/// Attacks of who has proved nothing end here.
fn before_hello(raw: &Raw, name: &str) {
    let hello = raw.hello(&CAPABILITIES);
    let announced = |count: u64| {
        let mut hello = hello.clone();
        hello["fds"] = json!(count);
        frame(hello)
    };
    match name {
        "before the hello" => raw.send(&frame(hello.clone())[..1], &nulls(1)),
        "with the hello" => raw.send(&frame(hello.clone()), &nulls(1)),
        "announced and sent with the hello" => raw.send(&announced(1), &nulls(1)),
        "announced with the hello and not sent" => raw.send(&announced(1), &[]),
        _ => return,
    };
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut &raw.connection, &mut rest);
    let text = String::from_utf8_lossy(&rest);
    assert!(text.contains("-32001"), "not_authenticated is answered, not {text}");
    std::process::exit(0);
}

fn attack(raw: &mut Raw, name: &str, go: &Value) -> Value {
    match name {
        "one announced, none sent" => raw.send(&ask(1, 1), &[]),
        "two announced, one sent" => raw.send(&ask(1, 2), &nulls(1)),
        "one announced, two sent" => raw.send(&ask(1, 1), &nulls(2)),
        "one unannounced with a whole frame" => raw.send(&ask(1, 0), &nulls(1)),
        "one unannounced with half a frame" => {
            let bytes = ask(1, 0);
            raw.send(&bytes[..10], &nulls(1)) && raw.send(&bytes[10..], &[])
        }
        "one unannounced with a frame byte by byte" => {
            let bytes = ask(1, 0);
            let (first, rest) = bytes.split_at(1);
            raw.send(first, &nulls(1)) && rest.iter().all(|byte| raw.send(&[*byte], &[]))
        }
        "one with every byte of a frame" => ask(1, 16).iter().all(|byte| raw.send(&[*byte], &nulls(1))),
        "sixteen, and one more before their frame is whole" => {
            let bytes = ask(1, 16);
            raw.send(&bytes[..5], &nulls(16)) && raw.send(&bytes[5..9], &nulls(1))
        }
        "seventeen announced" => raw.send(&ask(1, 17), &nulls(16)),
        "a negative number announced" => {
            raw.send(&frame(json!({"id": 1, "method": "a.b", "fds": -1})), &nulls(1))
        }
        "twenty in one message" => raw.send(&ask(1, 16), &nulls(20)),
        "two hundred in one message" => raw.send(&ask(1, 16), &nulls(200)),
        "unannounced with a notification" => {
            raw.send(&frame(json!({"method": "rpc.new", "params": {}})), &nulls(2))
        }
        "in an answer to an unknown id" => {
            raw.send(&frame(json!({"id": 999, "result": {}, "fds": 2})), &nulls(2))
        }
        "fewer in an answer than announced" => {
            raw.send(&frame(json!({"id": go["id"], "result": {}, "fds": 3})), &nulls(2))
        }
        "a frame that is no message" => raw.send(b"{\"jsonrpc\":\"2.0\",\"fds\":2}\n", &nulls(2)),
        "the end in the middle of a frame" => {
            raw.send(&ask(1, 16)[..20], &nulls(16));
            std::process::exit(0);
        }
        "the end with requests that hold some" => {
            // The host has them all before the end: it has answered what came after them.
            for id in 0..8 {
                raw.send(&hold(id, 16), &nulls(16));
            }
            raw.send(&ask(99, 0), &[]);
            raw.next_call(&CAPABILITIES);
            std::process::exit(0);
        }
        "its own connection's end, held by the host" => {
            raw.send(&hold(1, 1), &[raw.own_end()]);
            raw.send(&ask(99, 0), &[]);
            raw.next_call(&CAPABILITIES);
            std::process::exit(0);
        }
        _ => return within(raw, name, go),
    };
    raw.live(&CAPABILITIES)
}

/// What does not break the protocol; what was seen.
fn within(raw: &mut Raw, name: &str, go: &Value) -> Value {
    match name {
        "a socket that holds itself" => {
            let (one, other) = UnixStream::pair().unwrap();
            let own = vec![other.into()];
            let first = [std::os::fd::AsRawFd::as_raw_fd(&own[0])];
            send_over(&one, &first);
            raw.send(&ask(1, 1), &own);
            json!({"answers": answers(raw, 1)})
        }
        "sixteen each with thirty frames in pieces" => {
            let mut rest = Vec::new();
            for id in 0..30 {
                let bytes = ask(id, 16);
                // The rest of the frame before goes with the first bytes of this one's message or right before.
                raw.send(&rest, &[]);
                raw.send(&bytes[..9], &nulls(16));
                rest = bytes[9..].to_vec();
            }
            raw.send(&rest, &[]);
            json!({"answers": answers(raw, 30)})
        }
        "a thousand notifications with sixteen each" => {
            let fds = nulls(16);
            let bytes = frame(json!({"method": "rpc.new", "fds": 16}));
            for _ in 0..1000 {
                raw.send(&bytes, &fds);
            }
            raw.send(&ask(1, 0), &[]);
            json!({"answers": answers(raw, 1)})
        }
        "answer with as many as announced" => {
            raw.send(&frame(json!({"id": go["id"], "result": {"fds": 16}, "fds": 16})), &nulls(16));
            raw.live(&CAPABILITIES)
        }
        "more in unanswered requests than are held" => {
            for id in 0..100 {
                raw.send(&hold(id, 16), &nulls(16));
            }
            let mut overloaded = 0;
            while overloaded < 100 - 256 / 16 {
                let answer = raw.next_call(&CAPABILITIES).unwrap();
                assert_eq!(answer["error"]["code"], -32005, "{answer}");
                overloaded += 1;
            }
            json!({"overloaded": overloaded})
        }
        _ => json!({}),
    }
}

/// Waits for so many answers to what nobody serves.
fn answers(raw: &mut Raw, count: usize) -> usize {
    for _ in 0..count {
        let answer = raw.next_call(&CAPABILITIES).unwrap();
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }
    count
}

fn send_over(socket: &UnixStream, fds: &[std::os::fd::RawFd]) {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let part = [std::io::IoSlice::new(b"x")];
    let rights = [ControlMessage::ScmRights(fds)];
    let number = std::os::fd::AsRawFd::as_raw_fd(socket);
    sendmsg::<()>(number, &part, &rights, MsgFlags::empty(), None).unwrap();
}
