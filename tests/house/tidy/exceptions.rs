//! What breaks a rule of `crate_rules.rs` today. It may only become less: who mends one removes its line, and a line
//! that nothing needs fails the test.

/// Files that import one another in a circle.
pub(crate) const IN_A_CIRCLE: &[&str] = &[
    "src/host/builder.rs",
    "src/host/call.rs",
    "src/host/capability.rs",
    "src/host/mod.rs",
    "src/host/pending.rs",
    "src/host/plugin.rs",
    "src/host/services/current.rs",
    "src/host/services/mod.rs",
    "src/host/services/peer.rs",
    "src/host/services/pool.rs",
    "src/host/watched.rs",
];

/// Names that several types of a crate have: where the crate is, the name.
pub(crate) const NAMES_OF_SEVERAL: &[&str] = &[];

/// Imports that are renamed to a type name: file, name.
pub(crate) const RENAMED: &[&str] = &[];

/// Types that are implemented far from where they are declared: file, type.
pub(crate) const IMPLEMENTED_ELSEWHERE: &[&str] = &["src/host/watched.rs Callee"];

/// Files with doc comments whose first sentence does not stand alone.
pub(crate) const COMMENTS_THAT_DO_NOT_STAND_ALONE: &[&str] = &[];
