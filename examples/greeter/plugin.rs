//! The smallest typed plugin. Its host launches it:
//!
//! ```bash
//! cargo build --examples && cargo run --example greeter-host
//! ```
#![forbid(unsafe_code)]

mod interface;

use interface::Greeter;
use rpc_plugin_sdk::{Context, HandlerError, Plugin};
use std::process::ExitCode;

struct Polite;

impl Greeter for Polite {
    fn greet(&self, _: &Context, name: String) -> Result<String, HandlerError> {
        if name.is_empty() {
            return Err(HandlerError::invalid_params("`name` is empty; say who is to be greeted"));
        }
        Ok(format!("Good day, {name}."))
    }
}

fn main() -> ExitCode {
    Plugin::new("1.0.0").serve_interface(Polite.into_table()).run()
}
