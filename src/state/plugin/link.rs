//! Speaking with a generation: what its session reports, and calls.

use super::demand::{cancel_held, hold_or_refuse};
use super::idle::look_before_use;
use super::launch_events::{authenticated, capabilities_reported, capabilities_requested};
use super::logged::{Recorded, call_record, note_of_fds, note_of_late, note_of_malformed, record_end};
use super::reasons::{caller_gone, first_bytes_advice};
use super::{Phase, Plugin, Rung, Step, Why};
use crate::state::action::{Action, Note};
use crate::state::call::{CallEnd, CallRequest, Target};
use crate::state::fds::Fds;
use crate::state::keys::{CallKey, Caller, Cx};
use crate::state::policy::RpcAudit;
use crate::state::route::serves_method;
use crate::state::session::{Asked, Cancelled, Fault, Introduction, Session, SessionEvent};
use rpc_plugin_peer::{Party, check_method_of_call};
use rpc_plugin_wire::brief::own_result;
use rpc_plugin_wire::event::EventKind;
use rpc_plugin_wire::ident::capability_of;
use rpc_plugin_wire::life::{
    Capabilities, METHOD_CAPABILITIES, METHOD_EVENT, METHOD_HEARTBEAT, METHOD_LOG, PluginState,
};
use rpc_plugin_wire::{CallError, CancelCause, ErrorCode, ErrorObject, Generation};
use serde_json::value::RawValue;
use std::time::Duration;

/// A plugin that closed its connection, or was told that its hello is refused, is expected to end by itself within this.
pub(super) const LINGER: Duration = Duration::from_millis(500);

/// Last bytes for a peer whose connection ends, beyond which none are sent.
const LAST_BYTES_MAX: usize = 64 * 1024;

