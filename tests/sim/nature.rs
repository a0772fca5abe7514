//! What a fake child is like: one draw for each process that is launched.

use fastrand::Rng;
use rpc_plugin_wire::life::HealthStatus;
use std::time::Duration;

/// What its first frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    Right,
    WrongToken,
    WrongId,
    WrongGeneration,
    OldProtocol,
    NoCapabilities,
    Garbage,
    CallFirst,
    AnswerFirst,
    Half,
    Silence,
    Huge,
    Twice,
}

/// What it answers when asked for its capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abilities {
    Right,
    WrongId,
    WrongGeneration,
    Others,
    Error,
    Malformed,
    Silence,
}

/// How it answers a heartbeat or a call, each time drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Right,
    Error,
    Silence,
    Twice,
    UnknownId,
    TextId,
    NullId,
    NextId,
    Garbage,
    Spoilt,
    BadAsks,
    NotUtf8,
    Oversize,
    Crash,
    Close,
    Late,
    Malformed,
}

/// What befalls it some time after its launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Crash,
    ExitClean,
    Hang(Duration),
    CloseLink,
    CutLink,
    StopReading(Duration),
}

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Nature {
    pub connects_after: Option<Duration>,
    pub greeting: Greeting,
    pub greets_after: Duration,
    pub abilities: Abilities,
    /// Of a thousand answers to calls, how many are not right, and what they are then.
    pub wrong_permille: u32,
    pub wrong: Vec<Reply>,
    /// The same of heartbeats.
    pub heart_permille: u32,
    pub heart: Vec<Reply>,
    pub statuses: Vec<HealthStatus>,
    pub answer_ms_max: u64,
    pub fate: Option<(Duration, Fate)>,
    pub ignores_shutdown: bool,
    pub ignores_term: bool,
    pub ignores_end: bool,
    /// Hangs in the kernel: SIGKILL takes this long.
    pub dies_after: Duration,
    pub asks_permille: u32,
    pub link_ms_max: u64,
    pub link_bytes: usize,
}

impl Nature {
    /// One that does everything right.
    pub fn calm() -> Nature {
        Nature {
            connects_after: Some(Duration::from_millis(2)),
            greeting: Greeting::Right,
            greets_after: Duration::ZERO,
            abilities: Abilities::Right,
            wrong_permille: 0,
            wrong: vec![Reply::Right],
            heart_permille: 0,
            heart: vec![Reply::Right],
            statuses: vec![HealthStatus::Healthy],
            answer_ms_max: 3,
            fate: None,
            ignores_shutdown: false,
            ignores_term: false,
            ignores_end: false,
            dies_after: Duration::from_millis(1),
            asks_permille: 0,
            link_ms_max: 1,
            link_bytes: 64 * 1024,
        }
    }

    /// One that may do anything.
    pub fn random(rng: &mut Rng) -> Nature {
        let mut nature = Nature::calm();
        nature.answer_ms_max = *rng.choice(&[1, 3, 10, 40, 150]).unwrap();
        nature.connects_after = Some(Duration::from_micros(rng.u64(0..20_000)));
        nature.link_ms_max = *rng.choice(&[0, 0, 1, 4, 15]).unwrap();
        nature.link_bytes = *rng.choice(&[200, 3000, 20_000, 64 * 1024]).unwrap();
        nature.ignores_shutdown = rng.u8(0..8) == 0;
        nature.ignores_term = rng.u8(0..8) == 0;
        nature.ignores_end = rng.u8(0..8) == 0;
        nature.asks_permille = *rng.choice(&[0, 0, 50, 400]).unwrap();
        if rng.u8(0..3) == 0 {
            nature.greets_after = Duration::from_millis(rng.u64(0..150));
        }
        if rng.u8(0..15) == 0 {
            let is_short = rng.u8(0..4) == 0;
            nature.dies_after = Duration::from_millis(if is_short { 200 } else { rng.u64(5000..7000) });
        }
        if rng.u8(0..3) == 0 {
            nature.draw_fate(rng);
        }
        for _ in 0..rng.u8(0..3) {
            nature.draw_fault(rng);
        }
        nature
    }

