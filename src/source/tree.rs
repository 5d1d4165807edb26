//! Finds the sockets that one process and its descendants hold, for `--of` and
//! `--exclude-of`. Only the processes of this tree are read, so the cost depends on the size
//! of the tree and not on the number of processes.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::gaps::Doubt;
use super::holders::{DEADLINE, NEEDS, inodes_of};
use super::place;
use crate::kernel::proc::file::is_same;
use crate::kernel::proc::hidepid::hides_processes;
use crate::kernel::proc::process::{
    children, for_each_descriptor_as_owner, for_each_number, for_each_number_until,
    for_each_separate_table, has_no_descriptors, is_process_gone, network_namespace_link,
    read_stat,
};
use crate::listener::Listener;
use crate::numbers;
use crate::snapshot::Snapshot;
use crate::sys;

/// No process has this id or a larger one (`include/linux/threads.h` of the kernel).
const PID_MAX_LIMIT: u32 = 4 * 1024 * 1024;
/// A socket that this many searches in a row did not find belongs to a process outside the
/// tree. One search can miss a process, because the kernel's list of children can be
/// incomplete while some of the children exit (proc(5)).
const MOST_MISSES: u8 = 6;
/// One poll makes at most this many searches. A socket may be in transit from one process of
/// the tree to another, so the remaining searches are left to later polls.
const SEARCHES_PER_POLL: u8 = 2;
/// A file that may not be read is tried this many times. While a process executes a program or
/// exits, its files belong to root for a moment.
const MOST_TRIES: usize = 20;
/// The pause between two attempts to read a file.
const RETRY: Duration = Duration::from_millis(1);

/// A process and its descendants, and what is known about the sockets they hold.
#[derive(Debug)]
pub struct Tree {
    proc_root: PathBuf,
    root: u32,
    /// When the root was started. A later process with the same id has another start time.
    start_time: u64,
    has_ended: bool,
    /// Whether the listeners are read from the directory of the root, which disappears when
    /// the root ends.
    ends_with_place: bool,
    /// Whether the kernel lists children (`CONFIG_PROC_CHILDREN`). If it does not, the tree
    /// is built from the parents of all processes.
    lists_children: bool,
    /// When the searches of the current poll have to stop.
    deadline: Instant,
    /// The known sockets, sorted by inode.
    sockets: Vec<KnownSocket>,
    /// Why the network namespace of the root may not be read. `None` if it may. If it may not,
    /// the root may be in another namespace than the listeners, so any listener of the root
    /// may be missing.
    namespace_refusal: Option<String>,
    /// The processes that the last search could not read.
    unread: Unread,
    /// The listeners of the last snapshot that no readable process of the tree holds, but that
    /// an unread process may hold.
    uncertain: Vec<Listener>,
}

/// The processes of the tree that a search could not read.
#[derive(Debug, Default)]
struct Unread {
    /// The processes whose descriptors may not be read, or that `/proc` does not show.
    pids: Vec<u32>,
    /// Why the search was incomplete, usually because the first of `pids` could not be read.
    /// `None` if the search was complete.
    reason: Option<String>,
}

/// The result of one search.
#[derive(Debug)]
struct Found {
    /// The known sockets, sorted by inode.
    sockets: Vec<KnownSocket>,
    unread: Unread,
}

/// A socket that was searched for.
#[derive(Clone, Copy, Debug)]
struct KnownSocket {
    inode: u64,
    is_held: bool,
    /// How many searches in a row have not found the socket. A search counts only if it
    /// could read every process.
    misses: u8,
}

/// The kind of descriptors that a search reads.
#[derive(Clone, Copy)]
enum Descriptors {
    /// The descriptors that all threads of a process share.
    OfProcesses,
    /// The descriptors that only some threads of a process have.
    OfThreads,
}

/// Which listeners a snapshot keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// The listeners that the tree does not hold.
    Others,
    /// The listeners that the tree holds.
    Held,
}

/// Why the sockets of a process and its descendants cannot be found.
#[derive(Debug)]
pub enum TreeError {
    /// No process has this id now.
    NoProcess(u32),
    /// The process with this id runs, but `/proc` does not show it.
    Hidden(u32),
    /// This cannot be a process id: it belongs to a thread or is too large.
    NotOfProcess(u32),
    /// The process with this id has ended.
    Ended(u32),
    /// A file or directory of a process of the tree cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The process with this id is not in the network namespace of the listeners.
    OtherNamespace(u32),
    /// A listener has no inode.
    NoInode,
}

