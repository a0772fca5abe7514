//! Reading a command line against the table.
//!
//! What this file is for: splitting arguments into command, flags and positionals (lexopt does the
//! dashes), and refusing what the table does not have, with the name that was probably meant.
//! What it deliberately does not do: look at values; [`Args`] does when they are asked for.

use super::args::{Args, Ask};
use super::single_dash::with_two_dashes;
use super::text::escape;
use super::usage_error::UsageError;
use super::{Command, Flag, HELP_COMMAND, HELP_FLAG, Program, VERSION_FLAG};
use rpc_plugin_wire::suggest::nearest;
use std::ffi::OsString;

impl Program {
    /// Reads a command line, the program's own name not included.
    ///
    /// A request for help wins over any mistake in the same line.
    ///
    /// # Errors
    /// Says which word is wrong and which one was probably meant.
    pub fn parse(&'static self, words: impl IntoIterator<Item = OsString>) -> Result<Args, UsageError> {
        let mut reader = Reader {
            args: Args { program: self, ask: Ask::Run, command: None, given: Vec::new() },
            positionals: Vec::new(),
        };
        let words = with_two_dashes(self, words);
        let read = reader.read(lexopt::Parser::from_args(words));
        if reader.args.is_set(HELP_FLAG.long) {
            reader.args.ask = Ask::Help(reader.args.command);
            return Ok(reader.args);
        }
        read?;
        if reader.args.is_set(VERSION_FLAG.long) {
            reader.args.ask = Ask::Version;
            return Ok(reader.args);
        }
        reader.finish()
    }
}

struct Reader {
    args: Args,
    positionals: Vec<OsString>,
}

impl Reader {
    fn error(&self, message: String) -> UsageError {
        UsageError::new(self.args.program, self.args.command, message)
    }

    fn read(&mut self, mut parser: lexopt::Parser) -> Result<(), UsageError> {
        while let Some(word) = parser.next().map_err(|error| self.lexed(error))? {
            let flag = match word {
                lexopt::Arg::Long(name) => {
                    let found = self.find(|flag| flag.long == name).or_else(|| self.early(name));
                    found.ok_or_else(|| self.unknown_flag(&format!("--{}", escape(name)), name))?
                }
                lexopt::Arg::Short(letter) => {
                    let found = self.find(|flag| flag.short == Some(letter));
                    found
                        .ok_or_else(|| self.unknown_flag(&format!("-{}", escape(&letter.to_string())), ""))?
                }
                lexopt::Arg::Value(value) => {
                    self.word(value)?;
                    continue;
                }
            };
            let value = match flag.value {
                Some(_) if flag.has_optional_value() => parser.optional_value().unwrap_or_default(),
                Some(_) => parser.value().map_err(|error| self.lexed(error))?,
                None => OsString::new(),
            };
            // A switch given twice says nothing new.
            if flag.value.is_some() || self.count(flag.long) == 0 {
                self.args.given.push((flag.long, value));
            }
        }
        self.check_repeated()
    }

    /// How often a flag was given.
    fn count(&self, long: &str) -> usize {
        self.args.given.iter().filter(|(name, _)| *name == long).count()
    }

    /// Refuses two values that contradict each other. Only at the end: a flag may stand before the command whose flag it is.
    fn check_repeated(&self) -> Result<(), UsageError> {
        let is_once = |flag: &Flag| flag.value.is_some() && !flag.repeats;
        match self.find(|flag| is_once(flag) && self.count(flag.long) > 1) {
            Some(flag) => Err(self.error(format!("--{} is given more than once", flag.long))),
            None => Ok(()),
        }
    }

