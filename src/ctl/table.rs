//! Every command and flag of `rpcpluginctl`. Help, parser and `docs/rpcpluginctl.md` are made from it.

use super::exit::MEANINGS;
use crate::cli::{
    Command, Example, Flag, FlagGroup, HELP_COMMAND, HELP_FLAG, Positional, Program, Section, VERSION_FLAG,
    runtime_dir,
};

pub(super) const ID: &str = "ID";
pub(super) const METHOD: &str = "METHOD";
pub(super) const JSON: &str = "JSON";

const ID_FLAG: Flag = Flag::with_value("plugin-id", "ID", "The plugin");
const ID_ARGUMENT: Positional =
    Positional { name: ID, required: true, flag: Some("plugin-id"), help: "The plugin" };
const ONE: &[Positional] = &[ID_ARGUMENT];
const ONE_OR_ALL: &[Positional] =
    &[Positional { required: false, help: "The plugin; without it, every one", ..ID_ARGUMENT }];

/// A command with no argument of its own.
const fn plain(name: &'static str, summary: &'static str) -> Command {
    Command { name, summary, details: "", positionals: &[], flags: &[], examples: &[] }
}

/// A command about one plugin.
const fn about_one(name: &'static str, summary: &'static str, details: &'static str) -> Command {
    Command { name, summary, details, positionals: ONE, flags: &[ID_FLAG], examples: &[] }
}

