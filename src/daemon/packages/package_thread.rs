//! The thread of packages: what it is asked, what happens in the host, and when a trial is over.
//!
//! What always holds: a change of the active version reaches the host once it is in the store, and not before.

use super::answers::{goes_on, host_error, params, refusal, reply};
use super::changes::Changes;
use super::found::{Apply, FoundPackages};
use super::trials::{self, Judged, Trials};
use crate::daemon::config::OnChange;
use crate::host::{
    AdminAnswer, ClaimedRestarts, DelegatedRequest, EventKind, Host, HostError, Level, LifecycleEvent, Note,
};
use crate::host::{Desired, PluginConfig, PluginId, PluginState, StartMode};
use crate::package::set::{ChangeError, ChangeResult, PackageOptions, PackageSet};
use crate::package::store::VersionKey;
use crate::package::trial::{TrialFault, TrialTerms};
use crossbeam_channel::{Receiver, never, select};
use rpc_plugin_wire::admin::{ActParams, DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX, METHOD_RESTART, NoParams};
use rpc_plugin_wire::admin_packages::{METHOD_INSTALL, METHOD_PACKAGES, METHOD_RESCAN, PackageList};
use rpc_plugin_wire::{ErrorCode, ErrorObject};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Events of the host that wait for the thread. Of what was missed the states are read.
pub(super) const EVENTS_MAX: usize = 1024;
/// Restarts that are waited for at once, each by a thread.
const RESTARTS_MAX: usize = 16;
/// The longest wait of the thread for something to do.
const IDLE: Duration = Duration::from_secs(3600);

/// Whether the thread is told of such an event.
pub(super) fn is_watched(kind: EventKind, level: Level) -> bool {
    trials::is_watched(kind, level)
}

/// The packages, as far as there are any.
pub(super) enum OpenSet {
    /// The state folder is open.
    Open(Box<PackageSet>),
    /// There is none yet; the first install makes it.
    Unmade(Box<PackageOptions>),
    /// It cannot be used, for this reason.
    Unusable(String),
}

impl OpenSet {
    /// The packages; made where there are none yet, if `makes`.
    fn get(&mut self, makes: bool) -> Result<Option<&mut PackageSet>, ErrorObject> {
        if let OpenSet::Unmade(options) = self
            && makes
        {
            let opened = PackageSet::open((**options).clone());
            *self = OpenSet::Open(Box::new(opened.map_err(|error| unavailable(&error.to_string()))?));
        }
        match self {
            OpenSet::Open(set) => Ok(Some(set)),
            OpenSet::Unmade(_) => Ok(None),
            OpenSet::Unusable(why) => Err(unavailable(why)),
        }
    }
}

fn unavailable(why: &str) -> ErrorObject {
    ErrorObject::new(ErrorCode::Unavailable, format!("packages: {why}"))
}

/// Owns the packages of a daemon.
pub(super) struct PackageThread {
    host: Host,
    set: OpenSet,
    /// Plugins that are configured with an executable.
    plain: BTreeSet<PluginId>,
    plugins: PackagePlugins,
    found: FoundPackages,
    /// Restarts that take what has changed before.
    restarts: Arc<ClaimedRestarts>,
    /// The count of threads that wait for a restart: each holds it, beside this one.
    restarting: Arc<()>,
}

impl PackageThread {
    pub(super) fn new(
        host: Host,
        set: OpenSet,
        plain: BTreeSet<PluginId>,
        (on_change, restarts): (OnChange, Arc<ClaimedRestarts>),
    ) -> PackageThread {
        let plugins =
            PackagePlugins { trials: Trials::new(), cared_for: BTreeSet::new(), leaving: BTreeSet::new() };
        let dirs = if let OpenSet::Open(set) = &set { set.dirs() } else { &[] };
        let found = FoundPackages::start(&host, dirs, on_change);
        PackageThread { host, set, plain, plugins, found, restarts, restarting: Arc::default() }
    }

    /// Has the plugins of all packages run that are stored and are to. Gives those that were started.
    pub(super) fn start_stored(&mut self) -> BTreeSet<PluginId> {
        let mut started = BTreeSet::new();
        self.with_found(|found, host, set, apply| started = found.start_stored(host, set, apply));
        started
    }

