//! Which source answers for one network namespace: the one that is asked first, or
//! where that fails, `/proc/net`, and after ss also netlink.

use std::ffi::OsStr;
use std::path::Path;

use super::error::SourceError;
use super::inodes::Inodes;
use super::netlink::{Netlink, NetlinkError};
use super::procnet::ProcNet;
use super::ss::{self, Ss, SsError};
use super::tables::Tables;
use crate::listener::SocketTable;
use crate::report::{self, Details};
use crate::snapshot::Snapshot;

/// A source that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// ss.
    Ss,
    /// The tables of `/proc/net`.
    ProcNet,
    /// inet_diag.
    Netlink,
}

/// The source that is asked first.
#[derive(Debug)]
pub enum First {
    /// The tables of `/proc/net`, and no other.
    ProcNet,
    /// ss, and what finds the inodes of its listeners, if they are asked for.
    Ss(Box<Ss>, Option<Box<Inodes>>),
    /// inet_diag.
    Netlink,
}

/// The sources for one network namespace.
#[derive(Debug)]
pub struct Sources {
    first: First,
    proc_net: ProcNet,
    netlink: Netlink,
    /// Whether others may answer at every poll where the first source fails.
    falls_back: bool,
    /// The tables whose listing took several reads or datagrams the last time.
    split: Tables,
    details: Details,
}

impl First {
    /// The ss in `path`, the value of `PATH`.
    pub fn ss(path: &OsStr, inodes: Option<Inodes>) -> First {
        First::Ss(Box::new(Ss::in_path(path)), inodes.map(Box::new))
    }
}

impl Sources {
    /// Asks `first`. If it `falls_back`, others answer at every poll where that fails.
    /// `place` is the directory with `net` of the same namespace.
    pub fn new(
        first: First,
        place: &Path,
        falls_back: bool,
        is_wanted: impl Fn(SocketTable) -> bool,
    ) -> Sources {
        Sources {
            first,
            netlink: Netlink::new(&is_wanted),
            proc_net: ProcNet::new(place, is_wanted),
            falls_back,
            split: Tables::default(),
            details: Details::default(),
        }
    }

    /// Fills `snapshot`, and returns which source answered. For listeners that are
    /// `known`, an open may be seen one poll later.
    ///
    /// # Errors
    /// If no source gave a complete answer. The snapshot is then empty.
    pub fn read(
        &mut self,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<AnsweredBy, SourceError> {
        let answered_by = match &mut self.first {
            First::ProcNet => self.read_proc_net(known, snapshot)?,
            First::Ss(ss, inodes) => match snapshot.refill(|listeners| ss.read(listeners)) {
                Ok(()) if !snapshot.listeners().is_empty() => {
                    if let Some(inodes) = inodes {
                        inodes.complete(snapshot, &mut self.proc_net)?;
                    }
                    AnsweredBy::Ss
                }
                result => {
                    let failure = result.err().unwrap_or(SsError::NoRows);
                    self.read_for_ss(failure, known, snapshot)?
                }
            },
            First::Netlink => match self.read_netlink(snapshot) {
                Ok(answered_by) => answered_by,
                Err(error) => self.read_for_netlink(error, known, snapshot)?,
            },
        };
        self.split = match answered_by {
            AnsweredBy::Ss => ss::split(snapshot),
            AnsweredBy::ProcNet => self.proc_net.split(),
            AnsweredBy::Netlink => self.netlink.split(),
        };
        // A source had these listeners, so their tables exist.
        if answered_by != AnsweredBy::ProcNet {
            self.proc_net.require_tables_of(snapshot);
        }
        Ok(answered_by)
    }

    /// Whether a later poll may know what one that was `answered_by` this source did
    /// not: netlink is asked again.
    pub fn may_know_more(&self, answered_by: AnsweredBy) -> bool {
        matches!(self.first, First::Netlink) && answered_by != AnsweredBy::Netlink
    }

    /// The tables whose listing took several reads or datagrams at the last
    /// [`Sources::read`].
    pub fn split(&self) -> Tables {
        self.split
    }

    /// The tables of `/proc/net`.
    pub fn proc_net(&mut self) -> &mut ProcNet {
        &mut self.proc_net
    }

    fn read_proc_net(
        &mut self,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<AnsweredBy, SourceError> {
        let proc_net = &mut self.proc_net;
        let read = snapshot.refill(|listeners| proc_net.read(known, listeners));
        read.map_err(SourceError::Proc)?;
        Ok(AnsweredBy::ProcNet)
    }

    fn read_netlink(&mut self, snapshot: &mut Snapshot) -> Result<AnsweredBy, NetlinkError> {
        let netlink = &mut self.netlink;
        snapshot.refill(|listeners| netlink.read(listeners))?;
        Ok(AnsweredBy::Netlink)
    }

    /// Reads `/proc/net` where netlink failed. If it is refused, and nothing else was
    /// asked for, it is not asked again.
    fn read_for_netlink(
        &mut self,
        error: NetlinkError,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<AnsweredBy, SourceError> {
        let is_refused = !error.may_pass();
        if is_refused {
            self.first = First::ProcNet;
        }
        let message = format_args!("{error}; reading /proc/net instead");
        if self.falls_back {
            self.details.say_once(message);
        } else if is_refused {
            report::warn(message);
            return self.read_proc_net(known, snapshot);
        } else {
            return Err(SourceError::Netlink(error));
        }
        self.read_proc_net(known, snapshot)
            .map_err(|also| match also {
                SourceError::Proc(proc_net) => SourceError::NetlinkAndProc(error, proc_net),
                other => other,
            })
    }

    /// Reads `/proc/net` where ss failed, or to confirm that there is nothing. Where ss
    /// can read neither netlink nor `/proc`, it still prints its header and exits 0. Asks
    /// netlink where `/proc/net` fails, too.
    fn read_for_ss(
        &mut self,
        failure: SsError,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<AnsweredBy, SourceError> {
        let is_unconfirmed = matches!(failure, SsError::NoRows);
        if !self.falls_back && !is_unconfirmed {
            return Err(SourceError::Ss(failure));
        }
        let proc_net = &mut self.proc_net;
        if let Err(error) = snapshot.refill(|listeners| proc_net.read(known, listeners)) {
            if !self.falls_back {
                return Err(SourceError::SsAndProc(failure, error, None));
            }
            let message = format_args!("{failure}; {error}; asking netlink instead");
            self.details.say_once(message);
            return self
                .read_netlink(snapshot)
                .map_err(|also| SourceError::SsAndProc(failure, error, Some(also)));
        }
        if is_unconfirmed && snapshot.listeners().is_empty() {
            return Ok(AnsweredBy::ProcNet);
        }
        if !self.falls_back {
            snapshot.clear();
            return Err(SourceError::SsContradicted);
        }
        self.details
            .say_once(format_args!("{failure}; reading /proc/net instead"));
        Ok(AnsweredBy::ProcNet)
    }
}
