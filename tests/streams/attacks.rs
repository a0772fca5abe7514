//! Plugins that break the rules about streams in band (protocol section 6): the connection ends with a reason that
//! says what was wrong, nothing is left open, and another plugin goes on as if nothing were.
//!
//! The plugin is this program, started again, on bare frames. What it deliberately does not do: plugins of an SDK that keep to
//! the rules; `streams_stdio` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(missing_docs, reason = "a type of a test's own")]

use crate::fixtures::census::Opened;
use crate::fixtures::child::{self, alone};
use crate::fixtures::world::{SOON, World, next_event, patient, up};
use rpc_plugin_interface::Stream;
use rpc_plugin_system::host::{
    CallOptions, ErrorCode, EventKind, HandlerError, Host, PluginConfig, PluginHandle, PluginState, Policy,
    RestartPolicy, ServiceCall, Transport,
};
use rpc_plugin_wire::handshake::{ENV_AUTH_TOKEN_FILE, ENV_PLUGIN_GENERATION, ENV_PLUGIN_SOCKET};
use rpc_plugin_wire::limits::{STREAM_DATA_BYTES_MAX, STREAM_WINDOW_BYTES, STREAMS_MAX};
use rpc_plugin_wire::stream::StreamFrame;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

#[derive(Serialize, Deserialize)]
struct One {
    stream: Stream,
}

/// The connection of the bare plugin.
struct Bare {
    input: BufReader<Box<dyn Read>>,
    output: Box<dyn Write>,
}

impl Bare {
    fn send(&mut self, value: &Value) {
        self.output.write_all(format!("{value}\n").as_bytes()).unwrap();
    }

