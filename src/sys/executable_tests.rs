//! What may be executed and what may not, on real files of every kind.

use super::super::testing::{chmod, file, folder, set_capabilities, subfolder};
use super::super::writable::WritablePath;
use super::*;
use ExecutableProblem as P;
use nix::sys::stat::Mode;
use std::os::unix::fs::{FileExt, symlink};

/// Opens it where no group is anybody's private one.
fn open_strictly(path: &Path) -> Result<Executable, ExecutableError> {
    let trust = Trust::with_groups(|_, _| false);
    open_as(path, trust).map_err(|problem| ExecutableError { path: path.to_owned(), problem })
}

/// A file of ours that others can write to.
fn writable(path: &Path, mode: u32) -> P {
    let mut paths = WritablePaths::default();
    let owner = nix::unistd::geteuid().as_raw();
    paths.add(WritablePath { path: path.to_owned(), mode, owner, is_shared: false });
    P::Writable(paths)
}

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
    let program = file(root.path(), "p", std::fs::read("/bin/sh").unwrap(), 0o755);
    assert!(matches!(open(&program).unwrap().format(), Format::Elf(_)));
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

/// What is wrong with the last interpreter, and which that is.
fn interpreter_problem(path: &Path) -> (PathBuf, P) {
    let mut problem = open_strictly(path).unwrap_err().problem;
    let mut last = None;
    while let P::Interpreter(path, inner) = problem {
        (last, problem) = (Some(path), *inner);
    }
    (last.expect("an interpreter is at fault"), problem)
}

#[test]
fn an_interpreter_is_checked_as_the_executable_is_along_the_whole_chain() {
    let root = folder();
    let sh = std::fs::read("/bin/sh").unwrap();
    let interpreter = file(root.path(), "interpreter", &sh, 0o755);
    let direct = file(root.path(), "direct", format!("#!{} -e\n", interpreter.display()), 0o755);
    let middle = file(root.path(), "middle", format!("#!{}\n", interpreter.display()), 0o755);
    let second = file(root.path(), "second", format!("#!{}\n", middle.display()), 0o755);
    let link = root.path().join("link");
    symlink(&interpreter, &link).unwrap();
    let linked = file(root.path(), "linked", format!("#!{}\n", link.display()), 0o755);
    for path in [&direct, &middle, &second, &linked] {
        open(path).unwrap();
    }
    let owner = nix::unistd::geteuid().as_raw();
    for (mode, expected) in [
        (0o775, writable(&interpreter, 0o775)),
        (0o757, writable(&interpreter, 0o757)),
        (0o4755, P::SetId(0o4755, owner)),
        (0o2755, P::SetId(0o2755, owner)),
        (0o644, P::NotExecutable(0o644, owner)),
    ] {
        chmod(&interpreter, mode);
        for path in [&direct, &middle, &second] {
            assert_eq!(interpreter_problem(path), (interpreter.clone(), expected.clone()));
        }
        assert_eq!(interpreter_problem(&linked), (link.clone(), expected));
        let text = open_strictly(&second).unwrap_err().to_string();
        let named = format!("its interpreter {} is a script, and its interpreter", middle.display());
        assert!(text.contains(&named) && text.contains("chmod"), "{text}");
    }
    chmod(&interpreter, 0o755);
    if nix::unistd::geteuid().is_root() && nix::unistd::chown(&interpreter, Some(12345.into()), None).is_ok()
    {
        assert_eq!(interpreter_problem(&second).1, P::Owner(12345, 0));
    }
}

#[test]
fn the_way_to_an_interpreter_is_checked_too() {
    let root = folder();
    let open_folder = subfolder(&root.path().join("open"));
    let interpreter = file(&open_folder, "sh", std::fs::read("/bin/sh").unwrap(), 0o755);
    let link = root.path().join("link");
    symlink("open/sh", &link).unwrap();
    let direct = file(root.path(), "direct", format!("#!{}\n", interpreter.display()), 0o755);
    let linked = file(root.path(), "linked", format!("#!{}\n", link.display()), 0o755);
    chmod(&open_folder, 0o777);
    for path in [&direct, &linked] {
        assert!(matches!(interpreter_problem(path).1, P::Folder(error) if error.path == open_folder));
    }
    chmod(&open_folder, 0o1777);
    for path in [&direct, &linked] {
        open(path).unwrap();
    }
    let relative = file(root.path(), "relative", "#!sh\n", 0o755);
    assert_eq!(interpreter_problem(&relative), ("sh".into(), P::NotAbsolute));
    let folder_named = file(root.path(), "folder", format!("#!{}\n", open_folder.display()), 0o755);
    assert_eq!(interpreter_problem(&folder_named).1, P::NotAFile("a folder"));
    // The launch says what is missing, and that they go in a circle.
    open(&file(root.path(), "missing", format!("#!{}/none/sh\n", root.path().display()), 0o755)).unwrap();
    for (name, other) in [("one", "other"), ("other", "one")] {
        file(root.path(), name, format!("#!{}\n", root.path().join(other).display()), 0o755);
    }
    open(&root.path().join("one")).unwrap();
}

