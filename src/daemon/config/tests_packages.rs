//! What a configuration says of packages.

use super::tests::{load, load_with};
use super::*;
use crate::package::layers::Layers;
use crate::state::plugin_config::PluginConfig;
use crate::state::policy::{Policy, RestartPolicy};
use std::path::PathBuf;
use std::time::Duration;

const GOOD: &str = r#"{
  "runtime_dir": "/run/x", "state_dir": "/srv/state", "plugins_dirs": ["/srv/plugins"],
  "defaults": {"call_timeout": "10s", "ready_timeout": "11s", "hello_timeout": "12s", "term_grace": "13s"},
  "types": {"animal": {"interfaces": {"animal": [1, 2]}, "settings": {"ready_timeout": "21s", "hello_timeout": "22s",
            "term_grace": "23s"}}, "any": {}},
  "packages": {"on_change": "restart-when-idle", "minimum": {"cat": "1.2.0"}, "keys": [
    {"key": "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3", "ids": ["cat", "acme-*"]}]},
  "plugins": {"cat": {"package": true, "term_grace": "43s", "env": {"TONE": "c"}, "pass_env": ["TZ"], "autostart": false}}
}"#;

#[test]
fn what_is_said_of_packages_is_read_and_shown_as_it_would_be_written() {
    let config = load(GOOD).unwrap();
    let packages = &config.packages;
    assert_eq!(packages.state_dir, Some(PathBuf::from("/srv/state")));
    assert!(packages.is_state_dir_named && packages.on_change == OnChange::RestartWhenIdle);
    assert_eq!(packages.plugins_dirs, [PathBuf::from("/srv/plugins")]);
    let types = packages.types.as_ref().unwrap();
    assert_eq!(types.keys().collect::<Vec<_>>(), ["animal", "any"]);
    assert_eq!(types["animal"].interfaces["animal"], [1, 2]);
    assert!(config.plugins.is_empty(), "a package is no plugin with an executable");
    let again = load(&to_json(&config, EnvValues::Shown)).unwrap();
    assert_eq!(again, config);
    let hidden = to_json(&config, EnvValues::Hidden);
    assert!(hidden.contains("\"package\": true") && !hidden.contains(": \"c\""), "{hidden}");
}

#[test]
fn the_operator_is_over_the_package_and_that_over_its_type() {
    let config = load(GOOD).unwrap();
    let manifest =
        br#"{"manifest": 1, "id": "cat", "version": "1.0.0", "type": "animal", "entrypoint": "cat",
        "env": {"TONE": "a", "LOUD": "1"}, "interfaces": {"animal": [2, 3], "pet": [1]}, "transport": "stdio",
        "settings": {"hello_timeout": "32s", "term_grace": "33s", "restart": "never"},
        "files": {"cat": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}"#;
    let manifest = crate::package::Manifest::read("plugin.json".as_ref(), manifest).unwrap();
    let mut launched = PluginConfig { executable: "/store/cat".into(), ..manifest.config.clone() };
    let layers = Layers {
        defaults: &config.defaults,
        accepted: config.packages.types.as_ref().unwrap().get("animal"),
        overrides: config.packages.overrides.first(),
    };
    layers.apply(&manifest, &mut launched);
    let seconds = Duration::from_secs;
    let policy = &launched.policy;
    assert_eq!(
        [policy.call_timeout, policy.ready_timeout, policy.hello_timeout, policy.term_grace],
        [seconds(10), seconds(21), seconds(32), seconds(43)]
    );
    assert_eq!(policy.restart, RestartPolicy::Never);
    assert_ne!(policy.transport, Policy::default().transport);
    assert_eq!(launched.interfaces["animal"], [2], "of those, what both take");
    assert_eq!(launched.env, [("LOUD".into(), "1".into()), ("TONE".into(), "c".into())]);
    assert_eq!(launched.pass_env, ["TZ"]);
}

