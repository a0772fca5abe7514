//! Launches of real programs and scripts, seen from inside them, and every way they fail.

use super::super::executable::open;
use super::super::process::{ExitStatus, Signal};
use super::super::testing::{
    DEADLINE, alone, elf_that_names, ended, eventually, file, finish, folder, patiently, script,
    spawn_patiently,
};
use super::*;
use std::collections::BTreeSet;
use std::path::Path;

const OK: ExitStatus = ExitStatus::Code(0);

fn spawn(spec: &SpawnSpec<'_>) -> Result<Spawned, SpawnError> {
    super::spawn(spec, &PidfdSlot::default())
}

/// Launches it where the kernel and this process are said to be such.
fn spawn_patiently_with(spec: &SpawnSpec<'_>, host: (bool, &str)) -> Spawned {
    let launch = || spawn_with(spec, None, &PidfdSlot::default(), host);
    patiently(|| launch().map_err(|failure| failed(spec, failure))).unwrap()
}

/// Runs a shell script to its end, with the given environment.
fn run(body: &str, env: &[(OsString, OsString)]) -> (String, String, ExitStatus) {
    let root = folder();
    let executable = open(&script(root.path(), body)).unwrap();
    finish(spawn_patiently(&SpawnSpec { env, ..SpawnSpec::new(&executable) }).unwrap())
}

/// A system program, copied: the system's own may be a link, or of an owner that is not ours.
fn program(folder: &Path, name: &str) -> Executable {
    let bytes = std::fs::read(format!("/bin/{name}")).unwrap();
    open(&file(folder, name, bytes, 0o755)).unwrap()
}

fn fails(executable: &Executable) -> SpawnError {
    spawn_patiently(&SpawnSpec::new(executable)).unwrap_err()
}

#[test]
fn a_script_is_given_its_arguments_and_reads_itself() {
    let root = folder();
    let body = "echo \"$0 $# $1 $2\"; echo mistake >&2; exit 7\n# the last line";
    let executable = open(&script(root.path(), body)).unwrap();
    // What was opened runs, whatever the path leads to by now.
    std::fs::remove_file(executable.path()).unwrap();
    let args = ["one".into(), "two words".into()];
    let spawned = spawn_patiently(&SpawnSpec { args: &args, ..SpawnSpec::new(&executable) }).unwrap();
    let (stdout, stderr, status) = finish(spawned);
    assert_eq!(stdout, "/dev/fd/3 2 one two words\n");
    assert_eq!(stderr, "mistake\n");
    assert_eq!(status, ExitStatus::Code(7));
    let (stdout, ..) = run("tail -n 1 < /dev/fd/3 # found", &[]);
    assert!(stdout.ends_with("# found\n"), "{stdout:?}");
}

#[test]
fn a_channel_is_descriptor_3_or_stdin_and_stdout_and_a_script_comes_after_it() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    let root = folder();
    let script = open(&script(root.path(), "echo $0 >&2; read line <&3; echo \"$line back\" >&3")).unwrap();
    let shell = program(root.path(), "sh");
    let args = ["-c".into(), "read line; echo $line back; echo quiet >&2".into()];
    for (as_stdio, expected) in [(false, "/dev/fd/4\n"), (true, "quiet\n")] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let spec = match as_stdio {
            false => SpawnSpec { channel: Channel::Descriptor(theirs.as_fd()), ..SpawnSpec::new(&script) },
            true => {
                SpawnSpec { channel: Channel::Stdio(theirs.as_fd()), args: &args, ..SpawnSpec::new(&shell) }
            }
        };
        let mut spawned = spawn_patiently(&spec).unwrap();
        assert_eq!(spawned.stdout.is_none(), as_stdio);
        // Its copies are the only ones left, so its end is the end of the stream.
        drop(theirs);
        ours.write_all(b"there\n").unwrap();
        let mut answer = String::new();
        ours.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "there back\n");
        let mut stderr = String::new();
        let pipe = spawned.stderr.take().unwrap();
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        std::fs::File::from(pipe).read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, expected);
        assert!(spawned.child.wait_exit(DEADLINE).unwrap());
        assert_eq!(spawned.child.reap().unwrap(), Some(OK));
    }
}

