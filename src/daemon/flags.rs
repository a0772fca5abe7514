//! Every command and flag of `rpcplugind`: its own, and one for each setting of `settings`.
//!
//! What always holds: help, parser and `docs/rpcplugind.md` come from this one table.

use super::config::{FlagRow, flag_rows};
use crate::cli::{
    Command, Example, Flag, FlagGroup, HELP_COMMAND, HELP_FLAG, Program, Section, VERSION_FLAG, runtime_dir,
};
use std::sync::LazyLock;

pub(super) const DEMO: &str = "demo";
pub(super) const SERVE_ECHO: &str = "serve-echo";
pub(super) const STAY: &str = "stay";
pub(super) const CONFIG: &str = "config";
pub(super) const PLUGIN: &str = "plugin";
pub(super) const ADMIN_GROUP: &str = "admin-group";
pub(super) const PLUGIN_ID: &str = "plugin-id";
pub(super) const PLUGINS: &str = "plugins";
pub(super) const PLUGINS_DIR: &str = "plugins-dir";
pub(super) const STATE_DIR: &str = "state-dir";
pub(super) const LOG_SINK: &str = "log-sink";
pub(super) const CHECK_CONFIG: &str = "check-config";
pub(super) const JSON: &str = "json";
pub(super) const QUIET: &str = "quiet";
pub(super) const REQUIRE_HEALTHY: &str = "require-healthy";
pub(super) const WAIT: &str = "wait";

const COMMANDS: &[Command] = &[
    Command {
        name: DEMO,
        summary: "Run a short tour with a built-in plugin in a temporary folder",
        details: "Starts a host with the built-in echo plugin, shows it with rpcpluginctl's own commands, calls it, \
                  kills it, shows its replacement and the record of it all, and cleans up.",
        positionals: &[],
        flags: &[Flag::switch(STAY, "Keep running at the end, and print commands to try")],
        examples: &[],
    },
    HELP_COMMAND,
    Command {
        name: SERVE_ECHO,
        summary: "Run as the built-in echo plugin; only a host launches this",
        details: "",
        positionals: &[],
        flags: &[],
        examples: &[],
    },
];

const OWN: &[Flag] = &[
    Flag::with_value(
        ADMIN_GROUP,
        "GROUP=PATH",
        "Let members of this group control the daemon as its own user does, through a socket of their own at this \
         absolute path; they give it to rpcpluginctl with --admin-socket",
    ),
    Flag::switch(
        CHECK_CONFIG,
        "Check the configuration and the executables, interpreters and folders that it names, print it as JSON with \
         all defaults, and end",
    ),
    Flag::with_value(CONFIG, "FILE", "Read plugins and settings from this JSON file").short('c'),
    HELP_FLAG,
    Flag::switch(JSON, "Print output as JSON, one object a line"),
    Flag::with_value(
        LOG_SINK,
        "TYPE[=TARGET]",
        "Send events to this sink as well, such as stderr or unix-stream=/run/x.sock",
    )
    .repeated(),
    Flag::with_value(
        PLUGIN,
        "ID=PATH",
        "Run this executable as the plugin of this id; with --plugin-id, PATH alone",
    )
    .short('p')
    .repeated(),
    Flag::with_value(
        PLUGIN_ID,
        "ID",
        "The id of the one plugin that --plugin names by its path alone; implies --require-healthy",
    ),
    Flag::with_value(PLUGINS, "ID=PATH,...", "The same as a --plugin for each of them"),
    Flag::with_value(
        PLUGINS_DIR,
        "DIR",
        "Run the packages that are in this folder: each folder in it with a plugin.json",
    )
    .repeated(),
    Flag::switch(QUIET, "Do not print events of level warn and above on standard error"),
    Flag::with_value(
        REQUIRE_HEALTHY,
        "[=T]",
        "End with exit code 1 and the reasons unless every plugin that the daemon starts is healthy after its first \
         start; or, with a time such as 30s, within that time, in which those that fail are tried again",
    ),
    runtime_dir::FLAG,
    Flag::with_value(
        STATE_DIR,
        "DIR",
        "Keep packages here; without it $STATE_DIRECTORY, for root /var/lib/rpcplugind, for other users the folder \
         rpcplugind in $XDG_STATE_HOME or ~/.local/state",
    ),
    VERSION_FLAG,
    Flag::with_value(
        WAIT,
        "ID",
        "Do not launch this plugin; print the environment variables to start it by hand",
    )
    .repeated(),
];

