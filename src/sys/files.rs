//! The descriptor of standard output, and opening files in ways that std does not support: with
//! `O_PATH`, or below the root directory of another process.

use std::ffi::{CString, c_int, c_long};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::calls::*;

/// Opens the file at `path` with `O_PATH`: the result refers to the file, but cannot be used to
/// read it. If the file is a FIFO, this does not wait for a writer. Unlike a normal open(2),
/// this can also open a socket.
///
/// # Errors
/// The errors of open(2).
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

/// Opens the file or directory at `path` for reading. The path is looked up as in a process
/// whose root directory is `root`, so absolute links and `..` cannot leave `root`. Does not
/// follow magic links of `/proc`, and before Linux 5.6 does not follow any links. Does not
/// block on a FIFO.
///
/// # Errors
/// The errors of openat2(2).
pub(crate) fn open_below(root: &File, path: &str) -> io::Result<File> {
    let flags = O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    let how = OpenHow {
        flags: flags as u64,
        mode: 0,
        resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    };
    let name = CString::new(path)?;
    let (directory, size) = (c_long::from(root.as_raw_fd()), size_of::<OpenHow>());
    // SAFETY: the path ends with a zero, and `size` is the size of the structure.
    match unsafe { syscall(SYS_OPENAT2, directory, name.as_ptr(), &raw const how, size) } {
        -1 => {
            let error = io::Error::last_os_error();
            match error.kind() {
                // Either the kernel lacks the call, or a sandbox that does not know the call
                // refuses it.
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

/// Opens the file at `path` below `root` with these flags, one component of the path at a time.
/// Fails if a component is a link. The path must not contain `..`.
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

/// The descriptor of standard output. std's `Stdout` is not used, because it would add a buffer
/// that nothing here uses.
pub(crate) fn stdout() -> BorrowedFd<'static> {
    // SAFETY: std borrows descriptor 1 for its own `Stdout` in the same way.
    unsafe { BorrowedFd::borrow_raw(1) }
}
