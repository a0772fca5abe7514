//! The parser and the help over a small table that has everything a table can have.

use super::super::{Example, FlagGroup, Positional, Section};
use super::*;
use std::time::Duration;

const PROGRAM: Program = Program {
    name: "prog",
    version: "1.2.3",
    summary: "Does things",
    groups: &[
        FlagGroup {
            title: "Flags",
            flags: &[
                HELP_FLAG,
                Flag::switch("json", "Print JSON").short('j'),
                Flag::with_value("plugin", "ID=PATH", "Adds a plugin").repeated(),
                Flag::with_value("timeout", "T", "How long to wait").default("30s").short('t').variable("T"),
                VERSION_FLAG,
            ],
        },
        FlagGroup { title: "Limits", flags: &[Flag::with_value("calls-max", "N", "Calls at once")] },
    ],
    commands: &[
        Command {
            name: "call",
            summary: "Calls",
            details: "",
            positionals: &[
                Positional { name: "ID", required: true, flag: Some("plugin-id"), help: "The plugin" },
                Positional { name: "METHOD", required: true, flag: None, help: "The method" },
                Positional { name: "JSON", required: false, flag: None, help: "The params" },
            ],
            flags: &[Flag::with_value("plugin-id", "ID", "The plugin")],
            examples: &[Example { line: "prog call echo ping '{\"a\": 1}'", what: "Calls ping" }],
        },
        HELP_COMMAND,
        Command {
            name: "wait",
            summary: "Waits",
            details: "",
            positionals: &[],
            flags: &[Flag::with_value("for", "STATE", "The state").required()],
            examples: &[],
        },
    ],
    command_required: false,
    examples: &[],
    sections: &[Section { title: "Exit codes", rows: &[("0", "Fine")] }],
};
static TABLE: Program = PROGRAM;
static STRICT: Program = Program { command_required: true, ..PROGRAM };
static BARE: Program = Program { commands: &[], ..PROGRAM };

