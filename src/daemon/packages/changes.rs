//! What an operator changes of what is installed: the admin methods install, package, remove, rollback, pin,
//! approve_publisher, disable, enable and acknowledge.
//!
//! What it deliberately does not do: run plugins; `apply` does, and says what became of one.
//!
//! What always holds: each change is on record with the operation that it is a part of; an install does not hold up the end
//! of the daemon.

use super::answers::{goes_on, host_error, params, refusal, reply};
use super::shown;
use crate::host::{AdminAnswer, DelegatedRequest, EventKind, Host, Note, PluginId};
use crate::package::OpenPackage;
use crate::package::digest::Digest;
use crate::package::publisher::PublisherVerdict;
use crate::package::set::{Activated, ChangeError, InstallOptions, PackageSet, Removal};
use crate::state::closing::into_owned;
use rpc_plugin_wire::admin::PluginRef;
use rpc_plugin_wire::admin_install::{
    ActivateReply, InstallParams, InstallProgress, PinParams, RemoveParams, RemoveReply, RollbackParams,
};
use rpc_plugin_wire::admin_packages::SwitchReply;
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// From one report of how far an install is to the next.
const PROGRESS_PAUSE: Duration = Duration::from_millis(500);

/// What changes need: the packages, the host that runs them, and the versions on trial.
pub(super) struct Changes<'a> {
    pub(super) set: &'a PackageSet,
    pub(super) host: &'a Host,
    /// Has the plugin of a package run as its active version, or end where there is none; says what became of it.
    pub(super) apply: &'a mut dyn FnMut(&PluginId) -> String,
}

