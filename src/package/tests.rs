//! Manifests and folders that are right, and those that are not, with what is said of them.

use super::capabilities::{FilePermission, Via};
use super::digest::Digest;
use super::folder::{FILE_BYTES_MAX, FolderFaults, PACKAGE_BYTES_MAX, open_file};
use super::manifest::{self, MANIFEST_NAME, SIGNATURE_NAME};
use super::manifest::{KEYS, LIMITS, Manifest, SETTINGS};
use super::read_capabilities as caps;
use super::read_folder;
use crate::state::start_mode::StartMode;
use serde_json::{Value, json};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

pub(super) fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

pub(super) fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A manifest with every member.
pub(super) fn whole() -> Value {
    json!({
        "manifest": 1,
        "id": "kv",
        "version": "1.2.0-rc.1+build.5",
        "type": "store",
        "about": {"description": "Keeps texts", "maintainer": "Ann <ann@example.org>", "url": "https://example.org/kv",
                  "license": "MIT"},
        "language": "rust",
        "entrypoint": "bin/kv",
        "args": ["--store", "kv.json"],
        "env": {"KV_MODE": "fast"},
        "transport": "fd",
        "interfaces": {"kv": [1, 2]},
        "requires": {"host": ">=0.1", "plugins": {"clock": "^1"}},
        "capabilities": {
            "filesystem": [{"path": "/srv/texts", "permissions": ["read", "list"], "recursive": true},
                           {"path": "/etc/hosts", "permissions": ["read"], "via": "direct"}],
            "network": {"egress": [{"protocol": "tcp", "hosts": ["*.example.org", "192.0.2.7"], "ports": ["443", "8000-8010"]},
                                   {"protocol": "tcp", "ports": ["5432"], "via": "direct"}],
                        "ingress": [{"protocol": "udp", "ports": ["53"], "allowed_origins": ["10.0.0.0/8", "::1"]}]},
            "process": {"signal": ["children"], "list": ["children"]},
            "calls": [{"plugin": "clock", "methods": ["clock.now"]}],
            "pass_env": ["TZ"]
        },
        "limits": {"memory": "64MiB", "processes": 4, "cpu_percent": 50, "open_files": 64, "file_size": 0, "core": 0},
        "start": "on-demand",
        "rollback": false,
        "settings": {"restart": "on-failure", "hello_timeout": "2s", "calls_in_flight_max": 16},
        "files": {"bin/kv": DIGEST, "share/words.txt": DIGEST}
    })
}

/// The least that a manifest has.
fn least() -> Value {
    json!({"manifest": 1, "id": "kv", "version": "1.0.0", "entrypoint": "kv", "files": {"kv": DIGEST}})
}

pub(super) fn read(text: &str) -> Result<Manifest, String> {
    Manifest::read(Path::new("plugin.json"), text.as_bytes()).map_err(|errors| errors.to_string())
}

/// The whole manifest with another value at a place such as `/about/url`; null takes it away.
fn with(place: &str, value: Value) -> Value {
    let mut manifest = whole();
    let (parent, key) = place.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(object), Value::Null) => drop(object.remove(key).unwrap()),
        (Value::Object(object), value) => drop(object.insert(key.to_owned(), value)),
        (Value::Array(array), value) => array[key.parse::<usize>().unwrap()] = value,
        _ => panic!("{place}"),
    }
    manifest
}

