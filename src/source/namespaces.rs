//! Finds and reads all network namespaces, for `--all-namespaces`: those in which a process
//! runs, and those that are mounted.
//!
//! If setns(2) is allowed, the source enters each namespace and asks netlink, because a
//! netlink socket answers for the namespace in which it was opened. Otherwise, the source
//! reads `/proc/PID/net` of a process in the namespace. Reading `/proc` takes about fifty
//! times as much CPU time, because the kernel walks the sockets of the whole host for each of
//! the four tables. A namespace without a process can only be read by entering it.

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
use super::turns::{Exceeded, Limit, MOST_TIME, SHORT, Turns};
use crate::kernel::proc::file;
use crate::kernel::proc::hidepid::hides_processes;
use crate::kernel::proc::mounts;
use crate::kernel::proc::process::{
    for_each_number, for_each_thread, is_process_gone, is_refused, network_namespace,
};
use crate::listener::{Cgroup, CgroupMember, Listener, Namespace, Protocol, SocketTable};
use crate::numbers;
use crate::port::Filter;
use crate::report::{self, Details};
use crate::snapshot::Snapshot;
use crate::sys;

const PROC: &str = "/proc";

/// The error number of setns(2) if this process lacks a capability.
const EPERM: i32 = 1;

/// A table of `/proc` with this many bytes or more is an error. The limit is enough for about
/// 200,000 rows.
const MOST_BYTES: u64 = 32 << 20;

/// The inode of the host's PID namespace (`PROC_PID_INIT_INO` of the kernel).
const HOST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// The source that reads every network namespace at each poll.
#[derive(Debug)]
pub struct Namespaces {
    filter: Filter,
    /// The network namespace of this process. `None` if this process is not permitted to enter
    /// its own namespace. It then never enters another one, because it could not return.
    home: Option<Home>,
    /// The netlink source. `None` if netlink is not wanted, or if `home` is `None`.
    netlink: Option<Netlink>,
    /// An entry for each process whose namespace is known, and for each mounted namespace. The
    /// entries are sorted.
    processes: Vec<Process>,
    mounts: Vec<Mount>,
    /// Whether some mounted namespaces may be impossible to find or enter.
    hides_mounts: bool,
    /// The ids of processes whose `ns/net` may not be read, unless another process is known to
    /// show the same namespace.
    denying: Vec<u32>,
    said_denying: bool,
    /// Whether `/proc` may lack processes of the host.
    hides_processes: bool,
    /// The namespaces that this poll or the previous one found, sorted by inode.
    seen: Vec<Seen>,
    /// The namespaces that could not be read in the current poll.
    unreadable: Vec<Unreadable>,
    /// The namespaces that could not be read in the previous poll.
    unreadable_before: Vec<Unreadable>,
    /// The tables that may hold more listeners than were read.
    table_gaps: Vec<TableGap>,
    turns: Turns,
    /// How much may be read of the namespace that is being read.
    limit: Limit,
    /// The CPU time that this process had used when it began to read the UDP listeners of the
    /// current namespace. `None` if they were not read.
    udp_start: Option<Duration>,
    details: Details,
}

/// A process in a network namespace: the inode of the namespace in the upper 32 bits, and
/// the process id in the lower ones. It is a plain number because sorting another type
/// would add 3 KB to the binary.
type Process = u64;

/// Replaces the process id in the entry of a mounted namespace. No process can have this id.
/// It sorts after all process ids, so a mount is used only if the namespace has no process.
const MOUNTED: u32 = u32::MAX;

/// A network namespace that is mounted as a file.
#[derive(Debug)]
struct Mount {
    inode: u64,
    /// The path at which this process can open the mount.
    file: PathBuf,
    /// The path in the mount namespace in which the mount was found.
    path: Vec<u8>,
}

fn inode_of(process: Process) -> u64 {
    process >> 32
}

/// Splits sorted `processes` into one slice for each network namespace.
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
    device: u64,
    /// Whether this thread is in another namespace now.
    is_away: bool,
}

/// A network namespace that this poll or the previous one found.
#[derive(Debug)]
struct Seen {
    namespace: Arc<Namespace>,
    /// The cookie of the namespace. `None` if the kernel has not reported the cookie so far.
    cookie: Option<u64>,
    /// Whether the TCP list is long. A long list is read only when the namespace has a turn.
    is_long: bool,
    /// The listeners that each list had when it was last read.
    kept: Snapshot,
    /// The listeners that were kept before this poll and are missing from the lists that this
    /// poll has read.
    missing: Vec<Listener>,
    /// Whether a look of this poll has found the namespace.
    is_found: bool,
    /// Whether the namespace had its turn in this poll.
    turn: Turn,
    /// How much may still be read in the turns that the namespace has in this poll.
    limit: Limit,
}

impl Seen {
    /// A namespace that has never been read.
    fn new(namespace: Arc<Namespace>, cookie: Option<u64>) -> Seen {
        Seen {
            namespace,
            cookie,
            is_long: false,
            kept: Snapshot::default(),
            missing: Vec::new(),
            is_found: false,
            turn: Turn::Later,
            limit: Limit::of_turns(),
        }
    }

