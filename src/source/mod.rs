//! Where a snapshot comes from, and which source may answer: `ss` or netlink, and
//! where they fail, `/proc`.
//!
//! - [`ss`] runs `ss -lntu` and reads its lines.
//! - [`procnet`] reads the tables of `/proc/net`.
//! - [`netlink`] asks the kernel's inet_diag.
//! - [`holders`] finds the processes that hold sockets.
//! - [`tree`] finds the sockets that a process and its descendants hold.
//! - [`namespaces`] asks every network namespace in which a process runs.
//!
//! A caller asks [`Source`] and gets a complete snapshot or an error. What is
//! printed, and when to ask again, is not decided here.

pub mod holders;
pub mod namespaces;
pub mod netlink;
pub mod procnet;
pub mod ss;
pub mod tree;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::listener::{Holders, Listener, SocketTable};
use crate::port::{self, Filter, PortSpec};
use crate::report::{self, Details};
use crate::snapshot::Snapshot;
use holders::Lookup;
use namespaces::{Namespaces, NamespacesError, Unreadable};
use netlink::{Netlink, NetlinkError};
use procnet::{ProcError, ProcNet};
use ss::run::{self, RunError};
use ss::{Ss, SsDetails, SsError};
use tree::{Tree, TreeError};

/// Which sources may answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// ss, and where it fails, `/proc/net`, at every poll.
    #[default]
    Auto,
    /// inet_diag, and where it fails, `/proc/net`. For probes: it never executes a
    /// program, so it costs the same everywhere and cannot hang.
    NetlinkOrProc,
    /// ss only.
    Ss,
    /// Only the tables in `net` below this directory: `/proc`, where those of this
    /// process are, the directory of a process, or one like it. Of a whole `/proc` that
    /// is mounted elsewhere, those of its process 1.
    Proc(PathBuf),
    /// inet_diag. Where it is refused, `/proc/net` for the rest of the run, after a
    /// warning.
    Netlink,
    /// Every network namespace in which a process runs. `/proc` of this process lists
    /// them.
    AllNamespaces {
        /// Ask inet_diag where that is allowed, and read `/proc/PID/net` elsewhere.
        asks_netlink: bool,
    },
}

/// Which listeners are asked for, where, and what about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// Which sources may answer.
    pub choice: SourceChoice,
    /// Which listeners are asked for.
    pub filter: Filter,
    /// Whether to find the processes that hold them, to name them.
    pub holders: bool,
    /// Only listeners that this process holds, or one that descends from it.
    pub of: Option<u32>,
    /// Not the listeners all of whose holders have one of these names.
    pub excluded_holders: Vec<Vec<u8>>,
}

/// Where the tables of this process's own network namespace are.
const OWN: &str = "/proc";

/// The kernel's default range of ephemeral ports, taken where its setting cannot
/// be read (`Documentation/networking/ip-sysctl.rst`).
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;

/// What is said where network namespaces cannot be seen or read.
pub const NAMESPACES_MISSING: &str = "network namespaces may be missing";

/// A missing listener is gone once this many looks in a row found nothing new.
const FRUITLESS_LOOKS: usize = 3;
/// It is also gone after this many looks, whatever else they found.
const MOST_LOOKS: usize = 10;

/// What a caller knows before a poll. By default, nothing.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// The listeners that a caller who polls again knows. A namespace that cannot be read
    /// keeps its own of them.
    pub listeners: Option<&'a Snapshot>,
    /// An open may be seen one poll later. A poll of known `listeners` is then cheaper.
    pub may_be_late: bool,
    /// Finds the listeners that a snapshot should hold and lacks. The source looks again
    /// for them.
    pub missing: Option<Missing<'a>>,
}

/// Passes on, for each listener that a snapshot lacks, the namespace of its identity.
pub type Missing<'a> = &'a dyn Fn(&Snapshot, &mut dyn FnMut(u64));

/// What became of one poll.
#[derive(Debug)]
#[must_use]
pub struct Poll {
    /// Whether the snapshot is complete.
    pub result: Result<(), SourceError>,
    /// The time that it took, without the time spent waiting for an ss that did
    /// not finish.
    pub cost: Duration,
}

