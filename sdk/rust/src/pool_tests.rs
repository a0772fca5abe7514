//! The pool by itself: bounds, ids, who reads, and that no job and no role is forgotten.

use super::*;
use crate::attachments::frames_of;
use crate::call::{Method, typed};
use rpc_plugin_interface::HandlerError;
use rpc_plugin_interface::context::Served;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn method() -> Arc<Method> {
    Arc::new(Method::new("m", 0, typed(|_: &Call, (): ()| Ok::<(), HandlerError>(()))))
}

/// A method that has been quick so far.
fn quick() -> Arc<Method> {
    let method = method();
    (0..10).for_each(|_| method.pace.took(Duration::from_micros(1)));
    method
}

fn job(id: u64, method: &Arc<Method>) -> Job {
    let call = Call::new(RequestId::Number(id), Arc::clone(method), Served::default(), Vec::new());
    Job { call, params: None }
}

fn pool(threads: usize, queue_max: usize) -> Pool {
    let pool = Pool::new(threads, queue_max, true, Arc::new(WakePipe::new().unwrap()));
    pool.open(Input::new(1024));
    pool
}

fn submit(pool: &Pool, ids: impl IntoIterator<Item = u64>, method: &Arc<Method>) {
    let mut jobs = ids.into_iter().map(|id| job(id, method)).collect();
    pool.submit(&mut jobs, |_, _| panic!("refused")).unwrap();
}

/// A step of a thread that has done nothing before.
fn step(pool: &Pool) -> Step {
    pool.step(None, &mut Frames::default(), &mut Frames::default(), &mut None)
}

/// A step after a call whose answer is `answer`; what is to be flushed.
fn step_after(pool: &Pool, job: &Job, run: u64, answer: &str) -> (Step, String) {
    let mut flushed = Frames::default();
    let mut answer = frames_of(answer.as_bytes());
    let step = pool.step(Some((run, &job.call)), &mut answer, &mut flushed, &mut None);
    (step, String::from_utf8(flushed.all_waiting()).unwrap())
}

fn take_role(pool: &Pool) {
    assert!(matches!(pool.next(false), Task::Read));
}

#[test]
fn the_queue_is_bounded_and_ids_are_unique_until_answered() {
    let (pool, method) = (pool(1, 2), method());
    take_role(&pool);
    let mut refused = Vec::new();
    let mut submit = |ids: &[u64]| {
        let mut jobs = ids.iter().map(|id| job(*id, &method)).collect();
        pool.submit(&mut jobs, |call, why| refused.push((call.id().clone(), why)))
    };
    assert_eq!(submit(&[1, 2, 3]), Ok(Room { jobs: 0, worked_off: true }));
    assert!(submit(&[2]).is_err());
    let Step::HandedOver(first) = step(&pool) else { panic!() };
    assert!(submit(&[1]).is_err(), "running is not answered");
    pool.answered(&first.call);
    assert_eq!(submit(&[1]), Ok(Room { jobs: 0, worked_off: false }));
    assert_eq!(refused, [(RequestId::Number(3), Refusal::QueueFull)]);
}

#[test]
fn what_is_queued_when_cancelled_never_runs() {
    let (pool, method) = (pool(2, 9), method());
    take_role(&pool);
    submit(&pool, [1, 2, 3], &method);
    assert_eq!(pool.cancel(&RequestId::Number(2), None).unwrap().id(), &RequestId::Number(2));
    assert!(pool.cancel(&RequestId::Number(2), None).is_none());
    let Step::HandedOver(first) = step(&pool) else { panic!() };
    let cause = Some(CancelCause::new("enough"));
    assert!(pool.cancel(&RequestId::Number(1), cause.clone()).is_none(), "a worker has it, and answers it");
    assert_eq!((first.call.is_cancelled(), first.call.cancel_cause()), (true, cause));
    let left = pool.close();
    assert_eq!(left.iter().map(|call| call.id().clone()).collect::<Vec<_>>(), [RequestId::Number(3)]);
    assert!(matches!(pool.next(true), Task::Stop));
    pool.wait_all_done(Instant::now() + PATIENCE);
}

