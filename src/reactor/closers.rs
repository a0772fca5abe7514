//! Closing what peers passed, off the event loop.
//!
//! What this file is for: close(2) of a socket that lingers, of much memory, or of a socket that carries either in its
//! queue takes as long as whoever made it likes. So descriptors are closed on threads that nobody waits for, one for a
//! plugin at a time, started when there is something to close. What it deliberately does not do: decide how many may
//! wait; `state/closing.rs` does.
//!
//! What always holds: handing a descriptor over never waits; a plugin or a control client whose descriptors hang takes one
//! thread, and never the last ones of others: plugins, control clients and the embedding program have threads of their
//! own; a socket is closed on the thread that lets it
//! go only where it is known to carry nothing; nothing is closed while a child is launched, which would be the last to
//! close its copy, and hang before its program begins.

use crate::state::closing::{Closer, Passed, UNCLOSED_MAX, check_unclosed};
use crate::state::fds::{Fd, Fds};
use crate::state::keys::PluginKey;
use crate::state::plugin::PrepareFailure;
use crate::sys::fd_kind::unwanted_kind;
use crate::sys::known_children::KnownChildren;
use nix::sys::socket::shutdown;
use rpc_plugin_interface::scm;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Threads that close, of all plugins, control clients and the embedding program together.
const THREADS_MAX: usize = 16;
/// How many of them may be at work for plugins, for control clients, and for the embedding program with the host's own
/// sockets.
const THREADS_OF_MAX: [usize; 3] = [10, 4, 2];
/// Descriptors of all control clients that wait to be closed, beyond which one that passed any of them is not let in.
const CLIENTS_UNCLOSED_MAX: usize = 1024;
/// How long a thread without work stays. Others need not be started meanwhile.
const IDLE: Duration = Duration::from_secs(10);
/// Descriptors of one owner that a thread closes in a row; then others have their turn.
const CLOSED_IN_A_ROW: usize = 64;
/// How long such a thread waits for launches on their way, before it closes all the same.
const LAUNCHES_TIMEOUT: Duration = Duration::from_secs(1);
/// Reads from a socket that is let go, to see whether it carries descriptors. One that has more to read is closed by a
/// thread.
const DRAIN_READS_MAX: usize = 8;
/// Bytes of such a read.
const DRAIN_BYTES: usize = 4096;
/// Connections taken from a listener that is let go, to see the same of them.
const DRAIN_CONNECTIONS_MAX: usize = 256;

/// Owners of descriptors, each with a closer of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Those that a plugin passed.
    Plugin(PluginKey),
    /// Those that the control clients of one process passed.
    Client,
    /// Those of the embedding program, and sockets of the host itself.
    Program,
}

impl Owner {
    /// Its place in [`THREADS_OF_MAX`].
    fn class(self) -> usize {
        match self {
            Owner::Plugin(_) => 0,
            Owner::Client => 1,
            Owner::Program => 2,
        }
    }
}

/// Descriptors of one owner that wait.
#[derive(Debug, Default)]
struct Queue {
    fds: VecDeque<OwnedFd>,
    /// A thread is at work on it, or will be.
    is_listed: bool,
}

/// What closes the descriptors of one owner.
#[derive(Debug)]
pub(super) struct OwnerCloser {
    owner: Owner,
    queue: Mutex<Queue>,
    /// How many are not closed: in the queue, or being closed.
    waiting: AtomicUsize,
    /// The loop wants to be told once few enough wait.
    is_awaited: AtomicBool,
    threads: Arc<Threads>,
    /// For the list of those with work.
    own: Weak<OwnerCloser>,
}

/// Tells the loop that few enough descriptors of a plugin wait again.
type WhenClosed = Box<dyn Fn(PluginKey) + Send + Sync>;

/// The threads, and whose descriptors they are to close next.
struct Threads {
    state: Mutex<ThreadsState>,
    /// There is work, or the end.
    changed: Condvar,
    when_closed: WhenClosed,
    /// Children have copies of all descriptors until they execute their programs.
    children: KnownChildren,
}

#[derive(Default)]
struct ThreadsState {
    /// Owners with something to close, and no thread.
    ready: VecDeque<Arc<OwnerCloser>>,
    running: usize,
    idle: usize,
    /// How many are at work, each for one as in [`THREADS_OF_MAX`].
    at_work: [usize; 3],
    /// The host has ended: nobody stays without work.
    is_over: bool,
}

/// The closers of all owners.
#[derive(Debug)]
pub(super) struct Closers {
    plugins: BTreeMap<PluginKey, Arc<OwnerCloser>>,
    /// What closes descriptors that nobody closes yet: those of the embedding program, and sockets of the host itself.
    pub(super) program: Arc<OwnerCloser>,
    threads: Arc<Threads>,
}

impl Closers {
    /// No thread is started before there is something to close. One of them calls `when_closed` with a plugin of which so
    /// many had waited that no more were to come, when half of them are closed.
    pub(super) fn new(
        children: KnownChildren,
        when_closed: impl Fn(PluginKey) + Send + Sync + 'static,
    ) -> Closers {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let threads = Arc::new(Threads { state, changed, when_closed: Box::new(when_closed), children });
        let program = OwnerCloser::new(Owner::Program, &threads);
        Closers { plugins: BTreeMap::new(), program, threads }
    }

