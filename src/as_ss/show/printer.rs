//! The rows of ss's table, of whatever kind of socket: which of them are wanted,
//! and the cells that all of them have.

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::table::Table;
use super::users::Users;
use crate::as_ss::ask::filter::{Facts, Filter};
use crate::as_ss::ask::request::Show;
use crate::as_ss::ask::selection::Selection;
use crate::as_ss::names::protocols;
use crate::as_ss::names::services::Services;
use crate::kernel::cgroups::Cgroups;
use crate::kernel::netlink::client::Client;
use crate::kernel::netlink::link::Interfaces;
use crate::kernel::netlink::message::{Amount, AnswerError, Kinds};
use crate::kernel::netlink::sock_diag::SOCK_DIAG_BY_FAMILY;
use crate::listener::{Interface, Protocol};

/// What ss calls each state in a table, by its number.
const SHOWN: [&str; 12] = [
    "UNKNOWN",
    "ESTAB",
    "SYN-SENT",
    "SYN-RECV",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "TIME-WAIT",
    "UNCONN",
    "CLOSE-WAIT",
    "LAST-ACK",
    "LISTEN",
    "CLOSING",
];

/// What ss calls the state of this number in a table.
pub fn shown_state(number: u8) -> &'static str {
    SHOWN.get(usize::from(number)).unwrap_or(&SHOWN[0])
}

/// By what ports are named: what the table that was shown last set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By `/etc/services`, for this protocol or for any.
    Services(Option<Protocol>),
    /// By `/etc/protocols`: a raw socket has a protocol in place of a port.
    Protocols,
}

/// Writes rows.
#[derive(Debug)]
pub struct Printer<'a> {
    /// Where to.
    pub table: Table<'a>,
    /// What of them.
    pub show: Show,
    /// What is asked for.
    pub selection: &'a Selection,
    /// Which of that passes.
    pub filter: Option<&'a Filter>,
    /// The names of ports.
    pub services: &'a Services,
    /// Who holds sockets, with `-p`.
    pub users: Option<Users>,
    /// How ports are named.
    pub naming: Naming,
    /// In place of `/proc`.
    pub proc_root: PathBuf,
    cgroups: OnceCell<Cgroups>,
    interfaces: Interfaces,
    /// What a socket has that `-i` cannot show.
    uncovered: Option<&'static str>,
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

/// What asking the kernel for a list of sockets led to: with an error, how many rows
/// came before it.
pub type Answered = Result<(), (AnswerError, usize)>;

impl<'a> Printer<'a> {
    /// Asks the kernel for a list of sockets, and has `show_row` write each row of
    /// it. That returns `None` if it cannot read one.
    ///
    /// # Errors
    /// If the kernel does not list them.
    pub fn dump(
        &mut self,
        request: &[u8],
        show_row: impl Fn(&[u8], &mut Printer<'a>) -> Option<()>,
    ) -> Answered {
        let mut rows = 0;
        let mut take = |row: &[u8]| {
            rows += 1;
            show_row(row, self)
        };
        let kinds = Kinds::same(SOCK_DIAG_BY_FAMILY);
        let answered = Client::of_sock_diag().ask(kinds, Amount::Dump, request, &mut take);
        answered.map_err(|error| (error, rows))
    }

    /// Ends the answer: `-i` does not cover this.
    pub fn refuse(&mut self, what: &'static str) -> Option<()> {
        self.uncovered = Some(what);
        None
    }

    /// Why the answer ended, if it did with this error.
    pub fn why(&self, error: AnswerError) -> AnswerError {
        match self.uncovered {
            None => error,
            Some(what) => {
                let why = format!("-i does not cover {what}: leave out -i");
                io::Error::other(why).into()
            }
        }
    }

    /// Writes to this table.
    pub fn new(
        table: Table<'a>,
        show: Show,
        selection: &'a Selection,
        filter: Option<&'a Filter>,
        services: &'a Services,
    ) -> Printer<'a> {
        Printer {
            table,
            show,
            selection,
            filter,
            services,
            users: None,
            naming: Naming::Services(None),
            proc_root: PathBuf::from("/proc"),
            cgroups: OnceCell::new(),
            interfaces: Interfaces::default(),
            uncovered: None,
        }
    }