#[test]
fn a_job_that_is_not_known_to_be_quick_frees_the_role_and_never_more_run_than_may() {
    let (pool, method) = (pool(2, 9), method());
    submit(&pool, [1, 2, 3], &method);
    for running in 1..=2 {
        take_role(&pool);
        assert!(matches!(step(&pool), Step::HandedOver(_)));
        let state = pool.lock();
        assert_eq!((state.role, state.running), (ReadingRole::Free, running));
    }
    take_role(&pool);
    assert!(matches!(step(&pool), Step::Read { .. }), "all others are busy: only reading is left");
    assert!(!pool.leave_to_send(&mut None), "and nobody would be left to read");
    let Task::Run(third) = pool.next(true) else { panic!() };
    assert_eq!(third.call.id(), &RequestId::Number(3), "who is done goes on with what waits");
}

#[test]
fn quick_jobs_keep_the_role_and_their_answers_go_out_together() {
    let (pool, method) = (pool(2, 100), quick());
    take_role(&pool);
    submit(&pool, 0..40, &method);
    let mut next = step(&pool);
    for answer in 0..32 {
        let Step::Run(job, run) = next else { panic!("{answer}") };
        let (then, flushed) = step_after(&pool, &job, run, "x");
        next = then;
        assert!(!pool.is_unanswered(job.call.id()));
        assert_eq!(flushed.len(), if answer == 31 { 32 } else { 0 });
    }
    assert!(matches!(next, Step::Flush));
    let Step::Run(job, run) = step(&pool) else { panic!() };
    let (then, flushed) = step_after(&pool, &job, run, &"x".repeat(COLLECTED_BYTES_MAX));
    assert!(matches!(then, Step::Flush) && flushed.len() == COLLECTED_BYTES_MAX, "bytes count too");
}

/// What the reading thread does with requests that it has just read; what is to be sent before that.
fn take_in(pool: &Pool, jobs: &mut Vec<Job>, answers: &str) -> (Result<Step, Violation>, String) {
    let Step::Read { input, .. } = step(pool) else { panic!("it does not read") };
    let (mut answers, mut buffer) = (frames_of(answers.as_bytes()), Frames::default());
    let refuse = |answers: &mut Frames, _: &Call, _| {
        answers.append(&mut frames_of(b"refused"));
    };
    let step = pool.take_in(input, jobs, &mut answers, &mut buffer, &mut None, refuse);
    (step, String::from_utf8(buffer.all_waiting()).unwrap())
}

#[test]
fn a_quick_call_that_was_just_read_is_run_without_being_queued() {
    let (pool, method) = (pool(2, 100), quick());
    take_role(&pool);
    pool.lock().monitor.wake();
    let (Ok(Step::Run(first, run)), _) = take_in(&pool, &mut vec![job(1, &method)], "") else { panic!() };
    assert!(pool.lock().queue.is_empty() && pool.lock().input.is_some());
    assert!(pool.is_unanswered(first.call.id()));
    let (Step::Read { input, queue_room: 100 }, sent) = step_after(&pool, &first, run, "first") else {
        panic!()
    };
    assert_eq!(sent, "first", "goes out before the next read");
    assert!(!pool.is_unanswered(first.call.id()));
    pool.lock().input = Some(input);

    let mut jobs = (2..=4).map(|id| job(id, &method)).collect();
    let (Ok(Step::Run(second, run)), _) = take_in(&pool, &mut jobs, "") else { panic!() };
    assert_eq!(
        pool.cancel(&RequestId::Number(3), None).unwrap().id(),
        &RequestId::Number(3),
        "others are queued"
    );
    let (Step::Run(fourth, _), _) = step_after(&pool, &second, run, "") else { panic!() };
    assert_eq!(fourth.call.id(), &RequestId::Number(4));
}