#[test]
fn every_member_is_read() {
    let read = read(&whole().to_string()).unwrap();
    assert_eq!((read.id.as_str(), read.version.to_string().as_str()), ("kv", "1.2.0-rc.1+build.5"));
    assert_eq!((read.kind.as_deref(), read.language.as_deref()), (Some("store"), Some("rust")));
    assert_eq!(read.about.license.as_deref(), Some("MIT"));
    assert_eq!((read.entrypoint.as_str(), read.start), ("bin/kv", StartMode::OnDemand));
    assert!(!read.can_roll_back);
    assert_eq!(read.config.args, ["--store", "kv.json"]);
    assert_eq!(read.config.env, [("KV_MODE".into(), "fast".into())]);
    assert_eq!(read.config.interfaces["kv"], [1, 2]);
    assert_eq!(read.config.policy.transport.to_string(), "fd");
    assert_eq!(read.settings, ["restart", "hello_timeout", "calls_in_flight_max"]);
    assert_eq!(read.config.policy.calls_in_flight_max, 16);
    assert!(read.requires.host.unwrap().contains(&"0.1.0".parse().unwrap()));
    assert!(!read.requires.plugins[&"clock".parse().unwrap()].contains(&"2.0.0".parse().unwrap()));
    assert_eq!((read.limits["memory"], read.limits["core"]), (64 << 20, 0));
    assert_eq!(read.files.len(), 2);
    let files: Vec<_> = read.capabilities.filesystem.iter().collect();
    assert_eq!((files[0].via, files[1].via), (Via::Direct, Via::Host));
    assert!(files[1].recursive && files[1].permissions.contains(&FilePermission::List));
    assert_eq!(
        read.capabilities.lines(),
        [
            "filesystem: read /etc/hosts (direct)",
            "filesystem: read, list /srv/texts and all below (host)",
            "network: tcp to anywhere, port 5432 (direct)",
            "network: tcp to *.example.org, 192.0.2.7, port 443, 8000-8010 (host)",
            "network: udp from 10.0.0.0/8, ::1, port 53 (host)",
            "process: signal children (host)",
            "process: list children (host)",
            "calls: clock.now of clock (host)",
            "pass_env: TZ",
        ]
    );
}

#[test]
fn what_is_omitted_is_denied_or_the_default() {
    let read = read(&least().to_string()).unwrap();
    assert_eq!(read.capabilities.lines(), Vec::<String>::new());
    assert_eq!((read.start, read.settings.len(), read.limits.len()), (StartMode::Auto, 0, 0));
    assert!(read.kind.is_none() && read.requires.plugins.is_empty() && read.can_roll_back);
}

/// Manifests of which a member is wrong, each with what is said of it.
fn wrong_members() -> Vec<(Value, &'static str)> {
    let long = "x".repeat(2000);
    vec![
        (with("/manifest", Value::Null), "key \"manifest\": is missing"),
        (with("/manifest", json!(2)), "is 2, and this host reads version 1"),
        (with("/manifest", json!("1")), "and this host reads version 1"),
        (with("/id", Value::Null), "key \"id\": is missing"),
        (with("/id", json!("a b")), "plugin id \"a b\""),
        (with("/id", json!("..")), "plugin id \"..\""),
        (
            with("/id", json!("admin.sock")),
            "key \"id\": plugin id \"admin.sock\" is kept for the host's own files",
        ),
        (with("/id", json!(7)), "is a number"),
        (with("/version", Value::Null), "key \"version\": is missing"),
        (with("/version", json!("1.2")), "has 2 numbers, not three"),
        (with("/version", json!(1.2)), "is a number"),
        (with("/version", json!("01.2.3")), "begins with a zero"),
        (with("/type", json!("a/b")), "\"a/b\""),
        (with("/type", json!("")), "key \"type\""),
        (with("/about", json!("x")), "is a string; allowed: an object"),
        (with("/about/description", json!("a\nb")), "is no line of text"),
        (with("/about/description", json!(long)), "is no line of text"),
        (with("/about/authors", json!("x")), "unknown key; allowed: description, maintainer, url, license"),
        (with("/about/licence", json!("MIT")), "did you mean \"license\"?"),
        (with("/language", json!("")), "is no line of text"),
        (with("/entrypoint", Value::Null), "key \"entrypoint\": is missing"),
        (with("/entrypoint", json!("/bin/sh")), "is absolute"),
        (with("/entrypoint", json!("../kv")), "may not climb"),
        (with("/entrypoint", json!("bin/other")), "\"bin/other\" is not one of its files"),
        (with("/rollback", json!("no")), "key \"rollback\": is a string"),
        (with("/args", json!("x")), "is a string; allowed: an array"),
        (with("/args", json!([1])), "key \"args[0]\""),
        (with("/args", json!(["a\u{0}b"])), "contains a NUL character"),
        (with("/env", json!({"A=B": "x"})), "is no name of a variable"),
        (with("/env", json!({"": "x"})), "the name of a variable is empty"),
        (with("/env", json!({"RPC_PLUGIN_SYSTEM_LAUNCH": "x"})), "RPC_PLUGIN_SYSTEM_LAUNCH"),
        (with("/env", json!({"RPC_PLUGIN_SYSTEM_X": "x"})), "begins with RPC_PLUGIN_SYSTEM_"),
        (with("/env", json!({"A": 1})), "is a number; allowed: a string"),
        (with("/transport", json!("tcp")), "\"tcp\" is none of them; allowed: one of unix, fd, stdio"),
        (with("/interfaces", json!({"kv": []})), "accepts no version"),
        (with("/interfaces", json!({"kv": [1, 1]})), "version 1 is listed twice"),
        (with("/interfaces", json!({"kv": ["1"]})), "allowed: a whole number"),
        (with("/interfaces", json!({"k v": [1]})), "interface name"),
        (with("/requires/host", json!("=>1")), "allowed: versions such as"),
        (with("/requires/host", json!("")), "is empty"),
        (with("/requires/plugins", json!({"a b": "1"})), "plugin id \"a b\""),
        (with("/requires/plugins", json!({"clock": "one"})), "\"one\" is not a number"),
        (with("/requires/plugin", json!({})), "did you mean \"plugins\"?"),
    ]
}