    /// Does something with what is in folders, and claims the restarts of what has changed there.
    fn with_found(&mut self, act: impl FnOnce(&mut FoundPackages, &Host, &mut PackageSet, Apply<'_>)) {
        let PackageThread { host, set, plain, plugins, found, restarts, .. } = self;
        let Ok(Some(set)) = set.get(false) else { return };
        let mut apply = |set: &PackageSet, id: &PluginId| plugins.apply(host, set, plain, id);
        act(found, host, set, &mut apply);
        restarts.claim(found.changed().clone());
    }

    /// Serves requests, looks after folders and after trials until the host ends.
    pub(super) fn run(mut self, requests: &Receiver<DelegatedRequest>, events: &Receiver<LifecycleEvent>) {
        loop {
            let trial =
                self.plugins.trials.deadline().map(|until| until.saturating_duration_since(Instant::now()));
            let wait = trial.into_iter().chain(self.found.wait()).min().unwrap_or(IDLE);
            let changed = self.found.watching().map_or_else(never, |watching| watching.ready().clone());
            select! {
                recv(requests) -> request => match request {
                    Ok(request) => self.serve(request),
                    Err(_) => return,
                },
                recv(events) -> event => match event {
                    Ok(event) => self.happened(&event),
                    Err(_) => return,
                },
                recv(changed) -> told => if told.is_err() {
                    self.found.unwatch(&self.host);
                },
                default(wait) => {}
            }
            for judged in self.plugins.trials.due() {
                self.judged(judged);
            }
            if self.found.is_due() {
                self.with_found(FoundPackages::look_if_due);
            }
        }
    }

    fn serve(&mut self, mut request: DelegatedRequest) {
        if request.method == METHOD_RESTART {
            return self.restart(request);
        }
        let answer = self.answer(&mut request);
        request.reply.answer(answer);
    }

    fn answer(&mut self, request: &mut DelegatedRequest) -> AdminAnswer {
        let is_rescan = request.method == METHOD_RESCAN;
        if is_rescan || request.method == METHOD_PACKAGES {
            let NoParams {} = params(request)?;
            if is_rescan {
                self.with_found(FoundPackages::look_anew);
            }
            let unsettled = !self.found.is_settled();
            let Some(set) = self.set.get(false)? else { return reply(&PackageList::default()) };
            let list = set.statuses().map_err(|error| refusal(&ChangeError::Store(error)))?;
            return reply(&PackageList { unsettled, ..list });
        }
        let PackageThread { host, set, plain, plugins, .. } = self;
        let Some(set) = set.get(request.method == METHOD_INSTALL)? else {
            return Err(ErrorObject::new(ErrorCode::UnknownPlugin, "no package is installed"));
        };
        let mut apply = |id: &PluginId| {
            plugins
                .apply(host, set, plain, id)
                .unwrap_or_else(|why| format!("its plugin does not run: {why}"))
        };
        let mut changes = Changes { set, host, apply: &mut apply };
        let answer = changes.serve(request).unwrap_or_else(|| {
            let text = format!("{} is not served by this daemon", request.method);
            Err(ErrorObject::new(ErrorCode::MethodNotFound, text))
        });
        // Who wins an id may have changed.
        self.with_found(FoundPackages::decide_anew);
        answer
    }

    /// Takes what has changed of a package, and restarts its plugin. Its restart is waited for on a thread of its own.
    fn restart(&mut self, request: DelegatedRequest) {
        // Before anything is done, so that it can be asked for again.
        if Arc::strong_count(&self.restarting) > RESTARTS_MAX {
            let text =
                format!("{RESTARTS_MAX} restarts are waited for that take changed packages; try again later");
            return request.reply.answer(Err(ErrorObject::new(ErrorCode::Overloaded, text)));
        }
        let taken = params::<ActParams>(&request).and_then(|ActParams { plugin_id, timeout_ms }| {
            let plugin = self.host.plugin(&plugin_id).map_err(host_error)?;
            let before = plugin.status().map_err(host_error)?;
            let mut taken = Ok(());
            self.with_found(|found, host, set, apply| taken = found.take_asked(host, set, &plugin_id, apply));
            taken.map_err(|why| {
                let text = format!(
                    "{plugin_id} is not restarted, as what changed on disk cannot be taken: {why}; stop and start run the \
                     version that was imported"
                );
                ErrorObject::new(ErrorCode::InvalidParams, text)
            })?;
            if before.desired == Desired::Down {
                plugin.restart().map_err(host_error)?;
            }
            let timeout = Duration::from_millis(timeout_ms.unwrap_or(DEADLINE_MS_DEFAULT).min(DEADLINE_MS_MAX));
            Ok((plugin, before.generation, timeout))
        });
        let reply_to = request.reply;
        match taken {
            Err(error) => reply_to.answer(Err(error)),
            Ok((plugin, before, timeout)) => {
                let restarting = Arc::clone(&self.restarting);
                let wait = move || {
                    let _restarting = restarting;
                    let status = match timeout.is_zero() {
                        true => plugin.status(),
                        false => plugin.wait_routable(before, timeout),
                    };
                    reply_to.answer(status.map_err(host_error).and_then(|status| reply(&status)));
                };
                // Without a thread the dropped reply answers that it is not known what came of it.
                let _ = crate::threads::builder("packages-restart").spawn(wait);
            }
        }
    }

    fn happened(&mut self, event: &LifecycleEvent) {
        let ids: Vec<PluginId> = match (&event.note.plugin_id, event.missed) {
            (Some(id), 0) => vec![id.clone()],
            // Which ones is not known.
            _ => self.plugins.cared_for.iter().cloned().collect(),
        };
        for id in &ids {
            if !self.plugins.cared_for.contains(id) {
                continue;
            }
            self.plugins.let_go_if_down(&self.host, id);
            let is_its = event.note.plugin_id.as_ref() == Some(id);
            let failure = (is_its && event.note.kind == EventKind::RestartScheduled)
                .then(|| event.note.reason.clone().unwrap_or_default());
            if let Some(judged) = self.plugins.trials.happened(&self.host, id, failure) {
                self.judged(judged);
            }
        }
    }

    /// Acts on what a trial has come to.
    fn judged(&mut self, judged: Judged) {
        let Ok(Some(set)) = self.set.get(false) else { return };
        let (id, result) = match judged {
            Judged::Keep(id) => {
                let result = keep(&self.host, set, &id);
                (id, result)
            }
            Judged::Healthy(id) => {
                let result = set.note_health(&id).map_err(|error| error.to_string());
                (id, result)
            }
            Judged::Fails(id, fault) => match go_back(&self.host, set, &id, &fault) {
                Ok(true) => {
                    let became = self.plugins.apply(&self.host, set, &self.plain, &id);
                    (id, became.map(drop))
                }
                other => (id, other.map(drop)),
            },
        };
        if let Err(why) = result {
            let mut note =
                Note::new(EventKind::PackageTrialFailed, "its trial could not be ended").error(why);
            note.plugin_id = Some(id);
            self.host.record(note);
        }
    }
}

/// The active version is healthy.
fn keep(host: &Host, set: &PackageSet, id: &PluginId) -> Result<(), String> {
    let text = |error: Box<ChangeError>| error.to_string();
    let on_trial = set.store().record(id).map_err(|error| error.to_string())?.trial;
    set.keep(id).map_err(text)?;
    if let Some(trial) = on_trial {
        let version = trial.version;
        let mut note =
            Note::new(EventKind::PackageKept, format!("{version} was healthy for a minute, and is kept"))
                .details(json!({"version": version}));
        note.plugin_id = Some(id.clone());
        host.record(note);
    }
    Ok(())
}

/// The active version is not kept; whether another one is active now.
fn go_back(host: &Host, set: &PackageSet, id: &PluginId, fault: &TrialFault) -> Result<bool, String> {
    let ended = set.end_trial(id, fault, &mut |_, _| goes_on(host)).map_err(|error| error.to_string())?;
    let (mut note, is_back) = match ended {
        Ok(activated) => {
            let from = activated.before.map(|before| before.to_string()).unwrap_or_default();
            let note = Note::new(
                EventKind::PackageRolledBack,
                format!("went back from {from} to {}", activated.key),
            );
            (note.details(json!({"version": activated.key, "before": from})), true)
        }
        Err(why) => {
            let text = format!("the active version fails and stays: {why}");
            (Note::new(EventKind::PackageTrialFailed, text), false)
        }
    };
    note = note.reason(fault.to_string());
    note.plugin_id = Some(id.clone());
    host.record(note);
    Ok(is_back)
}

/// The plugins of packages, in the host's care.
struct PackagePlugins {
    trials: Trials,
    cared_for: BTreeSet<PluginId>,
    /// Those whose packages are gone: given up once they are down.
    leaving: BTreeSet<PluginId>,
}

impl PackagePlugins {
    /// Has the plugin of a package run as the active version, or end where there is none. Says what became of it.
    fn apply(
        &mut self,
        host: &Host,
        set: &PackageSet,
        plain: &BTreeSet<PluginId>,
        id: &PluginId,
    ) -> Result<String, String> {
        if plain.contains(id) {
            return Err("a plugin of the configuration has its id".to_owned());
        }
        let launch = self.launch_of(host, set, id).map_err(|error| error.to_string())?;
        let Some((key, mut config, is_auto)) = launch else {
            self.trials.end(id);
            self.leaving.insert(id.clone());
            if let Ok(plugin) = host.plugin(id) {
                plugin.stop().map_err(|error| error.to_string())?;
            }
            self.let_go_if_down(host, id);
            return Ok("stopped".to_owned());
        };
        let was_leaving = self.leaving.remove(id);
        let record = set.store().record(id).map_err(|error| error.to_string())?;
        if record.is_disabled {
            // No call starts it either.
            (config.start, config.idle_stop) = (StartMode::Manual, None);
        }
        let terms = TrialTerms::of(&config.policy);
        let starts = is_auto && !record.is_disabled;
        let mut became = self
            .put(host, config, starts, || {
                record.trial.is_some_and(|trial| trial.version == key).then_some(terms)
            })
            .map_err(|error| error.to_string())?;
        // The end of the package that was removed before is no operator's stop of this one.
        if was_leaving
            && starts
            && let Ok(plugin) = host.plugin(id)
        {
            plugin.start().map_err(|error| error.to_string())?;
            became = "its plugin is started";
        }
        Ok(became.to_owned())
    }

