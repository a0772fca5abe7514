//! A host in the process: tests of a plugin without a daemon, a program or a file.
//!
//! What this module is for: a [`TestHost`] runs a plugin on a thread, over a pair of sockets, and does with it what a host
//! does: it checks the hello with its token, asks for capabilities and health, sends heartbeats, calls, cancels, and ends
//! it by `plugin.shutdown`. Descriptors and callbacks travel as they do on a connection, because this is one.
//!
//! What it deliberately does not do: launch a process, restart it, keep a record, or pass calls on to other plugins.

mod call;
mod connection;

pub use call::TestCall;

use crate::config::{Channel, Config};
use crate::error::{End, Error};
use crate::plugin::Plugin;
use connection::{Connection, HELLO_TIMEOUT};
use rpc_plugin_interface::caller::{outgoing, pack};
use rpc_plugin_interface::client::unpack;
use rpc_plugin_interface::{CallOptions, Caller, Local, Outgoing, Reply};
use rpc_plugin_wire::describe::{Description, METHOD_DESCRIBE};
use rpc_plugin_wire::life::{
    Capabilities, HealthStatus, Heartbeat, HostEvent, METHOD_CAPABILITIES, METHOD_HEARTBEAT, METHOD_SHUTDOWN,
};
use rpc_plugin_wire::{CallError, ErrorCode, Generation, Outcome, PluginId, Token};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

/// The id as which a plugin is launched.
const PLUGIN_ID: &str = "tested";
/// How long a plugin may take to end once it is asked.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// Events that wait for [`TestHost::next_event`]; further ones are dropped.
const EVENTS_MAX: usize = 1024;

/// A host in the process, with one plugin. Calls are those of a host's plugin, and clients of interfaces take it for one.
///
/// ```
/// use rpc_plugin_sdk::testing::TestHost;
/// use rpc_plugin_sdk::{Call, End, HandlerError, Plugin};
///
/// #[derive(serde::Deserialize)]
/// struct Sum {
///     a: u32,
///     b: u32,
/// }
///
/// let plugin = Plugin::new("1.0.0")
///     .method("add", |_: &Call, sum: Sum| -> Result<u32, HandlerError> { Ok(sum.a + sum.b) });
/// let host = TestHost::start(plugin)?;
/// let sum: u32 = host.call("add", &serde_json::json!({"a": 1, "b": 2}))?;
/// assert_eq!(sum, 3);
/// assert_eq!(host.shutdown()?, End::Shutdown);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct TestHost {
    connection: Arc<Connection>,
    ended: Receiver<Result<End, Error>>,
    events: Receiver<HostEvent>,
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost").finish_non_exhaustive()
    }
}

impl TestHost {
    /// Runs a plugin until it takes calls, at most 10 seconds.
    ///
    /// # Errors
    /// The plugin ended instead, with its own error; or what it sent is refused by a host; or the system is short of
    /// threads or descriptors.
    pub fn start(plugin: Plugin) -> Result<TestHost, Box<dyn std::error::Error + Send + Sync>> {
        TestHost::start_with(plugin, Local::default())
    }

    /// The same of a host that serves these interfaces to its plugin. They answer what it calls of other plugins, too.
    ///
    /// # Errors
    /// As [`TestHost::start`].
    pub fn start_with(
        plugin: Plugin,
        services: Local,
    ) -> Result<TestHost, Box<dyn std::error::Error + Send + Sync>> {
        let mut token = [0; Token::BYTES];
        File::open("/dev/urandom")?.read_exact(&mut token)?;
        let (plugin_id, generation) = (PLUGIN_ID.parse::<PluginId>()?, Generation::FIRST);
        let config = || Config {
            channel: Channel::Socket("/nowhere".into()),
            plugin_id: plugin_id.clone(),
            generation,
            token: Token::from_bytes(token),
            host_pid: std::process::id(),
            hello_timeout: HELLO_TIMEOUT,
            log_folder: None,
        };
        let (ours, theirs) = UnixStream::pair()?;
        let (end, ended) = channel();
        let of_plugin = config();
        crate::threads::handler_builder("plugin".to_owned()).spawn(move || {
            // Nobody waits for the end of a plugin whose host was dropped.
            let _ = end.send(plugin.serve(of_plugin, theirs));
        })?;
        let (told, events) = sync_channel(EVENTS_MAX);
        let connection = match Connection::open(ours, &config(), services, told) {
            Ok(connection) => connection,
            // The plugin says best why it did not come.
            Err(why) => match ended.recv_timeout(END_TIMEOUT) {
                Ok(Err(error)) => return Err(error.into()),
                _ => return Err(why.into()),
            },
        };
        let host = TestHost { connection, ended, events };
        let known: Capabilities = host.call(METHOD_CAPABILITIES, &())?;
        known.check()?;
        if known.plugin_id != plugin_id || known.generation != generation {
            return Err("its capabilities are those of another plugin".into());
        }
        match host.health()? {
            HealthStatus::Unhealthy => Err("it reports unhealthy".into()),
            _ => Ok(host),
        }
    }

