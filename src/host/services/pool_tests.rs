//! The threads of services: bounded, never fewer than may run, never stuck unseen.

use super::*;
use rpc_plugin_interface::Context;
use rpc_plugin_interface::context::Served;
use rpc_plugin_wire::{Chain, RequestId};
use std::sync::Barrier;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

const SOON: Duration = Duration::from_secs(20);

fn pool(threads: usize, queue_max: usize) -> Pool {
    Pool::new(threads, queue_max, SOON)
}

fn entry(number: usize) -> String {
    format!("host:a/1/{number}")
}

fn led_to_by(numbers: &[usize]) -> Chain {
    numbers.iter().fold(Chain::default(), |chain, number| chain.and(&entry(*number)).unwrap())
}

fn job(number: usize, chain: Chain, run: impl FnOnce(Result<(), JobRefused>) + Send + 'static) -> ServiceJob {
    let context = Context::new(RequestId::Number(number as u64), Served { chain, ..Served::default() });
    let call = Arc::new(ServedCall { context, until: None, entry: entry(number) });
    // Each is of a plugin of its own.
    let party = Party::Plugin(format!("p{number}").parse().unwrap());
    ServiceJob { party, call, run: Box::new(run) }
}

fn refusal(submitted: Result<(), (JobRefused, ServiceJob)>) -> Option<JobRefused> {
    submitted.err().map(|(refused, _)| refused)
}

fn submit(
    pool: &Pool,
    number: usize,
    run: impl FnOnce(Result<(), JobRefused>) + Send + 'static,
) -> Option<JobRefused> {
    refusal(pool.submit(job(number, Chain::default(), run)))
}

fn soon<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(SOON).expect("it comes soon")
}

fn eventually(pool: &Pool, what: &str, is: impl Fn(&PoolState) -> bool) {
    let end = Instant::now() + SOON;
    while !is(&pool.0.lock()) {
        assert!(Instant::now() < end, "waited {SOON:?} in vain: {what}");
        std::thread::yield_now();
    }
}

/// A job that says that it runs, and stays until its sender is dropped; with `waits` it waits meanwhile.
fn staying(pool: &Pool, number: usize, waits: bool) -> Sender<()> {
    let ((began, begun), (stay, go)) = (channel(), channel::<()>());
    let of = pool.clone();
    let run = move |taken: Result<(), JobRefused>| {
        taken.unwrap();
        if waits {
            of.begin_wait();
        }
        began.send(()).unwrap();
        let _ = go.recv();
        if waits {
            of.end_wait();
        }
    };
    assert_eq!(submit(pool, number, run), None);
    soon(&begun);
    stay
}

#[test]
fn the_queue_is_bounded_and_what_is_in_it_runs_in_turn() {
    let pool = pool(1, 2);
    let stay = staying(&pool, 0, false);
    let (done, ends) = channel();
    for number in 1..=2 {
        let done = done.clone();
        assert_eq!(submit(&pool, number, move |taken| done.send((number, taken)).unwrap()), None);
    }
    let full = JobRefused::Full(ShareUsed { own: 0, total: 2, max: 2 });
    assert_eq!(submit(&pool, 3, |_| panic!("it was refused")), Some(full));
    drop(stay);
    assert_eq!([soon(&ends), soon(&ends)], [(1, Ok(())), (2, Ok(()))]);
    assert_eq!(pool.0.lock().threads, 1);
}

