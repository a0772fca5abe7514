//! The admin socket under clients that are strangers, wrong, many, slow or gone: each costs itself only.
//!
//! What every command means is tested with rpcpluginctl; here it is the connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::child::{self, alone};
use crate::fixtures::daemon::{Daemon, NOBODY, Raw, as_nobody, bare, chmod, is_root, records, run};
use crate::fixtures::world::{SOON, World, eventually, next_event, patient};
use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessage, MsgFlags, getsockopt, sendmsg, setsockopt, sockopt};
use rpc_plugin_system::host::{Host, PluginConfig, PluginHandle};
use rpc_plugin_wire::event::{EventKind, Record};
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_DEFAULT;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;

fn host(world: &World) -> Host {
    world.builder().admin_socket(true).start().unwrap()
}

/// The echo plugin, healthy.
fn echo(world: &World, host: &Host) -> PluginHandle {
    let config = PluginConfig::new("echo".parse().unwrap(), world.program("echo"));
    let plugin = host.add(config.policy(patient())).unwrap();
    plugin.start().unwrap();
    plugin.wait_routable(None, SOON).unwrap();
    plugin
}

fn clients(host: &Host) -> u64 {
    let mut client = Raw::connect(host.runtime_dir());
    client.ask("admin.status", &json!({}))["result"]["clients"].as_u64().unwrap()
}

#[test]
fn the_socket_is_for_its_user_only_and_goes_with_its_host() {
    let world = World::new();
    let host = host(&world);
    let socket = host.runtime_dir().join("admin.sock");
    let found = socket.symlink_metadata().unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o7777, 0o600);
    assert!(Raw::connect(host.runtime_dir()).is_served());
    host.shutdown();
    assert!(!socket.exists());
    drop(host);
    // A host that does not want one has none.
    let plain = world.host();
    assert!(!plain.runtime_dir().join("admin.sock").exists());
}

#[test]
fn who_comes_before_the_plugins_are_added_waits_for_them() {
    let world = World::new();
    let host = world.builder().admin_socket(true).hold_admin_socket(true).start().unwrap();
    let mut early = UnixStream::connect(host.runtime_dir().join("admin.sock")).unwrap();
    early.set_read_timeout(Some(SOON)).unwrap();
    early.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.plugins\"}\n").unwrap();
    echo(&world, &host);
    host.release_admin_socket().unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        let mut bytes = [0; 4096];
        let count = early.read(&mut bytes).unwrap();
        assert!(count > 0, "closed");
        answer.extend_from_slice(&bytes[..count]);
    }
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["result"]["plugins"][0]["plugin_id"], "echo", "{answer}");
}

/// The process that the next test starts as another user.
pub(crate) fn ask_as_somebody_else() {
    let socket = std::env::var_os("CONNECT_TO").expect("the next test says where");
    match UnixStream::connect(socket) {
        Err(error) => println!("\nfailed: {:?}", error.kind()),
        Ok(mut stream) => {
            stream.set_read_timeout(Some(SOON)).unwrap();
            // It may be closed already.
            let _ = stream.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.shutdown\"}\n");
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            println!("\nsaid: {}", String::from_utf8(said).unwrap());
        }
    }
}

