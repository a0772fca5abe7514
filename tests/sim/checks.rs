//! What must hold after every step, whatever happened.

use crate::world::World;
use rpc_plugin_peer::Party;
use rpc_plugin_system::state::failed_calls::{ELSEWHERE_EVERY, ELSEWHERE_MAX};
use rpc_plugin_system::state::plugin::{backoff_until, is_reconfigured, launch_waits, status_of};
use rpc_plugin_system::state::start_places::PLACE_MAX;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::life::PluginState;

/// Timers of a plugin with a connection beside those of its calls: its phase, the next heartbeat, two
/// heartbeats that run, capabilities, shutdown, whether it is used.
const OWN_TIMERS_MAX: usize = 7;

impl World {
    pub fn check(&mut self) {
        let mut timers_max = self.ledger.open_waits() + self.ledger.open_repeats() + self.host.calls_held();
        for slot in 0..self.slots.len() {
            timers_max += self.check_plugin(slot);
        }
        self.check_places();
        let runs = |pid| self.processes.values().any(|process| process.pid == pid && process.alive);
        self.ledger.check_waits(&self.host, runs);
        let timers = self.host.timers_pending();
        assert!(timers <= timers_max, "{timers} timers, at most {timers_max} can be needed");
        if let Some(deadline) = self.ledger.first_deadline() {
            let latest = deadline.as_nanos().div_ceil(1_000_000) * 1_000_000;
            let next = self.host.next_at().map(|at| at.as_nanos());
            assert!(next.is_some_and(|next| next <= latest), "the host would sleep beyond a deadline");
        }
    }

    /// No more generations start at once than may, and none waits for its turn without need.
    fn check_places(&mut self) {
        let (mut waiting, mut starting) = (0, 0);
        for slot in &self.slots {
            let plugin = self.host.plugin(slot.key).expect("it was added");
            if plugin.state() != PluginState::Starting {
                continue;
            }
            if launch_waits(plugin).is_some() {
                waiting += 1;
            } else if self.now.since(self.begun[&slot.key]) < PLACE_MAX {
                starting += 1;
            }
        }
        let max = self.starting_max;
        assert!(starting <= max, "{starting} generations start at once, {max} may");
        assert!(waiting == 0 || starting == max, "{waiting} wait for their turn, {starting} of {max} start");
        if waiting > 0 {
            self.coverage.saw("a launch waits for its turn");
        }
    }

    /// Checks one plugin; how many timers it can need.
    fn check_plugin(&mut self, slot: usize) -> usize {
        let (key, policy) = (self.slots[slot].key, self.slots[slot].policy.clone());
        let plugin = self.host.plugin(key).expect("it was added");
        let (state, generation) = (plugin.state(), plugin.generation());
        let until = backoff_until(plugin);
        let pid = plugin.pid();
        let next = self.host.next_at();
        if self.models[&key].unwell_at.is_some() && status_of(plugin, self.now).heartbeats_missed == 0 {
            self.models.get_mut(&key).unwrap().unwell_at = None;
        }
        if let Some(until) = until {
            let latest = until.as_nanos().div_ceil(1_000_000) * 1_000_000;
            assert!(next.is_some_and(|at| at.as_nanos() <= latest), "the host would sleep beyond a backoff");
        }
        let Some(generation) = generation else {
            let waits = launch_waits(plugin).is_some();
            assert!(waits || state == PluginState::Stopped, "it is up without a generation");
            return 0;
        };
        let id = (key, generation);
        if pid.is_some() {
            let is_own = std::ptr::eq(plugin.config(), &*self.made_from[&id]);
            assert!(is_own, "{id:?} lives by another configuration than it was launched with");
            if is_reconfigured(plugin) {
                self.coverage.saw("a configuration waits for the next launch");
            }
        }
        let process = self.processes.get(&id).filter(|process| !process.reaped);
        assert_eq!(pid, process.map(|process| process.pid), "the host is wrong about the process of {id:?}");
        if matches!(state, PluginState::Stopped | PluginState::Waiting | PluginState::Backoff) {
            assert!(pid.is_none(), "{state} with a process");
        }
        let open = self.links.get(&id).is_some_and(|link| link.host_open);
        let Some(session) = self.host.session_mut(key, generation) else {
            assert!(!open, "the connection of {id:?} was left open");
            let is_looked_at = self.models.get(&key).is_some_and(|model| model.is_looked_at);
            let at_rest = state == PluginState::Stopped || state == PluginState::Failed && !is_looked_at;
            return usize::from(!at_rest);
        };
        assert!(open, "{id:?} has a session without a connection");
        let in_flight = session.calls_in_flight();
        assert!(in_flight <= policy.calls_in_flight_max, "{in_flight} calls in flight");
        // Whoever has no call under way finds a place while there is one, whatever came and went.
        let has_place = session.has_place(&Party::Plugin("newcomer".parse().unwrap()));
        assert_eq!(has_place, in_flight < policy.calls_in_flight_max, "{in_flight} calls in flight");
        let waiting = session.queue().waiting_bytes();
        // Cancellations and the host's own requests are bounded by what is in flight.
        let waiting_max = policy.outbox_bytes_max + policy.frame_bytes_max + 80 * in_flight + 8192;
        assert!(waiting <= waiting_max, "{waiting} bytes wait for {id:?}, at most {waiting_max} may");
        OWN_TIMERS_MAX + in_flight
    }

