//! The thread that launches.
//!
//! What this file is for: whoever launches stands still until the exec, and what is launched lives no longer than the thread
//! that launched it (PR_SET_PDEATHSIG). So launches have a thread of their own, which lives as long as the host. What it
//! deliberately does not do: know what is launched, or decide what becomes of a process.
//!
//! What always holds: a launch that takes longer than [`LAUNCH_TIMEOUT`] ends with its child, however its exec hangs; one that
//! takes a while holds nobody up, because a further thread launches what comes behind it, at most [`LAUNCHERS_MAX`] in all.
#![forbid(unsafe_code)]

use super::job_threads::{JobChild, JobThreads, JobThreadsKind};
use super::pidfd_slot::PidfdSlot;
use crossbeam_channel::bounded;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Longest time from the clone to the exec; then the child is killed.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a launch may hold up those behind it; then a further thread takes them.
const HANGS_AFTER: Duration = Duration::from_millis(250);
/// Threads that launch, at most.
pub const LAUNCHERS_MAX: usize = 4;
/// How long a thread that has something launched for itself waits for that.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A handle on the thread; the last one that is dropped ends it, and with it what it launched.
#[derive(Debug)]
pub struct Launcher {
    threads: JobThreads,
}

impl Launcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of pthread_create(3).
    pub fn start() -> io::Result<Launcher> {
        let threads = JobThreads::start(JobThreadsKind {
            name: "rpcplugin-launch",
            threads: 1,
            threads_max: LAUNCHERS_MAX,
            hangs_after: HANGS_AFTER,
            stay: true,
        })?;
        Ok(Launcher { threads })
    }

    /// Has something launched, after what was asked for before. `launch` reports by itself. Never waits.
    pub fn launch(&self, launch: impl FnOnce(&PidfdSlot) + Send + 'static) {
        let slot = Arc::new(PidfdSlot::default());
        let own = Arc::clone(&slot);
        let child = JobChild { slot, kills_after: LAUNCH_TIMEOUT };
        self.threads.submit(Box::new(move |_| launch(&own)), Some(child));
    }

    /// Has something launched and waits for it. `None`: nothing came of it within 30 s, or it panicked; what comes of it later is
    /// dropped on the launcher's thread.
    pub fn launch_and_wait<T: Send + 'static>(
        &self,
        launch: impl FnOnce(&PidfdSlot) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, launched) = bounded(1);
        self.launch(move |slot| drop(sender.send(launch(slot))));
        self.threads.wait_for(&launched, WAIT_MAX)
    }

    /// Has something done that may wait for a process to end, such as dropping one that is not wanted. Never waits.
    pub fn end(&self, work: impl FnOnce() + Send + 'static) {
        self.threads.submit(Box::new(move |_| work()), None);
    }

    /// Looks after launches that are on their way; when to look again. Never waits.
    pub fn look(&self) -> Option<Duration> {
        self.threads.look()
    }
}

#[cfg(test)]
mod tests {
    use super::super::executable::open;
    use super::super::spawn::{SpawnError, SpawnSpec, SpawnStep, Spawned, spawn};
    use super::super::testing::{DEADLINE, HangingExecutable, ended, folder, patiently, script};
    use super::*;
    use crossbeam_channel::Receiver;
    use std::path::Path;
    use std::time::Instant;

    type Outcome = Result<Spawned, SpawnError>;

    /// What launches that, and where the outcome comes.
    fn launching(path: &Path) -> (impl FnOnce(&PidfdSlot) + Send + 'static, Receiver<Outcome>) {
        let (sender, launched) = bounded(1);
        let executable = open(path).unwrap();
        let launch = move |slot: &PidfdSlot| {
            let outcome = patiently(|| spawn(&SpawnSpec::new(&executable), slot));
            sender.send(outcome).unwrap();
        };
        (launch, launched)
    }

    fn launch(launcher: &Launcher, path: &Path) -> Receiver<Outcome> {
        let (launch, launched) = launching(path);
        launcher.launch(launch);
        launched
    }

    fn wait(launcher: &Launcher, launched: &Receiver<Outcome>) -> Outcome {
        launcher.threads.wait_for(launched, DEADLINE).expect("nothing came of a launch")
    }

    #[test]
    fn two_that_hang_in_exec_hinder_nobody() {
        let root = folder();
        let executables = ["1", "2"].map(|name| HangingExecutable::new(root.path(), name));
        // Before anything hangs: a child that hangs in exec keeps its copies of what is open, and what wrote the script among
        // them would keep it busy for as long as that child lives.
        let script = script(root.path(), "exit 3");
        let launcher = Launcher::start().unwrap();
        // Killed by nobody but this test, however long the other launch takes.
        let hung = executables.each_ref().map(|hangs| {
            let (slot, (launch, launched)) = (Arc::new(PidfdSlot::default()), launching(&hangs.path));
            let child = JobChild { slot: Arc::clone(&slot), kills_after: DEADLINE * 3 };
            let of_launch = Arc::clone(&slot);
            launcher.threads.submit(Box::new(move |_| launch(&of_launch)), Some(child));
            (slot, launched)
        });
        let other = launch(&launcher, &script);
        ended(&mut wait(&launcher, &other).unwrap().child);
        for (slot, launched) in hung {
            assert!(launched.try_recv().is_err(), "it came first, and hangs");
            assert!(slot.kill());
            assert_eq!(wait(&launcher, &launched).unwrap_err().step, SpawnStep::Execute);
        }
    }

    #[test]
    fn two_that_hang_in_exec_end_with_their_children() {
        let root = folder();
        let executables = ["1", "2"].map(|name| HangingExecutable::new(root.path(), name));
        let launcher = Launcher::start().unwrap();
        let begun = Instant::now();
        let hung = executables.each_ref().map(|hangs| launch(&launcher, &hangs.path));
        for launched in hung {
            let error = wait(&launcher, &launched).unwrap_err();
            assert_eq!((error.step, error.errno), (SpawnStep::Execute, libc::ETIMEDOUT));
            assert!(error.to_string().contains("its exec did not end within 2s"), "{error}");
        }
        assert!(begun.elapsed() >= LAUNCH_TIMEOUT);
    }

    #[test]
    fn who_waits_for_a_launch_looks_after_it_itself() {
        let root = folder();
        let hangs = HangingExecutable::new(root.path(), "1");
        let launcher = Launcher::start().unwrap();
        let executable = open(&hangs.path).unwrap();
        let outcome = launcher.launch_and_wait(move |slot| {
            let outcome = patiently(|| spawn(&SpawnSpec::new(&executable), slot));
            outcome.map(|spawned| spawned.child.pid())
        });
        assert_eq!(outcome.unwrap().unwrap_err().errno, libc::ETIMEDOUT);
        assert!(launcher.launch_and_wait(|_| -> u32 { panic!("as a bug would") }).is_none());
    }

    #[test]
    fn what_it_launched_ends_with_the_last_handle() {
        let root = folder();
        let launcher = Arc::new(Launcher::start().unwrap());
        let other = Arc::clone(&launcher);
        let path = script(root.path(), "while :; do sleep 1000; done");
        let mut spawned = wait(&launcher, &launch(&launcher, &path)).unwrap();
        drop(launcher);
        assert!(matches!(spawned.child.peek_exit(), Ok(None)), "a handle is left");
        drop(other);
        ended(&mut spawned.child);
    }
}
