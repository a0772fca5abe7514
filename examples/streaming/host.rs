//! A host that sends a file to the streaming plugin, which lies beside it, gets it back, and cancels another one:
//!
//! ```bash
//! cargo build --examples && cargo run --example streaming-host
//! ```
//!
//! The file may be given as argument; otherwise it is one of 3 MiB.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may print")]

mod interface;

use interface::{FilesClient, FilesError, Sum};
use rpc_plugin_system::host::{CallOptions, CancelToken, Host, PluginConfig, PluginHandle};
use rpc_plugin_system::interface::{Blob, CallFailure, Stream};
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("streaming-host: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = match std::env::args_os().nth(1) {
        Some(path) => path.into(),
        None => {
            let path = folder.path().join("source");
            std::fs::write(&path, (0..3 << 20).map(|number: u32| number as u8).collect::<Vec<_>>())?;
            path
        }
    };
    let program = std::env::current_exe()?.with_file_name("streaming-plugin");
    let host = Host::temporary().start()?;
    let config = PluginConfig::new("files".parse()?, program).working_folder(folder.path());
    let plugin = host.launch(config, SOON)?;

    there_and_back(&plugin, &path)?;
    cancel(&plugin)?;
    let memory = Blob::new(&[7; 1 << 20])?;
    println!("a blob: {}", FilesClient::new(&plugin).sum(memory)?);
    Ok(())
}

fn there_and_back(plugin: &PluginHandle, path: &Path) -> Result<(), Box<dyn Error>> {
    let tell = |mib: u64| println!("  {mib} MiB");
    let files = FilesClient::new(plugin.on_progress(tell));
    // A call has 30 seconds otherwise, which is short for a large file.
    let files = files.with(CallOptions::default().timeout(Duration::from_secs(3600)));
    println!("upload");
    let mut source = File::open(path)?;
    let sum = upload(&mut source, |content| files.upload("report", content))??;
    println!("it keeps {sum}");

    println!("download");
    let (mut ours, theirs) = Stream::pipe()?;
    let (sent, received) = thread::scope(|scope| {
        let reading = scope.spawn(move || Sum::copy(&mut ours, &mut io::sink(), |_| ()));
        (files.download("report", theirs), reading.join())
    });
    let received = received.map_err(|_| "the thread that reads the download panicked")??;
    println!("{}", if sent? == received { "the same came back" } else { "something else came back" });
    Ok(())
}

/// Makes the call with one end of a pipe, and writes into the other while it lasts.
fn upload<R>(source: &mut (impl Read + Send), call: impl FnOnce(Stream) -> R) -> Result<R, io::Error> {
    let (theirs, mut ours) = Stream::pipe()?;
    thread::scope(|scope| {
        // Ends when the source does, or with an error when nobody reads any more.
        scope.spawn(move || io::copy(source, &mut ours));
        Ok(call(theirs))
    })
}

/// What never ends is cancelled, here by whoever is told how far it is.
fn cancel(plugin: &PluginHandle) -> Result<(), Box<dyn Error>> {
    println!("upload without end");
    let token = CancelToken::new();
    let tell = |mib: u64| {
        if !token.is_cancelled() {
            println!("  {mib} MiB");
        }
        if mib == 2 {
            token.cancel();
        }
    };
    let files = FilesClient::new(plugin.on_progress(tell).cancelled_by(&token));
    match upload(&mut io::repeat(7), |content| files.upload("endless", content))? {
        Err(CallFailure::Call(error)) => println!("it ended as {}", error.code.name()),
        other => println!("it ended by itself: {}", other?),
    }
    let (_ours, theirs) = Stream::pipe()?;
    match FilesClient::new(plugin).download("endless", theirs) {
        Err(CallFailure::App(FilesError::Missing { .. })) => println!("nothing of it was kept"),
        other => println!("some of it was kept: {}", other?),
    }
    Ok(())
}