#[test]
fn the_state_folder_is_named_or_the_usual_one() {
    let folder = |flag: Option<&str>, text: &str, env: &[(&str, &str)], is_root| {
        let flags = FlagValues { state_dir: flag.map(PathBuf::from), ..FlagValues::default() };
        let env = [env, &[("XDG_RUNTIME_DIR", "/run/user/1")]].concat();
        let packages = load_with(Some(text), &flags, &env, is_root).unwrap().packages;
        (packages.state_dir.map(|path| path.display().to_string()), packages.is_state_dir_named)
    };
    let named = |path: &str| (Some(path.to_owned()), true);
    let usual = |path: &str| (Some(path.to_owned()), false);
    let file = "{\"state_dir\": \"/file\"}";
    let service = [("STATE_DIRECTORY", "/service:/other"), ("HOME", "/home/a")];
    assert_eq!(folder(Some("/flag"), file, &service, true), named("/flag"));
    assert_eq!(folder(None, file, &service, true), named("/file"));
    assert_eq!(folder(None, "{}", &service, true), named("/service"));
    assert_eq!(folder(None, "{}", &[], true), usual("/var/lib/rpcplugind"));
    let own = [("XDG_STATE_HOME", "/state"), ("HOME", "/home/a")];
    assert_eq!(folder(None, "{}", &own, false), usual("/state/rpcplugind"));
    assert_eq!(folder(None, "{}", &own[1..], false), usual("/home/a/.local/state/rpcplugind"));
    assert_eq!(folder(None, "{}", &[("XDG_STATE_HOME", "relative")], false), (None, false));
}

#[test]
fn folders_of_flags_come_after_those_of_the_file() {
    let flags = FlagValues { plugins_dirs: vec!["/b".into(), "c".into()], ..FlagValues::default() };
    let config = load_with(Some("{\"plugins_dirs\": [\"/a\"]}"), &flags, &[], true).unwrap();
    let here = std::env::current_dir().unwrap().join("c");
    assert_eq!(config.packages.plugins_dirs, ["/a".into(), "/b".into(), here]);
    let flags = FlagValues { plugins_dirs: vec!["/b".into(); 17], ..FlagValues::default() };
    assert!(load_with(None, &flags, &[], true).unwrap_err().contains("17 folders"));
}

#[test]
fn what_is_wrong_with_it_is_told_where_it_stands() {
    for (text, says) in [
        ("{\"state_dir\": \"x\"}", "is relative"),
        ("{\"plugins_dirs\": \"/x\"}", "an array"),
        ("{\"plugins_dir\": [\"/x\"]}", "did you mean \"plugins_dirs\""),
        ("{\"packages\": {\"on_change\": \"reload\"}}", "show, restart, restart-when-idle"),
        ("{\"packages\": {\"verify\": \"signature\"}}", "asks for signatures, and no key is trusted"),
        ("{\"packages\": {\"key\": []}}", "did you mean \"keys\""),
        ("{\"packages\": {\"on_chnge\": \"show\"}}", "did you mean \"on_change\""),
        ("{\"types\": {\"a b\": {}}}", "1 to 64 letters"),
        ("{\"types\": {\"animal\": {\"interface\": {}}}}", "did you mean \"interfaces\""),
        ("{\"types\": {\"animal\": {\"settings\": {\"restarts\": 1}}}}", "restarts_max"),
        ("{\"types\": {\"animal\": {\"settings\": {\"backoff_max\": \"1ms\"}}}}", "backoff_initial"),
        ("{\"types\": {\"animal\": {\"interfaces\": {\"animal\": []}}}}", "types.animal.interfaces.animal"),
        ("{\"plugins\": {\"cat\": {}}}", "\"package\": true"),
        ("{\"plugins\": {\"cat\": {\"package\": false}}}", "without \"executable\""),
        ("{\"plugins\": {\"cat\": {\"package\": true, \"executable\": \"/x\"}}}", "without \"executable\""),
    ] {
        let error = load(text).unwrap_err();
        assert!(error.contains(says) && error.starts_with("c.json:1: "), "{text}: {error}");
    }
    let flags = FlagValues { plugins: vec!["cat=/bin/cat".into()], ..FlagValues::default() };
    let file = "{\"plugins\": {\"cat\": {\"package\": true}}}";
    let error = load_with(Some(file), &flags, &[], true).unwrap_err();
    assert!(error.contains("plugin cat is configured already, at c.json:1"), "{error}");
}
