//! The rows of ss's table, of whatever kind of socket: the cells that all of them have,
//! and what `-o`, `-e` and `-p` add to them.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::names::{self, Names};
use super::numbers::time;
use super::table::{Table, Write};
use super::text::Text;
use super::users::Users;
use crate::as_ss::ask::request::Request;
use crate::listener::{Endpoint, SsAddress};
use crate::output::OutputError;
#[cfg(test)]
use {crate::as_ss::names::services::Services, std::path::Path};

/// Writes rows. What is written to it becomes part of the current cell.
#[derive(Debug)]
pub struct Rows<'a> {
    /// What numbers are called.
    pub names: Names<'a>,
    table: Table<'a>,
    /// Who holds sockets, with `-p`.
    users: Option<Users>,
    one_line: bool,
}

/// What `-e` says of most sockets.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Details {
    pub uid: u32,
    pub inode: u32,
    /// What identifies the socket while the machine runs.
    pub cookie: u64,
    pub mark: u32,
    /// The number of its control group, or 0.
    pub cgroup: u64,
}

impl<'a> Rows<'a> {
    /// The table that `request` asks for goes to `write`.
    pub fn new(
        request: &Request,
        names: Names<'a>,
        users: Option<Users>,
        write: Write<'a>,
    ) -> Rows<'a> {
        let selection = &request.selection;
        let (has_netid, has_state) = (!selection.kinds.is_one(), !selection.states.is_one());
        Rows {
            names,
            table: Table::new(has_netid, has_state, request.has_header, write),
            users,
            one_line: request.show.one_line,
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If some of the table could not be written.
    pub fn finish(self) -> Result<(), OutputError> {
        self.table.finish()
    }

    /// Starts a row with four cells: the kind, the state by its number, and the lengths
    /// of the queues.
    pub fn start(&mut self, netid: &str, state: u8, recv_q: u32, send_q: u32) {
        self.start_in_state(netid, names::state(state), recv_q, send_q);
    }

    /// Starts a row with a state that TCP does not have.
    pub fn start_in_state(&mut self, netid: &str, state: &str, recv_q: u32, send_q: u32) {
        self.table.start_row();
        self.table.cell(netid);
        self.table.cell(state);
        for length in [recv_q, send_q] {
            self.signed(length);
            self.table.pad(6);
            self.table.end_cell();
        }
    }

    /// One end of the socket: two cells.
    pub fn end(&mut self, address: impl AsRef<[u8]>, delimiter: &str, port: impl AsRef<[u8]>) {
        self.table.push(address.as_ref());
        self.table.cell(delimiter);
        self.table.cell(port);
    }

    /// One end of a socket of IP: two cells. A socket that takes IPv4 too has `*` for the
    /// IPv6 wildcard.
    pub fn ip_end(&mut self, end: Endpoint, interface: u32, is_v6_only: bool) {
        match end.address {
            IpAddr::V4(address) => self.octets(address.octets()),
            IpAddr::V6(any) if any.is_unspecified() && !is_v6_only => self.push(b"*"),
            IpAddr::V6(_) => {
                let _ = write!(self, "{}", SsAddress(end.address));
            }
        }
        if interface != 0 {
            let name = self.names.interface(interface);
            let _ = write!(self, "%{}", name.as_str());
        }
        self.table.cell(":");
        match self.names.port(end.port) {
            Some(name) => self.table.push(name.as_bytes()),
            None => self.decimal(end.port.into()),
        }
        self.table.end_cell();
    }

    fn octets(&mut self, [first, rest @ ..]: [u8; 4]) {
        self.decimal(first.into());
        for octet in rest {
            self.push(b".");
            self.decimal(octet.into());
        }
    }

    /// Adds bytes to the current cell.
    pub fn push(&mut self, bytes: &[u8]) {
        self.table.push(bytes);
    }

    /// Writes bytes at once, before the rows that are not written yet.
    pub fn push_before_table(&mut self, bytes: &[u8]) {
        self.table.write_at_once(bytes);
    }

    /// The text at whose end the current cell grows.
    pub fn text(&mut self) -> &mut Text {
        self.table.text()
    }

    /// Adds a number to the current cell.
    pub fn decimal(&mut self, number: u64) {
        self.text().decimal(number);
    }

    /// Adds a number that is a C `int` to ss.
    pub fn signed(&mut self, number: u32) {
        let number = number as i32;
        if number < 0 {
            self.push(b"-");
        }
        self.decimal(number.unsigned_abs().into());
    }

    /// Adds a number to the current cell, after what says which one it is.
    pub fn named(&mut self, name: &str, number: u64) {
        self.push(name.as_bytes());
        self.decimal(number);
    }

    /// The processes that hold the socket, if they are asked for.
    pub fn users(&mut self, inode: u32) {
        if let Some(users) = &self.users {
            self.table.push(&users.shown(inode));
        }
    }

    /// The socket's timer: what it is for, the milliseconds left, and how often it
    /// ran out.
    pub fn timer(&mut self, name: &str, milliseconds: u32, retransmissions: u32) {
        self.push(b" timer:(");
        self.push(name.as_bytes());
        self.push(b",");
        time(milliseconds, self.text());
        self.named(",", retransmissions.into());
        self.push(b")");
    }

    /// The timer of a TCP socket by its number, if it runs.
    pub fn tcp_timer(&mut self, number: u32, milliseconds: u32, retransmissions: u32) {
        let name = match number {
            0 => return,
            1 => "on",
            2 => "keepalive",
            3 => "timewait",
            4 => "persist",
            _ => "unknown",
        };
        self.timer(name, milliseconds, retransmissions);
    }

    /// What `-e` says.
    pub fn details(&mut self, details: &Details) {
        if details.uid != 0 {
            self.named(" uid:", details.uid.into());
        }
        self.named(" ino:", details.inode.into());
        let _ = write!(self, " sk:{:x}", details.cookie);
        if details.mark != 0 {
            let _ = write!(self, " fwmark:{:#x}", details.mark);
        }
        if details.cgroup != 0 {
            self.cgroup(details.cgroup);
        }
    }

    /// The control group of this number.
    pub fn cgroup(&mut self, number: u64) {
        self.push(b" cgroup:");
        match self.names.cgroup(number) {
            Some(path) => self.table.push(path),
            None => {
                let _ = write!(self, "unreachable:{number:x}");
            }
        }
    }

    /// Which directions are open, by the bits of those that are shut down.
    pub fn directions(&mut self, shut: u8) {
        let directions = [" <->", " -->", " <--", " ---"];
        self.push(directions[usize::from(shut & 3)].as_bytes());
    }

    /// Starts what has a line of its own, unless all must be on one: then a `blank`
    /// comes before it, or nothing.
    pub fn new_line(&mut self, blank: &str) {
        match self.one_line {
            true => self.push(blank.as_bytes()),
            false => self.push(b"\n\t"),
        }
    }
}

impl fmt::Write for Rows<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

/// What `fill` writes, for tests: rows whose ports have no names.
#[cfg(test)]
pub fn shown(request: &Request, fill: impl FnOnce(&mut Rows<'_>)) -> String {
    let services = Services::new("/nonexistent".into(), "/nonexistent".into());
    let names = Names::new(&request.show, &services, Path::new("/nonexistent"));
    let mut text = Vec::new();
    let mut write = |more: &[u8]| {
        text.extend(more);
        Ok(())
    };
    let mut rows = Rows::new(request, names, None, &mut write);
    fill(&mut rows);
    rows.finish().unwrap();
    String::from_utf8(text).unwrap()
}
