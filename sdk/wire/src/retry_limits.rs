//! How often, and how soon, a call that may be executed more than once is repeated (protocol section 5).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// The limits within which a call is repeated. Of a [`HostCall`](crate::life::HostCall), the member `retry`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RetryLimits {
    /// Tries at the most, the first one included. 0 is the same as 1.
    pub attempts: u32,
    /// The wait before the second try; each further wait is twice as long. On the wire in whole milliseconds.
    #[serde(rename = "backoff_ms", serialize_with = "as_millis", deserialize_with = "from_millis")]
    pub backoff: Duration,
}

impl RetryLimits {
    /// The limits of a call that is tried so often at the most, with this first wait.
    #[must_use]
    pub fn new(attempts: u32, backoff: Duration) -> RetryLimits {
        RetryLimits { attempts, backoff }
    }
}

fn as_millis<S: Serializer>(backoff: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX))
}

fn from_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}
