//! Names and numbers that identify: plugins, generations, tokens, methods.
//!
//! Each is a newtype that can only hold a valid value, so that nothing behind it checks again.

use crate::limits::{CAPABILITY_BYTES_MAX, METHOD_BYTES_MAX, PLUGIN_ID_BYTES_MAX};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is not the identifier that it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentError {
    /// Nothing there.
    Empty,
    /// Longer than allowed: bytes seen, bytes allowed.
    TooLong(usize, usize),
    /// A character that is not allowed.
    Character(char),
    /// `.` and `..` name folders.
    Reserved,
    /// Not 64 lower-case hexadecimal digits.
    NotAToken,
    /// A generation is a whole number from 1 on.
    NotAGeneration,
}

impl fmt::Display for IdentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IdentError::Empty => write!(f, "is empty"),
            IdentError::TooLong(seen, max) => write!(f, "has {seen} bytes, at most {max} are allowed"),
            IdentError::Character(c) => {
                write!(f, "contains {c:?}; letters, digits, '.', '_' and '-' are allowed")
            }
            IdentError::Reserved => write!(f, "is '.' or '..', which name folders"),
            IdentError::NotAToken => write!(f, "is not 64 lower-case hexadecimal digits"),
            IdentError::NotAGeneration => write!(f, "is not a whole number from 1 on"),
        }
    }
}

impl std::error::Error for IdentError {}

fn check(text: &str, bytes_max: usize, also: &str) -> Result<(), IdentError> {
    if text.is_empty() {
        return Err(IdentError::Empty);
    }
    if text.len() > bytes_max {
        return Err(IdentError::TooLong(text.len(), bytes_max));
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || ".-_".contains(*c) || also.contains(*c);
    match text.chars().find(|c| !allowed(c)) {
        Some(c) => Err(IdentError::Character(c)),
        None => Ok(()),
    }
}

/// A method name on the wire: 1 to 128 ASCII letters, digits, or `.`, `_`, `-`, `/`, `:`.
///
/// # Errors
/// Says which rule the text breaks.
pub fn check_method(method: &str) -> Result<(), IdentError> {
    check(method, METHOD_BYTES_MAX, "/:")
}

/// A capability or interface name: 1 to 64 ASCII letters, digits, or `.`, `_`, `-`.
///
/// # Errors
/// Says which rule the text breaks.
pub fn check_capability(name: &str) -> Result<(), IdentError> {
    check(name, CAPABILITY_BYTES_MAX, "")
}

/// The capability that an application method belongs to: what stands before the first `.`, `/` or `:`
/// (protocol section 2).
#[must_use]
pub fn capability_of(method: &str) -> &str {
    method.bytes().position(|b| matches!(b, b'.' | b'/' | b':')).map_or(method, |end| method.split_at(end).0)
}

/// Whether the first part of the name of a method or capability belongs to the protocol.
#[must_use]
pub fn is_reserved(method: &str) -> bool {
    matches!(capability_of(method), "host" | "plugin" | "admin" | "rpc")
}

/// The name an operator gave a plugin: 1 to 64 ASCII letters, digits, `.`, `_`, `-`; not `.` or `..`.
/// It names a folder and a socket, and cannot leave the folder it is put in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginId(Arc<str>);

/// Name of the control socket in a host's runtime folder.
pub const ADMIN_SOCKET: &str = "admin.sock";

/// Ids that no plugin may have: names of the host's own files in a runtime folder, beside which the plugins' folders
/// lie. A `*` at the end stands for any rest, such as the number of a rotated file.
pub const RESERVED_IDS: [&str; 5] = ["lock", ADMIN_SOCKET, "host.json", "events.jsonl*", "sinks"];

impl PluginId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name among [`RESERVED_IDS`] that it collides with.
    #[must_use]
    pub fn reserved(&self) -> Option<&'static str> {
        RESERVED_IDS.into_iter().find(|name| match name.strip_suffix('*') {
            Some(start) => self.0.starts_with(start),
            None => *self.0 == **name,
        })
    }
}

impl FromStr for PluginId {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        check(text, PLUGIN_ID_BYTES_MAX, "")?;
        if text == "." || text == ".." {
            return Err(IdentError::Reserved);
        }
        Ok(PluginId(text.into()))
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for PluginId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PluginId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|e| D::Error::custom(format_args!("plugin id {e}")))
    }
}

