//! One plugin's life in the pure state machines, its process and connection played by the test.
//!
//! What this file is for: launching, connecting, carrying bytes both ways, and keeping what the machines said.
//! What it deliberately does not do: check anything. What always holds: time stands still unless the test moves
//! it, and whatever the host has to write is taken at once.
#![allow(dead_code, unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::conformance::{ANYONE, Played};
use rpc_plugin_system::host::Policy;
use rpc_plugin_system::state::action::{Action, Note, StopSignal};
use rpc_plugin_system::state::call::CallEnd;
use rpc_plugin_system::state::call::{CallRequest, Target};
use rpc_plugin_system::state::keys::{CallKey, PluginKey};
use rpc_plugin_system::state::plugin::{ExitReport, PeerIdentity, status_of};
use rpc_plugin_system::state::plugin_config::PluginConfig;
use rpc_plugin_system::state::supervisor::{Supervisor, Wish};
use rpc_plugin_system::state::time::Time;
use rpc_plugin_wire::admin::PluginStatus;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_UNAUTHENTICATED;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use rpc_plugin_wire::{Generation, Token};
use serde_json::value::RawValue;
use std::time::Duration;

/// Those of the failure example, which says the hello where a row does not.
const CAPABILITIES: &str = "\"sleep\",\"work\"";
const PID: u32 = 1000;
const UID: u32 = 500;

/// An honest hello, without its line end.
pub fn hello(played: &Played<'_>) -> String {
    let Played { token, plugin_id, generation } = played;
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"host.hello\",\"params\":{{\"token\":\"{token}\",\"plugin_id\":\
         \"{plugin_id}\",\"generation\":{generation},\"protocols\":[1],\"version\":\"1.0\",\"sdk\":\"none/1\",\
         \"capabilities\":[{CAPABILITIES}],\"features\":[\"cancel\"]}}}}"
    )
}

