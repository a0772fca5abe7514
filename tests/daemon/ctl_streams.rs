//! `rpcpluginctl call --input` and `--output`, and the same in `dev`: files and standard streams to and from a plugin.
//!
//! The plugin is that of the example `streaming`, which keeps files in its working folder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::daemon::{Daemon, Ran, bare, run};
use crate::fixtures::world::{World, built, eventually, signal};
use nix::sys::signal::Signal;
use rpc_plugin_interface::scm;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

const MIB: usize = 1 << 20;
const STREAM_IN: &str = r#"{"name":"kept","content":{"$stream":"input"}}"#;
const STREAM_OUT: &str = r#"{"name":"kept","into":{"$stream":"output"}}"#;

struct Setting {
    daemon: Daemon,
    world: World,
}

/// A daemon with the plugin, which is connected in this way.
fn setting(transport: &str) -> Setting {
    let world = World::new();
    let config = json!({"plugins": {"files": {
        "executable": world.program("streaming-plugin"), "transport": transport, "working_dir": world.path(),
    }}});
    let path = world.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    let daemon = Daemon::start(&world, &["--config", path.to_str().unwrap()]);
    daemon.wait_for("files", "healthy");
    Setting { daemon, world }
}

impl Setting {
    fn path(&self, name: &str) -> PathBuf {
        self.world.path().join(name)
    }

    /// A file of so many bytes, each at its place.
    fn file(&self, name: &str, bytes: usize) -> Vec<u8> {
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        std::fs::write(self.path(name), &content).unwrap();
        content
    }

