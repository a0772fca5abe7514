//! Bounds that several parties share, so that none of them takes all of what there is.
//!
//! What it deliberately does not do: hold what is counted. Whoever does says when something comes and goes.
//!
//! What always holds: no more is held than the bound; one party by itself holds half of it at the most, and what it was
//! given last; whoever holds less than an eighth is refused only where nothing is left at all.

use rpc_plugin_wire::PluginId;
use std::fmt;

/// Part of a bound that goes to whoever comes first: one in so many. What is beyond it goes by shares.
pub const COMMON_ONE_IN: usize = 2;
/// Share of each party in a bound of which that part is taken: one in so many.
pub const SHARE_ONE_IN: usize = 8;

/// Party that something is done for, and counted for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Party {
    /// The embedding program, or the host itself.
    #[default]
    Program,
    /// The process of a control client, by its id.
    Client(u32),
    /// A plugin.
    Plugin(PluginId),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Program => write!(f, "the program itself"),
            Party::Client(pid) => write!(f, "control client {pid}"),
            Party::Plugin(id) => write!(f, "plugin {:?}", id.as_str()),
        }
    }
}

/// Number of things, and their bytes where these are bounded too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Number of things.
    pub count: usize,
    /// Number of their bytes.
    pub bytes: usize,
}

impl Amount {
    /// One thing whose bytes do not count.
    pub const ONE: Amount = Amount { count: 1, bytes: 0 };

    /// A bound of so many things, whatever their bytes.
    #[must_use]
    pub const fn of(count: usize) -> Amount {
        Amount { count, bytes: usize::MAX }
    }
}

/// What is used up where something is refused: the numbers of things or of bytes, whichever is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareUsed {
    /// Number of things or bytes that the party holds.
    pub own: usize,
    /// Number of them that all parties hold together.
    pub total: usize,
    /// Number of them that all parties may hold.
    pub max: usize,
}

impl ShareUsed {
    /// Says it in words: whose share of `what` is used up.
    #[must_use]
    pub fn tell(&self, party: &Party, what: &str) -> String {
        let ShareUsed { own, total, max } = self;
        let share = max.div_ceil(SHARE_ONE_IN);
        if *own < share {
            return format!("{total} of {max} {what} are taken, {own} of them by {party}: there is no room");
        }
        format!(
            "the share of {party} is used up: it has {own} of {max} {what}, and may have {share} while half are taken, as \
             {total} are"
        )
    }
}

/// Whether a party may hold `more` of a bound `max` of which all hold `total`, as [`Shares::check`] decides it: for what is
/// counted elsewhere. `own` is what the party itself holds, and is asked only once half is taken, or there is no room.
///
/// # Errors
/// It may not.
pub fn admit(own: impl FnOnce() -> usize, total: usize, max: usize, more: usize) -> Result<(), ShareUsed> {
    let has_room = more <= max.saturating_sub(total);
    // What counts nothing is not refused, also where the bound is zero.
    if more == 0 || (has_room && total < max.div_ceil(COMMON_ONE_IN)) {
        return Ok(());
    }
    let own = own();
    if has_room && own < max.div_ceil(SHARE_ONE_IN) { Ok(()) } else { Err(ShareUsed { own, total, max }) }
}

/// A bound, and who holds how much of it.
#[derive(Debug)]
pub struct Shares {
    max: Amount,
    total: Amount,
    /// By party, each of which holds something. As a row a party costs no allocation once there were as many.
    parts: Vec<(Party, Amount)>,
}

impl Shares {
    /// A bound of which nothing is held.
    #[must_use]
    pub fn new(max: Amount) -> Shares {
        Shares { max, total: Amount::default(), parts: Vec::new() }
    }

    /// Whether a party may hold so much more: while less than half is held by all, or less than an eighth by the party
    /// itself.
    ///
    /// # Errors
    /// It may not.
    #[inline]
    pub fn check(&self, party: &Party, more: Amount) -> Result<(), ShareUsed> {
        let own = || {
            self.find(party).ok().and_then(|at| self.parts.get(at)).map_or(Amount::default(), |(_, own)| *own)
        };
        admit(|| own().count, self.total.count, self.max.count, more.count)?;
        admit(|| own().bytes, self.total.bytes, self.max.bytes, more.bytes)
    }

