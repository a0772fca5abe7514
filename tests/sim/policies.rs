//! Random policies that [`Policy::check`] allows, with times short enough for much to happen.

use crate::world::Slot;
use fastrand::Rng;
use rpc_plugin_system::state::confine::Confine;
use rpc_plugin_system::state::plugin_config::PluginConfig;
use rpc_plugin_system::state::policy::{Policy, RestartPolicy, RpcAudit, Transport};
use rpc_plugin_system::state::start_mode::StartMode;
use std::time::Duration;

fn ms(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}

fn draw(rng: &mut Rng) -> Policy {
    let heartbeat_interval = if rng.u8(0..6) == 0 { Duration::ZERO } else { ms(rng, 60..500) };
    let heartbeat_timeout = match heartbeat_interval {
        Duration::ZERO => ms(rng, 20..200),
        interval => ms(rng, 20..60).min(interval),
    };
    let frame_bytes_max = 16 * 1024 + rng.usize(0..4096);
    Policy {
        restart: *rng
            .choice(&[
                RestartPolicy::Always,
                RestartPolicy::Always,
                RestartPolicy::OnFailure,
                RestartPolicy::Never,
            ])
            .unwrap(),
        prepare_timeout: ms(rng, 40..300),
        connect_timeout: ms(rng, 40..300),
        hello_timeout: ms(rng, 40..300),
        ready_timeout: ms(rng, 150..800),
        heartbeat_interval,
        heartbeat_timeout,
        heartbeat_misses_max: rng.u32(1..5),
        shutdown_grace: if rng.u8(0..5) == 0 { Duration::ZERO } else { ms(rng, 20..300) },
        term_grace: if rng.u8(0..5) == 0 { Duration::ZERO } else { ms(rng, 20..300) },
        backoff_initial: ms(rng, 5..100),
        backoff_max: ms(rng, 100..1500),
        backoff_jitter_percent: rng.u32(0..51),
        healthy_stretch: ms(rng, 200..2500),
        restarts_max: if rng.u8(0..10) == 0 { Policy::RESTARTS_UNLIMITED } else { rng.u32(0..7) },
        restart_window: ms(rng, 500..15_000),
        call_timeout: ms(rng, 100..1500),
        cancel_grace: ms(rng, 20..400),
        calls_in_flight_max: rng.usize(1..16),
        outbox_bytes_max: frame_bytes_max + 1 + rng.usize(0..8192),
        frame_bytes_max,
        // Not drawn, so that seeds stay what they are.
        rpc_audit: RpcAudit::ALL[frame_bytes_max % RpcAudit::ALL.len()].0,
        output_bytes_per_second_max: frame_bytes_max,
        confine: Confine::default(),
        transport: [Transport::Unix, Transport::Unix, Transport::Fd, Transport::Stdio]
            [frame_bytes_max / RpcAudit::ALL.len() % 4],
    }
}

/// A policy that is allowed.
pub fn random(rng: &mut Rng) -> Policy {
    loop {
        let policy = draw(rng);
        if policy.check().is_ok() {
            return policy;
        }
    }
}

/// Some are started after others, by the first call, or stopped when nobody uses them.
pub fn random_presence(rng: &mut Rng, config: &mut PluginConfig, others: &[Slot]) {
    config.after = others.iter().filter(|_| rng.u8(0..4) == 0).map(|slot| slot.id.clone()).collect();
    config.after.retain(|id| *id < config.id);
    if rng.u8(0..3) == 0 {
        config.start = StartMode::OnDemand;
        config.idle_stop = (rng.u8(0..3) > 0).then(|| ms(rng, 1000..1400));
    }
}
