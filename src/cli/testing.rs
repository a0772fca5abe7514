//! For tests: pages of the documentation that are made from tables, or held against them.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

/// A file of this package, where cargo says now, which may be a copy, or said when this was compiled.
fn path(name: &str) -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or(env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(root).join(name)
}

/// The text of a page.
pub(crate) fn page(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// Holds a page to what a table says, or writes it anew where `UPDATE_DOCS` is set.
pub(crate) fn hold_page(name: &str, made: &str, test: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path(name), made).unwrap();
    }
    let written = page(name);
    assert!(
        written == made,
        "{name} is not what the table says; UPDATE_DOCS=1 cargo test --lib {test} writes it anew"
    );
}
