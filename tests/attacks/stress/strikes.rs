//! Random SIGKILL and SIGSTOP, each at a process that is certainly the plugin's own.

use super::PATIENCE;
use rpc_plugin_system::host::PluginHandle;
use rpc_plugin_system::sys::orphans::HeldChild;
use rpc_plugin_system::sys::process::Signal;
use rpc_plugin_wire::Generation;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One signal that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Strike {
    pub plugin: usize,
    pub generation: Generation,
    pub stops: bool,
}

/// All of them.
pub struct Struck {
    pub all: Vec<Strike>,
    /// The last of each plugin.
    pub last: Vec<Strike>,
    pub kills: usize,
    pub stops: usize,
}

/// Strikes routable plugins at random, each generation once at most.
pub fn strike_all(plugins: &[PluginHandle], count: usize, seed: u64) -> Struck {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut last: BTreeMap<usize, Strike> = BTreeMap::new();
    let mut all = Vec::with_capacity(count);
    let mut last_success = Instant::now();
    while all.len() < count {
        let plugin = rng.usize(0..plugins.len());
        let stops = rng.bool();
        let struck = last.get(&plugin).map(|strike| strike.generation);
        match strike(&plugins[plugin], struck, stops) {
            Some(generation) => {
                let strike = Strike { plugin, generation, stops };
                last.insert(plugin, strike);
                all.push(strike);
                last_success = Instant::now();
            }
            None => {
                assert!(
                    last_success.elapsed() < PATIENCE,
                    "no plugin is routable after {} strikes",
                    all.len()
                );
                // The condition decides, not this pause: it leaves the CPU to those that restart.
                std::thread::park_timeout(Duration::from_micros(200));
            }
        }
    }
    let stops = all.iter().filter(|strike| strike.stops).count();
    Struck { last: last.into_values().collect(), kills: count - stops, stops, all }
}

/// Strikes a plugin that is routable in a generation after `struck`; that generation.
fn strike(plugin: &PluginHandle, struck: Option<Generation>, stops: bool) -> Option<Generation> {
    let status = plugin.status().unwrap();
    let (pid, generation) = (status.pid?, status.generation?);
    if !status.state.is_routable() || struck >= Some(generation) {
        return None;
    }
    let child = HeldChild::hold(pid).ok()?;
    // The same pid after the hold as before it: it was not reaped meanwhile, so it was held.
    let again = plugin.status().unwrap();
    if again.pid != Some(pid) || again.generation != Some(generation) || !again.state.is_routable() {
        return None;
    }
    child.signal(if stops { Signal::SIGSTOP } else { Signal::SIGKILL }).ok()?;
    Some(generation)
}
