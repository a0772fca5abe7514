//! What serves an interface: its methods by name, and several versions of it beside each other.
//!
//! What it deliberately does not do: run anything on a thread of its own, or know a connection. SDK and host put a
//! table's methods among their own.
//!
//! What always holds: the methods of a table are called `INTERFACE.METHOD`; a name and version is there once.

use crate::arguments::{Arguments, read_arguments};
use crate::arrived::{Arrived, provide};
use crate::context::Context;
use crate::describe::of_interface;
use crate::error::HandlerError;
use crate::parcel::{Parcel, collect};
use rpc_plugin_wire::describe::MethodDescription;
use rpc_plugin_wire::json::write_json;
use rpc_plugin_wire::message::params_into;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Serves one method: the call, its params and the descriptors that came with them go in; the result is appended as
/// JSON, and what travels beside it given back. After an error, what was appended is to be thrown away.
pub type MethodFn = Arc<
    dyn Fn(&Context, Option<&RawValue>, Vec<OwnedFd>, &mut Vec<u8>) -> Result<Vec<OwnedFd>, ErrorObject>
        + Send
        + Sync,
>;

/// Makes the description of one method.
type DescribeFn = Arc<dyn Fn() -> MethodDescription + Send + Sync>;

/// One version of an interface with what serves it. [`interface!`](crate::interface!) makes it; a plugin or a host
/// serves it.
#[derive(Clone)]
pub struct InterfaceTable {
    name: &'static str,
    version: u32,
    methods: Vec<(String, MethodFn)>,
    descriptions: Vec<DescribeFn>,
}

impl InterfaceTable {
    /// One without methods.
    #[must_use]
    pub fn new(name: &'static str, version: u32) -> InterfaceTable {
        InterfaceTable { name, version, methods: Vec::new(), descriptions: Vec::new() }
    }

    /// Adds a method, by its name without the interface's. The later of two of one name counts.
    pub fn add(&mut self, method: &str, function: MethodFn) {
        let method = format!("{}.{method}", self.name);
        self.methods.retain(|(known, _)| *known != method);
        self.methods.push((method, function));
    }

    /// Adds a method that takes these arguments. What a declaration's trait turns into.
    #[doc(hidden)]
    pub fn add_typed<A, R, E>(
        &mut self,
        method: &str,
        names: &'static [&'static str],
        function: impl Fn(&Context, A) -> Result<R, E> + Send + Sync + 'static,
    ) where
        A: Arguments + 'static,
        R: Serialize,
        E: Into<HandlerError>,
    {
        let serve = move |call: &Context, params: Option<&RawValue>, fds, out: &mut Vec<u8>| {
            let arrived = Arrived { fds, call: Some(call.clone()) };
            let arguments = provide(arrived, || read_arguments(names, params))?;
            let result = function(call, arguments);
            call.end();
            answer(&result.map_err(|error| error.into().into_object())?, out)
        };
        self.add(method, Arc::new(serve));
    }

    /// Says what is told of a method: the lines of its comment, and the types of its arguments and result.
    #[doc(hidden)]
    pub fn describe<A, R>(
        &mut self,
        method: &str,
        names: &'static [&'static str],
        docs: &'static [&'static str],
    ) where
        A: Arguments + 'static,
        R: DeserializeOwned,
    {
        let method = format!("{}.{method}", self.name);
        self.descriptions.push(Arc::new(move || of_interface::<A, R>(&method, names, docs)));
    }

    /// What is told of the methods, for `plugin.describe`. Made anew each time.
    #[must_use]
    pub fn descriptions(&self) -> Vec<MethodDescription> {
        self.descriptions.iter().map(|describe| describe()).collect()
    }

    /// The interface's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The version of it that this is.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The methods, by their names on the wire.
    pub fn methods(&self) -> impl Iterator<Item = (&str, &MethodFn)> {
        self.methods.iter().map(|(name, function)| (name.as_str(), function))
    }

    /// What serves the method of this name on the wire.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<&MethodFn> {
        self.methods().find(|(known, _)| *known == name).map(|(_, function)| function)
    }
}

/// Serves one call with typed params and result: reads the params and what came beside them, and appends the result to
/// `out` as JSON. Gives the descriptors that travel with it.
///
/// # Errors
/// `invalid_params`, what `handler` gives, and `internal_error` when the result does not serialise.
pub fn serve_typed<P: DeserializeOwned, R: Serialize>(
    call: &Context,
    params: Option<&RawValue>,
    fds: Vec<OwnedFd>,
    out: &mut Vec<u8>,
    handler: impl FnOnce(P) -> Result<R, ErrorObject>,
) -> Result<Vec<OwnedFd>, ErrorObject> {
    let arrived = Arrived { fds, call: Some(call.clone()) };
    let params = provide(arrived, || params_into(params))?;
    answer(&handler(params)?, out)
}

fn answer<R: Serialize>(result: &R, out: &mut Vec<u8>) -> Result<Vec<OwnedFd>, ErrorObject> {
    let (written, parcel) = collect(|| write_json(out, result));
    written.map_err(|error| {
        ErrorObject::new(ErrorCode::InternalError, format!("the result does not serialise: {error}"))
    })?;
    beside_result(parcel)
}

