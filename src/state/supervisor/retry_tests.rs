//! Repeats and routes in virtual time: plugins that come up, break off and are replaced.

use super::*;
use crate::state::plugin::{ExitReport, PeerIdentity};
use crate::state::plugin_config::PluginConfig;
use crate::state::supervisor::Wish;
use rpc_plugin_peer::Party;
use rpc_plugin_wire::Token;
use serde_json::{Value, json};

#[path = "retry_tests_limits.rs"]
mod limits;
#[path = "retry_tests_routes.rs"]
mod routes;

const MS: Duration = Duration::from_millis(1);
const PID: u32 = 4711;
const UID: u32 = 1000;

/// A supervisor, the plugins that it was given, and the time.
struct Bench {
    host: Supervisor,
    now: Time,
    /// How each call ended, in order.
    ends: Vec<(u64, Result<String, CallError>)>,
    notes: Vec<Note>,
    /// Of the call that ended last.
    tries: Option<u32>,
}

fn policy() -> Policy {
    Policy {
        heartbeat_interval: Duration::ZERO,
        calls_in_flight_max: 2,
        backoff_initial: 100 * MS,
        backoff_jitter_percent: 0,
        shutdown_grace: Duration::ZERO,
        restarts_max: 50,
        rpc_audit: RpcAudit::Failures,
        ..Policy::default()
    }
}

impl Bench {
    fn new(ids: &[&str]) -> Bench {
        Bench::with_policy(ids, policy())
    }

    fn with_policy(ids: &[&str], policy: Policy) -> Bench {
        let mut host = Supervisor::new(7);
        for id in ids {
            let config = PluginConfig::new(id.parse().unwrap(), format!("/{id}")).policy(policy.clone());
            host.add(config, None).unwrap();
        }
        Bench { host, now: Time::ZERO, ends: Vec::new(), notes: Vec::new(), tries: None }
    }

    fn key(&self, id: &str) -> PluginKey {
        self.host.find(&id.parse().unwrap()).unwrap()
    }

