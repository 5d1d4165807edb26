//! Which sockets are held by one process or by one that descends from it, for
//! `--of`. Only the processes of that tree are read, so the cost follows the tree
//! and not the machine.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::holders::{for_each_number, read_some, socket_inode};
use crate::listener::Listener;
use crate::snapshot::Snapshot;

/// A socket is searched for so often before it counts as one of others. The kernel's
/// list of children can lack some while others end (proc(5)).
const MOST_SEARCHES: u8 = 3;

/// A process and its descendants, and what is known of the sockets they hold.
#[derive(Debug)]
pub struct Tree {
    proc_root: PathBuf,
    root: u32,
    /// When the root was started, which tells it from a later process with its id.
    start_time: u64,
    has_ended: bool,
    /// Sorted by inode.
    sockets: Vec<Socket>,
}

/// A socket that was searched for.
#[derive(Clone, Copy, Debug)]
struct Socket {
    inode: u64,
    is_held: bool,
    searches: u8,
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
                write!(f, "--of: {}: {error}", path.display())?;
                match error.kind() {
                    ErrorKind::PermissionDenied => {
                        f.write_str(" (needs the process's user, or root with CAP_SYS_PTRACE)")
                    }
                    _ => Ok(()),
                }
            }
            TreeError::NoInode => f.write_str("--of: a listener has no inode"),
        }
    }
}

impl std::error::Error for TreeError {}

impl Tree {
    /// The tree of the process with the id `root`, as this `/proc` numbers it.
    ///
    /// # Errors
    /// If there is no such process, or its descriptors may not be read.
    pub fn new(proc_root: &Path, root: u32) -> Result<Tree, TreeError> {
        let directory = proc_root.join(root.to_string());
        let stat = read_stat(&directory).map_err(|error| match error.kind() {
            ErrorKind::NotFound => TreeError::NoProcess(root),
            _ => TreeError::Unreadable(directory.join("stat"), error),
        })?;
        if stat.has_ended {
            return Err(TreeError::Ended(root));
        }
        let descriptors = directory.join("fd");
        match fs::read_dir(&descriptors) {
            Err(error) => Err(TreeError::Unreadable(descriptors, error)),
            Ok(_) => Ok(Tree {
                proc_root: proc_root.to_path_buf(),
                root,
                start_time: stat.start_time,
                has_ended: false,
                sockets: Vec::new(),
            }),
        }
    }

    /// The root, if it has ended, as of the last call of [`Tree::retain_held`].
    pub fn ended_root(&self) -> Option<u32> {
        self.has_ended.then_some(self.root)
    }

    /// Keeps only the listeners of `snapshot` that the tree holds. The tree is read
    /// if there is a socket that is not known yet. When the root has ended, nothing
    /// new belongs to the tree.
    ///
    /// # Errors
    /// If a process of the tree cannot be read, or a listener has no inode.
    pub fn retain_held(&mut self, snapshot: &mut Snapshot) -> Result<(), TreeError> {
        self.has_ended = self.has_ended || self.root_has_ended()?;
        let listeners = snapshot.listeners();
        if listeners.iter().any(|listener| listener.inode == 0) {
            return Err(TreeError::NoInode);
        }
        if !self.has_ended && listeners.iter().any(|listener| !self.is_settled(listener)) {
            self.search(listeners)?;
        }
        snapshot.retain(|listener| self.find(listener).is_some_and(|socket| socket.is_held));
        Ok(())
    }

    fn root_has_ended(&self) -> Result<bool, TreeError> {
        let directory = self.proc_root.join(self.root.to_string());
        match read_stat(&directory) {
            Ok(stat) => Ok(stat.has_ended || stat.start_time != self.start_time),
            Err(error) if is_of_ended(&error) => Ok(true),
            Err(error) => Err(TreeError::Unreadable(directory.join("stat"), error)),
        }
    }

    fn find(&self, listener: &Listener) -> Option<&Socket> {
        let sockets = &self.sockets;
        let place = sockets.binary_search_by_key(&listener.inode, |socket| socket.inode);
        Some(&sockets[place.ok()?])
    }

    fn is_settled(&self, listener: &Listener) -> bool {
        self.find(listener)
            .is_some_and(|socket| socket.is_held || socket.searches == MOST_SEARCHES)
    }

    /// Reads the descriptors of the whole tree, and forgets the sockets that are not
    /// among `listeners`.
    fn search(&mut self, listeners: &[Listener]) -> Result<(), TreeError> {
        let mut held: Vec<u64> = Vec::new();
        for pid in self.processes()? {
            let directory = self.proc_root.join(pid.to_string());
            let descriptors = directory.join("fd");
            let read = for_each_number(&descriptors, |_, path| {
                let link = fs::read_link(path).ok();
                held.extend(link.as_deref().and_then(socket_inode));
            });
            match read {
                Err(error) if !is_of_ended(&error) && !is_zombie(&directory) => {
                    return Err(TreeError::Unreadable(descriptors, error));
                }
                _ => {}
            }
        }
        held.sort_unstable();
        let socket = |listener: &Listener| {
            let searches = self.find(listener).map_or(0, |socket| socket.searches);
            Socket {
                inode: listener.inode,
                is_held: held.binary_search(&listener.inode).is_ok(),
                searches: MOST_SEARCHES.min(searches + 1),
            }
        };
        let mut sockets: Vec<Socket> = listeners.iter().map(socket).collect();
        sockets.sort_unstable_by_key(|socket| socket.inode);
        sockets.dedup_by_key(|socket| socket.inode);
        self.sockets = sockets;
        Ok(())
    }