/// The same of what it would be held to, and of its files.
fn wrong_bounds() -> Vec<(Value, &'static str)> {
    vec![
        (with("/limits/memory", json!("64MB")), "units of bytes are B, KiB, MiB and GiB"),
        (with("/limits/memory", json!(5)), "5 is too small"),
        (with("/limits/processes", json!("4")), "key \"limits.processes\""),
        (with("/limits/processes", json!(0)), "0 is too small"),
        (with("/limits/cpu", json!(1)), "unknown key; did you mean"),
        (with("/start", json!("later")), "one of auto, on-demand, manual"),
        (with("/settings/rpc_audit", json!("off")), "is for the operator to set, not for a package"),
        (with("/settings/restarts_max", json!("unlimited")), "is for the operator to set"),
        (with("/settings/transport", json!("unix")), "is for the operator to set"),
        (with("/settings/user", json!("root")), "unknown key"),
        (with("/settings/hello_timeout", json!("2")), "key \"settings.hello_timeout\""),
        (with("/settings/hello_timeout", json!("2days")), "is longer than a day"),
        (with("/settings/helo_timeout", json!("2s")), "did you mean \"hello_timeout\"?"),
        (with("/settings/heartbeat_timeout", json!("1m")), "a heartbeat must end before the next"),
        (with("/files", Value::Null), "key \"files\": is missing"),
        (with("/files", json!({})), "is not one of its files"),
        (with("/files", json!([])), "is an array; allowed: an object"),
        (with("/files/x", json!("abc")), "\"abc\" is none; allowed: a SHA-256"),
        (with("/files/x", json!(DIGEST.to_uppercase())), "allowed: a SHA-256 as 64 lower-case"),
        (with("/files/x", json!(1)), "is a number; allowed: a string"),
        (with("/files/plugin.json", json!(DIGEST)), "is not a file of the package but says which are"),
        (with("/files/plugin.json.minisig", json!(DIGEST)), "is not a file of the package"),
        (with("/files/bin", json!(DIGEST)), "\"bin\" is a file, and \"bin/kv\" is in it"),
    ]
}

