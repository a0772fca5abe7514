//! The interface that plugin and host share, and the types in it.

use serde::{Deserialize, Serialize};

/// The weather at a place.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Its temperature.
    pub celsius: f64,
    /// Words for its sky.
    pub sky: String,
}

rpc_plugin_interface::interface! {
    /// Knows the weather.
    pub trait Weather = "weather" version 1, client WeatherClient {
        /// Returns the weather at that place.
        fn report(place: String) -> Report;
    }
}
