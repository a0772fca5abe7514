//! Packages as `packages` and `rescan` print them.

use crate::cli::columns::{Cell, table_within};
use crate::cli::text::{Style, escape, shorten};
use rpc_plugin_wire::admin_packages::{PackageList, PackageState, PackageStatus};
use std::fmt::Write;

/// Characters of a digest that are shown to people.
const DIGEST_CHARS: usize = 12;

/// The packages as a table, and below it what has changed on disk and what is wrong.
pub(super) fn listed(list: &PackageList, columns: Option<usize>, colour: bool) -> String {
    let rows = list.packages.iter().map(|package| {
        [
            Cell::option(package.plugin_id.as_ref()),
            Cell::option(package.version.as_ref()),
            Cell::option(package.kind.as_ref()),
            state_cell(package.state),
            Cell::option(package.publisher.as_ref()),
            package.folder.clone().unwrap_or_else(|| "store".into()).into(),
            Cell::option(package.reason.as_ref()),
        ]
    });
    let heading = ["ID", "VERSION", "TYPE", "STATE", "PUBLISHER", "FOUND IN", "REASON"];
    let mut text = table_within(heading, rows.collect(), (columns.unwrap_or(usize::MAX), shorten), colour);
    for package in &list.packages {
        text.push_str(&changes(package));
    }
    for problem in &list.problems {
        let _ = writeln!(text, "{}", escape(problem));
    }
    if list.unsettled {
        text.push_str("folders have changed that are not looked at yet\n");
    }
    text
}

/// The files of a package that have changed on disk, a line each.
fn changes(package: &PackageStatus) -> String {
    let mut text = String::new();
    let id = package.plugin_id.as_ref().map_or("-", |id| id.as_str());
    for file in &package.changed {
        let shown = |digest: &Option<String>| match digest {
            Some(digest) => digest.chars().take(DIGEST_CHARS).collect(),
            None => "none".to_owned(),
        };
        let (old, new) = (shown(&file.old), shown(&file.new));
        let _ = writeln!(
            text,
            "{id}: {} changed on disk: {} -> {}",
            escape(&file.path),
            escape(&old),
            escape(&new)
        );
    }
    text
}

fn state_cell(state: PackageState) -> Cell {
    let (word, style) = match state {
        PackageState::Active => ("active", Style::Good),
        PackageState::Changed => ("changed", Style::Warn),
        PackageState::Found => ("found", Style::Warn),
        PackageState::Invalid => ("invalid", Style::Bad),
        PackageState::Disabled => ("disabled", Style::Warn),
        PackageState::Gone => ("gone", Style::Warn),
        _ => ("other", Style::Plain),
    };
    Cell::new(word, style)
}
