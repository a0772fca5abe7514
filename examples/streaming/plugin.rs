//! Keeps files in its working folder, which come and go through streams. Its host launches it:
//!
//! ```bash
//! cargo build --examples && cargo run --example streaming-host
//! ```
//!
//! What always holds: a file is there as a whole or not at all; of an upload that was cancelled nothing is left.
#![forbid(unsafe_code)]

mod interface;

use interface::{Files, FilesError, Sum};
use rpc_plugin_sdk::{Blob, Context, Failure, HandlerError, Plugin, Stream};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[derive(Default)]
struct Folder {
    uploads: AtomicU64,
}

/// A file that is not whole yet. Unless it is kept, it goes.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // where it was kept, it has another name by now
    }
}

fn path_of(name: &str) -> Result<PathBuf, FilesError> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_good) {
        return Err(FilesError::BadName { name: name.to_owned() });
    }
    Ok(format!("{name}.file").into())
}

fn open(name: String) -> Result<File, Failure<FilesError>> {
    match File::open(path_of(&name)?) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(FilesError::Missing { name }.into()),
        opened => Ok(opened?),
    }
}

impl Files for Folder {
    fn upload(&self, call: &Context, name: String, content: Stream) -> Result<Sum, Failure<FilesError>> {
        let path = path_of(&name)?;
        let part = Part(format!("{}.part", self.uploads.fetch_add(1, Ordering::Relaxed)).into());
        let mut file = File::create(&part.0)?;
        // Reading ends with the stream, or as soon as the call is cancelled.
        let sum = Sum::copy(&mut content.during(call)?, &mut file, |mib| call.progress(&mib))?;
        file.sync_all()?;
        std::fs::rename(&part.0, path)?;
        Ok(sum)
    }

    fn download(&self, call: &Context, name: String, into: Stream) -> Result<Sum, Failure<FilesError>> {
        Ok(Sum::copy(&mut open(name)?, &mut into.during(call)?, |mib| call.progress(&mib))?)
    }

    fn fetch(&self, _: &Context, name: String) -> Result<Stream, Failure<FilesError>> {
        let mut file = open(name)?;
        let (theirs, mut ours) = Stream::pipe()?;
        // Ends with the file, or with an error when nobody reads any more.
        thread::Builder::new().spawn(move || io::copy(&mut file, &mut ours))?;
        Ok(theirs)
    }

    fn whole(&self, _: &Context, name: String) -> Result<Blob, Failure<FilesError>> {
        let mut file = open(name)?;
        Ok(Blob::filled_by(|memory| io::copy(&mut file, memory).map(drop))?)
    }

    fn sum(&self, _: &Context, memory: Blob) -> Result<Sum, HandlerError> {
        Ok(Sum::copy(&mut memory.reader(), &mut io::sink(), |_| ())?)
    }
}

fn main() -> ExitCode {
    Plugin::new("1.0.0").serve_interface(Folder::default().into_table()).run()
}

#[cfg(test)]
mod tests {
    use super::interface::FilesClient;
    use super::*;
    use rpc_plugin_sdk::CallFailure;
    use rpc_plugin_sdk::testing::TestHost;

    #[test]
    fn it_sums_memory_and_refuses_a_bad_name() {
        let host =
            TestHost::start(Plugin::new("1.0.0").serve_interface(Folder::default().into_table())).unwrap();
        let files = FilesClient::new(&host);
        let sum = files.sum(Blob::new(b"Wikipedia").unwrap()).unwrap();
        assert_eq!((sum.bytes, sum.adler32), (9, 0x11e6_0398));
        let (_ours, theirs) = Stream::pipe().unwrap();
        let refused = files.download("no/name", theirs).unwrap_err();
        assert!(matches!(refused, CallFailure::App(FilesError::BadName { .. })), "{refused}");
    }
}
