//! Where a snapshot comes from, and which source may answer: `ss`, or where it fails,
//! netlink, or where that fails too, `/proc`.
//!
//! - [`ss`] runs `ss -lntu` and reads its lines.
//! - [`procnet`] reads the tables of `/proc/net`.
//! - [`netlink`] asks the kernel's inet_diag.
//! - [`fallback`] asks them in their order.
//! - [`namespaces`] asks every network namespace in which a process runs.
//! - [`containers`] finds the control groups of listeners, and the containers they name.
//!   [`names`] finds what these are called.
//! - [`inodes`] finds the sockets of the listeners that ss prints, or their owners.
//! - [`holders`] finds the processes that hold sockets.
//! - [`tree`] finds the sockets that a process and its descendants hold.
//! - [`complete`] reads again what took several reads, until it is complete.
//! - [`gaps`] is what a snapshot may lack, and [`error`] why there is none.
//! - [`unix`] asks the kernel's unix_diag whether Unix sockets listen.
//! - [`tables`] is which tables there are to doubt.
//! - [`turns`] is how much of a poll one network namespace may take.
//! - [`place`] is where `/proc` is.
//!
//! A caller asks [`Source`] and gets a complete snapshot or an error. What is
//! printed, and when to ask again, is not decided here.

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
use fallback::{AnsweredBy, First, Sources};
pub use gaps::Gaps;
use holders::HolderSearch;
use inodes::Inodes;
use namespaces::Namespaces;
use tables::{TableGap, Tables};
use tree::{Tree, TreeError};

/// Which sources may answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SourceChoice {
    /// ss, and where it fails, inet_diag, and then `/proc/net`, at every poll.
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

impl SourceChoice {
    /// The same for a probe, which executes nothing unless it is told to.
    pub fn of_probe(self) -> SourceChoice {
        match self {
            SourceChoice::Auto => SourceChoice::NetlinkOrProc,
            choice => choice,
        }
    }

    /// Where the tables of the network namespace are that is looked at.
    fn place(&self) -> PathBuf {
        match self {
            SourceChoice::Proc(root) => place::tables_in(root.clone()),
            _ => place::own(),
        }
    }
}

/// Sets the holders of the listeners of `snapshot`, where they are found in a moment: for
/// a message, which must not be late.
pub fn name_holders(choice: &SourceChoice, snapshot: &mut Snapshot) {
    let place = choice.place();
    holders::name_some(place::proc_root(&place), snapshot);
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
    /// Whether to find the ids of all these processes.
    pub pids: bool,
    /// Only listeners that this process holds, or one that descends from it.
    pub of: Option<u32>,
    /// Not the listeners that this process holds, or one that descends from it.
    pub exclude_of: Option<u32>,
    /// Whether to find out who owns them, where the source does not know.
    pub owners: bool,
    /// Not the listeners all of whose holders have one of these names.
    pub excluded_holders: Vec<Vec<u8>>,
}

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
    /// The listeners that the snapshot should hold. The source looks again for those that
    /// are missing.
    pub expected: Option<&'a dyn Expected>,
}

/// The listeners that a caller expects in a snapshot.
pub trait Expected {
    /// Adds the namespace id and the protocol of each expected listener that `snapshot`
    /// lacks to `lists`.
    fn find_missing(&self, snapshot: &Snapshot, lists: &mut Vec<(u64, Protocol)>);
}

/// What a poll found out besides the listeners.
#[derive(Debug, Default)]
pub struct Answer {
    /// The process of [`SourceOptions::of`], if it has ended.
    pub ended_root: Option<u32>,
    /// A later poll may know what this one did not.
    pub may_know_more: bool,
    /// The turns of some network namespaces are due and were left to a later poll, see
    /// [`turns`].
    pub awaits_turns: bool,
    /// The inodes of network namespaces that the poll before could not read, and in which
    /// no process is any more.
    pub ended_namespaces: Vec<u64>,
    /// What the snapshot may lack.
    pub gaps: Gaps,
}