    /// The ids of the root and its descendants.
    fn processes(&self) -> Result<Vec<u32>, TreeError> {
        let mut processes = vec![self.root];
        let mut next = 0;
        while let Some(&pid) = processes.get(next) {
            next += 1;
            let directory = self.proc_root.join(pid.to_string());
            match children(&directory) {
                Ok(children) => {
                    let is_new = |pid: &u32| !processes.contains(pid);
                    let children: Vec<u32> = children.into_iter().filter(is_new).collect();
                    processes.extend(children);
                }
                Err(error) if is_of_ended(&error) && directory.exists() => {
                    return self.processes_by_parent();
                }
                Err(error) if is_of_ended(&error) => {}
                Err(error) => {
                    return Err(TreeError::Unreadable(directory.join("task"), error));
                }
            }
        }
        Ok(processes)
    }

    /// The same where the kernel lists no children (`CONFIG_PROC_CHILDREN`): by the
    /// parent of every process.
    fn processes_by_parent(&self) -> Result<Vec<u32>, TreeError> {
        let mut parents: Vec<(u32, u32)> = Vec::new();
        let read = for_each_number(&self.proc_root, |pid, directory| {
            parents.extend(read_stat(directory).ok().map(|stat| (stat.parent, pid)));
        });
        read.map_err(|error| TreeError::Unreadable(self.proc_root.clone(), error))?;
        let mut processes = vec![self.root];
        let mut next = 0;
        while let Some(&parent) = processes.get(next) {
            next += 1;
            let is_child =
                |(its_parent, pid): &(u32, u32)| *its_parent == parent && !processes.contains(pid);
            let children: Vec<u32> = (parents.iter().filter(|p| is_child(p)))
                .map(|(_, pid)| *pid)
                .collect();
            processes.extend(children);
        }
        Ok(processes)
    }
}

/// The children of all threads of the process with this directory.
fn children(directory: &Path) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    let mut result = Ok(());
    for_each_number(
        &directory.join("task"),
        |_, thread| match fs::read_to_string(thread.join("children")) {
            Ok(text) => children.extend(text.split_whitespace().flat_map(str::parse::<u32>)),
            Err(error) => result = Err(error),
        },
    )?;
    // A thread that ended has none. A kernel that lists none says so of every thread.
    match result {
        Err(error)
            if !directory
                .join("task")
                .join(file_name(directory))
                .join("children")
                .exists() =>
        {
            Err(error)
        }
        _ => Ok(children),
    }
}

fn file_name(directory: &Path) -> &Path {
    Path::new(directory.file_name().unwrap_or_default())
}

/// What `/proc/PID/stat` says of a process.
struct Stat {
    /// It has ended, and its parent has not waited for it yet.
    has_ended: bool,
    parent: u32,
    /// In clock ticks since the boot.
    start_time: u64,
}

/// `PID (NAME) STATE PPID ...`: NAME may hold anything, so what follows its last
/// parenthesis counts. The start time is the 22nd field (proc(5)).
fn read_stat(directory: &Path) -> io::Result<Stat> {
    let text = read_some(&directory.join("stat"))?;
    let stat = || {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = str::from_utf8(&text[end + 1..])
            .ok()?
            .split_ascii_whitespace();
        Some(Stat {
            has_ended: matches!(fields.next()?, "Z" | "X" | "x"),
            parent: fields.next()?.parse().ok()?,
            start_time: fields.nth(17)?.parse().ok()?,
        })
    };
    stat().ok_or_else(|| ErrorKind::InvalidData.into())
}

/// A process that has ended holds nothing, but its descriptors may not be read.
fn is_zombie(directory: &Path) -> bool {
    read_stat(directory).is_ok_and(|stat| stat.has_ended)
}

/// Whether this is the error of a file of a process that has ended (`ENOENT`,
/// `ESRCH`).
fn is_of_ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
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
                    &mut Tree::new(proc.path(), pid).unwrap(),
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
        let mut tree = Tree::new(proc.path(), 10).unwrap();
        for _ in 0..MOST_SEARCHES {
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

    #[test]
    fn a_socket_that_one_search_misses_is_searched_for_again() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10).unwrap();
        let children = proc.path().join("11/task/11/children");
        fs::write(&children, "").unwrap();
        assert_eq!(held(&mut tree, &[12]), [0; 0]);
        fs::write(&children, "12 ").unwrap();
        assert_eq!(held(&mut tree, &[12]), [12]);
    }

    #[test]
    fn when_the_root_has_ended_nothing_new_is_held() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10).unwrap();
        assert_eq!(held(&mut tree, &[11, 12]), [11, 12]);
        assert_eq!(tree.ended_root(), None);
        fs::remove_dir_all(proc.path().join("10")).unwrap();
        assert_eq!(held(&mut tree, &[10, 12, 20]), [12]);
        assert_eq!(tree.ended_root(), Some(10));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_not_the_root() {
        let proc = proc_with(FAMILY, true);
        let mut tree = Tree::new(proc.path(), 10).unwrap();
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
        let error = |pid| Tree::new(proc.path(), pid).unwrap_err().to_string();
        assert_eq!(error(20), "--of 20: the process has ended");
        assert_eq!(error(30), "--of 30: no such process in this PID namespace");
        let mut tree = Tree::new(proc.path(), 10).unwrap();
        let unknown = tree.retain_held(&mut snapshot(&[0])).unwrap_err();
        assert_eq!(unknown.to_string(), "--of: a listener has no inode");
    }
}
