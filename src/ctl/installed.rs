//! `install`, `package ID`, `remove`, `rollback`, `pin` and `acknowledge`: what is installed, and which version of it is active.
//!
//! What it deliberately does not do: judge a package; the daemon does. What is installed is opened as this user, and the daemon
//! is passed the folder's descriptor.

use super::client::RequestExtras;
use super::commands::read;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::{Invocation, table};
use crate::cli::columns::{Cell, sheet};
use crate::cli::text::Style;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin::PluginRef;
use rpc_plugin_wire::admin_install::{
    ActivateReply, InstallParams, InstallProgress, PackageReply, PinParams, RemoveParams, RemoveReply,
    RollbackParams,
};
use rpc_plugin_wire::admin_packages::{
    METHOD_ACKNOWLEDGE, METHOD_INSTALL, METHOD_PACKAGE, METHOD_PIN, METHOD_REMOVE, METHOD_ROLLBACK,
};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A folder with a package in it, and what of it this user vouches for.
struct InstallSource {
    folder: OwnedFd,
    /// The SHA-256 that its manifest has to have.
    sha256: Option<String>,
    /// Whether it need not be signed.
    unsigned: bool,
}

impl Invocation<'_> {
    pub(super) fn install(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let path = self.args.path(table::FOLDER).ok_or_else(|| self.args.lacking("a FOLDER is missing"))?;
        let source = self.source(path)?;
        let params = InstallParams {
            source: path.to_string_lossy().into_owned(),
            sha256: source.sha256,
            downgrade: self.args.is_set(table::DOWNGRADE),
            unsigned: source.unsigned,
            no_rollback: self.args.is_set(table::NO_ROLLBACK),
        };
        let answer = {
            let mut progress = |value: &serde_json::value::RawValue| match serde_json::from_str(value.get()) {
                Ok(InstallProgress { done, total }) if !out.json => {
                    out.tell(&format!("{done} of {total} bytes are copied"));
                }
                _ => out.progress(value),
            };
            let extras = RequestExtras { fds: vec![source.folder], ..RequestExtras::nothing(&mut progress) };
            self.ask_of_packages(METHOD_INSTALL, &params, extras)?
        };
        if out.json {
            return out.document(&answer);
        }
        print_activated(out, "installed", &read::<ActivateReply>(METHOD_INSTALL, &answer)?)
    }

    /// Opens what the command line names.
    fn source(&self, path: &Path) -> Result<InstallSource, Failure> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let folder = open(path, flags, Mode::empty()).map_err(|errno| {
            Failure::new(Exit::Failed, format!("cannot open the folder {path:?}: {}", errno.desc()))
        })?;
        // Whoever names a folder has it before him.
        Ok(InstallSource {
            folder,
            sha256: self.args.text(table::SHA256)?.map(str::to_owned),
            unsigned: true,
        })
    }

    /// The argument that names the package.
    fn place(&self) -> &'static str {
        let argument = self.args.command.and_then(|command| command.positionals.first());
        argument.map_or(table::ID, |argument| argument.name)
    }

    /// The package that the command line names, and the version behind its `@`.
    fn package_and_version(&self) -> Result<(PluginId, Option<String>), Failure> {
        let place = self.place();
        let text = self.args.text(place)?.ok_or_else(|| self.args.lacking("an ID is missing"))?;
        let (id, version) = text.split_once('@').map_or((text, None), |(id, version)| (id, Some(version)));
        let id = id.parse().map_err(|error| self.args.wrong(place, text, &format!("the ID {error}")))?;
        match version {
            Some("") => Err(self.args.wrong(place, text, "a version is missing behind the '@'").into()),
            version => Ok((id, version.map(str::to_owned))),
        }
    }

    /// The same, where no version is expected.
    fn package_alone(&self) -> Result<PluginId, Failure> {
        match self.package_and_version()? {
            (id, None) => Ok(id),
            (id, Some(version)) => {
                let text = format!("{id}@{version}");
                Err(self.args.wrong(self.place(), &text, "no version is taken here").into())
            }
        }
    }

    pub(super) fn installed_package(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let params = PluginRef { plugin_id: self.package_alone()? };
        let answer = self.ask_of_packages(METHOD_PACKAGE, &params, RequestExtras::nothing(&mut |_| {}))?;
        if out.json {
            return out.document(&answer);
        }
        let text = shown(&read::<PackageReply>(METHOD_PACKAGE, &answer)?, out.stdout_colour);
        out.safe(&text)
    }

    pub(super) fn remove_package(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let (plugin_id, version) = self.package_and_version()?;
        let data = self.args.is_set(table::DATA);
        if data && version.is_some() {
            return Err(self.args.wrong(table::DATA, "", "data goes with all versions, not with one").into());
        }
        let params = RemoveParams { plugin_id, version, data };
        let answer = self.ask_of_packages(METHOD_REMOVE, &params, RequestExtras::nothing(&mut |_| {}))?;
        if out.json {
            return out.document(&answer);
        }
        let reply: RemoveReply = read(METHOD_REMOVE, &answer)?;
        let data = if reply.data { ", with its data" } else { "" };
        out.safe(&format!("{}: removed {}{data}\n", reply.plugin_id, reply.removed.join(", ")))
    }

    pub(super) fn rollback(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let params = RollbackParams {
            plugin_id: self.package_alone()?,
            downgrade: self.args.is_set(table::DOWNGRADE),
        };
        self.activate(out, METHOD_ROLLBACK, &params, "went back")
    }

    pub(super) fn pin(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let (plugin_id, version) = self.package_and_version()?;
        let off = self.args.is_set(table::OFF);
        if off && version.is_some() {
            return Err(self.args.wrong(table::OFF, "", "there is a version to pin it to").into());
        }
        self.activate(
            out,
            METHOD_PIN,
            &PinParams { plugin_id, version, off },
            if off { "unpinned" } else { "pinned" },
        )
    }

    pub(super) fn acknowledge(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let params = PluginRef { plugin_id: self.package_alone()? };
        let answer =
            self.ask_of_packages(METHOD_ACKNOWLEDGE, &params, RequestExtras::nothing(&mut |_| {}))?;
        if out.json {
            out.document(&answer)
        } else {
            out.safe(&format!("{}: acknowledged\n", params.plugin_id))
        }
    }

    fn activate(
        &self,
        out: &mut Out<'_>,
        method: &str,
        params: &impl serde::Serialize,
        done: &str,
    ) -> Result<(), Failure> {
        let answer = self.ask_of_packages(method, params, RequestExtras::nothing(&mut |_| {}))?;
        if out.json {
            return out.document(&answer);
        }
        print_activated(out, done, &read::<ActivateReply>(method, &answer)?)
    }
}

