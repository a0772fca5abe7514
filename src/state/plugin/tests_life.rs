//! What counts as life beside the answer to a heartbeat, and what a reason says of a plugin that gave none.

use super::*;
use crate::state::call::{CallRequest, Target};
use crate::state::liveness::MOVED_BYTES_MIN;

const INTERVAL: Duration = Duration::from_secs(1);

/// A healthy one whose hello names these features.
fn bench(features: &[&str]) -> Bench {
    let mut bench = Bench::new(policy());
    bench.reach_hello();
    bench.greeted_with(features);
    bench.proven();
    bench
}

/// Bytes that end no frame.
fn receive(bench: &mut Bench, bytes: &[u8]) {
    let generation = bench.generation();
    let session = bench.plugin.session_mut(generation).expect("a session");
    session.take_in(bytes);
    bench.act(|plugin, step| {
        plugin.with_session(step, generation, |session, cx| session.handle_frames(cx, 4))
    });
}

fn call(bench: &mut Bench, params_bytes: usize, timeout: Duration) {
    let mut call = CallRequest::new(Target::Plugin("echo".parse().unwrap()), "echo.x");
    call.params = Some(json!({ "text": "x".repeat(params_bytes) }).to_string());
    call.timeout = Some(timeout);
    bench.act(|plugin, step| plugin.call(step, CallKey(1), &mut call));
}

/// Lets time pass as it does, step by step, and gives how many heartbeats were asked for meanwhile.
fn elapse(bench: &mut Bench, steps_of_100_ms: u32) -> usize {
    let mut asked = 0;
    for _ in 0..steps_of_100_ms {
        bench.pass(100 * MS);
        asked += heartbeats(&bench.write());
    }
    asked
}

fn heartbeats(written: &[(String, u64)]) -> usize {
    written.iter().filter(|(method, _)| method == "plugin.heartbeat").count()
}

fn missed(bench: &Bench) -> u32 {
    bench.plugin.heartbeats_missed
}

#[test]
fn a_frame_that_arrives_slowly_is_life_and_one_that_drips_is_not() {
    let mut bench = bench(&[]);
    receive(&mut bench, br#"{"jsonrpc":"2.0","method":"rpc.nothing","params":{"text":""#);
    let piece = vec![b'x'; MOVED_BYTES_MIN as usize];
    let mut asked = 0;
    for _ in 0..100 {
        receive(&mut bench, &piece);
        bench.pass(INTERVAL);
        asked += heartbeats(&bench.write());
        assert_eq!((bench.state(), missed(&bench)), (PluginState::Healthy, 0));
    }
    assert!(asked <= 2, "{asked} heartbeats wait behind one frame");
    for second in 0..10 {
        receive(&mut bench, &piece[1..]);
        elapse(&mut bench, 10);
        if bench.state() == PluginState::Stopping {
            assert!(second >= 2, "replaced too early");
            break;
        }
    }
    assert_eq!(bench.state(), PluginState::Stopping);
    assert!(bench.last_error().contains("3 heartbeats in a row failed"), "{}", bench.last_error());
}

#[test]
fn a_frame_that_is_taken_slowly_is_life_until_nothing_moves() {
    let mut bench = bench(&[]);
    call(&mut bench, 1 << 20, 60 * INTERVAL);
    let generation = bench.generation();
    for _ in 0..20 {
        bench.plugin.session_mut(generation).unwrap().queue_mut().wrote(MOVED_BYTES_MIN as usize);
        bench.pass(INTERVAL);
        assert_eq!((bench.state(), missed(&bench)), (PluginState::Healthy, 0));
    }
    for _ in 0..50 {
        bench.pass(100 * MS);
    }
    assert_eq!(bench.state(), PluginState::Stopping);
    let reason = bench.last_error();
    assert!(reason.contains("3 heartbeats missed while call echo.x ran, 2"), "{reason}");
    assert!(reason.contains(" s of 60 s; the last: it did not answer a heartbeat"), "{reason}");
}

#[test]
fn a_serial_plugin_is_not_asked_while_it_serves_a_call() {
    // Its caller waits longer than the plugin's own call_timeout of 30 s, as long, and less.
    for (timeout, asked_from) in [(60, 30), (30, 30), (5, 5)] {
        let mut bench = bench(&["cancel", "serial"]);
        call(&mut bench, 1, timeout * INTERVAL);
        bench.write();
        assert_eq!(elapse(&mut bench, asked_from * 10 - 1), 0, "{timeout}");
        assert_eq!((elapse(&mut bench, 1), bench.state()), (1, PluginState::Healthy), "{timeout}");
        elapse(&mut bench, 40);
        assert_eq!(bench.state(), PluginState::Stopping, "{timeout}");
    }
}

#[test]
fn a_serial_plugin_is_asked_as_soon_as_it_has_answered() {
    let mut bench = bench(&["serial"]);
    call(&mut bench, 1, 60 * INTERVAL);
    let id = bench.write()[0].1;
    assert_eq!(elapse(&mut bench, 100), 0);
    bench.answer(id, &json!({}));
    assert_eq!(elapse(&mut bench, 10), 1);
}

#[test]
fn one_that_does_not_say_serial_is_asked_and_the_reason_names_the_call() {
    let mut bench = bench(&["cancel"]);
    call(&mut bench, 1, 30 * INTERVAL);
    elapse(&mut bench, 69);
    assert_eq!(bench.state(), PluginState::Stopping);
    let reason = bench.last_error();
    assert!(reason.starts_with("3 heartbeats missed while call echo.x ran, 3.1 s of 30 s; "), "{reason}");
}
