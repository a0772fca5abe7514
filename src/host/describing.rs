//! Whether a plugin may be asked now to describe itself.
//!
//! What this file is for: a plugin need not answer, and whoever asks again and again must not make it work again and again.
//!
//! What always holds: of a generation one answer at most is awaited; after a failure the generation is left alone for a
//! while, which doubles with each further one.

use rpc_plugin_wire::cut::shown;
use rpc_plugin_wire::describe::METHOD_DESCRIBE;
use rpc_plugin_wire::{CallError, ErrorCode, Generation, Outcome, PluginId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the first failure of a generation is told again before the plugin is asked again.
const FAILURE_KEPT: Duration = Duration::from_secs(30);
/// How often that time doubles.
const DOUBLINGS_MAX: u32 = 16;
/// Plugins that are under way or have failed.
const KEPT_MAX: usize = 4096;
/// What is kept of the message of a failure. Bytes.
const MESSAGE_BYTES_MAX: usize = 512;

/// The plugins that are being asked, or did not describe themselves when they were.
#[derive(Debug, Default)]
pub(super) struct Describing(BTreeMap<PluginId, Inquiry>);

#[derive(Debug)]
struct Inquiry {
    generation: Option<Generation>,
    failures: u32,
    /// What it came to, and until when that is told again; `None` while the answer is awaited.
    failed: Option<(CallError, Instant)>,
}

impl Describing {
    /// Lets somebody ask that generation, who is to say what came of it by [`Describing::end`].
    ///
    /// # Errors
    /// `overloaded` while somebody else waits for its answer; after a failure, the same again.
    pub(super) fn begin(
        &mut self,
        id: &PluginId,
        generation: Option<Generation>,
        now: Instant,
    ) -> Result<(), CallError> {
        let known = self.0.get(id).filter(|asked| asked.generation == generation);
        match known.map(|asked| &asked.failed) {
            Some(None) => {
                let text = format!("somebody else waits for the plugin's answer to {METHOD_DESCRIBE}");
                return Err(CallError::not_sent(ErrorCode::Overloaded, text).at(id, generation));
            }
            Some(Some((error, until))) if now < *until => {
                let seconds = until.duration_since(now).as_secs() + 1;
                let message = format!("{} (it is asked again in {seconds} s at the earliest)", error.message);
                return Err(CallError { message: message.into(), ..error.clone() });
            }
            _ => {}
        }
        let failures = known.map_or(0, |asked| asked.failures);
        if known.is_none() {
            self.make_room(id, generation)?;
        }
        self.0.insert(id.clone(), Inquiry { generation, failures, failed: None });
        Ok(())
    }

    /// Forgets the failure that is soonest over, where there are too many.
    fn make_room(&mut self, id: &PluginId, generation: Option<Generation>) -> Result<(), CallError> {
        if self.0.len() < KEPT_MAX || self.0.contains_key(id) {
            return Ok(());
        }
        let failed = |(id, asked): (&PluginId, &Inquiry)| Some((asked.failed.as_ref()?.1, id.clone()));
        let Some((_, soonest)) = self.0.iter().filter_map(failed).min() else {
            let text = format!("{KEPT_MAX} plugins are being asked for {METHOD_DESCRIBE}");
            return Err(CallError::not_sent(ErrorCode::Overloaded, text).at(id, generation));
        };
        self.0.remove(&soonest);
        Ok(())
    }

    /// Takes in what came of asking that generation: nothing more, or a failure.
    pub(super) fn end(
        &mut self,
        id: &PluginId,
        generation: Option<Generation>,
        failure: Option<&CallError>,
        now: Instant,
    ) {
        let Some(asked) = self.0.get_mut(id).filter(|asked| asked.generation == generation) else { return };
        let Some(error) = failure else {
            self.0.remove(id);
            return;
        };
        let kept = if error.outcome == Outcome::NotSent {
            // The plugin did not see it.
            Duration::ZERO
        } else {
            asked.failures += 1;
            FAILURE_KEPT * (1 << (asked.failures - 1).min(DOUBLINGS_MAX))
        };
        let message = shown(&error.message, MESSAGE_BYTES_MAX).into_owned().into();
        let error = CallError { message, data: None, ..error.clone() };
        asked.failed = Some((error, now + kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_asks_at_a_time_and_a_failure_is_told_again_for_a_time_that_doubles() {
        let (mut asked, id, first) = (Describing::default(), "kv".parse().unwrap(), Some(Generation::FIRST));
        let mut now = Instant::now();
        let late = CallError::indeterminate(ErrorCode::DeadlineExceeded, "x".repeat(1 << 20));
        for kept in [30, 60, 120, 240] {
            asked.begin(&id, first, now).unwrap();
            let error = asked.begin(&id, first, now + Duration::from_secs(1 << 20)).unwrap_err();
            assert_eq!((error.code, error.outcome), (ErrorCode::Overloaded, Outcome::NotSent));
            asked.end(&id, first, Some(&late), now);
            now += Duration::from_secs(kept);
            let error = asked.begin(&id, first, now - Duration::from_millis(1)).unwrap_err();
            assert_eq!((error.code, error.outcome), (late.code, late.outcome));
            assert!(
                error.message.len() < 600 && error.message.ends_with("in 1 s at the earliest)"),
                "{error}"
            );
        }
        // What the plugin did not see is not its failure.
        asked.begin(&id, first, now).unwrap();
        asked.end(&id, first, Some(&CallError::not_sent(ErrorCode::Unavailable, "it is down")), now);
        asked.begin(&id, first, now).unwrap();
        // Another generation is another plugin, and what comes late of the first does not touch it.
        let second = first.map(Generation::next);
        asked.begin(&id, second, now).unwrap();
        asked.end(&id, first, Some(&late), now);
        assert_eq!(asked.begin(&id, second, now).unwrap_err().code, ErrorCode::Overloaded);
        asked.end(&id, second, None, now);
        assert!(asked.0.is_empty());
    }

    #[test]
    fn so_many_are_kept_and_those_that_wait_stay() {
        let (mut asked, now) = (Describing::default(), Instant::now());
        let late = CallError::indeterminate(ErrorCode::DeadlineExceeded, "late");
        let id = |number: usize| format!("p{number}").parse::<PluginId>().unwrap();
        for number in 0..KEPT_MAX {
            asked.begin(&id(number), None, now).unwrap();
        }
        assert_eq!(asked.begin(&id(KEPT_MAX), None, now).unwrap_err().code, ErrorCode::Overloaded);
        asked.end(&id(8), None, Some(&late), now + Duration::from_secs(1));
        asked.end(&id(7), None, Some(&late), now);
        asked.begin(&id(KEPT_MAX), None, now).unwrap();
        assert!(asked.0.len() == KEPT_MAX && !asked.0.contains_key(&id(7)) && asked.0.contains_key(&id(8)));
    }
}
