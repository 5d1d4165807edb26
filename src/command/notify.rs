//! `--notify`: tells a service manager when the PORTs are listening (sd_notify(3)).

use std::env;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use super::probe::{Looks, Probe, Question};
use super::settle::{CONFIRMATION, Settling};
use crate::report;
use crate::source::SourceOptions;

const VARIABLE: &str = "NOTIFY_SOCKET";

/// Sends one message as soon as all PORTs are listening. The notifier has its own probe
/// because the watcher's filters can hide a listener that serves a PORT.
#[derive(Debug)]
pub struct Notifier {
    probe: Probe,
    settling: Settling,
    address: SocketAddr,
    said_unknown: bool,
    has_failed: bool,
}

impl Notifier {
    /// A notifier that sends to the socket in `NOTIFY_SOCKET` after the PORTs have been
    /// listening for `settle`, but at least for [`CONFIRMATION`]. `None` without `--notify`,
    /// or if the variable is not set or cannot be used.
    pub fn new(asked: Option<(SourceOptions, Question)>, settle: Duration) -> Option<Notifier> {
        let (source, question) = asked?;
        let socket = env::var_os(VARIABLE)?;
        let path = env::var_os("PATH").unwrap_or_default();
        // If this source fails, so does the watcher's, which reports the reason.
        let probe = report::silently(|| Probe::new(source, &path, question)).ok()?;
        let address = match socket.as_encoded_bytes() {
            [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(&socket),
            // sd_notify(3) also supports vsock addresses, for virtual machines. They are not
            // supported here.
            _ => Err(io::Error::other(
                "must be @NAME or a PATH that begins with /",
            )),
        };
        match address {
            Ok(address) => Some(Notifier {
                probe,
                settling: Settling::new(settle.max(CONFIRMATION)),
                address,
                said_unknown: false,
                has_failed: false,
            }),
            Err(error) => {
                report::warn(format_args!("{VARIABLE}: {error}; nothing is sent"));
                None
            }
        }
    }

    /// Polls once, and sends the message if all PORTs have been listening for long enough.
    /// Returns whether the message was sent.
    pub fn notify(&mut self) -> bool {
        let start = Instant::now();
        let probe = &mut self.probe;
        let looked = report::silently(|| probe.look(Looks::Once));
        let known = looked.and_then(|()| probe.require_knowable());
        if let Err(error) = &known
            && !std::mem::replace(&mut self.said_unknown, true)
        {
            report::warn(format_args!("--notify: {error}; trying again"));
        }
        if known.is_err() || !probe.settle(&mut self.settling, [start, Instant::now()]) {
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
        /// The whole datagram. `READY=1` has to come first, because some readers compare only
        /// the start.
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
