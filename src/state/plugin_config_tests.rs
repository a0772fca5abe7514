//! Plugins that can be launched as they are described, and those that cannot.

use super::*;
use std::time::Duration;

fn good() -> PluginConfig {
    PluginConfig::new("a".parse().unwrap(), "/bin/a")
}

fn places(config: &PluginConfig) -> Vec<String> {
    config.check().unwrap_err().errors.into_iter().map(|error| error.place).collect()
}

#[test]
fn what_cannot_be_is_refused() {
    good().env("A", "1").arg("x").pass_env("B").interface("kv", &[1]).may_call(["*"]).check().unwrap();
    let mut loose = good();
    loose.policy.heartbeat_misses_max = 0;
    let id = |id: &str| PluginConfig::new(id.parse().unwrap(), "/bin/a");
    let long = |bytes: usize| "x".repeat(bytes);
    let bad = [
        (id("lock"), "id: plugin id \"lock\" is kept for the host's own files (lock)"),
        (id("events.jsonl.1"), "is kept for the host's own files"),
        (PluginConfig::new("a".parse().unwrap(), "bin/a"), "executable: the path \"bin/a\" is relative"),
        (good().working_folder(""), "working_folder: the path is empty; allowed: an absolute path"),
        (
            good().launch_mode(LaunchMode::ByHand).transport(Transport::Fd),
            "its transport is fd; make it unix",
        ),
        (good().sha256("0"), "sha256: \"0\" is no SHA-256; allowed: 64 lower-case hexadecimal digits"),
        (good().sha256("A".repeat(64)), "is no SHA-256"),
        (good().sha256_file("SHA256SUMS"), "sha256_file: the path \"SHA256SUMS\" is relative"),
        (
            good().sha256("0".repeat(64)).sha256_file("/SHA256SUMS"),
            "sha256_file: stands beside sha256; allowed: one of both",
        ),
        (good().sha256("0".repeat(64)).launch_mode(LaunchMode::ByHand), "and can compare nothing"),
        (good().arg("a\0b"), "args[0]: contains a NUL character"),
        (good().arg(long(ARG_BYTES_MAX + 1)), "args[0]: has 131072 bytes; allowed: at most 131071"),
        (good().env("", "1"), "env[0]: the name of a variable is empty"),
        (good().env("A=B", "1"), "\"A=B\" is no name of a variable"),
        (good().env("A", "1").env("A", "1"), "env[1]: \"A\" is set twice"),
        (good().env("AB", long(ARG_BYTES_MAX - 2)), "env[0]: has 131069 bytes; allowed: at most 131068"),
        (good().env(ENV_RESERVED[3], "1"), "is a variable of the contract"),
        (good().pass_env("A").pass_env("A"), "pass_env[1]: \"A\" is listed twice"),
        (good().pass_env("A").env("A", ""), "pass_env[0]: \"A\" is set in `env` as well"),
        (good().interface("k v", &[1]), "interfaces.k v: interface name contains ' '"),
        (good().interface("kv", &[]), "interfaces.kv: accepts no version"),
        (good().interface("kv", &[1, 2, 1]), "interfaces.kv[2]: version 1 is listed twice"),
        (good().may_call(["a b"]), "may_call[0]: plugin id \"a b\" contains ' '"),
        (good().may_call_capabilities(["kv", "kv"]), "may_call_capabilities[1]: \"kv\" is listed twice"),
        (loose, "heartbeat_misses_max: 0 is too small; allowed: 1 to 1000"),
    ];
    for (config, expected) in bad {
        let errors = config.check().unwrap_err();
        assert!(errors.to_string().contains(expected), "{errors}\n expected {expected}");
        assert_eq!(errors.count(), 1, "{errors}");
    }
}

#[test]
fn what_is_too_many_is_refused_with_both_numbers() {
    let names = |count: usize| (0..count).map(|n| n.to_string());
    let mut many =
        good().may_call(names(CAPABILITIES_MAX + 1)).may_call_capabilities(names(CAPABILITIES_MAX + 1));
    many.args = vec![OsString::new(); ARGS_MAX + 1];
    many.env = names(ENV_MAX + 1).map(|name| (name.into(), OsString::new())).collect();
    many.pass_env = names(ENV_MAX + 1).map(OsString::from).collect();
    many.interfaces = names(CAPABILITIES_MAX + 1).map(|name| (name, vec![1])).collect();
    let expected = ["args", "env", "pass_env", "interfaces", "may_call", "may_call_capabilities"];
    assert_eq!(places(&many), expected);
    let error = many.check().unwrap_err().to_string();
    assert!(error.starts_with("args: has 1025 elements; allowed: at most 1024"), "{error}");
    let versions: Vec<u32> = (0..=HELLO_LIST_MAX as u32).collect();
    assert_eq!(places(&good().interface("kv", &versions)), ["interfaces.kv"]);
}

#[test]
fn everything_is_told_at_once_up_to_a_bound() {
    let mut bad = PluginConfig::new("sinks".parse().unwrap(), "a").arg("\0").env("=", "");
    bad.policy.call_timeout = Duration::ZERO;
    assert_eq!(places(&bad), ["id", "executable", "args[0]", "env[0]", "call_timeout"]);
    bad.args = vec!["\0".into(); ARGS_MAX];
    let errors = bad.check().unwrap_err();
    assert_eq!((errors.errors.len(), errors.count()), (20, ARGS_MAX + 4));
}

#[test]
fn neither_an_error_nor_debug_output_shows_the_value_of_a_variable() {
    let config = good().env("PASSWORD", "hunter2\0");
    let error = config.check().unwrap_err().to_string();
    for text in [format!("{config:?}"), error] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn variables_are_let_through_that_are_there() {
    let mut config = good().env("A", "1").pass_env("B").pass_env("C");
    config.resolve_env(|name| (name == "C").then(|| "3".into()));
    assert_eq!(config.env, [("A".into(), "1".into()), ("C".into(), "3".into())]);
    assert!(config.pass_env.is_empty());
}
