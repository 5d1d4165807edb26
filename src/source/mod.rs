//! The sources of snapshots: `ss`, netlink if ss fails, and `/proc` if netlink fails, too.
//!
//! - [`ss`] runs `ss -lntu` and parses its output.
//! - [`procnet`] reads the tables of `/proc/net`.
//! - [`netlink`] asks the kernel's inet_diag.
//! - [`fallback`] tries these three in order.
//! - [`namespaces`] reads every network namespace in which a process runs or that is mounted.
//! - [`containers`] finds the control groups of listeners, and the ids of their containers.
//!   [`names`] finds the names of these containers, and [`proxies`] the containers that
//!   docker-proxy leads to.
//! - [`inodes`] finds the inodes or the owners of the listeners that ss prints.
//! - [`holders`] finds the processes that hold sockets.
//! - [`tree`] finds the sockets that a process and its descendants hold.
//! - [`complete`] repeats a listing that took several reads until it is complete.
//! - [`gaps`] describes what a snapshot may lack, and [`error`] why there is no snapshot.
//! - [`unix`] asks the kernel's unix_diag whether Unix sockets listen.
//! - [`tables`] has a type for sets of tables, and one for tables that may hold more listeners
//!   than were read.
//! - [`turns`] limits how much of a poll one network namespace may take.
//! - [`place`] finds `/proc`.
//!
//! A caller asks [`Source`] and gets a complete snapshot or an error. Other modules decide
//! what is printed and when to poll again.

pub mod complete;
pub mod containers;
pub mod error;
pub mod fallback;
pub mod gaps;
pub mod holders;
pub mod inodes;
pub mod json;
pub mod names;
pub mod namespaces;
pub mod netlink;
pub mod place;
pub mod procnet;
pub mod proxies;
pub mod ss;
pub mod tables;
pub mod tree;
pub mod turns;
pub mod unix;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::listener::{Protocol, SocketTable};
use crate::port::{Filter, PortSpec};
use crate::report;
use crate::snapshot::Snapshot;
use crate::sys;
use containers::Containers;
pub use error::SourceError;
use fallback::{AnsweredBy, First, OnFailure, Sources};
pub use gaps::Gaps;
use holders::{HolderSearch, Purpose};
use inodes::{Inodes, Unlisted};
use namespaces::Namespaces;
use proxies::Proxies;
use tables::{TableGap, Tables};
use tree::{Tree, TreeError};

/// Which sources may answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// Asks ss. If ss fails, the same poll asks inet_diag, and if that fails, too, reads
    /// `/proc/net`.
    #[default]
    Auto,
    /// Asks inet_diag, and if that fails, reads `/proc/net`. For probes: this choice never
    /// executes a program, so it costs the same everywhere and cannot hang.
    NetlinkOrProc,
    /// Asks only ss.
    Ss,
    /// Reads only the tables in the `net` of this directory: `/proc`, the directory of a
    /// process, or a copy of either. If the directory is a whole `/proc` that is mounted
    /// elsewhere, reads the tables of its process 1.
    Proc(PathBuf),
    /// Asks inet_diag. If the kernel refuses inet_diag, prints a warning and reads `/proc/net`
    /// for the rest of the run.
    Netlink,
    /// Reads every network namespace in which a process in `/proc` runs, and every mounted
    /// one.
    AllNamespaces {
        /// Whether to ask inet_diag if that is allowed. If false, every namespace is read from
        /// `/proc/PID/net`.
        asks_netlink: bool,
    },
}

impl SourceChoice {
    /// The choice for a probe, which runs ss only if the user asked for it.
    pub fn for_probe(self) -> SourceChoice {
        match self {
            SourceChoice::Auto => SourceChoice::NetlinkOrProc,
            choice => choice,
        }
    }

    /// The directory whose `net` has the tables of the network namespace to be read.
    fn place(&self) -> PathBuf {
        match self {
            SourceChoice::Proc(root) => place::tables_in(root.clone()),
            _ => place::own(),
        }
    }
}

