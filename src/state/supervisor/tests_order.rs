//! Plugins that are started after others: who waits, who is launched, and who is stopped first.

use super::*;
use crate::state::plugin::{ExitReport, SpawnFailure, status_of};
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::{Policy, Transport};
use crate::state::start_mode::StartMode;
use rpc_plugin_wire::Token;
use rpc_plugin_wire::life::PluginState;
use serde_json::{Value, json};

/// Several plugins that behave, step by step.
pub(super) struct Bench {
    pub(super) host: Supervisor,
    pub(super) now: Time,
    /// Plugins whose launches and ends were asked for, in order.
    pub(super) log: Vec<String>,
    /// How calls ended.
    pub(super) ends: Vec<String>,
}

pub(super) fn id(text: &str) -> PluginId {
    text.parse().unwrap()
}

pub(super) fn config(name: &str, after: &[&str]) -> PluginConfig {
    let policy = Policy { heartbeat_interval: Duration::ZERO, ..Policy::default() };
    let config = PluginConfig::new(id(name), format!("/{name}")).policy(policy).transport(Transport::Fd);
    config.after(after.iter().map(|name| id(name)))
}

impl Bench {
    pub(super) fn of(configs: impl IntoIterator<Item = PluginConfig>) -> Bench {
        let mut host = Supervisor::new(1);
        host.set_starting_max(99);
        for config in configs {
            host.add(config, None).unwrap();
        }
        Bench { host, now: Time::ZERO, log: Vec::new(), ends: Vec::new() }
    }

    pub(super) fn key(&self, name: &str) -> PluginKey {
        self.host.find(&id(name)).unwrap()
    }

    fn plugin(&self, name: &str) -> &Plugin {
        self.host.plugin(self.key(name)).unwrap()
    }

    pub(super) fn state(&self, name: &str) -> PluginState {
        self.plugin(name).state()
    }

    fn name(&self, key: PluginKey) -> String {
        self.host.plugin(key).unwrap().id().to_string()
    }

    pub(super) fn wish(&mut self, name: &str, wish: Wish) -> Result<(), CallError> {
        let key = self.key(name);
        let result = self.host.wish(self.now, key, wish);
        self.drain();
        result
    }

    /// Carries out what is asked for, but processes neither come up nor end by themselves.
    pub(super) fn drain(&mut self) {
        while let Some(action) = self.host.poll_action() {
            match action {
                Action::Prepare(key, ..) => self.log.push(format!("launch {}", self.name(key))),
                Action::Note(note) if note.kind == rpc_plugin_wire::event::EventKind::ShutdownRequested => {
                    self.log.push(format!("stop {}", note.plugin_id.unwrap()));
                }
                Action::Complete(call, end) => self.ends.push(match end.result {
                    Ok(_) => format!("{} ok", call.0),
                    Err(error) => format!("{} {}: {}", call.0, error.code.name(), error.message),
                }),
                _ => {}
            }
        }
    }

