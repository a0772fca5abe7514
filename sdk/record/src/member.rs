//! One member of a packed file: a gzip member (RFC 1952) whose extra field tells how long it is, as in BGZF
//! (section 4.1 of the SAM specification).
//!
//! What this file deliberately does not do: read a file, or decide what goes into a member.
//!
//! What always holds: a member takes at most 64 KiB and unpacks to at most
//! [`PLAIN_BYTES_MAX`], whatever its bytes claim; no bytes make this file panic.

use std::io;

/// Longest member, its header and trailer included: its length less one is 16 bits. Bytes.
pub(crate) const MEMBER_BYTES_MAX: usize = 64 * 1024;
/// Most that a member unpacks to. Bytes.
pub(crate) const PLAIN_BYTES_MAX: usize = 64 * 1024;
/// What a packer puts into one, so that also what cannot be compressed fits a member, as bgzip does. Bytes.
pub(crate) const FILL_BYTES: usize = 0xff00;
/// Length of a header with its extra field. Bytes.
pub(crate) const HEADER_BYTES: usize = 18;
/// Length of a trailer: CRC-32 and length of what was packed. Bytes.
const TRAILER_BYTES: usize = 8;
/// ID1, ID2, CM (deflate), FLG (extra field): how each member begins.
pub(crate) const MAGIC: [u8; 4] = [0x1f, 0x8b, 8, 4];
/// XLEN, and the identifier and length of the one subfield, which holds the member's length less one.
const EXTRA: [u8; 6] = [6, 0, b'B', b'C', 2, 0];
/// Where [`EXTRA`] stands in a header, after MTIME, XFL and OS. Bytes.
const EXTRA_AT: usize = 10;

/// Why a part of a packed file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// No member begins there.
    NoMember,
    /// The file ends without the empty member that ends a packed file.
    NoEnd,
    /// The file ends within the member, or the member claims a length that is impossible.
    Length,
    #[cfg_attr(not(feature = "compress"), allow(dead_code))]
    /// What is compressed is not as deflate writes it, or is not as long as the member claims.
    Data,
    /// The checksum is not that of what was packed.
    Checksum,
    /// There are more members than a reader takes.
    TooMany,
    /// This program was built without the code for it.
    #[cfg_attr(feature = "compress", allow(dead_code))]
    NotBuilt,
}

impl Flaw {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Flaw::NoMember => {
                "no member begins there; if another program has packed the file, unpack it: gzip -d FILE"
            }
            Flaw::NoEnd => "the file ends early: its last member is missing",
            Flaw::Length => "the length that it claims cannot be",
            Flaw::Data => "its data is corrupt",
            Flaw::Checksum => "its checksum is not that of its data",
            Flaw::TooMany => "there are more members than are read",
            Flaw::NotBuilt => {
                "this program is built without feature \"compress\", which packs files and reads packed ones"
            }
        }
    }
}

/// The length of a member by its header, in bytes; `None` if it is no header of a member that tells its length.
pub(crate) fn member_len(header: &[u8; HEADER_BYTES]) -> Option<usize> {
    let (magic, extra) = (header.get(..MAGIC.len())?, header.get(EXTRA_AT..EXTRA_AT + EXTRA.len())?);
    let &[.., low, high] = header;
    let bytes = usize::from(u16::from_le_bytes([low, high])) + 1;
    (magic == MAGIC && extra == EXTRA && bytes > HEADER_BYTES + TRAILER_BYTES).then_some(bytes)
}

/// What a member unpacks to by its last four bytes, in bytes; `None` if that is more than a member holds.
pub(crate) fn plain_len(last: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(last)).ok().filter(|bytes| *bytes <= PLAIN_BYTES_MAX)
}

/// Unpacks a whole member.
pub(crate) fn unpack(member: &[u8]) -> Result<Vec<u8>, Flaw> {
    let data = HEADER_BYTES..member.len().saturating_sub(TRAILER_BYTES);
    let trailer = member.last_chunk::<TRAILER_BYTES>();
    let (Some(data), Some(&[a, b, c, d, last @ ..])) = (member.get(data), trailer) else {
        return Err(Flaw::Length);
    };
    let plain = inflate(data, plain_len(last).ok_or(Flaw::Length)?)?;
    if crc32(&plain) == u32::from_le_bytes([a, b, c, d]) { Ok(plain) } else { Err(Flaw::Checksum) }
}

/// Inflates data that is to become so many bytes.
#[cfg(feature = "compress")]
fn inflate(data: &[u8], bytes: usize) -> Result<Vec<u8>, Flaw> {
    use flate2::{Decompress, FlushDecompress, Status};
    // A byte more shows what is longer than it claims.
    let mut plain = vec![0; bytes + 1];
    let mut inflater = Decompress::new(false);
    let status = inflater.decompress(data, &mut plain, FlushDecompress::Finish);
    let (read, made) = (inflater.total_in(), inflater.total_out());
    plain.truncate(bytes);
    match status {
        Ok(Status::StreamEnd) if made == bytes as u64 && read == data.len() as u64 => Ok(plain),
        _ => Err(Flaw::Data),
    }
}

#[cfg(not(feature = "compress"))]
fn inflate(_: &[u8], _: usize) -> Result<Vec<u8>, Flaw> {
    Err(Flaw::NotBuilt)
}

#[cfg(feature = "compress")]
fn crc32(plain: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(plain);
    crc.sum()
}

#[cfg(not(feature = "compress"))]
fn crc32(_: &[u8]) -> u32 {
    0
}

