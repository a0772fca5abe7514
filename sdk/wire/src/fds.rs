//! File descriptors that came with a connection's bytes and wait for the frames that announce them (protocol
//! section 1).
//!
//! What it deliberately does not do: receive or close anything. `D` is whatever stands for a descriptor;
//! dropping it is closing it.
//!
//! What always holds: at most [`FDS_WAITING_MAX`] wait once the frames that are there are handled, and at most one
//! frame's more before that; each goes to one frame, in the order in which they came; one that no frame announced is
//! found as soon as the bytes that it came with are handled.

use crate::limits::{FDS_PER_FRAME_MAX, FDS_WAITING_MAX};
use std::collections::VecDeque;
use std::fmt;

/// What a peer did wrong with its descriptors. The connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FdsError {
    /// More than [`FDS_WAITING_MAX`] came before the frames that announce them.
    TooMany,
    /// A frame announces this many, and so many are there.
    TooFew(usize, usize),
    /// So many came that no frame announces.
    Unannounced(usize),
    /// This process could not open all that a frame announces, which is not the peer's fault.
    Lost,
}

impl fmt::Display for FdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FdsError::TooMany => write!(
                f,
                "more than {FDS_WAITING_MAX} file descriptors came before the frames that announce them"
            ),
            FdsError::TooFew(announced, there) => {
                write!(f, "a frame announces {announced} file descriptors, {there} came with it")
            }
            FdsError::Unannounced(count) => {
                write!(f, "{count} file descriptors came that no frame announces")
            }
            FdsError::Lost => write!(f, "file descriptors came that could not be opened here"),
        }
    }
}

impl std::error::Error for FdsError {}

/// Descriptors that were received and wait for the frames that announce them.
#[derive(Debug)]
pub struct Waiting<D> {
    /// Each with the number of bytes received when it was there. `None` stands for those that were lost behind it.
    queue: VecDeque<(Option<D>, u64)>,
    received_bytes: u64,
}

impl<D> Default for Waiting<D> {
    fn default() -> Waiting<D> {
        Waiting { queue: VecDeque::new(), received_bytes: 0 }
    }
}

impl<D> Waiting<D> {
    /// Takes in what one read brought. It may bring those of a frame together with the end of the frame before, whose
    /// own are still waiting then: the bound counts when whole frames are handled, in [`Waiting::check`].
    ///
    /// # Errors
    /// [`FdsError::TooMany`]; those beyond the bound are dropped.
    pub fn received(&mut self, bytes: usize, fds: impl IntoIterator<Item = D>) -> Result<(), FdsError> {
        self.received_bytes += bytes as u64;
        for fd in fds {
            if self.queue.len() >= FDS_WAITING_MAX + usize::from(FDS_PER_FRAME_MAX) {
                return Err(FdsError::TooMany);
            }
            self.queue.push_back((Some(fd), self.received_bytes));
        }
        Ok(())
    }

