//! The table of bad inputs against the host's pure session and the plugin's machine: whole, byte by byte, and in
//! two parts cut at every byte.
//!
//! What always holds: the verdict is the same however the bytes arrive, names what is wrong, and is told to the
//! peer before the connection closes.

use super::life::{self, Life};
use crate::fixtures::conformance::{self, ANYONE, Fault, Played, Row, Stage, judge_frame};
use rpc_plugin_system::state::keys::{Cx, PluginKey, Timer};
use rpc_plugin_system::state::session::{Expectation, Session, SessionEvent};
use rpc_plugin_system::state::time::Time;
use rpc_plugin_system::state::wheel::Wheel;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;
use rpc_plugin_wire::{ErrorCode, ErrorObject, Token};

/// Inputs up to this size are cut in two at every byte; longer ones near their ends and every 997th byte.
const CUT_EVERYWHERE_BYTES_MAX: usize = 512;

/// How a session took an input.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// The fault, as the record names it.
    says: String,
    /// Whether only the end of the stream showed it.
    at_end: bool,
    /// Whether it ends the connection, and does not only cost what the frame was about.
    ends: bool,
    /// The last frame that was told to the peer. Whether a request before the fault is still answered depends on
    /// how the bytes arrive.
    told: String,
}

/// A session before or after its proof, and what it needs.
struct Trial {
    session: Session,
    timers: Wheel<Timer>,
    has_ended: bool,
}

impl Trial {
    fn new(greeted: bool) -> Trial {
        let expectation = Expectation {
            plugin: PluginKey(1),
            plugin_id: ANYONE.plugin_id.parse().unwrap(),
            generation: ANYONE.generation.to_string().parse().unwrap(),
            token: Token::from_hex(ANYONE.token).unwrap(),
            interfaces: std::collections::BTreeMap::new(),
            passes_fds: true,
        };
        let session = Session::new(expectation, &life::policy());
        let mut trial = Trial { session, timers: Wheel::default(), has_ended: false };
        if greeted {
            assert_eq!(trial.feed(format!("{}\n", life::hello(&ANYONE)).as_bytes()), Vec::<String>::new());
            assert!(trial.session.is_open());
            trial.session.queue_mut().wrote(usize::MAX);
        }
        trial
    }

    /// Bytes arrive, or the stream ends where there are none. Gives what is said to be wrong.
    fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut cx = Cx { now: Time::ZERO, timers: &mut self.timers };
        if bytes.is_empty() {
            self.session.handle_end_of_stream(&mut cx);
        } else {
            self.session.receiver_mut().space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
            self.session.receiver_mut().filled(bytes.len(), Vec::new(), false);
            while self.session.handle_frames(&mut cx, 1) {}
        }
        let mut says = Vec::new();
        while let Some(event) = self.session.poll_event() {
            match event {
                SessionEvent::Fault(found) => {
                    assert!(!std::mem::replace(&mut self.has_ended, true), "{found} after {says:?}");
                    says.push(found.to_string());
                }
                // It costs what it was about; the connection goes on.
                SessionEvent::BadFrame(_, why) => says.push(why),
                SessionEvent::Asked(asked) => {
                    let error = ErrorObject::new(ErrorCode::MethodNotFound, "no such method");
                    self.session.answer(&mut cx, &asked.id, Err(error), Vec::new());
                }
                _ => {}
            }
        }
        // A deadline beyond its range is answered, and nothing else.
        let waiting = std::str::from_utf8(self.session.queue().waiting().0).unwrap();
        if says.is_empty() && !self.has_ended && waiting.contains("`deadline_ms`") {
            says.push(waiting.to_owned());
        }
        says
    }

    fn verdict<'p>(mut self, parts: impl IntoIterator<Item = &'p [u8]>) -> Verdict {
        let mut says = Vec::new();
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            says.extend(self.feed(part));
        }
        let (at_end, ends) = (says.is_empty(), self.has_ended);
        let at_end_says = self.feed(&[]);
        assert!(!ends || at_end_says.is_empty(), "a second fault: {at_end_says:?}");
        says.extend(at_end_says.into_iter().filter(|_| at_end));
        assert!(!says.is_empty(), "the end is always a fault");
        let told = std::str::from_utf8(self.session.queue().waiting().0).unwrap();
        let told = told.lines().last().unwrap_or_default().to_owned();
        Verdict { says: says.join("\n"), at_end, ends, told }
    }
}

/// The one verdict, however the bytes arrive.
fn verdict(greeted: bool, name: &str, bytes: &[u8]) -> Verdict {
    let whole = Trial::new(greeted).verdict([bytes]);
    if bytes.len() <= CUT_EVERYWHERE_BYTES_MAX {
        assert_eq!(Trial::new(greeted).verdict(bytes.chunks(1)), whole, "{name}: byte by byte");
    }
    for cut in 1..bytes.len() {
        let near_an_end = cut < 4 || bytes.len() - cut < 4;
        if bytes.len() <= CUT_EVERYWHERE_BYTES_MAX || near_an_end || cut % 997 == 0 {
            let (first, second) = bytes.split_at(cut);
            assert_eq!(Trial::new(greeted).verdict([first, second]), whole, "{name}: cut at {cut}");
        }
    }
    whole
}

