//! Writes IP sockets from the tables of `/proc/net`. Reads and shows them as ss does.

use super::files::for_each_line;
use super::inet::Inet;
use super::tcp_info::show_numbers;
use crate::as_ss::ask::filter::{Facts, SocketEnd};
use crate::as_ss::ask::request::{Request, Show};
use crate::as_ss::ask::selection::AddressFamily;
use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::as_ss::show::numbers::significant;
use crate::as_ss::show::rows::{Details, Ipv6Wildcard, Rows};
use crate::kernel::proc::row::{MoreFields, decode_endpoint, row_fields};
use crate::listener::Endpoint;

/// Writes the sockets of `protocol` in `/proc/net` that match the request.
///
/// # Errors
/// Fails if a file cannot be read, or if one of its lines is not a row.
pub fn show(
    protocol: Inet,
    request: &Request,
    paths: &Paths,
    rows: &mut Rows<'_>,
) -> Result<(), Error> {
    let (name, name6) = match protocol {
        Inet::Tcp => ("tcp", "tcp6"),
        Inet::Udp => ("udp", "udp6"),
        Inet::Raw => ("raw", "raw6"),
        // No file lists the other protocols.
        Inet::Mptcp | Inet::Dccp | Inet::Sctp => return Ok(()),
    };
    for (file, family) in [(name, AddressFamily::Inet), (name6, AddressFamily::Inet6)] {
        if !request.selection.families.has(family) {
            continue;
        }
        for_each_line(file, paths, &mut |line| {
            let row = ProcNetRow::parse(line, family)?;
            if !row.matches(request) {
                return Some(());
            }
            row.show(name, rows);
            if protocol == Inet::Tcp {
                row.show_tcp(request.show, rows);
            }
            Some(())
        })?;
    }
    Ok(())
}

/// A row of a table of IP sockets in `/proc/net`.
struct ProcNetRow<'a> {
    family: AddressFamily,
    local: Endpoint,
    peer: Endpoint,
    state: u8,
    /// The fields after the state.
    fields: MoreFields<'a>,
}

impl<'a> ProcNetRow<'a> {
    fn parse(line: &'a [u8], family: AddressFamily) -> Option<ProcNetRow<'a>> {
        let fields = row_fields(line)?;
        let local = decode_endpoint(fields.local).ok()?;
        let peer = decode_endpoint(fields.remote).ok()?;
        if local.address.is_ipv6() != (family == AddressFamily::Inet6) {
            return None;
        }
        Some(ProcNetRow {
            family,
            local,
            peer,
            state: hexadecimal(fields.state)? as u8 & 0x0f,
            fields: fields.after_state(),
        })
    }

    fn matches(&self, request: &Request) -> bool {
        let facts = || {
            let (local, peer) = (SocketEnd::ip(self.local), SocketEnd::ip(self.peer));
            Facts::new(self.family, local, peer)
        };
        request.selection.states.has(self.state) && request.accepts(facts)
    }

    fn show(&self, netid: &str, rows: &mut Rows<'_>) {
        let (send_q, recv_q) = pair(self.fields.queues).unwrap_or_default();
        rows.start(netid, self.state, recv_q, send_q);
        rows.ip_end(self.local, 0, Ipv6Wildcard::Star);
        rows.ip_end(self.peer, 0, Ipv6Wildcard::Star);
        rows.users(self.inode());
    }

    fn inode(&self) -> u32 {
        number(self.fields.inode)
    }

    /// Writes the details that ss shows only for TCP sockets when it reads them from a file.
    fn show_tcp(&self, show: Show, rows: &mut Rows<'_>) {
        if show.timers {
            self.show_timer(rows);
        }
        if show.details {
            self.show_details(rows);
        }
        if show.info {
            self.show_info(rows);
        }
    }

    fn show_timer(&self, rows: &mut Rows<'_>) {
        let (timer, ticks) = pair(self.fields.timer).unwrap_or_default();
        // The kernel writes this time in hundredths of a second.
        let milliseconds = ticks.wrapping_mul(10);
        rows.tcp_timer(timer, milliseconds, self.retransmissions());
    }

    fn retransmissions(&self) -> u32 {
        match pair(self.fields.timer) {
            Some((1, _)) => hexadecimal(self.fields.retransmissions).unwrap_or(0) as u32,
            _ => number(self.fields.probes),
        }
    }

    /// Writes the details that `-i` adds, as far as the file contains them.
    fn show_info(&self, rows: &mut Rows<'_>) {
        // ss uses these values if a row lacks the fields.
        let defaults = [0, 0, 0, 2, u32::MAX];
        let congestion = self.fields.congestion().map(|fields| fields.map(number));
        let [rto, ato, quick, window, threshold] = congestion.unwrap_or(defaults);
        // ss does not show the initial value of 3 seconds.
        let shown_rto = if rto == 300 { 0 } else { rto };
        for (name, hundredths) in [(" rto:", shown_rto), (" ato:", ato)] {
            if hundredths != 0 {
                rows.push(name.as_bytes());
                significant(f64::from(hundredths) / 100.0, 6, rows.text());
            }
        }
        let quick = quick / 2;
        show_numbers(&[(" qack:", quick.into())], rows);
        if quick & 1 != 0 {
            rows.push(b" bidir");
        }
        show_numbers(&[(" cwnd:", window.into())], rows);
        if threshold != u32::MAX {
            show_numbers(&[(" ssthresh:", threshold.into())], rows);
        }
        let retransmissions = self.retransmissions();
        if retransmissions != 0 {
            rows.named(" retrans:", retransmissions.into());
            rows.push(b"/0");
        }
        rows.push(b" reordering:0");
    }

    fn show_details(&self, rows: &mut Rows<'_>) {
        rows.details(&Details {
            uid: number(self.fields.uid),
            inode: self.inode(),
            cookie: hexadecimal(self.fields.pointer()).unwrap_or(0),
            ..Details::default()
        });
        let vendor_fields = self.fields.vendor_fields();
        if !vendor_fields.is_empty() {
            rows.push(b" opt:\"");
            rows.push(vendor_fields);
            rows.push(b"\"");
        }
    }
}

/// Reads two hexadecimal numbers that are separated by a colon.
fn pair(text: &[u8]) -> Option<(u32, u32)> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let number = |digits| hexadecimal(digits).map(|number| number as u32);
    Some((number(&text[..colon])?, number(&text[colon + 1..])?))
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

/// Reads a decimal number and returns its low 32 bits, as ss does. Returns 0 if the text is not
/// a number.
fn number(text: &[u8]) -> u32 {
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.unwrap_or(0i64) as u32
}
