//! Bad manifests, folders, signatures and publishers, each with what is said of it, as a page of the documentation lists them.
#![cfg(test)]

use super::capabilities::Capabilities;
use super::digest::Digest;
use super::manifest::{MANIFEST_NAME, Manifest};
use super::publisher::{Publisher, TrustedKey, VerifyMode, VerifyPolicy};
use super::read_folder;
use super::signature::{tests::bad_signatures, verify};
use super::signer::Signer;
use super::tests::{chmod, folder, package, read, whole, wrong_manifests};
use serde_json::{Value, json};
use std::path::Path;

/// What it is, and what is said of it.
pub(crate) type BadCase = (String, String);

/// Longest value of a member that is shown. Characters.
const VALUE_CHARS_MAX: usize = 60;

/// A good manifest of which one member is another.
pub(crate) fn manifests() -> Vec<BadCase> {
    let case = |(manifest, _): (Value, _)| {
        let what = change(&whole(), &manifest, "").expect("a change");
        let told = read(&serde_json::to_string_pretty(&manifest).unwrap()).unwrap_err();
        let (place, told) = told.split_once(": ").unwrap();
        assert!(place.starts_with("plugin.json:"), "{place}: {told}");
        (what, told.to_owned())
    };
    wrong_manifests().into_iter().map(case).collect()
}

/// The first place at which two values differ, with the second's value there.
fn change(from: &Value, to: &Value, place: &str) -> Option<String> {
    if from == to {
        return None;
    }
    let below = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
    if let (Value::Object(from), Value::Object(to)) = (from, to) {
        let omitted =
            from.keys().find(|key| !to.contains_key(*key)).map(|key| format!("{} omitted", below(key)));
        let changed = to
            .iter()
            .find_map(|(key, value)| change(from.get(key).unwrap_or(&Value::Null), value, &below(key)));
        return omitted.or(changed);
    }
    if let (Value::Array(from), Value::Array(to)) = (from, to)
        && from.len() == to.len()
    {
        let mut pairs = from.iter().zip(to).enumerate();
        return pairs.find_map(|(at, (from, to))| change(from, to, &format!("{place}[{at}]")));
    }
    let value = to.to_string();
    let value = match value.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value,
    };
    Some(if place.is_empty() { value } else { format!("{place}: {value}") })
}

/// A good folder in which one thing is another.
pub(crate) fn folders() -> Vec<BadCase> {
    type Change<'c> = (&'c str, &'c dyn Fn(&Path));
    let sized = |path: &Path, bytes: u64| std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
    let changes: &[Change<'_>] = &[
        ("a file with other content", &|root| std::fs::write(root.join("share/a"), "tex").unwrap()),
        ("a file that is missing", &|root| std::fs::remove_file(root.join("share/a")).unwrap()),
        ("a file that is not listed", &|root| std::fs::write(root.join("more"), "").unwrap()),
        ("a symbolic link", &|root| std::os::unix::fs::symlink("a", root.join("share/link")).unwrap()),
        ("a named pipe", &|root| {
            nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("a file whose name has a newline", &|root| std::fs::write(root.join("a\nb"), "").unwrap()),
        ("a file that is too large", &|root| sized(&root.join("share/a"), (4 << 30) + 1)),
        ("an entrypoint that is not executable", &|root| chmod(&root.join("kv"), 0o644)),
        ("a set-uid file", &|root| {
            std::fs::write(root.join("su"), "").unwrap();
            chmod(&root.join("su"), 0o4755);
        }),
        ("a signature of more than 16 KiB", &|root| sized(&root.join("plugin.json.minisig"), 1 << 20)),
    ];
    let case = |(what, change): &Change<'_>| {
        let root = folder();
        let package = package(root.path(), &[("kv", "#!/bin/sh\n"), ("share/a", "text")]);
        change(&package);
        ((*what).to_owned(), read_folder(&package).unwrap_err().to_string())
    };
    changes.iter().map(case).collect()
}

/// Signatures that are none, and good ones of whom nobody trusts with it.
pub(crate) fn publishers() -> Vec<BadCase> {
    let (ours, other) = (Signer::new(0, 0xACE1), Signer::new(1, 0xBAD));
    let key = |signer: &Signer| signer.public().parse().unwrap();
    let none = bad_signatures().into_iter().map(|(what, signature, _)| {
        (what.to_owned(), verify(&signature, b"test", [&key(&ours)]).unwrap_err().to_string())
    });
    let text = json!({"manifest": 1, "id": "kv", "version": "1.0.0", "entrypoint": "kv",
        "files": {"kv": Digest::of(b"").to_string()}, "capabilities": {"pass_env": ["TZ"]}})
    .to_string();
    let manifest = Manifest::read(Path::new(MANIFEST_NAME), text.as_bytes()).unwrap();
    let trusted = |signer: &Signer, id: &str, capabilities: &[&'static str]| {
        let capabilities = Some(capabilities.iter().copied().collect());
        VerifyPolicy::new(
            None,
            vec![TrustedKey { key: key(signer), ids: vec![id.parse().unwrap()], capabilities }],
        )
    };
    let all = trusted(&ours, "*", &Capabilities::KINDS);
    let nobody = VerifyPolicy::new(Some(VerifyMode::Signature), Vec::new());
    let (by_us, by_other) = (ours.sign(text.as_bytes(), ""), other.sign(text.as_bytes(), ""));
    let forged = Signer::new(1, 0xACE1).sign(text.as_bytes(), "");
    let (bound, unsigned) = (Publisher::Key(key(&other)), Publisher::Unsigned(Digest::of(b"before")));
    type Judged<'c> = (&'c str, &'c VerifyPolicy, Option<&'c Vec<u8>>, Option<&'c Publisher>);
    let judged: [Judged<'_>; 9] = [
        ("no signature", &all, None, None),
        ("no signature, and no key that is trusted", &nobody, None, None),
        ("a signature, and no key that is trusted", &nobody, Some(&by_us), None),
        ("a signature of another key", &all, Some(&by_other), None),
        ("a signature of another key of the same number", &all, Some(&forged), None),
        ("a key that may publish other ids", &trusted(&ours, "acme-*", &[]), Some(&by_us), None),
        ("a key whose packages may not ask for that", &trusted(&ours, "kv", &["calls"]), Some(&by_us), None),
        ("an id of another key", &all, Some(&by_us), Some(&bound)),
        ("an id of a package that nobody signed", &all, Some(&by_us), Some(&unsigned)),
    ];
    let judged = judged.into_iter().map(|(what, policy, signature, bound)| {
        let signature = signature.map(Vec::as_slice);
        let refusal = policy.judge(&manifest, text.as_bytes(), signature, bound, false).unwrap_err();
        (what.to_owned(), refusal.to_string())
    });
    none.chain(judged).collect()
}
