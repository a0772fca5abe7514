//! Standard error, where the host keeps what is printed for the operator.
//!
//! What always holds: control characters are escaped, because parts of a message may come from a peer.

use std::io::Write;

/// Writes a line to standard error. An error is ignored: when that is closed there is nobody left to tell.
pub(crate) fn say(text: &str) {
    let mut shown = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if c.is_control() && c != '\n' { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.push('\n');
    let _ = std::io::stderr().write_all(shown.as_bytes());
}