const COMMANDS: &[Command] = &[
    Command {
        positionals: &[
            ID_ARGUMENT,
            Positional { name: METHOD, required: true, flag: None, help: "The method to call" },
            Positional {
                name: JSON,
                required: false,
                flag: None,
                help: "Its params, a JSON object; '-' reads them from standard input",
            },
        ],
        flags: &[
            Flag::with_value(
                "capability",
                "NAME",
                "In place of ID: a plugin that serves this capability, the one with the fewest calls in flight",
            )
            .replaces(ID),
            Flag::switch(
                "idempotent",
                "The plugin may execute it more than once: repeat it within the timeout when it could not be sent, \
                 or the plugin was lost meanwhile",
            ),
            ID_FLAG,
            Flag::switch("progress", "Ask for its progress, and print what comes of it on standard error"),
        ],
        examples: &[
            Example {
                line: "rpcpluginctl call kv kv.get '{\"key\": \"colour\"}'",
                what: "Params on the command line",
            },
            Example {
                line: "cat params.json | rpcpluginctl call kv kv.put - --timeout 2m --json",
                what: "Params from a file, two minutes to answer, and the whole answer with its metadata",
            },
            Example {
                line: "rpcpluginctl call --capability kv kv.get '{\"key\": \"colour\"}' --idempotent",
                what: "Whichever plugin serves kv, and again if it is just being replaced",
            },
        ],
        ..about_one(
            "call",
            "Call a method of a plugin and print its result",
            "Prints the plugin's result: laid out on a terminal, on one line elsewhere. With --json it \
             stands in an object beside the plugin's id, its generation and the duration, and progress is one object \
             {\"progress\": VALUE} a line.",
        )
    },
    Command {
        positionals: ONE_OR_ALL,
        flags: &[ID_FLAG],
        ..plain("capabilities", "Show what a plugin, or every plugin, says it can do")
    },
    Command {
        positionals: &[
            Positional { name: "PROGRAM", required: true, flag: None, help: "The plugin's executable" },
            Positional {
                name: "ARG...",
                required: false,
                flag: None,
                help: "Its arguments; '--' stands before those that begin with a dash",
            },
        ],
        flags: &[
            Flag::with_value("env", "NAME=VALUE", "Set a variable for it").repeated(),
            Flag::with_value("id", "ID", "What it is called; without it, the name of its file"),
            Flag::with_value("pass-env", "NAME", "Let a variable of this environment through to it")
                .repeated(),
            Flag::with_value("transport", "WORD", "How it is reached: unix, fd or stdio").default("unix"),
        ],
        details: "Runs the plugin in this folder with a host of its own, whose private temporary runtime folder is \
                  removed at the end, and needs no daemon. Prints what happens to it and what it prints, as it \
                  comes. Each line of standard input calls a method: METHOD [JSON]; 'help', 'capabilities', \
                  'status', 'restart' and 'quit' are no methods. Result or error stand there with the time it \
                  took; --timeout is the deadline of each. End of input, 'quit' and Ctrl-C end the plugin \
                  as an operator would. With --json, one object a line, each with a 'type'. The exit code is 0; \
                  where standard input is no terminal, it is that of the first line that failed.",
        examples: &[
            Example {
                line: "rpcpluginctl dev target/debug/echo",
                what: "Try a plugin that was just built; 'restart' takes it anew when it was built again",
            },
            Example {
                line: "echo 'echo {\"message\": \"hello\"}' | rpcpluginctl dev target/debug/echo --json",
                what: "A script of calls",
            },
        ],
        ..plain("dev", "Run one plugin in the foreground, and call it line by line")
    },
    Command {
        flags: &[Flag::with_value("message", "TEXT", "What to send").required(), ID_FLAG],
        examples: &[Example {
            line: "rpcpluginctl echo echo --message 'hello there'",
            what: "Is the plugin 'echo' there?",
        }],
        ..about_one(
            "echo",
            "Call the method echo of a plugin and print the message that comes back",
            "The same as: call ID echo '{\"message\": TEXT}'.",
        )
    },
    about_one("heartbeat", "Ask a plugin now how it is", ""),
    HELP_COMMAND,
    Command {
        details: "Without an ID, the events of the only plugin. Reads the files in the runtime folder, rotated \
                  ones too, so the daemon need not run. Prints the newest ones, the oldest of them first. Lines \
                  that are not records, and damaged parts of packed files, are skipped and told on standard \
                  error. Where numbers are missing, a line says so. With --json or --format json, \
                  one record a line, as it was written; with --summary and --verify, one document. With \
                  --follow, --timeout says how long; without it, until interrupted.",
        positionals: &[Positional {
            required: false,
            help: "The plugin; may be left out if there is only one",
            ..ID_ARGUMENT
        }],
        flags: &[
            Flag::switch("all", "All plugins and the daemon itself, in the order of time"),
            Flag::with_value("component", "NAME", "Only what this component says; any of several").repeated(),
            Flag::switch("daemon", "Only the daemon's own events"),
            Flag::with_value("event", "NAME", "Only events of this kind; any of several").repeated(),
            Flag::switch("follow", "Go on and print events as they come").short('f'),
            Flag::with_value("format", "FORMAT", "How to print: text or json, which is the same as --json")
                .default("text"),
            Flag::with_value("level", "LEVEL", "Only this level and above: debug, info, warn or error"),
            Flag::with_value(
                "limit",
                "N",
                "Print the newest N events; at most 100000, which with --since is the default",
            )
            .short('n')
            .default(LIMIT_DEFAULT),
            Flag::with_value("method", "NAME", "Only what is about this method; any of several").repeated(),
            ID_FLAG,
            Flag::switch("reverse", "Print the newest first").short('r'),
            Flag::with_value(
                "since",
                "TIME",
                "Only from then on: 15m ago is 15m; or a time such as 2026-01-31T12:00:00Z",
            ),
            Flag::with_value(
                "source",
                "SOURCE",
                "Whose record: kernel is the daemon's of the plugin, plugin is the plugin's own",
            )
            .default("kernel"),
            Flag::switch("summary", "Count events, and what is missing or corrupt"),
            Flag::with_value("until", "TIME", "Only up to then, written like --since"),
            Flag::switch(
                "verify",
                "Check the hash chain of every line, and name the first that does not fit",
            ),
        ],
        examples: &[
            Example {
                line: "rpcpluginctl logs echo -n 10",
                what: "The last ten events of the plugin 'echo'",
            },
            Example {
                line: "rpcpluginctl logs --all --since 15m --level warn",
                what: "What went wrong anywhere in the last quarter of an hour",
            },
            Example {
                line: "rpcpluginctl logs --all --follow --json | grep '\"error\"'",
                what: "What goes wrong from now on, for a program",
            },
            Example {
                line: "rpcpluginctl logs --all --verify",
                what: "Was the record tampered with? Exit code 8 says so",
            },
        ],
        ..plain("logs", "Print recorded events")
    },
    about_one("plugin", "Show all that is known about a plugin", ""),
    plain("plugins", "List the plugins"),
    Command {
        examples: &[Example {
            line: "rpcpluginctl restart echo --timeout 10s",
            what: "A new generation, proved and healthy within ten seconds",
        }],
        ..about_one(
            "restart",
            "Replace a plugin's process by a new generation and wait until it is healthy",
            WAITS,
        )
    },
    Command {
        details: "One row for each plugin that serves a capability (mode direct-plugin-id), and one for the plugin that a \
                  call by the capability would go to now (mode capability), where there is one.",
        ..plain("routes", "Show which plugin serves which capability, and whether it can")
    },
    plain("shutdown", "End the daemon and all its plugins"),
    about_one("start", "Start a plugin, also one that was given up, and wait until it is healthy", WAITS),
    plain("status", "Show how the daemon is"),
    about_one("stop", "Stop a plugin and wait until its process has ended", WAITS),
    plain("version", "Print the version of this program and of its protocol"),
    Command {
        flags: &[
            Flag::with_value(
                "for",
                "STATE",
                "The state to wait for: stopped, starting, healthy, degraded, overloaded, unhealthy, \
                 stopping, backoff or failed",
            )
            .required(),
            ID_FLAG,
        ],
        examples: &[Example {
            line: "rpcpluginctl wait echo --for healthy --timeout 1m",
            what: "In a script, before the first call",
        }],
        ..about_one("wait", "Wait until a plugin is in a state", "")
    },
];

