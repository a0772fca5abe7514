//! `install`, `package ID`, `remove`, `rollback`, `pin`, `approve`, `disable`, `enable` and `acknowledge`: what is installed, and
//! which version of it is active.
//!
//! What it deliberately does not do: judge a package; the daemon does. What is installed is opened as this user, and the daemon
//! is passed the folder's descriptor.

use super::client::RequestExtras;
use super::commands::read;
use super::exit::{Exit, Failure};
use super::install::{Expected, Unpacked, open_archive};
use super::out::Out;
use super::packages::listed;
use super::{Invocation, table};
use crate::cli::columns::{Cell, sheet};
use crate::cli::text::Style;
use crate::package::digest::{DIGEST_ALLOWED, Digest};
use crate::sys::interrupts::Interrupts;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use rpc_plugin_wire::PluginId;
use rpc_plugin_wire::admin::PluginRef;
use rpc_plugin_wire::admin_install::{
    ActivateReply, InstallParams, InstallProgress, PackageReply, PinParams, RemoveParams, RemoveReply,
    RollbackParams,
};
use rpc_plugin_wire::admin_packages::{
    METHOD_ACKNOWLEDGE, METHOD_APPROVE_PUBLISHER, METHOD_INSTALL, METHOD_PACKAGE, METHOD_PIN, METHOD_REMOVE,
    METHOD_ROLLBACK, SwitchReply,
};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Pause between two lines that tell how far the reading of an archive is.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);

/// A folder with a package in it, and what of it this user vouches for.
struct InstallSource {
    folder: OwnedFd,
    /// The SHA-256 that its manifest has to have.
    sha256: Option<String>,
    /// Whether it need not be signed.
    unsigned: bool,
    /// Where the folder is from an archive: it goes when the daemon has answered.
    unpacked: Option<Unpacked>,
    /// What would end this process before the folder has gone. Dropped last.
    interrupts: Option<Interrupts>,
}

