//! The calls that led to a call (the envelope's `chain`), so that one which can only wait for itself is found.
//!
//! What it deliberately does not do: decide whether a call would wait for itself; who serves it knows.
//!
//! What always holds: at most [`CHAIN_MAX`] entries of at most [`CHAIN_ENTRY_BYTES_MAX`] bytes each. Empty costs
//! nothing.

use crate::call_error::CallError;
use crate::error::ErrorCode;
use crate::ident::{Generation, PluginId};
use crate::limits::{CHAIN_ENTRY_BYTES_MAX, CHAIN_MAX};
use crate::request_id::RequestId;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Outermost first. A call of the host to a plugin is `PLUGIN/GENERATION/REQUEST`, one of a plugin to its host
/// `host:PLUGIN/GENERATION/REQUEST`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Chain(Vec<Box<str>>);

impl Chain {
    /// No calls. The same as the default, for constants.
    pub const EMPTY: &'static Chain = &Chain(Vec::new());

    /// Whether the call is nobody's but its caller's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many calls led here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The entries, outermost first.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| &**entry)
    }

    /// The chain of a call that is made while `entry` is served, which this chain led to.
    ///
    /// # Errors
    /// `would_deadlock`, not sent: it would have more than [`CHAIN_MAX`] entries, or a longer one than
    /// [`CHAIN_ENTRY_BYTES_MAX`] bytes.
    pub fn and(&self, entry: &str) -> Result<Chain, CallError> {
        if self.0.len() >= CHAIN_MAX || entry.len() > CHAIN_ENTRY_BYTES_MAX {
            let text =
                format!("{CHAIN_MAX} calls have led to this one, which is the most: {self} -> {entry}");
            return Err(CallError::not_sent(ErrorCode::WouldDeadlock, text));
        }
        let mut entries = Vec::with_capacity(self.0.len() + 1);
        entries.extend_from_slice(&self.0);
        entries.push(entry.into());
        Ok(Chain(entries))
    }
}

impl Default for &Chain {
    fn default() -> Self {
        Chain::EMPTY
    }
}

/// `a -> b -> c`.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.entries().enumerate() {
            write!(f, "{}{entry}", if at == 0 { "" } else { " -> " })?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Chain, D::Error> {
        struct ChainVisitor;
        impl<'de> Visitor<'de> for ChainVisitor {
            type Value = Chain;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of at most {CHAIN_MAX} strings as `chain`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Chain, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element::<Box<str>>()? {
                    if entries.len() >= CHAIN_MAX {
                        return Err(A::Error::invalid_length(CHAIN_MAX + 1, &self));
                    }
                    if entry.is_empty() || entry.len() > CHAIN_ENTRY_BYTES_MAX {
                        let text = format!("an entry of `chain` has 1 to {CHAIN_ENTRY_BYTES_MAX} bytes");
                        return Err(A::Error::custom(text));
                    }
                    entries.push(entry);
                }
                Ok(Chain(entries))
            }
        }
        deserializer.deserialize_seq(ChainVisitor)
    }
}

/// The entry of a call of the host to a plugin.
#[must_use]
pub fn entry_at_plugin(plugin: &PluginId, generation: Generation, id: &RequestId) -> String {
    format!("{plugin}/{generation}/{}", plain(id))
}

/// The entry of a call of a plugin to its host.
#[must_use]
pub fn entry_at_host(plugin: &PluginId, generation: Generation, id: &RequestId) -> String {
    format!("host:{}", entry_at_plugin(plugin, generation, id))
}

fn plain(id: &RequestId) -> String {
    match id {
        RequestId::Number(number) => number.to_string(),
        RequestId::Text(text) => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_bounded_in_length_and_entries() {
        let mut chain = Chain::default();
        for number in 0..CHAIN_MAX {
            chain = chain.and(&format!("a/1/{number}")).unwrap();
        }
        assert!(chain.and("a/1/99").is_err() && Chain::default().and(&"x".repeat(257)).is_err());
        let text = serde_json::to_string(&chain).unwrap();
        assert_eq!(serde_json::from_str::<Chain>(&text).unwrap(), chain);
        let long = text.replacen('[', "[\"one more\",", 1);
        for wrong in [long.as_str(), "[1]", "[\"\"]", "{}", "[\"a\",null]"] {
            assert!(serde_json::from_str::<Chain>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn entries_name_who_serves_what() {
        let (kv, generation) = ("kv".parse().unwrap(), Generation::FIRST);
        let at_plugin = entry_at_plugin(&kv, generation, &7.into());
        let at_host = entry_at_host(&kv, generation, &RequestId::Text("c-1".into()));
        let chain = Chain::default().and(&at_plugin).and_then(|chain| chain.and(&at_host)).unwrap();
        assert_eq!(chain.to_string(), "kv/1/7 -> host:kv/1/c-1");
    }
}
