//! Why a call failed, and what is known about it (protocol section 5).

use crate::answered_error::{answered_object, told};
use crate::cut::bounded;
use crate::error::{ErrorCode, ErrorData, ErrorObject, Outcome};
use crate::ident::{Generation, PluginId};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The one way in which a call can fail. Every call ends exactly once: with a result, or with this.
#[derive(Clone)]
pub struct CallError {
    /// What happened.
    pub code: ErrorCode,
    /// Whether the plugin can have seen the call.
    pub outcome: Outcome,
    /// One sentence for a person.
    pub message: Cow<'static, str>,
    /// The plugin that the call was for.
    pub plugin_id: Option<PluginId>,
    /// The generation that the call was for, where there was one.
    pub generation: Option<Generation>,
    /// What the plugin put into `error.data`, unparsed; only with [`Outcome::Answered`].
    pub data: Option<Box<RawValue>>,
    /// How often the host tried: more than once only where the call is idempotent. This is the error of the last
    /// try; the outcome is that of all.
    pub tries: u32,
}

impl CallError {
    /// An error of a call that the plugin never saw. The message is cut at
    /// [`ERROR_MESSAGE_BYTES_MAX`](crate::limits::ERROR_MESSAGE_BYTES_MAX).
    #[must_use]
    pub fn not_sent(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> CallError {
        CallError {
            code,
            outcome: Outcome::NotSent,
            message: bounded(message.into()),
            plugin_id: None,
            generation: None,
            data: None,
            tries: 1,
        }
    }

    /// An error of a call that the plugin may have executed.
    #[must_use]
    pub fn indeterminate(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> CallError {
        CallError { outcome: Outcome::Indeterminate, ..CallError::not_sent(code, message) }
    }

    /// An error that the plugin answered with, as it came.
    #[must_use]
    pub fn answered(error: ErrorObject) -> CallError {
        CallError {
            outcome: Outcome::Answered,
            message: error.message,
            data: error.data,
            ..CallError::not_sent(ErrorCode::from(error.code), "")
        }
    }

    /// Whether the deadline passed here, and not in the plugin.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.code == ErrorCode::DeadlineExceeded && self.outcome != Outcome::Answered
    }

    /// Whether it was answered, with a frame that is no message.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.code == ErrorCode::InvalidResponse && self.outcome != Outcome::Answered
    }

    /// The same with the plugin and generation it concerns.
    #[must_use]
    pub fn at(mut self, plugin_id: &PluginId, generation: Option<Generation>) -> CallError {
        self.plugin_id = Some(plugin_id.clone());
        self.generation = generation;
        self
    }

    /// The error object that tells this to whoever asked for the call. An error that the plugin answered with is
    /// passed on as it came, but for one that could be taken for the host's: that says who answered it.
    #[must_use]
    pub fn to_object(&self) -> ErrorObject {
        let said = ErrorData {
            outcome: self.outcome,
            plugin_id: self.plugin_id.as_ref().map(ToString::to_string),
            generation: self.generation.map(Generation::get),
        };
        if self.outcome == Outcome::Answered {
            return answered_object(said, self.code, self.message.clone(), self.data.clone());
        }
        let message = match self.tries {
            0 | 1 => self.message.clone(),
            tries => format!("{} (tried {tries} times)", self.message).into(),
        };
        ErrorObject::new(self.code, message).with_data(&said)
    }
}

impl fmt::Debug for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plugin_id) = &self.plugin_id {
            write!(f, "plugin {plugin_id}")?;
            if let Some(generation) = self.generation {
                write!(f, " (generation {generation})")?;
            }
            write!(f, ": ")?;
        }
        let told = told(self.outcome, self.code, &self.message, self.data.as_deref());
        write!(f, "{told} [{}]", self.outcome.as_str())?;
        match self.tries {
            0 | 1 => Ok(()),
            tries => write!(f, " (tried {tries} times)"),
        }
    }
}

impl std::error::Error for CallError {}
