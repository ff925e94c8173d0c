//! A global allocator that wipes memory before it is freed: the second net under the types of
//! [`crate::secret`].

use std::alloc::{GlobalAlloc, Layout, System};

/// An allocator, the system's where the program runs, that zeroes every block on free and on move.
#[derive(Debug)]
pub struct ZeroOnFree<A = System>(pub A);

// SAFETY: every method forwards to the inner allocator with the caller's own pointer and layout;
// wiping writes only inside the block that the caller gives up.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ZeroOnFree<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract as ours.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: same contract as ours.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's, of `layout.size()` bytes, and not used afterwards.
        unsafe {
            wipe(block, layout.size());
            self.0.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller vouches that `new_size` is not zero and fits the alignment; the copy
        // stays inside both blocks; the old one is wiped and freed only if there is a new one.
        unsafe {
            let larger = self
                .0
                .alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
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
pub(super) unsafe fn wipe(block: *mut u8, len: usize) {
    // SAFETY: the caller vouches for the range. The empty assembly block takes the pointer, so the
    // compiler must assume that the zeros are read.
    unsafe {
        std::ptr::write_bytes(block, 0, len);
        std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::ptr::NonNull;

    /// Keeps what each block held when it was given back.
    #[derive(Default)]
    struct Witness(RefCell<Vec<Vec<u8>>>);

    // SAFETY: every method forwards to `System`; a block is only read before it is given back.
    unsafe impl GlobalAlloc for Witness {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: same contract as ours.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the test wrote all of the block, which is the caller's until it is freed.
            unsafe {
                let held = std::slice::from_raw_parts(block, layout.size()).to_vec();
                self.0.borrow_mut().push(held);
                System.dealloc(block, layout);
            }
        }
    }

    fn filled(allocator: &ZeroOnFree<Witness>, layout: Layout) -> NonNull<u8> {
        // SAFETY: the layout is not empty; the bytes written are those of the new block.
        unsafe {
            let block = NonNull::new(allocator.alloc(layout)).expect("there is memory");
            block.as_ptr().write_bytes(0xa5, layout.size());
            block
        }
    }

    const LAYOUT: Layout = Layout::new::<[u8; 100]>();

    #[test]
    fn memory_is_zero_before_it_is_freed() {
        let allocator = ZeroOnFree(Witness::default());
        let block = filled(&allocator, LAYOUT);
        // SAFETY: the block came from this allocator with this layout, and is not used again.
        unsafe { allocator.dealloc(block.as_ptr(), LAYOUT) };
        assert_eq!(allocator.0.0.take(), [vec![0; 100]]);
    }

    #[test]
    fn a_buffer_that_moves_leaves_zeros() {
        for new_size in [1, 99, 100, 101, 5_000] {
            let allocator = ZeroOnFree(Witness::default());
            let block = filled(&allocator, LAYOUT);
            // SAFETY: the block came from this allocator with this layout; the new one has
            // `new_size` bytes, of which the old ones are written; each is given back once.
            unsafe {
                let moved = allocator.realloc(block.as_ptr(), LAYOUT, new_size);
                assert_eq!(allocator.0.0.take(), [vec![0; 100]], "to {new_size}");
                let kept = std::slice::from_raw_parts(moved, new_size.min(100));
                assert!(kept.iter().all(|byte| *byte == 0xa5), "to {new_size}");
                System.dealloc(moved, Layout::array::<u8>(new_size).unwrap());
            }
        }
    }
}
