//! The commands of `rpcpluginctl` that turn something of an installed package on or off, and take its id alone.

use crate::cli::{Command, Positional};

/// The id, which is all that they take.
const PACKAGE_ALONE: &[Positional] =
    &[Positional { name: "ID", required: true, flag: None, help: "The package" }];

/// A command about one installed package.
const fn about_package(name: &'static str, summary: &'static str, details: &'static str) -> Command {
    Command { name, summary, details, positionals: PACKAGE_ALONE, flags: &[], examples: &[] }
}

/// Removes the note of a package.
pub(super) const ACKNOWLEDGE: Command = about_package(
    "acknowledge",
    "Remove what is shown of a package until somebody has seen it",
    "That a version was gone back from, or fails and stays, is shown until this is said.",
);

/// Keeps the plugin of a package stopped.
pub(super) const DISABLE: Command = about_package(
    "disable",
    "Stop the plugin of a package, and keep it stopped across restarts of the daemon",
    "It lasts across restarts of the daemon, until the package is enabled. No call starts the plugin meanwhile; 'start' does, \
     until the daemon ends. Is refused while plugins run that are started after it. A plugin that the configuration names by an \
     executable is kept from starting by \"start\": \"manual\" there.",
);

/// Lets the plugin of a package start again.
pub(super) const ENABLE: Command = about_package(
    "enable",
    "Let the plugin of a package that was disabled start again",
    "It is started at once if it starts with the daemon.",
);
