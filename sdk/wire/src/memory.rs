//! Memory whose size a peer chooses: asked for in a way that can fail.
//!
//! What this file is for: who gets no memory in the usual way ends, with all that it serves. What it deliberately does not do:
//! ask the system how much there is, which others may take in the meantime.

/// Frames and buffers of this many bytes are large: memory is looked for before they are used.
const LARGE_BYTES: usize = 256 * 1024;
/// Copies that are made of a large frame's content: its params, what is read out of them, and one to repeat a call.
const COPIES: usize = 3;
/// Memory that a large buffer leaves for everything else, which cannot be told that there is none. Bytes.
const RESERVE_BYTES: usize = 2 * 1024 * 1024;

/// Whether there is memory for so many bytes, and a reserve beside them.
fn has_memory(bytes: usize) -> bool {
    // Not left out by the compiler, which may leave out memory that nobody uses.
    std::hint::black_box(&mut Vec::<u8>::new()).try_reserve_exact(bytes + RESERVE_BYTES).is_ok()
}

/// Whether there is memory for what is made of a frame of so many bytes. Of one that is not large, it is not asked.
pub(crate) fn may_be_copied(bytes: usize) -> bool {
    bytes < LARGE_BYTES || has_memory(COPIES * bytes)
}

/// Makes room for so many bytes more in a buffer whose size a peer chooses, if there is memory for that, and a reserve
/// beside a large one.
pub fn reserve(buffer: &mut Vec<u8>, bytes: usize) -> bool {
    let before = buffer.capacity();
    let is_there = buffer.try_reserve_exact(bytes).is_ok();
    let is_larger = buffer.capacity() > before && buffer.capacity() >= LARGE_BYTES;
    if is_larger && !has_memory(0) {
        buffer.shrink_to(before);
        return false;
    }
    is_there
}
