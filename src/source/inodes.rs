//! Finds the inodes of the listeners that ss prints. `ss -lntu` prints no inodes, and the
//! options that would print them (`-e`, `-p`) read every control group or every process. So
//! the rows of ss are replaced by the kernel's own rows for the same identities, which come
//! from netlink, or if that fails, from `/proc/net`.
//!
//! The kernel's rows are read at every poll. If one process closes a port and another opens
//! it between two polls, ss prints the same row, and only the inode differs. Asking netlink
//! costs a few percent of a run of ss.
//!
//! If only the owners of the listeners are wanted, the rows of ss stay, and the kernel is
//! asked only when ss prints a new listener.

use super::error::{Failures, SourceError};
use super::netlink::{Netlink, NetlinkError};
use super::procnet::ProcNet;
use super::ss::SsError;
use crate::listener::{Listener, SocketTable};
use crate::report::{self, Details};
use crate::snapshot::Snapshot;

/// The kernel's list is read at most this many times for one answer of ss. A listener that is
/// missing even then has closed since ss printed it.
const MOST_READS: usize = 3;

/// Finds the inodes or the owners of the listeners that ss prints.
#[derive(Debug)]
pub struct Inodes {
    netlink: Netlink,
    /// The listeners that the kernel lists.
    rows: Snapshot,
    unlisted: Unlisted,
    /// Whether only the owners are wanted.
    only_owners: bool,
    details: Details,
}

/// What happens to listeners that ss prints and the kernel does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// Such listeners are removed.
    Removed,
    /// Such listeners stay as ss printed them, without an inode.
    Kept,
}

impl Inodes {
    /// Finds inodes in the tables for which `is_wanted` is true.
    pub fn new(is_wanted: impl Fn(SocketTable) -> bool, unlisted: Unlisted) -> Inodes {
        Inodes {
            netlink: Netlink::new(is_wanted),
            rows: Snapshot::default(),
            unlisted,
            only_owners: false,
            details: Details::default(),
        }
    }

    /// Finds only owners, in the tables for which `is_wanted` is true.
    pub fn only_owners(is_wanted: impl Fn(SocketTable) -> bool) -> Inodes {
        Inodes {
            only_owners: true,
            ..Inodes::new(is_wanted, Unlisted::Kept)
        }
    }

    /// Replaces the listeners of `snapshot`, which ss printed, by the kernel's rows with the
    /// same identities. The number of listeners may change, because sockets may have opened or
    /// closed in the meantime. If only owners are wanted, sets the owners instead, and never
    /// fails.
    ///
    /// # Errors
    /// If neither netlink nor `proc_net`, the tables of the same namespace, can be read. The
    /// snapshot must then not be used.
    pub fn complete(
        &mut self,
        snapshot: &mut Snapshot,
        proc_net: &mut ProcNet,
    ) -> Result<(), SourceError> {
        if self.only_owners {
            self.set_owners(snapshot, proc_net);
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.rows);
        let mut result = rows.refill(|rows| self.read(snapshot, proc_net, rows));
        for _ in 1..MOST_READS {
            if result.is_err() || snapshot.difference(&rows).next().is_none() {
                break;
            }
            let mut more = Snapshot::default();
            result = more.refill(|rows| self.read(snapshot, proc_net, rows));
            rows.add_sockets(&more);
        }
        if result.is_ok() {
            rows.retain_identities_of(snapshot);
            if self.unlisted == Unlisted::Kept {
                rows.add_missing(snapshot);
            }
            std::mem::swap(snapshot, &mut rows);
        }
        self.rows = rows;
        result
    }

    /// Forgets the kernel's rows, because another source answered instead of ss.
    pub fn forget(&mut self) {
        self.rows.clear();
    }

    fn set_owners(&mut self, snapshot: &mut Snapshot, proc_net: &mut ProcNet) {
        // Forget closed ports, because another owner may open them again.
        self.rows.retain_identities_of(snapshot);
        if snapshot.difference(&self.rows).next().is_some() {
            let mut rows = std::mem::take(&mut self.rows);
            // If the kernel's list cannot be read, some owners are missing, and no warning
            // is printed: listeners are complete without owners.
            let read = || rows.refill(|rows| self.read(snapshot, proc_net, rows));
            let _ = report::silently(read);
            rows.retain_identities_of(snapshot);
            // Also remember the listeners that the kernel does not list, so that it is not
            // asked for them again.
            rows.add_missing(snapshot);
            self.rows = rows;
        }
        snapshot.set_owners(&self.rows);
    }

    /// Appends the kernel's listeners to `rows`.
    fn read(
        &mut self,
        known: &Snapshot,
        proc_net: &mut ProcNet,
        rows: &mut Vec<Listener>,
    ) -> Result<(), SourceError> {
        let Err(error) = self.netlink.read(rows) else {
            return Ok(());
        };
        rows.clear();
        match proc_net.read(Some(known), rows) {
            Ok(()) => {
                self.say(&error);
                Ok(())
            }
            Err(proc_error) => Err(SourceError::Failed(Failures {
                ss: Some(SsError::NoInodes),
                netlink: Some(error),
                proc_net: Some(proc_error),
            })),
        }
    }

    fn say(&mut self, error: &NetlinkError) {
        self.details
            .print_once(format_args!("{error}; reading inodes in /proc/net instead"));
    }
}
