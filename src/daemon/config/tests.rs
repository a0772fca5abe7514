//! How a configuration comes together from file, flags and environment, and how errors add up.

use super::load::{FILE_BYTES_MAX, parse};
use super::plugin::plugin_of_flag;
use super::settings::Limits;
use super::*;
use crate::state::config_error::ERRORS_MAX;
use crate::state::policy::{Policy, RestartPolicy};
use crate::state::start_mode::StartMode;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) fn load_with(
    text: Option<&str>,
    flags: &FlagValues,
    env: &[(&str, &str)],
    is_root: bool,
) -> Result<Config, String> {
    let lookup = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
    let sources = Sources { file: None, flags, environment: &lookup, is_root };
    parse(text.map(|text| (Path::new("c.json"), text)), &sources).map_err(|errors| errors.to_string())
}

pub(super) fn load(text: &str) -> Result<Config, String> {
    load_with(Some(text), &FlagValues::default(), &[], true)
}

fn flags(settings: &[(&str, &str)], plugins: &[&str]) -> FlagValues {
    FlagValues {
        runtime_dir: None,
        settings: settings.iter().map(|(flag, value)| ((*flag).into(), (*value).into())).collect(),
        plugins: plugins.iter().map(|text| (*text).to_owned()).collect(),
        ..FlagValues::default()
    }
}

/// A file with one plugin, `echo`, whose object begins on line 3 with `executable`; `members` begin
/// on line 4.
pub(super) fn plugin(members: &str) -> String {
    format!("{{\n\"plugins\": {{\n\"echo\": {{\"executable\": \"/bin/echo\",\n{members}}}}}}}")
}

#[test]
fn all_errors_are_told_up_to_a_bound_and_the_rest_is_counted() {
    let text = "{\n\"defaults\": {\"restart\": 1, \"heartbeat_timeout\": \"3s\"}, \"zzz\": 1,\n\"plugins\": {\n\
                \"a\": {\"executable\": \"x\", \"args\": 1},\n\"b\": {\"autostart\": 0}}}";
    let error = load(text).unwrap_err();
    let lines: Vec<&str> = error.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(lines, ["c.json:2", "c.json:2", "c.json:4", "c.json:4", "c.json:5", "c.json:5"], "{error}");

    let both = "{\"defaults\": {\"heartbeat_timeout\": \"3s\", \"backoff_max\": \"1ms\"}}";
    assert_eq!(load(both).unwrap_err().lines().count(), 2, "both contradictions");

    let many: String = (0..50).map(|n| format!("\"k{n}\": 1,\n")).collect();
    let error = load(&format!("{{{}}}", many.trim_end_matches(",\n"))).unwrap_err();
    assert_eq!(error.lines().count(), ERRORS_MAX + 1, "{error}");
    assert!(error.ends_with("and 30 more errors"), "{error}");
}

#[test]
fn no_error_and_no_debug_output_shows_a_variables_value() {
    for value in ["\"hunter2\\u0000\"", "[\"hunter2\"]", "\"hunter2\\ud800\"", "{\"hunter2\": 1}"] {
        let error = load(&plugin(&format!("\"env\": {{\"PASSWORD\": {value}}}"))).unwrap_err();
        assert!(error.contains("plugins.echo.env.PASSWORD") && !error.contains("hunter2"), "{error}");
    }
    let config = load(&plugin("\"env\": {\"PASSWORD\": \"hunter2\"}")).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!to_json(&config, EnvValues::Hidden).contains("hunter2"));
    assert!(to_json(&config, EnvValues::Shown).contains("hunter2"));
}

const GOOD: &str = r#"{
  "plugins": {
    "kv": {"executable": "/usr/lib/kv", "heartbeat_interval": "1m", "autostart": false,
           "interfaces": {"kv": [1, 2]}, "may_call": ["log", "*"], "may_call_capabilities": ["mail"],
           "frame_bytes_max": 65536, "outbox_bytes_max": "1MiB"},
    "echo": {"executable": "/usr/lib/echo", "args": ["-v", "é\n"], "env": {"A": "1", "B": ""},
             "pass_env": ["PATH"], "working_dir": "/srv", "restart": "on-failure"}
  },
  "defaults": {"heartbeat_interval": "10s", "call_timeout": "1h 30m", "restarts_max": 3},
  "admin_clients_max": 5,
  "starting_max": 12,
  "runtime_dir": "/run/x"
}"#;