    fn draw_fate(&mut self, rng: &mut Rng) {
        let after = Duration::from_millis(*rng.choice(&[2, 10, 40, 200, 1000, 4000]).unwrap());
        let after = after.mul_f64(rng.f64());
        let long = Duration::from_millis(rng.u64(20..3000));
        let fate = match rng.u8(0..9) {
            0..=1 => Fate::Crash,
            2..=3 => Fate::ExitClean,
            4 => Fate::Hang(long),
            5 => Fate::CloseLink,
            6 => Fate::CutLink,
            _ => Fate::StopReading(long),
        };
        self.fate = Some((after, fate));
    }

    fn draw_fault(&mut self, rng: &mut Rng) {
        match rng.u8(0..13) {
            0 => self.connects_after = rng.bool().then(|| Duration::from_millis(rng.u64(0..400))),
            1 => self.greeting = random_greeting(rng),
            2 => self.abilities = random_abilities(rng),
            3..=5 => {
                self.wrong_permille = *rng.choice(&[40, 200, 500]).unwrap();
                self.wrong = (0..rng.usize(1..4)).map(|_| random_reply(rng)).collect();
            }
            6..=7 => {
                self.heart_permille = *rng.choice(&[50, 300, 700]).unwrap();
                self.heart = vec![
                    *rng.choice(&[
                        Reply::Silence,
                        Reply::Error,
                        Reply::Malformed,
                        Reply::Spoilt,
                        Reply::Late,
                    ])
                    .unwrap(),
                ];
            }
            8..=10 => self.statuses = random_statuses(rng),
            11 => {
                // It guesses at requests that still wait behind a narrow link.
                (self.wrong_permille, self.wrong) = (500, vec![Reply::NextId]);
                (self.link_bytes, self.link_ms_max) = (200, 0);
            }
            _ => self.answer_ms_max = 600,
        }
    }
}

fn random_greeting(rng: &mut Rng) -> Greeting {
    *rng.choice(&[
        Greeting::WrongToken,
        Greeting::WrongId,
        Greeting::WrongGeneration,
        Greeting::OldProtocol,
        Greeting::NoCapabilities,
        Greeting::Garbage,
        Greeting::CallFirst,
        Greeting::AnswerFirst,
        Greeting::Half,
        Greeting::Silence,
        Greeting::Huge,
        Greeting::Twice,
    ])
    .unwrap()
}

fn random_abilities(rng: &mut Rng) -> Abilities {
    *rng.choice(&[
        Abilities::WrongId,
        Abilities::WrongGeneration,
        Abilities::Others,
        Abilities::Error,
        Abilities::Malformed,
        Abilities::Silence,
    ])
    .unwrap()
}

fn random_reply(rng: &mut Rng) -> Reply {
    *rng.choice(&[
        Reply::Error,
        Reply::Error,
        Reply::Silence,
        Reply::Silence,
        Reply::Twice,
        Reply::UnknownId,
        Reply::TextId,
        Reply::NullId,
        Reply::NextId,
        Reply::NextId,
        Reply::NextId,
        Reply::Garbage,
        Reply::Spoilt,
        Reply::Spoilt,
        Reply::BadAsks,
        Reply::NotUtf8,
        Reply::Oversize,
        Reply::Crash,
        Reply::Close,
        Reply::Late,
        Reply::Late,
        Reply::Late,
    ])
    .unwrap()
}

fn random_statuses(rng: &mut Rng) -> Vec<HealthStatus> {
    use HealthStatus::{Degraded, Healthy, Overloaded, Starting, Unhealthy};
    (0..rng.usize(1..6))
        .map(|_| *rng.choice(&[Healthy, Healthy, Degraded, Overloaded, Unhealthy, Starting]).unwrap())
        .chain([Healthy])
        .collect()
}
