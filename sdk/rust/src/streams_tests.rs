//! The table of streams and its thread, against a socket that a test reads.

use super::*;
use crate::attachments::Frames;
use crate::connection::Outbox;
use crate::wake_pipe::WakePipe;
use rpc_plugin_interface::Stream;
use rpc_plugin_wire::Message;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Duration;

const FRAME_BYTES_MAX: usize = 1 << 20;

fn streams() -> Arc<InBandStreams> {
    Arc::new(InBandStreams::new(FRAME_BYTES_MAX).unwrap())
}

fn fd() -> OwnedFd {
    Stream::pair().unwrap().0.into_fd().unwrap()
}

/// The thread at work, and what it sends.
struct Running {
    streams: Arc<InBandStreams>,
    sent: BufReader<UnixStream>,
    thread: std::thread::JoinHandle<()>,
}

impl Running {
    fn start() -> Running {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (streams, wake_pipe) = (streams(), Arc::new(WakePipe::new().unwrap()));
        let outbox = Outbox::new(Arc::new(theirs), wake_pipe);
        let running = Arc::clone(&streams);
        let thread = std::thread::spawn(move || {
            running.run(|frames: &mut Frames| outbox.push(frames).is_ok());
        });
        Running { streams, sent: BufReader::new(ours), thread }
    }

    fn next(&mut self) -> StreamFrame {
        let mut line = Vec::new();
        self.sent.read_until(b'\n', &mut line).unwrap();
        let Message::Notification(frame) = Message::parse(line.trim_ascii_end()).unwrap() else { panic!() };
        StreamFrame::read(&frame.method, frame.params).unwrap().unwrap()
    }

    fn end(self) {
        self.streams.close();
        // As the end of a session does: the thread may be writing.
        drop(self.sent);
        self.thread.join().unwrap();
    }
}

#[test]
fn a_stream_of_the_plugins_own_begins_with_its_frame_and_ends_both_ways() {
    let mut running = Running::start();
    let (mut app, theirs) = Stream::pair().unwrap();
    app.write_all(b"hello").unwrap();
    let mut opening = running.streams.reserve(vec![theirs.into_fd().unwrap()]).unwrap();
    assert_eq!(opening.numbers(), [1]);
    assert!(running.streams.take(StreamFrame::End { stream: 1 }).is_err(), "it has not begun");
    opening.begin();
    assert_eq!(running.next(), StreamFrame::Data { stream: 1, seq: 0, data: b"hello".to_vec() });
    running.streams.take(StreamFrame::Data { stream: 1, seq: 0, data: b"back".to_vec() }).unwrap();
    running.streams.take(StreamFrame::End { stream: 1 }).unwrap();
    assert_eq!(running.next(), StreamFrame::Drop { stream: 1 });
    let mut text = String::new();
    app.read_to_string(&mut text).unwrap();
    assert_eq!(text, "back");
    drop(app);
    assert_eq!(running.next(), StreamFrame::End { stream: 1 });
    running.streams.take(StreamFrame::Drop { stream: 1 }).unwrap();
    while !running.streams.lock().relays.is_empty() {
        std::thread::yield_now();
    }
    running.end();
}

#[test]
fn those_of_the_host_become_descriptors_and_end_with_the_session() {
    let running = Running::start();
    let fds = running.streams.came(&[0, 2]).unwrap();
    let mut apps: Vec<Stream> = fds.into_iter().map(Stream::from).collect();
    running.streams.take(StreamFrame::Data { stream: 2, seq: 0, data: b"x".to_vec() }).unwrap();
    let mut byte = [0];
    apps[1].read_exact(&mut byte).unwrap();
    assert_eq!(byte, *b"x");
    running.end();
    for app in &mut apps {
        assert_eq!(app.read(&mut byte).unwrap(), 0);
        assert_eq!(app.write(&byte).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn what_did_not_go_out_never_was_and_what_the_host_does_wrong_is_told() {
    let streams = streams();
    let full = streams.reserve((0..STREAMS_MAX).map(|_| fd()).collect()).unwrap();
    assert!(streams.reserve(vec![fd()]).unwrap_err().why.contains("16 streams to the host are open"));
    drop(full);
    let pair = streams.reserve(vec![fd(), fd()]).unwrap();
    assert_eq!(pair.numbers(), [33, 35]);
    let why = |number| streams.take(StreamFrame::End { stream: number }).unwrap_err().why;
    assert!(why(33).contains("not open") && why(2).contains("not open"), "it has not begun; it never was");
    assert_eq!(streams.came(&[0, 4]).unwrap().len(), 2);
    assert!(streams.came(&[4]).unwrap_err().why.contains("which is open"));
    let error = streams.take(StreamFrame::Data { stream: 4, seq: 7, data: vec![0] }).unwrap_err();
    assert!(error.why.contains("stream 4: data number 7"), "{error:?}");
}

#[test]
fn a_host_that_does_not_read_holds_back_the_plugins_streams_and_nobody_who_reads_from_it() {
    let mut running = Running::start();
    let mut apps = Vec::new();
    for _ in 0..STREAMS_MAX {
        let (app, theirs) = Stream::pair().unwrap();
        let mut out = app.try_clone().unwrap();
        std::thread::spawn(move || while out.write(&[0; 50_000]).is_ok() {});
        running.streams.reserve(vec![theirs.into_fd().unwrap()]).unwrap().begin();
        apps.push(app);
    }
    // The thread waits by now for the host to read, or soon does; what comes is taken all the same.
    running.streams.take(StreamFrame::Data { stream: 1, seq: 0, data: vec![1] }).unwrap();
    assert_eq!(running.streams.came(&[0]).unwrap().len(), 1);
    // All have had a turn when some have had two.
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    while seen.len() < STREAMS_MAX {
        if let StreamFrame::Data { stream, seq, .. } = running.next() {
            assert_eq!(seen.insert(stream, seq).map_or(0, |last| last + 1), seq, "in order");
        }
    }
    running.end();
}
