//! Which processes hold which sockets, for `-p`. As ss does, this reads every
//! process once, before it asks for sockets: these are then shown as they come.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::kernel::proc::process::{
    for_each_descriptor, for_each_number, for_each_thread, name_in_stat,
};

/// The holders of all sockets.
#[derive(Debug)]
pub struct Users {
    /// In the order in which they were found.
    holders: Vec<Holder>,
    /// The inode of each holder, and below it in 32 bits the index of the holder.
    /// Sorted: one socket can have a million holders, and any number of other sockets
    /// must not cost a walk past them.
    by_inode: Vec<u64>,
    names: Vec<Vec<u8>>,
    shows_threads: bool,
}

#[derive(Debug)]
struct Holder {
    name: usize,
    pid: u32,
    /// The thread, if it is not the first of its process.
    tid: u32,
    fd: u32,
}

impl Users {
    /// The holders among the processes below `proc_root`. A process that cannot be
    /// read (of another user, say) holds nothing, as in ss. If it `shows_threads`,
    /// each further thread of a process is a holder too.
    pub fn read(proc_root: &Path, shows_threads: bool) -> Users {
        let mut users = Users {
            holders: Vec::new(),
            by_inode: Vec::new(),
            names: Vec::new(),
            shows_threads,
        };
        let _ = for_each_number(proc_root, |pid, process| {
            let _ = users.add(process, pid, pid);
            if shows_threads {
                users.add_threads(proc_root, process, pid);
            }
        });
        users.by_inode.sort_unstable();
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
            // ss reads an inode of 32 bits.
            let Some(inode) = inode.and_then(|inode| u32::try_from(inode).ok()) else {
                return ControlFlow::Continue(());
            };
            let name = *name.get_or_insert_with(|| {
                let mut name = name_in_stat(directory).unwrap_or_default();
                name.truncate(15);
                self.names.push(name);
                self.names.len() - 1
            });
            self.by_inode.push(key(inode, self.holders.len()));
            self.holders.push(Holder { name, pid, tid, fd });
            ControlFlow::Continue(())
        })
    }

    /// ` users:(("NAME",pid=12,fd=3),…)`, the last found first, or nothing.
    pub fn shown(&self, inode: u32) -> Vec<u8> {
        let mut text = Vec::new();
        let start = self.by_inode.partition_point(|&one| one < key(inode, 0));
        let rest = &self.by_inode[start..];
        let number = rest.partition_point(|one| one >> 32 == u64::from(inode));
        // A socket without an inode is held by none.
        let number = if inode == 0 { 0 } else { number };
        for &one in rest[..number].iter().rev() {
            let holder = &self.holders[one as u32 as usize];
            let before: &[u8] = if text.is_empty() {
                b" users:((\""
            } else {
                b",(\""
            };
            text.extend_from_slice(before);
            text.extend_from_slice(&self.names[holder.name]);
            let thread = match self.shows_threads {
                true => format!("tid={},", holder.tid),
                false => String::new(),
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

/// What [`Users::by_inode`] has for a holder of this socket.
fn key(inode: u32, holder: usize) -> u64 {
    u64::from(inode) << 32 | holder as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    #[test]
    fn the_holders_of_a_socket_are_listed_the_last_found_first() {
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
        let shown = |threads, inode| {
            let users = Users::read(proc.path(), threads);
            String::from_utf8(users.shown(inode)).unwrap()
        };
        assert_eq!(shown(false, 6), " users:((\"a name\",pid=7,fd=9))");
        assert_eq!((shown(false, 0), shown(false, 55)), ("".into(), "".into()));
        assert!(shown(false, 5).contains("(\"a name\",pid=7,fd=3)"));
        assert!(shown(true, 5).contains("(\"b\",pid=7,tid=8,fd=3)"));
    }
}
