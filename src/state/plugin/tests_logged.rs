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
        let text = session.write_all();
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
fn a_level_is_taken_in_any_case_and_by_the_names_that_loggers_have() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.noted();
    let table = [
        ("DEBUG", Level::Debug),
        ("Trace", Level::Debug),
        ("Info", Level::Info),
        ("NOTICE", Level::Info),
        ("WARN", Level::Warn),
        ("Warning", Level::Warn),
        ("wArNiNg", Level::Warn),
        ("ERROR", Level::Error),
        ("Fatal", Level::Error),
        ("CRITICAL", Level::Error),
    ];
    for (said, level) in table {
        bench.logs(&json!({"level": said, "message": "m"}));
        let notes = bench.noted();
        let kinds: Vec<_> = notes.iter().map(|note| (note.kind, note.level)).collect();
        assert_eq!(kinds, [(EventKind::PluginLogged, Some(level))], "{said}");
    }
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

impl Bench {
    /// Events of the plugin's own since the last time: names and details.
    fn events_of_its_own(&mut self) -> Vec<(String, Value)> {
        let notes = self.actions.drain(..).filter_map(|action| match action {
            Action::Note(note) if note.kind == EventKind::PluginEvent => Some(note),
            _ => None,
        });
        notes.map(|note| (note.message.clone(), note.details.clone().unwrap())).collect()
    }

    fn asks_event(&mut self, id: u64, params: &Value) -> Value {
        self.frame(&json!({"jsonrpc": "2.0", "id": id, "method": "host.event", "params": params}));
        self.answered()
    }
}

#[test]
fn an_event_of_a_plugin_is_on_record_with_its_name_and_data() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.events_of_its_own();
    let named = json!({"name": "cache.full", "data": {"bytes": 7}});
    assert_eq!(bench.asks_event(1, &named)["result"], json!({}));
    bench.frame(&json!({"jsonrpc": "2.0", "method": "host.event", "params": {"name": "é"}}));
    let longest = "n".repeat(64);
    assert_eq!(bench.asks_event(2, &json!({"name": longest, "data": null}))["result"], json!({}));
    let expected = [
        ("cache.full".to_owned(), named),
        ("é".to_owned(), json!({"name": "é"})),
        (longest.clone(), json!({"name": longest})),
    ];
    assert_eq!(bench.events_of_its_own(), expected);
}

#[test]
fn a_malformed_event_is_refused_or_told_and_harms_nobody() {
    let mut bench = Bench::new(policy());
    bench.up();
    bench.noted();
    for params in [
        json!({}),
        json!({"name": ""}),
        json!({"name": 1}),
        json!({"name": "n".repeat(65)}),
        json!({"name": "a\nb"}),
        json!({"name": "a", "more": 1}),
    ] {
        assert_eq!(bench.asks_event(1, &params)["error"]["code"], -32602, "{params}");
        assert!(bench.noted().is_empty(), "{params}");
        bench.frame(&json!({"jsonrpc": "2.0", "method": "host.event", "params": params}));
        let notes = bench.noted();
        assert_eq!((notes.len(), notes[0].level), (1, Some(Level::Warn)), "{params}");
        assert!(notes[0].message.contains("host.event") && notes[0].error.is_some(), "{:?}", notes[0]);
    }
    assert_eq!(bench.plugin.state(), PluginState::Healthy);
}

#[test]
fn logs_and_events_have_one_allowance() {
    let mut bench = Bench::new(Policy { output_bytes_per_second_max: 64 * 1024, ..policy() });
    bench.up();
    bench.noted();
    let event = json!({"name": "n"});
    for _ in 0..500 {
        bench.logs(&json!({"level": "info", "message": "m"}));
        bench.frame(&json!({"jsonrpc": "2.0", "method": "host.event", "params": event}));
    }
    let admitted = bench.actions.drain(..).filter(
        |action| matches!(action, Action::Note(note) if matches!(note.kind, EventKind::PluginLogged | EventKind::PluginEvent)),
    );
    let admitted = admitted.count();
    assert!((100..130).contains(&admitted), "{admitted}");
    assert_eq!(bench.asks_event(1, &event)["error"]["code"], -32005);
    bench.pass(Duration::from_millis(1100));
    bench.write();
    assert_eq!(bench.asks_event(2, &event)["result"], json!({}));
    let dropped = bench.noted();
    assert_eq!((dropped.len(), dropped[0].kind), (1, EventKind::OutputDropped));
    assert!(dropped[0].message.contains("host.log or host.event"), "{}", dropped[0].message);
    assert_eq!(dropped[0].details.as_ref().unwrap()["lines"], 1001 - admitted);
}

#[test]
fn of_a_long_log_so_much_is_kept_as_a_line_of_the_record_holds() {
    let mut bench = Bench::new(Policy { output_bytes_per_second_max: 64 << 20, ..policy() });
    bench.up();
    bench.noted();
    let long = "é".repeat(200 * 1024);
    bench.logs(&json!({"level": "info", "message": long, "event": long, "method": long, "error": long,
        "details": {"a": [long]}}));
    bench.logs(&json!({"level": "info", "message": "m", "details": {"a": [1]}}));
    let notes = bench.noted();
    let [cut, whole] = &notes[..] else { panic!("{} notes", notes.len()) };
    let lengths =
        [Some(&cut.message), cut.error.as_ref(), cut.method.as_ref()].map(|text| text.unwrap().len());
    assert!(lengths[0] <= 48 * 1024 && lengths[1] <= 48 * 1024 && lengths[2] <= 128, "{lengths:?}");
    assert!(cut.message.ends_with(" bytes cut]"));
    let details = cut.details.as_ref().unwrap();
    assert!(details["details"]["cut"] == json!(true) && details["details"]["bytes"].as_u64() > Some(1 << 20));
    assert!(details["event"].as_str().unwrap().len() <= 64);
    assert_eq!(whole.details, Some(json!({"details": {"a": [1]}})));
}