/// Sets the holders of the listeners of `snapshot` for a message that must not be delayed.
/// Leaves out holders that are not found within 100 milliseconds.
pub fn name_holders(choice: &SourceChoice, snapshot: &mut Snapshot) {
    let place = choice.place();
    holders::name_some(place::proc_root(&place), snapshot);
}

/// Which listeners to find, where to find them, and which details to find about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOptions {
    /// Which sources may answer.
    pub choice: SourceChoice,
    /// Which listeners to find.
    pub filter: Filter,
    /// Whether to find the names of the processes that hold the listeners.
    pub holders: bool,
    /// Whether to find the ids of all processes that hold the listeners.
    pub pids: bool,
    /// If set, finds only the listeners that this process or one of its descendants holds.
    pub root: Option<u32>,
    /// If set, leaves out the listeners that this process or one of its descendants holds.
    pub excluded_root: Option<u32>,
    /// Whether to find the users that own the listeners if the source does not know them.
    pub owners: bool,
    /// The names of excluded processes. A listener is left out if it has holders and each of
    /// them has one of these names.
    pub excluded_holders: Vec<Vec<u8>>,
}

/// A missing listener counts as closed once this many looks in a row found nothing new.
const FRUITLESS_LOOKS: usize = 3;
/// A missing listener also counts as closed after this many looks in one poll, even if they
/// found other listeners.
const MOST_LOOKS: usize = 10;

/// What the caller knows before a poll. By default, nothing.
#[derive(Clone, Copy, Default)]
pub struct Known<'a> {
    /// The listeners that the previous poll found. A namespace that cannot be read this time
    /// keeps its listeners.
    pub listeners: Option<&'a Snapshot>,
    /// Whether the poll may miss a new listener that the next poll will find. This makes the
    /// poll cheaper if `listeners` are given.
    pub may_be_late: bool,
    /// The listeners that the caller expects. The source looks again for those that are
    /// missing.
    pub expected: Option<&'a dyn Expected>,
}

/// The listeners that a caller expects in a snapshot.
pub trait Expected {
    /// Finds the expected listeners that are not in `snapshot`. Adds to `lists` the namespace
    /// id and the protocol of each of them.
    fn find_missing(&self, snapshot: &Snapshot, lists: &mut Vec<(u64, Protocol)>);
}

/// What a poll found out besides the listeners. Its `ended_root` and `gaps` decide whether the
/// listeners are an answer.
#[derive(Debug, Default)]
#[must_use]
pub struct Answer {
    /// The process of [`SourceOptions::root`], if it has ended.
    pub ended_root: Option<u32>,
    /// Whether a later poll may find out more about the same listeners.
    pub may_know_more: bool,
    /// Whether some network namespaces have to wait for a turn in a later poll (see
    /// [`turns`]).
    pub awaits_turns: bool,
    /// The inodes of network namespaces that have ended: the previous poll could not read
    /// them, and this poll found neither a process in them nor a mount of them.
    pub ended_namespaces: Vec<u64>,
    /// What the snapshot may lack.
    pub gaps: Gaps,
}

/// The result of one search for holders.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct HoldersFound {
    /// Whether holders, containers or names of containers may differ from those that were found
    /// before.
    pub may_differ: bool,
    /// Whether holders may be missing.
    pub are_incomplete: bool,
}

/// How often polls had to look again for missing listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SecondLooks {
    /// The number of polls whose first look lacked a listener.
    pub taken: u64,
    /// The number of these polls in which a further look found such a listener.
    pub needed: u64,
}

/// Finds the current listeners at each poll.
#[derive(Debug)]
pub struct Source {
    asked: Asked,
    filter: Filter,
    /// Whether the source may read a network namespace other than that of this process.
    is_elsewhere: bool,
    /// Finds the processes that hold listeners. `None` if holders are not asked for.
    holders: Option<HolderSearch>,
    /// Finds the containers of listeners. `None` if only one network namespace is asked for.
    containers: Option<Containers>,
    proxies: Proxies,
    /// The process of `--of` and its descendants. `None` if the listeners of all processes are
    /// asked for.
    tree: Option<Tree>,
    /// The process of `--exclude-of` and its descendants. `None` if no process is given there.
    excluded: Option<Excluded>,
    looks: Looks,
}