#[test]
fn a_plugin_that_floods_the_queue_leaves_the_others_their_share() {
    let pool = pool(1, 16);
    let stay = staying(&pool, 0, false);
    let (done, ends) = channel();
    let submit_one = |number: usize| {
        let done = done.clone();
        submit(&pool, number, move |taken| done.send((number, taken)).unwrap())
    };
    assert_eq!((0..).take_while(|_| submit_one(1).is_none()).count(), 8);
    assert_eq!(submit_one(1), Some(JobRefused::Full(ShareUsed { own: 8, total: 8, max: 16 })));
    assert_eq!(
        (2..6).map(|number| (0..).take_while(|_| submit_one(number).is_none()).count()).sum::<usize>(),
        8
    );
    drop(stay);
    let ran: Vec<_> = (0..16).map(|_| soon(&ends).0).collect();
    assert_eq!(ran, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(pool.0.lock().shares.total(), Amount::default());
    let stay = staying(&pool, 0, false);
    assert_eq!((0..).take_while(|_| submit_one(1).is_none()).count(), 8, "it may again");
    pool.end();
    assert_eq!(pool.0.lock().shares.total(), Amount::default());
    drop(stay);
}

#[test]
fn as_many_run_at_once_as_may_and_a_burst_makes_no_more_threads() {
    let pool = pool(3, 1000);
    // Also when one idle thread was notified for the first of them and has not looked yet.
    for round in 0..50 {
        let barrier = Arc::new(Barrier::new(3));
        let (done, ends) = channel();
        for number in 0..3 {
            let (barrier, done) = (Arc::clone(&barrier), done.clone());
            let run = move |_: Result<(), JobRefused>| {
                barrier.wait();
                done.send(()).unwrap();
            };
            assert_eq!(submit(&pool, round * 10 + number, run), None);
        }
        (0..3).for_each(|_| soon(&ends));
    }
    let (done, ends) = channel();
    for number in 0..500 {
        let done = done.clone();
        assert_eq!(submit(&pool, number, move |_| done.send(()).unwrap()), None);
    }
    (0..500).for_each(|_| soon(&ends));
    assert_eq!(pool.0.lock().threads, 3);
}

/// Serves a call which leads to another, `depth` times.
fn nest(pool: &Pool, chain: Chain, depth: usize, done: Sender<usize>) {
    let (of, here) = (pool.clone(), chain.clone());
    let run = move |taken: Result<(), JobRefused>| {
        taken.unwrap();
        if depth == 0 {
            return done.send(0).unwrap();
        }
        let (inner_done, inner) = channel();
        of.begin_wait();
        nest(&of, here.and(&entry(depth)).unwrap(), depth - 1, inner_done);
        let below = soon(&inner);
        of.end_wait();
        done.send(below + 1).unwrap();
    };
    assert_eq!(refusal(pool.submit(job(depth, chain, run))), None);
}

#[test]
fn twenty_calls_that_led_to_each_other_are_served_with_one_thread() {
    let pool = pool(1, 1);
    let (done, end) = channel();
    nest(&pool, Chain::default(), 20, done);
    assert_eq!(soon(&end), 20);
    assert!(pool.0.lock().threads <= 21);
}

#[test]
fn a_place_that_is_given_up_is_taken_once_and_given_back_later() {
    let pool = pool(1, 10);
    let first = staying(&pool, 0, true);
    let second = staying(&pool, 1, false);
    let (done, ends) = channel();
    assert_eq!(submit(&pool, 2, move |_| done.send(()).unwrap()), None);
    assert!(ends.try_recv().is_err(), "there is one place, and it is taken");
    drop(first);
    eventually(&pool, "the first has ended", |state| state.running.len() == 1);
    assert!(ends.try_recv().is_err());
    drop(second);
    soon(&ends);
}

/// All threads that there may be, each waiting for a plugin.
fn all_waiting(pool: &Pool) -> Vec<Sender<()>> {
    let stays: Vec<_> = (0..=WAITING_MAX).map(|number| staying(pool, number, true)).collect();
    let state = pool.0.lock();
    assert_eq!(
        (state.threads, state.running.len(), state.waiting),
        (WAITING_MAX + 1, WAITING_MAX + 1, WAITING_MAX + 1)
    );
    drop(state);
    stays
}

#[test]
fn would_deadlock_is_said_only_where_every_thread_waits_for_what_is_queued() {
    let pool = pool(1, 1000);
    let mut stays = all_waiting(&pool);
    let (done, ends) = channel();
    let nested = |number: usize, by: &[usize]| {
        let done = done.clone();
        let run = move |taken| done.send((number, taken)).unwrap();
        refusal(pool.submit(job(number, led_to_by(by), run)))
    };
    // Nobody waits for it.
    assert_eq!(nested(1000, &[]), None);
    // Each has one that may end without it, up to the last.
    for number in 0..WAITING_MAX {
        assert_eq!(nested(1001 + number, &[number]), None, "{number}");
    }
    assert_eq!(nested(2000, &[500, WAITING_MAX]), Some(JobRefused::WouldDeadlock));
    assert_eq!(nested(2001, &[500]), None, "that one nobody waits for");
    // One ends for another reason, and all that is queued is served.
    drop(stays.pop());
    for _ in 0..WAITING_MAX + 2 {
        assert_eq!(soon(&ends).1, Ok(()));
    }
}

#[test]
fn what_was_queued_before_the_last_wait_began_is_refused_then() {
    let pool = pool(1, 1000);
    let stays: Vec<_> = (0..WAITING_MAX).map(|number| staying(&pool, number, true)).collect();
    let (of, (begin, begins), (done, end)) = (pool.clone(), channel(), channel());
    let last = WAITING_MAX;
    let (waits, waiting) = channel::<()>();
    let run = move |_: Result<(), JobRefused>| {
        soon(&begins);
        of.begin_wait();
        // Its call ends, because the nested one was refused.
        let _ = waiting.recv_timeout(SOON);
        of.end_wait();
    };
    assert_eq!(submit(&pool, last, run), None);
    eventually(&pool, "all threads run", |state| state.running.len() == WAITING_MAX + 1);
    let led: Vec<usize> = (0..=WAITING_MAX).collect();
    for part in led.chunks(30) {
        let (done, _waits) = (done.clone(), waits.clone());
        let run = move |taken| done.send(taken).unwrap();
        assert_eq!(refusal(pool.submit(job(900, led_to_by(part), run))), None, "one does not wait yet");
    }
    begin.send(()).unwrap();
    assert_eq!(soon(&end), Err(JobRefused::WouldDeadlock));
    assert!(end.try_recv().is_err(), "the others may be served, now that one can go on");
    drop((waits, stays));
}

#[test]
fn a_panic_costs_nothing_but_its_own_call() {
    struct Told(Sender<&'static str>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send("dropped").unwrap();
        }
    }
    let pool = pool(1, 10);
    let (done, ends) = channel();
    for number in 0..3 {
        let told = Told(done.clone());
        let run = move |_: Result<(), JobRefused>| {
            let _told = told;
            std::panic::resume_unwind(Box::new("on purpose"));
        };
        assert_eq!(submit(&pool, number, run), None);
        assert_eq!(soon(&ends), "dropped");
    }
    assert_eq!(submit(&pool, 9, move |_| done.send("served").unwrap()), None);
    assert_eq!(soon(&ends), "served");
    eventually(&pool, "nothing of it is left", |state| state.running.is_empty() && state.threads == 1);
}

