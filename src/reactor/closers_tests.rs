//! Descriptors that take for ever to close, and who does not wait for them.

use super::*;
use crate::sys::testing::alone;
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, setsockopt, sockopt};
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

const DEADLINE: Duration = Duration::from_secs(60);

/// A socket whose close(2) does not return as long as its peer, which is here too, neither reads nor ends. Where another
/// test starts a process meanwhile, that holds a copy until its exec, and the close is not the last: so tests that use this
/// run alone.
fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while (&stream).write(&[0; 64 * 1024]).is_ok() {}
    stream.set_nonblocking(false).unwrap();
    let mut linger = getsockopt(&stream, sockopt::Linger).unwrap();
    (linger.l_onoff, linger.l_linger) = (1, 3600);
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    (stream.into(), peer)
}

/// Sends a byte with these descriptors.
fn send(socket: &UnixStream, fds: &[OwnedFd]) {
    let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let (rights, part) = ([ControlMessage::ScmRights(&numbers)], [IoSlice::new(b"x")]);
    sendmsg::<()>(socket.as_raw_fd(), &part, &rights, MsgFlags::empty(), None).unwrap();
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Whether the other end of a pipe is closed, or will be.
fn is_closed(reader: &mut std::io::PipeReader) -> bool {
    reader.read(&mut [0; 1]).unwrap() == 0
}

#[test]
fn one_that_does_not_close_keeps_those_of_its_owner_only() {
    alone(|| {
        let mut closers = Closers::new(KnownChildren::default(), drop);
        let (first, second) =
            (Arc::clone(closers.of_plugin(PluginKey(1))), Arc::clone(closers.of_plugin(PluginKey(2))));
        let (fd, peer) = lingering();
        let passed = first.take_in(vec![fd]);
        assert!(crate::state::closing::check_kinds(&passed).unwrap_err().message.contains("a TCP socket"));
        drop(passed);
        let (mut reader, writer) = std::io::pipe().unwrap();
        drop(second.take_in(vec![writer.into()]));
        assert!(is_closed(&mut reader), "another plugin's are closed");
        let (mut reader, writer) = std::io::pipe().unwrap();
        drop(first.take_in(vec![writer.into()]));
        eventually("only what hangs is left", || second.waiting() == 0);
        assert_eq!(first.waiting(), 2);
        drop(closers);
        drop(peer);
        assert!(is_closed(&mut reader), "also when the host has ended");
        eventually("all are closed", || first.waiting() == 0);
    });
}

#[test]
fn more_than_may_wait_are_told_and_so_is_when_half_of_them_are_closed() {
    alone(|| {
        let (tell, told) = mpsc::channel();
        let mut closers = Closers::new(KnownChildren::default(), move |key| tell.send(key).unwrap());
        let key = PluginKey(7);
        let closer = Arc::clone(closers.of_plugin(key));
        let (fd, peer) = lingering();
        drop(closer.take_in(vec![fd]));
        let pipes = || (1..UNCLOSED_MAX).map(|_| std::io::pipe().unwrap().1.into());
        drop(closer.take_in(pipes().skip(1).collect()));
        assert!(!closer.is_full() && closers.check(key).is_ok());
        drop(closer.take_in(pipes().take(1).collect()));
        assert!(closer.is_full());
        let failure = closers.check(key).unwrap_err();
        assert!(failure.shortage && failure.reason.contains("256 file descriptors"), "{failure:?}");
        assert!(closers.check(PluginKey(8)).is_ok() && told.try_recv().is_err());
        drop(peer);
        assert_eq!(told.recv_timeout(DEADLINE), Ok(key));
        eventually("all are closed", || closer.waiting() == 0);
        assert!(!closer.is_full() && closers.check(key).is_ok());
    });
}

#[test]
fn plugins_and_clients_whose_descriptors_hang_leave_threads_for_each_other_and_the_program() {
    alone(|| {
        let mut closers = Closers::new(KnownChildren::default(), drop);
        let mut clients = closers.of_clients();
        let mut peers = Vec::new();
        for key in 0..THREADS_MAX as u32 + 2 {
            let (fd, peer) = lingering();
            peers.push(peer);
            drop(closers.of_plugin(PluginKey(key)).take_in(vec![fd]));
        }
        let at_work = |closers: &Closers| closers.threads.lock().at_work;
        let [plugins_max, clients_max, _] = THREADS_OF_MAX;
        eventually("threads hang", || at_work(&closers) == [plugins_max, 0, 0]);
        // A client has a thread, and another one beside it has, which hangs nobody but itself.
        for pid in 1..clients_max as u32 {
            let (fd, peer) = lingering();
            peers.push(peer);
            drop(clients.of_process(pid).0.take_in(vec![fd]));
        }
        for closer in [clients.of_process(1000).0, Arc::clone(&closers.program)] {
            let (mut reader, writer) = std::io::pipe().unwrap();
            closer.put(writer.into());
            assert!(is_closed(&mut reader));
        }
        eventually("threads hang", || at_work(&closers) == [plugins_max, clients_max - 1, 0]);
        assert!(closers.threads.lock().running <= THREADS_MAX);
        assert!(clients.of_process(1).1 && clients.of_process(1000).1);
        drop(peers);
        eventually("those that waited for a thread are closed too", || {
            closers.plugins.values().all(|closer| closer.waiting() == 0) && clients.waiting() == 0
        });
    });
}

#[test]
fn descriptors_of_a_client_that_do_not_close_keep_that_client_out_and_no_other() {
    alone(|| {
        let closers = Closers::new(KnownChildren::default(), drop);
        let mut clients = closers.of_clients();
        let pass = |clients: &mut ClientClosers, pid, count| {
            let (fd, peer) = lingering();
            let closer = clients.of_process(pid).0;
            closer.put(fd);
            (1..count).for_each(|_| closer.put(std::io::pipe().unwrap().1.into()));
            peer
        };
        let first = pass(&mut clients, 1, UNCLOSED_MAX);
        assert!(!clients.of_process(1).1, "it has passed too many");
        assert!(clients.of_process(2).1);
        // None has passed too many by itself, and all have together.
        let count = CLIENTS_UNCLOSED_MAX / 8;
        let others: Vec<_> = (2..10).map(|pid| pass(&mut clients, pid, count)).collect();
        assert!(!clients.of_process(2).1 && clients.of_process(100).1 && !clients.is_full());
        drop((first, others));
        eventually("it is let in again", || clients.of_process(1).1);
        eventually("nothing is left", || clients.waiting() == 0 && clients.of_processes.is_empty());
    });
}

#[test]
fn a_socket_is_closed_at_once_unless_it_carries_descriptors() {
    alone(|| {
        let closers = Closers::new(KnownChildren::default(), drop);
        let clients = closers.of_clients().of_process(1).0;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"unread").unwrap();
        drop(clients.guard(ours));
        assert_eq!((clients.waiting(), theirs.read(&mut [0; 1]).unwrap()), (0, 0));

        // In its own queue, and in that of a socket in its queue.
        let (fd, peer) = lingering();
        let (inner, inner_peer) = UnixStream::pair().unwrap();
        send(&inner_peer, &[fd]);
        let (other_fd, other_peer) = lingering();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        send(&theirs, &[inner.into()]);
        send(&theirs, &[other_fd]);
        drop(clients.guard(ours));
        assert_eq!(theirs.read(&mut [0; 1]).unwrap(), 0, "its peer sees the end all the same");
        assert!(clients.waiting() > 0, "a thread closes them");
        drop((peer, other_peer));
        eventually("they are closed", || clients.waiting() == 0);
    });
}