/// What became of one search for holders.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct HolderSearch {
    /// Whether the holders may differ from those of the last search.
    pub may_differ: bool,
    /// The time that it took.
    pub cost: Duration,
}

/// How often polls had to look again for missing listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondLooks {
    /// Polls that lacked a listener.
    pub taken: u64,
    /// Those of them in which a further look found one.
    pub needed: u64,
}

/// Gives the listeners of one moment, as often as it is asked.
#[derive(Debug)]
pub struct Source {
    /// `None` if it is not asked, or after it was refused.
    netlink: Option<Netlink>,
    ss: Option<Ss>,
    ss_names_holders: bool,
    proc_net: ProcNet,
    is_elsewhere: bool,
    /// Whether `/proc` may answer where another source fails.
    falls_back: bool,
    filter: Filter,
    /// `None` if holders are not asked for.
    lookup: Option<Lookup>,
    /// `None` if the listeners of all processes are asked for.
    tree: Option<Tree>,
    /// `None` if one namespace is looked at. No other source is asked otherwise.
    namespaces: Option<Namespaces>,
    details: Details,
    warned_of_unheld: bool,
    warned_of_deadline: bool,
    another_look: Snapshot,
    /// The id of the namespace of each listener that the current poll lacks.
    lacking: Vec<u64>,
    looks_again: bool,
    second_looks: SecondLooks,
    /// The source of the last snapshot.
    answered_by: SourceKind,
    /// How long the current poll has waited for an ss that did not finish.
    waited: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceKind {
    Ss,
    ProcNet,
    Netlink,
    Namespaces,
}

/// Why no source gave a complete snapshot.
#[derive(Debug)]
pub enum SourceError {
    /// `/proc` was the only source.
    Proc(ProcError),
    /// ss was the only source.
    Ss(SsError),
    /// ss was the only source. It printed no listeners, but `/proc` lists some.
    SsContradicted,
    /// ss was asked, then `/proc`.
    SsAndProc(SsError, ProcError),
    /// Netlink was the only source. It may answer at the next poll.
    Netlink(NetlinkError),
    /// Netlink was asked, then `/proc`.
    NetlinkAndProc(NetlinkError, ProcError),
    /// It cannot be told which listeners the process and its descendants hold.
    Tree(TreeError),
    /// No network namespace can be read.
    Namespaces(NamespacesError),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Proc(error) => error.fmt(f),
            SourceError::Ss(error) => error.fmt(f),
            SourceError::SsContradicted => {
                write!(f, "{}, but /proc/net lists some", SsError::NoRows)
            }
            SourceError::SsAndProc(ss, proc_net) => write!(f, "{ss}; {proc_net}"),
            SourceError::Netlink(error) => error.fmt(f),
            SourceError::NetlinkAndProc(netlink, proc_net) => write!(f, "{netlink}; {proc_net}"),
            SourceError::Tree(error) => error.fmt(f),
            SourceError::Namespaces(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SourceError {}

/// Where the tables of `root` are: `/proc`, however it is spelled, or elsewhere. Below a
/// whole `/proc`, `net` follows the reader, so if it is mounted elsewhere than at `/proc`,
/// its process 1 is meant.
fn place(root: PathBuf) -> PathBuf {
    // This needs no look, which can fail.
    if root.as_os_str() == OWN {
        return root;
    }
    // std's `canonicalize` is larger.
    let is_link_to_own = || {
        let opened = File::open(&root)?;
        let real = fs::read_link(format!("{OWN}/self/fd/{}", opened.as_raw_fd()))?;
        Ok::<_, io::Error>(real.as_os_str() == OWN)
    };
    // As it is spelled by default it needs no look, which could fail.
    if root == Path::new(OWN) || is_link_to_own().unwrap_or(false) {
        OWN.into()
    } else if root.join("self").is_symlink() {
        root.join("1")
    } else {
        root
    }
}

/// The `/proc` that `root` is, or that the directory of a process is in.
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
    /// A source of the listeners that `options` ask for. `path` is the value of
    /// `PATH`, in which ss is looked for.
    ///
    /// # Errors
    /// [`SourceError::Tree`] if the process of [`SourceOptions::of`] cannot be
    /// followed.
    pub fn new(options: SourceOptions, path: &OsStr) -> Result<Source, SourceError> {
        let SourceOptions {
            choice,
            mut filter,
            holders,
            of,
            excluded_holders,
        } = options;
        let asks_ss = matches!(choice, SourceChoice::Auto | SourceChoice::Ss);
        let asks_netlink = matches!(choice, SourceChoice::Netlink | SourceChoice::NetlinkOrProc);
        let falls_back = matches!(choice, SourceChoice::Auto | SourceChoice::NetlinkOrProc);
        let of_all = match choice {
            SourceChoice::AllNamespaces { asks_netlink } => Some(asks_netlink),
            _ => None,
        };
        let tables = match choice {
            SourceChoice::Proc(root) => place(root),
            _ => PathBuf::from(OWN),
        };
        if !filter.excludes_ephemeral.is_empty() {
            let range = ephemeral_ports(proc_root(&tables));
            for protocol in filter.excludes_ephemeral.drain(..) {
                let ports = PortSpec::of_range(range.clone(), protocol);
                filter.excluded.push(ports);
            }
        }
        let tree = of
            .map(|pid| Tree::new(proc_root(&tables), pid, &tables))
            .transpose();
        // What is decided about a socket once must be known by its inode.
        let by_inode = of.is_some() || !excluded_holders.is_empty();
        let ss_details = match (by_inode, holders) {
            (true, _) => SsDetails::Inodes,
            (false, true) => SsDetails::Holders,
            (false, false) => SsDetails::None,
        };
        let namespaces = of_all.map(|asks_netlink| Namespaces::new(filter.clone(), asks_netlink));
        Ok(Source {
            netlink: asks_netlink.then(|| Netlink::new(|table| filter.wants(table))),
            ss: asks_ss.then(|| Ss::in_path(path, ss_details)),
            ss_names_holders: ss_details == SsDetails::Holders,
            proc_net: ProcNet::new(&tables, |table| filter.wants(table)),
            is_elsewhere: tables.as_os_str() != OWN,
            falls_back,
            lookup: (holders || !excluded_holders.is_empty())
                .then(|| Lookup::new(proc_root(&tables), excluded_holders)),
            tree: tree.map_err(SourceError::Tree)?,
            namespaces,
            filter,
            details: Details::default(),
            // Without a column of processes none is empty.
            warned_of_unheld: !holders,
            warned_of_deadline: false,
            another_look: Snapshot::default(),
            lacking: Vec::new(),
            looks_again: true,
            second_looks: SecondLooks::default(),
            answered_by: SourceKind::ProcNet,
            waited: Duration::ZERO,
        })
    }

    /// The same source, but one that never looks again. For tests that show what
    /// would be missed then.
    pub fn without_second_looks(self) -> Source {
        Source {
            looks_again: false,
            ..self
        }
    }

    /// Fills `snapshot` with the listeners of this moment that pass the filter. On
    /// an error the snapshot is of no use.
    pub fn poll(&mut self, known: Known<'_>, snapshot: &mut Snapshot) -> Poll {
        let started = Instant::now();
        self.waited = Duration::ZERO;
        if let Some(namespaces) = &mut self.namespaces {
            namespaces.start_poll();
        }
        let mut result = self.look(known, snapshot, true);
        if let Some(missing) = known.missing
            && self.looks_again
            && result.is_ok()
        {
            result = self.look_again(known, snapshot, missing);
        }
        Poll {
            result,
            cost: started.elapsed().saturating_sub(self.waited),
        }
    }

    /// Finds the processes that hold the listeners of `snapshot`, if holders are
    /// asked for, and removes those that only excluded ones hold. Listeners that are
    /// `known` have been searched for before.
    pub fn find_holders(&mut self, known: &Snapshot, snapshot: &mut Snapshot) -> HolderSearch {
        let started = Instant::now();
        let may_differ = self.lookup.is_some() && self.search_holders(known, snapshot);
        HolderSearch {
            may_differ,
            cost: started.elapsed(),
        }
    }

    /// Whether it looks at a place that may be in another network namespace.
    pub fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// Whether [`Source::find_holders`] removes listeners.
    pub fn excludes_holders(&self) -> bool {
        self.lookup.as_ref().is_some_and(Lookup::excludes_any)
    }

    /// Whether a later poll may tell what this one did not: netlink is asked again.
    pub fn may_tell_more(&self) -> bool {
        self.netlink.is_some() && self.answered_by != SourceKind::Netlink
    }

    /// The process of [`SourceOptions::of`], if it has ended before the last poll.
    pub fn ended_root(&self) -> Option<u32> {
        self.tree.as_ref()?.ended_root()
    }

    /// The network namespaces that the last poll could not read. What it knew of them
    /// is in the snapshot.
    pub fn unreadable(&self) -> &[Unreadable] {
        self.namespaces.as_ref().map_or(&[], Namespaces::unreadable)
    }

    /// Whether the last look found a process in the network namespace with this inode.
    pub fn is_there(&self, inode: u64) -> bool {
        let namespaces = self.namespaces.as_ref();
        namespaces.is_some_and(|namespaces| namespaces.is_there(inode))
    }

    /// Why it is not known whether the process of [`SourceOptions::of`] or a descendant
    /// holds a listener that `counts`, if the last poll found such a listener.
    pub fn unknown_holder(&self, counts: &dyn Fn(&Listener) -> bool) -> Option<&str> {
        self.tree.as_ref()?.unknown_holder(counts)
    }

    /// What to say if something may be missing from what was found: network namespaces
    /// that the last poll did not see, listeners of the process that was asked about, or
    /// holders.
    pub fn may_be_missing(&self) -> Option<String> {
        if self.namespaces.as_ref().is_some_and(Namespaces::is_partial) {
            return Some(NAMESPACES_MISSING.into());
        }
        if let Some(reason) = self.unknown_holder(&|_| true) {
            return Some(format!("--of: listeners may be missing: {reason}"));
        }
        let is_incomplete = self.lookup.as_ref().is_some_and(Lookup::is_incomplete);
        is_incomplete.then(|| "holders may be missing".into())
    }

    /// How often polls had to look again so far.
    pub fn second_looks(&self) -> SecondLooks {
        self.second_looks
    }

    /// The file of `table`, if the last poll read `/proc` and this process may not
    /// read that file. Listeners of that table are then missing.
    pub fn forbidden_file(&self, table: SocketTable) -> Option<&Path> {
        match self.answered_by {
            SourceKind::ProcNet => self.proc_net.forbidden_file(table),
            SourceKind::Ss | SourceKind::Netlink | SourceKind::Namespaces => None,
        }
    }

    /// Fills `snapshot`. The first look of a poll also finds what the kernel passed over.
    /// On an error the snapshot is empty.
    fn look(
        &mut self,
        known: Known<'_>,
        snapshot: &mut Snapshot,
        is_first: bool,
    ) -> Result<(), SourceError> {
        self.answered_by = SourceKind::ProcNet;
        let mut result = self.ask(known, snapshot, is_first);
        match self.answered_by {
            SourceKind::ProcNet if is_first && self.looks_again && result.is_ok() => {
                result = self.proc_net.complete(snapshot).map_err(SourceError::Proc);
            }
            SourceKind::ProcNet | SourceKind::Namespaces => {}
            SourceKind::Ss | SourceKind::Netlink => self.proc_net.require_tables_of(snapshot),
        }
        // The kernel lists a UDP socket while it is being bound, with port 0.
        snapshot.retain(|listener| listener.endpoint.port != 0 && self.filter.matches(listener));
        let Some(tree) = &mut self.tree else {
            return result;
        };
        match result {
            Ok(()) => tree.retain_held(snapshot).map_err(SourceError::Tree),
            Err(_) if tree.explains_error() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Looks again for missing listeners and adds those that it finds. What is
    /// still missing then is gone: either the last [`FRUITLESS_LOOKS`] looks found
    /// nothing new, or there were [`MOST_LOOKS`].
    ///
    /// Another source may answer a further look. A listener that any complete look of
    /// this poll has seen was not seen to close, whichever source it came from.
    fn look_again(
        &mut self,
        known: Known<'_>,
        snapshot: &mut Snapshot,
        missing: Missing<'_>,
    ) -> Result<(), SourceError> {
        let at_first = self.find_lacking(snapshot, missing);
        let mut left = at_first;
        let mut fruitless = 0;
        let mut another_look = std::mem::take(&mut self.another_look);
        let known = Known {
            may_be_late: false,
            ..known
        };
        let mut result = Ok(());
        for _ in 0..MOST_LOOKS {
            if left == 0 || fruitless == FRUITLESS_LOOKS || result.is_err() {
                break;
            }
            result = self.look(known, &mut another_look, false);
            snapshot.add_missing(&another_look);
            let before = std::mem::replace(&mut left, self.find_lacking(snapshot, missing));
            fruitless = if left < before { 0 } else { fruitless + 1 };
        }
        self.another_look = another_look;
        self.second_looks.taken += u64::from(at_first > 0);
        self.second_looks.needed += u64::from(left < at_first);
        result
    }

    /// Notes where `snapshot` lacks listeners, and returns how many.
    fn find_lacking(&mut self, snapshot: &Snapshot, missing: Missing<'_>) -> usize {
        self.lacking.clear();
        missing(snapshot, &mut |namespace| self.lacking.push(namespace));
        self.lacking.len()
    }

    /// True if the holders may differ from those of the last search.
    fn search_holders(&mut self, known: &Snapshot, snapshot: &mut Snapshot) -> bool {
        let by_ss = self.answered_by == SourceKind::Ss && self.ss_names_holders;
        let is_unheld = |listener: &Listener| listener.holders.is_empty();
        let is_new = |listener: &Listener| known.sockets_of(listener.identity()).is_empty();
        let mut listeners = snapshot.listeners().iter();
        if by_ss && listeners.any(|listener| is_unheld(listener) && is_new(listener)) {
            self.ask_for_holders_again(snapshot);
        }
        let Some(lookup) = &mut self.lookup else {
            return false;
        };
        let found_new = lookup.look_for(snapshot.listeners());
        snapshot.set_holders(|listener| lookup.holders_of(listener));
        if by_ss {
            snapshot.set_holders(|listener| ss::with_whole_names(&listener.holders));
        }
        if lookup.is_incomplete() {
            if !std::mem::replace(&mut self.warned_of_deadline, true) {
                let seconds = holders::DEADLINE.as_secs();
                report::warn(format_args!(
                    "some processes were not searched for holders: a search ends after {seconds} s"
                ));
            }
        } else if snapshot.listeners().iter().any(is_unheld)
            && !std::mem::replace(&mut self.warned_of_unheld, true)
        {
            // Else they closed before the look-up, or belong to what /proc does not show.
            let say = match lookup.is_refused_some() {
                true => report::warn,
                false => report::detail,
            };
            say(format_args!(
                "no process was found for some listeners (to see those of other users takes \
                 root with CAP_SYS_PTRACE, and a /proc that shows them)"
            ));
        }
        snapshot.retain(|listener| !lookup.excludes(listener));
        found_new || by_ss
    }

    /// ss reads the processes before it reads the sockets. So a socket that opened
    /// in between has no holders in its answer.
    fn ask_for_holders_again(&mut self, snapshot: &mut Snapshot) {
        let mut another_look = std::mem::take(&mut self.another_look);
        if self
            .look(Known::default(), &mut another_look, false)
            .is_ok()
        {
            snapshot.set_holders(|listener| match listener.holders.is_empty() {
                true => Holders::of_all(another_look.sockets_of(listener.identity())),
                false => listener.holders.clone(),
            });
        }
        self.another_look = another_look;
    }

    /// Asks the sources in their order.
    fn ask(
        &mut self,
        known: Known<'_>,
        snapshot: &mut Snapshot,
        is_first: bool,
    ) -> Result<(), SourceError> {
        if let Some(namespaces) = &mut self.namespaces {
            self.answered_by = SourceKind::Namespaces;
            let only = (!is_first).then_some(&self.lacking[..]);
            let read =
                snapshot.refill(|listeners| namespaces.read(known.listeners, only, listeners));
            return read.map_err(SourceError::Namespaces);
        }
        let known = known.listeners.filter(|_| known.may_be_late);
        let netlink_error = match self.ask_netlink(snapshot) {
            Some(Ok(())) => return Ok(()),
            Some(Err(error)) if !self.falls_back => return Err(SourceError::Netlink(error)),
            Some(Err(error)) => Some(error),
            None => None,
        };
        let proc_net = &mut self.proc_net;
        let Some(ss) = &mut self.ss else {
            let answer = snapshot.refill(|listeners| proc_net.read(known, listeners));
            return answer.map_err(|error| match netlink_error {
                Some(netlink) => SourceError::NetlinkAndProc(netlink, error),
                None => SourceError::Proc(error),
            });
        };
        let failure = match snapshot.refill(|listeners| ss.read(listeners)) {
            Ok(()) if snapshot.listeners().is_empty() => SsError::NoRows,
            Ok(()) => {
                self.answered_by = SourceKind::Ss;
                return Ok(());
            }
            Err(error) => error,
        };
        if matches!(failure, SsError::Run(RunError::TimedOut)) {
            self.waited += run::DEADLINE;
        }
        self.ask_proc_for_ss(failure, known, snapshot)
    }

    /// `None` if netlink is not asked, or no longer.
    fn ask_netlink(&mut self, snapshot: &mut Snapshot) -> Option<Result<(), NetlinkError>> {
        let netlink = self.netlink.as_mut()?;
        let result = snapshot.refill(|listeners| netlink.read(listeners));
        let Err(error) = &result else {
            self.answered_by = SourceKind::Netlink;
            return Some(Ok(()));
        };
        let is_refused = !error.may_pass();
        if is_refused {
            self.netlink = None;
        }
        let message = format_args!("{error}; reading /proc/net instead");
        if self.falls_back {
            self.details.say_once(message);
        } else if is_refused {
            report::warn(message);
            return None;
        }
        Some(result)
    }

    /// Lets `/proc` answer where ss failed, or confirm that there is nothing. Where
    /// ss can read neither netlink nor `/proc`, it still prints its header and
    /// exits 0.
    fn ask_proc_for_ss(
        &mut self,
        failure: SsError,
        known: Option<&Snapshot>,
        snapshot: &mut Snapshot,
    ) -> Result<(), SourceError> {
        let is_unconfirmed = matches!(failure, SsError::NoRows);
        if !self.falls_back && !is_unconfirmed {
            return Err(SourceError::Ss(failure));
        }
        let proc_net = &mut self.proc_net;
        if let Err(error) = snapshot.refill(|listeners| proc_net.read(known, listeners)) {
            return Err(SourceError::SsAndProc(failure, error));
        }
        if is_unconfirmed && snapshot.listeners().is_empty() {
            return Ok(());
        }
        if !self.falls_back {
            snapshot.clear();
            return Err(SourceError::SsContradicted);
        }
        self.details
            .say_once(format_args!("{failure}; reading /proc/net instead"));
        Ok(())
    }
}

/// The ports that the kernel chooses by itself, by the setting in this `/proc`.
fn ephemeral_ports(proc_root: &Path) -> RangeInclusive<u16> {
    let file = proc_root.join("sys/net/ipv4/ip_local_port_range");
    port::read_range(&file).unwrap_or_else(|| {
        let (file, first, last) = (file.display(), EPHEMERAL.start(), EPHEMERAL.end());
        report::warn(format_args!(
            "{file}: cannot be read; using the default range, {first} to {last}"
        ));
        EPHEMERAL
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