impl TreeError {
    /// The message for the user, without the separator that would follow the name of the
    /// option.
    pub fn reason(&self) -> String {
        self.to_string().trim_start_matches([':', ' ']).into()
    }
}

/// Writes the part of the message that follows the name of the option.
impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::NoProcess(pid) => {
                write!(f, " {pid}: no such process in this PID namespace")
            }
            TreeError::Hidden(pid) => write!(f, ": {}", hidden(*pid)),
            TreeError::NotOfProcess(pid) => write!(f, " {pid}: not a process id"),
            TreeError::Ended(pid) => write!(f, " {pid}: the process has ended"),
            TreeError::Unreadable(path, error) => {
                write!(f, ": {}", reason(path, error))
            }
            TreeError::OtherNamespace(pid) => write!(
                f,
                " {pid}: the process is in another network namespace (--pid {pid} looks there)"
            ),
            TreeError::NoInode => f.write_str(": a listener has no inode"),
        }
    }
}

impl std::error::Error for TreeError {}

/// Says why this file cannot be read, and which privilege would help.
fn reason(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{path}: {error} (needs the process's user, or {NEEDS})")
        }
        _ => format!("{path}: {error}"),
    }
}

/// The conditions under which all processes can be seen, for messages.
const SHOWS_ALL: &str = "/proc mounted without hidepid, the process's user";

/// Says why this process cannot be seen.
fn hidden(pid: u32) -> String {
    format!("/proc does not show process {pid} (needs {SHOWS_ALL}, or {NEEDS})")
}

/// Says why some processes may be missing.
fn hidden_some() -> String {
    format!("/proc does not show all processes (needs {SHOWS_ALL}, or {NEEDS})")
}

/// Says that reading stopped at the deadline.
fn too_long() -> String {
    let seconds = DEADLINE.as_secs();
    format!("reading the descriptors of all its processes takes more than {seconds} s")
}

impl Tree {
    /// The tree of the process with the id `root` in `proc_root`. `place` is the directory
    /// whose `net` the listeners are read from: `/proc`, or the directory of a process. If
    /// `place` is given, the process must be in the network namespace of the listeners.
    ///
    /// # Errors
    /// If there is no such process, or if it is in another namespace. A process whose
    /// descriptors may not be read is not an error, because a descendant that can be read may
    /// hold the same sockets.
    pub fn new(proc_root: &Path, root: u32, place: Option<&Path>) -> Result<Tree, TreeError> {
        let directory = proc_root.join(root.to_string());
        let stat = read_stat(&directory).map_err(|error| match is_process_gone(&error) {
            true if is_hidden(proc_root, root) => TreeError::Hidden(root),
            true if root > PID_MAX_LIMIT => TreeError::NotOfProcess(root),
            true => TreeError::NoProcess(root),
            false => TreeError::Unreadable(directory.join("stat"), error),
        })?;
        if stat.has_ended {
            return Err(TreeError::Ended(root));
        }
        // `/proc/TID` exists for each thread, but only a process has its own id in its `task`
        // directory.
        let task = directory.join("task").join(root.to_string());
        if !task.exists() {
            return Err(match directory.exists() {
                true => TreeError::NotOfProcess(root),
                false => TreeError::NoProcess(root),
            });
        }
        let namespace_refusal = match place {
            Some(place) => require_in(&directory, root, proc_root, place)?,
            None => None,
        };
        Ok(Tree {
            proc_root: proc_root.to_path_buf(),
            root,
            start_time: stat.start_time,
            has_ended: false,
            ends_with_place: place.is_some_and(|place| is_same(place, &directory)),
            deadline: Instant::now() + DEADLINE,
            lists_children: task.join("children").exists(),
            sockets: Vec::new(),
            namespace_refusal,
            unread: Unread::default(),
            uncertain: Vec::new(),
        })
    }

    /// Begins a poll, which may filter several snapshots. Their searches share one deadline.
    pub fn start_poll(&mut self) {
        self.deadline = Instant::now() + DEADLINE;
    }

    /// The id of the root if it had ended at the last search.
    pub fn ended_root(&self) -> Option<u32> {
        self.has_ended.then_some(self.root)
    }