    fn inode(&self) -> u64 {
        self.namespace.inode
    }

    fn start_poll(&mut self) {
        self.missing = Vec::new();
        self.is_found = false;
        self.turn = Turn::Later;
        self.limit = Limit::of_turns();
    }

    /// Records the listeners that were just read: the elements of `listeners` from index
    /// `start`. At the first look of a poll, also appends the kept listeners of the lists that
    /// were not read.
    fn note_read(&mut self, plan: Plan, start: usize, listeners: &mut Vec<Listener>) {
        self.is_found = true;
        self.turn = plan.turn;
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

    /// Records that the namespace was not read, and appends its kept listeners. Listeners
    /// that earlier looks of this poll missed are kept, too, because this look did not
    /// confirm that they have closed.
    fn note_unread(&mut self, turn: Turn, listeners: &mut Vec<Listener>) {
        self.is_found = true;
        self.turn = turn;
        let missing = snapshot_of(std::mem::take(&mut self.missing));
        self.kept.add_missing(&missing);
        listeners.extend_from_slice(self.kept.listeners());
    }
}

/// Whether a look of this poll found the namespace with this inode. `seen` is sorted by inode.
fn is_found(seen: &[Seen], inode: u64) -> bool {
    let index = seen.binary_search_by_key(&inode, Seen::inode);
    index.is_ok_and(|index| seen[index].is_found)
}

/// Whether `listeners`, which all belong to one namespace, include more than [`SHORT`] TCP
/// listeners.
fn is_long(listeners: &[Listener]) -> bool {
    let tcp = listeners.iter().filter(|l| l.protocol == Protocol::Tcp);
    tcp.count() > SHORT
}

/// Says when a namespace has its turn (see [`super::turns`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// The namespace has its turn in a later poll.
    Later,
    /// The namespace has its turn in this poll.
    Now,
}

/// Describes which lists of a namespace one look reads.
#[derive(Clone, Copy, Debug)]
struct Plan {
    tcp: bool,
    udp: bool,
    turn: Turn,
    /// Whether this is the first look of the poll that finds the namespace. Further looks
    /// search for missing listeners.
    is_first_look: bool,
}

impl Plan {
    /// Plans a look at a namespace. `earlier` is what is known about the namespace, if
    /// anything. `lacking` identifies the lists in which a listener is missing, by namespace
    /// id and protocol.
    fn new(earlier: Option<&Seen>, turn: Turn, lacking: &[(u64, Protocol)]) -> Plan {
        let is_long = earlier.is_some_and(|seen| seen.is_long);
        let Some(seen) = earlier.filter(|seen| seen.is_found) else {
            return Plan {
                tcp: turn == Turn::Now || !is_long,
                udp: turn == Turn::Now,
                turn,
                is_first_look: true,
            };
        };
        // If this poll did not read a list, the kept listeners were used instead. If an
        // expected listener is missing even then, an earlier poll found that the listener has
        // closed, but the watcher has not reported this yet. Reading the list would not help.
        let is_lacking = |protocol| lacking.contains(&(seen.namespace.id, protocol));
        let had_turn = seen.turn == Turn::Now;
        Plan {
            tcp: is_lacking(Protocol::Tcp) && (had_turn || !is_long),
            udp: is_lacking(Protocol::Udp) && had_turn,
            turn: seen.turn,
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

/// How a network namespace was read.
struct Answer {
    /// The process through which the namespace was read, or 0 if the namespace has no process.
    pid: u32,
    /// The path of the mount through which the namespace was read. Empty if the namespace has
    /// a process.
    mount: Vec<u8>,
    /// The value of `SO_NETNS_COOKIE`, if netlink was asked and the kernel supports this
    /// option.
    cookie: Option<u64>,
}

impl Answer {
    fn from_process(pid: u32, cookie: Option<u64>) -> Answer {
        let mount = Vec::new();
        Answer { pid, mount, cookie }
    }
}

/// A network namespace that could not be read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The inode of the namespace.
    pub inode: u64,
    /// Why the namespace could not be read.
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
    /// This process could not return to its own network namespace.
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
    /// A source of the listeners that match `filter`. If `asks_netlink` is true and setns(2)
    /// is allowed, the source asks netlink. Warns on stderr if some namespaces cannot be seen,
    /// or if netlink cannot be asked because setns(2) is not allowed.
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
        let home = Home::find();
        if asks_netlink && let Err(error) = &home {
            let hint = match error.raw_os_error() {
                Some(EPERM) => " (needs root with CAP_SYS_ADMIN)",
                _ => "",
            };
            report::warn(format_args!(
                "network namespaces are read through /proc, which costs far more: setns: \
                 {error}{hint}"
            ));
        }
        let home = home.ok();
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
            udp_start: None,
            details: Details::default(),
        }
    }

