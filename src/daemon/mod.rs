//! The daemon around the host library: its configuration.

pub mod config;
mod config_error;
mod config_plugin;
#[cfg(test)]
mod config_refusal_tests;
mod config_runtime_dir;
mod config_settings;
mod config_show;
#[cfg(test)]
mod config_tests;
mod config_text;
pub mod settings;
#[cfg(test)]
mod settings_tests;
mod settings_value;