/// The process whose listeners are excluded, and its descendants.
#[derive(Debug)]
struct Excluded {
    tree: Tree,
    /// Why the tree could not be read at the last look. `None` if it could.
    failure: Option<TreeError>,
    said_ended: bool,
}

/// Where a [`Source`] gets its listeners from.
#[derive(Debug)]
enum Asked {
    /// The listeners of one network namespace.
    One(Sources),
    /// The listeners of all network namespaces.
    All(Namespaces),
    /// No listeners, because the process of [`SourceOptions::root`] has ended. It had this id.
    Nothing(u32),
}

/// Says whether a look is the first one of its poll.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    First,
    /// A look for the listeners that earlier looks of the same poll missed.
    Further,
}

/// The looks of one poll.
#[derive(Debug, Default)]
struct Looks {
    /// Whether each poll looks only once. For tests that show what a single look misses.
    are_single: bool,
    /// The namespace id and the protocol of each listener that the current poll lacks.
    lacking: Vec<(u64, Protocol)>,
    count: SecondLooks,
    /// The tables that changed during every read of the current poll.
    unsettled: Tables,
    /// The source that answered the last look.
    answered_by: Option<AnsweredBy>,
}

impl Source {
    /// A source of the listeners that `options` ask for. `path` is the value of `PATH`, in
    /// which ss is searched.
    ///
    /// # Errors
    /// [`SourceError::Tree`] if the sockets of [`SourceOptions::root`] cannot be found, and
    /// [`SourceError::ExcludedTree`] if those of [`SourceOptions::excluded_root`] cannot.
    pub fn new(options: SourceOptions, path: &OsStr) -> Result<Source, SourceError> {
        let SourceOptions {
            choice,
            mut filter,
            holders,
            pids,
            root,
            excluded_root,
            owners,
            excluded_holders,
        } = options;
        let place = choice.place();
        let proc_root = place::proc_root(&place);
        if !filter.excludes_ephemeral.is_empty() {
            let range = place::ephemeral_ports(proc_root);
            for protocol in filter.excludes_ephemeral.drain(..) {
                let ports = PortSpec::range(range.clone(), protocol);
                filter.excluded.push(ports);
            }
        }
        let finds_holders = holders || pids || !excluded_holders.is_empty();
        let tree = root.map(|pid| Tree::new(proc_root, pid, Some(&place)));
        let tree = tree.transpose().map_err(SourceError::Tree)?;
        let excluded = excluded_root.map(|pid| excluded(proc_root, pid));
        let excluded = excluded.transpose()?.flatten();
        let wants = |table: SocketTable| filter.wants(table);
        // A listener that the kernel no longer lists has no inode, so it cannot be assigned
        // to a process.
        let unlisted = match root.is_none() && excluded.is_none() {
            true => Unlisted::Kept,
            false => Unlisted::Removed,
        };
        let inodes = match finds_holders || root.is_some() || excluded.is_some() {
            true => Some(Inodes::new(wants, unlisted)),
            false => owners.then(|| Inodes::only_owners(wants)),
        };
        let one = |first, on_failure| Asked::One(Sources::new(first, &place, on_failure, wants));
        let asked = match choice {
            SourceChoice::Auto => one(First::ss(path, inodes), OnFailure::AskNext),
            SourceChoice::Ss => one(First::ss(path, inodes), OnFailure::Fail),
            SourceChoice::Proc(_) => one(First::ProcNet, OnFailure::Fail),
            SourceChoice::NetlinkOrProc => one(First::Netlink, OnFailure::AskNext),
            SourceChoice::Netlink => one(First::Netlink, OnFailure::Fail),
            SourceChoice::AllNamespaces { asks_netlink } => {
                Asked::All(Namespaces::new(filter.clone(), asks_netlink))
            }
        };
        let purpose = match holders {
            true => Purpose::Show,
            false => Purpose::Exclude,
        };
        let containers = matches!(asked, Asked::All(_)).then(Containers::default);
        Ok(Source {
            asked,
            is_elsewhere: !place::is_own(&place),
            holders: finds_holders.then(|| HolderSearch::new(proc_root, excluded_holders, purpose)),
            containers,
            proxies: Proxies::default(),
            tree,
            excluded,
            filter,
            looks: Looks::default(),
        })
    }

