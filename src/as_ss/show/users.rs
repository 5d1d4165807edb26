//! Finds the processes that hold each socket, for `-p`. As in ss, all processes are read once,
//! before the sockets, so that each socket can be shown as soon as it is received.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::kernel::proc::process::{
    for_each_descriptor, for_each_number, for_each_thread, name_in_stat,
};
use crate::numbers;

/// Whether holders of sockets are processes or threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// A process is one holder, no matter what its threads hold.
    Processes,
    /// Each thread of a process is a holder.
    Threads,
}

/// The processes or threads that hold sockets, with their descriptors.
#[derive(Debug)]
pub struct Users {
    /// The holders of all sockets, in the order in which they were found.
    holders: Vec<Holder>,
    /// A sorted number for each holder: the inode of the socket in the high 32 bits, and an
    /// index in `holders` in the low 32 bits. A search in this list finds the holders of a
    /// socket quickly, even if another socket has a million holders.
    keys: Vec<u64>,
    /// The name of each process or thread that holds a socket.
    names: Vec<Vec<u8>>,
    granularity: Granularity,
}

/// A process or thread that holds a socket, with its descriptor for that socket.
#[derive(Debug)]
struct Holder {
    /// The index of the name in [`Users::names`].
    name: usize,
    pid: u32,
    /// The id of the thread. For the main thread, it is the same as `pid`.
    tid: u32,
    fd: u32,
}

impl Users {
    /// Reads the holders among the processes below `proc_root`. As in ss, a process that cannot
    /// be read counts as a process without sockets. This can be a process of another user.
    pub fn read(proc_root: &Path, granularity: Granularity) -> Users {
        let mut users = Users {
            holders: Vec::new(),
            keys: Vec::new(),
            names: Vec::new(),
            granularity,
        };
        let _ = for_each_number(proc_root, |pid, process| {
            let _ = users.add(process, pid, pid);
            if granularity == Granularity::Threads {
                users.add_threads(proc_root, process, pid);
            }
        });
        numbers::sort(&mut users.keys);
        users
    }

    fn add_threads(&mut self, proc_root: &Path, process: &Path, pid: u32) {
        let _ = for_each_thread(process, |tid, _| {
            if tid != pid {
                let _ = self.add(&proc_root.join(tid.to_string()), pid, tid);
            }
        });
    }

    fn add(&mut self, directory: &Path, pid: u32, tid: u32) -> io::Result<()> {
        let mut name = None;
        for_each_descriptor(directory, &mut |fd, socket| {
            let inode = socket.ok().flatten();
            // ss supports only inodes of 32 bits.
            let Some(inode) = inode.and_then(|inode| u32::try_from(inode).ok()) else {
                return ControlFlow::Continue(());
            };
            let name = *name.get_or_insert_with(|| {
                let mut name = name_in_stat(directory).unwrap_or_default();
                name.truncate(15);
                self.names.push(name);
                self.names.len() - 1
            });
            self.keys.push(key(inode, self.holders.len()));
            self.holders.push(Holder { name, pid, tid, fd });
            ControlFlow::Continue(())
        })
    }

    /// The holders of the socket with this inode, in the form `
    /// users:(("NAME",pid=12,fd=3),…)`. The holder that was found last comes first. Empty if no
    /// holder is known.
    pub fn shown(&self, inode: u32) -> Vec<u8> {
        let mut text = Vec::new();
        let start = self.keys.partition_point(|&other| other < key(inode, 0));
        let rest = &self.keys[start..];
        let count = rest.partition_point(|other| other >> 32 == u64::from(inode));
        // A socket whose inode is 0 has no holders.
        let count = if inode == 0 { 0 } else { count };
        for &key in rest[..count].iter().rev() {
            let holder = &self.holders[key as u32 as usize];
            let opening: &[u8] = if text.is_empty() {
                b" users:((\""
            } else {
                b",(\""
            };
            text.extend_from_slice(opening);
            text.extend_from_slice(&self.names[holder.name]);
            let thread = match self.granularity {
                Granularity::Threads => format!("tid={},", holder.tid),
                Granularity::Processes => String::new(),
            };
            text.extend_from_slice(
                format!("\",pid={},{thread}fd={})", holder.pid, holder.fd).as_bytes(),
            );
        }
        if !text.is_empty() {
            text.push(b')');
        }
        text
    }
}

/// The number in [`Users::keys`] for a holder of the socket with this inode. `holder` is the
/// index of the holder.
fn key(inode: u32, holder: usize) -> u64 {
    u64::from(inode) << 32 | holder as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// A `/proc` in which process 7 and its thread 8 hold sockets.
    fn proc() -> TempDir {
        let proc = TempDir::new().unwrap();
        let fds = proc.path().join("7/fd");
        fs::create_dir_all(&fds).unwrap();
        fs::write(proc.path().join("7/stat"), "7 (a name) S").unwrap();
        for (fd, target) in [("3", "socket:[5]"), ("4", "pipe:[5]"), ("9", "socket:[6]")] {
            symlink(target, fds.join(fd)).unwrap();
        }
        fs::create_dir_all(proc.path().join("7/task/8")).unwrap();
        fs::create_dir_all(proc.path().join("8/fd")).unwrap();
        fs::write(proc.path().join("8/stat"), "8 (b) S").unwrap();
        symlink("socket:[5]", proc.path().join("8/fd/3")).unwrap();
        proc
    }

    fn shown(granularity: Granularity, inode: u32) -> String {
        let users = Users::read(proc().path(), granularity);
        String::from_utf8(users.shown(inode)).unwrap()
    }

    #[test]
    fn the_process_that_holds_a_socket_is_shown() {
        let shown = |inode| shown(Granularity::Processes, inode);
        assert_eq!(shown(6), " users:((\"a name\",pid=7,fd=9))");
        assert!(shown(5).contains("(\"a name\",pid=7,fd=3)"));
    }

    #[test]
    fn sockets_without_holders_show_no_users() {
        let shown = |inode| shown(Granularity::Processes, inode);
        assert_eq!((shown(0), shown(55)), ("".into(), "".into()));
    }

    #[test]
    fn a_thread_that_holds_a_socket_is_shown() {
        let shown = shown(Granularity::Threads, 5);
        assert!(shown.contains("(\"b\",pid=7,tid=8,fd=3)"));
    }
}
