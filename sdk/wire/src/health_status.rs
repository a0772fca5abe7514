//! How a plugin says it is, in its heartbeats (protocol section 4).
//!
//! What it deliberately does not do: decide what a host makes of it.

use crate::cut::shown;
use crate::limits::CAPABILITY_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// How a plugin says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
#[non_exhaustive]
pub enum HealthStatus {
    /// Not ready for calls yet.
    Starting,
    /// The plugin takes calls.
    Healthy,
    /// The plugin takes calls, and reports a problem.
    Degraded,
    /// Alive, and wants no further calls for now.
    Overloaded,
    /// Alive, and cannot do its work.
    Unhealthy,
}

impl HealthStatus {
    const ALL: [HealthStatus; 5] = [
        HealthStatus::Starting,
        HealthStatus::Healthy,
        HealthStatus::Degraded,
        HealthStatus::Overloaded,
        HealthStatus::Unhealthy,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Degraded => "degraded",
            HealthStatus::Overloaded => "overloaded",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

impl TryFrom<String> for HealthStatus {
    type Error = String;

    // By hand, because a derived enum would also take `{"healthy":null}`.
    fn try_from(text: String) -> Result<Self, String> {
        HealthStatus::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            let names = HealthStatus::ALL.map(HealthStatus::as_str).join(", ");
            format!("{:?} is not a status; one of {names}", shown(&text, CAPABILITY_BYTES_MAX))
        })
    }
}
