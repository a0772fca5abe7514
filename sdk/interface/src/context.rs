//! One call as whoever serves it sees it: until when, whether its caller gave up, and what led to it.
//!
//! What it deliberately does not do: stop a handler by force. A handler that never asks is never stopped.
//!
//! What always holds: once cancelled, a call stays cancelled; nobody waits in [`Context::wait`] any more, each
//! function given to [`Context::on_cancel`] has run once, and the descriptor of [`Context::cancel_fd`] is readable.

use crate::caller::{Caller, Outgoing, Reply};
use crate::parcel::Parcel;
use nix::sys::eventfd::{EfdFlags, EventFd};
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::{CallError, CancelCause, Chain, ErrorCode, ErrorObject, RequestId};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The other side of a connection, as the one who serves its calls sees it.
pub trait CallerLink: Send + Sync {
    /// Tells how far `call` is, if whoever made it asked. `value` is JSON.
    fn progress(&self, call: &Context, value: &str);

    /// Calls a function that came with the params of `call`.
    ///
    /// # Errors
    /// As [`Caller::make`].
    fn call_back(
        &self,
        call: &Context,
        id: u64,
        params: Option<String>,
        parcel: Parcel,
    ) -> Result<Reply, CallError>;

    /// Makes a call in the other direction, for `call`: its chain and what is left of its deadline go along.
    ///
    /// # Errors
    /// As [`Caller::make`].
    fn make(&self, call: &Context, made: Outgoing) -> Result<Reply, CallError>;
}

/// A call that is served. Clones are the same call, for handlers with threads of their own.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    id: RequestId,
    deadline: Option<Instant>,
    stood_still: StoodStill,
    /// What that was as the call came.
    stood_still_before: Duration,
    wants_progress: bool,
    chain: Chain,
    link: Option<Arc<dyn CallerLink>>,
    interfaces: Arc<BTreeMap<String, u32>>,
    cancelled: AtomicBool,
    ended: AtomicBool,
    /// The lock for changes of `cancelled`, so that a waiter cannot miss one.
    hooks: Mutex<Hooks>,
    changed: Condvar,
}

/// Function that is run once a call is cancelled, and told why.
pub type CancelHook = Box<dyn FnOnce(Option<CancelCause>) + Send>;

#[derive(Default)]
struct Hooks {
    functions: Vec<(u64, CancelHook)>,
    /// Why it was cancelled.
    cause: Option<CancelCause>,
    /// The number of the next function.
    next: u64,
    fd: Option<EventFd>,
}

/// Takes a function back that has not run, when dropped.
#[must_use]
pub struct Hook<'a> {
    context: &'a Context,
    number: Option<u64>,
}

impl Drop for Hook<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.context.hooks().functions.retain(|(known, _)| *known != number);
        }
    }
}

/// How long a process stood still: stopped, frozen or starved. Clones are the same count, which only grows.
#[derive(Debug, Clone, Default)]
pub struct StoodStill(Arc<AtomicU64>);

