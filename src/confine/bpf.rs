//! Programs for the kernel's packet filter that judge system calls (seccomp(2), bpf of 1992).
//!
//! What this file is for: a table of rules by the numbers of system calls becomes a program. What it deliberately does not
//! do: know a system call.
//!
//! What always holds: the program is a search tree, so that a call passes some eight comparisons and not one a rule, and the
//! kernel, which runs it over every number when it is loaded, is done in a quarter of the time; of an argument only the lower
//! 32 bits are looked at, which are all that the kernel takes of those that rules name; a jump leads forward, within the
//! program, and no further than an instruction can say.

use libc::{
    BPF_ABS, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

/// Outcome of a system call that is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SyscallVerdict {
    /// The kernel carries it out.
    Allow,
    /// It fails with this error, and nothing else happens.
    Errno(i32),
    /// The process ends by SIGSYS.
    Kill,
}

/// What is looked at of a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing: all such calls are meant.
    Always,
    /// Any of these bits is set in the argument of that place.
    AnyBit(u8, u32),
    /// The argument of that place is one of two numbers.
    OneOf(u8, [u32; 2]),
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    /// Calls of which it speaks.
    pub(super) condition: Condition,
    /// What becomes of them; of others of that number, [`SyscallVerdict::Allow`].
    pub(super) verdict: SyscallVerdict,
}

impl Rule {
    pub(super) const ALLOW: Rule = Rule::always(SyscallVerdict::Allow);

    pub(super) const fn always(verdict: SyscallVerdict) -> Rule {
        Rule { condition: Condition::Always, verdict }
    }
}

/// The numbers from this one on, up to the next segment's, and the rule for each.
pub(super) type Segment = (u32, Rule);

/// A program that judges system calls.
#[derive(Debug, Clone)]
pub(crate) struct SyscallFilter(Vec<sock_filter>);

/// Offsets in what a program looks at (struct seccomp_data).
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;
/// Lower half of an argument, behind its beginning.
const LOWER_HALF: u32 = if cfg!(target_endian = "little") { 0 } else { 4 };

impl SyscallFilter {
    /// A program for calls of one architecture; whatever makes others is killed. `segments` are ordered by their numbers,
    /// and the first begins at 0.
    pub(super) fn new(architecture: u32, segments: &[Segment]) -> SyscallFilter {
        let mut program =
            vec![load(ARCHITECTURE_AT), jump(BPF_JEQ, architecture, 1, 0), give(SyscallVerdict::Kill)];
        program.push(load(NUMBER_AT));
        program.extend(tree(segments));
        SyscallFilter(program)
    }

    /// Its instructions, as seccomp(2) takes them.
    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.0
    }
}

fn load(at: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, at)
}

fn give(verdict: SyscallVerdict) -> sock_filter {
    let value = match verdict {
        SyscallVerdict::Allow => libc::SECCOMP_RET_ALLOW,
        SyscallVerdict::Errno(errno) => {
            libc::SECCOMP_RET_ERRNO | (errno.unsigned_abs() & libc::SECCOMP_RET_DATA)
        }
        SyscallVerdict::Kill => libc::SECCOMP_RET_KILL_PROCESS,
    };
    instruction(BPF_RET | BPF_K, value)
}

fn jump(comparison: u32, with: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter { jt: if_so, jf: if_not, ..instruction(BPF_JMP | BPF_K | comparison, with) }
}

