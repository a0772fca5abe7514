//! Bytes that go to and come from a call: `--input` and `--output` of `call`, and of the lines of `dev`.
//!
//! What this folder is for: the places in params that the two flags stand for, files and standard streams opened as this
//! user, and the threads that copy between them and the streams of the call. What it deliberately does not do: make a
//! call, or print.
//!
//! What always holds: no more than one buffer of a stream is in memory; nothing of a stream's input is ended before the
//! call was cancelled, where it was not all passed on; a file is not touched before there is something to write into it.

mod input_file;
mod output_file;
mod places;
mod pump;
mod standard;
#[cfg(test)]
mod tests;
mod transfer_error;

pub(crate) use pump::Stop;
pub(crate) use standard::{STANDARD, Standard};
pub(crate) use transfer_error::TransferError;

use super::exit::Exit;
use input_file::InputFile;
use output_file::OutputFile;
use places::{CallPlaces, Held, PlaceKind};
use pump::{CopyEnd, Ended, Pump};
use rpc_plugin_interface::fd::BLOB_IN_BAND_BYTES_MAX;
use rpc_plugin_interface::{Blob, Stream};
use serde_json::value::RawValue;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

/// How much longer than the call's deadline a stream that its params name may give nothing.
const AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// What is to be copied beside one call.
pub(crate) struct Transfer {
    /// The params, with places among the descriptors in them.
    pub(crate) params: Option<Box<RawValue>>,
    /// The descriptors that go with the call. To be taken before it is made.
    pub(crate) fds: Vec<OwnedFd>,
    /// Standard input or a file, and the end of a pipe that it goes into.
    input: Option<(InputFile, OwnedFd)>,
    /// Where bytes of the call go to.
    sink: Option<OutputFile>,
    /// The end of a pipe that they come from, where the params name it.
    from: Option<OwnedFd>,
    /// How long the other side may take and give nothing.
    patience: Duration,
    stop: Stop,
}

impl Transfer {
    /// Opens what `input` and `output` name, and finds their places in the params.
    ///
    /// # Errors
    /// A place or a name is missing, or a file cannot be opened. Nothing was called or written.
    pub(crate) fn prepare(
        params: Option<Box<RawValue>>,
        (input, output): (Option<&str>, Option<&str>),
        standard: &Standard<'_>,
        patience: Duration,
    ) -> Result<Transfer, TransferError> {
        let places = CallPlaces::find(params.as_deref())?;
        places.check(input.is_some(), output.is_some())?;
        let pipe = || Stream::pipe().and_then(|(reader, writer)| Ok((reader.into_fd()?, writer.into_fd()?)));
        let no_pipe = |error: io::Error| TransferError::io("make a pipe", &error);
        let stop = Stop::new().map_err(no_pipe)?;
        let (mut fds, mut pumped, mut from, mut blob_bytes) = (Vec::new(), None, None, None);
        let source = input.map(|name| InputFile::open(name, standard)).transpose()?;
        let sink = output.map(|name| OutputFile::open(name, standard, source.as_ref())).transpose()?;
        match (source, places.input) {
            (Some(source), Some(PlaceKind::Blob)) => {
                let (fd, bytes) = source.into_blob(patience)?;
                blob_bytes = Some(bytes);
                fds.push(fd);
            }
            (Some(source), _) => {
                let (reader, writer) = pipe().map_err(no_pipe)?;
                fds.push(reader);
                pumped = Some((source, writer));
            }
            (None, _) => {}
        }
        let input_place = if fds.is_empty() { None } else { Some(0) };
        let mut output_place = None;
        if places.has_output {
            let (reader, writer) = pipe().map_err(no_pipe)?;
            output_place = Some(fds.len());
            fds.push(writer);
            from = Some(reader);
        }
        let params =
            params.map(|params| places::fill(&params, input_place, blob_bytes, output_place)).transpose()?;
        Ok(Transfer { params, fds, input: pumped, sink, from, patience, stop })
    }

    /// Whether descriptors of the result are wanted.
    pub(crate) fn takes_fds(&self) -> bool {
        self.sink.is_some()
    }

    /// Whether a stream goes into the call, whose end means something to whoever reads it.
    pub(crate) fn has_input_stream(&self) -> bool {
        self.input.is_some()
    }

    /// Begins to copy what goes with the call.
    ///
    /// # Errors
    /// No thread can be made, or the file cannot be made.
    pub(crate) fn begin(self) -> Result<Running, TransferError> {
        let Transfer { input, sink, from, patience, stop, .. } = self;
        let no_thread = |error: io::Error| TransferError::io("begin to copy", &error);
        let mut running = Running { input: None, output: None, sink, patience, stop };
        if let Some((source, into)) = input {
            running.input =
                Some(Pump::feed(source.into_fd(), into, patience, &running.stop).map_err(no_thread)?);
        }
        if let Some(from) = from {
            // The call has a deadline of the same length, which says more where both are over.
            let patience = running.patience.saturating_add(AFTER_DEADLINE);
            running.output = Some(running.write_from(from, None, patience)?);
        }
        Ok(running)
    }
}

