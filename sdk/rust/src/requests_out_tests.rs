//! The table of requests by itself: bounds, one end each, and what is dropped.

use super::*;
use crate::reply_slot::PROGRESS_MAX;
use rpc_plugin_interface::Context;
use rpc_plugin_interface::context::Served;
use rpc_plugin_peer::SendQueue;
use rpc_plugin_wire::{ErrorObject, Outcome};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

fn request() -> NewRequest {
    NewRequest { method: "m".into(), is_call: true, wants_progress: true }
}

/// A request whose frame is written.
fn open(calls: &HostRequests, context: Option<&Context>) -> (u64, Arc<ReplySlot>) {
    let slot = ReplySlot::new(context.cloned());
    let id = calls.open(request(), &slot, Vec::new()).unwrap();
    assert!(calls.sent(id, frame()));
    (id, slot)
}

/// Where a frame lies that is the first one.
fn frame() -> Span {
    SendQueue::<()>::default().write(|out| out.push(b'x'))
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn answer_with(calls: &HostRequests, id: Option<RequestId>, fds: Vec<OwnedFd>) -> bool {
    let result = raw("{}");
    let response = Response { id, result: Ok(&result), fds: 0, streams: Vec::new() };
    calls.answer(response, fds, u64::MAX).is_ok()
}

fn answer(calls: &HostRequests, id: u64) -> bool {
    answer_with(calls, Some(RequestId::Number(id)), Vec::new())
}

fn code(slot: &ReplySlot) -> (ErrorCode, Outcome) {
    let error = slot.lock().end.take().unwrap().unwrap_err();
    (error.code, error.outcome)
}

#[test]
fn each_request_ends_once_and_an_answer_to_none_is_told() {
    let calls = HostRequests::default();
    assert!(!answer(&calls, HELLO_ID), "the hello is answered already");
    let (first, slot) = open(&calls, None);
    assert_eq!(first, HELLO_ID + 1);
    assert!(answer(&calls, first) && !answer(&calls, first) && !answer(&calls, first + 1));
    assert!(!answer_with(&calls, None, Vec::new()));
    assert!(!answer_with(&calls, Some(RequestId::Text("2".into())), Vec::new()));
    assert_eq!(slot.lock().end.take().unwrap().unwrap().result.get(), "{}");
    assert!(!calls.end(first, cancelled), "it has ended, nobody is to be told");
    assert!(slot.is_over());
}

#[test]
fn the_late_answer_of_one_that_was_given_up_is_dropped_with_its_descriptors() {
    let calls = HostRequests::default();
    let (id, slot) = open(&calls, None);
    assert!(calls.end(id, cancelled), "the host is to be told");
    assert!(!calls.end(id, cancelled), "once");
    assert_eq!(code(&slot), (ErrorCode::Cancelled, Outcome::Indeterminate));
    let (reader, writer) = io::pipe().unwrap();
    assert!(answer_with(&calls, Some(RequestId::Number(id)), vec![writer.into()]));
    assert_eq!(io::read_to_string(reader).unwrap(), "", "closed");
    assert!(!answer(&calls, id), "a second answer is one too many");
}

#[test]
fn one_that_is_given_up_before_it_is_written_is_told_to_the_host_after_that() {
    let calls = HostRequests::default();
    let slot = ReplySlot::new(None);
    let id = calls.open(request(), &slot, Vec::new()).unwrap();
    assert!(!calls.end(id, cancelled));
    assert_eq!(code(&slot), (ErrorCode::Cancelled, Outcome::NotSent));
    assert!(!answer(&calls, id), "a guess: it has not been asked");
    assert!(!calls.sent(id, frame()), "the host has it now, and is to be told");
    assert!(answer(&calls, id) && !answer(&calls, id));
}

#[test]
fn requests_end_with_the_call_that_they_were_made_for() {
    let calls = HostRequests::default();
    let context = |id: u64| Context::new(id.into(), Served::default());
    let (one, other) = (context(1), context(2));
    let (first, first_slot) = open(&calls, Some(&one));
    let (_, second_slot) = open(&calls, Some(&other));
    let (_, third_slot) = open(&calls, None);
    assert!(calls.end_cancelled().is_empty());
    one.cancel(Some("enough".into()));
    assert_eq!(calls.end_cancelled(), [(first, Some("enough".into()))], "it is cancelled for the same cause");
    assert!(calls.end_cancelled().is_empty());
    assert_eq!(code(&first_slot), (ErrorCode::Cancelled, Outcome::Indeterminate));
    assert!(!second_slot.is_over() && !third_slot.is_over());
}

#[test]
fn the_end_of_the_connection_ends_all_and_no_more_are_taken() {
    let calls = HostRequests::default();
    let slots: Vec<_> = (0..3).map(|_| open(&calls, None).1).collect();
    calls.close("the host is gone");
    for slot in slots {
        assert_eq!(code(&slot), (ErrorCode::PluginLost, Outcome::Indeterminate));
    }
    let error = calls.open(request(), &ReplySlot::new(None), Vec::new()).unwrap_err();
    assert_eq!((error.code, error.outcome), (ErrorCode::Unavailable, Outcome::NotSent));
}

#[test]
fn their_number_is_bounded_with_those_that_nobody_waits_for() {
    let calls = HostRequests::default();
    let all: Vec<_> = (0..CALLS_MAX).map(|_| open(&calls, None)).collect();
    let one_more = || calls.open(request(), &ReplySlot::new(None), Vec::new()).map_err(|error| error.code);
    assert_eq!(one_more(), Err(ErrorCode::Overloaded));
    calls.end(all[7].0, cancelled);
    assert_eq!(one_more(), Err(ErrorCode::Overloaded), "the host still owes an answer");
    assert!(answer(&calls, all[7].0));
    assert!(one_more().is_ok());
}

#[test]
fn of_progress_the_newest_is_kept_and_only_where_it_is_wanted() {
    let calls = HostRequests::default();
    let (id, slot) = open(&calls, None);
    for number in 0..PROGRESS_MAX + 5 {
        calls.progress(&id.into(), raw(&number.to_string()), u64::MAX).unwrap();
    }
    assert!(calls.progress(&99.into(), raw("1"), u64::MAX).is_err(), "never made");
    let kept: Vec<String> = slot.lock().progress.iter().map(|value| value.get().to_owned()).collect();
    assert_eq!((kept.len(), &*kept[0]), (PROGRESS_MAX, "5"));
    let unwanted = ReplySlot::new(None);
    let id = calls.open(NewRequest { wants_progress: false, ..request() }, &unwanted, Vec::new()).unwrap();
    calls.sent(id, frame());
    calls.progress(&id.into(), raw("1"), u64::MAX).unwrap();
    assert!(unwanted.lock().progress.is_empty());
}

#[test]
fn functions_last_as_long_as_their_request_and_are_bounded() {
    let calls = HostRequests::default();
    let ran = Arc::new(AtomicUsize::new(0));
    let function = || -> CallBackFn {
        let ran = Arc::clone(&ran);
        Arc::new(move |_, _| {
            ran.fetch_add(1, Ordering::SeqCst);
            Ok("1".to_owned())
        })
    };
    let slot = ReplySlot::new(None);
    let first = calls.open(request(), &slot, vec![(5, function()), (6, function())]).unwrap();
    let other = calls.open(request(), &slot, vec![(7, function())]).unwrap();
    calls.sent(first, frame());
    assert_eq!(calls.callback(5).unwrap()(None, Vec::new()).unwrap(), "1");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(answer(&calls, first));
    assert!(calls.callback(5).is_none() && calls.callback(6).is_none() && calls.callback(7).is_some());
    calls.not_sent(other);
    assert!(calls.callback(7).is_none());
    assert_eq!(Arc::strong_count(&ran), 1, "all are dropped");
    let many = (0..=CALLBACKS_MAX as u64).map(|number| (number, function())).collect();
    let slot = ReplySlot::new(None);
    assert_eq!(calls.open(request(), &slot, many).unwrap_err().code, ErrorCode::Overloaded);
}

#[test]
fn what_the_host_says_about_a_call_is_known_as_such() {
    let object = |code: ErrorCode, data: &str| {
        let mut error = ErrorObject::new(code, "as told");
        error.data = Some(raw(data));
        carried_error(error)
    };
    let data = r#"{"outcome":"not_sent","plugin_id":"kv","generation":2}"#;
    let error = object(ErrorCode::Unavailable, data);
    assert_eq!((error.outcome, error.code), (Outcome::NotSent, ErrorCode::Unavailable));
    assert_eq!((error.plugin_id.unwrap().to_string(), error.generation.unwrap().get()), ("kv".into(), 2));
    assert!(error.data.is_none());
    for (code, data) in [
        (ErrorCode::Application(7), data),
        (ErrorCode::Application(-31999), data),
        (ErrorCode::Unavailable, r#"{"nested":{"outcome":"not_sent"}}"#),
        (ErrorCode::Unavailable, "7"),
    ] {
        let error = object(code, data);
        assert_eq!((error.outcome, error.data.unwrap().get()), (Outcome::Answered, data));
    }
}