/// What a session before its proof says to a row. A frame that is well made comes too early all the same.
pub(crate) fn expected_first(row: &Row) -> String {
    let bytes = row.bytes(&ANYONE);
    let first = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_short = first.len() <= FRAME_BYTES_MAX_UNAUTHENTICATED;
    let well_made = row.stage != Stage::Hello
        && is_short
        && first.strip_suffix(b"\n").is_some_and(|frame| judge_frame(Stage::Message, frame).is_ok());
    if well_made { "not host.hello".to_owned() } else { row.says.clone() }
}

/// Runs every row of these stages; what did not go as it must.
fn run(greeted: bool, stages: &[Stage], expected: impl Fn(&Row) -> String) -> usize {
    let rows: Vec<Row> = conformance::bad().into_iter().filter(|row| stages.contains(&row.stage)).collect();
    let mut wrong = Vec::new();
    for row in &rows {
        let seen = verdict(greeted, &row.name, &row.bytes(&ANYONE));
        let expected = expected(row);
        let may_end = row.fault() == Fault::Truncated;
        let told: serde_json::Value = serde_json::from_str(&seen.told).unwrap_or_default();
        let is_told = told["error"]["message"].as_str().is_some_and(|message| message.contains(&expected));
        // Answers and notifications are not answered.
        let is_told = is_told || (!seen.ends && seen.told.is_empty());
        if !seen.says.contains(&expected) || !is_told || (seen.at_end && !may_end) {
            wrong.push(format!("{}: wanted {expected:?}, got {seen:?}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    rows.len()
}

#[test]
fn before_the_proof_every_bad_input_is_refused_for_its_reason_wherever_it_is_cut() {
    let stages = [Stage::Frame, Stage::Message, Stage::Hello];
    assert!(run(false, &stages, expected_first) >= 300);
}

#[test]
fn after_the_proof_every_bad_input_is_refused_for_its_reason_wherever_it_is_cut() {
    let stages = [Stage::Frame, Stage::Message, Stage::Cancel];
    assert!(run(true, &stages, |row| row.says.clone()) >= 300);
}

#[test]
fn no_hello_is_taken_after_the_proof() {
    let rows = conformance::bad().into_iter().filter(|row| row.stage == Stage::Hello);
    for row in rows {
        let seen = Trial::new(true).verdict([&row.bytes(&ANYONE)[..]]);
        // Some rows are not even a frame that can be read.
        assert!(
            seen.says.contains("a second host.hello") || seen.says.contains(&row.says),
            "{}: {seen:?}",
            row.name
        );
        assert!(!seen.at_end, "{}", row.name);
    }
}

/// The bytes of a result row, as the answer to the request that it must answer.
pub(crate) fn as_answer(row: &Row, bytes: Vec<u8>, played: &Played<'_>) -> Vec<u8> {
    let capabilities = format!("{}\n", life::capabilities(played)).into_bytes();
    match row.stage {
        // The request of the capabilities is the first, 0; the first heartbeat is 1.
        Stage::Capabilities => {
            [b"{\"jsonrpc\":\"2.0\",\"id\":0,", &bytes[b"{'jsonrpc':'2.0','id':1,".len()..]].concat()
        }
        Stage::Heartbeat => [capabilities, bytes].concat(),
        _ => bytes,
    }
}

#[test]
fn wrong_answers_about_health_and_capabilities_never_make_a_plugin_routable() {
    let stages = [Stage::Capabilities, Stage::Heartbeat];
    let rows: Vec<Row> = conformance::bad().into_iter().filter(|row| stages.contains(&row.stage)).collect();
    assert!(rows.len() >= 40);
    let mut wrong = Vec::new();
    for row in &rows {
        let bytes = as_answer(row, row.bytes(&ANYONE), &ANYONE);
        let complaints = |parts: &[&[u8]]| {
            let mut life = Life::greeted(life::policy());
            parts.iter().for_each(|part| life.feed(part));
            if life.state().is_routable() { "it was trusted".to_owned() } else { life.complaints() }
        };
        let whole = complaints(&[&bytes]);
        for cut in 1..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            if bytes.len() <= CUT_EVERYWHERE_BYTES_MAX || cut % 97 == 0 {
                assert_eq!(complaints(&[first, second]), whole, "{}: cut at {cut}", row.name);
            }
        }
        if !whole.contains(&row.says) {
            wrong.push(format!("{}: wanted {:?}, got {whole:?}", row.name, row.says));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
