//! The hash chain: each line carries the SHA-256 of the line before it, as `prev` in lower-case hex.
//!
//! What it deliberately does not do: keep a secret. Who can write the files can also compute a new chain;
//! the head has to be noted elsewhere for that to show.

/// A SHA-256 (FIPS 180-4).
pub type Hash = [u8; 32];

/// What the first line of a stream carries.
pub(crate) const NOTHING: Hash = [0; 32];

/// The hash of a line, its line end not included.
#[must_use]
pub fn hash_line(line: &[u8]) -> Hash {
    hmac_sha256::Hash::hash(line)
}

pub(crate) fn write_hex(hash: &Hash, out: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    out.extend(hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}

pub(crate) fn parse_hex(text: &str) -> Option<Hash> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut hash = NOTHING;
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_standard() {
        // FIPS 180-2, appendix B.1.
        let mut text = Vec::new();
        write_hex(&hash_line(b"abc"), &mut text);
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(parse_hex(&text), Some(hash_line(b"abc")));
        for bad in ["", "ba", &text.to_uppercase(), &text.replace('b', "g"), &format!("{text}0")] {
            assert_eq!(parse_hex(bad), None);
        }
    }
}