#[test]
fn a_good_file_means_what_it_says() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.runtime_dir, PathBuf::from("/run/x"));
    assert_eq!(config.limits, Limits { admin_clients_max: 5, starting_max: Some(12), ..Limits::default() });
    let defaults = Policy {
        heartbeat_interval: Duration::from_secs(10),
        call_timeout: Duration::from_secs(5400),
        restarts_max: 3,
        ..Policy::default()
    };
    assert_eq!(config.defaults, defaults);
    let [kv_entry, echo_entry] = &config.plugins[..] else { panic!("two plugins") };
    let (kv, echo) = (&kv_entry.config, &echo_entry.config);
    let own = Policy {
        heartbeat_interval: Duration::from_secs(60),
        frame_bytes_max: 65536,
        outbox_bytes_max: 1 << 20,
        ..defaults.clone()
    };
    assert_eq!((kv.id.as_str(), &kv.policy, kv_entry.starts_with_daemon()), ("kv", &own, false));
    assert_eq!(kv.interfaces["kv"], [1, 2]);
    assert_eq!(
        (kv.may_call.plugins.join(","), kv.may_call.capabilities.join(",")),
        ("log,*".into(), "mail".into())
    );
    assert_eq!(echo.policy, Policy { restart: RestartPolicy::OnFailure, ..defaults });
    assert_eq!((&*echo.args[1], &*echo.pass_env[0]), ("é\n".as_ref(), "PATH".as_ref()));
    assert_eq!(echo.env, [("A".into(), "1".into()), ("B".into(), "".into())]);
    assert_eq!((echo.working_folder.clone(), echo_entry.starts_with_daemon()), ("/srv".into(), true));
    assert_eq!(load("{}").unwrap().defaults, Policy::default());
    assert_eq!(load("{\"starting_max\": \"auto\"}").unwrap().limits, Limits::default());
}

#[test]
fn a_configuration_that_is_shown_reads_back_the_same() {
    let mut config = load(GOOD).unwrap();
    config.plugins.sort_by(|a, b| a.config.id.cmp(&b.config.id));
    assert_eq!(load(&to_json(&config, EnvValues::Shown)).unwrap(), config);
}

#[test]
fn flags_go_over_the_defaults_and_under_a_plugins_own() {
    let flags = flags(
        &[("heartbeat-interval", "30s"), ("heartbeat-interval", "20s"), ("event-queue-max", "99")],
        &["x=/bin/x"],
    );
    let config = load_with(Some(GOOD), &flags, &[], true).unwrap();
    let seconds: Vec<u64> =
        config.plugins.iter().map(|p| p.config.policy.heartbeat_interval.as_secs()).collect();
    assert_eq!((seconds, config.limits.event_queue_max), (vec![60, 20, 20], 99));
    assert_eq!(config.plugins[2].config.executable, PathBuf::from("/bin/x"));
}

