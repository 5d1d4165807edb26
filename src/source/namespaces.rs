//! The listeners of every network namespace in which a process runs or that is mounted,
//! for `--all-namespaces`: which namespaces there are, and how each is asked.
//!
//! A netlink socket answers for the namespace in which it was opened, and to read the
//! four tables of `/proc/PID/net` costs some fifty times as much: the kernel walks the
//! sockets of the whole host for each of them. So netlink is asked where setns(2) is
//! allowed, and `/proc/PID/net` of a process in the namespace is read elsewhere. One
//! without a process must be entered for either.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::complete;
use super::containers;
use super::netlink::{Netlink, NetlinkError};
use super::procnet::ProcNet;
use super::tables::{TableGap, Tables};
use super::turns::{Exceeded, Limit, MOST_TIME, SHORT, Turns, Used};
use crate::kernel::proc::file;
use crate::kernel::proc::hidepid::hides_processes;
use crate::kernel::proc::mounts;
use crate::kernel::proc::process::{
    for_each_number, for_each_thread, is_of_ended, is_refused, network_namespace,
};
use crate::listener::{Cgroup, CgroupOf, Listener, Namespace, Protocol, SocketTable};
use crate::port::Filter;
use crate::report::{self, Details};
use crate::snapshot::Snapshot;
use crate::sys;

const PROC: &str = "/proc";

/// setns(2): this process lacks a capability.
const EPERM: i32 = 1;

/// More bytes of a table of `/proc` are an error: some 200,000 rows.
const MOST_BYTES: u64 = 32 << 20;

/// The inode of the host's PID namespace (`PROC_PID_INIT_INO` of the kernel).
const HOST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Asks every network namespace for its listeners, as often as it is asked.
#[derive(Debug)]
pub struct Namespaces {
    filter: Filter,
    /// `None` if this process may not enter its own namespace: it could not come back from
    /// another.
    home: Option<Home>,
    /// `None` if it is not asked, or no namespace may be entered.
    netlink: Option<Netlink>,
    /// Every process whose namespace is known, by namespace and id.
    processes: Vec<Process>,
    mounts: Vec<Mount>,
    /// There may be mounted namespaces that cannot be found or entered.
    hides_mounts: bool,
    /// The processes that do not show their namespace to this one, and are in none that
    /// another process shows.
    denying: Vec<u32>,
    said_denying: bool,
    /// `/proc` does not list every process of the host.
    hides_processes: bool,
    /// The namespaces of the last look, sorted by inode.
    seen: Vec<Seen>,
    unreadable: Vec<Unreadable>,
    /// Those of the poll before.
    unreadable_before: Vec<Unreadable>,
    /// The tables that may hold more listeners than were read.
    table_gaps: Vec<TableGap>,
    turns: Turns,
    /// What may be read of the current namespace.
    limit: Limit,
    /// The CPU time that reading its UDP listeners took.
    time_of_udp: Duration,
    details: Details,
}

/// The inode of the network namespace of a process, which has 32 bits, and its id below
/// that. A number, since each other type that is sorted adds 3 KB to the binary.
type Process = u64;

/// A mounted namespace has an entry among the processes with this id, which no process can
/// have. It comes after them.
const MOUNTED: u32 = u32::MAX;

/// A file that is a network namespace.
#[derive(Debug)]
struct Mount {
    inode: u64,
    /// Where this process can open it.
    file: PathBuf,
    /// The path of the mount in the mount namespace that it was found in.
    path: Vec<u8>,
}

fn inode_of(process: Process) -> u64 {
    process >> 32
}

/// The processes of each namespace. They are sorted.
fn by_namespace(processes: &[Process]) -> impl Iterator<Item = &[Process]> {
    processes.chunk_by(|a, b| inode_of(*a) == inode_of(*b))
}

fn pids(processes: &[Process]) -> impl Iterator<Item = u32> {
    processes.iter().map(|process| *process as u32)
}

/// The network namespace of this process.
#[derive(Debug)]
struct Home {
    file: File,
    inode: u64,
    /// This thread is in another one.
    is_away: bool,
}

/// A network namespace of this poll or the last one.
#[derive(Debug)]
struct Seen {
    namespace: Arc<Namespace>,
    /// `None` as long as the kernel has not told it.
    cookie: Option<u64>,
    /// Its TCP list is long, so it is read in turns only.
    is_long: bool,
    /// Its listeners. Each list is as it was when it was last read.
    kept: Snapshot,
    /// What was kept of the lists that this poll has read, and is missing in them.
    missing: Vec<Listener>,
    /// A look of this poll has found it.
    is_found: bool,
    /// It had a turn in this poll.
    had_turn: bool,
    /// What it has used in this poll.
    used: Used,
}

impl Seen {
    /// A namespace that was never read.
    fn new(namespace: Arc<Namespace>, cookie: Option<u64>) -> Seen {
        Seen {
            namespace,
            cookie,
            is_long: false,
            kept: Snapshot::default(),
            missing: Vec::new(),
            is_found: false,
            had_turn: false,
            used: Used::default(),
        }
    }

    fn inode(&self) -> u64 {
        self.namespace.inode
    }

    fn start_poll(&mut self) {
        self.missing = Vec::new();
        self.is_found = false;
        self.had_turn = false;
        self.used = Used::default();
    }