    pub(super) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Its launch succeeds, up to healthy.
    pub(super) fn rise(&mut self, name: &str) {
        let (key, now) = (self.key(name), self.now);
        let generation = self.plugin(name).generation().unwrap();
        let token = Token::from_bytes([7; 32]);
        self.host.with_plugin(now, key, |plugin, step| plugin.handle_prepared(step, generation, Ok(token)));
        self.host.with_plugin(now, key, |plugin, step| plugin.handle_spawned(step, generation, Ok(4711)));
        let hello = json!({
            "token": "07".repeat(32), "plugin_id": name, "generation": generation, "protocols": [1],
            "version": "1", "capabilities": ["echo"], "features": ["cancel"],
        });
        self.frame(name, &json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": hello}));
        self.write(name);
        let able =
            json!({"plugin_id": name, "version": "1", "generation": generation, "capabilities": ["echo"]});
        self.frame(name, &json!({"jsonrpc": "2.0", "id": 0, "result": able}));
        self.frame(name, &json!({"jsonrpc": "2.0", "id": 1, "result": {"status": "healthy"}}));
        self.drain();
        assert_eq!(self.state(name), PluginState::Healthy);
    }

    pub(super) fn frame(&mut self, name: &str, value: &Value) {
        let (key, generation) = (self.key(name), self.plugin(name).generation().unwrap());
        let session = self.host.session_mut(key, generation).expect("a session");
        session.take_in(format!("{value}\n").as_bytes());
        while self.host.with_session(self.now, key, generation, |session, cx| session.handle_frames(cx, 4))
            == Some(true)
        {}
        self.drain();
    }

    /// Methods and ids of the requests that wait to be written to it, which are written.
    pub(super) fn write(&mut self, name: &str) -> Vec<(String, u64)> {
        let (key, generation) = (self.key(name), self.plugin(name).generation().unwrap());
        let Some(session) = self.host.session_mut(key, generation) else { return Vec::new() };
        session.write_requests()
    }

    pub(super) fn exit(&mut self, name: &str, clean: bool) {
        let (key, generation) = (self.key(name), self.plugin(name).generation().unwrap());
        let exit = ExitReport { clean, text: "exit status".into(), ..ExitReport::default() };
        self.host.with_plugin(self.now, key, |plugin, step| plugin.handle_exit(step, generation, exit));
        self.drain();
    }

    pub(super) fn launch_fails(&mut self, name: &str) {
        let (key, generation) = (self.key(name), self.plugin(name).generation().unwrap());
        let reason = "no such file".to_owned();
        let failure = SpawnFailure { reason, busy: false, shortage: false, permanent: true };
        let token = Token::from_bytes([7; 32]);
        self.host.with_plugin(self.now, key, |plugin, step| {
            plugin.handle_prepared(step, generation, Ok(token));
            plugin.handle_spawned(step, generation, Err(failure));
        });
        self.drain();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.host.handle_time(self.now);
        self.drain();
    }

    fn up(&mut self, names: &[&str]) {
        for name in names {
            self.wish(name, Wish::Start).unwrap();
            self.rise(name);
        }
        self.take_log();
    }
}

#[test]
fn who_is_started_after_others_waits_and_says_for_whom() {
    let mut bench =
        Bench::of([config("web", &["db", "cache"]), config("cache", &[]), config("db", &["disk"])]);
    for name in ["web", "cache", "db"] {
        bench.wish(name, Wish::Start).unwrap();
    }
    assert_eq!(bench.take_log(), ["launch cache"]);
    let status = status_of(bench.plugin("web"), bench.now);
    assert_eq!((status.state, status.waits_for), (PluginState::Waiting, vec![id("db"), id("cache")]));
    let text = status.launch_waits.unwrap();
    assert_eq!(text, "waits for db, which is waiting; cache, which is starting");
    assert_eq!(
        status_of(bench.plugin("db"), bench.now).launch_waits.unwrap(),
        "waits for disk, which is not there"
    );
    bench.rise("cache");
    assert_eq!(
        status_of(bench.plugin("web"), bench.now).launch_waits.unwrap(),
        "waits for db, which is waiting"
    );
    bench.host.add(config("disk", &[]), None).unwrap();
    bench.wish("disk", Wish::Start).unwrap();
    bench.rise("disk");
    assert_eq!(bench.take_log(), ["launch disk", "launch db"]);
    bench.rise("db");
    assert_eq!(bench.take_log(), ["launch web"]);
    assert!(status_of(bench.plugin("web"), bench.now).waits_for.is_empty());
}

#[test]
fn a_crash_or_a_new_generation_of_one_stops_nobody_and_replacements_wait_for_it() {
    let mut bench = Bench::of([config("db", &[]), config("web", &["db"])]);
    bench.up(&["db", "web"]);
    bench.wish("db", Wish::Restart).unwrap();
    assert_eq!((bench.state("db"), bench.state("web")), (PluginState::Stopping, PluginState::Healthy));
    bench.exit("web", false);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.state("web"), PluginState::Waiting, "its backoff is over");
    bench.exit("db", true);
    bench.rise("db");
    assert_eq!(bench.take_log(), ["stop db", "launch db", "launch web"]);
}

#[test]
fn a_stop_is_refused_while_others_need_it_and_takes_them_along_where_that_is_said() {
    let mut bench =
        Bench::of([config("db", &[]), config("api", &["db"]), config("web", &["api"]), config("other", &[])]);
    bench.up(&["db", "api", "web", "other"]);
    let error = bench.wish("db", Wish::Stop).unwrap_err();
    assert_eq!((error.code, bench.state("db")), (ErrorCode::Unavailable, PluginState::Healthy));
    assert!(error.message.contains("run: api; stop them first"), "{error}");
    bench.wish("db", Wish::StopWithDependents).unwrap();
    assert_eq!(bench.take_log(), ["stop web"]);
    assert_eq!(bench.plugin("db").desired(), rpc_plugin_wire::life::Desired::Down);
    bench.exit("web", true);
    assert_eq!(bench.take_log(), ["stop api"]);
    bench.exit("api", false);
    assert_eq!(bench.take_log(), ["stop db"]);
    bench.exit("db", true);
    let states = ["db", "api", "web", "other"].map(|name| bench.state(name));
    assert_eq!(
        states,
        [PluginState::Stopped, PluginState::Stopped, PluginState::Stopped, PluginState::Healthy]
    );
    bench.wish("web", Wish::Start).unwrap();
    assert_eq!(bench.state("web"), PluginState::Waiting);
    bench.wish("api", Wish::Stop).unwrap();
    bench.wish("web", Wish::Stop).unwrap();
    assert_eq!(bench.state("web"), PluginState::Stopped, "who waits does not run");
}

