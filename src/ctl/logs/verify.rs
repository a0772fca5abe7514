//! `--verify`: whether the hash chain of each stream holds.
//!
//! What it deliberately does not do: notice lines that were removed at the end, or a chain that was computed
//! anew. For that it prints the hash of the last line, to be noted elsewhere.
//!
//! What always holds: success means that each stream has a chain that holds, or no lines at all. Lines from
//! before the chain was turned on are told, and are no failure.

use super::source::{RecordSource, Unread};
use crate::cli::text::{Style, count};
use crate::ctl::exit::{Exit, Failure};
use crate::ctl::out::Out;
use rpc_plugin_record::{Damage, Fault, FaultKind, Verified, verify};
use rpc_plugin_wire::PluginId;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Serialize)]
struct Document {
    holds: bool,
    streams: Vec<StreamDocument>,
}

#[derive(Serialize)]
struct StreamDocument {
    /// Absent for the daemon's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin_id: Option<PluginId>,
    path: PathBuf,
    holds: bool,
    lines: u64,
    unchained: u64,
    torn: u64,
    damaged_parts: u64,
    /// The first damaged parts of packed files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damage: Vec<DamageDocument>,
    first_seq: Option<u64>,
    last_seq: Option<u64>,
    /// SHA-256 of the last line that was looked at, in hex.
    head: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FaultDocument>,
}

#[derive(Serialize)]
struct DamageDocument {
    path: PathBuf,
    member: usize,
    offset: u64,
    why: &'static str,
}

#[derive(Serialize)]
struct FaultDocument {
    kind: &'static str,
    line: u64,
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<u64>,
}

pub(super) fn run(out: &mut Out<'_>, sources: &[RecordSource]) -> Result<(), Failure> {
    let mut unread = Unread::new(sources.len());
    let mut streams = Vec::new();
    for source in sources {
        match verify(&source.folder, source.name) {
            Ok(verified) => streams.push((source, verified)),
            Err(error) => unread.note(out, source, &error)?,
        }
    }
    let broken = streams.iter().filter(|(_, verified)| !holds(verified)).count();
    if out.json {
        let holds = broken == 0 && unread.paths.is_empty();
        let streams = streams.iter().map(|(source, verified)| document(source, verified)).collect();
        out.value(&Document { holds, streams })?;
    } else {
        let width = streams.iter().map(|(source, _)| source.label().len()).max().unwrap_or(0);
        for (source, verified) in &streams {
            let (text, style) = sentence(verified);
            out.line(&[(&format!("{:<width$}  ", source.label()), Style::Plain), (&text, style)])?;
            for damage in &verified.damage {
                out.line(&[(&format!("{:<width$}  {damage}", ""), Style::Faint)])?;
            }
            if verified.lines > 0 && holds(verified) {
                let head = format!("{:<width$}  head {}", "", hex(verified));
                out.line(&[(&head, Style::Faint)])?;
            }
        }
    }
    unread.end()?;
    if broken == 0 {
        return Ok(());
    }
    let of =
        if sources.len() == 1 { String::new() } else { format!(" of {broken} of {} records", sources.len()) };
    // Damage alone is no sign that somebody wrote to the files.
    if streams.iter().all(|(_, verified)| chain_holds(verified)) {
        let what = if of.is_empty() { "a part of the record" } else { "a part" };
        return Err(Failure::new(Exit::Unverified, format!("{what}{of} is damaged; the rest holds"))
            .hint("a copy kept elsewhere shows what was there; is the disk sound?"));
    }
    // Nor is a record that was never to have a chain.
    if streams.iter().all(|(_, verified)| chain_holds(verified) || is_unchained(verified)) {
        let what = match sources.len() {
            1 => "the record has no hash chain".to_owned(),
            all if streams.iter().all(|(_, verified)| holds(verified) || is_unchained(verified)) => {
                format!("{broken} of {all} records have no hash chain")
            }
            all => format!("{broken} of {all} records have no hash chain, or a damaged part"),
        };
        return Err(Failure::new(Exit::Unverified, what)
            .hint("with log.chain on, what is recorded from then on can be verified"));
    }
    Err(Failure::new(Exit::Unverified, format!("the hash chain{of} does not hold"))
        .hint("who wrote to these files, and when? a copy kept elsewhere shows what was there"))
}

/// Whether there is a chain, no line that does not fit, and nothing that cannot be read.
fn holds(verified: &Verified) -> bool {
    verified.damaged == 0 && chain_holds(verified)
}

/// Whether there is a chain, and no line that does not fit.
fn chain_holds(verified: &Verified) -> bool {
    verified.fault.is_none() && !is_unchained(verified)
}

/// Whether there are lines, and none has a hash.
fn is_unchained(verified: &Verified) -> bool {
    verified.fault.is_none() && verified.lines > 0 && verified.unchained == verified.lines
}

/// What is said of one stream.
fn sentence(verified: &Verified) -> (String, Style) {
    if let Some(fault) = &verified.fault {
        return (fault_sentence(fault), Style::Bad);
    }
    let Verified { lines, unchained, torn, damaged, .. } = *verified;
    if lines == 0 && damaged == 0 {
        return ("no lines".to_owned(), Style::Plain);
    }
    if is_unchained(verified) {
        return (format!("{} without a hash chain: log.chain is off", count(lines, "line")), Style::Bad);
    }
    let mut text = match lines - unchained {
        1 => "1 line holds".to_owned(),
        chained => format!("{chained} lines hold"),
    };
    if let Some((first, last)) = verified.first_seq.zip(verified.last_seq) {
        text = format!("{text} (seq {} to {last})", first.saturating_add(unchained));
    }
    for (number, what) in [
        (unchained, "lines before them are from before log.chain was on"),
        (torn, "torn lines were written again whole"),
    ] {
        if number > 0 {
            text = format!("{text}; {number} {what}");
        }
    }
    match damaged {
        0 => (text, Style::Good),
        1 => {
            (format!("1 part of a packed file is damaged, and any lines in it are lost; {text}"), Style::Bad)
        }
        _ => (
            format!("{damaged} parts of packed files are damaged, and any lines in them are lost; {text}"),
            Style::Bad,
        ),
    }
}

fn fault_sentence(fault: &Fault) -> String {
    let seq = fault.seq.map_or(String::new(), |seq| format!(" (seq {seq})"));
    format!("line {}{seq} {}", fault.line, fault.kind)
}

fn document(source: &RecordSource, verified: &Verified) -> StreamDocument {
    let fault = verified.fault.as_ref().map(|fault| FaultDocument {
        kind: fault.kind.as_str(),
        line: fault.line,
        seq: fault.seq,
        removed: match fault.kind {
            FaultKind::Removed(lines) => Some(lines),
            _ => None,
        },
    });
    let damage = verified.damage.iter().map(|damage| {
        let Damage { path, member, offset, why } = damage.clone();
        DamageDocument { path, member, offset, why }
    });
    StreamDocument {
        plugin_id: source.plugin_id.clone(),
        path: source.path(),
        holds: holds(verified),
        lines: verified.lines,
        unchained: verified.unchained,
        torn: verified.torn,
        damaged_parts: verified.damaged,
        damage: damage.collect(),
        first_seq: verified.first_seq,
        last_seq: verified.last_seq,
        head: hex(verified),
        fault,
    }
}

fn hex(verified: &Verified) -> String {
    verified.head.iter().map(|byte| format!("{byte:02x}")).collect()
}
