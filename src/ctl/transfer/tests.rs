//! Blobs and streams that are not what they were said to be, or do not come.

use super::pump::{Ended, Pump};
use super::{Standard, Stop, Transfer, TransferError};
use crate::ctl::exit::Exit;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use rpc_plugin_interface::Blob;
use rpc_plugin_interface::fd::BLOB_IN_BAND_BYTES_MAX;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const NONE: Standard<'static> = Standard { input: Err("none"), output: Err("none") };

fn prepare(
    params: &str,
    input: Option<&Path>,
    output: Option<&Path>,
    patience: Duration,
) -> Result<Transfer, TransferError> {
    let params = RawValue::from_string(params.to_owned()).unwrap();
    let name = |path: Option<&Path>| path.map(|path| path.to_str().unwrap().to_owned());
    let (input, output) = (name(input), name(output));
    Transfer::prepare(Some(params), (input.as_deref(), output.as_deref()), &NONE, patience)
}

/// What comes of a result with that blob, of which so many bytes are announced.
fn written(into: &Path, blob: OwnedFd, bytes: u64) -> Result<(), TransferError> {
    let running = prepare("{}", None, Some(into), Duration::from_secs(60))?.begin()?;
    let result = RawValue::from_string(format!("{{\"$blob\":0,\"bytes\":{bytes}}}")).unwrap();
    running.finish(&result, vec![blob]).map(|_| ())
}

#[test]
fn a_blob_that_is_not_sealed_or_of_another_size_is_refused_and_nothing_written() {
    let root = tempfile::tempdir().unwrap();
    let into = root.path().join("into");
    let sealed = || OwnedFd::from(Blob::new(b"abc").unwrap().into_file());
    let mut unsealed = File::from(memfd_create(c"unsealed", MFdFlags::MFD_CLOEXEC).unwrap());
    unsealed.write_all(b"abc").unwrap();
    let largest = BLOB_IN_BAND_BYTES_MAX;
    for (blob, bytes, why) in [
        (unsealed.into(), 3, "a blob is not a sealed memfd"),
        (sealed(), 2, "a blob has 3 bytes, 2 were announced"),
        (sealed(), 4, "a blob has 3 bytes, 4 were announced"),
        (sealed(), largest + 1, "it has 1073741825 bytes, 1073741824 are the most"),
    ] {
        let error = written(&into, blob, bytes).unwrap_err();
        assert!(error.exit == Exit::Failed && error.message.contains(why), "{error}");
        assert!(!into.exists(), "{why}");
    }
    written(&into, sealed(), 3).unwrap();
    assert_eq!(std::fs::read(&into).unwrap(), b"abc");
    // In band it is a stream.
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(b"defg").unwrap();
    written(&into, theirs.into(), 4).unwrap();
    assert_eq!(std::fs::read(&into).unwrap(), b"defg");
}

#[test]
fn an_input_of_a_blob_that_does_not_come_or_is_too_large_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (fifo, sparse) = (root.path().join("fifo"), root.path().join("sparse"));
    let blob = r#"{"a":{"$blob":"input"}}"#;
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let error = prepare(blob, Some(&fifo), None, Duration::from_millis(20)).err().unwrap();
    assert!(error.exit == Exit::Deadline && error.message.contains("for the time of --timeout"), "{error}");
    // So large that nobody could have read it.
    File::create(&sparse).unwrap().set_len(1 << 42).unwrap();
    let error = prepare(blob, Some(&sparse), None, Duration::from_secs(60)).err().unwrap();
    assert!(
        error.exit == Exit::Failed && error.message.contains("it has more than the 1073741824"),
        "{error}"
    );
}

/// Somebody else who has the same descriptor may take a byte between poll(2) and read(2): the read is not to wait then.
#[test]
fn a_stream_that_somebody_else_reads_too_is_never_waited_for_in_a_read() {
    let (_ours, theirs) = UnixStream::pair().unwrap();
    let other = theirs.try_clone().unwrap();
    let (_reader, into) = std::io::pipe().unwrap();
    let patience = Some(Duration::from_millis(20));
    let pump = Pump::drain(theirs.into(), into.into(), (None, patience), &Stop::new().unwrap()).unwrap();
    let end = pump.join();
    assert!(matches!(end.how, Ended::Stalled), "{end:?}");
    let flags = OFlag::from_bits_retain(fcntl(&other, FcntlArg::F_GETFL).unwrap());
    assert!(flags.contains(OFlag::O_NONBLOCK), "{flags:?}");
}