#[test]
fn another_user_is_denied_and_on_record() {
    if !is_root() {
        // Only root can start a process as somebody else.
        return;
    }
    let world = World::new();
    let host = host(&world);
    let events = host.subscribe(100).unwrap();
    let copy = child::copy(&world);
    chmod(&copy, 0o755);
    chmod(world.path(), 0o711);
    let socket = host.runtime_dir().join("admin.sock");
    let somebody = || {
        let mut command = child::start(&copy, "ask_as_somebody_else");
        let output = as_nobody(command.env("CONNECT_TO", &socket)).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = somebody();
    assert!(said.contains("\nfailed: PermissionDenied\n"), "{said}");
    chmod(host.runtime_dir(), 0o711);
    let said = somebody();
    assert!(said.contains("\nfailed: PermissionDenied\n"), "the socket itself is 0600: {said}");
    chmod(&socket, 0o666);
    let said = somebody();
    assert!(
        said.contains("\"code\":-32007") && said.contains("user 65534 may not control this host"),
        "{said}"
    );
    let note = next_event(&events, EventKind::AdminDenied).note;
    assert_eq!(note.details.unwrap()["peer_uid"], NOBODY);
    assert!(Raw::connect(host.runtime_dir()).is_served(), "the host was not ended");
    host.shutdown();
    let denied: Vec<Record> =
        records(host.runtime_dir(), "").into_iter().filter(|record| record.event == "admin_denied").collect();
    assert_eq!((denied.len(), &*denied[0].level), (1, "warn"));
    assert!(denied[0].socket_path.as_ref().unwrap().ends_with("/admin.sock"));
}

#[test]
fn what_leaves_the_framing_in_doubt_is_answered_once_and_ends_that_connection_only() {
    let world = World::new();
    let host = host(&world);
    let mut other = Raw::connect(host.runtime_dir());
    assert!(other.is_served());
    let whole = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"admin.status\"}\n";
    let oversized = format!("{{\"jsonrpc\":\"2.0\",\"x\":\"{}\"}}\n", "x".repeat(FRAME_BYTES_MAX_DEFAULT));
    let with_header = format!("Content-Length: {}\r\n\r\n{whole}", whole.len());
    let table: [(&str, &[u8], i64); 3] = [
        ("another framing", with_header.as_bytes(), -32700),
        ("a frame that is too long", oversized.as_bytes(), -32006),
        ("one that never ends", &oversized.as_bytes()[..FRAME_BYTES_MAX_DEFAULT + 2], -32006),
    ];
    for (what, bytes, code) in table {
        let mut client = Raw::connect(host.runtime_dir());
        // It may close before it has read all of it.
        let _ = client.stream.get_mut().write_all(bytes);
        let answer = client.next().unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!(code), &Value::Null),
            "{what}: {answer}"
        );
        assert_eq!(client.next(), None, "{what}: the connection ends");
        assert!(other.is_served(), "{what}");
    }
    // Half a request and an end is no request.
    let mut client = Raw::connect(host.runtime_dir());
    client.send(&whole[..20]);
    drop(client);
    eventually("one client is left beside the one that asks", || (clients(&host) == 2).then_some(()));
    assert!(other.is_served());
}

#[test]
fn a_request_that_cannot_be_met_is_answered_and_the_connection_goes_on() {
    let world = World::new();
    let host = host(&world);
    let plugin = world.echo(&host, "echo");
    let mut client = Raw::connect(host.runtime_dir());
    let table: [(&str, Value, i64, &str); 16] = [
        ("admin.nonsense", json!({}), -32601, "there are admin.status, "),
        ("echo", json!({}), -32601, "there is no admin method"),
        ("host.hello", json!({}), -32601, "there is no admin method"),
        ("admin.plugin", json!({}), -32602, "plugin_id"),
        ("admin.plugin", json!({"plugin_id": 7}), -32602, ""),
        ("admin.plugin", json!({"plugin_id": "../x"}), -32602, ""),
        ("admin.plugin", json!({"plugin_id": "echo", "more": 1}), -32602, "more"),
        ("admin.plugin", json!({"plugin_id": "nobody"}), -32008, "nobody"),
        ("admin.heartbeat", json!({"plugin_id": "nobody"}), -32008, ""),
        ("admin.stop", json!({"plugin_id": "nobody"}), -32008, ""),
        ("admin.wait", json!({"plugin_id": "nobody", "state": "healthy"}), -32008, ""),
        ("admin.wait", json!({"plugin_id": "echo", "state": "splendid"}), -32602, "splendid"),
        (
            "admin.wait",
            json!({"plugin_id": "echo", "state": "healthy", "timeout_ms": 86_400_001}),
            -32602,
            "a day",
        ),
        ("admin.call", json!({"plugin_id": "echo", "method": "echo", "params": 3}), -32602, "JSON object"),
        ("admin.call", json!({"plugin_id": "nobody", "method": "echo"}), -32008, ""),
        ("admin.call", json!({"plugin_id": "echo", "method": "echo"}), -32002, "the plugin is stopped"),
    ];
    for (method, params, code, part) in table {
        let answer = client.ask(method, &params);
        let error = &answer["error"];
        assert_eq!((&error["code"], &answer["id"]), (&json!(code), &json!(1)), "{method} {params}: {answer}");
        assert!(error["message"].as_str().unwrap().contains(part), "{method} {params}: {answer}");
    }
    // Notifications may be added to the protocol, so they are passed over.
    client.send("{\"jsonrpc\":\"2.0\",\"method\":\"admin.shutdown\"}\n");
    client.send("{\"jsonrpc\":\"2.0\",\"method\":\"rpc.cancel\",\"params\":{\"id\":7}}\n");
    assert!(client.is_served());
    assert!(plugin.status().is_ok());
}