    /// Notes what was read, which is in `listeners` from `start` on, and appends the lists
    /// that were not.
    fn note_read(&mut self, plan: Plan, start: usize, listeners: &mut Vec<Listener>) {
        self.is_found = true;
        self.had_turn = plan.is_turn;
        if !plan.is_first_look {
            let found = snapshot_of(listeners[start..].to_vec());
            self.kept.add_missing(&found);
            return;
        }
        if plan.tcp {
            self.is_long = is_long(&listeners[start..]);
        }
        let unread = self.kept.listeners().iter();
        listeners.extend(unread.filter(|l| !plan.includes(l.protocol)).cloned());
        let now = snapshot_of(listeners[start..].to_vec());
        self.missing = self.kept.difference(&now).collect();
        self.kept = now;
    }

    /// Notes that it was not read, and appends its listeners as they were. What this poll
    /// has missed so far was then not seen to close.
    fn note_unread(&mut self, is_turn: bool, listeners: &mut Vec<Listener>) {
        self.is_found = true;
        self.had_turn = is_turn;
        let missing = snapshot_of(std::mem::take(&mut self.missing));
        self.kept.add_missing(&missing);
        listeners.extend_from_slice(self.kept.listeners());
    }
}

/// Whether a look of this poll found this namespace, if it is among those `seen`. They are
/// sorted.
fn is_found(seen: &[Seen], inode: u64) -> bool {
    let index = seen.binary_search_by_key(&inode, Seen::inode);
    index.is_ok_and(|index| seen[index].is_found)
}

/// Whether `listeners`, those of one namespace, include more than [`SHORT`] of TCP. Their
/// list is then read only when it has a turn.
fn is_long(listeners: &[Listener]) -> bool {
    let tcp = listeners.iter().filter(|l| l.protocol == Protocol::Tcp);
    tcp.count() > SHORT
}

/// What is read of a namespace.
#[derive(Clone, Copy, Debug)]
struct Plan {
    tcp: bool,
    udp: bool,
    is_turn: bool,
    /// No earlier look of this poll has found the namespace. A further one looks for what
    /// is missing.
    is_first_look: bool,
}

impl Plan {
    /// What is read of a namespace that was seen `before`, and perhaps has its turn. `only`
    /// is the lists that lack a listener.
    fn new(before: Option<&Seen>, is_turn: bool, only: &[(u64, Protocol)]) -> Plan {
        let is_long = before.is_some_and(|seen| seen.is_long);
        let Some(seen) = before.filter(|seen| seen.is_found) else {
            return Plan {
                tcp: is_turn || !is_long,
                udp: is_turn,
                is_turn,
                is_first_look: true,
            };
        };
        // What is missing in a list that this poll did not read has closed in an earlier
        // one, and is not reported yet.
        let is_missing = |protocol| only.contains(&(seen.namespace.id, protocol));
        Plan {
            tcp: is_missing(Protocol::Tcp) && (seen.had_turn || !is_long),
            udp: is_missing(Protocol::Udp) && seen.had_turn,
            is_turn: seen.had_turn,
            is_first_look: false,
        }
    }

    fn includes(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Tcp => self.tcp,
            Protocol::Udp => self.udp,
        }
    }
}

/// How a network namespace answered.
struct Answer {
    /// The process through which it was asked, or 0.
    pid: u32,
    /// The mount through which it was asked, if it has no process.
    mount: Vec<u8>,
    /// What `SO_NETNS_COOKIE` says, if it was asked over netlink and the kernel tells.
    cookie: Option<u64>,
}

impl Answer {
    fn from_process(pid: u32, cookie: Option<u64>) -> Answer {
        let mount = Vec::new();
        Answer { pid, mount, cookie }
    }
}

/// A network namespace that could not be read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its inode.
    pub inode: u64,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network namespace {}: {}", self.inode, self.reason)
    }
}

/// Why no namespace could be read.
#[derive(Debug)]
pub enum NamespacesError {
    /// The processes cannot be listed.
    Processes(io::Error),
    /// This process could not come back to its own namespace.
    Return(io::Error),
}

impl fmt::Display for NamespacesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamespacesError::Processes(error) => {
                write!(f, "{PROC}: {error}")?;
                match error.kind() {
                    ErrorKind::NotFound => f.write_str(" (is it mounted?)"),
                    _ => Ok(()),
                }
            }
            NamespacesError::Return(error) => {
                write!(f, "setns back to lntu's own network namespace: {error}")
            }
        }
    }
}

impl std::error::Error for NamespacesError {}

impl Namespaces {
    /// Asks for the tables that `filter` wants, by netlink if it `asks_netlink` and may.
    /// Says on stderr what it lacks to see everything.
    pub fn new(filter: Filter, asks_netlink: bool) -> Namespaces {
        let pid_namespace = fs::read_link("/proc/self/ns/pid");
        let is_inside = pid_namespace.is_ok_and(|link| link.as_os_str() != HOST_PID_NAMESPACE);
        if is_inside {
            report::warn(format_args!(
                "only processes of this PID namespace are visible (for those of the host, use \
                 docker run --pid=host or hostPID: true)"
            ));
        }
        let hides_from_users = hides_processes(Path::new(PROC));
        if hides_from_users {
            report::warn(format_args!(
                "{PROC} hides processes of other users (it is mounted with hidepid; to see them, \
                 you need root with CAP_SYS_PTRACE)"
            ));
        }
        let home = Home::find(asks_netlink);
        let asks_netlink = asks_netlink && home.is_some();
        let netlink = asks_netlink.then(|| Netlink::new(|table| filter.wants(table)));
        Namespaces {
            filter,
            home,
            netlink,
            processes: Vec::new(),
            mounts: Vec::new(),
            hides_mounts: false,
            denying: Vec::new(),
            said_denying: false,
            hides_processes: is_inside || hides_from_users,
            seen: Vec::new(),
            unreadable: Vec::new(),
            unreadable_before: Vec::new(),
            table_gaps: Vec::new(),
            turns: Turns::new(Instant::now()),
            limit: Limit::default(),
            time_of_udp: Duration::ZERO,
            details: Details::default(),
        }
    }

