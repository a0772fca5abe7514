//! People and programs that use the host: they start, stop, restart, wait, call, cancel, and hand it
//! what is stale.

use crate::asks;
use crate::kernel::UID;
use crate::nature::Nature;
use crate::policies;
use crate::world::{Event, Slot, World};
use rpc_plugin_peer::Party;
use rpc_plugin_system::state::call::{CallRequest, Target};
use rpc_plugin_system::state::keys::PluginKey;
use rpc_plugin_system::state::plugin::{ExitReport, PeerIdentity, holds_calls, launch_waits};
use rpc_plugin_system::state::plugin_config::PluginConfig;
use rpc_plugin_system::state::policy::Policy;
use rpc_plugin_system::state::start_mode::StartMode;
use rpc_plugin_system::state::supervisor::Wish;
use rpc_plugin_system::state::waits::Goal;
use rpc_plugin_wire::life::PluginState;
use rpc_plugin_wire::{ErrorCode, PluginId};
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

impl World {
    /// Gives the host a plugin.
    pub fn add(&mut self, id: PluginId, last_generation: Option<rpc_plugin_wire::Generation>) {
        let policy = policies::random(&mut self.rng);
        self.add_with(id, last_generation, policy);
    }

    /// Gives the host a plugin with this policy.
    pub fn add_with(
        &mut self,
        id: PluginId,
        last_generation: Option<rpc_plugin_wire::Generation>,
        policy: Policy,
    ) {
        let mut config = PluginConfig::new(id.clone(), format!("/plugins/{id}"))
            .policy(policy.clone())
            .interface("kv", &[2]);
        config.may_call = asks::random_may_call(&mut self.rng);
        if self.is_ordered {
            policies::random_presence(&mut self.rng, &mut config, &self.slots);
        }
        let config = Arc::new(config);
        let key = self.host.add(Arc::clone(&config), last_generation).expect("no plugin has that id");
        self.configs.insert(key, Arc::clone(&config));
        self.tell(format_args!("{key:?} is {id}: {policy:?}"));
        let model = self.models.entry(key).or_default();
        (model.last_generation, model.unwanted) = (last_generation, config.start != StartMode::OnDemand);
        self.slots.push(Slot { id, policy, key });
    }

    pub fn operator_acts(&mut self) {
        if self.calm {
            return;
        }
        let delay = self.within(40);
        self.after(delay, Event::OperatorActs);
        let slot = self.rng.usize(0..self.slots.len());
        match self.rng.u32(0..100) {
            0..=49 => self.call(slot, 40),
            50..=57 => {
                let bytes_max = *self.rng.choice(&[40, 40, 12_000]).unwrap();
                (0..self.rng.usize(5..25)).for_each(|_| self.call(slot, bytes_max));
            }
            58..=65 => self.cancel(),
            66..=69 => self.probe(slot),
            70..=77 => self.wish(slot, Wish::Start),
            78..=80 => self.wish(slot, Wish::Stop),
            81 => self.wish(slot, Wish::StopWithDependents),
            82..=84 => self.wish(slot, Wish::Restart),
            85..=91 => self.wait(slot),
            92 => self.forget_wait(),
            93 => self.remove_and_add(slot),
            94..=95 => self.strangers(),
            96 => self.reconfigure(slot),
            _ => self.stale(),
        }
    }

    pub fn wish(&mut self, slot: usize, wish: Wish) {
        let key = self.slots[slot].key;
        self.tell(format_args!("{wish:?} {key:?}"));
        if wish == Wish::Stop && launch_waits(self.host.plugin(key).unwrap()).is_some() {
            self.coverage.saw("a launch that waits for its turn is called off");
        }
        let stopped = match wish {
            Wish::StopWithDependents => self.with_dependents(slot),
            _ => vec![key],
        };
        if let Err(error) = self.host.wish(self.now, key, wish) {
            assert_eq!((wish, error.code), (Wish::Stop, ErrorCode::Unavailable), "{error}");
            assert!(self.with_dependents(slot).len() > 1, "nobody is started after {key:?}");
            return self.coverage.saw("a stop is refused, as others need the plugin");
        }
        if stopped.len() > 1 {
            self.coverage.saw("a plugin is stopped with those that are started after it");
        }
        for key in stopped {
            let model = self.models.get_mut(&key).unwrap();
            match wish {
                Wish::Stop | Wish::StopWithDependents => {
                    (model.unwanted, model.departs) = (true, wish == Wish::StopWithDependents);
                }
                Wish::Start | Wish::Restart => model.forgive(&mut self.coverage, self.now),
            }
        }
    }

    /// The plugin of a slot, and those that run or are about to and are started after it, over others too.
    fn with_dependents(&self, slot: usize) -> Vec<PluginKey> {
        let mut found = vec![self.slots[slot].key];
        let mut looked = 0;
        while looked < found.len() {
            let id = self.configs[&found[looked]].id.clone();
            looked += 1;
            for other in &self.slots {
                if self.configs[&other.key].after.contains(&id) && !found.contains(&other.key) {
                    found.push(other.key);
                }
            }
        }
        let is_down = |key: &PluginKey| {
            let state = self.host.plugin(*key).unwrap().state();
            matches!(state, PluginState::Stopped | PluginState::Failed)
        };
        let own = found[0];
        found.retain(|key| *key == own || !is_down(key));
        found
    }