fn instruction(code: u32, k: u32) -> sock_filter {
    // The codes have at most seven bits.
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn tree(segments: &[Segment]) -> Vec<sock_filter> {
    let (below, from) = segments.split_at(segments.len() / 2);
    let Some((first, rule)) = from.first() else { return vec![give(SyscallVerdict::Kill)] };
    if below.is_empty() {
        return leaf(*rule);
    }
    let below = tree(below);
    let mut program = match u8::try_from(below.len()) {
        Ok(over) => vec![jump(BPF_JGE, *first, over, 0)],
        Err(_) => {
            // Jumps without a comparison reach everywhere.
            let over = u32::try_from(below.len()).unwrap_or(u32::MAX);
            vec![jump(BPF_JGE, *first, 0, 1), instruction(BPF_JMP | BPF_JA, over)]
        }
    };
    program.extend(below);
    program.extend(tree(from));
    program
}

fn leaf(rule: Rule) -> Vec<sock_filter> {
    let (allow, verdict) = (give(SyscallVerdict::Allow), give(rule.verdict));
    let argument = |place: u8| load(ARGUMENTS_AT + 8 * u32::from(place) + LOWER_HALF);
    match rule.condition {
        Condition::Always => vec![verdict],
        Condition::AnyBit(place, bits) => vec![argument(place), jump(BPF_JSET, bits, 0, 1), verdict, allow],
        Condition::OneOf(place, [one, other]) => {
            vec![argument(place), jump(BPF_JEQ, one, 1, 0), jump(BPF_JEQ, other, 0, 1), verdict, allow]
        }
    }
}

/// The machine that the kernel is, as far as such programs use it.
#[cfg(test)]
pub(super) mod machine {
    use super::*;

    /// A system call, as a program sees it.
    pub(in super::super) struct Call {
        pub(in super::super) number: u32,
        pub(in super::super) architecture: u32,
        pub(in super::super) arguments: [u64; 6],
    }

    /// What a program says of a call, and after how many instructions.
    pub(in super::super) fn run(filter: &SyscallFilter, call: &Call) -> (u32, usize) {
        let word = |at: u32| match at {
            NUMBER_AT => call.number,
            ARCHITECTURE_AT => call.architecture,
            _ => {
                let place = (at - ARGUMENTS_AT) as usize;
                assert_eq!(place % 8, LOWER_HALF as usize, "a half that carries nothing");
                call.arguments[place / 8] as u32
            }
        };
        let (mut at, mut value, mut count) = (0, 0, 0);
        loop {
            let step = filter.0[at];
            count += 1;
            at += 1;
            let code = u32::from(step.code);
            let holds = match code & !(BPF_JMP | BPF_K) {
                _ if code == BPF_LD | BPF_W | BPF_ABS => {
                    value = word(step.k);
                    continue;
                }
                _ if code == BPF_RET | BPF_K => return (step.k, count),
                BPF_JA => {
                    at += step.k as usize;
                    continue;
                }
                BPF_JEQ => value == step.k,
                BPF_JGE => value >= step.k,
                BPF_JSET => value & step.k != 0,
                other => panic!("{other:#x} is no instruction of ours"),
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::machine::{Call, run};
    use super::*;

    /// What the table says, read from its beginning to its end.
    fn by_table(segments: &[Segment], call: &Call) -> SyscallVerdict {
        let rule = segments.iter().rev().find(|(first, _)| *first <= call.number).unwrap().1;
        let lower = |place: u8| call.arguments[usize::from(place)] as u32;
        let is_meant = match rule.condition {
            Condition::Always => true,
            Condition::AnyBit(place, bits) => lower(place) & bits != 0,
            Condition::OneOf(place, numbers) => numbers.contains(&lower(place)),
        };
        if is_meant { rule.verdict } else { SyscallVerdict::Allow }
    }

    /// Whatever the table, the tree says what the table says, after few instructions.
    #[test]
    fn a_tree_says_what_its_table_says() {
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut number = 0;
            let segments: Vec<Segment> = (0..rng.usize(1..400))
                .map(|at| {
                    number += if at == 0 { 0 } else { rng.u32(1..4) };
                    let verdict =
                        [SyscallVerdict::Allow, SyscallVerdict::Errno(rng.i32(1..200)), SyscallVerdict::Kill]
                            [rng.usize(0..3)];
                    let place = rng.u8(0..6);
                    let condition = match rng.u8(0..3) {
                        0 => Condition::Always,
                        1 => Condition::AnyBit(place, 1 << rng.u32(0..32)),
                        _ => Condition::OneOf(place, [rng.u32(0..4), rng.u32(0..4)]),
                    };
                    (number, Rule { condition, verdict })
                })
                .collect();
            let filter = SyscallFilter::new(7, &segments);
            assert!(filter.0.len() <= 4096, "BPF_MAXINSNS");
            for number in (0..number + 3).chain([u32::MAX, 1 << 30]) {
                let arguments = std::array::from_fn(|_| rng.u64(0..6) | rng.u64(..) << 32);
                let call = Call { number, architecture: 7, arguments };
                let (said, count) = run(&filter, &call);
                assert_eq!(said, give(by_table(&segments, &call)).k, "seed {seed}, number {number}");
                assert!(count <= 3 + 2 * 10 + 4, "seed {seed}: {count} instructions");
            }
            let other = Call { number: 0, architecture: 8, arguments: [0; 6] };
            assert_eq!(run(&filter, &other).0, libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
