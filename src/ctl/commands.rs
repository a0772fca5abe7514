//! What each command asks the daemon, and what it prints of the answer.

use super::client::{AdminClient, Answer, RequestExtras};
use super::exit::{Exit, Failure};
use super::many::{self, PluginOutcome};
use super::out::Out;
use super::{Invocation, methods, show, table};
use crate::cli::text::{self, Style, shorten};
use rpc_plugin_wire::admin::{self, ActParams, CallParams, CallReply, PluginRef, StopParams, WaitParams};
use rpc_plugin_wire::admin::{
    DaemonStatus, DescribeReply, HeartbeatReply, PluginList, PluginStatus, RouteList,
};
use rpc_plugin_wire::describe::Description;
use rpc_plugin_wire::ident::check_method;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::limits::FRAME_BYTES_MAX_RANGE;
use rpc_plugin_wire::message::params_from;
use rpc_plugin_wire::{ErrorCode, PluginId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

/// How much longer than its own deadline the daemon's answer is waited for, where the daemon keeps the
/// deadline: what it says about it is worth more than silence.
const ANSWER_GRACE: Duration = Duration::from_millis(500);

/// A quoted answer in an error is cut here. Characters.
const QUOTED_CHARS_MAX: usize = 200;

/// How long the daemon is waited for when it is asked which method was meant.
const MEANT_WAIT: Duration = Duration::from_secs(2);

/// Who watches the deadline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deadline {
    /// This client: the daemon answers at once or not at all.
    Ours,
    /// The daemon, which was told it.
    Daemons,
}

