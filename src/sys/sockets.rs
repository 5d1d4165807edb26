//! Sockets of netlink, and the network namespaces that they are opened in.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};

use super::calls::*;

/// Opens a socket of netlink(7) that is connected to the kernel. A write is a request,
/// and [`receive_from_kernel`] reads one datagram of the answer. The first datagram is
/// there when the write returns, and each further one when the one before it was read.
/// So a read never waits: it fails if there is nothing.
///
/// The kernel delivers to an unconnected socket whatever anyone sends who has
/// CAP_NET_ADMIN over the network namespace, and any user can make a namespace and have
/// CAP_NET_ADMIN over it.
///
/// # Errors
/// Those of socket(2) and connect(2).
pub(crate) fn netlink_socket(protocol: c_int) -> io::Result<File> {
    let kind = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    // SAFETY: the call takes any three integers, and nothing else owns the
    // descriptor that it opened.
    let socket = unsafe {
        match socket(AF_NETLINK, kind, protocol) {
            -1 => return Err(io::Error::last_os_error()),
            fd => File::from_raw_fd(fd),
        }
    };
    let (fd, kernel) = (socket.as_raw_fd(), &NetlinkAddress::KERNEL);
    // SAFETY: the address is as long as its size says.
    match unsafe { connect(fd, kernel, NetlinkAddress::SIZE) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads one datagram from a socket of [`netlink_socket`], and returns its length. `None`
/// if a process sent it: connect(2) gives the socket its port id first and connects it
/// then, and a datagram may arrive in between.
///
/// # Errors
/// Those of recvfrom(2).
pub(crate) fn receive_from_kernel(socket: &File, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let (mut sender, mut size) = (NetlinkAddress::KERNEL, NetlinkAddress::SIZE);
    let (fd, length) = (socket.as_raw_fd(), buffer.len());
    let bytes = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer and the address are as long as the call is told.
    match unsafe { recvfrom(fd, bytes, length, 0, &mut sender, &mut size) } {
        -1 => Err(io::Error::last_os_error()),
        length => Ok((sender.port == 0).then_some(length as usize)),
    }
}

/// Asks for buffers of these sizes in bytes. The kernel doubles them, and keeps to its own
/// limits.
pub(crate) fn set_buffers(socket: &File, send: c_int, receive: c_int) {
    for (name, size) in [(SO_SNDBUF, send), (SO_RCVBUF, receive)] {
        let (fd, level, length) = (socket.as_raw_fd(), SOL_SOCKET, size_of::<c_int>() as u32);
        // SAFETY: the value is as long as `length` says.
        unsafe { setsockopt(fd, level, name, &size, length) };
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