    /// Another configuration, which the next launch is to be made from.
    fn reconfigure(&mut self, slot: usize) {
        let key = self.slots[slot].key;
        self.tell(format_args!("reconfigure {key:?}"));
        let mut config = (*self.configs[&key]).clone();
        config.args = vec![format!("--number={}", self.steps).into()];
        let config = Arc::new(config);
        self.configs.insert(key, Arc::clone(&config));
        assert_eq!(self.host.reconfigure(self.now, config), Ok(key));
    }

    fn call(&mut self, slot: usize, bytes_max: usize) {
        let timeout = match self.rng.u8(0..8) {
            0 => None,
            1 => Some(Duration::from_micros(self.rng.u64(0..3000))),
            2..=4 => Some(self.within(100)),
            _ => Some(self.within(1500)),
        };
        let default = self.slots[slot].policy.call_timeout;
        let key = self.ledger.new_call(self.now, timeout.unwrap_or(default), false);
        let bytes = match self.rng.u32(0..200) {
            0 => 16_000 + self.rng.usize(0..4000),
            1 => 60_000,
            2..=20 => self.rng.usize(1000..9000),
            _ => self.rng.usize(0..bytes_max),
        };
        let method = match self.rng.u32(0..60) {
            0 => "plugin.heartbeat".to_owned(),
            1 => "nothing.known".to_owned(),
            2 => "not a method".to_owned(),
            _ => format!("echo.{}", key.0),
        };
        let params = format!("{{\"padding\":\"{}\"}}", "x".repeat(bytes));
        let params = RawValue::from_string(params).unwrap();
        let id = if self.chance(10) { "nobody".parse().unwrap() } else { self.slots[slot].id.clone() };
        let state = self.host.plugin(self.slots[slot].key).unwrap().state();
        let idempotent = self.rng.u8(0..4) == 0;
        let by_id = timeout.is_none() || self.rng.u8(0..6) > 0;
        let target = if by_id { Target::Plugin(id) } else { Target::Capability("echo".into()) };
        self.tell(format_args!(
            "call {} of {target:?} {method} {bytes} bytes within {timeout:?}, idempotent {idempotent}",
            key.0
        ));
        if idempotent {
            self.ledger.may_repeat(key);
        }
        let params = Some(params.get().to_owned());
        let mut request = CallRequest { idempotent, ..CallRequest::new(target, method) };
        (request.params, request.timeout) = (params, timeout);
        // Not drawn, so that seeds stay what they are.
        request.caller = match key.0 % 7 {
            0..3 => Party::Program,
            3..5 => self.launched_caller(slot + 1),
            pid => Party::Client(u32::try_from(pid).unwrap()),
        };
        let at = self.host.call(self.now, key, &mut request);
        self.calls_at.insert(key, at);
        self.check_outbox(slot);
        self.drain();
        let holds = holds_calls(self.host.plugin(self.slots[slot].key).unwrap());
        if self.host.calls_held() > 0 {
            self.coverage.saw("a call waits for the plugin that it starts");
        }
        let may_wait = idempotent || !by_id || holds;
        assert!(
            may_wait || state.is_routable() || !self.ledger.is_open(key),
            "a call goes to a plugin that is {state}"
        );
    }

    /// The plugin of a slot as a caller, if it has been launched.
    fn launched_caller(&self, slot: usize) -> Party {
        let plugin = self.host.plugin(self.slots[slot % self.slots.len()].key);
        let plugin = plugin.filter(|plugin| plugin.generation().is_some());
        plugin.map_or(Party::Program, |plugin| Party::Plugin(plugin.id().clone()))
    }

    /// A call that was taken fits, but for its envelope. What else waits is bounded by itself.
    fn check_outbox(&mut self, slot: usize) {
        let (key, policy) = (self.slots[slot].key, &self.slots[slot].policy);
        let Some(generation) = self.host.plugin(key).and_then(|plugin| plugin.generation()) else { return };
        let Some(session) = self.host.session_mut(key, generation) else { return };
        let own_bytes_max = 8192 + 80 * session.calls_in_flight();
        let waiting_bytes = session.queue().waiting_bytes();
        assert!(
            waiting_bytes <= policy.outbox_bytes_max + own_bytes_max,
            "{waiting_bytes} bytes wait after a call, outbox_bytes_max is {}",
            policy.outbox_bytes_max
        );
    }

    fn probe(&mut self, slot: usize) {
        let timeout = self.rng.bool().then(|| Duration::from_millis(self.rng.u64(1..200)));
        let default = self.slots[slot].policy.heartbeat_timeout;
        let key = self.ledger.new_call(self.now, timeout.unwrap_or(default), true);
        let id = self.slots[slot].id.clone();
        self.tell(format_args!("probe {} of {id} within {timeout:?}", key.0));
        if self.host.plugin(self.slots[slot].key).is_some_and(|plugin| plugin.state().is_routable()) {
            self.coverage.saw("probe ok");
        }
        self.calls_at.insert(key, Some(self.slots[slot].key));
        self.host.probe(self.now, key, &id, Party::Program, timeout);
    }

