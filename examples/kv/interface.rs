//! A store of texts by key, for the plugin that keeps it and the hosts that use it.
#![allow(unreachable_pub, reason = "a crate of its own would export it")]

use rpc_plugin_interface::{AppError, interface};
use serde::{Deserialize, Serialize};
use std::fmt;

interface! {
    /// A store of texts. Each method may be repeated: twice is the same as once.
    pub trait Kv = "kv" version 1, client KvClient {
        /// The value of a key.
        fn get(key: String) -> Result<String, KvError>;
        /// Sets the value of a key. It is on the disk when this returns.
        fn put(key: String, value: String) -> Result<(), KvError>;
        /// Removes a key, if it is there.
        fn remove(key: String);
        /// The keys that begin so, in order; all of them without a prefix.
        fn keys(prefix: Option<String>) -> Vec<String>;
    }
}

/// Why the store refuses. It arrives at the caller as itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvError {
    /// There is no such key.
    Missing {
        /// Which.
        key: String,
    },
    /// A new key has no room.
    Full {
        /// How many have.
        keys_max: usize,
    },
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KvError::Missing { key } => write!(f, "there is no key {key:?}"),
            KvError::Full { keys_max } => write!(f, "the store is full, it has {keys_max} keys; remove some"),
        }
    }
}

impl AppError for KvError {}
