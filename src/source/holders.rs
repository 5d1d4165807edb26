//! Finds the processes that hold a socket: those with a link to the inode of the socket in
//! `/proc/PID/fd`. Their names come from `/proc/PID/comm`, or from `stat` as in ss.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::place;
use crate::kernel::proc::hidepid::hides_processes;
use crate::kernel::proc::process::{
    for_each_descriptor_as_owner, for_each_number_until, for_each_separate_table,
    has_no_descriptors, is_refused, name_in_comm,
};
use crate::listener::{Holder, Holders, Listener};
use crate::numbers;
use crate::report;
use crate::snapshot::Snapshot;
use crate::sys;

/// How long one search may take. A process can open as many descriptors as its limits
/// allow, and reading a million of them takes seconds.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Up to four times this many sockets are remembered until the next search, even if they have
/// closed.
const LEAST_FORGOTTEN: usize = 256;
/// The privileges that reading the descriptors of another user's process requires, for
/// messages.
pub const NEEDS: &str = "root with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";

/// How long the search for a message may take. A caller of a probe may have a timeout of one
/// second.
const MOMENT: Duration = Duration::from_millis(100);

/// Sets the holders of the listeners of `snapshot` that are found in `proc_root` within 100
/// milliseconds.
pub fn name_some(proc_root: &Path, snapshot: &mut Snapshot) {
    let mut lookup = Lookup::new(proc_root, Vec::new());
    lookup.look_for_until(snapshot.listeners(), Instant::now() + MOMENT);
    snapshot.set_holders(|listener| lookup.holders_of(listener));
}

/// Sets the holders of listeners, removes the listeners that only excluded processes hold,
/// and warns once if holders may be missing.
#[derive(Debug)]
pub struct HolderSearch {
    lookup: Lookup,
    purpose: Purpose,
    warned_of_unheld: bool,
    warned_of_deadline: bool,
    /// Whether the last snapshot has a listener without a known holder that a process with an
    /// excluded name may hold.
    is_in_doubt: bool,
}

/// Why holders are searched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Holders are needed only to remove the listeners of excluded processes.
    Exclude,
    /// Holders are shown in a column, in which an empty cell needs an explanation.
    Show,
}

impl HolderSearch {
    /// A search among the processes in `proc_root`. `excluded` are the names of excluded holders.
    pub fn new(proc_root: &Path, excluded: Vec<Vec<u8>>, purpose: Purpose) -> HolderSearch {
        HolderSearch {
            lookup: Lookup::new(proc_root, excluded),
            purpose,
            warned_of_unheld: false,
            warned_of_deadline: false,
            is_in_doubt: false,
        }
    }

    /// Sets the holders of the listeners of `snapshot`, and removes the listeners that only
    /// excluded processes hold. Returns true if the holders may differ from those of the last
    /// search.
    pub fn find(&mut self, snapshot: &mut Snapshot) -> bool {
        let lookup = &mut self.lookup;
        let is_first = lookup.is_denied_some.is_none();
        let found_new = lookup.look_for(snapshot.listeners());
        snapshot.set_holders(|listener| lookup.holders_of(listener));
        let listeners = snapshot.listeners().iter();
        let mut unheld = listeners.filter(|listener| listener.holders.is_empty());
        let is_unheld = unheld.clone().next().is_some();
        // A listener that is new, or has no inode although others have one, may have closed
        // before the search.
        let persists = is_first || !found_new && unheld.any(|listener| listener.inode != 0);
        // If no process is hidden, a listener without a holder has closed in the meantime, or
        // its holder is in another PID namespace.
        let may_be_hidden = is_unheld && self.lookup.is_denied_some();
        self.is_in_doubt = may_be_hidden && self.excludes_any();
        if self.lookup.is_incomplete() {
            self.warn_of_deadline();
        } else if is_unheld
            && persists
            && (may_be_hidden || self.purpose == Purpose::Show)
            && !std::mem::replace(&mut self.warned_of_unheld, true)
        {
            let say = match may_be_hidden {
                true => report::warn,
                false => report::detail,
            };
            say(format_args!(
                "no process found for some listeners (for processes of other users, you need \
                 {NEEDS}, and a /proc that shows them)"
            ));
        }
        let lookup = &self.lookup;
        snapshot.retain(&|listener| !lookup.excludes(listener));
        found_new
    }

