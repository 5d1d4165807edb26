//! Turns listeners into lines of text, in the chosen format.

use std::time::Duration;

use super::json;
use super::table::Table;
use super::timestamp::{Seconds, Timestamp};
use crate::listener::{Listener, Protocol};

/// How listeners are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Whether to write JSON Lines instead of a table.
    pub json: bool,
    /// Whether to start each line of a table with the time. JSON always contains the time.
    pub timestamps: bool,
    /// Whether to leave out the header of a table. JSON has no header.
    pub no_header: bool,
    /// Whether to name the processes that hold each listener.
    pub holders: bool,
    /// Whether each line is about a port on any address. The id in JSON then identifies the
    /// port.
    pub by_port: bool,
    /// Whether to show the network namespace of each listener.
    pub namespaces: bool,
}

/// What happened to the listener of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The listener existed when the program first looked.
    Listening,
    /// The listener opened after the program first looked.
    Opened,
    /// The listener closed.
    Closed,
}

/// The state of the watcher itself, so that a reader can distinguish "nothing changed" from
/// "could not look".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status<'a> {
    /// The listeners that existed at the start have been written. With a reason, some may be
    /// missing.
    Ready(Option<&'a str>),
    /// No source can be read, or if there is an inode, the namespace with this inode cannot be
    /// read. The text is the reason.
    Lost(Option<u64>, &'a str),
    /// A source can be read again, or if there is an inode, the namespace with this inode can
    /// be read again or no longer exists.
    Back(Option<u64>),
    /// Polls are late. The value is the time between two polls.
    Late(Duration),
    /// Polls are on time again.
    OnTime,
    /// Polls of the UDP listeners of network namespaces are late. The value is the time
    /// between two of these polls.
    UdpLate(Duration),
    /// Polls of the UDP listeners are on time again.
    UdpOnTime,
    /// The process given with `--of` has ended.
    Ended,
}

/// Formats lines, and remembers the widths of the table's columns.
#[derive(Debug)]
pub struct Renderer {
    format: Format,
    table: Table,
}

impl Renderer {
    /// A renderer whose columns start as wide as those of `table`.
    pub fn new(format: Format, table: Table) -> Renderer {
        Renderer {
            format,
            table: table.showing(format.holders, format.namespaces),
        }
    }

    /// Appends a line with the status, in JSON only. A reader of a table would mistake it for
    /// a row.
    pub fn status(&self, status: Status<'_>, now: Timestamp, text: &mut Vec<u8>) {
        if self.format.json {
            let (kind, namespace, error, interval) = match status {
                Status::Ready(error) => ("ready", None, error, None),
                Status::Lost(namespace, error) => ("lost", namespace, Some(error), None),
                Status::Back(namespace) => ("back", namespace, None, None),
                Status::Late(interval) | Status::UdpLate(interval) => {
                    ("late", None, None, Some(Seconds(interval)))
                }
                Status::OnTime | Status::UdpOnTime => ("on_time", None, None, None),
                Status::Ended => ("ended", None, None, None),
            };
            let protocol = match status {
                Status::UdpLate(_) | Status::UdpOnTime => Some(Protocol::Udp),
                _ => None,
            };
            let line = json::status(kind, now, (namespace, protocol), error, interval);
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
    }

    /// The format of the lines.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Widens the columns as far as `listeners` need.
    pub fn fit<'a>(&mut self, listeners: impl IntoIterator<Item = &'a Listener>) {
        if !self.format.json {
            listeners.into_iter().for_each(|l| self.table.fit(l));
        }
    }

    /// Whether the format has a header.
    pub fn has_header(&self) -> bool {
        !self.format.json && !self.format.no_header
    }

    /// Appends the header line to `text`, if the format has a header.
    pub fn header(&self, text: &mut Vec<u8>) {
        if self.has_header() {
            if self.format.timestamps {
                let width = Timestamp::WIDTH;
                text.extend_from_slice(format!("{:<width$} ", "Timestamp").as_bytes());
            }
            text.extend_from_slice(self.table.header().as_bytes());
            text.push(b'\n');
        }
    }

    /// Appends the line of one listener to `text`.
    pub fn line(&self, event: Event, listener: &Listener, now: Timestamp, text: &mut Vec<u8>) {
        if self.format.json {
            let event = match event {
                Event::Listening => "listening",
                Event::Opened => "opened",
                Event::Closed => "closed",
            };
            let Format {
                holders, by_port, ..
            } = self.format;
            let object = json::object(listener, event, now, holders, by_port);
            text.extend_from_slice(object.as_bytes());
        } else {
            if self.format.timestamps {
                text.extend_from_slice(format!("{now} ").as_bytes());
            }
            let state = match event {
                Event::Listening | Event::Opened => listener.protocol.listening_state(),
                Event::Closed => "CLOSED",
            };
            text.extend_from_slice(self.table.row(listener, state).as_bytes());
        }
        text.push(b'\n');
    }
}