#[test]
fn what_was_just_read_keeps_bounds_ids_and_order() {
    let (pool, quick, slow) = (pool(2, 2), quick(), method());
    take_role(&pool);
    pool.lock().monitor.wake();
    // Answers of the reading thread itself do not wait for calls.
    let mut jobs = (1..=3).map(|id| job(id, &quick)).collect();
    let (then, sent) = take_in(&pool, &mut jobs, "heartbeat");
    assert!(matches!(then, Ok(Step::Flush)));
    assert_eq!(sent, "heartbeatrefused", "the third has no room");
    let Step::Run(first, run) = step(&pool) else { panic!() };
    assert_eq!(first.call.id(), &RequestId::Number(1));
    let (Step::Run(second, run), _) = step_after(&pool, &first, run, "") else { panic!() };
    step_after(&pool, &second, run, "");

    let pool = self::pool(2, 9);
    take_role(&pool);
    let (then, _) = take_in(&pool, &mut vec![job(1, &slow), job(2, &slow), job(1, &slow)], "");
    assert_eq!(
        then.err().map(|violation| violation.why),
        Some("request id 1 waits for an answer already".into())
    );
    let left: Vec<_> = pool.close().iter().map(|call| call.id().clone()).collect();
    assert_eq!(left, [RequestId::Number(1), RequestId::Number(2)], "those before it are answered");
}

#[test]
fn without_the_monitor_a_quick_job_frees_the_role_first() {
    let (pool, method) = (pool(2, 100), quick());
    for id in 0..50u64 {
        take_role(&pool);
        submit(&pool, [id], &method);
        // Calls that come far apart.
        let mut now = Some(Instant::now() + Duration::from_secs(id));
        let next = pool.step(None, &mut Frames::default(), &mut Frames::default(), &mut now);
        let Step::HandedOver(job) = next else { panic!("{id}") };
        assert!(!pool.lock().monitor.is_awake());
        pool.answered(&job.call);
        pool.lock().running -= 1;
    }
}

#[test]
fn quick_jobs_that_are_long_together_are_for_several_threads() {
    let pool = pool(2, 100);
    let method = method();
    (0..10).for_each(|_| method.pace.took(Duration::from_micros(45)));
    take_role(&pool);
    submit(&pool, 0..60, &method);
    assert!(matches!(step(&pool), Step::HandedOver(_)), "60 x 45 us");
}

#[test]
fn a_job_that_blocks_loses_the_role_and_the_answers_before_it_are_not_lost() {
    let (pool, method) = (pool(1, 100), quick());
    take_role(&pool);
    submit(&pool, 0..10, &method);
    let Step::Run(first, run) = step(&pool) else { panic!() };
    let (Step::Run(second, run), _) = step_after(&pool, &first, run, "first") else { panic!() };
    let begin = Instant::now();
    assert!(matches!(pool.tick(begin), Tick::Watching(_)));
    assert!(matches!(pool.tick(begin + TICK / 2), Tick::Watching(_)), "less than a tick later");
    let Tick::Rescued { answers, method: 0 } = pool.tick(begin + TICK) else { panic!() };
    assert_eq!(answers.all_waiting(), b"first");
    take_role(&pool);
    assert!(matches!(step(&pool), Step::Read { .. }), "the one that is stuck is all that may run");
    let mut answer = frames_of(b"second");
    let back = pool.step(Some((run, &second.call)), &mut answer, &mut Frames::default(), &mut None);
    assert!(matches!(back, Step::Lost));
    assert_eq!(
        (answer.all_waiting(), pool.lock().role),
        (b"second".to_vec(), ReadingRole::Held),
        "it sends its answer itself"
    );
    assert!(matches!(pool.next(true), Task::Run(_)));
}

