//! Which sockets are held by one process or by one that descends from it, for
//! `--of` and `--exclude-of`. Only the processes of that tree are read, so the cost follows the tree
//! and not the machine.

use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::gaps::Doubt;
use super::holders::{DEADLINE, NEEDS, inodes_of};
use super::place;
use crate::kernel::proc::hidepid::hides_processes;
use crate::kernel::proc::process::{
    children, for_each_descriptor_as_owner, for_each_further_table, for_each_number,
    for_each_number_until, has_no_descriptors, is_of_ended, network_namespace_link, read_stat,
};
use crate::listener::Listener;
use crate::snapshot::Snapshot;
use crate::sys;

/// Every process has a smaller id (`include/linux/threads.h` of the kernel).
const PID_MAX_LIMIT: u32 = 4 * 1024 * 1024;
/// A socket that this many searches in a row did not find belongs to a process outside the
/// tree. One search can miss a process, because the kernel's list of children may lack some
/// while others end (proc(5)).
const MOST_MISSES: u8 = 6;
/// So many of these searches are made at one poll. The others wait for the next polls:
/// a socket may just be passed on within the tree.
const SEARCHES_PER_POLL: u8 = 2;
/// While a process executes a program or ends, its files belong to root. So what is
/// refused is tried so often, with this pause between two tries.
const MOST_TRIES: usize = 20;
const RETRY: Duration = Duration::from_millis(1);

/// A process and its descendants, and what is known of the sockets they hold.
#[derive(Debug)]
pub struct Tree {
    proc_root: PathBuf,
    root: u32,
    /// When the root was started, which tells it from a later process with its id.
    start_time: u64,
    has_ended: bool,
    /// The listeners are read from the directory of the root, which ends with it.
    ends_with_place: bool,
    /// Whether the kernel lists children (`CONFIG_PROC_CHILDREN`). Where it does not,
    /// all processes are asked for their parent.
    lists_children: bool,
    /// When the searches of the current poll end.
    deadline: Instant,
    /// Sorted by inode.
    sockets: Vec<Socket>,
    /// Why the network namespace of the root may not be read, if it may not. Its listeners
    /// may then be in another one.
    namespace_refusal: Option<String>,
    /// What the last search could not read.
    unread: Unread,
    /// The listeners of the last snapshot that an unread process may hold, and that no
    /// other process of the tree holds.
    uncertain: Vec<Listener>,
}

/// What a search could not read of the tree.
#[derive(Debug, Default)]
struct Unread {
    /// The processes whose descriptors this process may not read, or that it cannot see.
    pids: Vec<u32>,
    /// Why something was not read, for the first that was not. `None` if all was read.
    reason: Option<String>,
}

/// What one search found.
#[derive(Debug)]
struct Found {
    /// Sorted by inode.
    sockets: Vec<Socket>,
    unread: Unread,
}

/// A socket that was searched for.
#[derive(Clone, Copy, Debug)]
struct Socket {
    inode: u64,
    is_held: bool,
    /// How many searches in a row have not found it. Only those count that could read
    /// every process.
    misses: u8,
}

/// Why it cannot be told which sockets the tree holds.
#[derive(Debug)]
pub enum TreeError {
    /// No process has this id. One may have had it.
    NoProcess(u32),
    /// The process with this id runs, but `/proc` does not show it.
    Hidden(u32),
    /// This cannot be the id of a process: it is a thread's, or too large.
    NotOfProcess(u32),
    /// The process with this id has ended.
    Ended(u32),
    /// A file or directory of a process of the tree cannot be read.
    Unreadable(PathBuf, io::Error),
    /// The process with this id is in another network namespace than the one that is
    /// looked at.
    OtherNamespace(u32),
    /// A listener has no inode.
    NoInode,
}

/// What follows the name of the option in a message.
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

/// Why this file cannot be read, and what reading it needs.
fn reason(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{path}: {error} (needs the process's user, or {NEEDS})")
        }
        _ => format!("{path}: {error}"),
    }
}

const SHOWS_ALL: &str = "/proc mounted without hidepid, the process's user";

