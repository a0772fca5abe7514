//! A fake child: it speaks the protocol in real bytes, as right or as wrong as its nature wants.
//!
//! What it deliberately does not do: know the host. It keeps what it said, so that the checks can
//! hold what the host reports against it.

use crate::asks::Asking;
use crate::nature::{Abilities, Greeting, Nature, Reply};
use fastrand::Rng;
use rpc_plugin_wire::handshake::{Launch, METHOD_LAUNCH};
use rpc_plugin_wire::life::{
    Cancel, METHOD_CANCEL, METHOD_CAPABILITIES, METHOD_HEARTBEAT, METHOD_PROGRESS, METHOD_SHUTDOWN, Progress,
};
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{FrameDecoder, Generation, Message, PluginId, Request, RequestId, Token};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Stands for an answer that is no message.
pub const SPOILT: &str = "spoilt";

/// What a child wants to happen, after some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    Send(Vec<u8>),
    Crash,
    Exit,
    Close,
}

/// See the module's text.
#[derive(Debug)]
pub struct Child {
    pub nature: Nature,
    id: PluginId,
    generation: Generation,
    token: Token,
    inbox: FrameDecoder,
    /// What it answered or may still answer, by the host's id.
    pub answers: BTreeMap<u64, Vec<String>>,
    /// Requests that it left unanswered.
    silent: BTreeSet<u64>,
    pub greeted_right: bool,
    pub was_able: bool,
    pub was_well: bool,
    pub asking: Asking,
    served: u64,
}