fn parse(program: &'static Program, line: &str) -> Result<Args, UsageError> {
    program.parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn the_table_itself_is_sound() {
    assert_eq!(TABLE.problems(), Vec::<String>::new());
}

#[test]
fn unsound_tables_are_found_out() {
    static UNSORTED: Program = Program {
        groups: &[FlagGroup { title: "F", flags: &[VERSION_FLAG, HELP_FLAG, Flag::switch("Bad", "")] }],
        examples: &[Example { line: "prog --nope", what: "" }],
        ..PROGRAM
    };
    static TWICE: Program = Program {
        groups: &[
            FlagGroup { title: "F", flags: &[HELP_FLAG, VERSION_FLAG] },
            FlagGroup { title: "G", flags: &[Flag::switch("help", "Again").short('V').required()] },
        ],
        commands: &[],
        ..PROGRAM
    };
    let table: [(&'static Program, &[&str]); 2] = [
        (&UNSORTED, &["not sorted", "\"Bad\" is not lower-case", "not a sentence", "unknown flag --nope"]),
        (&TWICE, &["--help is there twice", "short name of --version", "cannot be that"]),
    ];
    for (program, expected) in table {
        let problems = program.problems().join("\n");
        for part in expected {
            assert!(problems.contains(part), "{part} is not in:\n{problems}");
        }
    }
}

#[test]
fn every_place_and_spelling_of_a_flag_is_understood() {
    for line in [
        "--json --timeout 5s call --plugin-id echo ping",
        "call echo ping --timeout=5s -j",
        "-jt5s call echo -- ping",
        "call -t 5s --json -j echo ping",
    ] {
        let args = parse(&TABLE, line).unwrap();
        assert_eq!((args.ask, args.command.map(|command| command.name)), (Ask::Run, Some("call")), "{line}");
        assert!(args.is_set("json") && !args.is_set("JSON"), "{line}");
        assert_eq!(args.text("ID").unwrap(), Some("echo"), "{line}");
        assert_eq!(args.text("METHOD").unwrap(), Some("ping"), "{line}");
        assert_eq!(args.duration("timeout").unwrap(), Some(Duration::from_secs(5)), "{line}");
    }
    let args = parse(&TABLE, "call echo ping -").unwrap();
    assert_eq!(args.text("JSON").unwrap(), Some("-"));
    assert_eq!(parse(&TABLE, "").unwrap().ask, Ask::Run);
}

#[test]
fn long_flags_may_have_one_dash_where_that_is_their_whole_word() {
    for line in [
        "-json -timeout 5s call -plugin-id echo ping",
        "-plugin-id echo -json=true -timeout=5s call ping",
        "--plugin-id=echo call -json ping -t5s",
        "call -jt 5s -plugin-id=echo ping",
    ] {
        let args = parse(&TABLE, line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(args.command.map(|command| command.name), Some("call"), "{line}");
        assert!(args.is_set("json"), "{line}");
        assert_eq!(
            (args.text("ID").unwrap(), args.text("METHOD").unwrap()),
            (Some("echo"), Some("ping")),
            "{line}"
        );
        assert_eq!(args.duration("timeout").unwrap(), Some(Duration::from_secs(5)), "{line}");
    }
    assert!(!parse(&TABLE, "-json=false call a b").unwrap().is_set("json"));
    // A value is a value, and what stands behind `--` is as it is.
    assert_eq!(
        parse(&TABLE, "--timeout -json wait --for x").unwrap().text("timeout").unwrap(),
        Some("-json")
    );
    assert_eq!(parse(&TABLE, "-t -json wait --for x").unwrap().text("timeout").unwrap(), Some("-json"));
    assert_eq!(parse(&TABLE, "call a b -- -json").unwrap().text("JSON").unwrap(), Some("-json"));
    for (line, part) in [
        ("-jsn call a b", "unknown flag -s"),
        ("-plugin-id echo wait --for x", "--plugin-id belongs to 'call', and the command is 'wait'"),
        ("-plugin-id a -plugin-id b call c", "--plugin-id is given more than once"),
        ("-json=maybe call a b", "--json takes no value"),
    ] {
        let error = parse(&TABLE, line).unwrap_err().to_string();
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn values_are_read_as_their_types() {
    let args = parse(&TABLE, "--plugin a=/x --plugin b=/y=z --calls-max 7 --timeout 0").unwrap();
    let pairs = args.pairs("plugin").unwrap();
    assert_eq!(pairs, [("a", "/x".as_ref()), ("b", "/y=z".as_ref())]);
    assert_eq!(args.all("plugin").count(), 2);
    assert_eq!(args.parse::<usize>("calls-max").unwrap(), Some(7));
    assert_eq!(args.duration("timeout").unwrap(), Some(Duration::ZERO));
    assert_eq!(
        args.given().map(|(name, _)| name).collect::<Vec<_>>(),
        ["plugin", "plugin", "calls-max", "timeout"]
    );
    let args = parse(&TABLE, "--plugin nope --calls-max x\x1b --timeout 5").unwrap();
    assert_eq!(args.pairs("plugin").unwrap_err().message, "--plugin \"nope\": it has no '='");
    let number = args.parse::<usize>("calls-max").unwrap_err().message;
    assert_eq!(number, "--calls-max \"x\\x1b\": invalid digit found in string");
    assert!(args.duration("timeout").unwrap_err().message.contains("time unit needed"));
    let args = parse(&TABLE, "--plugin =x").unwrap();
    assert!(args.pairs("plugin").unwrap_err().message.contains("nothing stands before"));
    use std::os::unix::ffi::OsStringExt;
    let words = ["call".into(), OsString::from_vec(vec![b'a', 0xff]), "m".into()];
    let args = TABLE.parse(words).unwrap();
    assert!(args.text("ID").unwrap_err().message.contains("not UTF-8"));
    assert!(args.path("ID").is_some());
}

#[test]
fn mistakes_name_the_word_and_what_was_probably_meant() {
    let table: [(&'static Program, &str, &str); 20] = [
        (&TABLE, "--jsn", "unknown flag --jsn; did you mean --json?"),
        (&TABLE, "--frobnicate", "unknown flag --frobnicate"),
        (&TABLE, "-x", "unknown flag -x"),
        (&TABLE, "--a\x1bb", "unknown flag --a\\x1bb"),
        (&TABLE, "cal", "unknown command \"cal\"; did you mean 'call'?"),
        (&TABLE, "help wiat", "unknown command \"wiat\"; did you mean 'wait'?"),
        (&TABLE, "frobnicate", "unknown command \"frobnicate\""),
        (&TABLE, "--for x", "--for belongs to 'wait'"),
        (&TABLE, "call echo m --for x", "--for belongs to 'wait'"),
        (&TABLE, "wait", "--for STATE is missing"),
        (&TABLE, "call", "'call' lacks its ID"),
        (&TABLE, "call echo", "'call' lacks its METHOD"),
        (&TABLE, "call a b c d", "'call' does not take \"d\""),
        (
            &TABLE,
            "call --plugin-id a b c d",
            "'call' does not take \"d\" (--plugin-id already stands for ID)",
        ),
        (&TABLE, "--timeout 1s --timeout 2s", "--timeout is given more than once"),
        (&TABLE, "--timeout", "--timeout lacks its T"),
        (&TABLE, "--json=x", "--json takes no value, and \"x\" was given"),
        (&STRICT, "--json", "a command is missing"),
        (&BARE, "x", "unexpected argument \"x\""),
        (&TABLE, "wait --for x y", "'wait' does not take \"y\""),
    ];
    for (program, line, expected) in table {
        assert_eq!(parse(program, line).unwrap_err().message, expected, "{line}");
    }
    let error = parse(&TABLE, "wait").unwrap_err();
    assert_eq!(error.to_string(), "--for STATE is missing; 'prog wait --help' shows what it takes");
}

#[test]
fn help_wins_over_mistakes_and_goes_to_the_point() {
    let call = TABLE.command("call");
    let table = [
        ("--help", Ask::Help(None)),
        ("-h call", Ask::Help(call)),
        ("call -h", Ask::Help(call)),
        ("call -h --nope", Ask::Help(call)),
        ("help", Ask::Help(None)),
        ("help call", Ask::Help(call)),
        ("--version", Ask::Version),
        ("call -V", Ask::Version),
    ];
    for (line, ask) in table {
        assert_eq!(parse(&TABLE, line).unwrap().ask, ask, "{line}");
    }
}

#[test]
fn the_help_looks_like_this() {
    let expected = "\
prog 1.2.3
Does things.

Usage: prog [FLAGS] [COMMAND [ARGUMENTS]]

Commands:
  call                  Calls
  help                  Print this help, or the help of one command
  wait                  Waits

Flags:
  -h, --help            Print this help
  -j, --json            Print JSON
      --plugin ID=PATH  Adds a plugin [may be repeated]
  -t, --timeout T       How long to wait [default: 30s; variable: T]
  -V, --version         Print the version

Limits:
      --calls-max N     Calls at once

Exit codes:
  0                     Fine

'prog help COMMAND' says more about one command.
";
    assert_eq!(TABLE.help(None), expected);
    let call = TABLE.help(TABLE.command("call"));
    assert!(call.starts_with("Calls.\n\nUsage: prog call ID METHOD [JSON] [FLAGS]\n"), "{call}");
    assert!(call.contains("The plugin (or --plugin-id in its place)"), "{call}");
    assert!(call.ends_with("Examples:\n  # Calls ping\n  prog call echo ping '{\"a\": 1}'\n"), "{call}");
    assert!(TABLE.manual().contains("## wait\n\n```text\nWaits.\n\nUsage: prog wait --for STATE [FLAGS]\n"));
}