    /// A source without listeners, for a process in [`SourceOptions::root`] that is not
    /// running. The process may have exited just before this program looked or just after, and
    /// both must have the same result. `error` is the error of [`Source::new`].
    ///
    /// # Errors
    /// `error` itself, if it has another reason.
    pub fn ended(error: SourceError) -> Result<Source, SourceError> {
        let root = match error {
            SourceError::Tree(TreeError::Ended(root)) => root,
            SourceError::Tree(TreeError::NoProcess(root)) => {
                report::warn(format_args!("{error}; assuming that it has exited"));
                root
            }
            _ => return Err(error),
        };
        Ok(Source {
            asked: Asked::Nothing(root),
            filter: Filter::default(),
            is_elsewhere: false,
            holders: None,
            containers: None,
            proxies: Proxies::default(),
            tree: None,
            excluded: None,
            looks: Looks::default(),
        })
    }

    /// Returns this source, changed to look only once per poll. For tests that show what a
    /// single look misses.
    pub fn without_second_looks(mut self) -> Source {
        self.looks.are_single = true;
        self
    }

    /// The filter of the options, with the range of ephemeral ports if these are excluded.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Fills `snapshot` with the current listeners that pass the filter, and returns what else
    /// the poll found out. Listeners that only excluded processes hold are removed later, by
    /// [`Source::find_holders`].
    ///
    /// # Errors
    /// If there is no complete answer. The snapshot must then not be used.
    pub fn poll(
        &mut self,
        known: Known<'_>,
        snapshot: &mut Snapshot,
    ) -> Result<Answer, SourceError> {
        self.looks.unsettled = Tables::default();
        if let Asked::All(namespaces) = &mut self.asked {
            namespaces.start_poll();
        }
        if let Some(tree) = &mut self.tree {
            tree.start_poll();
        }
        self.look(known, snapshot, Look::First)?;
        if let Some(expected) = known.expected
            && !self.looks.are_single
        {
            self.look_again(known, snapshot, expected)?;
        }
        let answer = self.answer();
        if let Some(listeners) = known.listeners {
            keep_known(&answer, listeners, snapshot);
        }
        Ok(answer)
    }

    /// Collects the answer of a poll after its last look.
    fn answer(&mut self) -> Answer {
        let mut answer = Answer::default();
        match &mut self.asked {
            Asked::All(namespaces) => {
                answer.gaps.tables = namespaces.table_gaps().to_vec();
                answer.gaps.unreadable = namespaces.unreadable().to_vec();
                answer.gaps.hides_namespaces = namespaces.is_partial();
                answer.ended_namespaces = namespaces.ended();
                answer.awaits_turns = namespaces.awaits_turns();
            }
            Asked::Nothing(root) => answer.ended_root = Some(*root),
            Asked::One(sources) => {
                let answered_by = self.looks.answered_by.unwrap_or(AnsweredBy::ProcNet);
                answer.may_know_more = sources.may_know_more(answered_by);
                if answered_by == AnsweredBy::ProcNet {
                    answer.gaps.tables = sources.proc_net().gaps();
                }
            }
        }
        let unsettled = TableGap::all_unsettled(self.looks.unsettled);
        answer.gaps.tables.extend(unsettled);
        // `tcp` is read even if no TCP listeners are asked for, so drop the gaps of tables
        // that nobody asked for.
        let tables = &mut answer.gaps.tables;
        tables.retain(|gap| self.filter.wants(gap.table));
        answer.may_know_more |= answer.gaps.passing().next().is_some();
        if let Some(tree) = &mut self.tree {
            answer.ended_root = tree.ended_root();
            answer.gaps.doubt = tree.take_doubt();
        }
        if let Some(excluded) = &mut self.excluded {
            answer.gaps.exclusion = excluded.doubt();
        }
        answer
    }

