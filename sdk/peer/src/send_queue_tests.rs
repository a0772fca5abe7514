//! A queue by itself: offsets, withdrawal, descriptors, and frames that are moved from one queue to another.

use super::*;

fn push(queue: &mut SendQueue<u8>, frame: &str, fds: &[u8]) -> Span {
    let span = queue.write(|out| out.extend_from_slice(frame.as_bytes()));
    queue.attach(span, fds.to_vec());
    span
}

fn waiting(queue: &SendQueue<u8>) -> (&str, &[u8]) {
    let (bytes, fds) = queue.waiting();
    (std::str::from_utf8(bytes).unwrap(), fds)
}

#[test]
fn spans_tell_what_has_begun() {
    let mut queue = SendQueue::default();
    let (first, second) = (push(&mut queue, "first\n", &[]), push(&mut queue, "second\n", &[]));
    assert!(!first.has_begun(queue.begun()) && second.bytes() == 7);
    queue.wrote(1);
    assert!(first.has_begun(queue.begun()) && !second.has_begun(queue.begun()));
    queue.wrote(5);
    assert!(!second.has_begun(queue.begun()), "the first is whole, the second has not begun");
    push(&mut queue, "third\n", &[]);
    assert_eq!(waiting(&queue).0, "second\nthird\n");
    queue.wrote(100);
    assert!(queue.is_empty() && second.has_begun(queue.begun()));
    assert_eq!(queue.begun(), 19);
}

#[test]
fn descriptors_go_with_the_first_byte_of_their_frame() {
    let mut queue = SendQueue::default();
    push(&mut queue, "one\n", &[]);
    push(&mut queue, "two\n", &[1, 2]);
    push(&mut queue, "three\n", &[]);
    let four = push(&mut queue, "four\n", &[3]);
    push(&mut queue, "five\n", &[4]);
    assert_eq!((waiting(&queue), queue.waiting_fds()), (("one\n", &[][..]), 4));
    queue.wrote(4);
    assert_eq!(waiting(&queue), ("two\nthree\n", &[1, 2][..]));
    queue.wrote(0);
    assert_eq!(waiting(&queue).1, [1, 2], "no byte was written");
    queue.wrote(1);
    assert_eq!(waiting(&queue), ("wo\nthree\n", &[][..]));
    assert!(queue.withdraw(four) && queue.withdraw_attached().is_none(), "another is next");
    queue.wrote(9);
    assert_eq!(waiting(&queue), ("five\n", &[4][..]));
    let (_, frame) = queue.withdraw_attached().unwrap();
    assert_eq!(frame, b"five\n");
    assert!(queue.is_empty() && queue.waiting_fds() == 0);
    push(&mut queue, "six\n", &[5]);
    push(&mut queue, "seven\n", &[]);
    queue.withdraw_all_attached();
    assert_eq!(waiting(&queue), ("seven\n", &[][..]));
}

#[test]
fn descriptors_can_be_prepared_just_before_their_frame_is_written() {
    let mut queue = SendQueue::default();
    push(&mut queue, "one\n", &[]);
    push(&mut queue, "two\n", &[1, 2]);
    assert!(queue.attached_mut().is_empty(), "another frame is next");
    queue.wrote(4);
    queue.attached_mut().iter_mut().for_each(|fd| *fd += 10);
    assert_eq!(waiting(&queue), ("two\n", &[11, 12][..]));
    queue.wrote(1);
    assert!(queue.attached_mut().is_empty(), "they are gone");
}

#[test]
fn what_is_withdrawn_in_time_is_never_handed_out() {
    let mut queue = SendQueue::default();
    let spans = ["one\n", "two\n", "three\n", "four\n"].map(|frame| push(&mut queue, frame, &[]));
    queue.wrote(2);
    assert!(!queue.withdraw(spans[0]), "it has begun");
    assert!(queue.withdraw(spans[2]) && queue.withdraw(spans[1]), "in any order");
    assert_eq!((queue.all_waiting().as_slice(), queue.waiting_bytes()), (&b"e\nfour\n"[..], 7));
    assert_eq!(waiting(&queue).0, "e\n");
    queue.wrote(100);
    assert_eq!(waiting(&queue).0, "four\n", "no more than was handed out counts as written");
    assert!(!spans[3].has_begun(queue.begun()));
    push(&mut queue, "five\n", &[]);
    assert!(queue.withdraw(spans[3]));
    assert_eq!(waiting(&queue).0, "five\n");
    queue.wrote(5);
    assert!(queue.is_empty() && waiting(&queue).0.is_empty());
    assert_eq!(queue.begun(), 24);
}

