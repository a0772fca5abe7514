//! Values of params and results that are file descriptors: streams, and large pieces of memory.
//!
//! On the wire a [`Stream`] is `{"$stream":N}` and a [`Blob`] `{"$blob":N,"bytes":M}`, where `N` is the place among
//! the frame's descriptors (protocol section 6).
//!
//! What always holds: a value that was sent keeps its own descriptor only where it says so; bytes go from process
//! to process through the kernel alone.

use crate::arrived::take_fd;
use crate::context::Context;
use crate::during::StreamDuring;
use crate::parcel::put_fd;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeStruct as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

/// Largest blob that is taken in band, where its receiver has to make the memory of it. Bytes.
pub const BLOB_IN_BAND_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// How long the receiver of a blob in band waits for its next byte.
const BLOB_STALL: Duration = Duration::from_secs(30);

/// Bytes to or from the other side, at the speed of the kernel. [`Read`] and [`Write`] block until the other
/// side writes, reads or closes; dropping it closes.
///
/// What is put into params or a result is *moved*: it serialises once.
#[derive(Debug)]
pub struct Stream(Mutex<Option<OwnedFd>>);

impl Stream {
    /// Two connected ends, for bytes in both directions: keep one, send the other. socketpair(2).
    ///
    /// # Errors
    /// This process cannot have more descriptors.
    pub fn pair() -> io::Result<(Stream, Stream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((OwnedFd::from(ours).into(), OwnedFd::from(theirs).into()))
    }

    /// An end to read from and one to write to. pipe(2).
    ///
    /// # Errors
    /// As [`Stream::pair`].
    pub fn pipe() -> io::Result<(Stream, Stream)> {
        let (reader, writer) = io::pipe()?;
        Ok((OwnedFd::from(reader).into(), OwnedFd::from(writer).into()))
    }

    /// The descriptor itself, for poll(2) and what else the kernel does with one.
    ///
    /// # Errors
    /// It was sent away.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).ok_or_else(sent_away)
    }

    /// A second handle of the same stream, for another thread: one that writes while this one reads.
    ///
    /// # Errors
    /// It was sent away, or this process cannot have more descriptors.
    pub fn try_clone(&self) -> io::Result<Stream> {
        self.file().map(|file| OwnedFd::from(file).into())
    }

    /// No more bytes will be written: the other side reads the end, and can still write. Where the descriptor is no
    /// socket, it is to be dropped instead.
    ///
    /// # Errors
    /// It is no socket, or was sent away.
    pub fn finish(&self) -> io::Result<()> {
        let fd = self.file()?;
        UnixStream::from(OwnedFd::from(fd)).shutdown(Shutdown::Write)
    }

    /// A copy that stands for the same stream.
    fn file(&self) -> io::Result<File> {
        let fd = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        fd.as_ref().ok_or_else(sent_away)?.try_clone().map(File::from)
    }

    fn get(&mut self) -> io::Result<BorrowedFd<'_>> {
        let fd = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        fd.as_ref().map(AsFd::as_fd).ok_or_else(sent_away)
    }

    /// The same for as long as `call` lasts: a read or write that waits ends once the call is cancelled, with an error
    /// that `?` makes the answer `cancelled` of.
    ///
    /// # Errors
    /// It was sent away, or this process cannot have more descriptors.
    pub fn during(self, call: &Context) -> io::Result<StreamDuring> {
        Ok(StreamDuring::new(self.into_fd()?, call.cancel_fd()?))
    }
}

fn sent_away() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "this stream was sent to the other side")
}

impl From<OwnedFd> for Stream {
    fn from(fd: OwnedFd) -> Stream {
        Stream(Mutex::new(Some(fd)))
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(nix::unistd::read(self.get()?, buffer)?)
    }
}

impl Write for Stream {
    /// A pipe whose reader is gone raises SIGPIPE where the program did not ignore it; Rust programs ignore it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(self.get()?, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOnWire {
    #[serde(rename = "$stream")]
    stream: usize,
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fd = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let fd = fd.ok_or_else(|| S::Error::custom("a stream was sent before, and can be sent once"))?;
        let stream = put_fd(fd).map_err(S::Error::custom)?;
        StreamOnWire { stream }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Stream, D::Error> {
        let StreamOnWire { stream } = StreamOnWire::deserialize(deserializer)?;
        take_fd(stream).map(Stream::from).map_err(D::Error::custom)
    }
}

/// A piece of memory that travels as one descriptor, whatever its size: memfd_create(2), sealed, so that whoever
/// gets it can rely on what it read. Reading it copies nothing but what is asked for.
///
/// Over a connection that passes no descriptors its bytes come as a stream, which whoever reads the params or the
/// result takes in first: at most 1 GiB, with no pause of more than 30 s.
#[derive(Debug)]
pub struct Blob {
    file: File,
    bytes: u64,
}

impl Blob {
    /// A blob of these bytes.
    ///
    /// # Errors
    /// The kernel has no memory, or this process no descriptor, for it.
    pub fn new(bytes: &[u8]) -> io::Result<Blob> {
        Blob::filled_by(|file| file.write_all(bytes))
    }

