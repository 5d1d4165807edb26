//! Control groups (cgroups): their paths, and the numbers by which the kernel identifies them.
//!
//! The number of a control group is the inode of its directory in cgroup v2. inet_diag
//! reports the number of the control group that a socket belongs to.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::proc::file::read_some;
use super::proc::mounts::first_of_type;

/// The file system type of cgroup v2.
const TYPE: &[u8] = b"cgroup2";

/// The control groups of the machine, or of the cgroup namespace that this program is in.
#[derive(Debug, Default)]
pub struct Cgroups {
    /// The number and the path of each control group.
    paths: Vec<(u64, Vec<u8>)>,
}

impl Cgroups {
    /// Reads the control groups below the first mount of cgroup v2. Leaves out those that
    /// cannot be read.
    pub fn read() -> Cgroups {
        let mut cgroups = Cgroups::default();
        if let Some((root, device)) = mount() {
            for_each(&root, device, &mut |number, path| {
                cgroups.paths.push((number, path.to_vec()));
                ControlFlow::Continue(())
            });
        }
        cgroups
    }

    /// The path of the control group with this number. `None` if [`Cgroups::read`] has not
    /// found it.
    pub fn path(&self, number: u64) -> Option<&[u8]> {
        let (_, path) = self.paths.iter().find(|(known, _)| *known == number)?;
        Some(path)
    }
}

/// Calls `each` with the number and the path of every control group that a process sees, until
/// `each` breaks. Parents come before their children. `directory` is the directory of the
/// process in `/proc`.
///
/// # Errors
/// Fails if cgroup v2 is not mounted for that process, or if its root directory cannot be read.
pub fn for_each_seen_by(
    directory: &Path,
    each: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mount = first_of_type(directory, TYPE)?;
    // `join` would discard `root`, because the path of the mount starts with a slash.
    let mut root = directory.join("root").into_os_string();
    root.push(mount);
    let root = PathBuf::from(root);
    let device = fs::metadata(&root)?.dev();
    for_each(&root, device, each);
    Ok(())
}

/// Calls `each` with the number and the path of every readable control group below `root`,
/// until `each` breaks. Parents come before their children. Does not enter a directory on a
/// device other than `device`.
fn for_each(root: &Path, device: u64, each: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>) {
    let length = root.as_os_str().len();
    let number = fs::metadata(root).map_or(0, |metadata| metadata.ino());
    if each(number, b"/").is_break() {
        return;
    }
    let mut level = vec![root.to_path_buf()];
    while !level.is_empty() {
        let mut next_level = Vec::new();
        for directory in level {
            let metadata = fs::metadata(&directory);
            let is_on_device = metadata.is_ok_and(|metadata| metadata.dev() == device);
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten().filter(|_| is_on_device) {
                // The type and the inode come with the directory entry. `metadata` would make a
                // system call for each of the many files.
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = entry.path();
                if each(entry.ino(), &path.as_os_str().as_encoded_bytes()[length..]).is_break() {
                    return;
                }
                next_level.push(path);
            }
        }
        level = next_level;
    }
}

/// The number of the control group at `path`, which is either an absolute path in the file
/// system or a path below the mount of cgroup v2. `None` if there is no such control group.
pub fn number(path: &str) -> Option<u64> {
    let (root, device) = mount()?;
    let below_mount = root.join(path.trim_start_matches('/'));
    [PathBuf::from(path), below_mount].iter().find_map(|path| {
        let metadata = fs::metadata(path).ok()?;
        (metadata.dev() == device).then_some(metadata.ino())
    })
}

/// The path of the control group of a process. `directory` is the directory of the process in
/// `/proc`.
///
/// With cgroup v1, a process is in one control group for each hierarchy. The result is then the
/// first of these that exists: a path for which `preferred` returns true; the path in cgroup v2,
/// if it is not `/`; the first path in cgroup v1 that is not `/`. Otherwise, and if the file
/// cannot be read, the result is `/`.
pub fn process_path(directory: &Path, preferred: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
    let text = read_some(&directory.join("cgroup")).unwrap_or_default();
    path_in(&text, preferred).to_vec()
}

/// The path that [`process_path`] chooses from the contents of `/proc/PID/cgroup` (cgroups(7)).
fn path_in<'a>(text: &'a [u8], preferred: &dyn Fn(&[u8]) -> bool) -> &'a [u8] {
    let (mut best, mut best_rank) = (&b"/"[..], 0);
    for line in text.split(|byte| *byte == b'\n') {
        let Some(path) = line.splitn(3, |byte| *byte == b':').nth(2) else {
            continue;
        };
        let rank = match path {
            _ if preferred(path) => 3,
            b"/" => 0,
            _ if line.starts_with(b"0::") => 2,
            _ => 1,
        };
        if rank > best_rank {
            (best, best_rank) = (path, rank);
        }
    }
    best
}

/// The path of the first mount of cgroup v2, and the device of its file system.
fn mount() -> Option<(PathBuf, u64)> {
    let root = first_of_type(Path::new("/proc/self"), TYPE).ok()?;
    let device = fs::metadata(&root).ok()?.dev();
    Some((root, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_path_prefers_a_cgroup_below_the_root() {
        for (text, expected) in [
            (
                "0::/system.slice/docker-ab12.scope\n",
                "/system.slice/docker-ab12.scope",
            ),
            ("0::/\n", "/"),
            (
                "2:cpu,cpuacct:/docker/ab12\n1:name=systemd:/\n0::/\n",
                "/docker/ab12",
            ),
            (
                "3:cpuset:/\n2:memory:/a:b\n1:name=systemd:/docker/ab12\n",
                "/a:b",
            ),
            ("2:cpu:/docker/ab12\n0::/system.slice\n", "/system.slice"),
            (
                "0::/../cri-containerd-ab12.scope\n",
                "/../cri-containerd-ab12.scope",
            ),
        ] {
            let path = path_in(text.as_bytes(), &|_| false);
            assert_eq!(path, expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn a_preferred_cgroup_is_chosen_in_any_hierarchy() {
        let text = b"3:cpu:/\n2:memory:/a/ab12\n1:pids:/b\n0::/service\n";
        for (preferred, expected) in [("/b", "/b"), ("/service", "/service"), ("/c", "/service")] {
            let path = path_in(text, &|path| path == preferred.as_bytes());
            assert_eq!(path, expected.as_bytes());
        }
    }
}