    /// What the active version of a package is launched with, and whether it starts with the host.
    fn launch_of(
        &self,
        host: &Host,
        set: &PackageSet,
        id: &PluginId,
    ) -> ChangeResult<Option<(VersionKey, PluginConfig, bool)>> {
        let Some(key) = set.store().active(id)? else { return Ok(None) };
        let launch = set.launch(id, &mut |_, _| goes_on(host))?;
        Ok(Some((key, launch.config, launch.autostart)))
    }

    /// Has the host run a plugin as this says, from its next launch on; a plugin that is up is launched anew. `trial` says what the
    /// version has to achieve, if it is on trial.
    fn put(
        &mut self,
        host: &Host,
        config: PluginConfig,
        starts: bool,
        trial: impl FnOnce() -> Option<TrialTerms>,
    ) -> Result<&'static str, HostError> {
        let id = config.id.clone();
        let begin = |trials: &mut Trials| match trial() {
            Some(terms) => trials.begin(&id, terms),
            None => trials.end(&id),
        };
        let became = match host.plugin(&id) {
            Ok(plugin) => {
                let status = plugin.reconfigure(config)?;
                // What happens to the generation that is there says nothing of the new version.
                begin(&mut self.trials);
                // One that is started on demand is wanted up, and takes it when it is called.
                if status.desired == Desired::Down || status.state == PluginState::Stopped {
                    "its plugin is not running"
                } else {
                    plugin.restart()?;
                    "its plugin is restarted"
                }
            }
            Err(_) => {
                let plugin = host.add(config)?;
                begin(&mut self.trials);
                if starts {
                    plugin.start()?;
                    "its plugin is started"
                } else {
                    "its plugin is not running"
                }
            }
        };
        self.cared_for.insert(id);
        Ok(became)
    }

    /// Gives a plugin up whose package is gone, once it is down.
    fn let_go_if_down(&mut self, host: &Host, id: &PluginId) {
        let is_down = |plugin: crate::host::PluginHandle| {
            plugin
                .status()
                .is_ok_and(|status| status.desired == Desired::Down && status.state == PluginState::Stopped)
        };
        if self.leaving.contains(id) && host.plugin(id).map_or(true, is_down) {
            // One that is gone already is what was wanted.
            let _ = host.remove(id);
            self.leaving.remove(id);
            self.cared_for.remove(id);
        }
    }
}