#[test]
fn requests_are_answered_however_they_arrive() {
    let world = World::new();
    let host = host(&world);
    let _plugin = echo(&world, &host);
    // Many in one write.
    let mut client = Raw::connect(host.runtime_dir());
    let request = |id: u64| match id % 2 {
        0 => json!({"jsonrpc": "2.0", "id": id, "method": "admin.status"}),
        _ => json!({"jsonrpc": "2.0", "id": id, "method": "admin.call",
                    "params": {"plugin_id": "echo", "method": "echo", "params": {"n": id}}}),
    };
    let frames: String = (1..=200).map(|id| format!("{}\n", request(id))).collect();
    client.send(&frames);
    let mut answered = BTreeSet::new();
    for _ in 0..200 {
        let answer = client.next().unwrap();
        let id = answer["id"].as_u64().unwrap();
        match id % 2 {
            0 => assert!(answer["result"]["pid"].is_u64(), "{answer}"),
            _ => assert_eq!(answer["result"]["result"], json!({"n": id}), "{answer}"),
        }
        assert!(answered.insert(id), "twice: {id}");
    }
    // Byte by byte.
    let mut client = Raw::connect(host.runtime_dir());
    for byte in format!("{}\n", request(2)).bytes() {
        client.send([byte]);
    }
    assert_eq!(client.next().unwrap()["id"], 2);
    // Those that wait at once are bounded; the rest is told so, and later ones are served again.
    for id in 0..300 {
        client.request(
            id,
            "admin.wait",
            &json!({"plugin_id": "echo", "state": "failed", "timeout_ms": 600_000}),
        );
    }
    for _ in 0..44 {
        let answer = client.next().unwrap();
        assert_eq!(answer["error"]["code"], -32005, "{answer}");
    }
    assert!(Raw::connect(host.runtime_dir()).is_served());
}

#[test]
fn there_is_room_for_64_clients_and_the_next_is_told_so() {
    let world = World::new();
    let host = host(&world);
    let mut connected: Vec<Raw> = (0..64).map(|_| Raw::connect(host.runtime_dir())).collect();
    assert!(connected.iter_mut().all(Raw::is_served));
    let mut late = Raw::connect(host.runtime_dir());
    let refused = late.next().unwrap();
    assert_eq!((&refused["error"]["code"], &refused["id"]), (&json!(-32005), &Value::Null), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("64 control clients"), "{refused}");
    assert_eq!(late.next(), None);
    assert!(connected.iter_mut().all(Raw::is_served), "nobody else is harmed");
    connected.pop();
    eventually("there is room again", || {
        let mut client = Raw::connect(host.runtime_dir());
        // A client that is refused may find its connection closed before it has asked.
        client.try_request(1, "admin.status", &json!({})).ok()?;
        client.next().filter(|answer| answer["result"].is_object())
    });
}

/// Asks for some 10 MiB and reads nothing: it is served as far as its answers find room, and nobody else
/// notices. Beyond 16 MiB of answers to calls it would be dropped, which is tested beside the client.
#[test]
fn a_client_that_does_not_read_waits_and_harms_nobody() {
    let world = World::new();
    let host = host(&world);
    let plugin = echo(&world, &host);
    // A list of plugins of about 256 KiB.
    for n in 0..64 {
        let executable = format!("/{n:04000}");
        host.add(PluginConfig::new(format!("p{n}").parse().unwrap(), executable)).unwrap();
    }
    let mut other = Raw::connect(host.runtime_dir());
    assert!(other.is_served());
    let mut slow = Raw::connect(host.runtime_dir());
    let frame = |id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"admin.plugins\"}}\n");
    slow.send((0..40).map(frame).collect::<String>());
    for n in 0..20 {
        assert!(other.is_served());
        let answer: Value = plugin.call("echo", &json!({"n": n})).unwrap();
        assert_eq!(answer, json!({"n": n}));
    }
    assert_eq!(clients(&host), 3, "it may still read");
    // Once it reads, it gets all that it asked for, in order.
    for id in 0..40 {
        let answer = slow.next().unwrap();
        assert_eq!((&answer["id"], answer["result"]["plugins"].as_array().unwrap().len()), (&json!(id), 65));
    }
    // One that never does is gone when it goes.
    slow.send((0..40).map(frame).collect::<String>());
    drop(slow);
    eventually("it is dropped", || (clients(&host) == 2).then_some(()));
    assert!(other.is_served());
}

