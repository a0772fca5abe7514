//! How a process ended, as its end is told: in words, with the last that it said.

/// What of its last words becomes part of a reason. Bytes; the event of the exit has them all.
const LAST_WORDS_BYTES_MAX: usize = 4096;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitReport {
    /// Whether it ended by itself with exit status 0.
    pub clean: bool,
    /// `exit status 3`, `signal 9 (SIGKILL)`.
    pub text: String,
    /// The last lines that it printed to standard error.
    pub stderr_tail: Vec<String>,
}

impl ExitReport {
    /// A reason with how the process ended and the last it said, escaped: it is shown in many places.
    #[must_use]
    pub(super) fn with_reason(&self, reason: &str) -> String {
        let mut text = format!("{reason} ({})", self.text);
        let mut words: Vec<String> = Vec::new();
        let mut left = LAST_WORDS_BYTES_MAX;
        // The last ones say most.
        for line in self.stderr_tail.iter().rev() {
            let mut shown = String::new();
            for c in line.chars() {
                if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
            }
            let mut end = shown.len().min(left);
            while !shown.is_char_boundary(end) {
                end -= 1;
            }
            left -= end;
            shown.truncate(end);
            if !shown.is_empty() || line.is_empty() {
                words.push(shown);
            }
        }
        words.reverse();
        if !words.is_empty() {
            text = format!("{text}; its last words on stderr: {}", words.join(" | "));
        }
        text
    }
}
