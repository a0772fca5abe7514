//! Places while handlers wait: who gives one, who takes over, and which call could only wait for itself.

use super::*;
use crate::attachments::frames_of;
use crate::call::{Method, typed};
use rpc_plugin_interface::HandlerError;
use rpc_plugin_interface::context::Served;
use rpc_plugin_wire::{CallError, ErrorCode};
use std::time::Duration;

fn pool(threads: usize, reentrant: bool) -> Pool {
    let pool = Pool::new(threads, 100, reentrant, Arc::new(WakePipe::new().unwrap()));
    pool.open(Input::new(1024));
    pool
}

fn method(is_quick: bool) -> Arc<Method> {
    let method = Arc::new(Method::new("m", 0, typed(|_: &Call, (): ()| Ok::<(), HandlerError>(()))));
    if is_quick {
        (0..10).for_each(|_| method.pace.took(Duration::from_micros(1)));
    }
    method
}

fn chain(entries: &[&str]) -> Chain {
    entries.iter().fold(Chain::default(), |chain, entry| chain.and(entry).unwrap())
}

/// Queues a call that this chain led to; why not, if so.
fn submit(pool: &Pool, id: u64, method: &Arc<Method>, entries: &[&str]) -> Option<Refusal> {
    let served = Served { chain: chain(entries), ..Served::default() };
    let call = Call::new(RequestId::Number(id), Arc::clone(method), served, Vec::new());
    let mut refused = None;
    pool.submit(&mut vec![Job { call, params: None }], |_, why| refused = Some(why)).unwrap();
    refused
}

/// Reads a call and hands it over: the thread runs it.
fn run_next(pool: &Pool) -> Job {
    assert!(matches!(pool.next(false), Task::Read));
    let step = pool.step(None, &mut Frames::default(), &mut Frames::default(), &mut None);
    let Step::HandedOver(job) = step else { panic!("another step") };
    job
}

/// Places taken, handlers that wait without one, threads.
fn counts(pool: &Pool) -> (usize, usize, usize) {
    let state = pool.lock();
    (state.running, state.waiting, state.workers)
}

fn slot() -> Arc<ReplySlot> {
    ReplySlot::new(None)
}

fn no_spawn(_: usize) -> bool {
    panic!("a thread too many")
}

#[test]
fn a_handler_that_waits_gives_its_place_and_one_more_thread_is_there_once() {
    let (pool, method) = (pool(1, true), method(false));
    for round in 0..3 {
        submit(&pool, 1, &method, &[]);
        submit(&pool, 2, &method, &[]);
        let first = run_next(&pool);
        let mut spawned = 0;
        let suspended = pool.suspend(None, "p/1/1".to_owned(), &slot(), |_| {
            spawned += 1;
            true
        });
        assert_eq!((spawned, suspended.method), (usize::from(round == 0), None));
        assert_eq!(counts(&pool), (0, 1, 3));
        let second = run_next(&pool);
        assert_eq!(second.call.id(), &RequestId::Number(2), "in its place");
        pool.resume(suspended.number);
        pool.resume(suspended.number);
        assert_eq!(counts(&pool), (2, 0, 3), "it goes on at once");
        for job in [first, second] {
            pool.answered(&job.call);
            pool.lock().running -= 1;
        }
        pool.lock().role = ReadingRole::Free;
    }
}

#[test]
fn the_reading_role_is_given_up_with_what_was_collected() {
    let (pool, method) = (pool(2, true), method(true));
    assert!(matches!(pool.next(false), Task::Read));
    (0..10).for_each(|id| assert_eq!(submit(&pool, id, &method, &[]), None));
    let mut nothing = Frames::default();
    let Step::Run(first, run) = pool.step(None, &mut nothing, &mut Frames::default(), &mut None) else {
        panic!()
    };
    let mut answer = frames_of(b"first");
    let next = pool.step(Some((run, &first.call)), &mut answer, &mut Frames::default(), &mut None);
    let Step::Run(second, run) = next else { panic!() };
    let suspended = pool.suspend(Some(run), "p/1/1".to_owned(), &slot(), |_| true);
    assert_eq!((suspended.answers.all_waiting(), suspended.method), (b"first".to_vec(), Some(0)));
    assert_eq!(pool.lock().role, ReadingRole::Free);
    // Once it was another's, it is not taken from that one.
    assert!(matches!(pool.next(false), Task::Read));
    pool.resume(suspended.number);
    let again = pool.suspend(Some(run), "p/1/1".to_owned(), &slot(), no_spawn);
    assert!(again.method.is_none() && pool.lock().role == ReadingRole::Held);
    pool.resume(again.number);
    let mut answer = frames_of(b"second");
    let back = pool.step(Some((run, &second.call)), &mut answer, &mut Frames::default(), &mut None);
    assert!(matches!(back, Step::Lost));
}

