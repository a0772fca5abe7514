//! Signals of the daemon: which end it, which do not.
//!
//! SIGTERM and SIGINT end it down each plugin's ladder. A SIGINT after that kills the plugins at once: a
//! person at a terminal has lost patience. A further SIGTERM does not, since service managers and scripts
//! repeat it without meaning more by it. SIGHUP and SIGUSR1 are put on record and change nothing.
//!
//! What always holds: a signal that came after [`Watch::start`] is acted on, however early; the daemon
//! also notices when its host ends by itself.

use crate::host::{Host, Note};
use rpc_plugin_wire::event::EventKind;
use signal_hook::consts::signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::io;

/// See the module's text.
pub(crate) struct Watch {
    signals: Signals,
}

impl Watch {
    /// Takes the signals over.
    pub(crate) fn start() -> io::Result<Watch> {
        Ok(Watch { signals: Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1])? })
    }

    /// Acts on signals until the host has ended; whether one of them ended it.
    pub(crate) fn wait(mut self, host: &Host) -> bool {
        let handle = self.signals.handle();
        std::thread::scope(|scope| {
            // An operator may end the host through the admin socket, and then no signal comes.
            scope.spawn(|| {
                host.wait_ended();
                handle.close();
            });
            let mut is_ending = false;
            for signal in self.signals.forever() {
                match signal {
                    // Somebody who presses Ctrl-C again does not want to wait any more.
                    SIGINT if is_ending => host.begin_kill("SIGINT came again"),
                    SIGINT | SIGTERM if !is_ending => {
                        is_ending = true;
                        host.begin_shutdown(format!("{} came", name(signal)));
                    }
                    // A host that has ended has nothing to sweep any more.
                    SIGCHLD => drop(host.sweep_orphans()),
                    _ => {
                        let text = format!("it goes on as before {}", name(signal));
                        host.record(Note::new(EventKind::SignalIgnored, text));
                    }
                }
            }
            is_ending
        })
    }
}

fn name(signal: i32) -> &'static str {
    signal_hook::low_level::signal_name(signal).unwrap_or("an unknown signal")
}
