//! What a greeter does: declared once, for the plugin that serves it and the host that calls it. In projects of their
//! own it is a small crate that both depend on.
#![allow(unreachable_pub, reason = "a crate of its own would export it")]

rpc_plugin_interface::interface! {
    /// Greets people.
    pub trait Greeter = "greeter" version 1, client GreeterClient {
        /// Returns a greeting for that name.
        fn greet(name: String) -> String;
    }
}