    fn find(&self, matches: impl Fn(&Flag) -> bool) -> Option<&'static Flag> {
        self.args.program.flags_with(self.args.command).find(|flag| matches(flag))
    }

    /// A flag of commands that is given before the command, where all of them take it with a value, or all without.
    fn early(&self, long: &str) -> Option<&'static Flag> {
        if self.args.command.is_some() {
            return None;
        }
        let commands = self.args.program.commands.iter().flat_map(|command| command.flags);
        let mut flags = commands.filter(|flag| flag.long == long);
        let first = flags.next()?;
        flags.all(|flag| flag.value.is_some() == first.value.is_some()).then_some(first)
    }

    /// Checks what was given before the command against it.
    fn check_early(&self, command: &'static Command) -> Result<(), UsageError> {
        for (long, _) in &self.args.given {
            if self.find(|flag| flag.long == *long).is_none() {
                let text = self.unknown_flag(&format!("--{long}"), long).message;
                return Err(self.error(format!("{text}, and the command is '{}'", command.name)));
            }
        }
        Ok(())
    }

    fn lexed(&self, error: lexopt::Error) -> UsageError {
        let message = match error {
            lexopt::Error::MissingValue { option: Some(option) } => {
                let flag = self.find(|flag| option == format!("--{}", flag.long));
                let value = flag.and_then(|flag| flag.value).unwrap_or("value");
                format!("{option} lacks its {value}")
            }
            lexopt::Error::UnexpectedValue { option, value } => {
                let (option, value) = (escape(&option), value.to_string_lossy());
                format!("{option} takes no value, and \"{}\" was given", escape(&value))
            }
            other => escape(&other.to_string()).into_owned(),
        };
        self.error(message)
    }

    fn unknown_flag(&self, typed: &str, long: &str) -> UsageError {
        let elsewhere: Vec<String> = (self.args.program.commands.iter())
            .filter(|command| command.flags.iter().any(|flag| flag.long == long))
            .map(|command| format!("'{}'", command.name))
            .collect();
        if !elsewhere.is_empty() {
            return self.error(format!("{typed} belongs to {}", elsewhere.join(", ")));
        }
        let names = self.args.program.flags_with(self.args.command).map(|flag| flag.long);
        match nearest(long, names) {
            Some(name) => self.error(format!("unknown flag {typed}; did you mean --{name}?")),
            None => self.error(format!("unknown flag {typed}")),
        }
    }

    fn unknown_command(&self, typed: &str) -> UsageError {
        let shown = escape(typed);
        if self.args.program.commands.is_empty() {
            return self.error(format!("unexpected argument \"{shown}\""));
        }
        match nearest(typed, self.args.program.commands.iter().map(|command| command.name)) {
            Some(name) => self.error(format!("unknown command \"{shown}\"; did you mean '{name}'?")),
            None => self.error(format!("unknown command \"{shown}\"")),
        }
    }

    /// Takes the command, or one more argument.
    fn word(&mut self, value: OsString) -> Result<(), UsageError> {
        if self.args.command.is_some() {
            self.positionals.push(value);
            return Ok(());
        }
        let name = value.to_string_lossy();
        let command = self.args.program.command(&name).ok_or_else(|| self.unknown_command(&name))?;
        self.args.command = Some(command);
        self.check_early(command)
    }

    fn finish(mut self) -> Result<Args, UsageError> {
        let positionals = std::mem::take(&mut self.positionals);
        match self.args.command {
            None if self.args.program.command_required => {
                return Err(self.error("a command is missing".to_owned()));
            }
            None => {
                let is_own = |long: &str| self.args.program.flags().any(|flag| flag.long == long);
                if let Some((long, _)) = self.args.given.iter().find(|(long, _)| !is_own(long)) {
                    return Err(self.unknown_flag(&format!("--{long}"), long));
                }
            }
            Some(command) => self.assign(command, positionals)?,
        }
        for flag in self.args.program.flags_with(self.args.command) {
            if flag.required && !self.args.is_set(flag.long) {
                let value = flag.value.unwrap_or_default();
                return Err(self.error(format!("--{} {value} is missing", flag.long)));
            }
        }
        if self.args.command.is_some_and(|command| command.name == HELP_COMMAND.name) {
            let about = self.args.text("COMMAND")?.map(str::to_owned);
            let found = about.as_deref().map(|name| (self.args.program.command(name), name));
            self.args.ask = match found {
                Some((None, name)) => return Err(self.unknown_command(name)),
                Some((found, _)) => Ask::Help(found),
                None => Ask::Help(None),
            };
        }
        Ok(self.args)
    }

    /// Gives the arguments their names. One whose flag is set is not expected.
    fn assign(&mut self, command: &'static Command, words: Vec<OsString>) -> Result<(), UsageError> {
        let mut words = words.into_iter();
        let mut replaced = None;
        for positional in command.positionals {
            let is_set = |flag: &&str| self.args.is_set(flag);
            let replacing = command.flags.iter().filter(|flag| flag.replaces == Some(positional.name));
            let mut flags = positional.flag.into_iter().chain(replacing.map(|flag| flag.long));
            if let Some(flag) = flags.find(is_set) {
                replaced = Some((flag, positional.name));
                continue;
            }
            match words.next() {
                Some(word) => {
                    self.args.given.push((positional.name, word));
                    if positional.repeats() {
                        self.args.given.extend(words.by_ref().map(|word| (positional.name, word)));
                    }
                }
                None if positional.required => {
                    return Err(self.error(format!("'{}' lacks its {}", command.name, positional.name)));
                }
                None => {}
            }
        }
        let Some(extra) = words.next() else { return Ok(()) };
        let extra = extra.to_string_lossy();
        let why =
            replaced.map_or(String::new(), |(flag, name)| format!(" (--{flag} already stands for {name})"));
        Err(self.error(format!("'{}' does not take \"{}\"{why}", command.name, escape(&extra))))
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
