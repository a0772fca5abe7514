//! Configurations that are wrong in every way we could think of, each with the error it must give.

use super::tests::{load, plugin};
use super::types::PLUGINS_MAX;
use crate::state::plugin_config::{ARG_BYTES_MAX, ARGS_MAX, ENV_MAX, PATH_BYTES_MAX};

/// Every line: what follows `"executable"` in a plugin, and what its error says.
const BAD_PLUGINS: [(&str, &str); 50] = [
    (
        "\"heartbeat_intervall\": \"1s\"",
        "c.json:4: key \"plugins.echo.heartbeat_intervall\": unknown key; did you mean \"heartbeat_interval\"?; allowed: executable, package, sha256, sha256_file, args, env,",
    ),
    ("\"Restarts-Max\": 1", "did you mean \"restarts_max\"?"),
    ("\"zzz\": 1", "c.json:4: key \"plugins.echo.zzz\": unknown key; allowed: "),
    ("\"\\u001b[2J\": 1", "key \"plugins.echo.\\u{1b}[2J\": unknown key"),
    (
        "\"executable\": \"/bin/cat\"",
        "c.json:4: key \"plugins.echo.executable\": is there already, at c.json:3; allowed: each key once",
    ),
    ("\"\\u0065xecutable\": \"/bin/cat\"", "is there already, at c.json:3"),
    (
        "\n\n\"heartbeat_interval\":\n\n\"5\"",
        "c.json:6: key \"plugins.echo.heartbeat_interval\": \"5\": time unit needed",
    ),
    ("\"heartbeat_interval\": 5", "5 has no unit; allowed: a duration such as \"200ms\""),
    ("\"heartbeat_interval\": null", "is null; allowed: a duration"),
    ("\"heartbeat_interval\": \"2days\"", "\"2days\" is longer than a day"),
    ("\"heartbeat_interval\": \"\\ud800\"", "is a string; allowed: a duration"),
    (
        "\"connect_timeout\": \"0s\"",
        "\"0s\" is no time at all; allowed: a duration such as \"200ms\" or \"15m\", 1ms to 1day\n",
    ),
    (
        "\"restarts_max\": \"5\"",
        "c.json:4: key \"plugins.echo.restarts_max\": is a string; allowed: a whole number, 0 to 1000, or unlimited",
    ),
    ("\"restarts_max\": -1", "is -1; allowed: a whole number, 0 to 1000"),
    ("\"restarts_max\": 1.5", "is 1.5; allowed: a whole number"),
    ("\"restarts_max\": 1e1", "is 1e1; allowed: a whole number"),
    ("\"restarts_max\": 1001", "1001 is too large; allowed: a whole number, 0 to 1000"),
    ("\"restarts_max\": [5]", "is an array; allowed: a whole number"),
    (
        "\"restart\": \"sometimes\"",
        "\"sometimes\" is none of them; allowed: one of always, on-failure, never",
    ),
    ("\"restart\": true", "is true; allowed: one of always, on-failure, never"),
    (
        "\"frame_bytes_max\": \"1GB\"",
        "\"1GB\": units of bytes are B, KiB, MiB and GiB; allowed: bytes as a number or such as \"4MiB\", 16KiB to 256MiB",
    ),
    (
        "\"frame_bytes_max\": 1",
        "1 is too small; allowed: bytes as a number or such as \"4MiB\", 16KiB to 256MiB",
    ),
    (
        "\"backoff_initial\": \"1s\",\n\"backoff_max\": \"500ms\"",
        "c.json:4: key \"plugins.echo.backoff_initial\": 1s is longer than backoff_max (500ms)",
    ),
    (
        "\n\"heartbeat_interval\": \"100ms\"",
        "c.json:5: key \"plugins.echo.heartbeat_interval\": with it, heartbeat_timeout: 1s is longer than heartbeat_interval",
    ),
    (
        "\"restart_window\": \"1s\"",
        "c.json:4: key \"plugins.echo.restart_window\": with it, restarts_max: can never be reached",
    ),
    ("\"args\": \"-v\"", "c.json:4: key \"plugins.echo.args\": is a string; allowed: an array"),
    (
        "\"args\": [\"a\",\n\"b\", 3]",
        "c.json:5: key \"plugins.echo.args[2]\": is a number; allowed: a string",
    ),
    ("\"args\": [\"a\\u0000b\"]", "c.json:4: key \"plugins.echo.args[0]\": contains a NUL character"),
    ("\"args\": [\"\\ud800\"]", "has an escape that is no character"),
    ("\"env\": [\"A=1\"]", "key \"plugins.echo.env\": is an array; allowed: an object"),
    ("\"env\": {\"A\": 1}", "key \"plugins.echo.env.A\": is a number; allowed: a string"),
    ("\"env\": {\"\": \"x\"}", "the name of a variable is empty; allowed: a name without '=' and NUL"),
    ("\"env\": {\"A=B\": \"x\"}", "\"A=B\" is no name of a variable"),
    ("\"env\": {\"A\\u0000\": \"x\"}", "\"A\\0\" is no name of a variable"),
    (
        "\"env\": {\n\"RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE\": \"x\"}",
        "c.json:5: key \"plugins.echo.env.RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE\": RPC_PLUGIN_SYSTEM_AUTH_TOKEN_FILE is a variable of the contract",
    ),
    ("\"env\": {\"\\ud800\": \"x\"}", "has a key with an escape that is no character"),
    (
        "\"pass_env\": [\"RPC_PLUGIN_SYSTEM_PLUGIN_ID\"]",
        "c.json:4: key \"plugins.echo.pass_env[0]\": RPC_PLUGIN_SYSTEM_PLUGIN_ID is a variable of the contract",
    ),
    ("\"pass_env\": [\"A\",\n\"A\"]", "c.json:5: key \"plugins.echo.pass_env[1]\": \"A\" is listed twice"),
    ("\"env\": {\"A\": \"x\"}, \"pass_env\": [\"A\"]", "\"A\" is set in `env` as well; allowed: one of both"),
    (
        "\"working_dir\": \"tmp\"",
        "c.json:4: key \"plugins.echo.working_dir\": the path \"tmp\" is relative; allowed: an absolute path",
    ),
    ("\"autostart\": \"yes\"", "is a string; allowed: true or false"),
    (
        "\"sha256\": \"abc\"",
        "c.json:4: key \"plugins.echo.sha256\": \"abc\" is no SHA-256; allowed: 64 lower-case",
    ),
    (
        "\"sha256_file\": \"SUMS\"",
        "c.json:4: key \"plugins.echo.sha256_file\": the path \"SUMS\" is relative",
    ),
    (
        "\"sha256\": \"0000000000000000000000000000000000000000000000000000000000000000\",\n\"sha256_file\": \"/S\"",
        "c.json:5: key \"plugins.echo.sha256_file\": stands beside sha256; allowed: one of both",
    ),
    ("\"interfaces\": {\"kv\": []}", "key \"plugins.echo.interfaces.kv\": accepts no version"),
    ("\"interfaces\": {\"kv\": [1, 1]}", "version 1 is listed twice"),
    (
        "\"interfaces\": {\"kv\": [4294967296]}",
        "key \"plugins.echo.interfaces.kv[0]\": is 4294967296; allowed: a whole number, 0 to 4294967295",
    ),
    ("\"interfaces\": {\"k v\": [1]}", "interface name contains ' '"),
    ("\"may_call\": [\"a b\"]", "key \"plugins.echo.may_call[0]\": plugin id \"a b\""),
    ("\"may_call_capabilities\": [\"kv\", \"kv\"]", "\"kv\" is listed twice"),
];

