//! `package FOLDER`: what a package is and asks for, whether its files are those that it lists, and whose signature it has.
//! No daemon is asked.

use super::exit::{Exit, Failure};
use super::out::Out;
use super::table;
use crate::cli::Args;
use crate::cli::columns::{Cell, sheet};
use crate::cli::text::{self, Style};
use crate::package::manifest::LIMITS;
use crate::package::publisher::{Publisher, TrustedKey, VerifyPolicy};
use crate::package::signature::{KEY_ALLOWED, PublicKey, claimed_key};
use crate::package::{Manifest, PackageFolder, read_folder, shown_path};
use crate::settings::{Kind, POLICY, show_bytes};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;

/// Longest file that is read as a key. Bytes.
const KEY_FILE_BYTES_MAX: u64 = 4096;

/// What is known of a package's signature.
enum Signature {
    /// There is none.
    None,
    /// It says that it is of this key.
    Unchecked(String),
    /// It is of this key, with this trusted comment.
    Verified(String, String),
}

/// Whether the command line names a folder, and not what is installed: there is a `/` in it, or a folder of that name here.
pub(super) fn is_folder(args: &Args) -> bool {
    let named = args.path(table::PACKAGE);
    named.is_none_or(|named| named.as_os_str().as_encoded_bytes().contains(&b'/') || named.is_dir())
}

/// Reads the folder that the command line names, and prints what is in it.
pub(super) fn package(args: &Args, out: &mut Out<'_>) -> Result<(), Failure> {
    let folder = args.path(table::PACKAGE).ok_or_else(|| args.lacking("an ID or a FOLDER is missing"))?;
    let key = args.text(table::KEY)?.map(|text| key_of(args, text)).transpose()?;
    let read = read_folder(Path::new(folder)).map_err(|faults| faults.to_string());
    let read = read.and_then(|package| {
        let signature = signature_of(&package, key)?;
        Ok((package, signature))
    });
    match read {
        Ok((package, signature)) if out.json => out.value(&document(&package, &signature)),
        Ok((package, signature)) => out.safe(&shown(&package, &signature, out.stdout_colour)),
        Err(faults) if out.json => Err(Failure::new(Exit::Failed, faults)),
        Err(faults) => {
            faults.lines().for_each(|fault| out.fault(fault));
            let message = format!("the package in {} is not as it has to be", shown_path(Path::new(folder)));
            Err(Failure::new(Exit::Failed, message).hint("docs/packages.md has the members of plugin.json"))
        }
    }
}

/// The key that the command line names: itself, or by its file.
fn key_of(args: &Args, text: &str) -> Result<PublicKey, Failure> {
    let problem = match text.parse::<PublicKey>() {
        Ok(key) => return Ok(key),
        Err(problem) => problem,
    };
    let mut content = String::new();
    let opened = std::fs::File::open(text);
    let read = opened.and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut content));
    let key = match read {
        Ok(_) => content.parse(),
        Err(error) => Err(format!("{problem}, and as a file: {error}")),
    };
    key.map_err(|problem| args.wrong(table::KEY, &problem, KEY_ALLOWED).into())
}

/// What there is of a signature, checked against the key if there is one.
fn signature_of(package: &PackageFolder, key: Option<PublicKey>) -> Result<Signature, String> {
    let signature = package.signature.as_deref();
    if let Some(key) = key {
        let policy = VerifyPolicy::new(None, vec![TrustedKey::of_any_package(key)]);
        let judged = policy.judge(&package.manifest, &package.manifest_bytes, signature, None, false);
        let verdict = judged.map_err(|refusal| refusal.to_string())?;
        if let Publisher::Key(key) = verdict.publisher {
            return Ok(Signature::Verified(key.id().to_string(), verdict.comment.unwrap_or_default()));
        }
    }
    let Some(signature) = signature else { return Ok(Signature::None) };
    let claimed = claimed_key(signature).map_err(|error| error.to_string())?;
    Ok(Signature::Unchecked(claimed.to_string()))
}