#[test]
fn a_program_sees_its_name_and_the_same_executable_serves_many_times() {
    let root = folder();
    let executable = program(root.path(), "sh");
    let args = ["-c".into(), "echo $0; cat /proc/$$/cmdline | tr '\\0' '\\n' | head -n 1".into()];
    for _ in 0..3 {
        let spec = SpawnSpec { arg0: OsStr::new("my name"), args: &args, ..SpawnSpec::new(&executable) };
        let (stdout, stderr, status) = finish(spawn_patiently(&spec).unwrap());
        assert_eq!((stdout.as_str(), stderr.as_str(), status), ("my name\nmy name\n", "", OK));
    }
}

#[test]
fn the_environment_is_exactly_what_is_given() {
    let root = folder();
    let executable = program(root.path(), "env");
    let env = [("B".into(), "2 = two".into()), ("A".into(), "".into())];
    let spec = SpawnSpec { env: &env, ..SpawnSpec::new(&executable) };
    assert_eq!(finish(spawn_patiently(&spec).unwrap()).0, "B=2 = two\nA=\n");
    assert_eq!(finish(spawn_patiently(&SpawnSpec::new(&executable)).unwrap()).0, "");
}

#[test]
fn it_leads_a_session_of_its_own_in_the_root_folder_with_a_private_umask() {
    let (stdout, stderr, status) = run("cut -d' ' -f1,5,6,7 /proc/$$/stat; pwd; umask", &[]);
    let lines: Vec<&str> = stdout.lines().collect();
    let [ids, folder, umask] = lines[..] else { panic!("{stdout:?} {stderr:?}") };
    let ids: Vec<&str> = ids.split(' ').collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "pid, group, session: {ids:?}");
    assert_eq!(ids[3], "0", "it has a controlling terminal");
    assert_eq!((folder, umask.trim_start_matches('0'), status), ("/", "77", OK));
}

#[test]
fn it_starts_in_the_folder_that_was_opened_whatever_the_path_leads_to() {
    let root = folder();
    let path = root.path().join("here");
    std::fs::create_dir(&path).unwrap();
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = nix::fcntl::open(&path, flags, Mode::empty()).unwrap();
    std::fs::rename(&path, root.path().join("there")).unwrap();
    let executable = open(&script(root.path(), "pwd -P; ls -l /proc/self/fd")).unwrap();
    let environment = [("PATH".into(), std::env::var_os("PATH").unwrap())];
    let working_folder = Some(opened.as_fd());
    let spec = SpawnSpec { env: &environment, working_folder, ..SpawnSpec::new(&executable) };
    let (stdout, ..) = finish(spawn_patiently(&spec).unwrap());
    let (there, rest) = stdout.split_once('\n').unwrap();
    assert!(there.ends_with("/there"), "{there}");
    assert!(rest.contains("/proc") && !rest.contains("/there"), "the folder itself is not given: {rest}");
}

#[test]
fn stdin_is_empty_and_no_descriptor_is_left_open() {
    // A descriptor of an embedding program that is not close-on-exec.
    let careless = std::fs::File::open("/dev/zero").unwrap();
    fcntl(&careless, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    let root = folder();
    let executable = program(root.path(), "ls");
    let script = open(&script(root.path(), "exec ls -1 /proc/self/fd")).unwrap();
    let args = ["-1".into(), "/proc/self/fd".into()];
    for close_range in [true, false] {
        let list = |spec: &SpawnSpec<'_>| {
            let (stdout, stderr, status) = finish(spawn_patiently_with(spec, (close_range, "0")));
            assert_eq!((stderr.as_str(), status), ("", OK));
            stdout.lines().map(|line| line.parse().unwrap()).collect::<BTreeSet<u32>>()
        };
        // The one descriptor more is what `ls` itself has open on the folder.
        let seen = list(&SpawnSpec { args: &args, ..SpawnSpec::new(&executable) });
        assert_eq!(seen, BTreeSet::from([0, 1, 2, 3]), "close_range: {close_range}");
        assert_eq!(
            list(&SpawnSpec::new(&script)),
            BTreeSet::from([0, 1, 2, 3, 4]),
            "close_range: {close_range}"
        );
    }
    assert_eq!(run("cat; readlink /proc/self/fd/0", &[]).0, "/dev/null\n");
}

