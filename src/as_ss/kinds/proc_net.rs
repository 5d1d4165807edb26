//! The sockets of IP in `/proc/net`, as ss reads them there.

use super::files::for_each_line;
use super::inet::Inet;
use super::tcp_info::show_numbers;
use crate::as_ss::ask::filter::{Facts, Place};
use crate::as_ss::ask::request::{Request, Show};
use crate::as_ss::ask::selection::AddressFamily;
use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::as_ss::show::numbers::significant;
use crate::as_ss::show::rows::{Details, Rows};
use crate::kernel::proc::row::{MoreFields, decode_endpoint, row_fields};
use crate::listener::Endpoint;

/// Writes the rows of `protocol` that are wanted.
///
/// # Errors
/// If a file cannot be read, or has lines that are no rows.
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
        // There are no files of the others.
        Inet::Mptcp | Inet::Dccp | Inet::Sctp => return Ok(()),
    };
    for (file, family) in [(name, AddressFamily::Inet), (name6, AddressFamily::Inet6)] {
        if !request.selection.families.has(family) {
            continue;
        }
        for_each_line(file, paths, &mut |line| {
            let row = Row::parse(line, family)?;
            if !row.is_wanted(request) {
                return Some(());
            }
            row.show(name, rows);
            if protocol == Inet::Tcp {
                row.show_more(request.show, rows);
            }
            Some(())
        })?;
    }
    Ok(())
}

/// A row of a table of IP.
struct Row<'a> {
    family: AddressFamily,
    local: Endpoint,
    peer: Endpoint,
    state: u8,
    more: MoreFields<'a>,
}

impl<'a> Row<'a> {
    fn parse(line: &'a [u8], family: AddressFamily) -> Option<Row<'a>> {
        let fields = row_fields(line)?;
        let local = decode_endpoint(fields.local).ok()?;
        let peer = decode_endpoint(fields.remote).ok()?;
        if local.address.is_ipv6() != (family == AddressFamily::Inet6) {
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

    fn is_wanted(&self, request: &Request) -> bool {
        let facts = || {
            let (local, peer) = (Place::of_ip(self.local), Place::of_ip(self.peer));
            Facts::new(self.family, local, peer)
        };
        request.selection.states.has(self.state) && request.accepts(facts)
    }

    fn show(&self, netid: &str, rows: &mut Rows<'_>) {
        let (send_q, recv_q) = pair(self.more.queues).unwrap_or_default();
        rows.start(netid, self.state, recv_q, send_q);
        rows.ip_end(self.local, 0, false);
        rows.ip_end(self.peer, 0, false);
        rows.users(self.inode());
    }

    fn inode(&self) -> u32 {
        number(self.more.inode)
    }

    /// Writes what ss knows only of TCP here.
    fn show_more(&self, show: Show, rows: &mut Rows<'_>) {
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
        let (timer, ticks) = pair(self.more.timer).unwrap_or_default();
        // The kernel counts a hundred ticks in a second here.
        let milliseconds = ticks.wrapping_mul(10);
        rows.tcp_timer(timer, milliseconds, self.retransmissions());
    }

    fn retransmissions(&self) -> u32 {
        match pair(self.more.timer) {
            Some((1, _)) => hexadecimal(self.more.retransmissions).unwrap_or(0) as u32,
            _ => number(self.more.probes),
        }
    }

    /// Writes the little that the file has of what `-i` shows.
    fn show_info(&self, rows: &mut Rows<'_>) {
        // ss takes this window where a row has none.
        let absent = [0, 0, 0, 2, u32::MAX];
        let pace = self.more.congestion().map(|pace| pace.map(number));
        let [rto, ato, quick, window, threshold] = pace.unwrap_or(absent);
        let unusual = if rto == 300 { 0 } else { rto };
        for (name, hundredths) in [(" rto:", unusual), (" ato:", ato)] {
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
            uid: number(self.more.uid),
            inode: self.inode(),
            cookie: hexadecimal(self.more.pointer()).unwrap_or(0),
            ..Details::default()
        });
        let vendor_fields = self.more.vendor_fields();
        if !vendor_fields.is_empty() {
            rows.push(b" opt:\"");
            rows.push(vendor_fields);
            rows.push(b"\"");
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