const WAITS: &str = "With --timeout 0 it does not wait, and prints the state at once.";

/// How many events `logs` prints unless told otherwise.
pub(super) const LIMIT_DEFAULT: &str = "50";

/// How long to wait unless told otherwise.
pub(super) const TIMEOUT_DEFAULT: &str = "30s";

/// The table.
pub static PROGRAM: Program = Program {
    name: "rpcpluginctl",
    version: env!("CARGO_PKG_VERSION"),
    summary: "Looks at the plugins of a running rpcplugind, and acts on them",
    groups: &[FlagGroup {
        title: "Flags",
        flags: &[
            HELP_FLAG,
            Flag::switch("json", "Print one JSON document, as the daemon answered; errors as JSON as well"),
            Flag::switch("no-color", "No colour; colour is for terminals only anyway").variable("NO_COLOR"),
            runtime_dir::FLAG,
            Flag::with_value("timeout", "T", "How long to wait at most, such as 200ms, 30s or 15m")
                .default(TIMEOUT_DEFAULT),
            VERSION_FLAG,
        ],
    }],
    commands: COMMANDS,
    command_required: true,
    examples: &[
        Example { line: "rpcpluginctl plugins", what: "How are they?" },
        Example { line: "rpcpluginctl plugin echo", what: "What is wrong with the plugin 'echo'?" },
    ],
    sections: &[
        Section { title: "Exit codes", rows: MEANINGS },
        Section {
            title: "Output",
            rows: &[
                ("text", "For people; control characters of plugins are escaped as \\xNN or \\u{NNNN}"),
                ("--json", "One JSON document on standard output; 'logs' prints one record a line"),
                (
                    "errors",
                    "On standard error; with --json as {\"error\":{\"name\",\"message\",\"exit_code\", and \
                     \"code\", \"data\", \"hint\" where there are any}}",
                ),
            ],
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing;
    use rpc_plugin_wire::admin::DEADLINE_MS_DEFAULT;
    use rpc_plugin_wire::life::PluginState;

    #[test]
    fn the_table_is_sound() {
        assert_eq!(PROGRAM.problems(), Vec::<String>::new());
    }

    #[test]
    fn what_the_help_repeats_from_elsewhere_is_right() {
        let wait = PROGRAM.help(PROGRAM.command("wait")).split_whitespace().collect::<Vec<_>>().join(" ");
        let names: Vec<&str> = PluginState::ALL.iter().map(|state| state.as_str()).collect();
        let (last, others) = names.split_last().unwrap();
        assert!(wait.contains(&format!("{} or {last}", others.join(", "))), "{wait}");
        let default = humantime::parse_duration(TIMEOUT_DEFAULT).unwrap();
        assert_eq!(default.as_millis(), u128::from(DEADLINE_MS_DEFAULT));
    }

    #[test]
    fn the_manual_is_made_from_the_table() {
        testing::hold_page("docs/rpcpluginctl.md", &PROGRAM.manual(), "ctl::table");
    }
}
