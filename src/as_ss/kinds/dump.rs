//! The lists of sockets that the kernel gives over netlink, and what can go wrong with
//! one and with a row of it.

use std::fmt;

use crate::kernel::netlink::client::Client;
use crate::kernel::netlink::message::{Amount, AnswerError, MessageTypes};
use crate::kernel::netlink::sock_diag::SOCK_DIAG_BY_FAMILY;

/// Why a row of a list is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// It cannot be read.
    Unreadable,
    /// It says this of the socket, which `-i` cannot show.
    NotCovered(&'static str),
}

/// Why a list is not complete.
#[derive(Debug)]
pub struct DumpError {
    /// How many rows came until then. With none, the kernel did not begin to answer.
    pub rows: usize,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Answer(AnswerError),
    NotCovered(&'static str),
}

impl DumpError {
    /// Whether the kernel refused before the first row, since this user may not ask so: an
    /// unprivileged one may not name marks in a filter.
    pub fn is_forbidden(&self) -> bool {
        const EPERM: i32 = 1;
        match &self.reason {
            Reason::Answer(AnswerError::Io(error)) => {
                self.rows == 0 && error.raw_os_error() == Some(EPERM)
            }
            _ => false,
        }
    }
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Answer(error) => error.fmt(f),
            Reason::NotCovered(what) => write!(f, "-i does not support {what}; leave out -i"),
        }
    }
}

impl std::error::Error for DumpError {}

/// Takes one row.
pub type ShowRow<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), RowError>;

/// Asks the kernel for lists, one after the other.
#[derive(Debug)]
pub struct Dumps {
    client: Client,
    /// Of all lists.
    rows: usize,
}

impl Default for Dumps {
    fn default() -> Dumps {
        Dumps {
            client: Client::sock_diag(),
            rows: 0,
        }
    }
}

impl Dumps {
    /// Gives the socket the buffers of that of ss. Only the list of the sockets of netlink
    /// shows them. The answer fails if the socket cannot be opened.
    pub fn with_buffers_of_ss() -> Dumps {
        let mut dumps = Dumps::default();
        let _ = dumps.client.open_with_buffers(32 * 1024, 1024 * 1024);
        dumps
    }

    /// Asks for a list, and has `show_row` write each row of it.
    ///
    /// # Errors
    /// If the kernel does not list them all, or a row is not shown.
    pub fn dump(&mut self, question: &[u8], show_row: ShowRow<'_>) -> Result<(), DumpError> {
        let rows = &mut self.rows;
        let mut failed = None;
        let kinds = MessageTypes::same(SOCK_DIAG_BY_FAMILY);
        let answer = self.client.ask(kinds, Amount::Dump, question, &mut |row| {
            *rows += 1;
            let shown = show_row(row);
            failed = shown.err();
            shown.ok()
        });
        let reason = match (answer, failed) {
            (Ok(_), _) => return Ok(()),
            (Err(_), Some(RowError::NotCovered(what))) => Reason::NotCovered(what),
            (Err(error), _) => Reason::Answer(error),
        };
        Err(DumpError {
            rows: self.rows,
            reason,
        })
    }
}

/// Asks the kernel for one list, and has `show_row` write each row of it.
///
/// # Errors
/// As [`Dumps::dump`].
pub fn dump(question: &[u8], show_row: ShowRow<'_>) -> Result<(), DumpError> {
    Dumps::default().dump(question, show_row)
}