#[test]
fn what_is_wrong_with_a_plugin_is_told_with_line_key_and_what_is_allowed() {
    for (members, expected) in BAD_PLUGINS {
        let error = load(&plugin(members)).unwrap_err() + "\n";
        assert!(error.contains(expected), "{members}\n  gave     {error}  expected {expected}");
        assert!(error.contains("; allowed: "), "{error}");
        assert_eq!(error.lines().count(), 1, "{members} gave more than its one error:\n{error}");
    }
}

/// Every line: a file, and what its error says.
const BAD_FILES: [(&str, &str); 38] = [
    ("", "c.json:1: column 0: EOF while parsing a value; allowed: JSON"),
    ("{", "c.json:1: column 1: EOF while parsing an object"),
    ("{\n\"plugins\": {\n}\n", "c.json:4: column 0: EOF while parsing an object"),
    ("{\n\"plugins\": {},\n}", "c.json:3: column 1: key must be a string"),
    ("{\n// no comments\n}", "c.json:2: column 1: key must be a string"),
    ("{} {}", "c.json:1: column 4: trailing characters"),
    ("\u{feff}{}", "c.json:1: begins with a byte-order mark; allowed: UTF-8 without one"),
    ("{\"plugins\": {\"a\tb\": 1}}", "c.json:1: column 15: control character"),
    ("[]", "c.json:1: is an array; allowed: an object"),
    ("\n\n7", "c.json:3: is a number; allowed: an object"),
    (
        "{\n\"plugin\": {}}",
        "c.json:2: key \"plugin\": unknown key; did you mean \"plugins\"?; allowed: runtime_dir, defaults, plugins, log, admin_group, state_dir, plugins_dirs, types, packages, admin_clients_max, event_queue_max, starting_max",
    ),
    ("{\"plugins\": {},\n\"plugins\": {}}", "c.json:2: key \"plugins\": is there already, at c.json:1"),
    ("{\"plugins\": []}", "key \"plugins\": is an array; allowed: an object"),
    (
        "{\"plugins\": {\n\"echo\": \"/bin/echo\"}}",
        "c.json:2: key \"plugins.echo\": is a string; allowed: an object",
    ),
    (
        "{\"plugins\": {\n\"echo\": {}}}",
        "c.json:2: key \"plugins.echo.executable\": is missing; allowed: an absolute path; or \"package\": true for what is said of a package",
    ),
    (
        "{\"plugins\": {\"echo\": {\n\"executable\": \"echo\"}}}",
        "c.json:2: key \"plugins.echo.executable\": the path \"echo\" is relative",
    ),
    ("{\"plugins\": {\"echo\": {\n\"executable\": \"\"}}}", "the path is empty"),
    (
        "{\"plugins\": {\n\"a b\": {\"executable\": \"/x\"}}}",
        "c.json:2: key \"plugins.a b\": plugin id \"a b\" contains ' '; letters,",
    ),
    ("{\"plugins\": {\n\"..\": {\"executable\": \"/x\"}}}", "which name folders; allowed: 1 to 64 letters"),
    ("{\"plugins\": {\n\"admin.sock\": {\"executable\": \"/x\"}}}", "is kept for the host's own files"),
    ("{\"plugins\": {\n\"events.jsonl.1\": {\"executable\": \"/x\"}}}", "is kept for the host's own files"),
    ("{\"plugins\": {\n\"lock\": {\"executable\": \"/x\"}}}", "is kept for the host's own files (lock)"),
    ("{\"runtime_dir\": \"run\"}", "key \"runtime_dir\": the path \"run\" is relative"),
    ("{\"runtime_dir\": 1}", "key \"runtime_dir\": is a number; allowed: a string"),
    (
        "{\"admin_clients_max\": 0}",
        "key \"admin_clients_max\": 0 is too small; allowed: a whole number, 1 to 1024",
    ),
    (
        "{\"event_queue_max\": \"9\"}",
        "key \"event_queue_max\": is a string; allowed: a whole number, 16 to 1048576",
    ),
    (
        "{\"starting_max\": 0}",
        "key \"starting_max\": 0 is too small; allowed: a whole number, 1 to 4096, or auto",
    ),
    (
        "{\"starting_max\": \"9\"}",
        "key \"starting_max\": is a string; allowed: a whole number, 1 to 4096, or auto",
    ),
    ("{\"log\": 1}", "key \"log\": is a number; allowed: an object"),
    ("{\"log\": {\n\"chain\": 1}}", "c.json:2: key \"log.chain\": 1 is a number; allowed: true or false"),
    ("{\"log\": {\n\"chain\": \"true\"}}", "key \"log.chain\": is a string; allowed: true or false"),
    ("{\"log\": {\n\"durability\": true}}", "key \"log.durability\": is true; allowed: one of relaxed,"),
    ("{\"log\": {\n\"files_max\": 1}}", "key \"log.files_max\": 1 is too small; allowed: a whole number, 2"),
    ("{\"log\": {\n\"chains\": true}}", "key \"log.chains\": unknown key; did you mean \"chain\"?; allowed:"),
    ("{\"defaults\": 1}", "key \"defaults\": is a number; allowed: an object"),
    (
        "{\"defaults\": {\n\"executable\": \"/x\"}}",
        "c.json:2: key \"defaults.executable\": unknown key; allowed: restart, ",
    ),
    (
        "{\"defaults\": {\n\"heartbeat_timeout\": \"3s\"}}",
        "c.json:2: key \"defaults.heartbeat_timeout\": 3s is longer than heartbeat_interval (2s)",
    ),
    (
        "{\"defaults\": {\n\"restarts_max\": 100}}",
        "c.json:2: key \"defaults.restarts_max\": can never be reached",
    ),
];

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line() {
    for (text, expected) in BAD_FILES {
        refuses(text, expected);
    }
}

