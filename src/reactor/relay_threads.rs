//! Threads that read and write the descriptors of streams in band, one for each plugin that passed some.
//!
//! Whoever shares an open file can make any call on it wait, however it is called: by taking O_NONBLOCK away, or by holding
//! the kernel's lock in a page fault. So such a call is made on a thread that only the streams of the same plugin share,
//! and closing is one too.
//!
//! What it deliberately does not do: know frames or connections; [`super::in_band_streams`] does.
//!
//! What always holds: the event loop never waits for such a thread, also not at its end; what waits on the way to one and
//! back is bounded by the windows of its streams; a thread ends soon after the last of its streams.

use super::loop_commands::LoopCommand;
use crate::engine::CommandSender;
use crate::state::fds::Fd;
use crate::state::keys::PluginKey;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rpc_plugin_interface::stream_descriptor::{StreamDescriptor, StreamOrder, StreamReport};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem::take;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Descriptors that one thread has, closed ones that hang included; a further stream is refused.
const RELAYS_MAX: usize = 256;
/// Threads of one plugin, of all its generations: those of earlier ones hang. A further stream is refused.
const THREADS_MAX: usize = 16;
/// Reads from one descriptor in a row; then others have theirs.
const READS_PER_TURN: usize = 4;
/// How long a thread waits for another descriptor once it has none.
const IDLE_MAX: Duration = Duration::from_secs(1);
/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 64;
/// The waker's token; no relay has this number.
const WAKER: Token = Token(usize::MAX);

/// What was done with descriptors, of all threads, until the event loop takes it.
struct Reports {
    table: Mutex<ReportTable>,
    commands: CommandSender<LoopCommand>,
}

#[derive(Default)]
struct ReportTable {
    by_relay: BTreeMap<u64, StreamReport>,
    /// Whether the loop is to look already.
    is_told: bool,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, ReportTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands reports to the loop: each with its relay, and how long its pieces may be.
    fn hand_in(&self, reports: Vec<(u64, StreamReport, usize)>) {
        if reports.is_empty() {
            return;
        }
        let mut table = self.lock();
        for (relay, report, piece_bytes_max) in reports {
            table.by_relay.entry(relay).or_default().merge(report, piece_bytes_max);
        }
        let is_told = std::mem::replace(&mut table.is_told, true);
        drop(table);
        if !is_told {
            self.commands.deliver(LoopCommand::StreamsMoved);
        }
    }
}

/// A descriptor on its way to the thread.
struct NewRelay {
    number: u64,
    /// Where no thread takes it, it is closed as all that was passed.
    fd: Fd,
    piece_bytes_max: usize,
}

/// What the loop wants of one relay.
#[derive(Default)]
struct RelayOrder {
    order: StreamOrder,
    /// It is to be closed after that.
    is_closed: bool,
}

/// What the loop wants of a thread, until that takes it.
struct ThreadOrders {
    new: Vec<NewRelay>,
    by_relay: BTreeMap<u64, RelayOrder>,
    /// It is to end as soon as it has no relay.
    is_ending: bool,
    /// `None`: it has ended, and takes no order any more.
    waker: Option<Waker>,
    /// Whether the thread is to look already.
    is_woken: bool,
    /// Descriptors that the thread has, or that are on their way to it.
    relays: usize,
}

/// The way from the loop to one thread.
struct Mailbox(Mutex<ThreadOrders>);