/// The package for a person.
fn shown(package: &PackageFolder, signature: &Signature, colour: bool) -> String {
    let PackageFolder { manifest, digest, bytes, .. } = package;
    let about = &manifest.about;
    let mut rows = vec![
        ("id", Cell::new(manifest.id.as_str(), Style::Good)),
        ("version", manifest.version.to_string().into()),
    ];
    let optional = [
        ("type", &manifest.kind),
        ("description", &about.description),
        ("maintainer", &about.maintainer),
        ("url", &about.url),
        ("license", &about.license),
        ("language", &manifest.language),
    ];
    rows.extend(optional.into_iter().filter_map(|(name, text)| Some((name, text.clone()?.into()))));
    rows.push(("entrypoint", command(manifest).into()));
    let variables = manifest.config.env.iter();
    rows.extend(variables.map(|(name, value)| {
        ("env", format!("{}={}", name.to_string_lossy(), value.to_string_lossy()).into())
    }));
    rows.push(("transport", manifest.config.policy.transport.to_string().into()));
    let interfaces = manifest.config.interfaces.iter();
    rows.extend(
        interfaces.map(|(name, versions)| ("interface", format!("{name} {}", numbers(versions)).into())),
    );
    rows.extend(manifest.requires.host.iter().map(|range| ("requires", format!("host {range}").into())));
    let plugins = manifest.requires.plugins.iter();
    rows.extend(plugins.map(|(id, range)| ("requires", format!("plugin {id} {range}").into())));
    rows.push(("start", manifest.start.to_string().into()));
    if !manifest.can_roll_back {
        rows.push(("rollback", "not by itself".into()));
    }
    rows.extend(limits(manifest).map(|(name, value)| ("limit", format!("{name} {value}").into())));
    rows.extend(settings(manifest).map(|(name, value)| ("setting", format!("{name} {value}").into())));
    let files = text::count(manifest.files.len() as u64, "file");
    rows.push(("files", format!("{files}, {bytes} bytes, all as listed").into()));
    rows.push(("digest", format!("sha256:{digest}").into()));
    rows.push(("signature", shown_signature(signature)));
    let asked = manifest.capabilities.lines();
    if asked.is_empty() {
        rows.push(("asks for", "nothing".into()));
    }
    rows.extend(asked.into_iter().map(|line| ("asks for", Cell::new(line, Style::Warn))));
    sheet(rows, colour)
}

fn shown_signature(signature: &Signature) -> Cell {
    match signature {
        Signature::None => "none; checksums: against accidents, not attackers".into(),
        Signature::Unchecked(key) => {
            Cell::new(format!("of key {key}, not checked; name the key with --{}", table::KEY), Style::Warn)
        }
        Signature::Verified(key, comment) => {
            Cell::new(format!("of key {key}, verified: {comment}"), Style::Good)
        }
    }
}

fn command(manifest: &Manifest) -> String {
    let args = manifest.config.args.iter().map(|arg| arg.to_string_lossy());
    std::iter::once(manifest.entrypoint.as_str().into()).chain(args).collect::<Vec<_>>().join(" ")
}

fn numbers(versions: &[u32]) -> String {
    versions.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// The limits that it asks to be held to, as they would be written.
fn limits(manifest: &Manifest) -> impl Iterator<Item = (&'static str, String)> {
    LIMITS.iter().filter_map(|(name, kind)| {
        let number = *manifest.limits.get(name)?;
        let is_bytes = matches!(kind, Kind::Bytes(..));
        Some((*name, if is_bytes { show_bytes(number) } else { number.to_string() }))
    })
}

/// The settings that it names, as they would be written.
fn settings(manifest: &Manifest) -> impl Iterator<Item = (&'static str, String)> {
    let named = POLICY.iter().filter(|setting| manifest.settings.contains(&setting.key));
    named.map(|setting| (setting.key, setting.show(&manifest.config.policy)))
}

/// The package for a machine.
fn document(package: &PackageFolder, signature: &Signature) -> Value {
    let manifest = &package.manifest;
    let about = &manifest.about;
    let requires: serde_json::Map<String, Value> = manifest
        .requires
        .plugins
        .iter()
        .map(|(id, range)| (id.to_string(), range.to_string().into()))
        .collect();
    let variables =
        manifest.config.env.iter().map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()));
    json!({
        "id": manifest.id,
        "version": manifest.version.to_string(),
        "type": manifest.kind,
        "about": {
            "description": about.description, "maintainer": about.maintainer, "url": about.url, "license": about.license,
        },
        "language": manifest.language,
        "entrypoint": manifest.entrypoint.as_str(),
        "args": manifest.config.args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>(),
        "env": variables.collect::<std::collections::BTreeMap<_, _>>(),
        "transport": manifest.config.policy.transport.to_string(),
        "interfaces": manifest.config.interfaces,
        "requires": {"host": manifest.requires.host.as_ref().map(ToString::to_string), "plugins": requires},
        "capabilities": manifest.capabilities.lines(),
        "limits": manifest.limits,
        "start": manifest.start.to_string(),
        "rollback": manifest.can_roll_back,
        "settings": settings(manifest).collect::<std::collections::BTreeMap<_, _>>(),
        "files": manifest.files.len(),
        "bytes": package.bytes,
        "digest": format!("sha256:{}", package.digest),
        "signature": match signature {
            Signature::None => Value::Null,
            Signature::Unchecked(key) => json!({"key": key, "verified": false, "comment": null}),
            Signature::Verified(key, comment) => json!({"key": key, "verified": true, "comment": comment}),
        },
    })
}
