//! The host: it launches the plugin that lies beside it, and asks it.

use rpc_plugin_system::host::{Host, PluginConfig, Policy, RestartPolicy};
use std::time::Duration;
use weather_interface::WeatherClient;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let program = std::env::current_exe()?.with_file_name("weather-plugin");
    let host = Host::temporary().start()?;
    let policy = Policy::default().with(|policy| policy.restart = RestartPolicy::OnFailure);
    let config = PluginConfig::new("weather".parse()?, program).policy(policy);
    let plugin = host.launch(config, Duration::from_secs(10))?;

    let weather = WeatherClient::new(&plugin);
    let report = weather.report("here")?;
    println!("{} degrees, {}", report.celsius, report.sky);
    if let Err(error) = weather.report("there") {
        println!("{error}");
    }
    host.shutdown();
    Ok(())
}