#[test]
fn those_beyond_the_bound_and_without_a_thread_keep_their_place() {
    let (pool, method) = (pool(2, true), method(false));
    for id in 0..WAITING_MAX as u64 {
        submit(&pool, id, &method, &[]);
        run_next(&pool);
        pool.suspend(None, format!("p/1/{id}"), &slot(), |_| true);
    }
    assert_eq!(counts(&pool), (0, WAITING_MAX, WAITING_MAX + 3));
    submit(&pool, 1000, &method, &[]);
    run_next(&pool);
    pool.suspend(None, "p/1/1000".to_owned(), &slot(), no_spawn);
    assert_eq!(counts(&pool), (1, WAITING_MAX, WAITING_MAX + 3));

    let (pool, method) = (self::pool(1, true), method);
    submit(&pool, 1, &method, &[]);
    run_next(&pool);
    pool.suspend(None, "p/1/1".to_owned(), &slot(), |_| false);
    assert_eq!(counts(&pool), (1, 0, 2));
}

#[test]
fn a_call_that_could_only_wait_for_itself_is_found_and_no_other() {
    let (pool, method) = (pool(2, false), method(false));
    for id in [1, 2] {
        submit(&pool, id, &method, &[]);
        run_next(&pool);
    }
    let both = ["p/1/1", "host:p/1/7", "p/1/2", "host:p/1/8"];
    assert_eq!(submit(&pool, 10, &method, &both), None, "nobody waits yet");
    let first = pool.suspend(None, "p/1/1".to_owned(), &slot(), no_spawn);
    assert!(first.stuck.is_empty());
    assert_eq!(submit(&pool, 11, &method, &both), None, "the other one may end");
    let wait = slot();
    let second = pool.suspend(None, "p/1/2".to_owned(), &wait, no_spawn);
    let stuck: Vec<u64> = second
        .stuck
        .iter()
        .map(|job| if let RequestId::Number(id) = job.call.id() { *id } else { panic!() })
        .collect();
    assert_eq!(stuck, [10, 11], "what was queued before");
    assert_eq!(submit(&pool, 12, &method, &both), Some(Refusal::WouldDeadlock));
    assert_eq!(submit(&pool, 13, &method, &both[..2]), None, "one of them is not of its chain");
    assert_eq!(submit(&pool, 14, &method, &[]), None, "it waits for its turn as any other");
    pool.resume(second.number);
    assert_eq!(submit(&pool, 15, &method, &both), None);
}

#[test]
fn a_wait_that_has_ended_is_none_even_before_its_thread_goes_on() {
    let (pool, method) = (pool(1, false), method(false));
    submit(&pool, 1, &method, &[]);
    run_next(&pool);
    let wait = slot();
    pool.suspend(None, "p/1/1".to_owned(), &wait, no_spawn);
    assert_eq!(submit(&pool, 2, &method, &["p/1/1"]), Some(Refusal::WouldDeadlock));
    wait.end(Err(CallError::not_sent(ErrorCode::Cancelled, "cancelled")));
    assert_eq!(submit(&pool, 3, &method, &["p/1/1"]), None);
}

#[test]
fn the_end_waits_for_those_that_wait_too() {
    let (pool, method) = (pool(1, true), method(false));
    submit(&pool, 1, &method, &[]);
    run_next(&pool);
    let suspended = pool.suspend(None, "p/1/1".to_owned(), &slot(), |_| true);
    pool.close();
    let begin = Instant::now();
    pool.wait_all_done(begin + Duration::from_millis(20));
    assert!(begin.elapsed() >= Duration::from_millis(20));
    pool.resume(suspended.number);
    assert!(matches!(pool.next(true), Task::Stop));
    pool.wait_all_done(Instant::now() + Duration::from_secs(20));
    assert_eq!(pool.lock().running, 0);
}