#[test]
fn every_signal_is_unblocked_and_has_its_default_action() {
    // This test program ignores SIGPIPE, as Rust programs do, and here blocks some signals too.
    let mut blocked = nix::sys::signal::SigSet::empty();
    blocked.add(Signal::SIGTERM);
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().unwrap();
    let root = folder();
    let executable = program(root.path(), "cat");
    let args = ["/proc/self/status".into()];
    let spec = SpawnSpec { args: &args, ..SpawnSpec::new(&executable) };
    let (stdout, _, status) = finish(spawn_patiently(&spec).unwrap());
    let still_blocked = nix::sys::signal::SigSet::thread_get_mask().unwrap();
    blocked.thread_unblock().unwrap();
    assert_eq!(status, OK);
    for field in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(stdout.contains(&format!("\n{field}:\t0000000000000000\n")), "{stdout}");
    }
    assert!(still_blocked.contains(Signal::SIGTERM) && !still_blocked.contains(Signal::SIGINT));
}

#[test]
fn it_dies_with_the_thread_that_launched_it() {
    let root = folder();
    let executable = open(&script(root.path(), "trap '' TERM HUP; while :; do sleep 1000; done")).unwrap();
    let launch = || spawn_patiently(&SpawnSpec::new(&executable)).unwrap().child;
    let mut child = std::thread::scope(|scope| scope.spawn(launch).join().unwrap());
    assert_eq!(ended(&mut child), ExitStatus::Signal { signal: libc::SIGKILL, core_dumped: false });
}

#[test]
fn failures_to_execute_say_what_is_wrong() {
    let root = folder();
    let arch = std::env::consts::ARCH;
    let foreign = {
        let mut header = vec![0; 64];
        header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        header[18] = 0xfe;
        header
    };
    let cases: [(&str, &[u8], Errno, &str); 6] = [
        ("text", b"echo hello\n", Errno::ENOEXEC, "begins with a line such as `#!/bin/sh`"),
        ("empty", b"", Errno::ENOEXEC, "neither a program for this machine nor a script"),
        ("foreign", &foreign, Errno::ENOEXEC, arch),
        ("missing", b"#!/no/such/interpreter -x\n", Errno::ENOENT, "/no/such/interpreter does not exist"),
        ("dos", b"#!/bin/sh\r\necho\r\n", Errno::ENOENT, "carriage return"),
        ("nameless", b"#!\n", Errno::ENOEXEC, "names no interpreter"),
    ];
    for (name, content, errno, words) in cases {
        let path = file(root.path(), name, content, 0o755);
        let error = fails(&open(&path).unwrap());
        assert_eq!((error.step, error.errno), (SpawnStep::Execute, errno as i32), "{name}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("\"execute it\"") && text.contains(&format!("{errno:?}")), "{text}");
    }
}

#[test]
fn a_missing_loader_is_named_as_such() {
    let root = folder();
    let mut bytes = std::fs::read("/bin/sh").unwrap();
    let loader = b"/ld-";
    let Some(at) = bytes.windows(loader.len()).position(|window| window == loader) else { return };
    bytes[at + 1] = b'X';
    let error = fails(&open(&file(root.path(), "sh", bytes, 0o755)).unwrap());
    assert_eq!((error.errno, error.is_permanent()), (libc::ENOENT, true));
    let text = error.to_string();
    assert!(text.contains("the loader it was linked for, /") && text.contains("Xd-"), "{text}");
}

#[test]
fn a_loader_of_another_architecture_is_named_as_such() {
    let root = folder();
    let sh = std::fs::read("/bin/sh").unwrap();
    // Its own machine, and another of the same layout.
    let machine = u16::from_le_bytes([sh[18], sh[19]]);
    let loader = file(root.path(), "loader", elf_that_names("/x", true, true, machine ^ 0xff), 0o755);
    let own = elf_that_names(loader.to_str().unwrap(), true, true, machine);
    let (is_64_bit, is_little_endian) = (sh[4] == 2, sh[5] == 1);
    if !is_64_bit || !is_little_endian {
        return; // The bytes above are for such a machine.
    }
    let program = file(root.path(), "program", own, 0o755);
    let error = fails(&open(&program).unwrap());
    assert_eq!((error.errno, error.is_permanent()), (libc::ELIBBAD, true), "{error}");
    let text = error.to_string();
    assert!(text.contains(loader.to_str().unwrap()) && text.contains("is not one for"), "{text}");
    // The same of an interpreter's.
    let script = file(root.path(), "script", format!("#!{}\n", program.display()), 0o755);
    let error = fails(&open(&script).unwrap());
    assert_eq!((error.errno, error.is_permanent()), (libc::ELIBBAD, true), "{error}");
    assert!(error.to_string().contains("the loader that its interpreter"), "{error}");
    // Nobody but the kernel knows what runs a file of another kind.
    let error = SpawnError { errno: libc::ENOENT, format: Format::Other, ..error };
    assert!(!error.is_permanent());
}

