//! What was asked: which sockets, and what is shown of them.

use super::filter::{Facts, Filter};
use super::selection::Selection;

/// Which sockets are asked for, and how they are shown.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Whether the table follows a count of all sockets.
    pub summary: bool,
    /// Whether there is a table at all.
    pub has_table: bool,
    /// The kinds, families and states.
    pub selection: Selection,
    /// The filter on the command line, if there is one.
    pub filter: Option<Filter>,
    /// What is shown of each socket.
    pub show: Show,
    /// Whether the table starts with a line of headings.
    pub has_header: bool,
    /// Whether the processes that hold a socket are shown.
    pub processes: bool,
    /// Whether the threads that hold a socket are shown, too.
    pub threads: bool,
}

/// What is shown of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    /// Numbers rather than names.
    pub numeric: bool,
    /// `-o`
    pub timers: bool,
    /// `-e`
    pub details: bool,
    /// `-m`
    pub memory: bool,
    /// `-i`
    pub info: bool,
    /// `-O`
    pub one_line: bool,
    /// `--tos`
    pub tos: bool,
    /// `--cgroup`
    pub cgroup: bool,
    /// Whether `-N` moved this program into another network namespace.
    pub is_elsewhere: bool,
    /// `--inet-sockopt`
    pub socket_options: bool,
}

impl Request {
    /// Whether the socket of which these are the facts passes the filter. Without a filter
    /// they are not collected.
    pub fn accepts<'a>(&self, facts: impl FnOnce() -> Facts<'a>) -> bool {
        match &self.filter {
            None => true,
            Some(filter) => filter.accepts(&facts()),
        }
    }

    /// For tests: the sockets of these kinds, in every state.
    #[cfg(test)]
    pub fn of_kinds(name: &str) -> Request {
        let mut selection = Selection::default();
        selection.add_kinds(super::selection::Kinds::named(name).unwrap());
        selection.states = super::selection::States::ALL;
        Request {
            selection,
            ..Request::default()
        }
    }
}
