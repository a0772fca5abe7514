//! How a launch is confined: the filter for what a plugin's policy says, and what a launch has to be for that.
//!
//! What always holds: a filter is made once for all launches; where this kernel, or this build, has none for it, the launch goes
//! on without, and that is told.

use crate::state::action::Note;
use crate::state::confine::Confine;
use crate::state::plugin::{ExitReport, Plugin};
use crate::state::plugin_config::PluginConfig;
use crate::sys::elf::is_32_bit;
use crate::sys::executable::Executable;
use crate::sys::spawn::FilterInstruction;
use nix::sys::signal::Signal;
use rpc_plugin_wire::Generation;
use rpc_plugin_wire::event::EventKind;
use std::os::fd::AsFd;

/// The filter of the base; `None`: there is none here, for this reason.
#[cfg(feature = "confine")]
fn base() -> &'static Result<crate::confine::SyscallFilter, &'static str> {
    static BASE: std::sync::OnceLock<Result<crate::confine::SyscallFilter, &'static str>> =
        std::sync::OnceLock::new();
    BASE.get_or_init(|| match crate::confine::base_filter() {
        Some(filter) if crate::sys::confine::has_filters() => Ok(filter),
        Some(_) => Err("this kernel has no filters of system calls (CONFIG_SECCOMP_FILTER)"),
        None => Err("the system calls of this architecture are not known"),
    })
}

/// The filter of system calls for a launch, as the policy of its plugin says.
pub(super) fn filter_of(confine: Confine) -> Option<&'static [FilterInstruction]> {
    match confine {
        Confine::Off => None,
        #[cfg(feature = "confine")]
        Confine::Base => base().as_ref().ok().map(crate::confine::SyscallFilter::instructions),
        #[cfg(not(feature = "confine"))]
        Confine::Base => None,
    }
}

/// What there is to tell of a launch that is confined less than its policy says.
pub(super) fn lack_of(config: &PluginConfig, generation: Generation) -> Option<Note> {
    if config.policy.confine == Confine::Off {
        return None;
    }
    #[cfg(feature = "confine")]
    let why = *base().as_ref().err()?;
    #[cfg(not(feature = "confine"))]
    let why = "this build has no confinement (feature `confine`)";
    let text = format!("it is launched without the confinement `{}`: {why}", config.policy.confine.as_str());
    let mut note = Note::new(EventKind::ConfinementLacks, text);
    (note.plugin_id, note.generation) = (Some(config.id.clone()), Some(generation));
    Some(note)
}

/// Refuses what cannot run confined as its policy says: a program for 32 bits, whose system calls have other numbers than those
/// that the filter judges. An interpreter of that kind ends by SIGSYS. Blocks as reading the file does.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) fn check(config: &PluginConfig, executable: &Executable) -> Result<(), String> {
    let is_foreign = cfg!(target_pointer_width = "64") && is_32_bit(executable.as_fd());
    if filter_of(config.policy.confine).is_none() || !is_foreign {
        return Ok(());
    }
    Err(format!(
        "{} is a program for 32 bits, which cannot be confined here; build it for 64 bits, or configure `confine: off`",
        executable.path().display()
    ))
}

/// What programs print where a system call was refused (strerror(3)).
const REFUSALS: [&str; 4] = ["Operation not permitted", "EPERM", "Function not implemented", "ENOSYS"];

/// Says of an exit that a confinement may be why, where it looks so: the process ended by SIGSYS, or among its last words are those
/// for what a filter refuses.
pub(super) fn explain(exit: &mut ExitReport, plugin: Option<&Plugin>) {
    let confine = plugin.map_or(Confine::Off, |plugin| plugin.config().policy.confine);
    let is_refusal = |line: &String| REFUSALS.iter().any(|refusal| line.contains(refusal));
    let looks_so =
        exit.signal == Some(Signal::SIGSYS as i32) || !exit.clean && exit.stderr_tail.iter().any(is_refusal);
    if looks_so && filter_of(confine).is_some() {
        let confine = confine.as_str();
        exit.text.push_str(&format!(
            "; it was confined (`confine: {confine}`), which may be why: `confine: off` is without"
        ));
    }
}
