//! Real processes with marks that are right, old, forged or missing: who is killed, and who is not.

use super::super::testing::{DEADLINE, Sleeper, eventually, folder};
use super::*;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::handshake::{ENV_AUTH_TOKEN_FILE, ENV_LAUNCH};

/// A host that was, as this process was it, but died: its number is another's or nobody's.
fn dead_host() -> HostIdentity {
    let host = HostIdentity::new().unwrap();
    // As it was written down: with a beginning that no process has.
    let text = serde_json::to_string(&host).unwrap();
    let process = host.process();
    let dead = text.replace(&format!("\"started\":{}", process.started), "\"started\":1");
    serde_json::from_str(&dead).unwrap()
}

fn search(before: Option<HostIdentity>, runtime_dir: &Path) -> Search {
    let host = HostIdentity::new().unwrap();
    Search { host, before, leaders: Vec::new(), runtime_dir: runtime_dir.to_owned() }
}

/// A sleeper that is marked as a launch of that host, with its environment in place.
fn marked(host: &HostIdentity, runtime_dir: &Path, id: &str) -> Sleeper {
    let mark = host.mark(runtime_dir, &id.parse().unwrap(), Generation::FIRST);
    let sleeper = Sleeper::new(&[(ENV_LAUNCH, Path::new(&mark))]);
    // Before its exec, a child shows the environment of this test.
    eventually("it runs", || mark_of(sleeper.pid(), runtime_dir).is_some());
    sleeper
}

#[test]
fn what_a_dead_host_launched_is_killed_and_nobody_else() {
    let (ours, sibling) = (folder(), folder());
    let (before, earlier) = (dead_host(), dead_host());
    let mut left = [marked(&before, ours.path(), "echo"), marked(&before, ours.path(), "kv")];
    let variable = |name, path: &Path| Sleeper::new(&[(name, path)]);
    let mut unknown = marked(&earlier, ours.path(), "echo");
    let mut innocent = [
        // A variable that anybody may set, of today and of before.
        variable(ENV_AUTH_TOKEN_FILE, &ours.path().join("echo/token.1")),
        variable(ENV_LAUNCH, &ours.path().join("echo/1")),
        marked(&before, sibling.path(), "echo"),
        marked(&before, &ours.path().join("inner"), "echo"),
    ];
    let mut killed: Vec<u32> = left.iter().map(Sleeper::pid).collect();
    killed.sort_unstable();
    let looks = search(Some(before), ours.path());
    let mut found = kill_leftovers(&looks, DEADLINE).unwrap();
    found.killed.sort_unstable();
    assert_eq!(found, Leftovers { killed, unknown: vec![unknown.pid()], ..Leftovers::default() });
    assert!(left.iter_mut().all(|sleeper| !sleeper.runs()));
    assert!(innocent.iter_mut().all(Sleeper::runs) && unknown.runs(), "a stranger was killed");
    let nothing = kill_leftovers(&looks, DEADLINE).unwrap();
    assert_eq!(nothing, Leftovers { unknown: vec![unknown.pid()], ..Leftovers::default() });
}