/// What is being copied beside one call.
pub(crate) struct Running {
    input: Option<Pump>,
    output: Option<Pump>,
    sink: Option<OutputFile>,
    patience: Duration,
    stop: Stop,
}

/// What was done with the descriptors of a result.
#[derive(Debug, Default)]
pub(crate) struct WrittenOutput {
    /// How many of them were closed and not written.
    pub(crate) left: usize,
    /// Whether nothing was there to write.
    pub(crate) is_nothing: bool,
}

impl Running {
    /// What ends the copying early; for who cancels the call, after it has.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Becomes readable once input cannot be read to its end: the call is to be cancelled before the stream ends.
    pub(crate) fn input_failed(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(|pump| pump.failed().as_fd())
    }

    fn write_from(
        &mut self,
        from: OwnedFd,
        bytes: Option<u64>,
        patience: Duration,
    ) -> Result<Pump, TransferError> {
        let sink = self.sink.as_ref().map(OutputFile::begin).transpose()?;
        let into = sink.ok_or_else(|| TransferError::usage("there is no --output"))?;
        Pump::drain(from, into, (bytes, Some(patience)), &self.stop)
            .map_err(|error| TransferError::io("begin to copy", &error))
    }

    /// Writes the stream or blob of the result, and waits until all is copied.
    ///
    /// # Errors
    /// Not all bytes came or went; what was written stays.
    pub(crate) fn finish(
        mut self,
        result: &RawValue,
        mut fds: Vec<OwnedFd>,
    ) -> Result<WrittenOutput, TransferError> {
        let mut written = WrittenOutput::default();
        match &self.sink {
            Some(_) if self.output.is_none() => {
                let held = Held::first(result, fds.len());
                let bytes = held.and_then(|held| held.bytes);
                if fds.is_empty() {
                    written.is_nothing = true;
                } else {
                    let mut from = fds.remove(held.map_or(0, |held| held.place));
                    if let Some(bytes) = bytes {
                        let refused = |error| TransferError::io("take the blob of the result", &error);
                        from = received_blob(from, bytes).map_err(refused)?;
                    }
                    // Others go first: what they hold back may be awaited by whoever writes this one.
                    written.left = fds.len();
                    fds.clear();
                    self.output = Some(self.write_from(from, bytes, self.patience)?);
                }
            }
            _ => {
                written.left = fds.len();
                fds.clear();
            }
        }
        let output = self.output.take().map(Pump::join);
        if let Some((end, sink)) = output.zip(self.sink.as_ref()) {
            sink.check(&end)?;
        }
        if let Some(input) = self.input.take() {
            check_input(&input.join())?;
        }
        Ok(written)
    }

    /// Ends the copying of a call that failed or was cancelled. Input that was not all passed on ends once the plugin reads
    /// it no more, or after a while: it has been told of the cancel, and is not to take this for the end. Why bytes could
    /// not be read or written, where that made the call fail.
    pub(crate) fn abandon(self) -> Option<TransferError> {
        self.stop.now();
        let output = self.output.and_then(Pump::join_stopped).zip(self.sink.as_ref());
        let of_output = output.filter(|(end, _)| !matches!(end.how, Ended::Stopped));
        let end = self.input.map(Pump::join);
        let of_input = end.as_ref().and_then(|end| check_input(end).err());
        if let Some(CopyEnd { rest: Some(into), how, .. }) = end
            && !matches!(how, Ended::Whole)
        {
            pump::linger(&into);
        }
        of_input.or_else(|| of_output.and_then(|(end, sink)| sink.check(&end).err()))
    }
}

/// The descriptor of a blob of a result, of which so many bytes were announced: a receiver refuses what may still change.
fn received_blob(from: OwnedFd, bytes: u64) -> io::Result<OwnedFd> {
    if bytes > BLOB_IN_BAND_BYTES_MAX {
        let text = format!("it has {bytes} bytes, {BLOB_IN_BAND_BYTES_MAX} are the most");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    let file = File::from(from);
    let kind = file.metadata()?.file_type();
    // In band it comes as a stream, of which no more than that is written, and no less taken for all of it.
    if kind.is_socket() || kind.is_fifo() {
        return Ok(file.into());
    }
    Blob::from_memory(file, bytes).map(|blob| blob.into_file().into())
}

/// Whether the input was passed on, or is not wanted.
fn check_input(end: &CopyEnd) -> Result<(), TransferError> {
    match &end.how {
        Ended::Whole | Ended::Unwanted | Ended::Stopped | Ended::Short => Ok(()),
        Ended::ReadFailed(error) => Err(TransferError::io("read the input", error)),
        Ended::WriteFailed(error) => Err(TransferError::io("pass the input on", error)),
        Ended::Stalled => {
            let text = format!(
                "the plugin has read nothing of the input for the time of --timeout, after {} bytes",
                end.bytes
            );
            Err(TransferError::new(Exit::Deadline, text))
        }
    }
}