    /// Gives a party so much more, if it may hold it.
    ///
    /// # Errors
    /// As [`Shares::check`].
    pub fn enter(&mut self, party: &Party, more: Amount) -> Result<(), ShareUsed> {
        self.check(party, more)?;
        self.add(party, more);
        Ok(())
    }

    /// Gives a party so much more, which it was [asked](Shares::check) right before whether it may hold.
    #[inline]
    pub fn add(&mut self, party: &Party, more: Amount) {
        self.total.count += more.count;
        self.total.bytes += more.bytes;
        match self.find(party) {
            Ok(at) => {
                if let Some((_, own)) = self.parts.get_mut(at) {
                    own.count += more.count;
                    own.bytes += more.bytes;
                }
            }
            Err(at) => self.parts.insert(at, (party.clone(), more)),
        }
    }

    /// Takes back what a party was given.
    #[inline]
    pub fn leave(&mut self, party: &Party, less: Amount) {
        let Ok(at) = self.find(party) else { return };
        let Some((_, own)) = self.parts.get_mut(at) else { return };
        own.count = own.count.saturating_sub(less.count);
        own.bytes = own.bytes.saturating_sub(less.bytes);
        if own.count == 0 {
            self.parts.remove(at);
        }
        self.total.count = self.total.count.saturating_sub(less.count);
        self.total.bytes = self.total.bytes.saturating_sub(less.bytes);
    }

    /// Takes back all that anybody was given.
    pub fn clear(&mut self) {
        self.total = Amount::default();
        self.parts.clear();
    }