    /// Calls a method and waits for its result, at most 30 seconds.
    ///
    /// # Errors
    /// Exactly one [`CallError`] tells what happened and whether the plugin can have seen the call.
    pub fn call<P, R>(&self, method: &str, params: &P) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        unpack(method, self.make(outgoing(method.to_owned(), params)?)?)
    }

    /// Begins a call: to cancel it, or to be told of its progress where `options` ask for that.
    ///
    /// # Errors
    /// Params that do not serialise; the plugin has ended.
    pub fn call_start<P: Serialize + ?Sized>(
        &self,
        method: &str,
        params: &P,
        options: CallOptions,
    ) -> Result<TestCall, CallError> {
        let (params, parcel) = pack(params)?;
        let timeout = options.time_left(Instant::now)?;
        let CallOptions { idempotent, retry, progress, .. } = options;
        let method = Cow::Owned(method.to_owned());
        let call = Outgoing { method, params, parcel, timeout, idempotent, retry };
        Ok(TestCall::new(&self.connection, self.connection.call(call, progress)?))
    }

    /// Asks how the plugin is.
    ///
    /// # Errors
    /// As [`TestHost::call`].
    pub fn health(&self) -> Result<HealthStatus, CallError> {
        let heartbeat: Heartbeat = self.call(METHOD_HEARTBEAT, &())?;
        Ok(heartbeat.status)
    }

    /// Asks the plugin what its methods take and give.
    ///
    /// # Errors
    /// As [`TestHost::call`]; `invalid_response` where a host would refuse the description.
    pub fn describe(&self) -> Result<Description, CallError> {
        let answer: Box<RawValue> = self.call(METHOD_DESCRIBE, &())?;
        Description::read(&answer).map_err(|why| {
            let text = format!("its description is refused: {why}");
            CallError { outcome: Outcome::Answered, ..CallError::not_sent(ErrorCode::InvalidResponse, text) }
        })
    }

    /// Waits for the next event that the plugin told ([`Host::event`](crate::Host::event)): its name and data. `None` when
    /// none came in time.
    #[must_use]
    pub fn next_event(&self, timeout: Duration) -> Option<(String, Option<serde_json::Value>)> {
        self.events.recv_timeout(timeout).ok().map(|event| (event.name, event.data))
    }

    /// Asks the plugin to end, and waits for it, at most 10 seconds.
    ///
    /// # Errors
    /// The plugin ended with an error, before or now, or does not end.
    pub fn shutdown(self) -> Result<End, Box<dyn std::error::Error + Send + Sync>> {
        // How it ended says more than why this was not answered.
        let asked = self.call::<_, serde_json::Value>(METHOD_SHUTDOWN, &());
        match self.ended.recv_timeout(END_TIMEOUT) {
            Ok(end) => Ok(end?),
            Err(RecvTimeoutError::Timeout) => {
                asked?;
                Err("it was asked to end, and does not".into())
            }
            Err(RecvTimeoutError::Disconnected) => Err("it panicked".into()),
        }
    }
}

/// Clients of interfaces make their calls through it: `GreeterClient::new(&host)`.
impl Caller for TestHost {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        TestCall::new(&self.connection, self.connection.call(call, false)?).end()
    }
}

/// The plugin finds its host gone.
impl Drop for TestHost {
    fn drop(&mut self) {
        self.connection.close("its host was dropped");
    }
}
