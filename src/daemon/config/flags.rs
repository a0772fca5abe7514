//! Settings of the command line.
//!
//! What it deliberately does not do: know which settings there are; the tables do.

use super::settings::{DAEMON, LOG, Limits, LogSettings, POLICY, Value};
use crate::state::config_error::{ConfigErrors, quoted};
use crate::state::policy::Policy;

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
