//! What may be executed and what may not, on real files of every kind.

use super::super::testing::{chmod, file, folder, subfolder};
use super::*;
use ExecutableProblem as P;
use std::os::unix::fs::symlink;

fn problem(path: &Path) -> P {
    open(path).unwrap_err().problem
}

#[test]
fn a_private_script_and_a_system_program_are_opened() {
    let root = folder();
    let script = file(root.path(), "s", "#! /bin/sh -e\nexit\n", 0o755);
    let opened = open(&script).unwrap();
    assert_eq!(opened.path(), script);
    assert_eq!(opened.format(), &Format::Script { interpreter: "/bin/sh".into() });
    assert!(opened.is_script());
    let program = file(root.path(), "p", std::fs::read("/bin/sh").unwrap(), 0o755);
    assert_eq!(open(&program).unwrap().format(), &Format::Elf);
    // Of an owner that a user namespace does not map, it might be anybody's.
    let system = std::fs::canonicalize("/bin/sh").unwrap();
    let owner = nix::sys::stat::stat(&system).unwrap().st_uid;
    assert_eq!(open(&system).is_ok(), Trust::current().of_file(owner));
    let text = file(root.path(), "t", "echo\n", 0o700);
    assert_eq!(open(&text).unwrap().format(), &Format::Other);
    assert_eq!(open(&file(root.path(), "e", "", 0o500)).unwrap().format(), &Format::Other);
}

#[test]
fn the_interpreter_is_what_the_kernel_takes_it_for() {
    let root = folder();
    for (line, interpreter) in [
        ("#!/bin/sh\r\nx", "/bin/sh\r"),
        ("#!\t /usr/bin/env python3\n", "/usr/bin/env"),
        ("#!/bin/sh", "/bin/sh"),
        ("#!\n/bin/sh", ""),
        ("#!  ", ""),
        ("#!", ""),
    ] {
        let path = file(root.path(), "s", line, 0o755);
        let expected = Format::Script { interpreter: interpreter.into() };
        assert_eq!(open(&path).unwrap().format(), &expected, "{line:?}");
    }
}

#[test]
fn what_others_can_change_is_refused() {
    let root = folder();
    for mode in [0o775, 0o757, 0o777, 0o720, 0o702] {
        let path = file(root.path(), "s", "#!/bin/sh\n", mode);
        let error = open(&path).unwrap_err();
        let owner = nix::unistd::geteuid().as_raw();
        assert_eq!(error.problem, P::Writable(mode, owner));
        let text = error.to_string();
        let advice = format!("chmod go-w {}", path.display());
        assert!(text.contains(&format!("mode {mode:04o}")) && text.contains(&advice), "{text}");
    }
}

#[test]
fn a_folder_that_others_can_write_to_is_refused_unless_sticky() {
    let root = folder();
    let inner = subfolder(&root.path().join("open/inner"));
    let path = file(&inner, "s", "#!/bin/sh\n", 0o755);
    open(&path).unwrap();
    for open_folder in [inner.clone(), root.path().join("open")] {
        chmod(&open_folder, 0o777);
        let error = open(&path).unwrap_err();
        assert!(matches!(&error.problem, P::Folder(e) if e.path == open_folder), "{error}");
        assert!(error.to_string().contains(&format!("chmod go-w {}", open_folder.display())), "{error}");
        chmod(&open_folder, 0o1777);
        open(&path).unwrap();
        chmod(&open_folder, 0o755);
    }
}

#[test]
fn only_a_regular_file_is_opened() {
    let root = folder();
    let target = file(root.path(), "s", "#!/bin/sh\n", 0o755);
    let link = root.path().join("link");
    symlink(&target, &link).unwrap();
    assert_eq!(problem(&link), P::Symlink(target));
    assert_eq!(problem(root.path()), P::NotAFile("a folder"));
    assert_eq!(problem(Path::new("/")), P::NotAFile("a folder"));
    assert_eq!(problem(Path::new("/dev/null")), P::NotAFile("a device"));
    let fifo = root.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o700)).unwrap();
    assert_eq!(problem(&fifo), P::NotAFile("a named pipe"));
    let socket = root.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(problem(&socket), P::NotAFile("a socket"));
}

#[test]
fn paths_that_lead_nowhere_are_named() {
    let root = folder();
    assert_eq!(problem(&root.path().join("none")), P::Missing);
    assert!(
        matches!(problem(&root.path().join("none/s")), P::Folder(e) if e.path == root.path().join("none"))
    );
    for relative in ["s", "./s", ""] {
        assert_eq!(problem(Path::new(relative)), P::NotAbsolute);
    }
}

#[test]
fn set_id_and_missing_execute_permission_are_refused() {
    let root = folder();
    let owner = nix::unistd::geteuid().as_raw();
    for mode in [0o4755, 0o2755, 0o6711] {
        let path = file(root.path(), "s", "#!/bin/sh\n", 0o755);
        chmod(&path, mode);
        assert_eq!(problem(&path), P::SetId(mode, owner));
    }
    let path = file(root.path(), "plain", "#!/bin/sh\n", 0o644);
    let error = open(&path).unwrap_err();
    assert_eq!(error.problem, P::NotExecutable(0o644, owner));
    assert!(error.to_string().contains("chmod a+x"), "{error}");
    // Executable for others only: root may, the owner may not.
    let path = file(root.path(), "others", "#!/bin/sh\n", 0o445);
    assert_eq!(open(&path).is_ok(), nix::unistd::geteuid().is_root());
}

#[test]
fn a_file_of_a_stranger_is_refused() {
    let root = folder();
    let path = file(root.path(), "s", "#!/bin/sh\n", 0o755);
    if nix::unistd::geteuid().is_root() {
        // Root of a user namespace cannot give files away to a user that is not in it.
        let Ok(()) = nix::unistd::chown(&path, Some(12345.into()), None) else { return };
        assert_eq!(problem(&path), P::Owner(12345, 0));
    } else {
        chmod(&path, 0o000);
        assert!(matches!(problem(&path), P::System(Errno::EACCES)));
    }
}

#[test]
fn a_path_that_is_swapped_later_changes_nothing() {
    let root = folder();
    let path = file(root.path(), "s", "#!/bin/sh\n", 0o755);
    let opened = open(&path).unwrap();
    file(root.path(), "other", "#!/bin/false\n", 0o755);
    std::fs::rename(root.path().join("other"), &path).unwrap();
    let mut first = [0; 9];
    opened.file().read_exact_at(&mut first, 0).unwrap();
    assert_eq!(&first, b"#!/bin/sh");
}
