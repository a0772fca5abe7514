//! The pool by itself.
use super::*;