    /// Appends the listeners of every namespace to `listeners`, or in a further look those
    /// of the lists in `only` and of namespaces that this poll had not found. Of a namespace
    /// that cannot be read, they are those that were read last. Only if some listeners are
    /// `known`, reading is limited, see [`super::turns`].
    ///
    /// # Errors
    /// If no namespace can be read. `listeners` must then not be used.
    pub fn read(
        &mut self,
        known: Option<&Snapshot>,
        only: Option<&[(u64, Protocol)]>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), NamespacesError> {
        self.come_home()?;
        self.find_processes(only.is_none())
            .map_err(NamespacesError::Processes)?;
        if only.is_none() {
            self.seen.retain(|seen| seen.is_found);
            self.seen.iter_mut().for_each(Seen::start_poll);
        }
        let mut earlier = std::mem::take(&mut self.seen).into_iter().peekable();
        let (mut seen, mut unseen) = (Vec::with_capacity(earlier.len()), Vec::new());
        let processes = std::mem::take(&mut self.processes);
        for in_one in by_namespace(&processes) {
            let inode = inode_of(in_one[0]);
            while let Some(gone) = earlier.next_if(|seen| seen.inode() < inode) {
                unseen.push(gone);
            }
            let before = earlier.next_if(|seen| seen.inode() == inode);
            seen.extend(self.look_at(in_one, before, known, only, listeners));
        }
        unseen.extend(earlier);
        self.processes = processes;
        // A further look may find it again.
        for mut earlier in unseen {
            let Namespace { inode, pid, .. } = *earlier.namespace;
            // A process that shows its namespace no longer may still be in it.
            if self.denying.contains(&pid) {
                let reason = format!("process {pid} no longer shows it");
                self.note_unreadable(inode, reason);
                earlier.note_unread(false, listeners);
            }
            let place = seen.partition_point(|seen: &Seen| seen.inode() < inode);
            seen.insert(place, earlier);
        }
        self.seen = seen;
        if only.is_none() {
            self.turns.end_round();
        }
        self.come_home()
    }

    /// Appends the listeners of a namespace that was seen `before`. Returns the namespace,
    /// if it was ever read.
    fn look_at(
        &mut self,
        in_one: &[Process],
        mut before: Option<Seen>,
        known: Option<&Snapshot>,
        only: Option<&[(u64, Protocol)]>,
        listeners: &mut Vec<Listener>,
    ) -> Option<Seen> {
        let inode = inode_of(in_one[0]);
        let is_long = before.as_ref().is_some_and(|seen| seen.is_long);
        // What is not read at every poll would be taken for its predecessor.
        if only.is_none()
            && (is_long || self.turns.is_lost(inode).is_some())
            && self.is_replaced(in_one, before.as_ref())
        {
            before = None;
        }
        let lost = self.turns.is_lost(inode);
        let may_ask = lost.as_ref().is_none_or(|(_, is_due)| *is_due);
        let is_turn = only.is_none() && may_ask && self.turns.has_turn(inode);
        let mut plan = Plan::new(before.as_ref(), is_turn, only.unwrap_or_default());
        if known.is_none() {
            (plan.tcp, plan.udp) = (true, true);
        }
        match lost {
            Some((reason, _)) if !is_turn => self.note_unreadable(inode, reason),
            _ if !plan.tcp && !plan.udp && !plan.is_first_look => return before,
            _ if plan.tcp || plan.udp => {
                return self.read_planned(in_one, before, plan, known, listeners);
            }
            _ => {}
        }
        let mut seen = before?;
        seen.note_unread(plan.is_turn, listeners);
        Some(seen)
    }