    /// Appends the listeners of every namespace to `listeners`. `lacking` is `None` at the
    /// first look of a poll. At a further look, it identifies the lists in which a listener is
    /// missing, by namespace id and protocol. A further look reads only these lists, and the
    /// namespaces that this poll has not found so far. For a namespace that cannot be read,
    /// appends the listeners that were read last. If there are `known` listeners, reading is
    /// limited (see [`super::turns`]).
    ///
    /// # Errors
    /// If no namespace can be read. `listeners` must then not be used.
    pub fn read(
        &mut self,
        known: Option<&Snapshot>,
        lacking: Option<&[(u64, Protocol)]>,
        listeners: &mut Vec<Listener>,
    ) -> Result<(), NamespacesError> {
        self.come_home()?;
        self.find_processes().map_err(NamespacesError::Processes)?;
        // Find mounts only at the first look, because the list of mounts may be long.
        if lacking.is_none() {
            self.find_mounts();
        }
        self.add_mounts();
        self.keep_denying();
        if lacking.is_none() {
            self.seen.retain(|seen| seen.is_found);
            self.seen.iter_mut().for_each(Seen::start_poll);
        }
        let mut last_seen = std::mem::take(&mut self.seen).into_iter().peekable();
        let (mut seen, mut unseen) = (Vec::with_capacity(last_seen.len()), Vec::new());
        let processes = std::mem::take(&mut self.processes);
        for members in by_namespace(&processes) {
            let inode = inode_of(members[0]);
            while let Some(gone) = last_seen.next_if(|seen| seen.inode() < inode) {
                unseen.push(gone);
            }
            let earlier = last_seen.next_if(|seen| seen.inode() == inode);
            seen.extend(self.look_at(members, earlier, known, lacking, listeners));
        }
        unseen.extend(last_seen);
        self.processes = processes;
        // Keep the namespaces that this look did not find: a further look may find them.
        for mut missed in unseen {
            let Namespace { inode, pid, .. } = *missed.namespace;
            // A process that no longer shows its namespace may still be in that namespace.
            if self.denying.contains(&pid) {
                let reason = format!("process {pid} no longer shows it");
                self.note_unreadable(inode, reason);
                missed.note_unread(Turn::Later, listeners);
            }
            let index = seen.partition_point(|seen: &Seen| seen.inode() < inode);
            seen.insert(index, missed);
        }
        self.seen = seen;
        if lacking.is_none() {
            self.turns.end_round();
        }
        self.come_home()
    }

    /// Appends the listeners of the namespace whose processes are `members`. `earlier` is what
    /// is known about the namespace. Returns what is known afterwards, or `None` if the
    /// namespace was never read.
    fn look_at(
        &mut self,
        members: &[Process],
        mut earlier: Option<Seen>,
        known: Option<&Snapshot>,
        lacking: Option<&[(u64, Protocol)]>,
        listeners: &mut Vec<Listener>,
    ) -> Option<Seen> {
        let inode = inode_of(members[0]);
        let is_long = earlier.as_ref().is_some_and(|seen| seen.is_long);
        // A new namespace can have the inode of one that has ended. Reading a namespace
        // reveals this, but a lost namespace, or one with a long list, is not read at every
        // poll.
        if lacking.is_none()
            && (is_long || self.turns.is_lost(inode).is_some())
            && self.is_replaced(members, earlier.as_ref())
        {
            earlier = None;
        }
        let lost = self.turns.is_lost(inode);
        let may_ask = lost.as_ref().is_none_or(|(_, is_due)| *is_due);
        let turn = match lacking.is_none() && may_ask && self.turns.has_turn(inode) {
            true => Turn::Now,
            false => Turn::Later,
        };
        let mut plan = Plan::new(earlier.as_ref(), turn, lacking.unwrap_or_default());
        if known.is_none() {
            (plan.tcp, plan.udp) = (true, true);
        }
        match lost {
            Some((reason, _)) if turn == Turn::Later => self.note_unreadable(inode, reason),
            _ if !plan.tcp && !plan.udp && !plan.is_first_look => return earlier,
            _ if plan.tcp || plan.udp => {
                return self.read_planned(members, earlier, plan, known, listeners);
            }
            _ => {}
        }
        let mut seen = earlier?;
        seen.note_unread(plan.turn, listeners);
        Some(seen)
    }