    /// The listeners of the last snapshot that the tree may hold, although the search did not
    /// find them. Empty if the root has ended.
    pub fn take_doubt(&mut self) -> Doubt {
        let listeners = std::mem::take(&mut self.uncertain);
        match self.has_ended {
            true => Doubt::default(),
            false => Doubt {
                listeners,
                reason: self.unread.reason.clone().unwrap_or_default(),
                reason_for_all: self.namespace_refusal.clone(),
            },
        }
    }

    /// Keeps only the listeners of `snapshot` that some process of the tree was seen to hold.
    /// Reads the tree only if a listener is not settled. Once the root has ended, no new
    /// listener belongs to the tree.
    ///
    /// # Errors
    /// If the tree cannot be read for a reason other than missing permission, or if a listener
    /// has no inode.
    pub fn retain_held(&mut self, snapshot: &mut Snapshot) -> Result<(), TreeError> {
        self.check_root()?;
        let listeners = snapshot.listeners();
        if listeners.iter().any(|listener| listener.inode == 0) {
            return Err(TreeError::NoInode);
        }
        self.search_for(listeners)?;
        self.retain(snapshot, Keep::Held);
        Ok(())
    }

    /// Removes the listeners of `snapshot` that some process of the tree was seen to hold.
    /// Reads the tree under the same conditions as [`Tree::retain_held`].
    ///
    /// # Errors
    /// If the tree cannot be read for a reason other than missing permission. Even then, the
    /// listeners that the tree was seen to hold earlier are removed.
    pub fn remove_held(&mut self, snapshot: &mut Snapshot) -> Result<(), TreeError> {
        let checked = self.check_root();
        let result = checked.and_then(|()| self.search_for(snapshot.listeners()));
        self.retain(snapshot, Keep::Others);
        result
    }

    fn retain(&self, snapshot: &mut Snapshot, keep: Keep) {
        snapshot.retain(&|listener| {
            let socket = self.find(listener.inode);
            socket.is_some_and(|socket| socket.is_held) == (keep == Keep::Held)
        });
    }

    /// Begins a search: checks whether the root has ended.
    fn check_root(&mut self) -> Result<(), TreeError> {
        self.uncertain.clear();
        self.has_ended = self.has_ended || self.root_has_ended()?;
        Ok(())
    }

    /// Searches the tree for those of `listeners` that are not settled.
    fn search_for(&mut self, listeners: &[Listener]) -> Result<(), TreeError> {
        for _ in 0..SEARCHES_PER_POLL {
            if self.has_ended || listeners.iter().all(|listener| self.is_settled(listener)) {
                break;
            }
            let found = self.search(listeners)?;
            // If the root exited during the search, discard the result: the children of an
            // exited process get another parent.
            self.has_ended = self.root_has_ended()?;
            if !self.has_ended {
                self.sockets = found.sockets;
                self.unread = found.unread;
            }
            // Another search in this poll would not be able to read these processes, either.
            if self.unread.reason.is_some() {
                break;
            }
        }
        if self.unread.reason.is_some() {
            let unsettled = listeners.iter().filter(|l| !self.is_settled(l));
            self.uncertain = unsettled.cloned().collect();
        }
        Ok(())
    }

    /// Whether the source failed because the root has ended: its directory, from which the
    /// listeners are read, has disappeared.
    pub fn explains_error(&mut self) -> bool {
        if self.ends_with_place && self.root_has_ended().unwrap_or(false) {
            self.has_ended = true;
        }
        self.ends_with_place && self.has_ended
    }

    fn root_has_ended(&self) -> Result<bool, TreeError> {
        let directory = self.proc_root.join(self.root.to_string());
        match read_stat(&directory) {
            Ok(stat) => Ok(stat.has_ended || stat.start_time != self.start_time),
            Err(error) if is_process_gone(&error) => match is_hidden(&self.proc_root, self.root) {
                true => Err(TreeError::Hidden(self.root)),
                false => Ok(true),
            },
            Err(error) => Err(TreeError::Unreadable(directory.join("stat"), error)),
        }
    }

    fn find(&self, inode: u64) -> Option<&KnownSocket> {
        let sockets = &self.sockets;
        let index = sockets.binary_search_by_key(&inode, |socket| socket.inode);
        Some(&sockets[index.ok()?])
    }

    /// Whether no further search for this listener is needed: the tree holds it, or
    /// [`MOST_MISSES`] searches in a row did not find it.
    fn is_settled(&self, listener: &Listener) -> bool {
        self.find(listener.inode)
            .is_some_and(|socket| socket.is_held || socket.misses == MOST_MISSES)
    }

