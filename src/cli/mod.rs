//! Command lines, from one table: what a program and its commands take.
//!
//! What this folder is for: a program states its flags and commands once, as a constant; parsing
//! ([`Program::parse`]), help ([`Program::help`]), its page in the manual ([`Program::manual`]) and the
//! checks over the table ([`Program::problems`]) are all made from it. Beside that stand the two things
//! that every front end of the project needs: text that is safe to print ([`text`], [`columns`]) and the
//! runtime folder ([`runtime_dir`]).
//!
//! What it deliberately does not do: read the environment, print, or know any flag of any program but
//! `--help` and `--version`.
//!
//! What always holds: a flag that parses is in the help, and the other way round, because there is no
//! second list.

mod args;
pub mod columns;
mod help;
mod parse;
mod problems;
pub mod runtime_dir;
mod single_dash;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
mod usage_error;

pub use args::{Args, Ask, parse_duration};
pub use help::COLUMNS_MAX;
pub use usage_error::UsageError;

use serde::Serialize;

/// One flag. Made with [`Flag::switch`] or [`Flag::with_value`] and the methods that follow them, all
/// of which work in constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Flag {
    /// Its name without the dashes: lower-case letters, digits and `-`.
    pub long: &'static str,
    /// Its one-letter name.
    pub short: Option<char>,
    /// What stands for its value in the help; `None` is a switch.
    pub value: Option<&'static str>,
    /// Whether it may be given more than once.
    pub repeats: bool,
    /// Whether it must be given.
    pub required: bool,
    /// What holds without it, for the help.
    pub default: Option<&'static str>,
    /// The environment variable that stands in for it, for the help.
    pub variable: Option<&'static str>,
    /// The argument that is not expected where it is given, by its name.
    pub replaces: Option<&'static str>,
    /// What it does: one sentence without a final full stop.
    pub help: &'static str,
}

impl Flag {
    /// A flag without a value.
    #[must_use]
    pub const fn switch(long: &'static str, help: &'static str) -> Flag {
        Flag {
            long,
            short: None,
            value: None,
            repeats: false,
            required: false,
            default: None,
            variable: None,
            replaces: None,
            help,
        }
    }

    /// A flag with a value, which the help calls `value`. Where that begins with `[`, as `[=T]` does, the value may be left
    /// out, and is empty then; it is given as `--flag=value`.
    #[must_use]
    pub const fn with_value(long: &'static str, value: &'static str, help: &'static str) -> Flag {
        Flag { value: Some(value), ..Flag::switch(long, help) }
    }

    /// Whether its value may be left out.
    #[must_use]
    pub fn has_optional_value(&self) -> bool {
        self.value.is_some_and(|value| value.starts_with('['))
    }

    /// The same flag with a one-letter name.
    #[must_use]
    pub const fn short(self, short: char) -> Flag {
        Flag { short: Some(short), ..self }
    }

    /// The same flag, to be given any number of times.
    #[must_use]
    pub const fn repeated(self) -> Flag {
        Flag { repeats: true, ..self }
    }

    /// The same flag, which must be given.
    #[must_use]
    pub const fn required(self) -> Flag {
        Flag { required: true, ..self }
    }

    /// The same flag with its default told in the help.
    #[must_use]
    pub const fn default(self, default: &'static str) -> Flag {
        Flag { default: Some(default), ..self }
    }

    /// The same flag with its environment variable told in the help.
    #[must_use]
    pub const fn variable(self, variable: &'static str) -> Flag {
        Flag { variable: Some(variable), ..self }
    }

    /// The same flag, which makes an argument unexpected without being its value.
    #[must_use]
    pub const fn replaces(self, positional: &'static str) -> Flag {
        Flag { replaces: Some(positional), ..self }
    }
}

/// The flag that every program has; stands in one of its groups.
pub const HELP_FLAG: Flag = Flag::switch("help", "Print this help").short('h');
/// The other flag that every program has.
pub const VERSION_FLAG: Flag = Flag::switch("version", "Print the version").short('V');
/// The command that every program with commands has.
pub const HELP_COMMAND: Command = Command {
    name: "help",
    summary: "Print this help, or the help of one command",
    details: "",
    positionals: &[Positional { name: "COMMAND", required: false, flag: None, help: "The command" }],
    flags: &[],
    examples: &[],
};

/// An argument without dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Positional {
    /// Its name, in capitals. One that ends with `...` stands last and takes all further words.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// The flag that takes its place when given, by its long name.
    pub flag: Option<&'static str>,
    /// What it is: one sentence without a final full stop.
    pub help: &'static str,
}

impl Positional {
    /// Whether it takes all further words.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.name.ends_with("...")
    }
}

/// One command line to copy, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The whole line, program included.
    pub line: &'static str,
    /// What it does.
    pub what: &'static str,
}

/// One command of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What it does: one sentence without a final full stop.
    pub summary: &'static str,
    /// More for its own help page; may be empty.
    pub details: &'static str,
    /// Its arguments, in order; optional ones last.
    pub positionals: &'static [Positional],
    /// Its own flags, sorted by name; the program's flags hold as well.
    pub flags: &'static [Flag],
    /// Lines to copy.
    pub examples: &'static [Example],
}

/// Flags that stand together in the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FlagGroup {
    /// Their heading.
    pub title: &'static str,
    /// The flags, sorted by name.
    pub flags: &'static [Flag],
}

/// A table at the end of the help: exit codes, variables, files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// Name and meaning.
    pub rows: &'static [(&'static str, &'static str)],
}

/// One program: all that its command line can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it does: one sentence without a final full stop.
    pub summary: &'static str,
    /// Flags that hold with every command, and without one.
    pub groups: &'static [FlagGroup],
    /// Its commands, sorted by name; may be empty.
    pub commands: &'static [Command],
    /// Whether it needs one of them.
    pub command_required: bool,
    /// Lines to copy.
    pub examples: &'static [Example],
    /// What else belongs into the help.
    pub sections: &'static [Section],
}

impl Program {
    /// The program's own flags, over all groups.
    pub fn flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        let groups: &'static [FlagGroup] = self.groups;
        groups.iter().flat_map(|group| group.flags)
    }

    /// The command of that name.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<&'static Command> {
        let commands: &'static [Command] = self.commands;
        commands.iter().find(|command| command.name == name)
    }

    /// The flags that hold with `command`: its own, then the program's.
    pub fn flags_with(
        &self,
        command: Option<&'static Command>,
    ) -> impl Iterator<Item = &'static Flag> + use<> {
        command.map_or(&[][..], |command| command.flags).iter().chain(self.flags())
    }
}