    /// Reads the lists that are in `plan`, and appends the listeners of the namespace to
    /// `listeners`. Lists that are not read keep their listeners. The arguments and the result
    /// are those of [`Namespaces::look_at`].
    fn read_planned(
        &mut self,
        members: &[Process],
        earlier: Option<Seen>,
        plan: Plan,
        known: Option<&Snapshot>,
        listeners: &mut Vec<Listener>,
    ) -> Option<Seen> {
        let (inode, start) = (inode_of(members[0]), listeners.len());
        let is_turn = plan.turn == Turn::Now;
        let mut limit = (earlier.as_ref()).map_or(Limit::of_turns(), |seen| seen.limit);
        let started = sys::own_cpu_time();
        limit.start(started);
        self.limit = match (known, plan.turn) {
            (None, _) => Limit::default(),
            (_, Turn::Now) => limit,
            (_, Turn::Later) => Limit::of_short(),
        };
        self.udp_start = None;
        let answer = self.read_one(inode, members, plan, listeners);
        let ended = sys::own_cpu_time();
        let time = ended.saturating_sub(started);
        let answer = match answer {
            // All processes that this look found in the namespace have left it or ended.
            Ok(None) => {
                listeners.truncate(start);
                return earlier;
            }
            Ok(Some(answer)) => answer,
            Err(reason) => {
                listeners.truncate(start);
                let is_slow = is_turn && known.is_some() && time > MOST_TIME;
                let exceeded = self.limit.exceeded.or(is_slow.then_some(Exceeded::Time));
                match exceeded {
                    Some(exceeded) if is_turn => {
                        self.turns.charge(time);
                        let reason = self.turns.note_exceeded(inode, exceeded);
                        self.note_unreadable(inode, reason);
                    }
                    // The TCP list has become long, so the namespace now waits for a turn.
                    Some(_) => {}
                    None => self.note_unreadable(inode, reason),
                }
                let mut seen = earlier?;
                seen.is_long |= exceeded.is_some() && !is_turn;
                seen.note_unread(plan.turn, listeners);
                return Some(seen);
            }
        };
        let found = &listeners[start..];
        let (namespace, cookie) = self.identify(members, answer, earlier.as_ref(), known, found);
        for listener in &mut listeners[start..] {
            listener.namespace = Some(Arc::clone(&namespace));
        }
        if is_turn {
            limit = self.limit;
            limit.stop(ended);
            self.turns.note_fit(inode);
        }
        let charged_from = match is_turn && is_long(&listeners[start..]) {
            true => Some(started),
            false => self.udp_start,
        };
        if let Some(start) = charged_from {
            self.turns.charge(ended.saturating_sub(start));
        }
        let earlier = earlier.filter(|seen| seen.namespace.id == namespace.id);
        let mut seen = Seen {
            limit,
            ..earlier.unwrap_or_else(|| Seen::new(Arc::clone(&namespace), cookie))
        };
        (seen.namespace, seen.cookie) = (namespace, cookie);
        seen.note_read(plan, start, listeners);
        Some(seen)
    }

    /// Returns to the network namespace of this process. A read that failed may have left this
    /// thread in another one.
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

    /// The tables, in any namespace, that may hold more listeners than were read since the
    /// last [`Namespaces::start_poll`].
    pub fn table_gaps(&self) -> &[TableGap] {
        &self.table_gaps
    }

    /// The inodes of namespaces that have ended: the previous poll could not read them, and
    /// this poll found neither a process in them nor a mount of them.
    pub fn ended(&self) -> Vec<u64> {
        let previous = self.unreadable_before.iter();
        let inodes = previous.map(|unreadable| unreadable.inode);
        inodes
            .filter(|inode| !is_found(&self.seen, *inode))
            .collect()
    }

    /// Begins a poll, which may take several calls of [`Namespaces::read`].
    pub fn start_poll(&mut self) {
        self.unreadable_before = std::mem::take(&mut self.unreadable);
        self.table_gaps.clear();
        let (seen, processes) = (&self.seen, &self.processes);
        self.turns.retain(|inode| {
            let index = processes.partition_point(|process| inode_of(*process) < inode);
            let first = processes.get(index);
            is_found(seen, inode) || first.is_some_and(|process| inode_of(*process) == inode)
        });
        self.turns.start_poll(Instant::now());
    }

    /// Whether a namespace has to wait for its turn in a later poll.
    pub fn awaits_turns(&self) -> bool {
        self.turns.are_waited_for()
    }

    /// Whether some namespaces may not have been found.
    pub fn is_partial(&self) -> bool {
        self.hides_processes || self.hides_mounts || !self.denying.is_empty()
    }

