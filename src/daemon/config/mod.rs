//! The daemon's configuration: from its file, its flags and the environment to what a host is started with.
//!
//! What this folder is for: `load` puts everything together; `settings` has the tables, `show` prints what is in force.

mod admin_group;
mod flags;
mod load;
mod log;
mod origin;
mod packages;
mod plugin;
mod presence;
#[cfg(feature = "package")]
mod publishers;
mod runtime_dir;
pub mod settings;
mod show;
mod sinks;
#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "package"))]
mod tests_packages;
#[cfg(test)]
mod tests_refusals;
#[cfg(test)]
mod tests_settings;
#[cfg(test)]
mod tests_sinks;
mod types;

pub use load::load;
pub use settings::{FlagRow, flag_rows};
pub use show::{EnvValues, to_json};
pub use types::{AdminGroup, Config, FlagValues, OnChange, PackagesConfig, PluginEntry, Sources};