impl Invocation<'_> {
    /// Connects to the daemon.
    pub(super) fn connect(&self, wait: Duration) -> Result<AdminClient, Failure> {
        AdminClient::connect(&self.runtime_dir, self.admin_socket.as_deref(), wait)
    }

    /// Asks the daemon; the answer as it came.
    fn ask<P: Serialize>(&self, method: &str, params: &P, kept: Deadline) -> Result<Box<RawValue>, Failure> {
        self.ask_with(method, params, kept, RequestExtras::nothing(&mut |_| {})).map(|answer| answer.result)
    }

    /// The same, with all that goes with the request.
    fn ask_with<P: Serialize>(
        &self,
        method: &str,
        params: &P,
        kept: Deadline,
        beside: RequestExtras<'_>,
    ) -> Result<Answer, Failure> {
        let wait = match kept {
            Deadline::Ours if self.timeout.is_zero() => {
                return Err(self
                    .args
                    .wrong("timeout", "0", "only start, stop and restart can do without waiting")
                    .into());
            }
            Deadline::Ours => self.timeout,
            Deadline::Daemons => self.timeout + ANSWER_GRACE,
        };
        self.connect(wait)?.request_with(method, params, beside)
    }

    /// Asks the daemon for a change of what is installed, or about it.
    #[cfg(feature = "package")]
    pub(super) fn ask_of_packages<P: Serialize>(
        &self,
        method: &str,
        params: &P,
        beside: RequestExtras<'_>,
    ) -> Result<Box<RawValue>, Failure> {
        self.ask_with(method, params, Deadline::Ours, beside).map(|answer| answer.result)
    }

    /// Asks the daemon, and prints its answer as JSON or as what `text` makes of it.
    fn show<P: Serialize, R: for<'a> Deserialize<'a>>(
        &self,
        out: &mut Out<'_>,
        (method, params, kept): (&str, P, Deadline),
        text: impl FnOnce(&R, bool) -> String,
    ) -> Result<(), Failure> {
        let result = self.ask(method, &params, kept)?;
        if out.json {
            return out.document(&result);
        }
        let text = text(&read(method, &result)?, out.stdout_colour);
        out.safe(&text)
    }

    fn timeout_ms(&self) -> u64 {
        u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
    }

    /// The plugin that the command line names.
    pub(super) fn plugin_id(&self) -> Result<PluginId, Failure> {
        let lacks = || self.args.lacking("an ID is missing");
        Ok(self.args.parse::<PluginId>(table::ID)?.ok_or_else(lacks)?)
    }

    /// The only plugin of the daemon.
    fn only_plugin(&self) -> Result<PluginId, Failure> {
        let answer = self.ask(admin::METHOD_PLUGINS, &(), Deadline::Ours)?;
        let list: PluginList = read(admin::METHOD_PLUGINS, &answer)?;
        let mut ids = list.plugins.into_iter().map(|plugin| plugin.plugin_id);
        match (ids.next(), ids.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(self.args.lacking("an ID is missing: the daemon has no plugin").into()),
            (Some(first), Some(second)) => {
                let count = 2 + ids.count() as u64;
                let more = if count > 2 { ", ..." } else { "" };
                let message = format!(
                    "an ID is missing: there are {} ({first}, {second}{more})",
                    text::count(count, "plugin")
                );
                Err(self.args.lacking(message).into())
            }
        }
    }

    fn plugin_ref(&self) -> Result<PluginRef, Failure> {
        Ok(PluginRef { plugin_id: self.plugin_id()? })
    }

    pub(super) fn status(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let request = (admin::METHOD_STATUS, (), Deadline::Ours);
        self.show(out, request, |status: &DaemonStatus, colour| show::status(status, colour))
    }

    pub(super) fn plugins(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let request = (admin::METHOD_PLUGINS, (), Deadline::Ours);
        let columns = out.stdout_columns;
        self.show(out, request, |list: &PluginList, colour| show::plugins(&list.plugins, columns, colour))
    }

    pub(super) fn plugin(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let request = (admin::METHOD_PLUGIN, self.plugin_ref()?, Deadline::Ours);
        self.show(out, request, |plugin: &PluginStatus, colour| show::plugin(plugin, colour))
    }

    pub(super) fn capabilities(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        if !self.args.is_set(table::ID) {
            let request = (admin::METHOD_PLUGINS, (), Deadline::Ours);
            return self
                .show(out, request, |list: &PluginList, colour| show::capabilities(&list.plugins, colour));
        }
        let request = (admin::METHOD_PLUGIN, self.plugin_ref()?, Deadline::Ours);
        self.show(out, request, |plugin: &PluginStatus, colour| {
            show::capabilities(std::slice::from_ref(plugin), colour)
        })
    }

    pub(super) fn routes(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let request = (admin::METHOD_ROUTES, (), Deadline::Ours);
        self.show(out, request, |list: &RouteList, colour| show::routes(&list.routes, colour))
    }

    pub(super) fn methods(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let plugin = self.plugin_ref()?;
        let id = plugin.plugin_id.clone();
        let answer = self.ask(admin::METHOD_DESCRIBE, &plugin, Deadline::Ours).map_err(|failure| {
            match failure.code == Some(ErrorCode::MethodNotFound.code()) {
                true => failure.hint(format!("'rpcpluginctl capabilities {id}' shows what it has declared")),
                false => failure,
            }
        })?;
        let Some(name) = self.args.text(table::METHOD)? else {
            if out.json {
                return out.document(&answer);
            }
            let reply: DescribeReply = read(admin::METHOD_DESCRIBE, &answer)?;
            let text = methods::listed(&reply.methods, out.stdout_columns, out.stdout_colour);
            return out.safe(&text);
        };
        let reply: DescribeReply = read(admin::METHOD_DESCRIBE, &answer)?;
        let description = Description::new(reply.methods);
        match description.method(name) {
            Some(method) if out.json => out.value(method),
            Some(method) => out.safe(&methods::whole(method, out.stdout_colour)),
            None => {
                let message = format!("{id} describes no method {:?}", shorten(name, QUOTED_CHARS_MAX));
                Err(Failure::new(Exit::Failed, message).hint(hint_of_methods(&id, description.meant(name))))
            }
        }
    }

    /// Adds the method that was probably meant to the error of a call, where the plugin says what it has.
    pub(super) fn with_meant(&self, failure: Failure, call: &CallParams) -> Failure {
        // Whoever refused it may have said so already.
        let is_unknown = failure.code == Some(ErrorCode::MethodNotFound.code())
            && !failure.message.contains("did you mean");
        let Some(plugin_id) = call.plugin_id.clone().filter(|_| is_unknown) else { return failure };
        let known = || {
            let plugin = PluginRef { plugin_id: plugin_id.clone() };
            let answer = self.connect(MEANT_WAIT).ok()?.request(admin::METHOD_DESCRIBE, &plugin).ok()?;
            serde_json::from_str::<DescribeReply>(answer.get()).ok()
        };
        let Some(reply) = known() else { return failure };
        let description = Description::new(reply.methods);
        // It is one of them all the same: the version in use may lack it.
        if description.method(&call.method).is_some() {
            return failure;
        }
        failure.hint(hint_of_methods(&plugin_id, description.meant(&call.method)))
    }

    pub(super) fn heartbeat(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let request = (admin::METHOD_HEARTBEAT, self.plugin_ref()?, Deadline::Ours);
        self.show(out, request, |reply: &HeartbeatReply, colour| show::heartbeat(reply, colour))
    }

    /// Start, stop and restart.
    pub(super) fn act(&self, out: &mut Out<'_>, method: &str) -> Result<(), Failure> {
        if let Some(ids) = self.chosen()? {
            let mut ask = |id: &PluginId, timeout| self.ask_to_act(method, id.clone(), timeout);
            let outcomes = many::act_on(method, &ids, self.timeout, &mut ask);
            return print_outcomes(out, method, &outcomes);
        }
        let plugin_id = match self.args.is_set(table::ID) || method != admin::METHOD_RESTART {
            true => self.plugin_id()?,
            false => self.only_plugin()?,
        };
        let result = self.ask_to_act(method, plugin_id, self.timeout)?;
        print_result(out, method, &result)
    }

    /// Has a plugin started, stopped or restarted, and waits for it so long.
    fn ask_to_act(
        &self,
        method: &str,
        plugin_id: PluginId,
        timeout: Duration,
    ) -> Result<Box<RawValue>, Failure> {
        let timeout_ms = Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        if method != admin::METHOD_STOP {
            return self.ask(method, &ActParams { plugin_id, timeout_ms }, Deadline::Daemons);
        }
        // Whoever stops all stops those too that are started after another.
        let with_dependents = self.args.is_set(table::WITH_DEPENDENTS) || self.args.is_set(table::ALL);
        self.ask(method, &StopParams { plugin_id, timeout_ms, with_dependents }, Deadline::Daemons)
    }

    /// The plugins that a pattern or `--all` chooses, ordered by id. `None`: the command line names one, or none.
    fn chosen(&self) -> Result<Option<Vec<PluginId>>, Failure> {
        let pattern = match self.args.text(table::ID)? {
            _ if self.args.is_set(table::ALL) => "*",
            Some(text) if many::is_pattern(text) => text,
            _ => return Ok(None),
        };
        if !many::is_sound(pattern) {
            let allowed = "a pattern of ids has letters, digits, '.', '_', '-', and '*' and '?' for others";
            return Err(self.args.wrong(table::ID, pattern, allowed).into());
        }
        let answer = self.ask(admin::METHOD_PLUGINS, &(), Deadline::Daemons)?;
        let list: PluginList = read(admin::METHOD_PLUGINS, &answer)?;
        let ids = list.plugins.into_iter().map(|plugin| plugin.plugin_id);
        let chosen: Vec<PluginId> = ids.filter(|id| many::matches(pattern, id.as_str())).collect();
        if chosen.is_empty() {
            let failure = Failure::new(Exit::UnknownPlugin, format!("no plugin's id matches {pattern}"));
            return Err(failure.hint("'rpcpluginctl plugins' lists the plugins"));
        }
        Ok(Some(chosen))
    }

    pub(super) fn wait(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let lacks = || self.args.lacking("--for STATE is missing");
        let state = self.args.parse::<PluginState>("for")?.ok_or_else(lacks)?;
        let plugin_id = self.plugin_id()?;
        let params = WaitParams { plugin_id, state, timeout_ms: Some(self.timeout_ms()) };
        let result = self.ask(admin::METHOD_WAIT, &params, Deadline::Daemons)?;
        print_result(out, admin::METHOD_WAIT, &result)
    }

    pub(super) fn call(&self, out: &mut Out<'_>, stdin: &mut dyn Read) -> Result<(), Failure> {
        let capability = self.args.text("capability")?.map(str::to_owned);
        let plugin_id = match &capability {
            None => Some(self.plugin_id()?),
            Some(name) if self.args.is_set("plugin-id") => {
                return Err(self
                    .args
                    .wrong("capability", name, "--plugin-id names the plugin already")
                    .into());
            }
            Some(_) => None,
        };
        let method = self.args.text(table::METHOD)?.unwrap_or_default();
        check_method(method).map_err(|error| self.args.wrong(table::METHOD, method, &error.to_string()))?;
        let params = CallParams {
            plugin_id,
            capability,
            method: method.to_owned(),
            params: self.call_params(stdin)?,
            timeout_ms: Some(self.timeout_ms()),
            idempotent: self.args.is_set("idempotent"),
            progress: self.args.is_set("progress"),
            take_fds: false,
        };
        self.call_and_copy(out, params)
    }

    pub(super) fn echo(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        #[derive(Serialize, Deserialize)]
        struct Echo {
            message: String,
        }
        let message = self.args.text("message")?.unwrap_or_default().to_owned();
        let params =
            params_from(&Echo { message }).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let params = CallParams {
            plugin_id: Some(self.plugin_id()?),
            method: "echo".to_owned(),
            params,
            timeout_ms: Some(self.timeout_ms()),
            ..CallParams::default()
        };
        let result = self.ask_call(&params, RequestExtras::nothing(&mut |_| {}))?.result;
        if out.json {
            return out.document(&result);
        }
        let reply: CallReply = read(admin::METHOD_CALL, &result)?;
        let echo = serde_json::from_str::<Echo>(reply.result.get()).map_err(|_| {
            let seen = shorten(reply.result.get(), QUOTED_CHARS_MAX);
            Failure::new(Exit::Failed, format!("{} answered without a \"message\": {seen}", reply.plugin_id))
        })?;
        out.line(&[(&echo.message, Style::Plain)])
    }

    pub(super) fn ask_call(&self, params: &CallParams, beside: RequestExtras<'_>) -> Result<Answer, Failure> {
        if self.timeout.is_zero() {
            return Err(self.args.wrong("timeout", "0", "a call takes longer than that").into());
        }
        self.ask_with(admin::METHOD_CALL, params, Deadline::Daemons, beside)
    }

    /// The params of a call: from the command line, from standard input, or none. Standard input is
    /// read to its end, however long that takes: it is the operator's own.
    fn call_params(&self, stdin: &mut dyn Read) -> Result<Option<Box<RawValue>>, Failure> {
        let mut from_stdin = String::new();
        let text = match self.args.text(table::JSON)? {
            None => return Ok(None),
            Some("-") if self.args.get("input").is_some_and(|input| input == "-") => {
                return Err(self
                    .args
                    .wrong("input", "-", "standard input is read for the params already")
                    .into());
            }
            Some("-") => {
                let bytes_max = *FRAME_BYTES_MAX_RANGE.end();
                let mut bounded = stdin.take(bytes_max as u64 + 1);
                bounded.read_to_string(&mut from_stdin).map_err(|error| {
                    Failure::new(Exit::Failed, format!("cannot read params from standard input: {error}"))
                })?;
                if from_stdin.len() > bytes_max {
                    let why =
                        format!("standard input has more than the {bytes_max} bytes of the largest frame");
                    return Err(Failure::new(Exit::Failed, why));
                }
                from_stdin.as_str()
            }
            Some(text) => text,
        };
        let shown = shorten(text, QUOTED_CHARS_MAX);
        let raw: Box<RawValue> = serde_json::from_str(text)
            .map_err(|error| self.args.wrong(table::JSON, &shown, &format!("not JSON: {error}")))?;
        if !raw.get().starts_with('{') {
            return Err(self.args.wrong(table::JSON, &shown, "params are a JSON object").into());
        }
        Ok(Some(raw))
    }
}

