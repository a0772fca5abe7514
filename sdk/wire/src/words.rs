//! What serde_json says about a text that it refuses, in words of the protocol.
//!
//! What this file is for: who writes a plugin in another language reads "`level`: it is the integer `5`, and has to be a string"
//! rather than "invalid type", and need not know what a map or a `u64` is in Rust.
//! What it deliberately does not do: decide anything. What always holds: where the words are not known they stay as they are,
//! what is said has a bound, and no token is shown.

use crate::cut::cut_message;
use serde_json::error::Category;
use std::fmt::Write as _;

/// Bytes of a frame that are shown where it is refused.
const SHOWN_BYTES_MAX: usize = 80;

/// Messages of serde_json about text that is no JSON, and ours.
const OF_SYNTAX: &[(&str, &str)] = &[
    ("EOF while parsing a list", "it ends inside an array"),
    ("EOF while parsing an object", "it ends inside an object"),
    ("EOF while parsing a string", "it ends inside a string"),
    ("EOF while parsing a value", "it ends where a value has to be"),
    ("expected `:`", "a ':' is missing behind a member's name"),
    ("expected `,` or `]`", "a ',' or ']' is missing behind an element"),
    ("expected `,` or `}`", "a ',' or '}' is missing behind a member"),
    ("expected ident", "a word is none of true, false and null"),
    ("expected value", "something stands where a value has to be"),
    ("expected `\"`", "a '\"' is missing"),
    ("invalid escape", "a string has an escape that JSON does not have"),
    ("invalid number", "a number is not written as JSON has numbers"),
    ("number out of range", "a number is out of range"),
    ("invalid unicode code point", "a string has an escape of no character"),
    (
        "control character (\\u0000-\\u001F) found while parsing a string",
        "a string has a control character that is not escaped",
    ),
    ("key must be a string", "a member's name is not a string in quotes"),
    (
        "lone leading surrogate in hex escape",
        "a string has the escape of half a character (a lone surrogate)",
    ),
    ("unexpected end of hex escape", "a string has the escape of half a character (a lone surrogate)"),
    ("trailing comma", "a ',' stands behind the last one"),
    ("trailing characters", "something stands behind the JSON value"),
    ("recursion limit exceeded", "it is nested too deep"),
];

/// What a reader of ours expects, as Rust calls it and as JSON does.
const OF_TYPES: &[(&str, &str)] = &[
    ("map", "an object"),
    ("sequence", "an array"),
    ("unit value", "null"),
    ("unit", "null"),
    ("a map", "an object"),
    ("a sequence", "an array"),
    ("u8", "an integer from 0 to 255"),
    ("u16", "an integer from 0 to 65535"),
    ("u32", "an integer from 0 to 4294967295"),
    ("u64", "an integer from 0"),
    ("usize", "an integer from 0"),
    ("i32", "an integer"),
    ("i64", "an integer"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
];

fn looked_up<'a>(table: &[(&'static str, &'static str)], word: &'a str) -> &'a str {
    table.iter().find(|(theirs, _)| *theirs == word).map_or(word, |(_, ours)| ours)
}

/// What was expected, as JSON calls it. What is to be a `struct` of ours is an object.
fn expected_kind(of: &str) -> &str {
    if of.starts_with("struct ") { "an object" } else { looked_up(OF_TYPES, of) }
}

/// What was seen, as JSON calls it, with its value where serde tells that.
fn seen_kind(of: &str) -> String {
    let value = [
        ("integer ", "the integer "),
        ("floating point ", "the number "),
        ("string ", "the string "),
        ("boolean ", ""),
    ];
    let named = value.iter().find_map(|(theirs, ours)| Some(format!("{ours}{}", of.strip_prefix(theirs)?)));
    named.unwrap_or_else(|| expected_kind(of).to_owned())
}