    /// How much all hold together.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.total
    }

    #[inline]
    fn find(&self, party: &Party) -> Result<usize, usize> {
        match self.parts.as_slice() {
            [] => Err(0),
            [(only, _)] if only == party => Ok(0),
            _ => self.search(party),
        }
    }

    /// Searches for a party where it is not the only one.
    #[cold]
    fn search(&self, party: &Party) -> Result<usize, usize> {
        self.parts.binary_search_by(|(known, _)| known.cmp(party))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn plugin(id: &str) -> Party {
        Party::Plugin(id.parse().unwrap())
    }

    /// How many of one each a party gets until it is refused.
    fn take_all(shares: &mut Shares, party: &Party) -> usize {
        (0..).take_while(|_| shares.enter(party, Amount::ONE).is_ok()).count()
    }

    #[test]
    fn one_party_gets_half_and_each_other_one_an_eighth() {
        let mut shares = Shares::new(Amount::of(64));
        let got = |shares: &mut Shares, party| take_all(shares, &party);
        assert_eq!(got(&mut shares, plugin("flood")), 32);
        assert_eq!(got(&mut shares, Party::Client(7)), 8);
        assert_eq!(got(&mut shares, Party::Program), 8);
        assert_eq!(got(&mut shares, plugin("a")), 8);
        assert_eq!(got(&mut shares, plugin("b")), 8);
        assert_eq!(got(&mut shares, plugin("c")), 0, "there is nothing left");
        shares.leave(&plugin("flood"), Amount::ONE);
        assert!(shares.check(&plugin("flood"), Amount::ONE).is_err(), "not to whoever had most");
        assert!(shares.check(&plugin("c"), Amount::ONE).is_ok());
    }

    #[test]
    fn the_smallest_bounds_are_of_use() {
        for (max, alone) in [(1, 1), (2, 1), (3, 2), (8, 4), (9, 5)] {
            assert_eq!(take_all(&mut Shares::new(Amount::of(max)), &Party::Program), alone, "of {max}");
        }
        let mut two = Shares::new(Amount::of(2));
        assert_eq!(take_all(&mut two, &plugin("a")) + take_all(&mut two, &plugin("b")), 2);
        assert!(Shares::new(Amount::of(0)).check(&Party::Program, Amount::ONE).is_err());
    }

    #[test]
    fn bytes_are_shared_as_things_are() {
        let mut shares = Shares::new(Amount { count: 100, bytes: 800 });
        let of = |bytes| Amount { count: 1, bytes };
        shares.enter(&plugin("a"), of(390)).unwrap();
        shares.enter(&plugin("a"), of(200)).unwrap();
        let used = shares.enter(&plugin("a"), of(1)).unwrap_err();
        assert_eq!(used, ShareUsed { own: 590, total: 590, max: 800 });
        shares.enter(&plugin("b"), of(99)).unwrap();
        assert_eq!(shares.enter(&Party::Program, of(112)).unwrap_err().total, 689, "more than is left");
        shares.enter(&Party::Program, of(111)).unwrap();
        assert_eq!(shares.total(), Amount { count: 4, bytes: 800 });
        shares.clear();
        assert_eq!((shares.total(), shares.parts.len()), (Amount::default(), 0));
    }

    #[test]
    fn a_refusal_says_whose_share_is_used_up() {
        let mut shares = Shares::new(Amount::of(16));
        take_all(&mut shares, &plugin("flood"));
        let used = shares.check(&plugin("flood"), Amount::ONE).unwrap_err();
        let text = used.tell(&plugin("flood"), "calls");
        assert!(text.contains("the share of plugin \"flood\" is used up: it has 8 of 16 calls"), "{text}");
        (0..4).for_each(|pid| assert_eq!(take_all(&mut shares, &Party::Client(pid)), 2));
        let text = shares.check(&Party::Program, Amount::ONE).unwrap_err().tell(&Party::Program, "calls");
        assert_eq!(text, "16 of 16 calls are taken, 0 of them by the program itself: there is no room");
    }

    /// Whatever comes and goes, the parts add up, nothing exceeds the bound, and a newcomer finds room until all is taken.
    #[test]
    fn parts_add_up_whatever_comes_and_goes() {
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let max = Amount { count: rng.usize(1..200), bytes: rng.usize(1..20_000) };
            let (mut shares, mut held) = (Shares::new(max), Vec::<(Party, Amount)>::new());
            let mut parts = BTreeMap::<Party, Amount>::new();
            for _ in 0..3000 {
                if rng.u8(0..5) < 2 && !held.is_empty() {
                    let (party, amount) = held.swap_remove(rng.usize(0..held.len()));
                    shares.leave(&party, amount);
                    let own = parts.get_mut(&party).unwrap();
                    (own.count, own.bytes) = (own.count - 1, own.bytes - amount.bytes);
                    continue;
                }
                let party = match rng.u32(0..12) {
                    0 => Party::Program,
                    pid @ 1..4 => Party::Client(pid),
                    number => plugin(&format!("p{}", number.min(6))),
                };
                let amount = Amount { count: 1, bytes: rng.usize(0..300) };
                let (before, own) = (shares.total(), parts.entry(party.clone()).or_default());
                let fits = before.count < max.count && before.bytes + amount.bytes <= max.bytes;
                let is_low = (before.count * 2 < max.count || own.count * 8 < max.count)
                    && (before.bytes * 2 < max.bytes || own.bytes * 8 < max.bytes || amount.bytes == 0);
                assert_eq!(shares.enter(&party, amount).is_ok(), fits && is_low, "seed {seed}");
                if fits && is_low {
                    (own.count, own.bytes) = (own.count + 1, own.bytes + amount.bytes);
                    held.push((party, amount));
                }
                let total = shares.total();
                assert!(total.count <= max.count && total.bytes <= max.bytes);
                assert_eq!(total.count, held.len());
                let mut known = parts.iter().filter(|(_, own)| own.count > 0);
                assert!(shares.parts.iter().all(|(party, own)| known.next() == Some((party, own))));
                assert!(known.next().is_none());
            }
            held.iter().for_each(|(party, amount)| shares.leave(party, *amount));
            assert_eq!((shares.total(), shares.parts.len()), (Amount::default(), 0));
        }
    }
}
