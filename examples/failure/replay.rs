//! The failure plugin as a gramophone: it sends bytes that a test wrote down, one record for each generation.
//!
//! The file that `FAILURE_REPLAY` names has a line for each generation from the first on: `WHEN THEN HEX`.
//! `WHEN` is `first` (the bytes stand in for the hello), `greeted` (they follow once an honest hello was
//! answered) or `asked` (as `first`, but each further line of the bytes waits for one more request of the host).
//! `THEN` is `wait` (until the host closes the connection) or `close`. In the bytes, [`TOKEN_SPOKEN`] stands for
//! the generation's own token.
//!
//! What it deliberately does not do: understand what it sends.

use crate::hello::{self, LINGER, listen};
use crate::mode::Mode;
use rpc_plugin_sdk::Config;
use rpc_plugin_wire::{FrameDecoder, Message};
use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What a test writes where the token belongs, which it cannot know.
const TOKEN_SPOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

type Failure = Box<dyn Error>;

/// What one generation is to play.
struct Record {
    when: String,
    closes: bool,
    bytes: Vec<u8>,
}

/// Plays this generation's record to its end; false if there is none for it.
pub(crate) fn play(file: &Path, config: &Config) -> Result<bool, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let index = usize::try_from(config.generation.get() - 1)?;
    let Some(line) = text.lines().nth(index) else { return Ok(false) };
    let record = read(line, config).ok_or_else(|| format!("line {} is no record: {line:?}", index + 1))?;
    let (mut connection, mut decoder) = match &*record.when {
        "greeted" => {
            let greeted = hello::start(Mode::None, config)?;
            (greeted.connection, greeted.decoder)
        }
        _ => (UnixStream::connect(config.socket().unwrap_or(Path::new("")))?, FrameDecoder::new(1 << 20)),
    };
    connection.set_read_timeout(Some(LINGER))?;
    match &*record.when {
        "asked" => {
            for (number, line) in record.bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
                if number > 0 && !await_request(&mut connection, &mut decoder)? {
                    return Ok(true);
                }
                connection.write_all(line)?;
            }
        }
        // The host may close before it has read all of it: that is its right.
        _ => drop(connection.write_all(&record.bytes)),
    }
    if !record.closes {
        listen(connection, decoder, false);
    }
    Ok(true)
}

fn read(line: &str, config: &Config) -> Option<Record> {
    let mut words = line.split(' ');
    let (when, then, digits) = (words.next()?, words.next()?, words.next()?);
    let digits: Vec<u8> =
        digits.bytes().map(|digit| (digit as char).to_digit(16)).map_while(to_byte).collect();
    let mut bytes: Vec<u8> =
        digits.chunks_exact(2).filter_map(|pair| Some(pair.first()? << 4 | pair.last()?)).collect();
    let token = config.token.to_hex();
    let spoken = TOKEN_SPOKEN.as_bytes();
    while let Some(at) = bytes.windows(spoken.len()).position(|window| window == spoken) {
        bytes.splice(at..at + spoken.len(), token.bytes());
    }
    Some(Record { when: when.to_owned(), closes: then == "close", bytes })
}

fn to_byte(digit: Option<u32>) -> Option<u8> {
    digit.and_then(|digit| u8::try_from(digit).ok())
}

/// Reads until the host has asked something; false when it closed instead.
fn await_request(connection: &mut UnixStream, decoder: &mut FrameDecoder) -> Result<bool, Failure> {
    loop {
        while let Some(frame) = decoder.next_frame()? {
            if let Message::Request(_) = Message::parse(frame)? {
                return Ok(true);
            }
        }
        match connection.read(decoder.space(4096))? {
            0 => return Ok(false),
            bytes => decoder.filled(bytes),
        }
    }
}
