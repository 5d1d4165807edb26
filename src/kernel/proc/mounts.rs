//! What is mounted, by `/proc/PID/mountinfo` (proc(5)), and which network namespaces are
//! mounted as files. Such a mount keeps its namespace alive without a process, as
//! `ip netns add` does.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::file::{self, MOST_BYTES};
use super::process::inode_of_link;

/// Calls `each` with every network namespace that is mounted where the process with this
/// directory in `/proc` sees it: with its inode, and the path of the mount below the root
/// directory of that process.
///
/// # Errors
/// If the mounts cannot be read.
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

/// The `mountinfo` of the process with this directory in `/proc`. The paths in it may be
/// any bytes.
///
/// # Errors
/// If it cannot be read, or is too long.
pub fn read(process: &Path) -> io::Result<Vec<u8>> {
    file::read(&process.join("mountinfo"), MOST_BYTES)
}

/// The fields of a line of `mountinfo`.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b' ')
}

/// Where the process with this directory in `/proc` sees a file system of this type that
/// is mounted there first.
///
/// # Errors
/// If it sees none, or its mounts cannot be read.
pub fn first_of_type(process: &Path, wanted: &[u8]) -> io::Result<PathBuf> {
    let text = read(process)?;
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines.find(|line| kind(line) == Some(wanted));
    line.and_then(path)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Where the file system in a line of `mountinfo` is mounted.
pub fn path(line: &[u8]) -> Option<PathBuf> {
    Some(unescaped(fields(line).nth(4)?))
}

/// The type of the file system in a line of `mountinfo`.
fn kind(line: &[u8]) -> Option<&[u8]> {
    fields(line).skip_while(|field| *field != b"-").nth(1)
}

/// The inode and the path in a line of `mountinfo`, if it is one of a network namespace:
/// `529 25 0:4 net:[4026532221] /run/netns/blue rw shared:4 - nsfs nsfs rw`.
fn network_namespace_in(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut fields = fields(line).skip(3);
    let (root, path) = (fields.next()?, fields.next()?);
    let inode = inode_of_link(Path::new(str::from_utf8(root).ok()?), "net")?;
    // A file of this name can be mounted, too.
    (kind(line) == Some(b"nsfs")).then(|| (inode, unescaped(path)))
}

/// The kernel writes blanks and backslashes in a path as `\` and three octal digits.
fn unescaped(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
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
    fn mounts_of_network_namespaces_are_found_among_others() {
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
    fn a_path_can_be_any_bytes() {
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
