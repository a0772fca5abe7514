//! The object `log` of a configuration: how the record is kept.

use super::Config;
use super::json::{Node, Source};
use super::read_settings::take_settings;
use super::settings::{LOG, LogSettings};
use super::sinks::{Beside, COMPRESS, SINKS, take_beside};
use crate::eventlog::LogOptions;

/// Takes the settings of the record out of the object.
pub(super) fn take_log<'a>(source: &mut Source<'a>, node: &Node<'a>, log: &mut LogSettings) -> Beside {
    let mut beside = Beside::default();
    if let Some(mut members) = source.object(node) {
        take_settings(source, &mut members, LOG, log);
        beside = take_beside(source, &mut members);
        source.unknown(&members, LOG.iter().map(|setting| setting.key).chain([SINKS, COMPRESS]));
    }
    beside
}

impl Config {
    /// How the record is kept, in the library's terms.
    #[must_use]
    pub fn log_options(&self) -> LogOptions {
        LogOptions {
            durability: self.log.durability,
            sync_interval: self.log.sync_interval,
            hold_max: self.log.hold_max,
            file_bytes_max: self.log.file_bytes_max as u64,
            files_max: self.log.files_max,
            file_age_max: self.log.file_age_max,
            chain: self.log.chain,
            compress: self.compress.clone(),
            queue_max: self.limits.event_queue_max,
        }
    }
}
