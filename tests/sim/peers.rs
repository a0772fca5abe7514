//! Two ends of one connection against each other, in virtual time and from a seed: calls both ways, cancels, deadlines,
//! progress, descriptors and streams, over a link that splits, merges, delays, fills up and is cut.
//!
//! What it deliberately does not do: launch or prove anything; both ends are open. One of them is the parts of the peer
//! crate as plugin; the other is those as host, or the host's own session.
//!
//! What always holds: each call ends once, and with its own answer; what was not sent never arrives, and nothing arrives
//! twice; descriptors and streams stay with their frames; nothing grows beyond its bound, and nothing is left open.

use crate::fuzz_session::ends::{ASKED_MAX, End, Fd, Fds, HostEnd, Made, PartsEnd, Told, policy};
use rpc_plugin_peer::{BAD_FRAMES_MAX, Role, Time};
use rpc_plugin_system::state::session::Fault;
use rpc_plugin_wire::limits::STREAMS_MAX;
use rpc_plugin_wire::stream::{Inflow, Outflow, StreamFrame};
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject, Outcome, RequestId};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// Pairs in one test run.
const SEEDS: u64 = 200;
/// Steps of one pair before its calls are left to end.
const STEPS: usize = 600;
/// Steps in which all calls must have ended then.
const LAST_STEPS: usize = 4000;
/// Bytes on the way in one direction, at most.
const LINK_BYTES: usize = 8000;

/// What must have happened in some of the runs, or they would show nothing.
const SITUATIONS: &[&str] = &[
    "answered",
    "answered with an error",
    "answered with what is no message",
    "answered with descriptors",
    "answered with streams",
    "an answer too large",
    "too large",
    "too many calls",
    "too many streams",
    "too many descriptors",
    "too much waits",
    "too many asked",
    "cancelled before it was sent",
    "cancelled after it was sent",
    "late before it was sent",
    "late after it was sent",
    "answered late",
    "descriptors refused with a call",
    "descriptors refused with an answer",
    "asked with descriptors",
    "asked with streams",
    "streams that nobody takes",
    "given up by its caller",
    "progress",
    "lost before it was sent",
    "lost after it was sent",
    "poisoned",
    "cut",
    "cut within a frame",
    "a stream was over",
    "bytes of a stream",
    "a read of several writes",
    "a frame in several writes",
    "the link is full",
];

/// The same descriptors once more.
fn copies(fds: &[Fd]) -> Fds {
    fds.iter().map(|fd| fd.get().unwrap().try_clone().unwrap().into()).collect()
}

/// Names of descriptors that stay when they are passed on.
fn names(fds: Fds) -> Vec<u64> {
    fds.into_iter().map(|fd| std::fs::File::from(fd.take().unwrap()).metadata().unwrap().ino()).collect()
}

/// A call and all that is known of it.
struct Call {
    maker: usize,
    fds: Vec<u64>,
    arrived: bool,
    ended: Option<Result<(), Outcome>>,
    /// What was answered, where something was.
    answer: Option<Vec<u64>>,
    wants_progress: bool,
}

/// A call that waits for its answer at whoever was asked.
struct Served {
    id: RequestId,
    call: usize,
    is_given_up: bool,
}

/// One way of the connection: bytes and the descriptors that go with the first of them, and when they arrive.
#[derive(Default)]
struct Way {
    pieces: VecDeque<(Time, Vec<u8>, Fds)>,
    bytes: usize,
    is_cut: bool,
}

/// One stream at one end: some bytes out, and what came.
struct Flow {
    out: Outflow,
    inflow: Inflow,
    to_send: usize,
    sent: usize,
    came: usize,
}

