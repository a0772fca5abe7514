//! Signatures of minisign: whose key made one, and whether it is of these bytes.
//!
//! What it deliberately does not do: open a file; say whom to trust ([`super::publisher`] does).
//!
//! What always holds: a signature that is accepted was made with one of the keys that were handed in, and covers every byte
//! and the trusted comment. Both of minisign's forms are read: of the hash of the bytes (`ED`, what minisign makes today)
//! and of the bytes themselves (`Ed`, what versions before 0.10 made).

use super::manifest::{MANIFEST_NAME, SIGNATURE_NAME};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;

/// Longest signature that is read. Minisign's own comments have at most 1 KiB and 8 KiB. Bytes.
pub const SIGNATURE_BYTES_MAX: usize = 16 * 1024;
/// Lines of a signature.
const LINES: usize = 4;
/// A public key: two bytes for the algorithm, eight for the id, 32 for the key itself.
const KEY_BYTES: usize = 42;
/// What is allowed, for error messages.
pub const KEY_ALLOWED: &str =
    "a public key of minisign: 56 characters that begin with RW, or a file minisign.pub";

/// The number that minisign gives a key. Whoever makes a key can choose it, so it names a key to people and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(u64);

impl KeyId {
    /// That of a key or signature, which follows its algorithm.
    fn of(decoded: &[u8]) -> Option<KeyId> {
        let (_, rest) = decoded.split_first_chunk::<2>()?;
        let (id, _) = rest.split_first_chunk::<8>()?;
        Some(KeyId(u64::from_le_bytes(*id)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

/// A public key of minisign. Two are equal if they are the same key, not if they have the same id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey {
    /// As minisign writes it.
    text: String,
    id: KeyId,
}

impl PublicKey {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn decoded(&self) -> Result<minisign_verify::PublicKey, SignatureError> {
        let decoded = minisign_verify::PublicKey::from_base64(&self.text);
        decoded.map_err(|error| SignatureError::Malformed(error.to_string()))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PublicKey {
    type Err = String;

    /// Reads a key: its line, or the two lines of a file `minisign.pub`.
    fn from_str(text: &str) -> Result<PublicKey, String> {
        let mut lines = text.trim().lines().map(str::trim);
        let mut line = lines.next().unwrap_or_default();
        if line.starts_with("untrusted comment:") {
            line = lines.next().unwrap_or_default();
        }
        if lines.next().is_some() {
            return Err("has more than a comment and a key".to_owned());
        }
        let decoded = STANDARD.decode(line).map_err(|error| format!("is no base64: {error}"))?;
        if decoded.len() != KEY_BYTES {
            return Err(format!("has {} bytes, not {KEY_BYTES}", decoded.len()));
        }
        if !decoded.starts_with(b"Ed") {
            return Err("is of an algorithm other than Ed25519".to_owned());
        }
        let id = KeyId::of(&decoded).ok_or_else(|| "has no id".to_owned())?;
        Ok(PublicKey { text: line.to_owned(), id })
    }
}

/// Why a signature does not vouch for a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureError {
    /// It is no signature of minisign, and why.
    Malformed(String),
    /// It is of another key than those that are trusted.
    OtherKey {
        /// The key that it says it is of.
        seen: KeyId,
        /// The keys that were handed in.
        trusted: Vec<KeyId>,
    },
    /// It says that it is of this key, and is not a signature of these bytes.
    Mismatch(KeyId),
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SIGNATURE_NAME}: ")?;
        match self {
            SignatureError::Malformed(why) => write!(
                f,
                "is no signature of minisign: {why}; expected what `minisign -S -m {MANIFEST_NAME}` writes"
            ),
            SignatureError::OtherKey { seen, trusted } => {
                let trusted = trusted.iter().map(KeyId::to_string).collect::<Vec<_>>();
                match trusted.is_empty() {
                    true => write!(f, "is of key {seen}; expected one of a trusted key, and none is trusted"),
                    false => write!(f, "is of key {seen}; expected one of key {}", trusted.join(", ")),
                }
            }
            SignatureError::Mismatch(key) => write!(
                f,
                "expected a signature of {MANIFEST_NAME} by key {key}; seen one that does not fit: the manifest or the \
                 signature was changed after it was signed, or another key of the same id signed it"
            ),
        }
    }
}

impl std::error::Error for SignatureError {}

/// A signature that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<'k> {
    /// The key that made it.
    pub key: &'k PublicKey,
    /// Its trusted comment, which the signature covers. One line, control characters escaped.
    pub comment: String,
}

/// Checks a signature over these bytes, which has to be of one of these keys.
///
/// # Errors
/// Why it is not.
pub fn verify<'k>(
    signature: &[u8],
    bytes: &[u8],
    keys: impl IntoIterator<Item = &'k PublicKey>,
) -> Result<Signed<'k>, SignatureError> {
    let (seen, signature) = decode(signature)?;
    let (mut trusted, mut is_of_one) = (Vec::new(), false);
    for key in keys {
        trusted.push(key.id);
        if key.id != seen {
            continue;
        }
        is_of_one = true;
        if key.decoded()?.verify(bytes, &signature, true).is_ok() {
            return Ok(Signed { key, comment: one_line(signature.trusted_comment()) });
        }
    }
    if is_of_one {
        return Err(SignatureError::Mismatch(seen));
    }
    Err(SignatureError::OtherKey { seen, trusted })
}