    /// Says that more came with what [`Waiting::received`] took in last, and could not be opened here. Behind as
    /// many as are taken in, this is remembered once.
    pub fn lost(&mut self) {
        self.queue.truncate(FDS_WAITING_MAX + usize::from(FDS_PER_FRAME_MAX));
        self.queue.push_back((None, self.received_bytes));
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Those of a frame that announces `count`.
    ///
    /// # Errors
    /// [`FdsError::TooFew`]; [`FdsError::Lost`], by which those of the frame that are there are dropped.
    pub fn take(&mut self, count: usize) -> Result<Vec<D>, FdsError> {
        let there = self.queue.iter().take_while(|(fd, _)| fd.is_some()).count();
        if count > there && there < self.queue.len() {
            self.queue.drain(..=there);
            return Err(FdsError::Lost);
        }
        if count > there {
            return Err(FdsError::TooFew(count, there));
        }
        Ok(self.queue.drain(..count).filter_map(|(fd, _)| fd).collect())
    }

    /// To be asked when all whole frames are handled and `unhandled_bytes` of a further one are there.
    ///
    /// # Errors
    /// [`FdsError::Unannounced`] when some came with bytes that are handled, [`FdsError::TooMany`].
    pub fn check(&self, unhandled_bytes: usize) -> Result<(), FdsError> {
        if self.queue.len() > FDS_WAITING_MAX {
            return Err(FdsError::TooMany);
        }
        match self.queue.iter().filter(|(_, at)| at + unhandled_bytes as u64 <= self.received_bytes).count() {
            0 => Ok(()),
            count => Err(FdsError::Unannounced(count)),
        }
    }

    /// Drops those that [`Waiting::check`] would find to be announced by no frame, for a connection that goes on without them.
    pub fn drop_unannounced(&mut self, unhandled_bytes: usize) {
        self.queue.retain(|(_, at)| at + unhandled_bytes as u64 > self.received_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goes_to_the_frame_that_announces_it() {
        let mut waiting = Waiting::default();
        waiting.received(10, ['a', 'b']).unwrap();
        assert_eq!(waiting.check(10), Ok(()), "its frame is not whole");
        waiting.received(10, ['c']).unwrap();
        assert_eq!(waiting.take(2), Ok(vec!['a', 'b']));
        assert_eq!(waiting.check(5), Ok(()));
        assert_eq!(waiting.take(2), Err(FdsError::TooFew(2, 1)));
        assert_eq!(waiting.take(1), Ok(vec!['c']));
        assert_eq!(waiting.check(0), Ok(()));
    }

    #[test]
    fn what_could_not_be_opened_costs_the_frame_that_announced_it() {
        for there in 0..3 {
            let mut waiting = Waiting::default();
            waiting.received(10, vec!['a'; there]).unwrap();
            waiting.lost();
            waiting.received(10, ['b']).unwrap();
            assert!(!waiting.is_empty());
            assert_eq!(waiting.take(3), Err(FdsError::Lost));
            assert_eq!(waiting.take(1), Ok(vec!['b']), "the next frame has its own");
            assert_eq!(waiting.check(0), Ok(()));
            // As many as were announced are there, and more came.
            waiting.received(10, ['c']).unwrap();
            waiting.lost();
            assert_eq!(waiting.take(1), Ok(vec!['c']));
            assert_eq!(waiting.check(0), Err(FdsError::Unannounced(1)));
        }
    }

    #[test]
    fn one_too_many_is_found_with_the_bytes_it_came_with() {
        let mut waiting = Waiting::default();
        waiting.received(10, ['a', 'b']).unwrap();
        assert_eq!(waiting.take(1), Ok(vec!['a']));
        assert_eq!(waiting.check(0), Err(FdsError::Unannounced(1)));
        // Also when the next frame has begun meanwhile.
        waiting.received(7, []).unwrap();
        assert_eq!(waiting.check(7), Err(FdsError::Unannounced(1)));
        // Who goes on without it drops it, and not those of the next frame.
        waiting.received(1, ['c']).unwrap();
        waiting.drop_unannounced(8);
        assert_eq!((waiting.check(8), waiting.take(1)), (Ok(()), Ok(vec!['c'])));
    }

    #[test]
    fn they_do_not_pile_up() {
        let mut waiting = Waiting::default();
        waiting.received(1, vec![0; FDS_WAITING_MAX]).unwrap();
        assert_eq!(waiting.check(1), Ok(()));
        // Together with the end of the frame that announces the first.
        waiting.received(1, [0]).unwrap();
        assert_eq!(waiting.check(2), Err(FdsError::TooMany), "if it is not that end");
        assert_eq!(waiting.take(FDS_WAITING_MAX).unwrap().len(), FDS_WAITING_MAX);
        assert_eq!(waiting.check(1), Ok(()));
        waiting.received(1, vec![0; 31]).unwrap();
        assert_eq!(waiting.received(1, [0]), Err(FdsError::TooMany));
        (0..9).for_each(|_| waiting.lost());
        assert_eq!(waiting.queue.len(), 32 + 1);
    }

    #[test]
    fn those_of_the_next_frame_may_come_with_the_last_bytes_of_one_that_has_as_many_as_may_be() {
        let mut waiting = Waiting::default();
        for round in 0..30 {
            // The end of the frame before, and the first byte of the next.
            waiting.received(10, [round; FDS_WAITING_MAX]).unwrap();
            if round > 0 {
                assert_eq!(waiting.take(FDS_WAITING_MAX), Ok(vec![round - 1; FDS_WAITING_MAX]));
            }
            assert_eq!(waiting.check(1), Ok(()), "{round}");
        }
    }
}