/// Why this process cannot be seen.
fn hidden(pid: u32) -> String {
    format!("/proc does not show process {pid} (needs {SHOWS_ALL}, or {NEEDS})")
}

/// Why processes may be missing.
fn hidden_some() -> String {
    format!("/proc does not show all processes (needs {SHOWS_ALL}, or {NEEDS})")
}

/// Why not everything was read.
fn too_long() -> String {
    let seconds = DEADLINE.as_secs();
    format!("reading the descriptors of all its processes takes more than {seconds} s")
}

impl Tree {
    /// The tree of the process with the id `root`, as this `/proc` numbers it. If it must be
    /// in the network namespace of the listeners, they are read from the `net` in `place`: in
    /// `/proc`, or in the directory of a process.
    ///
    /// # Errors
    /// If there is no such process, or if it must be in that namespace and is in another. A process
    /// whose descriptors may not be read is no error, because a descendant that can be read
    /// may hold the same sockets.
    pub fn new(proc_root: &Path, root: u32, place: Option<&Path>) -> Result<Tree, TreeError> {
        let directory = proc_root.join(root.to_string());
        let stat = read_stat(&directory).map_err(|error| match is_of_ended(&error) {
            true if is_hidden(proc_root, root) => TreeError::Hidden(root),
            true if root > PID_MAX_LIMIT => TreeError::NotOfProcess(root),
            true => TreeError::NoProcess(root),
            false => TreeError::Unreadable(directory.join("stat"), error),
        })?;
        if stat.has_ended {
            return Err(TreeError::Ended(root));
        }
        // A thread has a directory too, but is listed in that of its process only.
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
            ends_with_place: place == Some(&directory),
            deadline: Instant::now() + DEADLINE,
            lists_children: task.join("children").exists(),
            sockets: Vec::new(),
            namespace_refusal,
            unread: Unread::default(),
            uncertain: Vec::new(),
        })
    }

    /// Begins a poll, of one or several snapshots. Their searches have one deadline.
    pub fn start_poll(&mut self) {
        self.deadline = Instant::now() + DEADLINE;
    }

    /// The root, if it has ended, as of the last call of [`Tree::retain_held`].
    pub fn ended_root(&self) -> Option<u32> {
        self.has_ended.then_some(self.root)
    }

    /// The listeners of the last snapshot that the tree may hold. When the root has ended,
    /// all is known.
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

    /// Keeps only the listeners of `snapshot` that the tree certainly holds: one process
    /// that can be read is enough for each. The tree is read if there is a socket that is
    /// not known yet. When the root has ended, nothing new belongs to the tree.
    ///
    /// # Errors
    /// If the tree cannot be read for another reason than a lack of permission, or a
    /// listener has no inode.
    pub fn retain_held(&mut self, snapshot: &mut Snapshot) -> Result<(), TreeError> {
        let listeners = snapshot.listeners();
        let has_unknown = listeners.iter().any(|listener| listener.inode == 0);
        self.search_for(listeners, has_unknown)?;
        self.retain(snapshot, true);
        Ok(())
    }

    /// Removes the listeners of `snapshot` that the tree certainly holds. Searches as
    /// [`Tree::retain_held`] does.
    ///
    /// # Errors
    /// If the tree cannot be read for another reason than a lack of permission. Those that
    /// it is known to hold are removed all the same.
    pub fn remove_held(&mut self, snapshot: &mut Snapshot) -> Result<(), TreeError> {
        let result = self.search_for(snapshot.listeners(), false);
        self.retain(snapshot, false);
        result
    }

    /// Keeps the listeners that are known to be held, or the others.
    fn retain(&self, snapshot: &mut Snapshot, held: bool) {
        snapshot.retain(&|listener| {
            let socket = self.find(listener.inode);
            socket.is_some_and(|socket| socket.is_held) == held
        });
    }

    /// Searches the tree for those of `listeners` that are not settled. If one `is_unknown`,
    /// that is an error once the root is known to run.
    fn search_for(&mut self, listeners: &[Listener], is_unknown: bool) -> Result<(), TreeError> {
        self.uncertain.clear();
        self.has_ended = self.has_ended || self.root_has_ended()?;
        if is_unknown {
            return Err(TreeError::NoInode);
        }
        for _ in 0..SEARCHES_PER_POLL {
            if self.has_ended || listeners.iter().all(|listener| self.is_settled(listener)) {
                break;
            }
            let found = self.search(listeners)?;
            // What was found while the root ended is not its tree.
            self.has_ended = self.root_has_ended()?;
            if !self.has_ended {
                self.sockets = found.sockets;
                self.unread = found.unread;
            }
            // The next search would not read it, either.
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

    /// Whether an error of the source means that the root has ended, and with it the
    /// place that listeners are read from.
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
            Err(error) if is_of_ended(&error) => match is_hidden(&self.proc_root, self.root) {
                true => Err(TreeError::Hidden(self.root)),
                false => Ok(true),
            },
            Err(error) => Err(TreeError::Unreadable(directory.join("stat"), error)),
        }
    }

    fn find(&self, inode: u64) -> Option<&Socket> {
        let sockets = &self.sockets;
        let place = sockets.binary_search_by_key(&inode, |socket| socket.inode);
        Some(&sockets[place.ok()?])
    }

    fn is_settled(&self, listener: &Listener) -> bool {
        self.find(listener.inode)
            .is_some_and(|socket| socket.is_held || socket.misses == MOST_MISSES)
    }

    /// Reads the descriptors of the whole tree. Returns what is known then of the sockets of
    /// `listeners`.
    fn search(&self, listeners: &[Listener]) -> Result<Found, TreeError> {
        let inodes = inodes_of(listeners);
        let mut held: Vec<u64> = Vec::new();
        let (mut pids, unseen) = self.processes()?;
        let mut unread = Unread::default();
        for tries in 1.. {
            unread = Unread::default();
            self.read_tables(&pids, false, &mut held, &mut unread)?;
            held.sort_unstable();
            let is_due =
                |inode: &u64| held.binary_search(inode).is_err() && self.is_due_in_threads(*inode);
            if inodes.iter().any(is_due) {
                self.read_tables(&pids, true, &mut held, &mut unread)?;
                held.sort_unstable();
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
            // Nothing is lost because something may not be read.
            let (is_held, misses) = match unread.reason.is_none() {
                _ if is_found => (true, 0),
                true => (false, MOST_MISSES.min(misses + 1)),
                false => (was_held, misses),
            };
            Socket {
                inode,
                is_held,
                misses,
            }
        };
        let sockets = inodes.into_iter().map(socket).collect();
        Ok(Found { sockets, unread })
    }

    /// Whether a search that does not find this socket in the descriptors of the processes
    /// also reads those of their threads. Threads are many, and hardly one has its own, so
    /// only the first and the last search do.
    fn is_due_in_threads(&self, inode: u64) -> bool {
        let misses = self.find(inode).map_or(0, |socket| socket.misses);
        misses == 0 || misses == MOST_MISSES - 1
    }

    /// Whether the searches of this poll have taken as long as they may.
    fn is_late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Adds the inodes of all sockets that these processes hold to `held`, or those that
    /// only some of their threads hold. Adds what may not be read to `unread`.
    fn read_tables(
        &self,
        pids: &[u32],
        of_threads: bool,
        held: &mut Vec<u64>,
        unread: &mut Unread,
    ) -> Result<(), TreeError> {
        for &pid in pids {
            let process = self.proc_root.join(pid.to_string());
            let mut read = Ok(());
            if !of_threads {
                read = self.read_table(&process, held);
            } else if !unread.pids.contains(&pid) {
                // An error means that the process has ended.
                let _ = for_each_further_table(&process, &mut |thread| {
                    read = self.read_table(thread, held);
                    self.go_on_if(read.is_ok())
                });
            }
            match read {
                Err((_, error)) if is_of_ended(&error) => {
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

    /// Adds the inodes of all sockets in the descriptors of the process or thread with this
    /// directory to `held`.
    ///
    /// # Errors
    /// If some cannot be read, with their directory.
    fn read_table(
        &self,
        directory: &Path,
        held: &mut Vec<u64>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let mut failed = Ok(());
        let read = for_each_descriptor_as_owner(directory, &mut |_, socket| {
            match socket {
                Ok(inode) => held.extend(inode),
                // A descriptor that was closed meanwhile.
                Err(error) if is_of_ended(&error) => {}
                // Root without CAP_SYS_PTRACE can list what it may not read.
                Err(error) => failed = Err(error),
            }
            self.go_on_if(true)
        });
        match read.and(failed) {
            Err(error) if !has_no_descriptors(directory) => Err((directory.join("fd"), error)),
            _ => Ok(()),
        }
    }

    fn go_on_if(&self, goes_on: bool) -> ControlFlow<()> {
        match goes_on && !self.is_late() {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    /// The ids of the root and its descendants, and why some may be missing, if some may.
    fn processes(&self) -> Result<(Vec<u32>, Option<String>), TreeError> {
        if self.lists_children {
            return self.walk(|pid| children(&self.proc_root.join(pid.to_string())));
        }
        let mut parents: Vec<(u32, u32)> = Vec::new();
        let read = for_each_number_until(&self.proc_root, &mut |pid, directory| {
            parents.extend(read_stat(directory).ok().map(|stat| (stat.parent, pid)));
            self.go_on_if(true)
        });
        read.map_err(|error| TreeError::Unreadable(self.proc_root.clone(), error))?;
        let (pids, unseen) = self.walk(|pid| {
            let of_pid = parents.iter().filter(|(parent, _)| *parent == pid);
            Ok(of_pid.map(|(_, child)| *child).collect())
        })?;
        // The parents do not name those that are hidden.
        let hides = unseen.is_none() && hides_processes(&self.proc_root);
        Ok((pids, unseen.or_else(|| hides.then(hidden_some))))
    }

    fn walk(
        &self,
        children_of: impl Fn(u32) -> io::Result<Vec<u32>>,
    ) -> Result<(Vec<u32>, Option<String>), TreeError> {
        // A bit for each id. Looking through the list would take the square of its length.
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
                        // One whose parent ended meanwhile can come twice.
                        if is_new(child) {
                            processes.push(child);
                        }
                    }
                }
                // Where threads may not be listed, descriptors may not be either, so
                // `read_tables` reports this process.
                Err(error)
                    if is_of_ended(&error) || error.kind() == ErrorKind::PermissionDenied => {}
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

/// Checks that the process with this id and `directory` is in the network namespace of
/// `place`. Returns why that is not known, if it may not be read.
fn require_in(
    directory: &Path,
    pid: u32,
    proc_root: &Path,
    place: &Path,
) -> Result<Option<String>, TreeError> {
    let looked_at = match place == proc_root {
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
        // A saved `/proc` has none.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TreeError::Unreadable(looked_at.join("ns/net"), error)),
    }
}

/// Whether a process with this id may run although `proc_root` does not show it.
fn is_hidden(proc_root: &Path, pid: u32) -> bool {
    !proc_root.join(pid.to_string()).exists()
        && match place::is_own(proc_root) {
            true => sys::is_running(pid),
            // Another `/proc` may have other ids.
            false => hides_processes(proc_root),
        }
}

/// Whether a thread of the process with this directory is in the network namespace with
/// this link.
///
/// # Errors
/// If no thread was found there, and the namespace of one cannot be read.
fn is_in(directory: &Path, namespace: &Path) -> io::Result<bool> {
    let look = || {
        let mut is_in = Ok(false);
        for_each_number(
            &directory.join("task"),
            |_, thread| match network_namespace_link(thread) {
                Ok(of_thread) if of_thread == namespace => is_in = Ok(true),
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

    /// A `/proc` with processes: pid, parent and the inodes of its sockets. With
    /// `children` the kernel lists them.
    fn proc_with(processes: &[(u32, u32, &[u64])], has_children: bool) -> TempDir {
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
            if has_children {
                let of_pid = processes.iter().filter(|(_, parent, _)| parent == pid);
                let children: String = of_pid.map(|(child, ..)| format!("{child} ")).collect();
                fs::write(thread.join("children"), children).unwrap();
            }
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

    fn held(tree: &mut Tree, inodes: &[u64]) -> Vec<u64> {
        let mut snapshot = snapshot(inodes);
        tree.retain_held(&mut snapshot).unwrap();
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
    fn the_sockets_of_a_process_and_its_descendants_are_held() {
        for has_children in [true, false] {
            let proc = proc_with(FAMILY, has_children);
            let of = |pid| {
                held(
                    &mut Tree::new(proc.path(), pid, Some(proc.path())).unwrap(),
                    &[1, 10, 11, 12, 20],
                )
            };
            assert_eq!(of(10), [10, 11, 12]);
            assert_eq!(of(11), [10, 11, 12], "inherited");
            assert_eq!(of(12), [12]);
            assert_eq!(of(1), [1, 10, 11, 12, 20]);
        }
    }

    #[test]
    fn what_the_tree_holds_can_be_left_out() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 11, None).unwrap();
        let mut left = |inodes: &[u64]| {
            let mut snapshot = snapshot(inodes);
            tree.remove_held(&mut snapshot).unwrap();
            let listeners = snapshot.listeners().iter();
            listeners.map(|listener| listener.inode).collect::<Vec<_>>()
        };
        assert_eq!(left(&[0, 1, 10, 11, 12, 20]), [0, 1, 20]);
        // What it was seen to hold stays out when it has ended. What opens then does not.
        fs::remove_dir_all(proc.path().join("11")).unwrap();
        assert_eq!(left(&[1, 12, 13]), [1, 13]);
        assert_eq!(tree.ended_root(), Some(11));
    }

    #[test]
    fn the_tree_is_read_only_while_a_socket_is_not_settled() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        for _ in 0..MOST_MISSES / SEARCHES_PER_POLL {
            assert_eq!(held(&mut tree, &[10, 20]), [10]);
        }
        // Were the tree read now, this would be an error.
        fs::remove_dir_all(proc.path().join("10/fd")).unwrap();
        fs::write(proc.path().join("10/fd"), "").unwrap();
        assert_eq!(held(&mut tree, &[10, 20]), [10]);
        let mut snapshot = snapshot(&[10, 11]);
        let error = tree.retain_held(&mut snapshot).unwrap_err().to_string();
        assert!(error.contains("10/fd: Not a directory"), "{error}");
    }

    /// A search that misses a process is one that finds nothing: it is repeated.
    #[test]
    fn a_held_socket_is_not_lost_by_searches_for_others() {
        let proc = proc_with(FAMILY, true);
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
    fn when_the_root_has_ended_nothing_new_is_held() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        assert_eq!(held(&mut tree, &[11, 12]), [11, 12]);
        assert_eq!(tree.ended_root(), None);
        fs::remove_dir_all(proc.path().join("10")).unwrap();
        assert_eq!(held(&mut tree, &[10, 12, 20]), [12]);
        assert_eq!(tree.ended_root(), Some(10));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_the_root() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        let stat = proc.path().join("10/stat");
        let later = fs::read_to_string(&stat).unwrap().replace(" 777", " 778");
        fs::write(stat, later).unwrap();
        assert_eq!(held(&mut tree, &[10]), [0; 0]);
        assert_eq!(tree.ended_root(), Some(10));
    }

    #[test]
    fn a_zombie_has_ended_and_a_process_that_is_none_is_an_error() {
        let proc = proc_with(FAMILY, true);
        let stat = proc.path().join("20/stat");
        let zombie = fs::read_to_string(&stat).unwrap().replace(" S ", " Z ");
        fs::write(stat, zombie).unwrap();
        let error = |pid| {
            Tree::new(proc.path(), pid, Some(proc.path()))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(20), " 20: the process has ended");
        assert_eq!(error(30), " 30: no such process in this PID namespace");
        let mut tree = Tree::new(proc.path(), 10, Some(proc.path())).unwrap();
        let unknown = tree.retain_held(&mut snapshot(&[0])).unwrap_err();
        assert_eq!(unknown.to_string(), ": a listener has no inode");
    }
}
