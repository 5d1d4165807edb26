//! The paths of control groups. The kernel says the number of a socket's group,
//! which is the inode of the group's directory (cgroup v2).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

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