    /// Warns once that a search reached its deadline.
    fn warn_of_deadline(&mut self) {
        if !std::mem::replace(&mut self.warned_of_deadline, true) {
            let seconds = DEADLINE.as_secs();
            report::warn(format_args!(
                "some processes were not searched for holders, because a search ends after {seconds} s"
            ));
        }
    }

    /// The ids of all processes that hold one of `listeners`, sorted and without duplicates.
    /// The last search must have included the listeners.
    pub fn pids_of(&self, listeners: &[Listener]) -> Vec<u64> {
        let mut pids = Vec::new();
        for listener in listeners {
            if let Some(socket) = self.lookup.find(listener.inode) {
                pids.extend(&socket.pids);
            }
        }
        numbers::sort(&mut pids);
        pids.dedup();
        pids
    }

    /// Whether the search may remove listeners.
    pub fn excludes_any(&self) -> bool {
        !self.lookup.excluded.is_empty()
    }

    /// Whether the answer may be wrong because holders are missing: a search reached its
    /// deadline, or a listener was not removed because its holder may be hidden.
    pub fn is_incomplete(&self) -> bool {
        self.lookup.is_incomplete || self.is_in_doubt
    }
}

/// Finds the holders of sockets and remembers them by inode. Reads the processes only if
/// there is a socket that was not searched for before.
#[derive(Debug)]
pub struct Lookup {
    proc_root: PathBuf,
    excluded: Vec<Vec<u8>>,
    /// The known sockets, sorted by inode.
    sockets: Vec<HeldSocket>,
    /// Whether some process may not be read. `None` before the first search.
    is_denied_some: Option<bool>,
    /// Whether `/proc` may hide processes. `None` as long as this was not checked.
    hides_some: Option<bool>,
    is_incomplete: bool,
}

/// A socket, and what searches have found out about its holders.
#[derive(Clone, Debug, Default)]
struct HeldSocket {
    inode: u64,
    is_searched: bool,
    holders: Holders,
    /// The ids of all holders, without duplicates. They are 64 bits wide because the binary
    /// already has code to sort numbers of that width.
    pids: Vec<u64>,
    /// Whether a process whose name is not excluded holds the socket, or may hold it.
    may_have_other: bool,
}

/// Which directories of descriptors a search reads.
#[derive(Clone, Copy)]
enum Directories {
    OfProcesses,
    /// The directories of threads that do not share the descriptors of their process.
    OfThreads,
}

impl Lookup {
    /// A search among the processes in `proc_root`. `excluded` are the names of excluded holders.
    pub fn new(proc_root: &Path, excluded: Vec<Vec<u8>>) -> Lookup {
        Lookup {
            proc_root: proc_root.to_path_buf(),
            excluded,
            sockets: Vec::new(),
            is_denied_some: None,
            hides_some: None,
            is_incomplete: false,
        }
    }

    /// Searches for the holders of the new sockets among `listeners`. Returns whether there
    /// were new sockets. If so, all sockets that are not among `listeners` are forgotten.
    ///
    /// Any number of processes may hold one socket, because workers inherit it, and the
    /// kernel does not say how many. So a search reads every process, once for all sockets.
    /// Processes that cannot be read, such as those of another user, are skipped.
    pub fn look_for(&mut self, listeners: &[Listener]) -> bool {
        self.look_for_until(listeners, Instant::now() + DEADLINE)
    }

    fn look_for_until(&mut self, listeners: &[Listener], deadline: Instant) -> bool {
        let mut inodes = listeners.iter().map(|listener| listener.inode);
        if inodes.all(|inode| inode == 0 || self.find(inode).is_some()) {
            // After a peak, most of the remembered sockets may have closed.
            if self.sockets.len() / 4 > listeners.len() + LEAST_FORGOTTEN {
                let inodes = inodes_of(listeners);
                let is_open = |socket: &HeldSocket| inodes.binary_search(&socket.inode).is_ok();
                self.sockets.retain(is_open);
                sys::shrink_after_peak(&mut self.sockets);
            }
            return false;
        }
        let socket = |inode| match self.find(inode) {
            Some(known) => known.clone(),
            None => HeldSocket {
                inode,
                ..HeldSocket::default()
            },
        };
        let sockets = inodes_of(listeners).into_iter().map(socket).collect();
        self.search(sockets, deadline);
        true
    }

