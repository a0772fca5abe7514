//! Both directions: what the shop does for its host, and what the host does for the shop.
#![allow(unreachable_pub, reason = "a crate of its own would export it")]

use rpc_plugin_interface::{AppError, Callback, interface};
use serde::{Deserialize, Serialize};
use std::fmt;

interface! {
    /// What the plugin serves.
    pub trait Shop = "shop" version 1, client ShopClient {
        /// Buys of these goods those that `confirm` says yes to.
        fn buy(customer: String, goods: Vec<String>, confirm: Callback<Offer, bool>) -> Receipt;
    }
}

interface! {
    /// What the host serves.
    pub trait Prices = "prices" version 1, client PricesClient {
        /// The price of one piece, in cents.
        fn price(of: String) -> Result<u32, Unpriced>;
    }
}

/// What the caller is asked about.
#[derive(Debug, Serialize, Deserialize)]
pub struct Offer {
    /// What is offered.
    pub good: String,
    /// For how much.
    pub cents: u32,
}

/// What was bought.
#[derive(Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// A line for the customer.
    pub greeting: String,
    /// What all of it costs.
    pub cents: u32,
}

/// The host has no price for this.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Unpriced {
    /// For what.
    pub good: String,
}

impl fmt::Display for Unpriced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no price", self.good)
    }
}

impl AppError for Unpriced {}