/// Which version is active after a change, and what becomes of the plugin.
pub(super) fn print_activated(out: &mut Out<'_>, done: &str, reply: &ActivateReply) -> Result<(), Failure> {
    let ActivateReply { plugin_id, version, before, on_trial, publisher, verified, plugin } = reply;
    let mut rest = String::new();
    match before {
        Some(before) if before != version => rest.push_str(&format!(", before it {before}")),
        Some(_) => rest.push_str(", as before"),
        None => {}
    }
    publisher.iter().for_each(|publisher| rest.push_str(&format!(", {publisher}")));
    verified.iter().for_each(|verified| rest.push_str(&format!(" ({verified})")));
    plugin.iter().for_each(|plugin| rest.push_str(&format!("; {plugin}")));
    if *on_trial {
        rest.push_str("; on trial until it was healthy for a minute");
    }
    out.line(&[
        (plugin_id.as_str(), Style::Plain),
        (&format!(": {done}, "), Style::Plain),
        (version, Style::Good),
        (" is active", Style::Plain),
        (&rest, Style::Plain),
    ])
}

/// What is known of a package, for a person.
fn shown(reply: &PackageReply, colour: bool) -> String {
    let PackageReply { status, versions, asks_for, data, note } = reply;
    let mut rows: Vec<(&str, Cell)> = Vec::new();
    let optional = [
        ("id", status.plugin_id.as_ref().map(ToString::to_string)),
        ("version", status.version.clone()),
        ("type", status.kind.clone()),
        ("folder", status.folder.clone()),
        ("publisher", status.publisher.clone()),
        ("verified", status.verified.clone()),
        ("reason", status.reason.clone()),
        ("data", data.clone()),
    ];
    rows.extend(optional.into_iter().filter_map(|(name, text)| Some((name, text?.into()))));
    rows.extend(note.iter().map(|note| ("note", Cell::new(note.clone(), Style::Warn))));
    rows.extend(versions.iter().map(|stored| {
        let is = stored.is.join(", ");
        ("stored", format!("{}{}{is}", stored.version, if is.is_empty() { "" } else { "  " }).into())
    }));
    rows.extend(asks_for.iter().map(|line| ("asks for", Cell::new(line.clone(), Style::Warn))));
    sheet(rows, colour)
}
