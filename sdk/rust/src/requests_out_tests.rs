//! The table of requests by itself: bounds, one end each, and what is dropped.

use super::*;
use crate::reply_slot::PROGRESS_MAX;
use rpc_plugin_interface::Context;
use rpc_plugin_interface::context::Served;
use rpc_plugin_wire::Outcome;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

fn open(calls: &RequestsOut, context: Option<&Context>) -> (u64, Arc<ReplySlot>) {
    let slot = ReplySlot::new(context.cloned(), true);
    let id = calls.open(&slot, Vec::new()).unwrap();
    assert!(!calls.sent(id));
    (id, slot)
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn answer(calls: &RequestsOut, id: u64) -> bool {
    calls.answer(Some(&RequestId::Number(id)), Ok(&raw("{}")), Vec::new())
}

fn code(slot: &ReplySlot) -> (ErrorCode, Outcome) {
    let error = slot.lock().end.take().unwrap().unwrap_err();
    (error.code, error.outcome)
}

#[test]
fn each_request_ends_once_and_an_answer_to_none_is_told() {
    let calls = RequestsOut::default();
    assert!(!answer(&calls, HELLO_ID), "the hello is answered already");
    let (first, slot) = open(&calls, None);
    assert_eq!(first, HELLO_ID + 1);
    assert!(answer(&calls, first) && !answer(&calls, first) && !answer(&calls, first + 1));
    assert!(!calls.answer(None, Ok(&raw("1")), Vec::new()));
    assert!(!calls.answer(Some(&RequestId::Text("2".into())), Ok(&raw("1")), Vec::new()));
    assert_eq!(slot.lock().end.take().unwrap().unwrap().result.get(), "{}");
    assert!(!calls.end(first, cancelled), "it has ended, nobody is to be told");
    assert!(slot.is_over());
}

#[test]
fn the_late_answer_of_one_that_was_given_up_is_dropped_with_its_descriptors() {
    let calls = RequestsOut::default();
    let (id, slot) = open(&calls, None);
    assert!(calls.end(id, cancelled), "the host is to be told");
    assert!(!calls.end(id, cancelled), "once");
    assert_eq!(code(&slot), (ErrorCode::Cancelled, Outcome::Indeterminate));
    let (reader, writer) = io::pipe().unwrap();
    assert!(calls.answer(Some(&RequestId::Number(id)), Ok(&raw("1")), vec![writer.into()]));
    assert_eq!(io::read_to_string(reader).unwrap(), "", "closed");
    assert!(!answer(&calls, id), "a second answer is one too many");
}

#[test]
fn one_that_is_given_up_before_it_is_written_is_told_to_the_host_after_that() {
    let calls = RequestsOut::default();
    let slot = ReplySlot::new(None, false);
    let id = calls.open(&slot, Vec::new()).unwrap();
    assert!(!calls.end(id, cancelled));
    assert_eq!(code(&slot), (ErrorCode::Cancelled, Outcome::NotSent));
    assert!(calls.sent(id), "the host has it now");
    assert!(answer(&calls, id) && !answer(&calls, id));
}

#[test]
fn requests_end_with_the_call_that_they_were_made_for() {
    let calls = RequestsOut::default();
    let context = |id: u64| Context::new(id.into(), Served::default());
    let (one, other) = (context(1), context(2));
    let (first, first_slot) = open(&calls, Some(&one));
    let (_, second_slot) = open(&calls, Some(&other));
    let (_, third_slot) = open(&calls, None);
    assert!(calls.end_cancelled().is_empty());
    one.cancel();
    assert_eq!(calls.end_cancelled(), [first]);
    assert!(calls.end_cancelled().is_empty());
    assert_eq!(code(&first_slot), (ErrorCode::Cancelled, Outcome::Indeterminate));
    assert!(!second_slot.is_over() && !third_slot.is_over());
}

#[test]
fn the_end_of_the_connection_ends_all_and_no_more_are_taken() {
    let calls = RequestsOut::default();
    let slots: Vec<_> = (0..3).map(|_| open(&calls, None).1).collect();
    calls.close();
    for slot in slots {
        assert_eq!(code(&slot), (ErrorCode::PluginLost, Outcome::Indeterminate));
    }
    let error = calls.open(&ReplySlot::new(None, false), Vec::new()).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Unavailable, Outcome::NotSent));
}

