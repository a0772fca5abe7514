//! Sinks and packing in configurations: what is taken, what is refused and how, and that it is shown as it was read.

use super::show::{EnvValues, to_json};
use super::tests::{load, load_with};
use super::types::{Config, FlagValues};
use crate::eventlog::sinks::{CommandLine, Prefix, SINKS_MAX, SinkTarget, SyslogFormat};
use crate::host::LogSink;
use rpc_plugin_wire::event::Level;
use std::time::Duration;

fn log(members: &str) -> Result<Config, String> {
    load(&format!("{{\"plugins\": {{\"taker\": {{\"executable\": \"/x\"}}}}, \"log\": {{\n{members}}}}}"))
}

fn flagged(flags: &[&str]) -> Result<Config, String> {
    let log_sinks = flags.iter().map(|text| (*text).to_owned()).collect();
    let plugins = vec!["taker=/x".to_owned()];
    load_with(None, &FlagValues { log_sinks, plugins, ..FlagValues::default() }, &[], true)
}

const ALL: &str = r#""sinks": [
    {"name": "a", "type": "stderr", "prefix": "always", "level": "debug", "host": false},
    {"name": "b", "type": "syslog", "format": "rfc5424", "batch_max": 7, "timeout": "3s"},
    {"name": "c", "type": "journald", "path": "/x/journal", "backoff_initial": "1s", "backoff_max": "2s"},
    {"name": "d", "type": "unix-datagram", "path": "/x/d", "plugins": ["echo", "kv"]},
    {"name": "e", "type": "unix-stream", "path": "/x/e", "except": ["kv"]},
    {"name": "f", "type": "command", "command": ["/bin/keep", "-x", "y z"]},
    {"name": "g", "type": "plugin", "plugin": "taker"}
], "compress": true"#;

#[test]
fn every_type_is_taken_and_shown_as_it_was_read() {
    let config = log(ALL).unwrap();
    let targets: Vec<&SinkTarget> = config.sinks.iter().map(|sink| &sink.target).collect();
    let command = CommandLine { program: "/bin/keep".into(), args: vec!["-x".into(), "y z".into()] };
    let expected = [
        SinkTarget::Stderr(Prefix::Always),
        SinkTarget::Syslog("/dev/log".into(), SyslogFormat::Rfc5424),
        SinkTarget::Journald("/x/journal".into()),
        SinkTarget::UnixDatagram("/x/d".into()),
        SinkTarget::UnixStream("/x/e".into()),
        SinkTarget::Command(command),
        SinkTarget::Plugin("taker".parse().unwrap()),
    ];
    assert_eq!(targets, expected.iter().collect::<Vec<_>>());
    let [a, b, c, d, e, ..] = &config.sinks[..] else { panic!() };
    assert_eq!((a.options.level, a.options.host, b.options.level), (Level::Debug, false, Level::Info));
    assert_eq!((b.options.batch_max, b.options.timeout), (7, Duration::from_secs(3)));
    assert_eq!(c.options.backoff_max, Duration::from_secs(2));
    assert_eq!((d.options.plugins.as_ref().unwrap().len(), e.options.except.len()), (2, 1));
    assert!(config.log_options().compress && !log("").unwrap().log_options().compress);
    let kinds: Vec<&str> = config.sinks.iter().map(|sink| sink.target.kind()).collect();
    assert_eq!(kinds, SinkTarget::KINDS);
    assert_eq!(load(&to_json(&config, EnvValues::Shown)).unwrap(), config);
}

