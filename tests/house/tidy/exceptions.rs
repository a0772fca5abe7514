//! What breaks a rule of `crate_rules.rs` today. It may only become less: who mends one removes its line, and a line
//! that nothing needs fails the test.

/// Files that import one another in a circle.
pub(crate) const IN_A_CIRCLE: &[&str] = &[];

/// Names that several types of a crate have: where the crate is, the name.
pub(crate) const NAMES_OF_SEVERAL: &[&str] = &[];

/// Imports that are renamed to a type name: file, name.
pub(crate) const RENAMED: &[&str] = &[];

/// Types that are implemented far from where they are declared: file, type.
pub(crate) const IMPLEMENTED_ELSEWHERE: &[&str] = &[];

/// Files with doc comments whose first sentence does not stand alone.
pub(crate) const COMMENTS_THAT_DO_NOT_STAND_ALONE: &[&str] = &[];