    /// Reads the descriptors of the whole tree. Returns what is known about the sockets of
    /// `listeners` afterwards.
    fn search(&self, listeners: &[Listener]) -> Result<Found, TreeError> {
        let inodes = inodes_of(listeners);
        let mut held: Vec<u64> = Vec::new();
        let (mut pids, unseen) = self.processes()?;
        let mut unread = Unread::default();
        for tries in 1.. {
            unread = Unread::default();
            self.read_tables(&pids, Descriptors::OfProcesses, &mut held, &mut unread)?;
            numbers::sort(&mut held);
            let is_due =
                |inode: &u64| held.binary_search(inode).is_err() && self.is_due_in_threads(*inode);
            if inodes.iter().any(is_due) {
                self.read_tables(&pids, Descriptors::OfThreads, &mut held, &mut unread)?;
                numbers::sort(&mut held);
            }
            let is_found = |inode: &u64| held.binary_search(inode).is_ok();
            let was_unread = |pid: &u32| self.unread.pids.contains(pid);
            if tries == MOST_TRIES
                || inodes.iter().all(is_found)
                || unread.pids.iter().all(was_unread)
                || self.is_late()
            {
                break;
            }
            pids.clone_from(&unread.pids);
            sys::wait_until_gone(Instant::now() + RETRY, None, None);
        }
        unread.reason = unread.reason.or(unseen);
        let socket = |inode: u64| {
            let (was_held, misses) = match self.find(inode) {
                Some(socket) => (socket.is_held, socket.misses),
                None => (false, 0),
            };
            let is_found = held.binary_search(&inode).is_ok();
            // An incomplete search proves nothing about a socket that it did not find.
            let (is_held, misses) = match unread.reason.is_none() {
                _ if is_found => (true, 0),
                true => (false, MOST_MISSES.min(misses + 1)),
                false => (was_held, misses),
            };
            KnownSocket {
                inode,
                is_held,
                misses,
            }
        };
        let sockets = inodes.into_iter().map(socket).collect();
        Ok(Found { sockets, unread })
    }

    /// Whether a search that does not find this socket in the processes also reads the
    /// descriptors of their threads. Only the first and the last search do: there are many
    /// threads, and hardly any has descriptors of its own.
    fn is_due_in_threads(&self, inode: u64) -> bool {
        let misses = self.find(inode).map_or(0, |socket| socket.misses);
        misses == 0 || misses == MOST_MISSES - 1
    }

    /// Whether the deadline of the searches of this poll has passed.
    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Adds the inodes of all sockets in these `descriptors` of the processes to `held`. Adds
    /// processes that may not be read to `unread`.
    fn read_tables(
        &self,
        pids: &[u32],
        descriptors: Descriptors,
        held: &mut Vec<u64>,
        unread: &mut Unread,
    ) -> Result<(), TreeError> {
        for &pid in pids {
            let process = self.proc_root.join(pid.to_string());
            let mut read = Ok(());
            match descriptors {
                Descriptors::OfProcesses => read = self.read_table(&process, held),
                Descriptors::OfThreads if unread.pids.contains(&pid) => {}
                Descriptors::OfThreads => {
                    // If this fails, the process has ended.
                    let _ = for_each_separate_table(&process, &mut |thread| {
                        read = self.read_table(thread, held);
                        match read {
                            Ok(()) => self.until_late(),
                            Err(_) => ControlFlow::Break(()),
                        }
                    });
                }
            }
            match read {
                Err((_, error)) if is_process_gone(&error) => {
                    if is_hidden(&self.proc_root, pid) {
                        unread.add(pid, hidden(pid));
                    }
                }
                Err((file, error)) if error.kind() == ErrorKind::PermissionDenied => {
                    unread.add(pid, reason(&file, &error));
                }
                Err((file, error)) => return Err(TreeError::Unreadable(file, error)),
                Ok(()) => {}
            }
            if self.is_late() {
                unread.reason.get_or_insert_with(too_long);
                break;
            }
        }
        Ok(())
    }