impl Changes<'_> {
    /// Serves a method, if it is one of packages that this daemon has.
    pub(super) fn serve(&mut self, request: &mut DelegatedRequest) -> Option<AdminAnswer> {
        use rpc_plugin_wire::admin_packages as methods;
        Some(match &*request.method {
            methods::METHOD_INSTALL => self.install(request),
            methods::METHOD_PACKAGE => params(request)
                .and_then(|PluginRef { plugin_id }| shown::package(self.set, &plugin_id))
                .and_then(|package| reply(&package)),
            methods::METHOD_REMOVE => self.remove(request),
            methods::METHOD_ROLLBACK => self.roll_back(request),
            methods::METHOD_PIN => self.pin(request),
            methods::METHOD_APPROVE_PUBLISHER => self.remember(request, |set, id| set.approve_publisher(id)),
            methods::METHOD_DISABLE => self.disable(request),
            methods::METHOD_ENABLE => self.enable(request),
            methods::METHOD_ACKNOWLEDGE => self.remember(request, |set, id| set.acknowledge(id)),
            _ => return None,
        })
    }

    fn install(&mut self, request: &mut DelegatedRequest) -> AdminAnswer {
        let InstallParams { source, sha256, downgrade, unsigned, no_rollback } = params(request)?;
        let wrong = |text: String| ErrorObject::new(ErrorCode::InvalidParams, text);
        let Some(folder) = into_owned(std::mem::take(&mut request.fds)).into_iter().next() else {
            return Err(wrong("the descriptor of the package's folder is missing".to_owned()));
        };
        let expected = sha256
            .map(|hex| {
                Digest::from_hex(&hex).ok_or_else(|| wrong(format!("{hex:?} is no SHA-256 of 64 digits")))
            })
            .transpose()?;
        let package =
            OpenPackage::read(folder, Path::new(&source)).map_err(|faults| wrong(faults.to_string()))?;
        let options = InstallOptions::new(expected, downgrade, unsigned, no_rollback);
        let mut told = Instant::now();
        let mut progress = |done, total| {
            if told.elapsed() >= PROGRESS_PAUSE {
                told = Instant::now();
                if let Ok(value) = serde_json::value::to_raw_value(&InstallProgress { done, total }) {
                    request.reply.progress(value);
                }
            }
            goes_on(self.host)
        };
        let installed = self.set.install(&package, &options, &mut progress);
        let installed = installed.map_err(|error| refusal(&error))?;
        let activated = Activated { key: installed.key.clone(), before: installed.before.clone() };
        let verdict = Some(&installed.verdict);
        self.activated(request, EventKind::PackageInstalled, &installed.id, activated, verdict)
    }

    fn roll_back(&mut self, request: &DelegatedRequest) -> AdminAnswer {
        let RollbackParams { plugin_id, downgrade } = params(request)?;
        let mut on = |_, _| goes_on(self.host);
        let activated =
            self.set.roll_back(&plugin_id, downgrade, &mut on).map_err(|error| refusal(&error))?;
        self.activated(request, EventKind::PackageActivated, &plugin_id, activated, None)
    }

    fn pin(&mut self, request: &DelegatedRequest) -> AdminAnswer {
        let PinParams { plugin_id, version, off } = params(request)?;
        let mut on = |_, _| goes_on(self.host);
        let activated = match off {
            true => self.set.unpin(&plugin_id),
            false => self.set.pin(&plugin_id, version.as_deref(), &mut on),
        };
        let activated = activated.map_err(|error| refusal(&error))?;
        self.activated(request, EventKind::PackageActivated, &plugin_id, activated, None)
    }

    /// A version has become the active one, or still is: it runs, that is on record, and the operator is told.
    fn activated(
        &mut self,
        request: &DelegatedRequest,
        kind: EventKind,
        id: &PluginId,
        activated: Activated,
        verdict: Option<&PublisherVerdict>,
    ) -> AdminAnswer {
        let Activated { key, before } = activated;
        let has_changed = before.as_ref() != Some(&key);
        if has_changed {
            let before = before.as_ref().map_or_else(String::new, |before| format!(", before it {before}"));
            let mut note = Note::new(kind, format!("{key} is active{before}")).details(
                json!({"version": key, "publisher": verdict.map(|verdict| verdict.publisher.shown())}),
            );
            (note.plugin_id, note.operation_id) = (Some(id.clone()), Some(request.operation_id.clone()));
            self.host.record(note);
        }
        // One that was damaged had no plugin, and is whole again.
        let is_missing = self.host.plugin(id).is_err();
        let plugin = (has_changed || is_missing).then(|| (self.apply)(id));
        let on_trial = self.set.store().record(id).is_ok_and(|record| {
            record.trial.is_some_and(|trial| trial.version == key && trial.stays.is_none())
        });
        reply(&ActivateReply {
            plugin_id: id.clone(),
            version: key.to_string(),
            before: before.map(|before| before.to_string()),
            on_trial,
            publisher: verdict.map(|verdict| verdict.publisher.shown()),
            verified: verdict.map(|_| self.set.verify_mode().shown().to_owned()),
            plugin,
        })
    }

    fn remove(&mut self, request: &DelegatedRequest) -> AdminAnswer {
        let RemoveParams { plugin_id, version, data } = params(request)?;
        let removal = match (version, data) {
            (Some(version), _) => Removal::Version(version),
            (None, false) => Removal::Package,
            (None, true) => Removal::PackageAndData,
        };
        let removed = self.set.remove(&plugin_id, &removal).map_err(|error| refusal(&error))?;
        let removed: Vec<String> = removed.iter().map(ToString::to_string).collect();
        let what = if removed.is_empty() { "what was left of it".to_owned() } else { removed.join(", ") };
        let mut note = Note::new(EventKind::PackageRemoved, what).details(json!({"data": data}));
        (note.plugin_id, note.operation_id) = (Some(plugin_id.clone()), Some(request.operation_id.clone()));
        self.host.record(note);
        (self.apply)(&plugin_id);
        reply(&RemoveReply { plugin_id, removed, data })
    }

    /// Stops the plugin of a package, also for daemons to come.
    fn disable(&mut self, request: &DelegatedRequest) -> AdminAnswer {
        let PluginRef { plugin_id } = params(request)?;
        self.set.details(&plugin_id).map_err(|error| refusal(&error))?;
        // First, as it is refused while plugins run that are started after it. A plugin that is not there does not run.
        if let Ok(plugin) = self.host.plugin(&plugin_id) {
            plugin.stop().map_err(host_error)?;
        }
        self.set.set_disabled(&plugin_id, true).map_err(|error| refusal(&error))?;
        // So that no call starts it.
        let plugin = (self.apply)(&plugin_id);
        reply(&SwitchReply { plugin })
    }

    /// Lets the plugin of a package start again, and starts it if it starts with the daemon.
    fn enable(&mut self, request: &DelegatedRequest) -> AdminAnswer {
        let PluginRef { plugin_id } = params(request)?;
        self.set.set_disabled(&plugin_id, false).map_err(|error| refusal(&error))?;
        let mut plugin = (self.apply)(&plugin_id);
        let launch = self.set.launch(&plugin_id, &mut |_, _| goes_on(self.host));
        if launch.is_ok_and(|launch| launch.autostart)
            && let Ok(handle) = self.host.plugin(&plugin_id)
        {
            handle.start().map_err(host_error)?;
            "its plugin is started".clone_into(&mut plugin);
        }
        reply(&SwitchReply { plugin })
    }

    /// What changes nothing but the record.
    fn remember(
        &self,
        request: &DelegatedRequest,
        change: impl FnOnce(&PackageSet, &PluginId) -> Result<(), Box<ChangeError>>,
    ) -> AdminAnswer {
        let PluginRef { plugin_id } = params(request)?;
        change(self.set, &plugin_id).map_err(|error| refusal(&error))?;
        reply(&json!({}))
    }
}