impl StoodStill {
    /// Counts so much more.
    pub fn add(&self, length: Duration) {
        self.0.fetch_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// What a call is made of.
#[derive(Default)]
pub struct Served {
    /// Until when its caller waits.
    pub deadline: Option<Instant>,
    /// What puts that off: a caller does not count what its process stood still.
    pub stood_still: StoodStill,
    /// Whether its caller wants to know how far it is.
    pub wants_progress: bool,
    /// What led to it.
    pub chain: Chain,
    /// The caller, as the other side of the connection.
    pub link: Option<Arc<dyn CallerLink>>,
    /// The versions of interfaces that its connection uses.
    pub interfaces: Arc<BTreeMap<String, u32>>,
}

impl Context {
    /// A call that is about to be served.
    #[must_use]
    pub fn new(id: RequestId, served: Served) -> Context {
        let Served { deadline, stood_still, wants_progress, chain, link, interfaces } = served;
        Context(Arc::new(Inner {
            id,
            deadline,
            stood_still_before: stood_still.total(),
            stood_still,
            wants_progress,
            chain,
            link,
            interfaces,
            cancelled: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            hooks: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// The request's id, unique among the unanswered calls of its connection.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// When the caller stops waiting for the answer; `None` when it named no deadline. Later, once this process is seen to
    /// have stood still (stopped, frozen, starved) meanwhile.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let stood_still = self.0.stood_still.total().saturating_sub(self.0.stood_still_before);
        self.0.deadline.map(|deadline| deadline.checked_add(stood_still).unwrap_or(deadline))
    }

    /// Time left until [`Context::deadline`], zero once it has passed; `None` when there is none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// The calls that led to this one, outermost first. This one is not in it.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.0.chain
    }

    /// The version of this interface that was agreed on when the connection began; `None` where neither side has
    /// named it.
    #[must_use]
    pub fn interface_version(&self, interface: &str) -> Option<u32> {
        self.0.interfaces.get(interface).copied()
    }

    /// Whether the caller wants to know how far it is; if not, [`Context::progress`] sends nothing.
    #[must_use]
    pub fn wants_progress(&self) -> bool {
        self.0.wants_progress
    }

    /// Tells the caller how far it is, if it asked. A value that does not serialise is left out.
    pub fn progress<T: Serialize + ?Sized>(&self, value: &T) {
        let Some(link) = self.0.link.as_ref().filter(|_| self.0.wants_progress) else { return };
        let mut text = Vec::new();
        if write_json(&mut text, value).is_ok()
            && let Ok(text) = String::from_utf8(text)
        {
            link.progress(self, &text);
        }
    }

    /// Whether the caller gave up, or the other side is ending. The handler should answer soon.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
    }

    /// Why the call was cancelled: what whoever cancelled it says, [`CancelCause::DEADLINE`] where its deadline has passed,
    /// [`CancelCause::ENDING`] where this process is to end, [`CancelCause::CALLER_GONE`] where its connection has ended.
    /// `None` where nothing was said, and as long as it is not cancelled. The text is the caller's: nothing is to depend on it.
    #[must_use]
    pub fn cancel_cause(&self) -> Option<CancelCause> {
        self.hooks().cause.clone()
    }

    /// Goes on unless the call is cancelled; for use with `?` between steps of work.
    ///
    /// # Errors
    /// `cancelled`, once it is.
    pub fn check(&self) -> Result<(), ErrorObject> {
        if self.is_cancelled() {
            return Err(ErrorObject::new(ErrorCode::Cancelled, "the call was cancelled"));
        }
        Ok(())
    }

    /// Sleeps for `time`, or until the call is cancelled.
    ///
    /// # Errors
    /// `cancelled`, as soon as it is.
    pub fn wait(&self, time: Duration) -> Result<(), ErrorObject> {
        let hooks = self.hooks();
        let waited = self.0.changed.wait_timeout_while(hooks, time, |_| !self.is_cancelled());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.check()
    }

    /// Runs `function` once the call is cancelled, on the thread that learns of it: it must not block. At once where
    /// it is cancelled already; never when the call ends otherwise.
    pub fn on_cancel(&self, function: impl FnOnce() + Send + 'static) {
        // Stays for as long as the call does.
        std::mem::forget(self.hook(|_| function()));
    }

    /// The same as long as what it gives is not dropped, with the cause.
    pub fn hook(&self, function: impl FnOnce(Option<CancelCause>) + Send + 'static) -> Hook<'_> {
        let mut hooks = self.hooks();
        if self.is_cancelled() {
            let cause = hooks.cause.clone();
            drop(hooks);
            function(cause);
            return Hook { context: self, number: None };
        }
        let number = hooks.next;
        hooks.next += 1;
        hooks.functions.push((number, Box::new(function)));
        Hook { context: self, number: Some(number) }
    }

    /// A descriptor that becomes readable once the call is cancelled, for poll(2) beside others. It is an
    /// eventfd(2) of its own; nobody needs to read it.
    ///
    /// # Errors
    /// This process cannot have more descriptors.
    pub fn cancel_fd(&self) -> io::Result<OwnedFd> {
        let mut hooks = self.hooks();
        if hooks.fd.is_none() {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            hooks.fd = Some(EventFd::from_value_and_flags(self.is_cancelled().into(), flags)?);
        }
        let fd = hooks.fd.as_ref().map(|fd| std::os::fd::AsFd::as_fd(fd).try_clone_to_owned());
        fd.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
    }

    /// Cancels it, for this cause where there is one; the first counts. For whoever carries calls, not for handlers.
    pub fn cancel(&self, cause: Option<CancelCause>) {
        let mut hooks = self.hooks();
        if self.0.cancelled.swap(true, Ordering::AcqRel) {
            return;
        }
        hooks.cause.clone_from(&cause);
        let functions = std::mem::take(&mut hooks.functions);
        if let Some(fd) = &hooks.fd {
            // It holds one number, and has room for it.
            let _ = fd.write(1);
        }
        drop(hooks);
        self.0.changed.notify_all();
        functions.into_iter().for_each(|(_, function)| function(cause.clone()));
    }

    /// Its handler is done: callbacks that came with it cannot be called any more. For whoever carries calls; what
    /// an [`InterfaceTable`](crate::InterfaceTable) serves does it by itself.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
    }

    /// Whether its handler is done.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Whether both are the same call, and not two with the same id.
    #[must_use]
    pub fn is_same(&self, other: &Context) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The caller, to be called back with [`CallerLink::make`].
    #[must_use]
    pub fn caller_link(&self) -> Option<&Arc<dyn CallerLink>> {
        self.0.link.as_ref()
    }

    fn hooks(&self) -> MutexGuard<'_, Hooks> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls the other side while its call is served: with its chain, and no longer than it lasts.
impl Caller for Context {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        match &self.0.link {
            Some(link) => link.make(self, call),
            None => {
                let text = "this call has no other side that could be called";
                Err(CallError::not_sent(ErrorCode::Unavailable, text))
            }
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.0.id)
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    use std::sync::atomic::AtomicUsize;

    fn context(deadline: Option<Instant>) -> Context {
        Context::new(RequestId::Number(1), Served { deadline, ..Served::default() })
    }

    fn is_readable(fd: &OwnedFd) -> bool {
        poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn a_cancel_wakes_every_waiter_and_stays() {
        let context = context(None);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let context = context.clone();
                std::thread::spawn(move || context.wait(Duration::MAX).unwrap_err().kind())
            })
            .collect();
        context.cancel(None);
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), ErrorCode::Cancelled);
        }
        assert!(context.wait(Duration::MAX).is_err() && context.check().is_err());
    }

