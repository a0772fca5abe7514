//! A shop that asks back while it serves a call: its host for prices, its caller for consent, and another plugin for a
//! greeting. Its host launches it:
//!
//! ```bash
//! cargo build --examples && cargo run --example bidirectional-host
//! ```
#![forbid(unsafe_code)]

#[path = "../greeter/interface.rs"]
mod greeter;
mod interface;

use greeter::GreeterClient;
use interface::{Offer, PricesClient, Receipt, Shop};
use rpc_plugin_sdk::{CallFailure, Callback, Context, HandlerError, Host, Plugin};
use std::process::ExitCode;

struct Counter {
    host: Host,
}

impl Shop for Counter {
    fn buy(
        &self,
        call: &Context,
        customer: String,
        goods: Vec<String>,
        confirm: Callback<Offer, bool>,
    ) -> Result<Receipt, HandlerError> {
        // Calls made with these are part of `call`: they have its deadline, and are cancelled with it.
        let host = self.host.during(call);
        let prices = PricesClient::new(&host);
        let mut cents = 0;
        for good in goods {
            match prices.price(&good) {
                Ok(price) if confirm.call(Offer { good, cents: price })? => cents += price,
                Ok(_) => {}
                Err(CallFailure::App(unpriced)) => host.event("unpriced", &unpriced)?,
                Err(error) => return Err(error.into()),
            }
        }
        let greeting = GreeterClient::new(host.plugin("greeter")).greet(customer)?;
        Ok(Receipt { greeting, cents })
    }
}

fn main() -> ExitCode {
    let plugin = Plugin::new("1.0.0");
    let counter = Counter { host: plugin.host() };
    plugin.serve_interface(counter.into_table()).run()
}