    /// Finds the namespace of each process.
    fn find_processes(&mut self) -> io::Result<()> {
        self.processes.clear();
        self.denying.clear();
        let mut failure = None;
        for_each_number(Path::new(PROC), |pid, directory| {
            let mut add = |pid: u32, inode: Option<u64>| {
                let process = inode.map(|inode| inode << 32 | u64::from(pid));
                self.processes.extend(process);
            };
            match network_namespace(directory) {
                Ok(inode) => add(pid, inode),
                // The kernel may also deny access to a process that has just ended.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    if directory.exists() {
                        self.denying.push(pid);
                    }
                }
                // Either the whole process has exited, or only its main thread has. Look for
                // other threads of the process, because each of them has a `/proc/TID`.
                Err(error) if is_process_gone(&error) => {
                    let _ = for_each_thread(directory, |thread, directory| {
                        add(thread, network_namespace(directory).unwrap_or_default());
                    });
                }
                Err(error) => failure = Some(error),
            }
        })?;
        match failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Adds an entry for each mounted namespace to `processes`, and sorts all entries.
    fn add_mounts(&mut self) {
        let mounted = self.mounts.iter();
        (self.processes).extend(mounted.map(|mount| mount.inode << 32 | u64::from(MOUNTED)));
        numbers::sort(&mut self.processes);
    }

    /// Finds the network namespaces that are mounted in the mount namespace of process 1 or of
    /// this process.
    fn find_mounts(&mut self) {
        self.mounts.clear();
        self.hides_mounts = false;
        let mount_namespace = |process: &str| fs::read_link(format!("{PROC}/{process}/ns/mnt"));
        let own = mount_namespace("self");
        let is_same = |own: PathBuf, first: PathBuf| own.as_os_str() == first.as_os_str();
        let is_shared =
            own.is_ok_and(|own| mount_namespace("1").is_ok_and(|first| is_same(own, first)));
        // Process 1 and this process may have different root directories.
        for (process, root) in [("1", "/proc/1/root"), ("self", "")] {
            if is_shared && process == "self" {
                return;
            }
            let mut add = |inode, path: PathBuf| {
                let path = path.into_os_string().into_encoded_bytes();
                let file = [root.as_bytes(), &path].concat();
                let file = PathBuf::from(OsStr::from_bytes(&file));
                self.mounts.push(Mount { inode, file, path });
            };
            let directory = Path::new(PROC).join(process);
            match mounts::for_each_network_namespace(&directory, &mut add) {
                // This `/proc` does not show process 1.
                Err(error) if is_process_gone(&error) => {}
                result => self.hides_mounts |= result.is_err(),
            }
        }
    }

    /// Removes from `denying` the processes that share a network namespace with a process that
    /// shows it. Warns once if any processes are left.
    fn keep_denying(&mut self) {
        if self.denying.is_empty() {
            return;
        }
        // `stat` of /proc/PID/net/tcp needs no privilege, and its inode differs per namespace.
        let table_inode =
            |pid| fs::metadata(format!("{PROC}/{pid}/net/tcp")).map(|file| file.ino());
        let shown = by_namespace(&self.processes)
            .filter_map(|members| pids(members).find_map(|pid| table_inode(pid).ok()));
        let shown: Vec<u64> = shown.collect();
        self.denying.retain(|pid| match table_inode(*pid) {
            Ok(inode) => !shown.contains(&inode),
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

    /// Reads one namespace through the first of its `members` that is still in it. Returns
    /// `None` if none of the members is still there.
    ///
    /// # Errors
    /// The reason why the namespace cannot be read.
    fn read_one(
        &mut self,
        inode: u64,
        members: &[Process],
        plan: Plan,
        listeners: &mut Vec<Listener>,
    ) -> Result<Option<Answer>, String> {
        let start = listeners.len();
        for pid in pids(members) {
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
                listeners.truncate(start);
                let path = directory.display();
                self.details
                    .print_once(format_args!("{refusal}; reading {path}/net instead"));
            }
            // `directory` may belong to this process. Its tables are then those of the
            // namespace that this process is in at the moment, so return home first.
            self.come_home().map_err(|error| error.to_string())?;
            let answer = report::silently(|| self.read_tables(&directory, plan, listeners));
            // If the process exited during the read, its tables may be incomplete, or its id
            // may already belong to another process.
            if is_in(&directory, inode) {
                self.note_gaps(inode, answer?);
                return Ok(Some(Answer::from_process(pid, None)));
            }
            listeners.truncate(start);
        }
        Ok(None)
    }

    /// Whether the inode of the `earlier` namespace, or of a lost namespace, now belongs to a
    /// new namespace. If so, the inode no longer counts as lost. Returns false if the cookies
    /// are not known.
    fn is_replaced(&mut self, members: &[Process], earlier: Option<&Seen>) -> bool {
        if self.netlink.is_none() {
            return false;
        }
        let inode = inode_of(members[0]);
        let only_cookie = Plan {
            tcp: false,
            udp: false,
            turn: Turn::Later,
            is_first_look: true,
        };
        self.limit = Limit::default();
        let answer = self.read_one(inode, members, only_cookie, &mut Vec::new());
        let Ok(Some(Answer {
            cookie: Some(cookie),
            ..
        })) = answer
        else {
            return false;
        };
        let is_other = earlier.is_some_and(|seen| seen.cookie.is_some_and(|old| old != cookie));
        self.turns.note_cookie(inode, cookie) || is_other
    }

    /// Asks netlink in the namespace that this thread has entered. Returns the cookie of the
    /// namespace. If the kernel refuses netlink, returns `Ok(Err(reason))`.
    ///
    /// # Errors
    /// The reason why netlink failed, if a limit was exceeded or a later poll may succeed.
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
            if protocol == Protocol::Udp {
                self.udp_start.get_or_insert_with(sys::own_cpu_time);
            }
            let unsettled = match plan.is_first_look {
                true => read_netlink(netlink, protocol, listeners),
                // A further look reads the list only once. A listener that one look misses is
                // found by another look.
                false => netlink
                    .read_only(Some(protocol), listeners)
                    .map(|()| Tables::default()),
            };
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

    /// Reads a namespace that has no process through one of its mounts. Returns `None` if the
    /// namespace is no longer mounted, or if none of its mounts may be entered.
    ///
    /// # Errors
    /// The reason why the namespace cannot be read.
    fn read_mounted(
        &mut self,
        inode: u64,
        plan: Plan,
        listeners: &mut Vec<Listener>,
    ) -> Result<Option<Answer>, String> {
        let start = listeners.len();
        let mounts = std::mem::take(&mut self.mounts);
        let mut result = Ok(None);
        let mut is_denied = false;
        for mount in mounts.iter().filter(|mount| mount.inode == inode) {
            let entered = match &mut self.home {
                Some(home) => home.leave_for(inode, &mount.file),
                None => Err(ErrorKind::PermissionDenied.into()),
            };
            match entered {
                // This mount was unmounted or is covered by another one, or its directory may
                // not be read.
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
                    listeners.truncate(start);
                    let own = Path::new(PROC).join("self");
                    let gaps = report::silently(|| self.read_tables(&own, plan, listeners));
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
        // A mount that may not be entered hides the namespace only if no other mount of the
        // same namespace could be entered.
        self.hides_mounts |= is_denied && matches!(result, Ok(None));
        result
    }

    /// Reads the tables of the process with this directory. Returns the tables that may hold
    /// more listeners than were read.
    ///
    /// # Errors
    /// The reason why the tables cannot be read.
    fn read_tables(
        &mut self,
        directory: &Path,
        plan: Plan,
        listeners: &mut Vec<Listener>,
    ) -> Result<Vec<TableGap>, String> {
        let filter = &self.filter;
        let is_wanted = |table: SocketTable| plan.includes(table.protocol) && filter.wants(table);
        let mut proc_net = ProcNet::new(directory, is_wanted);
        // If the caller does not know any listeners yet, nothing is limited.
        if self.limit.rows < usize::MAX {
            proc_net.limit(MOST_BYTES);
        }
        // The time of the TCP tables is counted, too, because all tables are read together.
        if plan.udp {
            self.udp_start.get_or_insert_with(sys::own_cpu_time);
        }
        let start = listeners.len();
        let mut failure = None;
        let unsettled = read_whole(listeners, &mut |listeners| {
            failure = proc_net.read(None, listeners).err();
            failure.is_none().then(|| proc_net.split())
        });
        if let Some(error) = failure {
            return Err(error.to_string());
        }
        if !self.limit.note_row((listeners.len() - start).max(1)) {
            return Err(String::new());
        }
        let mut gaps = proc_net.gaps();
        if let Some(forbidden) = gaps.iter().find(|gap| !gap.may_pass) {
            return Err(forbidden.reason.clone());
        }
        gaps.extend(TableGap::all_unsettled(unsettled.unwrap_or_default()));
        Ok(gaps)
    }

    /// Records tables of a namespace that may hold more listeners than were read.
    fn note_gaps(&mut self, inode: u64, gaps: impl IntoIterator<Item = TableGap>) {
        for gap in gaps {
            let reason = format!("network namespace {inode}: {}", gap.reason);
            self.table_gaps.push(TableGap { reason, ..gap });
        }
    }

    /// Returns the namespace that gave this answer through one of its `members`, and the
    /// cookie of the namespace. `earlier` is what was known about the namespace. If some of
    /// `listeners` match the filter and are not `known`, reads the cgroup again, because a
    /// runtime may move a process to another cgroup after starting it.
    fn identify(
        &self,
        members: &[Process],
        Answer { pid, mount, cookie }: Answer,
        earlier: Option<&Seen>,
        known: Option<&Snapshot>,
        listeners: &[Listener],
    ) -> (Arc<Namespace>, Option<u64>) {
        let inode = inode_of(members[0]);
        // A new namespace may have the inode of one that has ended, but not the same cookie.
        let earlier = earlier.filter(|seen| {
            let cookies = seen.cookie.zip(cookie);
            cookies.is_none_or(|(old, new)| old == new)
        });
        let id = earlier.map_or(cookie.unwrap_or(inode), |seen| seen.namespace.id);
        let cookie = cookie.or(earlier.and_then(|seen| seen.cookie));
        let is_known = |listener: &Listener| {
            let (_, protocol, endpoint) = listener.identity();
            let is_there =
                |known: &Snapshot| !known.sockets_of((id, protocol, endpoint)).is_empty();
            known.is_some_and(is_there) || !self.filter.matches(listener)
        };
        let unmoved = earlier.filter(|seen| seen.namespace.pid == pid);
        let namespace = match unmoved {
            Some(seen) if listeners.iter().all(is_known) => Arc::clone(&seen.namespace),
            _ => {
                // A process that has exited in the meantime has no cgroup, so try the next
                // processes.
                let mut pids = pids(members).skip_while(|first| *first != pid);
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

/// Asks `netlink` for this protocol until the answer is complete. Returns the tables that
/// changed during every read.
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

/// Appends the listeners of one namespace to `listeners`. Calls `read` as often as
/// [`complete::complete`] needs. `read` appends the listeners to the vector that it gets, and
/// returns the tables whose listing took several reads or datagrams. Returns the tables that
/// changed during every read, or `None` once `read` returns `None`.
fn read_whole(
    listeners: &mut Vec<Listener>,
    read: &mut dyn FnMut(&mut Vec<Listener>) -> Option<Tables>,
) -> Option<Tables> {
    let start = listeners.len();
    let split = read(listeners)?;
    if split.is_empty() {
        return Some(split);
    }
    let mut read = |snapshot: &mut Snapshot| snapshot.refill(|all| read(all).ok_or(())).ok();
    let mut snapshot = snapshot_of(listeners.drain(start..).collect());
    let unsettled = complete::complete(&mut snapshot, split, &mut read);
    listeners.extend_from_slice(snapshot.listeners());
    unsettled
}

impl Home {
    /// The namespace of this process.
    ///
    /// # Errors
    /// If this process is not permitted to enter its own namespace. It could then not return
    /// from another one.
    fn find() -> io::Result<Home> {
        let file = File::open("/proc/self/ns/net")?;
        sys::enter_network_namespace(&file)?;
        let metadata = file.metadata()?;
        Ok(Home {
            file,
            inode: metadata.ino(),
            device: metadata.dev(),
            is_away: false,
        })
    }

    /// Enters the namespace with this inode through `link`, which is a `/proc/PID/ns/net` or a
    /// mount. Returns false if `link` does not lead to that namespace, or no longer does.
    fn leave_for(&mut self, inode: u64, link: &Path) -> io::Result<bool> {
        // Do not open our own `ns/net`: it leads to the namespace that we are in at the
        // moment.
        if inode == self.inode {
            self.come_back()?;
            return Ok(true);
        }
        let file = match file::open(link) {
            Ok(file) => file,
            // An exited process is in no namespace, even while it is still a zombie. If the
            // process is gone, the kernel may also deny access.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(_) if fs::symlink_metadata(link).is_err() => return Ok(false),
            // A FIFO or a device covers the mount.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(false),
            Err(error) => return Err(error),
        };
        let found = file.metadata()?;
        // All namespaces are files on one device. A file on another device may have the same
        // inode.
        if (found.ino(), found.dev()) != (inode, self.device) {
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

/// The cgroup of this process. `None` if the process is not, or no longer, in the namespace
/// with this inode.
fn cgroup_of(pid: u32, inode: u64) -> Option<Arc<Cgroup>> {
    let directory = Path::new(PROC).join(pid.to_string());
    let cgroup = containers::process_cgroup(&directory, CgroupMember::Namespace);
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

    /// A namespace in which an earlier poll found these ports.
    fn seen(ports: &[(Protocol, u16)]) -> Seen {
        let namespace = Namespace {
            id: 7,
            inode: 4_026_532_000,
            pid: 1,
            cgroup: Arc::default(),
            mount: Vec::new(),
        };
        let mut seen = Seen::new(Arc::new(namespace), Some(7));
        look(&mut seen, Turn::Now, &[], ports);
        seen.start_poll();
        seen
    }

    /// The lists of these protocols in the namespace of [`seen`].
    fn lists(protocols: &[Protocol]) -> Vec<(u64, Protocol)> {
        protocols.iter().map(|protocol| (7, *protocol)).collect()
    }

    fn listener((protocol, port): (Protocol, u16)) -> Listener {
        let address = "127.0.0.1".parse().unwrap();
        Listener::new(protocol, Endpoint { port, address })
    }

    /// Looks once at a namespace that has these `ports`, and returns the reported ports. If
    /// `ports` is `None`, the namespace cannot be read.
    fn look_at(
        seen: &mut Seen,
        turn: Turn,
        lacking: &[Protocol],
        ports: Option<&[(Protocol, u16)]>,
    ) -> Vec<(Protocol, u16)> {
        let plan = Plan::new(Some(seen), turn, &lists(lacking));
        let mut listeners = Vec::new();
        match ports {
            Some(ports) => {
                let ports = ports
                    .iter()
                    .filter(|(protocol, _)| plan.includes(*protocol));
                listeners.extend(ports.copied().map(listener));
                seen.note_read(plan, 0, &mut listeners);
            }
            None => seen.note_unread(plan.turn, &mut listeners),
        }
        let ports = listeners.iter().map(|l| (l.protocol, l.endpoint.port));
        let mut ports: Vec<_> = ports.collect();
        ports.sort();
        ports
    }

    /// Looks once at a readable namespace that has these `ports`, and returns the reported
    /// ports.
    fn look(
        seen: &mut Seen,
        turn: Turn,
        lacking: &[Protocol],
        ports: &[(Protocol, u16)],
    ) -> Vec<(Protocol, u16)> {
        look_at(seen, turn, lacking, Some(ports))
    }

    /// The fields of a [`Plan`], in the order in which they are declared.
    fn plan(earlier: Option<&Seen>, turn: Turn, lacking: &[Protocol]) -> [bool; 4] {
        let plan = Plan::new(earlier, turn, &lists(lacking));
        [
            plan.tcp,
            plan.udp,
            plan.turn == Turn::Now,
            plan.is_first_look,
        ]
    }

    #[test]
    fn a_first_look_skips_lists_that_wait_for_a_turn() {
        let mut seen = seen(&[(TCP, 80)]);
        assert_eq!(plan(None, Turn::Now, &[]), [true; 4]);
        assert_eq!(plan(None, Turn::Later, &[]), [true, false, false, true]);
        assert_eq!(plan(Some(&seen), Turn::Now, &[]), [true; 4]);
        assert_eq!(
            plan(Some(&seen), Turn::Later, &[]),
            [true, false, false, true]
        );
        seen.is_long = true;
        assert_eq!(plan(Some(&seen), Turn::Now, &[]), [true; 4]);
        assert_eq!(
            plan(Some(&seen), Turn::Later, &[]),
            [false, false, false, true]
        );
    }

    #[test]
    fn a_further_look_rereads_lists_that_lack_listeners() {
        let mut seen = seen(&[]);
        seen.is_found = true;
        for (turn, is_long, expected) in [
            (Turn::Later, false, [true, false]),
            (Turn::Later, true, [false, false]),
            (Turn::Now, false, [true, true]),
            (Turn::Now, true, [true, true]),
        ] {
            (seen.turn, seen.is_long) = (turn, is_long);
            let ([tcp, udp], had_turn) = (expected, turn == Turn::Now);
            let all = plan(Some(&seen), Turn::Later, &[TCP, UDP]);
            assert_eq!(all, [tcp, udp, had_turn, false]);
            let only_udp = plan(Some(&seen), Turn::Later, &[UDP]);
            assert_eq!(only_udp, [false, udp, had_turn, false]);
        }
    }

    #[test]
    fn a_namespace_found_late_keeps_its_listeners() {
        let ports = [(TCP, 80), (UDP, 53)];
        for is_long in [false, true] {
            let mut seen = seen(&ports);
            seen.is_long = is_long;
            assert_eq!(look(&mut seen, Turn::Later, &[TCP, UDP], &ports), ports);
            seen.start_poll();
            assert_eq!(look(&mut seen, Turn::Later, &[], &ports), ports);
        }
    }

    #[test]
    fn a_list_that_becomes_long_keeps_its_listeners() {
        let ports: Vec<_> = (1..=300).map(|port| (TCP, port)).collect();
        let mut seen = seen(&ports[..200]);
        assert!(!seen.is_long);
        assert_eq!(look(&mut seen, Turn::Later, &[], &ports), ports);
        assert!(seen.is_long);
        seen.start_poll();
        assert_eq!(look(&mut seen, Turn::Later, &[], &[]), ports);
    }

    #[test]
    fn a_further_look_does_not_mark_a_list_as_long() {
        let ports: Vec<_> = (1..=300).map(|port| (TCP, port)).collect();
        let mut seen = seen(&ports[..200]);
        look(&mut seen, Turn::Now, &[], &ports[..199]);
        assert_eq!(look(&mut seen, Turn::Later, &[TCP], &ports), ports);
        assert!(!seen.is_long);
    }

    #[test]
    fn an_unread_namespace_keeps_its_last_listeners() {
        let mut seen = seen(&[(TCP, 80), (UDP, 53)]);
        let now = [(TCP, 81), (UDP, 54)];
        assert_eq!(look(&mut seen, Turn::Now, &[], &now), now);
        seen.start_poll();
        assert_eq!(look_at(&mut seen, Turn::Later, &[], None), now);
    }

    #[test]
    fn a_failed_further_look_keeps_all_listeners() {
        let (old, now) = ([(TCP, 80), (UDP, 53)], [(TCP, 81)]);
        let mut seen = seen(&old);
        look(&mut seen, Turn::Now, &[], &now);
        let all = [(TCP, 80), (TCP, 81), (UDP, 53)];
        assert_eq!(look_at(&mut seen, Turn::Later, &[TCP, UDP], None), all);
        seen.start_poll();
        assert_eq!(look_at(&mut seen, Turn::Later, &[], None), all);
    }

    #[test]
    fn listeners_from_all_looks_of_a_poll_are_kept() {
        let mut seen = seen(&[(UDP, 53), (UDP, 54)]);
        look(&mut seen, Turn::Now, &[], &[(UDP, 53)]);
        look(&mut seen, Turn::Later, &[UDP], &[(UDP, 54)]);
        seen.start_poll();
        let all = [(UDP, 53), (UDP, 54)];
        assert_eq!(look(&mut seen, Turn::Later, &[], &[]), all);
    }
}