    /// Searches for the holders of the new sockets among `sockets`, until the deadline.
    /// Afterwards, only `sockets` are remembered.
    fn search(&mut self, sockets: Vec<HeldSocket>, deadline: Instant) {
        let mut search = Search {
            sockets,
            excluded: &self.excluded,
            deadline,
            is_over: false,
            is_denied: false,
        };
        search.read_all(&self.proc_root);
        self.is_denied_some = Some(search.is_denied);
        for socket in (search.sockets.iter_mut()).filter(|socket| !socket.is_searched) {
            socket.is_searched = true;
            socket.may_have_other |= search.is_over;
            self.is_incomplete |= search.is_over;
        }
        self.sockets = search.sockets;
    }

    /// The holders of `listener`. If no search included the listener, the holders that it
    /// already has.
    pub fn holders_of(&self, listener: &Listener) -> Holders {
        let known = self.find(listener.inode);
        known
            .map_or(&listener.holders, |socket| &socket.holders)
            .clone()
    }

    /// Whether `listener` has holders, and all of them are excluded.
    pub fn excludes(&self, listener: &Listener) -> bool {
        let is_excluded =
            |socket: &HeldSocket| !socket.holders.is_empty() && !socket.may_have_other;
        self.find(listener.inode).is_some_and(is_excluded)
    }

    /// Whether holders may be missing because a search reached its deadline.
    pub fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// Whether the last search was denied access to some process's descriptors, or `/proc` may
    /// hide processes. If there was no search yet, searches first.
    pub fn is_denied_some(&mut self) -> bool {
        if self.is_denied_some.is_none() {
            self.search(Vec::new(), Instant::now() + DEADLINE);
        }
        let (hides_some, proc_root) = (&mut self.hides_some, &self.proc_root);
        self.is_denied_some == Some(true)
            || *hides_some.get_or_insert_with(|| hides_processes(proc_root))
    }

    /// The socket with this inode, if it was searched for. No socket has the inode 0.
    fn find(&self, inode: u64) -> Option<&HeldSocket> {
        let index = self
            .sockets
            .binary_search_by_key(&inode, |socket| socket.inode);
        Some(&self.sockets[index.ok()?]).filter(|_| inode != 0)
    }
}

/// The inodes of `listeners`, sorted and without duplicates.
///
/// The function sorts numbers instead of listeners, because each type that is sorted adds 3 KB
/// to the binary.
pub fn inodes_of(listeners: &[Listener]) -> Vec<u64> {
    let mut inodes: Vec<u64> = listeners.iter().map(|listener| listener.inode).collect();
    numbers::sort(&mut inodes);
    inodes.dedup();
    inodes
}

/// One search of all processes.
struct Search<'a> {
    /// The known sockets, sorted by inode.
    sockets: Vec<HeldSocket>,
    excluded: &'a [Vec<u8>],
    deadline: Instant,
    /// Whether the deadline has passed.
    is_over: bool,
    /// Whether the descriptors of some process may not be read, or no process is shown.
    is_denied: bool,
}

