//! Every command and flag of `rpcpluginctl`. Help, parser and `docs/rpcpluginctl.md` are made from it.

use super::exit::MEANINGS;
use crate::cli::{
    Command, Example, Flag, FlagGroup, HELP_COMMAND, HELP_FLAG, Positional, Program, Section, VERSION_FLAG,
    runtime_dir,
};

pub(super) const ID: &str = "ID";
/// The argument of `logs`, which takes several.
pub(super) const IDS: &str = "ID...";
pub(super) const METHOD: &str = "METHOD";
pub(super) const JSON: &str = "JSON";
/// The argument of `package`, which is an installed one's or a folder's name.
#[cfg(feature = "package")]
pub(super) const PACKAGE: &str = "ID|FOLDER";
/// The argument of what changes an installed package.
#[cfg(feature = "package")]
pub(super) const VERSIONED: &str = "ID[@VERSION]";
/// The argument of `install`.
#[cfg(feature = "package")]
pub(super) const SOURCE: &str = "FOLDER|FILE|-";
/// The flags of `install`, and of what changes an installed package.
#[cfg(feature = "package")]
pub(super) const DOWNGRADE: &str = "downgrade";
#[cfg(feature = "package")]
pub(super) const NO_ROLLBACK: &str = "no-rollback";
#[cfg(feature = "package")]
pub(super) const SHA256: &str = "sha256";
#[cfg(feature = "package")]
pub(super) const UNSIGNED: &str = "unsigned";
/// The flag of `approve`.
#[cfg(feature = "package")]
pub(super) const NEW_PUBLISHER: &str = "new-publisher";
#[cfg(feature = "package")]
pub(super) const DATA: &str = "data";
#[cfg(feature = "package")]
pub(super) const OFF: &str = "off";
/// Its flag that names the key that has to have signed it.
#[cfg(feature = "package")]
pub(super) const KEY: &str = "key";
/// The flag that names a socket in place of the runtime folder's, and its variable.
pub(super) const ADMIN_SOCKET: &str = "admin-socket";
pub(super) const ADMIN_SOCKET_VARIABLE: &str = "RPC_PLUGIN_SYSTEM_ADMIN_SOCKET";
/// The flags of `call` that name files.
pub(super) const INPUT: &str = "input";
pub(super) const OUTPUT: &str = "output";
/// The flag of `start`, `stop` and `restart` that stands for every plugin.
pub(super) const ALL: &str = "all";
/// The flag of `stop` that takes those along that need the plugin.
pub(super) const WITH_DEPENDENTS: &str = "with-dependents";
/// The flag of `shutdown` that does without waiting.
pub(super) const NO_WAIT: &str = "no-wait";

const ID_FLAG: Flag = Flag::with_value("plugin-id", "ID", "The plugin");
const ID_ARGUMENT: Positional =
    Positional { name: ID, required: true, flag: Some("plugin-id"), help: "The plugin" };
const ONE: &[Positional] = &[ID_ARGUMENT];
const ONE_OR_ALL: &[Positional] =
    &[Positional { required: false, help: "The plugin; without it, every plugin", ..ID_ARGUMENT }];

const ALL_FLAG: Flag = Flag::switch(ALL, "In place of ID: every plugin").replaces(ID);
const SOME: &[Positional] = &[Positional {
    help: "The plugin; or a pattern of ids, in which '*' and '?' stand for others",
    ..ID_ARGUMENT
}];

/// A command with no argument of its own.
const fn plain(name: &'static str, summary: &'static str) -> Command {
    Command { name, summary, details: "", positionals: &[], flags: &[], examples: &[] }
}

/// A command about one plugin.
const fn about_one(name: &'static str, summary: &'static str, details: &'static str) -> Command {
    Command { name, summary, details, positionals: ONE, flags: &[ID_FLAG], examples: &[] }
}

/// The argument of commands about one installed package.
#[cfg(feature = "package")]
const VERSIONED_ARGUMENT: Positional = Positional {
    name: VERSIONED,
    required: true,
    flag: None,
    help: "The package, and maybe a stored version of it",
};