/// The same of what it asks for.
fn wrong_capabilities() -> Vec<(Value, &'static str)> {
    let many: Vec<Value> = (0..65).map(|_| json!({})).collect();
    vec![
        (with("/capabilities", json!([])), "is an array; allowed: an object"),
        (with("/capabilities/file", json!([])), "unknown key"),
        (with("/capabilities/filesystem", json!({})), "is an object; allowed: an array"),
        (with("/capabilities/filesystem", json!(many)), "has 65 elements"),
        (with("/capabilities/filesystem", json!(["/"])), "is a string; allowed: an object"),
        (with("/capabilities/filesystem/0/path", Value::Null), "path\": is missing"),
        (with("/capabilities/filesystem/0/path", json!("srv")), "is no such path"),
        (with("/capabilities/filesystem/0/path", json!("/srv/../etc")), "is no such path"),
        (with("/capabilities/filesystem/0/path", json!("/srv//x")), "is no such path"),
        (with("/capabilities/filesystem/0/permissions", Value::Null), "permissions\": is missing"),
        (with("/capabilities/filesystem/0/permissions", json!([])), "is empty, which allows nothing"),
        (with("/capabilities/filesystem/0/permissions", json!(["all"])), "\"all\" is none of them"),
        (with("/capabilities/filesystem/0/permissions", json!(["read", "read"])), "stands twice"),
        (with("/capabilities/filesystem/0/recursive", json!("yes")), "allowed: true or false"),
        (with("/capabilities/filesystem/0/via", json!("kernel")), "one of host, direct"),
        (with("/capabilities/filesystem/0/mode", json!("r")), "unknown key"),
        (with("/capabilities/network/egres", json!([])), "did you mean \"egress\"?"),
        (with("/capabilities/network/egress/0/protocol", json!("sctp")), "one of tcp, udp"),
        (with("/capabilities/network/egress/0/hosts", Value::Null), "hosts\": is missing"),
        (with("/capabilities/network/egress/0/hosts", json!([])), "is empty, which allows nothing"),
        (with("/capabilities/network/egress/0/hosts", json!(["*"])), "\"*\" is none"),
        (with("/capabilities/network/egress/0/hosts", json!(["a.*.org"])), "is none"),
        (with("/capabilities/network/egress/0/hosts", json!(["-a.org"])), "is none"),
        (with("/capabilities/network/egress/0/hosts", json!(["1.2.3"])), "\"1.2.3\" is none"),
        (with("/capabilities/network/egress/0/hosts", json!(["a.org", "A.org"])), "stands twice"),
        (with("/capabilities/network/egress/0/ports", json!([443])), "is a number; allowed: a string"),
        (with("/capabilities/network/egress/0/ports", json!(["0"])), "is no port"),
        (with("/capabilities/network/egress/0/ports", json!(["65536"])), "is no port"),
        (with("/capabilities/network/egress/0/ports", json!(["+1"])), "is no port"),
        (with("/capabilities/network/egress/0/ports", json!(["10-1"])), "is no port"),
        (with("/capabilities/network/egress/0/via", json!("direct")), "the kernel knows ports and not hosts"),
        (with("/capabilities/network/egress/1/protocol", json!("udp")), "the kernel cannot hold UDP"),
        (
            with("/capabilities/network/ingress/0/via", json!("direct")),
            "the kernel knows ports and not origins",
        ),
        (with("/capabilities/network/ingress/0/allowed_origins", json!([])), "is empty"),
        (with("/capabilities/network/ingress/0/allowed_origins", json!(["10.0.0.0/33"])), "is none"),
        (with("/capabilities/network/ingress/0/allowed_origins", json!(["example.org"])), "is none"),
        (with("/capabilities/process", json!({"kill": []})), "does not say whose processes"),
        (with("/capabilities/process", json!({"kill": ["all"]})), "allowed: [\"children\"]"),
        (with("/capabilities/process", json!({"stop": ["children"]})), "unknown key"),
        (with("/capabilities/calls/0/plugin", json!("*")), "plugin id \"*\""),
        (with("/capabilities/calls/0/methods", json!([])), "is empty"),
        (with("/capabilities/calls/0/methods", json!(["a b"])), "method \"a b\""),
        (with("/capabilities/calls/0/methods", json!(["a", "a"])), "stands twice"),
        (with("/capabilities/pass_env", json!(["A=B"])), "is no name to pass on"),
        (with("/capabilities/pass_env", json!(["RPC_PLUGIN_SYSTEM_LAUNCH"])), "is no name to pass on"),
        (with("/capabilities/pass_env", json!(["TZ", "TZ"])), "stands twice"),
        (with("/verify", json!("off")), "unknown key"),
        (with("/confine", json!("off")), "unknown key"),
        (with("/on_change", json!("restart")), "unknown key"),
        (with("/entry_point", json!("x")), "did you mean \"entrypoint\"?"),
        (json!([]), "is an array; allowed: an object"),
    ]
}