/// The number of one launch of one plugin. Starts at 1, is persisted before anything is launched,
/// and is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Generation(u64);

impl Generation {
    /// The first generation of a plugin.
    pub const FIRST: Generation = Generation(1);

    /// The number itself.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

impl TryFrom<u64> for Generation {
    type Error = IdentError;

    fn try_from(number: u64) -> Result<Self, IdentError> {
        if number == 0 { Err(IdentError::NotAGeneration) } else { Ok(Generation(number)) }
    }
}

impl FromStr for Generation {
    type Err = IdentError;

    fn from_str(text: &str) -> Result<Self, IdentError> {
        // Digits only: u64's own parser would take a leading '+'.
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdentError::NotAGeneration);
        }
        text.parse::<u64>().map_err(|_| IdentError::NotAGeneration)?.try_into()
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A one-time secret that proves to the host that the process on the socket is the one it launched.
///
/// Never shown: `Debug` prints a placeholder, there is no `Display`, and comparing takes the same
/// time wherever two tokens differ.
#[derive(Clone)]
pub struct Token([u8; Token::BYTES]);

impl Token {
    /// Random bytes in a token.
    pub const BYTES: usize = 32;

    /// A token from random bytes. The caller takes them from the operating system (getrandom(2)).
    #[must_use]
    pub fn from_bytes(bytes: [u8; Token::BYTES]) -> Token {
        Token(bytes)
    }

    /// 64 lower-case hexadecimal digits, as written to the token file and sent in the hello.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let digit = |n: u8| char::from(if n < 10 { b'0' + n } else { b'a' + (n - 10) });
        self.0.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
    }

    /// Reads the 64 digits back.
    ///
    /// # Errors
    /// [`IdentError::NotAToken`] for anything but 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Token, IdentError> {
        fn nibble(b: u8) -> Option<u8> {
            match b {
                b'0'..=b'9' => Some(b - b'0'),
                b'a'..=b'f' => Some(b - b'a' + 10),
                _ => None,
            }
        }
        let text = text.as_bytes();
        if text.len() != Token::BYTES * 2 {
            return Err(IdentError::NotAToken);
        }
        let mut bytes = [0; Token::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return Err(IdentError::NotAToken) };
            match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return Err(IdentError::NotAToken),
            }
        }
        Ok(Token(bytes))
    }

    /// Whether both are the same token, in a time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Token) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |acc, (a, b)| acc | (a ^ b));
        // The barrier keeps the compiler from turning the fold into an early exit.
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(...)")
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Token::from_hex(&text).map_err(|e| D::Error::custom(format_args!("token {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugin_ids_cannot_leave_their_folder() {
        for good in ["a", "echo", "A.b_c-9", "...", &"x".repeat(64)] {
            assert_eq!(good.parse::<PluginId>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "../x", "a b", "é", "a\n", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<PluginId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn generations_are_positive_decimal_numbers() {
        assert_eq!("7".parse::<Generation>().unwrap().get(), 7);
        for bad in ["", "0", "+1", "-1", " 1", "1\n", "99999999999999999999"] {
            assert!(bad.parse::<Generation>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tokens_survive_hex_and_are_not_shown() {
        let token = Token::from_bytes(std::array::from_fn(|i| i as u8 * 7));
        let back = Token::from_hex(&token.to_hex()).unwrap();
        assert!(token.matches(&back));
        assert!(!token.matches(&Token::from_bytes([0; 32])));
        assert!(!format!("{token:?}").contains("07"));
        for bad in ["", "00", &"g".repeat(64), &"A".repeat(64), &"0".repeat(63), &"0".repeat(65)] {
            assert!(Token::from_hex(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_method_belongs_to_the_capability_before_its_first_dot() {
        assert_eq!(capability_of("echo"), "echo");
        assert_eq!(capability_of("kv.get.all"), "kv");
        assert_eq!((capability_of("tools/list"), capability_of("urn:x.y")), ("tools", "urn"));
        assert!(check_method("kv.get").is_ok());
        assert!(check_method("kv get").is_err());
        assert!(check_method(&"m".repeat(129)).is_err());
    }
}
