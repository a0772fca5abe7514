//! Listing, adopting and ending children; what concerns a whole process runs in one of its own.

use super::super::executable::open;
use super::super::spawn::SpawnSpec;
use super::super::sweeper::Sweeper;
use super::super::testing::{DEADLINE, Sleeper, alone, eventually, file, folder, script, spawn_patiently};
use super::*;

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
fn orphans_of_nobody_are_killed_and_those_of_a_living_leader_live() {
    alone(|| {
        become_subreaper().unwrap();
        let root = folder();
        // Two daemons in sessions of their own, one of them with a child; the leader ends.
        let body = "setsid sh -c 'sleep 1000; :' & setsid sleep 1000 & sleep 0";
        let executable = open(&script(root.path(), body)).unwrap();
        let mut ended = spawn_patiently(&SpawnSpec::new(&executable)).unwrap().child;
        // A leader that lives has left behind: one of its session, one that is marked, one that is neither,
        // and one that is marked almost.
        let body = "#!/bin/sh\nsh -c 'sleep 1001 & env -i setsid sleep 1002 & setsid sleep 1003 & \
                    MARK=17 setsid sleep 1004 & sleep 0'\nexec sleep 1000\n";
        let keeper_file = open(&file(root.path(), "keeper", body, 0o755)).unwrap();
        let environment = [("MARK".into(), "1".into()), ("PATH".into(), std::env::var_os("PATH").unwrap())];
        let known = KnownChildren::default();
        let launch = || spawn_patiently(&SpawnSpec { env: &environment, ..SpawnSpec::new(&keeper_file) });
        let (keeper, first_launch) =
            known.launch("MARK=1".into(), launch, |keeper| keeper.child.pid()).unwrap();
        let keeper = keeper.child;
        assert!(ended.wait_exit(DEADLINE).unwrap());
        let leaders = [keeper.pid(), ended.pid()];
        let orphans = || children().unwrap().into_iter().filter(|pid| !leaders.contains(pid));
        let sleeper = |time: &str| orphans().find(|pid| command(*pid) == format!("sleep\0{time}\0"));
        eventually("all are ours, and are what they will be", || {
            let all = ["1001", "1002", "1003", "1004"].iter().all(|time| sleeper(time).is_some());
            all && orphans().filter(|pid| session(*pid) == Some(*pid)).count() == 5
        });
        ended.reap().unwrap();
        let marked = sleeper("1003").unwrap();
        let mut spared = vec![keeper.pid(), sleeper("1001").unwrap(), marked];
        spared.sort_unstable();

        // While a launch is on its way, whatever is no leader may be its child.
        let during = || {
            let seen = sweep(&known, 7).unwrap();
            assert!(seen.reaped.is_empty() && seen.dying.is_empty() && seen.next == Some(7), "{seen:?}");
            Err::<u32, _>("no")
        };
        assert!(known.launch("MARK=3".into(), during, |pid| *pid).is_err());

        let (gone, left) = kill_and_reap_orphans(&known, DEADLINE, &mut Vec::new()).unwrap();
        assert!(gone.len() >= 4, "{gone:?}");
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(keeper.peek_exit().unwrap(), None);
        assert_eq!(children().unwrap(), spared);
        let nothing = sweep(&known, 0).unwrap();
        assert!(nothing.reaped.is_empty() && nothing.dying.is_empty() && nothing.next.is_none());

        // What is a leader's own goes when the leader is none any more.
        drop(first_launch);
        let next_launch = known.launch("MARK=2".into(), || Ok::<_, ()>(keeper.pid()), |pid| *pid).unwrap();
        assert_eq!(kill_and_reap_orphans(&known, DEADLINE, &mut Vec::new()).unwrap(), (vec![marked], vec![]));
        drop(keeper);
        drop(next_launch);
        let (_, left) = kill_and_reap_orphans(&known, DEADLINE, &mut Vec::new()).unwrap();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(children().unwrap(), Vec::<u32>::new());
        a_storm_is_swept_by_the_thread(root.path(), &known);
    });
}

/// However often it is asked.
fn a_storm_is_swept_by_the_thread(folder: &std::path::Path, known: &KnownChildren) {
    let body = "for i in 1 2 3 4 5 6 7 8 9; do setsid sleep 1000 & setsid sleep 0 & done";
    let storm = open(&file(folder, "storm", format!("#!/bin/sh\n{body}\n"), 0o755)).unwrap();
    let (mut storm, launch) = known
        .launch("MARK=4".into(), || spawn_patiently(&SpawnSpec::new(&storm)), |s| s.child.pid())
        .unwrap();
    let sweeper = Sweeper::start(known.clone(), |_| {}, |error| panic!("{error}")).unwrap();
    assert!(storm.child.wait_exit(DEADLINE).unwrap());
    storm.child.reap().unwrap();
    drop(launch);
    eventually("the storm is over", || {
        (0..1000).for_each(|_| sweeper.want());
        children().unwrap().is_empty()
    });
    assert_eq!(sweeper.end_all(DEADLINE).unwrap().unwrap(), (vec![], vec![]));
}

fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

fn session(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.split_whitespace().nth(3)?.parse().ok()
}