/// The key that a signature says it is of. Nothing of it is checked.
///
/// # Errors
/// Why it is no signature.
pub fn claimed_key(signature: &[u8]) -> Result<KeyId, SignatureError> {
    decode(signature).map(|(id, _)| id)
}

fn decode(signature: &[u8]) -> Result<(KeyId, minisign_verify::Signature), SignatureError> {
    let malformed = |why: &str| SignatureError::Malformed(why.to_owned());
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(malformed(&format!("it has more than {SIGNATURE_BYTES_MAX} bytes")));
    }
    let text = str::from_utf8(signature).map_err(|_| malformed("it is not UTF-8"))?;
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() != LINES {
        return Err(malformed(&format!("it has {} lines, not {LINES}", lines.len())));
    }
    let prefixes = ["untrusted comment: ", "", "trusted comment: ", ""];
    let lacks = lines.iter().zip(prefixes).position(|(line, prefix)| !line.starts_with(prefix));
    if let Some(at) = lacks {
        return Err(malformed(&format!("its line {} is not what stands there", at + 1)));
    }
    let decoded = STANDARD.decode(lines.get(1).copied().unwrap_or_default()).ok();
    let id = decoded.as_deref().and_then(KeyId::of).ok_or_else(|| malformed("its line 2 is no base64"))?;
    let signature =
        minisign_verify::Signature::decode(text).map_err(|error| malformed(&error.to_string()))?;
    Ok((id, signature))
}