#[test]
fn wrong_flags_are_told_by_their_name() {
    let pack = "{\n\"log\": {\n\"compress\": true}}";
    let both = [("log-files-max", "2"), ("log-compress", "true")];
    for (flagged, place) in [(&both[..1], "--log-files-max: with "), (&both[..], "--log-compress: with ")] {
        let error = load_with(Some(pack), &flags(flagged, &[]), &[], true).unwrap_err();
        assert!(error.starts_with(place), "{error}");
    }
    /// Flags of settings, values of `--plugin`, what the error says.
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a str);
    let table: [Row<'_>; 12] = [
        (&[("heartbeat-interval", "5")], &[], "--heartbeat-interval: \"5\": time unit needed"),
        (
            &[("restarts-max", "x")],
            &[],
            "--restarts-max: \"x\" is not a whole number; allowed: a whole number, 0 to 1000",
        ),
        (
            &[("admin-clients-max", "0")],
            &[],
            "--admin-clients-max: 0 is too small; allowed: a whole number, 1 to 1024",
        ),
        (&[("nonsense", "0")], &[], "--nonsense: \"nonsense\" is no setting"),
        (
            &[("heartbeat-timeout", "30s")],
            &[],
            "--heartbeat-timeout: 30s is longer than heartbeat_interval (10s)",
        ),
        (
            &[("heartbeat-interval", "10ms")],
            &[],
            "--heartbeat-interval: with it, heartbeat_timeout: 1s is longer than",
        ),
        (
            &[("frame-bytes-max", "2MiB"), ("outbox-bytes-max", "1MiB")],
            &[],
            "--outbox-bytes-max: 1048576 does not hold one frame",
        ),
        (&[], &["echo"], "--plugin \"echo\": \"echo\" has no '='; allowed: ID=PATH"),
        (&[], &["=/x"], "--plugin \"=/x\": plugin id \"\" is empty"),
        (&[], &["a="], "the path is empty"),
        (
            &[],
            &["kv=/x"],
            "--plugin \"kv=/x\": plugin kv is configured already, at c.json:3; allowed: each plugin id once",
        ),
        (&[], &["a=/x", "a=/y"], "--plugin \"a=/y\": plugin a is configured already, at an earlier --plugin"),
    ];
    for (settings, plugins, expected) in table {
        let error = load_with(Some(GOOD), &flags(settings, plugins), &[], true).unwrap_err();
        assert!(error.contains(expected), "{error}\n expected {expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    for relative in ["x", "./x", "../x/y"] {
        let found = plugin_of_flag(&format!("a={relative}"), &Policy::default()).unwrap().config.executable;
        assert_eq!(found, std::path::absolute(relative).unwrap());
    }
    let error = plugin_of_flag("a=", &Policy::default()).unwrap_err();
    assert_eq!(error, ("the path is empty".to_owned(), "ID=PATH".to_owned()));
    assert_eq!(
        plugin_of_flag("a=/x=y", &Policy::default()).unwrap().config.executable,
        PathBuf::from("/x=y")
    );
}

#[test]
fn the_file_and_a_flag_that_contradict_are_told_at_the_plugin() {
    let text = plugin("\"heartbeat_timeout\": \"1500ms\"");
    let error = load_with(Some(&text), &flags(&[("heartbeat-interval", "1s")], &[]), &[], true).unwrap_err();
    // The flag contradicts the default of heartbeat_timeout only from below 1s on, the plugin's from 1.5s.
    assert!(error.starts_with("c.json:4: key \"plugins.echo.heartbeat_timeout\": 1.5s is longer"), "{error}");
}