    /// Appends the listeners of a namespace that was seen `before`. What is not read stays
    /// as it was. Returns the namespace, if it was ever read.
    fn read_planned(
        &mut self,
        in_one: &[Process],
        before: Option<Seen>,
        plan: Plan,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Option<Seen> {
        let (inode, start) = (inode_of(in_one[0]), listeners.len());
        let mut used = before.as_ref().map_or(Used::default(), |seen| seen.used);
        let started = sys::cpu_time();
        self.limit = match (known, plan.is_turn) {
            (None, _) => Limit::default(),
            (_, true) => used.limit(started),
            (_, false) => Limit::of_short(),
        };
        self.time_of_udp = Duration::ZERO;
        let answer = self.read_one(inode, in_one, plan, listeners);
        let time = sys::cpu_time().saturating_sub(started);
        let answer = match answer {
            // The last of its processes has ended meanwhile, as far as this look knows.
            Ok(None) => {
                listeners.truncate(start);
                return before;
            }
            Ok(Some(answer)) => answer,
            Err(reason) => {
                listeners.truncate(start);
                let is_slow = plan.is_turn && known.is_some() && time > MOST_TIME;
                let exceeded = self.limit.exceeded.or(is_slow.then_some(Exceeded::Time));
                match exceeded {
                    Some(exceeded) if plan.is_turn => {
                        self.turns.charge(time);
                        let reason = self.turns.note_exceeded(inode, exceeded);
                        self.note_unreadable(inode, reason);
                    }
                    // Its TCP list has become long. It waits for a turn.
                    Some(_) => {}
                    None => self.note_unreadable(inode, reason),
                }
                let mut seen = before?;
                seen.is_long |= exceeded.is_some() && !plan.is_turn;
                seen.note_unread(plan.is_turn, listeners);
                return Some(seen);
            }
        };
        let found = &listeners[start..];
        let (namespace, cookie) = self.identify(in_one, answer, before.as_ref(), known, found);
        for listener in &mut listeners[start..] {
            listener.namespace = Some(Arc::clone(&namespace));
        }
        if plan.is_turn {
            used.add(&self.limit, time);
            self.turns.note_fit(inode);
        }
        self.turns
            .charge(match plan.is_turn && is_long(&listeners[start..]) {
                true => time,
                false => self.time_of_udp,
            });
        let before = before.filter(|seen| seen.namespace.id == namespace.id);
        let mut seen = Seen {
            used,
            ..before.unwrap_or_else(|| Seen::new(Arc::clone(&namespace), cookie))
        };
        (seen.namespace, seen.cookie) = (namespace, cookie);
        seen.note_read(plan, start, listeners);
        Some(seen)
    }

    /// Comes back, also from where an earlier read could not.
    fn come_home(&mut self) -> Result<(), NamespacesError> {
        match &mut self.home {
            Some(home) => home.come_back().map_err(NamespacesError::Return),
            None => Ok(()),
        }
    }

    /// The namespaces that could not be read since the last [`Namespaces::start_poll`].
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// The tables of any namespace that may hold more listeners than were read since then.
    pub fn table_gaps(&self) -> &[TableGap] {
        &self.table_gaps
    }

    /// The inodes of the namespaces that were unreadable at the poll before, and in which
    /// this one found no process.
    pub fn ended(&self) -> Vec<u64> {
        let before = self.unreadable_before.iter();
        let inodes = before.map(|unreadable| unreadable.inode);
        inodes
            .filter(|inode| !is_found(&self.seen, *inode))
            .collect()
    }

    /// Begins a poll, of one or several reads.
    pub fn start_poll(&mut self) {
        self.unreadable_before = std::mem::take(&mut self.unreadable);
        self.table_gaps.clear();
        let (seen, processes) = (&self.seen, &self.processes);
        self.turns.retain(|inode| {
            let first = processes.partition_point(|process| inode_of(*process) < inode);
            let first = processes.get(first);
            is_found(seen, inode) || first.is_some_and(|process| inode_of(*process) == inode)
        });
        self.turns.start_poll(Instant::now());
    }

    /// Whether a namespace has to wait for its turn in a later poll.
    pub fn awaits_turns(&self) -> bool {
        self.turns.are_waited_for()
    }

    /// Whether there are processes whose namespaces are not known.
    pub fn is_partial(&self) -> bool {
        self.hides_processes || self.hides_mounts || !self.denying.is_empty()
    }

    /// Finds the namespace of each process, and in the first look of a poll those that are
    /// mounted.
    fn find_processes(&mut self, is_first_look: bool) -> io::Result<()> {
        self.processes.clear();
        self.denying.clear();
        let mut failure = None;
        for_each_number(Path::new(PROC), |pid, directory| {
            let mut take = |pid: u32, inode: Option<u64>| {
                let process = inode.map(|inode| inode << 32 | u64::from(pid));
                self.processes.extend(process);
            };
            match network_namespace(directory) {
                Ok(inode) => take(pid, inode),
                // The kernel says so of a process that has just ended, too.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    if directory.exists() {
                        self.denying.push(pid);
                    }
                }
                // It has ended, or only its first thread has. Each other stands for the
                // process then: `/proc` has it by its own number.
                Err(error) if is_of_ended(&error) => {
                    let _ = for_each_thread(directory, |thread, directory| {
                        take(thread, network_namespace(directory).unwrap_or_default());
                    });
                }
                Err(error) => failure = Some(error),
            }
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        // The file of a mount namespace may be long.
        if is_first_look {
            self.find_mounts();
        }
        let mounted = self.mounts.iter();
        (self.processes).extend(mounted.map(|mount| mount.inode << 32 | u64::from(MOUNTED)));
        self.processes.sort_unstable();
        self.keep_denying();
        Ok(())
    }

    /// Finds the namespaces that are mounted where process 1 or this process sees them.
    fn find_mounts(&mut self) {
        self.mounts.clear();
        self.hides_mounts = false;
        let mount_namespace = |process: &str| fs::read_link(format!("{PROC}/{process}/ns/mnt"));
        let own = mount_namespace("self");
        let is_one = own.is_ok_and(|own| mount_namespace("1").is_ok_and(|first| first == own));
        // The root directory of process 1 may be another than that of this process.
        for (process, root) in [("1", "/proc/1/root"), ("self", "")] {
            if is_one && process == "self" {
                return;
            }
            let mut take = |inode, path: PathBuf| {
                let path = path.into_os_string().into_encoded_bytes();
                let file = [root.as_bytes(), &path].concat();
                let file = PathBuf::from(OsStr::from_bytes(&file));
                self.mounts.push(Mount { inode, file, path });
            };
            let directory = Path::new(PROC).join(process);
            match mounts::for_each_network_namespace(&directory, &mut take) {
                // There is no process 1 to see.
                Err(error) if is_of_ended(&error) => {}
                result => self.hides_mounts |= result.is_err(),
            }
        }
    }

    /// Keeps those of the denying processes that may be in a namespace of their own, and
    /// says once that there are some.
    fn keep_denying(&mut self) {
        if self.denying.is_empty() {
            return;
        }
        // Anyone may look at the tables of a process. Each namespace has files of its own.
        let tables_of = |pid| fs::metadata(format!("{PROC}/{pid}/net/tcp")).map(|file| file.ino());
        let shown = by_namespace(&self.processes)
            .filter_map(|in_one| pids(in_one).find_map(|pid| tables_of(pid).ok()));
        let shown: Vec<u64> = shown.collect();
        self.denying.retain(|pid| match tables_of(*pid) {
            Ok(tables) => !shown.contains(&tables),
            Err(error) => error.kind() != ErrorKind::NotFound,
        });
        if let Some(pid) = self.denying.first()
            && !std::mem::replace(&mut self.said_denying, true)
        {
            report::warn(format_args!(
                "the network namespace of process {pid}, and perhaps of others, may not be \
                 read (that takes root with CAP_SYS_PTRACE, and no profile that forbids it)"
            ));
        }
    }

    /// Asks one namespace, through the first of its `processes` that still is in it.
    /// `None` if there is none.
    ///
    /// # Errors
    /// The reason why its listeners are not known.
    fn read_one(
        &mut self,
        inode: u64,
        processes: &[Process],
        plan: Plan,
        listeners: &mut Vec<Listener>,
    ) -> Result<Option<Answer>, String> {
        let before = listeners.len();
        for pid in pids(processes) {
            if pid == MOUNTED {
                return self.read_mounted(inode, plan, listeners);
            }
            let directory = Path::new(PROC).join(pid.to_string());
            let link = directory.join("ns/net");
            if self.netlink.is_some()
                && let Some(home) = &mut self.home
            {
                let refusal = match home.leave_for(inode, &link) {
                    Ok(false) => continue,
                    Ok(true) => match self.ask_netlink(inode, plan, listeners)? {
                        Ok(cookie) => return Ok(Some(Answer::from_process(pid, cookie))),
                        Err(refusal) => refusal,
                    },
                    Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                        format!("setns: {error}")
                    }
                    Err(error) => return Err(format!("{}: {error}", link.display())),
                };
                listeners.truncate(before);
                let path = directory.display();
                self.details
                    .say_once(format_args!("{refusal}; reading {path}/net instead"));
            }
            // The directory may be that of this process, and shows where it is now.
            self.come_home().map_err(|error| error.to_string())?;
            let answer = report::silently(|| self.read_tables(&directory, plan, listeners));
            // The tables of a process that ended meanwhile may lack some, and its id may
            // be that of another process now.
            if is_in(&directory, inode) {
                self.note_gaps(inode, answer?);
                return Ok(Some(Answer::from_process(pid, None)));
            }
            listeners.truncate(before);
        }
        Ok(None)
    }