    fn stream(&mut self, frame: &StreamFrame) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        self.output.write_all(&bytes).unwrap();
    }

    fn data(&mut self, stream: u64, seq: u64, bytes: usize) {
        self.stream(&StreamFrame::Data { stream, seq, data: vec![0; bytes] });
    }

    fn recv(&mut self) -> Value {
        let mut line = String::new();
        self.input.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Asks the host for something that takes a stream and keeps it.
    fn ask(&mut self, id: &str, streams: &Value) {
        let params = json!({"stream": {"$stream": 0}});
        let method = "test.take";
        self.send(
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "streams": streams, "params": params}),
        );
    }

    /// Greets, answers what the host asks of every plugin, and gives the first call.
    fn greet(&mut self, id: &str, generation: &Value, token: &Value, features: &Value) -> Value {
        let hello = json!({"token": token, "plugin_id": id, "generation": generation, "protocols": [1],
            "version": "1", "capabilities": ["bare"], "features": features});
        self.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "host.hello", "params": hello}));
        loop {
            let frame = self.recv();
            let result = match frame["method"].as_str() {
                None => continue,
                Some("plugin.capabilities") => json!({"plugin_id": id, "version": "1",
                    "generation": generation, "capabilities": ["bare"]}),
                Some("plugin.heartbeat") => json!({"status": "healthy", "uptime_ms": 1, "work_count": 0,
                    "last_success_unix_ms": null, "error_count": 0}),
                Some(_) => return frame,
            };
            self.send(&json!({"jsonrpc": "2.0", "id": frame["id"], "result": result}));
        }
    }

    /// Answers its call with the first error that the host answers a request with.
    fn go_on(&mut self, call: &Value) {
        loop {
            let frame = self.recv();
            if !frame["error"].is_null() {
                self.send(&json!({"jsonrpc": "2.0", "id": call["id"], "result": frame["error"]}));
            }
        }
    }

    /// Breaks one rule; the call has brought stream 0.
    fn attack(&mut self, how: &str, call: &Value) {
        match how {
            "order" => self.data(0, 1, 10),
            "credit" => (0..=STREAM_WINDOW_BYTES / STREAM_DATA_BYTES_MAX * 2)
                .for_each(|seq| self.data(0, seq as u64, STREAM_DATA_BYTES_MAX)),
            "much-credit" => self.stream(&StreamFrame::Ack { stream: 0, credit: 1 }),
            "after-end" => {
                self.stream(&StreamFrame::End { stream: 0 });
                self.data(0, 0, 1);
            }
            "two-ends" => (0..2).for_each(|_| self.stream(&StreamFrame::End { stream: 0 })),
            "two-drops" => (0..2).for_each(|_| self.stream(&StreamFrame::Drop { stream: 0 })),
            "credit-after-drop" => {
                self.stream(&StreamFrame::Drop { stream: 0 });
                self.stream(&StreamFrame::Ack { stream: 0, credit: 0 });
            }
            "long" => self.data(0, 0, STREAM_DATA_BYTES_MAX + 1),
            "empty" => self.data(0, 0, 0),
            "garbage" => self.send(&json!({"jsonrpc": "2.0", "method": "rpc.stream.data",
                "params": {"stream": 0, "seq": 0, "data": "?"}})),
            "no-params" => self.send(&json!({"jsonrpc": "2.0", "method": "rpc.stream.end"})),
            "unknown" => self.stream(&StreamFrame::End { stream: 7 }),
            "even" => self.ask("a", &json!([2])),
            "open" => ["a", "b"].into_iter().for_each(|id| self.ask(id, &json!([1]))),
            "twice" => self.ask("a", &json!([1, 1])),
            "many" => (0..=STREAMS_MAX).for_each(|at| self.ask(&at.to_string(), &json!([2 * at + 1]))),
            "many-at-once" => {
                let numbers: Vec<usize> = (0..=STREAMS_MAX).map(|at| 2 * at + 1).collect();
                self.ask("a", &json!(numbers));
            }
            "notified" => self.send(&json!({"jsonrpc": "2.0", "method": "host.log", "streams": [1]})),
            "both" => self.send(&json!({"jsonrpc": "2.0", "id": "a", "method": "test.take", "fds": 1,
                "streams": [1]})),
            "agreed" => self.ask("a", &json!([1])),
            "agreed-frame" => self.data(1, 0, 1),
            "unwanted" => {
                // More than may be open, each in an answer or request that nobody takes.
                for at in 0..3 * STREAMS_MAX {
                    let (id, streams) = (at.to_string(), json!([2 * at + 1]));
                    let method = "host.log";
                    self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "streams": streams}));
                    let mut seen = [false; 2];
                    while seen != [true; 2] {
                        let frame = self.recv();
                        let of_it = frame["params"]["stream"] == json!(2 * at + 1);
                        seen[0] |= of_it && frame["method"] == "rpc.stream.end";
                        seen[1] |= of_it && frame["method"] == "rpc.stream.drop";
                    }
                    let stream = 2 * at as u64 + 1;
                    self.stream(&StreamFrame::End { stream });
                    self.stream(&StreamFrame::Drop { stream });
                }
                self.send(&json!({"jsonrpc": "2.0", "id": call["id"], "result": {"done": true}}));
            }
            "keeps" => {
                let came = loop {
                    let frame = self.recv();
                    if frame["method"] == "rpc.stream.data" {
                        break frame["params"].clone();
                    }
                };
                let result = json!({"stream": {"$stream": 0}, "came": came, "fds": call["fds"]});
                self.send(&json!({"jsonrpc": "2.0", "id": call["id"], "streams": [1], "result": result}));
                self.data(1, 0, 10);
                self.stream(&StreamFrame::End { stream: 1 });
            }
            _ => panic!("no such attack"),
        }
    }
}