    /// Finds the processes that hold the listeners of `snapshot`, if holders are asked for,
    /// and removes listeners that only excluded processes hold. With `--all-namespaces`, also
    /// sets the names of containers.
    pub fn find_holders(&mut self, snapshot: &mut Snapshot) -> HoldersFound {
        let holders = self.holders.as_mut();
        let mut may_differ = holders.is_some_and(|holders| holders.find(snapshot));
        if let Some(containers) = &mut self.containers {
            containers.set_groups_of_holders(snapshot);
            may_differ |= self.proxies.set(snapshot, &mut || containers.root());
            may_differ |= containers.set_names(snapshot);
        }
        HoldersFound {
            may_differ,
            are_incomplete: self
                .holders
                .as_ref()
                .is_some_and(HolderSearch::is_incomplete),
        }
    }

    /// The ids of all processes that hold a listener of `snapshot`, sorted and without
    /// duplicates. [`Source::find_holders`] must have searched for them.
    pub fn pids_of(&self, snapshot: &Snapshot) -> Vec<u64> {
        let search = self.holders.as_ref();
        search.map_or(Vec::new(), |search| search.pids_of(snapshot.listeners()))
    }

    /// Whether the source may read a network namespace other than that of this process.
    pub fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// Whether [`Source::find_holders`] removes listeners.
    pub fn excludes_holders(&self) -> bool {
        self.holders
            .as_ref()
            .is_some_and(HolderSearch::excludes_any)
    }

    /// How often polls have had to look again so far.
    pub fn second_looks(&self) -> SecondLooks {
        self.looks.count
    }