    /// What closes the descriptors of control clients.
    pub(super) fn of_clients(&self) -> ClientClosers {
        ClientClosers { of_processes: BTreeMap::new(), threads: Arc::clone(&self.threads) }
    }

    /// What closes the descriptors of a plugin, over all its generations.
    pub(super) fn of_plugin(&mut self, key: PluginKey) -> &Arc<OwnerCloser> {
        let threads = &self.threads;
        self.plugins.entry(key).or_insert_with(|| OwnerCloser::new(Owner::Plugin(key), threads))
    }

    /// Forgets a plugin that was given up. What waits of it is closed all the same.
    pub(super) fn remove(&mut self, key: PluginKey) {
        self.plugins.remove(&key);
    }

    /// Whether a plugin may be launched.
    ///
    /// # Errors
    /// Too many of its descriptors wait.
    pub(super) fn check(&self, key: PluginKey) -> Result<(), PrepareFailure> {
        let Some(closer) = self.plugins.get(&key) else { return Ok(()) };
        // A thread that could not be started is tried again.
        self.threads.start_if_needed(&mut self.threads.lock());
        let waiting = closer.waiting.load(Ordering::SeqCst);
        check_unclosed(waiting)
            .map_err(|reason| PrepareFailure { shortage: true, ..PrepareFailure::from(reason) })
    }
}

/// What closes the descriptors of control clients: one a process, over all its connections.
#[derive(Debug)]
pub(super) struct ClientClosers {
    /// By process; gone where nothing of it is connected or waits.
    of_processes: BTreeMap<u32, Weak<OwnerCloser>>,
    threads: Arc<Threads>,
}

impl ClientClosers {
    /// What closes the descriptors of a process, and whether it is let in: not where so many of its descriptors wait, or
    /// so many of all clients, some of which are its own.
    pub(super) fn of_process(&mut self, pid: u32) -> (Arc<OwnerCloser>, bool) {
        let known = self.of_processes.get(&pid).and_then(Weak::upgrade);
        let closer = known.unwrap_or_else(|| OwnerCloser::new(Owner::Client, &self.threads));
        self.of_processes.insert(pid, Arc::downgrade(&closer));
        let own = closer.waiting.load(Ordering::SeqCst);
        let is_let_in = own == 0 || own < UNCLOSED_MAX && self.waiting() < CLIENTS_UNCLOSED_MAX;
        (closer, is_let_in)
    }

    /// Whether so many of all clients wait that nobody can be let in, not even to be refused: that brings more.
    pub(super) fn is_full(&mut self) -> bool {
        self.waiting() >= 2 * CLIENTS_UNCLOSED_MAX
    }

    /// Descriptors of all clients that wait.
    fn waiting(&mut self) -> usize {
        self.of_processes.retain(|_, closer| closer.strong_count() > 0);
        let closers = self.of_processes.values().filter_map(Weak::upgrade);
        closers.map(|closer| closer.waiting.load(Ordering::SeqCst)).sum()
    }
}

impl Drop for Closers {
    fn drop(&mut self) {
        self.threads.lock().is_over = true;
        self.threads.changed.notify_all();
    }
}

impl OwnerCloser {
    fn new(owner: Owner, threads: &Arc<Threads>) -> Arc<OwnerCloser> {
        Arc::new_cyclic(|own| OwnerCloser {
            owner,
            queue: Mutex::default(),
            waiting: AtomicUsize::new(0),
            is_awaited: AtomicBool::new(false),
            threads: Arc::clone(threads),
            own: own.clone(),
        })
    }

    /// Takes in what came with a read. What is of a kind that is not taken is marked.
    pub(super) fn take_in(self: &Arc<Self>, fds: Vec<OwnedFd>) -> Fds {
        let take_in = |fd: OwnedFd| {
            let kind = unwanted_kind(&fd);
            let closer: Arc<dyn Closer<OwnedFd>> = Arc::clone(self) as _;
            Fd::new(fd, closer).of_kind(kind)
        };
        fds.into_iter().map(take_in).collect()
    }

    /// A socket that this closes, wherever it is dropped.
    pub(super) fn guard<S>(self: &Arc<Self>, socket: S) -> Passed<S>
    where
        OwnerCloser: Closer<S>,
    {
        let closer: Arc<dyn Closer<S>> = Arc::clone(self) as _;
        Passed::new(socket, closer)
    }

    /// Whether so many wait that no more may come. If so, it is told when half of them are closed.
    pub(super) fn is_full(&self) -> bool {
        if self.waiting.load(Ordering::SeqCst) < UNCLOSED_MAX {
            return false;
        }
        self.is_awaited.store(true, Ordering::SeqCst);
        // Where they were closed meanwhile, nobody tells.
        self.waiting.load(Ordering::SeqCst) > UNCLOSED_MAX / 2
    }

