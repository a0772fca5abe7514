//! Tests of what waits to be written, without a thread that writes.

use super::*;
use rpc_plugin_wire::ErrorCode;

fn log(level: Level) -> Log {
    Log::new(&LogOptions { level, ..LogOptions::default() })
}

fn waiting(log: &Log) -> (usize, u64) {
    let state = log.queue.lock();
    (state.queue.len(), state.dropped)
}

fn of_call() -> OfCall {
    OfCall { method: "m".into(), request: Some(7) }
}

#[test]
fn what_is_below_the_level_is_not_there() {
    let log = log(Level::Warn);
    log.record(Level::Info, "no");
    log.event(Level::Debug, "no", "no", &());
    log.record(Level::Warn, "yes");
    assert_eq!(waiting(&log), (1, 0));
    assert!(log.is_on(Level::Error) && !log.is_on(Level::Info));
    let nowhere = Log::new(&LogOptions { target: LogTarget::Nowhere, ..LogOptions::default() });
    nowhere.record(Level::Error, "no");
    assert_eq!(waiting(&nowhere), (0, 0));
}

#[test]
fn what_waits_is_bounded_in_number_and_bytes() {
    let log = log(Level::Debug);
    for _ in 0..QUEUE_MAX + 5 {
        log.record(Level::Debug, "x");
    }
    assert_eq!(waiting(&log), (QUEUE_MAX, 5));
    let log = Log::new(&LogOptions::default());
    log.record(Level::Info, "x".repeat(QUEUE_BYTES_MAX));
    log.record(Level::Info, "x".repeat(QUEUE_BYTES_MAX / 2));
    log.record(Level::Info, "x".repeat(QUEUE_BYTES_MAX / 2));
    assert_eq!(waiting(&log), (1, 2));
    log.finish();
    log.record(Level::Error, "too late");
    assert_eq!(
        waiting(&log),
        (1, 2),
        "nothing is taken after the end, and nobody waits for what cannot come"
    );
}

#[test]
fn failures_are_bounded_in_time_and_those_left_out_are_counted() {
    let log = log(Level::Info);
    let failure = HandlerFailure { code: ErrorCode::InternalError, text: "e".to_owned(), is_panic: false };
    for _ in 0..250 {
        log.called(of_call(), Duration::ZERO, Some(&failure));
    }
    assert_eq!(waiting(&log).0, 100);
    let mut rate = Rate::default();
    let begin = Instant::now();
    let taken = (0..250).filter(|_| rate.take(begin).is_some()).count();
    assert_eq!((taken, rate.take(begin + Duration::from_secs(1))), (100, Some(150)));
    assert_eq!(rate.take(begin + Duration::from_secs(1)), Some(0));
}

#[test]
fn nothing_waits_for_a_plugin_that_keeps_no_record() {
    let log = log(Level::Info);
    log.record(Level::Info, "before it is known");
    let config = Config {
        channel: crate::config::Channel::Socket("/nowhere".into()),
        plugin_id: "a".parse().unwrap(),
        generation: "1".parse().unwrap(),
        token: rpc_plugin_wire::Token::from_bytes([7; 32]),
        host_pid: 1,
        hello_timeout: Duration::ZERO,
        log_folder: None,
    };
    assert!(log.open(&LogOptions::default(), &config));
    assert!(!log.open(&LogOptions::default(), &config), "once");
    assert_eq!(waiting(&log), (0, 0));
    assert!(!log.is_on(Level::Error));
    assert!(log.flush(Duration::ZERO));
}

#[test]
fn every_event_is_in_the_documentation() {
    let sources = [
        include_str!("event.rs"),
        include_str!("mod.rs"),
        include_str!("../inbox.rs"),
        include_str!("../plugin.rs"),
        include_str!("../main_thread.rs"),
    ];
    let page = include_str!("../../../../docs/events.md");
    let section = page.split_once("## A plugin's own record").unwrap().1;
    let mut count = 0;
    for source in sources {
        let names = source.split("Event::new(\"").skip(1).chain(source.split("=> (\"").skip(1));
        for name in names.map(|rest| rest.split('"').next().unwrap()) {
            assert!(section.contains(&format!("`{name}`")), "{name} is not in docs/events.md");
            count += 1;
        }
    }
    assert!(count >= 10, "{count} names were found");
}
