//! A client of netlink(7): the one way to ask the kernel something and to read the whole
//! answer.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};

use super::message::{self, Amount, AnswerError, BUFFER_SIZE, Expected, Kinds};
use crate::sys;

/// Asks one protocol of netlink. It opens its socket when it first asks, and keeps it
/// until an answer fails: what is left of that answer must not be read as the next.
#[derive(Debug)]
pub struct Client {
    protocol: i32,
    socket: Option<Socket>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    /// Asks for sockets: sock_diag(7).
    pub fn of_sock_diag() -> Client {
        const NETLINK_SOCK_DIAG: i32 = 4;
        Client::of(NETLINK_SOCK_DIAG)
    }

    /// Asks for interfaces, addresses and routes: rtnetlink(7).
    pub fn of_route() -> Client {
        const NETLINK_ROUTE: i32 = 0;
        Client::of(NETLINK_ROUTE)
    }

    fn of(protocol: i32) -> Client {
        Client {
            protocol,
            socket: None,
            request: Vec::new(),
            buffer: Vec::new(),
        }
    }

    /// Opens the socket, unless it is open. It then answers for the network namespace
    /// that this thread is in now, also if the thread leaves that.
    ///
    /// # Errors
    /// Those of opening a netlink socket.
    pub fn open(&mut self) -> io::Result<()> {
        self.opened().map(|_| ())
    }

    fn opened(&mut self) -> io::Result<&mut Socket> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => Socket::open(self.protocol)?,
        };
        Ok(self.socket.insert(socket))
    }

    /// Closes the socket, which would keep its network namespace alive.
    pub fn close(&mut self) {
        self.socket = None;
    }

    /// The cookie of the network namespace that the socket answers for. `None` if the
    /// socket is not open or the kernel does not know cookies.
    pub fn namespace_cookie(&self) -> Option<u64> {
        sys::namespace_cookie(&self.socket.as_ref()?.file)
    }

    /// Asks, and passes the payload of each message of the answer to `take`, which
    /// returns `None` if it cannot read one. `payload` is the request without its
    /// header.
    ///
    /// # Errors
    /// If the answer is not complete. What `take` got until then must not be used.
    pub fn ask(
        &mut self,
        kinds: Kinds,
        amount: Amount,
        payload: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Result<(), AnswerError> {
        let answer = self.ask_open(kinds, amount, payload, take);
        // An interrupted dump was read to its end.
        if !matches!(answer, Ok(()) | Err(AnswerError::Interrupted)) {
            self.close();
        }
        answer
    }

    fn ask_open(
        &mut self,
        kinds: Kinds,
        amount: Amount,
        payload: &[u8],
        take: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Result<(), AnswerError> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; BUFFER_SIZE];
        }
        self.opened()?;
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
        message::write_request(request, kinds.request, sequence, amount, payload);
        if socket.file.write(request)? != request.len() {
            return Err(io::Error::from(ErrorKind::WriteZero).into());
        }
        let kind = kinds.answer;
        message::read_answer(
            &mut &*socket,
            buffer,
            Expected { kind, sequence },
            amount,
            take,
        )
    }

    /// One that asks whoever is at the other end of `file`.
    #[cfg(test)]
    pub(crate) fn of_file(file: File) -> Client {
        let mut client = Client::of_sock_diag();
        client.socket = Some(Socket { file, sequence: 0 });
        client
    }
}

/// A netlink socket, and the sequence number of its last request.
#[derive(Debug)]
struct Socket {
    file: File,
    sequence: u32,
}

impl Socket {
    fn open(protocol: i32) -> io::Result<Socket> {
        let file = sys::netlink_socket(protocol)?;
        Ok(Socket { file, sequence: 0 })
    }
}

impl Read for &Socket {
    /// Reads the next datagram. Every datagram of netlink is read here.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }
}
