//! Asks the sources for one network namespace in order, until one answers: ss, then netlink,
//! then `/proc/net`. The first source to be asked is not always ss.

use std::ffi::OsStr;
use std::path::Path;

use super::error::{Failures, SourceError};
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
    /// The tables of `/proc/net`. If they cannot be read, no other source is asked.
    ProcNet,
    /// ss. The [`Inodes`] find the inodes of the listeners that ss prints, if inodes are asked
    /// for.
    Ss(Box<Ss>, Option<Box<Inodes>>),
    /// inet_diag.
    Netlink,
}

/// What happens if the first source fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The poll fails.
    Fail,
    /// The next source is asked.
    AskNext,
}

/// The sources for one network namespace.
#[derive(Debug)]
pub struct Sources {
    first: First,
    netlink: Netlink,
    /// Why netlink is no longer asked: the kernel or a sandbox refused it. `None` if it may
    /// be asked.
    refusal: Option<NetlinkError>,
    proc_net: ProcNet,
    on_failure: OnFailure,
    /// The tables whose listing took several reads or datagrams the last time.
    split: Tables,
    details: Details,
}

impl First {
    /// The ss that is found in `path`, the value of `PATH`.
    pub fn ss(path: &OsStr, inodes: Option<Inodes>) -> First {
        First::Ss(Box::new(Ss::in_path(path)), inodes.map(Box::new))
    }
}

impl Sources {
    /// Sources that ask `first` at each poll. `place` is the directory whose `net` has the
    /// tables of the namespace. Tables for which `is_wanted` is false are left out.
    pub fn new(
        first: First,
        place: &Path,
        on_failure: OnFailure,
        is_wanted: impl Fn(SocketTable) -> bool,
    ) -> Sources {
        Sources {
            first,
            netlink: Netlink::new(&is_wanted),
            refusal: None,
            proc_net: ProcNet::new(place, is_wanted),
            on_failure,
            split: Tables::default(),
            details: Details::default(),
        }
    }

    /// Fills `snapshot`, and returns which source answered. If there are `known` listeners, a
    /// new listener may be found one poll later.
    ///
    /// # Errors
    /// If no source gave a complete answer. The snapshot is then empty.
    pub fn read(
        &mut self,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<AnsweredBy, SourceError> {
        let answered_by = match &mut self.first {
            First::ProcNet => {
                self.read_proc_net(Failures::default(), known, snapshot)?;
                AnsweredBy::ProcNet
            }
            First::Netlink => self.read_netlink(Failures::default(), known, snapshot)?,
            First::Ss(ss, inodes) => match snapshot.refill(|listeners| ss.read(listeners)) {
                Ok(()) if !snapshot.listeners().is_empty() => {
                    if let Some(inodes) = inodes {
                        inodes.complete(snapshot, &mut self.proc_net)?;
                    }
                    AnsweredBy::Ss
                }
                result => {
                    if let Some(inodes) = inodes {
                        inodes.forget();
                    }
                    let failure = result.err().unwrap_or(SsError::NoRows);
                    self.read_for_ss(failure, known, snapshot)?
                }
            },
        };
        self.split = match answered_by {
            AnsweredBy::Ss => ss::split(snapshot),
            AnsweredBy::ProcNet => self.proc_net.split(),
            AnsweredBy::Netlink => self.netlink.split(),
        };
        // Another source found these listeners, so their tables exist.
        if answered_by != AnsweredBy::ProcNet {
            self.proc_net.require_tables_of(snapshot);
        }
        Ok(answered_by)
    }

    /// Whether a later poll may find out more than a poll that was `answered_by` this source.
    /// True only if netlink is asked first, has failed, and will be asked again.
    pub fn may_know_more(&self, answered_by: AnsweredBy) -> bool {
        let asks_netlink = matches!(self.first, First::Netlink) && self.refusal.is_none();
        asks_netlink && answered_by != AnsweredBy::Netlink
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

    /// Asks netlink after ss failed or printed no listeners. An answer without listeners needs
    /// confirmation: if ss can read neither netlink nor `/proc`, it still prints its header
    /// and exits 0.
    fn read_for_ss(
        &mut self,
        failure: SsError,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<AnsweredBy, SourceError> {
        let is_unconfirmed = matches!(failure, SsError::NoRows);
        let failures = Failures {
            ss: Some(failure),
            ..Failures::default()
        };
        if self.on_failure == OnFailure::Fail && !is_unconfirmed {
            return Err(SourceError::Failed(failures));
        }
        let answered_by = self.read_netlink(failures, known, snapshot)?;
        if is_unconfirmed && self.on_failure == OnFailure::Fail && !snapshot.listeners().is_empty()
        {
            snapshot.clear();
            return Err(SourceError::SsContradicted);
        }
        Ok(answered_by)
    }

    /// Asks netlink, and reads `/proc/net` if that fails. After the kernel has refused
    /// netlink, it is not asked again while `/proc/net` can be read, because the kernel may
    /// start modprobe each time.
    fn read_netlink(
        &mut self,
        mut failures: Failures,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<AnsweredBy, SourceError> {
        let is_only_source =
            matches!(self.first, First::Netlink) && self.on_failure == OnFailure::Fail;
        let error = match self.refusal.take() {
            Some(refusal) => refusal,
            None => {
                let netlink = &mut self.netlink;
                let Err(error) = snapshot.refill(|listeners| netlink.read(listeners)) else {
                    self.say_instead(&failures, "asking netlink", snapshot);
                    return Ok(AnsweredBy::Netlink);
                };
                if is_only_source && !error.may_pass() {
                    report::warn(format_args!("{error}; reading /proc/net instead"));
                }
                error
            }
        };
        let is_refused = !error.may_pass();
        failures.netlink = Some(error);
        if is_only_source && !is_refused {
            return Err(SourceError::Failed(failures));
        }
        let failures = self.read_proc_net(failures, known, snapshot)?;
        self.refusal = failures.netlink.filter(|_| is_refused);
        Ok(AnsweredBy::ProcNet)
    }

    /// Reads `/proc/net` after these failures of other sources. Returns the same failures.
    fn read_proc_net(
        &mut self,
        mut failures: Failures,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<Failures, SourceError> {
        let proc_net = &mut self.proc_net;
        match snapshot.refill(|listeners| proc_net.read(known, listeners)) {
            Ok(()) => {
                self.say_instead(&failures, "reading /proc/net", snapshot);
                Ok(failures)
            }
            Err(error) => {
                failures.proc_net = Some(error);
                Err(SourceError::Failed(failures))
            }
        }
    }

    /// With `-v`, reports these failures and which `source` gave `snapshot` instead. If ss
    /// printed no listeners and the snapshot has none, either, ss did not fail, and nothing is
    /// reported.
    fn say_instead(&mut self, failures: &Failures, source: &str, snapshot: &Snapshot) {
        let ss_is_right =
            matches!(failures.ss, Some(SsError::NoRows)) && snapshot.listeners().is_empty();
        if !failures.is_empty() && !ss_is_right {
            let message = format_args!("{failures}; {source} instead");
            self.details.print_once(message);
        }
    }
}