fn line(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

impl Child {
    pub fn new(nature: Nature, id: PluginId, generation: Generation, token: Token) -> Child {
        Child {
            nature,
            id,
            generation,
            token,
            inbox: FrameDecoder::new(1 << 20),
            answers: BTreeMap::new(),
            silent: BTreeSet::new(),
            greeted_right: false,
            was_able: false,
            was_well: false,
            asking: Asking::default(),
            served: 0,
        }
    }

    /// Its first bytes.
    pub fn greet(&mut self) -> Vec<u8> {
        let kind = self.nature.greeting;
        let mut params = json!({
            "token": self.token.to_hex(), "plugin_id": self.id, "generation": self.generation,
            "protocols": [1], "version": "1.2.3", "sdk": "sim", "capabilities": ["echo", "kv"],
            "interfaces": {"kv": [1, 2]}, "features": ["cancel"],
        });
        if self.generation.get().is_multiple_of(2) {
            params["features"] = json!(["cancel", "serial"]);
        }
        match kind {
            Greeting::WrongToken => params["token"] = json!("0".repeat(64)),
            Greeting::WrongId => params["plugin_id"] = json!("somebody.else"),
            Greeting::WrongGeneration => params["generation"] = json!(self.generation.get() + 1),
            Greeting::OldProtocol => params["protocols"] = json!([0]),
            Greeting::NoCapabilities => params["capabilities"] = json!([]),
            Greeting::Huge => params["padding"] = json!("x".repeat(20_000)),
            _ => {}
        }
        let hello = line(&json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": params}));
        match kind {
            Greeting::Garbage => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Greeting::CallFirst => {
                line(&json!({"jsonrpc": "2.0", "id": 0, "method": "host.log", "params": params}))
            }
            Greeting::AnswerFirst => line(&json!({"jsonrpc": "2.0", "id": 0, "result": {}})),
            Greeting::Half => hello[..hello.len() / 2].to_vec(),
            Greeting::Silence => Vec::new(),
            Greeting::Twice => {
                self.greeted_right = true;
                [hello.clone(), hello].concat()
            }
            Greeting::Right => {
                self.greeted_right = true;
                hello
            }
            _ => hello,
        }
    }

    /// Bytes from the host.
    pub fn receive(&mut self, rng: &mut Rng, bytes: &[u8]) -> Vec<(Duration, Doing)> {
        self.inbox.push(bytes);
        let mut acts = Vec::new();
        let mut frames = Vec::new();
        while let Some(frame) = self.inbox.next_frame().expect("the host's frames are not too long") {
            frames.push(frame.to_vec());
        }
        for frame in frames {
            match Message::parse(&frame).expect("the host's frames are messages") {
                Message::Request(request) => self.handle_request(rng, &request, &mut acts),
                Message::Notification(note) if note.method == METHOD_CANCEL => {
                    let cancel: Cancel = params_into(note.params).expect("an id is in it");
                    let RequestId::Number(id) = cancel.id else { panic!("the host's ids are numbers") };
                    if self.silent.remove(&id) && rng.bool() {
                        let after = Duration::from_millis(rng.u64(0..50));
                        acts.push((after, self.error(id, -32800, "cancelled")));
                    }
                }
                Message::Notification(note) if note.method == METHOD_LAUNCH => {
                    let launch: Launch = params_into(note.params).expect("it says who it is");
                    assert!(launch.plugin_id == self.id && launch.generation == self.generation);
                    assert!(launch.token.matches(&self.token));
                }
                Message::Notification(note) if note.method == METHOD_PROGRESS => {
                    let progress: Progress = params_into(note.params).expect("an id is in it");
                    let RequestId::Text(id) = progress.id else { panic!("it asks by texts") };
                    self.asking.goes_on(&id);
                }
                Message::Notification(note) => panic!("an unknown notification {}", note.method),
                Message::Response(response) => {
                    if let Some(RequestId::Text(id)) = &response.id {
                        self.asking.answered(id);
                    }
                }
            }
            if rng.u32(0..1000) < self.nature.asks_permille {
                let ask = self.asking.say(rng);
                acts.push((Duration::ZERO, Doing::Send(line(&ask))));
            }
        }
        acts
    }

    fn handle_request(&mut self, rng: &mut Rng, request: &Request<'_>, acts: &mut Vec<(Duration, Doing)>) {
        let RequestId::Number(id) = request.id else { panic!("the host's ids are numbers") };
        let delay = Duration::from_micros(rng.u64(0..=self.nature.answer_ms_max * 1000));
        match &*request.method {
            METHOD_CAPABILITIES => acts.extend(self.tell_abilities(id).map(|act| (delay, act))),
            METHOD_SHUTDOWN if self.nature.ignores_shutdown => {
                acts.push((delay, self.result(id, json!({}))));
            }
            METHOD_SHUTDOWN => {
                acts.push((delay, self.result(id, json!({}))));
                acts.push((delay + Duration::from_micros(rng.u64(0..5000)), Doing::Exit));
            }
            METHOD_HEARTBEAT => {
                let wrong = rng.u32(0..1000) < self.nature.heart_permille;
                let reply = if wrong { *rng.choice(&self.nature.heart).unwrap() } else { Reply::Right };
                let status = *rng.choice(&self.nature.statuses).unwrap();
                let well = status == rpc_plugin_wire::life::HealthStatus::Healthy
                    || status == rpc_plugin_wire::life::HealthStatus::Degraded;
                self.was_well |= well && matches!(reply, Reply::Right | Reply::Late);
                // Of another type before its first success, which costs it nothing.
                let success = if self.served == 0 { json!("never") } else { json!(1) };
                let right = json!({
                    "status": status, "uptime_ms": 1, "work_count": self.served, "last_success_unix_ms": success,
                });
                self.reply(rng, reply, request, id, delay, right, acts);
            }
            _ => {
                self.served += 1;
                if request.progress || rng.u8(0..20) == 0 {
                    let told = json!({"id": id, "value": self.served});
                    let told = line(&json!({"jsonrpc": "2.0", "method": "rpc.progress", "params": told}));
                    acts.push((delay / 2, Doing::Send(told)));
                }
                let wrong = rng.u32(0..1000) < self.nature.wrong_permille;
                let reply = if wrong { *rng.choice(&self.nature.wrong).unwrap() } else { Reply::Right };
                let right = json!({"method": request.method, "salt": rng.u64(..)});
                self.reply(rng, reply, request, id, delay, right, acts);
            }
        }
    }

    fn tell_abilities(&mut self, id: u64) -> Option<Doing> {
        let mut right = json!({
            "plugin_id": self.id, "version": "1.2.3", "generation": self.generation,
            "capabilities": ["echo", "kv"],
        });
        match self.nature.abilities {
            Abilities::Right => self.was_able = true,
            Abilities::WrongId => right["plugin_id"] = json!("other"),
            Abilities::WrongGeneration => right["generation"] = json!(self.generation.get() + 1),
            Abilities::Others => right["capabilities"] = json!(["echo"]),
            Abilities::Malformed => right = json!([1]),
            Abilities::Error => return Some(self.error(id, -32603, "no")),
            Abilities::Silence => return None,
        }
        Some(self.result(id, right))
    }

    #[allow(clippy::too_many_arguments)]
    fn reply(
        &mut self,
        rng: &mut Rng,
        reply: Reply,
        request: &Request<'_>,
        id: u64,
        delay: Duration,
        right: Value,
        acts: &mut Vec<(Duration, Doing)>,
    ) {
        let strange = |id: Value| Doing::Send(line(&json!({"jsonrpc": "2.0", "id": id, "result": {}})));
        let act = match reply {
            Reply::Right => self.result(id, right),
            Reply::Error => self.error(id, *rng.choice(&[7, -32603, -32003, -32005]).unwrap(), "it cannot"),
            Reply::Silence => {
                self.silent.insert(id);
                return;
            }
            Reply::Twice => {
                acts.push((delay, self.result(id, right.clone())));
                self.result(id, right)
            }
            Reply::UnknownId => strange(json!(id + 1_000_000)),
            Reply::TextId => strange(json!(id.to_string())),
            Reply::NullId => Doing::Send(line(
                &json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "what?"}}),
            )),
            // A guess: the host may be about to ask, and must not take this for the answer.
            Reply::NextId => {
                let guess = id + rng.u64(1..4);
                self.answers.entry(guess).or_default().push("{}".to_owned());
                acts.push((Duration::ZERO, strange(json!(guess))));
                return;
            }
            Reply::Garbage => Doing::Send(b"{\"jsonrpc\":\"2.0\",\"id\":}\n".to_vec()),
            Reply::Spoilt => {
                self.answers.entry(id).or_default().push(SPOILT.to_owned());
                let frame = format!("{{\"jsonrpc\":\"2.0\",\"result\":{{\"mean\":NaN}},\"id\":{id}}}\n");
                Doing::Send(frame.into_bytes())
            }
            Reply::BadAsks => {
                let request =
                    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"m\",\"params\":null}}\n");
                let notification =
                    "{\"jsonrpc\":\"2.0\",\"method\":\"host.log\",\"params\":{\"n\":-Infinity}}\n";
                acts.push((Duration::ZERO, Doing::Send((request + notification).into_bytes())));
                self.result(id, right)
            }
            Reply::NotUtf8 => Doing::Send(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}\n".to_vec()),
            Reply::Oversize => Doing::Send(vec![b'x'; 24_000]),
            Reply::Crash => Doing::Crash,
            Reply::Close => Doing::Close,
            Reply::Late => {
                let deadline = Duration::from_millis(request.deadline_ms.unwrap_or(0).min(2000));
                acts.push((deadline + Duration::from_millis(rng.u64(0..500)), self.result(id, right)));
                return;
            }
            Reply::Malformed => self.result(id, json!({"status": "splendid"})),
        };
        acts.push((delay, act));
    }

    fn result(&mut self, id: u64, result: Value) -> Doing {
        self.answers.entry(id).or_default().push(result.to_string());
        Doing::Send(line(&json!({"jsonrpc": "2.0", "id": id, "result": result})))
    }

    fn error(&mut self, id: u64, code: i64, message: &str) -> Doing {
        self.answers.entry(id).or_default().push(format!("{code} {message}"));
        Doing::Send(line(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})))
    }
}
