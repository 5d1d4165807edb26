//! Opens netlink sockets, and enters the network namespaces in which they are opened.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};

use super::calls::*;

/// Opens a netlink(7) socket that is connected to the kernel. A write sends a request, and
/// [`receive_from_kernel`] reads one datagram of the answer.
///
/// Reads never wait. The kernel queues the first datagram of an answer before the write
/// returns. It queues each further datagram while the one before it is being read. If the queue
/// is empty, a read fails.
///
/// The socket is connected because an unconnected socket also receives datagrams that processes
/// send to it. A process needs CAP_NET_ADMIN over the network namespace to send one, but any
/// user can create a namespace and gets CAP_NET_ADMIN over it.
///
/// # Errors
/// The errors of socket(2) and connect(2).
pub(crate) fn netlink_socket(protocol: c_int) -> io::Result<File> {
    let kind = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    // SAFETY: the call accepts any three integers. Nothing else owns the descriptor that it
    // opens.
    let socket = unsafe {
        match socket(AF_NETLINK, kind, protocol) {
            -1 => return Err(io::Error::last_os_error()),
            fd => File::from_raw_fd(fd),
        }
    };
    let (fd, kernel) = (socket.as_raw_fd(), &NetlinkAddress::KERNEL);
    // SAFETY: the size is that of the address.
    match unsafe { connect(fd, kernel, NetlinkAddress::SIZE) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reads one datagram from a socket that [`netlink_socket`] has opened, and returns its length.
/// `None` if a process sent the datagram. That can happen because connect(2) first binds the
/// socket to a port id and then connects it, and a datagram may arrive between these steps.
///
/// # Errors
/// The errors of recvfrom(2).
pub(crate) fn receive_from_kernel(socket: &File, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let (mut sender, mut size) = (NetlinkAddress::KERNEL, NetlinkAddress::SIZE);
    let (fd, length) = (socket.as_raw_fd(), buffer.len());
    let bytes = buffer.as_mut_ptr().cast();
    // SAFETY: the two lengths are those of the buffer and the address.
    match unsafe { recvfrom(fd, bytes, length, 0, &mut sender, &mut size) } {
        -1 => Err(io::Error::last_os_error()),
        length => Ok((sender.port == 0).then_some(length as usize)),
    }
}

/// Asks for socket buffers of these sizes in bytes. The kernel doubles the sizes and applies
/// its own limits.
pub(crate) fn set_buffers(socket: &File, send: c_int, receive: c_int) {
    for (name, size) in [(SO_SNDBUF, send), (SO_RCVBUF, receive)] {
        let (fd, level, length) = (socket.as_raw_fd(), SOL_SOCKET, size_of::<c_int>() as u32);
        // SAFETY: `length` is the size of the value.
        unsafe { setsockopt(fd, level, name, &size, length) };
    }
}

/// The cookie of the network namespace in which `socket` was opened. No other namespace has had
/// this cookie since the host was started. `None` before Linux 5.14.
pub(crate) fn namespace_cookie(socket: &File) -> Option<u64> {
    let (mut cookie, mut length) = (0, size_of::<u64>() as u32);
    let (fd, level, name) = (socket.as_raw_fd(), SOL_SOCKET, SO_NETNS_COOKIE);
    // SAFETY: `length` is the size of the value.
    let result = unsafe { getsockopt(fd, level, name, &mut cookie, &mut length) };
    (result == 0).then_some(cookie)
}

/// Moves this process, which has only one thread, into the network namespace that `file` refers
/// to. Sockets that are already open stay in their namespaces.
///
/// # Errors
/// The errors of setns(2).
pub(crate) fn enter_network_namespace(file: &File) -> io::Result<()> {
    // SAFETY: the call accepts any two integers.
    match unsafe { setns(file.as_raw_fd(), CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