/// Says what is wrong with `text`, the JSON that was read, and where: the member for a value of the wrong kind. At most
/// [`ERROR_MESSAGE_BYTES_MAX`](crate::limits::ERROR_MESSAGE_BYTES_MAX) bytes.
#[must_use]
pub fn in_words(error: &serde_json::Error, text: &str) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = said.strip_suffix(&place).unwrap_or(&said);
    let (mut words, is_of_value) = match error.classify() {
        Category::Data => of_data(what),
        _ => (looked_up(OF_SYNTAX, what).to_owned(), false),
    };
    if is_of_value {
        let member = member_at(text, error.line(), error.column());
        if !member.is_empty() {
            words = format!("`{member}`: {words}");
        }
    }
    match (error.line(), error.column()) {
        (0, _) | (1, 0) => {}
        // What is written on one line, as frames are.
        (1, column) => drop(write!(words, " (column {column})")),
        (line, column) => drop(write!(words, " (line {line}, column {column})")),
    }
    cut_message(&mut words);
    words
}

/// What is wrong with a frame, of which that is wrong with the member of this name. Mostly that names it already.
pub(crate) fn bad_member(name: &str, what: &str) -> String {
    let name = if what.starts_with(&format!("`{name}")) { String::new() } else { format!("`{name}`: ") };
    format!("the frame is not a message: {name}{what}")
}

/// The message of `invalid_params` for params that are this text.
#[must_use]
pub fn invalid_params(error: &serde_json::Error, text: &str) -> String {
    format!("invalid params: {}", in_words(error, text))
}

/// What serde says of a value that it cannot take, in our words; and whether that says nothing of which value it is.
fn of_data(what: &str) -> (String, bool) {
    let quoted = |start: &str| {
        let rest = what.strip_prefix(start)?.strip_prefix('`')?;
        rest.split_once('`')
    };
    let listed = |known: &str| known.strip_prefix("one of ").unwrap_or(known).replace(" or ", ", ");
    if let Some((name, "")) = quoted("missing field ") {
        return (format!("`{name}` is missing"), false);
    }
    if let Some((name, "")) = quoted("duplicate field ") {
        return (format!("`{name}` is there twice"), false);
    }
    if let Some((name, rest)) = quoted("unknown field ") {
        let known = rest.strip_prefix(", expected ").map_or_else(
            || "there are no members".to_owned(),
            |known| format!("known are {}", listed(known)),
        );
        return (format!("`{name}` is no member of it; {known}"), false);
    }
    if let Some((name, rest)) = quoted("unknown variant ") {
        let known = listed(rest.strip_prefix(", expected ").unwrap_or(rest));
        return (format!("it is \"{name}\", and has to be one of {known}"), true);
    }
    // A method that is called with arguments by name says which it is.
    if let Some((name, rest)) = quoted("argument ") {
        let words =
            rest.strip_prefix(": ").map_or_else(|| rest.to_owned(), |of| format!(": {}", of_data(of).0));
        return (format!("argument `{name}`{words}"), false);
    }
    if what.starts_with("no argument ") {
        return (what.to_owned(), false);
    }
    for start in ["invalid type: ", "invalid value: "] {
        // What was seen may be any text; what is expected is a word of ours.
        if let Some((seen, expected)) =
            what.strip_prefix(start).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return (format!("it is {}, and has to be {}", seen_kind(seen), expected_kind(expected)), true);
        }
    }
    if let Some((seen, expected)) =
        what.strip_prefix("invalid length ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return (format!("it has {seen} entries, and has to be {}", expected_kind(expected)), true);
    }
    (what.to_owned(), true)
}

/// The name of the member that stands at this place of a text that is JSON up to there; members within members with dots
/// between. Empty where there is none.
fn member_at(text: &str, line: usize, column: usize) -> String {
    let begin: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let end = begin.saturating_add(column).min(text.len());
    let (mut names, mut string, mut last) = (Vec::<Option<&str>>::new(), None, None);
    let mut bytes = text.bytes().enumerate().take(end);
    while let Some((at, byte)) = bytes.next() {
        match (byte, string) {
            (b'\\', Some(_)) => drop(bytes.next()),
            (b'"', Some(from)) => (last, string) = (text.get(from..at), None),
            (_, Some(_)) => {}
            (b'"', None) => string = Some(at + 1),
            (b':', None) => names.last_mut().into_iter().for_each(|name| *name = last),
            (b'{' | b'[', None) => names.push(None),
            (b'}' | b']', None) => drop(names.pop()),
            _ => {}
        }
    }
    let names: Vec<&str> = names.into_iter().flatten().collect();
    names.join(".")
}