#[test]
fn their_number_is_bounded_with_those_that_nobody_waits_for() {
    let calls = RequestsOut::default();
    let all: Vec<_> = (0..CALLS_MAX).map(|_| open(&calls, None)).collect();
    let one_more = || calls.open(&ReplySlot::new(None, false), Vec::new()).map_err(|error| error.code);
    assert_eq!(one_more(), Err(ErrorCode::Overloaded));
    calls.end(all[7].0, cancelled);
    assert_eq!(one_more(), Err(ErrorCode::Overloaded), "the host still owes an answer");
    assert!(answer(&calls, all[7].0));
    assert!(one_more().is_ok());
}

#[test]
fn of_progress_the_newest_is_kept_and_only_where_it_is_wanted() {
    let calls = RequestsOut::default();
    let (id, slot) = open(&calls, None);
    for number in 0..PROGRESS_MAX + 5 {
        calls.progress(&id.into(), raw(&number.to_string()));
    }
    calls.progress(&99.into(), raw("1"));
    let kept: Vec<String> = slot.lock().progress.iter().map(|value| value.get().to_owned()).collect();
    assert_eq!((kept.len(), &*kept[0]), (PROGRESS_MAX, "5"));
    let unwanted = ReplySlot::new(None, false);
    let id = calls.open(&unwanted, Vec::new()).unwrap();
    calls.progress(&id.into(), raw("1"));
    assert!(unwanted.lock().progress.is_empty());
}

#[test]
fn functions_last_as_long_as_their_request_and_are_bounded() {
    let calls = RequestsOut::default();
    let ran = Arc::new(AtomicUsize::new(0));
    let function = || -> CallBackFn {
        let ran = Arc::clone(&ran);
        Arc::new(move |_, _| {
            ran.fetch_add(1, Ordering::SeqCst);
            Ok("1".to_owned())
        })
    };
    let slot = ReplySlot::new(None, false);
    let first = calls.open(&slot, vec![(5, function()), (6, function())]).unwrap();
    let other = calls.open(&slot, vec![(7, function())]).unwrap();
    calls.sent(first);
    assert_eq!(calls.callback(5).unwrap()(None, Vec::new()).unwrap(), "1");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(answer(&calls, first));
    assert!(calls.callback(5).is_none() && calls.callback(6).is_none() && calls.callback(7).is_some());
    calls.not_sent(other);
    assert!(calls.callback(7).is_none());
    assert_eq!(Arc::strong_count(&ran), 1, "all are dropped");
    let many = (0..=CALLBACKS_MAX as u64).map(|number| (number, function())).collect();
    let slot = ReplySlot::new(None, false);
    assert_eq!(calls.open(&slot, many).unwrap_err().code, ErrorCode::Overloaded);
}

#[test]
fn what_the_host_says_about_a_call_is_known_as_such() {
    let object = |code: ErrorCode, data: &str| {
        let mut error = ErrorObject::new(code, "as told");
        error.data = Some(raw(data));
        understand(error)
    };
    let data = r#"{"outcome":"not_sent","plugin_id":"kv","generation":2}"#;
    let error = object(ErrorCode::Unavailable, data);
    assert_eq!((error.outcome, error.code), (Outcome::NotSent, ErrorCode::Unavailable));
    assert_eq!((error.plugin_id.unwrap().to_string(), error.generation.unwrap().get()), ("kv".into(), 2));
    assert!(error.data.is_none());
    for (code, data) in [
        (ErrorCode::Application(7), data),
        (ErrorCode::Unavailable, r#"{"nested":{"outcome":"not_sent"}}"#),
        (ErrorCode::Unavailable, "7"),
    ] {
        let error = object(code, data);
        assert_eq!((error.outcome, error.data.unwrap().get()), (Outcome::Answered, data));
    }
}