impl Mailbox {
    /// That of a thread that has room made for its first relay.
    fn new(waker: Waker) -> Mailbox {
        let (new, by_relay, waker) = (Vec::new(), BTreeMap::new(), Some(waker));
        Mailbox(Mutex::new(ThreadOrders {
            new,
            by_relay,
            is_ending: false,
            waker,
            is_woken: false,
            relays: 1,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, ThreadOrders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a relay; whether there is some. `None`: the thread has ended.
    fn reserve(&self) -> Option<bool> {
        let mut orders = self.lock();
        orders.waker.as_ref()?;
        let has_room = orders.relays < RELAYS_MAX;
        orders.relays += usize::from(has_room);
        Some(has_room)
    }

    /// Gives an order. Never waits for the thread: that has the lock only to take what is ordered.
    fn give(&self, what: impl FnOnce(&mut ThreadOrders)) {
        let mut orders = self.lock();
        what(&mut orders);
        let is_woken = std::mem::replace(&mut orders.is_woken, true);
        if let Some(waker) = orders.waker.as_ref().filter(|_| !is_woken) {
            // It fails on a broken eventfd only: then these streams stand still.
            let _ = waker.wake();
        }
    }
}

/// A descriptor on its thread. Dropping it has it closed there, after what was ordered was tried once.
pub(super) struct RelayHandle {
    number: u64,
    mailbox: Arc<Mailbox>,
}

impl RelayHandle {
    /// Its number, under which it reports.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Orders something.
    pub(super) fn order(&self, order: StreamOrder) {
        if order != StreamOrder::default() {
            self.mailbox.give(|orders| orders.by_relay.entry(self.number).or_default().order.merge(order));
        }
    }
}

impl Drop for RelayHandle {
    fn drop(&mut self) {
        self.mailbox.give(|orders| orders.by_relay.entry(self.number).or_default().is_closed = true);
    }
}

/// A thread that runs.
struct RelayThread {
    mailbox: Arc<Mailbox>,
    handle: JoinHandle<()>,
}

/// All threads. Dropping them has them end, and waits for none.
pub(super) struct RelayThreads {
    running: BTreeMap<PluginKey, RelayThread>,
    /// Threads that are to end, and of which plugin they are. Some may hang.
    ending: Vec<(PluginKey, JoinHandle<()>)>,
    reports: Arc<Reports>,
    next: u64,
}

impl RelayThreads {
    /// None runs yet. `commands` leads into the loop's queue.
    pub(super) fn new(commands: CommandSender<LoopCommand>) -> RelayThreads {
        let reports = Arc::new(Reports { table: Mutex::default(), commands });
        RelayThreads { running: BTreeMap::new(), ending: Vec::new(), reports, next: 0 }
    }

    /// Takes a descriptor over, on the thread of its owner.
    ///
    /// # Errors
    /// There are too many already, or a thread cannot be made.
    pub(super) fn add(
        &mut self,
        owner: PluginKey,
        fd: Fd,
        piece_bytes_max: usize,
    ) -> io::Result<RelayHandle> {
        let running = self.running.get(&owner).map(|thread| Arc::clone(&thread.mailbox));
        let running = running.and_then(|mailbox| mailbox.reserve().map(|has_room| (mailbox, has_room)));
        let (mailbox, has_room) = match running {
            Some(running) => running,
            None => (self.start(owner)?, true),
        };
        if !has_room {
            let text = format!("{RELAYS_MAX} descriptors that the same plugin passed are relayed, or hang");
            return Err(io::Error::other(text));
        }
        self.next += 1;
        let number = self.next;
        mailbox.give(|orders| orders.new.push(NewRelay { number, fd, piece_bytes_max }));
        Ok(RelayHandle { number, mailbox })
    }

    /// Begins a thread, with room made for its first relay.
    fn start(&mut self, owner: PluginKey) -> io::Result<Arc<Mailbox>> {
        self.ending.retain(|(_, handle)| !handle.is_finished());
        if self.ending.iter().filter(|(key, _)| *key == owner).count() + 1 > THREADS_MAX {
            let text = "threads hang in descriptors that earlier generations of the same plugin passed";
            return Err(io::Error::other(format!("{THREADS_MAX} {text}")));
        }
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mailbox = Arc::new(Mailbox::new(waker));
        let (reports, of_thread) = (Arc::clone(&self.reports), Arc::clone(&mailbox));
        let thread = crate::threads::builder("rpcplugin-relay");
        let handle = thread.spawn(move || Relays::new(poll, of_thread, reports).run())?;
        self.running.insert(owner, RelayThread { mailbox: Arc::clone(&mailbox), handle });
        Ok(mailbox)
    }

    /// Has the thread of a plugin whose connection ended end, once all its streams have. Another one is begun for what
    /// comes after: this one may hang.
    pub(super) fn end(&mut self, owner: PluginKey) {
        if let Some(thread) = self.running.remove(&owner) {
            thread.mailbox.give(|orders| orders.is_ending = true);
            self.ending.retain(|(_, handle)| !handle.is_finished());
            self.ending.push((owner, thread.handle));
        }
    }

    /// Takes what was done with descriptors since this was asked last, by the numbers of their relays.
    pub(super) fn take_reports(&self) -> BTreeMap<u64, StreamReport> {
        let mut table = self.reports.lock();
        table.is_told = false;
        take(&mut table.by_relay)
    }
}

impl Drop for RelayThreads {
    fn drop(&mut self) {
        let owners: Vec<PluginKey> = self.running.keys().copied().collect();
        owners.into_iter().for_each(|owner| self.end(owner));
    }
}

/// What a thread works on.
struct Relays {
    poll: Poll,
    mailbox: Arc<Mailbox>,
    reports: Arc<Reports>,
    open: BTreeMap<u64, OpenRelay>,
    /// Those that may have something to move.
    ready: BTreeSet<u64>,
}

/// A descriptor on its thread.
struct OpenRelay {
    descriptor: StreamDescriptor,
    piece_bytes_max: usize,
    /// The loop has let it go.
    is_closed: bool,
}

impl Relays {
    fn new(poll: Poll, mailbox: Arc<Mailbox>, reports: Arc<Reports>) -> Relays {
        Relays { poll, mailbox, reports, open: BTreeMap::new(), ready: BTreeSet::new() }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let timeout = match (self.ready.is_empty(), self.open.is_empty()) {
                (false, _) => Some(Duration::ZERO),
                (true, true) => Some(IDLE_MAX),
                (true, false) => None,
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Its descriptor is broken, which is a bug; these streams stand still.
                Err(_) => return,
            }
            let numbers = events.iter().map(|event| event.token()).filter(|token| *token != WAKER);
            self.ready.extend(numbers.map(|token| token.0 as u64));
            let is_idle = events.is_empty() && timeout == Some(IDLE_MAX);
            self.take_orders();
            self.move_all();
            if self.is_over(is_idle) {
                return;
            }
        }
    }

    /// Takes what the loop wants.
    fn take_orders(&mut self) {
        let mut orders = self.mailbox.lock();
        orders.is_woken = false;
        let (new, by_relay) = (take(&mut orders.new), take(&mut orders.by_relay));
        drop(orders);
        for relay in new {
            self.ready.insert(relay.number);
            self.open(relay);
        }
        for (number, ordered) in by_relay {
            if let Some(relay) = self.open.get_mut(&number) {
                relay.descriptor.order(ordered.order);
                relay.is_closed |= ordered.is_closed;
                self.ready.insert(number);
            }
        }
    }

    /// Whether the thread ends, now that it has waited in vain or not.
    fn is_over(&self, is_idle: bool) -> bool {
        let mut orders = self.mailbox.lock();
        let is_over = orders.relays == 0 && (is_idle || orders.is_ending);
        orders.waker.take_if(|_| is_over);
        is_over
    }

    fn open(&mut self, NewRelay { number, fd, piece_bytes_max }: NewRelay) {
        // Where it cannot be asked what it is, or cannot be watched, both ways are over at once.
        let fd = fd.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound));
        let descriptor =
            fd.and_then(|fd| StreamDescriptor::new(fd, piece_bytes_max)).and_then(|descriptor| {
                if let Some(fd) = descriptor.waited_fd() {
                    let both = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token(number), both)?;
                }
                Ok(descriptor)
            });
        let descriptor = descriptor.unwrap_or_else(|_| StreamDescriptor::none());
        self.open.insert(number, OpenRelay { descriptor, piece_bytes_max, is_closed: false });
    }

    /// Moves some of each that is ready, and reports it.
    fn move_all(&mut self) {
        let (mut reports, mut closed) = (Vec::new(), 0);
        for number in take(&mut self.ready) {
            let Some(relay) = self.open.get_mut(&number) else { continue };
            let mut report = StreamReport::default();
            let reads_max = if relay.is_closed { 0 } else { READS_PER_TURN };
            let has_more = relay.descriptor.pump(reads_max, &mut report);
            if relay.is_closed || relay.descriptor.is_done() {
                // Closing alone would not do where there are duplicates.
                if let Some(fd) = relay.descriptor.waited_fd() {
                    let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
                }
                drop(relay.descriptor.take_fd());
            }
            if relay.is_closed {
                self.open.remove(&number);
                closed += 1;
                continue;
            }
            if has_more {
                self.ready.insert(number);
            }
            if !report.is_empty() {
                reports.push((number, report, relay.piece_bytes_max));
            }
        }
        self.reports.hand_in(reports);
        if closed > 0 {
            self.mailbox.lock().relays -= closed;
        }
    }
}

fn token(number: u64) -> Token {
    Token(usize::try_from(number).unwrap_or(0))
}

#[cfg(test)]
#[path = "relay_threads_tests.rs"]
mod tests;