    /// A blob of what `fill` writes. Nothing of it is kept in memory twice.
    ///
    /// # Errors
    /// As [`Blob::new`], and what `fill` gives.
    pub fn filled_by(fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<Blob> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        // Refused by kernels before 6.3, which know no such thing as an executable one either.
        let fd = memfd_create(c"rpc-plugin-blob", flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL))
            .or_else(|_| memfd_create(c"rpc-plugin-blob", flags))?;
        let mut file = File::from(fd);
        fill(&mut file)?;
        file.rewind()?;
        let bytes = file.metadata()?.len();
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals | SealFlag::F_SEAL_SEAL))?;
        Ok(Blob { file, bytes })
    }

    /// A blob of the memory that came as one descriptor, of which so many bytes were announced.
    ///
    /// # Errors
    /// It is not sealed, so that its sender could still change it, or has another size.
    pub fn from_memory(file: File, bytes: u64) -> io::Result<Blob> {
        let seals = fcntl(&file, FcntlArg::F_GET_SEALS).map(SealFlag::from_bits_truncate);
        let needed = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_WRITE;
        if !seals.is_ok_and(|seals| seals.contains(needed)) {
            return Err(io::Error::other("a blob is not a sealed memfd: its sender could still change it"));
        }
        let there = file.metadata()?.len();
        if there != bytes {
            return Err(io::Error::other(format!("a blob has {there} bytes, {bytes} were announced")));
        }
        Ok(Blob { file, bytes })
    }

    /// A blob of exactly so many bytes of a stream, for that is how one comes in band.
    fn from_stream(stream: File, bytes: u64) -> io::Result<Blob> {
        if bytes > BLOB_IN_BAND_BYTES_MAX {
            let text = format!("a blob of {bytes} bytes in band, {BLOB_IN_BAND_BYTES_MAX} are the most");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let mut stream = Patient(stream).take(bytes);
        Blob::filled_by(|file| match io::copy(&mut stream, file)? {
            all if all == bytes => Ok(()),
            fewer => {
                let text = format!("a blob ended after {fewer} bytes, {bytes} were announced");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
            }
        })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads from `offset` until `buffer` is full.
    ///
    /// # Errors
    /// It ends before.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// All of it. Refuses one of more than `bytes_max` bytes, which the other side may have chosen.
    ///
    /// # Errors
    /// It is larger than that, or shorter than it was said to be.
    pub fn to_vec(&self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let bytes =
            usize::try_from(self.bytes).ok().filter(|bytes| *bytes <= bytes_max).ok_or_else(|| {
                let text = format!("a blob of {} bytes, at most {bytes_max} are wanted", self.bytes);
                io::Error::new(io::ErrorKind::FileTooLarge, text)
            })?;
        let mut all = vec![0; bytes];
        self.read_at(&mut all, 0)?;
        Ok(all)
    }

    /// Reads it from its beginning. Any number of readers do not disturb each other.
    #[must_use]
    pub fn reader(&self) -> BlobReader<'_> {
        BlobReader { blob: self, at: 0 }
    }

    /// The file itself, for mmap(2). Its offset is shared with everybody who has the same blob, and may be anywhere:
    /// [`Blob::reader`] reads without it.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }
}

/// Whether it is a socket or a pipe.
fn is_stream(file: &File) -> io::Result<bool> {
    let kind = file.metadata()?.file_type();
    Ok(kind.is_socket() || kind.is_fifo())
}

/// Waits for bytes, but not for ever.
struct Patient(File);