    #[test]
    fn functions_run_once_and_descriptors_become_readable() {
        let context = context(None);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |context: &Context| {
            let ran = Arc::clone(&ran);
            context.on_cancel(move || {
                ran.fetch_add(1, Ordering::SeqCst);
            });
        };
        count(&context);
        count(&context);
        let taken_back = Arc::clone(&ran);
        drop(context.hook(move |_| {
            taken_back.fetch_add(100, Ordering::SeqCst);
        }));
        let fds = [context.cancel_fd().unwrap(), context.cancel_fd().unwrap()];
        assert!(!is_readable(&fds[0]) && !is_readable(&fds[1]));
        assert_eq!(context.cancel_cause(), None);
        let (told, causes) = std::sync::mpsc::channel();
        let hook = context.hook(move |cause| told.send(cause).unwrap());
        context.cancel(Some("enough".into()));
        context.cancel(Some("too late".into()));
        let cause = Some(CancelCause::new("enough"));
        assert_eq!(
            (context.cancel_cause(), causes.try_recv()),
            (cause.clone(), Ok(cause)),
            "the first counts"
        );
        drop(hook);
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        count(&context);
        assert_eq!(ran.load(Ordering::SeqCst), 3, "at once");
        assert!(is_readable(&fds[0]) && is_readable(&fds[1]) && is_readable(&context.cancel_fd().unwrap()));
    }

    #[test]
    fn a_descriptor_asked_for_after_the_cancel_is_readable_too() {
        let context = context(None);
        context.cancel(None);
        assert!(is_readable(&context.cancel_fd().unwrap()));
    }

    #[test]
    fn the_time_left_never_goes_below_zero() {
        assert_eq!(context(None).remaining(), None);
        assert_eq!(context(Some(Instant::now())).remaining(), Some(Duration::ZERO));
        context(None).wait(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_standstill_puts_the_deadline_off_of_calls_that_came_before_it() {
        let (stood_still, deadline) = (StoodStill::default(), Some(Instant::now() + Duration::from_secs(5)));
        let came = || {
            let stood_still = stood_still.clone();
            Context::new(RequestId::Number(1), Served { deadline, stood_still, ..Served::default() })
        };
        let before = came();
        stood_still.add(Duration::from_secs(15));
        assert_eq!(before.deadline(), deadline.map(|deadline| deadline + Duration::from_secs(15)));
        assert_eq!(came().deadline(), deadline);
    }
}
