//! What happens to children and links, and what the host is told of it.

use crate::child::Doing;
use crate::kernel::UID;
use crate::ledger::Id;
use crate::nature::Fate;
use crate::world::{Event, World};
use rpc_plugin_system::state::plugin::{ExitReport, PeerIdentity, handle_use};
use std::time::Duration;

impl World {
    pub fn happens(&mut self, event: Event) {
        match &event {
            Event::ChildDoes(id, Doing::Send(bytes)) => {
                self.tell(format_args!("{id:?} sends {}", String::from_utf8_lossy(bytes).trim_end()));
            }
            event => self.tell(format_args!("{event:?}")),
        }
        match event {
            Event::PreparationBegins(id) => self.preparation_waits(id, false),
            Event::PreparationReturns(id, succeeds) => self.preparation_returns(id, succeeds),
            Event::LaunchReturns(id) => self.launch_returns(id),
            Event::LaunchIsOver(id) => self.launch_fails(id, "it was not wanted any more", false, false),
            Event::ChildConnects(id) => self.child_connects(id),
            Event::StrangerConnects(id) => self.stranger_connects(id),
            Event::ToHost(id) => self.bytes_reach_host(id),
            Event::ToChild(id) => self.bytes_reach_child(id),
            Event::HostMayWrite(id) => {
                if self.links[&id].host_open {
                    self.host_writes(id);
                }
            }
            Event::MoreFrames(id) => self.host_handles_frames(id),
            Event::ChildDoes(id, doing) => self.child_does(id, doing),
            Event::Befalls(id, fate) => self.befalls(id, fate),
            Event::Thaws(id) => self.thaws(id),
            Event::ProcessEnds(id, clean) => self.process_ends(id, clean),
            Event::ExitSeen(id, clean) => self.exit_seen(id, clean),
            Event::UseSeen(id, seen) => {
                let now = self.now;
                self.host.with_plugin(now, id.0, |plugin, step| handle_use(plugin, step, id.1, seen));
            }
            Event::OperatorActs => self.operator_acts(),
            Event::ProcessorDone => self.processor_done(),
        }
    }

    /// What a process wants to do: not while it hangs, and not after its end.
    pub fn child_does_later(&mut self, id: Id, delay: Duration, event: Event) {
        match self.processes.get_mut(&id) {
            Some(process) if process.hung => process.frozen.push(event),
            _ => self.after(delay, event),
        }
    }

    /// Whether a process can act now; if it hangs, the event is kept for later.
    fn can_act(&mut self, id: Id, event: Event) -> bool {
        let process = self.processes.get_mut(&id).unwrap();
        if process.hung && process.alive {
            process.frozen.push(event);
            return false;
        }
        process.alive
    }

    fn child_connects(&mut self, id: Id) {
        if !self.can_act(id, Event::ChildConnects(id)) || self.processes[&id].connected {
            return;
        }
        let pid = self.processes[&id].pid;
        if !self.host_is_offered(id, PeerIdentity { pid, uid: UID }) {
            return;
        }
        self.processes.get_mut(&id).unwrap().connected = true;
        self.open_link(id);
        let hello = self.processes.get_mut(&id).unwrap().child.greet();
        let after = self.processes[&id].child.nature.greets_after;
        self.after(after, Event::ChildDoes(id, Doing::Send(hello)));
        if !self.calm && self.chance(100) {
            self.coverage.saw("second connection refused");
            assert!(
                !self.host_is_offered(id, PeerIdentity { pid, uid: UID }),
                "a second connection is taken"
            );
        }
    }

    /// Somebody connects to the generation's socket.
    fn host_is_offered(&mut self, id: Id, peer: PeerIdentity) -> bool {
        let taken = self
            .host
            .with_plugin(self.now, id.0, |plugin, step| plugin.handle_connection(step, id.1, peer, UID))
            .unwrap_or(false);
        if taken {
            let process = &self.processes[&id];
            assert_eq!(peer, PeerIdentity { pid: process.pid, uid: UID }, "a stranger's connection is taken");
            assert!(!process.connected && !process.reaped, "a connection nobody can have made is taken");
            assert_eq!(self.last_generation(id.0), Some(id.1), "a stale connection is taken");
        }
        taken
    }

    fn stranger_connects(&mut self, id: Id) {
        let pid = self.processes[&id].pid;
        let peer = match self.rng.u8(0..2) {
            0 => PeerIdentity { pid: pid + 50_000, uid: UID },
            _ => PeerIdentity { pid, uid: 0 },
        };
        self.coverage.saw("stranger refused");
        assert!(!self.host_is_offered(id, peer));
    }

    fn child_sends(&mut self, id: Id, bytes: &[u8]) {
        let link = self.links.get_mut(&id).unwrap();
        if link.child_open {
            let arrivals = link.to_host.send(self.now, &mut self.rng, link.ms_max, bytes);
            for at in arrivals {
                self.at(at, Event::ToHost(id));
            }
        }
    }