/// What to do where a plugin has no such method.
fn hint_of_methods(id: &PluginId, meant: Option<&str>) -> String {
    let lists = format!("'rpcpluginctl methods {id}' lists what it has");
    meant.map_or(lists.clone(), |meant| format!("did you mean '{meant}'? {lists}"))
}

/// Reads an answer as its type.
pub(super) fn read<'a, R: Deserialize<'a>>(method: &str, result: &'a RawValue) -> Result<R, Failure> {
    serde_json::from_str(result.get()).map_err(|error| {
        let message = format!("the daemon's answer to {method} is not what this version expects: {error}");
        Failure::new(Exit::Failed, message)
            .hint("compare 'rpcpluginctl version' with the daemon's; --json works anyway")
    })
}

/// Where a plugin is after an action, as text or as it came.
fn print_result(out: &mut Out<'_>, method: &str, result: &RawValue) -> Result<(), Failure> {
    if out.json {
        return out.document(result);
    }
    print_state(out, &read(method, result)?)
}

/// Where a plugin is, as one line.
fn print_state(out: &mut Out<'_>, plugin: &PluginStatus) -> Result<(), Failure> {
    let mut rest = String::new();
    plugin.generation.iter().for_each(|generation| rest.push_str(&format!(", generation {generation}")));
    plugin.pid.iter().for_each(|pid| rest.push_str(&format!(", pid {pid}")));
    let style = show::state_style(plugin.shown_state());
    out.line(&[
        (plugin.plugin_id.as_str(), Style::Plain),
        (": ", Style::Plain),
        (plugin.shown_state().as_str(), style),
        (&rest, Style::Plain),
    ])
}

