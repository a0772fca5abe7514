//! A relay against a peer that is a table of flows: what it sends, what it passes on, and how it ends.

use super::*;
use crate::{Blob, Stream};
use rpc_plugin_wire::limits::{STREAM_DATA_BYTES_MAX, STREAM_WINDOW_BYTES};
use std::io::{Read, Write};

const FRAME_BYTES_MAX: usize = 1 << 20;

fn relay(fd: Stream) -> Relay {
    Relay::new(1, fd.into_fd().unwrap(), FRAME_BYTES_MAX).unwrap()
}

/// What it sends, with its descriptor closed where that is due.
fn pump(relay: &mut Relay) -> Vec<StreamFrame> {
    let mut frames = Vec::new();
    while relay.pump(3, &mut frames) {}
    if relay.is_fd_done() {
        drop(relay.take_fd());
    }
    frames
}

fn bytes(frames: &[StreamFrame]) -> usize {
    frames.iter().map(|frame| if let StreamFrame::Data { data, .. } = frame { data.len() } else { 0 }).sum()
}

fn data(seq: u64, bytes: usize) -> StreamFrame {
    StreamFrame::Data { stream: 1, seq, data: vec![7; bytes] }
}

const END: StreamFrame = StreamFrame::End { stream: 1 };
const DROP: StreamFrame = StreamFrame::Drop { stream: 1 };

#[test]
fn bytes_go_both_ways_and_each_way_ends_by_itself() {
    let (mut app, theirs) = Stream::pair().unwrap();
    let mut relay = relay(theirs);
    app.write_all(b"question").unwrap();
    app.finish().unwrap();
    let sent = pump(&mut relay);
    assert_eq!(sent, [StreamFrame::Data { stream: 1, seq: 0, data: b"question".to_vec() }, END]);
    relay.take(data(0, 5)).unwrap();
    relay.take(END).unwrap();
    assert_eq!(pump(&mut relay), [DROP]);
    let mut answer = Vec::new();
    app.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [7; 5]);
    assert!(!relay.is_over());
    relay.take(DROP).unwrap();
    assert!(relay.is_over() && pump(&mut relay).is_empty());
}

#[test]
fn a_window_is_sent_and_no_more_until_credit_comes() {
    let (app, theirs) = Stream::pair().unwrap();
    let mut relay = relay(theirs);
    let writer = std::thread::spawn(move || {
        let mut app = app;
        app.write_all(&vec![1; 3 * STREAM_WINDOW_BYTES])
    });
    let mut sent = 0;
    let mut idle = 0;
    while idle < 100 {
        let frames = pump(&mut relay);
        sent += bytes(&frames);
        idle = if frames.is_empty() { idle + 1 } else { 0 };
        std::thread::yield_now();
        if sent < STREAM_WINDOW_BYTES {
            idle = 0;
        }
    }
    assert_eq!(sent, STREAM_WINDOW_BYTES);
    while sent < 3 * STREAM_WINDOW_BYTES {
        relay.take(StreamFrame::Ack { stream: 1, credit: 1000 }).unwrap();
        let mut more = 0;
        while more < 1000 {
            more += bytes(&pump(&mut relay));
        }
        assert_eq!(more, 1000);
        sent += more;
        if 3 * STREAM_WINDOW_BYTES - sent < 1000 {
            break;
        }
    }
    relay.take(DROP).unwrap();
    assert!(pump(&mut relay).contains(&END));
    // What was left of it is refused, or was taken by the socket before.
    let _ = writer.join().unwrap();
}