/// Whether a file's one error is the expected one.
fn refuses(text: &str, expected: &str) {
    let error = load(text).unwrap_err();
    let shown: String = text.chars().take(200).collect();
    assert!(error.contains(expected), "{shown}\n  gave     {error}\n  expected {expected}");
    assert_eq!(error.lines().count(), 1, "{shown} gave more than its one error:\n{error}");
}

#[test]
fn what_is_too_much_is_told_with_both_numbers() {
    let long_id = format!("{{\"plugins\":\n{{\"{}\": {{\"executable\": \"/x\"}}}}}}", "i".repeat(50));
    let long_dir = format!("{{\n\"runtime_dir\": \"/{}\"}}", "d".repeat(100));
    let many_args = plugin(&format!("\"args\": [{}\"\"]", "\"\",".repeat(ARGS_MAX)));
    let many_env: String = (0..=ENV_MAX).map(|n| format!("\"V{n}\":\"\",")).collect();
    let many_env = plugin(&format!("\"env\": {{{}}}", many_env.trim_end_matches(',')));
    let many_names = plugin(&format!("\"pass_env\": [{}\"\"]", "\"\",".repeat(ENV_MAX)));
    let long_arg = plugin(&format!("\"args\": [\"{}\"]", "x".repeat(ARG_BYTES_MAX + 1)));
    let long_env = plugin(&format!("\"env\": {{\"A\": \"{}\"}}", "x".repeat(ARG_BYTES_MAX - 1)));
    let long_path = plugin(&format!("\"working_dir\": \"/{}\"", "x".repeat(PATH_BYTES_MAX)));
    let many: String = (0..=PLUGINS_MAX).map(|n| format!("\"p{n}\":{{\"executable\":\"/x\"}},")).collect();
    let many = format!("{{\"plugins\":{{{}}}}}", many.trim_end_matches(','));
    let table: [(&str, &str); 10] = [
        (&long_id, "c.json:2: key \"plugins.iiiiiiiiii"),
        (&long_dir, "c.json:2: key \"runtime_dir\": the socket path /ddd"),
        (&many_args, "key \"plugins.echo.args\": has 1025 elements; allowed: at most 1024"),
        (&many_env, "key \"plugins.echo.env\": has 1025 entries; allowed: at most 1024"),
        (&many_names, "key \"plugins.echo.pass_env\": has 1025 elements; allowed: at most 1024"),
        (&long_arg, "key \"plugins.echo.args[0]\": has 131072 bytes; allowed: at most 131071"),
        (&long_env, "key \"plugins.echo.env.A\": has 131070 bytes; allowed: at most 131069"),
        (&long_path, "the path has 4096 bytes, at most 4095 are possible"),
        (&many, "key \"plugins\": has 4097 plugins; allowed: at most 4096"),
        (
            &long_id,
            "iiiii.sock has 122 bytes, a socket address holds 107; allowed: a shorter plugin id or runtime folder",
        ),
    ];
    for (text, expected) in table {
        refuses(text, expected);
    }
}
