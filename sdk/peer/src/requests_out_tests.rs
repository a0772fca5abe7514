//! The table by itself: it is a map, and each request ends in one way.

use super::*;
use crate::send_queue::SendQueue;
use rpc_plugin_wire::ErrorCode;
use rpc_plugin_wire::ErrorObject;

fn asked(is_call: bool) -> NewRequest {
    NewRequest { method: "m".into(), is_call, wants_progress: is_call }
}

fn error_answer(id: Option<RequestId>) -> Response<'static> {
    let result = Err(ErrorObject::new(ErrorCode::InternalError, "no"));
    Response { id, result, fds: 0, streams: Vec::new() }
}

/// A table of some calls whose frames lie one behind the other, ten bytes each.
struct Bench {
    table: RequestsOut<char>,
    queue: SendQueue<()>,
}

impl Bench {
    fn new() -> Bench {
        Bench { table: RequestsOut::new(5), queue: SendQueue::default() }
    }

    fn call(&mut self, waiter: char) -> u64 {
        let id = self.table.open(asked(true), waiter, Time::ZERO);
        let span = self.queue.write(|out| out.extend_from_slice(b"123456789\n"));
        assert!(self.table.sent(id, span));
        id
    }

    fn answer(&mut self, id: u64) -> Result<Unanswered<char>, String> {
        let answer = error_answer(Some(id.into()));
        self.table.answer(&answer, self.queue.begun()).map_err(|violation| violation.why)
    }
}

#[test]
fn an_answer_ends_what_was_asked_and_nothing_else() {
    let mut bench = Bench::new();
    let (first, second) = (bench.call('a'), bench.call('b'));
    assert_eq!((first, second), (5, 6));
    assert!(bench.answer(5).unwrap_err().contains("has not been asked yet"));
    bench.queue.wrote(1);
    assert_eq!(bench.answer(5).unwrap().waiter, 'a');
    assert!(bench.answer(5).unwrap_err().contains("does not wait any more"));
    assert!(bench.answer(6).unwrap_err().contains("has not been asked yet"));
    assert!(bench.answer(4).unwrap_err().contains("does not wait any more"));
    assert!(bench.answer(7).unwrap_err().contains("was never asked"));
    let text = error_answer(Some(RequestId::Text("x".into())));
    assert!(bench.table.answer(&text, 100).unwrap_err().why.contains("unknown id \"x\""));
    let null = bench.table.answer(&error_answer(None), 100).unwrap_err().why;
    assert!(null.contains("could not read a frame") && null.contains("no"), "{null}");
    // One that is in no queue yet has not been asked.
    let third = bench.table.open(asked(true), 'c', Time::ZERO);
    assert!(bench.answer(third).unwrap_err().contains("has not been asked yet"));
}

#[test]
fn progress_goes_to_whoever_asked_for_it_and_waits() {
    let mut bench = Bench::new();
    let id = bench.call('a');
    let progress = |bench: &mut Bench, id: u64| {
        let begun = bench.queue.begun();
        bench
            .table
            .progress(&id.into(), begun)
            .map(|waiter| waiter.copied())
            .map_err(|violation| violation.why)
    };
    assert!(progress(&mut bench, id).unwrap_err().contains("has not been asked yet"));
    bench.queue.wrote(10);
    assert_eq!(progress(&mut bench, id), Ok(Some('a')));
    assert!(progress(&mut bench, 6).unwrap_err().contains("never made"));
    assert!(bench.table.progress(&RequestId::Text("x".into()), 9).is_err());
    assert!(matches!(bench.table.cancel(id, false), Some(GivenUp::Sent(_))));
    assert_eq!(progress(&mut bench, id), Ok(None), "nobody waits");
    bench.answer(id).unwrap();
    assert_eq!(progress(&mut bench, id), Ok(None), "it was faster");
    let quiet = bench.table.open(NewRequest { wants_progress: false, ..asked(true) }, 'q', Time::ZERO);
    let span = bench.queue.write(|out| out.push(b'\n'));
    bench.table.sent(quiet, span);
    bench.queue.wrote(1);
    assert_eq!(progress(&mut bench, quiet), Ok(None), "nobody asked for it");
}

