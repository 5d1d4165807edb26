//! Control groups: the path of a process's group, and the number of a group, by which
//! the kernel names that of a socket. The number is the inode of the group's directory
//! (cgroup v2).

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::proc::file::read_some;
use super::proc::mounts::first_of_type;

/// The type of a file system of cgroup v2.
const TYPE: &[u8] = b"cgroup2";

/// The groups of the machine, or of the namespace that this program is in.
#[derive(Debug, Default)]
pub struct Cgroups {
    paths: Vec<(u64, Vec<u8>)>,
}

impl Cgroups {
    /// Reads the tree where it is mounted first. If it is not mounted, or some of
    /// it cannot be read, there are no paths for what is missing.
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

    /// The path of the group with this number, if it is known.
    pub fn path(&self, number: u64) -> Option<&[u8]> {
        let (_, path) = self.paths.iter().find(|(known, _)| *known == number)?;
        Some(path)
    }
}

/// Calls `each` with the number and the path of every group that the process with this
/// `directory` in `/proc` sees where it has mounted the tree first, the upper ones first,
/// until `each` breaks.
///
/// # Errors
/// If the process has not mounted the tree, or this one may not look there.
pub fn for_each_seen_by(
    directory: &Path,
    each: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mount = first_of_type(directory, TYPE)?;
    let below = mount.strip_prefix("/").unwrap_or(&mount);
    let root = directory.join("root").join(below);
    let device = fs::metadata(&root)?.dev();
    for_each(&root, device, each);
    Ok(())
}

/// Calls `each` with the number and the path of every group on this `device` that can be
/// read below `root`, the upper ones first, until `each` breaks.
fn for_each(root: &Path, device: u64, each: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>) {
    let length = root.as_os_str().len();
    let number = fs::metadata(root).map_or(0, |metadata| metadata.ino());
    if each(number, b"/").is_break() {
        return;
    }
    let mut level = vec![root.to_path_buf()];
    while !level.is_empty() {
        let mut below = Vec::new();
        for directory in level {
            let is_on_it = fs::metadata(&directory).is_ok_and(|it| it.dev() == device);
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.flatten().filter(|_| is_on_it) {
                // The kernel says both without a call for each of the many files.
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = entry.path();
                if each(entry.ino(), &path.as_os_str().as_encoded_bytes()[length..]).is_break() {
                    return;
                }
                below.push(path);
            }
        }
        level = below;
    }
}

/// The number of the group at `path`: that of the file system, or below where the
/// groups are mounted.
pub fn number(path: &str) -> Option<u64> {
    let (root, device) = mount()?;
    let below = root.join(path.trim_start_matches('/'));
    [PathBuf::from(path), below].iter().find_map(|path| {
        let metadata = fs::metadata(path).ok()?;
        (metadata.dev() == device).then_some(metadata.ino())
    })
}

/// The path of the group of the process with this directory in `/proc`: of several, one
/// that is `preferred`, if there is one. `/` also if it cannot be read.
pub fn process_path(directory: &Path, preferred: &dyn Fn(&[u8]) -> bool) -> Vec<u8> {
    let text = read_some(&directory.join("cgroup")).unwrap_or_default();
    path_in(&text, preferred).to_vec()
}

/// The path in the contents of `/proc/PID/cgroup`: in cgroups(7) of version 2 the only
/// one. In version 1, it is one that is `preferred`, or that of the first hierarchy in which
/// the process is below the root.
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

/// Where cgroup v2 is mounted first, and its device.
fn mount() -> Option<(PathBuf, u64)> {
    let root = first_of_type(Path::new("/proc/self"), TYPE).ok()?;
    let device = fs::metadata(&root).ok()?.dev();
    Some((root, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_is_the_first_below_the_root() {
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
    fn a_preferred_cgroup_comes_first_in_any_hierarchy() {
        let text = b"3:cpu:/\n2:memory:/a/ab12\n1:pids:/b\n0::/service\n";
        for (preferred, expected) in [("/b", "/b"), ("/service", "/service"), ("/c", "/service")] {
            let path = path_in(text, &|path| path == preferred.as_bytes());
            assert_eq!(path, expected.as_bytes());
        }
    }
}
