//! The memory of this program, and what happens where there is no more.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::calls::*;
use super::start;
use crate::exit_status::ExitStatus;

/// How many words the command has that is executed if memory is exhausted, or 0.
static WORDS: AtomicUsize = AtomicUsize::new(0);
/// Whether that happens without a word on stderr.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Whether a line on stderr says that memory is exhausted and that the command runs without
/// the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Print that line.
    Print,
    /// Print nothing.
    Suppress,
}

/// From now on, where there is no more memory, the process becomes the command in the
/// last `words` arguments of this program. Unless it `is_quiet`, one line on stderr
/// says that the command runs without the watcher.
pub fn exec_if_exhausted(words: usize, notice: Notice) {
    IS_QUIET.store(notice == Notice::Suppress, Ordering::Relaxed);
    WORDS.store(words, Ordering::Relaxed);
}

/// From now on, where there is no more memory, one line on stderr says so and the
/// process ends with status 2. This is also so at the start.
pub fn end_if_exhausted() {
    WORDS.store(0, Ordering::Relaxed);
}

/// Does what [`exec_if_exhausted`] or [`end_if_exhausted`] has decided.
#[cold]
pub(super) fn exhausted() -> ! {
    // If the command cannot be executed, it is not tried again.
    match WORDS.swap(0, Ordering::Relaxed) {
        0 => {}
        words => {
            if !IS_QUIET.load(Ordering::Relaxed) {
                say(b"lntu: out of memory; COMMAND runs without the watcher\n");
            }
            start::exec(words);
        }
    }
    say(b"lntu: out of memory\n");
    // SAFETY: the call takes any status.
    unsafe { _exit(c_int::from(ExitStatus::Unknown as u8)) }
}

/// Writes a line to stderr, without std's, which may need memory.
fn say(line: &[u8]) {
    // SAFETY: the line has that many bytes.
    unsafe { write(2, line.as_ptr().cast(), line.len()) };
}

/// Gives most of the room in `vector` back to the system, if it is far more than what is
/// in use. For a vector that is filled at every poll: after a peak it would keep its room
/// for ever. One whose length is steady keeps its room, so it allocates nothing.
pub fn shrink_after_peak<T>(vector: &mut Vec<T>) {
    /// Less is not worth it, and the C library would keep it.
    const LEAST_BYTES: usize = 16 * 1024;
    let room = vector.capacity();
    if room * size_of::<T>() > LEAST_BYTES && room / 4 > vector.len() {
        vector.shrink_to(vector.len() * 2);
    }
}

/// The memory of the system. A request for memory does not fail: see
/// [`exec_if_exhausted`] and [`end_if_exhausted`].
#[derive(Debug)]
pub struct Memory;

fn or_exhausted(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        exhausted();
    }
    memory
}

// SAFETY: this is the system's allocator, except that it returns no null pointer.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by this function's contract.
        or_exhausted(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by this function's contract.
        or_exhausted(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by this function's contract.
        or_exhausted(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by this function's contract.
        unsafe { System.dealloc(memory, layout) }
    }
}