    /// Fills `snapshot` with what one look finds. The first look of a poll repeats the listing
    /// until it is complete.
    ///
    /// # Errors
    /// If there is no complete answer. The snapshot must then not be used.
    fn look(
        &mut self,
        known: Known<'_>,
        snapshot: &mut Snapshot,
        look: Look,
    ) -> Result<(), SourceError> {
        let is_first = look == Look::First;
        self.looks.answered_by = None;
        let mut result = match &mut self.asked {
            Asked::All(namespaces) => {
                let lacking = (!is_first).then_some(&self.looks.lacking[..]);
                let read = snapshot
                    .refill(|listeners| namespaces.read(known.listeners, lacking, listeners));
                read.map_err(SourceError::Namespaces)
            }
            Asked::Nothing(_) => {
                snapshot.clear();
                Ok(())
            }
            Asked::One(sources) => {
                let listeners = known.listeners.filter(|_| known.may_be_late);
                let read = sources.read(listeners, snapshot);
                read.map(|answered_by| self.looks.answered_by = Some(answered_by))
            }
        };
        if result.is_ok() && is_first && !self.looks.are_single {
            result = self.complete(snapshot);
        }
        // While a UDP socket is being bound, the kernel lists it with port 0.
        snapshot.retain(&|listener| listener.endpoint.port != 0 && self.filter.matches(listener));
        if let Some(excluded) = &mut self.excluded {
            excluded.leave_out(snapshot);
        }
        if let Some(containers) = &mut self.containers {
            if is_first {
                containers.limit_groups_of_sockets(snapshot);
            }
            containers.set_groups_of_sockets(snapshot);
        }
        let Some(tree) = &mut self.tree else {
            return result;
        };
        match result {
            Ok(()) => tree.retain_held(snapshot).map_err(SourceError::Tree),
            Err(_) if tree.explains_error() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Repeats the listing of one network namespace until it is complete. With several
    /// namespaces, [`Namespaces`] repeats the listing of each one itself.
    fn complete(&mut self, snapshot: &mut Snapshot) -> Result<(), SourceError> {
        let Asked::One(sources) = &mut self.asked else {
            return Ok(());
        };
        let answered_by = &mut self.looks.answered_by;
        let mut result = Ok(());
        let split = sources.split();
        let mut read = |another: &mut Snapshot| match sources.read(None, another) {
            Ok(source) => {
                *answered_by = Some(source);
                Some(sources.split())
            }
            Err(error) => {
                result = Err(error);
                None
            }
        };
        let unsettled = complete::complete(snapshot, split, &mut read);
        self.looks.unsettled = unsettled.unwrap_or_default();
        result
    }

    /// Looks again for missing listeners, and adds those that it finds to `snapshot`. A
    /// listener counts as closed if it is still missing after [`FRUITLESS_LOOKS`] looks in a
    /// row that found nothing new, or after [`MOST_LOOKS`] looks.
    ///
    /// A further look may be answered by another source. It does not matter which source
    /// found a listener: one complete look that lists it shows that it is open.
    fn look_again(
        &mut self,
        known: Known<'_>,
        snapshot: &mut Snapshot,
        expected: &dyn Expected,
    ) -> Result<(), SourceError> {
        let missed = self.looks.find_missing(snapshot, expected);
        let mut left = missed;
        let mut fruitless = 0;
        let mut another = Snapshot::default();
        let known = Known {
            may_be_late: false,
            ..known
        };
        let mut result = Ok(());
        for _ in 0..MOST_LOOKS {
            if left == 0 || fruitless == FRUITLESS_LOOKS || result.is_err() {
                break;
            }
            result = self.look(known, &mut another, Look::Further);
            snapshot.add_missing(&another);
            let last = std::mem::replace(&mut left, self.looks.find_missing(snapshot, expected));
            fruitless = if left < last { 0 } else { fruitless + 1 };
        }
        self.looks.count.taken += u64::from(missed > 0);
        self.looks.count.needed += u64::from(left < missed);
        result
    }
}

/// Adds to `snapshot` the `known` listeners of each table that may hide listeners, because
/// nothing shows that they have closed.
fn keep_known(answer: &Answer, known: &Snapshot, snapshot: &mut Snapshot) {
    let hides = |table| {
        let mut gaps = answer.gaps.tables.iter();
        gaps.any(|gap| gap.hides_listeners && gap.table == table)
    };
    if answer.ended_root.is_some() || !SocketTable::ALL.into_iter().any(hides) {
        return;
    }
    let mut kept = known.clone();
    kept.retain(&|listener| hides(listener.table()));
    snapshot.add_missing(&kept);
}

/// The process with this id, whose listeners are to be excluded. If the process has ended,
/// there is nothing to exclude: warns and returns `None`.
fn excluded(proc_root: &Path, pid: u32) -> Result<Option<Excluded>, SourceError> {
    match Tree::new(proc_root, pid, None) {
        Ok(tree) => Ok(Some(Excluded {
            tree,
            failure: None,
            said_ended: false,
        })),
        Err(error) => {
            let has_ended = matches!(error, TreeError::Ended(_) | TreeError::NoProcess(_));
            let error = SourceError::ExcludedTree(error);
            if !has_ended {
                return Err(error);
            }
            report::warn(format_args!("{error}; leaving out nothing"));
            Ok(None)
        }
    }
}

impl Excluded {
    /// Removes the listeners of the excluded process from `snapshot`.
    fn leave_out(&mut self, snapshot: &mut Snapshot) {
        // Listing all namespaces may have taken long, so the deadline starts only now.
        self.tree.start_poll();
        self.failure = self.tree.remove_held(snapshot).err();
        if let Some(pid) = self.tree.ended_root()
            && !std::mem::replace(&mut self.said_ended, true)
        {
            report::warn(format_args!(
                "--exclude-of: process {pid} has ended; what opens from now on is shown"
            ));
        }
    }

    /// Why the last snapshot may still have listeners of the excluded process. `None` if all
    /// of them were removed.
    fn doubt(&mut self) -> Option<String> {
        let reason = self
            .tree
            .take_doubt()
            .reason_for(|_| true)
            .map(String::from);
        let failure = self.failure.take();
        let failure = failure.map(|error| error.reason());
        reason.or(failure)
    }
}

impl Looks {
    /// Records which expected listeners are missing from `snapshot`, and returns their number.
    fn find_missing(&mut self, snapshot: &Snapshot, expected: &dyn Expected) -> usize {
        sys::shrink_after_peak(&mut self.lacking);
        self.lacking.clear();
        expected.find_missing(snapshot, &mut self.lacking);
        self.lacking.len()
    }
}
