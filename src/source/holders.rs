//! Which processes hold a socket: found in `/proc/PID/fd` by the socket's
//! inode, and named by `/proc/PID/comm`, or by `stat` as ss does.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::listener::Listener;

/// A process, and the descriptor by which it holds a socket.
///
/// They sort as ss lists them: the highest process id first, and in one process
/// the highest descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its name, at most 15 bytes of any kind: what `/proc/PID/comm` holds.
    pub name: Vec<u8>,
    /// Its id, as the `/proc` that was read numbers it.
    pub pid: u32,
    /// The descriptor in it.
    pub fd: u32,
}

impl Process {
    fn order(&self) -> impl Ord + use<> {
        std::cmp::Reverse((self.pid, self.fd))
    }
}

/// The processes that hold one socket, or one of several that share an
/// identity. Sorted, each descriptor once.
///
/// A clone shares them, so it takes no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processes(Option<Arc<[Process]>>);

impl Processes {
    /// Those of `processes`, in any order. Nearly in order is cheapest.
    pub fn new(processes: impl IntoIterator<Item = Process>) -> Processes {
        let mut sorted: Vec<Process> = Vec::new();
        for process in processes {
            let place = sorted.binary_search_by_key(&process.order(), Process::order);
            if let Err(place) = place {
                sorted.insert(place, process);
            }
        }
        Processes((!sorted.is_empty()).then(|| sorted.into()))
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Process] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Those of all `sockets`.
    pub fn of_all(sockets: &[Listener]) -> Processes {
        match sockets {
            [socket] => socket.processes.clone(),
            sockets => {
                let all = sockets
                    .iter()
                    .flat_map(|socket| socket.processes.as_slice());
                Processes::new(all.cloned())
            }
        }
    }
}

/// Finds the processes that hold sockets, and remembers them by inode: no
/// process is looked at while there is no socket that was not seen before.
#[derive(Debug)]
pub struct Lookup {
    proc_root: PathBuf,
    naming: Naming,
    /// Sorted by inode.
    sockets: Vec<Socket>,
}

/// What the process with this directory in `/proc` is called.
type Naming = fn(&Path) -> io::Result<Vec<u8>>;

/// A socket that was looked for.
#[derive(Debug)]
struct Socket {
    inode: u64,
    /// `None` until it was looked for.
    holders: Option<Processes>,
    /// In the order of the look at all processes that goes on.
    found: Vec<Process>,
}

impl Lookup {
    /// A look-up among the processes below `proc_root`, which are called what
    /// `naming` says.
    pub fn new(proc_root: &Path, naming: Naming) -> Lookup {
        Lookup {
            proc_root: proc_root.to_path_buf(),
            naming,
            sockets: Vec::new(),
        }
    }

    /// Looks for the holders of those of `listeners` that were not looked for
    /// before, and if there are any, forgets what is not among them. True if
    /// there were.
    ///
    /// A socket can be held by any number of processes (workers that inherited
    /// it), and the kernel does not say by how many: so every process is looked
    /// at, once for all sockets. What cannot be read (processes of other users,
    /// or none at all without `/proc`) holds nothing as far as can be told.
    pub fn look_for(&mut self, listeners: &[Listener]) -> bool {
        let mut inodes = listeners.iter().map(|listener| listener.inode);
        if inodes.all(|inode| inode == 0 || self.find(inode).is_some()) {
            return false;
        }
        let socket = |listener: &Listener| Socket {
            inode: listener.inode,
            holders: self.find(listener.inode).cloned(),
            found: Vec::new(),
        };
        let mut sockets: Vec<Socket> = listeners.iter().map(socket).collect();
        sockets.sort_unstable_by_key(|socket| socket.inode);
        sockets.dedup_by_key(|socket| socket.inode);
        // An error means that there is nothing to be found there.
        let _ = for_each_number(&self.proc_root, |pid, directory| {
            let _ = look_into(pid, directory, self.naming, &mut sockets);
        });
        for socket in &mut sockets {
            let found = socket.found.drain(..).rev();
            socket.holders.get_or_insert_with(|| Processes::new(found));
        }
        self.sockets = sockets;
        true
    }

    /// The holders of a socket that was looked for; those that `listener`
    /// names already where its inode is not known.
    pub fn holders_of(&self, listener: &Listener) -> Processes {
        let known = match listener.inode {
            0 => None,
            inode => self.find(inode),
        };
        known.unwrap_or(&listener.processes).clone()
    }

    fn find(&self, inode: u64) -> Option<&Processes> {
        let place = self
            .sockets
            .binary_search_by_key(&inode, |socket| socket.inode);
        self.sockets[place.ok()?].holders.as_ref()
    }
}

