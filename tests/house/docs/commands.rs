//! Command lines of the two programs in pages, and whether their tables take them.

use super::pages::Page;
use rpc_plugin_system::{ctl, daemon};
use std::ffi::OsString;

/// What a shell takes a line for: words, as far as the first command of it goes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(mark), _) if c == mark => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | ';' | '&' | '>') => {
                // The number before a redirection belongs to it.
                word.take_if(|word| c == '>' && word.parse::<u8>().is_ok());
                break;
            }
            (None, '#') if word.is_none() => break,
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Takes away what may stand before a command, and the folder that the program is in.
fn command(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let line = line.strip_prefix("ExecStartPre=").or(line.strip_prefix("ExecStart=")).unwrap_or(line);
    let mut words = words(line);
    loop {
        let first = words.first()?;
        let skip = match first.as_str() {
            "exec" | "sudo" => 1,
            "s6-setuidgid" => 2,
            _ if first.contains('=') && !first.starts_with('-') => 1,
            _ => break,
        };
        words = words.split_off(skip.min(words.len()));
    }
    let program = words.first()?.rsplit('/').next()?.to_owned();
    words[0] = program;
    ["rpcplugind", "rpcpluginctl"].contains(&&*words[0]).then_some(words)
}

/// The command lines of the two programs in a page. In a block with prompts only what stands after one is a
/// command, the rest is output; a program's name alone in running text is no command.
pub(crate) fn command_lines(page: &Page) -> impl Iterator<Item = Vec<String>> {
    let mut found = Vec::new();
    let mut block: Vec<&str> = Vec::new();
    let mut take = |block: &mut Vec<&str>| {
        let has_prompts = block.iter().any(|line| line.trim_start().starts_with("$ "));
        for line in block.drain(..) {
            let typed = line.trim_start().strip_prefix("$ ");
            let typed = if has_prompts { typed } else { Some(line) };
            found.extend(typed.and_then(command));
        }
    };
    for (in_block, line) in page.lines() {
        if in_block {
            block.push(line);
            continue;
        }
        take(&mut block);
        let mut quoted: Vec<&str> =
            line.split('`').skip(1).step_by(2).filter(|text| text.contains(' ')).collect();
        take(&mut quoted);
    }
    take(&mut block);
    found.into_iter()
}

/// The command lines that the programs refuse, with why.
pub(crate) fn refused(page: &Page) -> Vec<String> {
    let mut refused = Vec::new();
    for line in command_lines(page) {
        let arguments = line[1..].iter().map(OsString::from);
        let parsed = match line[0].as_str() {
            "rpcplugind" => daemon::PROGRAM.parse(arguments),
            _ => ctl::PROGRAM.parse(arguments),
        };
        refused.extend(parsed.err().map(|error| format!("{}: {}: {error}", page.path, line.join(" "))));
    }
    refused
}
