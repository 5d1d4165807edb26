//! Finds the container of a listener from the path of its control group, for
//! `--all-namespaces`.
//!
//! inet_diag reports the number of the control group that a socket belongs to (Linux 5.8,
//! cgroup v2). So the container is right even if containers share a network namespace. If the
//! kernel does not report a number, the group of the first holder is used if holders are
//! known, and otherwise the group of the first process in the namespace.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::names::Names;
use crate::kernel::cgroups;
use crate::kernel::proc::file::read_some;
use crate::kernel::proc::process::holds_socket;
use crate::listener::{CONTAINER_ID_LENGTH, Cgroup, CgroupMember, Container, Listener};
use crate::numbers;
use crate::report::{self, Details};
use crate::snapshot::Snapshot;
use crate::sys::open_path;

/// The processes whose mounts show the control groups, and whose roots have the files with
/// the names of containers: process 1 of the host if it is visible, and otherwise this
/// process.
const MOUNTED_BY: [&str; 2] = ["/proc/1", "/proc/self"];
/// One search reads at most this many control groups, because a container can create any
/// number of them.
const MOST_GROUPS: usize = 16_384;
/// One search reads paths of at most this many bytes in total.
const MOST_BYTES: usize = 2 << 20;
/// After a search that reads at least this many control groups, the next search waits one
/// millisecond for each group that was read. So searching never takes more than about a tenth
/// of a core.
const LEAST_BEFORE_PAUSE: usize = 256;
/// Up to four times this many control groups are remembered, even if no listener needs them.
const LEAST_FORGOTTEN: usize = 1024;

/// The words that may precede the id of a container, and the runtime that writes each.
const RUNTIMES: [(&str, &str); 6] = [
    ("docker", "docker"),
    ("cri-containerd", "containerd"),
    ("nerdctl", "containerd"),
    ("crio", "cri-o"),
    ("libpod", "podman"),
    ("libpod-payload", "podman"),
];

/// Finds the control groups of listeners and remembers them, so that a poll without new
/// listeners reads nothing.
#[derive(Debug, Default)]
pub struct Containers {
    /// The groups of sockets, by the number of the group.
    socket_groups: Known,
    /// The groups of holders, by the inode of the socket.
    holder_groups: Known,
    names: Names,
    /// When the control groups of sockets may be searched for again. `None` if a search may
    /// start at once.
    next_search: Option<Instant>,
    /// Whether a warning said that there are too many control groups.
    said_many: bool,
    details: Details,
}

impl Containers {
    /// Forgets the control groups of all sockets if there are far more of them than listeners
    /// in `snapshot`, which must contain all current listeners.
    pub fn limit_groups_of_sockets(&mut self, snapshot: &Snapshot) {
        self.socket_groups.limit(snapshot.listeners());
    }

    /// Sets the control group of each listener of `snapshot` to that of its socket, if the
    /// kernel reported a group that can name a container.
    pub fn set_groups_of_sockets(&mut self, snapshot: &mut Snapshot) {
        let number = |listener: &Listener| listener.cgroup_id;
        let known = &mut self.socket_groups;
        let is_new = |number: &u64| *number != 0 && known.find(*number).is_none();
        let mut new: Vec<u64> = (snapshot.listeners().iter().map(number))
            .filter(is_new)
            .collect();
        if !new.is_empty() {
            numbers::sort(&mut new);
            new.dedup();
            self.find_groups(&new, MOUNTED_BY.map(Path::new));
        }
        let known = &self.socket_groups;
        snapshot.set_cgroups(&|listener| known.get(listener.cgroup_id));
    }

