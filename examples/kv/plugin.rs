//! A store of texts in the file `kv.json` of its working folder. Its host launches it:
//!
//! ```bash
//! cargo build --examples && cargo run --example kv-host
//! ```
//!
//! What always holds: the file is a whole store, the one before a change or the one after it, whenever this process or
//! the machine ends; what was answered is on the disk.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, reason = "what a plugin prints is on its host's record")]

mod interface;

use interface::{Kv, KvError};
use rpc_plugin_sdk::{Context, Failure, HandlerError, Plugin};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

const FILE: &str = "kv.json";
const FILE_NEXT: &str = "kv.json.next";
/// The whole store is written at each change, so it has to stay small.
const KEYS_MAX: usize = 1000;

type Texts = BTreeMap<String, String>;

struct Store {
    texts: Mutex<Texts>,
}

impl Store {
    fn open() -> io::Result<Store> {
        let texts = match std::fs::read(FILE) {
            Ok(text) => serde_json::from_slice(&text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Texts::new(),
            Err(error) => return Err(error),
        };
        Ok(Store { texts: Mutex::new(texts) })
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        // A store is replaced as a whole, so a panic elsewhere left a good one.
        self.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Written beside the old one, synced, and put in its place; then the folder is synced, which holds the name.
fn save(texts: &Texts) -> io::Result<()> {
    let mut file = File::create(FILE_NEXT)?;
    file.write_all(&serde_json::to_vec(texts)?)?;
    file.sync_all()?;
    std::fs::rename(FILE_NEXT, FILE)?;
    File::open(".")?.sync_all()
}

impl Kv for Store {
    fn get(&self, _: &Context, key: String) -> Result<String, Failure<KvError>> {
        self.texts().get(&key).cloned().ok_or_else(|| KvError::Missing { key }.into())
    }

    fn put(&self, _: &Context, key: String, value: String) -> Result<(), Failure<KvError>> {
        let mut texts = self.texts();
        let mut next = texts.clone();
        next.insert(key, value);
        if next.len() > KEYS_MAX {
            return Err(KvError::Full { keys_max: KEYS_MAX }.into());
        }
        save(&next)?; // an io::Error becomes `internal_error`
        *texts = next;
        Ok(())
    }

    fn remove(&self, _: &Context, key: String) -> Result<(), HandlerError> {
        let mut texts = self.texts();
        let mut next = texts.clone();
        if next.remove(&key).is_some() {
            save(&next)?;
            *texts = next;
        }
        Ok(())
    }

    fn keys(&self, _: &Context, prefix: Option<String>) -> Result<Vec<String>, HandlerError> {
        let prefix = prefix.unwrap_or_default();
        Ok(self.texts().keys().filter(|key| key.starts_with(&prefix)).cloned().collect())
    }
}

fn main() -> ExitCode {
    match Store::open() {
        Ok(store) => Plugin::new("1.0.0").serve_interface(store.into_table()).run(),
        Err(error) => {
            eprintln!("kv-plugin: {FILE} in the working folder: {error}; mend it or move it away");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::interface::KvClient;
    use super::*;
    use rpc_plugin_sdk::CallFailure;
    use rpc_plugin_sdk::testing::TestHost;

    #[test]
    fn it_gives_what_it_has_and_says_what_is_missing() {
        let texts = Mutex::new(Texts::from([("colour".to_owned(), "red".to_owned())]));
        let table = Store { texts }.into_table();
        let host = TestHost::start(Plugin::new("1.0.0").serve_interface(table)).unwrap();
        let kv = KvClient::new(&host);
        assert_eq!(kv.get("colour").unwrap(), "red");
        assert_eq!(kv.keys(Some("col".to_owned())).unwrap(), ["colour"]);
        let missing = kv.get("weight").unwrap_err();
        assert!(matches!(missing, CallFailure::App(KvError::Missing { key }) if key == "weight"));
    }
}
