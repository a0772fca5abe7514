//! The program itself: exit status, standard streams, a closed pipe, and folders it may not enter.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child;
use crate::fixtures::ctl::{FakeDaemon, Folder, Reply, Run};
use crate::fixtures::world;
use crate::fixtures::world::put_executable;
use rpc_plugin_system::ctl::Exit;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The built program, also where the tests run as another user from copies.
fn ctl() -> std::path::PathBuf {
    world::built("rpcpluginctl")
}

#[test]
fn the_program_takes_its_surroundings_from_the_process() {
    let daemon = FakeDaemon::new(Reply::Result("{}".to_owned()));
    let run = |words: &[&str]| {
        let mut command = Command::new(ctl());
        command.args(words).env_clear().env("RPC_PLUGIN_SYSTEM_RUNTIME_DIR", &daemon.folder.0);
        command.stdin(Stdio::null()).output().unwrap()
    };
    let ok = run(&["shutdown"]);
    assert_eq!(
        (ok.status.code(), &*ok.stdout, &*ok.stderr),
        (Some(0), &b"the daemon has ended\n"[..], &b""[..])
    );
    let usage = run(&["nope"]);
    assert_eq!((usage.status.code(), &*usage.stdout), (Some(2), &b""[..]));
    assert!(usage.stderr.starts_with(b"rpcpluginctl: error: unknown command \"nope\""));
    assert_eq!(run(&["call", "a", "m", "-"]).status.code(), Some(2), "empty standard input is no JSON");
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = Command::new(ctl()).arg("help").stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((ran.status.code(), &*ran.stderr), (Some(0), &b""[..]));
}

#[test]
fn a_folder_of_somebody_else_is_named_with_what_to_do() {
    let folder = Folder::new();
    let (inside, copy, built) = (folder.0.join("private"), folder.0.join("rpcpluginctl"), ctl());
    std::fs::create_dir(&inside).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(&folder.0, 0o755);
    let is_root = nix::unistd::geteuid().is_root();
    if is_root {
        // Root may enter everything, so somebody else tries; the build folder may be closed to them.
        put_executable(&ctl(), &copy);
        mode(&copy, 0o755);
    }
    mode(&inside, if is_root { 0o700 } else { 0o000 });
    for words in [&["status"][..], &["logs"], &["logs", "echo"], &["logs", "--all"], &["logs", "--daemon"]] {
        let mut command = Command::new(if is_root { &copy } else { &built });
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        let ran = command.args(words).arg("--runtime-dir").arg(inside.join("rpcplugind")).output().unwrap();
        assert_eq!(ran.status.code(), Some(7), "{words:?}");
        let stderr = String::from_utf8(ran.stderr).unwrap();
        assert!(stderr.contains("permission denied at") && stderr.contains("private"), "{words:?}: {stderr}");
        assert!(stderr.contains("only the user that runs rpcplugind, and root"), "{words:?}: {stderr}");
    }
    mode(&inside, 0o700);
}

/// The process that the next test starts as another user.
pub(crate) fn serve_until_standard_input_ends() {
    let folder = std::env::var_os("SERVE_IN").expect("the next test says where");
    let listener = UnixListener::bind(Path::new(&folder).join("admin.sock")).unwrap();
    println!("\nlistening");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
    println!("\nreceived {} bytes", received.len());
}

#[test]
fn nothing_is_sent_to_another_users_process() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can start a process as somebody else; the rule itself has a test beside it.
        return;
    }
    let folder = Folder::new();
    let copy = folder.0.join("server");
    put_executable(&std::env::current_exe().unwrap(), &copy);
    std::fs::set_permissions(&folder.0, PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let mut server = child::start(&copy, "serve_until_standard_input_ends");
    server.env("SERVE_IN", &folder.0).uid(65_534).gid(65_534).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "listening"));
    let ran = Run::new(&folder.0).run(&["status", "--timeout", "1s"]);
    drop(server.stdin.take());
    assert!(lines.any(|line| line == "received 0 bytes"));
    assert!(server.wait().unwrap().success());
    assert_eq!(ran.exit, Exit::Denied);
    assert!(ran.stderr.contains("of user 65534, not by user 0 or root; nothing was sent"), "{}", ran.stderr);
}