    /// Whether another namespace has the inode of one that was seen `before` or is lost, as
    /// far as cookies tell. It is not lost then.
    fn is_replaced(&mut self, in_one: &[Process], before: Option<&Seen>) -> bool {
        if self.netlink.is_none() {
            return false;
        }
        let inode = inode_of(in_one[0]);
        let nothing = Plan {
            tcp: false,
            udp: false,
            is_turn: false,
            is_first_look: true,
        };
        self.limit = Limit::default();
        let answer = self.read_one(inode, in_one, nothing, &mut Vec::new());
        let Ok(Some(Answer {
            cookie: Some(cookie),
            ..
        })) = answer
        else {
            return false;
        };
        let is_other = before.is_some_and(|seen| seen.cookie.is_some_and(|own| own != cookie));
        self.turns.note_cookie(inode, cookie) || is_other
    }

    /// Asks the namespace that this thread has entered. Returns its cookie, or why netlink
    /// is refused.
    ///
    /// # Errors
    /// The reason why its listeners are not known, if it may pass.
    fn ask_netlink(
        &mut self,
        inode: u64,
        plan: Plan,
        listeners: &mut Vec<Listener>,
    ) -> Result<Result<Option<u64>, String>, String> {
        let Some(netlink) = &mut self.netlink else {
            return Ok(Err(String::new()));
        };
        netlink.limit = self.limit;
        let mut answer: Result<Tables, NetlinkError> = Ok(Tables::default());
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            if !plan.includes(protocol) || answer.is_err() {
                continue;
            }
            let started = sys::cpu_time();
            let unsettled = match plan.is_first_look {
                true => read_netlink(netlink, protocol, listeners),
                // Each look finds what others missed.
                false => netlink
                    .read_only(Some(protocol), listeners)
                    .map(|()| Tables::default()),
            };
            if protocol == Protocol::Udp {
                self.time_of_udp += sys::cpu_time().saturating_sub(started);
            }
            answer = answer.and_then(|mut all: Tables| {
                all.add(unsettled?);
                Ok(all)
            });
        }
        let cookie = netlink.namespace_cookie();
        netlink.leave_namespace();
        self.limit = netlink.limit;
        match answer {
            Ok(unsettled) => {
                self.note_gaps(inode, TableGap::all_unsettled(unsettled));
                Ok(Ok(cookie))
            }
            Err(error) if self.limit.exceeded.is_some() => Err(error.to_string()),
            Err(error) if error.may_pass() => Err(error.to_string()),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// Asks one namespace without a process, through a file that is mounted. `None` if there
    /// is none any more, or none may be used.
    ///
    /// # Errors
    /// The reason why its listeners are not known.
    fn read_mounted(
        &mut self,
        inode: u64,
        plan: Plan,
        listeners: &mut Vec<Listener>,
    ) -> Result<Option<Answer>, String> {
        let before = listeners.len();
        let mounts = std::mem::take(&mut self.mounts);
        let mut result = Ok(None);
        let mut is_denied = false;
        for mount in mounts.iter().filter(|mount| mount.inode == inode) {
            let entered = match &mut self.home {
                Some(home) => home.leave_for(inode, &mount.file),
                None => Err(ErrorKind::PermissionDenied.into()),
            };
            match entered {
                // Another mount covers it, it was unmounted, or its directory may not be read.
                Ok(false) => {
                    is_denied |= is_refused(&fs::symlink_metadata(&mount.file));
                    continue;
                }
                Ok(true) => {}
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    is_denied = true;
                    continue;
                }
                Err(error) => {
                    result = Err(format!("{}: {error}", mount.file.display()));
                    break;
                }
            }
            let answer = match self.ask_netlink(inode, plan, listeners) {
                Ok(Err(_)) => {
                    listeners.truncate(before);
                    let tables = Path::new(PROC).join("self");
                    let gaps = report::silently(|| self.read_tables(&tables, plan, listeners));
                    gaps.map(|gaps| self.note_gaps(inode, gaps)).map(|()| None)
                }
                answer => answer.map(Result::unwrap_or_default),
            };
            result = answer.map(|cookie| {
                let (pid, mount) = (0, mount.path.clone());
                Some(Answer { pid, mount, cookie })
            });
            break;
        }
        self.mounts = mounts;
        // The same namespace may be mounted where this process can reach it.
        self.hides_mounts |= is_denied && matches!(result, Ok(None));
        result
    }

