//! Which sockets are held by one process or by one that descends from it, for
//! `--of`. Only the processes of that tree are read, so the cost follows the tree
//! and not the machine.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::gaps::Doubt;
use super::holders::inodes_of;
use crate::kernel::proc::process::{
    children, for_each_descriptor, for_each_number, has_ended, is_of_ended, read_stat,
};
use crate::listener::Listener;
use crate::snapshot::Snapshot;
use crate::sys;

/// A socket that so many searches in a row have not found is one of others. One search
/// can miss a process: the kernel's list of children may lack some while others end
/// (proc(5)).
const MOST_MISSES: u8 = 6;
/// So many of these searches are made at one poll. The others wait for the next polls:
/// a socket may just be passed on within the tree.
const SEARCHES_PER_POLL: u8 = 2;
/// While a process executes a program or ends, its files belong to root. So what is
/// refused is tried so often, with this pause between two tries.
const MOST_TRIES: usize = 20;
const RETRY: Duration = Duration::from_millis(1);

/// Process ids are lower (`PID_MAX_LIMIT` of the kernel).
const MOST_PIDS: usize = 4 << 20;

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
    /// Sorted by inode.
    sockets: Vec<Socket>,
    /// Why the network namespace of the root may not be read, if it may not. Its listeners
    /// may then be in another one.
    namespace_refusal: Option<String>,
    /// What the last search was not allowed to read.
    refused: Refused,
    /// The listeners of the last snapshot that a refused process may hold, and that no
    /// other process of the tree holds.
    uncertain: Vec<Listener>,
}

/// The processes of the tree whose descriptors this process may not read.
#[derive(Debug, Default)]
struct Refused {
    pids: Vec<u32>,
    /// Why, for the first of them.
    reason: String,
}

/// What one search found.
#[derive(Debug)]
struct Found {
    /// Sorted by inode.
    sockets: Vec<Socket>,
    refused: Refused,
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
    /// No process has this id.
    NoProcess(u32),
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

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TreeError::NoProcess(pid) => {
                write!(f, "--of {pid}: no such process in this PID namespace")
            }
            TreeError::Ended(pid) => write!(f, "--of {pid}: the process has ended"),
            TreeError::Unreadable(path, error) => {
                write!(f, "--of: {}", reason(path, error))
            }
            TreeError::OtherNamespace(pid) => write!(
                f,
                "--of {pid}: the process is in another network namespace (--pid {pid} looks there)"
            ),
            TreeError::NoInode => f.write_str("--of: a listener has no inode"),
        }
    }
}

impl std::error::Error for TreeError {}

/// Why this file cannot be read, and what reading it needs.
fn reason(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("{path}: {error} (needs the process's user, or root with CAP_SYS_PTRACE)")
        }
        _ => format!("{path}: {error}"),
    }
}

