//! Long texts of a plugin: what is kept and shown of them.

use super::*;
use crate::state::call::CallRequest;
use rpc_plugin_wire::Outcome;
use rpc_plugin_wire::limits::OWN_RESULT_BYTES_MAX;

/// Nearly a frame of a character that takes several when it is quoted.
fn long() -> String {
    "\u{7f}".repeat((4 << 20) - 400)
}

impl Bench {
    fn refuse(&mut self, id: u64) {
        let error = json!({"code": 1, "message": long(), "data": {"more": "x".repeat(100)}});
        self.frame(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }

    /// The longest text of what was put on record since the last time.
    fn longest_noted(&mut self) -> usize {
        let notes = self.actions.drain(..).filter_map(|action| match action {
            Action::Note(note) => Some(*note),
            _ => None,
        });
        let texts = notes.flat_map(|note| [Some(note.message), note.error, note.reason]).flatten();
        texts.map(|text| text.len()).max().unwrap_or_default()
    }
}

#[test]
fn of_a_long_answer_about_health_little_is_kept() {
    let strange: [fn() -> Value; 3] = [
        || json!({"status": long()}),
        || json!({"status": "healthy", "uptime_ms": long()}),
        || json!({"status": "healthy", "more": [long()]}),
    ];
    for misses in 1..=3 {
        let mut bench = Bench::new(policy());
        bench.up();
        bench.actions.clear();
        for miss in 0..misses {
            bench.pass(1000 * MS);
            let asked = bench.write();
            assert_eq!(asked.len(), 1, "one heartbeat");
            match strange.get(miss) {
                Some(result) if misses == 3 => bench.answer(asked[0].1, &result()),
                _ => bench.refuse(asked[0].1),
            }
            let kept = bench.last_error().len();
            assert!((20..5000).contains(&kept), "{kept} bytes are kept: {:.200}", bench.last_error());
        }
        assert_eq!(bench.plugin.state() == PluginState::Stopping, misses == 3);
        let longest = bench.longest_noted();
        assert!((20..5000).contains(&longest), "{longest} bytes are on record");
    }
}

#[test]
fn of_a_long_answer_about_capabilities_little_is_kept() {
    let answers: [fn(&mut Bench); 2] = [
        |bench| bench.refuse(0),
        |bench| {
            bench.answer(
                0,
                &json!({"plugin_id": "echo", "version": "1", "generation": 42, "capabilities": [long()]}),
            )
        },
    ];
    for answer in answers {
        let mut bench = Bench::new(policy());
        bench.reach_hello();
        bench.greeted();
        answer(&mut bench);
        assert_eq!(bench.plugin.state(), PluginState::Stopping);
        assert!((20..5000).contains(&bench.last_error().len()), "{:.200}", bench.last_error());
        assert!(bench.longest_noted() < 5000);
    }
}

#[test]
fn of_a_long_error_about_a_frame_little_is_kept_and_told_to_callers() {
    let mut bench = Bench::new(policy());
    bench.up();
    let mut call = CallRequest::new(crate::state::call::Target::Plugin("echo".parse().unwrap()), "echo");
    bench.act(|plugin, step| plugin.call(step, CallKey(1), &mut call));
    bench.write();
    bench.actions.clear();
    bench.frame(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": long()}}));
    let end = bench.actions.iter().find_map(|action| match action {
        Action::Complete(CallKey(1), end) => end.result.as_ref().err(),
        _ => None,
    });
    let message = &end.expect("its call ended").message;
    assert!(message.contains("it could not read a frame") && message.len() < 5000, "{message:.200}");
    assert!((20..5000).contains(&bench.last_error().len()), "{:.200}", bench.last_error());
    assert!(bench.longest_noted() < 5000);
}

#[test]
fn a_caller_gets_an_error_as_it_came_and_the_record_little_of_it() {
    let mut bench = Bench::new(policy());
    bench.up();
    let mut call = CallRequest::new(crate::state::call::Target::Plugin("echo".parse().unwrap()), "echo");
    bench.act(|plugin, step| plugin.call(step, CallKey(1), &mut call));
    let id = bench.write()[0].1;
    bench.actions.clear();
    bench.refuse(id);
    let (mut told, mut recorded) = (0, 0);
    for action in bench.actions.drain(..) {
        match action {
            Action::Complete(_, end) => {
                let error = end.result.unwrap_err();
                assert_eq!((error.message.len(), error.outcome), (long().len(), Outcome::Answered));
                assert!(error.data.is_some());
                told += 1;
            }
            Action::Called(record) => {
                let error = record.error.unwrap();
                assert!(error.message.len() <= 2048 && error.data.is_none(), "{:.200}", error.message);
                recorded += 1;
            }
            _ => {}
        }
    }
    assert_eq!((told, recorded), (1, 1));
}

#[test]
fn the_last_exit_is_kept_after_recovery_and_after_a_stop() {
    let mut bench = Bench::new(policy());
    bench.up();
    assert!(status_of(&bench.plugin, bench.now).last_exit.is_none(), "none has ended");
    bench.exit(false);
    let noted = bench.actions.iter().find_map(|action| match action {
        Action::Note(note) if note.kind == EventKind::Exited => note.details.clone(),
        _ => None,
    });
    assert_eq!(noted, Some(json!({"signal": 11, "stderr_tail": ["ouch"]})));
    bench.pass(100 * MS);
    bench.rise();
    bench.pass(50 * MS);
    let status = status_of(&bench.plugin, bench.now);
    let exit = status.last_exit.expect("it is kept after recovery");
    assert_eq!((status.state, status.last_error), (PluginState::Healthy, None));
    assert_eq!((exit.generation.get(), exit.age_ms, exit.stderr_tail), (42, 150, vec!["ouch".to_owned()]));
    assert_eq!((exit.text.as_str(), exit.exit_code, exit.signal), ("signal 11 (SIGSEGV)", None, Some(11)));
    bench.act(Plugin::stop);
    bench.exit(true);
    let status = status_of(&bench.plugin, bench.now);
    let exit = status.last_exit.expect("it is kept after a stop");
    assert_eq!((status.state, status.last_error), (PluginState::Stopped, None));
    assert_eq!((exit.generation.get(), exit.exit_code, exit.signal), (43, Some(0), None));
}

/// The members that were noted as ignored since the last time.
fn ignored(bench: &mut Bench) -> Vec<String> {
    let notes = bench.actions.drain(..).filter_map(|action| match action {
        Action::Note(note) if note.kind == EventKind::MemberIgnored => Some(*note),
        _ => None,
    });
    notes
        .map(|note| format!("{}: {}", note.method.unwrap(), note.message.split('`').nth(1).unwrap()))
        .collect()
}

#[test]
fn a_member_that_only_informs_and_has_another_type_is_noted_once_a_generation() {
    let mut bench = Bench::new(policy());
    bench.reach_hello();
    let hello = json!({
        "token": "07".repeat(32), "plugin_id": "echo", "generation": bench.generation(), "protocols": [1],
        "version": 1, "sdk": ["none"], "capabilities": ["echo"], "features": [],
    });
    bench.frame(&json!({"jsonrpc": "2.0", "id": 0, "method": "host.hello", "params": hello}));
    bench.write();
    assert_eq!(ignored(&mut bench), ["host.hello: version", "host.hello: sdk"]);
    bench.proven();
    assert_eq!(ignored(&mut bench), Vec::<String>::new());
    for noted in [&["plugin.heartbeat: uptime_ms"][..], &[]] {
        bench.pass(1000 * MS);
        let asked = bench.write();
        bench.answer(
            asked[0].1,
            &json!({"status": "healthy", "uptime_ms": "long", "last_success_unix_ms": null}),
        );
        assert_eq!(ignored(&mut bench), noted);
    }
    assert_eq!(bench.plugin.state(), PluginState::Healthy);
    // Of one that is not read nothing is noted, and of the next generation everything anew.
    bench.pass(1000 * MS);
    let asked = bench.write();
    bench.answer(asked[0].1, &json!({"status": "healthy", "work_count": "x".repeat(OWN_RESULT_BYTES_MAX)}));
    assert_eq!(ignored(&mut bench), Vec::<String>::new());
    bench.exit(false);
    bench.pass(100 * MS);
    bench.rise();
    bench.pass(1000 * MS);
    let asked = bench.write();
    bench.answer(asked[0].1, &json!({"status": "healthy", "uptime_ms": "long"}));
    assert_eq!(ignored(&mut bench), ["plugin.heartbeat: uptime_ms"]);
}
