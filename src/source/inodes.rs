//! The inodes of the listeners that ss prints. `ss -lntu` prints none, and the options
//! that would (`-e`, `-p`) read every control group or every process. So the kernel's
//! own rows for the same identities stand in for those of ss: from netlink, or where
//! that fails, from `/proc/net`.
//!
//! The rows are read at every poll. A port that one process closes and another opens
//! between two polls looks the same to ss; only the inode tells. Asking netlink costs
//! a few percent of a run of ss.
//!
//! Where only the owners of the listeners are wanted, the rows of ss stay, and the kernel
//! is asked only when ss prints a listener that is new.

use super::error::{Failures, SourceError};
use super::netlink::{Netlink, NetlinkError};
use super::procnet::ProcNet;
use super::ss::SsError;
use crate::listener::{Listener, SocketTable};
use crate::report::{self, Details};
use crate::snapshot::Snapshot;

/// The kernel's list is read at most this often for one answer of ss. A listener that
/// it still lacks then has closed since ss listed it.
const MOST_READS: usize = 3;

/// Finds the sockets of the listeners that ss prints.
#[derive(Debug)]
pub struct Inodes {
    netlink: Netlink,
    /// What the kernel lists.
    rows: Snapshot,
    /// A listener that the kernel does not list stays, without an inode.
    keeps_unlisted: bool,
    /// Only the owners are wanted.
    only_owners: bool,
    details: Details,
}

impl Inodes {
    /// Asks for the tables that `is_wanted` names. Listeners of ss that the kernel does
    /// not list stay as ss printed them only if it `keeps_unlisted` ones.
    pub fn new(is_wanted: impl Fn(SocketTable) -> bool, keeps_unlisted: bool) -> Inodes {
        Inodes {
            netlink: Netlink::new(is_wanted),
            rows: Snapshot::default(),
            keeps_unlisted,
            only_owners: false,
            details: Details::default(),
        }
    }

    /// Asks for the tables that `is_wanted` names, and only for owners.
    pub fn of_owners(is_wanted: impl Fn(SocketTable) -> bool) -> Inodes {
        Inodes {
            only_owners: true,
            ..Inodes::new(is_wanted, true)
        }
    }

    /// Replaces the listeners of `snapshot`, the answer of ss, by the kernel's rows with
    /// the same identities. There may be more or fewer of them: sockets come and go. If
    /// only owners are wanted, it sets these, and never fails.
    ///
    /// # Errors
    /// If neither netlink nor `proc_net`, the tables of the same namespace, can be read.
    /// The snapshot is then of no use.
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
            if self.keeps_unlisted {
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
        // A port that closed may open again with another owner.
        self.rows.retain_identities_of(snapshot);
        if snapshot.difference(&self.rows).next().is_some() {
            let mut rows = std::mem::take(&mut self.rows);
            // Owners that cannot be read are left out, as `/proc` leaves out others.
            let read = || rows.refill(|rows| self.read(snapshot, proc_net, rows));
            let _ = report::silently(read);
            rows.retain_identities_of(snapshot);
            // What the kernel does not list is not asked for again.
            rows.add_missing(snapshot);
            self.rows = rows;
        }
        snapshot.set_owners(&self.rows);
    }

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
            Err(also) => Err(SourceError::Failed(Failures {
                ss: Some(SsError::NoInodes),
                netlink: Some(error),
                proc_net: Some(also),
            })),
        }
    }

    fn say(&mut self, error: &NetlinkError) {
        self.details
            .say_once(format_args!("{error}; reading inodes in /proc/net instead"));
    }
}