    /// Whether a socket passes the filter.
    pub fn accepts(&self, socket: &Facts<'_>) -> bool {
        self.filter.is_none_or(|filter| filter.accepts(socket))
    }

    /// Starts a row.
    pub fn start(&mut self, netid: &str, state: u8, recv_q: u32, send_q: u32) {
        self.table.start_row();
        self.table.cell(netid);
        self.table.cell(shown_state(state));
        self.queues(recv_q, send_q);
    }

    /// The lengths of the queues: two cells. They are a C `int` to ss.
    pub fn queues(&mut self, recv_q: u32, send_q: u32) {
        for length in [recv_q as i32, send_q as i32] {
            if length < 0 {
                self.table.push(b"-");
            }
            self.table.decimal(length.unsigned_abs());
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

    /// A port by its name or number; `*` for none.
    pub fn port_cell(&mut self, port: u16) {
        let name = match self.naming {
            _ if port == 0 => Some("*".to_string()),
            _ if self.show.numeric => None,
            Naming::Services(protocol) => self.services.name(port, protocol).map(str::to_string),
            Naming::Protocols => Some(protocols::ip_name(port)),
        };
        match name {
            Some(name) => self.table.push(name.as_bytes()),
            None => self.table.decimal(port.into()),
        }
        self.table.end_cell();
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
        let left = time(milliseconds);
        let _ = write!(self.table, " timer:({name},{left},{retransmissions})");
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
            self.table.push(b" uid:");
            self.table.decimal(details.uid);
        }
        self.table.push(b" ino:");
        self.table.decimal(details.inode);
        let _ = write!(self.table, " sk:{:x}", details.cookie);
        if details.mark != 0 {
            let _ = write!(self.table, " fwmark:{:#x}", details.mark);
        }
        if details.cgroup != 0 {
            self.table.push(b" cgroup:");
            match self.cgroups.get_or_init(Cgroups::read).path(details.cgroup) {
                Some(path) => self.table.push(path),
                None => {
                    let _ = write!(self.table, "unreachable:{:x}", details.cgroup);
                }
            }
        }
    }

    /// Which directions are open, by the bits of those that are shut down.
    pub fn directions(&mut self, shut: u8) {
        let receives = if shut & 1 == 0 { '<' } else { '-' };
        let sends = if shut & 2 == 0 { '>' } else { '-' };
        let _ = write!(self.table, " {receives}-{sends}");
    }

    /// Starts what has a line of its own, unless all must be on one.
    pub fn new_line(&mut self) {
        if !self.show.one_line {
            self.table.push(b"\n\t");
        }
    }

    /// The name of an interface.
    pub fn interface(&mut self, number: u32) -> Interface {
        self.interfaces.name(number)
    }
}

/// A time as ss writes it: what is small beside the rest is left out.
fn time(milliseconds: u32) -> String {
    let (all_seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    let (minutes, seconds) = (all_seconds / 60, all_seconds % 60);
    let mut text = String::new();
    if minutes > 0 {
        let _ = write!(text, "{minutes}min");
    }
    let rest = if minutes > 0 || seconds > 9 { 0 } else { rest };
    if seconds > 0 && minutes <= 9 {
        let unit = if rest > 0 { "." } else { "sec" };
        let _ = write!(text, "{seconds}{unit}");
    }
    if rest > 0 {
        let _ = write!(text, "{rest:03}ms");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_leave_out_what_is_small() {
        for (milliseconds, text) in [
            (0, ""),
            (7, "007ms"),
            (1000, "1sec"),
            (1007, "1.007ms"),
            (10_007, "10sec"),
            (61_500, "1min1sec"),
            (60_500, "1min"),
            (119 * 60_000 + 59_000, "119min"),
        ] {
            assert_eq!(time(milliseconds), text, "{milliseconds}");
        }
    }
}