    /// Reads the tables of the process with this directory. Returns what they may hold
    /// besides.
    fn read_tables(
        &mut self,
        directory: &Path,
        plan: Plan,
        listeners: &mut Vec<Listener>,
    ) -> Result<Vec<TableGap>, String> {
        let filter = &self.filter;
        let is_wanted = |table: SocketTable| plan.includes(table.protocol) && filter.wants(table);
        let mut proc_net = ProcNet::new(directory, is_wanted);
        // A list is not limited.
        if self.limit.rows < usize::MAX {
            proc_net.limit(MOST_BYTES);
        }
        let (started, before) = (sys::cpu_time(), listeners.len());
        let mut failure = None;
        let unsettled = read_whole(listeners, &mut |listeners| {
            failure = proc_net.read(None, listeners).err();
            failure.is_none().then(|| proc_net.split())
        });
        // All tables are read together.
        if plan.udp {
            self.time_of_udp += sys::cpu_time().saturating_sub(started);
        }
        if let Some(error) = failure {
            return Err(error.to_string());
        }
        if !self.limit.note_row((listeners.len() - before).max(1)) {
            return Err(String::new());
        }
        let mut gaps = proc_net.gaps();
        if let Some(forbidden) = gaps.iter().find(|gap| !gap.may_pass) {
            return Err(forbidden.reason.clone());
        }
        gaps.extend(TableGap::all_unsettled(unsettled.unwrap_or_default()));
        Ok(gaps)
    }

    /// Notes what the tables of a namespace may hold besides.
    fn note_gaps(&mut self, inode: u64, gaps: impl IntoIterator<Item = TableGap>) {
        for gap in gaps {
            let reason = format!("network namespace {inode}: {}", gap.reason);
            self.table_gaps.push(TableGap { reason, ..gap });
        }
    }

    /// The namespace that gave this answer through one of the processes `in_one`, and its
    /// cookie. It was perhaps seen `before`. Its
    /// cgroup is read if it has listeners that are asked for and not `known`: a runtime
    /// may move a process after it is there.
    fn identify(
        &self,
        in_one: &[Process],
        Answer { pid, mount, cookie }: Answer,
        before: Option<&Seen>,
        known: Option<&Snapshot>,
        listeners: &[Listener],
    ) -> (Arc<Namespace>, Option<u64>) {
        let inode = inode_of(in_one[0]);
        // A later namespace may have the inode. The cookies tell, if both are known.
        let before = before.filter(|seen| {
            let cookies = seen.cookie.zip(cookie);
            cookies.is_none_or(|(before, now)| before == now)
        });
        let id = before.map_or(cookie.unwrap_or(inode), |seen| seen.namespace.id);
        let cookie = cookie.or(before.and_then(|seen| seen.cookie));
        let is_known = |listener: &Listener| {
            let (_, protocol, endpoint) = listener.identity();
            let is_there =
                |known: &Snapshot| !known.sockets_of((id, protocol, endpoint)).is_empty();
            known.is_some_and(is_there) || !self.filter.matches(listener)
        };
        let same = before.filter(|seen| seen.namespace.pid == pid);
        let namespace = match same {
            Some(seen) if listeners.iter().all(is_known) => Arc::clone(&seen.namespace),
            _ => {
                // A process that has ended meanwhile tells nothing of this namespace.
                let mut pids = pids(in_one).skip_while(|first| *first != pid);
                let found = pids.find_map(|pid| Some((pid, cgroup_of(pid, inode)?)));
                let (pid, cgroup) = found.unwrap_or((pid, Arc::default()));
                Arc::new(Namespace {
                    id,
                    inode,
                    pid,
                    cgroup,
                    mount,
                })
            }
        };
        (namespace, cookie)
    }

    fn note_unreadable(&mut self, inode: u64, reason: String) {
        if !self.unreadable.iter().any(|other| other.inode == inode) {
            self.unreadable.push(Unreadable { inode, reason });
        }
    }
}