/// The same for answers that a plugin makes.
#[test]
fn a_client_that_reads_late_gets_all_its_answers() {
    let world = World::new();
    let host = host(&world);
    let _plugin = echo(&world, &host);
    let mut client = Raw::connect(host.runtime_dir());
    let text = "x".repeat(100 << 10);
    for id in 0..8 {
        let params = json!({"plugin_id": "echo", "method": "echo", "params": {"text": text}});
        client.request(id, "admin.call", &params);
    }
    eventually("all are answered", || {
        let mut other = Raw::connect(host.runtime_dir());
        let status = other.ask("admin.status", &json!({}));
        (status["result"]["calls_total"] == 8 && status["result"]["calls_in_flight"] == 0).then_some(())
    });
    for _ in 0..8 {
        let answer = client.next().unwrap();
        assert_eq!(answer["result"]["result"]["text"], text);
    }
}

#[test]
fn a_client_that_goes_away_cancels_its_calls() {
    let world = World::new();
    let host = host(&world);
    let plugin = echo(&world, &host);
    let events = host.subscribe(1000).unwrap();
    let mut client = Raw::connect(host.runtime_dir());
    let sleep =
        json!({"plugin_id": "echo", "method": "sleep", "params": {"ms": 600_000}, "timeout_ms": 600_000});
    client.request(1, "admin.call", &sleep);
    client.request(2, "admin.wait", &json!({"plugin_id": "echo", "state": "failed", "timeout_ms": 600_000}));
    eventually("the call is in flight", || (plugin.status().unwrap().calls_in_flight == 1).then_some(()));
    drop(client);
    // Ten minutes early: the plugin was told, and answered.
    let ended = next_event(&events, EventKind::CallFailed).note;
    assert_eq!(ended.method.as_deref(), Some("sleep"));
    eventually("it is answered", || (plugin.status().unwrap().calls_in_flight == 0).then_some(()));
    assert_eq!(plugin.status().unwrap().late_answers, 0, "that is as the protocol wants it");
    eventually("it is forgotten", || (clients(&host) == 1).then_some(()));
}