/// What became of one search for holders.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct HoldersFound {
    /// Whether the holders may differ from those of the last search.
    pub may_differ: bool,
    /// Whether holders may be missing.
    pub are_incomplete: bool,
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
    asked: Asked,
    filter: Filter,
    /// Whether it looks at a place that may be in another network namespace.
    is_elsewhere: bool,
    /// `None` if holders are not asked for.
    holders: Option<HolderSearch>,
    /// `None` if one network namespace is asked for.
    containers: Option<Containers>,
    /// `None` if the listeners of all processes are asked for.
    tree: Option<Tree>,
    /// `None` if the listeners of no process are excluded.
    excluded: Option<Excluded>,
    looks: Looks,
}

/// The process whose listeners are excluded, and its descendants.
#[derive(Debug)]
struct Excluded {
    tree: Tree,
    /// Why it could not be read at the last look, if it could not.
    failure: Option<TreeError>,
    said_ended: bool,
}

/// What is asked for listeners.
#[derive(Debug)]
enum Asked {
    One(Sources),
    All(Namespaces),
    /// Nothing, since the process with this id, of [`SourceOptions::of`], has ended.
    Nothing(u32),
}

/// How a source looks again within one poll.
#[derive(Debug, Default)]
struct Looks {
    /// Only for tests that show what would be missed.
    are_single: bool,
    /// The id of the namespace and the protocol of each listener that the current poll
    /// lacks.
    lacking: Vec<(u64, Protocol)>,
    count: SecondLooks,
    /// The tables that did not settle during the current poll.
    unsettled: Tables,
    /// The source that answered the last look.
    answered_by: Option<AnsweredBy>,
}

