//! Which processes hold a socket: those with a link to the socket's inode in
//! `/proc/PID/fd`. Their names come from `/proc/PID/comm`, or from `stat` as in ss.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::kernel::proc::process::{for_each_descriptor, for_each_number, name_in_comm};
use crate::listener::{Holder, Holders, Listener};

/// Finds the holders of sockets and remembers them by inode. It reads processes
/// only when there is a socket that it has not searched for before.
#[derive(Debug)]
pub struct Lookup {
    proc_root: PathBuf,
    /// Sorted by inode.
    sockets: Vec<Socket>,
    /// `None` before the first search.
    is_refused_some: Option<bool>,
}

/// A socket to search for, or one that was searched for.
#[derive(Debug)]
struct Socket {
    inode: u64,
    /// `None` until the search is over.
    holders: Option<Holders>,
    /// What the current search has found so far, in its order.
    found: Vec<Holder>,
}

impl Lookup {
    /// A look-up among the processes below `proc_root`.
    pub fn new(proc_root: &Path) -> Lookup {
        Lookup {
            proc_root: proc_root.to_path_buf(),
            sockets: Vec::new(),
            is_refused_some: None,
        }
    }

    /// Searches for the holders of those `listeners` that are new here. True if
    /// there were any; sockets that are not among `listeners` are then forgotten.
    ///
    /// Any number of processes may hold one socket (workers inherit it), and the
    /// kernel does not say how many. So a search reads every process, once for all
    /// sockets. A process that cannot be read (of another user, say) is passed over.
    pub fn look_for(&mut self, listeners: &[Listener]) -> bool {
        let mut inodes = listeners.iter().map(|listener| listener.inode);
        if inodes.all(|inode| inode == 0 || self.find(inode).is_some()) {
            return false;
        }
        let socket = |inode| Socket {
            inode,
            holders: self.find(inode).cloned(),
            found: Vec::new(),
        };
        let mut sockets: Vec<Socket> = inodes_of(listeners).into_iter().map(socket).collect();
        self.is_refused_some = Some(search(&self.proc_root, &mut sockets));
        for socket in &mut sockets {
            let found = socket.found.drain(..).rev();
            socket.holders.get_or_insert_with(|| Holders::new(found));
        }
        self.sockets = sockets;
        true
    }

    /// The holders of `listener`. If its inode is not known, they are those that it
    /// names already.
    pub fn holders_of(&self, listener: &Listener) -> Holders {
        let known = match listener.inode {
            0 => None,
            inode => self.find(inode),
        };
        known.unwrap_or(&listener.holders).clone()
    }

    /// Whether this process may not read the descriptors of some process: as of the last
    /// search, if there was one.
    pub fn is_refused_some(&mut self) -> bool {
        let proc_root = &self.proc_root;
        *self
            .is_refused_some
            .get_or_insert_with(|| search(proc_root, &mut []))
    }

    fn find(&self, inode: u64) -> Option<&Holders> {
        let place = self
            .sockets
            .binary_search_by_key(&inode, |socket| socket.inode);
        self.sockets[place.ok()?].holders.as_ref()
    }
}

/// The inodes of `listeners`, sorted, each once.
///
/// Numbers are sorted, rather than sockets, because each type that is sorted adds
/// 3 KB to the binary.
pub fn inodes_of(listeners: &[Listener]) -> Vec<u64> {
    let mut inodes: Vec<u64> = listeners.iter().map(|listener| listener.inode).collect();
    inodes.sort_unstable();
    inodes.dedup();
    inodes
}

/// Looks into every process for the `sockets`. Whether one of them may not be read.
fn search(proc_root: &Path, sockets: &mut [Socket]) -> bool {
    let mut is_refused = false;
    // An error means that there is nothing to be found there.
    let _ = for_each_number(proc_root, |pid, directory| {
        is_refused |= look_into(pid, directory, sockets);
    });
    is_refused
}

