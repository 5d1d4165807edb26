//! An application that needs less memory than lntu. It prints `started` and exits with 42. Its
//! `main` is the C function, because the `main` of Rust's std allocates.
#![no_main]
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

unsafe extern "C" {
    fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
}

const STARTED: &[u8] = b"started\n";

#[unsafe(no_mangle)]
extern "C" fn main(_count: c_int, _arguments: *const *const c_char) -> c_int {
    // SAFETY: The pointer and the length are those of `STARTED`.
    unsafe { write(1, STARTED.as_ptr().cast(), STARTED.len()) };
    42
}