#[test]
fn the_same_thread_may_lose_the_role_have_it_again_and_is_not_mistaken() {
    let (pool, method) = (pool(2, 100), quick());
    take_role(&pool);
    submit(&pool, 0..10, &method);
    let Step::Run(stuck, stuck_run) = step(&pool) else { panic!() };
    let begin = Instant::now();
    pool.tick(begin);
    assert!(matches!(pool.tick(begin + TICK), Tick::Rescued { .. }));
    take_role(&pool);
    assert!(matches!(step(&pool), Step::Run(..)), "another runs a call with the role now");
    let (back, _) = step_after(&pool, &stuck, stuck_run, "late");
    assert!(matches!(back, Step::Lost));
}

#[test]
fn the_monitor_sleeps_once_nothing_happens() {
    let (pool, method) = (pool(2, 100), quick());
    take_role(&pool);
    submit(&pool, 0..10, &method);
    let Step::Run(mut job, mut run) = step(&pool) else { panic!() };
    while let (Step::Run(next, number), _) = step_after(&pool, &job, run, "") {
        (job, run) = (next, number);
    }
    let begin = Instant::now();
    let ticks = (0..100).take_while(|n| matches!(pool.tick(begin + TICK * *n), Tick::Watching(_))).count();
    assert!((1..=10).contains(&ticks), "{ticks}");
    assert!(matches!(pool.tick(begin + TICK * 200), Tick::Asleep));
    assert!(pool.lock().monitor.ticks <= 11);
}

/// Threads that tell which job they took, and hold each until it is cancelled if `holds`.
fn workers(
    pool: &Arc<Pool>,
    count: usize,
    holds: fn(&RequestId) -> bool,
) -> (Vec<JoinHandle<()>>, mpsc::Receiver<RequestId>) {
    let (taken, seen) = mpsc::channel();
    let spawn = |_| {
        let (pool, taken) = (Arc::clone(pool), taken.clone());
        std::thread::spawn(move || {
            let mut has_answered = false;
            loop {
                let job = match pool.next(has_answered) {
                    Task::Run(job) => job,
                    Task::Stop => return,
                    Task::Read => match step(&pool) {
                        Step::HandedOver(job) => job,
                        Step::Read { input, .. } => {
                            // "Reads" until there is something in the queue.
                            let nothing = |state: &PoolState| state.queue.is_empty() && !state.closed;
                            while nothing(&pool.lock()) {
                                std::thread::yield_now();
                            }
                            let mut state = pool.lock();
                            (state.input, state.role) = (Some(input), ReadingRole::Free);
                            has_answered = false;
                            continue;
                        }
                        Step::Stop => return,
                        _ => panic!("no other step is possible here"),
                    },
                };
                taken.send(job.call.id().clone()).unwrap();
                if holds(job.call.id()) {
                    let _ = job.call.wait(Duration::MAX);
                }
                pool.answered(&job.call);
                has_answered = true;
            }
        })
    };
    ((0..count).map(spawn).collect(), seen)
}

fn end(pool: &Pool, workers: Vec<JoinHandle<()>>) {
    assert!(pool.close().is_empty());
    pool.wait_all_done(Instant::now() + PATIENCE);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn every_job_finds_a_worker_while_one_is_free() {
    let (pool, method) = (Arc::new(pool(3, 1000)), method());
    // The first job holds its worker until the end: the others must do the rest.
    let (workers, seen) = workers(&pool, 4, |id| id == &RequestId::Number(0));
    for round in 0..500 {
        submit(&pool, [round * 2, round * 2 + 1], &method);
        for _ in 0..2 {
            seen.recv_timeout(PATIENCE).expect("a job was forgotten");
        }
    }
    end(&pool, workers);
}

#[test]
fn one_batch_wakes_as_many_workers_as_it_needs() {
    let (pool, method) = (Arc::new(pool(4, 1000)), method());
    let (workers, seen) = workers(&pool, 5, |_| true);
    while pool.lock().idle < 4 {
        std::thread::yield_now();
    }
    submit(&pool, 0..4, &method);
    for _ in 0..4 {
        seen.recv_timeout(PATIENCE).expect("a worker sleeps beside a queued job");
    }
    end(&pool, workers);
}