/// The plugin that these tests start.
pub(crate) fn serve_bare() {
    let how = std::env::var("ATTACK").unwrap();
    if let Some(path) = std::env::var_os(ENV_PLUGIN_SOCKET) {
        let connection = UnixStream::connect(path).unwrap();
        let token = std::fs::read_to_string(std::env::var_os(ENV_AUTH_TOKEN_FILE).unwrap()).unwrap();
        let generation = std::env::var(ENV_PLUGIN_GENERATION).unwrap();
        let generation = json!(generation.parse::<u64>().unwrap());
        let input: Box<dyn Read> = Box::new(connection.try_clone().unwrap());
        let mut bare = Bare { input: BufReader::new(input), output: Box::new(connection) };
        let features = if how == "keeps" { json!(["streams"]) } else { json!(["fds", "streams"]) };
        let call = bare.greet("bare", &generation, &json!(token.trim()), &features);
        bare.attack(&how, &call);
        bare.go_on(&call);
        return;
    }
    // The test's harness prints on standard output, so the connection comes as standard error.
    let mut bare = Bare { input: BufReader::new(Box::new(io::stdin())), output: Box::new(io::stderr()) };
    let launch = bare.recv()["params"].clone();
    let features = if how.starts_with("agreed") { json!([]) } else { json!(["fds", "streams"]) };
    let call = bare.greet("bare", &launch["generation"], &launch["token"], &features);
    bare.attack(&how, &call);
    bare.go_on(&call);
}

fn bare(world: &World, host: &Host, how: &str, transport: Transport) -> PluginHandle {
    let program = child::copy(world);
    let id = "bare".parse().unwrap();
    let started = match transport {
        Transport::Stdio => {
            let text = format!("#!/bin/sh\nexec {} \"$@\" 2>&1 >/dev/null\n", program.display());
            PluginConfig::new(id, world.script("on-stdio", &text))
        }
        _ => PluginConfig::new(id, program),
    };
    let policy = Policy { restart: RestartPolicy::Never, ..patient() };
    let config = child::with_body(started.policy(policy).transport(transport), "bare");
    up(host.add(config.env("ATTACK", how)).unwrap())
}

fn host_that_takes(world: &World) -> Host {
    let service = |_: &ServiceCall, One { stream }: One| {
        // Kept as long as the plugin has it open.
        let mut stream = stream;
        io::copy(&mut stream, &mut io::sink())?;
        Ok::<_, HandlerError>(())
    };
    world.builder().service("test.take", service).service_threads(32).start().unwrap()
}

/// Has a plugin break a rule, and gives why its connection ended.
fn reason(world: &World, host: &Host, how: &str, transport: Transport) -> String {
    let plugin = bare(world, host, how, transport);
    let options = CallOptions::default().timeout(SOON);
    let (_ours, stream) = Stream::pair().unwrap();
    let error = if how.starts_with("agreed") {
        plugin.call_with::<_, Value>("bare.go", &json!({}), options).unwrap_err()
    } else {
        plugin.call_with::<_, Value>("bare.go", &One { stream }, options).unwrap_err()
    };
    assert_eq!(error.code, ErrorCode::PluginLost, "{how}: {error}");
    let status = plugin.wait_for(PluginState::Failed, SOON).unwrap();
    host.remove(plugin.id()).unwrap();
    status.last_error.unwrap()
}

#[test]
fn a_request_whose_streams_are_wrong_costs_itself_only() {
    let world = World::new();
    let host = host_that_takes(&world);
    let table = [
        ("twice", "a stream is named twice"),
        ("many-at-once", "an array of at most 16 integers as `streams`"),
        ("both", "it has `fds` and `streams`"),
    ];
    for (how, expected) in table {
        let plugin = bare(&world, &host, how, Transport::Stdio);
        let (_ours, stream) = Stream::pair().unwrap();
        let options = CallOptions::default().timeout(SOON);
        let answered: Value = plugin.call_with("bare.go", &One { stream }, options).unwrap();
        let message = answered["message"].as_str().unwrap();
        assert!(message.contains(expected), "{how}: {message}");
        assert_eq!(plugin.status().unwrap().restarts, 0, "{how}");
        plugin.stop().unwrap();
        plugin.wait_for(PluginState::Stopped, SOON).unwrap();
        host.remove(plugin.id()).unwrap();
    }
    let events = host.subscribe(1000).unwrap();
    let plugin = bare(&world, &host, "notified", Transport::Stdio);
    let (_ours, stream) = Stream::pair().unwrap();
    let options = CallOptions::default().timeout(SOON);
    let call = plugin.call_start("bare.go", &One { stream }, options).unwrap();
    let told = next_event(&events, EventKind::BadFrame).note;
    assert!(told.error.as_deref().unwrap().contains("a notification has `streams`"), "{told:?}");
    assert!(!call.is_done());
}