    fn child_closes(&mut self, id: Id) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.child_open {
            link.child_open = false;
            if let Some(at) = link.to_host.end(self.now, &mut self.rng, link.ms_max) {
                self.at(at, Event::ToHost(id));
            }
        }
    }

    fn bytes_reach_host(&mut self, id: Id) {
        let link = self.links.get_mut(&id).unwrap();
        let (bytes, ended) = link.to_host.arrived(self.now);
        if !link.host_open {
            return self.check_stale_bytes(id, ended);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let read = self.rng.usize(1..=4096).min(rest.len());
            let Some(session) = self.host.session_mut(id.0, id.1) else { return };
            session.receiver_mut().space(4096)[..read].copy_from_slice(&rest[..read]);
            session.receiver_mut().filled(read, Vec::new(), false);
            rest = &rest[read..];
            self.host_handles_frames(id);
        }
        if ended && self.links[&id].host_open {
            if self.processes[&id].alive || !self.processes[&id].reaped {
                self.coverage.saw("end of the stream seen before the exit");
            }
            self.host.handle_end_of_stream(self.now, id.0, id.1);
        }
    }

    fn host_handles_frames(&mut self, id: Id) {
        let budget = self.rng.usize(1..6);
        let more = self
            .host
            .with_session(self.now, id.0, id.1, |session, cx| session.handle_frames(cx, budget))
            .unwrap_or(false);
        if more {
            self.coverage.saw("frames left for the next turn");
            self.after(Duration::ZERO, Event::MoreFrames(id));
        }
        self.drain();
    }

    /// What still arrives of a connection that the host has closed changes nothing.
    fn check_stale_bytes(&mut self, id: Id, ended: bool) {
        assert!(self.host.session_mut(id.0, id.1).is_none(), "a closed connection has a session");
        assert!(
            !self
                .host
                .with_session(self.now, id.0, id.1, |session, cx| session.handle_frames(cx, 8))
                .unwrap_or(false),
            "stale frames are handled"
        );
        self.coverage.saw("stale frames");
        if ended {
            self.coverage.saw("stale end of stream");
            self.host.handle_end_of_stream(self.now, id.0, id.1);
        }
        self.check_ignored("bytes of a closed connection");
    }

    pub fn check_ignored(&mut self, what: &str) {
        if let Some(action) = self.host.poll_action() {
            panic!("{what} led to {action:?}");
        }
    }

    fn bytes_reach_child(&mut self, id: Id) {
        let link = self.links.get_mut(&id).unwrap();
        let (bytes, ended) = link.to_child.arrived(self.now);
        link.unread.extend(bytes);
        self.child_reads(id);
        let process = &self.processes[&id];
        if ended && process.alive && !process.child.nature.ignores_end {
            let delay = self.within(10);
            self.child_does_later(id, delay, Event::ChildDoes(id, Doing::Exit));
        }
    }

    fn child_reads(&mut self, id: Id) {
        let process = self.processes.get_mut(&id).unwrap();
        let link = self.links.get_mut(&id).unwrap();
        if !process.alive || process.hung || !process.reading || link.unread.is_empty() || !link.child_open {
            return;
        }
        let bytes = std::mem::take(&mut link.unread);
        let acts = process.child.receive(&mut self.rng, &bytes);
        let later = self.answer_delay();
        for (delay, doing) in acts {
            self.after(delay + later, Event::ChildDoes(id, doing));
        }
        self.after(Duration::from_micros(50), Event::HostMayWrite(id));
    }

    fn child_does(&mut self, id: Id, doing: Doing) {
        if !self.can_act(id, Event::ChildDoes(id, doing.clone())) {
            return;
        }
        match doing {
            Doing::Send(bytes) => self.child_sends(id, &bytes),
            Doing::Crash => self.process_ends(id, false),
            Doing::Exit => self.process_ends(id, true),
            Doing::Close => self.child_closes(id),
        }
    }

    fn befalls(&mut self, id: Id, fate: Fate) {
        let process = self.processes.get_mut(&id).unwrap();
        if !process.alive || self.calm {
            return;
        }
        match fate {
            Fate::Crash => self.process_ends(id, false),
            Fate::ExitClean => self.process_ends(id, true),
            Fate::CloseLink => self.child_closes(id),
            Fate::Hang(long) => {
                process.hung = true;
                self.after(long, Event::Thaws(id));
            }
            Fate::StopReading(long) => {
                process.reading = false;
                self.after(long, Event::Thaws(id));
            }
            Fate::CutLink => {
                if let Some(link) = self.links.get_mut(&id) {
                    self.coverage.saw("link cut");
                    link.to_host.cut(&mut self.rng);
                    link.to_child.cut(&mut self.rng);
                    self.child_closes(id);
                    let delay = self.within(20);
                    self.after(delay, Event::ChildDoes(id, Doing::Exit));
                }
            }
        }
    }

    /// It goes on where it hung.
    pub fn thaws(&mut self, id: Id) {
        let process = self.processes.get_mut(&id).unwrap();
        (process.hung, process.reading) = (false, true);
        for event in std::mem::take(&mut process.frozen) {
            self.after(Duration::ZERO, event);
        }
        if self.links.contains_key(&id) {
            self.child_reads(id);
        }
    }

    fn process_ends(&mut self, id: Id, clean: bool) {
        let process = self.processes.get_mut(&id).unwrap();
        if !process.alive {
            return;
        }
        process.alive = false;
        self.computes_no_more(id);
        self.child_closes(id);
        let delay = self.within(8);
        self.after(delay, Event::ExitSeen(id, clean));
    }

    fn exit_seen(&mut self, id: Id, clean: bool) {
        self.processes.get_mut(&id).unwrap().reaped = true;
        self.live.remove(&id);
        if self.links.get(&id).is_some_and(|link| link.host_open) {
            self.coverage.saw("exit seen before the end of the stream");
        }
        let text = if clean { "exit status 0" } else { "signal 9 (SIGKILL)" };
        let stderr_tail = if clean { Vec::new() } else { vec!["oh no".to_owned()] };
        self.host.with_plugin(self.now, id.0, |plugin, step| {
            plugin.handle_exit(
                step,
                id.1,
                ExitReport { clean, text: text.into(), stderr_tail, ..ExitReport::default() },
            )
        });
    }
}
