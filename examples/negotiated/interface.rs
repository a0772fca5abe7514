//! A thermometer in two versions. The old one stays as it was, for the hosts that know no other.
#![allow(unreachable_pub, reason = "a crate of its own would export it")]

/// Version 1: in degrees Celsius, always.
pub mod v1 {
    rpc_plugin_interface::interface! {
        /// Measures a temperature.
        pub trait Thermometer = "thermometer" version 1, client ThermometerClient {
            /// Degrees Celsius.
            fn read() -> f64;
        }
    }
}

/// Version 2: the caller names the unit.
pub mod v2 {
    use serde::{Deserialize, Serialize};

    rpc_plugin_interface::interface! {
        /// Measures a temperature.
        pub trait Thermometer = "thermometer" version 2, client ThermometerClient {
            /// In that unit.
            fn read(unit: Unit) -> f64;
        }
    }

    /// What a temperature is told in.
    #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Unit {
        /// Degrees Celsius.
        Celsius,
        /// Kelvin.
        Kelvin,
    }
}