    /// `call files METHOD WORDS`, in the world's folder.
    fn call(&self, words: &[&str]) -> Command {
        let mut command = bare(&built("rpcpluginctl"));
        command.args(["call", "files"]).args(words).arg("--timeout=60s");
        command.arg("--runtime-dir").arg(&self.daemon.runtime_dir).current_dir(self.world.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn ran(&self, words: &[&str]) -> Ran {
        run(&mut self.call(words))
    }

    /// That the plugin is the one that was launched first, and serves.
    fn is_unharmed(&self) {
        let plugin = self.daemon.json(&["plugin", "files"]);
        assert_eq!((&plugin["generation"], &plugin["state"]), (&json!(1), &json!("healthy")));
        eventually("no call is left", || {
            (self.daemon.json(&["plugin", "files"])["calls_in_flight"] == 0).then_some(())
        });
    }
}

/// Most memory that a process ever had. KiB.
fn peak_kib(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn files_go_in_and_come_out_as_streams_and_as_blobs() {
    for (transport, mib) in [("unix", 24), ("stdio", 1)] {
        let setting = setting(transport);
        let content = setting.file("source", mib * MIB);
        let before = peak_kib(setting.daemon.pid());
        let ran = setting.ran(&["files.upload", STREAM_IN, "--input", "source"]);
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{transport}");
        assert!(ran.stdout.contains(&format!("\"bytes\":{}", content.len())), "{ran:?}");
        for (method, params) in [
            ("files.download", STREAM_OUT),
            ("files.fetch", r#"{"name":"kept"}"#),
            ("files.whole", r#"{"name":"kept"}"#),
        ] {
            // What is there is replaced as a whole, however long it was.
            setting.file("back", mib * MIB + 7);
            let ran = setting.ran(&[method, params, "--output", "back"]);
            assert_eq!((ran.code, &*ran.stderr), (0, ""), "{transport} {method}: {}", ran.stdout);
            assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok(), "{}", ran.stdout);
            assert!(std::fs::read(setting.path("back")).unwrap() == content, "{transport} {method}");
        }
        let ran = setting.ran(&["files.sum", r#"{"memory":{"$blob":"input"}}"#, "--input=back"]);
        assert!(ran.stdout.contains(&format!("\"bytes\":{}", content.len())), "{transport}: {ran:?}");
        let more = peak_kib(setting.daemon.pid()).saturating_sub(before);
        assert!(more < 16 * 1024, "{transport}: the daemon took {more} KiB more");
        setting.is_unharmed();
    }
}

#[test]
fn standard_input_and_output_are_streams_in_little_memory() {
    let setting = setting("unix");
    let content = setting.file("source", 64 * MIB);
    // With less memory for data than the file has bytes.
    let limited = |words: &[&str]| {
        let plain = setting.call(words);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -d 40000 && exec \"$0\" \"$@\""]).arg(plain.get_program());
        command.args(plain.get_args()).current_dir(setting.world.path()).stderr(Stdio::piped());
        command
    };
    let mut command = limited(&["files.upload", STREAM_IN, "--input", "-"]);
    let ran = run(command.stdin(File::open(setting.path("source")).unwrap()));
    assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
    for words in [
        &["files.download", STREAM_OUT, "--output", "-"][..],
        &["files.fetch", r#"{"name":"kept"}"#, "--output=-"],
        &["files.whole", r#"{"name":"kept"}"#, "--output=-"],
    ] {
        let mut child = limited(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut came = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut came).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success() && came == content, "{words:?}: {said}");
        assert!(serde_json::from_str::<Value>(&said).is_ok(), "the result is on standard error: {said}");
    }
    // Also from a pipe into a blob.
    let mut command = setting.call(&["files.sum", r#"{"memory":{"$blob":"input"}}"#, "--input=-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Wikipedia").unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, &*ran.stdout), (0, "{\"bytes\":9,\"adler32\":300286872}\n"), "{}", ran.stderr);
}

/// The same command, which SIGINT ends also where these tests run in the background: there a shell has it ignored, and who is
/// launched inherits that (sh(1), 2.11).
fn interruptible(plain: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(plain.get_program()).args(plain.get_args());
    command.current_dir(plain.get_current_dir().unwrap()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits until it was ended by a signal.
fn interrupted(child: &mut Child) {
    let ended = eventually("it ends", || child.try_wait().unwrap());
    assert_eq!(ended.signal(), Some(Signal::SIGINT as i32), "{ended:?}");
}

#[test]
fn an_interrupt_cancels_an_upload_before_its_stream_ends() {
    let setting = setting("unix");
    let mut command =
        interruptible(&setting.call(&["files.upload", STREAM_IN, "--input", "-", "--progress"]));
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&vec![7; 2 * MIB]).unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "1\n", "it has begun");
    signal(child.id(), Signal::SIGINT);
    interrupted(&mut child);
    line.clear();
    said.read_to_string(&mut line).unwrap();
    assert!(line.contains("interrupted: the call was cancelled"), "{line}");
    let ran = setting.ran(&["files.fetch", r#"{"name":"kept"}"#, "--output", "back"]);
    assert!(ran.code == 1 && ran.stderr.contains("there is no file"), "nothing was kept: {ran:?}");
    assert!(!setting.path("back").exists(), "a call that fails makes no file");
    setting.is_unharmed();
}

#[test]
fn an_interrupt_ends_an_output_and_what_was_written_stays() {
    let setting = setting("unix");
    std::os::unix::fs::symlink("/dev/zero", setting.path("zero.file")).unwrap();
    for words in [
        &["files.fetch", r#"{"name":"zero"}"#, "--output=back"][..],
        &["files.download", r#"{"name":"zero","into":{"$stream":"output"}}"#, "--output=back"],
    ] {
        let mut child = interruptible(&setting.call(words)).spawn().unwrap();
        let bytes = || std::fs::metadata(setting.path("back")).map_or(0, |file| file.len());
        eventually("bytes come", || (bytes() > MIB as u64).then_some(()));
        signal(child.id(), Signal::SIGINT);
        interrupted(&mut child);
        assert!(bytes() > MIB as u64);
        std::fs::remove_file(setting.path("back")).unwrap();
        setting.is_unharmed();
    }
}

#[test]
fn what_cannot_be_written_is_told_and_a_reader_that_goes_is_not() {
    let setting = setting("unix");
    setting.file("kept.file", 3 * MIB);
    std::os::unix::fs::symlink("/dev/zero", setting.path("zero.file")).unwrap();
    for (method, params) in [
        ("files.fetch", r#"{"name":"kept"}"#),
        ("files.whole", r#"{"name":"kept"}"#),
        ("files.download", STREAM_OUT),
    ] {
        let ran = setting.ran(&[method, params, "--output", "/dev/full"]);
        assert!(ran.code == 1 && ran.stderr.contains("No space left"), "{method}: {ran:?}");
        assert!(ran.stderr.contains("0 bytes were written to /dev/full"), "{ran:?}");
    }
    let mut child = setting.call(&["files.fetch", r#"{"name":"zero"}"#, "--output=-"]).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    let ran = child.wait_with_output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success() && !said.contains("error"), "{said}");
    setting.is_unharmed();
}

#[test]
fn what_is_not_written_is_told_and_what_cannot_be_is_refused_before_the_call() {
    let setting = setting("unix");
    setting.file("kept.file", 100);
    let fetch = r#"{"name":"kept"}"#;
    for method in ["files.fetch", "files.whole"] {
        let ran = setting.ran(&[method, fetch]);
        assert_eq!(ran.code, 0);
        assert!(
            ran.stderr
                .contains("the result holds 1 stream or blob, which was closed; --output FILE writes one"),
            "{ran:?}"
        );
        let ran = setting.ran(&[method, fetch, "--json"]);
        let reply: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(reply["dropped"] == 1 && ran.stderr.contains("\"warning\""), "{ran:?}");
    }
    let sum = r#"{"memory":{"$blob":"input"}}"#;
    let ran = setting.ran(&["files.sum", sum, "--input", "kept.file", "--output", "back"]);
    assert!(ran.code == 1 && ran.stdout.contains("\"bytes\":100"), "the result is there: {ran:?}");
    assert!(ran.stderr.contains("holds no stream or blob: nothing was written to \"back\""), "{ran:?}");
    let table: [(&[&str], i32, &str); 8] = [
        (&["files.sum", "{}", "--input", "kept.file"], 2, "the params name no place for --input"),
        (&["files.sum", "--input", "kept.file"], 2, "the params name no place for --input"),
        (&["files.sum", sum], 2, "there is no --input FILE"),
        (&["files.sum", sum, "--input", "none"], 1, "cannot open \"none\" for --input: No such file"),
        (&["files.sum", sum, "--input", "."], 1, "is a directory"),
        (&["files.fetch", fetch, "--output", "none/back"], 1, "cannot open \"none/back\" for --output"),
        (&["files.fetch", fetch, "--output", "."], 1, "cannot open \".\" for --output"),
        (&["files.sum", "-", "--input", "-"], 2, "standard input is read for the params already"),
    ];
    for (words, code, why) in table {
        let ran = setting.ran(words);
        assert!(ran.code == code && ran.stderr.contains(why), "{words:?}: {ran:?}");
    }
    let same = r#"{"name":"other","content":{"$stream":"input"}}"#;
    let ran = setting.ran(&["files.upload", same, "--input", "kept.file", "--output", "./kept.file"]);
    assert!(ran.code == 2 && ran.stderr.contains("are the same file"), "{ran:?}");
    assert_eq!(std::fs::metadata(setting.path("kept.file")).unwrap().len(), 100, "it is as it was");
    setting.is_unharmed();
}

#[test]
fn descriptors_of_a_client_that_do_not_add_up_cost_the_request_and_not_the_connection() {
    let setting = setting("unix");
    let stream = UnixStream::connect(setting.daemon.runtime_dir.join("admin.sock")).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let call = |fds: usize| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.call\",\"fds\":{fds},\"params\":{{\"plugin_id\":\"files\",\
             \"method\":\"files.sum\",\"params\":{{}}}}}}\n"
        )
    };
    let status = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.status\",\"fds\":1}\n".to_owned();
    let plain = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.status\"}\n".to_owned();
    let (reader, _writer) = std::io::pipe().unwrap();
    let device = File::open("/dev/null").unwrap();
    let table = [
        (call(2), vec![reader.as_fd()], "announces 2 file descriptors, and 1 came"),
        (call(1), vec![], "announces 1 file descriptors, and 0 came"),
        (call(1), vec![device.as_fd()], "is a character device"),
        (status, vec![reader.as_fd()], "admin.status takes no file descriptors"),
        (plain, vec![reader.as_fd()], "\"result\""),
        (call(1), vec![reader.as_fd(), device.as_fd()], "argument `memory` is missing"),
    ];
    for (request, fds, said) in table {
        let raw: Vec<_> = fds.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
        assert_eq!(scm::send(stream.as_fd(), request.as_bytes(), &raw, true).unwrap(), request.len());
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert!(answer.contains(said), "{request}: {answer}");
    }
    setting.is_unharmed();
}

/// `dev` with the plugin, in the world's folder.
fn dev(world: &World, words: &[&str]) -> Child {
    world.program("streaming-plugin");
    let mut command = Command::new(built("rpcpluginctl"));
    command.args(["dev", "./streaming-plugin", "--id=files", "--json"]).args(words).current_dir(world.path());
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn dev_passes_files_in_and_writes_what_comes_out() {
    for transport in ["unix", "stdio"] {
        let world = World::new();
        std::fs::write(world.path().join("two words"), "first\nsecond\n").unwrap();
        let mut child = dev(&world, &["--transport", transport]);
        let script = [
            &format!("files.upload {STREAM_IN} --input \"two words\""),
            "files.fetch {\"name\":\"kept\"} --output back",
            &format!("files.download {STREAM_OUT} --output=also"),
            "files.whole {\"name\":\"kept\"} --output -",
            "files.fetch {\"name\":\"kept\"}",
            "files.sum {\"memory\":{\"$blob\":\"input\"}} --input -",
            "files.sum {\"memory\":{\"$blob\":\"input\"}} --input back\n",
        ];
        child.stdin.take().unwrap().write_all(script.join("\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for name in ["back", "also", "kept.file"] {
            assert_eq!(std::fs::read(world.path().join(name)).unwrap(), b"first\nsecond\n", "{name}: {text}");
        }
        let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |kind: &str, member: &str| {
            let of = objects.iter().filter(|object| object["type"] == kind);
            of.map(|object| object[member].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of("output", "text"), ["first", "second"]);
        assert_eq!(of("result", "method").len(), 6, "{text}");
        assert!(of("note", "message").iter().any(|note| note.contains("holds 1 stream or blob")), "{text}");
        let errors = of("error", "message");
        assert!(errors.len() == 1 && errors[0].contains("standard input has the lines"), "{errors:?}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn an_interrupt_of_dev_ends_the_call_or_its_output_and_the_next_line_is_served() {
    let world = World::new();
    std::os::unix::fs::symlink("/dev/zero", world.path().join("zero.file")).unwrap();
    let mut child = dev(&world, &[]);
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let zero = "{\"name\":\"zero\",\"into\":{\"$stream\":\"output\"}}";
    let endless = r#"{"name":"never","content":{"$stream":"input"}}"#;
    for (line, cut) in [
        ("files.fetch {\"name\":\"zero\"} --output back".to_owned(), "stopped; "),
        (format!("files.download {zero} --output back"), "cancelled"),
        (format!("files.upload {endless} --input /dev/zero"), "cancelled"),
    ] {
        writeln!(stdin, "{line}").unwrap();
        let has_begun =
            || std::fs::metadata(world.path().join("back")).is_ok_and(|file| file.len() > 1 << 20);
        match line.contains("upload") {
            true => assert!(lines.any(|line| line.contains("\"progress\"")), "it has begun"),
            false => eventually("bytes come", || has_begun().then_some(())),
        }
        signal(child.id(), Signal::SIGINT);
        let said = lines.find(|line| line.contains("\"type\":\"error\"")).unwrap();
        assert!(said.contains(cut), "{line}: {said}");
        let _ = std::fs::remove_file(world.path().join("back"));
    }
    writeln!(stdin, "files.fetch {{\"name\":\"never\"}}").unwrap();
    let said = lines.find(|line| line.contains("\"type\":\"error\"")).unwrap();
    assert!(said.contains("there is no file"), "nothing of the upload was kept: {said}");
    drop(stdin);
    lines.for_each(drop);
    child.wait().unwrap();
}
