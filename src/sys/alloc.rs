//! A global allocator that wipes memory before it is freed: the second net under the types of
//! [`crate::secret`].

use std::alloc::{GlobalAlloc, Layout, System};

/// The system allocator, zeroing every block on free and on move.
#[derive(Debug)]
pub struct ZeroOnFree;

// SAFETY: every method forwards to `System` with the caller's own pointer and layout; wiping
// writes only inside the block that the caller gives up.
unsafe impl GlobalAlloc for ZeroOnFree {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract as ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract as ours.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's, of `layout.size()` bytes, and not used afterwards.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that `new_size` is not zero and fits the alignment; the copy
        // stays inside both blocks; the old one is wiped and freed only if there is a new one.
        unsafe {
            let larger = System.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !larger.is_null() {
                std::ptr::copy_nonoverlapping(block, larger, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
            larger
        }
    }
}

/// Overwrites memory with zeros in a way that the compiler keeps.
///
/// # Safety
/// `block` must point at `len` writable bytes that nobody else uses.
#[inline(never)]
unsafe fn wipe(block: *mut u8, len: usize) {
    // SAFETY: the caller vouches for the range. The empty assembly block takes the pointer, so the
    // compiler must assume that the zeros are read.
    unsafe {
        std::ptr::write_bytes(block, 0, len);
        std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags));
    }
}