const COMMANDS: &[Command] = &[
    #[cfg(feature = "package")]
    super::package_switches::ACKNOWLEDGE,
    #[cfg(feature = "package")]
    Command {
        positionals: &[Positional { name: ID, required: true, flag: None, help: "The package" }],
        flags: &[Flag::switch(NEW_PUBLISHER, "That its next install may be signed by another key, or by none")],
        details: "An id is bound to the publisher of its first install: to the key that signed it, or to nobody. The approval holds \
                  for one install. The new publisher gets neither the data nor the user of the one before. A key that is not \
                  trusted is not by this.",
        ..plain("approve", "Let a package be replaced by one of another publisher")
    },
    Command {
        positionals: &[
            ID_ARGUMENT,
            Positional { name: METHOD, required: true, flag: None, help: "The method to call" },
            Positional {
                name: JSON,
                required: false,
                flag: None,
                help: "The params of the call, a JSON object; '-' reads them from standard input",
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
                "The plugin may execute the call more than once: repeat it within the timeout when it could not \
                 be sent, or when the plugin was lost during it",
            ),
            Flag::with_value(
                INPUT,
                "FILE",
                "Pass the bytes of this file to the method, in the place that JSON names; '-' is standard input",
            ),
            Flag::with_value(
                OUTPUT,
                "FILE",
                "Write the stream or blob of the result into this file; '-' is standard output",
            ),
            ID_FLAG,
            Flag::switch("progress", "Ask for progress of the call, and print each value on standard error"),
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
                what: "Any plugin that serves kv; the call is repeated if that plugin is being replaced",
            },
            Example {
                line: "rpcpluginctl call files files.fetch '{\"name\": \"report\"}' --output report.pdf",
                what: "A stream or blob of the result into a file",
            },
            Example {
                line: "tar c . | rpcpluginctl call fs files.upload '{\"name\":\"a\",\"content\":{\"$stream\":\"input\"}}' --input -",
                what: "Standard input as a stream of the params",
            },
        ],
        ..about_one(
            "call",
            "Call a method of a plugin and print its result",
            "Prints the plugin's result: indented on a terminal, on one line elsewhere. With --json the result \
             is in an object with the plugin's id, its generation and the duration, and each progress value is one \
             object {\"progress\": VALUE} on a line of its own. JSON names the place of --input where the method takes \
             it: {\"$stream\": \"input\"} or {\"$blob\": \"input\"}, and {\"$stream\": \"output\"} where it writes into a \
             stream of its params rather than of its result. With --output - the result goes to standard error. What was \
             written before a failure stays. --timeout bounds the call, and each pause of a stream. Ctrl+C cancels the call.",
        )
    },
    Command {
        positionals: ONE_OR_ALL,
        flags: &[ID_FLAG],
        ..plain("capabilities", "Show the capabilities that a plugin, or every plugin, has declared")
    },
    Command {
        positionals: &[Positional {
            name: "WORD...",
            required: false,
            flag: None,
            help: "What the shell adds: the program, the word at the cursor and the one before",
        }],
        details: "For the completion of a shell, which sets COMP_LINE and COMP_POINT: commands, flags, states, and from the \
                  daemon the ids of plugins and the methods that they describe. Prints one candidate a line, and nothing where \
                  the daemon does not answer within a second. Turned on in bash by: complete -o default -C \
                  'rpcpluginctl complete --' rpcpluginctl",
        ..plain("complete", "Print what completes a command line, for shells")
    },
    Command {
        positionals: &[
            Positional { name: "PROGRAM", required: true, flag: None, help: "The plugin's executable" },
            Positional {
                name: "ARG...",
                required: false,
                flag: None,
                help: "Arguments of the plugin; put '--' before the first that begins with a dash",
            },
        ],
        flags: &[
            Flag::with_value("confine", "WORD", "How far the kernel confines the plugin: base or off")
                .default(if cfg!(feature = "confine") { "base" } else { "off" }),
            Flag::with_value("env", "NAME=VALUE", "Set an environment variable for the plugin").repeated(),
            Flag::with_value("id", "ID", "The plugin's id; without it, the name of its file"),
            Flag::with_value("pass-env", "NAME", "Pass this environment variable on to the plugin")
                .repeated(),
            Flag::with_value("transport", "WORD", "How the plugin is connected: unix, fd or stdio").default("unix"),
        ],
        details: "Runs the plugin in the current folder under a host of its own; no daemon is needed. The host's private \
                  temporary runtime folder is removed at the end. The plugin's events and output are printed as they \
                  come. Each line of standard input calls a method: METHOD [JSON]; the words 'help', 'capabilities', \
                  'status', 'restart' and 'quit' are commands of this program instead. Behind a call, --input FILE and --output \
                  FILE stand as in 'rpcpluginctl help call'; '-' shows the output as lines. The result or error of each \
                  call is printed with its duration; --timeout is the deadline of each call. End of input, 'quit' and \
                  Ctrl-C stop the plugin as 'rpcpluginctl stop' does. With --json, each line of output is one object \
                  with a 'type'. The exit code is 0; when standard input is not a terminal, it is that of the first \
                  line that failed.",
        examples: &[
            Example {
                line: "rpcpluginctl dev target/debug/echo",
                what: "Try a plugin that was just built; after the next build, 'restart' runs the new one",
            },
            Example {
                line: "echo 'echo {\"message\": \"hello\"}' | rpcpluginctl dev target/debug/echo --json",
                what: "A script of calls",
            },
        ],
        ..plain("dev", "Run one plugin in the foreground and call it line by line")
    },
    #[cfg(feature = "package")]
    super::package_switches::DISABLE,
    Command {
        flags: &[Flag::with_value("message", "TEXT", "The message to send").required(), ID_FLAG],
        examples: &[Example {
            line: "rpcpluginctl echo echo --message 'hello there'",
            what: "Check that the plugin 'echo' answers",
        }],
        ..about_one(
            "echo",
            "Call the method echo of a plugin and print the message that comes back",
            "The same as: call ID echo '{\"message\": TEXT}'.",
        )
    },
    #[cfg(feature = "package")]
    super::package_switches::ENABLE,
    about_one("heartbeat", "Request a heartbeat from a plugin now and print it", ""),
    HELP_COMMAND,
    #[cfg(feature = "package")]
    Command {
        positionals: &[Positional {
            name: SOURCE,
            required: true,
            flag: None,
            help: "The package's folder, with a plugin.json in it; or its archive, tar or tar with gzip; '-' is standard input",
        }],
        flags: &[
            Flag::switch(DOWNGRADE, "The version may be below the active one"),
            Flag::switch(NO_ROLLBACK, "Stay at this version though it fails"),
            Flag::with_value(SHA256, "HEX", "The SHA-256 that the archive has to have, or in a folder plugin.json"),
            Flag::switch(UNSIGNED, "Take an archive that is not signed and whose SHA-256 is not known"),
        ],
        details: "The daemon is passed the open folder, judges the manifest and its signature, copies every file into its \
                  store, hashing it as it copies, and makes the version the active one. A plugin that runs is restarted as \
                  that version; if it is not healthy in time, or fails too often within its first minute, the version that \
                  was healthy last is launched again. Files that are no longer needed go: at most five versions are kept. \
                  An archive is read and unpacked as this user, into a folder in TMPDIR that goes afterwards; nothing is written \
                  before all of it was checked. Progress is shown on standard error. The daemon goes on with it where this command no longer waits.",
        examples: &[
            Example {
                line: "rpcpluginctl install ./kv --timeout 10m",
                what: "Install or update the plugin whose package is in the folder kv",
            },
            Example {
                line: "curl -sSf URL | rpcpluginctl install - --sha256 HEX",
                what: "The same from an archive, which has to have that digest",
            },
        ],
        ..plain("install", "Install a package, and run its plugin as that version")
    },
    Command {
        details: "Without an ID, the events of the only plugin. Reads the record's files in the runtime folder, rotated \
                  ones too, so the daemon need not run. Prints the newest events, the oldest of them first. Lines \
                  that are not records, and damaged parts of packed files, are skipped; standard error says so. \
                  A gap in the sequence numbers is shown as a line. With --json or --format json, one record a \
                  line, as it was written; with --summary and --verify, one document. With --follow, --timeout \
                  bounds how long; without it, until interrupted.",
        positionals: &[Positional {
            name: IDS,
            required: false,
            help: "The plugin, or several of them; may be left out when there is only one",
            ..ID_ARGUMENT
        }],
        flags: &[
            Flag::switch("all", "Events of all plugins and of the daemon itself, ordered by time"),
            Flag::with_value("component", "NAME", "Only events of this component; with several, of any of them").repeated(),
            Flag::switch("daemon", "Only the daemon's own events"),
            Flag::with_value("event", "NAME", "Only events of this kind; with several, of any of them").repeated(),
            Flag::switch("follow", "Keep running and print events as they come").short('f'),
            Flag::with_value("format", "FORMAT", "Output format: text or json; json is the same as --json")
                .default("text"),
            Flag::with_value("generation", "N", "Only events of this generation; with several, of any of them").repeated(),
            Flag::with_value(
                "grep",
                "TEXT",
                "Only events that say this text, which is no pattern; without capital letters in any case; with several, all of them",
            )
            .repeated(),
            Flag::with_value("level", "LEVEL", "Only events of this level and above: debug, info, warn or error"),
            Flag::with_value(
                "limit",
                "N",
                "Print the newest N events; at most 100000, which with --since is the default",
            )
            .short('n')
            .default(LIMIT_DEFAULT),
            Flag::with_value("method", "NAME", "Only events about this method; with several, about any of them").repeated(),
            Flag::with_value("pid", "PID", "Only events about this process; with several, about any of them").repeated(),
            ID_FLAG.repeated(),
            Flag::switch("reverse", "Print the newest first").short('r'),
            Flag::with_value(
                "since",
                "TIME",
                "Only events since then: a duration before now such as 15m; local time such as 22:00, today, yesterday or \
                 '2026-01-31 22:00'; or a time such as 2026-01-31T12:00:00Z",
            ),
            Flag::with_value(
                "source",
                "SOURCE",
                "Which record: kernel is the daemon's record of the plugin, plugin is the one that the plugin itself writes",
            )
            .default("kernel"),
            Flag::switch("summary", "Count events by kind, and missing or corrupt lines"),
            Flag::with_value("until", "TIME", "Only events up to then, written like --since"),
            Flag::switch(
                "verify",
                "Check the hash chain of every line, and name the first line that does not fit",
            ),
        ],
        examples: &[
            Example {
                line: "rpcpluginctl logs echo -n 10",
                what: "The last ten events of the plugin 'echo'",
            },
            Example {
                line: "rpcpluginctl logs --all --since 15m --level warn",
                what: "Warnings and errors of all plugins and the daemon in the last 15 minutes",
            },
            Example {
                line: "rpcpluginctl logs kv echo --since 22:00 --grep 'no space'",
                what: "Events of two plugins since the last time it was ten in the evening that say so",
            },
            Example {
                line: "rpcpluginctl logs --all --follow --json | grep '\"error\"'",
                what: "Errors from now on, as JSON for another program",
            },
            Example {
                line: "rpcpluginctl logs --all --verify",
                what: "Check whether the record is as it was written: exit code 8 means no",
            },
        ],
        ..plain("logs", "Print recorded events")
    },
    Command {
        positionals: &[
            ID_ARGUMENT,
            Positional {
                name: METHOD,
                required: false,
                flag: None,
                help: "A method to show whole: its documentation and the JSON Schemas of params and result",
            },
        ],
        examples: &[
            Example { line: "rpcpluginctl methods kv", what: "What the plugin 'kv' can be called with" },
            Example { line: "rpcpluginctl methods kv kv.get", what: "All that it says of one method" },
        ],
        ..about_one(
            "methods",
            "List the methods that a plugin describes, or show one of them",
            "The plugin is asked once a generation, after a failure not again for 30 s or more, and loses nothing if it does \
             not answer. Optional params and members have a '?'; streams and blobs go in and out by --input and --output of \
             'call', callbacks need a program with a host. A plugin need not describe its methods; 'capabilities' shows what \
             each has declared. With --json, the description as the plugin gave it.",
        )
    },
    #[cfg(feature = "package")]
    Command {
        positionals: &[Positional {
            name: PACKAGE,
            required: true,
            flag: None,
            help: "An installed package; or a package's folder, with a '/' in its name or in the current folder",
        }],
        details: "Of an installed package: which versions are stored, which of them is active, who published it, and what \
                  happened to it that nobody has acknowledged yet. Of a folder: asks no daemon, executes nothing and trusts nothing: it reads the manifest and compares every file with \
                  the SHA-256 that the manifest lists. What is wrong is told all at once, each with its line or file, \
                  and the exit code is 1. A signature is checked where --key names the key that has to have made it.",
        flags: &[Flag::with_value(
            KEY,
            "KEY",
            "Check that this key of minisign signed the package: the key, or a file with it such as minisign.pub",
        )],
        examples: &[
            Example {
                line: "rpcpluginctl package ./kv",
                what: "See what a package is and asks for, before anything of it runs",
            },
            Example {
                line: "rpcpluginctl package ./kv --key minisign.pub",
                what: "The same, and whether that key signed it",
            },
            Example { line: "rpcpluginctl package kv", what: "Which versions of the package 'kv' are installed" },
        ],
        ..plain("package", "Show an installed package, or a package's folder and whether it is as its manifest says")
    },
    #[cfg(feature = "package")]
    Command {
        details: "Those that were installed, and those that were found in the folders of 'plugins_dirs': what runs, what does \
                  not and why, and the files that have changed on disk since a package was imported.",
        ..plain("packages", "List the packages")
    },
    #[cfg(feature = "package")]
    Command {
        positionals: &[VERSIONED_ARGUMENT],
        flags: &[Flag::switch(OFF, "Let the package go on from the version that it is pinned to")],
        examples: &[
            Example { line: "rpcpluginctl pin kv@1.2.0", what: "Use the stored version 1.2.0, and stay at it" },
            Example { line: "rpcpluginctl pin kv --off", what: "Take other versions again" },
        ],
        details: "Without a VERSION, the active one. While a package is pinned no other version is installed or gone back to. \
                  Of two stored packages of one version, '@' and the first digits of a digest say which: kv@1.2.0@4f3c.",
        ..plain("pin", "Keep a package at a stored version, which becomes the active one")
    },
    about_one("plugin", "Show everything about one plugin", ""),
    plain("plugins", "List the plugins"),
    #[cfg(feature = "package")]
    Command {
        positionals: &[VERSIONED_ARGUMENT],
        flags: &[Flag::switch(
            DATA,
            "Remove what its plugin keeps as well, and what is remembered of the package, such as its publisher",
        )],
        details: "Without a VERSION, all versions, and the plugin is stopped and given up. What it keeps stays unless --data is \
                  given. The active version alone cannot be removed.",
        ..plain("remove", "Remove a package, or one stored version of it")
    },
    #[cfg(feature = "package")]
    plain("rescan", "Look at the folders of 'plugins_dirs' anew, and list the packages"),
    Command {
        positionals: &[Positional {
            required: false,
            help: "The plugin, or a pattern of ids; may be left out when the daemon has only one",
            ..ID_ARGUMENT
        }],
        flags: &[ALL_FLAG, ID_FLAG],
        examples: &[
            Example {
                line: "rpcpluginctl restart echo --timeout 10s",
                what: "Wait at most ten seconds until the new generation is healthy",
            },
            Example {
                line: "rpcpluginctl restart 'kv-*'",
                what: "Restart each plugin whose id begins so, one after the other",
            },
        ],
        ..about_one(
            "restart",
            "Replace a plugin's process with a new generation and wait until it is healthy",
            WAITS_UP,
        )
    },
    #[cfg(feature = "package")]
    Command {
        positionals: &[Positional { name: ID, required: true, flag: None, help: "The package" }],
        flags: &[Flag::switch(
            DOWNGRADE,
            "Go back though the active version says that the one before could not do with its data",
        )],
        details: "A plugin that runs is restarted. What it keeps stays as it is. Not below the 'minimum' of the configuration, \
                  and not while the package is pinned.",
        ..plain("rollback", "Go back to the version of a package that was active before")
    },
    Command {
        details: "One row for each plugin that serves a capability (mode direct-plugin-id), and one for the plugin that a \
                  call by capability would go to now (mode capability), if there is one.",
        ..plain("routes", "Show which plugin serves which capability, and whether it takes calls now")
    },
    Command {
        flags: &[Flag::switch(NO_WAIT, "Only ask the daemon to end; do not wait until it has")],
        details: "Waits until the daemon has ended, at most --timeout, and tells on standard error which plugins it \
                  waits for. Another daemon can be started in the same runtime folder then. Meanwhile 'status' says \
                  that it is ending, and why.",
        ..plain("shutdown", "Stop the daemon and all its plugins")
    },
    Command {
        positionals: SOME,
        flags: &[ALL_FLAG, ID_FLAG],
        ..about_one("start", "Start a plugin that is stopped or failed, and wait until it is healthy", WAITS_UP)
    },
    plain("status", "Show the daemon's status"),
    Command {
        positionals: SOME,
        flags: &[
            ALL_FLAG,
            ID_FLAG,
            Flag::switch(
                WITH_DEPENDENTS,
                "Stop the plugins that are started after it first, and wait for them too",
            ),
        ],
        ..about_one(
            "stop",
            "Stop a plugin and wait until its process has ended",
            "Is refused while plugins run that are started after it ('after' in the configuration). It stays stopped until it is \
             started again or the daemon is: that does not last, and 'disable' of a package does. No call starts it meanwhile, also where it is started on demand. With --timeout 0 \
             it prints the state at once and does not wait. Of several plugins, by a pattern or --all, each has a line, and \
             the exit code is that of the first, by id, that failed; --all includes --with-dependents.",
        )
    },
    plain("version", "Print the version of this program and of its protocol"),
    Command {
        flags: &[
            Flag::with_value(
                "for",
                "STATE",
                "The state to wait for: stopped, waiting, starting, healthy, degraded, overloaded, unhealthy, \
                 stopping, backoff or failed",
            )
            .required(),
            ID_FLAG,
        ],
        examples: &[Example {
            line: "rpcpluginctl wait echo --for healthy --timeout 1m",
            what: "In a script, wait for the plugin before the first call",
        }],
        ..about_one(
            "wait",
            "Wait until a plugin is in a state",
            "Ends at once, with the cause, when the plugin is failed and that is not the state to wait for.",
        )
    },
];