impl Tree {
    /// The tree of the process with the id `root`, as this `/proc` numbers it. Listeners
    /// are read from the `net` in `place`: in `/proc`, or in the directory of a process.
    ///
    /// # Errors
    /// If there is no such process, or if it is in another network namespace. A process
    /// whose descriptors may not be read is no error, because a descendant that can be read
    /// may hold the same sockets.
    pub fn new(proc_root: &Path, root: u32, place: &Path) -> Result<Tree, TreeError> {
        let directory = proc_root.join(root.to_string());
        let stat = read_stat(&directory).map_err(|error| match error.kind() {
            ErrorKind::NotFound => TreeError::NoProcess(root),
            _ => TreeError::Unreadable(directory.join("stat"), error),
        })?;
        if stat.has_ended {
            return Err(TreeError::Ended(root));
        }
        // A thread has a directory too, but is listed in that of its process only.
        let task = directory.join("task").join(root.to_string());
        if !task.exists() {
            return Err(TreeError::NoProcess(root));
        }
        let looked_at = match place == proc_root {
            true => place.join("self/ns/net"),
            false => place.join("ns/net"),
        };
        let mut namespace_refusal = None;
        match fs::read_link(&looked_at) {
            Ok(namespace) => match is_in(&directory, &namespace) {
                Ok(true) => {}
                Ok(false) => return Err(TreeError::OtherNamespace(root)),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    namespace_refusal = Some(reason(&directory.join("ns/net"), &error));
                }
                Err(_) => {}
            },
            // A saved `/proc` has none.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(TreeError::Unreadable(looked_at, error)),
        }
        Ok(Tree {
            proc_root: proc_root.to_path_buf(),
            root,
            start_time: stat.start_time,
            has_ended: false,
            ends_with_place: place == directory,
            lists_children: task.join("children").exists(),
            sockets: Vec::new(),
            namespace_refusal,
            refused: Refused::default(),
            uncertain: Vec::new(),
        })
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
                reason: self.refused.reason.clone(),
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
        self.uncertain.clear();
        self.has_ended = self.has_ended || self.root_has_ended()?;
        let listeners = snapshot.listeners();
        if listeners.iter().any(|listener| listener.inode == 0) {
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
                self.refused = found.refused;
            }
            // The next search would be refused the same.
            if !self.refused.pids.is_empty() {
                break;
            }
        }
        if !self.refused.pids.is_empty() {
            let unsettled = listeners.iter().filter(|l| !self.is_settled(l));
            self.uncertain = unsettled.cloned().collect();
        }
        snapshot.retain(|listener| {
            self.find(listener.inode)
                .is_some_and(|socket| socket.is_held)
        });
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
            Err(error) if is_of_ended(&error) => Ok(true),
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

    /// Reads the descriptors of the whole tree. Returns what is known then of the
    /// sockets of `listeners`.
    fn search(&self, listeners: &[Listener]) -> Result<Found, TreeError> {
        let inodes = inodes_of(listeners);
        let mut held: Vec<u64> = Vec::new();
        let mut refused = Refused {
            pids: self.processes()?,
            ..Refused::default()
        };
        for tries in 1.. {
            refused = self.read_descriptors(refused.pids, &mut held)?;
            held.sort_unstable();
            let is_found = |inode: &u64| held.binary_search(inode).is_ok();
            let was_refused = |pid: &u32| self.refused.pids.contains(pid);
            if tries == MOST_TRIES
                || inodes.iter().all(is_found)
                || refused.pids.iter().all(was_refused)
            {
                break;
            }
            sys::wait_until_gone(Instant::now() + RETRY, None, None);
        }
        let socket = |inode: u64| {
            let (was_held, misses) = match self.find(inode) {
                Some(socket) => (socket.is_held, socket.misses),
                None => (false, 0),
            };
            let is_found = held.binary_search(&inode).is_ok();
            // Nothing is lost because something may not be read.
            let (is_held, misses) = match refused.pids.is_empty() {
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
        Ok(Found { sockets, refused })
    }

    /// Adds the inodes of all sockets that these processes hold to `held`. Returns those
    /// processes whose descriptors may not be read.
    fn read_descriptors(
        &self,
        mut pids: Vec<u32>,
        held: &mut Vec<u64>,
    ) -> Result<Refused, TreeError> {
        let mut first = None;
        let mut failure = None;
        pids.retain(|pid| {
            let directory = self.proc_root.join(pid.to_string());
            let descriptors = directory.join("fd");
            let mut forbidden = None;
            let read = for_each_descriptor(&directory, &mut |_, socket| {
                match socket {
                    Ok(inode) => held.extend(inode),
                    // A descriptor that was closed meanwhile.
                    Err(error) if is_of_ended(&error) => {}
                    // Root without CAP_SYS_PTRACE can list what it may not read.
                    Err(error) => forbidden = Some(error),
                }
                ControlFlow::Continue(())
            });
            let Err(error) = read.and(forbidden.map_or(Ok(()), Err)) else {
                return false;
            };
            if is_of_ended(&error) || has_ended(&directory) {
                return false;
            }
            match error.kind() {
                ErrorKind::PermissionDenied => {
                    first.get_or_insert_with(|| reason(&descriptors, &error));
                }
                _ => failure = Some(TreeError::Unreadable(descriptors, error)),
            }
            true
        });
        match failure {
            Some(failure) => Err(failure),
            None => Ok(Refused {
                pids,
                reason: first.unwrap_or_default(),
            }),
        }
    }

    /// The ids of the root and its descendants.
    fn processes(&self) -> Result<Vec<u32>, TreeError> {
        match self.lists_children {
            true => self.walk(|pid| children(&self.proc_root.join(pid.to_string()))),
            false => {
                let mut parents: Vec<(u32, u32)> = Vec::new();
                let read = for_each_number(&self.proc_root, |pid, directory| {
                    parents.extend(read_stat(directory).ok().map(|stat| (stat.parent, pid)));
                });
                read.map_err(|error| TreeError::Unreadable(self.proc_root.clone(), error))?;
                self.walk(|pid| {
                    let of_pid = parents.iter().filter(|(parent, _)| *parent == pid);
                    Ok(of_pid.map(|(_, child)| *child).collect())
                })
            }
        }
    }

    fn walk(
        &self,
        children_of: impl Fn(u32) -> io::Result<Vec<u32>>,
    ) -> Result<Vec<u32>, TreeError> {
        // A bit for each id. Looking through the list would take the square of its length.
        let mut listed = vec![0u64; MOST_PIDS / 64];
        let mut is_new = |pid: u32| {
            let (word, bit) = (listed.get_mut(pid as usize / 64), 1 << (pid % 64));
            word.is_some_and(|word| std::mem::replace(word, *word | bit) & bit == 0)
        };
        is_new(self.root);
        let mut processes = vec![self.root];
        let mut next = 0;
        while let Some(&pid) = processes.get(next) {
            next += 1;
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
                // `read_descriptors` reports this process as refused.
                Err(error)
                    if is_of_ended(&error) || error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => {
                    let directory = self.proc_root.join(pid.to_string());
                    return Err(TreeError::Unreadable(directory.join("task"), error));
                }
            }
        }
        Ok(processes)
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
        for_each_number(&directory.join("task"), |_, thread| {
            match fs::read_link(thread.join("ns/net")) {
                Ok(of_thread) if of_thread == namespace => is_in = Ok(true),
                Err(error) if matches!(is_in, Ok(false)) => is_in = Err(error),
                _ => {}
            }
        })?;
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
                    &mut Tree::new(proc.path(), pid, proc.path()).unwrap(),
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
    fn the_tree_is_read_only_while_a_socket_is_not_settled() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10, proc.path()).unwrap();
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
        let mut tree = Tree::new(proc.path(), 10, proc.path()).unwrap();
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
        let mut tree = Tree::new(proc.path(), 10, proc.path()).unwrap();
        assert_eq!(held(&mut tree, &[11, 12]), [11, 12]);
        assert_eq!(tree.ended_root(), None);
        fs::remove_dir_all(proc.path().join("10")).unwrap();
        assert_eq!(held(&mut tree, &[10, 12, 20]), [12]);
        assert_eq!(tree.ended_root(), Some(10));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_the_root() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10, proc.path()).unwrap();
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
            Tree::new(proc.path(), pid, proc.path())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(20), "--of 20: the process has ended");
        assert_eq!(error(30), "--of 30: no such process in this PID namespace");
        let mut tree = Tree::new(proc.path(), 10, proc.path()).unwrap();
        let unknown = tree.retain_held(&mut snapshot(&[0])).unwrap_err();
        assert_eq!(unknown.to_string(), "--of: a listener has no inode");
    }
}
