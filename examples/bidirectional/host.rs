//! A host whose plugin calls back. It launches the shop and the greeter, which lie beside it, and buys something:
//!
//! ```bash
//! cargo build --examples && cargo run --example bidirectional-host
//! ```
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program may print")]

mod interface;

use interface::{Offer, Prices, ShopClient, Unpriced};
use rpc_plugin_system::host::{EventKind, Host, PluginConfig};
use rpc_plugin_system::interface::{Callback, Context, Failure};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bidirectional-host: {error}");
            ExitCode::FAILURE
        }
    }
}

struct PriceList;

impl Prices for PriceList {
    fn price(&self, _: &Context, of: String) -> Result<u32, Failure<Unpriced>> {
        println!("the shop asks what {of} costs");
        match of.as_str() {
            "tea" => Ok(250),
            "cake" => Ok(420),
            _ => Err(Unpriced { good: of }.into()),
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let beside = std::env::current_exe()?;
    let host = Host::temporary().serve_interface(PriceList.into_table()).start()?;
    let events = host.subscribe(1024)?;
    let greeter = PluginConfig::new("greeter".parse()?, beside.with_file_name("greeter-plugin"));
    let _greeter = host.launch(greeter, SOON)?;
    // Without `may_call` the shop's call of the greeter is `denied`.
    let shop = PluginConfig::new("shop".parse()?, beside.with_file_name("bidirectional-plugin"));
    let shop = host.launch(shop.may_call(["greeter"]), SOON)?;

    let confirm = Callback::new(|offer: Offer| {
        println!("{} for {} cents?", offer.good, offer.cents);
        offer.cents < 400
    });
    let goods = ["tea", "cake", "moon"].map(String::from);
    let receipt = ShopClient::new(&shop).buy("Ann", &goods[..], confirm)?;
    println!("{} That makes {} cents.", receipt.greeting, receipt.cents);

    while let Some(event) = events.next_within(SOON) {
        if event.note.kind == EventKind::PluginEvent {
            let details = event.note.details.unwrap_or_default();
            println!("the shop tells: {details}");
            break;
        }
    }
    Ok(())
}