#[test]
fn what_is_too_long_leaves_nothing_behind() {
    let mut queue = SendQueue::<u8>::default();
    push(&mut queue, "one\n", &[]);
    assert_eq!(queue.write_within(3, |out| out.extend_from_slice(b"four\n")), Err(4));
    let span = queue.write_within(4, |out| out.extend_from_slice(b"four\n")).unwrap();
    assert_eq!((span.bytes(), queue.all_waiting().as_slice()), (5, &b"one\nfour\n"[..]));
}

/// What waits in a queue, frame by frame with its descriptors, written in pieces of at most so many bytes.
fn drain(mut queue: SendQueue<u8>, piece: usize) -> Vec<(String, Vec<u8>)> {
    let mut frames = vec![(String::new(), Vec::new())];
    while !queue.is_empty() {
        let (bytes, fds) = waiting(&queue);
        let bytes = bytes.get(..piece).unwrap_or(bytes).to_owned();
        if !fds.is_empty() {
            assert!(frames.last().unwrap().0.is_empty(), "descriptors within a frame");
            frames.last_mut().unwrap().1.extend_from_slice(fds);
        }
        for byte in bytes.chars() {
            match byte {
                '\n' => frames.push((String::new(), Vec::new())),
                _ => frames.last_mut().unwrap().0.push(byte),
            }
        }
        queue.wrote(bytes.len());
    }
    assert_eq!(frames.pop(), Some((String::new(), Vec::new())), "whole frames");
    frames
}

/// Frames that are written to queues of their own, moved and withdrawn in any way, come out whole, once, in order and
/// with their own descriptors.
#[test]
fn frames_stay_whole_however_queues_are_joined() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut all, mut sent) = (SendQueue::default(), SendQueue::default());
        let (mut expected, mut spans, mut fd) = (Vec::new(), Vec::new(), 0);
        for number in 0..rng.usize(1..40) {
            let text = "x".repeat(rng.usize(0..9)) + &number.to_string();
            let fds: Vec<u8> = (fd..).take(rng.usize(0..9).saturating_sub(6)).collect();
            fd += 2;
            let mut own = SendQueue::default();
            let into = if rng.bool() { &mut own } else { &mut all };
            let mut span = push(into, &format!("{text}\n"), &fds);
            if !own.is_empty() {
                span = all.append(&mut own);
                assert!(own.is_empty() && own.waiting_fds() == 0);
            }
            expected.push((text, fds));
            spans.push(span);
            if rng.u8(0..4) == 0 {
                let at = rng.usize(0..spans.len());
                let has_begun = spans[at].has_begun(all.begun());
                if all.withdraw(spans[at]) {
                    assert!(!has_begun);
                    expected.remove(at);
                    spans.remove(at);
                } else {
                    assert!(has_begun);
                }
            }
            if rng.u8(0..5) == 0 {
                sent.append(&mut all);
                assert!(all.is_empty() && spans.iter().all(|span| span.has_begun(all.begun())));
            }
        }
        sent.append(&mut all);
        assert_eq!(drain(sent, rng.usize(1..20)), expected, "seed {seed}");
    }
}

#[test]
fn what_its_writer_passes_counts_as_written() {
    let (mut queue, mut own) = (SendQueue::default(), SendQueue::default());
    push(&mut queue, "before\n", &[]);
    queue.wrote(7);
    push(&mut own, "one\n", &[1]);
    own.wrote(1);
    let span = queue.pass(&own);
    assert!(span.has_begun(queue.begun()) && !queue.withdraw(span) && queue.is_empty());
    assert_eq!((span.bytes(), queue.begun()), (3, 10));
    let next = push(&mut queue, "two\n", &[]);
    assert!(!next.has_begun(queue.begun()) && waiting(&own).0 == "ne\n");
}