impl Read for Patient {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let timeout = PollTimeout::try_from(BLOB_STALL).unwrap_or(PollTimeout::MAX);
        loop {
            let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, timeout) {
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(0) => {
                    let text = format!("no byte of a blob came for {BLOB_STALL:?}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Ok(_) => {}
            }
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// See [`Blob::reader`].
#[derive(Debug)]
pub struct BlobReader<'b> {
    blob: &'b Blob,
    at: u64,
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.blob.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlobOnWire {
    #[serde(rename = "$blob")]
    blob: usize,
    bytes: u64,
}

impl Serialize for Blob {
    /// Keeps its own descriptor: a blob can be sent any number of times.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fd = self.file.try_clone().map_err(S::Error::custom)?;
        let place = put_fd(fd.into()).map_err(S::Error::custom)?;
        let mut on_wire = serializer.serialize_struct("Blob", 2)?;
        on_wire.serialize_field("$blob", &place)?;
        on_wire.serialize_field("bytes", &self.bytes)?;
        on_wire.end()
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        let BlobOnWire { blob, bytes } = BlobOnWire::deserialize(deserializer)?;
        let file = File::from(take_fd(blob).map_err(D::Error::custom)?);
        if is_stream(&file).map_err(D::Error::custom)? {
            return Blob::from_stream(file, bytes).map_err(D::Error::custom);
        }
        Blob::from_memory(file, bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrived::{Arrived, provide};
    use crate::parcel::collect;

    /// A value there and back again, as a call would take it.
    fn travel<T: Serialize, R: for<'de> Deserialize<'de>>(value: &T) -> Result<R, String> {
        let (text, parcel) = collect(|| serde_json::to_string(value));
        let text = text.map_err(|error| error.to_string())?;
        provide(Arrived { fds: parcel.fds, call: None }, || {
            serde_json::from_str(&text).map_err(|error| error.to_string())
        })
    }

    #[test]
    fn a_stream_arrives_and_its_end_with_it() {
        let (mut ours, theirs) = Stream::pair().unwrap();
        let mut there: Vec<Stream> = travel(&[theirs]).unwrap();
        ours.write_all(b"hello").unwrap();
        ours.finish().unwrap();
        let mut text = String::new();
        there[0].read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        there[0].write_all(b"back").unwrap();
        drop(there);
        text.clear();
        ours.read_to_string(&mut text).unwrap();
        assert_eq!(text, "back");
    }

    #[test]
    fn a_stream_is_sent_once_and_only_in_a_call() {
        let (stream, _other) = Stream::pipe().unwrap();
        assert!(serde_json::to_string(&stream).is_err());
        let (mut stream, _other) = Stream::pipe().unwrap();
        let there: Stream = travel(&stream).unwrap();
        assert!(travel::<_, Stream>(&stream).unwrap_err().contains("sent before"));
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::NotConnected);
        assert!(stream.into_fd().is_err() && there.into_fd().is_ok());
        assert!(serde_json::from_str::<Stream>("{\"$stream\":0}").is_err());
        assert!(travel::<_, Stream>(&serde_json::json!({"$stream": 0})).is_err());
    }

    #[test]
    fn a_blob_arrives_whole_and_cannot_be_changed() {
        let blob = Blob::new(&[7; 100_000]).unwrap();
        for _ in 0..2 {
            let there: Blob = travel(&blob).unwrap();
            assert_eq!(there.to_vec(100_000).unwrap(), [7; 100_000]);
            assert!(there.to_vec(99_999).is_err());
            let mut read = Vec::new();
            there.reader().read_to_end(&mut read).unwrap();
            assert_eq!(read, [7; 100_000], "from its beginning, wherever the offset is");
            assert!(there.into_file().write_all(b"x").is_err());
        }
    }

    #[test]
    fn what_is_no_sealed_memfd_or_lies_about_its_size_is_no_blob() {
        let file = tempfile();
        let (text, parcel) = collect(|| {
            let place = put_fd(file.into()).unwrap();
            format!("{{\"$blob\":{place},\"bytes\":0}}")
        });
        let arrived = Arrived { fds: parcel.fds, call: None };
        let read: Result<Blob, _> = provide(arrived, || serde_json::from_str(&text));
        assert!(read.unwrap_err().to_string().contains("sealed"));
        let (text, parcel) = collect(|| serde_json::to_string(&Blob::new(b"abc").unwrap()).unwrap());
        let arrived = Arrived { fds: parcel.fds, call: None };
        let read: Result<Blob, _> = provide(arrived, || serde_json::from_str(&text.replace('3', "4")));
        assert!(read.unwrap_err().to_string().contains("3 bytes, 4 were announced"));
    }

    fn from_stream(fd: OwnedFd, bytes: u64) -> Result<Blob, String> {
        let (text, parcel) = collect(|| {
            let place = put_fd(fd).unwrap();
            format!("{{\"$blob\":{place},\"bytes\":{bytes}}}")
        });
        let arrived = Arrived { fds: parcel.fds, call: None };
        provide(arrived, || serde_json::from_str(&text)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_blob_comes_out_of_a_stream_whole_and_sealed_or_not_at_all() {
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        for is_socket in [true, false] {
            let bytes = sent.clone();
            let (there, mut ours) = if is_socket { Stream::pair().unwrap() } else { Stream::pipe().unwrap() };
            let writer = std::thread::spawn(move || ours.write_all(&bytes));
            let blob = from_stream(there.into_fd().unwrap(), 3_000_000).unwrap();
            writer.join().unwrap().unwrap();
            assert!(blob.to_vec(3_000_000).unwrap() == sent);
            assert!(blob.into_file().write_all(b"x").is_err(), "it is sealed");
        }
        let (there, mut ours) = Stream::pair().unwrap();
        ours.write_all(b"abc").unwrap();
        assert_eq!(from_stream(there.into_fd().unwrap(), 2).unwrap().to_vec(2).unwrap(), b"ab");
        let (there, mut ours) = Stream::pair().unwrap();
        ours.write_all(b"abc").unwrap();
        drop(ours);
        let error = from_stream(there.into_fd().unwrap(), 4).unwrap_err();
        assert!(error.contains("ended after 3 bytes, 4 were announced"), "{error}");
        let (there, _ours) = Stream::pair().unwrap();
        let error = from_stream(there.into_fd().unwrap(), BLOB_IN_BAND_BYTES_MAX + 1).unwrap_err();
        assert!(error.contains("are the most"), "{error}");
    }

    fn tempfile() -> File {
        // One that is open and has no seals: sealing was not allowed.
        File::from(memfd_create(c"unsealed", MFdFlags::MFD_CLOEXEC).unwrap())
    }
}
