//! Where a snapshot comes from: `ss` first, then `/proc`, at every poll, or
//! netlink; what is accepted and what falls back.

pub mod holders;
pub mod netlink;
pub mod procnet;
pub mod ss;

use std::ffi::OsStr;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::listener::{Family, Listener, Protocol};
use crate::port::{self, Filter, PortSpec, RequiredPort};
use crate::report::{Details, Verbosity};
use crate::snapshot::Snapshot;
use crate::source::holders::{Lookup, Processes};
use crate::source::netlink::{Netlink, NetlinkError};
use crate::source::procnet::{ProcError, ProcNet};
use crate::source::ss::{Ss, SsError};

/// Which sources may answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// ss, and where it fails, `/proc/net`.
    #[default]
    Auto,
    /// ss only.
    Ss,
    /// The tables in `net` below this directory only: `/proc` or one like it.
    Proc(PathBuf),
    /// inet_diag; and where it is refused, `/proc/net` for the rest of the run.
    Netlink,
}

/// Which listeners are asked for, where, and what of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// Which sources may answer.
    pub choice: SourceChoice,
    /// Which listeners are of interest.
    pub filter: Filter,
    /// Whether to find out which processes hold them.
    pub processes: bool,
    /// What is said on stderr.
    pub verbosity: Verbosity,
}

/// The ports that the kernel gives out where its setting cannot be read: its
/// default (`Documentation/networking/ip-sysctl.rst`).
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// What is missing is gone once this many looks in a row bring nothing back.
const LOOKS_IN_VAIN: usize = 3;
/// What so many looks have not found is gone too, whatever else they found.
const MOST_LOOKS: usize = 10;

/// How often the kernel's listing was read more than once for one poll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondLooks {
    /// Times that a listener was missing.
    pub taken: u64,
    /// Those of them in which one that was missing was there all the same.
    pub needed: u64,
}

/// What is asked at each poll.
#[derive(Debug)]
pub struct Source {
    /// Until it is refused.
    netlink: Option<Netlink>,
    ss: Option<Ss>,
    proc_net: ProcNet,
    /// Whether `/proc` may answer for ss.
    falls_back: bool,
    filter: Filter,
    /// If processes are asked for.
    lookup: Option<Lookup>,
    verbosity: Verbosity,
    details: Details,
    cost: Duration,
    another_look: Snapshot,
    second_looks: SecondLooks,
    answered: Answered,
}

/// Which source the last answer is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Ss,
    ProcNet,
    Netlink,
}

