//! Calls of all kinds at once: quick ones, nested ones to a random depth, cancels, heartbeats; each gets exactly one
//! answer, whatever the number of threads.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, PATIENCE, code};
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, End, HandlerError};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A cheap generator, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// A host that answers calls of the plugin at once, late, or by calling the plugin again for them.
struct Storm {
    host: FakeHost,
    dice: Dice,
    next: u64,
    /// What the plugin waits for, by the id of our call that answers it.
    through: HashMap<u64, Value>,
    late: Vec<Value>,
    open: HashMap<u64, bool>,
    /// Handlers that keep their places would wait for each other crosswise, until their deadlines.
    nests: bool,
}

impl Storm {
    fn call(&mut self, method: &str, chain: &Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let params = json!({"us": self.dice.below(50)});
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params, "chain": chain});
        self.host.send_line(&request.to_string());
        self.open.insert(id, false);
        if self.dice.below(12) == 0 {
            self.host.cancel(id);
        }
        id
    }

    /// Deals with one frame; whether it was the end of a call of ours.
    fn take(&mut self) -> bool {
        let frame = self.host.recv();
        match frame["method"].as_str() {
            Some("svc") => {
                let mut chain = frame["chain"].clone();
                let depth = chain.as_array().unwrap().len();
                chain.as_array_mut().unwrap().push(json!(format!("host:tested/3/{}", frame["id"])));
                match self.dice.below(4) {
                    0 | 1 if depth < 8 && self.nests => {
                        let method = if self.dice.below(2) == 0 { "nested" } else { "echo" };
                        let id = self.call(method, &chain);
                        self.through.insert(id, frame);
                    }
                    2 => self.late.push(frame),
                    _ => self.host.answer(&frame, &json!(1)),
                }
                false
            }
            Some(method) => {
                assert_eq!(method, "rpc.cancel", "{frame}");
                false
            }
            None => {
                let id = frame["id"].as_u64().unwrap();
                assert!(frame.get("result").is_some() || [-32800, -32009].contains(&code(&frame)), "{frame}");
                assert_eq!(self.open.remove(&id), Some(false), "{frame}");
                if let Some(waiting) = self.through.remove(&id) {
                    self.host.answer(&waiting, &json!(2));
                }
                true
            }
        }
    }
}

fn one_storm(seed: u64) {
    const CALLS: u64 = 150;
    let mut dice = Dice(seed | 1);
    let threads = 1 + usize::try_from(dice.below(4)).unwrap();
    let is_reentrant = dice.below(4) != 0;
    let plugin = plugin().threads(threads).reentrant(is_reentrant).queue_max(100_000).method(
        "nested",
        |call: &Call, params: Value| {
            call.wait(std::time::Duration::from_micros(params["us"].as_u64().unwrap_or(0)))?;
            Ok::<Value, HandlerError>(call.host().timeout(PATIENCE).call("svc", &params)?)
        },
    );
    let host = FakeHost::greeted_with_all(plugin);
    let (through, late, open) = (HashMap::new(), Vec::new(), HashMap::new());
    let mut storm = Storm { host, dice, next: 0, through, late, open, nests: is_reentrant };
    for _ in 0..CALLS {
        let method = ["nested", "echo", "echo", "plugin.heartbeat"][storm.dice.below(4) as usize];
        if method == "plugin.heartbeat" {
            let id = storm.next;
            storm.next += 1;
            storm.host.request(id, method, &json!({}));
            storm.open.insert(id, false);
        } else {
            storm.call(method, &json!([]));
        }
    }
    while !storm.open.is_empty() {
        // What is late is answered when something else happened meanwhile, or nothing does.
        while storm.host.has_more() && storm.dice.below(8) != 0 && !storm.open.is_empty() {
            storm.take();
        }
        while let Some(frame) = storm.late.pop() {
            storm.host.answer(&frame, &json!(3));
        }
        if !storm.open.is_empty() {
            storm.take();
        }
    }
    storm.host.request(u64::from(u32::MAX), "plugin.shutdown", &json!({}));
    loop {
        let frame = storm.host.recv();
        if frame["id"] == u32::MAX && frame.get("method").is_none() {
            break;
        }
    }
    assert_eq!(storm.host.end().unwrap(), End::Shutdown, "seed {seed}");
}

#[test]
fn each_call_of_a_nested_storm_gets_exactly_one_answer() {
    let rounds = std::env::var("SDK_STORMS").map_or(20, |rounds| rounds.parse().unwrap());
    (1..=rounds).for_each(|round| one_storm(round * 0x9e37_79b9));
}