#[test]
fn who_is_wanted_again_on_its_way_down_waits_and_holds_nothing_up() {
    let mut bench = Bench::of([config("db", &[]), config("web", &["db"])]);
    bench.up(&["db", "web"]);
    bench.wish("db", Wish::StopWithDependents).unwrap();
    bench.wish("web", Wish::Start).unwrap();
    bench.exit("web", true);
    assert_eq!(bench.take_log(), ["stop web", "stop db"]);
    assert_eq!((bench.state("web"), bench.state("db")), (PluginState::Waiting, PluginState::Stopping));
    bench.wish("db", Wish::Start).unwrap();
    bench.exit("db", true);
    bench.rise("db");
    assert_eq!(bench.take_log(), ["launch db", "launch web"]);
}

#[test]
fn the_end_of_all_goes_against_the_order_of_starts_and_has_time_for_it() {
    let mut bench =
        Bench::of([config("db", &[]), config("api", &["db"]), config("web", &["api"]), config("x", &[])]);
    bench.up(&["db", "api", "web", "x"]);
    assert_eq!(bench.host.stop_timeout(), 3 * Policy::default().stop_timeout());
    bench.host.end(bench.now);
    bench.drain();
    assert_eq!(bench.take_log(), ["stop web", "stop x"]);
    for name in ["web", "api", "db", "x"] {
        bench.exit(name, true);
    }
    assert_eq!(bench.take_log(), ["stop api", "stop db"]);
    assert!(bench.host.is_quiet());
}

#[test]
fn circles_are_refused_with_all_their_sides() {
    let mut bench = Bench::of([config("a", &["b"]), config("b", &["c"])]);
    let circle = ConfigRefusal::Circle(["c", "a", "b", "c"].map(id).into());
    assert_eq!(bench.host.add(config("c", &["a"]), None), Err(circle));
    let key = bench.host.add(config("c", &[]), None).unwrap();
    let circle = ConfigRefusal::Circle(["c", "b", "c"].map(id).into());
    assert_eq!(bench.host.reconfigure(bench.now, config("c", &["b"])), Err(circle));
    bench.host.remove(bench.now, bench.key("b"));
    assert_eq!(bench.host.reconfigure(bench.now, config("c", &["b"])), Ok(key));
}

#[test]
fn another_configuration_ends_a_wait() {
    let mut bench = Bench::of([config("web", &["db"])]);
    bench.wish("web", Wish::Start).unwrap();
    assert_eq!(bench.state("web"), PluginState::Waiting);
    bench.host.reconfigure(bench.now, config("web", &[])).unwrap();
    bench.drain();
    assert_eq!(
        (bench.state("web"), bench.take_log()),
        (PluginState::Starting, vec!["launch web".to_owned()])
    );
}

#[test]
fn who_waits_for_one_that_is_started_on_demand_starts_it() {
    let mut bench = Bench::of([config("db", &[]).start(StartMode::OnDemand), config("web", &["db"])]);
    bench.wish("web", Wish::Start).unwrap();
    assert_eq!(bench.take_log(), ["launch db"]);
    bench.rise("db");
    assert_eq!(bench.take_log(), ["launch web"]);
}

/// No recursion, however long the chain is.
#[test]
fn a_chain_of_thousands_ends() {
    let name = |number: usize| format!("p{number:04}");
    let chain = (0..3000).map(|number| match number {
        0 => config(&name(0), &[]),
        number => config(&name(number), &[&name(number - 1)]),
    });
    let mut bench = Bench::of(chain);
    for number in (0..3000).rev() {
        bench.wish(&name(number), Wish::Start).unwrap();
    }
    assert_eq!((bench.state("p0000"), bench.state("p2999")), (PluginState::Starting, PluginState::Waiting));
    bench.host.end(bench.now);
    bench.drain();
    assert_eq!((bench.state("p0000"), bench.state("p2999")), (PluginState::Stopping, PluginState::Stopped));
}
