//! A client of netlink(7). It sends all requests to the kernel, and reads each answer to its
//! end.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};

use super::message::{self, Amount, AnswerError, BUFFER_SIZE, Expected, MessageTypes};
use super::sock_diag::SOCK_DIAG_BY_FAMILY;
use crate::sys;

/// A read fails after this many consecutive datagrams that did not come from the kernel. There
/// are few of them, because a process can send some only before the socket is connected.
const MOST_FOREIGN: usize = 1000;

/// The protocol of sock_diag(7).
pub const NETLINK_SOCK_DIAG: u8 = 4;

const ENOBUFS: i32 = 105;

/// A client of one netlink protocol. It opens its socket for the first request. It closes the
/// socket when an answer fails, so that the rest of that answer is not mistaken for the next
/// one.
#[derive(Debug)]
pub struct Client {
    protocol: i32,
    /// Whether [`Client::with_large_datagrams`] was called.
    wants_large_datagrams: bool,
    socket: Option<NetlinkSocket>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    /// Creates a client that lists sockets (sock_diag(7)).
    pub fn sock_diag() -> Client {
        Client::new(i32::from(NETLINK_SOCK_DIAG))
    }

    /// Creates a client for interfaces, addresses and routes (rtnetlink(7)).
    pub fn route() -> Client {
        const NETLINK_ROUTE: i32 = 0;
        Client::new(NETLINK_ROUTE)
    }

