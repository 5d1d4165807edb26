//! Writes the parts of a row that every kind of socket can have: the cells, and the details
//! that `-o`, `-e` and `-p` add.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::names::{self, Names};
use super::numbers::time;
use super::table::{Parts, Sink, Table};
use super::text::Text;
use super::users::Users;
use crate::as_ss::ask::request::Request;
use crate::listener::{Endpoint, SsAddress};
use crate::output::OutputError;
#[cfg(test)]
use {crate::as_ss::names::services::Services, std::path::Path};

/// Writes the rows of a table. Text that is written to `Rows` becomes part of the current cell.
#[derive(Debug)]
pub struct Rows<'a> {
    /// The names to print in place of numbers.
    pub names: Names<'a>,
    table: Table<'a>,
    /// The processes that hold sockets, if `-p` asks for them.
    users: Option<Users>,
    one_line: bool,
}

/// The details that `-e` shows for most kinds of sockets.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Details {
    pub uid: u32,
    pub inode: u32,
    /// A number that identifies the socket until the machine is rebooted.
    pub cookie: u64,
    pub mark: u32,
    /// The number of the control group that the socket belongs to, or 0.
    pub cgroup: u64,
}

/// The way in which the IPv6 wildcard address is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Wildcard {
    /// Writes `*`, because the socket accepts IPv4, too, or because this is unknown.
    Star,
    /// Writes `[::]`, because the socket is IPv6-only.
    Brackets,
}

impl<'a> Rows<'a> {
    /// Creates the rows of the table that `request` asks for. The text of the table is passed
    /// to `write`.
    pub fn new(
        request: &Request,
        names: Names<'a>,
        users: Option<Users>,
        write: Sink<'a>,
    ) -> Rows<'a> {
        let selection = &request.selection;
        let parts = Parts {
            netid: !selection.kinds.is_one(),
            state: !selection.states.is_one(),
            header: request.has_header,
        };
        Rows {
            names,
            table: Table::new(parts, write),
            users,
            one_line: request.show.one_line,
        }
    }

    /// Writes the rows that are still buffered.
    ///
    /// # Errors
    /// Fails if part of the table could not be written.
    pub fn finish(self) -> Result<(), OutputError> {
        self.table.finish()
    }

    /// Starts a row and writes four cells: the kind of the socket, the name of the state with
    /// this number, and the lengths of both queues.
    pub fn start(&mut self, netid: &str, state: u8, recv_q: u32, send_q: u32) {
        self.start_in_state(netid, names::state(state), recv_q, send_q);
    }

    /// Starts a row as [`Rows::start`] does, but `state` is a name. This is for states that TCP
    /// does not have.
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

    /// Writes one end of the socket as two cells. The first consists of the address and the
    /// delimiter, and the second of the port.
    pub fn end(&mut self, address: impl AsRef<[u8]>, delimiter: &str, port: impl AsRef<[u8]>) {
        self.table.push(address.as_ref());
        self.table.cell(delimiter);
        self.table.cell(port);
    }

    /// Writes one end of an IP socket as two cells, for the address and for the port.
    /// `interface` is the index of the interface, or 0 to leave it out.
    pub fn ip_end(&mut self, end: Endpoint, interface: u32, wildcard: Ipv6Wildcard) {
        match end.address {
            IpAddr::V4(address) => self.octets(address.octets()),
            IpAddr::V6(address) if address.is_unspecified() && wildcard == Ipv6Wildcard::Star => {
                self.push(b"*");
            }
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

    /// Writes bytes immediately, before the rows that are still buffered.
    pub fn push_before_table(&mut self, bytes: &[u8]) {
        self.table.write_at_once(bytes);
    }

    /// The buffer whose text ends with the current cell. Text that is added to it becomes part
    /// of the cell.
    pub fn text(&mut self) -> &mut Text {
        self.table.text()
    }

    /// Adds a number to the current cell.
    pub fn decimal(&mut self, number: u64) {
        self.text().decimal(number);
    }

    /// Adds a number to the current cell in the way ss does: as a signed `int` of C.
    pub fn signed(&mut self, number: u32) {
        let number = number as i32;
        if number < 0 {
            self.push(b"-");
        }
        self.decimal(number.unsigned_abs().into());
    }

    /// Adds a name and a number to the current cell. `name` includes the separators around it.
    pub fn named(&mut self, name: &str, number: u64) {
        self.push(name.as_bytes());
        self.decimal(number);
    }

    /// Adds the processes that hold the socket with this inode, if `-p` asks for them.
    pub fn users(&mut self, inode: u32) {
        if let Some(users) = &self.users {
            self.table.push(&users.shown(inode));
        }
    }

    /// Adds the socket's timer: its name, the milliseconds left, and the number of
    /// retransmissions.
    pub fn timer(&mut self, name: &str, milliseconds: u32, retransmissions: u32) {
        self.push(b" timer:(");
        self.push(name.as_bytes());
        self.push(b",");
        time(milliseconds, self.text());
        self.named(",", retransmissions.into());
        self.push(b")");
    }

    /// Adds the timer of a TCP socket. `number` is the kernel's number of the timer, or 0 if no
    /// timer is running.
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

    /// Adds the details that `-e` shows.
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

    /// Adds the path of the control group with this number. If the path is unknown, adds
    /// `unreachable:` and the number in hex.
    pub fn cgroup(&mut self, number: u64) {
        self.push(b" cgroup:");
        match self.names.cgroup(number) {
            Some(path) => self.table.push(path),
            None => {
                let _ = write!(self, "unreachable:{number:x}");
            }
        }
    }

    /// Adds an arrow that shows which directions of the connection are open. In `shut`, a bit
    /// is set for each direction that is shut down.
    pub fn directions(&mut self, shut: u8) {
        let directions = [" <->", " -->", " <--", " ---"];
        self.push(directions[usize::from(shut & 3)].as_bytes());
    }

    /// Starts a new line within the row. With `-O`, adds `separator` to the current line
    /// instead.
    pub fn new_line(&mut self, separator: &str) {
        match self.one_line {
            true => self.push(separator.as_bytes()),
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

/// The table that `fill` writes, for tests. Ports are shown as numbers.
#[cfg(test)]
pub fn shown(request: &Request, fill: impl FnOnce(&mut Rows<'_>)) -> String {
    let services = Services::new("/nonexistent".into(), "/nonexistent".into());
    let names = Names::new(&request.show, &services, Path::new("/nonexistent"));
    let mut text = Vec::new();
    let mut write = |piece: &[u8]| {
        text.extend(piece);
        Ok(())
    };
    let mut rows = Rows::new(request, names, None, &mut write);
    fill(&mut rows);
    rows.finish().unwrap();
    String::from_utf8(text).unwrap()
}
