//! Settings in a configuration: from the file's objects, from flags, and whether they go together.
//!
//! What it deliberately does not do: know which settings there are; the table does.
//!
//! What always holds: a contradiction is told at a key or flag that the operator wrote and that takes
//! part in it, if there is one.

use super::error::ConfigErrors;
use super::json::{Node, Object, Source};
use super::settings::{DAEMON, Kind, LOG, Limits, LogSettings, POLICY, Setting, Value};
use super::value::quoted;
use crate::state::policy::{Policy, PolicyError};

/// Settings that [`Policy::check`] holds against each other.
struct Together {
    /// The one that the check blames, then the others.
    keys: &'static [&'static str],
    /// What they have to be together.
    rule: &'static str,
}

const TOGETHER: [Together; 4] = [
    Together {
        keys: &["heartbeat_timeout", "heartbeat_interval"],
        rule: "heartbeat_timeout not longer than heartbeat_interval, or heartbeat_interval 0s",
    },
    Together {
        keys: &["outbox_bytes_max", "frame_bytes_max"],
        rule: "outbox_bytes_max larger than frame_bytes_max",
    },
    Together {
        keys: &["backoff_initial", "backoff_max"],
        rule: "backoff_initial not longer than backoff_max",
    },
    Together {
        keys: &[
            "restarts_max",
            "restart_window",
            "backoff_initial",
            "backoff_max",
            "backoff_jitter_percent",
            "restart",
        ],
        rule: "restarts_max restarts possible within restart_window, with the waits of backoff_initial, \
               backoff_max and backoff_jitter_percent",
    },
];

/// Which settings an object of the file has, and where.
#[derive(Default)]
pub(super) struct Written<'a> {
    nodes: Vec<(&'static str, Node<'a>)>,
    /// One of them was refused, so that what is in force is not what was meant.
    pub(super) is_spoiled: bool,
}

/// Takes the settings of `table` out of an object and puts them into `target`.
pub(super) fn take_settings<'a, T>(
    source: &mut Source<'a>,
    object: &mut Object<'a>,
    table: &'static [Setting<T>],
    target: &mut T,
) -> Written<'a> {
    let mut written = Written::default();
    for setting in table {
        let Some(node) = object.take(setting.key) else { continue };
        let mut text = String::new();
        let result = match (node.value(&mut text), setting.kind) {
            // A flag can only be a text; a file can tell, and should, for the sake of other readers.
            (Some(Value::Text(_)), Kind::Count(..) | Kind::Switch) | (None, _) => {
                Err(format!("is {}", node.kind_shown()))
            }
            (Some(value), _) => setting.set(target, value),
        };
        if let Err(problem) = result {
            source.error(&node, problem, setting.allowed());
            written.is_spoiled = true;
        }
        written.nodes.push((setting.key, node));
    }
    written
}

/// Puts the values of flags into `policy`, `limits` and `log`; returns the keys that they set. The later of
/// two flags counts. `None` if a value was refused.
pub(super) fn apply_flags(
    flags: &[(String, String)],
    policy: &mut Policy,
    limits: &mut Limits,
    log: &mut LogSettings,
    errors: &mut ConfigErrors,
) -> Option<Vec<&'static str>> {
    let mut keys = Vec::new();
    let mut refused = false;
    for (flag, value) in flags {
        let text = Value::Text(value);
        let (result, allowed) = if let Some(setting) = POLICY.iter().find(|setting| setting.flag == flag) {
            keys.push(setting.key);
            (setting.set(policy, text), setting.allowed())
        } else if let Some(setting) = DAEMON.iter().find(|setting| setting.flag == flag) {
            (setting.set(limits, text), setting.allowed())
        } else if let Some(setting) = LOG.iter().find(|setting| setting.flag == flag) {
            (setting.set(log, text), setting.allowed())
        } else {
            (Err(format!("{} is no setting", quoted(flag))), "a flag of the table of settings".to_owned())
        };
        if let Err(problem) = result {
            errors.add(format!("--{flag}"), problem, allowed);
            refused = true;
        }
    }
    (!refused).then_some(keys)
}

/// Notes every contradiction of `policy`. `node` is the object that `written` was taken from, absent
/// without a file; `flagged` are keys that flags set. True if there was none.
pub(super) fn check_policy(
    source: &mut Source<'_>,
    policy: &Policy,
    node: Option<&Node<'_>>,
    written: &Written<'_>,
    flagged: &[&'static str],
) -> bool {
    let mut policy = policy.clone();
    let defaults = Policy::default();
    let mut clean = true;
    // A check tells one contradiction. With its settings put back to their defaults, the next shows.
    for _ in 0..TOGETHER.len() {
        let Err(error) = policy.check() else { break };
        clean = false;
        let Some(together) = TOGETHER.iter().find(|group| group.keys.first() == Some(&error.setting)) else {
            // The rows keep each setting in its range, so this is a rule that is new to `TOGETHER`.
            source.errors.add(error.setting.to_owned(), error.problem, "what docs/configuration.md says");
            break;
        };
        note(source, &error, node, written, flagged, together);
        for setting in POLICY.iter().filter(|setting| together.keys.contains(&setting.key)) {
            setting.copy(&defaults, &mut policy);
        }
    }
    clean
}

fn note(
    source: &mut Source<'_>,
    error: &PolicyError,
    node: Option<&Node<'_>>,
    written: &Written<'_>,
    flagged: &[&'static str],
    together: &Together,
) {
    // The setting that is blamed comes first, then the others that take part.
    for key in together.keys {
        let problem = if *key == error.setting { error.problem.clone() } else { format!("with it, {error}") };
        // A flag went over what the file says.
        if flagged.contains(key) {
            source.errors.add(format!("--{}", key.replace('_', "-")), problem, together.rule);
            return;
        }
        if let Some((_, at)) = written.nodes.iter().find(|(written, _)| written == key) {
            source.error(at, problem, together.rule);
            return;
        }
    }
    match node {
        Some(node) => source.error_below(node, error.setting, error.problem.clone(), together.rule),
        None => source.errors.add(error.setting.to_owned(), error.problem.clone(), together.rule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_names_settings_of_the_table_and_is_led_by_the_one_that_check_blames() {
        for key in TOGETHER.iter().flat_map(|group| group.keys) {
            assert!(POLICY.iter().any(|setting| setting.key == *key), "{key}");
        }
        let change = |key: &str, value: &str| {
            let mut policy = Policy::default();
            let setting = POLICY.iter().find(|setting| setting.key == key).unwrap();
            setting.set(&mut policy, Value::Text(value)).unwrap();
            policy.check().unwrap_err().setting
        };
        // Each group is contradicted from another side than its first member.
        assert_eq!(change("heartbeat_interval", "10ms"), TOGETHER[0].keys[0]);
        assert_eq!(change("frame_bytes_max", "16MiB"), TOGETHER[1].keys[0]);
        assert_eq!(change("backoff_max", "1ms"), TOGETHER[2].keys[0]);
        assert_eq!(change("restart_window", "1s"), TOGETHER[3].keys[0]);
    }
}
