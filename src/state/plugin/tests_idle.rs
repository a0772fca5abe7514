//! A plugin that nobody uses is stopped, and only then.

use super::*;
use crate::state::call::CallRequest;
use crate::state::start_mode::StartMode;

fn bench() -> Bench {
    let config = PluginConfig::new("echo".parse().unwrap(), "/echo")
        .policy(Policy { heartbeat_interval: Duration::ZERO, ..policy() });
    Bench::of(config.idle_stop(8000 * MS))
}

impl Bench {
    fn seen(&mut self, streams: usize, children: usize) {
        let generation = self.generation();
        self.act(|plugin, step| handle_use(plugin, step, generation, Some(Use { streams, children })));
    }

    /// From down to healthy, with so many streams of its own.
    fn up_with(&mut self, streams: usize) {
        self.reach_hello();
        self.greeted();
        self.seen(streams, 0);
        self.proven();
        self.write();
        self.asked();
    }

    /// Lets so many looks pass, one after the other.
    fn looks(&mut self, looks: u32) {
        (0..looks).for_each(|_| self.pass(2000 * MS));
    }

    fn echo(&mut self, number: u64) {
        let mut request =
            CallRequest::new(crate::state::call::Target::Plugin("echo".parse().unwrap()), "echo");
        self.act(|plugin, step| plugin.call(step, CallKey(number), &mut request));
    }
}

#[test]
fn what_nobody_uses_is_looked_at_and_stopped_and_stays_wanted() {
    let mut bench = bench();
    bench.up_with(3);
    bench.looks(3);
    bench.pass(1999 * MS);
    assert!(bench.asked().is_empty());
    bench.pass(MS);
    assert_eq!(bench.asked(), ["see use 42"]);
    bench.looks(9);
    assert!(bench.asked().is_empty(), "once, however long that takes");
    bench.seen(3, 0);
    assert_eq!((bench.state(), bench.plugin.desired()), (PluginState::Stopping, Desired::Up));
    assert_eq!(bench.write(), [("plugin.shutdown".to_owned(), 2)]);
    bench.exit(true);
    let status = status_of(&bench.plugin, bench.now);
    assert_eq!((status.state, status.restarts), (PluginState::Stopped, 0));
    assert_eq!(status.launch_waits.as_deref(), Some("is started by the next call"));
    assert!(bench.timers.is_empty());
}

#[test]
fn it_is_not_ready_before_what_it_holds_by_itself_is_known() {
    let mut bench = bench();
    bench.reach_hello();
    bench.greeted();
    let able = json!({"plugin_id": "echo", "version": "1", "generation": bench.generation(), "capabilities": ["echo"]});
    bench.answer(0, &able);
    bench.answer(1, &json!({"status": "healthy"}));
    assert_eq!(bench.state(), PluginState::Starting);
    bench.seen(2, 0);
    assert_eq!(bench.state(), PluginState::Healthy);
}

#[test]
fn each_use_begins_the_time_anew() {
    type Use = fn(&mut Bench);
    let uses: [(&str, Use); 4] = [
        ("a stream", |bench| bench.seen(4, 0)),
        ("a child", |bench| bench.seen(3, 1)),
        ("what cannot be seen", |bench| {
            let generation = bench.generation();
            bench.act(|plugin, step| handle_use(plugin, step, generation, None));
        }),
        ("a call while it was looked", |bench| {
            bench.echo(7);
            let (_, id) = bench.write().pop().unwrap();
            bench.answer(id, &json!({}));
            bench.seen(3, 0);
        }),
    ];
    for (what, is_used) in uses {
        let mut bench = bench();
        bench.up_with(3);
        bench.looks(4);
        bench.asked();
        is_used(&mut bench);
        assert_eq!(bench.state(), PluginState::Healthy, "{what}");
        bench.asked();
        bench.looks(3);
        assert!(!bench.asked().contains(&"see use 42".to_owned()), "{what}");
        bench.looks(2);
        assert!(bench.asked().contains(&"see use 42".to_owned()), "{what}");
        bench.seen(3, 0);
        assert_eq!(bench.state(), PluginState::Stopping, "{what}");
    }
}

#[test]
fn calls_of_either_side_and_whoever_is_started_after_it_keep_it_up() {
    let mut bench = bench();
    bench.up_with(1);
    bench.echo(1);
    let (_, id) = bench.write().pop().unwrap();
    bench.looks(9);
    assert_eq!(bench.asked(), Vec::<String>::new(), "it works on a call");
    bench.answer(id, &json!({}));
    bench.frame(&json!({"jsonrpc": "2.0", "id": 5, "method": "host.call", "params": {}}));
    bench.asked();
    bench.looks(9);
    assert_eq!(bench.asked(), Vec::<String>::new(), "it waits for a call of its own");
    let generation = bench.generation();
    let session = bench.plugin.session_mut(generation).unwrap();
    let mut cx = Cx { now: bench.now, timers: &mut bench.timers };
    session.answer(&mut cx, &5.into(), Ok(serde_json::value::RawValue::NULL), Default::default());
    let echo: PluginId = "echo".parse().unwrap();
    bench.order.set(&"web".parse().unwrap(), PluginKey(9), std::slice::from_ref(&echo));
    bench.order.note_state(&"web".parse().unwrap(), PluginState::Waiting);
    bench.looks(9);
    assert_eq!(bench.asked(), Vec::<String>::new(), "another one needs it");
    bench.order.note_state(&"web".parse().unwrap(), PluginState::Stopped);
    bench.looks(4);
    assert_eq!(bench.asked(), ["see use 42"]);
}

#[test]
fn what_an_operator_started_for_good_is_never_stopped_so() {
    let errors = |config: PluginConfig| config.check().unwrap_err().to_string();
    let config = || PluginConfig::new("echo".parse().unwrap(), "/echo");
    let auto = errors(PluginConfig { start: StartMode::Auto, ..config().idle_stop(8000 * MS) });
    assert!(
        auto.contains("idle_stop") && auto.contains("only a plugin that the next call starts again"),
        "{auto}"
    );
    let short = errors(config().idle_stop(999 * MS));
    assert!(short.contains("999ms is out of range"), "{short}");
    config().idle_stop(1000 * MS).check().unwrap();
}