    fn cancel(&mut self) {
        let Some(key) = self.ledger.any_open(&mut self.rng) else { return };
        if self.forwards.contains_key(&key) {
            // That is its child's to give up.
            return;
        }
        self.tell(format_args!("cancel {}", key.0));
        self.coverage.saw("call cancelled by its caller");
        self.ledger.cancel(key);
        let at = self.calls_at.get(&key).copied().flatten();
        self.host.cancel(self.now, key, at, None);
    }

    fn wait(&mut self, slot: usize) {
        let timeout = self.within(2000);
        let goal = match self.rng.u8(0..3) {
            0 => Goal::State(*self.rng.choice(PluginState::ALL).unwrap()),
            1 => Goal::RoutableAfter(None),
            _ => Goal::RoutableAfter(self.host.plugin(self.slots[slot].key).and_then(|p| p.generation())),
        };
        let id = if self.chance(50) { "nobody".parse().unwrap() } else { self.slots[slot].id.clone() };
        let key = self.ledger.new_wait(self.now.plus(timeout), &id, goal);
        self.tell(format_args!("wait {} for {id} to be {goal:?} within {timeout:?}", key.0));
        self.host.wait(self.now, (key, Party::Program), &id, goal, timeout);
    }

    fn forget_wait(&mut self) {
        let Some(key) = self.ledger.any_wait() else { return };
        self.tell(format_args!("forget wait {}", key.0));
        self.ledger.forget(key);
        self.host.forget_wait(key);
    }

    fn remove_and_add(&mut self, slot: usize) {
        let (key, id) = (self.slots[slot].key, self.slots[slot].id.clone());
        let plugin = self.host.plugin(key).unwrap();
        let down = plugin.is_quiet() && !plugin.state().is_up();
        assert_eq!(self.host.remove(self.now, key), down, "a plugin is removed when it is down, only then");
        if down {
            self.coverage.saw("plugin removed and added again");
            self.drain();
            self.slots.remove(slot);
            let last = self.last_generation(key);
            self.add(id, last);
        }
    }

    fn strangers(&mut self) {
        let live: Vec<_> = self.processes.iter().filter(|(_, p)| p.alive).map(|(id, _)| *id).collect();
        if let Some(id) = self.rng.choice(&live) {
            self.after(Duration::ZERO, Event::StrangerConnects(*id));
        }
    }

    /// Whatever comes of a generation that is over changes nothing.
    fn stale(&mut self) {
        let over: Vec<_> = self.processes.iter().filter(|(_, p)| p.reaped).map(|(id, _)| *id).collect();
        let Some((key, generation)) = self.rng.choice(over).filter(|id| self.host.plugin(id.0).is_some())
        else {
            return;
        };
        let now = self.now;
        self.tell(format_args!("stale events of {key:?}/{generation}"));
        assert!(
            !self
                .host
                .with_session(now, key, generation, |session, cx| session.handle_frames(cx, 9))
                .unwrap_or(false)
        );
        self.host.handle_end_of_stream(now, key, generation);
        let exit = ExitReport { clean: true, text: "exit status 0".into(), ..ExitReport::default() };
        self.host.with_plugin(now, key, |plugin, step| plugin.handle_exit(step, generation, exit));
        let pid = self.processes[&(key, generation)].pid;
        let taken = self
            .host
            .with_plugin(now, key, |plugin, step| {
                plugin.handle_connection(step, generation, PeerIdentity { pid, uid: UID }, UID)
            })
            .unwrap_or(false);
        assert!(!taken, "a stale connection is taken");
        self.host.with_plugin(now, key, |plugin, step| {
            plugin.handle_prepared(step, generation, Err("late".to_owned().into()))
        });
        self.check_ignored("a stale event");
        for what in ["stale exit", "stale connection", "stale preparation"] {
            self.coverage.saw(what);
        }
    }

    /// Faults stop: who hangs goes on, who lies becomes honest, what was held returns.
    pub fn heal(&mut self) {
        self.tell(format_args!("ALL FAULTS STOP"));
        self.calm = true;
        for id in std::mem::take(&mut self.held) {
            self.after(Duration::ZERO, Event::PreparationReturns(id, true));
        }
        let live: Vec<_> = self.processes.iter().filter(|(_, p)| p.alive).map(|(id, _)| *id).collect();
        for id in live {
            let process = self.processes.get_mut(&id).unwrap();
            process.child.nature = Nature::calm();
            if !process.connected {
                self.after(Duration::from_millis(1), Event::ChildConnects(id));
            }
            if let Some(link) = self.links.get_mut(&id) {
                (link.capacity_bytes, link.ms_max) = (1 << 20, 1);
            }
            self.thaws(id);
        }
        self.hurry(|event| {
            matches!(event, Event::PreparationReturns(..) | Event::LaunchReturns(_) | Event::Thaws(_))
        });
        self.drop_events(|event| matches!(event, Event::Befalls(..) | Event::StrangerConnects(_)));
    }
}