    /// Adds the inodes of the sockets in the descriptors of one process or thread to `held`.
    /// `directory` is the directory of the process or thread.
    ///
    /// # Errors
    /// If a descriptor or the directory of the descriptors cannot be read: the path of that
    /// directory, and the error.
    fn read_table(
        &self,
        directory: &Path,
        held: &mut Vec<u64>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let mut failed = Ok(());
        let read = for_each_descriptor_as_owner(directory, &mut |_, socket| {
            match socket {
                Ok(inode) => held.extend(inode),
                // The descriptor was closed after it was listed.
                Err(error) if is_process_gone(&error) => {}
                // Root without CAP_SYS_PTRACE may list descriptors, but not read them.
                Err(error) => failed = Err(error),
            }
            self.until_late()
        });
        match read.and(failed) {
            Err(error) if !has_no_descriptors(directory) => Err((directory.join("fd"), error)),
            _ => Ok(()),
        }
    }

    /// Continues until the deadline of this poll has passed.
    fn until_late(&self) -> ControlFlow<()> {
        match self.is_late() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    /// The ids of the root and its descendants. The second value says why some may be
    /// missing, and is `None` if the list is complete.
    fn processes(&self) -> Result<(Vec<u32>, Option<String>), TreeError> {
        if self.lists_children {
            return self.walk(|pid| children(&self.proc_root.join(pid.to_string())));
        }
        let mut parents: Vec<(u32, u32)> = Vec::new();
        let read = for_each_number_until(&self.proc_root, &mut |pid, directory| {
            parents.extend(read_stat(directory).ok().map(|stat| (stat.parent, pid)));
            self.until_late()
        });
        read.map_err(|error| TreeError::Unreadable(self.proc_root.clone(), error))?;
        let (pids, unseen) = self.walk(|pid| {
            let children = parents.iter().filter(|(parent, _)| *parent == pid);
            Ok(children.map(|(_, child)| *child).collect())
        })?;
        // The `stat` of a hidden process cannot be read, so the walk cannot find that process.
        let hides = unseen.is_none() && hides_processes(&self.proc_root);
        Ok((pids, unseen.or_else(|| hides.then(hidden_some))))
    }

    /// Walks the tree from the root with `children_of`, which returns the children of a
    /// process. Returns what [`Tree::processes`] returns.
    fn walk(
        &self,
        children_of: impl Fn(u32) -> io::Result<Vec<u32>>,
    ) -> Result<(Vec<u32>, Option<String>), TreeError> {
        // One bit for each id. Searching the list instead would take quadratic time.
        let mut listed = vec![0u64; PID_MAX_LIMIT as usize / 64 + 1];
        let mut is_new = |pid: u32| {
            let (word, bit) = (listed.get_mut(pid as usize / 64), 1 << (pid % 64));
            word.is_some_and(|word| std::mem::replace(word, *word | bit) & bit == 0)
        };
        is_new(self.root);
        let mut processes = vec![self.root];
        let mut next = 0;
        while let Some(&pid) = processes.get(next) {
            next += 1;
            if self.is_late() {
                return Ok((processes, Some(too_long())));
            }
            match children_of(pid) {
                Ok(children) => {
                    for child in children {
                        // A child whose parent ends during the walk can be listed twice.
                        if is_new(child) {
                            processes.push(child);
                        }
                    }
                }
                // If the threads may not be listed, the descriptors may not be read either,
                // so `read_tables` reports this process.
                Err(error)
                    if is_process_gone(&error) || error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => {
                    let directory = self.proc_root.join(pid.to_string());
                    return Err(TreeError::Unreadable(directory.join("task"), error));
                }
            }
        }
        Ok((processes, None))
    }
}

impl Unread {
    fn add(&mut self, pid: u32, reason: String) {
        self.pids.push(pid);
        self.reason.get_or_insert(reason);
    }
}

/// Checks that the process with this id and `directory` is in the network namespace whose
/// tables are in `place`. If its namespace may not be read, returns the reason.
fn require_in(
    directory: &Path,
    pid: u32,
    proc_root: &Path,
    place: &Path,
) -> Result<Option<String>, TreeError> {
    let looked_at = match place.as_os_str() == proc_root.as_os_str() {
        true => place.join("self"),
        false => place.to_path_buf(),
    };
    match network_namespace_link(&looked_at) {
        Ok(namespace) => match is_in(directory, &namespace) {
            Ok(true) => Ok(None),
            Ok(false) => Err(TreeError::OtherNamespace(pid)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Ok(Some(reason(&directory.join("ns/net"), &error)))
            }
            Err(_) => Ok(None),
        },
        // A copy of `/proc` has no links to namespaces.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TreeError::Unreadable(looked_at.join("ns/net"), error)),
    }
}

/// Whether a process with this id may run although `proc_root` does not show it.
fn is_hidden(proc_root: &Path, pid: u32) -> bool {
    !proc_root.join(pid.to_string()).exists()
        && match place::is_own(proc_root) {
            true => sys::is_running(pid),
            // Another `/proc` may number processes differently, so do not ask the kernel about
            // this id.
            false => hides_processes(proc_root),
        }
}

/// Whether any thread of the process with this directory is in the network namespace with
/// this link.
///
/// # Errors
/// If no thread is known to be there, and the namespace of some thread cannot be read.
fn is_in(directory: &Path, namespace: &OsStr) -> io::Result<bool> {
    let look = || {
        let mut is_in = Ok(false);
        for_each_number(
            &directory.join("task"),
            |_, thread| match network_namespace_link(thread) {
                Ok(found) if found == namespace => is_in = Ok(true),
                Err(error) if matches!(is_in, Ok(false)) => is_in = Err(error),
                _ => {}
            },
        )?;
        is_in
    };
    for _ in 1..MOST_TRIES {
        match look() {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                sys::wait_until_gone(Instant::now() + RETRY, None, None);
            }
            answer => return answer,
        }
    }
    look()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// A `/proc` with these processes, as (id, parent, inodes of the sockets).
    fn proc_with(processes: &[(u32, u32, &[u64])]) -> TempDir {
        let proc = TempDir::new().unwrap();
        for (pid, parent, inodes) in processes {
            let directory = proc.path().join(pid.to_string());
            fs::create_dir_all(directory.join("fd")).unwrap();
            let thread = directory.join("task").join(pid.to_string());
            fs::create_dir_all(&thread).unwrap();
            let stat = format!("{pid} (a) b) R) S {parent} {} 777\n", "0 ".repeat(17));
            fs::write(directory.join("stat"), stat).unwrap();
            for inode in *inodes {
                let fd = directory.join("fd").join(inode.to_string());
                symlink(format!("socket:[{inode}]"), fd).unwrap();
            }
            let children = processes.iter().filter(|(_, parent, _)| parent == pid);
            let children: String = children.map(|(child, ..)| format!("{child} ")).collect();
            fs::write(thread.join("children"), children).unwrap();
        }
        proc
    }