const EXAMPLES: &[Example] = &[
    Example { line: "rpcplugind demo", what: "Take the tour" },
    Example { line: "rpcplugind --plugin echo=/usr/lib/plugins/echo", what: "Run one plugin" },
    Example {
        line: "rpcplugind --config /etc/rpcplugind.json --wait echo",
        what: "Start the plugin 'echo' by hand, under gdb or strace, with the environment variables that this prints",
    },
    Example {
        line: "rpcplugind --config /etc/rpcplugind.json --check-config",
        what: "Check a configuration, and print it with all defaults",
    },
];

const SECTIONS: &[Section] = &[
    Section {
        title: "Exit codes",
        rows: &[
            ("0", "The daemon was asked to end; it and all its plugins have ended"),
            (
                "1",
                "The daemon could not start, or could not go on, or a plugin is not healthy that --require-healthy \
                 asks for; standard error says why",
            ),
            ("2", "The command line or the configuration is wrong"),
        ],
    },
    Section {
        title: "Output",
        rows: &[
            (
                "standard output",
                "'started' once the daemon takes commands; 'ready' once each plugin that it starts is healthy or has \
                 failed, or after a minute, with how many are healthy and why the others are not; 'ended'",
            ),
            (
                "standard error",
                "Events of level warn and above, as text, unless --quiet is given or a sink of type stderr is \
                 configured; at most 100 a second, the rest counted",
            ),
        ],
    },
    Section {
        title: "Signals",
        rows: &[
            ("SIGTERM, SIGINT", "Stop all plugins (shutdown request, SIGTERM, SIGKILL), then the daemon"),
            (
                "SIGINT again",
                "Send SIGKILL to the plugins that have not ended yet; a further SIGTERM changes nothing",
            ),
            ("SIGHUP, SIGUSR1", "Recorded as an event; SIGHUP has the runtime folder checked"),
        ],
    },
];

/// The whole table.
pub static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program {
    name: "rpcplugind",
    version: env!("CARGO_PKG_VERSION"),
    summary: "Launch, authenticate, monitor, call and restart plugins, each a process of its own",
    // The table lives as long as the program, and is made once.
    groups: Box::leak(Box::new([
        FlagGroup { title: "Options", flags: OWN },
        FlagGroup { title: "Settings, defaults for every plugin", flags: setting_flags() },
    ])),
    commands: COMMANDS,
    command_required: false,
    examples: EXAMPLES,
    sections: SECTIONS,
});

/// One flag for each setting, sorted by name.
fn setting_flags() -> &'static [Flag] {
    let mut rows: Vec<FlagRow> = flag_rows();
    rows.sort_by_key(|row| row.flag);
    let flags = rows.into_iter().map(|row| {
        let text = format!("{}; {}", row.doc.trim_end_matches('.'), row.allowed);
        Flag::with_value(row.flag, row.placeholder, Box::leak(text.into_boxed_str()))
            .default(Box::leak(row.default.into_boxed_str()))
    });
    Box::leak(flags.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing;

    #[test]
    fn the_table_is_sound() {
        assert_eq!(PROGRAM.problems(), Vec::<String>::new());
    }

    #[test]
    fn what_healthy_plugins_are_required_for_may_have_a_time() {
        let value = |word: &str| {
            let args = PROGRAM.parse([word.into()]).unwrap();
            args.get(REQUIRE_HEALTHY).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(value("--require-healthy").as_deref(), Some(""));
        assert_eq!(value("--require-healthy=30s").as_deref(), Some("30s"));
        assert_eq!(value("--quiet"), None);
        let help = PROGRAM.help(None);
        assert!(help.contains(" --require-healthy[=T] "), "{help}");
    }

    #[test]
    fn the_manual_is_made_from_the_table() {
        testing::hold_page("docs/rpcplugind.md", &PROGRAM.manual(), "daemon::flags");
    }
}
