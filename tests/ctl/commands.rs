//! Every command of the control client against a fake daemon: what it asks, what it prints as text and
//! as JSON. How it fails is in `ctl_failures.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use crate::fixtures::ctl::{Asked, FakeDaemon, Reply, Run, plugin_json};
use rpc_plugin_system::cli::Ask;
use rpc_plugin_system::ctl::{Exit, PROGRAM};
use std::io::{self, Write};

struct Case {
    words: &'static [&'static str],
    method: &'static str,
    params: &'static str,
    deadline_ms: u64,
    result: String,
    text: &'static str,
}

const STATUS: &str = concat!(
    r#"{"version":"0.1.0","pid":17,"uptime_ms":90061000,"runtime_dir":"/run/rpcplugind","plugins":3,"#,
    r#""routable":2,"failed":1,"calls_in_flight":4,"calls_total":5,"clients":1,"events_dropped":0}"#
);

const CALL: &str = r#"{"plugin_id":"echo","generation":3,"result":{"b":1.50,"a":[]},"duration_us":412}"#;

fn case(
    words: &'static [&'static str],
    method: &'static str,
    params: &'static str,
    result: &str,
    text: &'static str,
) -> Case {
    Case { words, method, params, deadline_ms: 30_000, result: result.to_owned(), text }
}

fn cases() -> Vec<Case> {
    looking().into_iter().chain(acting()).chain(packages()).collect()
}

