//! What a table must satisfy, for the tests of the programs that have one.
//!
//! What it deliberately does not do: run in a release. A table is a constant, so one test over it
//! holds for every use.

use super::help::COLUMNS_MAX;
use super::{Ask, Command, Flag, HELP_COMMAND, HELP_FLAG, Program, VERSION_FLAG};
use std::ffi::OsString;

impl Program {
    /// Everything that is wrong with the table; empty when nothing is.
    ///
    /// Names are sorted, unique and well formed; everything has a help text; the built-in flags are
    /// there; every help page names all it should and keeps to its width; every example parses.
    #[must_use]
    pub fn problems(&'static self) -> Vec<String> {
        let mut problems = Vec::new();
        for group in self.groups {
            sorted(&mut problems, group.title, group.flags.iter().map(|flag| flag.long));
        }
        sorted(&mut problems, "commands", self.commands.iter().map(|command| command.name));
        for built_in in [HELP_FLAG, VERSION_FLAG] {
            if !self.flags().any(|flag| *flag == built_in) {
                problems.push(format!("--{} is missing", built_in.long));
            }
        }
        if !self.commands.is_empty() && self.command(HELP_COMMAND.name) != Some(&HELP_COMMAND) {
            problems.push("the command 'help' is missing".to_owned());
        }
        sentence(&mut problems, self.name, self.summary);
        self.page(&mut problems, None);
        for command in self.commands {
            self.command_problems(&mut problems, command);
        }
        for example in self.examples.iter().chain(self.commands.iter().flat_map(|command| command.examples)) {
            self.example(&mut problems, example.line);
        }
        problems
    }

    fn command_problems(&'static self, problems: &mut Vec<String>, command: &'static Command) {
        name(problems, command.name);
        sentence(problems, command.name, command.summary);
        sorted(problems, command.name, command.flags.iter().map(|flag| flag.long));
        let optional = command.positionals.iter().skip_while(|positional| positional.required);
        if optional.into_iter().any(|positional| positional.required) {
            problems.push(format!("{}: a required argument follows an optional one", command.name));
        }
        let last = command.positionals.len().saturating_sub(1);
        if command.positionals.iter().take(last).any(super::Positional::repeats) {
            problems.push(format!("{}: an argument follows one that takes all further words", command.name));
        }
        for positional in command.positionals {
            sentence(problems, positional.name, positional.help);
            if positional.name.bytes().any(|byte| byte.is_ascii_lowercase()) {
                problems.push(format!("{}: {} is not in capitals", command.name, positional.name));
            }
            if positional.flag.is_some_and(|long| !command.flags.iter().any(|flag| flag.long == long)) {
                problems.push(format!("{}: no flag for {}", command.name, positional.name));
            }
        }
        for flag in command.flags {
            let replaced = flag.replaces;
            if replaced.is_some_and(|name| !command.positionals.iter().any(|known| known.name == name)) {
                problems.push(format!("{}: --{} replaces no argument", command.name, flag.long));
            }
        }
        self.page(problems, Some(command));
    }

    /// One help page: its flags are sound and unique, and all are on it.
    fn page(&'static self, problems: &mut Vec<String>, command: Option<&'static Command>) {
        let page = command.map_or(self.name, |command| command.name);
        let help = self.help(command);
        let flags: Vec<&Flag> = self.flags_with(command).collect();
        for (index, flag) in flags.iter().enumerate() {
            name(problems, flag.long);
            sentence(problems, flag.long, flag.help);
            if flags.iter().skip(index + 1).any(|other| other.long == flag.long) {
                problems.push(format!("{page}: --{} is there twice", flag.long));
            }
            if flag.short.is_some() && flags.iter().skip(index + 1).any(|other| other.short == flag.short) {
                problems.push(format!("{page}: the short name of --{} is there twice", flag.long));
            }
            if (flag.repeats || flag.required || flag.default.is_some()) && flag.value.is_none() {
                problems.push(format!("{page}: --{} is a switch, and cannot be that", flag.long));
            }
            if !help.contains(&format!("--{}", flag.long)) {
                problems.push(format!("{page}: the help lacks --{}", flag.long));
            }
        }
        for line in help.lines() {
            if line.chars().count() > COLUMNS_MAX || line.trim_end() != line {
                problems.push(format!("{page}: a help line is too long or ends in spaces: {line:?}"));
            }
        }
    }

    fn example(&'static self, problems: &mut Vec<String>, line: &str) {
        // Other programs may stand before or behind a pipe.
        let ours = line.split(" | ").map(words).find(|words| words.first().is_some_and(|w| w == self.name));
        let Some(rest) = ours.as_deref().and_then(|words| words.get(1..)) else {
            problems.push(format!("the example {line:?} does not use {}", self.name));
            return;
        };
        match self.parse(rest.iter().map(OsString::from)) {
            Ok(args) if args.ask == Ask::Run => {}
            Ok(_) => problems.push(format!("the example {line:?} only asks for help")),
            Err(error) => problems.push(format!("the example {line:?}: {error}")),
        }
    }
}

fn sorted<'n>(problems: &mut Vec<String>, place: &str, names: impl Iterator<Item = &'n str>) {
    let names: Vec<&str> = names.collect();
    if !names.is_sorted() {
        problems.push(format!("{place}: not sorted: {names:?}"));
    }
}

fn name(problems: &mut Vec<String>, name: &str) {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(allowed) {
        problems.push(format!("{name:?} is not lower-case letters, digits and '-'"));
    }
}

fn sentence(problems: &mut Vec<String>, of: &str, text: &str) {
    if text.is_empty() || text.ends_with('.') || !text.starts_with(|first: char| first.is_uppercase()) {
        problems.push(format!("{of}: {text:?} is not a sentence without its full stop"));
    }
}

/// Splits an example as a shell would; single quotes are all the quoting that examples use.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
