//! Watching, signalling and reaping real children.

use super::super::executable::open;
use super::super::spawn::SpawnSpec;
use super::super::testing::{DEADLINE, ended, eventually, folder, script, spawn_patiently};
use super::*;
use std::path::Path;

fn launch(folder: &Path, body: &str) -> Child {
    let executable = open(&script(folder, body)).unwrap();
    spawn_patiently(&SpawnSpec::new(&executable)).unwrap().child
}

/// Whether a process exists, zombies included.
fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn statuses_read_as_a_person_would_say_them() {
    let killed = |signal, core_dumped| ExitStatus::Signal { signal, core_dumped }.to_string();
    assert_eq!(ExitStatus::Code(3).to_string(), "exit status 3");
    assert_eq!(killed(9, false), "signal 9 (SIGKILL)");
    assert_eq!(killed(11, true), "signal 11 (SIGSEGV), core dumped");
    assert_eq!(killed(40, false), "signal 40 (real-time)");
    assert!(ExitStatus::Code(0).success());
    assert!(!ExitStatus::Code(1).success());
}

#[test]
fn an_exit_is_peeked_as_often_as_one_likes_and_reaped_once() {
    let root = folder();
    let mut child = launch(root.path(), "exit 3");
    assert!(child.wait_exit(DEADLINE).unwrap());
    for _ in 0..3 {
        assert_eq!(child.peek_exit().unwrap(), Some(ExitStatus::Code(3)));
        assert!(exists(child.pid()), "peeking has reaped it");
    }
    for _ in 0..3 {
        assert_eq!(child.reap().unwrap(), Some(ExitStatus::Code(3)));
    }
    assert_eq!(child.peek_exit().unwrap(), Some(ExitStatus::Code(3)));
    eventually("no zombie", || !exists(child.pid()));
    child.signal(Signal::SIGKILL).unwrap();
    child.signal_group(Signal::SIGKILL).unwrap();
}

#[test]
fn a_running_child_has_no_status_and_every_signal_is_told() {
    let root = folder();
    let mut child = launch(root.path(), "exec sleep 1000");
    assert_eq!(child.peek_exit().unwrap(), None);
    assert_eq!(child.reap().unwrap(), None);
    assert!(!child.wait_exit(Duration::ZERO).unwrap());
    child.signal(Signal::SIGTERM).unwrap();
    assert_eq!(ended(&mut child), ExitStatus::Signal { signal: libc::SIGTERM, core_dumped: false });

    // A real-time signal, which has no name.
    let mut child = launch(root.path(), "kill -40 $$; exec sleep 1000");
    assert_eq!(ended(&mut child), ExitStatus::Signal { signal: 40, core_dumped: false });
}

#[test]
fn the_whole_group_gets_the_signal() {
    let root = folder();
    let note = root.path().join("grandchild");
    let body = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", note.display());
    let mut child = launch(root.path(), &body);
    eventually("the grandchild runs", || note.exists());
    let grandchild: u32 = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
    assert!(exists(grandchild));
    child.signal_group(Signal::SIGTERM).unwrap();
    assert_eq!(ended(&mut child), ExitStatus::Signal { signal: libc::SIGTERM, core_dumped: false });
    eventually("the grandchild is gone", || !runs(grandchild));
}

#[test]
fn reaping_the_leader_takes_the_rest_of_its_group_along() {
    let root = folder();
    let note = root.path().join("grandchild");
    // The grandchild ignores everything that can be ignored, and the leader leaves it behind.
    let body = format!("trap '' TERM HUP INT; sleep 1000 & echo $! > {0}", note.display());
    let mut child = launch(root.path(), &body);
    assert!(child.wait_exit(DEADLINE).unwrap());
    let grandchild: u32 = std::fs::read_to_string(&note).unwrap().trim().parse().unwrap();
    assert!(runs(grandchild), "it should outlive its leader until that is reaped");
    assert_eq!(child.reap().unwrap(), Some(ExitStatus::Code(0)));
    eventually("the grandchild is gone", || !runs(grandchild));
}

#[test]
fn a_dropped_child_is_killed_and_reaped() {
    let root = folder();
    let child = launch(root.path(), "trap '' TERM; while :; do sleep 1000; done");
    let pid = child.pid();
    assert!(exists(pid));
    drop(child);
    assert!(!exists(pid), "the child or its zombie is left");
}

#[test]
fn a_child_that_somebody_else_reaped_is_not_signalled_by_number() {
    let root = folder();
    let mut child = launch(root.path(), "exit 0");
    assert!(child.wait_exit(DEADLINE).unwrap());
    nix::sys::wait::waitpid(child.pid, None).unwrap();
    let lost = Some(libc::ECHILD);
    assert_eq!(child.signal_group(Signal::SIGKILL).unwrap_err().raw_os_error(), lost);
    assert_eq!(child.reap().unwrap_err().raw_os_error(), lost);
    child.signal(Signal::SIGKILL).unwrap();
}

/// Whether a process runs; a zombie that its new parent has not reaped yet does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[test]
fn children_that_hang_are_waited_for_side_by_side_and_those_that_can_end_do() {
    let root = folder();
    let (mut children, _held) = hung(100);
    let living: Vec<Child> = (0..3).map(|_| launch(root.path(), "exec sleep 1000")).collect();
    let pids: Vec<u32> = living.iter().map(Child::pid).collect();
    children.extend(living);
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        end_all(children, DROP_TIMEOUT);
        done.send(()).unwrap();
    });
    // One after the other they would take five times as long as this.
    ended.recv_timeout(DEADLINE).unwrap();
    for pid in pids {
        assert!(!exists(pid), "{pid} is neither ended nor reaped");
    }
}
