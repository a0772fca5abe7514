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

#[cfg(test)]
mod tests {
    use super::greeter::Greeter;
    use super::interface::{Prices, ShopClient, Unpriced};
    use super::*;
    use rpc_plugin_sdk::testing::TestHost;
    use rpc_plugin_sdk::{Failure, Local};
    use std::time::Duration;

    /// What the shop finds at its host: the prices, and the other plugin.
    struct Street;

    impl Prices for Street {
        fn price(&self, _: &Context, of: String) -> Result<u32, Failure<Unpriced>> {
            if of == "moon" { Err(Unpriced { good: of }.into()) } else { Ok(250) }
        }
    }

    impl Greeter for Street {
        fn greet(&self, _: &Context, name: String) -> Result<String, HandlerError> {
            Ok(format!("Hello, {name}."))
        }
    }

    #[test]
    fn it_buys_what_has_a_price_and_tells_what_has_none() {
        let plugin = Plugin::new("1.0.0");
        let counter = Counter { host: plugin.host() };
        let services = Local::new(Prices::into_table(Street)).and(Greeter::into_table(Street));
        let host = TestHost::start_with(plugin.serve_interface(counter.into_table()), services).unwrap();

        let goods = ["tea", "moon"].map(String::from);
        let confirm = Callback::new(|offer: Offer| offer.cents < 400);
        let receipt = ShopClient::new(&host).buy("Ann", &goods[..], confirm).unwrap();
        assert_eq!((receipt.greeting.as_str(), receipt.cents), ("Hello, Ann.", 250));
        let (name, data) = host.next_event(Duration::from_secs(10)).unwrap();
        assert_eq!((name.as_str(), data.unwrap()), ("unpriced", serde_json::json!({"good": "moon"})));
    }
}
