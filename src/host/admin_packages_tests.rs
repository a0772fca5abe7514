//! Admin methods of packages are served by another thread: what comes back to the client, whatever that thread does.

use super::Host;
use crate::reactor::{AdminResult, ClaimedRestarts, DelegatedRequest};
use crate::state::fds::Fds;
use crossbeam_channel::{Receiver, bounded};
use rpc_plugin_interface::scm;
use rpc_plugin_record::FILE_NAME;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(host: &Host) -> Client {
        let stream = UnixStream::connect(host.runtime_dir().join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        Client(BufReader::new(stream))
    }

    fn send(&mut self, id: u64, method: &str, params: &Value) {
        let frame = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        writeln!(self.0.get_mut(), "{frame}").unwrap();
    }

    fn read(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

fn claimed(ids: &[&str]) -> Arc<ClaimedRestarts> {
    let claimed = Arc::<ClaimedRestarts>::default();
    claimed.claim(ids.iter().map(|id| id.parse().unwrap()).collect());
    claimed
}

fn serving(queue_max: usize) -> (Host, Receiver<DelegatedRequest>) {
    let (sender, requests) = bounded(queue_max);
    (
        Host::temporary().admin_socket(true).serve_packages((sender, claimed(&["kv"]))).start().unwrap(),
        requests,
    )
}

fn raw(value: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap()
}

#[test]
fn a_request_reaches_the_thread_with_who_asks_and_its_answer_and_progress_reach_the_client() {
    let (host, requests) = serving(4);
    let mut client = Client::connect(&host);
    client.send(7, "admin.rollback", &json!({"plugin_id": "kv"}));
    let request = requests.recv_timeout(SOON).unwrap();
    assert_eq!((&*request.method, request.peer_pid), ("admin.rollback", std::process::id()));
    assert_eq!(request.params.as_ref().unwrap().get(), "{\"plugin_id\":\"kv\"}");
    assert_eq!(request.peer_uid, nix::unistd::geteuid().as_raw());
    assert!(request.operation_id.ends_with(".7"), "{}", request.operation_id);
    // The loop goes on meanwhile.
    client.send(8, "admin.status", &json!({}));
    assert_eq!(client.read()["id"], 8);
    request.reply.progress(raw(&json!({"bytes": 1})));
    let progress = client.read();
    assert_eq!((&progress["method"], &progress["params"]["id"]), (&json!("rpc.progress"), &json!(7)));
    request.reply.answer(Ok(raw(&json!({"done": true})).into()));
    assert_eq!(client.read(), json!({"jsonrpc": "2.0", "id": 7, "result": {"done": true}}));
    let runtime_dir = host.runtime_dir().to_owned();
    assert!(host.flush_events(SOON));
    let record = std::fs::read_to_string(runtime_dir.join("kv").join(FILE_NAME)).unwrap();
    let action = record.lines().find(|line| line.contains("admin_action")).unwrap();
    let action: Value = serde_json::from_str(action).unwrap();
    assert_eq!(
        (&action["details"]["action"], &action["details"]["peer_pid"]),
        (&json!("rollback"), &json!(std::process::id()))
    );
}

#[test]
fn each_request_is_answered_also_where_nobody_serves_it() {
    let (host, requests) = serving(1);
    let mut client = Client::connect(&host);
    client.send(1, "admin.packages", &json!({}));
    let first = requests.recv_timeout(SOON).unwrap();
    drop(first);
    assert_eq!(client.read()["error"]["code"], -32603, "a reply that is dropped");
    client.send(2, "admin.packages", &json!({}));
    client.send(3, "admin.packages", &json!({}));
    let full = client.read();
    assert_eq!((&full["id"], &full["error"]["code"]), (&json!(3), &json!(-32005)), "{full}");
    while requests.try_recv().is_ok() {}
    assert_eq!(client.read()["id"], 2);
    drop(requests);
    client.send(4, "admin.packages", &json!({}));
    assert_eq!(client.read()["error"]["code"], -32002, "the thread has ended");
    let plain = Host::temporary().admin_socket(true).start().unwrap();
    let mut client = Client::connect(&plain);
    client.send(5, "admin.packages", &json!({}));
    let error = client.read()["error"].take();
    assert_eq!(error["code"], -32601);
    assert!(error["message"].as_str().unwrap().contains("keeps no packages"), "{error}");
}

#[test]
fn a_folder_comes_by_descriptor_with_install_alone() {
    let (host, requests) = serving(1);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plugin.json"), "{}").unwrap();
    let opened =
        || Fds::from([std::os::fd::OwnedFd::from(std::fs::File::open(folder.path()).unwrap()).into()]);
    let mut client = Client::connect(&host);
    for (id, method) in [(1, "admin.install"), (2, "admin.remove")] {
        let frame = json!({"jsonrpc": "2.0", "id": id, "fds": 1, "method": method, "params": {}});
        let fds = opened();
        scm::send(client.0.get_ref().as_fd(), format!("{frame}\n").as_bytes(), &fds, false).unwrap();
    }
    let refused = client.read();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(2), &json!(-32602)), "{refused}");
    let request = requests.recv_timeout(SOON).unwrap();
    let fd = request.fds.into_iter().next().unwrap().take().unwrap();
    let manifest = nix::fcntl::openat(
        &fd,
        "plugin.json",
        nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC,
        nix::sys::stat::Mode::empty(),
    );
    assert!(manifest.is_ok(), "it is that folder");
    request.reply.answer(Ok(AdminResult::from(raw(&json!({})))));
    assert_eq!(client.read()["id"], 1);
}

#[test]
fn the_restart_of_a_plugin_is_delegated_while_it_is_claimed() {
    let (host, requests) = serving(1);
    let mut client = Client::connect(&host);
    client.send(1, "admin.restart", &json!({"plugin_id": "other"}));
    assert_eq!(client.read()["error"]["code"], -32008, "the host knows no such plugin");
    client.send(2, "admin.restart", &json!({"plugin_id": "kv"}));
    let request = requests.recv_timeout(SOON).unwrap();
    assert_eq!(request.method, "admin.restart");
    request.reply.answer(Ok(raw(&json!({})).into()));
    assert_eq!(client.read()["id"], 2);
}