/// Adds the process in `directory` to each of `sockets` that it holds and that is
/// searched for. `sockets` is sorted by inode. Whether its descriptors may not be read.
fn look_into(pid: u32, directory: &Path, sockets: &mut [Socket]) -> bool {
    let is_refusal = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let mut is_refused = false;
    let mut its_name = None;
    let read = for_each_descriptor(directory, &mut |fd, socket| {
        // Root without CAP_SYS_PTRACE can list what it may not read.
        is_refused |= socket.as_ref().is_err_and(is_refusal);
        let Some(inode) = socket.ok().flatten() else {
            return ControlFlow::Continue(());
        };
        let place = sockets.binary_search_by_key(&inode, |socket| socket.inode);
        if let Ok(place) = place
            && sockets[place].holders.is_none()
        {
            // A process that ended meanwhile has no name.
            let name = its_name.get_or_insert_with(|| name_in_comm(directory).ok());
            if let Some(name) = name.clone() {
                sockets[place].found.push(Holder { name, pid, fd });
            }
        }
        ControlFlow::Continue(())
    });
    is_refused || read.as_ref().is_err_and(is_refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// pid, name, and what each descriptor is.
    type Entry<'a> = (u32, &'a [u8], &'a [(u32, &'a str)]);

    fn proc_with(processes: &[Entry<'_>]) -> TempDir {
        let proc = TempDir::new().unwrap();
        for (pid, name, descriptors) in processes {
            let directory = proc.path().join(pid.to_string());
            fs::create_dir_all(directory.join("fd")).unwrap();
            fs::write(directory.join("comm"), [name, &b"\n"[..]].concat()).unwrap();
            for (fd, target) in *descriptors {
                symlink(target, directory.join("fd").join(fd.to_string())).unwrap();
            }
        }
        fs::create_dir(proc.path().join("net")).unwrap();
        fs::write(proc.path().join("uptime"), "1").unwrap();
        proc
    }

    fn socket(inode: u64) -> Listener {
        let address = "127.0.0.1".parse().unwrap();
        Listener {
            inode,
            ..Listener::new(Protocol::Tcp, Endpoint { port: 1, address })
        }
    }

    fn process(name: &str, pid: u32, fd: u32) -> Holder {
        let name = name.as_bytes().to_vec();
        Holder { name, pid, fd }
    }

    #[test]
    fn every_holder_is_found_the_highest_first() {
        let proc = proc_with(&[
            (7, b"init", &[(0, "/dev/null"), (3, "socket:[5]")]),
            (
                12,
                b"a) b\n",
                &[(4, "socket:[6]"), (9, "socket:[5]"), (10, "socket:[5]")],
            ),
            (
                13,
                b"other",
                &[(1, "pipe:[5]"), (2, "socket:[55]"), (3, "socket:[5")],
            ),
        ]);
        let mut lookup = Lookup::new(proc.path());
        assert!(lookup.look_for(&[socket(5), socket(6), socket(8), socket(0)]));
        let of = |inode| lookup.holders_of(&socket(inode)).as_slice().to_vec();
        let (ten, nine) = (process("a) b\n", 12, 10), process("a) b\n", 12, 9));
        assert_eq!(of(5), [ten, nine, process("init", 7, 3)]);
        assert_eq!(of(6), [process("a) b\n", 12, 4)]);
        assert_eq!((of(8), of(0)), (vec![], vec![]));
    }

    #[test]
    fn only_a_socket_that_is_new_is_looked_for() {
        let proc = proc_with(&[(7, b"one", &[(3, "socket:[5]"), (4, "socket:[6]")])]);
        let mut lookup = Lookup::new(proc.path());
        assert!(lookup.look_for(&[socket(5), socket(9)]));
        fs::remove_dir_all(proc.path().join("7")).unwrap();
        assert!(!lookup.look_for(&[socket(5), socket(9)]));
        assert!(!lookup.look_for(&[socket(5), socket(0)]));
        assert!(!lookup.holders_of(&socket(5)).is_empty());
        assert!(lookup.look_for(&[socket(9), socket(6)]));
        assert!(lookup.holders_of(&socket(5)).is_empty(), "forgotten");
        assert_eq!(lookup.sockets.len(), 2);
    }
}