struct Pair {
    rng: fastrand::Rng,
    now: Time,
    ends: [Box<dyn End>; 2],
    /// From the end of that number.
    ways: [Way; 2],
    flows: [BTreeMap<u64, Flow>; 2],
    served: [Vec<Served>; 2],
    /// How many answers of each end were no messages.
    bad_answers: [usize; 2],
    calls: Vec<Call>,
    open: [BTreeSet<usize>; 2],
    faults: [Option<Fault>; 2],
    pipes: Vec<PipeWriter>,
    seen: BTreeMap<&'static str, u64>,
    passes_fds: bool,
    /// How long a write is on its way, at most. Milliseconds.
    delay_ms: u64,
    is_cut: bool,
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let mut rng = fastrand::Rng::with_seed(seed);
        let passes_fds = rng.bool();
        let plugin = Box::new(PartsEnd::new(Role::Plugin, passes_fds, rng.bool()));
        let host: Box<dyn End> = match rng.u8(0..4) {
            0 => Box::new(PartsEnd::new(Role::Host, passes_fds, rng.bool())),
            _ => Box::new(HostEnd::open(passes_fds)),
        };
        Pair {
            now: Time::ZERO,
            ends: [host, plugin],
            ways: Default::default(),
            flows: Default::default(),
            served: Default::default(),
            bad_answers: [0, 0],
            calls: Vec::new(),
            open: Default::default(),
            faults: [None, None],
            pipes: Vec::new(),
            seen: BTreeMap::new(),
            passes_fds,
            delay_ms: rng.choice([0, 0, 1, 3, 10]).unwrap(),
            is_cut: false,
            rng,
        }
    }

    fn see(&mut self, what: &'static str) {
        assert!(SITUATIONS.contains(&what), "{what} is not on the list");
        *self.seen.entry(what).or_default() += 1;
    }

    fn fds(&mut self) -> Fds {
        let count = match self.rng.u8(0..20) {
            0 => 17,
            1 => 16,
            2 | 3 => 9,
            at => usize::from(at.saturating_sub(14)),
        };
        let mut fds = Fds::new();
        for _ in 0..count {
            let (reader, writer) = std::io::pipe().unwrap();
            self.pipes.push(writer);
            fds.push(OwnedFd::from(reader).into());
        }
        fds
    }

    /// JSON of a size that mostly fits.
    fn padding(&mut self) -> String {
        let bytes = match self.rng.u8(0..30) {
            0 => self.rng.usize(16_000..17_000),
            1..=4 => self.rng.usize(0..8000),
            _ => self.rng.usize(0..50),
        };
        "x".repeat(bytes)
    }

    fn step(&mut self) {
        let end = self.rng.usize(0..2);
        match self.rng.u8(0..100) {
            0..12 => self.call(end),
            12..14 => self.cancel(end),
            14..30 => self.answer(end),
            30..33 => self.tell_progress(end),
            33..60 => self.write(end),
            60..80 => self.deliver(end),
            80..85 => self.go_on_with_streams(end),
            85 if self.rng.u8(0..8) == 0 => self.cut(),
            _ => self.pass(),
        }
        self.hear();
    }

    fn call(&mut self, end: usize) {
        let (number, fds, padding) = (self.calls.len(), self.fds(), self.padding());
        let own = copies(&fds);
        let wants_progress = self.rng.bool();
        let made = Made {
            params: Some(format!("{{\"call\":{number},\"pad\":\"{padding}\"}}")),
            timeout: Duration::from_micros(self.rng.u64(500..200_000)),
            wants_progress,
            fds,
        };
        let call =
            Call { maker: end, fds: names(own), arrived: false, ended: None, answer: None, wants_progress };
        let made = self.ends[end].call(self.now, number as u64, made);
        match made {
            Ok(()) => drop(self.open[end].insert(number)),
            Err(error) => self.refused(&error),
        }
        self.calls.push(Call { ended: None, ..call });
        if !self.open[end].contains(&number) {
            self.calls[number].ended = Some(Err(Outcome::NotSent));
        }
    }

    fn refused(&mut self, error: &CallError) {
        assert_eq!(error.outcome, Outcome::NotSent);
        let text = &error.message;
        let what = match error.code {
            ErrorCode::TooLarge => "too large",
            ErrorCode::InvalidParams => "too many descriptors",
            ErrorCode::Overloaded if text.contains("calls wait") || text.contains("calls in flight") => {
                "too many calls"
            }
            ErrorCode::Overloaded if text.contains("streams") => "too many streams",
            ErrorCode::Overloaded => "too much waits",
            ErrorCode::Unavailable => return,
            _ => panic!("{error:?}"),
        };
        self.see(what);
    }

    fn cancel(&mut self, end: usize) {
        let Some(call) = self.rng.choice(self.open[end].iter().copied()) else { return };
        let was_sent = self.ends[end].cancel(self.now, call as u64);
        let was_sent = was_sent.expect("it has not ended");
        self.end_call(end, call, Err(if was_sent { Outcome::Indeterminate } else { Outcome::NotSent }));
        self.see(if was_sent { "cancelled after it was sent" } else { "cancelled before it was sent" });
    }

    fn end_call(&mut self, end: usize, call: usize, how: Result<(), Outcome>) {
        assert!(self.open[end].remove(&call), "call {call} of end {end} ends twice");
        assert!(self.calls[call].ended.replace(how).is_none() && self.calls[call].maker == end);
        if how == Err(Outcome::NotSent) {
            assert!(!self.calls[call].arrived, "call {call} arrived and was not sent");
        }
    }

    fn answer(&mut self, end: usize) {
        if self.served[end].is_empty() {
            return;
        }
        // What was given up is mostly answered first.
        let given_up = self.served[end].iter().position(|served| served.is_given_up);
        let any = self.rng.usize(0..self.served[end].len());
        let at = given_up.filter(|_| self.rng.u8(0..3) > 0).unwrap_or(any);
        let Served { id, call, .. } = self.served[end].swap_remove(at);
        // More than so many within a minute, which no run lasts, would end the connection; so would descriptors of the
        // next frame that wait already.
        let may = !self.passes_fds && self.bad_answers[end] < BAD_FRAMES_MAX && self.rng.u8(0..20) == 0;
        if may && self.ends[end].answer_badly(&id) {
            self.bad_answers[end] += 1;
            self.calls[call].answer = Some(Vec::new());
            return;
        }
        let (fds, padding) = (self.fds(), self.padding());
        if self.rng.u8(0..5) == 0 {
            let error = ErrorObject::new(ErrorCode::Application(7), format!("call {call}"));
            self.ends[end].answer(self.now, &id, Err(error), Fds::new());
            self.calls[call].answer = Some(Vec::new());
            return;
        }
        let own = copies(&fds);
        let result = format!("{{\"call\":{call},\"pad\":\"{padding}\"}}");
        let result = RawValue::from_string(result).unwrap();
        self.ends[end].answer(self.now, &id, Ok(&result), fds);
        self.calls[call].answer = Some(names(own));
    }

    fn tell_progress(&mut self, end: usize) {
        if self.served[end].is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.served[end].len());
        let value = RawValue::from_string("1".to_owned()).unwrap();
        self.ends[end].progress(&self.served[end][at].id, &value);
    }

    /// The link takes some of what waits.
    fn write(&mut self, end: usize) {
        for _ in 0..self.rng.usize(1..4) {
            let room = LINK_BYTES.saturating_sub(self.ways[end].bytes);
            let (waiting, fds) = self.ends[end].waiting();
            if waiting.is_empty() {
                break;
            }
            if room == 0 {
                return self.see("the link is full");
            }
            if !fds.is_empty() && self.rng.u8(0..12) == 0 {
                self.ends[end].fds_refused(self.now);
                break;
            }
            let most = if self.rng.bool() { room } else { self.rng.usize(1..=room.min(300)) };
            let bytes = waiting[..waiting.len().min(most)].to_vec();
            let fds = copies(fds);
            let is_split = !bytes.ends_with(b"\n");
            self.ends[end].wrote(bytes.len());
            let arrives = self.ways[end].pieces.back().map_or(self.now, |(at, ..)| *at);
            let delay = Duration::from_micros(self.rng.u64(0..=self.delay_ms * 1000));
            let arrives = arrives.max(self.now.plus(delay));
            self.ways[end].bytes += bytes.len();
            if !self.ways[end].is_cut {
                self.ways[end].pieces.push_back((arrives, bytes, fds));
            }
            if is_split {
                self.see("a frame in several writes");
            }
        }
        self.begin_streams(end);
    }

    /// What has arrived from that end is read: as a socket gives it, up to the first piece with descriptors.
    fn deliver(&mut self, from: usize) {
        let (to, way) = (1 - from, &mut self.ways[from]);
        let (mut bytes, mut fds, mut pieces) = (Vec::new(), Fds::new(), 0);
        let bytes_max = if self.rng.bool() { 100_000 } else { self.rng.usize(1..2000) };
        while let Some((at, piece, beside)) = way.pieces.front_mut() {
            if *at > self.now || bytes.len() >= bytes_max || !fds.is_empty() {
                break;
            }
            fds = std::mem::take(beside);
            let taken = piece.len().min(bytes_max - bytes.len());
            bytes.extend(piece.drain(..taken));
            pieces += 1;
            if !piece.is_empty() {
                break;
            }
            way.pieces.pop_front();
        }
        way.bytes -= bytes.len();
        let is_over = way.is_cut && way.pieces.is_empty();
        if pieces > 1 {
            self.see("a read of several writes");
        }
        if !bytes.is_empty() {
            self.ends[to].read(self.now, &bytes, fds, false);
        } else if is_over && self.ends[to].is_open() {
            self.ends[to].end_of_stream(self.now);
        }
    }

    /// Both ways end behind some of what is on them.
    fn cut(&mut self) {
        if std::mem::replace(&mut self.is_cut, true) {
            return;
        }
        self.see("cut");
        for way in &mut self.ways {
            way.pieces.truncate(self.rng.usize(0..=way.pieces.len()));
            way.bytes = way.pieces.iter().map(|(_, bytes, _)| bytes.len()).sum();
            way.is_cut = true;
        }
    }

    fn pass(&mut self) {
        let next = self.ends.iter().filter_map(|end| end.next_timer()).min();
        let some = self.now.plus(Duration::from_micros(self.rng.u64(0..800)));
        self.now = match next {
            Some(next) if self.rng.u8(0..60) == 0 => self.now.max(next),
            _ => some,
        };
        for end in &mut self.ends {
            end.pass(self.now);
        }
    }

    /// Takes what both ends tell, and looks at what may not grow.
    fn hear(&mut self) {
        for end in 0..2 {
            while let Some(told) = self.ends[end].poll() {
                assert!(self.faults[end].is_none(), "after the fault of end {end} came {told:?}");
                self.hear_one(end, told);
            }
            self.begin_streams(end);
            let (policy, figures) = (policy(), self.ends[end].figures());
            assert!(
                figures.calls <= policy.calls_in_flight_max && figures.timers <= figures.calls,
                "{figures:?}"
            );
            assert!(figures.asked <= ASKED_MAX && figures.waiting_fds <= 16, "{figures:?}");
            let streams_max = 2 * STREAMS_MAX * 40_000;
            assert!(figures.waiting_bytes <= 2 * policy.outbox_bytes_max + streams_max, "{figures:?}");
            assert!(self.flows[end].len() <= 2 * STREAMS_MAX);
        }
    }

    fn hear_one(&mut self, end: usize, told: Told) {
        match told {
            Told::Asked { id, params, fds, streams } => {
                let call = call_in(&params);
                let (fds, sent) = (names(fds), &mut self.calls[call]);
                assert!(!std::mem::replace(&mut sent.arrived, true), "call {call} arrives twice");
                assert_eq!(sent.maker, 1 - end);
                assert!(sent.ended != Some(Err(Outcome::NotSent)), "call {call} was withdrawn and arrives");
                if self.passes_fds {
                    assert_eq!(fds, sent.fds, "descriptors of call {call}");
                } else {
                    assert_eq!(streams.len(), sent.fds.len(), "streams of call {call}");
                }
                if !fds.is_empty() {
                    self.see("asked with descriptors");
                }
                if !streams.is_empty() {
                    self.see("asked with streams");
                }
                self.open_flows(end, &streams, true);
                self.served[end].push(Served { id, call, is_given_up: false });
            }
            Told::GivenUp(id) => {
                self.see("given up by its caller");
                let served = self.served[end].iter_mut().find(|served| served.id == id);
                served.expect("it has not been answered").is_given_up = true;
            }
            Told::Ended { call, result, fds, streams } => {
                self.hear_end(end, usize::try_from(call).unwrap(), result, names(fds), &streams);
            }
            Told::Progress(call) => {
                let call = usize::try_from(call).unwrap();
                assert!(self.open[end].contains(&call) && self.calls[call].wants_progress);
                self.see("progress");
            }
            Told::Late => self.see("answered late"),
            Told::Stream(frame) => self.take_stream(end, frame),
            Told::Unwanted(numbers) => {
                self.see("streams that nobody takes");
                self.open_flows(end, &numbers, false);
            }
            Told::Fault(fault) => self.hear_fault(end, fault),
        }
    }

    fn hear_end(
        &mut self,
        end: usize,
        call: usize,
        result: Result<String, CallError>,
        fds: Vec<u64>,
        streams: &[u64],
    ) {
        let what = match &result {
            Ok(result) => {
                assert_eq!(call_in(result), call, "the answer of another call");
                let answer = self.calls[call].answer.clone().expect("it was answered");
                if self.passes_fds {
                    assert_eq!(fds, answer, "descriptors of the answer to call {call}");
                } else {
                    assert_eq!(streams.len(), answer.len(), "streams of the answer to call {call}");
                }
                if !fds.is_empty() {
                    self.see("answered with descriptors");
                }
                if !streams.is_empty() {
                    self.see("answered with streams");
                }
                self.open_flows(end, streams, true);
                "answered"
            }
            Err(error) => match (error.outcome, error.code) {
                (Outcome::Answered, ErrorCode::Application(7)) => {
                    assert_eq!(error.message, format!("call {call}"));
                    "answered with an error"
                }
                (Outcome::Answered, ErrorCode::TooLarge) => "an answer too large",
                (Outcome::Answered, ErrorCode::Overloaded) if error.message.contains("refused") => {
                    "descriptors refused with an answer"
                }
                (Outcome::Answered, ErrorCode::Overloaded) if error.message.contains("too many") => {
                    assert!(!self.calls[call].arrived);
                    "too many asked"
                }
                (Outcome::Answered, ErrorCode::Overloaded) => "too much waits",
                (Outcome::Answered, ErrorCode::InternalError | ErrorCode::InvalidParams) => {
                    "too many descriptors"
                }
                (Outcome::Indeterminate | Outcome::Answered, ErrorCode::InvalidResponse) => {
                    assert!(error.message.contains("`NaN` at column"), "{error}");
                    assert_eq!(self.calls[call].answer, Some(Vec::new()));
                    "answered with what is no message"
                }
                (Outcome::NotSent, ErrorCode::DeadlineExceeded) => "late before it was sent",
                (Outcome::Indeterminate, ErrorCode::DeadlineExceeded) => "late after it was sent",
                (Outcome::NotSent, ErrorCode::Overloaded) => "descriptors refused with a call",
                (Outcome::NotSent, ErrorCode::Unavailable) => "lost before it was sent",
                (Outcome::Indeterminate, ErrorCode::PluginLost) => "lost after it was sent",
                _ => panic!("{error:?}"),
            },
        };
        self.see(what);
        self.end_call(end, call, result.map(drop).map_err(|error| error.outcome));
    }

    fn hear_fault(&mut self, end: usize, fault: Fault) {
        match &fault {
            Fault::EndOfStream => assert!(self.is_cut),
            Fault::Poisoned(..) => self.see("poisoned"),
            Fault::Violation(why) if why.contains("before its line end") => {
                assert!(self.is_cut, "{why}");
                self.see("cut within a frame");
            }
            Fault::Violation(why) if why.contains("reading the answers") => {}
            _ => panic!("end {end}: {fault:?}"),
        }
        assert!(self.open[end].is_empty(), "calls are open after a fault");
        self.faults[end] = Some(fault);
        self.flows[end].clear();
        self.is_cut = true;
        self.ways.iter_mut().for_each(|way| way.is_cut = true);
    }

    fn open_flows(&mut self, end: usize, numbers: &[u64], is_taken: bool) {
        for number in numbers {
            let to_send = if is_taken { self.rng.usize(0..3000) } else { 0 };
            let (out, mut inflow) = (Outflow::new(*number, policy().frame_bytes_max), Inflow::new(*number));
            if let Some(drop) = (!is_taken).then(|| inflow.give_up()).flatten() {
                self.ends[end].send_stream(&drop);
            }
            let flow = Flow { out, inflow, to_send, sent: 0, came: 0 };
            assert!(self.flows[end].insert(*number, flow).is_none(), "stream {number} is open twice");
        }
    }

    /// Streams of that end whose frames have begun to be written.
    fn begin_streams(&mut self, end: usize) {
        let numbers: Vec<u64> = self.ends[end].announced().into_iter().map(|(number, _)| number).collect();
        if self.faults[end].is_none() {
            self.open_flows(end, &numbers, true);
        }
    }

    fn take_stream(&mut self, end: usize, frame: StreamFrame) {
        let flow = self.flows[end].get_mut(&frame.stream()).expect("its frame came before");
        let taken = match frame {
            StreamFrame::Data { seq, data, stream } => {
                let is_in_order = (flow.came..).zip(&data).all(|(at, byte)| *byte == byte_of(stream, at));
                assert!(is_in_order, "bytes of stream {stream}");
                flow.came += data.len();
                let received = flow.inflow.received(seq, data.len());
                flow.inflow.taken(data.len());
                received.map(drop)
            }
            StreamFrame::End { .. } => flow.inflow.ended(),
            StreamFrame::Ack { credit, .. } => flow.out.acknowledged(credit),
            StreamFrame::Drop { .. } => flow.out.dropped(),
        };
        taken.unwrap_or_else(|fault| panic!("an honest peer: {fault}"));
        self.see("bytes of a stream");
        self.forget_flows(end);
    }

    fn go_on_with_streams(&mut self, end: usize) {
        let mut frames = Vec::new();
        for (number, flow) in &mut self.flows[end] {
            let bytes = flow.out.allowance().min(flow.to_send).min(1000);
            if bytes > 0 && !flow.out.is_dropped() {
                let data = (flow.sent..flow.sent + bytes).map(|at| byte_of(*number, at)).collect();
                (flow.sent, flow.to_send) = (flow.sent + bytes, flow.to_send - bytes);
                frames.push(flow.out.send(data));
            } else if flow.to_send == 0 || flow.out.is_dropped() {
                frames.extend(flow.out.end());
            }
            frames.extend(flow.inflow.acknowledge());
            if flow.inflow.is_ended() {
                frames.extend(flow.inflow.give_up());
            }
        }
        frames.iter().for_each(|frame| self.ends[end].send_stream(frame));
        self.forget_flows(end);
    }

    /// Those of which both sides have said all there is.
    fn forget_flows(&mut self, end: usize) {
        let is_over = |flow: &Flow| flow.out.is_over() && flow.inflow.is_over();
        let over: Vec<u64> =
            self.flows[end].iter().filter(|(_, flow)| is_over(flow)).map(|(number, _)| *number).collect();
        for number in over {
            self.flows[end].remove(&number);
            self.see("a stream was over");
        }
    }

    /// Lets everything that is under way end, and looks at what is left.
    fn finish(&mut self) {
        for _ in 0..LAST_STEPS {
            for end in 0..2 {
                while !self.served[end].is_empty() && self.ends[end].is_open() {
                    self.answer(end);
                    self.write(end);
                    self.hear();
                }
                self.go_on_with_streams(end);
                self.write(end);
                self.hear();
            }
            self.pass();
            self.hear();
            self.deliver(0);
            self.deliver(1);
            self.hear();
            let is_quiet = |end: usize| {
                self.open[end].is_empty() && self.flows[end].is_empty() || !self.ends[end].is_open()
            };
            if is_quiet(0) && is_quiet(1) {
                break;
            }
        }
        for end in 0..2 {
            assert!(self.open[end].is_empty(), "calls of end {end} never ended: {:?}", self.open[end]);
            assert!(self.flows[end].is_empty(), "streams of end {end} are open");
            self.ends[end].close(self.now);
            assert_eq!(self.ends[end].figures().timers, 0, "a timer is left behind");
        }
        assert!(self.calls.iter().all(|call| call.ended.is_some()));
    }

    /// After both ends are gone: each descriptor is closed.
    fn check_closed(pipes: &mut [PipeWriter]) {
        for (number, pipe) in pipes.iter_mut().enumerate() {
            let written = pipe.write(b"x");
            assert!(written.is_err(), "descriptor {number} of the run is open");
        }
    }
}

fn call_in(json: &str) -> usize {
    let value: Value = serde_json::from_str(json).unwrap();
    usize::try_from(value["call"].as_u64().unwrap()).unwrap()
}

fn byte_of(stream: u64, at: usize) -> u8 {
    (stream as usize + at) as u8
}

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut pair = Pair::new(seed);
    for _ in 0..STEPS {
        pair.step();
    }
    pair.finish();
    let (mut pipes, seen) = (std::mem::take(&mut pair.pipes), std::mem::take(&mut pair.seen));
    drop(pair);
    Pair::check_closed(&mut pipes);
    seen
}

#[test]
fn two_peers_hold_every_promise_over_any_link_and_see_everything() {
    let mut all = BTreeMap::new();
    for seed in 0..SEEDS {
        let seen = std::panic::catch_unwind(|| run(seed));
        let seen = seen.unwrap_or_else(|_| panic!("seed {seed}"));
        seen.into_iter().for_each(|(what, count)| *all.entry(what).or_insert(0) += count);
    }
    let never: Vec<&&str> = SITUATIONS.iter().filter(|what| !all.contains_key(**what)).collect();
    assert!(never.is_empty(), "never happened in any run: {never:?}\n{all:#?}");
}
