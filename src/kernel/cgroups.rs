//! Control groups: the path of a process's group, and the number of a group, by which
//! the kernel names that of a socket. The number is the inode of the group's directory
//! (cgroup v2).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::proc::file::read_some;

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
            let length = root.as_os_str().len();
            cgroups.add(&root, device, length);
        }
        cgroups
    }

    /// Adds a directory and those below it on the same device.
    fn add(&mut self, directory: &Path, device: u64, root_length: usize) {
        let Ok(metadata) = fs::metadata(directory) else {
            return;
        };
        if !metadata.is_dir() || metadata.dev() != device {
            return;
        }
        let path = &directory.as_os_str().as_encoded_bytes()[root_length..];
        let path = if path.is_empty() { b"/" } else { path };
        self.paths.push((metadata.ino(), path.to_vec()));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.add(&entry.path(), device, root_length);
            }
        }
    }

    /// The path of the group with this number, if it is known.
    pub fn path(&self, number: u64) -> Option<&[u8]> {
        let (_, path) = self.paths.iter().find(|(known, _)| *known == number)?;
        Some(path)
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

/// The path of the group of the process with this directory in `/proc`. `/` also if it
/// cannot be read.
pub fn of_process(directory: &Path) -> Vec<u8> {
    let text = read_some(&directory.join("cgroup")).unwrap_or_default();
    path_in(&text).to_vec()
}

/// The path in the contents of `/proc/PID/cgroup`: in cgroups(7) of version 2 the only
/// one, in version 1 that of the first hierarchy in which the process is below the root.
fn path_in(text: &[u8]) -> &[u8] {
    let lines = || text.split(|byte| *byte == b'\n');
    let unified = lines().find_map(|line| line.strip_prefix(b"0::"));
    let paths = lines().filter_map(|line| line.splitn(3, |byte| *byte == b':').nth(2));
    let mut paths = unified.into_iter().chain(paths);
    paths.find(|path| *path != b"/").or(unified).unwrap_or(b"/")
}

/// Where cgroup v2 is mounted first, and its device.
fn mount() -> Option<(PathBuf, u64)> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let path = fields.next()?;
        (fields.next()? == "cgroup2").then(|| PathBuf::from(path))
    })?;
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
            assert_eq!(path_in(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }
}
