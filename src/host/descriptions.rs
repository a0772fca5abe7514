//! What plugins have said of their methods, kept for whoever asks next and for names that were mistyped.
//!
//! What it deliberately does not do: ask by itself. A plugin is asked when somebody wants to know; no start and no call waits
//! for it.
//!
//! What always holds: a description belongs to the generation that gave it; all of them together are bounded.

use crate::state::call::{CallRequest, Target};
use rpc_plugin_wire::describe::{Description, METHOD_DESCRIBE};
use rpc_plugin_wire::{CallError, ErrorCode, Generation, Outcome, PluginId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a plugin may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Descriptions that are kept, over all plugins, as the bytes that came.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The descriptions of a host's plugins.
#[derive(Debug, Default)]
pub(super) struct Descriptions(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    of: BTreeMap<PluginId, KeptDescription>,
    bytes: usize,
    uses: u64,
}

#[derive(Debug)]
struct KeptDescription {
    generation: Generation,
    description: Arc<Description>,
    bytes: usize,
    /// The use of any description that was the last of this one.
    used: u64,
}

/// The request that asks a plugin to describe itself.
pub(super) fn request(id: &PluginId) -> CallRequest {
    let request = CallRequest::new(Target::Plugin(id.clone()), METHOD_DESCRIBE);
    CallRequest { timeout: Some(DESCRIBE_TIMEOUT), is_protocol: true, ..request }
}

/// Says in an error of that request what it means.
pub(super) fn explained(error: CallError) -> CallError {
    if error.code != ErrorCode::MethodNotFound {
        return error;
    }
    let message =
        format!("the plugin does not say what its methods are ({METHOD_DESCRIBE}): {}", error.message);
    CallError { message: message.into(), ..error }
}

impl Descriptions {
    /// What that generation has said, if that is known.
    pub(super) fn known(&self, id: &PluginId, generation: Generation) -> Option<Arc<Description>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let used = kept.uses;
        let entry = kept.of.get_mut(id).filter(|entry| entry.generation == generation)?;
        entry.used = used;
        Some(Arc::clone(&entry.description))
    }

    /// Reads and keeps what that generation answered.
    ///
    /// # Errors
    /// `invalid_response`: it is not a description, or beyond the bounds of one.
    pub(super) fn take_in(
        &self,
        id: &PluginId,
        generation: Generation,
        answer: &RawValue,
    ) -> Result<Arc<Description>, CallError> {
        let description = Description::read(answer).map_err(|why| {
            let text = format!("the plugin's description of its methods is refused: {why}");
            let error = CallError::not_sent(ErrorCode::InvalidResponse, text);
            CallError { outcome: Outcome::Answered, ..error.at(id, Some(generation)) }
        })?;
        let (description, bytes) = (Arc::new(description), answer.get().len());
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.uses += 1;
        let entry =
            KeptDescription { generation, description: Arc::clone(&description), bytes, used: kept.uses };
        kept.bytes += bytes;
        if let Some(before) = kept.of.insert(id.clone(), entry) {
            kept.bytes -= before.bytes;
        }
        kept.shrink();
        Ok(description)
    }

    /// Adds the method that was probably meant to the error of a call that the host refused for its method.
    pub(super) fn advise(&self, method: &str, error: CallError) -> CallError {
        if (error.code, error.outcome) != (ErrorCode::MethodNotFound, Outcome::NotSent) {
            return error;
        }
        let known = error.plugin_id.as_ref().zip(error.generation);
        let known = known.and_then(|(id, generation)| self.known(id, generation));
        match known.as_deref().and_then(|description| description.meant(method)) {
            Some(meant) => {
                let message = format!("{}; did you mean {meant:?}?", error.message);
                CallError { message: message.into(), ..error }
            }
            None => error,
        }
    }
}

impl Kept {
    /// Forgets those that were used longest ago, until the rest is within the bound.
    fn shrink(&mut self) {
        while self.bytes > KEPT_BYTES_MAX {
            let oldest = self.of.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| id.clone());
            let Some(entry) = oldest.and_then(|id| self.of.remove(&id)) else { return };
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PluginId {
        name.parse().unwrap()
    }

    fn raw(text: String) -> Box<RawValue> {
        RawValue::from_string(text).unwrap()
    }

    #[test]
    fn descriptions_are_one_generations_and_those_used_longest_ago_go() {
        let (known, first) = (Descriptions::default(), Generation::FIRST);
        let large = raw(format!(r#"{{"methods":[],"pad":"{}"}}"#, "x".repeat(250_000)));
        let (a, second) = (id("a"), first.next());
        known.take_in(&a, first, &large).unwrap();
        assert!(known.known(&a, first).is_some() && known.known(&a, second).is_none());
        known.take_in(&a, second, &large).unwrap();
        assert!(known.known(&a, first).is_none() && known.known(&a, second).is_some());
        for number in 0..15 {
            known.take_in(&id(&format!("b{number}")), first, &large).unwrap();
        }
        assert!(known.known(&a, second).is_some(), "sixteen of a quarter of a mebibyte find room");
        known.take_in(&id("c"), first, &large).unwrap();
        assert!(known.known(&a, second).is_some() && known.known(&id("b0"), first).is_none());
        let kept = known.0.lock().unwrap();
        assert!(
            kept.bytes <= KEPT_BYTES_MAX
                && kept.bytes == kept.of.values().map(|entry| entry.bytes).sum::<usize>()
        );
    }

    #[test]
    fn only_what_the_host_refuses_is_advised_on() {
        let (known, first) = (Descriptions::default(), Generation::FIRST);
        known.take_in(&id("kv"), first, &raw(r#"{"methods":[{"name":"kv.get"}]}"#.to_owned())).unwrap();
        let error = |code| CallError::not_sent(code, "no").at(&id("kv"), Some(first));
        let advised = |error| known.advise("vk.get", error).message.into_owned();
        assert_eq!(advised(error(ErrorCode::MethodNotFound)), "no; did you mean \"kv.get\"?");
        assert_eq!(advised(error(ErrorCode::Overloaded)), "no");
        let answered = CallError { outcome: Outcome::Answered, ..error(ErrorCode::MethodNotFound) };
        assert_eq!(advised(answered), "no");
        let other = CallError { generation: Some(first.next()), ..error(ErrorCode::MethodNotFound) };
        assert_eq!(advised(other), "no", "the description is of another generation");
    }

    #[test]
    fn what_is_no_description_is_refused_with_its_plugin() {
        let known = Descriptions::default();
        let error = known.take_in(&id("kv"), Generation::FIRST, &raw("[]".to_owned())).unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::InvalidResponse, Outcome::Answered));
        assert!(error.message.contains("is refused: it is not a JSON object"), "{error}");
        assert!(known.known(&id("kv"), Generation::FIRST).is_none());
    }
}