impl Plugin {
    /// Lets the session of that generation take a step, and deals with all that it reports. `None` where it is gone.
    pub fn with_session<R>(
        &mut self,
        step: &mut Step<'_>,
        generation: Generation,
        act: impl FnOnce(&mut Session, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let result = act(self.session_mut(generation)?, &mut step.cx());
        self.pump(step);
        Some(result)
    }

    /// Sends a call, or ends it at once.
    pub fn call(&mut self, step: &mut Step<'_>, key: CallKey, call: &mut CallRequest) {
        self.counts.calls += 1;
        let record = (self.policy.rpc_audit == RpcAudit::All).then(|| {
            let recorded = (self.session.as_ref().map(Session::next_request), call.method.clone());
            let params_bytes = call.params.as_ref().map_or(0, String::len);
            call_record(self, EventKind::CallStarted, call.caller.clone(), recorded, params_bytes)
        });
        let checked = if call.is_protocol { Ok(()) } else { self.check_call(&call.method) };
        if let Err(error) = checked.and_then(|()| self.send(step, Caller::Call(key), call)) {
            hold_or_refuse(self, step, key, call, error);
        } else if let Some(record) = record {
            step.actions.push_back(Action::Called(Box::new(record)));
        }
        self.pump(step);
    }

    /// Asks for a heartbeat now, on behalf of a caller outside; the plugin need not be routable.
    pub fn probe(&mut self, step: &mut Step<'_>, key: CallKey, party: Party, timeout: Option<Duration>) {
        let timeout = timeout.unwrap_or(self.config.policy.heartbeat_timeout);
        self.counts.calls += 1;
        let mut request = CallRequest { caller: party, ..self.own_request(METHOD_HEARTBEAT, timeout) };
        if let Err(error) = self.send(step, Caller::Call(key), &mut request) {
            self.refused(step, key, &mut request, error);
        }
        self.pump(step);
    }

    /// Ends a call that was not sent to this generation.
    pub(super) fn refused(
        &mut self,
        step: &mut Step<'_>,
        key: CallKey,
        call: &mut CallRequest,
        error: CallError,
    ) {
        let end = CallEnd::of(Err(error), Some(self.id().clone()), self.generation);
        let (method, caller) = (std::mem::take(&mut call.method), std::mem::take(&mut call.caller));
        self.complete(step, key, (None, method), caller, end);
    }

    /// The caller of a call has gone. That is an end of the call on record, and for nobody else.
    pub fn cancel(&mut self, step: &mut Step<'_>, key: CallKey, cause: Option<&CancelCause>) {
        if cancel_held(self, step, key, cause) {
            return;
        }
        let Some(session) = &mut self.session else { return };
        let Some(cancelled) = session.cancel(&mut step.cx(), Caller::Call(key), cause) else {
            return;
        };
        let Cancelled { id, caller, method, was_sent, took } = cancelled;
        let error = self.here(caller_gone(was_sent, cause));
        record_end(self, step, (Some(id), method), caller, took, &Err(error));
        self.pump(step);
    }

    /// A request without params.
    fn own_request(&self, method: &'static str, timeout: Duration) -> CallRequest {
        let target = Target::Plugin(self.id().clone());
        CallRequest { timeout: Some(timeout), ..CallRequest::new(target, method) }
    }

    /// Sends a request of the plugin's machine: no params, nobody else's call. It is refused only without a session, or by
    /// one that has ended, which is dealt with where it ends.
    pub(super) fn ask(
        &mut self,
        step: &mut Step<'_>,
        caller: Caller,
        method: &'static str,
        timeout: Duration,
    ) {
        let _ = self.send(step, caller, &mut self.own_request(method, timeout));
    }

    fn send(&mut self, step: &mut Step<'_>, caller: Caller, call: &mut CallRequest) -> Result<(), CallError> {
        let Some(session) = self.session.as_mut() else { return Err(self.unavailable()) };
        session.request(&mut step.cx(), caller, call).map_err(|refused| self.here(refused.into()))
    }

    /// Names this plugin and generation in an error.
    fn here(&self, error: CallError) -> CallError {
        error.at(&self.config.id, self.generation)
    }

    fn unavailable(&self) -> CallError {
        let state = self.state();
        let within = if state == PluginState::Backoff { "in " } else { "" };
        let mut message = format!("the plugin is {within}{state}");
        if let Some(error) = &self.last_error {
            message = format!("{message}; {error}");
        }
        self.here(CallError::not_sent(ErrorCode::Unavailable, message))
    }

    /// Whether a call may go out at all.
    fn check_call(&self, method: &str) -> Result<(), CallError> {
        let refuse = |code, message: String| Err(self.here(CallError::not_sent(code, message)));
        if let Err(refused) = check_method_of_call(method) {
            return refuse(refused.code, refused.why);
        }
        match self.phase {
            Phase::Running(state) if state.is_routable() => {}
            Phase::Running(PluginState::Overloaded) => {
                return refuse(ErrorCode::Overloaded, "the plugin says that it is overloaded".into());
            }
            _ => return Err(self.unavailable()),
        }
        if !serves_method(self.capabilities(), method) {
            let capability = capability_of(method);
            let known = self.capabilities().join(", ");
            return refuse(
                ErrorCode::MethodNotFound,
                format!("the plugin has no capability {capability:?}; it has {known}"),
            );
        }
        Ok(())
    }

    fn complete(
        &mut self,
        step: &mut Step<'_>,
        key: CallKey,
        recorded: Recorded,
        caller: Party,
        mut end: Box<CallEnd>,
    ) {
        end.is_recorded = record_end(self, step, recorded, caller, end.took, &end.result);
        step.actions.push_back(Action::Complete(key, end));
    }

    /// Takes over all that the session has to report.
    pub(super) fn pump(&mut self, step: &mut Step<'_>) {
        while let Some(event) = self.session.as_mut().and_then(Session::poll_event) {
            self.handle_session_event(step, event);
        }
    }

    fn handle_session_event(&mut self, step: &mut Step<'_>, event: SessionEvent) {
        match event {
            SessionEvent::Authenticated(introduction) => self.handle_authenticated(step, *introduction),
            SessionEvent::Completed { caller, party, id, method, end } => match caller {
                Caller::Call(key) => self.complete(step, key, (Some(id), method), party, end),
                Caller::Heartbeat => self.handle_heartbeat(step, end.result),
                Caller::Capabilities => self.handle_capabilities(step, end.result),
                Caller::Shutdown => {}
            },
            SessionEvent::Progress(key, value) => step.actions.push_back(Action::Progress(key, value)),
            SessionEvent::Asked(asked) => self.handle_asked(step, asked),
            SessionEvent::Unwanted(numbers) => self.refuse_streams(step, numbers),
            SessionEvent::Stream(frame) => {
                self.act(step, |key, generation| Action::Stream(key, generation, frame));
            }
            SessionEvent::Abandoned(id, cause) => {
                self.act(step, |key, generation| Action::Abandoned(key, generation, id, cause));
            }
            SessionEvent::Told(method, params) => {
                if let Err(error) = self.take_said(step, method, params.as_deref())
                    && let Some(note) = note_of_malformed(method, error)
                {
                    self.note(step, note);
                }
            }
            SessionEvent::LacksFds(lacks) => self.note(step, note_of_fds(lacks)),
            SessionEvent::BadFrame(meant, why) => {
                let text = format!("a frame came that is no message: {meant}");
                self.note(step, Note::new(EventKind::BadFrame, text).error(why));
            }
            SessionEvent::LateAnswer(method, caller, gave_up) => {
                self.counts.late_answers += u64::from(!gave_up);
                self.note(step, note_of_late(gave_up).method(method).by(caller));
            }
            SessionEvent::LacksVersion => self.fault.is_permanent = true,
            SessionEvent::Fault(fault) => self.handle_fault(step, fault),
        }
    }

    /// Handles a request of the plugin: its log and events are answered here, the rest is handed on.
    fn handle_asked(&mut self, step: &mut Step<'_>, asked: Box<Asked>) {
        let Some(generation) = self.generation else { return };
        if !matches!(asked.method.as_str(), METHOD_LOG | METHOD_EVENT) {
            return step.actions.push_back(Action::Asked(self.key, generation, asked));
        }
        let said = self.take_said(step, &asked.method, asked.params.as_deref());
        self.refuse_streams(step, asked.streams);
        let answer = said.map(|()| RawValue::from_string("{}".to_owned()).unwrap_or_default());
        // What follows from it is seen by whoever handles this event.
        if let Some(session) = self.session_mut(generation) {
            let answer = answer.as_deref().map_err(Clone::clone);
            session.answer(&mut step.cx(), &asked.id, answer, Fds::new());
        }
    }

    /// Puts on record what the plugin logged, or says why not.
    fn take_said(
        &mut self,
        step: &mut Step<'_>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<(), ErrorObject> {
        let (dropped, said) = self.events.take(step.now, method, params);
        if let Some(dropped) = dropped {
            self.note(step, dropped);
        }
        if said.is_err()
            && let Some(session) = &mut self.session
        {
            let bytes = params.map_or(0, |params| params.get().len());
            session.unasked().refused(step.now, 1, bytes);
        }
        said.map(|note| self.note(step, note))
    }

    /// Has streams that nobody takes be ended.
    fn refuse_streams(&self, step: &mut Step<'_>, numbers: Vec<u64>) {
        if !numbers.is_empty() {
            self.act(step, |key, generation| Action::RefuseStreams(key, generation, numbers));
        }
    }

    fn handle_authenticated(&mut self, step: &mut Step<'_>, introduction: Introduction) {
        authenticated(self, step, &introduction);
        self.introduction = Some(introduction);
        self.act(step, Action::Trusted);
        look_before_use(self, step);
        let timeout = self.policy.ready_timeout;
        capabilities_requested(self, step);
        self.enter(step, Phase::Proving { capable: false, healthy: None }, Some(timeout));
        self.ask(step, Caller::Capabilities, METHOD_CAPABILITIES, timeout);
        self.handle_heartbeat_due(step);
    }

    fn handle_capabilities(&mut self, step: &mut Step<'_>, result: Result<Box<RawValue>, CallError>) {
        let Phase::Proving { healthy, .. } = self.phase else { return };
        let problem = match result {
            Err(error) if error.is_unread() => Some(format!("its answer to {METHOD_CAPABILITIES}: {error}")),
            // The end of the connection is reported by itself.
            Err(error) if error.outcome != rpc_plugin_wire::Outcome::Answered => return,
            Err(error) => Some(format!("it answered {METHOD_CAPABILITIES} with an error: {error}")),
            Ok(raw) => self.check_capabilities(&raw).err(),
        };
        if let Some(problem) = problem {
            return self.fail(step, problem);
        }
        capabilities_reported(self, step);
        self.phase = Phase::Proving { capable: true, healthy };
        self.check_ready(step);
    }

    fn check_capabilities(&self, raw: &RawValue) -> Result<(), String> {
        let seen: Capabilities = own_result(raw)
            .map_err(|error| format!("its answer to {METHOD_CAPABILITIES} is malformed: {error}"))?;
        if seen.plugin_id != self.config.id || Some(seen.generation) != self.generation {
            return Err(format!(
                "{METHOD_CAPABILITIES} names plugin {:?} generation {}, launched was {:?} generation {}",
                seen.plugin_id,
                seen.generation,
                self.config.id,
                self.generation.map_or(0, Generation::get)
            ));
        }
        seen.check().map_err(|error| format!("its answer to {METHOD_CAPABILITIES} is refused: {error}"))?;
        if seen.capabilities != self.capabilities() {
            return Err(format!(
                "{METHOD_CAPABILITIES} lists {:?}, its hello listed {:?}",
                seen.capabilities,
                self.capabilities()
            ));
        }
        Ok(())
    }

    fn handle_fault(&mut self, step: &mut Step<'_>, fault: Fault) {
        let doing = self.doing();
        let is_first = self.phase == Phase::Greeting && fault != Fault::EndOfStream;
        let advice = if is_first { first_bytes_advice(self.policy.transport) } else { "" };
        self.close_link(step, &fault.to_string());
        let kind = match fault {
            Fault::NotAuthenticated(_) => EventKind::AuthenticationFailed,
            Fault::Violation(_) => EventKind::ProtocolViolation,
            Fault::Poisoned(..) => EventKind::ConnectionPoisoned,
            Fault::EndOfStream => EventKind::ConnectionLost,
        };
        let ending = matches!(self.phase, Phase::Ending(..));
        if !(ending && fault == Fault::EndOfStream) {
            self.note(
                step,
                Note::new(kind, format!("the connection ended {doing}")).error(fault.to_string()),
            );
        }
        if ending {
            return;
        }
        if fault == Fault::EndOfStream {
            let doing = format!("{fault} {doing}");
            self.enter(step, Phase::Ending(Why::Lost(doing), Rung::Linger), Some(LINGER));
        } else if is_first && !self.config.is_by_hand() {
            self.fail_refused(step, format!("{fault}{advice}"));
        } else {
            self.fail(step, format!("{fault}{advice}"));
        }
    }

    /// Ends the connection from this side, if there is one; every call in flight ends, and is told why.
    pub(super) fn close_link(&mut self, step: &mut Step<'_>, why: &str) {
        let Some(session) = self.session.as_mut() else { return };
        session.close(&mut step.cx(), why);
        // What the session still has to say: the ends of calls; a fault is being handled already.
        while let Some(event) = self.session.as_mut().and_then(Session::poll_event) {
            if let SessionEvent::Completed { caller: Caller::Call(key), party, id, method, end } = event {
                self.complete(step, key, (Some(id), method), party, end);
            }
        }
        let Some(mut session) = self.session.take() else { return };
        // Last bytes are sent without descriptors.
        session.queue_mut().withdraw_all_attached();
        let fits = session.queue().waiting_bytes() <= LAST_BYTES_MAX;
        let last = if fits { session.queue().all_waiting() } else { Vec::new() };
        self.act(step, |key, generation| Action::CloseLink(key, generation, last));
    }
}
