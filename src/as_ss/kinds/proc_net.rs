//! The tables of `/proc/net` as ss reads them, where the kernel does not answer
//! over netlink or the environment names files.

use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::inet::{Inet, place};
use crate::as_ss::ask::filter::Facts;
use crate::as_ss::ask::selection::AddressFamily;
use crate::as_ss::error::Error;
use crate::as_ss::places::Places;
use crate::as_ss::show::printer::{Details, Printer};
use crate::kernel::proc::other_rows::protocol_and_sockets;
use crate::kernel::proc::row::{MoreFields, decode_endpoint, row_fields};
use crate::kernel::proc::scan::Scanner;

/// The most bytes of a line. The kernel makes no longer one: it writes a line into a
/// page.
const LONGEST_LINE: usize = 64 * 1024;

/// Writes the rows of `protocol` that are wanted.
///
/// # Errors
/// If a file cannot be read, or has lines that are no rows.
pub fn show(protocol: Inet, places: &Places, printer: &mut Printer<'_>) -> Result<(), Error> {
    let (name, name6) = match protocol {
        Inet::Tcp => ("tcp", "tcp6"),
        Inet::Udp => ("udp", "udp6"),
        Inet::Raw => ("raw", "raw6"),
        // There are no files of the others.
        Inet::Mptcp | Inet::Dccp | Inet::Sctp => return Ok(()),
    };
    for (file, family) in [(name, AddressFamily::Inet), (name6, AddressFamily::Inet6)] {
        if !printer.selection.families.has(family) {
            continue;
        }
        for_each_line(file, places, |line| {
            let row = Row::parse(line, family)?;
            if row.is_wanted(printer) {
                row.show(name, printer);
                if protocol == Inet::Tcp {
                    row.show_details(printer);
                }
            }
            Some(())
        })?;
    }
    Ok(())
}

/// Passes each line of a file of `/proc/net` behind its first one to `take`, which
/// returns `None` if it cannot read one.
///
/// # Errors
/// If the file, or a line of it, cannot be read. A file that is not there has no
/// lines, unless it must be there.
pub fn for_each_line(
    name: &str,
    places: &Places,
    mut take: impl FnMut(&[u8]) -> Option<()>,
) -> Result<(), Error> {
    // One copy in the binary, whatever is called.
    for_each_line_dyn(name, places, &mut take)
}

fn for_each_line_dyn(
    name: &str,
    places: &Places,
    take: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Result<(), Error> {
    let path = places.file(name);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !places.must_have(name) => {
            return is_proc(&places.file("tcp"));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied && name != "tcp" => {
            return Err(Error::of_file(&path, "may not be read"));
        }
        Err(error) => return Err(Error::of_file(&path, error)),
        Ok(file) => file,
    };
    let mut scanner = Scanner::with_capacity(LONGEST_LINE);
    let mut lines = scanner.lines(file);
    let unreadable = || Error::of_file(&path, "has lines that cannot be read");
    let mut has_header = false;
    while let Some(line) = lines.next().map_err(|error| Error::of_file(&path, error))? {
        let is_header = !std::mem::replace(&mut has_header, true);
        if !is_header && take(line.bytes).is_none() {
            return Err(unreadable());
        }
    }
    if lines.overlong() > 0 {
        return Err(unreadable());
    }
    // WSL 1 has empty files in place of those that it lacks.
    if !has_header && places.must_have(name) {
        return Err(Error::of_file(&path, "is empty, not even a header"));
    }
    Ok(())
}

/// A table that is not there is no table only where others are.
fn is_proc(tcp: &Path) -> Result<(), Error> {
    match File::open(tcp) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::of_file(tcp, error)),
    }
}

/// Whether sockets of this name in `/proc/net/protocols` are in use. `None` if that
/// cannot be told.
pub fn are_in_use(name: &str, places: &Places) -> Option<bool> {
    let path: PathBuf = places.proc_root().join("net/protocols");
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(false),
        text => text.ok()?,
    };
    // One for IPv6 has a `v6` behind its name.
    Some(text.lines().any(|line| {
        let (protocol, sockets) = protocol_and_sockets(line);
        protocol.strip_suffix("v6").unwrap_or(protocol) == name && sockets != "0"
    }))
}

/// A row of a table of IP.
struct Row<'a> {
    family: AddressFamily,
    local: (IpAddr, u16),
    peer: (IpAddr, u16),
    state: u8,
    more: MoreFields<'a>,
}

impl<'a> Row<'a> {
    fn parse(line: &'a [u8], family: AddressFamily) -> Option<Row<'a>> {
        let fields = row_fields(line)?;
        let end = |text| {
            let endpoint = decode_endpoint(text).ok()?;
            Some((endpoint.address, endpoint.port))
        };
        let (local, peer) = (end(fields.local)?, end(fields.remote)?);
        if local.0.is_ipv6() != (family == AddressFamily::Inet6) {
            return None;
        }
        Some(Row {
            family,
            local,
            peer,
            state: hexadecimal(fields.state)? as u8 & 0x0f,
            more: fields.after_state(),
        })
    }

    fn is_wanted(&self, printer: &Printer<'_>) -> bool {
        printer.selection.states.has(self.state)
            && printer.accepts(&Facts {
                family: self.family,
                local: place(self.local),
                peer: place(self.peer),
                interface: 0,
                mark: 0,
                cgroup: 0,
            })
    }

    fn show(&self, netid: &str, printer: &mut Printer<'_>) {
        let (send_q, recv_q) = pair(self.more.queues).unwrap_or_default();
        printer.start(netid, self.state, recv_q, send_q);
        printer.endpoint(self.local, 0, false);
        printer.endpoint(self.peer, 0, false);
        printer.users(self.inode());
    }

    fn inode(&self) -> u32 {
        number(self.more.inode)
    }

    /// Writes what ss knows only of TCP here.
    fn show_details(&self, printer: &mut Printer<'_>) {
        let more = &self.more;
        if printer.show.timers {
            let (timer, ticks) = pair(more.timer).unwrap_or_default();
            // The kernel counts a hundred ticks in a second here.
            let milliseconds = ticks.wrapping_mul(10);
            let count = match timer {
                1 => hexadecimal(more.retransmissions).unwrap_or(0) as u32,
                _ => number(more.probes),
            };
            printer.tcp_timer(timer, milliseconds, count);
        }
        if printer.show.details {
            printer.details(&Details {
                uid: number(more.uid),
                inode: self.inode(),
                cookie: hexadecimal(more.pointer()).unwrap_or(0),
                ..Details::default()
            });
            let of_vendor = more.of_vendor();
            if !of_vendor.is_empty() {
                printer.table.push(b" opt:\"");
                printer.table.push(of_vendor);
                printer.table.push(b"\"");
            }
        }
    }
}

/// `A:B`, both hexadecimal.
fn pair(text: &[u8]) -> Option<(u32, u32)> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let number = |digits| hexadecimal(digits).map(|number| number as u32);
    Some((number(&text[..colon])?, number(&text[colon + 1..])?))
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// A decimal number, of which ss keeps 32 bits, or 0.
fn number(text: &[u8]) -> u32 {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.unwrap_or(0i64) as u32
}
