//! Quick calls run on the thread that reads, and what must not depend on it: heartbeats, cancels and other
//! calls while such a call blocks, how many handlers run at once, and one answer for each call.
//!
//! What it deliberately does not do: measure; `cargo bench` does.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)]

use crate::fake_host::{FakeHost, HELLO_ANSWER, PATIENCE, code, config};
use crate::methods::plugin;
use rpc_plugin_sdk::{Call, End, HandlerError, Plugin};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// A method `gate` that is quick until the switch is on; then it tells that it is there, and blocks until
/// something is sent.
struct Gate {
    shut: Arc<AtomicBool>,
    arrived: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

fn with_gate(plugin: Plugin) -> (Plugin, Gate) {
    let shut = Arc::new(AtomicBool::new(false));
    let ((tell, arrived), (open, opened)) = (mpsc::channel(), mpsc::channel());
    let (is_shut, opened) = (Arc::clone(&shut), Mutex::new(opened));
    let plugin = plugin.method("gate", move |_: &Call, (): ()| {
        if is_shut.swap(false, Ordering::SeqCst) {
            tell.send(()).unwrap();
            opened.lock().unwrap().recv().unwrap();
        }
        Ok::<_, HandlerError>(())
    });
    (plugin, Gate { shut, arrived, open })
}

fn greeted_in_packets(plugin: Plugin) -> FakeHost {
    let mut host = FakeHost::start_in_packets(plugin, config());
    assert_eq!(host.recv()["method"], "host.hello");
    host.send_line(HELLO_ANSWER);
    host
}

fn line(id: u64, method: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method:?}}}\n")
}

/// Calls `method` until it must be known as quick.
fn warm_up(host: &mut FakeHost, method: &str) {
    for id in 0..200 {
        host.request(id, method, &json!({}));
        assert_eq!(host.recv()["id"], id);
    }
}

#[test]
fn a_quick_method_that_blocks_keeps_neither_heartbeat_nor_calls_nor_answers() {
    for threads in [2, 4] {
        let (plugin, gate) = with_gate(plugin().threads(threads));
        let mut host = greeted_in_packets(plugin);
        warm_up(&mut host, "gate");
        gate.shut.store(true, Ordering::SeqCst);
        // One read: answers before the one that blocks, and jobs behind it.
        let ids = 1000..1020u64;
        host.send(ids.clone().map(|id| line(id, "gate")).collect::<String>().as_bytes());
        gate.arrived.recv_timeout(PATIENCE).unwrap();
        host.request(1, "plugin.heartbeat", &json!({}));
        host.request(2, "echo", &json!({}));
        let mut seen: Vec<u64> = (0..21).map(|_| host.recv()["id"].as_u64().unwrap()).collect();
        seen.sort_unstable();
        let others: Vec<u64> = [1, 2].into_iter().chain(ids.clone()).collect();
        let missing: Vec<u64> = others.into_iter().filter(|id| !seen.contains(id)).collect();
        assert_eq!(missing.len(), 1, "{seen:?}");
        assert!(ids.contains(&missing[0]), "{seen:?}");
        gate.open.send(()).unwrap();
        assert_eq!(host.recv()["id"], missing[0], "and it is answered when it is done");
    }
}

#[test]
fn one_that_blocks_with_one_thread_leaves_the_heartbeat_and_the_cancels() {
    let (plugin, gate) = with_gate(plugin().threads(1));
    let mut host = FakeHost::greeted(plugin);
    warm_up(&mut host, "gate");
    gate.shut.store(true, Ordering::SeqCst);
    host.request(1, "gate", &json!({}));
    gate.arrived.recv_timeout(PATIENCE).unwrap();
    host.request(2, "echo", &json!({}));
    host.request(3, "echo", &json!({}));
    host.request(4, "plugin.heartbeat", &json!({}));
    assert_eq!(host.recv()["id"], 4);
    host.cancel(2);
    let answer = host.recv();
    assert_eq!((&answer["id"], code(&answer)), (&json!(2), -32800));
    gate.open.send(()).unwrap();
    let mut left = [host.recv()["id"].as_u64(), host.recv()["id"].as_u64()];
    left.sort_unstable();
    assert_eq!(left, [Some(1), Some(3)]);
}

#[test]
fn a_blocked_quick_method_does_not_keep_the_plugin_from_its_end() {
    let (plugin, gate) = with_gate(plugin());
    let mut host = FakeHost::greeted(plugin);
    warm_up(&mut host, "gate");
    gate.shut.store(true, Ordering::SeqCst);
    host.request(1, "gate", &json!({}));
    gate.arrived.recv_timeout(PATIENCE).unwrap();
    host.request(2, "plugin.shutdown", &json!({}));
    assert_eq!(host.recv()["id"], 2);
    assert_eq!(host.end().unwrap(), End::Shutdown);
}

