//! Signals of the daemon: which end it, which do not.
//!
//! SIGTERM and SIGINT end it down each plugin's ladder. A SIGINT after that kills the plugins at once: a
//! person at a terminal has lost patience. A further SIGTERM does not, since service managers and scripts
//! repeat it without meaning more by it. SIGHUP has the runtime folder looked after; it and SIGUSR1 are put on record and change
//! nothing else.
//!
//! What always holds: a signal that came after [`Watch::start`] is acted on, however early, and whatever mask the daemon
//! was started with; the daemon also notices when its host ends by itself; where signals cannot be received any more, or
//! a thread that nobody watches panicked, [`Watch::wait`] returns with an error instead of leaving the daemon deaf.

use super::says::complain;
use crate::host::{Host, Note};
use crate::sys::orphans::kill_all_children;
use nix::sys::signal::SigSet;
use rpc_plugin_wire::event::EventKind;
use signal_hook::consts::signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::backend::{Handle, SignalDelivery};
use signal_hook::iterator::exfiltrator::SignalOnly;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};

/// What threads are called whose panics cost their own work only, because they are caught there.
const CAUGHT_THREADS: [&str; 2] = ["rpcplugin-work", "rpcplugin-serve"];

/// What is told of a second SIGINT at the first signal that ends.
const SECOND: &str = "Ctrl+C again (SIGINT) kills the plugins that have not ended";

/// Lets every signal come through: whoever started this process may have blocked some, and threads and masks are
/// inherited. For the beginning of `main`, before there are threads.
///
/// # Errors
/// Those of pthread_sigmask(3).
pub(crate) fn unblock() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

/// The signals of this process, and what else ends it.
pub(crate) struct Watch {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
    /// The first panic of a thread that nobody watches.
    panicked: Arc<OnceLock<String>>,
}

impl Watch {
    /// Takes the signals over.
    pub(crate) fn start() -> io::Result<Watch> {
        let (read, write) = UnixStream::pair()?;
        let signals = [SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1];
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, signals)?;
        Ok(Watch { delivery, panicked: Arc::default() })
    }

    /// Has a panic of any thread end [`Watch::wait`], but for those whose panics are caught. The panic is reported on
    /// standard error as before.
    pub(crate) fn end_on_panic(&self) {
        let (report, panicked) = (std::panic::take_hook(), self.panics());
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            panicked(std::thread::current().name());
        }));
    }

    /// What is told of a panic in a thread of that name.
    fn panics(&self) -> impl Fn(Option<&str>) + Send + Sync + 'static {
        let (handle, panicked) = (self.delivery.handle(), Arc::clone(&self.panicked));
        move |thread| {
            let name = thread.unwrap_or("without a name");
            if !CAUGHT_THREADS.contains(&name) {
                // Of several, the first counts.
                let _ =
                    panicked.set(format!("thread {name} panicked, which is a bug; see its message above"));
                handle.close();
            }
        }
    }

    /// Has the end of the host end [`Watch::wait`]: an operator may end it through the admin socket, and then no signal
    /// comes.
    ///
    /// # Errors
    /// No thread can be made.
    pub(crate) fn end_with(&self, host: &Host) -> io::Result<()> {
        let (host, handle) = (host.clone(), self.delivery.handle());
        let thread = crate::threads::builder("host-end");
        thread.spawn(move || wait_and_close(host, &handle)).map(drop)
    }

    /// Acts on signals until the host has ended; whether one of them ended it. `tell` is told, in words, what the first
    /// and the second SIGINT or SIGTERM do; `interrupt` may take a SIGINT as its own before it ends anything. To be called
    /// after [`Watch::end_with`].
    ///
    /// # Errors
    /// Signals cannot be received any more, or a thread panicked; the host may not have ended.
    pub(crate) fn wait(
        mut self,
        host: &Host,
        tell: &dyn Fn(&str),
        interrupt: &dyn Fn() -> bool,
    ) -> io::Result<bool> {
        let mut is_ending = false;
        while let Some(pending) = self.delivery.poll_pending(&mut wait_readable)? {
            for signal in pending {
                match signal {
                    // Somebody who presses Ctrl-C again does not want to wait any more.
                    SIGINT if is_ending => {
                        host.begin_kill("SIGINT came again");
                        tell("SIGINT came again: plugins that have not ended are killed");
                    }
                    SIGINT if interrupt() => {}
                    SIGINT | SIGTERM if !is_ending => {
                        is_ending = true;
                        let came = format!("{} came", name(signal));
                        host.begin_shutdown(came.clone());
                        tell(&format!("{came}; {SECOND}"));
                    }
                    // A host that has ended has nothing to sweep any more.
                    SIGCHLD => drop(host.sweep_orphans()),
                    _ => {
                        if signal == SIGHUP {
                            let _ = host.look_after_runtime_dir();
                        }
                        let text = format!("it goes on as before {}", name(signal));
                        host.record(Note::new(EventKind::SignalIgnored, text));
                    }
                }
            }
        }
        match self.panicked.get() {
            Some(text) => Err(io::Error::other(text.clone())),
            None => Ok(is_ending),
        }
    }
}

