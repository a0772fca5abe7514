//! Help and manual page, made from the table.
//!
//! What always holds: every flag, command and section of the table is in the text, and no line is
//! longer than [`COLUMNS_MAX`].

use super::{Command, Example, Flag, Program};
use std::fmt::Write as _;

/// Longest line of the help. Characters.
pub const COLUMNS_MAX: usize = 100;

/// Wider terms stand on a line of their own. Characters.
const TERM_COLUMNS_MAX: usize = 32;

/// Rows of a heading: a term and what it means.
type Rows = Vec<(String, String)>;

impl Program {
    /// The help of the program, or of one of its commands. Ends with a line end.
    #[must_use]
    pub fn help(&self, command: Option<&Command>) -> String {
        match command {
            None => self.program_help(),
            Some(command) => self.command_help(command),
        }
    }

    fn program_help(&self) -> String {
        let command = match (self.commands.is_empty(), self.command_required) {
            (true, _) => "",
            (false, true) => " COMMAND [ARGUMENTS]",
            (false, false) => " [COMMAND [ARGUMENTS]]",
        };
        let required: String = self.flags().filter(|flag| flag.required).map(usage_of).collect();
        let mut out = format!("{} {}\n", self.name, self.version);
        paragraph(&mut out, &format!("{}.", self.summary));
        let _ = write!(out, "\nUsage: {}{required} [FLAGS]{command}\n", self.name);
        let mut blocks: Vec<(&str, Rows)> = Vec::new();
        let commands =
            self.commands.iter().map(|command| (command.name.to_owned(), command.summary.to_owned()));
        blocks.push(("Commands", commands.collect()));
        for group in self.groups {
            blocks.push((group.title, flag_rows(group.flags.iter())));
        }
        for section in self.sections {
            let rows = section.rows.iter().map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned()));
            blocks.push((section.title, rows.collect()));
        }
        let columns = column_of(&blocks);
        for (title, rows) in &blocks {
            block(&mut out, title, rows, columns);
        }
        examples(&mut out, self.examples);
        if !self.commands.is_empty() {
            let _ = write!(out, "\n'{} help COMMAND' says more about one command.\n", self.name);
        }
        out
    }

    fn command_help(&self, command: &Command) -> String {
        let mut usage = format!("Usage: {} {}", self.name, command.name);
        command.flags.iter().filter(|flag| flag.required).for_each(|flag| usage.push_str(&usage_of(flag)));
        for positional in command.positionals {
            let _ = match positional.required {
                true => write!(usage, " {}", positional.name),
                false => write!(usage, " [{}]", positional.name),
            };
        }
        let mut out = String::new();
        paragraph(&mut out, &format!("{}.", command.summary));
        let _ = write!(out, "\n{usage} [FLAGS]\n");
        if !command.details.is_empty() {
            out.push('\n');
            paragraph(&mut out, command.details);
        }
        let arguments: Rows = (command.positionals.iter())
            .map(|positional| {
                let also =
                    positional.flag.map_or(String::new(), |flag| format!(" (or --{flag} in its place)"));
                (positional.name.to_owned(), format!("{}{also}", positional.help))
            })
            .collect();
        let mut blocks =
            vec![("Arguments", arguments), ("Flags of this command", flag_rows(command.flags.iter()))];
        for group in self.groups {
            blocks.push((group.title, flag_rows(group.flags.iter())));
        }
        let columns = column_of(&blocks);
        for (title, rows) in &blocks {
            block(&mut out, title, rows, columns);
        }
        examples(&mut out, command.examples);
        out
    }

    /// The program's page in the manual, in Markdown: the help of the program and of each command.
    #[must_use]
    pub fn manual(&self) -> String {
        let fence = |text: &str| format!("```text\n{}```\n", text);
        let version = format!("{} {}\n", self.name, self.version);
        let help = self.program_help();
        // Without the version, the page changes only when the table does.
        let help = help.strip_prefix(&version).unwrap_or(&help);
        let mut out = format!(
            "# {}\n\n<!-- Made from the program's flag table, and compared with it by a test: change the \
             table. -->\n\n{}",
            self.name,
            fence(help)
        );
        for command in self.commands {
            let _ = write!(out, "\n## {}\n\n{}", command.name, fence(&self.command_help(command)));
        }
        out
    }
}

fn usage_of(flag: &Flag) -> String {
    format!(" --{} {}", flag.long, flag.value.unwrap_or_default())
}

fn flag_rows<'f>(flags: impl Iterator<Item = &'f Flag>) -> Rows {
    flags
        .map(|flag| {
            let mut term = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
            let _ = write!(term, "--{}", flag.long);
            flag.value.iter().for_each(|value| {
                let _ = write!(term, "{}{value}", if flag.has_optional_value() { "" } else { " " });
            });
            let mut meaning = flag.help.to_owned();
            let mut notes = Vec::new();
            flag.required.then(|| notes.push("required".to_owned()));
            flag.repeats.then(|| notes.push("may be repeated".to_owned()));
            flag.default.iter().for_each(|default| notes.push(format!("default: {default}")));
            flag.variable.iter().for_each(|variable| notes.push(format!("variable: {variable}")));
            if !notes.is_empty() {
                let _ = write!(meaning, " [{}]", notes.join("; "));
            }
            (term, meaning)
        })
        .collect()
}

/// Where the meanings begin: behind the widest term that is not too wide.
fn column_of(blocks: &[(&str, Rows)]) -> usize {
    let terms = blocks.iter().flat_map(|(_, rows)| rows).map(|(term, _)| term.chars().count());
    terms.filter(|width| *width <= TERM_COLUMNS_MAX).max().unwrap_or(0) + 4
}

fn block(out: &mut String, title: &str, rows: &Rows, columns: usize) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "\n{title}:\n");
    for (term, meaning) in rows {
        let mut line = format!("  {term}");
        if line.chars().count() + 2 > columns {
            out.push_str(&line);
            out.push('\n');
            line.clear();
        }
        for (index, part) in wrap(meaning, COLUMNS_MAX.saturating_sub(columns)).iter().enumerate() {
            if index > 0 {
                line.clear();
            }
            let _ = writeln!(out, "{line:columns$}{part}");
        }
    }
}

fn examples(out: &mut String, examples: &[Example]) {
    if examples.is_empty() {
        return;
    }
    out.push_str("\nExamples:\n");
    for example in examples {
        for part in wrap(example.what, COLUMNS_MAX - 4) {
            let _ = writeln!(out, "  # {part}");
        }
        let _ = writeln!(out, "  {}", example.line);
    }
}

fn paragraph(out: &mut String, text: &str) {
    for line in wrap(text, COLUMNS_MAX) {
        out.push_str(&line);
        out.push('\n');
    }
}

/// Breaks a text at spaces into lines of at most `columns` characters; a longer word stands alone.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