/// Why no source gave a complete snapshot.
#[derive(Debug)]
pub enum SourceError {
    /// `/proc` was the only source.
    Proc(ProcError),
    /// ss was the only source.
    Ss(SsError),
    /// ss was the only source and printed no listeners, but `/proc` lists some.
    SsContradicted,
    /// Both were asked.
    Both(SsError, ProcError),
    /// Netlink was the source and may answer at the next poll.
    Netlink(NetlinkError),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Proc(error) => error.fmt(f),
            SourceError::Ss(error) => error.fmt(f),
            SourceError::SsContradicted => {
                write!(f, "{}, but /proc/net lists some", SsError::NoRows)
            }
            SourceError::Both(ss, proc_net) => write!(f, "{ss}; {proc_net}"),
            SourceError::Netlink(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SourceError {}

/// `/proc`, or one like it, if `root` is that or the directory of a process in it.
fn proc_root(root: &Path) -> &Path {
    match root.parent() {
        Some(parent) if root.join("comm").exists() => match parent.as_os_str().is_empty() {
            true => Path::new("."),
            false => parent,
        },
        _ => root,
    }
}

impl Source {
    /// A source of the listeners that `options` ask for. `path` is the value
    /// of `PATH`, in which ss is looked for.
    pub fn new(options: SourceOptions, path: &OsStr) -> Source {
        let SourceOptions {
            choice,
            mut filter,
            processes,
            verbosity,
        } = options;
        let falls_back = choice == SourceChoice::Auto;
        let is_netlink = choice == SourceChoice::Netlink;
        let (ss, tables) = match choice {
            SourceChoice::Auto | SourceChoice::Ss => {
                (Some(Ss::in_path(path, processes)), PathBuf::from("/proc"))
            }
            SourceChoice::Proc(root) => (None, root),
            SourceChoice::Netlink => (None, PathBuf::from("/proc")),
        };
        let proc_root = proc_root(&tables);
        if filter.excludes_ephemeral {
            let file = proc_root.join("sys/net/ipv4/ip_local_port_range");
            let range = port::read_range(&file).unwrap_or_else(|| {
                let (file, first, last) = (file.display(), EPHEMERAL.start(), EPHEMERAL.end());
                let why = format_args!("{file}: cannot be read; taking {first} to {last} for it");
                verbosity.warn(why);
                EPHEMERAL
            });
            filter
                .excluded
                .push(PortSpec::of_range(range, Protocol::Udp));
        }
        let wanted = |protocol, family| filter.wants_table(protocol, family);
        Source {
            netlink: is_netlink.then(|| Netlink::new(wanted)),
            ss,
            proc_net: ProcNet::new(&tables, verbosity, wanted),
            falls_back,
            lookup: processes.then(|| Lookup::new(proc_root, holders::name)),
            filter,
            verbosity,
            details: Details::default(),
            cost: Duration::ZERO,
            another_look: Snapshot::default(),
            second_looks: SecondLooks::default(),
            answered: Answered::ProcNet,
        }
    }

    /// Fills `snapshot` with the listeners of this moment that pass the filter.
    ///
    /// One who polls again and again and knows listeners already may say so:
    /// that is cheaper, but an open may be seen one poll later. See
    /// [`ProcNet::read`].
    ///
    /// # Errors
    /// When no source that may answer gave a complete answer; `snapshot` is
    /// then empty.
    pub fn poll(
        &mut self,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<(), SourceError> {
        let started = Instant::now();
        self.answered = Answered::ProcNet;
        let (result, waited) = self.ask(known, snapshot);
        if self.answered != Answered::ProcNet {
            self.proc_net.rely_on(snapshot);
        }
        // The kernel lists a UDP socket while it is being bound, without a port.
        snapshot.retain(|listener| listener.endpoint.port != 0 && self.filter.matches(listener));
        self.cost += started.elapsed().saturating_sub(waited);
        result
    }

    /// Looks again for listeners that a poll missed, and adds to `snapshot`
    /// what it finds. `missing` counts those that a snapshot lacks. What is then
    /// missing still is gone: the last [`LOOKS_IN_VAIN`] looks have found nothing
    /// more, or there were [`MOST_LOOKS`] and none has found it.
    ///
    /// The kernel's listing is not atomic over several reads. It finds its
    /// place in a UDP table again by counting rows, so when sockets close
    /// while it is read, as many others are passed over, and often the same
    /// ones twice: hence so many looks.
    ///
    /// A look that another source answers replaces the snapshot: one is of one
    /// source.
    ///
    /// # Errors
    /// As [`Source::poll`], but `snapshot` keeps what it has.
    pub fn look_again(
        &mut self,
        snapshot: &mut Snapshot,
        missing: impl Fn(&Snapshot) -> usize,
    ) -> Result<(), SourceError> {
        let at_first = missing(snapshot);
        let mut left = at_first;
        let mut in_vain = 0;
        let mut another_look = std::mem::take(&mut self.another_look);
        let mut result = Ok(());
        for _ in 0..MOST_LOOKS {
            if left == 0 || in_vain == LOOKS_IN_VAIN || result.is_err() {
                break;
            }
            let answered = self.answered;
            result = self.poll(None, &mut another_look);
            if result.is_ok() && self.answered != answered {
                std::mem::swap(snapshot, &mut another_look);
                left = missing(snapshot);
                in_vain = 0;
            } else {
                snapshot.add_missing(&another_look);
                let before = std::mem::replace(&mut left, missing(snapshot));
                in_vain = if left < before { 0 } else { in_vain + 1 };
            }
        }
        self.another_look = another_look;
        self.second_looks.taken += u64::from(at_first > 0);
        self.second_looks.needed += u64::from(left < at_first);
        result
    }

    /// Whether listeners of this family are asked for.
    pub fn wants(&self, family: Family) -> bool {
        self.filter.family.is_none_or(|only| only == family)
    }

    /// How often [`Source::look_again`] had to look so far, and found something.
    pub fn second_looks(&self) -> SecondLooks {
        self.second_looks
    }

    /// What polls have cost since this was last asked: the time they took, less
    /// the time in which they did nothing but wait for an ss that did not finish.
    pub fn take_cost(&mut self) -> Duration {
        std::mem::take(&mut self.cost)
    }

    /// A file that the last answer had to leave out although listeners of
    /// `port` may stand in it.
    pub fn left_out(&self, port: &RequiredPort) -> Option<&Path> {
        let protocol = port.protocol();
        [Family::V4, Family::V6]
            .into_iter()
            .filter(|family| {
                self.answered == Answered::ProcNet && port.may_stand_in(protocol, *family)
            })
            .find_map(|family| self.proc_net.left_out(protocol, family))
    }

    /// Names the processes that hold the listeners of `snapshot`, if that is
    /// asked for. True if any may be others than at the last call. Listeners that
    /// are `known` have been through it before.
    pub fn find_processes(&mut self, known: &Snapshot, snapshot: &mut Snapshot) -> bool {
        let by_ss = self.lookup.is_some() && self.answered == Answered::Ss;
        let is_unheld = |listener: &Listener| listener.processes.is_empty();
        let is_new = |listener: &Listener| known.sockets_of(listener.identity()).is_empty();
        let mut listeners = snapshot.listeners().iter();
        if by_ss && listeners.any(|listener| is_unheld(listener) && is_new(listener)) {
            self.ask_for_processes_again(snapshot);
        }
        let Some(lookup) = &mut self.lookup else {
            return false;
        };
        let started = Instant::now();
        let found_new = lookup.look_for(snapshot.listeners());
        snapshot.set_processes(|listener| lookup.holders_of(listener));
        if by_ss {
            snapshot.set_processes(|listener| ss::with_whole_names(&listener.processes));
        }
        if snapshot.listeners().iter().any(is_unheld) {
            let message = format_args!(
                "no process was found for some listeners (to see those of other users takes \
                 root with CAP_SYS_PTRACE, and a /proc that shows them)"
            );
            self.details.say_once(self.verbosity, message);
        }
        self.cost += started.elapsed();
        found_new || by_ss
    }

    /// ss looks at the processes before it looks at the sockets, so one that
    /// opened between has none.
    fn ask_for_processes_again(&mut self, snapshot: &mut Snapshot) {
        let mut another_look = std::mem::take(&mut self.another_look);
        if self.poll(None, &mut another_look).is_ok() {
            snapshot.set_processes(|listener| match listener.processes.is_empty() {
                true => Processes::of_all(another_look.sockets_of(listener.identity())),
                false => listener.processes.clone(),
            });
        }
        self.another_look = another_look;
    }

    /// The answer, and how long was waited for one that never came.
    fn ask(
        &mut self,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> (Result<(), SourceError>, Duration) {
        if let Some(result) = self.ask_netlink(snapshot) {
            return (result, Duration::ZERO);
        }
        let proc_net = &mut self.proc_net;
        let Some(ss) = &mut self.ss else {
            let answer = snapshot.refill(|listeners| proc_net.read(known, listeners));
            return (answer.map_err(SourceError::Proc), Duration::ZERO);
        };
        let (failure, waited) = match snapshot.refill(|listeners| ss.read(listeners)) {
            Ok(()) if snapshot.listeners().is_empty() => (SsError::NoRows, Duration::ZERO),
            Ok(()) => {
                self.answered = Answered::Ss;
                return (Ok(()), Duration::ZERO);
            }
            Err(SsError::TimedOut) => (SsError::TimedOut, ss::DEADLINE),
            Err(error) => (error, Duration::ZERO),
        };
        (self.ask_proc_for_ss(failure, known, snapshot), waited)
    }

    /// `None` where netlink is not asked, or no longer.
    fn ask_netlink(&mut self, snapshot: &mut Snapshot) -> Option<Result<(), SourceError>> {
        let netlink = self.netlink.as_mut()?;
        match snapshot.refill(|listeners| netlink.read(listeners)) {
            Ok(()) => {
                self.answered = Answered::Netlink;
                Some(Ok(()))
            }
            Err(error) if error.may_pass() => Some(Err(SourceError::Netlink(error))),
            Err(error) => {
                let message = format_args!("{error}; reading /proc/net instead");
                self.verbosity.warn(message);
                self.netlink = None;
                None
            }
        }
    }

    /// Lets `/proc` answer where ss failed, or confirm that there is nothing:
    /// ss prints its header alone, and exits 0, also where it can read neither
    /// netlink nor `/proc`.
    fn ask_proc_for_ss(
        &mut self,
        failure: SsError,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<(), SourceError> {
        let unconfirmed = matches!(failure, SsError::NoRows);
        if !self.falls_back && !unconfirmed {
            return Err(SourceError::Ss(failure));
        }
        let proc_net = &mut self.proc_net;
        if let Err(error) = snapshot.refill(|listeners| proc_net.read(known, listeners)) {
            return Err(SourceError::Both(failure, error));
        }
        if unconfirmed && snapshot.listeners().is_empty() {
            return Ok(());
        }
        if !self.falls_back {
            snapshot.retain(|_| false);
            return Err(SourceError::SsContradicted);
        }
        let message = format_args!("{failure}; reading /proc/net instead");
        self.details.say_once(self.verbosity, message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_directory_of_a_process_stands_for_the_proc_that_it_is_in() {
        let host = tempfile::TempDir::new().unwrap();
        let process = host.path().join("12");
        fs::create_dir(&process).unwrap();
        fs::write(process.join("comm"), "init\n").unwrap();
        for (given, expected) in [
            ("/proc".as_ref(), "/proc".as_ref()),
            ("/proc/self".as_ref(), "/proc".as_ref()),
            (process.as_path(), host.path()),
            (
                "fixtures/proc/no-ipv6".as_ref(),
                "fixtures/proc/no-ipv6".as_ref(),
            ),
        ] {
            assert_eq!(proc_root(given), expected);
        }
    }
}
