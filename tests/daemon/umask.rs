//! What a user's umask makes of builds and configurations: a daemon takes what nobody else can change, and says of the
//! rest what mends it.

use crate::fixtures::daemon::{Daemon, NOBODY, QUICK, bare, is_root, run};
use crate::fixtures::world::{World, built};
use nix::unistd::{Group, User, getegid, geteuid};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Whether files that this process makes are of a group that is its user's own.
fn has_private_group() -> bool {
    let user = User::from_uid(geteuid()).unwrap();
    let group = Group::from_gid(getegid()).unwrap();
    let (Some(user), Some(group)) = (user, group) else { return false };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let others = users.lines().any(|line| {
        let fields: Vec<_> = line.split(':').collect();
        fields.len() > 3
            && fields[3] == group.gid.to_string()
            && fields[2] != user.uid.to_string()
            && !fields[2].is_empty()
    });
    user.name == group.name && group.mem.iter().all(|member| *member == user.name) && !others
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// A checkout that was made and built under a umask: a program in two folders, and a configuration that names it.
fn checkout(world: &World, umask: &str) {
    let program = world.path().join("tree/target/debug/echo");
    let config = json!({"plugins": {"configured": {"executable": program}}}).to_string();
    let script = "umask \"$1\" && mkdir -p tree/target/debug && cp \"$2\" tree/target/debug/echo && \
         chmod =rwx tree/target/debug/echo && printf %s \"$3\" > tree/config.json";
    let ran = run(bare("/bin/sh".as_ref())
        .args(["-c", script, "sh", umask])
        .args([built("echo").to_str().unwrap(), &config])
        .current_dir(world.path()));
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// Starts the daemon in the checkout, under that umask, as somebody types it.
fn start(world: &World, umask: &str) -> Daemon {
    let mut command = bare("/bin/sh".as_ref());
    command.args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask]).arg(built("rpcplugind"));
    command.arg("--runtime-dir").arg(world.runtime_dir()).args(QUICK);
    command.args(["--config", "config.json", "--plugin", "typed=target/debug/echo"]);
    Daemon::of(command.current_dir(world.path().join("tree")), &world.runtime_dir())
}

#[test]
fn what_a_build_under_any_umask_made_is_launched_by_its_relative_path() {
    for umask in ["022", "077", "002"] {
        if umask == "002" && !has_private_group() {
            continue; // The next test is about it.
        }
        let world = World::new();
        checkout(&world, umask);
        let daemon = start(&world, umask);
        for id in ["typed", "configured"] {
            daemon.wait_for(id, "healthy");
        }
    }
}

#[test]
fn what_a_shared_group_can_change_is_told_with_one_command_that_mends_it() {
    if has_private_group() && !is_root() {
        return; // Only root can give the files to a group of others.
    }
    let world = World::new();
    checkout(&world, "002");
    let tree = world.path().join("tree");
    let all = ["", "target", "target/debug", "target/debug/echo", "config.json"].map(|name| tree.join(name));
    if is_root() {
        // The folders are root's, and of the group that root's files get, but for the file.
        for path in &all[3..] {
            std::os::unix::fs::chown(path, None, Some(NOBODY)).unwrap();
        }
    }
    let daemon = |words: &[&str]| {
        let mut command = bare(&built("rpcplugind"));
        run(command.arg("--runtime-dir").arg(world.runtime_dir()).args(words).current_dir(&tree))
    };
    let mend = |said: &str, of: &[&Path]| {
        let command =
            said.split('`').find(|part| part.starts_with("chmod ")).unwrap_or_else(|| panic!("{said}"));
        for path in of {
            assert!(command.contains(path.to_str().unwrap()), "{said}");
        }
        assert_eq!(run(bare("/bin/sh".as_ref()).args(["-c", command])).code, 0, "{command}");
        for path in of {
            assert_eq!(mode(path) & 0o022, 0, "{}", path.display());
        }
    };
    let of_folders = |last: &[usize]| {
        let folders: &[usize] = if is_root() && has_private_group() { &[] } else { last };
        folders.iter().map(|index| all[*index].as_path()).collect::<Vec<_>>()
    };
    let ran = daemon(&["--config", "config.json", "--check-config"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    mend(&ran.stderr, &[of_folders(&[0]), vec![&all[4]]].concat());

    let daemon = start(&world, "002");
    let failed = daemon.wait_for("configured", "failed");
    mend(&failed["last_error"].to_string(), &[of_folders(&[1, 2]), vec![&all[3]]].concat());
    assert_eq!(daemon.ctl(&["restart", "configured"]).code, 0);
    daemon.wait_for("configured", "healthy");
}
