//! What plugins have said of their methods, kept for whoever asks next and for names that were mistyped.
//!
//! What it deliberately does not do: ask by itself. A plugin is asked when somebody wants to know; no start and no call waits
//! for it.
//!
//! What always holds: a description belongs to the generation that gave it; all of them together are bounded.

use super::describing::Describing;
use crate::state::call::{CallRequest, Target};
use rpc_plugin_wire::describe::{Description, METHOD_DESCRIBE};
use rpc_plugin_wire::{CallError, ErrorCode, Generation, Outcome, PluginId};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a plugin may take to describe itself.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Descriptions that are kept, over all plugins, as the bytes that came.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The descriptions of a host's plugins.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    kept: Mutex<Kept>,
    describing: Mutex<Describing>,
}

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

/// Says in an error of that request what it means.
fn explained(error: CallError) -> CallError {
    if error.code != ErrorCode::MethodNotFound {
        return error;
    }
    let message =
        format!("the plugin does not say what its methods are ({METHOD_DESCRIBE}): {}", error.message);
    CallError { message: message.into(), ..error }
}

/// The right to ask a plugin to describe itself. It is dropped without an end where whoever had it goes before the answer.
#[derive(Debug)]
pub(super) struct Asking {
    known: Arc<Descriptions>,
    id: PluginId,
    generation: Option<Generation>,
    has_ended: bool,
}

impl Asking {
    /// Reads and keeps what the plugin answered, or remembers that it did not.
    ///
    /// # Errors
    /// Why there is none; as [`Descriptions::take_in`].
    pub(super) fn end(
        mut self,
        answer: Result<(&RawValue, Generation), CallError>,
    ) -> Result<Arc<Description>, CallError> {
        let answer = answer.map_err(explained);
        let read = answer.and_then(|(answer, generation)| self.known.take_in(&self.id, generation, answer));
        self.is_over(read.as_ref().err());
        read
    }

    fn is_over(&mut self, failure: Option<&CallError>) {
        self.has_ended = true;
        let mut describing = self.known.describing.lock().unwrap_or_else(PoisonError::into_inner);
        describing.end(&self.id, self.generation, failure, Instant::now());
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if !self.has_ended {
            let text = format!("no answer to {METHOD_DESCRIBE} while whoever asked before waited for it");
            let error = CallError::indeterminate(ErrorCode::DeadlineExceeded, text);
            self.is_over(Some(&error.at(&self.id, self.generation)));
        }
    }
}

impl Descriptions {
    /// The request that asks a plugin to describe itself, for one who asks it now.
    ///
    /// # Errors
    /// Somebody else asks that generation, or it failed shortly before ([`Describing::begin`]).
    pub(super) fn ask(
        self: &Arc<Self>,
        id: &PluginId,
        generation: Option<Generation>,
    ) -> Result<(CallRequest, Asking), CallError> {
        let mut describing = self.describing.lock().unwrap_or_else(PoisonError::into_inner);
        describing.begin(id, generation, Instant::now())?;
        let request = CallRequest::new(Target::Plugin(id.clone()), METHOD_DESCRIBE);
        let request = CallRequest { timeout: Some(DESCRIBE_TIMEOUT), is_protocol: true, ..request };
        Ok((request, Asking { known: Arc::clone(self), id: id.clone(), generation, has_ended: false }))
    }

    /// What that generation has said, if that is known.
    pub(super) fn known(&self, id: &PluginId, generation: Generation) -> Option<Arc<Description>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn take_in(
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
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
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
        let kept = known.kept.lock().unwrap();
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
    fn who_goes_before_the_answer_leaves_the_plugin_alone_for_a_while() {
        let (known, first) = (Arc::<Descriptions>::default(), Some(Generation::FIRST));
        drop(known.ask(&id("kv"), first).unwrap());
        let error = known.ask(&id("kv"), first).unwrap_err();
        assert_eq!((error.code, error.outcome), (ErrorCode::DeadlineExceeded, Outcome::Indeterminate));
        assert!(error.message.contains("waited for it (it is asked again in 30 s"), "{error}");
        let (_, asking) = known.ask(&id("kv"), first.map(Generation::next)).unwrap();
        let answer = raw(r#"{"methods":[]}"#.to_owned());
        asking.end(Ok((&answer, Generation::FIRST.next()))).unwrap();
        known.ask(&id("kv"), first.map(Generation::next)).unwrap();
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