fn looking() -> Vec<Case> {
    let plugins = format!(r#"{{"plugins":[{},{}]}}"#, plugin_json("echo", "healthy"), STOPPED);
    let echo = plugin_json("echo", "healthy");
    let counts =
        r#""calls_to_repeat":2,"services_running":1,"services_waiting":3,"draining":true,"calls_total""#;
    let draining = STATUS.replace("\"calls_total\"", counts);
    vec![
        case(&["status"], "admin.status", "", &draining, DRAINING_TEXT),
        case(&["status"], "admin.status", "", STATUS, STATUS_TEXT),
        case(&["plugins"], "admin.plugins", "", &plugins, PLUGINS_TEXT),
        case(&["plugin", "echo"], "admin.plugin", ECHO, &echo, PLUGIN_TEXT),
        case(&["plugin", "--plugin-id", "echo"], "admin.plugin", ECHO, &echo, PLUGIN_TEXT),
        case(
            &["capabilities"],
            "admin.plugins",
            "",
            &plugins,
            "ID    STATE    VERSION  CAPABILITIES\necho  healthy  1.0.0    echo, sleep\noff   stopped  -        -\n",
        ),
        case(
            &["capabilities", "echo"],
            "admin.plugin",
            ECHO,
            &echo,
            "ID    STATE    VERSION  CAPABILITIES\necho  healthy  1.0.0    echo, sleep\n",
        ),
        case(
            &["routes"],
            "admin.routes",
            "",
            r#"{"routes":[{"capability":"echo","plugin_id":"e","mode":"direct-plugin-id","health":"backoff","generation":null}]}"#,
            "CAPABILITY  PLUGIN  MODE              HEALTH   GEN\necho        e       direct-plugin-id  backoff  -\n",
        ),
        case(
            &["methods", "echo"],
            "admin.describe",
            ECHO,
            r#"{"plugin_id":"echo","generation":3,"methods":[{"name":"echo","docs":"Gives it back.","later":1}]}"#,
            "METHOD  PARAMS  RESULT  DOCS\necho    any     any     Gives it back.\n",
        ),
        case(
            &["heartbeat", "echo"],
            "admin.heartbeat",
            ECHO,
            r#"{"plugin_id":"echo","generation":3,"heartbeat":{"status":"degraded","uptime_ms":5000,"last_success_unix_ms":99999999999999999},"duration_us":412}"#,
            HEARTBEAT_TEXT,
        ),
        case(&["shutdown"], "admin.shutdown", "", "{}", "the daemon has ended\n"),
        case(&["shutdown", "--no-wait"], "admin.shutdown", "", "{}", "the daemon is ending\n"),
    ]
}

fn acting() -> Vec<Case> {
    let echo = plugin_json("echo", "healthy");
    let waited = |words, method, params, result: &str, text| Case {
        deadline_ms: 30_500,
        ..case(words, method, params, result, text)
    };
    vec![
        waited(&["call", "echo", "kv.get"], "admin.call", CALL_BARE, CALL, "{\"b\":1.50,\"a\":[]}\n"),
        waited(
            &["call", "echo", "kv.get", r#"{ "k" : 1.0 }"#],
            "admin.call",
            r#"{"plugin_id":"echo","method":"kv.get","params":{ "k" : 1.0 },"timeout_ms":30000}"#,
            CALL,
            "{\"b\":1.50,\"a\":[]}\n",
        ),
        waited(
            &["echo", "echo", "--message", "-x \u{1b}[1m"],
            "admin.call",
            r#"{"plugin_id":"echo","method":"echo","params":{"message":"-x \u001b[1m"},"timeout_ms":30000}"#,
            r#"{"plugin_id":"echo","generation":3,"result":{"message":"-x \u001b[1m","more":1},"duration_us":4}"#,
            "-x \\x1b[1m\n",
        ),
        waited(&["restart", "echo"], "admin.restart", ACT, &echo, ACT_TEXT),
        waited(&["start", "echo"], "admin.start", ACT, &echo, ACT_TEXT),
        waited(&["stop", "off"], "admin.stop", ACT_OFF, STOPPED, "off: stopped\n"),
        waited(
            &["wait", "echo", "--for", "healthy"],
            "admin.wait",
            r#"{"plugin_id":"echo","state":"healthy","timeout_ms":30000}"#,
            &echo,
            ACT_TEXT,
        ),
        Case {
            deadline_ms: 500,
            ..case(
                &["start", "echo", "--timeout", "0"],
                "admin.start",
                r#"{"plugin_id":"echo","timeout_ms":0}"#,
                &echo,
                ACT_TEXT,
            )
        },
    ]
}

const PACKAGES: &str = concat!(
    r#"{"packages":[{"plugin_id":"kv","version":"1.0.0","type":"store","source":"plugins_dir","folder":"/p/kv","state":"changed","#,
    r#""publisher":"key 1A","verified":"signature","reason":"changed on disk","changed":["#,
    r#"{"path":"bin/kv","old":"0123456789abcdef","new":"fedcba9876543210"},{"path":"new\u001b","new":"ab"}]},"#,
    r#"{"source":"plugins_dir","folder":"/p/broken","state":"invalid","reason":"no"},"#,
    r#"{"plugin_id":"x","version":"2.0.0","source":"store","state":"active"}],"problems":["folder /q does not exist"],"#,
    r#""unsettled":true}"#
);

const PACKAGES_TEXT: &str = "\
ID  VERSION  TYPE   STATE    PUBLISHER  FOUND IN   REASON
kv  1.0.0    store  changed  key 1A     /p/kv      changed on disk
-   -        -      invalid  -          /p/broken  no
x   2.0.0    -      active   -          store      -
kv: bin/kv changed on disk: 0123456789ab -> fedcba987654
kv: new\\x1b changed on disk: none -> ab
folder /q does not exist
folders have changed that are not looked at yet
";

fn packages() -> Vec<Case> {
    vec![
        case(&["packages"], "admin.packages", "", PACKAGES, PACKAGES_TEXT),
        case(
            &["rescan"],
            "admin.rescan",
            "",
            r#"{"packages":[]}"#,
            "ID  VERSION  TYPE  STATE  PUBLISHER  FOUND IN  REASON\n",
        ),
        case(
            &["install", "/", "--downgrade", "--no-rollback", "--sha256", "ab"],
            "admin.install",
            r#"{"source":"/","sha256":"ab","downgrade":true,"unsigned":true,"no_rollback":true}"#,
            ACTIVATED,
            ACTIVATED_TEXT,
        ),
        case(
            &["package", "echo"],
            "admin.package",
            ECHO,
            concat!(
                r#"{"plugin_id":"echo","version":"2.0.0","source":"store","state":"active","publisher":"key 1A","#,
                r#""verified":"signature","note":"went back \u001b","data":"/var/lib/rpcplugind/data/echo","#,
                r#""versions":[{"version":"1.0.0@ab","is":["before","healthy"]},{"version":"2.0.0@cd"}],"asks_for":["x"]}"#
            ),
            PACKAGE_TEXT,
        ),
        case(
            &["pin", "echo@1.0.0"],
            "admin.pin",
            r#"{"plugin_id":"echo","version":"1.0.0"}"#,
            r#"{"plugin_id":"echo","version":"1.0.0@ab","before":"1.0.0@ab","plugin":"not running"}"#,
            "echo: pinned, 1.0.0@ab is active, as before; not running\n",
        ),
        case(
            &["pin", "echo", "--off"],
            "admin.pin",
            r#"{"plugin_id":"echo","off":true}"#,
            r#"{"plugin_id":"echo","version":"1.0.0@ab"}"#,
            "echo: unpinned, 1.0.0@ab is active\n",
        ),
        case(
            &["remove", "echo", "--data"],
            "admin.remove",
            r#"{"plugin_id":"echo","data":true}"#,
            r#"{"plugin_id":"echo","removed":["2.0.0@cd","1.0.0@ab"],"data":true}"#,
            "echo: removed 2.0.0@cd, 1.0.0@ab, with its data\n",
        ),
        case(
            &["rollback", "echo", "--downgrade"],
            "admin.rollback",
            r#"{"plugin_id":"echo","downgrade":true}"#,
            r#"{"plugin_id":"echo","version":"1.0.0@ab","before":"2.0.0@cd"}"#,
            "echo: went back, 1.0.0@ab is active, before it 2.0.0@cd\n",
        ),
        case(&["acknowledge", "echo"], "admin.acknowledge", ECHO, "{}", "echo: acknowledged\n"),
        case(
            &["disable", "echo"],
            "admin.disable",
            ECHO,
            r#"{"plugin":"its plugin is not running"}"#,
            "echo: disabled, its plugin is not running\n",
        ),
        case(
            &["enable", "echo"],
            "admin.enable",
            ECHO,
            r#"{"plugin":"its plugin is started"}"#,
            "echo: enabled, its plugin is started\n",
        ),
        case(
            &["approve", "echo", "--new-publisher"],
            "admin.approve_publisher",
            ECHO,
            "{}",
            "echo: the next install may be of another publisher, who gets nothing of the one before\n",
        ),
    ]
}

const ACTIVATED: &str = concat!(
    r#"{"plugin_id":"echo","version":"2.0.0@cd","before":"1.0.0@ab","on_trial":true,"publisher":"key 1A","#,
    r#""verified":"signature","plugin":"restarted"}"#
);
const ACTIVATED_TEXT: &str = "echo: installed, 2.0.0@cd is active, before it 1.0.0@ab, key 1A (signature); restarted; \
                              on trial until it was healthy for a minute\n";
const PACKAGE_TEXT: &str = "\
id         echo
version    2.0.0
publisher  key 1A
verified   signature
data       /var/lib/rpcplugind/data/echo
note       went back \\x1b
stored     1.0.0@ab  before, healthy
stored     2.0.0@cd
asks for   x
";
const ECHO: &str = r#"{"plugin_id":"echo"}"#;
const ACT: &str = r#"{"plugin_id":"echo","timeout_ms":30000}"#;
const ACT_OFF: &str = r#"{"plugin_id":"off","timeout_ms":30000}"#;
const ACT_TEXT: &str = "echo: healthy, generation 3, pid 4711\n";
const CALL_BARE: &str = r#"{"plugin_id":"echo","method":"kv.get","timeout_ms":30000}"#;
const STOPPED: &str = concat!(
    r#"{"plugin_id":"off","state":"stopped","desired":"down","generation":null,"pid":null,"executable":"/x","#,
    r#""version":null,"sdk":null,"capabilities":[],"uptime_ms":null,"restarts":0,"next_launch_ms":null,"#,
    r#""calls_in_flight":0,"calls_total":0,"calls_failed":0,"late_answers":0,"heartbeat":null,"#,
    r#""heartbeat_age_ms":null,"heartbeats_missed":0,"last_error":"exited with status 1 after a while, "#,
    r#"\u001b[2J which is more than the table shows"}"#
);
const PLUGINS_TEXT: &str = "\
ID    STATE    DESIRED  GEN  PID   UPTIME  RESTARTS  CALLS  LAST ERROR
echo  healthy  up       3    4711  3m12s   2         40     -
off   stopped  down     -    -     -       0         0      exited with status 1 after a while, \\x1b[2J which is more than the table shows
";
const STATUS_TEXT: &str = "\
state           running
version         0.1.0
pid             17
uptime          1d1h
runtime folder  /run/rpcplugind
plugins         3
routable        2
failed          1
calls           5, 4 in flight
clients         1
events dropped  0
";
const DRAINING_TEXT: &str = "\
state           running, takes no more calls
version         0.1.0
pid             17
uptime          1d1h
runtime folder  /run/rpcplugind
plugins         3
routable        2
failed          1
calls           5, 4 in flight, 2 to be repeated, 1 at services, 3 waiting for services
clients         1
events dropped  0
";
const PLUGIN_TEXT: &str = "\
id                 echo
state              healthy
desired            up
generation         3
pid                4711
uptime             3m12s
executable         /opt/echo
version            1.0.0
sdk                rust/0.1.0
capabilities       echo, sleep
interfaces         -
restarts           2
next launch        -
calls              40, 5 failed, 1 in flight, 6 answered late
heartbeat          healthy
own uptime         3m11s
work done          34
own errors         0
last success       1970-01-01T00:00:01.000Z
heartbeat age      850ms
heartbeats missed  0
last error         -
last exit          exit status 3, generation 2, 3m13s ago
last words         cannot open database | giving up
";
const HEARTBEAT_TEXT: &str = "\
id            echo
generation    3
heartbeat     degraded
own uptime    5s
work done     0
own errors    0
last success  99999999999999999 ms after 1970
answered in   412us
";

#[test]
fn every_command_asks_and_prints_as_it_should() {
    for case in cases() {
        let daemon = FakeDaemon::new(Reply::Result(case.result.clone()));
        let text = daemon.run(case.words);
        assert_eq!((text.exit, &*text.stderr), (Exit::Ok, ""), "{:?}", case.words);
        assert_eq!(text.stdout, case.text, "{:?}", case.words);
        let json = daemon.run(&[&["--json"], case.words].concat());
        assert_eq!((json.exit, &*json.stderr), (Exit::Ok, ""), "{:?}", case.words);
        assert_eq!(json.stdout, format!("{}\n", case.result), "{:?}", case.words);
        let asked = Asked {
            method: case.method.to_owned(),
            params: case.params.to_owned(),
            deadline_ms: Some(case.deadline_ms),
        };
        assert_eq!(daemon.asked(), [asked.clone(), asked], "{:?}", case.words);
    }
}

#[test]
fn every_command_of_the_table_is_built_in_and_tested() {
    let tested: Vec<&str> = cases().iter().map(|case| case.words[0]).collect();
    for command in PROGRAM.commands {
        let is_local = ["complete", "dev", "help", "logs", "package", "version"].contains(&command.name);
        assert!(is_local || tested.contains(&command.name), "{}", command.name);
    }
}

#[test]
fn params_come_from_standard_input_and_results_are_laid_out_for_terminals() {
    let daemon = FakeDaemon::new(Reply::Result(CALL.to_owned()));
    let run = Run { stdin: b"{\"k\":\n1}\n", is_terminal: true, ..Run::new(&daemon.folder.0) };
    let ran = run.run(&["call", "--plugin-id", "echo", "kv.get", "-"]);
    assert_eq!((ran.exit, &*ran.stdout), (Exit::Ok, "{\n  \"b\": 1.50,\n  \"a\": []\n}\n"));
    let sent = r#"{"plugin_id":"echo","method":"kv.get","params":{"k": 1},"timeout_ms":30000}"#;
    assert_eq!(daemon.asked()[0].params, sent);
}

#[test]
fn no_control_character_reaches_the_terminal() {
    // C1, DEL and bidirectional controls may stand in JSON strings as they are.
    let evil = "\u{9b}2J\u{7f}\u{202e}\\u001b[2J";
    let plugin = plugin_json("echo", "healthy").replace("/opt/echo", evil).replace("1.0.0", evil);
    let safe = |text: &str| text.chars().all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}'));
    let escaped = "\\x9b2J\\x7f\\u{202e}\\x1b[2J";
    let daemon = FakeDaemon::new(Reply::Result(plugin.clone()));
    for words in [&["plugin", "echo"][..], &["capabilities", "echo"]] {
        let text = daemon.run(words);
        assert!(safe(&text.stdout) && text.stdout.contains(escaped), "{}", text.stdout);
    }
    let json = daemon.run(&["plugin", "echo", "--json"]);
    assert!(safe(&json.stdout), "{}", json.stdout);
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&json.stdout), value(&plugin));
    let reply =
        format!(r#"{{"plugin_id":"echo","generation":3,"result":{{"message":"{evil}"}},"duration_us":4}}"#);
    let daemon = FakeDaemon::new(Reply::Result(reply));
    for is_terminal in [false, true] {
        let run = Run { is_terminal, ..Run::new(&daemon.folder.0) };
        for words in [&["call", "echo", "x"][..], &["echo", "echo", "--message", "x"]] {
            let ran = run.run(words);
            assert!(ran.exit == Exit::Ok && safe(&ran.stdout), "{}", ran.stdout);
        }
    }
}

#[test]
fn the_table_of_plugins_fills_the_terminal_and_keeps_the_cause() {
    let error = "5 restarts within 60s, which is the most; the last failure: the process ended before it connected \
                 (exit status 1); its last words on stderr: ModuleNotFoundError: No module named 'nope'";
    let plugin = STOPPED
        .replace("exited with status 1 after a while, \\u001b[2J which is more than the table shows", error);
    let daemon = FakeDaemon::new(Reply::Result(format!("{{\"plugins\":[{plugin}]}}")));
    let at = |columns| {
        let text = Run { columns, ..Run::new(&daemon.folder.0) }.run(&["plugins"]).stdout;
        text.lines().nth(1).unwrap().to_owned()
    };
    assert!(at(None).ends_with(error) && at(Some(400)).ends_with(error));
    for columns in [100, 140, 200] {
        let line = at(Some(columns));
        assert!(line.chars().count() <= columns, "{columns}: {line}");
        assert!(line.contains("...") && line.ends_with("No module named 'nope'"), "{columns}: {line}");
    }
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    let daemon = FakeDaemon::new(Reply::Result(plugin_json("echo", "failed")));
    type Variables = &'static [(&'static str, &'static str)];
    let table: [(Variables, &[&str], bool, bool); 5] = [
        (&[("TERM", "xterm")], &["plugin", "echo"], true, true),
        (&[("TERM", "xterm")], &["plugin", "echo"], false, false),
        (&[("TERM", "dumb")], &["plugin", "echo"], true, false),
        (&[("NO_COLOR", "1")], &["plugin", "echo"], true, false),
        (&[], &["plugin", "echo", "--no-color"], true, false),
    ];
    for (variables, words, is_terminal, coloured) in table {
        let ran = Run { variables, is_terminal, ..Run::new(&daemon.folder.0) }.run(words);
        assert_eq!(ran.stdout.contains("\x1b[31mfailed\x1b[0m"), coloured, "{variables:?} {words:?}");
        assert_eq!(ran.stdout.contains('\x1b'), coloured, "{variables:?} {words:?}");
    }
}

/// Fails every write.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is_one() {
    let daemon = FakeDaemon::new(Reply::Result(STATUS.to_owned()));
    for words in [&["status"][..], &["status", "--json"], &["help"], &["version"]] {
        let run = Run::new(&daemon.folder.0);
        let gone = run.run_into(words, &mut Broken(io::ErrorKind::BrokenPipe));
        assert_eq!(gone, (Exit::Ok, String::new()));
        let (exit, stderr) = run.run_into(words, &mut Broken(io::ErrorKind::StorageFull));
        assert_eq!(exit, Exit::Failed);
        assert!(stderr.contains("cannot write to standard output"), "{stderr}");
    }
}