/// An honest answer to the request of the capabilities, which is the host's first.
pub fn capabilities(played: &Played<'_>) -> String {
    let Played { plugin_id, generation, .. } = played;
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{{\"plugin_id\":\"{plugin_id}\",\"version\":\"1.0\",\
         \"generation\":{generation},\"capabilities\":[{CAPABILITIES}]}}}}"
    )
}

/// The smallest frames, so that the table's limit holds after the proof as well.
pub fn policy() -> Policy {
    Policy {
        frame_bytes_max: FRAME_BYTES_MAX_UNAUTHENTICATED,
        outbox_bytes_max: 4 * FRAME_BYTES_MAX_UNAUTHENTICATED,
        heartbeat_interval: Duration::from_secs(2),
        ..Policy::default()
    }
}

/// See the module's text.
pub struct Life {
    supervisor: Supervisor,
    key: PluginKey,
    generation: Generation,
    now: Time,
    /// What was recorded, in order.
    pub notes: Vec<Note>,
    /// Calls that ended, in order.
    pub ends: Vec<(CallKey, Box<CallEnd>)>,
    /// What the host wrote.
    pub written: Vec<u8>,
    /// What the process was sent.
    pub signals: Vec<StopSignal>,
    /// Whether the host closed the connection.
    pub closed: bool,
}

impl Life {
    /// Launched and connected; nothing was said.
    pub fn connected(policy: Policy) -> Life {
        let generation: Generation = ANYONE.generation.to_string().parse().unwrap();
        let config = PluginConfig::new(ANYONE.plugin_id.parse().unwrap(), "/played").policy(policy);
        let last = (ANYONE.generation - 1).to_string().parse().unwrap();
        let mut supervisor = Supervisor::new(7);
        let key = supervisor.add(config, Some(last)).unwrap();
        let mut life = Life {
            supervisor,
            key,
            generation,
            now: Time::ZERO,
            notes: Vec::new(),
            ends: Vec::new(),
            written: Vec::new(),
            signals: Vec::new(),
            closed: false,
        };
        life.supervisor.wish(life.now, key, Wish::Start).unwrap();
        life.settle();
        let peer = PeerIdentity { pid: PID, uid: UID };
        assert!(
            life.supervisor
                .with_plugin(life.now, key, |plugin, step| plugin
                    .handle_connection(step, generation, peer, UID))
                .unwrap_or(false)
        );
        life.settle();
        life
    }

    /// The proof is complete; the requests 0 (capabilities) and 1 (heartbeat) wait.
    pub fn greeted(policy: Policy) -> Life {
        let mut life = Life::connected(policy);
        life.feed(format!("{}\n", hello(&ANYONE)).as_bytes());
        life
    }

    /// Bytes arrive.
    pub fn feed(&mut self, bytes: &[u8]) {
        if let Some(session) = self.supervisor.session_mut(self.key, self.generation) {
            session.receiver_mut().space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
            session.receiver_mut().filled(bytes.len(), Vec::new(), false);
            self.supervisor.with_session(self.now, self.key, self.generation, |session, cx| {
                session.handle_frames(cx, usize::MAX)
            });
        }
        self.settle();
    }

    /// The plugin closes its end.
    pub fn end_of_stream(&mut self) {
        self.supervisor.handle_end_of_stream(self.now, self.key, self.generation);
        self.settle();
    }

    /// The plugin's process ends.
    pub fn exit(&mut self) {
        let exit = ExitReport { clean: true, text: "exit status 0".into(), ..ExitReport::default() };
        self.supervisor
            .with_plugin(self.now, self.key, |plugin, step| plugin.handle_exit(step, self.generation, exit));
        self.settle();
    }

    /// Time passes.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        self.supervisor.handle_time(self.now);
        self.settle();
    }

    pub fn call(&mut self, key: u64, method: &str, params: &str) {
        let params = RawValue::from_string(params.to_owned()).unwrap();
        let target = Target::Plugin(ANYONE.plugin_id.parse().unwrap());
        let mut request = CallRequest::new(target, method.to_owned());
        request.params = Some(params.get().to_owned());
        self.supervisor.call(self.now, CallKey(key), &mut request);
        self.settle();
    }

    pub fn stop(&mut self) {
        self.supervisor.wish(self.now, self.key, Wish::Stop).unwrap();
        self.settle();
    }

    pub fn status(&self) -> PluginStatus {
        status_of(self.supervisor.plugin(self.key).unwrap(), self.now)
    }

    pub fn state(&self) -> PluginState {
        self.status().state
    }

    /// All that was said to be wrong.
    pub fn complaints(&self) -> String {
        let said = self.notes.iter().flat_map(|note| [&note.error, &note.reason]).flatten();
        said.cloned().chain(self.status().last_error).collect::<Vec<_>>().join("\n")
    }

    fn settle(&mut self) {
        loop {
            while let Some(action) = self.supervisor.poll_action() {
                self.perform(action);
            }
            let Some((key, generation)) = self.supervisor.poll_waiting() else { return };
            if let Some(session) = self.supervisor.session_mut(key, generation) {
                self.written.extend_from_slice(session.queue().waiting().0);
                session.queue_mut().wrote(usize::MAX >> 1);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Prepare(key, generation, _) => {
                assert_eq!(generation, self.generation);
                let token = Token::from_hex(ANYONE.token).unwrap();
                self.supervisor.with_plugin(self.now, key, |plugin, step| {
                    plugin.handle_prepared(step, generation, Ok(token))
                });
            }
            Action::Spawn(key, generation) => {
                self.supervisor.with_plugin(self.now, key, |plugin, step| {
                    plugin.handle_spawned(step, generation, Ok(PID))
                });
            }
            Action::Asked(key, generation, asked) => {
                let text = format!("the host does not serve {:?}", asked.method);
                let error = ErrorObject::new(ErrorCode::MethodNotFound, text);
                self.supervisor.with_session(self.now, key, generation, |session, cx| {
                    session.answer(cx, &asked.id, Err(error), Vec::new())
                });
            }
            Action::Progress(..) | Action::Abandoned(..) => {}
            Action::RefuseStreams(..) | Action::Stream(..) => {}
            Action::CloseLink(_, _, last) => {
                self.written.extend(last);
                self.closed = true;
            }
            Action::Signal(_, _, signal) => self.signals.push(signal),
            Action::Complete(key, end) => self.ends.push((key, end)),
            Action::Note(note) => self.notes.push(*note),
            Action::Await(..)
            | Action::Discard(..)
            | Action::Trusted(..)
            | Action::Called(_)
            | Action::Confirm(..)
            | Action::LookAt(..)
            | Action::LookAtUse(..)
            | Action::Waited(..) => {}
        }
    }
}