#[test]
fn each_rule_that_is_broken_is_named_and_nobody_else_is_harmed() {
    alone(|| {
        let world = World::new();
        let host = host_that_takes(&world);
        let echo = up(world.echo(&host, "echo"));
        let generation = echo.status().unwrap().generation;
        let table = [
            ("order", "stream 0: data number 1 of a stream came, number 0 was next"),
            ("credit", "bytes of a stream came for which there was no credit"),
            ("much-credit", "stream 0: a stream was given more credit than bytes of it are on their way"),
            ("after-end", "stream 0: something of a stream came after its end"),
            ("two-ends", "stream 0: something of a stream came after its end"),
            ("two-drops", "stream 0: something of a stream came after its end"),
            ("credit-after-drop", "stream 0: something of a stream came after its end"),
            ("long", "rpc.stream.data has 32769 bytes"),
            ("empty", "rpc.stream.data has 0 bytes"),
            ("garbage", "rpc.stream.data has no base64"),
            ("no-params", "rpc.stream.end has invalid params"),
            ("unknown", "a frame is of stream 7, which is not open"),
            ("even", "a frame brings stream 2; its own have odd numbers"),
            ("open", "a frame brings stream 1, which is open"),
            ("many", "a frame brings stream 33, and 16 of its own are open"),
            ("agreed", "a frame brings streams in band, which were not agreed on"),
            ("agreed-frame", "a frame is of a stream in band, which were not agreed on"),
        ];
        let mut before = None;
        for (how, expected) in table {
            let seen = reason(&world, &host, how, Transport::Stdio);
            assert!(seen.contains(expected) && seen.contains("broke the protocol"), "{how}: {seen}");
            assert_eq!(echo.call::<_, Value>("echo", &json!({"how": how})).unwrap()["how"], how);
            let before = before.get_or_insert_with(|| Opened::take(&[std::process::id()]));
            before.wait_closed("all that it had open is closed");
        }
        let seen = reason(&world, &host, "agreed", Transport::Unix);
        assert!(seen.contains("streams in band, which were not agreed on"), "{seen}");
        assert_eq!(echo.status().unwrap().generation, generation);
    });
}

/// No rule is broken: a socket that could pass descriptors, and a plugin that does not say `fds`.
#[test]
fn a_plugin_on_a_socket_that_takes_no_descriptors_has_its_streams_in_band_both_ways() {
    #[derive(Deserialize)]
    struct Answer {
        stream: Stream,
        came: Value,
        fds: Value,
    }
    let world = World::new();
    let host = host_that_takes(&world);
    let plugin = bare(&world, &host, "keeps", Transport::Unix);
    let (mut ours, stream) = Stream::pair().unwrap();
    ours.write_all(b"hello").unwrap();
    let options = CallOptions::default().timeout(SOON);
    let mut answer: Answer = plugin.call_with("bare.go", &One { stream }, options).unwrap();
    assert_eq!(answer.came, json!({"stream": 0, "seq": 0, "data": "aGVsbG8="}));
    assert_eq!(answer.fds, Value::Null);
    let mut bytes = Vec::new();
    answer.stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, [0; 10]);
}

#[test]
fn streams_that_nobody_takes_are_ended_and_do_not_pile_up() {
    let world = World::new();
    let host = host_that_takes(&world);
    let plugin = bare(&world, &host, "unwanted", Transport::Stdio);
    let options = CallOptions::default().timeout(SOON);
    let done: Value = plugin.call_with("bare.go", &json!({}), options).unwrap();
    assert_eq!(done, json!({"done": true}));
}