#[test]
fn what_others_can_change_is_refused() {
    let root = folder();
    for mode in [0o775, 0o757, 0o777, 0o720, 0o702] {
        let path = file(root.path(), "s", "#!/bin/sh\n", mode);
        let error = open_strictly(&path).unwrap_err();
        assert_eq!(error.problem, writable(&path, mode));
        let text = error.to_string();
        let advice = format!("chmod go-w {}`", path.display());
        assert!(text.contains(&format!("mode {mode:04o}")) && text.contains(&advice), "{text}");
    }
}

#[test]
fn all_that_others_can_change_is_told_at_once_and_the_command_mends_it() {
    let root = folder();
    let inner = subfolder(&root.path().join("target/with space"));
    let path = file(&inner, "s", "#!/bin/sh\n", 0o775);
    for open_folder in [&inner, inner.parent().unwrap()] {
        chmod(open_folder, 0o775);
    }
    let text = open_strictly(&path).unwrap_err().to_string();
    assert_eq!(text.matches("(mode 0775, owner uid ").count(), 3, "{text}");
    let command = text.split('`').nth(1).unwrap();
    assert!(std::process::Command::new("/bin/sh").args(["-c", command]).status().unwrap().success());
    open_strictly(&path).unwrap();
}

#[test]
fn what_only_the_owners_private_group_can_change_is_opened() {
    let private = Trust::with_groups(|owner, gid| {
        owner == nix::unistd::geteuid().as_raw() && gid == nix::unistd::getegid().as_raw()
    });
    let root = folder();
    let inner = subfolder(&root.path().join("target/debug"));
    let interpreter = file(&inner, "sh", std::fs::read("/bin/sh").unwrap(), 0o775);
    let path = file(&inner, "s", format!("#!{}\n", interpreter.display()), 0o775);
    chmod(&inner, 0o775);
    assert!(open_strictly(&path).is_err());
    open_as(&path, private).unwrap();
    for (mode, of_folder) in [(0o777, 0o775), (0o775, 0o777)] {
        chmod(&path, mode);
        chmod(&inner, of_folder);
        assert!(open_as(&path, private).is_err(), "others: {mode:o} {of_folder:o}");
    }
    chmod(&inner, 0o775);
    chmod(&path, 0o2775);
    assert!(matches!(open_as(&path, private), Err(P::SetId(..))));
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
        let shared = format!("{} is shared with other users", open_folder.display());
        assert!(error.to_string().contains(&shared) && !error.to_string().contains("chmod"), "{error}");
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
    opened.file.read_exact_at(&mut first, 0).unwrap();
    assert_eq!(&first, b"#!/bin/sh");
}

#[test]
fn capabilities_of_the_last_file_of_the_chain_are_told() {
    let root = folder();
    let sh = std::fs::read("/bin/sh").unwrap();
    let interpreter = file(root.path(), "interpreter", &sh, 0o755);
    let program = file(root.path(), "program", &sh, 0o755);
    let middle = file(root.path(), "middle", format!("#!{}\n", interpreter.display()), 0o755);
    let script = file(root.path(), "script", format!("#!{}\n", middle.display()), 0o755);
    let told = |path: &Path| open(path).unwrap().has_capabilities();
    assert!(![&program, &interpreter, &middle, &script].into_iter().any(|path| told(path)));
    if ![&program, &middle].into_iter().all(|path| set_capabilities(path)) {
        return eprintln!("skipped: this user, or file system, cannot give files capabilities");
    }
    assert!(told(&program));
    assert!(!told(&middle) && !told(&script), "the kernel takes none from a script");
    assert!(set_capabilities(&interpreter));
    assert!(told(&interpreter) && told(&middle) && told(&script));
}

/// What cannot be read cannot be traced (ptrace(2)), and the kernel does not tell its environment.
#[test]
fn what_may_be_executed_and_not_read_is_refused() {
    let root = folder();
    chmod(root.path(), 0o755);
    let path = file(root.path(), "program", std::fs::read("/bin/sh").unwrap(), 0o711);
    let script = file(root.path(), "script", format!("#!{}\n", path.display()), 0o755);
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        chmod(&path, 0o311);
    }
    let run = move || {
        // Of this thread only: root may read everything.
        if is_root {
            nix::unistd::setfsuid(12345.into());
        }
        std::fs::read(&path).err().map(|_| (path.clone(), open(&path), open(&script)))
    };
    let Some((path, direct, as_interpreter)) = std::thread::spawn(run).join().unwrap() else {
        return eprintln!("skipped: this user may read every file");
    };
    let error = direct.unwrap_err();
    assert_eq!(error.problem, P::System(Errno::EACCES));
    let advice =
        format!("cannot be opened for reading: permission denied; run `chmod a+r {}`", path.display());
    assert!(error.to_string().contains(&advice), "{error}");
    assert_eq!(as_interpreter.unwrap_err().problem, P::Interpreter(path, Box::new(P::System(Errno::EACCES))));
}