#[test]
fn what_is_not_read_is_kept_up_to_a_window_and_the_rest_is_a_fault() {
    let (mut app, theirs) = Stream::pair().unwrap();
    let mut relay = relay(theirs);
    let (mut seq, mut credit, mut sent) = (0, STREAM_WINDOW_BYTES, 0);
    while credit >= STREAM_DATA_BYTES_MAX {
        relay.take(data(seq, STREAM_DATA_BYTES_MAX)).unwrap();
        (seq, credit, sent) = (seq + 1, credit - STREAM_DATA_BYTES_MAX, sent + STREAM_DATA_BYTES_MAX);
        for frame in pump(&mut relay) {
            let StreamFrame::Ack { credit: more, .. } = frame else { panic!("{frame:?}") };
            credit += usize::try_from(more).unwrap();
        }
    }
    assert!(sent < 4 * STREAM_WINDOW_BYTES, "a socket's buffer and a window: {sent}");
    assert!(matches!(relay.take(data(seq, STREAM_DATA_BYTES_MAX)), Err(StreamFault::NoCredit(_))));
    // All that was taken in comes out, and then the end.
    relay.take(END).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        app.read_to_end(&mut all).map(|_| (all.len(), app))
    });
    let mut frames = Vec::new();
    while !frames.contains(&DROP) {
        frames.extend(pump(&mut relay));
        std::thread::yield_now();
    }
    assert_eq!(reader.join().unwrap().unwrap().0, sent);
}

#[test]
fn whoever_is_gone_is_told_and_found_out() {
    // The holder here closes: both ways are given up, though nothing was ever sent.
    let (app, theirs) = Stream::pair().unwrap();
    let mut one = relay(theirs);
    drop(app);
    assert_eq!(pump(&mut one), [DROP, END]);
    assert!(one.waited_fd().is_none() && !one.is_over());
    one.take(data(0, 10)).unwrap();
    one.take(END).unwrap();
    one.take(DROP).unwrap();
    assert!(pump(&mut one).is_empty() && one.is_over());
    // The peer wants no more: whoever writes here gets EPIPE.
    let (mut app, theirs) = Stream::pair().unwrap();
    let mut other = relay(theirs);
    other.take(DROP).unwrap();
    assert_eq!(pump(&mut other), [END]);
    assert_eq!(app.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(other.take(DROP), Err(StreamFault::AfterEnd));
}

#[test]
fn pipes_go_one_way_and_files_are_read_from_their_beginning() {
    let (reader, mut app) = Stream::pipe().unwrap();
    let mut source = relay(reader);
    app.write_all(b"abc").unwrap();
    assert_eq!(bytes(&pump(&mut source)), 3);
    source.take(DROP).unwrap();
    assert_eq!(pump(&mut source), [END]);
    source.take(data(1, 1)).unwrap_err();
    source.take(data(0, 1)).unwrap();
    assert_eq!(pump(&mut source), [DROP], "nobody can write to it");
    assert_eq!(app.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);

    let (mut app, writer) = Stream::pipe().unwrap();
    let mut sink = relay(writer);
    assert_eq!(pump(&mut sink), [END], "nobody can read from it");
    sink.take(data(0, 3)).unwrap();
    sink.take(END).unwrap();
    assert_eq!(pump(&mut sink), [DROP]);
    let mut all = Vec::new();
    app.read_to_end(&mut all).unwrap();
    assert_eq!(all, [7; 3]);

    let mut file = Blob::new(&[9; 100_000]).unwrap().into_file();
    file.read_exact(&mut [0; 10]).unwrap();
    let mut relay = Relay::new(1, file.into(), FRAME_BYTES_MAX).unwrap();
    assert!(relay.waited_fd().is_none());
    let sent = pump(&mut relay);
    assert_eq!((sent.first(), bytes(&sent), sent.last()), (Some(&DROP), 100_000, Some(&END)));
}

#[test]
fn a_refused_stream_ends_with_the_peers_agreement() {
    let mut relay = Relay::refused(1, FRAME_BYTES_MAX);
    assert_eq!(pump(&mut relay), [DROP, END]);
    relay.take(data(0, 1)).unwrap();
    relay.take(END).unwrap();
    relay.take(DROP).unwrap();
    assert!(pump(&mut relay).is_empty() && relay.is_over());
}
