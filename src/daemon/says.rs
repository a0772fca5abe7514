//! What a running daemon writes: what it has come to, on standard output, and why it ends, on standard error.
//!
//! What it deliberately does not do: print what was asked for, such as the help: that waits for its reader.
//!
//! What always holds: a reader that stands still holds the daemon up for no longer than [`PATIENCE`] a line, so that it still
//! acts on signals, and ends.

use crate::eventlog::sinks::write_patiently;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long a reader may take nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Says something on standard output. A reader that has gone, or stands still, is no failure.
///
/// # Errors
/// Those of poll(2) and write(2).
pub(super) fn say(text: &str) -> io::Result<()> {
    say_to(io::stdout(), text, PATIENCE)
}

fn say_to(to: impl AsFd, text: &str, patience: Duration) -> io::Result<()> {
    match write_patiently(to, text.as_bytes(), patience) {
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::TimedOut) => Ok(()),
        other => other,
    }
}

/// Says on standard error why the program ends.
pub(super) fn complain(program: &str, why: &str) {
    // Nowhere is left to tell that this failed.
    let _ = say_to(io::stderr(), &format!("{program}: {why}\n"), PATIENCE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_reader_that_stands_still_or_has_gone_is_no_failure() {
        let (mut reader, writer) = io::pipe().unwrap();
        say_to(&writer, "started\n", PATIENCE).unwrap();
        let mut seen = [0; 8];
        reader.read_exact(&mut seen).unwrap();
        assert_eq!(&seen, b"started\n");
        // More than a pipe takes, for which nobody waits.
        say_to(&writer, &"x".repeat(1 << 20), Duration::ZERO).unwrap();
        say_to(&writer, "ending\n", Duration::ZERO).unwrap();
        drop(reader);
        say_to(&writer, "ended\n", PATIENCE).unwrap();
        let unwritable = std::fs::File::open("/dev/null").unwrap();
        assert!(say_to(unwritable, "ended\n", PATIENCE).is_err());
    }
}
