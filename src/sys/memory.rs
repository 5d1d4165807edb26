//! The allocator of this program, and what the program does when memory is exhausted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::calls::*;
use super::start;
use crate::exit_status::ExitStatus;

/// The number of arguments, counted from the last one, that form the command to execute when
/// memory is exhausted. 0 means that there is no command.
static WORDS: AtomicUsize = AtomicUsize::new(0);
/// Whether that command is executed without printing a message to stderr.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Whether to print a line to stderr when memory is exhausted. The line says that the command
/// runs without the watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Print the line.
    Print,
    /// Print nothing.
    Suppress,
}

/// Makes this process execute a command if memory is exhausted from now on. The command is the
/// last `words` arguments of this program. `notice` says whether to print a line about that to
/// stderr.
pub fn exec_if_exhausted(words: usize, notice: Notice) {
    IS_QUIET.store(notice == Notice::Suppress, Ordering::Relaxed);
    WORDS.store(words, Ordering::Relaxed);
}

/// Makes this process print one line to stderr and exit with status 2 if memory is exhausted
/// from now on. This is also the initial setting.
pub fn end_if_exhausted() {
    WORDS.store(0, Ordering::Relaxed);
}

/// Handles a failed allocation in the way that [`exec_if_exhausted`] or [`end_if_exhausted`]
/// has set.
#[cold]
pub(super) fn exhausted() -> ! {
    // Storing 0 ensures that another failed allocation does not try the command again.
    match WORDS.swap(0, Ordering::Relaxed) {
        0 => {}
        words => {
            if !IS_QUIET.load(Ordering::Relaxed) {
                print_error(b"lntu: out of memory; COMMAND runs without the watcher\n");
            }
            start::exec(words);
        }
    }
    print_error(b"lntu: out of memory\n");
    // SAFETY: the call accepts any status.
    unsafe { _exit(c_int::from(ExitStatus::Unknown as u8)) }
}

/// Writes a line to stderr. Does not use std's stderr, which may allocate memory.
fn print_error(line: &[u8]) {
    // SAFETY: the length is that of the line.
    unsafe { write(2, line.as_ptr().cast(), line.len()) };
}

/// Returns most of the unused capacity of `vector` to the system, if the vector uses less than
/// a quarter of its capacity.
///
/// This is for a vector that is refilled at every poll, which would otherwise keep the
/// capacity of its highest peak. A vector of steady length keeps its capacity, so that polls
/// with a steady number of listeners do not allocate.
pub fn shrink_after_peak<T>(vector: &mut Vec<T>) {
    /// Smaller vectors keep their capacity, because the C library would keep their memory
    /// anyway.
    const LEAST_BYTES: usize = 16 * 1024;
    let capacity = vector.capacity();
    if capacity * size_of::<T>() > LEAST_BYTES && capacity / 4 > vector.len() {
        vector.shrink_to(vector.len() * 2);
    }
}

/// The system's allocator, except that no allocation returns with a failure. If memory is
/// exhausted, the process does what [`exec_if_exhausted`] or [`end_if_exhausted`] has set.
#[derive(Debug)]
pub struct Memory;

fn or_exhausted(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        exhausted();
    }
    memory
}

// SAFETY: each function calls the system's allocator and never returns a null pointer.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps this function's contract.
        or_exhausted(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps this function's contract.
        or_exhausted(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps this function's contract.
        or_exhausted(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps this function's contract.
        unsafe { System.dealloc(memory, layout) }
    }
}