#[test]
fn threads_end_when_there_is_nothing_to_do_and_come_back() {
    let pool = Pool::new(3, 10, Duration::from_millis(1));
    for _ in 0..3 {
        let (done, ends) = channel();
        for number in 0..3 {
            let done = done.clone();
            assert_eq!(submit(&pool, number, move |_| done.send(()).unwrap()), None);
        }
        (0..3).for_each(|_| soon(&ends));
        eventually(&pool, "no thread is left", |state| state.threads == 0);
    }
}

#[test]
fn the_end_refuses_what_is_queued_and_cancels_what_runs() {
    let pool = pool(1, 10);
    let (began, begun) = channel();
    let (done, ends) = channel();
    let ((of, seen), refused) = ((pool.clone(), done.clone()), done.clone());
    let run = move |_: Result<(), JobRefused>| {
        began.send(()).unwrap();
        let current = Arc::clone(&of.0.lock().running[0]);
        let is_cancelled = current.context.wait(SOON).is_err();
        seen.send((0, is_cancelled.then_some(JobRefused::Ended))).unwrap();
    };
    assert_eq!(submit(&pool, 0, run), None);
    soon(&begun);
    assert_eq!(submit(&pool, 1, move |taken| refused.send((1, taken.err())).unwrap()), None);
    pool.end();
    let mut seen = [soon(&ends), soon(&ends)];
    seen.sort_by_key(|(number, _)| *number);
    assert_eq!(seen, [(0, Some(JobRefused::Ended)), (1, Some(JobRefused::Ended))]);
    assert_eq!(submit(&pool, 2, move |_| done.send((2, None)).unwrap()), Some(JobRefused::Ended));
    eventually(&pool, "its threads have ended", |state| state.threads == 0);
}
