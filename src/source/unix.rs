//! Finds out whether Unix sockets with given names listen. unix_diag reports the file that a
//! socket is bound to. `/proc/net/unix` is not used, because it has only the path that the
//! server used. For this process, that path may lead to another file, or to none.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::netlink::may_pass;
use crate::kernel::netlink::client::Client;
use crate::kernel::netlink::message::{Amount, AnswerError, MessageTypes};
use crate::kernel::netlink::sock_diag::SOCK_DIAG_BY_FAMILY;
use crate::kernel::netlink::unix_diag::{
    UDIAG_SHOW_NAME, UDIAG_SHOW_PEER, UDIAG_SHOW_RQLEN, UDIAG_SHOW_VFS, UnixDiagReq, UnixDiagRow,
    UnixDiagRqlen,
};
use crate::kernel::proc::device::{device_number, file_device};
use crate::kernel::socket::{AF_UNIX, SOCK_DGRAM, State};
use crate::port::UnixSocket;
use crate::sys::open_path;

/// One look reads the kernel's list at most this many times. A list that came in several
/// datagrams may be incomplete, so it is read again.
const MOST_LISTS: usize = 3;

/// Whether a Unix socket listens.
#[derive(Clone, Debug)]
pub enum UnixState {
    /// The socket listens, or it is a datagram socket that can receive.
    Listening,
    /// The socket does not listen. The text is the reason.
    Closed(&'static str),
    /// It is not known whether the socket listens. The text is the reason.
    Unknown(String),
}

/// A Unix socket that the user named, and what the last look found out about it.
#[derive(Debug)]
pub struct Sought {
    /// The name of the socket.
    pub socket: UnixSocket,
    /// Whether the socket listens.
    pub state: UnixState,
    /// The number of connections that wait to be accepted, and the backlog. Zero if the
    /// socket does not listen.
    pub queues: UnixDiagRqlen,
    /// Whether the state is final, because a later look could not find out more.
    pub is_final: bool,
    /// The file of the socket as the kernel lists it: the lower 32 bits of the inode, and the
    /// device. Zeros if there is no such file.
    file: (u32, u32),
    /// The inode of the listening socket, and when it was first seen. A socket that replaces
    /// it has another inode.
    listener: Option<(u32, Instant)>,
}

/// The Unix sockets that the user named.
#[derive(Debug)]
pub struct UnixSockets {
    sockets: Vec<Sought>,
    client: Client,
}

impl UnixSockets {
    /// Prepares to look for `sockets`. Until the first look, they count as closed.
    pub fn new(sockets: &[UnixSocket]) -> UnixSockets {
        let mut sought = Vec::new();
        for socket in sockets {
            sought.push(Sought {
                socket: socket.clone(),
                state: UnixState::Closed(""),
                queues: UnixDiagRqlen::default(),
                is_final: false,
                file: (0, 0),
                listener: None,
            });
        }
        UnixSockets {
            sockets: sought,
            client: Client::sock_diag(),
        }
    }

    /// The sockets, each with what the last look found out about it.
    pub fn all(&self) -> &[Sought] {
        &self.sockets
    }

    /// Whether each socket was listening at the last look, which began at `start`, and was
    /// first seen at least `duration` before that look.
    pub fn have_settled(&self, start: Instant, duration: Duration) -> bool {
        self.sockets.iter().all(|sought| match sought.listener {
            Some((_, since)) => start.saturating_duration_since(since) >= duration,
            None => false,
        })
    }