#[test]
fn a_call_names_a_plugin_or_a_capability() {
    let world = World::new();
    let host = host(&world);
    let _plugin = echo(&world, &host);
    let mut client = Raw::connect(host.runtime_dir());
    let both = json!({"plugin_id": "echo", "capability": "echo", "method": "echo"});
    for params in [json!({"method": "echo"}), both] {
        let answer = client.ask("admin.call", &params);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let answer =
        client.ask("admin.call", &json!({"capability": "echo", "method": "echo", "params": {"n": 1}}));
    assert_eq!(
        (&answer["result"]["plugin_id"], &answer["result"]["result"]),
        (&json!("echo"), &json!({"n": 1}))
    );
    let answer = client.ask("admin.call", &json!({"capability": "kv", "method": "kv.get"}));
    assert_eq!(answer["error"]["data"], json!({"outcome": "not_sent"}), "no plugin is named: {answer}");
    let routes = client.ask("admin.routes", &json!({}))["result"]["routes"].clone();
    let modes: Vec<&str> =
        routes.as_array().unwrap().iter().map(|route| route["mode"].as_str().unwrap()).collect();
    assert_eq!(modes, ["direct-plugin-id", "capability"].repeat(modes.len() / 2));
}

#[test]
fn members_of_the_admin_group_control_the_daemon_over_their_own_socket() {
    if !is_root() {
        // Only root can start a process as somebody else.
        return;
    }
    let world = World::new();
    let (client, socket) = (world.program("rpcpluginctl"), world.path().join("ops/admin.sock"));
    chmod(&client, 0o755);
    chmod(world.path(), 0o711);
    let echo = world.program("echo");
    let group = format!("--admin-group=4711={}", socket.display());
    let mut daemon = Daemon::start(&world, &["--plugin", &format!("echo={}", echo.display()), &group]);
    daemon.wait_for("echo", "healthy");
    let ctl = |gid: u32, words: &[&str]| {
        let mut command = bare(&client);
        run(command.uid(NOBODY).gid(gid).args(words).arg("--admin-socket").arg(&socket))
    };
    let found = socket.symlink_metadata().unwrap();
    assert_eq!((found.permissions().mode() & 0o7777, found.gid()), (0o660, 4711));
    assert_eq!(ctl(4711, &["echo", "echo", "--message", "hi"]).stdout, "hi\n");
    assert_eq!(ctl(4711, &["restart", "echo"]).code, 0);
    let acted = daemon.recorded("echo", EventKind::AdminAction, |record| record.message.ends_with("restart"));
    assert!(acted.details.unwrap().get().contains("\"peer_uid\":65534"), "who acted is on record");
    // The record is in the runtime folder, which is the daemon's user's alone.
    let logs = bare(&client)
        .uid(NOBODY)
        .gid(4711)
        .args(["logs", "echo", "--runtime-dir"])
        .arg(world.runtime_dir())
        .output();
    assert_eq!(logs.unwrap().status.code(), Some(7));
    assert_eq!(ctl(NOBODY, &["status"]).code, 7, "the socket's mode keeps others out");
    chmod(&socket, 0o666);
    let denied = ctl(NOBODY, &["status"]);
    assert!(denied.code == 7 && denied.stderr.contains("and members of group 4711"), "{denied:?}");
    // What somebody removes, or puts in its place, is made again, and the other socket left alone.
    let inode = |path: &std::path::Path| path.symlink_metadata().unwrap().ino();
    let own = inode(&world.runtime_dir().join("admin.sock"));
    for remove in ["file", "folder", "replace"] {
        let before = daemon.records("").len();
        match remove {
            "file" => std::fs::remove_file(&socket).unwrap(),
            "folder" => std::fs::remove_dir_all(socket.parent().unwrap()).unwrap(),
            _ => {
                // A dead socket of the daemon's user.
                let other = world.path().join("other");
                drop(std::os::unix::net::UnixListener::bind(&other).unwrap());
                std::fs::rename(&other, &socket).unwrap();
            }
        }
        eventually("the group is let in again", || (ctl(4711, &["status"]).code == 0).then_some(()));
        let told = eventually("it is told", || {
            let records = daemon.records("");
            records[before..].iter().find(|record| record.event == "runtime_dir_made").cloned()
        });
        assert_eq!(told.message, "the admin group's socket was removed or replaced; it was made again");
        let found = socket.symlink_metadata().unwrap();
        assert_eq!((found.permissions().mode() & 0o7777, found.gid()), (0o660, 4711), "{remove}");
    }
    assert_eq!(inode(&world.runtime_dir().join("admin.sock")), own);
    // Where something else has the name, that is told once, and it is tried again until it is gone.
    std::fs::rename(world.script("precious", "precious"), &socket).unwrap();
    let fault = daemon
        .recorded("", EventKind::HostFault, |record| record.message.contains("the admin group's socket"));
    assert!(fault.error.unwrap().contains("is there and no socket of this user"));
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
    assert_eq!(daemon.ctl(&["status"]).code, 0);
    std::fs::remove_file(&socket).unwrap();
    eventually("the group is let in again", || (ctl(4711, &["status"]).code == 0).then_some(()));
    let ended = ctl(4711, &["shutdown"]);
    assert_eq!((ended.code, &*ended.stdout), (0, "the daemon has ended\n"), "{ended:?}");
    // Who may not look at the daemon's process knows by its lock, which it lets go of a moment before it is gone.
    eventually("the daemon's process is gone", || (!daemon.runs()).then_some(()));
    assert!(!socket.exists());
}

#[test]
fn every_action_is_on_record_with_who_asked() {
    let world = World::new();
    let host = host(&world);
    let _plugin = echo(&world, &host);
    let mut client = Raw::connect(host.runtime_dir());
    client
        .ask("admin.call", &json!({"plugin_id": "echo", "method": "echo", "params": {"secret": "hunter2"}}));
    for method in ["admin.restart", "admin.stop", "admin.start"] {
        let answer = client.ask(method, &json!({"plugin_id": "echo"}));
        assert!(answer["result"]["state"].is_string(), "{method}: {answer}");
    }
    // Looking is no action.
    for method in ["admin.status", "admin.plugins", "admin.routes"] {
        client.ask(method, &json!({}));
    }
    assert_eq!(client.ask("admin.shutdown", &json!({}))["result"], json!({}));
    host.wait_ended();
    let reason = host.end_reason().unwrap().to_owned();
    let own = std::process::id();
    assert!(
        reason.contains("an operator asked for it") && reason.contains(&format!("process {own}")),
        "{reason}"
    );
    let runtime_dir = host.runtime_dir().to_owned();
    drop((host, _plugin));
    let actions = |id: &str| -> Vec<Value> {
        let records = records(&runtime_dir, id).into_iter().filter(|record| record.event == "admin_action");
        let details = |record: Record| {
            assert!(record.socket_path.as_ref().unwrap().ends_with("/admin.sock"), "{record:?}");
            serde_json::from_str(record.details.unwrap().get()).unwrap()
        };
        records.map(details).collect()
    };
    let uid = nix::unistd::geteuid().as_raw();
    let command = std::fs::read_to_string("/proc/self/comm").unwrap();
    let expected = |action: &str| {
        let mut details = json!({"action": action, "peer_pid": own, "peer_uid": uid});
        if action != "call" {
            details["peer_command"] = command.trim_end().into();
        }
        details
    };
    assert_eq!(actions("echo"), ["call", "restart", "stop", "start"].map(expected));
    assert_eq!(actions(""), [expected("shutdown")]);
    assert!(!world.record("echo").contains("hunter2"), "params are not for the record");
}

/// In a process of its own: whatever else a process launches meanwhile has a copy of the socket until it executes.
#[test]
fn a_daemon_ends_though_a_client_passed_what_does_not_close() {
    alone(|| {
        let world = World::new();
        let echo = world.program("echo");
        let mut daemon = Daemon::start(&world, &["--plugin", &format!("echo={}", echo.display())]);
        daemon.wait_for("echo", "healthy");
        // Its peer never reads it.
        let sink = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(sink.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        while (&stream).write(&[0; 64 * 1024]).is_ok() {}
        let mut linger = getsockopt(&stream, sockopt::Linger).unwrap();
        (linger.l_onoff, linger.l_linger) = (1, 3600);
        setsockopt(&stream, sockopt::Linger, &linger).unwrap();
        stream.set_nonblocking(false).unwrap();
        let mut client = Raw::connect(&daemon.runtime_dir);
        // Keeps the daemon busy until this process has closed its own copy.
        client.request(1, "admin.nothing", &json!({"pad": "x".repeat(2 << 20)}));
        let ask = b"{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"admin.status\"}\n";
        let (part, number) = ([IoSlice::new(ask)], [stream.as_raw_fd()]);
        let rights = [ControlMessage::ScmRights(&number)];
        sendmsg::<()>(client.stream.get_ref().as_raw_fd(), &part, &rights, MsgFlags::empty(), None).unwrap();
        let copy = format!("/proc/self/fd/{}", stream.as_raw_fd());
        let socket = std::fs::read_link(&copy).unwrap();
        std::thread::spawn(move || drop(stream));
        // What is launched from here on must not have one: its last close would be the one that waits.
        eventually("the client's own copy is closed", || {
            std::fs::read_link(&copy).map_or(true, |there| there != socket).then_some(())
        });
        assert_eq!(client.next().unwrap()["id"], 1);
        assert_eq!(client.next().unwrap()["id"], 2);
        let called = daemon.ctl(&["call", "echo", "echo", "{}"]);
        assert_eq!(called.code, 0, "{called:?}");
        daemon.signal(Signal::SIGTERM);
        assert!(daemon.ended().success());
        drop(sink);
    });
}
