//! The lists of sockets that the kernel sends over netlink, and the errors that can occur in a
//! list or in one of its rows.

use std::fmt;

use crate::kernel::netlink::client::Client;
use crate::kernel::netlink::message::{Amount, AnswerError, MessageTypes};
use crate::kernel::netlink::sock_diag::SOCK_DIAG_BY_FAMILY;

/// The reason why a row of a list cannot be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowError {
    /// The row cannot be decoded.
    Unreadable,
    /// The socket uses this feature, and `-i` cannot show its details.
    NotSupported(&'static str),
}

/// The reason why a list is not complete.
#[derive(Debug)]
pub struct DumpError {
    /// The number of rows that were received before the error. If it is 0, the kernel did not
    /// begin to answer.
    pub rows: usize,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Answer(AnswerError),
    NotSupported(&'static str),
}

impl DumpError {
    /// Whether the kernel refused the request before the first row because this user is not
    /// allowed to make it. For example, an unprivileged user is not allowed to filter by marks.
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
            Reason::NotSupported(feature) => {
                write!(f, "-i does not support {feature}; leave out -i")
            }
        }
    }
}

impl std::error::Error for DumpError {}

/// Decodes one row and shows the socket.
pub type ShowRow<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), RowError>;

/// Asks the kernel for several lists, one after another, through the same socket.
#[derive(Debug)]
pub struct Dumps {
    client: Client,
    /// The number of rows received so far, counted over all lists.
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
    /// Opens the netlink socket with the buffer sizes that ss uses. These sizes are visible
    /// only in the list of netlink sockets, which includes this socket. If the socket cannot be
    /// opened, the next [`Dumps::dump`] fails.
    pub fn with_buffers_of_ss() -> Dumps {
        let mut dumps = Dumps::default();
        let _ = dumps.client.open_with_buffers(32 * 1024, 1024 * 1024);
        dumps
    }

    /// Requests a list and passes each of its rows to `show_row`.
    ///
    /// # Errors
    /// Fails if the list is not complete, or if a row cannot be shown.
    pub fn dump(&mut self, question: &[u8], show_row: ShowRow<'_>) -> Result<(), DumpError> {
        let rows = &mut self.rows;
        let mut row_error = None;
        let types = MessageTypes::same(SOCK_DIAG_BY_FAMILY);
        let answer = self.client.ask(types, Amount::Dump, question, &mut |row| {
            *rows += 1;
            let result = show_row(row);
            row_error = result.err();
            result.ok()
        });
        let reason = match (answer, row_error) {
            (Ok(_), _) => return Ok(()),
            (Err(_), Some(RowError::NotSupported(feature))) => Reason::NotSupported(feature),
            (Err(error), _) => Reason::Answer(error),
        };
        Err(DumpError {
            rows: self.rows,
            reason,
        })
    }
}

/// Asks the kernel for one list and passes each of its rows to `show_row`. Uses a new socket.
///
/// # Errors
/// The errors of [`Dumps::dump`].
pub fn dump(question: &[u8], show_row: ShowRow<'_>) -> Result<(), DumpError> {
    Dumps::default().dump(question, show_row)
}
