//! Where the system itself has no more descriptors to give, and where a plugin takes none.

use super::{Held, fds_by_kind, options, unharmed};
use crate::fixtures::child::{self, alone};
use crate::fixtures::raw::{self, Raw, frame, nulls};
use crate::fixtures::world::{SOON, World, calm, eventually, next_event, up};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};
use nix::unistd::{Uid, setresgid, setresuid};
use rpc_plugin_interface::Stream;
use rpc_plugin_system::host::{EventKind, Note, Policy, RestartPolicy};
use rpc_plugin_wire::{ErrorCode, Outcome};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

const CAPABILITIES: [&str; 2] = ["go", "take"];

/// Params with streams.
#[derive(serde::Serialize)]
struct Streams {
    streams: Vec<Stream>,
}

fn with(streams: Vec<Stream>) -> Streams {
    Streams { streams }
}

/// Leaves room for so many more descriptors; how to undo it.
fn leave_room(count: usize) -> (Vec<File>, impl FnOnce()) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let highest = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok())
        .max();
    setrlimit(Resource::RLIMIT_NOFILE, highest.unwrap() + 8, hard).unwrap();
    let mut filling: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    filling.truncate(filling.len() - count);
    (filling, move || setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap())
}

#[test]
fn a_host_that_can_open_no_more_loses_one_call_and_no_connection() {
    alone(|| {
        let world = World::new();
        let host = super::host(&world, &Arc::new(Held::default()));
        let echo = up(world.echo(&host, "echo"));
        let policy =
            Policy { restart: RestartPolicy::Never, ready_timeout: SOON, hello_timeout: SOON, ..calm() };
        let config = raw::plugin(&world, "taker", "taker", "sends").policy(policy);
        let plugin = up(host.add(config).unwrap());
        let events = host.subscribe(100).unwrap();
        let before = fds_by_kind();
        let ((), calls) = unharmed(&echo, || {
            let (filling, undo) = leave_room(5);
            // It asks with descriptors, and answers with what it was told.
            let told: Value = plugin.call_with("go", &json!({}), options()).unwrap();
            assert_eq!(told["code"], -32005, "{told}");
            assert!(told["message"].as_str().unwrap().contains("RLIMIT_NOFILE"), "{told}");
            let shortage = next_event(&events, EventKind::HostShortage).note;
            assert_eq!(shortage.plugin_id.as_ref(), Some(plugin.id()), "{shortage:?}");
            let error = plugin.call_with::<_, Value>("take", &json!({}), options()).unwrap_err();
            assert_eq!(
                (error.code, error.outcome),
                (ErrorCode::Overloaded, Outcome::Indeterminate),
                "{error}"
            );
            drop(filling);
            undo();
            // There is room again, and what came is closed.
            plugin.call_with::<_, Value>("take", &json!({}), options()).unwrap();
            next_event(&events, EventKind::HostShortageOver);
            eventually("the plugin's descriptors are gone", || {
                let now = fds_by_kind();
                now.iter()
                    .all(|(kind, count)| before.get(kind).is_some_and(|were| count <= were))
                    .then_some(())
            });
        });
        assert_eq!(plugin.status().unwrap().generation.map(|seen| seen.get()), Some(1), "it lives on");
        println!(
            "descriptors of the host exhausted: one call each ended; {calls} calls of another plugin answered"
        );
    });
}