    /// For each listener of `snapshot` that has no control group so far, sets the group of its
    /// first holder, if holders were found.
    pub fn set_groups_of_holders(&mut self, snapshot: &mut Snapshot) {
        let known = &mut self.holder_groups;
        known.limit(snapshot.listeners());
        for listener in snapshot.listeners() {
            let is_due = listener.cgroup.is_none() && !listener.holders.is_empty();
            if is_due && listener.inode != 0 && known.find(listener.inode).is_none() {
                known.insert(listener.inode, first_holder_cgroup(listener));
            }
        }
        snapshot.set_cgroups(&|listener| {
            let group = listener.cgroup.clone();
            group.or_else(|| known.get(listener.inode))
        });
    }

    /// Sets the name of the container of each listener of `snapshot`. The control groups of
    /// the listeners must have been set before. Returns whether this poll searched for names.
    pub fn set_names(&mut self, snapshot: &mut Snapshot) -> bool {
        let details = &mut self.details;
        self.names.set(snapshot, &mut || root(details))
    }

    /// Opens the root directory of the host, or of this process if that is not permitted.
    pub fn root(&mut self) -> Option<File> {
        root(&mut self.details)
    }

    /// Searches for the control groups with these `numbers`, which must be sorted and not
    /// known yet, in the mounts of the first of `processes` that can be read. If the search
    /// does not find a group, or finds one that cannot name a container, it remembers the
    /// number without a group. It does not do so for groups that it may have missed because
    /// there were too many to read.
    fn find_groups(&mut self, numbers: &[u64], processes: [&Path; 2]) {
        if self.next_search.is_some_and(|next| Instant::now() < next) {
            return;
        }
        let known = &mut self.socket_groups;
        // Process 1 and this process are in the same cgroup hierarchies, so it does not matter
        // which of them is read.
        let is_mixed = read_some(Path::new("/proc/self/cgroup")).is_ok_and(|text| is_mixed(&text));
        let (mut left, mut read, mut bytes) = (numbers.len(), 0, 0);
        let mut take = |number: u64, path: &[u8]| {
            if numbers.binary_search(&number).is_ok() {
                let group = group(path.to_vec(), CgroupMember::Socket);
                // If nothing uses cgroup v2, all sockets are in the root group.
                let is_meaningful = path != b"/" && (!is_mixed || group.container.is_some());
                known.insert(number, is_meaningful.then(|| Arc::new(group)));
                left -= 1;
            }
            (read, bytes) = (read + 1, bytes + path.len());
            match left == 0 || read == MOST_GROUPS || bytes > MOST_BYTES {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        for process in processes {
            match cgroups::for_each_seen_by(process, &mut take) {
                Ok(()) => break,
                Err(error) => self.details.print_once(format_args!(
                    "cgroup v2 in {}/root: {error}; the cgroup of a socket may be missing",
                    process.display()
                )),
            }
        }
        let has_read_all = left == 0 || read < MOST_GROUPS && bytes <= MOST_BYTES;
        for number in numbers.iter().filter(|_| has_read_all) {
            known.insert(*number, None);
        }
        if read >= LEAST_BEFORE_PAUSE {
            self.next_search = Some(Instant::now() + Duration::from_millis(read as u64));
        }
        if !has_read_all && !std::mem::replace(&mut self.said_many, true) {
            report::warn(format_args!(
                "there are too many control groups to read; that of a socket may be missing"
            ));
        }
    }
}

fn root(details: &mut Details) -> Option<File> {
    MOUNTED_BY.iter().find_map(|process| {
        let root = open_path(&Path::new(process).join("root"));
        if let Err(error) = &root {
            details.print_once(format_args!(
                "names of containers in {process}/root: {error}"
            ));
        }
        root.ok()
    })
}

/// The control groups that were searched for, sorted by a number. `None` means that no group
/// was found.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<(u64, Option<Arc<Cgroup>>)>);

impl Known {
    fn index(&self, number: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&number, |(number, _)| *number)
    }

    pub(super) fn find(&self, number: u64) -> Option<&Option<Arc<Cgroup>>> {
        let (_, group) = &self.0[self.index(number).ok()?];
        Some(group)
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<Cgroup>> {
        self.find(number)?.clone()
    }

    /// Adds a group, unless the number is known already.
    pub(super) fn insert(&mut self, number: u64, group: Option<Arc<Cgroup>>) {
        if let Err(index) = self.index(number) {
            self.0.insert(index, (number, group));
        }
    }

    /// Forgets all groups if there are far more of them than `listeners`. The next search
    /// finds the groups that are still needed.
    pub(super) fn limit(&mut self, listeners: &[Listener]) {
        if self.0.len() / 4 > listeners.len() + LEAST_FORGOTTEN {
            self.0 = Vec::new();
        }
    }
}

/// The group of the first holder of `listener` that still holds it.
fn first_holder_cgroup(listener: &Listener) -> Option<Arc<Cgroup>> {
    let mut holders = listener.holders.first().iter();
    holders.find_map(|holder| {
        let directory = Path::new("/proc").join(holder.pid.to_string());
        let group = process_cgroup(&directory, CgroupMember::Holder);
        // The process may have exited, and another one may have its id by now.
        holds_socket(&directory, holder.fd, listener.inode).then_some(group)
    })
}

/// The group of the process with this `directory` in `/proc`. In cgroup v1, a process is in
/// several groups. The result is preferably one that names a container.
pub fn process_cgroup(directory: &Path, member: CgroupMember) -> Arc<Cgroup> {
    let names_container = |path: &[u8]| container(path).is_some();
    let path = cgroups::process_path(directory, &names_container);
    Arc::new(group(path, member))
}

fn group(path: Vec<u8>, member: CgroupMember) -> Cgroup {
    Cgroup {
        container: container(&path),
        path,
        member,
        leads_to_container: false,
    }
}

/// Whether the contents of `/proc/PID/cgroup` name groups of cgroup v1. If so, a runtime may
/// leave a container in the v2 group of the runtime's own service.
fn is_mixed(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.any(|line| !line.is_empty() && !line.starts_with(b"0::"))
}

/// The container that the path of a control group names. If the path names several containers,
/// returns the outermost one, because a container can create groups inside its own group and
/// give them any name.
///
/// The part of the path that names a container is `ID` or `RUNTIME-ID` if the runtime makes
/// groups itself (the cgroupfs driver), and `RUNTIME-ID.scope` if systemd makes them. If the
/// runtime and kubelet use different drivers, it is `SLICE:RUNTIME:ID`. The parts before it,
/// such as kubelet's slices or the `..` of another cgroup namespace, do not matter.
/// `fixtures/cgroups` has an example of each form.
fn container(path: &[u8]) -> Option<Container> {
    let mut above = &b""[..];
    for part in path.split(|byte| *byte == b'/') {
        let parent = std::mem::replace(&mut above, part);
        let name = part.strip_suffix(b".scope").unwrap_or(part);
        let (prefix, id) = name.split_at(name.len().saturating_sub(CONTAINER_ID_LENGTH));
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if id.len() < CONTAINER_ID_LENGTH || !id.iter().all(is_hex) {
            continue;
        }
        let word = prefix
            .rsplit(|byte| *byte == b':')
            .find(|word| !word.is_empty());
        let word = word.unwrap_or_default();
        let word = word.strip_suffix(b"-").unwrap_or(word);
        let named = RUNTIMES.iter().find(|(name, _)| name.as_bytes() == word);
        let runtime = match (named, parent) {
            (Some((_, runtime)), _) => Some(*runtime),
            (None, b"docker") if word.is_empty() => Some("docker"),
            // This is the group of a Podman pod, which contains the groups of the pod's
            // containers.
            (None, b"libpod_parent") => continue,
            // containerd and other runtimes write only the id.
            (None, _) if word.is_empty() => None,
            // For example, `libpod-conmon-` is the group of a container's monitor, which runs
            // outside the container.
            _ => continue,
        };
        return Some(Container {
            id: str::from_utf8(id).ok()?.to_string(),
            runtime,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Each file of `fixtures/cgroups` has three kinds of lines: sources for its form after
    /// `#`, the expected container after `=`, and the contents of a `/proc/PID/cgroup`.
    #[test]
    fn the_container_is_found_in_every_form_of_path() {
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/cgroups");
        let mut checked = 0;
        for fixture in fs::read_dir(fixtures).unwrap() {
            let path = fixture.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let is_note = |line: &&str| line.starts_with(['#', '=']);
            let notes = text.lines().filter(is_note).collect::<Vec<_>>();
            let process = tempfile::TempDir::new().unwrap();
            let cgroup = text.lines().filter(|line| !is_note(line));
            let cgroup = cgroup.collect::<Vec<_>>().join("\n") + "\n";
            fs::write(process.path().join("cgroup"), cgroup).unwrap();

            let group = process_cgroup(process.path(), CgroupMember::Holder);
            let found = match &group.container {
                None => "= none".to_string(),
                Some(Container { id, runtime }) => {
                    format!("= {id} {}", runtime.unwrap_or("-"))
                }
            };
            assert_eq!(notes.last(), Some(&&*found), "{}", path.display());
            assert!(notes.len() > 1, "{}: has no source", path.display());
            checked += 1;
        }
        assert!(checked > 50, "{checked} fixtures");
    }

    #[test]
    fn bytes_that_are_not_text_name_no_container() {
        for path in [&b"/docker/\xff"[..], &[b'/'; 200], &[0xff; 200], b"", b":-"] {
            assert_eq!(container(path), None);
        }
    }

    /// The directory of a process that has these groups mounted, and nothing else.
    fn process_with_groups(groups: &[String]) -> tempfile::TempDir {
        let process = tempfile::TempDir::new().unwrap();
        let mounts = "1 1 0:1 / /groups rw - cgroup2 none rw\n";
        fs::write(process.path().join("mountinfo"), mounts).unwrap();
        for group in groups {
            fs::create_dir_all(process.path().join("root/groups").join(group)).unwrap();
        }
        process
    }

    #[test]
    fn a_group_counts_as_missing_if_all_were_read() {
        let few = (0..10).map(|number| number.to_string());
        let many = (0..MOST_GROUPS).map(|number| number.to_string());
        let long = (0..250).map(|number| format!("{number}{}", format!("/{:0>250}", 0).repeat(8)));
        for (groups, is_known) in [
            (few.collect::<Vec<_>>(), true),
            (many.collect(), false),
            (long.collect(), false),
        ] {
            let process = process_with_groups(&groups);
            let mut containers = Containers::default();
            containers.find_groups(&[u64::MAX], [process.path(); 2]);
            assert_eq!(containers.socket_groups.find(u64::MAX).is_some(), is_known);
            assert_eq!(containers.said_many, !is_known);
        }
    }

    #[test]
    fn a_search_of_many_groups_delays_the_next_one() {
        let groups: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
        let process = process_with_groups(&groups);
        let mut containers = Containers::default();
        containers.find_groups(&[u64::MAX], [process.path(); 2]);
        let next = containers.next_search;
        assert!(next.is_some());
        containers.find_groups(&[u64::MAX], [process.path(); 2]);
        assert_eq!(containers.next_search, next);
    }

    #[test]
    fn groups_that_no_listener_needs_are_forgotten() {
        let mut known = Known::default();
        (1..=4000).for_each(|number| known.insert(number, None));
        known.limit(&[]);
        assert!(known.find(4000).is_some(), "few are kept");
        (4001..=5000).for_each(|number| known.insert(number, None));
        known.limit(&[]);
        assert!(known.find(5000).is_none());
    }

    #[test]
    fn a_machine_with_a_cgroup_v1_group_is_mixed() {
        assert!(!is_mixed(b"0::/init.scope\n"));
        assert!(is_mixed(b"1:name=systemd:/\n0::/init.scope\n"));
        assert!(is_mixed(b"4:memory:/\n"));
    }
}
