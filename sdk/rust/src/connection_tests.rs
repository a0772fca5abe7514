//! The outbox with a real socket pair: nothing lost, nothing mixed, nobody stuck.

use super::*;
use crate::attachments::frames_of;
use std::io::{BufRead, BufReader, Read};
use std::thread;
use std::time::Duration;

fn outbox() -> (Arc<Outbox>, UnixStream, thread::JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let wake_pipe = Arc::new(WakePipe::new().unwrap());
    let outbox = Arc::new(Outbox::new(Arc::new(ours), wake_pipe));
    let flusher = Arc::clone(&outbox);
    (outbox, theirs, thread::spawn(move || flusher.flush_handed_over()))
}

#[test]
fn frames_of_many_threads_arrive_whole_and_once() {
    let (outbox, theirs, flusher) = outbox();
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let outbox = Arc::clone(&outbox);
            thread::spawn(move || {
                for n in 0..500 {
                    let mut frame = frames_of(format!("{sender} {n} {}\n", "x".repeat(n)).as_bytes());
                    if sender == 0 {
                        outbox.push_from_reader(&mut frame).unwrap();
                    } else {
                        outbox.push(&mut frame).unwrap();
                    }
                    assert!(frame.is_empty());
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    for line in BufReader::new(&theirs).lines().take(2000) {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let (sender, n): (usize, usize) = (words[0].parse().unwrap(), words[1].parse().unwrap());
        assert_eq!((n, words[2].len()), (next[sender], n), "frames of one thread keep their order");
        next[sender] += 1;
    }
    assert_eq!(next, [500; 4]);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    outbox.flush(Instant::now() + Duration::from_secs(20));
    assert!(!outbox.lock().writing);
    outbox.close();
    flusher.join().unwrap();
}

#[test]
fn the_reading_thread_does_not_wait_for_a_host_that_does_not_read() {
    let (outbox, mut theirs, flusher) = outbox();
    let frame = vec![b'x'; 64 * 1024];
    // More than a socket buffer, less than the bound.
    for _ in 0..16 {
        outbox.push_from_reader(&mut frames_of(&frame)).unwrap();
    }
    let mut seen = vec![0; 16 * frame.len()];
    theirs.read_exact(&mut seen).unwrap();
    assert!(seen.iter().all(|byte| *byte == b'x'));
    outbox.close();
    flusher.join().unwrap();
}

#[test]
fn the_bound_holds_and_whoever_waits_at_it_goes_on() {
    let (outbox, mut theirs, flusher) = outbox();
    let frame = vec![b'y'; 300 * 1024];
    let sender = Arc::clone(&outbox);
    let sent = frame.clone();
    let worker = thread::spawn(move || (0..20).all(|_| sender.push(&mut frames_of(&sent)).is_ok()));
    let other = Arc::clone(&outbox);
    let sent = frame.clone();
    let second = thread::spawn(move || (0..20).all(|_| other.push(&mut frames_of(&sent)).is_ok()));
    // One of them is in write(2), the other one fills the buffer and waits.
    let deadline = Instant::now() + Duration::from_secs(20);
    while outbox.lock().waiting == 0 {
        assert!(Instant::now() < deadline, "nobody waits at the bound");
        thread::yield_now();
    }
    assert!(outbox.lock().queue.waiting_bytes() <= PENDING_BYTES_MAX);
    let mut seen = vec![0; 40 * frame.len()];
    theirs.read_exact(&mut seen).unwrap();
    assert!(worker.join().unwrap() && second.join().unwrap());
    outbox.close();
    flusher.join().unwrap();
}

#[test]
fn a_host_that_is_gone_closes_the_outbox_for_all() {
    let (outbox, theirs, flusher) = outbox();
    drop(theirs);
    assert_eq!(outbox.push(&mut frames_of(b"a\n")), Err(Closed));
    assert_eq!(outbox.push_from_reader(&mut frames_of(b"b\n")), Err(PushError::Closed));
    flusher.join().unwrap();
}
