//! Large pieces of memory: some that were freed stay for the next ones.
//!
//! What this file is for: a large piece is mapped by itself, so that it goes back to the system when it is freed, whatever
//! else is in use. But the system hands out each of its pages anew, which for a frame of 1 MiB takes longer than all that is done
//! with the frame. So the pieces that were freed last stay, and serve the next ones of their size. What it deliberately does
//! not do: touch small pieces; those are the C library's.
//!
//! What always holds: at most [`KEPT_BYTES_MAX`] in [`KEPT_MAX`] pieces stay; they go back before an allocation fails.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Pieces of this many bytes are large: they are mapped by themselves, see [`super::limits`].
pub(super) const LARGE_BYTES: usize = 1024 * 1024;
/// Most bytes that stay though nothing uses them.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Larger pieces do not stay. Bytes.
const KEPT_PIECE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most pieces that stay.
const KEPT_MAX: usize = 16;

/// The system's allocator, with large pieces kept. For a program: its `#[global_allocator]`.
#[derive(Debug, Default)]
pub struct KeepingAllocator {
    kept: Mutex<KeptPieces>,
}

/// A large piece that nothing uses. Its size is one of those that [`stated`] gives.
#[derive(Debug, Clone, Copy)]
struct Piece {
    at: *mut u8,
    layout: Layout,
}

// SAFETY: nothing uses the piece, so whichever thread has the pointer may use it.
unsafe impl Send for Piece {}

/// Pieces that stay, the oldest first.
#[derive(Debug, Default)]
struct KeptPieces {
    pieces: [Option<Piece>; KEPT_MAX],
    bytes: usize,
}

/// What the system is asked for: a large piece is rounded up to a power of two, so that one serves another of about its size,
/// and a buffer that was too large can be cut in its place. Of pages that nobody touches there is no memory.
fn stated(layout: Layout) -> Layout {
    if layout.size() < LARGE_BYTES {
        return layout;
    }
    let size = layout.size().checked_next_power_of_two().unwrap_or(layout.size());
    Layout::from_size_align(size, layout.align()).unwrap_or(layout)
}

impl KeptPieces {
    /// The newest piece of that size and alignment.
    fn take(&mut self, layout: Layout) -> Option<Piece> {
        let is_such = |piece: &Option<Piece>| piece.is_some_and(|piece| piece.layout == layout);
        let at = self.pieces.iter().rposition(is_such)?;
        self.remove(at)
    }

    fn remove(&mut self, at: usize) -> Option<Piece> {
        let piece = self.pieces.get_mut(at)?.take()?;
        self.bytes -= piece.layout.size();
        // Those behind it move up.
        if let Some(behind) = self.pieces.get_mut(at..) {
            behind.rotate_left(1);
        }
        Some(piece)
    }

    /// Keeps a piece; or, where there is no room, what has to go first: an older one, or one that is too large itself.
    fn keep(&mut self, piece: Piece) -> Result<(), Piece> {
        if piece.layout.size() > KEPT_PIECE_BYTES_MAX {
            return Err(piece);
        }
        let room = self.pieces.iter_mut().find(|place| place.is_none());
        match room.filter(|_| self.bytes + piece.layout.size() <= KEPT_BYTES_MAX) {
            Some(place) => *place = Some(piece),
            None => return Err(self.remove(0).unwrap_or(piece)),
        }
        self.bytes += piece.layout.size();
        Ok(())
    }
}

impl KeepingAllocator {
    /// One that keeps nothing yet.
    #[must_use]
    pub const fn new() -> KeepingAllocator {
        KeepingAllocator { kept: Mutex::new(KeptPieces { pieces: [None; KEPT_MAX], bytes: 0 }) }
    }

    fn kept(&self) -> MutexGuard<'_, KeptPieces> {
        // Nothing in this file panics while it holds the lock, or allocates.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece that stays here, for what the system would be asked for.
    fn reuse(&self, stated: Layout) -> Option<*mut u8> {
        if stated.size() < LARGE_BYTES {
            return None;
        }
        self.kept().take(stated).map(|piece| piece.at)
    }

