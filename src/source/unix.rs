//! Which Unix sockets listen, by their names. unix_diag says to which file a socket is
//! bound. `/proc/net/unix` has only the path that the server used, which may be another
//! file, or none, for this process.

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

/// A list that came in several datagrams may lack sockets. So it is asked for at most this
/// often.
const MOST_LISTS: usize = 3;

/// What is known of a Unix socket.
#[derive(Clone, Debug)]
pub enum UnixState {
    /// It listens, or it is a datagram socket, which does not have to.
    Listening,
    /// It does not listen, for this reason.
    Closed(&'static str),
    /// Whether it listens is not known, for this reason.
    Unknown(String),
}

/// A Unix socket that is looked for, and what the last look found out about it.
#[derive(Debug)]
pub struct Sought {
    /// Its name.
    pub socket: UnixSocket,
    /// What is known of it.
    pub state: UnixState,
    /// The number of connections that wait to be accepted, and the backlog, if it listens.
    pub queues: UnixDiagRqlen,
    /// A later look will not know more.
    pub is_final: bool,
    /// Its file, if it has one: the low half of the inode, and the device, as the kernel
    /// lists them.
    file: (u32, u32),
    /// The inode of the listening socket, which a later socket does not have, and when it was
    /// first seen.
    listener: Option<(u32, Instant)>,
}

/// Unix sockets that are looked for.
#[derive(Debug)]
pub struct UnixSockets {
    sockets: Vec<Sought>,
    client: Client,
}

impl UnixSockets {
    /// Will look for `sockets`.
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

    /// The sockets, and what the last look found out about each.
    pub fn all(&self) -> &[Sought] {
        &self.sockets
    }

    /// Whether each of them was listening for this long before the last look, which
    /// started at `start`, and is listening still.
    pub fn have_settled(&self, start: Instant, duration: Duration) -> bool {
        self.sockets.iter().all(|sought| match sought.listener {
            Some((_, since)) => start.saturating_duration_since(since) >= duration,
            None => false,
        })
    }

    /// Looks for all of them.
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

/// Updates the state of each socket by a list of the kernel. Returns whether the list took
/// several datagrams.
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
    /// Sets the state of a socket that is in no list of the kernel. Returns whether it may
    /// be in one.
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

    /// Whether a list of the kernel may say that it listens, and none has.
    fn is_due(&self) -> bool {
        let may_be_listed = self.file != (0, 0) || self.socket.abstract_name().is_some();
        may_be_listed && !matches!(self.state, UnixState::Listening)
    }

    /// Updates the state by a row of the list, which may be about another socket.
    fn take(&mut self, row: &UnixDiagRow<'_>) {
        let is_it = match self.socket.abstract_name() {
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
        // An accepted connection has the name of its listener. The state of a datagram
        // socket is the same after a client has called connect(2). If it has called
        // connect(2) itself, it has a peer, and nobody else can connect to it.
        if !is_it || is_established && !is_datagram {
        } else if is_listening || is_datagram && row.peer.is_none() {
            let inode = message.udiag_ino;
            if self.listener.is_none_or(|(known, _)| known != inode) {
                self.listener = Some((inode, Instant::now()));
            }
            self.state = UnixState::Listening;
            // The queue of a datagram socket holds bytes, and no connections.
            let queues = row.rqlen.filter(|_| is_listening);
            self.queues = queues.unwrap_or_default();
        } else if !matches!(self.state, UnixState::Listening) {
            self.state = UnixState::Closed(match is_datagram {
                true => "connected to another socket",
                false => "bound, but not listening",
            });
        }
    }

    /// Sets the state if the kernel gives no list, for this reason.
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

/// See [`Sought::file`]. `None` if the file is no socket. A symbolic link is followed,
/// because a client follows it, too.
fn file(path: &Path) -> io::Result<Option<(u32, u32)>> {
    let file = open_path(path)?;
    let metadata = file.metadata()?;
    let dev = metadata.dev();
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xf_ff00);
    let device = file_device(&file).unwrap_or(device_number(major as u32, minor as u32));
    let is_socket = metadata.file_type().is_socket();
    Ok(is_socket.then_some((metadata.ino() as u32, device)))
}
