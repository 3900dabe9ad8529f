//! The allocator of the build that is measured (feature `counted`, `scripts/bench/budgets`): it counts, and is otherwise the
//! one of the product. The number is read from outside, at the address of its symbol, so that nothing is done for it.
#![allow(unsafe_code, reason = "an allocator can be written in no other way")]

use dlmalloc::GlobalDlmalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicU64, Ordering};

/// Allocations, and those that were made larger or smaller, since the start.
#[used]
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Counting;

fn count() {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: everything is passed on to the allocator of the product as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as it came.
        unsafe { GlobalDlmalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as it came.
        unsafe { GlobalDlmalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as it came.
        unsafe { GlobalDlmalloc.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as it came.
        unsafe { GlobalDlmalloc.realloc(at, layout, size) }
    }
}
