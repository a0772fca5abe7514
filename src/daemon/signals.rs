//! Signals of the daemon: which end it, which do not.
//!
//! What always holds: a signal that came after [`Watch::start`] is acted on, however early; the daemon
//! also notices when its host ends by itself.

use crate::host::{Host, Note};
use rpc_plugin_wire::event::EventKind;
use signal_hook::consts::signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io;

/// See the module's text.
pub(super) struct Watch {
    signals: Signals,
}

impl Watch {
    /// Takes the signals over.
    pub(super) fn start() -> io::Result<Watch> {
        Ok(Watch { signals: Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1])? })
    }

    /// Acts on signals until the host has ended; why it ended.
    pub(super) fn wait(mut self, host: &Host) -> String {
        let handle = self.signals.handle();
        std::thread::scope(|scope| {
            // An operator may end the host through the admin socket, and then no signal comes.
            scope.spawn(|| {
                host.wait_ended();
                handle.close();
            });
            let mut why = "as an operator asked".to_owned();
            for signal in self.signals.forever() {
                match signal {
                    SIGTERM | SIGINT => {
                        let name = if signal == SIGTERM { "SIGTERM" } else { "SIGINT" };
                        why = format!("on {name}");
                        host.record(Note::new(EventKind::HostStopped, format!("ends on {name}")));
                        host.begin_shutdown();
                    }
                    // A host that is ending has nothing to sweep any more.
                    SIGCHLD => drop(host.sweep_orphans()),
                    _ => {
                        let name = if signal == SIGHUP { "SIGHUP" } else { "SIGUSR1" };
                        host.record(Note::new(EventKind::HostStarted, format!("goes on after {name}")));
                    }
                }
            }
            why
        })
    }
}