#[test]
fn an_admin_group_is_a_group_and_a_socket() {
    let of = |text: &str, flag: Option<&str>| {
        let flags = FlagValues { admin_group: flag.map(str::to_owned), ..FlagValues::default() };
        let config = load_with(Some(text), &flags, &[], true)?;
        assert_eq!(load(&to_json(&config, EnvValues::Shown)).unwrap().admin_group, config.admin_group);
        Ok(config.admin_group.map(|named| (named.group, named.socket.display().to_string())))
    };
    let file = r#"{"admin_group": {"group": "ops", "socket": "/run/ops/a.sock"}}"#;
    let named = |group: &str, socket: &str| Ok::<_, String>(Some((group.to_owned(), socket.to_owned())));
    assert_eq!(of("{}", None), Ok(None));
    assert_eq!(of(file, None), named("ops", "/run/ops/a.sock"));
    assert_eq!(of(file, Some("100=/x/y")), named("100", "/x/y"));
    for (file, flag, expected) in [
        (r#"{"admin_group": {"group": "ops"}}"#, None, "lacks group or socket"),
        (r#"{"admin_group": {"group": "", "socket": "/x"}}"#, None, "is no group"),
        (r#"{"admin_group": {"group": "ops", "socket": "x"}}"#, None, "an absolute path"),
        (r#"{"admin_group": {"group": "ops", "socket": "/x", "mode": 1}}"#, None, "unknown key"),
        ("{}", Some("ops"), "--admin-group \"ops\": names no group and socket"),
        ("{}", Some("ops=x"), "--admin-group"),
    ] {
        let error = of(file, flag).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    let long = format!("ops=/{}", "x".repeat(200));
    assert!(of("{}", Some(&long)).unwrap_err().contains("a socket address holds 107"));
}

#[test]
fn the_runtime_folder_is_what_is_told_first() {
    let env = [
        ("RPC_PLUGIN_SYSTEM_RUNTIME_DIR", "/own"),
        ("RUNTIME_DIRECTORY", "/sd:/other"),
        ("XDG_RUNTIME_DIR", "/xdg"),
    ];
    let dir = |text: &str, flag: Option<&str>, env: &[(&str, &str)], is_root| {
        let flags = FlagValues { runtime_dir: flag.map(PathBuf::from), ..FlagValues::default() };
        load_with(Some(text), &flags, env, is_root).map(|config| config.runtime_dir.display().to_string())
    };
    let file = "{\"runtime_dir\": \"/file\"}";
    assert_eq!(dir(file, Some("/flag"), &env, true).unwrap(), "/flag");
    assert_eq!(dir(file, None, &env, true).unwrap(), "/file");
    assert_eq!(dir("{}", None, &env, true).unwrap(), "/own");
    assert_eq!(dir("{}", None, &env[1..], true).unwrap(), "/sd");
    assert_eq!(dir("{}", None, &env[2..], true).unwrap(), "/run/rpcplugind");
    assert_eq!(dir("{}", None, &env[2..], false).unwrap(), "/xdg/rpcplugind");
    assert_eq!(dir("{}", None, &[("RUNTIME_DIRECTORY", "")], true).unwrap(), "/run/rpcplugind");
    let here = std::env::current_dir().unwrap().join("r").display().to_string();
    assert_eq!(dir("{}", Some("r"), &[], true).unwrap(), here);

    assert!(
        dir("{}", None, &[], false)
            .unwrap_err()
            .contains("nothing names it, and XDG_RUNTIME_DIR is not set; allowed: --runtime-dir DIR")
    );
    assert!(
        dir("{}", None, &[("RUNTIME_DIRECTORY", "r")], true)
            .unwrap_err()
            .contains("RUNTIME_DIRECTORY: \"r\" is relative")
    );
    assert!(dir("{}", Some(""), &env, true).unwrap_err().contains("--runtime-dir: is empty; allowed: "));
}

#[test]
fn a_file_that_cannot_be_read_is_told_by_its_name() {
    let folder = std::env::temp_dir().join(format!("rps-config-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    // Whatever the umask is.
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chmod(&folder, 0o700);
    let path = folder.join("c.json");
    let load = |path: &Path| {
        let sources = Sources {
            file: Some(path),
            flags: &FlagValues::default(),
            environment: &|_| None,
            is_root: true,
        };
        super::load(&sources).map_err(|errors| errors.to_string())
    };
    let error = load(&path).unwrap_err();
    assert!(error.contains("c.json: cannot be read: No such file"), "{error}");
    std::fs::write(&path, b"{\n\n\"\xff\": 1}").unwrap();
    chmod(&path, 0o600);
    assert!(load(&path).unwrap_err().contains("c.json:3: is not UTF-8"));
    std::fs::write(&path, vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(load(&path).unwrap_err().contains("c.json: is too large; allowed: at most 4194304 bytes"));
    std::fs::write(&path, GOOD).unwrap();
    assert_eq!(load(&path).unwrap().plugins.len(), 2);
    assert!(load(&folder).unwrap_err().contains("is no regular file"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let folder = std::env::temp_dir().join(format!("rps-config-{:016x}", fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let chmod = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let path = folder.join("c.json");
    std::fs::write(&path, GOOD).unwrap();
    for (of_file, of_folder, named) in
        [(0o666, 0o755, "run `chmod go-w "), (0o646, 0o755, "c.json`"), (0o644, 0o777, "is shared with")]
    {
        chmod(&path, of_file);
        chmod(&folder, of_folder);
        let (flags, environment) = (FlagValues::default(), |_: &str| None);
        let sources = Sources { file: Some(&path), flags: &flags, environment: &environment, is_root: true };
        let error = super::load(&sources).unwrap_err().to_string();
        assert!(
            error.contains("c.json: is not obeyed: ") && error.contains("can be changed by other users"),
            "{error}"
        );
        assert!(error.contains(named), "{error}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_environment_is_bare_where_the_file_says_so() {
    let is_bare =
        |settings: &str| load(&plugin(settings)).map(|config| config.plugins[0].config.has_bare_env);
    assert!(is_bare("\"bare_env\": true").unwrap() && !is_bare("\"bare_env\": false").unwrap());
    assert!(!is_bare("\"autostart\": true").unwrap());
    let error = is_bare("\"bare_env\": \"yes\"").unwrap_err();
    assert!(error.contains("plugins.echo.bare_env"), "{error}");
}

#[test]
fn when_a_plugin_is_started_and_stopped_is_read_checked_and_shown() {
    let read = |settings: &str| load(&plugin(settings)).map(|config| config.plugins[0].config.clone());
    let starts = [
        ("\"autostart\": true", StartMode::Auto),
        ("\"autostart\": false", StartMode::Manual),
        ("\"start\": \"on-demand\"", StartMode::OnDemand),
        ("\"start\": \"manual\"", StartMode::Manual),
        ("\"args\": []", StartMode::Auto),
    ];
    for (settings, start) in starts {
        assert_eq!(read(settings).unwrap().start, start, "{settings}");
    }
    let full = "\"start\": \"on-demand\", \"after\": [\"db\", \"cache\"], \"idle_stop\": \"5m\"";
    let config = load(&plugin(full)).unwrap();
    let idle = config.plugins[0].config.idle_stop;
    assert_eq!((config.plugins[0].config.after.len(), idle), (2, Some(Duration::from_secs(300))));
    let shown = super::to_json(&config, EnvValues::Shown);
    assert_eq!(load(&shown).unwrap(), config, "{shown}");

    let refused = [
        ("\"start\": \"auto\", \"autostart\": true", "stands beside \"start\""),
        ("\"start\": \"later\"", "allowed: \"auto\", \"on-demand\", \"manual\""),
        ("\"idle_stop\": \"5m\"", "only a plugin that the next call starts again"),
        ("\"start\": \"on-demand\", \"idle_stop\": \"1ms\"", "allowed: 1s to 1day"),
        ("\"after\": [\"echo\"]", "is the plugin itself"),
        ("\"after\": [\"db\", \"db\"]", "db is listed twice"),
        ("\"after\": [\"a b\"]", "plugin id \"a b\""),
    ];
    for (settings, problem) in refused {
        let error = read(settings).unwrap_err().to_string();
        assert!(error.contains(problem), "{settings}: {error}");
    }
    let of =
        |id: &str, after: &str| format!("\"{id}\": {{\"executable\": \"/x\", \"after\": [\"{after}\"]}}");
    let circle = format!("{{\"plugins\": {{{}, {}, {}}}}}", of("a", "b"), of("b", "c"), of("c", "a"));
    let error = load(&circle).unwrap_err().to_string();
    assert!(error.contains("plugins.a") && error.contains("a after b after c after a"), "{error}");
    assert_eq!(error.matches("started after itself").count(), 1, "{error}");
}

#[test]
fn a_digest_is_read_and_shown() {
    let digest = "0".repeat(64);
    let named = load(&plugin(&format!("\"sha256\": \"{digest}\""))).unwrap();
    assert_eq!(named.plugins[0].config.sha256.as_deref(), Some(&*digest));
    let listed = load(&plugin("\"sha256_file\": \"/opt/SHA256SUMS\"")).unwrap();
    assert_eq!(listed.plugins[0].config.sha256_file.as_deref(), Some(Path::new("/opt/SHA256SUMS")));
    for (config, shown) in [
        (named, format!("\"sha256\": \"{digest}\"")),
        (listed, "\"sha256_file\": \"/opt/SHA256SUMS\"".to_owned()),
    ] {
        let text = to_json(&config, EnvValues::Hidden);
        assert!(text.contains(&shown), "{text}");
        assert_eq!(load(&to_json(&config, EnvValues::Shown)).unwrap(), config);
    }
}

#[test]
fn a_large_file_full_of_errors_is_read_quickly() {
    let keys: String = (0..150_000).map(|n| format!("\"k{n}\": 1,\"k{n}\":2,\n")).collect();
    let text = format!("{{{}}}", keys.trim_end_matches(",\n"));
    assert!(text.len() as u64 <= FILE_BYTES_MAX);
    // No time is measured: were each error's line counted, this would not end within minutes.
    assert!(load(&text).unwrap_err().contains("and 299980 more errors"));
}

#[test]
fn the_documentation_has_every_key_and_its_examples_are_good_configurations() {
    let doc = crate::cli::testing::page("docs/configuration.md");
    let mut examples = 0;
    for block in doc.split("```json\n").skip(1) {
        let text = block.split("```").next().unwrap();
        load(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        examples += 1;
    }
    assert_eq!(examples, 7);
    let keys = ["runtime_dir", "defaults", "plugins"].into_iter().chain(super::packages::KEYS);
    for key in keys.chain(super::plugin::KEYS) {
        assert!(doc.contains(&format!("| `{key}` | ")), "docs/configuration.md lacks {key}");
    }
}
