//! Opens and reads the files of a `/proc`, of a directory that a user gives instead of `/proc`
//! (`--proc DIR`), or below the root directory of another process.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::sys::{O_NOCTTY, O_NONBLOCK, open_below};

/// Opens `path` for reading. Accepts only regular files, which all files of the kernel's
/// `/proc` are. A FIFO could block forever, and a device may have no end.
///
/// # Errors
/// The errors of open(2), and an error if the file is neither a regular file nor a directory. A
/// directory can be opened, but reading it fails.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    // Regular files ignore both flags. Without them, opening a FIFO would wait for a writer,
    // and a terminal could become the controlling terminal of the watcher's session.
    options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY);
    regular(options.open(path)?)
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    // A directory is accepted here, because the error of reading it is clearer.
    match kind.is_file() || kind.is_dir() {
        true => Ok(file),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "not a regular file",
        )),
    }
}

/// The contents of `path`.
///
/// # Errors
/// The errors of [`open`] and read(2), and an error if the file has more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_all(open(path)?, most)
}

/// The contents of the file that a process whose root directory is `root` would find at `path`.
/// Does not follow the magic links of `/proc`.
///
/// # Errors
/// The errors of [`read`].
pub fn read_below(root: &File, path: &str, most: u64) -> io::Result<Vec<u8>> {
    read_all(regular(open_below(root, path)?)?, most)
}

fn read_all(file: File, most: u64) -> io::Result<Vec<u8>> {
    let bytes = read_start(file, most + 1)?;
    match bytes.len() as u64 > most {
        true => Err(ErrorKind::FileTooLarge.into()),
        false => Ok(bytes),
    }
}

/// The most bytes of a file that can be long, such as `mountinfo`. By default, the kernel
/// allows 100,000 mounts (`/proc/sys/fs/mount-max`).
pub(super) const MOST_BYTES: u64 = 16 << 20;

/// The contents of `path` as text.
///
/// # Errors
/// The errors of [`read`], and an error if the contents are not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read(path, MOST_BYTES)?);
    text.map_err(|_| ErrorKind::InvalidData.into())
}

/// The first 4096 bytes of `path`. Files such as `comm` and `stat` are shorter than that, and
/// of `cgroup`, the first lines are enough.
///
/// # Errors
/// The errors of [`open`] and read(2).
pub fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    read_start(open(path)?, 4096)
}

/// The contents of `path`, which may be a file of any kind, even a pipe, as in ss.
///
/// # Errors
/// The errors of open(2) and read(2).
pub fn read_any(path: &Path) -> io::Result<Vec<u8>> {
    read_start(File::open(path)?, u64::MAX)
}

/// The parent directory of `path`, and its last name. `/` and `/.` at the end are ignored. This
/// replaces the parser of paths in std, which would make the binary 3 KB larger.
pub fn split(path: &Path) -> (&Path, &OsStr) {
    let mut bytes = path.as_os_str().as_bytes();
    while let [rest @ .., b'/'] | [rest @ .., b'/', b'.'] = bytes {
        bytes = rest;
    }
    let slash = bytes.iter().rposition(|byte| *byte == b'/');
    let (directory, name) = match slash {
        None => (&b"."[..], bytes),
        Some(0) => (&b"/"[..], &bytes[1..]),
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
    };
    (
        Path::new(OsStr::from_bytes(directory)),
        OsStr::from_bytes(name),
    )
}

/// Whether both paths consist of the same names, no matter how many slashes separate them.
pub fn is_same(one: &Path, other: &Path) -> bool {
    fn names(path: &Path) -> impl Iterator<Item = &[u8]> {
        let names = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
        names.filter(|name| !matches!(*name, b"" | b"."))
    }
    one.has_root() == other.has_root() && names(one).eq(names(other))
}

/// Reads at most `most` bytes. All reads go through here, so that the binary has only one copy
/// of std's generic code.
fn read_start(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_agrees_with_std() {
        for path in [
            "/proc/12",
            "/proc/12/",
            "/proc//12//",
            "/proc/12/.",
            "a/b",
            "/a",
        ] {
            let path = Path::new(path);
            let expected = (path.parent().unwrap(), path.file_name().unwrap());
            assert_eq!(split(path), expected, "{path:?}");
        }
        assert_eq!(split(Path::new("a")), (Path::new("."), OsStr::new("a")));
        assert_eq!(split(Path::new("/")), (Path::new("."), OsStr::new("")));
    }

    #[test]
    fn is_same_agrees_with_std() {
        let paths = [
            "/proc", "/proc/", "//proc/.", "proc", "/proc/1", "/", "/proc/..", ".",
        ];
        for (one, other) in paths
            .iter()
            .flat_map(|one| paths.map(|other| (*one, other)))
        {
            let expected = Path::new(one) == Path::new(other);
            let both = (Path::new(one), Path::new(other));
            assert_eq!(is_same(both.0, both.1), expected, "{both:?}");
        }
    }
}