    fn new(protocol: i32) -> Client {
        Client {
            protocol,
            wants_large_datagrams: false,
            socket: None,
            request: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Makes the kernel use datagrams of up to 32 KiB from the first one on, so that more rows
    /// fit into one datagram. Only a client of sock_diag supports this.
    pub fn with_large_datagrams(mut self) -> Client {
        self.wants_large_datagrams = true;
        self
    }

    /// Opens the socket, unless it is open. The socket belongs to the network namespace in
    /// which it was opened, even after this process has moved to another one.
    ///
    /// # Errors
    /// Fails if the netlink socket cannot be opened.
    pub fn open(&mut self) -> io::Result<()> {
        self.open_socket().map(|_| ())
    }

    /// The socket of the client. Opens it if necessary.
    fn open_socket(&mut self) -> io::Result<&mut NetlinkSocket> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER_SIZE];
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = NetlinkSocket::open(self.protocol)?;
                if self.wants_large_datagrams {
                    socket.ask_for_large_datagrams(&mut self.buffer)?;
                }
                socket
            }
        };
        Ok(self.socket.insert(socket))
    }

    /// Opens the socket and asks for buffers of these sizes in bytes.
    ///
    /// # Errors
    /// The errors of [`Client::open`].
    pub fn open_with_buffers(&mut self, send: i32, receive: i32) -> io::Result<()> {
        sys::set_buffers(&self.open_socket()?.file, send, receive);
        Ok(())
    }

    /// Closes the socket. While the socket is open, it keeps its network namespace alive.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// The cookie that identifies the network namespace of the socket. `None` if the socket is
    /// closed, or if the kernel is too old to have such cookies.
    pub fn namespace_cookie(&self) -> Option<u64> {
        sys::namespace_cookie(&self.socket.as_ref()?.file)
    }

    /// Sends a request, and calls `take` with the payload of each message of the answer. `take`
    /// returns `None` if it cannot read a payload. `payload` is the request without its header.
    ///
    /// Returns whether the rows may have moved while the answer was read, see
    /// [`message::read_answer`].
    ///
    /// # Errors
    /// Fails if the answer is not complete. The caller must then discard the rows that `take`
    /// has received.
    pub fn ask(
        &mut self,
        types: MessageTypes,
        amount: Amount,
        payload: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Result<bool, AnswerError> {
        let answer = self.ask_open(types, amount, payload, take);
        // An interrupted dump has been read to its end, so the socket can stay open.
        if !matches!(answer, Ok(_) | Err(AnswerError::Interrupted)) {
            self.close();
        }
        answer
    }

    fn ask_open(
        &mut self,
        types: MessageTypes,
        amount: Amount,
        payload: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Result<bool, AnswerError> {
        self.open_socket()?;
        let Client {
            socket: Some(socket),
            request,
            buffer,
            ..
        } = self
        else {
            return Err(io::Error::from(ErrorKind::NotConnected).into());
        };
        socket.sequence = socket.sequence.wrapping_add(1);
        let sequence = socket.sequence;
        message::write_request(request, types.request, sequence, amount, payload);
        socket.send(request)?;
        let kind = types.answer;
        let expected = Expected { kind, sequence };
        message::read_answer(&mut &*socket, buffer, expected, amount, take)
    }

    /// Creates a client that sends its requests to the other end of `file`.
    #[cfg(test)]
    pub(crate) fn with_file(file: File) -> Client {
        let mut client = Client::sock_diag();
        client.socket = Some(NetlinkSocket { file, sequence: 0 });
        client
    }
}

/// A netlink socket, and the sequence number of its last request.
#[derive(Debug)]
struct NetlinkSocket {
    file: File,
    sequence: u32,
}

impl NetlinkSocket {
    fn open(protocol: i32) -> io::Result<NetlinkSocket> {
        let file = sys::netlink_socket(protocol)?;
        Ok(NetlinkSocket { file, sequence: 0 })
    }

    /// Sends one request.
    fn send(&self, request: &[u8]) -> io::Result<()> {
        match (&self.file).write(request)? == request.len() {
            true => Ok(()),
            false => Err(ErrorKind::WriteZero.into()),
        }
    }

    /// Reads once with a large buffer, so that the kernel fills large datagrams from now on.
    ///
    /// The kernel limits a datagram of a dump to a page, or to the largest buffer with which
    /// the socket has been read before (`netlink_dump`). It fills the first datagram when it
    /// receives the request, so the large read must come before the request. To have something
    /// to read, this function sends a request that is too short, and reads the error.
    fn ask_for_large_datagrams(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut request = Vec::new();
        message::write_request(&mut request, SOCK_DIAG_BY_FAMILY, 0, Amount::One, &[]);
        self.send(&request)?;
        let mut socket = self;
        match socket.read(buffer) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

impl Read for &NetlinkSocket {
    /// Reads the next datagram from the kernel, and discards datagrams from processes. All
    /// netlink datagrams are read here.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..MOST_FOREIGN {
            if let Some(length) = sys::receive_from_kernel(&self.file, buffer)? {
                return Ok(length);
            }
        }
        // The kernel itself reports this error when it has no room for a datagram of its own.
        Err(io::Error::from_raw_os_error(ENOBUFS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};
    use std::thread;

    use tempfile::TempDir;

    /// A netlink socket, its address, and a socket of a stranger that sends to it. All are Unix
    /// sockets, but `receive_from_kernel` mistakes the path of the stranger for a netlink
    /// address whose port id is not 0.
    fn socket_and_stranger(directory: &Path) -> (NetlinkSocket, PathBuf, UnixDatagram) {
        let path = directory.join("ours");
        let file = File::from(OwnedFd::from(UnixDatagram::bind(&path).unwrap()));
        let stranger = UnixDatagram::bind(directory.join("stranger")).unwrap();
        stranger.connect(&path).unwrap();
        (NetlinkSocket { file, sequence: 0 }, path, stranger)
    }

    #[test]
    fn a_datagram_from_a_process_is_discarded() {
        let directory = TempDir::new().unwrap();
        let (socket, path, stranger) = socket_and_stranger(directory.path());
        let kernel = UnixDatagram::unbound().unwrap();
        for round in 0..3 {
            stranger.send(b"forged").unwrap();
            stranger.send(b"").unwrap();
            kernel.send_to(&[round], &path).unwrap();
            let mut buffer = [0; 16];
            assert_eq!((&socket).read(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], round);
        }
    }

    /// Unlike a netlink socket, this Unix socket blocks when it is empty. The test thus ends
    /// only because of the limit.
    #[test]
    fn a_read_ends_although_a_process_keeps_sending() {
        let directory = TempDir::new().unwrap();
        let (socket, _, stranger) = socket_and_stranger(directory.path());
        let sending = thread::spawn(move || while stranger.send(b"forged").is_ok() {});
        let error = (&socket).read(&mut [0; 16]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENOBUFS));
        drop(socket);
        sending.join().unwrap();
    }
}