impl Search<'_> {
    /// Reads the descriptors of every process. If no process was found to hold a socket, also
    /// reads the threads that have descriptors of their own.
    fn read_all(&mut self, proc_root: &Path) {
        self.read(proc_root, Directories::OfProcesses);
        let is_unheld = |socket: &HeldSocket| !socket.is_searched && socket.holders.is_empty();
        if !self.is_over && self.sockets.iter().any(is_unheld) {
            self.read(proc_root, Directories::OfThreads);
        }
    }

    /// Reads the descriptors in these directories of every process.
    fn read(&mut self, proc_root: &Path, directories: Directories) {
        let mut is_any_shown = false;
        let listed = for_each_number_until(proc_root, &mut |pid, process| {
            is_any_shown = true;
            match directories {
                Directories::OfProcesses => {
                    self.read_table(pid, process, process);
                }
                Directories::OfThreads => {
                    // If this fails, the process has ended, or access was already denied.
                    let _ = for_each_separate_table(process, &mut |thread| match self
                        .read_table(pid, process, thread)
                    {
                        true => self.go_on(),
                        false => ControlFlow::Break(()),
                    });
                }
            }
            self.go_on()
        });
        // If `/proc` does not show even this process, it is not mounted. Only a copy of a
        // `/proc` may have no processes.
        self.is_denied |= listed.is_err() || place::is_own(proc_root) && !is_any_shown;
    }

    /// Adds the process to the holders of each new socket in the descriptors of `directory`,
    /// the directory of the process or of one of its threads. Returns false if the descriptors
    /// may not be read.
    fn read_table(&mut self, pid: u32, process: &Path, directory: &Path) -> bool {
        let mut holder = None;
        let mut is_denied = false;
        let read = for_each_descriptor_as_owner(directory, &mut |fd, socket| {
            // Root without CAP_SYS_PTRACE may list descriptors, but not read them.
            is_denied |= is_refused(&socket);
            let inode = socket.ok().flatten();
            if let Some(socket) = inode.and_then(|inode| new_socket(&mut self.sockets, inode)) {
                let holder = holder.get_or_insert_with(|| {
                    // A process that has exited in the meantime has no name.
                    let name = name_in_comm(process).ok()?;
                    Some(Holder { name, pid, fd })
                });
                if let Some(holder) = holder {
                    // A process can hold one socket many times.
                    if socket.pids.last() != Some(&u64::from(pid)) {
                        socket.pids.push(pid.into());
                    }
                    holder.fd = fd;
                    socket.holders.add(holder);
                    socket.may_have_other |= !self.excluded.contains(&holder.name);
                }
            }
            self.go_on()
        });
        is_denied |= is_refused(&read);
        // Access is also denied while a process is exiting, because its files then belong to
        // root. This does not count as missing permission.
        let has_ended = || has_no_descriptors(directory) || !directory.exists();
        self.is_denied = self.is_denied || is_denied && !has_ended();
        !is_denied
    }

    /// Continues until the deadline has passed.
    fn go_on(&mut self) -> ControlFlow<()> {
        self.is_over |= Instant::now() >= self.deadline;
        match self.is_over {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The socket with this inode among `sockets`, if the current search looks for its holders.
fn new_socket(sockets: &mut [HeldSocket], inode: u64) -> Option<&mut HeldSocket> {
    let index = sockets.binary_search_by_key(&inode, |socket| socket.inode);
    Some(&mut sockets[index.ok()?]).filter(|socket| !socket.is_searched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};
    use std::fs;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    /// A process: its id, its name, and its descriptors as (number, target of the link).
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
    fn unheld_listeners_are_reported_if_they_stay_open() {
        let proc = proc_with(&[(7, b"init", &[(3, "socket:[5]")])]);
        let mut search = HolderSearch::new(proc.path(), Vec::new(), Purpose::Show);
        let mut warns_of = |inodes: &[u64]| {
            let mut snapshot = Snapshot::default();
            let listeners = inodes.iter().map(|inode| socket(*inode));
            let filled = snapshot.refill(|all| {
                all.extend(listeners);
                Ok::<_, ()>(())
            });
            filled.unwrap();
            search.find(&mut snapshot);
            search.warned_of_unheld
        };
        assert!(!warns_of(&[5]));
        assert!(!warns_of(&[5, 6]), "it may have closed");
        assert!(!warns_of(&[5]), "it has");
        assert!(
            !warns_of(&[5, 0]),
            "ss listed it, but netlink no longer does"
        );
        assert!(!warns_of(&[5, 7]));
        assert!(warns_of(&[5, 7]), "it is still there");
    }

    #[test]
    fn every_holder_is_found() {
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
        let mut lookup = Lookup::new(proc.path(), Vec::new());
        assert!(lookup.look_for(&[socket(5), socket(6), socket(8), socket(0)]));
        let holders = |inode| lookup.holders_of(&socket(inode)).first().to_vec();
        // The process with the highest id comes first, and its descriptors in descending
        // order.
        let (ten, nine) = (process("a) b\n", 12, 10), process("a) b\n", 12, 9));
        assert_eq!(holders(5), [ten, nine, process("init", 7, 3)]);
        assert_eq!(holders(6), [process("a) b\n", 12, 4)]);
        assert_eq!((holders(8), holders(0)), (vec![], vec![]));
    }

    #[test]
    fn known_sockets_are_not_searched_for_again() {
        let proc = proc_with(&[(7, b"one", &[(3, "socket:[5]"), (4, "socket:[6]")])]);
        let mut lookup = Lookup::new(proc.path(), Vec::new());
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