fn one_line(text: &str) -> String {
    let escaped = |c: char| match c {
        '\t' => " ".to_owned(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::signer::Signer;
    use super::*;

    fn public(signer: &Signer) -> PublicKey {
        signer.public().parse().unwrap()
    }

    // Made with minisign itself, of the bytes "test": published with the crate minisign-verify.
    const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
    const OF_BYTES: &str = "untrusted comment: signature from minisign secret key\n\
        RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n\
        trusted comment: timestamp:1555779966\tfile:test\n\
        QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n";
    const OF_HASH: &str = "untrusted comment: signature from minisign secret key\n\
        RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=\n\
        trusted comment: timestamp:1556193335\tfile:test\n\
        y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==\n";

    fn key() -> PublicKey {
        KEY.parse().unwrap()
    }

    #[test]
    fn both_forms_of_minisign_are_accepted_with_their_comment() {
        for (signature, stamp) in [(OF_BYTES, 1_555_779_966), (OF_HASH, 1_556_193_335)] {
            let key = key();
            for signature in [signature.to_owned(), signature.replace('\n', "\r\n")] {
                let signed = verify(signature.as_bytes(), b"test", [&key]).unwrap();
                assert_eq!(signed.comment, format!("timestamp:{stamp} file:test"));
                assert_eq!(signed.key.id().to_string(), "E7620F1842B4E81F");
                assert_eq!(claimed_key(signature.as_bytes()), Ok(key.id()));
            }
        }
    }

    #[test]
    fn each_change_of_bytes_signature_or_comment_is_refused() {
        let key = key();
        for signature in [OF_BYTES, OF_HASH] {
            assert_eq!(
                verify(signature.as_bytes(), b"Test", [&key]),
                Err(SignatureError::Mismatch(key.id())),
                "other bytes"
            );
            let other_comment = signature.replace("file:test", "file:else");
            assert_eq!(
                verify(other_comment.as_bytes(), b"test", [&key]),
                Err(SignatureError::Mismatch(key.id()))
            );
            // The untrusted comment is everybody's.
            let other = signature.replace("minisign secret", "whatever");
            verify(other.as_bytes(), b"test", [&key]).unwrap();
            for at in 0..signature.len() {
                let mut changed = signature.as_bytes().to_vec();
                changed[at] ^= 1;
                let is_in_untrusted_comment = (19..signature.find('\n').unwrap()).contains(&at);
                assert_eq!(
                    verify(&changed, b"test", [&key]).is_ok(),
                    is_in_untrusted_comment,
                    "byte {at}: {}",
                    String::from_utf8_lossy(&changed)
                );
            }
        }
    }

    #[test]
    fn a_key_of_the_same_id_is_another_key() {
        let (first, second) = (Signer::new(1, 7), Signer::new(2, 7));
        let (trusted, other) = (public(&first), public(&second));
        assert!(trusted.id() == other.id() && trusted != other);
        let signature = second.sign(b"test", "by the second");
        assert_eq!(verify(&signature, b"test", [&trusted]), Err(SignatureError::Mismatch(trusted.id())));
        assert_eq!(verify(&signature, b"test", [&trusted, &other]).unwrap().key, &other);
        let stranger = Signer::new(3, 8);
        let refused = verify(&stranger.sign(b"test", ""), b"test", [&trusted, &key()]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "plugin.json.minisig: is of key 0000000000000008; expected one of key 0000000000000007, E7620F1842B4E81F"
        );
    }

    /// What is no signature: what it is, its bytes, and why not.
    pub(in crate::package) fn bad_signatures() -> Vec<(&'static str, Vec<u8>, &'static str)> {
        let cut = |lines: usize| OF_HASH.lines().take(lines).collect::<Vec<_>>().join("\n");
        let long = format!("{OF_HASH}{}", " ".repeat(SIGNATURE_BYTES_MAX));
        vec![
            ("an empty signature", Vec::new(), "it has 0 lines, not 4"),
            ("a signature without its last line", cut(3).into(), "it has 3 lines, not 4"),
            ("a signature with a line more", format!("{OF_HASH}\n").into(), "it has 5 lines, not 4"),
            ("two signatures in one file", OF_HASH.repeat(2).into(), "it has 8 lines, not 4"),
            ("a signature without its comment", swapped("untrusted comment: ", "# "), "its line 1 is not"),
            (
                "a signature without its trusted comment",
                swapped("\ntrusted comment: ", "\n: "),
                "its line 3 is not",
            ),
            ("a signature that is no base64", swapped("RUQf", "R!Qf"), "its line 2 is no base64"),
            (
                "a signature of another algorithm",
                swapped("RUQf", "RVQf"),
                "not supported by this implementation",
            ),
            ("a signature that is too short", swapped("y/rU", "y/r"), "Invalid encoding"),
            ("a signature with blanks behind it", long.into(), "it has more than 16384 bytes"),
            ("a signature that is not UTF-8", b"\xff\n\n\n\n".to_vec(), "it is not UTF-8"),
        ]
    }

    fn swapped(from: &str, to: &str) -> Vec<u8> {
        OF_HASH.replace(from, to).into()
    }

    #[test]
    fn what_is_no_signature_is_told_with_why() {
        for (_, signature, why) in bad_signatures() {
            let error = verify(&signature, b"test", [&key()]).unwrap_err().to_string();
            let begins = "plugin.json.minisig: is no signature of minisign: ";
            assert!(error.starts_with(begins) && error.contains(why), "{why}: {error}");
            assert_eq!(claimed_key(&signature).unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn a_key_is_read_as_a_line_or_as_its_file() {
        let file = format!("untrusted comment: minisign public key E7620F1842B4E81F\n{KEY}\n");
        for text in [KEY, &format!(" {KEY}\n"), &file, &file.replace('\n', "\r\n")] {
            assert_eq!(text.parse::<PublicKey>().unwrap(), key());
        }
        assert_eq!(key().to_string(), KEY);
        for (text, why) in [
            ("", "has 0 bytes, not 42"),
            ("untrusted comment: x", "has 0 bytes, not 42"),
            (&KEY[4..], "has 39 bytes, not 42"),
            (&KEY.replace("RWQ", "RXQ"), "algorithm other than Ed25519"),
            (&KEY.replace("GFO3", "GF!3"), "is no base64"),
            (&format!("{file}{KEY}"), "has more than a comment and a key"),
        ] {
            let error = text.parse::<PublicKey>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn a_comment_is_shown_as_one_line() {
        let signer = Signer::new(1, 1);
        let (key, signature) = (public(&signer), signer.sign(b"x", "a\tb\u{1b}[31m\u{7f}c"));
        assert_eq!(verify(&signature, b"x", [&key]).unwrap().comment, "a b\\u{1b}[31m\\u{7f}c");
    }
}
