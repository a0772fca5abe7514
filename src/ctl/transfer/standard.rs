//! Standard input and output, as far as they are there to be copied.

use std::os::fd::BorrowedFd;

/// The name that stands for standard input or output.
pub(crate) const STANDARD: &str = "-";

/// Where standard input comes from, and where standard output goes to, for who named them.
pub(crate) struct Standard<'a> {
    pub(crate) input: Result<BorrowedFd<'a>, &'static str>,
    pub(crate) output: Result<BorrowedFd<'a>, &'static str>,
}