#[test]
fn all_threads_blocked_leave_heartbeat_and_cancel() {
    for threads in [1, 2, 4] {
        let mut host = FakeHost::greeted(plugin().threads(threads));
        warm_up(&mut host, "echo");
        let blocked = 1..=u64::try_from(threads).unwrap();
        for id in blocked.clone() {
            host.request(id, "block", &json!({}));
        }
        host.request(99, "echo", &json!({}));
        host.request(100, "plugin.heartbeat", &json!({}));
        assert_eq!(host.recv()["id"], 100, "with {threads} threads");
        blocked.clone().for_each(|id| host.cancel(id));
        let mut seen: Vec<u64> = (0..=threads).map(|_| host.recv()["id"].as_u64().unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, blocked.chain([99]).collect::<Vec<_>>());
    }
}

/// Over packets each write of the plugin is one receive of the host.
#[test]
fn quick_calls_of_one_read_are_answered_by_one_write() {
    const CALLS: u64 = 30;
    let mut host = greeted_in_packets(plugin());
    warm_up(&mut host, "echo");
    let batch: String = (0..CALLS).map(|id| line(id, "echo")).collect();
    // A machine that is busy may take the processor away from one call or the other, and then they are
    // more; never so each time.
    let fewest = (0..200).map(|_| {
        host.send(batch.as_bytes());
        let before = host.reads();
        (0..CALLS).for_each(|_| assert!(host.recv().get("result").is_some()));
        host.reads() - before
    });
    assert_eq!(fewest.min(), Some(1));
}

#[test]
fn sequential_quick_calls_stay_on_one_thread() {
    let plugin = plugin().method("who", |_: &Call, (): ()| {
        Ok::<_, HandlerError>(format!("{:?}", std::thread::current().id()))
    });
    let mut host = FakeHost::greeted(plugin);
    warm_up(&mut host, "who");
    let mut longest = 0;
    let (mut row, mut last) = (0, Value::Null);
    for id in 0..2000 {
        host.request(id, "who", &json!({}));
        let who = host.recv()["result"].clone();
        row = if who == last { row + 1 } else { 0 };
        longest = longest.max(row);
        last = who;
    }
    assert!(longest >= 100, "the role changed threads at least each {longest} calls");
}

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

/// Calls of all lengths with cancels and heartbeats among them, in packets of random sizes.
fn one_storm(seed: u64) {
    let mut dice = Dice(seed | 1);
    let threads = 1 + usize::try_from(dice.below(4)).unwrap();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        move |call: &Call, params: Value| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let time = params["us"].as_u64().map(Duration::from_micros);
            let waited = time.map_or(Ok(()), |time| call.wait(time));
            running.fetch_sub(1, Ordering::SeqCst);
            waited.map(|()| params)
        }
    };
    let plugin = plugin().threads(threads).queue_max(10_000).method("work", handler.clone());
    let mut host = FakeHost::greeted(plugin.method("other", handler));
    warm_up(&mut host, "work");
    let calls = 400;
    let mut bytes = String::new();
    for id in 1000..1000 + calls {
        let params = match dice.below(40) {
            0 => json!({"us": 5000}),
            1..3 => json!({"us": dice.below(300)}),
            _ => json!({}),
        };
        let method = if dice.below(4) == 0 { "other" } else { "work" };
        let method = if dice.below(20) == 0 { "plugin.heartbeat" } else { method };
        let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        bytes += &format!("{request}\n");
        if dice.below(10) == 0 {
            let params = json!({"id": 1000 + dice.below(id - 999)});
            bytes += &format!("{}\n", json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": params}));
        }
        if dice.below(12) == 0 {
            host.send(std::mem::take(&mut bytes).as_bytes());
        }
    }
    host.send(bytes.as_bytes());
    let mut seen = vec![false; usize::try_from(calls).unwrap()];
    for _ in 0..calls {
        let answer = host.recv();
        assert!(answer.get("result").is_some() || code(&answer) == -32800, "seed {seed}: {answer}");
        let at = usize::try_from(answer["id"].as_u64().unwrap() - 1000).unwrap();
        assert!(!std::mem::replace(&mut seen[at], true), "seed {seed}: {answer} came twice");
    }
    assert!(most.load(Ordering::SeqCst) <= threads, "seed {seed}: {most:?} at once, {threads} allowed");
    host.request(1, "plugin.shutdown", &json!({}));
    assert_eq!(host.recv()["id"], 1, "seed {seed}");
    assert_eq!(host.end().unwrap(), End::Shutdown);
    assert_eq!(host.try_recv(), None, "seed {seed}");
}

#[test]
fn each_call_of_a_storm_gets_exactly_one_answer() {
    let rounds = std::env::var("SDK_STORMS").map_or(20, |rounds| rounds.parse().unwrap());
    (1..=rounds).for_each(|round| one_storm(round * 0x9e37_79b9));
}