#[test]
fn whoever_waits_is_told_of_one_end() {
    let mut bench = Bench::new();
    let (first, second, third) = (bench.call('a'), bench.call('b'), bench.call('c'));
    bench.table.open(asked(false), 'o', Time::ZERO);
    assert_eq!((bench.table.calls(), bench.table.own()), (3, 1));
    bench.queue.wrote(20);
    // Cancelled while the peer has it: its answer is dropped, late or not.
    assert!(
        matches!(bench.table.cancel(first, false), Some(GivenUp::Sent(request)) if request.waiter == 'a')
    );
    assert!(bench.table.cancel(first, false).is_none(), "once");
    assert!(matches!(bench.table.expire(first, false), Some(Expired::Cancelled(_))));
    let request = bench.answer(first).unwrap();
    assert!(request.is_over && request.is_late);
    // Its deadline passes, and what it had after that: the connection is to end.
    assert!(
        matches!(bench.table.expire(second, false), Some(Expired::Late(request)) if request.waiter == 'b')
    );
    assert!(bench.table.cancel(second, false).is_none());
    assert!(matches!(bench.table.expire(second, false), Some(Expired::Poisoned(_))));
    // Nothing of it was written.
    let frame = bench.table.get(third).and_then(Unanswered::frame).unwrap();
    let withdrawn = bench.queue.withdraw(frame);
    assert!(
        matches!(bench.table.expire(third, withdrawn), Some(Expired::Unsent(request)) if !request.is_over)
    );
    assert!(bench.table.expire(third, true).is_none() && bench.table.cancel(third, true).is_none());
    assert!(!bench.table.sent(third, frame), "nobody waits");
    assert_eq!((bench.table.calls(), bench.table.own()), (1, 1));
    assert_eq!(bench.table.pop().map(|request| request.waiter), Some('b'), "the oldest first");
    assert_eq!(bench.table.pop().map(|request| request.waiter), Some('o'));
    assert!(bench.table.pop().is_none());
}

#[test]
fn requests_of_the_side_itself_never_poison_but_in_number() {
    let mut table = RequestsOut::new(0);
    for _ in 0..=OWN_MAX {
        let id = table.open(asked(false), (), Time::ZERO);
        let expired = table.expire(id, false);
        let is_last = id == OWN_MAX as u64;
        assert_eq!(matches!(expired, Some(Expired::Poisoned(_))), is_last, "{id}");
        assert_eq!(matches!(expired, Some(Expired::Late(_))), !is_last, "{id}");
    }
}

/// Whatever is answered in whatever order, the table is the same as a plain map.
#[test]
fn it_is_a_map_by_id_and_never_larger_than_what_waits_and_a_thousand_gaps() {
    let mut rng = fastrand::Rng::with_seed(1);
    for stay in [0, 1, 30, 2000] {
        let (mut table, mut map) = (RequestsOut::new(0), BTreeMap::new());
        for number in 0..20_000 {
            assert_eq!(table.next_id(), number);
            assert_eq!(table.open(asked(number.is_multiple_of(2)), number, Time::ZERO), number);
            map.insert(number, number);
            while map.len() > stay {
                let any = map.keys().nth(rng.usize(0..map.len().min(50))).copied().unwrap();
                assert!(table.get(any).is_some() && table.get_mut(any).is_some());
                let taken = table.remove(any).unwrap();
                assert_eq!(Some(taken.waiter), map.remove(&any));
                assert!(table.remove(any).is_none() && table.get(any).is_none());
            }
            assert!(table.recent.len() <= RECENT_MAX && table.old.len() <= map.len());
            if number % 101 != 0 {
                continue;
            }
            let calls = map.keys().filter(|number| number.is_multiple_of(2)).count();
            assert_eq!((table.calls(), table.own()), (calls, map.len() - calls));
        }
        for key in map.into_values() {
            assert_eq!(table.pop().unwrap().waiter, key, "the oldest first");
        }
        assert!(table.pop().is_none());
    }
}