fn wait_and_close(host: Host, handle: &Handle) {
    host.wait_ended();
    drop(host);
    handle.close();
}

/// Ends the process where the event loop of its host hangs for good: nothing else in it can. All its children are killed
/// before: one of them holds what the loop waits for, maybe one that a plugin left behind in a session of its own, and as
/// long as it does the kernel does not let this process end. For a host that adopts orphans.
pub(crate) fn exit_hung(program: &'static str) -> impl FnOnce(&str) + Send + 'static {
    move |reason| {
        complain(program, reason);
        kill_all_children();
        std::process::exit(1)
    }
}

/// Waits until a handler has written to the pipe; false when it is closed.
fn wait_readable(pipe: &mut UnixStream) -> io::Result<bool> {
    loop {
        match pipe.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("signals cannot be received: {error}")));
            }
            Ok(bytes) => return Ok(bytes > 0),
        }
    }
}

fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("an unknown signal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn watch(read: UnixStream, write: UnixStream) -> Watch {
        let none: [i32; 0] = [];
        let delivery = SignalDelivery::with_pipe(read, write, SignalOnly, none).unwrap();
        Watch { delivery, panicked: Arc::default() }
    }

    #[test]
    fn a_mask_that_was_inherited_is_lifted() {
        let unblocked = thread::spawn(|| {
            SigSet::all().thread_set_mask().unwrap();
            let before = SigSet::thread_get_mask().unwrap();
            unblock().unwrap();
            (before.contains(nix::sys::signal::SIGTERM), SigSet::thread_get_mask().unwrap())
        });
        let (was_blocked, after) = unblocked.join().unwrap();
        assert!(was_blocked && after == SigSet::empty());
    }

    #[test]
    fn a_pipe_that_cannot_be_read_and_a_panic_end_the_wait_with_an_error() {
        let host = Host::temporary().start().unwrap();
        let (read, write) = UnixStream::pair().unwrap();
        // A read that fails.
        read.set_nonblocking(true).unwrap();
        let error = watch(read, write).wait(&host, &|_| {}, &|| false).unwrap_err().to_string();
        assert!(error.starts_with("signals cannot be received: "), "{error}");

        let (read, write) = UnixStream::pair().unwrap();
        let watch = watch(read, write);
        let panicked = watch.panics();
        panicked(Some("rpcplugin-work"));
        assert!(!watch.delivery.handle().is_closed(), "it was caught");
        panicked(Some("event-log"));
        panicked(None);
        let error = watch.wait(&host, &|_| {}, &|| false).unwrap_err().to_string();
        assert!(error.starts_with("thread event-log panicked"), "{error}");
        host.shutdown();
        assert!(!host.has_failed(), "it was asked to end");
    }

    #[test]
    fn the_end_of_the_host_ends_the_wait() {
        let host = Host::temporary().start().unwrap();
        let (read, write) = UnixStream::pair().unwrap();
        let watch = watch(read, write);
        watch.end_with(&host).unwrap();
        host.begin_shutdown("the test wants it");
        assert!(!watch.wait(&host, &|_| {}, &|| false).unwrap(), "no signal ended it");
    }
}
