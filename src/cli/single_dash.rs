//! Long flags with one dash, as Go programs write them: `-plugin-id echo`, `-reverse=false`.
//!
//! What it deliberately does not do: look at what stands behind `--`, or at values.
//!
//! What always holds: only a word that is wholly a known long flag of two letters or more is read so; every other word
//! with one dash is a cluster of short flags, as before.

use super::{Flag, Program};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The words with `-name` as `--name` where that is a long flag, and `-switch=true` or `=false` as the switch or nothing.
pub(super) fn with_two_dashes(
    program: &'static Program,
    words: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut out = Vec::new();
    let (mut is_value, mut is_over) = (false, false);
    for word in words {
        if is_over || std::mem::take(&mut is_value) {
            out.push(word);
            continue;
        }
        let bytes = word.as_bytes();
        is_over = bytes == b"--";
        let Some(rest) = bytes.strip_prefix(b"-").filter(|rest| !rest.is_empty()) else {
            out.push(word);
            continue;
        };
        let (dashes, rest) = rest.strip_prefix(b"-").map_or((1, rest), |rest| (2, rest));
        let mut parts = rest.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        match std::str::from_utf8(name).ok().and_then(|name| long(program, name)) {
            Some(flag) if dashes == 2 || name.len() >= 2 => {
                is_value = takes_next_word(flag) && value.is_none();
                match value.filter(|_| dashes == 1 && flag.value.is_none()).map(is_true) {
                    Some(Some(true)) => out.push(format!("--{}", flag.long).into()),
                    Some(Some(false)) => {}
                    _ if dashes == 2 => out.push(word),
                    _ => out.push(OsString::from_vec([b"-", bytes].concat())),
                }
            }
            _ => {
                // In a cluster, what follows a flag with a value is its value.
                is_value = dashes == 1 && ends_with_its_flag(program, name);
                out.push(word);
            }
        }
    }
    out
}

/// A flag of the program or of any of its commands.
fn long(program: &'static Program, name: &str) -> Option<&'static Flag> {
    all(program).find(|flag| flag.long == name)
}

fn all(program: &'static Program) -> impl Iterator<Item = &'static Flag> {
    program.flags().chain(program.commands.iter().flat_map(|command| command.flags))
}

fn takes_next_word(flag: &Flag) -> bool {
    flag.value.is_some() && !flag.has_optional_value()
}

/// Whether the first flag with a value in a cluster is the last of it.
fn ends_with_its_flag(program: &'static Program, cluster: &[u8]) -> bool {
    let takes_value = |letter: &u8| {
        all(program).any(|flag| flag.short == Some(char::from(*letter)) && takes_next_word(flag))
    };
    cluster.iter().position(takes_value).is_some_and(|at| at + 1 == cluster.len())
}

/// What Go's `flag` package reads as a boolean.
fn is_true(value: &[u8]) -> Option<bool> {
    match value {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}