    /// A `/proc` with these processes, from a kernel that does not list children.
    fn proc_without_children(processes: &[(u32, u32, &[u64])]) -> TempDir {
        let proc = proc_with(processes);
        for (pid, ..) in processes {
            let children = format!("{pid}/task/{pid}/children");
            fs::remove_file(proc.path().join(children)).unwrap();
        }
        proc
    }

    fn snapshot(inodes: &[u64]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let listener = |inode: &u64| {
            let address = "::".parse().unwrap();
            let port = *inode as u16;
            Listener {
                inode: *inode,
                ..Listener::new(Protocol::Tcp, Endpoint { port, address })
            }
        };
        let fill = |listeners: &mut Vec<Listener>| {
            listeners.extend(inodes.iter().map(listener));
            Ok::<_, ()>(())
        };
        snapshot.refill(fill).unwrap();
        snapshot
    }

    /// The sockets among these that the tree holds.
    fn held(tree: &mut Tree, inodes: &[u64]) -> Vec<u64> {
        let mut snapshot = snapshot(inodes);
        tree.retain_held(&mut snapshot).unwrap();
        snapshot.listeners().iter().map(|l| l.inode).collect()
    }

    /// The sockets among these that the tree does not hold.
    fn not_held(tree: &mut Tree, inodes: &[u64]) -> Vec<u64> {
        let mut snapshot = snapshot(inodes);
        tree.remove_held(&mut snapshot).unwrap();
        snapshot.listeners().iter().map(|l| l.inode).collect()
    }

    const FAMILY: &[(u32, u32, &[u64])] = &[
        (1, 0, &[1]),
        (10, 1, &[10]),
        (11, 10, &[11, 10]),
        (12, 11, &[12]),
        (20, 1, &[20]),
    ];

    #[test]
    fn sockets_of_descendants_count_as_held() {
        for proc in [proc_with(FAMILY), proc_without_children(FAMILY)] {
            let held_by = |root| {
                held(
                    &mut Tree::new(proc.path(), root, Some(proc.path())).unwrap(),
                    &[1, 10, 11, 12, 20],
                )
            };
            assert_eq!(held_by(10), [10, 11, 12]);
            assert_eq!(held_by(11), [10, 11, 12], "inherited");
            assert_eq!(held_by(12), [12]);
            assert_eq!(held_by(1), [1, 10, 11, 12, 20]);
        }
    }