    fn take_actions(&mut self) {
        while let Some(action) = self.host.poll_action() {
            match action {
                Action::Complete(CallKey(number), end) => {
                    let CallEnd { result, plugin_id, tries, .. } = *end;
                    self.tries = Some(tries);
                    let result = result.map(|raw| format!("{} of {}", raw.get(), plugin_id.unwrap()));
                    self.ends.push((number, result));
                }
                Action::Note(note) => self.notes.push(*note),
                _ => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(at) = self.host.next_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.host.handle_time(self.now);
            self.take_actions();
        }
        self.now = end;
    }

    fn frame(&mut self, id: &str, value: &Value) {
        let key = self.key(id);
        let generation = self.host.plugin(key).unwrap().generation().unwrap();
        let session = self.host.session_mut(key, generation).expect("a session");
        session.take_in(format!("{value}\n").as_bytes());
        while self
            .host
            .with_session(self.now, key, generation, |session, cx| session.handle_frames(cx, 4))
            .unwrap_or(false)
        {}
        self.take_actions();
    }

    /// Writes all that waits; the ids of the requests of that method.
    fn written(&mut self, id: &str, method: &str) -> Vec<u64> {
        let key = self.key(id);
        let Some(generation) = self.host.plugin(key).unwrap().generation() else { return Vec::new() };
        let Some(session) = self.host.session_mut(key, generation) else { return Vec::new() };
        let requests = session.write_requests().into_iter();
        requests.filter(|(called, _)| called == method).map(|(_, id)| id).collect()
    }

    fn answer(&mut self, id: &str, request: u64) {
        self.frame(id, &json!({"jsonrpc": "2.0", "id": request, "result": {}}));
    }

    /// From wherever it is launched to healthy.
    fn rise(&mut self, id: &str) {
        let (key, now) = (self.key(id), self.now);
        let generation = self.host.plugin(key).unwrap().generation().unwrap();
        self.host.with_plugin(now, key, |plugin, step| {
            plugin.handle_prepared(step, generation, Ok(Token::from_bytes([7; 32])))
        });
        self.host.with_plugin(now, key, |plugin, step| plugin.handle_spawned(step, generation, Ok(PID)));
        assert!(
            self.host
                .with_plugin(now, key, |plugin, step| plugin.handle_connection(
                    step,
                    generation,
                    PeerIdentity { pid: PID, uid: UID },
                    UID
                ))
                .unwrap_or(false)
        );
        let hello = json!({
            "token": "07".repeat(32), "plugin_id": id, "generation": generation,
            "protocols": [1], "version": "1", "capabilities": ["echo"], "features": ["cancel"],
        });
        self.frame(id, &json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": hello}));
        self.written(id, "");
        let able =
            json!({"plugin_id": id, "version": "1", "generation": generation, "capabilities": ["echo"]});
        self.frame(id, &json!({"jsonrpc": "2.0", "id": 0, "result": able}));
        self.frame(id, &json!({"jsonrpc": "2.0", "id": 1, "result": {"status": "healthy"}}));
        assert!(self.host.plugin(key).unwrap().state().is_routable());
    }

    fn up(&mut self, id: &str) {
        let key = self.key(id);
        self.host.wish(self.now, key, Wish::Start).unwrap();
        self.rise(id);
    }

    /// Its process ends.
    fn crash(&mut self, id: &str) {
        let key = self.key(id);
        let generation = self.host.plugin(key).unwrap().generation().unwrap();
        let exit = ExitReport { clean: false, text: "signal 9 (SIGKILL)".into(), ..ExitReport::default() };
        self.host.with_plugin(self.now, key, |plugin, step| plugin.handle_exit(step, generation, exit));
        self.take_actions();
    }

    fn call(&mut self, number: u64, target: Target, timeout: Duration, idempotent: bool) {
        let mut request = CallRequest { idempotent, ..CallRequest::new(target, "echo") };
        request.timeout = Some(timeout);
        // Enough callers that none of them needs more than its share.
        request.caller = Party::Client((number % 16) as u32);
        self.host.call(self.now, CallKey(number), &mut request);
        self.take_actions();
    }

    fn repeatable(&mut self, number: u64, id: &str, timeout: Duration) {
        self.call(number, Target::Plugin(id.parse().unwrap()), timeout, true);
    }

    fn error(&mut self) -> CallError {
        assert_eq!(self.ends.len(), 1, "{:?}", self.ends);
        self.ends.remove(0).1.unwrap_err()
    }

    fn repeats(&self) -> usize {
        self.notes.iter().filter(|note| note.kind == EventKind::CallRepeated).count()
    }

    fn rests(&self) {
        assert!(self.host.retries.is_empty() && self.host.retries.shares.total() == Amount::default());
    }
}

#[test]
fn a_call_survives_a_restart_in_the_middle_and_ends_once() {
    let mut bench = Bench::new(&["a"]);
    bench.up("a");
    bench.repeatable(1, "a", 5000 * MS);
    assert_eq!(bench.written("a", "echo"), [2]);
    bench.crash("a");
    assert!(bench.ends.is_empty(), "it is to be repeated: {:?}", bench.ends);
    bench.pass(50 * MS);
    assert_eq!(bench.repeats(), 0, "nothing is tried where nobody takes calls");
    // Its replacement is launched.
    bench.pass(60 * MS);
    bench.rise("a");
    assert_eq!(bench.written("a", "echo"), [2], "at once");
    bench.answer("a", 2);
    assert_eq!(bench.ends.remove(0).1.unwrap(), "{} of a");
    assert!(bench.ends.is_empty());
    let note = bench.notes.iter().find(|note| note.kind == EventKind::CallRepeated).unwrap();
    assert_eq!((note.method.as_deref(), note.generation.unwrap().get()), (Some("echo"), 2));
    assert!(note.reason.as_ref().unwrap().contains("plugin_lost"), "{:?}", note.reason);
    assert_eq!((bench.repeats(), bench.host.timers_pending()), (1, 0));
    bench.rests();
}

/// Answers as a plugin does that breaks its calls off because it is to end.
fn break_off(bench: &mut Bench, id: &str, request: u64, code: ErrorCode) {
    let error = json!({"code": code.code(), "message": "the call was broken off"});
    bench.frame(id, &json!({"jsonrpc": "2.0", "id": request, "error": error}));
}

#[test]
fn a_call_survives_an_orderly_restart_and_a_stop_with_a_start() {
    for (code, wishes) in [
        (ErrorCode::Cancelled, &[Wish::Restart][..]),
        (ErrorCode::Unavailable, &[Wish::Restart]),
        (ErrorCode::Cancelled, &[Wish::Stop, Wish::Start]),
    ] {
        let mut bench = Bench::with_policy(&["a"], Policy { shutdown_grace: 3000 * MS, ..policy() });
        bench.up("a");
        bench.repeatable(1, "a", 5000 * MS);
        bench.call(2, Target::Plugin("a".parse().unwrap()), 5000 * MS, false);
        assert_eq!(bench.written("a", "echo"), [2, 3]);
        let key = bench.key("a");
        bench.host.wish(bench.now, key, wishes[0]).unwrap();
        break_off(&mut bench, "a", 2, code);
        assert!(bench.ends.is_empty(), "it is to be repeated: {:?}", bench.ends);
        break_off(&mut bench, "a", 3, code);
        assert_eq!(bench.error().outcome, Outcome::Answered, "the other one is not");
        // Nobody takes calls until the next generation does.
        bench.pass(2000 * MS);
        bench.crash("a");
        if let Some(wish) = wishes.get(1) {
            bench.pass(1000 * MS);
            bench.host.wish(bench.now, key, *wish).unwrap();
        }
        assert_eq!((bench.repeats(), bench.ends.len()), (0, 0));
        bench.rise("a");
        assert_eq!(bench.written("a", "echo"), [2], "at once");
        bench.answer("a", 2);
        assert_eq!(bench.ends.remove(0).1.unwrap(), "{} of a");
        let note = bench.notes.iter().find(|note| note.kind == EventKind::CallRepeated).unwrap();
        // That a plugin is unavailable is otherwise the host's word.
        let told = if code == ErrorCode::Unavailable { "the plugin answered -32002" } else { code.name() };
        assert!(note.reason.as_ref().unwrap().contains(told), "{:?}", note.reason);
        bench.rests();
    }
}

#[test]
fn what_was_broken_off_may_have_been_executed_and_is_not_repeated_at_the_end_of_the_host() {
    let mut bench = Bench::with_policy(&["a"], Policy { shutdown_grace: 3000 * MS, ..policy() });
    bench.up("a");
    // One that breaks a call off without being asked to end has answered it.
    bench.repeatable(1, "a", 1000 * MS);
    assert_eq!(bench.written("a", "echo"), [2]);
    break_off(&mut bench, "a", 2, ErrorCode::Cancelled);
    assert_eq!(bench.error().outcome, Outcome::Answered);
    bench.repeatable(1, "a", 1000 * MS);
    assert_eq!(bench.written("a", "echo"), [3]);
    let key = bench.key("a");
    bench.host.wish(bench.now, key, Wish::Stop).unwrap();
    break_off(&mut bench, "a", 3, ErrorCode::Cancelled);
    bench.pass(1000 * MS);
    let error = bench.error();
    assert_eq!((error.code, error.outcome), (ErrorCode::DeadlineExceeded, Outcome::Indeterminate));
    assert!(error.message.contains("the last try: cancelled"), "{error}");
    bench.crash("a");
    bench.up("a");
    bench.repeatable(1, "a", 1000 * MS);
    bench.repeatable(2, "a", 1000 * MS);
    assert_eq!(bench.written("a", "echo"), [2, 3]);
    bench.host.wish(bench.now, key, Wish::Restart).unwrap();
    break_off(&mut bench, "a", 2, ErrorCode::Cancelled);
    assert!(bench.ends.is_empty());
    bench.host.end(bench.now);
    bench.take_actions();
    let error = bench.error();
    assert_eq!((error.code, error.outcome), (ErrorCode::Cancelled, Outcome::Answered));
    break_off(&mut bench, "a", 3, ErrorCode::Cancelled);
    assert_eq!(bench.error().code, ErrorCode::Cancelled);
    bench.rests();
}

#[test]
fn one_that_is_not_idempotent_is_not_repeated() {
    let mut bench = Bench::new(&["a"]);
    bench.up("a");
    bench.call(1, Target::Plugin("a".parse().unwrap()), 5000 * MS, false);
    bench.written("a", "echo");
    bench.crash("a");
    let error = bench.error();
    assert_eq!((error.code, error.outcome, error.tries), (ErrorCode::PluginLost, Outcome::Indeterminate, 1));
    bench.call(2, Target::Plugin("a".parse().unwrap()), 5000 * MS, false);
    assert_eq!(bench.error().code, ErrorCode::Unavailable);
}

#[test]
fn a_call_that_never_succeeds_ends_at_its_deadline_and_tells_what_is_known() {
    for is_sent in [false, true] {
        let mut bench = Bench::new(&["a"]);
        if is_sent {
            bench.up("a");
        }
        bench.repeatable(1, "a", 900 * MS);
        if is_sent {
            bench.written("a", "echo");
            bench.crash("a");
            let key = bench.key("a");
            bench.host.wish(bench.now, key, Wish::Stop).unwrap();
        }
        bench.pass(899 * MS);
        assert!(bench.ends.is_empty());
        bench.pass(MS);
        let error = bench.error();
        let outcome = if is_sent { Outcome::Indeterminate } else { Outcome::NotSent };
        assert_eq!((error.code, error.outcome, error.tries), (ErrorCode::DeadlineExceeded, outcome, 1));
        let last = if is_sent {
            "the last try: plugin_lost"
        } else {
            "the last try: unavailable: the plugin is stopped"
        };
        assert!(error.message.contains(last) && error.message.contains("900ms"), "{error}");
        assert_eq!((bench.repeats(), bench.host.timers_pending()), (0, 0));
        bench.rests();
    }
}

#[test]
fn the_deadline_of_a_try_is_what_is_left_of_the_calls() {
    let mut bench = Bench::new(&["a"]);
    bench.up("a");
    bench.repeatable(1, "a", 1000 * MS);
    bench.written("a", "echo");
    bench.pass(300 * MS);
    bench.crash("a");
    bench.pass(100 * MS);
    bench.rise("a");
    assert_eq!(bench.written("a", "echo").len(), 1);
    bench.pass(599 * MS);
    assert!(bench.ends.is_empty());
    bench.pass(MS);
    let error = bench.error();
    let expected = (ErrorCode::DeadlineExceeded, Outcome::Indeterminate, 2);
    assert_eq!((error.code, error.outcome, error.tries), expected);
    assert!(
        error.to_string().ends_with("(tried 2 times)") && error.to_object().message.contains("tried 2"),
        "{error}"
    );
    bench.rests();
}

#[test]
fn a_plugin_that_is_full_is_asked_again_after_a_backoff_that_doubles() {
    let mut bench = Bench::new(&["a"]);
    bench.up("a");
    (1..=2).for_each(|number| bench.repeatable(number, "a", 60_000 * MS));
    assert_eq!(bench.written("a", "echo"), [2, 3]);
    bench.repeatable(3, "a", 60_000 * MS);
    assert!(bench.ends.is_empty() && bench.written("a", "echo").is_empty());
    let mut looks = Vec::new();
    while let Some(at) = bench.host.next_at().filter(|at| *at < Time::ZERO.plus(9000 * MS)) {
        looks.push(at.since(bench.now));
        bench.pass(at.since(bench.now));
    }
    // Each wait lies between half of it and all of it: 10, 20, ... 640, 1000, 1000 ms, and the tick of the clock.
    for (place, wait) in looks.iter().enumerate() {
        let most = (10 * MS * (1 << place.min(10))).min(1000 * MS);
        assert!(*wait >= most / 2 && *wait <= most + 2 * MS, "wait {place} is {wait:?}");
    }
    assert!(looks.len() > 12, "{looks:?}");
    assert_eq!(bench.repeats(), 0, "nothing was sent");
    bench.answer("a", 2);
    bench.pass(1000 * MS);
    assert_eq!(bench.written("a", "echo"), [4]);
    bench.answer("a", 4);
    bench.answer("a", 3);
    assert_eq!(bench.ends.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3, 2]);
    assert_eq!(bench.repeats(), 1);
    bench.rests();
}

#[test]
fn what_the_plugin_answers_and_what_cannot_become_better_is_not_repeated() {
    let mut bench = Bench::new(&["a"]);
    bench.up("a");
    for (place, code) in
        [ErrorCode::Unavailable, ErrorCode::Overloaded, ErrorCode::PluginLost].iter().enumerate()
    {
        bench.repeatable(1, "a", 1000 * MS);
        let error = json!({"code": code.code(), "message": "as it says"});
        bench.written("a", "echo");
        bench.frame("a", &json!({"jsonrpc": "2.0", "id": 2 + place, "error": error}));
        let error = bench.error();
        assert_eq!((error.code, error.outcome, error.tries), (*code, Outcome::Answered, 1));
    }
    bench.repeatable(1, "nobody", 1000 * MS);
    assert_eq!(bench.error().code, ErrorCode::UnknownPlugin);
    for (method, code) in [
        ("plugin.shutdown", ErrorCode::Denied),
        ("nothing", ErrorCode::MethodNotFound),
        ("not a method", ErrorCode::InvalidRequest),
    ] {
        let target = Target::Plugin("a".parse().unwrap());
        let mut request = CallRequest { idempotent: true, ..CallRequest::new(target, method) };
        bench.host.call(bench.now, CallKey(1), &mut request);
        bench.take_actions();
        assert_eq!(bench.error().code, code);
    }
    let params = Some(format!("{{\"x\":\"{}\"}}", "x".repeat(policy().frame_bytes_max)));
    let target = Target::Plugin("a".parse().unwrap());
    let mut request = CallRequest { idempotent: true, ..CallRequest::new(target, "echo") };
    request.params = params;
    bench.host.call(bench.now, CallKey(1), &mut request);
    bench.take_actions();
    assert_eq!(bench.error().code, ErrorCode::TooLarge);
    bench.rests();
}

#[test]
fn a_cancelled_call_is_repeated_no_more_and_leaves_nothing() {
    for is_sent in [false, true] {
        let mut bench = Bench::new(&["a"]);
        if is_sent {
            bench.up("a");
        }
        bench.repeatable(1, "a", 1000 * MS);
        bench.host.cancel(bench.now, CallKey(1), None, None);
        bench.rests();
        assert!(bench.written("a", "echo").is_empty(), "it was withdrawn");
        assert_eq!(bench.host.timers_pending(), 0);
        bench.pass(2000 * MS);
        assert!(bench.ends.is_empty());
    }
}

#[test]
fn who_waits_for_a_try_is_told_when_the_plugin_is_given_up_or_the_host_ends() {
    let mut bench = Bench::new(&["a"]);
    bench.repeatable(1, "a", 1000 * MS);
    let key = bench.key("a");
    assert!(bench.host.remove(bench.now, key));
    bench.take_actions();
    assert_eq!(bench.error().code, ErrorCode::UnknownPlugin);
    let mut bench = Bench::new(&["a"]);
    bench.repeatable(1, "a", 1000 * MS);
    bench.host.end(bench.now);
    bench.take_actions();
    assert_eq!(bench.error().code, ErrorCode::Unavailable);
    bench.repeatable(1, "a", 1000 * MS);
    assert_eq!(bench.error().code, ErrorCode::Unavailable, "nor is another one kept");
    assert_eq!(bench.host.timers_pending(), 0);
    bench.rests();
}

#[test]
fn what_is_kept_to_be_repeated_is_bounded() {
    let mut bench = Bench::new(&["a"]);
    (0..RETRIES_MAX as u64).for_each(|number| bench.repeatable(number, "a", 1000 * MS));
    assert!(bench.ends.is_empty());
    bench.repeatable(u64::MAX, "a", 1000 * MS);
    let error = bench.error();
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
    bench.pass(1000 * MS);
    assert_eq!(bench.ends.len(), RETRIES_MAX);
    bench.rests();
    bench.ends.clear();
    for number in 0..=2 {
        let params = Some(format!("{{\"x\":\"{}\"}}", "x".repeat(RETRY_BYTES_MAX / 2 - 100)));
        let target = Target::Plugin("a".parse().unwrap());
        let mut request = CallRequest { idempotent: true, ..CallRequest::new(target, "echo") };
        request.params = params;
        bench.host.call(bench.now, CallKey(number), &mut request);
    }
    bench.take_actions();
    assert_eq!(bench.error().code, ErrorCode::Overloaded);
}

/// One plugin that has as much repeated as it may leaves the others their shares, in calls and in bytes.
#[test]
fn who_has_most_repeated_leaves_the_others_their_share() {
    let mut bench = Bench::new(&["a"]);
    let hog = Party::Plugin("hog".parse().unwrap());
    let call = |bench: &mut Bench, number, caller: &Party, bytes| {
        let target = Target::Plugin("a".parse().unwrap());
        let mut request = CallRequest { idempotent: true, ..CallRequest::new(target, "echo") };
        request.caller = caller.clone();
        request.params = Some("x".repeat(bytes));
        bench.host.call(bench.now, CallKey(number), &mut request);
        bench.take_actions();
        bench.ends.pop().map(|(_, end)| end.unwrap_err())
    };
    let mib = 1024 * 1024;
    let kept = (0..).take_while(|number| call(&mut bench, *number, &hog, 4 * mib).is_none()).count();
    assert_eq!(kept, RETRY_BYTES_MAX / 2 / (4 * mib));
    let error = call(&mut bench, 100, &hog, 100).unwrap();
    assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
    assert!(error.message.contains("the share of plugin \"hog\" is used up"), "{error}");
    assert!(error.message.contains("bytes of idempotent calls"), "{error}");
    for number in 0..8 {
        assert!(call(&mut bench, 200 + number, &Party::Program, mib - 4).is_none(), "call {number}");
    }
    assert!(call(&mut bench, 300, &Party::Program, 100).is_some(), "an eighth");
    for number in 0..kept as u64 {
        bench.host.cancel(bench.now, CallKey(number), None, None);
    }
    assert!(call(&mut bench, 400, &Party::Program, 4 * mib).is_none());
    bench.host.end(bench.now);
    bench.take_actions();
    bench.rests();
}
