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

#[cfg(test)]
mod tests {
    use super::interface::GreeterClient;
    use super::*;
    use rpc_plugin_sdk::ErrorCode;
    use rpc_plugin_sdk::testing::TestHost;

    #[test]
    fn it_greets_whoever_has_a_name() {
        let host = TestHost::start(Plugin::new("1.0.0").serve_interface(Polite.into_table())).unwrap();
        let greeter = GreeterClient::new(&host);
        assert_eq!(greeter.greet("Ann").unwrap(), "Good day, Ann.");
        assert_eq!(greeter.greet("").unwrap_err().code, ErrorCode::InvalidParams);
    }
}