#[test]
fn what_could_not_be_accepted_is_accepted_once_there_is_room() {
    alone(|| {
        let world = World::new();
        let host = world.builder().admin_socket(true).start().unwrap();
        let events = host.subscribe(100).unwrap();
        let address = UnixAddr::new(&host.runtime_dir().join("admin.sock")).unwrap();
        let new_client = || socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
        let mut clients = VecDeque::from([new_client(), new_client(), new_client(), new_client()]);
        let (mut filling, undo) = leave_room(0);
        // What the host's threads had open for a moment is room again, and takes one client: it is used up before the next.
        let (shortage, client) = loop {
            let client = clients.pop_front().expect("the host has no end of descriptors");
            connect(client.as_raw_fd(), &address).unwrap();
            let mut told = std::iter::from_fn(|| events.next_within(Duration::from_secs(10)));
            // The record, which cannot be written either, may be told of before or after.
            let is_it = |note: &Note| {
                note.kind == EventKind::HostShortage && note.message.contains("could not be accepted")
            };
            if let Some(told) = told.find(|event| is_it(&event.note)) {
                break (told.note, client);
            }
            filling.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
        };
        assert!(shortage.error.is_some(), "{shortage:?}");
        drop(filling);
        undo();
        let mut client = UnixStream::from(client);
        client.set_read_timeout(Some(SOON)).unwrap();
        client.write_all(&frame(json!({"id": 1, "method": "admin.status", "params": {}}))).unwrap();
        let mut answer = [0; 16];
        client.read_exact(&mut answer).expect("it is answered, though no further connection comes");
        loop {
            let note = events.next_within(SOON).expect("its end is told").note;
            match note.kind {
                EventKind::HostShortageOver if note.message.contains("are accepted again") => break,
                EventKind::HostShortage if note.message.contains("could not be accepted") => {
                    panic!("told twice, however often it was tried")
                }
                _ => {}
            }
        }
    });
}

#[test]
fn descriptors_that_the_system_does_not_pass_on_fail_their_call_only() {
    alone(|| {
        let world = World::new();
        // The bound is for those without CAP_SYS_RESOURCE and CAP_SYS_ADMIN.
        if Uid::effective().is_root() {
            let nobody = 65534;
            // Where the programs were built may be closed to others: what is launched is copied before.
            let programs = [world.program("echo"), child::copy(&world)];
            for path in programs.iter().map(|path| path.as_path()).chain([world.path()]) {
                std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).unwrap();
            }
            setresgid(nobody.into(), nobody.into(), nobody.into()).unwrap();
            setresuid(nobody.into(), nobody.into(), nobody.into()).unwrap();
            // So that /proc/self can be read again.
            nix::sys::prctl::set_dumpable(true).unwrap();
        }
        let host = super::host(&world, &Arc::new(Held::default()));
        let echo = up(world.echo(&host, "echo"));
        let policy = Policy { ready_timeout: SOON, hello_timeout: SOON, ..calm() };
        let config = raw::plugin(&world, "hoarder", "taker", "hoards").policy(policy);
        let plugin = up(host.add(config.clone()).unwrap());
        let config = raw::plugin(&world, "taker", "taker", "takes").policy(config.policy);
        let taker = up(host.add(config).unwrap());
        let take = |streams| taker.call_with::<_, Value>("take", &with(streams), options());
        // Opened before the limit is lowered.
        let streams = || (0..2).map(|_| Stream::pair().unwrap().0).collect::<Vec<_>>();
        let (first, second) = (streams(), streams());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let ((), calls) = unharmed(&echo, || {
            take(first).expect("they are passed");
            let hoarded: Value = plugin.call_with("go", &json!({}), options()).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
            let error = take(second).unwrap_err();
            assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent), "{error}");
            assert!(error.message.contains("could not be sent along"), "{error}");
            take(Vec::new()).expect("calls without are no matter");
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            plugin.stop().unwrap();
            eventually("the hoard is gone, and descriptors pass again", || {
                let stream = Stream::pair().unwrap().0;
                setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
                let taken = take(vec![stream]);
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
                taken.ok()
            });
            println!(
                "another plugin has {hoarded} in flight: a call with descriptors is overloaded, not_sent"
            );
        });
        let generation = taker.status().unwrap().generation.map(|seen| seen.get());
        assert_eq!(generation, Some(1), "whose call it was lives on");
        println!("{calls} calls answered meanwhile");
    });
}