#[test]
fn a_file_open_for_writing_is_busy_until_it_is_closed() {
    let root = folder();
    let path = script(root.path(), "exit 5");
    let writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    let executable = open(&path).unwrap();
    let error = spawn(&SpawnSpec::new(&executable)).unwrap_err();
    assert!(error.is_text_busy());
    assert!(error.to_string().contains("open for writing"), "{error}");
    drop(writer);
    let (.., status) = finish(spawn_patiently(&SpawnSpec::new(&executable)).unwrap());
    assert_eq!(status, ExitStatus::Code(5));
}

#[test]
fn what_cannot_be_passed_on_is_refused() {
    let root = folder();
    let executable = open(&script(root.path(), "exit")).unwrap();
    let spec = SpawnSpec::new(&executable);
    let bad_env: [(OsString, OsString); 4] = [
        ("".into(), "x".into()),
        ("A=B".into(), "x".into()),
        ("A\0".into(), "x".into()),
        ("A".into(), "\0".into()),
    ];
    for entry in bad_env.chunks(1) {
        let error = spawn(&SpawnSpec { env: entry, ..spec.clone() }).unwrap_err();
        assert_eq!(error.step, SpawnStep::Arguments, "{entry:?}");
    }
    let error = spawn(&SpawnSpec { args: &["\0".into()], ..spec.clone() }).unwrap_err();
    assert_eq!(error.step, SpawnStep::Arguments);
    let no_folder = std::fs::File::open(executable.path()).unwrap();
    let error = spawn(&SpawnSpec { working_folder: Some(no_folder.as_fd()), ..spec.clone() }).unwrap_err();
    assert_eq!((error.step, error.errno), (SpawnStep::WorkingFolder, libc::ENOTDIR));
    assert!(error.to_string().contains("its working folder cannot be entered"), "{error}");
    let huge = ["x".repeat(8 * 1024 * 1024).into()];
    let error = spawn_patiently(&SpawnSpec { args: &huge, ..spec }).unwrap_err();
    assert_eq!((error.step, error.errno), (SpawnStep::Execute, libc::E2BIG));
}

#[test]
fn output_is_inherited_where_that_is_asked_for() {
    let root = folder();
    let seen = root.path().join("seen");
    let text = format!("(readlink /proc/$$/fd/1; readlink /proc/$$/fd/2) > {}\nexit 0", seen.display());
    let executable = open(&script(root.path(), &text)).unwrap();
    let spec = SpawnSpec { inherit_output: true, ..SpawnSpec::new(&executable) };
    let spawned = spawn_patiently(&spec).unwrap();
    assert!(spawned.stdout.is_none() && spawned.stderr.is_none());
    assert_eq!(finish(spawned).2, OK);
    let own = [1, 2].map(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap());
    let seen = std::fs::read_to_string(seen).unwrap();
    assert_eq!(seen.lines().collect::<Vec<_>>(), own.each_ref().map(|path| path.to_str().unwrap()));
}

