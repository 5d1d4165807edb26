//! Which processes hold which sockets, for `-p`. As ss does, this reads every
//! process once, before it asks for sockets: these are then shown as they come.

use std::fs;
use std::io;
use std::path::Path;

use crate::kernel::proc::process::name_in_stat;

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
        let _ = for_each_number(proc_root, |pid| {
            let process = proc_root.join(pid.to_string());
            let _ = users.add(&process, pid, pid);
            if shows_threads {
                let _ = for_each_number(&process.join("task"), |tid| {
                    if tid != pid {
                        let _ = users.add(&proc_root.join(tid.to_string()), pid, tid);
                    }
                });
            }
        });
        users.by_inode.sort_unstable();
        users
    }

    fn add(&mut self, directory: &Path, pid: u32, tid: u32) -> io::Result<()> {
        let mut name = None;
        let mut path = directory.join("fd");
        for_each_number(&path.clone(), |fd| {
            path.push(fd.to_string());
            // A descriptor that was closed meanwhile has no link.
            let inode = fs::read_link(&path).ok().and_then(|link| inode(&link));
            path.pop();
            let Some(inode) = inode else { return };
            let name = *name.get_or_insert_with(|| {
                let mut name = name_in_stat(directory).unwrap_or_default();
                name.truncate(15);
                self.names.push(name);
                self.names.len() - 1
            });
            self.by_inode.push(key(inode, self.holders.len()));
            self.holders.push(Holder { name, pid, tid, fd });
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

/// Calls `each` with every entry of `directory` whose name is a number.
fn for_each_number(directory: &Path, mut each: impl FnMut(u32)) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        if let Some(number) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            each(number);
        }
    }
    Ok(())
}

/// The inode in `socket:[123]`, the link of a descriptor of a socket.
fn inode(link: &Path) -> Option<u32> {
    let link = link.to_str()?.strip_prefix("socket:[")?;
    link.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
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