    /// A plugin puts no more on the records of others than its allowance, and all of it on its own.
    pub fn check_placed(&mut self, by: &Party, on: &PluginId, is_placed: bool) {
        let Party::Plugin(by) = by else { return assert!(is_placed) };
        if by == on {
            return assert!(is_placed, "it is its own record");
        }
        // One that is gone has no allowance any more.
        let Some(key) = self.host.find(by) else { return };
        let placed = self.elsewhere.entry(key).or_default();
        *placed += u64::from(is_placed);
        let allowed = u64::from(ELSEWHERE_MAX) + self.now.as_nanos() / ELSEWHERE_EVERY.as_nanos() as u64 + 1;
        assert!(*placed <= allowed, "{by} has {placed} events on the records of others");
        self.coverage.saw(if is_placed { "placed elsewhere" } else { "left out elsewhere" });
    }

    /// Nobody leaves a call unanswered beyond its grace and keeps the connection.
    pub fn check_poison(&mut self) {
        let tick = self.now.as_nanos() / 1_000_000;
        let (over, later) =
            self.overdue.iter().copied().partition(|(at, ..)| at.as_nanos().div_ceil(1_000_000) <= tick);
        self.overdue = later;
        let over: Vec<_> = over;
        for (_, id, wire_id) in over {
            let silent = !self.processes[&id].child.answers.contains_key(&wire_id);
            assert!(!silent || !self.links[&id].host_open, "{id:?} owes an answer to {wire_id} and lives");
        }
    }

    /// Everything has come to rest and nothing is left behind.
    pub fn check_nothing_left(&mut self) {
        assert!(self.host.is_quiet(), "the host is not quiet");
        assert_eq!(self.ledger.open_calls(), 0, "calls that never ended");
        assert_eq!(self.ledger.open_waits(), 0, "waits that never ended");
        assert_eq!(self.host.calls_held(), 0, "calls that wait for a plugin");
        assert_eq!(self.host.timers_pending(), 0, "timers are left behind");
        assert_eq!(self.host.next_at(), None, "the host would wake up for nothing");
        for (id, prepared) in &self.prepared {
            assert!(prepared.discarded, "what was prepared for {id:?} was never discarded");
        }
        for (id, process) in &self.processes {
            assert!(process.reaped, "the process of {id:?} still lives");
        }
        for (id, link) in &self.links {
            assert!(!link.host_open, "the connection of {id:?} was left open");
        }
    }
}
