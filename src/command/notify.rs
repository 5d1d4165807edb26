//! `--notify`: tells a service manager that the PORTs listen (sd_notify(3)).

use std::env;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Instant;

use super::settle::CONFIRMATION;
use crate::port::PortSpec;
use crate::report;
use crate::snapshot::Snapshot;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// Sends one message, once all PORTs listen.
#[derive(Debug)]
pub struct Notifier {
    ports: Vec<PortSpec>,
    address: SocketAddr,
    /// When all of them were first seen to listen, if they do.
    since: Option<Instant>,
    has_failed: bool,
}

impl Notifier {
    /// Will send to the socket that the environment names. `None` if there is nothing to
    /// send, or no such socket.
    pub fn new(ports: Vec<PortSpec>) -> Option<Notifier> {
        let socket = env::var_os(VARIABLE).filter(|_| !ports.is_empty())?;
        let address = match socket.as_encoded_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&socket),
        };
        match address {
            Ok(address) => Some(Notifier {
                ports,
                address,
                since: None,
                has_failed: false,
            }),
            Err(error) => {
                report::warn(format_args!("{VARIABLE}: {error}"));
                None
            }
        }
    }

    /// Sends the message if `snapshot`, that of a poll from `start` to `end`, and one at
    /// least [`CONFIRMATION`] before it have all PORTs. Returns whether it was sent.
    pub fn notify(&mut self, snapshot: &Snapshot, [start, end]: [Instant; 2]) -> bool {
        let mut ports = self.ports.iter();
        if !ports.all(|port| snapshot.listeners().iter().any(|l| port.matches(l))) {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(end);
        if start.saturating_duration_since(since) < CONFIRMATION {
            return false;
        }
        let result = self.send();
        if let Err(error) = &result
            && !std::mem::replace(&mut self.has_failed, true)
        {
            report::warn(format_args!("{VARIABLE}: {error}; trying again"));
        }
        result.is_ok()
    }

    fn send(&self) -> io::Result<()> {
        /// Alone in its datagram: some readers look at the start only.
        const MESSAGE: &[u8] = b"READY=1";
        let socket = UnixDatagram::unbound()?;
        // A full queue must not stop the watcher.
        socket.set_nonblocking(true)?;
        match socket.send_to_addr(MESSAGE, &self.address)? == MESSAGE.len() {
            true => Ok(()),
            false => Err(ErrorKind::WriteZero.into()),
        }
    }
}