    fn put(&self, fd: OwnedFd) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut queue = self.queue();
        queue.fds.push_back(fd);
        if std::mem::replace(&mut queue.is_listed, true) {
            return;
        }
        drop(queue);
        if let Some(own) = self.own.upgrade() {
            self.threads.list(own);
        }
    }

    /// Closes what waits, up to a number; whether there may be more.
    fn close_some(&self) -> bool {
        for _ in 0..CLOSED_IN_A_ROW {
            let mut queue = self.queue();
            let Some(fd) = queue.fds.pop_front() else {
                queue.is_listed = false;
                return false;
            };
            drop(queue);
            self.threads.children.wait_for_launches(LAUNCHES_TIMEOUT);
            // As long as it takes.
            drop(fd);
            let were_waiting = self.waiting.fetch_sub(1, Ordering::SeqCst);
            if let Owner::Plugin(key) = self.owner
                && were_waiting <= UNCLOSED_MAX / 2 + 1
                && self.is_awaited.swap(false, Ordering::SeqCst)
            {
                (self.threads.when_closed)(key);
            }
        }
        true
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

impl Closer<OwnedFd> for OwnerCloser {
    fn close(&self, fd: OwnedFd) {
        self.put(fd);
    }

    fn passer(&self) -> Option<PluginKey> {
        if let Owner::Plugin(key) = self.owner { Some(key) } else { None }
    }
}

/// A connection. Its peer sees its end at once, and can add nothing to what waits in it.
impl Closer<UnixStream> for OwnerCloser {
    fn close(&self, stream: UnixStream) {
        let is_shut = stream.shutdown(Shutdown::Both).is_ok();
        let mut buffer = [0; DRAIN_BYTES];
        for _ in 0..if is_shut { DRAIN_READS_MAX } else { 0 } {
            match scm::receive(stream.as_fd(), &mut buffer) {
                // It has been read to its end.
                Ok(read) if read.bytes == 0 => return,
                Ok(read) if read.fds.is_empty() && !read.truncated => {}
                Ok(read) => {
                    read.fds.into_iter().for_each(|fd| self.put(fd));
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.put(stream.into());
    }
}

/// A listener, with the connections that nobody has accepted.
impl Closer<UnixListener> for OwnerCloser {
    fn close(&self, listener: UnixListener) {
        // Nobody can connect from now on.
        let is_shut = shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both).is_ok();
        for _ in 0..DRAIN_CONNECTIONS_MAX {
            match listener.accept() {
                Ok((stream, _)) => self.close(stream),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_shut && error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.put(listener.into());
    }
}

impl<T: AsRawFd> AsRawFd for Passed<T> {
    /// Its number, or -1 where it was taken, which is nobody's.
    fn as_raw_fd(&self) -> RawFd {
        self.get().map_or(-1, AsRawFd::as_raw_fd)
    }
}

impl Threads {
    fn lock(&self) -> MutexGuard<'_, ThreadsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(self: &Arc<Self>, owner: Arc<OwnerCloser>) {
        let mut state = self.lock();
        state.ready.push_back(owner);
        self.start_if_needed(&mut state);
    }

    /// Wakes a thread for what is ready, or starts one. Where none can be started, that is tried again with the next
    /// descriptor, and before its plugin is launched.
    fn start_if_needed(self: &Arc<Self>, state: &mut ThreadsState) {
        if !state.has_work() {
            return;
        }
        if state.idle > 0 {
            return self.changed.notify_one();
        }
        if state.running < THREADS_MAX {
            let threads = Arc::clone(self);
            let builder = crate::threads::builder("rpcplugin-close");
            if builder.spawn(move || threads.run()).is_ok() {
                state.running += 1;
            }
        }
    }

    /// Closes what is ready until nothing is for a while. Nobody waits for this thread.
    fn run(self: &Arc<Self>) {
        let mut state = self.lock();
        loop {
            if let Some(owner) = state.take() {
                state.work(owner.owner, 1);
                // Another one is wanted for what else is ready.
                self.start_if_needed(&mut state);
                drop(state);
                let has_more = owner.close_some();
                state = self.lock();
                state.work(owner.owner, -1);
                if has_more {
                    state.ready.push_back(owner);
                }
            } else if state.is_over {
                break;
            } else {
                state.idle += 1;
                let waited = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
                state = waited.0;
                state.idle -= 1;
                if waited.1.timed_out() && !state.has_work() {
                    break;
                }
            }
        }
        state.running -= 1;
    }
}

impl ThreadsState {
    /// The first that a thread may work for.
    fn next(&self) -> Option<usize> {
        let may = |owner: Owner| self.at_work.get(owner.class()) < THREADS_OF_MAX.get(owner.class());
        self.ready.iter().position(|ready| may(ready.owner))
    }

    /// A thread begins (1) or ends (-1) to work for an owner.
    fn work(&mut self, owner: Owner, change: isize) {
        if let Some(at_work) = self.at_work.get_mut(owner.class()) {
            *at_work = at_work.saturating_add_signed(change);
        }
    }

    fn has_work(&self) -> bool {
        self.next().is_some()
    }

    fn take(&mut self) -> Option<Arc<OwnerCloser>> {
        self.ready.remove(self.next()?)
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("running", &self.lock().running).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "closers_tests.rs"]
mod tests;
