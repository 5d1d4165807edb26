//! The mounts in `/proc/PID/mountinfo` (proc_pid_mountinfo(5)). Some of them mount a network
//! namespace on a file, as `ip netns add` does. Such a mount keeps the namespace alive without
//! a process.
//!
//! Functions that take a `process` expect its directory in `/proc`, and return the mounts that
//! the process sees.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::file::{self, MOST_BYTES};
use super::process::inode_of_link;

/// Calls `each` for every network namespace that is mounted on a file. Passes it the inode of
/// the namespace, and the path of the mount below the root directory of the process.
///
/// # Errors
/// Fails if the mounts cannot be read.
pub fn for_each_network_namespace(
    process: &Path,
    each: &mut dyn FnMut(u64, PathBuf),
) -> io::Result<()> {
    for line in read(process)?.split(|byte| *byte == b'\n') {
        if let Some((inode, path)) = network_namespace_in(line) {
            each(inode, path);
        }
    }
    Ok(())
}

/// The contents of `mountinfo`. The paths in it may contain any bytes.
///
/// # Errors
/// Fails if the file cannot be read or is too long.
pub fn read(process: &Path) -> io::Result<Vec<u8>> {
    file::read(&process.join("mountinfo"), MOST_BYTES)
}

/// The fields of a line of `mountinfo`.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ')
}

/// The path of the first mount whose file system has the type `wanted`.
///
/// # Errors
/// Fails if there is no such mount, or if the mounts cannot be read.
pub fn first_of_type(process: &Path, wanted: &[u8]) -> io::Result<PathBuf> {
    let text = read(process)?;
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find(|line| kind(line) == Some(wanted));
    line.and_then(path)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The path at which a line of `mountinfo` mounts something.
pub fn path(line: &[u8]) -> Option<PathBuf> {
    Some(unescaped(fields(line).nth(4)?))
}

/// The type of the file system that a line of `mountinfo` mounts.
fn kind(line: &[u8]) -> Option<&[u8]> {
    fields(line).skip_while(|field| *field != b"-").nth(1)
}

/// The inode and the path of the network namespace that a line of `mountinfo` mounts. `None`
/// if it mounts something else. Example:
/// `529 25 0:4 net:[4026532221] /run/netns/blue rw shared:4 - nsfs nsfs rw`.
fn network_namespace_in(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut fields = fields(line).skip(3);
    let (root, path) = (fields.next()?, fields.next()?);
    let inode = inode_of_link(Path::new(str::from_utf8(root).ok()?), "net")?;
    // The type must be checked, because a file on another file system can have such a name.
    (kind(line) == Some(b"nsfs")).then(|| (inode, unescaped(path)))
}

/// Decodes the escapes in a path. The kernel writes a blank, a newline or a backslash as `\`
/// and three octal digits.
fn unescaped(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = path;
    while let [first, following @ ..] = rest {
        let digits = following.get(..3).filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &following[3..];
            }
            None => {
                bytes.push(*first);
                rest = following;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    #[test]
    fn network_namespaces_are_found_among_other_mounts() {
        let directory = TempDir::new().unwrap();
        let mounts = "\
            25 1 0:23 / / rw shared:1 - ext4 /dev/sda1 rw\n\
            529 25 0:4 net:[4026532221] /run/netns/blue rw shared:4 - nsfs nsfs rw\n\
            530 25 0:4 mnt:[4026532222] /run/mnt rw shared:4 - nsfs nsfs rw\n\
            531 25 0:50 /net:[1] /not/a/namespace rw - tmpfs tmpfs rw\n\
            532 25 0:50 net:[1] /neither rw - tmpfs nsfs rw\n\
            533 25 0:4 net:[7] /a\\040b\\134040\\012c\\04 rw - nsfs nsfs rw\n\
            534 25 0:4 net:[8";
        fs::write(directory.path().join("mountinfo"), mounts).unwrap();
        assert!(first_of_type(directory.path(), b"cgroup2").is_err());
        let mut found = Vec::new();
        let mut take = |inode, path| found.push((inode, path));
        for_each_network_namespace(directory.path(), &mut take).unwrap();
        let expected = [
            (4026532221, PathBuf::from("/run/netns/blue")),
            (7, "/a b\\040\nc\\04".into()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_mount_path_may_contain_any_bytes() {
        let directory = TempDir::new().unwrap();
        let mounts = b"\
            24 1 0:22 / /a\xff rw - tmpfs cgroup2 rw\n\
            25 1 0:23 / /b\xff\\040c rw shared:1 - cgroup2 none rw\n\
            26 1 0:23 / /d rw - cgroup2 none rw\n";
        fs::write(directory.path().join("mountinfo"), mounts).unwrap();
        let found = first_of_type(directory.path(), b"cgroup2").unwrap();
        assert_eq!(found, OsString::from_vec(b"/b\xff c".to_vec()));
    }
}
