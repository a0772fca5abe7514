//! SHA-256 of files, as sha256sum(1) writes it.
//!
//! What it deliberately does not do: say whose file it is; a signature does.

use std::fmt;

/// A SHA-256 (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// What is allowed, for error messages.
pub const DIGEST_ALLOWED: &str = "a SHA-256 as 64 lower-case hexadecimal digits";

impl Digest {
    /// That of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(hmac_sha256::Hash::hash(bytes))
    }

    /// Reads one as it is written: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Digest> {
        let digit = |byte: &u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let digits = text.as_bytes().iter().map(digit).collect::<Option<Vec<u8>>>()?;
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        bytes.try_into().ok().map(Digest)
    }
}

/// A SHA-256 that is given its bytes piece by piece.
#[derive(Default)]
pub struct Hasher(hmac_sha256::Hash);

impl Hasher {
    /// Takes further bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_standard_and_is_read_as_it_is_written() {
        // FIPS 180-4's own example.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), abc);
        assert_eq!(Digest::from_hex(abc), Some(Digest::of(b"abc")));
        let mut pieces = Hasher::default();
        for piece in [b"a", b"b", b"c"] {
            pieces.update(piece);
        }
        assert_eq!(pieces.finish(), Digest::of(b"abc"));
        for text in [
            "",
            &abc[1..],
            &format!("{abc}0"),
            &format!("{abc}00"),
            &abc.to_uppercase(),
            &abc.replace('b', "g"),
        ] {
            assert_eq!(Digest::from_hex(text), None, "{text}");
        }
    }
}
