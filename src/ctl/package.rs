//! `package FOLDER`: what a package is and asks for, and whether its files are those that it lists. No daemon is asked.

use super::exit::{Exit, Failure};
use super::out::Out;
use super::table;
use crate::cli::Args;
use crate::cli::columns::{Cell, sheet};
use crate::cli::text::{self, Style};
use crate::package::manifest::LIMITS;
use crate::package::{Manifest, PackageFolder, read_folder, shown_path};
use crate::settings::{Kind, POLICY, show_bytes};
use serde_json::{Value, json};
use std::path::Path;

/// Reads the folder that the command line names, and prints what is in it.
pub(super) fn package(args: &Args, out: &mut Out<'_>) -> Result<(), Failure> {
    let folder = args.path(table::FOLDER).ok_or_else(|| args.lacking("a FOLDER is missing"))?;
    let package = match read_folder(Path::new(folder)) {
        Ok(package) => package,
        Err(faults) => {
            let faults = faults.to_string();
            if out.json {
                return Err(Failure::new(Exit::Failed, faults));
            }
            faults.lines().for_each(|fault| out.fault(fault));
            let message = format!("the package in {} is not as it has to be", shown_path(Path::new(folder)));
            return Err(
                Failure::new(Exit::Failed, message).hint("docs/packages.md has the members of plugin.json")
            );
        }
    };
    if out.json { out.value(&document(&package)) } else { out.safe(&shown(&package, out.stdout_colour)) }
}

/// The package for a person.
fn shown(package: &PackageFolder, colour: bool) -> String {
    let PackageFolder { manifest, digest, bytes, has_signature, .. } = package;
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
    rows.extend(limits(manifest).map(|(name, value)| ("limit", format!("{name} {value}").into())));
    rows.extend(settings(manifest).map(|(name, value)| ("setting", format!("{name} {value}").into())));
    let files = text::count(manifest.files.len() as u64, "file");
    rows.push(("files", format!("{files}, {bytes} bytes, all as listed").into()));
    rows.push(("digest", format!("sha256:{digest}").into()));
    rows.push(("signature", if *has_signature { "there, not checked" } else { "none" }.into()));
    let asked = manifest.capabilities.lines();
    if asked.is_empty() {
        rows.push(("asks for", "nothing".into()));
    }
    rows.extend(asked.into_iter().map(|line| ("asks for", Cell::new(line, Style::Warn))));
    sheet(rows, colour)
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
fn document(package: &PackageFolder) -> Value {
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
        "settings": settings(manifest).collect::<std::collections::BTreeMap<_, _>>(),
        "files": manifest.files.len(),
        "bytes": package.bytes,
        "digest": format!("sha256:{}", package.digest),
        "signature": package.has_signature,
    })
}
