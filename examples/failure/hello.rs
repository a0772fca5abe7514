//! The failure plugin until its hello is answered.
//!
//! What it deliberately does not do: use the SDK for the connection, which would not let it break a rule.
//!
//! What always holds: it gives up after [`LINGER`], so that a test that fails leaves nothing behind for long.

use crate::mode::Mode;
use crate::say;
use rpc_plugin_sdk::Config;
use rpc_plugin_wire::handshake::{Hello, HelloResult, METHOD_HELLO};
use rpc_plugin_wire::message::{NewRequest, write_request};
use rpc_plugin_wire::{FrameDecoder, Generation, Message, PluginId, Token};
use serde_json::{Value, json};
use std::error::Error;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long anything of this plugin waits for its host to act. Longer than any test.
pub(crate) const LINGER: Duration = Duration::from_secs(300);
/// The capabilities of an honest hello: one for each method.
pub(crate) const CAPABILITIES: [&str; 2] = ["sleep", "work"];

/// Who this plugin is, once the token is spent.
pub(crate) struct Identity {
    pub(crate) plugin_id: PluginId,
    pub(crate) generation: Generation,
}

/// A connection whose hello was accepted.
pub(crate) struct Greeted {
    pub(crate) connection: UnixStream,
    pub(crate) decoder: FrameDecoder,
    pub(crate) frame_bytes_max: usize,
    pub(crate) identity: Identity,
}

type Failure = Box<dyn Error>;

/// Connects and says hello, in the way that `mode` wants it. Ends the process where that leads nowhere.
pub(crate) fn start(mode: Mode, config: &Config) -> Result<Greeted, Failure> {
    match mode {
        Mode::ExitAtOnce => std::process::exit(3),
        Mode::NeverConnect => linger(),
        _ => {}
    }
    let mut connection = UnixStream::connect(config.socket().unwrap_or(Path::new("")))?;
    connection.set_read_timeout(Some(LINGER))?;
    let honest = hello(config, None)?;
    let broken: Vec<u8> = match mode {
        Mode::CloseOnConnect => {
            drop(connection);
            linger();
        }
        Mode::RejectHello => std::process::exit(1),
        Mode::Silent => Vec::new(),
        Mode::HalfHello => honest.get(..honest.len() / 2).unwrap_or_default().to_vec(),
        Mode::GarbledHello => b"hello, host!\n".to_vec(),
        Mode::HugeHello => hello(config, Some(("version", json!("v".repeat(1 << 20)))))?,
        Mode::CallBeforeHello => request(1, "host.log", &json!({"message": "am I in?"}))?,
        Mode::WrongToken => {
            hello(config, Some(("token", json!(Token::from_bytes([0x5a; Token::BYTES]).to_hex()))))?
        }
        Mode::WrongId => hello(config, Some(("plugin_id", json!("another"))))?,
        Mode::WrongGeneration => hello(config, Some(("generation", json!(config.generation.next()))))?,
        Mode::WrongProtocol => hello(config, Some(("protocols", json!([999]))))?,
        Mode::HelloMalformedCapabilities => hello(config, Some(("capabilities", json!("work"))))?,
        Mode::HelloEmptyCapabilities => hello(config, Some(("capabilities", json!([]))))?,
        Mode::SecondConnection => {
            // Whichever the host takes, it may not take both; it may be quick enough to listen no more.
            let second = UnixStream::connect(config.socket().unwrap_or(Path::new("")));
            match &second {
                Ok(second) => {
                    second.set_read_timeout(Some(LINGER))?;
                    let mut second: &UnixStream = second;
                    let _ = second.write_all(&honest);
                }
                Err(error) => say(&format!("the host takes no second connection: {error}")),
            }
            let greeted = greet(connection, &honest, config);
            if let Ok(second) = second {
                listen(second, FrameDecoder::new(1 << 20), greeted.is_ok());
            }
            return greeted;
        }
        Mode::ReplayedToken => {
            let mut greeted = greet(connection, &honest, config)?;
            let _ = greeted.connection.write_all(&honest);
            return Ok(greeted);
        }
        _ => return greet(connection, &honest, config),
    };
    // The host may close before it has read all of it: that is its right.
    let _ = connection.write_all(&broken);
    listen(connection, FrameDecoder::new(1 << 20), false);
    std::process::exit(1);
}

/// Sends a hello and waits for its answer.
fn greet(mut connection: UnixStream, hello: &[u8], config: &Config) -> Result<Greeted, Failure> {
    connection.write_all(hello)?;
    let mut decoder = FrameDecoder::new(1 << 20);
    let frame_bytes_max = loop {
        if let Some(frame) = decoder.next_frame()? {
            let Message::Response(response) = Message::parse(frame)? else { continue };
            let result: HelloResult = serde_json::from_str(response.result?.get())?;
            break result.frame_bytes_max;
        }
        match connection.read(decoder.space(4096))? {
            0 => return Err("the host closed the connection instead of answering the hello".into()),
            bytes => decoder.filled(bytes),
        }
    };
    decoder.set_frame_bytes_max(frame_bytes_max);
    let identity = Identity { plugin_id: config.plugin_id.clone(), generation: config.generation };
    Ok(Greeted { connection, decoder, frame_bytes_max, identity })
}

/// Shows what the host answers until it closes the connection; in the background when there is more to do.
pub(crate) fn listen(mut connection: UnixStream, mut decoder: FrameDecoder, in_background: bool) {
    let mut show = move || {
        loop {
            while let Ok(Some(frame)) = decoder.next_frame() {
                say(&format!("the host says {}", String::from_utf8_lossy(frame)));
            }
            match connection.read(decoder.space(4096)) {
                Ok(bytes @ 1..) => decoder.filled(bytes),
                _ => return say("the host closed the connection"),
            }
        }
    };
    if in_background {
        std::thread::spawn(show);
    } else {
        show();
    }
}

/// The frame of an honest hello, but for the one member that is given.
fn hello(config: &Config, lie: Option<(&str, Value)>) -> Result<Vec<u8>, Failure> {
    let mut params = serde_json::to_value(Hello {
        token: config.token.clone(),
        plugin_id: config.plugin_id.clone(),
        generation: config.generation,
        protocols: vec![1],
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sdk: String::new(),
        capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
        interfaces: std::collections::BTreeMap::new(),
        features: ["cancel", "progress"].map(str::to_owned).to_vec(),
    })?;
    if let (Some((member, value)), Some(params)) = (lie, params.as_object_mut()) {
        params.insert(member.to_owned(), value);
    }
    request(1, METHOD_HELLO, &params)
}

fn request(id: u64, method: &str, params: &Value) -> Result<Vec<u8>, Failure> {
    let mut frame = Vec::new();
    let params = serde_json::to_string(params)?;
    write_request(&mut frame, &NewRequest { id, method, params: Some(&params), ..NewRequest::default() });
    Ok(frame)
}

/// Does nothing until the host kills this process, or nobody cares any more.
pub(crate) fn linger() -> ! {
    std::thread::sleep(LINGER);
    std::process::exit(1);
}