    #[test]
    fn remove_held_keeps_the_sockets_of_others() {
        let proc = proc_with(FAMILY);
        let mut tree = Tree::new(proc.path(), 11, None).unwrap();
        let others = not_held(&mut tree, &[0, 1, 10, 11, 12, 20]);
        assert_eq!(others, [0, 1, 20]);
    }

    #[test]
    fn sockets_stay_removed_after_the_root_has_ended() {
        let proc = proc_with(FAMILY);
        let mut tree = Tree::new(proc.path(), 11, None).unwrap();
        assert_eq!(not_held(&mut tree, &[0, 1, 10, 11, 12, 20]), [0, 1, 20]);
        fs::remove_dir_all(proc.path().join("11")).unwrap();
        // Socket 12 stays removed. Socket 13 opened after the end, so it is not removed.
        assert_eq!(not_held(&mut tree, &[1, 12, 13]), [1, 13]);
        assert_eq!(tree.ended_root(), Some(11));
    }

    #[test]
    fn a_tree_without_unsettled_sockets_is_not_read() {
        let proc = proc_with(FAMILY);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        for _ in 0..MOST_MISSES / SEARCHES_PER_POLL {
            assert_eq!(held(&mut tree, &[10, 20]), [10]);
        }
        // From now on, reading the tree is an error.
        fs::remove_dir_all(proc.path().join("10/fd")).unwrap();
        fs::write(proc.path().join("10/fd"), "").unwrap();
        assert_eq!(held(&mut tree, &[10, 20]), [10]);
        let mut snapshot = snapshot(&[10, 11]);
        let error = tree.retain_held(&mut snapshot).unwrap_err().to_string();
        assert!(error.contains("10/fd: Not a directory"), "{error}");
    }

    #[test]
    fn searches_for_others_do_not_lose_a_held_socket() {
        let proc = proc_with(FAMILY);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        for stranger in 20..26 {
            assert_eq!(held(&mut tree, &[12, stranger]), [12]);
            let socket = tree.sockets.iter().find(|socket| socket.inode == 12);
            assert_eq!(socket.unwrap().misses, 0);
        }
        let missed = tree.search(snapshot(&[12, 13]).listeners()).unwrap();
        assert!(
            missed
                .sockets
                .iter()
                .all(|socket| socket.misses < MOST_MISSES)
        );
    }

    #[test]
    fn an_ended_root_holds_no_new_sockets() {
        let proc = proc_with(FAMILY);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        assert_eq!(held(&mut tree, &[11, 12]), [11, 12]);
        assert_eq!(tree.ended_root(), None);
        fs::remove_dir_all(proc.path().join("10")).unwrap();
        assert_eq!(held(&mut tree, &[10, 12, 20]), [12]);
        assert_eq!(tree.ended_root(), Some(10));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_the_root() {
        let proc = proc_with(FAMILY);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        let stat = proc.path().join("10/stat");
        let later = fs::read_to_string(&stat).unwrap().replace(" 777", " 778");
        fs::write(stat, later).unwrap();
        assert_eq!(held(&mut tree, &[10]), [0; 0]);
        assert_eq!(tree.ended_root(), Some(10));
    }

    #[test]
    fn a_zombie_counts_as_ended() {
        let proc = proc_with(FAMILY);
        let stat = proc.path().join("20/stat");
        let zombie = fs::read_to_string(&stat).unwrap().replace(" S ", " Z ");
        fs::write(stat, zombie).unwrap();
        let error = Tree::new(proc.path(), 20, Some(proc.path())).unwrap_err();
        assert_eq!(error.to_string(), " 20: the process has ended");
    }

    #[test]
    fn an_unknown_process_id_is_an_error() {
        let proc = proc_with(FAMILY);
        let error = Tree::new(proc.path(), 30, Some(proc.path())).unwrap_err();
        let expected = " 30: no such process in this PID namespace";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_listener_without_an_inode_is_an_error() {
        let proc = proc_with(FAMILY);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        let unknown = tree.retain_held(&mut snapshot(&[0])).unwrap_err();
        assert_eq!(unknown.to_string(), ": a listener has no inode");
    }
}