#[test]
fn a_plugin_that_takes_none_of_them_holds_only_so_many() {
    alone(|| {
        let world = World::new();
        let host = super::host(&world, &Arc::new(Held::default()));
        let echo = up(world.echo(&host, "echo"));
        let policy =
            Policy { restart: RestartPolicy::Never, ready_timeout: SOON, hello_timeout: SOON, ..calm() };
        let config = raw::plugin(&world, "taker", "taker", "never reads").policy(policy);
        let plugin = up(host.add(config).unwrap());
        let before = fds_by_kind();
        let sockets =
            |kinds: &std::collections::BTreeMap<String, usize>| kinds.get("socket").copied().unwrap_or(0);
        let (most, calls) = unharmed(&echo, || {
            let _stuck = plugin.call_start("go", &json!({}), options()).unwrap();
            // Fills the socket, so that what follows waits in the host.
            let filler = json!({"fill": "x".repeat(3 << 20)});
            let _filler = plugin.call_start("take", &filler, options()).unwrap();
            let (mut overloaded, mut begun) = (0, Vec::new());
            for _ in 0..200 {
                let streams: Vec<Stream> = (0..16).map(|_| Stream::pair().unwrap().0).collect();
                begun.push(plugin.call_start("take", &with(streams), options()).unwrap());
            }
            eventually("all but a few are refused", || {
                for call in begun.split_off(0) {
                    match call.wait_timeout(Duration::ZERO) {
                        Ok(Err(error)) if error.code == ErrorCode::Overloaded => overloaded += 1,
                        Ok(other) => panic!("{other:?}"),
                        Err(call) => begun.push(call),
                    }
                }
                (overloaded >= 190).then_some(())
            });
            // Those of calls that were refused are closed on a thread of their own.
            let most = eventually("only what waits for it is open", || {
                let most = sockets(&fds_by_kind()) - sockets(&before);
                (most <= 64).then_some(most)
            });
            // Those of calls that nobody waits for any more go at once.
            drop(begun);
            eventually("nothing is kept for it", || {
                (sockets(&fds_by_kind()) <= sockets(&before)).then_some(())
            });
            println!("{overloaded} of 200 calls with 16 descriptors each refused");
            most
        });
        assert!((1..=64).contains(&most), "{most} descriptors wait for it");
        plugin.stop().unwrap();
        plugin.wait_for(rpc_plugin_system::host::PluginState::Stopped, SOON).unwrap();
        host.remove(plugin.id()).unwrap();
        println!("{most} descriptors waited for it; {calls} calls of another plugin answered meanwhile");
    });
}

/// Started by the hosts of these tests.
pub(crate) fn taker_body() {
    let role = raw::role();
    let mut raw = Raw::greet(&CAPABILITIES);
    if role == "takes" {
        loop {
            let take = raw.until("take", &CAPABILITIES);
            raw.say(json!({"id": take["id"], "result": {}}));
        }
    }
    let go = raw.until("go", &CAPABILITIES);
    match role.as_str() {
        "sends" => {
            let _ = raw.send(&frame(json!({"id": 1, "method": "a.b", "fds": 16})), &nulls(16));
            let told = raw.next_call(&CAPABILITIES).expect("it is answered");
            raw.say(json!({"id": go["id"], "result": told["error"]}));
            while let Some(take) = raw.next_call(&CAPABILITIES) {
                let _ = raw.send(&frame(json!({"id": take["id"], "result": {}, "fds": 16})), &nulls(16));
            }
        }
        "hoards" => {
            let (one, _other) = UnixStream::pair().unwrap();
            let null = nulls(1);
            let numbers: Vec<RawFd> = vec![null[0].as_raw_fd(); 100];
            for _ in 0..4 {
                let rights = [ControlMessage::ScmRights(&numbers)];
                let part = [IoSlice::new(b"x")];
                sendmsg::<()>(one.as_raw_fd(), &part, &rights, MsgFlags::empty(), None).unwrap();
            }
            raw.say(json!({"id": go["id"], "result": {"hoarded": 400}}));
            raw.live(&CAPABILITIES);
        }
        _ => {
            // Until it is killed.
            std::thread::park_timeout(raw::LINGER);
            std::process::exit(0);
        }
    }
    raw.live(&CAPABILITIES)
}