/// The beginning of a frame that is refused, escaped: 80 bytes of it, and less where a token may follow, because the token is a
/// secret and the record is none.
#[must_use]
pub fn beginning_of(frame: &[u8]) -> String {
    let (all, mut text) = (frame.len(), String::from("`"));
    let shown = frame.get(..secret_at(frame).min(SHOWN_BYTES_MAX)).unwrap_or(frame);
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '`' | '\\' => text.extend(['\\', character]),
                _ if character.is_control() => text.extend(character.escape_default()),
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push_str(if shown.len() < all { "`…" } else { "`" });
    text
}

/// Where a frame may tell a token: behind the word, however it is quoted, or where so many hexadecimal digits follow one another
/// that they may be part of one. Its length where it does not.
fn secret_at(frame: &[u8]) -> usize {
    const WORD: &[u8] = b"token";
    const DIGITS: usize = 16;
    // What begins beyond these bytes is not shown.
    let looked_at = frame.get(..SHOWN_BYTES_MAX + DIGITS).unwrap_or(frame);
    let word = looked_at.windows(WORD.len()).position(|window| window.eq_ignore_ascii_case(WORD));
    let digits =
        looked_at.windows(DIGITS).position(|window| window.iter().all(|byte| byte.is_ascii_hexdigit()));
    let behind = word.map(|at| at + WORD.len());
    behind.into_iter().chain(digits).min().unwrap_or(frame.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{params_into, result_object};
    use serde::Deserialize;
    use serde_json::Value;
    use serde_json::value::RawValue;

    /// What serde_json says today: another release of it may say something else, and then this is to be seen.
    #[test]
    fn what_serde_says_of_text_that_is_no_json_has_our_words() {
        let table = [
            ("", "it ends where a value has to be"),
            ("[1", "it ends inside an array"),
            ("{\"a\":1", "it ends inside an object"),
            ("{\"a\":\"b", "it ends inside a string"),
            ("{\"a\" 1}", "a ':' is missing behind a member's name (column 6)"),
            ("[1 2]", "a ',' or ']' is missing behind an element (column 4)"),
            ("{\"a\":1 \"b\":2}", "a ',' or '}' is missing behind a member (column 8)"),
            ("{\"a\":nul}", "a word is none of true, false and null"),
            ("{\"a\":}", "something stands where a value has to be (column 6)"),
            ("{\"a\":\"\\x\"}", "a string has an escape that JSON does not have (column 8)"),
            ("{\"a\":01}", "a number is not written as JSON has numbers (column 7)"),
            ("{\"a\":1e999}", "a number is out of range"),
            ("{\"a\":\"\u{1}\"}", "a string has a control character that is not escaped (column 7)"),
            ("{a:1}", "a member's name is not a string in quotes (column 2)"),
            ("{\"a\":\"\\ud800\"}", "a string has the escape of half a character (a lone surrogate)"),
            ("[1,]", "a ',' stands behind the last one (column 4)"),
            ("{} {}", "something stands behind the JSON value (column 4)"),
            (&"[".repeat(200), "it is nested too deep"),
            ("{\n\"a\":}", "something stands where a value has to be (line 2, column 5)"),
        ];
        for (text, expected) in table {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            let words = in_words(&error, text);
            assert!(words.starts_with(expected), "{text:.20}: {error}: {words}");
        }
    }

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only read")]
    struct Outer {
        #[serde(default)]
        name: String,
        #[serde(default)]
        count: u64,
        #[serde(default)]
        small: u8,
        #[serde(default)]
        list: Vec<u64>,
        #[serde(default)]
        is: bool,
        #[serde(default)]
        inner: Option<Inner>,
        #[serde(default)]
        how: How,
    }

    #[derive(Deserialize, Debug)]
    #[allow(dead_code, reason = "only read")]
    struct Inner {
        at: u64,
    }

    #[derive(Deserialize, Debug, Default)]
    #[serde(rename_all = "snake_case")]
    enum How {
        #[default]
        Well,
        Badly,
    }

    #[test]
    fn what_serde_says_of_a_value_names_its_member_and_has_our_words() {
        let table = [
            (r#"{"name":5}"#, "`name`: it is the integer `5`, and has to be a string (column 9)"),
            (
                r#"{"count":"x, expected y"}"#,
                "`count`: it is the string \"x, expected y\", and has to be an integer from 0",
            ),
            (r#"{"count":-1}"#, "`count`: it is the integer `-1`, and has to be an integer from 0"),
            (r#"{"small":256}"#, "`small`: it is the integer `256`, and has to be an integer from 0 to 255"),
            (r#"{"count":1.5}"#, "`count`: it is the number `1.5`, and has to be an integer from 0"),
            (r#"{"name":"a","list":{}}"#, "`list`: it is an object, and has to be an array"),
            (r#"{"list":[1,"a"]}"#, "`list`: it is the string \"a\", and has to be an integer from 0"),
            (r#"{"name":[]}"#, "`name`: it is an array, and has to be a string"),
            (r#"{"name":null}"#, "`name`: it is null, and has to be a string"),
            (r#"{"is":0}"#, "`is`: it is the integer `0`, and has to be true or false"),
            (r#"{"inner":7}"#, "`inner`: it is the integer `7`, and has to be an object"),
            (
                r#"{"name":"{","inner":{"at":"b"}}"#,
                "`inner.at`: it is the string \"b\", and has to be an integer from 0",
            ),
            (r#"{"inner":{}}"#, "`at` is missing"),
            (r#"{"name":"a","name":"b"}"#, "`name` is there twice"),
            (r#"{"how":"odd"}"#, "`how`: it is \"odd\", and has to be one of `well`, `badly`"),
            (
                r#"{"nam":"a"}"#,
                "`nam` is no member of it; known are `name`, `count`, `small`, `list`, `is`, `inner`, `how` (column 6)",
            ),
        ];
        for (text, expected) in table {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            let words = params_into::<Outer>(Some(raw)).unwrap_err().message;
            assert!(words.starts_with(&format!("invalid params: {expected}")), "{text}: {words}");
        }
        let raw: &RawValue = serde_json::from_str("[1]").unwrap();
        let words = result_object::<Outer>(raw).unwrap_err();
        assert!(words.starts_with("it is an array, and has to be an object"), "{words}");
    }

    #[test]
    fn the_beginning_of_a_frame_is_shown_escaped_and_without_its_token() {
        assert_eq!(beginning_of(b"GET / HTTP/1.1\r"), "`GET / HTTP/1.1\\r`");
        assert_eq!(beginning_of(b"a`\\\xff\x1b[2J\xc3\xa9"), "`a\\`\\\\\\xff\\u{1b}[2J\u{e9}`");
        let long = beginning_of("x".repeat(81).as_bytes());
        assert_eq!(long, format!("`{}`…", "x".repeat(80)));
        let token = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        for (hello, shown) in [
            ("{\"params\":{\"token\":\"TOKEN\"}}", "`{\"params\":{\"token`…"),
            ("{'params': {'Token': 'TOKEN'}}", "`{'params': {'Token`…"),
            ("{\"params\":{\"tok\\u0065n\":\"TOKEN\"}}", "`{\"params\":{\"tok\\\\u0065n\":\"`…"),
            ("TOKEN", "``…"),
            ("RPC_token=TOKEN", "`RPC_token`…"),
        ] {
            assert_eq!(beginning_of(hello.replace("TOKEN", token).as_bytes()), shown);
        }
        for padding in 0..100 {
            let hello = format!("{{\"{}\":\"{token}\"}}", "x".repeat(padding));
            assert!(!beginning_of(hello.as_bytes()).contains("9f"), "{padding}");
        }
        assert_eq!(beginning_of(b""), "``");
    }
}
