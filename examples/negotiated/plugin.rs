//! A thermometer that serves two versions of its interface. Its host launches it:
//!
//! ```bash
//! cargo build --examples && cargo run --example negotiated-host
//! ```
#![forbid(unsafe_code)]

mod interface;

use interface::v2::Unit;
use interface::{v1, v2};
use rpc_plugin_sdk::{Context, HandlerError, Plugin};
use std::process::ExitCode;

struct Sensor;

impl v2::Thermometer for Sensor {
    fn read(&self, _: &Context, unit: Unit) -> Result<f64, HandlerError> {
        let celsius = 21.5;
        Ok(match unit {
            Unit::Celsius => celsius,
            Unit::Kelvin => celsius + 273.15,
        })
    }
}

/// The old version in terms of the new one, so that both stay the same thing.
impl v1::Thermometer for Sensor {
    fn read(&self, call: &Context) -> Result<f64, HandlerError> {
        v2::Thermometer::read(self, call, Unit::Celsius)
    }
}

fn main() -> ExitCode {
    Plugin::new("2.0.0")
        .serve_interface(v1::Thermometer::into_table(Sensor))
        .serve_interface(v2::Thermometer::into_table(Sensor))
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_sdk::testing::TestHost;

    #[test]
    fn it_measures_in_kelvin_by_the_new_version() {
        let plugin = Plugin::new("2.0.0")
            .serve_interface(v1::Thermometer::into_table(Sensor))
            .serve_interface(v2::Thermometer::into_table(Sensor));
        let host = TestHost::start(plugin).unwrap();
        let kelvin = v2::ThermometerClient::new(&host).read(Unit::Kelvin).unwrap();
        assert!((kelvin - 294.65).abs() < 1e-9, "{kelvin}");
    }
}