#[test]
fn our_ends_of_the_pipes_do_not_block() {
    let root = folder();
    let executable = open(&script(root.path(), "exec sleep 1000")).unwrap();
    let spawned = spawn_patiently(&SpawnSpec::new(&executable)).unwrap();
    for fd in [&spawned.stdout, &spawned.stderr].map(|fd| fd.as_ref().unwrap()) {
        assert_eq!(nix::unistd::read(fd, &mut [0]).unwrap_err(), Errno::EAGAIN);
        assert_eq!(fcntl(fd, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    }
    assert_eq!(fcntl(spawned.child.as_fd(), FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
}

#[test]
fn many_threads_launch_at_once_and_nothing_is_left() {
    let root = folder();
    let good = open(&script(root.path(), "echo out; echo err >&2; exit $1")).unwrap();
    let bad = open(&file(root.path(), "bad", "#!/no/such/interpreter\n", 0o755)).unwrap();
    let pids = std::thread::scope(|scope| {
        let launches = (0..4).map(|thread| {
            let (good, bad) = (&good, &bad);
            scope.spawn(move || {
                let mut pids = Vec::new();
                for round in 0..50 {
                    let code = (thread * 50 + round) % 256;
                    let args = [code.to_string().into()];
                    let spawned =
                        spawn_patiently(&SpawnSpec { args: &args, ..SpawnSpec::new(good) }).unwrap();
                    pids.push(spawned.child.pid());
                    let (stdout, stderr, status) = finish(spawned);
                    assert_eq!((stdout.as_str(), stderr.as_str()), ("out\n", "err\n"));
                    assert_eq!(status, ExitStatus::Code(code));
                    assert_eq!(fails(bad).errno, libc::ENOENT);
                }
                pids
            })
        });
        let launches: Vec<_> = launches.collect();
        launches.into_iter().flat_map(|launch| launch.join().unwrap()).collect::<Vec<u32>>()
    });
    assert_eq!(pids.len(), 200);
    let own = std::process::id().to_string();
    let is_our_zombie = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next() == Some("Z") && fields.next() == Some(own.as_str())
    };
    eventually("no zombie is left", || !pids.iter().any(is_our_zombie));
}

/// Runs this very test alone in a process of its own, with an environment variable that says so.
fn in_own_process(test: &str) -> bool {
    const VARIABLE: &str = "RPS_TEST_IN_OWN_PROCESS";
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    // With descriptor 3 closed, whoever runs the tests.
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" 3>&-"]).arg(std::env::current_exe().unwrap());
    command.args([&format!("sys::spawn::tests::{test}"), "--exact", "--test-threads=1"]).env(VARIABLE, "1");
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
    false
}

#[test]
fn a_host_without_stdin_or_descriptor_3_launches_all_the_same() {
    if !in_own_process("a_host_without_stdin_or_descriptor_3_launches_all_the_same") {
        return;
    }
    // Low numbers, now free, are what the pipes and files of the launch are given.
    nix::unistd::close(0).unwrap();
    let lowest = [(); 2].map(|()| std::fs::File::open("/dev/null").unwrap());
    assert_eq!(lowest.map(|file| file.as_raw_fd()), [0, 3]);
    for _ in 0..3 {
        let (stdout, stderr, status) = run("readlink /proc/self/fd/0; echo err >&2; exit 4", &[]);
        let expected = ("/dev/null\n", "err\n", ExitStatus::Code(4));
        assert_eq!((stdout.as_str(), stderr.as_str(), status), expected);
    }
}

#[test]
fn a_host_that_discards_exit_statuses_is_told_to_keep_them() {
    alone(|| {
        raw::ignore_sigchld();
        let root = folder();
        let executable = open(&script(root.path(), "exit 6")).unwrap();
        let error = spawn(&SpawnSpec::new(&executable)).unwrap_err();
        assert!(error.to_string().contains("ignores SIGCHLD"), "{error}");
        super::super::process::keep_exit_statuses().unwrap();
        let mut spawned = spawn(&SpawnSpec::new(&executable)).unwrap();
        assert!(spawned.child.wait_exit(DEADLINE).unwrap());
        assert_eq!(ended(&mut spawned.child), ExitStatus::Code(6));
    });
}

#[test]
fn a_program_reads_what_it_is_given() {
    let root = folder();
    let body = "IFS= read -r line; echo \"read $line\"; IFS= read -r line; echo \"then $line\"";
    let executable = open(&script(root.path(), body)).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let spawned = patiently(|| {
        let stdin = reader.try_clone().unwrap().into();
        spawn_reading(&SpawnSpec::new(&executable), stdin, &PidfdSlot::default())
    });
    drop(reader);
    std::io::Write::write_all(&mut writer, b"a line\nand more").unwrap();
    drop(writer);
    let (stdout, _, status) = finish(spawned.unwrap());
    assert_eq!((stdout.as_str(), status), ("read a line\nthen and more\n", OK));
}

/// Concerns the whole process, so it runs in a process of its own.
#[test]
fn what_the_daemon_has_for_itself_is_not_inherited() {
    alone(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        nix::sys::resource::setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
        super::super::limits::raise_descriptor_limit().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (hard, hard));
        let root = folder();
        let body = "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj";
        let executable = open(&script(root.path(), body)).unwrap();
        let environment = [("PATH".into(), std::env::var_os("PATH").unwrap())];
        let spec = SpawnSpec { env: &environment, ..SpawnSpec::new(&executable) };
        let hard = if hard == u64::MAX { "unlimited".to_owned() } else { hard.to_string() };
        let expect = |adjustment: &str, of_plugin: &str| {
            let (printed, ..) = finish(spawn_patiently_with(&spec, (true, adjustment)));
            assert_eq!(printed, format!("200\n{hard}\n{of_plugin}\n"), "{adjustment:?}");
        };
        // Whoever gives itself up to the killer hands that on.
        std::fs::write("/proc/self/oom_score_adj", "300").unwrap();
        assert_eq!(oom_score_adj(&mut [0; 16]).trim(), "300");
        expect(oom_score_adj(&mut [0; 16]), "300");
        // A protection is not handed on. That of another process, as not every host lets even root protect itself.
        expect("-500\n", "0");
    });
}

