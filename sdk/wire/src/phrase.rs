//! Parts of sentences for people: counted things, and texts that may be empty.

/// A number and what it counts: `1 plugin`, `2 plugins`.
#[must_use]
pub fn count(number: u64, one: &str) -> String {
    let many = if number == 1 { "" } else { "s" };
    format!("{number} {one}{many}")
}

/// The verb for so many: `was` or `were`.
#[must_use]
pub fn were(number: u64) -> &'static str {
    if number == 1 { "was" } else { "were" }
}

/// The text after a colon; nothing where it is empty.
#[must_use]
pub fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CallError, ErrorCode, ErrorObject};

    #[test]
    fn what_is_counted_is_in_the_plural_but_for_one() {
        assert_eq!([0, 1, 2].map(|number| count(number, "plugin")), ["0 plugins", "1 plugin", "2 plugins"]);
        assert_eq!([0, 1, 2].map(were), ["were", "was", "were"]);
    }

    #[test]
    fn an_error_without_a_message_ends_with_what_it_is() {
        let error = ErrorObject::new(ErrorCode::Application(7), "");
        assert!(error.to_string().ends_with(" (7)"), "{error}");
        let error = CallError::answered(error);
        assert!(!error.to_string().contains(": "), "{error}");
        assert!(CallError::not_sent(ErrorCode::Denied, "no").to_string().contains("denied: no ["));
    }
}