/// All of them.
pub(super) fn wrong_manifests() -> Vec<(Value, &'static str)> {
    [wrong_members(), wrong_bounds(), wrong_capabilities()].concat()
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    let rows = wrong_manifests();
    let mut wrong = Vec::new();
    for (manifest, why) in &rows {
        let errors = read(&serde_json::to_string_pretty(manifest).unwrap()).err().unwrap_or_default();
        // One fault is one line; what follows from it may be another.
        if !errors.contains(why) || !errors.starts_with("plugin.json:") || errors.lines().count() > 2 {
            wrong.push(format!("{why}:\n{errors}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(rows.len() >= 100, "{}", rows.len());
}

#[test]
fn texts_that_are_no_json_or_have_a_member_twice_are_refused() {
    let twice = |text: &str, second: &str| least().to_string().replacen(text, &format!("{second},{text}"), 1);
    for (text, why) in [
        (String::new(), "EOF"),
        ("{".to_owned(), "EOF"),
        ("{}x".to_owned(), "trailing characters"),
        (format!("\u{feff}{}", least()), "byte-order mark"),
        ("{\"manifest\": 1, // form\n}".to_owned(), "without comments"),
        (twice("\"id\"", "\"id\":\"other\""), "is there already"),
        (twice("\"id\"", "\"\\u0069d\":\"other\""), "is there already"),
        (
            least().to_string().replace("{\"kv\":", &format!("{{\"kv\":\"{DIGEST}\",\"kv\":")),
            "is there already",
        ),
        (least().to_string().replace("\"kv\":", "\"k\\ud800\":"), "no character"),
    ] {
        let errors = read(&text).unwrap_err();
        assert!(errors.contains(why), "{text}: {why}:\n{errors}");
    }
    let errors = Manifest::read(Path::new("plugin.json"), b"{\"id\": \"\xff\"}").unwrap_err().to_string();
    assert!(errors.contains("byte 8 is no UTF-8"), "{errors}");
}

#[test]
fn all_faults_are_told_at_once_and_bounded() {
    let text =
        "{\n\"manifest\": 1,\n\"id\": 1,\n\"version\": \"x\",\n\"entrypoint\": \"/\",\n\"colour\": 1\n}";
    let errors = read(text).unwrap_err();
    for place in [
        "plugin.json:3: key \"id\"",
        ":4: key \"version\"",
        ":5: key \"entrypoint\"",
        ":6: key \"colour\"",
        "files",
    ] {
        assert!(errors.contains(place), "{place}:\n{errors}");
    }
    let mut manifest = least();
    for number in 0..1000 {
        manifest[format!("x{number}")] = json!(1);
    }
    let errors = read(&manifest.to_string()).unwrap_err();
    assert!(errors.ends_with("and 980 more errors") && errors.lines().count() == 21, "{errors}");
}

/// A folder with a package in it whose manifest is that, but for the digests, which are those of the files.
pub(super) fn package(root: &Path, files: &[(&str, &str)]) -> std::path::PathBuf {
    let package = root.join("package");
    std::fs::create_dir(&package).unwrap();
    let mut manifest = least();
    manifest["files"] = json!({});
    for (name, text) in files {
        std::fs::create_dir_all(package.join(name).parent().unwrap()).unwrap();
        std::fs::write(package.join(name), text).unwrap();
        manifest["files"][*name] = json!(Digest::of(text.as_bytes()).to_string());
    }
    chmod(&package.join("kv"), 0o755);
    std::fs::write(package.join(MANIFEST_NAME), manifest.to_string()).unwrap();
    package
}

#[test]
fn a_folder_that_is_as_its_manifest_says_is_told_with_its_size_and_digest() {
    let root = folder();
    let package = package(root.path(), &[("kv", "#!/bin/sh\n"), ("share/a/b", "text")]);
    let read = read_folder(&package).unwrap();
    assert_eq!((read.bytes, read.manifest.files.len(), read.signature), (14, 2, None));
    assert_eq!(read.digest, Digest::of(&std::fs::read(package.join(MANIFEST_NAME)).unwrap()));
    assert_eq!(read.digest, Digest::of(&read.manifest_bytes));
    std::fs::write(package.join(SIGNATURE_NAME), "x").unwrap();
    assert_eq!(read_folder(&package).unwrap().signature.as_deref(), Some(&b"x"[..]));
    std::fs::write(package.join(SIGNATURE_NAME), [b'x'; 16 * 1024 + 1]).unwrap();
    let faults = read_folder(&package).unwrap_err().to_string();
    assert_eq!(faults, "\"plugin.json.minisig\": it has more than 16384 bytes");
}

#[test]
fn a_folder_that_is_not_as_its_manifest_says_is_told_file_by_file() {
    let root = folder();
    let package = package(root.path(), &[("kv", "#!/bin/sh\n"), ("share/a", "text"), ("share/b", "text")]);
    std::fs::write(package.join("share/a"), "tex").unwrap();
    std::fs::remove_file(package.join("share/b")).unwrap();
    std::fs::write(package.join("more"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", package.join("link")).unwrap();
    nix::unistd::mkfifo(&package.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::write(package.join("suid"), "").unwrap();
    chmod(&package.join("suid"), 0o4755);
    chmod(&package.join("kv"), 0o644);
    let faults = read_folder(&package).unwrap_err();
    assert!(matches!(&faults, FolderFaults::Files(faults, 0) if faults.len() == 7), "{faults}");
    let faults = faults.to_string();
    for fault in [
        "\"share/a\": has SHA-256 ",
        "\"share/b\": is missing, and listed",
        "\"more\": is not listed",
        "\"link\": is a symbolic link, and a package has none",
        "\"fifo\": is neither a file nor a folder",
        "\"suid\": is set-uid",
        "\"kv\": is the entrypoint, and not executable; chmod a+x it",
    ] {
        assert!(faults.contains(fault), "{fault}:\n{faults}");
    }
    for number in 0..100 {
        std::fs::write(package.join(format!("x{number}")), "").unwrap();
    }
    let faults = read_folder(&package).unwrap_err().to_string();
    assert!(faults.ends_with("and 87 more") && faults.lines().count() == 21, "{faults}");
}

#[test]
fn a_manifest_that_cannot_be_read_is_told_with_why() {
    let root = folder();
    let told = |of: &Path| read_folder(of).unwrap_err().to_string();
    assert!(told(root.path()).contains("a package is a folder with a plugin.json in it"));
    let manifest = root.path().join(MANIFEST_NAME);
    nix::unistd::mkfifo(&manifest, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(told(root.path()).contains("it is no regular file"));
    std::fs::remove_file(&manifest).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &manifest).unwrap();
    assert!(read_folder(root.path()).is_err(), "a link is not followed");
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&manifest, vec![b' '; manifest::MANIFEST_BYTES_MAX + 1]).unwrap();
    assert!(told(root.path()).contains("more than 4194304 bytes"));
}

/// A folder that was looked at, and is a link by the time its files are read.
#[test]
fn no_link_is_followed_wherever_it_is_on_the_way_to_a_file() {
    let root = folder();
    let package = package(root.path(), &[("kv", "#!/bin/sh\n"), ("share/a/b", "text")]);
    let opened = std::fs::File::open(&package).unwrap();
    assert!(open_file(opened.as_fd(), "share/a/b").is_ok());
    std::fs::rename(package.join("share"), root.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(root.path().join("elsewhere"), package.join("share")).unwrap();
    assert!(package.join("share/a/b").exists());
    assert!(open_file(opened.as_fd(), "share/a/b").is_err(), "a link is not followed");
    // The package's own folder is what its user names, and stays what it was when it was opened.
    std::fs::rename(&package, root.path().join("away")).unwrap();
    assert!(open_file(opened.as_fd(), "kv").is_ok());
}

#[test]
fn files_that_are_too_large_are_told_and_not_read() {
    let root = folder();
    let names: Vec<String> = (0..5).map(|number| format!("large{number}")).collect();
    let mut files = vec![("kv", "#!/bin/sh\n")];
    files.extend(names.iter().map(|name| (&**name, "")));
    let package = package(root.path(), &files);
    let sized = |name: &str, bytes: u64| {
        std::fs::File::options().write(true).open(package.join(name)).unwrap().set_len(bytes).unwrap();
    };
    sized("large0", FILE_BYTES_MAX + 1);
    let faults = read_folder(&package).unwrap_err().to_string();
    assert_eq!(faults, "\"large0\": has 4294967297 bytes, 4294967296 are the most; it was not read");
    sized("large0", 0);
    for name in &names {
        sized(name, FILE_BYTES_MAX);
    }
    let faults = read_folder(&package).unwrap_err().to_string();
    assert_eq!(
        faults,
        format!("the files have 21474836490 bytes together, {PACKAGE_BYTES_MAX} are the most; none was read")
    );
}

#[test]
fn a_folder_with_very_many_entries_is_told_once() {
    let root = folder();
    let package = package(root.path(), &[("kv", "#!/bin/sh\n")]);
    for number in 0..20_001 {
        std::fs::create_dir(package.join(number.to_string())).unwrap();
    }
    let faults = read_folder(&package).unwrap_err().to_string();
    assert_eq!(faults.matches("there are more than 20000 entries").count(), 1, "{faults}");
}

#[test]
fn a_name_with_a_newline_is_one_line_of_what_is_told() {
    let root = folder();
    let odd = root.path().join("a\nb");
    std::fs::create_dir(&odd).unwrap();
    let told = || read_folder(&odd).unwrap_err().to_string();
    assert!(told().contains("a\\nb/plugin.json: ") && !told().contains('\n'), "{}", told());
    std::fs::write(odd.join(MANIFEST_NAME), "7").unwrap();
    assert!(told().contains("a\\nb/plugin.json:") && !told().contains("a\nb"), "{}", told());
}

/// The schema beside the page: its members are those that are read.
#[test]
fn the_schema_has_the_members_of_the_code() {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    let schema = std::fs::read_to_string(Path::new(&root).join("docs/plugin.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let members = |place: &str| {
        let object = schema.pointer(place).unwrap_or_else(|| panic!("{place}"));
        assert_eq!(object["additionalProperties"], false, "{place}");
        let mut members: Vec<String> = object["properties"].as_object().unwrap().keys().cloned().collect();
        members.sort();
        members
    };
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    };
    let capabilities = "/properties/capabilities";
    let network = format!("{capabilities}/properties/network");
    for (place, keys) in [
        (String::new(), sorted(&KEYS)),
        ("/properties/about".to_owned(), sorted(&manifest::ABOUT_KEYS)),
        ("/properties/requires".to_owned(), sorted(&manifest::REQUIRES_KEYS)),
        ("/properties/settings".to_owned(), sorted(&SETTINGS)),
        ("/properties/limits".to_owned(), sorted(&LIMITS.map(|(key, _)| key))),
        (capabilities.to_owned(), sorted(&caps::KEYS)),
        (format!("{capabilities}/properties/filesystem/items"), sorted(&caps::FILESYSTEM_KEYS)),
        (network.clone(), sorted(&caps::NETWORK_KEYS)),
        (format!("{network}/properties/egress/items"), sorted(&caps::EGRESS_KEYS)),
        (format!("{network}/properties/ingress/items"), sorted(&caps::INGRESS_KEYS)),
        (format!("{capabilities}/properties/calls/items"), sorted(&caps::CALLS_KEYS)),
        (format!("{capabilities}/properties/process"), sorted(&["kill", "list", "signal"])),
    ] {
        assert_eq!(members(&place), keys, "{place}");
    }
    assert_eq!(schema["required"], json!(["manifest", "id", "version", "entrypoint", "files"]));
    let word = |place: &str| schema.pointer(place).unwrap()["enum"].clone();
    assert_eq!(word("/properties/start"), json!(["auto", "on-demand", "manual"]));
    assert_eq!(word("/properties/transport"), json!(["unix", "fd", "stdio"]));
    let permissions = format!("{capabilities}/properties/filesystem/items/properties/permissions/items");
    let words: Vec<&str> = FilePermission::ALL.iter().map(|(_, word)| *word).collect();
    assert_eq!(word(&permissions), json!(words));
}