/// What languages' runtimes do when they start, and threads and children of theirs, goes on under the base. Those that are here
/// are tried.
#[cfg(feature = "confine")]
#[test]
fn programs_of_many_languages_run_under_the_base() {
    let base = crate::confine::base_filter().unwrap();
    let python = "import threading, subprocess, asyncio, ssl, socket
t = threading.Thread(target=lambda: print('thread')); t.start(); t.join()
print(subprocess.run(['echo', 'child'], stdout=subprocess.PIPE, text=True).stdout.strip())
print(asyncio.run(asyncio.sleep(0, 'loop')))";
    let node = "new (require('worker_threads').Worker)('console.log(\"thread\")', {eval: true}).on('exit', () => \
                console.log(require('child_process').execSync('echo child') + 'loop'))";
    let perl = "print \"thread\\n\"; print `echo child`; print \"loop\\n\"";
    let shell = "echo thread; echo child | cat; echo loop";
    let programs =
        [("sh", "-c", shell), ("python3", "-c", python), ("node", "-e", node), ("perl", "-e", perl)];
    let root = folder();
    let env = [("PATH".into(), std::env::var_os("PATH").unwrap()), ("HOME".into(), root.path().into())];
    let mut tried = 0;
    for (name, flag, text) in programs {
        let body = format!("exec {name} {flag} \"$1\"");
        let executable = open(&script(root.path(), &body)).unwrap();
        let args = [OsString::from(text)];
        let run = |filter| {
            finish(
                spawn_patiently(&SpawnSpec { args: &args, env: &env, filter, ..SpawnSpec::new(&executable) })
                    .unwrap(),
            )
        };
        if run(None).2 != OK {
            eprintln!("{name} is not here");
            continue;
        }
        let (stdout, stderr, status) = run(Some(base.instructions()));
        assert_eq!((&*stdout, status), ("thread\nchild\nloop\n", OK), "{name}: {stderr}");
        tried += 1;
    }
    assert!(tried > 0, "a shell is everywhere");
}

/// The filter goes along with what the program starts, which gains nothing by a set-id bit either.
#[cfg(feature = "confine")]
#[test]
fn what_a_confined_program_starts_is_confined_too() {
    let base = crate::confine::base_filter().unwrap();
    let root = folder();
    let body = "sh -c 'grep -E \"^(NoNewPrivs|Seccomp):\" /proc/self/status'";
    let executable = open(&script(root.path(), body)).unwrap();
    let env = [("PATH".into(), std::env::var_os("PATH").unwrap())];
    let run = |filter| {
        finish(spawn_patiently(&SpawnSpec { env: &env, filter, ..SpawnSpec::new(&executable) }).unwrap()).0
    };
    assert_eq!(run(Some(base.instructions())), "NoNewPrivs:\t1\nSeccomp:\t2\n");
    assert!(run(None).starts_with("NoNewPrivs:\t"));
}