#[test]
fn nothing_is_killed_where_nothing_is_written_down_or_pids_mean_something_else() {
    let root = folder();
    let before = dead_host();
    let mut sleeper = marked(&before, root.path(), "echo");
    let text = serde_json::to_string(&before).unwrap();
    let namespace = text.split("\"pid_namespace\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let elsewhere: HostIdentity = serde_json::from_str(&text.replace(&namespace, "4")).unwrap();
    let boot = text.split("\"boot_id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let earlier: HostIdentity = serde_json::from_str(&text.replace(&boot, "another boot")).unwrap();
    let leader = ProcessIdentity::of(sleeper.pid()).unwrap();
    for before in [None, Some(elsewhere), Some(earlier)] {
        let looks = Search { leaders: vec![leader], ..search(before, root.path()) };
        let found = kill_leftovers(&looks, DEADLINE).unwrap();
        assert_eq!((found.killed, found.remaining, found.unknown), (vec![], vec![], vec![sleeper.pid()]));
        assert!(sleeper.runs());
    }
}

#[test]
fn while_the_host_that_launched_it_lives_nothing_is_killed_and_it_is_named() {
    let root = folder();
    // Some other process stands for the host.
    let mut host = Sleeper::new(&[]);
    let process = ProcessIdentity::of(host.pid()).unwrap();
    let mut text: serde_json::Value = serde_json::to_value(dead_host()).unwrap();
    text["process"] = serde_json::to_value(process).unwrap();
    let living: HostIdentity = serde_json::from_value(text).unwrap();
    let mut launched = marked(&living, root.path(), "echo");
    for before in [None, Some(living)] {
        let found = kill_leftovers(&search(before, root.path()), DEADLINE).unwrap();
        assert_eq!(found.in_use, Some((host.pid(), launched.pid())));
        assert!(found.killed.is_empty() && launched.runs() && host.runs());
    }
}

#[test]
fn a_session_is_known_by_its_leader_also_without_any_mark() {
    let root = folder();
    let launch = |time: &str| {
        let mut command = std::process::Command::new("/usr/bin/env");
        command.args(["-i", "setsid", "/bin/sh", "-c", &format!("sleep {time} & exec sleep {time}")]);
        command.env("PATH", std::env::var_os("PATH").unwrap()).spawn().unwrap()
    };
    let leads = |pid: u32| ProcessStat::of(pid).is_some_and(|stat| stat.session == pid);
    let members = |pid: u32| {
        let all = pids_of_our_user().unwrap();
        // Whoever inherits one that has ended may take its time to reap it.
        let is_one =
            |other: &u32| ProcessStat::of(*other).is_some_and(|stat| stat.session == pid && stat.runs);
        all.into_iter().filter(is_one).count()
    };
    let [mut one, mut other] = ["1011", "1012"].map(launch);
    for pid in [one.id(), other.id()] {
        eventually("it leads a session of two", || leads(pid) && members(pid) == 2);
    }
    let leader = ProcessIdentity::of(one.id()).unwrap();
    // The other's number was one of ours once, with another beginning.
    let recycled = ProcessIdentity { pid: other.id(), started: 1 };
    let looks = Search { leaders: vec![leader, recycled], ..search(Some(dead_host()), root.path()) };
    let found = kill_leftovers(&looks, DEADLINE).unwrap();
    assert_eq!((found.killed.len(), found.remaining.len()), (2, 0), "{found:?}");
    assert!(found.killed.contains(&one.id()));
    assert!(other.try_wait().unwrap().is_none() && members(other.id()) == 2, "it is another session");
    one.wait().unwrap();
    // The leader is gone and its session is not: they are its own.
    let leader = ProcessIdentity::of(other.id()).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(members(other.id()), 1);
    let looks = Search { leaders: vec![leader], ..search(Some(dead_host()), root.path()) };
    assert_eq!(kill_leftovers(&looks, DEADLINE).unwrap().killed.len(), 1);
    assert_eq!(members(other.id()), 0);
}

/// A plugin may have set its variable to anything before it executed what runs now.
#[test]
fn a_forged_mark_protects_nobody_in_the_session_of_a_leader() {
    let root = folder();
    let forged = dead_host().mark(root.path(), &"echo".parse().unwrap(), Generation::FIRST);
    let mut command = std::process::Command::new("setsid");
    let mut child = command.args(["/bin/sleep", "1013"]).env(ENV_LAUNCH, forged).spawn().unwrap();
    let pid = child.id();
    let is_leader = || ProcessStat::of(pid).is_some_and(|stat| stat.session == pid);
    eventually("it leads a session", || is_leader() && mark_of(pid, root.path()).is_some());
    let leader = ProcessIdentity::of(pid).unwrap();
    let found = kill_leftovers(&search(Some(dead_host()), root.path()), DEADLINE).unwrap();
    assert_eq!(found, Leftovers { unknown: vec![pid], ..Leftovers::default() }, "nobody wrote it down");
    let looks = Search { leaders: vec![leader], ..search(Some(dead_host()), root.path()) };
    let found = kill_leftovers(&looks, DEADLINE).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(found, Leftovers { killed: vec![pid], ..Leftovers::default() });
}

#[test]
fn a_process_of_another_real_user_is_never_looked_at() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let root = folder();
    let before = dead_host();
    let mark = before.mark(root.path(), &"echo".parse().unwrap(), Generation::FIRST);
    let mut command = std::process::Command::new("/bin/sleep");
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    let mut child = command.arg("1000").env_clear().env(ENV_LAUNCH, &mark).spawn().unwrap();
    eventually("it runs", || mark_of(child.id(), root.path()).is_some());
    let found = kill_leftovers(&search(Some(before), root.path()), DEADLINE).unwrap();
    let runs = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((found, runs), (Leftovers::default(), true));
}
