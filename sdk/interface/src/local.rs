//! A caller that calls into tables in the same process, on the calling thread: for tests without host and plugin.
//!
//! What it deliberately does not do: cancel, let a deadline pass, or report progress. What a handler sees of its
//! deadline is true, and nobody acts on it.
//!
//! What always holds: arguments and results go through JSON and descriptors beside them ([`Parcel`]),
//! as they would on a connection.

use crate::caller::{Caller, Outgoing, Reply};
use crate::context::{CallerLink, Context, Served};
use crate::parcel::{CallBackFn, Parcel};
use crate::table::{InterfaceTable, MethodFn};
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, RequestId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Serves interfaces to clients in the same process.
///
/// ```
/// use rpc_plugin_interface::{CallError, Context, HandlerError, Local};
///
/// rpc_plugin_interface::interface! {
///     /// Greets people.
///     pub trait Greeter = "greeter" version 1, client GreeterClient {
///         /// A greeting for one of them.
///         fn greet(name: String) -> String;
///     }
/// }
///
/// struct Polite;
///
/// impl Greeter for Polite {
///     fn greet(&self, _: &Context, name: String) -> Result<String, HandlerError> {
///         Ok(format!("Good day, {name}."))
///     }
/// }
///
/// let client = GreeterClient::new(Local::new(Polite.into_table()));
/// assert_eq!(client.greet("Ann")?, "Good day, Ann.");
/// # Ok::<(), CallError>(())
/// ```
#[derive(Default)]
pub struct Local {
    methods: BTreeMap<String, MethodFn>,
    versions: Arc<BTreeMap<String, u32>>,
    host: Option<Arc<Local>>,
    next_id: AtomicU64,
}

impl Local {
    /// One that serves this interface.
    #[must_use]
    pub fn new(table: InterfaceTable) -> Local {
        Local::default().and(table)
    }

    /// The same with one more interface. Of two versions of one, the later counts.
    #[must_use]
    pub fn and(mut self, table: InterfaceTable) -> Local {
        let prefix = format!("{}.", table.name());
        self.methods.retain(|known, _| !known.starts_with(&prefix));
        self.methods.extend(table.methods().map(|(name, function)| (name.to_owned(), Arc::clone(function))));
        Arc::make_mut(&mut self.versions).insert(table.name().to_owned(), table.version());
        self
    }

    /// The same with what handlers reach when they call the other side through their [`Context`].
    #[must_use]
    pub fn with_host(mut self, host: Local) -> Local {
        self.host = Some(Arc::new(host));
        self
    }

    fn serve(&self, function: &MethodFn, call: Outgoing) -> Result<Reply, ErrorObject> {
        let Parcel { fds, callbacks } = call.parcel;
        let other_side = OtherSide { callbacks: callbacks.into_iter().collect(), host: self.host.clone() };
        let served = Served {
            deadline: call.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            link: Some(Arc::new(other_side)),
            interfaces: Arc::clone(&self.versions),
            ..Served::default()
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let context = Context::new(RequestId::Number(id), served);
        let params = call.params.map(raw).transpose()?;
        let mut result = Vec::new();
        let answered = function(&context, params.as_deref(), fds, &mut result);
        context.end();
        let fds = answered?;
        let internal =
            |error: &dyn fmt::Display| ErrorObject::new(ErrorCode::InternalError, error.to_string());
        let result = String::from_utf8(result).map_err(|error| internal(&error))?;
        Ok(Reply { result: raw(result)?, fds })
    }
}

fn raw(text: String) -> Result<Box<RawValue>, ErrorObject> {
    RawValue::from_string(text).map_err(|error| ErrorObject::new(ErrorCode::InternalError, error.to_string()))
}

impl Caller for Local {
    fn make(&self, call: Outgoing) -> Result<Reply, CallError> {
        let Some(function) = self.methods.get(&*call.method) else {
            let text = format!("nothing serves {:?} here", call.method);
            return Err(CallError::answered(ErrorObject::new(ErrorCode::MethodNotFound, text)));
        };
        self.serve(function, call).map_err(CallError::answered)
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("methods", &self.methods.keys()).finish_non_exhaustive()
    }
}

/// The maker of a local call, as its handler sees it.
struct OtherSide {
    callbacks: BTreeMap<u64, CallBackFn>,
    host: Option<Arc<Local>>,
}

impl CallerLink for OtherSide {
    fn progress(&self, _: &Context, _: &str) {}

    fn call_back(
        &self,
        _: &Context,
        id: u64,
        params: Option<String>,
        parcel: Parcel,
    ) -> Result<Reply, CallError> {
        let made = match self.callbacks.get(&id) {
            Some(function) => params
                .map(raw)
                .transpose()
                .and_then(|params| function(params.as_deref(), parcel.fds))
                .and_then(raw),
            None => Err(ErrorObject::new(ErrorCode::InvalidParams, format!("there is no callback {id}"))),
        };
        Ok(Reply { result: made.map_err(CallError::answered)?, fds: Vec::new() })
    }

    fn make(&self, _: &Context, made: Outgoing) -> Result<Reply, CallError> {
        match &self.host {
            Some(host) => host.make(made),
            None => {
                let text = "this caller has no other side; give it one with `Local::with_host`";
                Err(CallError::not_sent(ErrorCode::Unavailable, text))
            }
        }
    }
}
