//! Listing, adopting and ending children; what concerns a whole process runs in one of its own.

use super::super::executable::open;
use super::super::spawn::SpawnSpec;
use super::super::testing::{DEADLINE, Sleeper, eventually, file, folder, script, spawn_patiently};
use super::*;

const VARIABLE: &str = "RPS_TEST_SUBREAPER";

#[test]
fn both_ways_of_listing_children_agree() {
    let sleeper = Sleeper::new(&[]);
    let pid = sleeper.pid();
    assert!(children().unwrap().contains(&pid));
    assert!(children_by_search().unwrap().contains(&pid));
    if let Some(pids) = children_of_threads().unwrap() {
        assert!(pids.contains(&pid));
    }
    drop(sleeper);
    assert!(!children().unwrap().contains(&pid));
    assert!(!children_by_search().unwrap().contains(&pid));
}

#[test]
fn a_held_child_is_signalled_and_a_stranger_is_not_held() {
    let sleeper = Sleeper::new(&[]);
    let held = HeldChild::hold(sleeper.pid()).unwrap();
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", sleeper.pid())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().to_owned()
    };
    held.signal(Signal::SIGSTOP).unwrap();
    eventually("it is stopped", || state().starts_with('T'));
    held.signal(Signal::SIGCONT).unwrap();
    eventually("it goes on", || !state().starts_with('T'));
    drop(sleeper);
    assert_eq!(held.signal(Signal::SIGKILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    let own = HeldChild::hold(std::process::id()).unwrap_err();
    assert_eq!(own.raw_os_error(), Some(libc::ECHILD));
}

/// Concerns every child of the process, so it runs in a process of its own.
#[test]
fn orphans_come_to_us_and_are_killed_and_the_excepted_live() {
    if std::env::var_os(VARIABLE).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["sys::orphans::tests::orphans_come_to_us_and_are_killed_and_the_excepted_live", "--exact"])
            .env(VARIABLE, "1")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
        return;
    }
    become_subreaper().unwrap();
    let root = folder();
    // Two daemons in sessions of their own, one of them with a child; the leader ends.
    let body = "setsid sh -c 'sleep 1000; :' & setsid sleep 1000 & sleep 0";
    let executable = open(&script(root.path(), body)).unwrap();
    let mut leader = spawn_patiently(&SpawnSpec::new(&executable)).unwrap().child;
    let keeper_script = file(root.path(), "keeper", "#!/bin/sh\nexec sleep 1000\n", 0o755);
    let keeper = spawn_patiently(&SpawnSpec::new(&open(&keeper_script).unwrap())).unwrap().child;
    assert!(leader.wait_exit(DEADLINE).unwrap());
    let sessions_made = || {
        let orphans =
            children().unwrap().into_iter().filter(|pid| ![leader.pid(), keeper.pid()].contains(pid));
        orphans.filter(|pid| session(*pid) == Some(*pid)).count() == 2
    };
    eventually("both daemons are ours", sessions_made);
    leader.reap().unwrap();

    let (gone, left) = kill_and_reap_orphans(&[keeper.pid()], DEADLINE).unwrap();
    assert!(gone.len() >= 2, "{gone:?}");
    assert!(left.is_empty(), "{left:?}");
    assert!(!gone.contains(&keeper.pid()));
    assert_eq!(keeper.peek_exit().unwrap(), None);
    assert_eq!(children().unwrap(), [keeper.pid()]);
    let nothing = sweep(&[keeper.pid()]).unwrap();
    assert!(nothing.reaped.is_empty() && nothing.dying.is_empty());
}

fn session(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(3)?.parse().ok()
}
