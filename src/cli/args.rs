//! What a command line said, and its values as the types they are meant to be.
//!
//! What always holds: a name asked for is in the table of the program; a wrong one is a bug of the
//! caller, which debug builds assert and release builds answer as "not given".

use super::text::escape;
use super::usage_error::UsageError;
use super::{Command, Program};
use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// What the command line asks the program to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Its work; [`Args::command`] says which.
    Run,
    /// Its help, or that of one command.
    Help(Option<&'static Command>),
    /// Its version.
    Version,
}

/// A command line, parsed.
#[derive(Debug, Clone)]
pub struct Args {
    pub(super) program: &'static Program,
    /// What is asked.
    pub ask: Ask,
    /// The command given.
    pub command: Option<&'static Command>,
    /// Flags by long name and positionals by name, in the order given. A switch has an empty value.
    pub(super) given: Vec<(&'static str, OsString)>,
}

impl Args {
    /// Whether a flag or argument of that name was given.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of a flag (by long name) or of an argument (by its name in capitals, or through the
    /// flag that takes its place).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.all(name).next()
    }

    /// Every value of a flag that repeats, in order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a OsStr> + use<'a> {
        debug_assert!(self.knows(name), "{name} is not in the table of {}", self.program.name);
        let stand_in = self.positional_flag(name);
        let name = name.to_owned();
        self.given
            .iter()
            .filter(move |(given, _)| *given == name || stand_in == Some(*given))
            .map(|(_, value)| value.as_os_str())
    }

    /// Everything given, in order: flags by long name, arguments by name.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.given.iter().map(|(name, value)| (*name, value.as_os_str()))
    }

    /// The value as text.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, UsageError> {
        self.get(name).map(|value| self.utf8(name, value)).transpose()
    }

    /// The value as a path.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<&Path> {
        self.get(name).map(Path::new)
    }

    /// The value as a duration such as `15m`, `30s` or `200ms`; `0` needs no unit.
    ///
    /// # Errors
    /// When it is not one.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, UsageError> {
        self.text(name)?
            .map(|text| parse_duration(text).map_err(|why| self.wrong(name, text, &why)))
            .transpose()
    }

    /// The value as a number, an id, or whatever else can be read from text.
    ///
    /// # Errors
    /// When it cannot; with what the type says about it.
    pub fn parse<T: FromStr>(&self, name: &str) -> Result<Option<T>, UsageError>
    where
        T::Err: Display,
    {
        self.text(name)?
            .map(|text| text.parse::<T>().map_err(|why| self.wrong(name, text, &why.to_string())))
            .transpose()
    }

    /// Every value of a flag that repeats, as `KEY=VALUE` cut at the first `=`.
    ///
    /// # Errors
    /// When one has no `=`, or a key that is empty or not UTF-8.
    pub fn pairs(&self, name: &str) -> Result<Vec<(&str, &OsStr)>, UsageError> {
        let cut = |value: &OsStr| value.as_bytes().iter().position(|byte| *byte == b'=');
        self.all(name)
            .map(|value| {
                let shown = value.to_string_lossy();
                let (key, rest) = cut(value)
                    .and_then(|at| value.as_bytes().split_at_checked(at))
                    .ok_or_else(|| self.wrong(name, &shown, "it has no '='"))?;
                if key.is_empty() {
                    return Err(self.wrong(name, &shown, "nothing stands before the '='"));
                }
                let key = self.utf8(name, OsStr::from_bytes(key))?;
                Ok((key, OsStr::from_bytes(rest.get(1..).unwrap_or_default())))
            })
            .collect()
    }

    /// A usage error about the value of `name`, for checks that only the caller can make.
    #[must_use]
    pub fn wrong(&self, name: &str, seen: &str, why: &str) -> UsageError {
        let message = format!("{} \"{}\": {why}", self.label(name), escape(seen));
        UsageError::new(self.program, self.command, message)
    }

    /// A usage error about something that is not there.
    #[must_use]
    pub fn lacking(&self, message: impl Into<String>) -> UsageError {
        UsageError::new(self.program, self.command, message.into())
    }

    fn utf8<'a>(&self, name: &str, value: &'a OsStr) -> Result<&'a str, UsageError> {
        value.to_str().ok_or_else(|| self.wrong(name, &value.to_string_lossy(), "it is not UTF-8"))
    }

    fn label(&self, name: &str) -> String {
        match self.positional_flag(name).filter(|flag| self.given.iter().any(|(given, _)| given == flag)) {
            Some(flag) => format!("--{flag}"),
            None if self.is_flag(name) => format!("--{name}"),
            None => name.to_owned(),
        }
    }

    fn positional_flag(&self, name: &str) -> Option<&'static str> {
        let command: &'static Command = self.command?;
        command.positionals.iter().find(|positional| positional.name == name)?.flag
    }

    fn is_flag(&self, name: &str) -> bool {
        self.program.flags_with(self.command).any(|flag| flag.long == name)
    }

    /// Whether the table has that name at all, with any command.
    fn knows(&self, name: &str) -> bool {
        let has = |command: &Command| {
            command.flags.iter().any(|flag| flag.long == name)
                || command.positionals.iter().any(|positional| positional.name == name)
        };
        self.is_flag(name) || self.program.commands.iter().any(has)
    }
}

/// Reads a duration such as `15m`, `30s` or `200ms`; `0` needs no unit.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|why| format!("{why}; write it like 15m, 30s or 200ms"))
}
