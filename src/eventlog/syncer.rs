//! A thread that syncs files, so that the writer need not wait for the disk (mode relaxed of the record).
//!
//! What it deliberately does not do: decide what is synced, or what follows from a result; the lanes do.
//!
//! What always holds: syncs run in the order in which they were asked for; each gives one result, and the writer is
//! told of it; at most [`ORDERS_MAX`] wait, beyond which asking for one waits.

use super::owner::StreamOwner;
use super::thread::RecordThread;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rpc_plugin_record::{Disk, StreamSync};
use std::io;
use std::sync::Arc;

/// Syncs that wait for the thread; the writer waits with a further one.
const ORDERS_MAX: usize = 128;

/// A sync of a file of this stream that ended.
#[derive(Debug)]
pub(super) struct EndedSync {
    pub(super) owner: StreamOwner,
    pub(super) sync: StreamSync,
    pub(super) result: io::Result<()>,
}

/// The writer's end: what it asks for, and what came of it.
#[derive(Debug)]
pub(super) struct Syncer {
    orders: Sender<(StreamOwner, StreamSync)>,
    ended: Receiver<EndedSync>,
    /// Syncs that were asked for and whose result was not taken.
    under_way: usize,
    _thread: RecordThread,
}

impl Syncer {
    /// Starts the thread, which ends with the syncer and calls `notice` after each sync.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(disk: Arc<dyn Disk>, notice: impl Fn() + Send + 'static) -> io::Result<Syncer> {
        let (orders, queue) = bounded::<(StreamOwner, StreamSync)>(ORDERS_MAX);
        let (results, ended) = unbounded();
        let thread = RecordThread::start("event-log-sync", move || {
            for (owner, sync) in queue {
                let result = sync.run(&*disk);
                if results.send(EndedSync { owner, sync, result }).is_err() {
                    break;
                }
                notice();
            }
        })?;
        Ok(Syncer { orders, ended, under_way: 0, _thread: thread })
    }

    /// Has a sync run; gives it back where the thread has gone.
    pub(super) fn order(&mut self, owner: StreamOwner, sync: StreamSync) -> Result<(), StreamSync> {
        match self.orders.send((owner, sync)) {
            Ok(()) => {
                self.under_way += 1;
                Ok(())
            }
            Err(error) => Err(error.into_inner().1),
        }
    }

    /// The next result, if there is one; `wait`: once there is one, unless nothing is under way.
    pub(super) fn take(&mut self, wait: bool) -> Option<EndedSync> {
        if self.under_way == 0 {
            return None;
        }
        let ended = if wait { self.ended.recv().ok() } else { self.ended.try_recv().ok() }?;
        self.under_way -= 1;
        Some(ended)
    }
}