#[test]
fn help_and_version_need_no_daemon_and_have_json() {
    let run = Run::new(std::path::Path::new("/nonexistent"));
    for command in PROGRAM.commands {
        let ran = run.run(&["help", command.name]);
        assert_eq!((ran.exit, &*ran.stderr), (Exit::Ok, ""));
        assert_eq!(ran.stdout, run.run(&[command.name, "--help"]).stdout);
        assert!(ran.stdout.contains(command.summary));
        let json: serde_json::Value =
            serde_json::from_str(&run.run(&["help", command.name, "--json"]).stdout).unwrap();
        assert_eq!(json["name"], command.name);
        assert!(run.run(&["help"]).stdout.contains(&format!("  {} ", command.name)));
    }
    let json: serde_json::Value = serde_json::from_str(&run.run(&["--json", "--help"]).stdout).unwrap();
    assert_eq!(json["commands"].as_array().unwrap().len(), PROGRAM.commands.len());
    let version = format!("rpcpluginctl {} (protocol 1)\n", env!("CARGO_PKG_VERSION"));
    for words in [["version"], ["--version"], ["-V"]] {
        assert_eq!(run.run(&words).stdout, version);
    }
    let json: serde_json::Value = serde_json::from_str(&run.run(&["version", "--json"]).stdout).unwrap();
    assert_eq!(json["protocol"], 1);
    assert!(matches!(PROGRAM.parse(["-h".into()]).unwrap().ask, Ask::Help(None)));
}
