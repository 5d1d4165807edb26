//! Standard output, and files that std does not open: those that are only asked about, and
//! those below the root of another process.

use std::ffi::{CString, c_int, c_long};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::calls::*;

/// Opens `path` as a place in the file system (`O_PATH`): a FIFO without waiting for a
/// writer, and also a socket, which cannot be opened in another way.
///
/// # Errors
/// Those of open(2).
pub(crate) fn open_path(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with a zero, and nothing else owns the descriptor.
    unsafe {
        match open(path.as_ptr(), O_PATH | O_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// Opens the file or directory at `path` for reading, as a process with this `root` would
/// find it. An absolute link or `..` leads to nothing outside of `root`. No magic link of
/// `/proc` is followed, and before Linux 5.6 no link at all. A FIFO does not block.
///
/// # Errors
/// Those of openat2(2).
pub(crate) fn open_below(root: &File, path: &str) -> io::Result<File> {
    let flags = O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    let how = OpenHow {
        flags: flags as u64,
        mode: 0,
        resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    let name = CString::new(path)?;
    let (directory, size) = (c_long::from(root.as_raw_fd()), size_of::<OpenHow>());
    // SAFETY: the path ends with a zero, and the structure is as long as the call is told.
    match unsafe { syscall(SYS_OPENAT2, directory, name.as_ptr(), &raw const how, size) } {
        -1 => {
            let error = io::Error::last_os_error();
            match error.kind() {
                // A sandbox that does not know the call may refuse it.
                ErrorKind::Unsupported | ErrorKind::PermissionDenied => {
                    open_without_links(root, path, flags)
                }
                _ => Err(error),
            }
        }
        // SAFETY: nothing else owns the descriptor.
        fd => Ok(unsafe { File::from_raw_fd(fd as c_int) }),
    }
}

/// Opens the file at `path` below `root` with these flags, one name at a time, and fails at
/// a link. No name of the path may be `..`.
fn open_without_links(root: &File, path: &str, flags: c_int) -> io::Result<File> {
    let mut opened = root.try_clone()?;
    let mut names = path.as_bytes().split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        let flags = match names.peek() {
            Some(_) => O_PATH | O_DIRECTORY | O_CLOEXEC,
            None => flags,
        };
        let (directory, name) = (opened.as_raw_fd(), CString::new(name)?);
        // SAFETY: the name ends with a zero, and nothing else owns the descriptor.
        opened = unsafe {
            match openat(directory, name.as_ptr(), flags | O_NOFOLLOW) {
                -1 => return Err(io::Error::last_os_error()),
                fd => File::from_raw_fd(fd),
            }
        };
    }
    Ok(opened)
}

/// The descriptor of standard output. With std's `Stdout` comes a buffer, which nothing
/// here uses.
pub(crate) fn stdout() -> BorrowedFd<'static> {
    // SAFETY: std borrows it for its own `Stdout` in the same way. The number is not -1.
    unsafe { BorrowedFd::borrow_raw(1) }
}