const WAITS_UP: &str = "With --timeout 0 it prints the state at once and does not wait. Otherwise it ends at once, with the \
                        cause, when the plugin is failed, and waits while it is being tried again. Of several plugins, by \
                        a pattern or --all, each has a line, and the exit code is that of the first, by id, that failed.";

/// How many events `logs` prints unless told otherwise.
pub(super) const LIMIT_DEFAULT: &str = "50";

/// How long to wait unless told otherwise.
pub(super) const TIMEOUT_DEFAULT: &str = "30s";

/// The table.
pub static PROGRAM: Program = Program {
    name: "rpcpluginctl",
    version: env!("CARGO_PKG_VERSION"),
    summary: "Inspect, call and control the plugins of a running rpcplugind",
    groups: &[FlagGroup {
        title: "Flags",
        flags: &[
            Flag::with_value(
                ADMIN_SOCKET,
                "PATH",
                "The daemon's socket for the members of its admin group; without it, the one in its runtime folder",
            )
            .variable(ADMIN_SOCKET_VARIABLE),
            HELP_FLAG,
            Flag::switch("json", "Print the daemon's answer as one JSON document; errors are JSON too"),
            Flag::switch("no-color", "Do not colour the output; without it, only terminals get colour")
                .variable("NO_COLOR"),
            runtime_dir::FLAG,
            Flag::with_value("timeout", "T", "Longest time to wait, such as 200ms, 30s or 15m")
                .default(TIMEOUT_DEFAULT),
            VERSION_FLAG,
        ],
    }],
    commands: COMMANDS,
    command_required: true,
    examples: &[
        Example { line: "rpcpluginctl plugins", what: "List all plugins and their states" },
        Example { line: "rpcpluginctl plugin echo", what: "Find out what is wrong with the plugin 'echo'" },
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
#[path = "table_tests.rs"]
mod tests;
