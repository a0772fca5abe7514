//! What children ask of the host: calls of other plugins, forwarded as the event loop does it, and given up.
//!
//! What always holds: each is answered once, or its connection has ended.

use crate::ledger::Id;
use crate::world::World;
use fastrand::Rng;
use rpc_plugin_system::state::call::CallEnd;
use rpc_plugin_system::state::keys::CallKey;
use rpc_plugin_system::state::permit::permit;
use rpc_plugin_system::state::plugin_config::MayCall;
use rpc_plugin_system::state::session::Asked;
use rpc_plugin_wire::{ErrorCode, ErrorObject, RequestId};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a plugin may call.
pub fn random_may_call(rng: &mut Rng) -> MayCall {
    let any = || vec!["*".to_owned()];
    match rng.u8(0..4) {
        0 => MayCall::default(),
        1 => MayCall { plugins: vec!["plugin0".into()], capabilities: vec!["echo".into()] },
        _ => MayCall { plugins: any(), capabilities: any() },
    }
}

/// Requests of one child that wait for an answer.
#[derive(Debug, Default)]
pub struct Asking {
    waiting: BTreeSet<String>,
    next: u64,
}

impl Asking {
    /// The next thing that a child says of itself.
    pub fn say(&mut self, rng: &mut Rng) -> Value {
        if rng.u8(0..5) == 0
            && let Some(id) = self.waiting.iter().nth(rng.usize(0..self.waiting.len().max(1)))
        {
            return json!({"jsonrpc": "2.0", "method": "rpc.cancel", "params": {"id": id}});
        }
        self.next += 1;
        let id = format!("q{}", self.next);
        let (method, params) = match rng.u8(0..10) {
            0..=2 => ("host.log", json!({"level": "info", "message": "it lives"})),
            3..=4 => ("host.event", json!({"name": "lives", "data": self.next})),
            5 => ("no.service", json!({})),
            6 => ("host.call", json!({"capability": "echo", "method": "echo.any"})),
            _ => {
                let other = format!("plugin{}", rng.u8(0..9));
                let params = json!({"plugin_id": other, "method": "echo.any", "params": {"x": "y".repeat(rng.usize(0..300))}});
                ("host.call", params)
            }
        };
        let mut ask = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        if method == "host.call" {
            ask["deadline_ms"] = json!(rng.u64(0..1500));
            ask["progress"] = json!(rng.bool());
            ask["params"]["idempotent"] = json!(rng.u8(0..4) == 0);
        }
        self.waiting.insert(id);
        ask
    }

    pub fn answered(&mut self, id: &str) {
        assert!(self.waiting.remove(id), "the host answers {id}, which nobody asked or which has its answer");
    }

    pub fn goes_on(&self, id: &str) {
        assert!(self.waiting.contains(id), "the host tells progress of {id}, which does not wait");
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl World {
    /// A child asks for something.
    pub fn child_asks(&mut self, id: Id, asked: Asked) {
        let request = asked.id.clone();
        if asked.method != "host.call" {
            let error = ErrorObject::new(ErrorCode::MethodNotFound, "no such method");
            self.host.with_session(self.now, id.0, id.1, |session, cx| {
                session.answer(cx, &request, Err(error), Vec::new())
            });
            return;
        }
        match permit(&self.host, self.now, id.0, asked) {
            Err(error) => {
                self.coverage.saw(&format!("asked call {}", error.kind().name()));
                self.host.with_session(self.now, id.0, id.1, |session, cx| {
                    session.answer(cx, &request, Err(error), Vec::new())
                });
            }
            Ok(mut call) => {
                let key = self.ledger.new_call(self.now, call.timeout.unwrap(), false);
                if call.idempotent {
                    self.ledger.may_repeat(key);
                }
                // By this its frame is known again.
                call.method = format!("echo.{}", key.0).into();
                if let Some(plugin) = self.host.plugin(id.0) {
                    call.caller = rpc_plugin_peer::Party::Plugin(plugin.id().clone());
                }
                self.tell(format_args!("  {id:?} {request} becomes call {} of {:?}", key.0, call.target));
                self.forwards.insert(key, (id, request));
                let at = self.host.call(self.now, key, &mut call);
                self.calls_at.insert(key, at);
            }
        }
    }

    /// A call ended that a child may have asked for.
    pub fn tell_child(&mut self, call: CallKey, end: &CallEnd) {
        let Some((id, request)) = self.forwards.remove(&call) else { return };
        let what = end.result.as_ref().map_or_else(|error| error.code.name(), |_| "ok");
        self.coverage.saw(&format!("asked call {what}"));
        let result = end.result.as_ref().map(|raw| &**raw).map_err(|error| error.to_object());
        self.host.with_session(self.now, id.0, id.1, |session, cx| {
            session.answer(cx, &request, result, Vec::new())
        });
    }

    pub fn tell_child_progress(&mut self, call: CallKey, value: &RawValue) {
        if let Some((id, request)) = self.forwards.get(&call) {
            self.coverage.saw("asked call goes on");
            self.host.with_session(self.now, id.0, id.1, |session, _| session.progress(request, value));
        }
    }

    /// A child does not wait any more; it is answered all the same.
    pub fn child_gives_up(&mut self, id: Id, request: &RequestId) {
        let call = self.forwards.iter().find(|(_, (from, asked))| (from, asked) == (&id, request));
        let Some(call) = call.map(|(call, _)| *call) else { return };
        self.coverage.saw("asked call given up");
        self.give_up(call);
        let error = ErrorObject::new(ErrorCode::Cancelled, "the call was cancelled");
        self.host.with_session(self.now, id.0, id.1, |session, cx| {
            session.answer(cx, request, Err(error), Vec::new())
        });
    }

    /// A connection ended, and with it all that its child waited for.
    pub fn child_is_gone(&mut self, id: Id) {
        let calls: Vec<CallKey> =
            self.forwards.iter().filter(|(_, (from, _))| *from == id).map(|(call, _)| *call).collect();
        for call in calls {
            self.coverage.saw("asked call of one that is gone");
            self.give_up(call);
        }
    }

    fn give_up(&mut self, call: CallKey) {
        self.forwards.remove(&call);
        self.given_up.insert(call);
        self.ledger.cancel(call);
        let at = self.calls_at.get(&call).copied().flatten();
        self.host.cancel(self.now, call, at, None);
    }

    /// All is well and quiet: nobody who is there waits for the host.
    pub fn check_asks(&self) {
        assert!(self.forwards.is_empty(), "calls for children that never ended");
        for (id, process) in &self.processes {
            let is_there = self.links.get(id).is_some_and(|link| link.host_open && link.child_open);
            let waiting = process.child.asking.waiting();
            assert!(!is_there || !process.alive || waiting == 0, "{id:?} waits for {waiting} answers");
        }
    }
}
