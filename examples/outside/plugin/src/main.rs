//! The plugin: it looks out of the window.

use rpc_plugin_sdk::{Context, HandlerError, Plugin};
use weather_interface::{Report, Weather};

struct Window;

impl Weather for Window {
    fn report(&self, _: &Context, place: String) -> Result<Report, HandlerError> {
        if place != "here" {
            return Err(format!("{place:?} cannot be seen from this window").into());
        }
        Ok(Report { celsius: 21.5, sky: "clear".into() })
    }
}

fn main() -> std::process::ExitCode {
    Plugin::new("1.0.0").serve_interface(Window.into_table()).run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_plugin_sdk::testing::TestHost;
    use weather_interface::WeatherClient;

    #[test]
    fn it_sees_what_is_before_the_window() {
        let host = TestHost::start(Plugin::new("1.0.0").serve_interface(Window.into_table())).unwrap();
        let weather = WeatherClient::new(&host);
        assert_eq!(weather.report("here").unwrap().sky, "clear");
        assert!(weather.report("there").unwrap_err().message.contains("cannot be seen"));
    }
}