/// The descriptors of a result, which has nothing else beside it.
///
/// # Errors
/// `internal_error` when a callback stands in it, where nobody could call it any more.
pub fn beside_result(parcel: Parcel) -> Result<Vec<OwnedFd>, ErrorObject> {
    if parcel.callbacks.is_empty() {
        return Ok(parcel.fds);
    }
    let text = "a callback can only stand in the params of a call, not in a result";
    Err(ErrorObject::new(ErrorCode::InternalError, text))
}

impl fmt::Debug for InterfaceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods: Vec<&str> = self.methods().map(|(name, _)| name).collect();
        let (name, version) = (self.name, self.version);
        write!(f, "InterfaceTable({name:?} version {version}: {methods:?})")
    }
}

/// The interfaces that one side serves, each in one version or several.
#[derive(Debug, Clone, Default)]
pub struct Interfaces(BTreeMap<&'static str, BTreeMap<u32, InterfaceTable>>);

/// Why a table, or a choice among tables, is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InterfaceError {
    /// This version of this interface is there already.
    Twice(&'static str, u32),
    /// The other side chose a version that was not offered: the interface, its choice, what was.
    NotOffered(&'static str, u32, Vec<u32>),
}

impl fmt::Display for InterfaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InterfaceError::Twice(name, version) => {
                write!(f, "version {version} of interface {name:?} is there twice")
            }
            InterfaceError::NotOffered(name, chosen, offered) => write!(
                f,
                "the other side chose version {chosen} of interface {name:?}, of which {offered:?} were offered"
            ),
        }
    }
}

impl std::error::Error for InterfaceError {}

impl Interfaces {
    /// Adds a version of an interface.
    ///
    /// # Errors
    /// [`InterfaceError::Twice`].
    pub fn add(&mut self, table: InterfaceTable) -> Result<(), InterfaceError> {
        let versions = self.0.entry(table.name).or_default();
        if versions.contains_key(&table.version) {
            return Err(InterfaceError::Twice(table.name, table.version));
        }
        versions.insert(table.version, table);
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every interface with its versions, ascending, as a hello offers them.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, Vec<u32>> {
        let one = |(name, versions): (&&str, &BTreeMap<u32, _>)| {
            ((*name).to_owned(), versions.keys().copied().collect())
        };
        self.0.iter().map(one).collect()
    }

    /// What serves the method of this name on the wire, by the versions that have it.
    #[must_use]
    pub fn functions(&self, method: &str) -> BTreeMap<u32, MethodFn> {
        let of = |table: &InterfaceTable| Some((table.version, Arc::clone(table.method(method)?)));
        self.tables().filter_map(of).collect()
    }

    /// All tables.
    pub fn tables(&self) -> impl Iterator<Item = &InterfaceTable> {
        self.0.values().flat_map(BTreeMap::values)
    }

    /// The one table of each interface that a connection uses: the version that was agreed on, and the highest where
    /// the other side named none.
    ///
    /// # Errors
    /// [`InterfaceError::NotOffered`]: the other side breaks the protocol.
    pub fn choose(&self, agreed: &BTreeMap<String, u32>) -> Result<Vec<&InterfaceTable>, InterfaceError> {
        let mut chosen = Vec::new();
        for (name, versions) in &self.0 {
            let table = match agreed.get(*name) {
                None => versions.values().next_back(),
                Some(version) => Some(versions.get(version).ok_or_else(|| {
                    InterfaceError::NotOffered(name, *version, versions.keys().copied().collect())
                })?),
            };
            chosen.extend(table);
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_beside_each_other_and_one_of_each_is_chosen() {
        let mut interfaces = Interfaces::default();
        for (name, version, methods) in [("kv", 2, &["get", "del"][..]), ("kv", 1, &["get"]), ("log", 7, &[])]
        {
            let mut table = InterfaceTable::new(name, version);
            for method in methods {
                table.add_typed(method, &[], |_, ()| Ok::<_, HandlerError>(()));
            }
            interfaces.add(table).unwrap();
        }
        let twice = interfaces.add(InterfaceTable::new("kv", 2)).unwrap_err();
        assert_eq!(twice.to_string(), "version 2 of interface \"kv\" is there twice");
        assert_eq!(serde_json::to_string(&interfaces.versions()).unwrap(), r#"{"kv":[1,2],"log":[7]}"#);
        let choose = |agreed: &[(&str, u32)]| {
            let agreed = agreed.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect();
            let chosen = interfaces.choose(&agreed).map_err(|error| error.to_string())?;
            Ok::<_, String>(chosen.iter().map(|table| (table.name(), table.version())).collect::<Vec<_>>())
        };
        let versions = |method: &str| interfaces.functions(method).into_keys().collect::<Vec<_>>();
        assert_eq!((versions("kv.get"), versions("kv.del")), (vec![1, 2], vec![2]));
        assert_eq!(choose(&[]), Ok(vec![("kv", 2), ("log", 7)]));
        assert_eq!(choose(&[("kv", 1), ("other", 5)]), Ok(vec![("kv", 1), ("log", 7)]));
        let refused = choose(&[("kv", 9)]).unwrap_err();
        assert!(refused.contains("version 9 of interface \"kv\", of which [1, 2]"), "{refused}");
    }
}
