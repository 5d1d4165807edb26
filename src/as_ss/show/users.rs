//! Which processes hold which sockets, for `-p`. As ss does, this reads every
//! process once, before it asks for sockets: these are then shown as they come.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::kernel::proc::process::{
    for_each_descriptor, for_each_number, for_each_thread, name_in_stat,
};

/// How many chains the holders are spread over.
const CHAINS: usize = 1024;

/// The holders of all sockets.
#[derive(Debug)]
pub struct Users {
    /// In the order in which they were found.
    holders: Vec<Holder>,
    /// For each remainder of an inode, the holder that was found last.
    chains: Vec<Option<usize>>,
    names: Vec<Vec<u8>>,
    shows_threads: bool,
}

#[derive(Debug)]
struct Holder {
    inode: u32,
    name: usize,
    pid: u32,
    /// The thread, if it is not the first of its process.
    tid: u32,
    fd: u32,
    /// The one of the same chain that was found before it.
    before: Option<usize>,
}

impl Users {
    /// The holders among the processes below `proc_root`. A process that cannot be
    /// read (of another user, say) holds nothing, as in ss. If it `shows_threads`,
    /// each further thread of a process is a holder too.
    pub fn read(proc_root: &Path, shows_threads: bool) -> Users {
        let mut users = Users {
            holders: Vec::new(),
            chains: vec![None; CHAINS],
            names: Vec::new(),
            shows_threads,
        };
        let _ = for_each_number(proc_root, |pid, process| {
            let _ = users.add(process, pid, pid);
            if shows_threads {
                let _ = for_each_thread(process, |tid, _| {
                    if tid != pid {
                        let _ = users.add(&proc_root.join(tid.to_string()), pid, tid);
                    }
                });
            }
        });
        users
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
            let chain = &mut self.chains[inode as usize % CHAINS];
            let before = chain.replace(self.holders.len());
            self.holders.push(Holder {
                inode,
                name,
                pid,
                tid,
                fd,
                before,
            });
            ControlFlow::Continue(())
        })
    }

    /// ` users:(("NAME",pid=12,fd=3),…)`, the last found first, or nothing.
    pub fn shown(&self, inode: u32) -> Vec<u8> {
        let mut text = Vec::new();
        // A socket without an inode is held by none.
        let mut next = match inode {
            0 => None,
            inode => self.chains[inode as usize % CHAINS],
        };
        while let Some(holder) = next.map(|place| &self.holders[place]) {
            next = holder.before;
            if holder.inode != inode {
                continue;
            }
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
