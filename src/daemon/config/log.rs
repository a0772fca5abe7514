//! The object `log` of a configuration: how the record is kept.

use super::settings::{LOG, LogSettings};
use super::sinks::{Beside, SINKS, take_beside};
use crate::eventlog::COMPRESS_FILES_MIN;
use crate::settings::{JsonSource, Node, Object, Written, take_settings};

/// The key that named a program once.
const COMPRESS: &str = "compress";
const FILES_MAX: &str = "files_max";

/// Takes the settings of the record out of the object.
pub(super) fn take_log<'a>(
    source: &mut JsonSource<'a>,
    node: &Node<'a>,
    log: &mut LogSettings,
) -> (Written<'a>, Beside) {
    let (mut written, mut beside) = (Written::default(), Beside::default());
    if let Some(mut members) = source.object(node) {
        refuse_program(source, &mut members);
        written = take_settings(source, &mut members, LOG, log);
        beside = take_beside(source, &mut members);
        source.unknown(&members, LOG.iter().map(|setting| setting.key).chain([SINKS]));
    }
    (written, beside)
}

/// Tells what to write instead of a program that packs, which earlier versions took.
fn refuse_program<'a>(source: &mut JsonSource<'a>, members: &mut Object<'a>) {
    let is_program = |node: &Node<'a>| node.is_array();
    if let Some(node) = members.take_if(COMPRESS, is_program) {
        let problem = "names a program; rotated files are packed without one now";
        source.error(&node, problem, "true or false: write \"compress\": true");
    }
}

/// Whether the settings of the record go together; what does not is told at a flag or key that takes part in it.
pub(super) fn check_log(
    source: &mut JsonSource<'_>,
    log: &LogSettings,
    written: &Written<'_>,
    flags: &[(String, String)],
) {
    let files_max = log.files_max;
    if written.is_spoiled || !log.compress || files_max >= COMPRESS_FILES_MIN {
        return;
    }
    let problem = format!("with files_max {files_max} there is no room to pack a file");
    let allowed = format!("files_max of at least {COMPRESS_FILES_MIN}, or compress false");
    let settings = || [COMPRESS, FILES_MAX].iter().filter_map(|key| LOG.iter().find(|s| s.key == *key));
    if let Some(setting) = settings().find(|s| flags.iter().any(|(flag, _)| flag == s.flag)) {
        return source.errors.add(format!("--{}", setting.flag), problem, allowed);
    }
    if let Some(node) = settings().find_map(|setting| written.at(setting.key)) {
        return source.error(node, problem, allowed);
    }
    source.errors.add("log.compress", problem, allowed);
}
