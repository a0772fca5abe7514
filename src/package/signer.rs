//! A signer of minisign for tests, which sign what they have just written; no crate of the tree signs.
//!
//! What it deliberately does not do: keep a secret. Its secret keys are small numbers, and every signature uses the same
//! nonce. What it makes is the form that minisign made before 0.10 (`Ed`, over the bytes); signatures of both forms that
//! minisign itself made stand in `signature.rs`. The public keys were computed by the formulas of RFC 8032, section 5.1,
//! as `secret * B`.
#![cfg(test)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Public keys, of the secret numbers from 0x1001 on.
const PUBLIC: [&str; 4] = [
    "e068ce46007558f96e8f506308c431a85988aa6709bfc9de42b90d095b37553a",
    "2d98c1ea7216e810c9d81a1fb0fd29fc44fa1c84c4faa7d1e5755719f38709df",
    "53dd43e26cc6084506dda950f6afd2f7ca796ac78c0172edf186dd26e755ca0c",
    "1db2edd8d47324602bd4a59fdcd70222afe37d1c60517ac5fce2e47201739dcc",
];
const SECRETS_FROM: u64 = 0x1001;
/// The nonce, and `nonce * B`.
const NONCE: u64 = 0x2001;
const NONCE_POINT: &str = "b55b323708da86ced7823a8797ee33de3f1608dfd5d3db69406b0d4b1b3a30b0";

/// A number of 256 bits, the lowest 64 first.
type Number = [u64; 4];
/// The order of the group: 2^252 + 27742317777372353535851937790883648493.
const ORDER: Number = [0x5812_631a_5cf5_d3ed, 0x14de_f9de_a2f7_9cd6, 0, 0x1000_0000_0000_0000];

/// A key pair.
pub struct Signer {
    secret: u64,
    public: Vec<u8>,
    id: u64,
}

impl Signer {
    /// One of the four key pairs, with an id of its own.
    pub fn new(key: usize, id: u64) -> Signer {
        Signer { secret: SECRETS_FROM + key as u64, public: from_hex(PUBLIC[key]), id }
    }

    /// The public key, as minisign writes it.
    pub fn public(&self) -> String {
        STANDARD.encode([b"Ed", &self.id.to_le_bytes()[..], &self.public].concat())
    }

    /// The file that vouches for these bytes.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Vec<u8> {
        let signature = self.ed25519(bytes);
        let global = self.ed25519(&[&signature[..], comment.as_bytes()].concat());
        let signature = STANDARD.encode([b"Ed", &self.id.to_le_bytes()[..], &signature].concat());
        let global = STANDARD.encode(global);
        format!("untrusted comment: test\n{signature}\ntrusted comment: {comment}\n{global}\n").into_bytes()
    }

    /// RFC 8032, section 5.1.6, with the nonce above: `R || nonce + SHA-512(R || A || M) * secret`.
    fn ed25519(&self, message: &[u8]) -> Vec<u8> {
        let point = from_hex(NONCE_POINT);
        let hash = sha512(&[&point, &self.public, message].concat());
        // The hash is a number of 512 bits, the lowest first: from its highest bit on, doubled and added.
        let mut hashed = [0; 4];
        for at in (0..512).rev() {
            hashed = plus(hashed, hashed);
            if hash[at / 8] >> (at % 8) & 1 == 1 {
                hashed = plus(hashed, [1, 0, 0, 0]);
            }
        }
        let mut product = [0; 4];
        for at in (0..64).rev() {
            product = plus(product, product);
            if self.secret >> at & 1 == 1 {
                product = plus(product, hashed);
            }
        }
        let scalar = plus(product, [NONCE, 0, 0, 0]);
        [point, scalar.iter().flat_map(|part| part.to_le_bytes()).collect()].concat()
    }
}

/// The sum of two numbers below the order, below the order.
fn plus(a: Number, b: Number) -> Number {
    let (mut sum, mut carry) = ([0; 4], 0);
    for at in 0..4 {
        let part = u128::from(a[at]) + u128::from(b[at]) + carry;
        sum[at] = part as u64;
        carry = part >> 64;
    }
    if sum.iter().rev().lt(ORDER.iter().rev()) {
        return sum;
    }
    let mut borrow = false;
    for at in 0..4 {
        let (part, first) = sum[at].overflowing_sub(ORDER[at]);
        let (part, second) = part.overflowing_sub(borrow.into());
        (sum[at], borrow) = (part, first || second);
    }
    sum
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What sha512sum(1) says.
fn sha512(bytes: &[u8]) -> Vec<u8> {
    let pipe = Stdio::piped;
    let mut child = Command::new("sha512sum").stdin(pipe()).stdout(pipe()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    from_hex(str::from_utf8(&output.stdout).unwrap().split(' ').next().unwrap())
}
