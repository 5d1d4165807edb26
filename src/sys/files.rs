//! Standard output, and files that are opened only to ask about them.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::calls::*;

/// Opens `path` as a place in the file system (`O_PATH`): a FIFO without waiting for a
/// writer, and also a socket, which cannot be opened in another way.
///
/// # Errors
/// Those of open(2).
pub(crate) fn open_place(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with a zero, and nothing else owns the descriptor.
    unsafe {
        match open(path.as_ptr(), O_PATH | O_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// The descriptor of standard output. With std's `Stdout` comes a buffer, which nothing
/// here uses.
pub(crate) fn stdout() -> BorrowedFd<'static> {
    // SAFETY: std borrows it for its own `Stdout` in the same way. The number is not -1.
    unsafe { BorrowedFd::borrow_raw(1) }
}