    /// Finds out the state of each socket.
    pub fn look(&mut self) {
        let mut is_any_sought = false;
        for sought in &mut self.sockets {
            is_any_sought |= sought.look_at_file();
        }
        for _ in 0..MOST_LISTS {
            if !is_any_sought {
                break;
            }
            match ask(&mut self.client, &mut self.sockets) {
                Ok(is_split) => is_any_sought = is_split && self.sockets.iter().any(Sought::is_due),
                Err(error) => {
                    for sought in &mut self.sockets {
                        sought.fail(&error);
                    }
                    is_any_sought = may_pass(&error);
                }
            }
        }
        for sought in &mut self.sockets {
            if !matches!(sought.state, UnixState::Listening) {
                sought.listener = None;
            }
        }
    }
}

/// Asks the kernel for its list of sockets, and updates the state of each sought socket.
/// Returns whether the list took several datagrams.
fn ask(client: &mut Client, sockets: &mut [Sought]) -> Result<bool, AnswerError> {
    let request = UnixDiagReq {
        sdiag_family: AF_UNIX,
        udiag_states: 1 << State::Listen as u8
            | 1 << State::Close as u8
            | 1 << State::Established as u8,
        udiag_show: UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN,
        ..UnixDiagReq::default()
    };
    let kinds = MessageTypes::same(SOCK_DIAG_BY_FAMILY);
    client.ask(kinds, Amount::Dump, &request.bytes(), &mut |bytes| {
        let row = UnixDiagRow::parse(bytes)?;
        for sought in &mut *sockets {
            sought.take(&row);
        }
        Some(())
    })
}

impl Sought {
    /// Sets the state that applies if the kernel does not list the socket. Returns whether
    /// the kernel may list it.
    fn look_at_file(&mut self) -> bool {
        self.is_final = false;
        self.file = (0, 0);
        if self.socket.abstract_name().is_some() {
            self.state = UnixState::Closed("not listening");
            return true;
        }
        self.state = match file(Path::new(self.socket.text())) {
            Ok(Some(file)) => {
                self.file = file;
                let why = "no socket of this network namespace has this file (its server has \
                           ended, or runs in another one)";
                UnixState::Unknown(why.into())
            }
            Ok(None) => UnixState::Closed("not a socket"),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => UnixState::Closed("no such file"),
                _ => {
                    self.is_final = true;
                    UnixState::Unknown(error.to_string())
                }
            },
        };
        self.is_due()
    }

    /// Whether the kernel may list the socket as listening, but has not done so yet.
    fn is_due(&self) -> bool {
        let may_be_listed = self.file != (0, 0) || self.socket.abstract_name().is_some();
        may_be_listed && !matches!(self.state, UnixState::Listening)
    }

    /// Updates the state from a row of the kernel's list, which may be about another socket.
    fn take(&mut self, row: &UnixDiagRow<'_>) {
        let is_sought = match self.socket.abstract_name() {
            Some(wanted) => match row.name {
                Some([0, name @ ..]) => name == wanted.as_bytes(),
                _ => false,
            },
            None => match row.vfs {
                Some(file) => (file.udiag_vfs_ino, file.udiag_vfs_dev) == self.file,
                None => false,
            },
        };
        let message = row.message;
        let is_datagram = message.udiag_type == SOCK_DGRAM;
        let is_established = message.udiag_state == State::Established as u8;
        let is_listening = message.udiag_state == State::Listen as u8;
        // An accepted connection has the name of its listener, so it is ignored. A datagram
        // socket counts as listening unless it has a peer: then it has called connect(2)
        // itself, and nobody else can send to it. The state does not show that, because it
        // is the same after a client has connected to the socket.
        if !is_sought || is_established && !is_datagram {
        } else if is_listening || is_datagram && row.peer.is_none() {
            let inode = message.udiag_ino;
            if self.listener.is_none_or(|(known, _)| known != inode) {
                self.listener = Some((inode, Instant::now()));
            }
            self.state = UnixState::Listening;
            // The queue of a datagram socket has bytes instead of connections.
            let queues = row.rqlen.filter(|_| is_listening);
            self.queues = queues.unwrap_or_default();
        } else if !matches!(self.state, UnixState::Listening) {
            self.state = UnixState::Closed(match is_datagram {
                true => "connected to another socket",
                false => "bound, but not listening",
            });
        }
    }

    /// Sets the state after the kernel's list could not be read because of `error`, unless the
    /// state is known without the list.
    fn fail(&mut self, error: &AnswerError) {
        if self.is_due() {
            let mut reason = format!("netlink: unix: {error}");
            if matches!(error, AnswerError::Io(error) if error.kind() == ErrorKind::NotFound) {
                reason.push_str(" (has the kernel unix_diag?)");
            }
            self.state = UnixState::Unknown(reason);
            self.is_final = !may_pass(error);
        }
    }
}

/// The inode and device of a socket file, as in [`Sought::file`]. `None` if the file is not a
/// socket. Follows symbolic links, because a client does that, too.
fn file(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let file = open_path(path)?;
    let metadata = file.metadata()?;
    let dev = metadata.dev();
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xf_ff00);
    let device = file_device(&file).unwrap_or(device_number(major as u32, minor as u32));
    let is_socket = metadata.file_type().is_socket();
    Ok(is_socket.then_some((metadata.ino() as u32, device)))
}
