//! What a peer passed is not dropped where it is no longer needed: its closer takes it, whoever lets it go.
//!
//! What this file is for: close(2) of a descriptor may take as long as whoever made it likes, so that it may happen on no
//! thread that others wait for. Each way on which a descriptor can get lost ends in a drop, and so the type itself sees
//! to it. It also decides how many may wait to be closed. What it deliberately does not do: close; know what a
//! descriptor is.

use super::keys::PluginKey;
use rpc_plugin_wire::{CallError, ErrorCode, ErrorObject};
use std::fmt;
use std::sync::Arc;

/// Descriptors that one plugin passed, over all its generations, and that wait to be closed. From then on nothing more is
/// read from it, and it is not launched again.
pub const UNCLOSED_MAX: usize = 256;

/// The kinds of descriptors that are taken from a peer, as errors name them.
pub const KINDS_TAKEN: &str = "Unix stream sockets, pipes, memfds and regular files";

/// Closes what is handed to it, without making whoever hands it over wait.
pub trait Closer<T>: fmt::Debug + Send + Sync {
    /// Takes `item`, to be closed.
    fn close(&self, item: T);

    /// The plugin that passed what this closes, if one did.
    fn passer(&self) -> Option<PluginKey> {
        None
    }
}

/// Something that a peer passed, or that a peer may have put something into. Dropping it hands it to its closer.
#[derive(Debug)]
pub struct Passed<T> {
    /// `None` only while it is dropped or taken.
    item: Option<T>,
    /// `None`: it is this program's own, and dropped as anything else.
    closer: Option<Arc<dyn Closer<T>>>,
    /// What it is, where that is none of [`KINDS_TAKEN`].
    unwanted: Option<&'static str>,
}

impl<T> Passed<T> {
    /// One that `closer` closes.
    pub fn new(item: T, closer: Arc<dyn Closer<T>>) -> Passed<T> {
        Passed { item: Some(item), closer: Some(closer), unwanted: None }
    }

    /// Says what it is, where that is none of [`KINDS_TAKEN`]. It is kept until the frame that announces it is answered.
    #[must_use]
    pub fn of_kind(mut self, unwanted: Option<&'static str>) -> Passed<T> {
        self.unwanted = unwanted;
        self
    }

    /// Has `closer` close it, where nobody does yet.
    pub fn closed_by(&mut self, closer: &Arc<dyn Closer<T>>) {
        self.closer.get_or_insert_with(|| Arc::clone(closer));
    }

    /// The plugin that passed it, if one did.
    #[must_use]
    pub fn passer(&self) -> Option<PluginKey> {
        self.closer.as_ref()?.passer()
    }

    /// What it is, as long as it is here.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.item.as_ref()
    }

    /// Gives it to whoever owns it from now on.
    #[must_use]
    pub fn take(mut self) -> Option<T> {
        self.item.take()
    }
}

impl<T> From<T> for Passed<T> {
    /// One of this program's own.
    fn from(item: T) -> Passed<T> {
        Passed { item: Some(item), closer: None, unwanted: None }
    }
}

impl<T> Drop for Passed<T> {
    fn drop(&mut self) {
        if let (Some(item), Some(closer)) = (self.item.take(), &self.closer) {
            closer.close(item);
        }
    }
}

/// Gives what was passed to the embedding program, whose it is from now on.
#[must_use]
pub fn into_owned<T>(passed: Vec<Passed<T>>) -> Vec<T> {
    // Mostly there are none, which is quicker told than collected.
    if passed.is_empty() { Vec::new() } else { passed.into_iter().filter_map(Passed::take).collect() }
}

/// Takes what the embedding program sends.
#[must_use]
pub fn from_owned<T>(own: Vec<T>) -> Vec<Passed<T>> {
    if own.is_empty() { Vec::new() } else { own.into_iter().map(Passed::from).collect() }
}

/// Why an answer is refused, where some of what came with it is of a kind that is not taken.
///
/// # Errors
/// `invalid_response`, for whoever made the call.
pub fn check_answer_kinds<T>(came: &[Passed<T>]) -> Result<(), CallError> {
    check_kinds(came).map_err(|error| {
        let text = format!("its answer is refused: {}", error.message);
        CallError::indeterminate(ErrorCode::InvalidResponse, text)
    })
}

/// Why what came with one frame is refused, where some of it is of a kind that is not taken.
///
/// # Errors
/// `invalid_params`, for whoever sent it.
pub fn check_kinds<T>(came: &[Passed<T>]) -> Result<(), ErrorObject> {
    for (number, passed) in (1..).zip(came) {
        if let Some(kind) = passed.unwanted {
            let count = came.len();
            let text = format!("file descriptor {number} of {count} is {kind}; only {KINDS_TAKEN} are taken");
            return Err(ErrorObject::new(ErrorCode::InvalidParams, text));
        }
    }
    Ok(())
}

/// Whether a plugin may be launched, of which so many descriptors wait to be closed.
///
/// # Errors
/// Why not. It may once fewer wait.
pub fn check_unclosed(waiting: usize) -> Result<(), String> {
    if waiting < UNCLOSED_MAX {
        return Ok(());
    }
    Err(format!(
        "{waiting} file descriptors that it passed wait to be closed, and close(2) of one of them does not return; fewer \
         than {UNCLOSED_MAX} may wait. It is launched once they are closed"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Keeps what it was handed.
    #[derive(Debug, Default)]
    struct Kept(Mutex<Vec<u8>>);

    impl Closer<u8> for Kept {
        fn close(&self, item: u8) {
            self.0.lock().unwrap().push(item);
        }
    }

    #[test]
    fn what_was_passed_goes_to_its_closer_unless_somebody_took_it() {
        let kept = Arc::new(Kept::default());
        let closer: Arc<dyn Closer<u8>> = kept.clone();
        let passed = |item| Passed::new(item, Arc::clone(&closer));
        drop(vec![passed(1), passed(2).of_kind(Some("a directory"))]);
        assert_eq!(passed(3).take(), Some(3));
        drop(Passed::from(4));
        let mut own = Passed::from(5);
        own.closed_by(&closer);
        assert_eq!(own.get(), Some(&5));
        drop(own);
        assert_eq!(*kept.0.lock().unwrap(), [1, 2, 5]);
        let mut other = passed(6);
        other.closed_by(&(Arc::new(Kept::default()) as Arc<dyn Closer<u8>>));
        drop(other);
        assert_eq!(kept.0.lock().unwrap().last(), Some(&6), "whose it is first");
    }

    #[test]
    fn a_kind_that_is_not_taken_is_named_with_its_place() {
        let taken = || Passed::from(0);
        assert!(check_kinds(&[taken(), taken()]).is_ok() && check_kinds::<u8>(&[]).is_ok());
        let refused = check_kinds(&[taken(), taken().of_kind(Some("a TCP socket"))]).unwrap_err();
        assert_eq!(
            refused.message,
            "file descriptor 2 of 2 is a TCP socket; only Unix stream sockets, pipes, memfds and regular files are \
             taken"
        );
        assert_eq!(refused.code, ErrorCode::InvalidParams.code());
    }

    #[test]
    fn a_plugin_whose_descriptors_are_not_closed_is_not_launched() {
        assert_eq!(check_unclosed(0), Ok(()));
        assert_eq!(check_unclosed(UNCLOSED_MAX - 1), Ok(()));
        assert!(check_unclosed(UNCLOSED_MAX).unwrap_err().starts_with("256 file descriptors"));
    }
}