impl Source {
    /// A source of the listeners that `options` ask for. `path` is the value of
    /// `PATH`, in which ss is looked for.
    ///
    /// # Errors
    /// [`SourceError::Tree`] if the process of [`SourceOptions::of`] cannot be
    /// followed, and [`SourceError::ExcludedTree`] if that of
    /// [`SourceOptions::exclude_of`] cannot.
    pub fn new(options: SourceOptions, path: &OsStr) -> Result<Source, SourceError> {
        let SourceOptions {
            choice,
            mut filter,
            holders,
            pids,
            of,
            exclude_of,
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
        let tree = of.map(|pid| Tree::new(proc_root, pid, Some(&place)));
        let tree = tree.transpose().map_err(SourceError::Tree)?;
        let excluded = exclude_of.map(|pid| excluded(proc_root, pid));
        let excluded = excluded.transpose()?.flatten();
        let wants = |table: SocketTable| filter.wants(table);
        // What is not listed any more is not the tree's, or may have been the excluded one's.
        let keeps_unlisted = of.is_none() && excluded.is_none();
        let inodes = match finds_holders || of.is_some() || excluded.is_some() {
            true => Some(Inodes::new(wants, keeps_unlisted)),
            false => owners.then(|| Inodes::of_owners(wants)),
        };
        let one = |first, falls_back| Asked::One(Sources::new(first, &place, falls_back, wants));
        let asked = match choice {
            SourceChoice::Auto => one(First::ss(path, inodes), true),
            SourceChoice::Ss => one(First::ss(path, inodes), false),
            SourceChoice::Proc(_) => one(First::ProcNet, false),
            SourceChoice::NetlinkOrProc => one(First::Netlink, true),
            SourceChoice::Netlink => one(First::Netlink, false),
            SourceChoice::AllNamespaces { asks_netlink } => {
                Asked::All(Namespaces::new(filter.clone(), asks_netlink))
            }
        };
        let containers = matches!(asked, Asked::All(_)).then(Containers::default);
        Ok(Source {
            asked,
            is_elsewhere: !place::is_own(&place),
            holders: finds_holders.then(|| HolderSearch::new(proc_root, excluded_holders, holders)),
            containers,
            tree,
            excluded,
            filter,
            looks: Looks::default(),
        })
    }

    /// A source without listeners, whose root has ended, if `error` says that the process
    /// of [`SourceOptions::of`] is not there. Whether it was there a moment ago must not
    /// matter to a watcher.
    ///
    /// # Errors
    /// Any other `error`.
    pub fn of_ended(error: SourceError) -> Result<Source, SourceError> {
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
            tree: None,
            excluded: None,
            looks: Looks::default(),
        })
    }

    /// The same source, but one that never looks again. For tests that show what
    /// would be missed then.
    pub fn without_second_looks(mut self) -> Source {
        self.looks.are_single = true;
        self
    }

    /// Fills `snapshot` with the listeners of this moment that pass the filter, and
    /// returns what is known besides them.
    ///
    /// # Errors
    /// If there is no complete answer. The snapshot is then of no use.
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
        self.look(known, snapshot, true)?;
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

    /// What is known after the last look of a poll, besides the listeners.
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
        // `tcp` is read even if no listener of it is asked for.
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

    /// Finds the processes that hold the listeners of `snapshot`, if holders are
    /// asked for, and removes those that only excluded ones hold.
    pub fn find_holders(&mut self, snapshot: &mut Snapshot) -> HoldersFound {
        let holders = self.holders.as_mut();
        let may_differ = holders.is_some_and(|holders| holders.find(snapshot));
        if let Some(containers) = &mut self.containers {
            containers.set_groups_of_holders(snapshot);
            containers.set_names(snapshot);
        }
        HoldersFound {
            may_differ,
            are_incomplete: self
                .holders
                .as_ref()
                .is_some_and(HolderSearch::is_incomplete),
        }
    }

    /// The ids of all processes that hold a listener of `snapshot`, whose holders were
    /// found: sorted, each once.
    pub fn pids_of(&self, snapshot: &Snapshot) -> Vec<u64> {
        let search = self.holders.as_ref();
        search.map_or(Vec::new(), |search| search.pids_of(snapshot.listeners()))
    }

    /// Whether it looks at a place that may be in another network namespace.
    pub fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// Whether [`Source::find_holders`] removes listeners.
    pub fn excludes_holders(&self) -> bool {
        self.holders
            .as_ref()
            .is_some_and(HolderSearch::excludes_any)
    }

    /// How often polls had to look again so far.
    pub fn second_looks(&self) -> SecondLooks {
        self.looks.count
    }

    /// Fills `snapshot`. The first look of a poll also finds what the kernel passed over.
    /// On an error the snapshot is empty.
    fn look(
        &mut self,
        known: Known<'_>,
        snapshot: &mut Snapshot,
        is_first: bool,
    ) -> Result<(), SourceError> {
        self.looks.answered_by = None;
        let mut result = match &mut self.asked {
            Asked::All(namespaces) => {
                let only = (!is_first).then_some(&self.looks.lacking[..]);
                let read =
                    snapshot.refill(|listeners| namespaces.read(known.listeners, only, listeners));
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
        // The kernel lists a UDP socket while it is being bound, with port 0.
        snapshot.retain(&|listener| listener.endpoint.port != 0 && self.filter.matches(listener));
        if let Some(excluded) = &mut self.excluded {
            excluded.leave_out(snapshot);
        }
        if let Some(containers) = &mut self.containers {
            containers.set_groups_of_sockets(snapshot, is_first);
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

    /// Reads one namespace again until what was read is complete. Of all namespaces, each
    /// was.
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
        expected: &dyn Expected,
    ) -> Result<(), SourceError> {
        let at_first = self.looks.find_missing(snapshot, expected);
        let mut left = at_first;
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
            result = self.look(known, &mut another, false);
            snapshot.add_missing(&another);
            let before = std::mem::replace(&mut left, self.looks.find_missing(snapshot, expected));
            fruitless = if left < before { 0 } else { fruitless + 1 };
        }
        self.looks.count.taken += u64::from(at_first > 0);
        self.looks.count.needed += u64::from(left < at_first);
        result
    }
}

/// Keeps the listeners that are `known` in each table that hides some: they were not seen
/// to close.
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

/// The process with this id, to exclude its listeners. `None`, with a warning, if it has
/// ended: it has none.
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
    /// Removes its listeners from `snapshot`.
    fn leave_out(&mut self, snapshot: &mut Snapshot) {
        // It may have taken long to list the listeners of all namespaces.
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

    /// Why its listeners may have been left in at the last look, if they may.
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
    /// Notes where `snapshot` lacks listeners, and returns how many it lacks.
    fn find_missing(&mut self, snapshot: &Snapshot, expected: &dyn Expected) -> usize {
        sys::shrink_after_peak(&mut self.lacking);
        self.lacking.clear();
        expected.find_missing(snapshot, &mut self.lacking);
        self.lacking.len()
    }
}