impl Invocation<'_> {
    /// Asks for the packages by that method, and prints them.
    pub(super) fn list_packages(&self, out: &mut Out<'_>, method: &str) -> Result<(), Failure> {
        let answer = self.ask_of_packages(method, &(), RequestExtras::nothing(&mut |_| {}))?;
        if out.json {
            return out.document(&answer);
        }
        let text = listed(&read(method, &answer)?, out.stdout_columns, out.stdout_colour);
        out.safe(&text)
    }

    pub(super) fn install(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let path = self
            .args
            .path(table::SOURCE)
            .ok_or_else(|| self.args.lacking("a FOLDER, FILE or - is missing"))?;
        let source = self.source(path, out)?;
        let params = InstallParams {
            source: path.to_string_lossy().into_owned(),
            sha256: source.sha256,
            downgrade: self.args.is_set(table::DOWNGRADE),
            unsigned: source.unsigned,
            no_rollback: self.args.is_set(table::NO_ROLLBACK),
        };
        let answered = {
            let mut progress = |value: &serde_json::value::RawValue| match serde_json::from_str(value.get()) {
                Ok(InstallProgress { done, total }) if !out.json => {
                    out.tell(&format!("{done} of {total} bytes are copied"));
                }
                _ => out.progress(value),
            };
            let cancelled_by = source.interrupts.iter().map(AsFd::as_fd).collect();
            let extras = RequestExtras { progress: &mut progress, fds: vec![source.folder], cancelled_by };
            self.ask_of_packages(METHOD_INSTALL, &params, extras)
        };
        // The daemon has what it needs of it.
        drop(source.unpacked);
        let answer = answered?;
        if out.json {
            return out.document(&answer);
        }
        print_activated(out, "installed", &read::<ActivateReply>(METHOD_INSTALL, &answer)?)
    }

    /// Opens what the command line names: a folder, or an archive, which is unpacked.
    fn source(&self, path: &Path, out: &mut Out<'_>) -> Result<InstallSource, Failure> {
        let sha256 = self.args.text(table::SHA256)?.map(str::to_owned);
        let is_folder = path != Path::new("-") && path.is_dir();
        if is_folder {
            // Whoever names a folder has it before him.
            let folder = open_folder(path)?;
            return Ok(InstallSource { folder, sha256, unsigned: true, unpacked: None, interrupts: None });
        }
        let interrupts = match out.is_process {
            true => Some(Interrupts::hold().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?),
            false => None,
        };
        let unpacked = self.unpack(path, sha256.as_deref(), interrupts.as_ref(), out)?;
        let unsigned = sha256.is_some() || self.args.is_set(table::UNSIGNED);
        let folder = open_folder(&unpacked.path())?;
        Ok(InstallSource { folder, sha256: None, unsigned, unpacked: Some(unpacked), interrupts })
    }

    /// Unpacks an archive whose bytes have that SHA-256, if it is named.
    fn unpack(
        &self,
        path: &Path,
        sha256: Option<&str>,
        interrupts: Option<&Interrupts>,
        out: &mut Out<'_>,
    ) -> Result<Unpacked, Failure> {
        let digest = sha256.map(|text| {
            let digest = Digest::from_hex(text);
            digest.ok_or_else(|| self.args.wrong(table::SHA256, text, DIGEST_ALLOWED))
        });
        let digest = digest.transpose()?;
        let expected = Expected { digest, may_be_unsigned: self.args.is_set(table::UNSIGNED) };
        let mut told = Instant::now();
        let mut progress = |done, total| {
            if told.elapsed() >= PROGRESS_PAUSE {
                told = Instant::now();
                out.tell(&format!("{done} of {total} bytes of the archive are read"));
            }
        };
        open_archive(path, expected, interrupts, &mut progress).map_err(|mut faults| {
            let last = faults.pop().unwrap_or_default();
            if out.json {
                faults.push(last);
                return Failure::new(Exit::Failed, faults.join("\n"));
            }
            faults.iter().for_each(|fault| out.fault(fault));
            Failure::new(Exit::Failed, last).hint("nothing was installed")
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
        let removed = match (reply.removed.join(", "), reply.data) {
            // Its versions were removed before.
            (versions, true) if versions.is_empty() => "what was left of it".to_owned(),
            (versions, true) => format!("{versions}, with its data"),
            (versions, false) => versions,
        };
        out.safe(&format!("{}: removed {removed}\n", reply.plugin_id))
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

    /// Disables a package, or enables it.
    pub(super) fn switch(&self, out: &mut Out<'_>, method: &str, done: &str) -> Result<(), Failure> {
        let params = PluginRef { plugin_id: self.package_alone()? };
        let answer = self.ask_of_packages(method, &params, RequestExtras::nothing(&mut |_| {}))?;
        if out.json {
            return out.document(&answer);
        }
        let SwitchReply { plugin } = read(method, &answer)?;
        out.safe(&format!("{}: {done}, {plugin}\n", params.plugin_id))
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

    pub(super) fn approve(&self, out: &mut Out<'_>) -> Result<(), Failure> {
        let params = PluginRef { plugin_id: self.package_alone()? };
        if !self.args.is_set(table::NEW_PUBLISHER) {
            let what = format!("what is approved is missing: --{}", table::NEW_PUBLISHER);
            return Err(self.args.lacking(what).into());
        }
        let answer =
            self.ask_of_packages(METHOD_APPROVE_PUBLISHER, &params, RequestExtras::nothing(&mut |_| {}))?;
        if out.json {
            return out.document(&answer);
        }
        let id = params.plugin_id;
        out.safe(&format!(
            "{id}: the next install may be of another publisher, who gets nothing of the one before\n"
        ))
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

fn open_folder(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).map_err(|errno| {
        Failure::new(Exit::Failed, format!("cannot open the folder {path:?}: {}", errno.desc()))
    })
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
