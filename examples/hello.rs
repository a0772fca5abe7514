//! The smallest plugin that does something: README shows it, and `tests/house/readme.rs` runs it.

use rpc_plugin_sdk::{Call, HandlerError, Plugin};

#[derive(serde::Deserialize)]
struct Who {
    name: String,
}

fn main() -> std::process::ExitCode {
    Plugin::new("1.0.0")
        .method("greet", |_: &Call, who: Who| -> Result<String, HandlerError> {
            Ok(format!("Hello, {}!", who.name))
        })
        .run()
}
