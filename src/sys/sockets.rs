//! Sockets of netlink, and the network namespaces that they are opened in.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};

use super::calls::*;

/// Opens a socket of netlink(7). A write is a request to the kernel, and a read is
/// one datagram of its answer. The first is there when the write returns, each
/// further one when the one before it was read. So a read never waits: it fails if
/// there is nothing.
///
/// # Errors
/// Those of socket(2).
pub(crate) fn netlink_socket(protocol: c_int) -> io::Result<File> {
    let kind = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    // SAFETY: the call takes any three integers, and nothing else owns the
    // descriptor that it opened.
    unsafe {
        match socket(AF_NETLINK, kind, protocol) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// The cookie of the network namespace in which `socket` was opened. No other namespace
/// has had it since the host was started. `None` before Linux 5.14.
pub(crate) fn namespace_cookie(socket: &File) -> Option<u64> {
    let (mut cookie, mut length) = (0, size_of::<u64>() as u32);
    let (fd, level, name) = (socket.as_raw_fd(), SOL_SOCKET, SO_NETNS_COOKIE);
    // SAFETY: the value is as long as `length` says.
    let result = unsafe { getsockopt(fd, level, name, &mut cookie, &mut length) };
    (result == 0).then_some(cookie)
}

/// Moves this thread, the only one, into the network namespace that `file` stands for.
/// What is open stays where it was opened.
///
/// # Errors
/// Those of setns(2).
pub(crate) fn enter_network_namespace(file: &File) -> io::Result<()> {
    // SAFETY: the call takes any two integers.
    match unsafe { setns(file.as_raw_fd(), CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
