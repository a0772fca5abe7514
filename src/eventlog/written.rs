//! What is told which streams of the record got lines.

use rpc_plugin_wire::PluginId;
use std::sync::OnceLock;

/// Lines of one stream that were written.
#[derive(Debug, Clone, Copy)]
pub struct WrittenLines<'a> {
    /// The owner of the stream: a plugin, or `None` for the host itself.
    pub owner: Option<&'a PluginId>,
    /// The number of the last line.
    pub seq: u64,
    /// A file of the stream was rotated meanwhile.
    pub was_rotated: bool,
}

type WrittenFn = dyn Fn(WrittenLines<'_>) + Send + Sync;

/// A function that the writer calls for each stream that got lines, once there is one.
#[derive(Default)]
pub(super) struct WrittenNotice(OnceLock<Box<WrittenFn>>);

impl WrittenNotice {
    /// Sets the function; only the first counts.
    pub(super) fn set(&self, notice: Box<WrittenFn>) {
        let _ = self.0.set(notice);
    }

    pub(super) fn tell(&self, written: WrittenLines<'_>) {
        if let Some(notice) = self.0.get() {
            notice(written);
        }
    }
}

impl std::fmt::Debug for WrittenNotice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrittenNotice({})", self.0.get().is_some())
    }
}