#[test]
fn a_connection_that_nobody_accepted_is_let_go_with_what_it_brought() {
    alone(|| {
        let closers = Closers::new(KnownChildren::default(), drop);
        let clients = closers.of_clients().of_process(1).0;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listen = || {
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            clients.guard(listener)
        };
        let listener = listen();
        let mut idle = UnixStream::connect(&path).unwrap();
        drop(listener);
        assert_eq!((clients.waiting(), idle.read(&mut [0; 1]).unwrap()), (0, 0));

        let listener = listen();
        let (fd, peer) = lingering();
        let mut client = UnixStream::connect(&path).unwrap();
        send(&client, &[fd]);
        drop(listener);
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
        assert!(clients.waiting() > 0, "a thread closes it");
        drop(peer);
        eventually("it is closed", || clients.waiting() == 0);
    });
}

#[test]
fn nothing_is_closed_while_a_child_has_copies_of_all_descriptors() {
    let children = KnownChildren::default();
    let closers = Closers::new(children.clone(), drop);
    let clients = closers.of_clients().of_process(1).0;
    let launch = || {
        clients.close(OwnedFd::from(std::io::pipe().unwrap().0));
        eventually("a thread has it", || clients.queue().fds.is_empty());
        std::thread::park_timeout(Duration::from_millis(20));
        Ok::<_, ()>(clients.waiting())
    };
    let (waiting, _known) = children.launch("A=1".into(), launch, |_| 1).unwrap();
    assert_eq!(waiting, 1, "it is closed after the launch");
    eventually("it is closed", || clients.waiting() == 0);
}
