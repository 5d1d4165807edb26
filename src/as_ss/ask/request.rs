//! A parsed command line: which sockets to show, and which details of each socket to show.

use super::filter::{Facts, Filter};
use super::selection::Selection;

/// The sockets to show, and the way in which to show them.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `-s`: print the number of sockets before the table.
    pub summary: bool,
    /// Whether to print a table of sockets. `-s` alone does not print one.
    pub has_table: bool,
    /// The kinds, families and states of sockets to show.
    pub selection: Selection,
    /// The filter on the command line, if there is one.
    pub filter: Option<Filter>,
    /// The details of a socket to show.
    pub show: Show,
    /// Whether the table starts with a line of headings. `-H` leaves this line out.
    pub has_header: bool,
    /// `-p`: show the processes that hold each socket.
    pub processes: bool,
    /// `-T`: show the threads that hold each socket, too.
    pub threads: bool,
}

/// The details of a socket to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    /// `-n`: show numbers instead of names.
    pub numeric: bool,
    /// `-o`: show the timer.
    pub timers: bool,
    /// `-e`: show the owner, the inode and other details.
    pub details: bool,
    /// `-m`: show the memory of the socket.
    pub memory: bool,
    /// `-i`: show internal information of TCP.
    pub info: bool,
    /// `-O`: print each socket on a single line.
    pub one_line: bool,
    /// `--tos`: show the type of service and the priority.
    pub tos: bool,
    /// `--cgroup`: show the control group.
    pub cgroup: bool,
    /// `-N`: whether this program has moved into another network namespace.
    pub in_other_network: bool,
    /// `--inet-sockopt`: show options of IP sockets.
    pub socket_options: bool,
}

impl Request {
    /// Whether a socket passes the filter. `facts` returns the facts about the socket, and is
    /// called only if there is a filter.
    pub fn accepts<'a>(&self, facts: impl FnOnce() -> Facts<'a>) -> bool {
        match &self.filter {
            None => true,
            Some(filter) => filter.accepts(&facts()),
        }
    }

    /// Creates a request for the sockets of these kinds in every state, for tests.
    #[cfg(test)]
    pub fn with_kinds(name: &str) -> Request {
        let mut selection = Selection::default();
        selection.add_kinds(super::selection::Kinds::named(name).unwrap());
        selection.states = super::selection::States::ALL;
        Request {
            selection,
            ..Request::default()
        }
    }
}
