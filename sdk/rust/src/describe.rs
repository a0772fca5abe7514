//! The answer to `plugin.describe`: what a plugin's methods take and give.
//!
//! What it deliberately does not do: make it before a host asks. It is made once a connection, on a thread for handlers.
//!
//! What always holds: it is within the bounds of a description and fits into a frame; methods that find no room are there
//! by their names.

use crate::call::{Call, Method};
use rpc_plugin_interface::describe::of_params;
use rpc_plugin_interface::{HandlerError, Interfaces, MethodDescription};
use rpc_plugin_wire::describe::{DESCRIBED_METHODS_MAX, DESCRIPTION_BYTES_MAX, Description, METHOD_DESCRIBE};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Bytes of a frame beside the description, and of a method's name with its punctuation.
const ROOM_BESIDE: usize = 1024;
const ROOM_OF_NAME: usize = 160;

/// What is known of the methods of a plugin beside its interfaces.
#[derive(Default)]
pub(crate) struct Descriptions {
    typed: BTreeMap<Box<str>, fn(&str) -> MethodDescription>,
    /// As the author says it.
    own: BTreeMap<Box<str>, MethodDescription>,
}

impl Descriptions {
    /// Notes a method whose params are read as a `P`.
    pub(crate) fn add_typed<P: DeserializeOwned>(&mut self, method: &str) {
        self.typed.insert(method.into(), of_params::<P>);
    }

    /// Notes what the author says of a method.
    pub(crate) fn add_own(&mut self, method: MethodDescription) {
        self.own.insert(method.name.as_str().into(), method);
    }

    /// Adds to `faults` what is wrong with what the author says.
    pub(crate) fn check(&self, methods: &BTreeMap<Box<str>, Arc<Method>>, faults: &mut Vec<String>) {
        for (name, method) in &self.own {
            if !methods.contains_key(name) {
                faults.push(format!("it describes the method {name:?}, which it does not have"));
            } else if let Err(why) = method.check() {
                faults.push(format!("the description of {name:?}: {why}"));
            }
        }
    }

    /// Describes the methods of these names; of interfaces in the versions that the connection uses.
    fn describe(
        &self,
        names: &[Box<str>],
        tables: &Interfaces,
        used: &BTreeMap<String, u32>,
    ) -> Vec<MethodDescription> {
        let mut methods: BTreeMap<String, MethodDescription> = BTreeMap::new();
        let mut add = |method: MethodDescription| drop(methods.insert(method.name.clone(), method));
        for name in names.iter().filter(|name| tables.functions(name).is_empty()) {
            add(self.typed.get(name).map_or_else(|| MethodDescription::new(&**name), |make| make(name)));
        }
        for table in tables.tables().filter(|table| used.get(table.name()) == Some(&table.version())) {
            table.methods().for_each(|(name, _)| add(MethodDescription::new(name)));
            table.descriptions().into_iter().for_each(&mut add);
        }
        for (name, own) in &self.own {
            if let Some(method) = methods.get_mut(&**name) {
                merge(method, own);
            }
        }
        methods.into_values().take(DESCRIBED_METHODS_MAX).collect()
    }
}

/// Puts what the author says in place of what was found out.
fn merge(method: &mut MethodDescription, own: &MethodDescription) {
    let MethodDescription { docs, params, result, streams, .. } = own.clone();
    if !docs.is_empty() {
        method.docs = docs;
    }
    method.params = params.or(method.params.take());
    method.result = result.or(method.result.take());
    if !streams.is_empty() {
        method.streams = streams;
    }
}

/// Writes a description of at most so many bytes: methods that would make it longer are there by their names.
fn write(methods: Vec<MethodDescription>, bytes_max: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut left = bytes_max.saturating_sub(methods.len() * ROOM_OF_NAME);
    let mut fitting = |method: MethodDescription| {
        let bytes = serde_json::to_vec(&method)?.len();
        match left.checked_sub(bytes) {
            Some(rest) if method.check().is_ok() => {
                left = rest;
                Ok(method)
            }
            _ => Ok(MethodDescription::new(method.name)),
        }
    };
    let methods: Result<Vec<_>, serde_json::Error> = methods.into_iter().map(&mut fitting).collect();
    serde_json::to_vec(&Description::new(methods?))
}

/// What serves `plugin.describe` on a connection that uses these versions of interfaces and takes frames of that size.
pub(crate) fn describe_method(
    number: usize,
    of: Descriptions,
    methods: &BTreeMap<Box<str>, Arc<Method>>,
    (tables, used): (Interfaces, Arc<BTreeMap<String, u32>>),
    frame_bytes_max: usize,
) -> Arc<Method> {
    let names: Vec<Box<str>> = methods.keys().cloned().collect();
    let bytes_max = frame_bytes_max.saturating_sub(ROOM_BESIDE).min(DESCRIPTION_BYTES_MAX);
    let made = OnceLock::new();
    let handler = move |_: &Call, _: Option<&RawValue>, out: &mut Vec<u8>| {
        let make =
            || write(of.describe(&names, &tables, &used), bytes_max).map_err(|error| error.to_string());
        let text = made.get_or_init(make).as_ref();
        out.extend_from_slice(text.map_err(HandlerError::internal)?);
        Ok(Vec::new())
    };
    Arc::new(Method::new(METHOD_DESCRIBE, number, Box::new(handler)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_there_by_its_name() {
        let methods = |count: usize| {
            let one = |number| MethodDescription::new(format!("m{number:0126}")).docs("x".repeat(8000));
            (0..count).map(one).collect::<Vec<_>>()
        };
        let read = |text: Vec<u8>| {
            Description::read(&RawValue::from_string(String::from_utf8(text).unwrap()).unwrap()).unwrap()
        };
        for (count, bytes_max, whole) in [(3, 256 << 10, 3), (1024, 256 << 10, 12), (100, 17 << 10, 0)] {
            let text = write(methods(count), bytes_max).unwrap();
            assert!(text.len() <= bytes_max, "{}", text.len());
            let read = read(text);
            let with_docs = read.methods.iter().filter(|method| !method.docs.is_empty()).count();
            assert_eq!((read.methods.len(), with_docs), (count, whole));
        }
        let broken = MethodDescription::new("a").docs("x".repeat(8193));
        assert_eq!(write(vec![broken], 1 << 20).unwrap(), br#"{"methods":[{"name":"a"}]}"#);
    }
}