    /// Keeps a piece, for which older ones go back to the system; false if it is too large.
    fn keep(&self, piece: Piece) -> bool {
        loop {
            let kept = self.kept().keep(piece);
            match kept {
                Ok(()) => return true,
                Err(first) if first.at == piece.at => return false,
                // SAFETY: the piece came from the system's allocator with this layout, and nothing uses it.
                Err(first) => unsafe { System.dealloc(first.at, first.layout) },
            }
        }
    }

    /// Gives all that stays back to the system; whether there was any.
    fn give_back(&self) -> bool {
        let mut is_any = false;
        loop {
            let Some(piece) = self.kept().remove(0) else { return is_any };
            is_any = true;
            // SAFETY: the piece came from the system's allocator with this layout, and nothing uses it.
            unsafe { System.dealloc(piece.at, piece.layout) };
        }
    }

    /// Asks the system, and once more after all that stays was given back to it.
    fn ask(&self, mut system: impl FnMut() -> *mut u8) -> *mut u8 {
        let piece = system();
        if piece.is_null() && self.give_back() { system() } else { piece }
    }
}

// SAFETY: every piece comes from the system's allocator with the layout that `stated` gives for what was asked, which is no
// smaller and a function of it alone, and goes back with the same; one that stays is in nobody else's hands. It never unwinds.
unsafe impl GlobalAlloc for KeepingAllocator {
    /// Gives a piece, if it can one that stays here.
    ///
    /// # Safety
    /// Those of [`GlobalAlloc::alloc`].
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let stated = stated(layout);
        if let Some(piece) = self.reuse(stated) {
            return piece;
        }
        // SAFETY: the caller's layout is not of zero bytes, so this one, which is no smaller, is not.
        self.ask(|| unsafe { System.alloc(stated) })
    }

    /// Gives a piece of zeroed bytes, which the system makes.
    ///
    /// # Safety
    /// Those of [`GlobalAlloc::alloc_zeroed`].
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let stated = stated(layout);
        // Not of what stays: pages that the system maps anew are zero.
        // SAFETY: as in `alloc`.
        self.ask(|| unsafe { System.alloc_zeroed(stated) })
    }

    /// Takes a piece back, which stays here if it is large.
    ///
    /// # Safety
    /// Those of [`GlobalAlloc::dealloc`].
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let layout = stated(layout);
        if layout.size() >= LARGE_BYTES && self.keep(Piece { at, layout }) {
            return;
        }
        // SAFETY: the caller had this piece from here with this layout, so it came from the system with the stated one.
        unsafe { System.dealloc(at, layout) };
    }

    /// Makes a piece larger or smaller.
    ///
    /// # Safety
    /// Those of [`GlobalAlloc::realloc`].
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        let (from, to) = (stated(layout), stated(wanted));
        if from.size() == to.size() {
            return at;
        }
        if size > layout.size()
            && let Some(piece) = self.reuse(to)
        {
            // SAFETY: both are of at least so many bytes, and two pieces never overlap.
            unsafe { std::ptr::copy_nonoverlapping(at, piece, layout.size()) };
            // SAFETY: the caller had this piece from here with this layout, and uses the other one from now on.
            unsafe { self.dealloc(at, layout) };
            return piece;
        }
        // SAFETY: the caller had this piece from here with this layout, so it came from the system with the stated one; the
        // new size is not zero, and with its alignment fits in an isize.
        self.ask(|| unsafe { System.realloc(at, from, to.size()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn bytes(size: usize) -> Layout {
        Layout::from_size_align(size, 1).unwrap()
    }

    fn alloc(of: &KeepingAllocator, size: usize) -> *mut u8 {
        // SAFETY: no test asks for zero bytes.
        unsafe { of.alloc(bytes(size)) }
    }

    fn free(of: &KeepingAllocator, at: *mut u8, size: usize) {
        // SAFETY: the tests free what they had from `alloc` with its size, once.
        unsafe { of.dealloc(at, bytes(size)) };
    }

    #[test]
    fn a_large_piece_has_one_of_few_sizes_and_a_small_one_its_own() {
        for size in [1, 4096, LARGE_BYTES - 1] {
            assert_eq!(stated(bytes(size)), bytes(size));
        }
        for size in [LARGE_BYTES, LARGE_BYTES + 1, 3 * MIB - 7, 64 * MIB + 1] {
            let rounded = stated(bytes(size)).size();
            assert!((size..2 * size).contains(&rounded), "{size} becomes {rounded}");
            assert_eq!(stated(bytes(rounded)).size(), rounded, "it stays what it is");
        }
        let most = bytes(isize::MAX as usize);
        assert_eq!(stated(most), most, "what cannot be rounded up");
    }

    #[test]
    fn what_was_freed_serves_the_next_of_about_its_size() {
        let kept = KeepingAllocator::new();
        let (first, other) = (alloc(&kept, MIB + 100), alloc(&kept, MIB));
        free(&kept, first, MIB + 100);
        free(&kept, other, MIB);
        assert_eq!(alloc(&kept, MIB + 5000), first);
        assert_eq!(alloc(&kept, MIB), other);
        assert_eq!(kept.kept().bytes, 0);
        free(&kept, first, MIB + 5000);
        free(&kept, other, MIB);
        assert!(kept.give_back() && !kept.give_back());
        assert_eq!(kept.kept().bytes, 0);
    }

    #[test]
    fn no_more_stays_than_its_bounds_and_the_oldest_goes_first() {
        let kept = KeepingAllocator::new();
        for size in [MIB, 2 * MIB, KEPT_PIECE_BYTES_MAX] {
            let pieces: Vec<*mut u8> = (0..40).map(|_| alloc(&kept, size)).collect();
            pieces.iter().for_each(|at| free(&kept, *at, size));
            assert_eq!(kept.kept().bytes, KEPT_BYTES_MAX.min(KEPT_MAX * size));
            assert_eq!(alloc(&kept, size), pieces[39], "the newest is used first");
            free(&kept, pieces[39], size);
        }
        let before = kept.kept().bytes;
        let at = alloc(&kept, KEPT_PIECE_BYTES_MAX + 1);
        free(&kept, at, KEPT_PIECE_BYTES_MAX + 1);
        assert_eq!(kept.kept().bytes, before, "one that is too large leaves the others alone");
        assert!(kept.give_back());
    }

    #[test]
    fn a_piece_that_grows_keeps_its_bytes_and_within_its_size_its_place() {
        let kept = KeepingAllocator::new();
        let grow = |at, from, to| {
            // SAFETY: the piece is from `alloc` with the size that it grows from.
            unsafe { kept.realloc(at, bytes(from), to) }
        };
        let is_written = |at: *mut u8, count| {
            // SAFETY: the piece has that many bytes, and they were written.
            unsafe { std::slice::from_raw_parts(at, count) }.iter().all(|byte| *byte == 7)
        };
        let at = alloc(&kept, 1000);
        // SAFETY: the piece has that many bytes.
        unsafe { at.write_bytes(7, 1000) };
        let spare = alloc(&kept, MIB);
        free(&kept, spare, MIB);
        let large = grow(at, 1000, MIB);
        assert!(large == spare && is_written(large, 1000), "one that stayed is used");
        // SAFETY: the piece has that many bytes.
        unsafe { large.write_bytes(7, MIB) };
        let larger = grow(large, MIB, MIB + 1);
        assert!(is_written(larger, MIB));
        assert_eq!(grow(larger, MIB + 1, 2 * MIB), larger);
        let largest = grow(larger, 2 * MIB, 9 * MIB);
        assert!(is_written(largest, MIB));
        let small = grow(largest, 9 * MIB, 10);
        assert!(is_written(small, 10));
        free(&kept, small, 10);
        assert!(!kept.give_back());
    }

    #[test]
    fn what_stays_goes_back_before_an_allocation_fails() {
        let kept = KeepingAllocator::new();
        let at = alloc(&kept, MIB);
        free(&kept, at, MIB);
        let mut asked = 0;
        let nothing = kept.ask(|| {
            asked += 1;
            std::ptr::null_mut()
        });
        assert!(nothing.is_null() && kept.kept().bytes == 0);
        assert_eq!(asked, 2);
        assert!(alloc(&kept, isize::MAX as usize - 1).is_null());
    }
}