/// Packs bytes into members.
#[derive(Debug)]
pub(crate) struct MemberPacker {
    #[cfg(feature = "compress")]
    deflater: flate2::Compress,
    member: Vec<u8>,
}

impl MemberPacker {
    /// A packer that can be used again and again.
    ///
    /// # Errors
    /// `Unsupported`: this program is built without the code for it.
    pub(crate) fn new() -> io::Result<MemberPacker> {
        if !cfg!(feature = "compress") {
            return Err(io::Error::new(io::ErrorKind::Unsupported, Flaw::NotBuilt.text()));
        }
        Ok(MemberPacker {
            #[cfg(feature = "compress")]
            deflater: flate2::Compress::new(flate2::Compression::default(), false),
            member: Vec::new(),
        })
    }

    /// The member that holds these bytes; `None` if they are more than fit one. Of no bytes it is the one that
    /// ends a file.
    pub(crate) fn pack(&mut self, plain: &[u8]) -> Option<&[u8]> {
        self.member.clear();
        self.member.resize(MEMBER_BYTES_MAX, 0);
        let end = HEADER_BYTES + self.deflate(plain)?;
        self.member.truncate(end);
        self.member.extend_from_slice(&crc32(plain).to_le_bytes());
        self.member.extend_from_slice(&u32::try_from(plain.len()).ok()?.to_le_bytes());
        let less_one = u16::try_from(self.member.len() - 1).ok()?;
        // MTIME and XFL are 0; OS is "unknown".
        let mut header = [0; HEADER_BYTES];
        header.get_mut(..MAGIC.len())?.copy_from_slice(&MAGIC);
        *header.get_mut(EXTRA_AT - 1)? = 0xff;
        header.get_mut(EXTRA_AT..EXTRA_AT + EXTRA.len())?.copy_from_slice(&EXTRA);
        header.last_chunk_mut::<2>()?.copy_from_slice(&less_one.to_le_bytes());
        self.member.get_mut(..HEADER_BYTES)?.copy_from_slice(&header);
        Some(&self.member)
    }

    /// Deflates after the header; how many bytes that made.
    #[cfg(feature = "compress")]
    fn deflate(&mut self, plain: &[u8]) -> Option<usize> {
        self.deflater.reset();
        let room = self.member.get_mut(HEADER_BYTES..MEMBER_BYTES_MAX - TRAILER_BYTES)?;
        let status = self.deflater.compress(plain, room, flate2::FlushCompress::Finish);
        let is_whole = matches!(status, Ok(flate2::Status::StreamEnd)) && plain.len() <= PLAIN_BYTES_MAX;
        if is_whole { usize::try_from(self.deflater.total_out()).ok() } else { None }
    }

    #[cfg(not(feature = "compress"))]
    #[allow(clippy::unused_self)]
    fn deflate(&mut self, _: &[u8]) -> Option<usize> {
        None
    }
}

#[cfg(test)]
#[cfg(feature = "compress")]
mod tests {
    use super::*;

    fn packed(plain: &[u8]) -> Vec<u8> {
        MemberPacker::new().unwrap().pack(plain).unwrap().to_vec()
    }

    fn noise(bytes: usize) -> Vec<u8> {
        let mut rng = 7_u64;
        let mut next = || {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (rng >> 33) as u8
        };
        std::iter::from_fn(|| Some(next())).take(bytes).collect()
    }

    #[test]
    fn what_is_packed_unpacks_and_the_empty_member_is_the_end_marker_of_bgzf() {
        for plain in [&b""[..], b"a", b"{}\n", &noise(0xff00), &vec![b'x'; PLAIN_BYTES_MAX]] {
            let member = packed(plain);
            assert_eq!(member_len(member.first_chunk().unwrap()), Some(member.len()));
            assert_eq!(unpack(&member).unwrap(), plain);
        }
        let end = [
            0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 0x42, 0x43, 2, 0, 0x1b, 0, 3, 0, 0, 0, 0, 0, 0, 0,
            0, 0,
        ];
        assert_eq!(packed(b""), end);
        assert_eq!(MemberPacker::new().unwrap().pack(&vec![b'x'; PLAIN_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_member_that_unpacks_to_more_or_less_than_it_claims_is_refused() {
        // A bomb: a thousand times as much as it is long, however little it claims.
        let bomb = packed(&vec![0; PLAIN_BYTES_MAX]);
        assert!(bomb.len() < 200);
        for claimed in [0, 1, PLAIN_BYTES_MAX as u32 - 1, PLAIN_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut member = bomb.clone();
            member.last_chunk_mut::<4>().unwrap().copy_from_slice(&claimed.to_le_bytes());
            let flaw = unpack(&member).unwrap_err();
            assert!(matches!(flaw, Flaw::Data | Flaw::Length), "{claimed}: {flaw:?}");
        }
        let mut member = packed(b"abc");
        member.last_chunk_mut::<4>().unwrap().copy_from_slice(&4_u32.to_le_bytes());
        assert_eq!(unpack(&member), Err(Flaw::Data));
    }

    #[test]
    fn no_byte_that_is_wrong_and_no_end_that_is_missing_goes_unseen() {
        let plain = b"{\"time\":\"2026-01-01T00:00:00.000Z\",\"seq\":7}\n".repeat(9);
        let member = packed(&plain);
        for at in 0..member.len() {
            assert!(unpack(member.get(..at).unwrap()).is_err());
            for bit in 0..8 {
                let mut wrong = member.clone();
                wrong[at] ^= 1 << bit;
                // What gzip says of its maker is not looked at when a member is unpacked.
                assert!(at < HEADER_BYTES || unpack(&wrong).is_err(), "byte {at}, bit {bit}");
            }
        }
    }
}
