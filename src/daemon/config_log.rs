//! The object `log` of a configuration: how the record is kept, and what compresses it.
//!
//! What it deliberately does not do: look whether the compressor is there; that shows when it is run.

use super::config::Config;
use super::config_plugin::{absolute_path, args_of};
use super::config_settings::take_settings;
use super::config_text::{Node, Source};
use super::settings::{LOG, LogSettings};
use crate::eventlog::{Compressor, LogOptions};

/// The key of the compressor.
const COMPRESS: &str = "compress";

/// Takes the settings of the record out of the object; what compresses it, if anything does.
pub(super) fn take_log<'a>(
    source: &mut Source<'a>,
    node: &Node<'a>,
    log: &mut LogSettings,
) -> Option<Compressor> {
    let mut members = source.object(node)?;
    take_settings(source, &mut members, LOG, log);
    let compressor = members.take(COMPRESS).and_then(|node| compressor_of(source, &node));
    source.unknown(&members, LOG.iter().map(|setting| setting.key).chain([COMPRESS]));
    compressor
}

fn compressor_of<'a>(source: &mut Source<'a>, node: &Node<'a>) -> Option<Compressor> {
    let words = source.array(node, super::config::ARGS_MAX)?;
    let Some(program) = words.first() else {
        source.error(node, "is empty".to_owned(), "an absolute path and arguments");
        return None;
    };
    let program = absolute_path(source, program)?;
    let mut args = args_of(source, node);
    args.remove(0);
    Some(Compressor { program, args })
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
            queue_max: self.limits.event_queue_max,
            compressor: self.log_compressor.clone(),
        }
    }
}