/// What came of several plugins, a line each. Fails as the first of them, by id, that failed.
fn print_outcomes(
    out: &mut Out<'_>,
    method: &str,
    outcomes: &BTreeMap<PluginId, PluginOutcome>,
) -> Result<(), Failure> {
    if out.json {
        let plugins = outcomes.iter().map(|(id, outcome)| match outcome {
            Ok(status) => json!({"plugin_id": id, "status": status}),
            Err(failure) => json!({
                "plugin_id": id,
                "error": {"name": failure.name, "message": failure.message, "exit_code": failure.exit.code()},
            }),
        });
        out.value(&json!({"plugins": plugins.collect::<Vec<_>>()}))?;
    } else {
        for (id, outcome) in outcomes {
            match outcome {
                Ok(status) => print_state(out, &read(method, status)?)?,
                Err(failure) => out.line(&[
                    (id.as_str(), Style::Plain),
                    (": ", Style::Plain),
                    (&failure.message, Style::Bad),
                ])?,
            }
        }
    }
    let failures: Vec<&Failure> = outcomes.values().filter_map(|outcome| outcome.as_ref().err()).collect();
    let Some(first) = failures.first() else { return Ok(()) };
    let message = format!("{} of {} failed", failures.len(), text::count(outcomes.len() as u64, "plugin"));
    Err(Failure::new(first.exit, message))
}