fn snapshot_of(listeners: Vec<Listener>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let move_in = |all: &mut Vec<Listener>| {
        *all = listeners;
        Ok::<_, ()>(())
    };
    let _ = snapshot.refill(move_in);
    snapshot
}

/// Asks `netlink` for this protocol until its answer is complete. Returns the tables that
/// did not settle.
fn read_netlink(
    netlink: &mut Netlink,
    protocol: Protocol,
    listeners: &mut Vec<Listener>,
) -> Result<Tables, NetlinkError> {
    let mut failure = None;
    let unsettled = read_whole(listeners, &mut |listeners| {
        failure = netlink.read_only(Some(protocol), listeners).err();
        failure.is_none().then(|| netlink.split())
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(unsettled.unwrap_or_default()),
    }
}

/// Appends the listeners of one namespace to `listeners`, which `read` appends to the
/// vector that it gets, as often as [`complete::complete`] asks for them. Returns the
/// tables that did not settle, and `None` where `read` does.
fn read_whole(
    listeners: &mut Vec<Listener>,
    read: &mut dyn FnMut(&mut Vec<Listener>) -> Option<Tables>,
) -> Option<Tables> {
    let before = listeners.len();
    let split = read(listeners)?;
    if split.is_empty() {
        return Some(split);
    }
    let mut read = |snapshot: &mut Snapshot| snapshot.refill(|all| read(all).ok_or(())).ok();
    let mut snapshot = snapshot_of(listeners.drain(before..).collect());
    let unsettled = complete::complete(&mut snapshot, split, &mut read);
    listeners.extend_from_slice(snapshot.listeners());
    unsettled
}

impl Home {
    /// `None` if this process may not enter its own namespace. It could then enter others,
    /// and not come back. It `warns` that namespaces are read through `/proc` for that.
    fn find(warns: bool) -> Option<Home> {
        let find = || {
            let file = File::open("/proc/self/ns/net")?;
            sys::enter_network_namespace(&file)?;
            let inode = file.metadata()?.ino();
            Ok(Home {
                file,
                inode,
                is_away: false,
            })
        };
        let found: io::Result<Home> = find();
        match found {
            Ok(home) => Some(home),
            Err(_) if !warns => None,
            Err(error) => {
                let hint = match error.raw_os_error() {
                    Some(EPERM) => " (needs root with CAP_SYS_ADMIN)",
                    _ => "",
                };
                report::warn(format_args!(
                    "network namespaces are read through /proc, which costs far more: setns: \
                     {error}{hint}"
                ));
                None
            }
        }
    }

    /// Enters the namespace that this `link` or mount is. False if it is not, or no longer,
    /// the namespace with this inode.
    fn leave_for(&mut self, inode: u64, link: &Path) -> io::Result<bool> {
        // This process may be the only one in it, and its link says where it is now.
        if inode == self.inode {
            self.come_back()?;
            return Ok(true);
        }
        let file = match file::open(link) {
            Ok(file) => file,
            // Who has ended is in no namespace, also while its parent has not waited. The
            // kernel may refuse, too, if the process is gone.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(_) if fs::symlink_metadata(link).is_err() => return Ok(false),
            // A FIFO or a device covers the mount.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(false),
            Err(error) => return Err(error),
        };
        let (found, own) = (file.metadata()?, self.file.metadata()?);
        // Every namespace is on one device. A file elsewhere may have the same inode.
        if (found.ino(), found.dev()) != (inode, own.dev()) {
            return Ok(false);
        }
        sys::enter_network_namespace(&file)?;
        self.is_away = true;
        Ok(true)
    }

    fn come_back(&mut self) -> io::Result<()> {
        if self.is_away {
            sys::enter_network_namespace(&self.file)?;
            self.is_away = false;
        }
        Ok(())
    }
}

/// The cgroup of this process. `None` if it is not in the namespace with this inode, or
/// no longer.
fn cgroup_of(pid: u32, inode: u64) -> Option<Arc<Cgroup>> {
    let directory = Path::new(PROC).join(pid.to_string());
    let cgroup = containers::of_process(&directory, CgroupOf::Namespace);
    is_in(&directory, inode).then_some(cgroup)
}

/// Whether the process with this directory is in the namespace with this inode.
fn is_in(directory: &Path, inode: u64) -> bool {
    network_namespace(directory).is_ok_and(|namespace| namespace == Some(inode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Endpoint;

    const TCP: Protocol = Protocol::Tcp;
    const UDP: Protocol = Protocol::Udp;

    /// A namespace in which each of these ports was found by an earlier poll.
    fn seen(ports: &[(Protocol, u16)]) -> Seen {
        let namespace = Namespace {
            id: 7,
            inode: 4_026_532_000,
            pid: 1,
            cgroup: Arc::default(),
            mount: Vec::new(),
        };
        let mut seen = Seen::new(Arc::new(namespace), Some(7));
        look(&mut seen, true, &[], ports);
        seen.start_poll();
        seen
    }

    /// The lists of this namespace for these protocols.
    fn lists(protocols: &[Protocol]) -> Vec<(u64, Protocol)> {
        protocols.iter().map(|protocol| (7, *protocol)).collect()
    }

    fn listener((protocol, port): (Protocol, u16)) -> Listener {
        let address = "127.0.0.1".parse().unwrap();
        Listener::new(protocol, Endpoint { port, address })
    }

    /// What a look says of a namespace in which these ports are, or which it cannot read.
    fn look_at(
        seen: &mut Seen,
        is_turn: bool,
        only: &[Protocol],
        ports: Option<&[(Protocol, u16)]>,
    ) -> Vec<(Protocol, u16)> {
        let plan = Plan::new(Some(seen), is_turn, &lists(only));
        let mut listeners = Vec::new();
        match ports {
            Some(ports) => {
                let ports = ports
                    .iter()
                    .filter(|(protocol, _)| plan.includes(*protocol));
                listeners.extend(ports.copied().map(listener));
                seen.note_read(plan, 0, &mut listeners);
            }
            None => seen.note_unread(plan.is_turn, &mut listeners),
        }
        let ports = listeners.iter().map(|l| (l.protocol, l.endpoint.port));
        let mut ports: Vec<_> = ports.collect();
        ports.sort();
        ports
    }

    /// The same, where it can be read.
    fn look(
        seen: &mut Seen,
        is_turn: bool,
        only: &[Protocol],
        ports: &[(Protocol, u16)],
    ) -> Vec<(Protocol, u16)> {
        look_at(seen, is_turn, only, Some(ports))
    }

    /// What is read: TCP, UDP, whether in a turn, and whether by the first look.
    fn plan(before: Option<&Seen>, is_turn: bool, only: &[Protocol]) -> [bool; 4] {
        let plan = Plan::new(before, is_turn, &lists(only));
        [plan.tcp, plan.udp, plan.is_turn, plan.is_first_look]
    }

    #[test]
    fn the_first_look_reads_short_lists_and_those_that_have_a_turn() {
        let mut seen = seen(&[(TCP, 80)]);
        assert_eq!(plan(None, true, &[]), [true; 4]);
        assert_eq!(plan(None, false, &[]), [true, false, false, true]);
        assert_eq!(plan(Some(&seen), true, &[]), [true; 4]);
        assert_eq!(plan(Some(&seen), false, &[]), [true, false, false, true]);
        seen.is_long = true;
        assert_eq!(plan(Some(&seen), true, &[]), [true; 4]);
        assert_eq!(plan(Some(&seen), false, &[]), [false, false, false, true]);
    }

    #[test]
    fn a_further_look_reads_what_is_missing_and_was_read() {
        let mut seen = seen(&[]);
        seen.is_found = true;
        for (had_turn, is_long, expected) in [
            (false, false, [true, false]),
            (false, true, [false, false]),
            (true, false, [true, true]),
            (true, true, [true, true]),
        ] {
            (seen.had_turn, seen.is_long) = (had_turn, is_long);
            let [tcp, udp] = expected;
            let all = plan(Some(&seen), false, &[TCP, UDP]);
            assert_eq!(all, [tcp, udp, had_turn, false]);
            let only_udp = plan(Some(&seen), false, &[UDP]);
            assert_eq!(only_udp, [false, udp, had_turn, false]);
        }
    }

    #[test]
    fn a_namespace_that_the_first_look_missed_closes_nothing() {
        let ports = [(TCP, 80), (UDP, 53)];
        for is_long in [false, true] {
            let mut seen = seen(&ports);
            seen.is_long = is_long;
            assert_eq!(look(&mut seen, false, &[TCP, UDP], &ports), ports);
            seen.start_poll();
            assert_eq!(look(&mut seen, false, &[], &ports), ports);
        }
    }

    #[test]
    fn a_list_that_becomes_long_closes_nothing() {
        let ports: Vec<_> = (1..=300).map(|port| (TCP, port)).collect();
        let mut seen = seen(&ports[..200]);
        assert!(!seen.is_long);
        assert_eq!(look(&mut seen, false, &[], &ports), ports);
        assert!(seen.is_long);
        seen.start_poll();
        assert_eq!(look(&mut seen, false, &[], &[]), ports);
    }

    #[test]
    fn a_list_is_not_long_by_what_a_further_look_finds() {
        let ports: Vec<_> = (1..=300).map(|port| (TCP, port)).collect();
        let mut seen = seen(&ports[..200]);
        look(&mut seen, true, &[], &ports[..199]);
        assert_eq!(look(&mut seen, false, &[TCP], &ports), ports);
        assert!(!seen.is_long);
    }

    #[test]
    fn a_namespace_that_is_not_read_stays_as_it_was_read_last() {
        let mut seen = seen(&[(TCP, 80), (UDP, 53)]);
        let now = [(TCP, 81), (UDP, 54)];
        assert_eq!(look(&mut seen, true, &[], &now), now);
        seen.start_poll();
        assert_eq!(look_at(&mut seen, false, &[], None), now);
    }

    #[test]
    fn nothing_is_missing_if_a_further_look_fails() {
        let (before, now) = ([(TCP, 80), (UDP, 53)], [(TCP, 81)]);
        let mut seen = seen(&before);
        look(&mut seen, true, &[], &now);
        let all = [(TCP, 80), (TCP, 81), (UDP, 53)];
        assert_eq!(look_at(&mut seen, false, &[TCP, UDP], None), all);
        seen.start_poll();
        assert_eq!(look_at(&mut seen, false, &[], None), all);
    }

    #[test]
    fn what_each_look_finds_is_kept() {
        let mut seen = seen(&[(UDP, 53), (UDP, 54)]);
        look(&mut seen, true, &[], &[(UDP, 53)]);
        look(&mut seen, false, &[UDP], &[(UDP, 54)]);
        seen.start_poll();
        let all = [(UDP, 53), (UDP, 54)];
        assert_eq!(look(&mut seen, false, &[], &[]), all);
    }
}