#[test]
fn what_is_wrong_with_a_sink_is_told_at_its_key() {
    let table = [
        ("\"sinks\": {}", "key \"log.sinks\": is an object; allowed: an array"),
        ("\"sinks\": [{\"type\": \"stderr\"}]", "key \"log.sinks[0].name\": is missing"),
        ("\"sinks\": [{\"name\": \"a\"}]", "key \"log.sinks[0].type\": is missing; allowed: stderr, syslog,"),
        ("\"sinks\": [{\"name\": \"a/b\", \"type\": \"stderr\"}]", "name \"a/b\""),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"udp\"}]", "\"udp\" is no type; allowed: stderr, syslog,"),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"unix-stream\"}]", "sinks[0].path\": is missing"),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"unix-stream\", \"path\": \"x\"}]", "\"x\" is relative"),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\", \"path\": \"/x\"}]", "unknown key"),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\", \"levl\": 1}]", "did you mean \"level\"?"),
        (
            "\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\", \"level\": \"loud\"}]",
            "debug, info, warn, error",
        ),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\", \"batch_max\": 0}]", "1 to 1000"),
        (
            "\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\", \"prefix\": \"x\"}]",
            "one of auto, always, never",
        ),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\", \"plugins\": [\"..\"]}]", "plugin id \"..\""),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"command\"}]", "sinks[0].command\": is missing"),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"command\", \"command\": []}]", "is empty"),
        (
            "\"sinks\": [{\"name\": \"a\", \"type\": \"command\", \"command\": [\"sh\"]}]",
            "\"sh\" is relative",
        ),
        ("\"sinks\": [{\"name\": \"a\", \"type\": \"plugin\"}]", "sinks[0].plugin\": is missing"),
        (
            "\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\", \"backoff_max\": \"1ms\"}]",
            "backoff_initial is longer than backoff_max",
        ),
        (
            "\"sinks\": [{\"name\": \"a\", \"type\": \"stderr\"}, {\"name\": \"a\", \"type\": \"syslog\"}]",
            "key \"log.sinks[1]\": a sink is named \"a\" already; allowed: each name once",
        ),
        (
            "\"sinks\": [{\"name\": \"a\", \"type\": \"plugin\", \"plugin\": \"none\"}]",
            "log.sinks: sink \"a\": there is no plugin \"none\"; allowed: the id of a plugin",
        ),
        ("\"compress\": \"gzip\"", "key \"log.compress\": is a string; allowed: true or false"),
        (
            "\"compress\": [\"/usr/bin/gzip\", \"-c\"]",
            "key \"log.compress\": names a program; rotated files are packed without one now; allowed: true or false: write \"compress\": true",
        ),
        (
            "\"compress\": true, \"files_max\": 2",
            "c.json:2: key \"log.compress\": with files_max 2 there is no room",
        ),
    ];
    for (members, expected) in table {
        let error = log(members).unwrap_err();
        assert!(error.contains(expected), "{members}\n{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    let many: Vec<String> =
        (0..=SINKS_MAX).map(|n| format!("{{\"name\": \"s{n}\", \"type\": \"stderr\"}}")).collect();
    let error = log(&format!("\"sinks\": [{}]", many.join(","))).unwrap_err();
    assert!(error.contains("has 17 elements; allowed: at most 16"), "{error}");
}

#[test]
fn a_flag_names_a_type_and_its_target() {
    let config =
        flagged(&["stderr", "syslog", "unix-stream=/x/s", "command=/bin/keep", "plugin=taker"]).unwrap();
    let expected = vec![
        LogSink::new("stderr", SinkTarget::Stderr(Prefix::Auto)),
        LogSink::new("syslog", SinkTarget::syslog()),
        LogSink::new("unix-stream", SinkTarget::UnixStream("/x/s".into())),
        LogSink::new(
            "command",
            SinkTarget::Command(CommandLine { program: "/bin/keep".into(), args: Vec::new() }),
        ),
        LogSink::new("plugin", SinkTarget::Plugin("taker".parse().unwrap())),
    ];
    assert_eq!(config.sinks, expected);
    for (flags, expected) in [
        (&["udp=1"][..], "--log-sink \"udp=1\": \"udp\" is no type"),
        (&["unix-stream"], "needs a target; allowed: unix-stream=PATH"),
        (&["unix-stream=x"], "is relative"),
        (&["stderr=/x"], "stderr has no target"),
        (&["plugin=a/b"], "plugin id \"a/b\""),
        (&["stderr", "stderr"], "a sink is named \"stderr\" already"),
    ] {
        let error = flagged(flags).unwrap_err();
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
}