/// Adds the process in `directory` to each of the `sockets`, which are sorted
/// by inode, that it holds and that is looked for.
fn look_into(pid: u32, directory: &Path, naming: Naming, sockets: &mut [Socket]) -> io::Result<()> {
    let mut its_name = None;
    for_each_number(&directory.join("fd"), |fd, path| {
        // One that was closed meanwhile holds nothing.
        let Some(inode) = fs::read_link(path)
            .ok()
            .and_then(|link| socket_inode(&link))
        else {
            return;
        };
        let place = sockets.binary_search_by_key(&inode, |socket| socket.inode);
        if let Ok(place) = place
            && sockets[place].holders.is_none()
        {
            // One that ended meanwhile has no name and holds nothing.
            let name = its_name.get_or_insert_with(|| naming(directory).ok());
            if let Some(name) = name.clone() {
                sockets[place].found.push(Process { name, pid, fd });
            }
        }
    })
}

/// Calls `each` with every entry of `directory` whose name is a number.
fn for_each_number(directory: &Path, mut each: impl FnMut(u32, &Path)) -> io::Result<()> {
    let mut path = directory.to_path_buf();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
            path.push(name);
            each(number, &path);
            path.pop();
        }
    }
    Ok(())
}

/// The inode in `socket:[123]`, which a descriptor's link says of a socket.
fn socket_inode(link: &Path) -> Option<u64> {
    let link = link.to_str()?.strip_prefix("socket:[")?;
    link.strip_suffix(']')?.parse().ok()
}

/// As much of `file` as one of these can hold.
fn read_some(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The name of the process with this directory in `/proc`, whole.
///
/// # Errors
/// Those of the system: it may have ended.
pub fn name(directory: &Path) -> io::Result<Vec<u8>> {
    let mut name = read_some(&directory.join("comm"))?;
    name.pop_if(|last| *last == b'\n');
    Ok(name)
}

/// The name of the same process as ss finds it: in `PID (NAME) S ...`, up to
/// the first parenthesis that closes, whether it ends the name or not.
///
/// # Errors
/// As [`name`].
pub fn name_in_stat(directory: &Path) -> io::Result<Vec<u8>> {
    let stat = read_some(&directory.join("stat"))?;
    let mut parts = stat.splitn(2, |byte| *byte == b'(');
    let name = parts.nth(1).unwrap_or_default();
    Ok(name
        .split(|byte| *byte == b')')
        .next()
        .unwrap_or_default()
        .to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};
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

    fn process(name: &str, pid: u32, fd: u32) -> Process {
        let name = name.as_bytes().to_vec();
        Process { name, pid, fd }
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
        let mut lookup = Lookup::new(proc.path(), name);
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
        let mut lookup = Lookup::new(proc.path(), name);
        assert!(lookup.look_for(&[socket(5), socket(9)]));
        fs::remove_dir_all(proc.path().join("7")).unwrap();
        assert!(!lookup.look_for(&[socket(5), socket(9)]));
        assert!(!lookup.look_for(&[socket(5), socket(0)]));
        assert!(!lookup.holders_of(&socket(5)).is_empty());
        assert!(lookup.look_for(&[socket(9), socket(6)]));
        assert!(lookup.holders_of(&socket(5)).is_empty(), "forgotten");
        assert_eq!(lookup.sockets.len(), 2);
    }

    #[test]
    fn ss_finds_a_name_up_to_its_first_closing_parenthesis() {
        let directory = TempDir::new().unwrap();
        let name_in = |stat: &[u8]| {
            fs::write(directory.path().join("stat"), stat).unwrap();
            name_in_stat(directory.path()).unwrap()
        };
        assert_eq!(name_in(b"12 (nginx) S 1 12"), b"nginx");
        assert_eq!(name_in(b"12 ((sd-pam)) S 1 12"), b"(sd-pam");
        assert_eq!(name_in(b"12 (a\n\\) b) S 1 12"), b"a\n\\");
        assert_eq!(name_in(b"12 ()) S 1 12"), b"");
        assert_eq!(name_in(b""), b"");
    }

    #[test]
    fn sockets_that_share_an_identity_are_held_by_the_holders_of_each() {
        let held = |processes: Vec<Process>| Listener {
            processes: Processes::new(processes),
            ..socket(1)
        };
        let (a, b) = (process("a", 1, 3), process("b", 2, 3));
        let sockets = [held(vec![a.clone()]), held(vec![a.clone(), b.clone()])];
        assert_eq!(Processes::of_all(&sockets).as_slice(), [b, a]);
    }
}
