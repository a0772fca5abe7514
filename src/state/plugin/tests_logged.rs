//! What a plugin puts on the host's record by itself.

use super::*;
use rpc_plugin_wire::event::Level;

impl Bench {
    fn logs(&mut self, params: &Value) {
        self.frame(&json!({"jsonrpc": "2.0", "method": "host.log", "params": params}));
    }

    /// What was noted since the last time, of these kinds.
    fn noted(&mut self) -> Vec<Note> {
        let notes = self.actions.drain(..).filter_map(|action| match action {
            Action::Note(note) => Some(*note),
            _ => None,
        });
        let kinds = [EventKind::PluginLogged, EventKind::OutputDropped, EventKind::ProtocolViolation];
        notes.filter(|note| kinds.contains(&note.kind)).collect()
    }

    /// The answer to what it asked.
    fn answered(&mut self) -> Value {
        let generation = self.generation();
        let session = self.plugin.session_mut(generation).unwrap();
        let text = String::from_utf8(session.all_waiting()).unwrap();
        while !session.waiting().is_empty() {
            session.wrote(usize::MAX);
        }
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}

#[test]
fn what_a_plugin_logs_is_on_record_as_what_it_said() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.noted();
    bench.logs(&json!({"level": "warn", "message": "hot", "event": "exited", "method": "echo", "request": 7,
        "error": "e", "details": {"celsius": 90}, "plugin_id": "other"}));
    bench.logs(&json!({"level": "debug", "message": "plain", "event": "log"}));
    let notes = bench.noted();
    let [hot, plain] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!((hot.kind, hot.level, &*hot.message), (EventKind::PluginLogged, Some(Level::Warn), "hot"));
    assert_eq!(
        (hot.plugin_id.as_ref(), hot.generation),
        (Some(bench.plugin.id()), bench.plugin.generation())
    );
    assert_eq!((hot.method.as_deref(), hot.error.as_deref(), hot.pid), (Some("echo"), Some("e"), Some(PID)));
    let details = json!({"event": "exited", "request": 7, "details": {"celsius": 90}});
    assert_eq!(hot.details, Some(details));
    assert_eq!((plain.level, plain.details.as_ref()), (Some(Level::Debug), None));
}

#[test]
fn a_malformed_log_is_told_and_harms_nobody() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.noted();
    for params in
        [json!({}), json!({"level": "loud", "message": "m"}), json!({"level": "info", "message": 1})]
    {
        bench.logs(&params);
        let notes = bench.noted();
        assert_eq!((notes.len(), notes[0].level), (1, Some(Level::Warn)), "{params}");
        assert!(notes[0].message.contains("host.log") && notes[0].error.is_some(), "{:?}", notes[0]);
        bench.frame(&json!({"jsonrpc": "2.0", "id": "a", "method": "host.log", "params": params}));
        assert_eq!(bench.answered()["error"]["code"], -32602, "{params}");
        assert_eq!(bench.noted().len(), 0);
    }
    assert_eq!(bench.plugin.state(), PluginState::Healthy);
}

#[test]
fn a_log_that_is_asked_for_is_answered_and_its_rate_is_bounded() {
    let mut bench = Bench::new(Policy { output_bytes_per_second_max: 64 * 1024, ..policy() });
    bench.up();
    bench.noted();
    let log = json!({"level": "info", "message": "m"});
    let ask = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "host.log", "params": log});
    bench.frame(&ask(1));
    assert_eq!(bench.answered()["result"], json!({}));
    for _ in 0..1000 {
        bench.logs(&log);
    }
    let admitted = bench.noted().len();
    assert!((100..130).contains(&admitted), "{admitted}");
    bench.frame(&ask(2));
    assert_eq!(bench.answered()["error"]["code"], -32005);
    bench.pass(Duration::from_millis(1100));
    bench.write();
    bench.frame(&ask(3));
    assert_eq!(bench.answered()["result"], json!({}));
    let notes = bench.noted();
    let [dropped, logged] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!((dropped.kind, logged.kind), (EventKind::OutputDropped, EventKind::PluginLogged));
    // One of the first was an answered one.
    assert_eq!(dropped.details.as_ref().unwrap()["lines"], 1002 - admitted);
}
