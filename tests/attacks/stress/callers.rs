//! Threads that keep calling all plugins, and the tally of how each call ended.

use crate::fixtures::world::eventually;
use rpc_plugin_system::host::{CallError, CallOptions, PluginHandle};
use rpc_plugin_wire::{ErrorCode, Outcome};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How calls may end here (protocol section 5): nothing else is wrong with them but that a plugin is gone, stopped
/// or not there yet.
const ALLOWED: [(ErrorCode, Outcome); 6] = [
    (ErrorCode::Unavailable, Outcome::NotSent),
    (ErrorCode::Overloaded, Outcome::NotSent),
    (ErrorCode::PluginLost, Outcome::Indeterminate),
    (ErrorCode::DeadlineExceeded, Outcome::Indeterminate),
    (ErrorCode::DeadlineExceeded, Outcome::NotSent),
    // The plugin heard the cancel before it was done.
    (ErrorCode::Cancelled, Outcome::Answered),
];

/// How many calls were made, and how many ended in each way.
#[derive(Debug, Default)]
pub struct Tally {
    made: u64,
    answered: u64,
    errors: BTreeMap<(&'static str, &'static str), u64>,
    /// Results that are not what was sent, and errors that may not be.
    wrong: Vec<String>,
}

pub struct Callers {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

impl Callers {
    pub fn start(plugins: &[PluginHandle], threads: u64, seed: u64) -> Callers {
        let done = Arc::new(AtomicBool::new(false));
        let start = |number: u64| {
            let (plugins, done) = (plugins.to_vec(), Arc::clone(&done));
            let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(number));
            std::thread::spawn(move || {
                let mut tally = Tally::default();
                while !done.load(Ordering::Relaxed) {
                    let plugin = &plugins[rng.usize(0..plugins.len())];
                    if !tally.call(plugin, &mut rng) {
                        // Leaves the CPU to the plugins that are being restarted.
                        std::thread::park_timeout(Duration::from_millis(1));
                    }
                }
                tally
            })
        };
        let threads = (1..=threads).map(start).collect();
        Callers { done, threads }
    }

    /// Ends the threads, each after the call that it is in.
    pub fn finish(self) -> Tally {
        self.done.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for thread in self.threads {
            let tally = thread.join().unwrap();
            sum.made += tally.made;
            sum.answered += tally.answered;
            sum.wrong.extend(tally.wrong);
            for (key, count) in tally.errors {
                *sum.errors.entry(key).or_default() += count;
            }
        }
        sum
    }
}

impl Tally {
    /// Makes one call; whether it was answered with a result.
    fn call(&mut self, plugin: &PluginHandle, rng: &mut fastrand::Rng) -> bool {
        self.made += 1;
        let sleeps = rng.u8(..) < 16;
        let sent = match sleeps {
            true => json!({"ms": 5}),
            false => json!({"n": rng.u64(..), "pad": "é".repeat(rng.usize(0..500))}),
        };
        // Most do not outlast a stopped plugin, the others wait until it is found out.
        let options = match rng.u8(0..32) {
            0 => CallOptions::default(),
            _ if sleeps => CallOptions::default().timeout(Duration::from_millis(2)),
            _ => CallOptions::default().timeout(Duration::from_millis(50)),
        };
        let method = if sleeps { "sleep" } else { "echo" };
        match plugin.call_with::<_, Value>(method, &sent, options) {
            Ok(result) => {
                self.answered += 1;
                let is_right = if sleeps { result["slept_ms"].as_u64() >= Some(5) } else { result == sent };
                if !is_right {
                    self.wrong.push(format!("sent {sent}, got {result}"));
                }
                true
            }
            Err(error) => {
                self.take_error(plugin, &error);
                false
            }
        }
    }

    fn take_error(&mut self, plugin: &PluginHandle, error: &CallError) {
        *self.errors.entry((error.code.name(), error.outcome.as_str())).or_default() += 1;
        if !ALLOWED.contains(&(error.code, error.outcome)) || error.plugin_id.as_ref() != Some(plugin.id()) {
            self.wrong.push(format!("{}: {error}", plugin.id()));
        }
    }

    /// Every call ended once, in a way that is allowed, and the host counted the same.
    pub fn check(&self, plugins: &[PluginHandle]) {
        assert!(
            self.wrong.is_empty(),
            "{} calls: {:#?}",
            self.wrong.len(),
            &self.wrong[..self.wrong.len().min(20)]
        );
        let failed: u64 = self.errors.values().sum();
        assert_eq!(self.made, self.answered + failed);
        assert!(self.answered > 200, "too few calls were answered: {self}");
        for plugin in plugins {
            // A call whose caller gave up holds its slot until the plugin answers, and heartbeats come and go.
            eventually("no call is in flight", || {
                (plugin.status().unwrap().calls_in_flight == 0).then_some(())
            });
        }
        let (mut total, mut host_failed) = (0, 0);
        for status in plugins.iter().map(|plugin| plugin.status().unwrap()) {
            total += status.calls_total;
            host_failed += status.calls_failed;
        }
        assert_eq!((total, host_failed), (self.made, failed), "{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} calls: {} ok", self.made, self.answered)?;
        for ((code, outcome), count) in &self.errors {
            write!(f, ", {count} {code} ({outcome})")?;
        }
        Ok(())
    }
}
