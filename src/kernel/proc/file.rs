//! Opens and reads the files of a `/proc`, which somebody else may have made
//! (`--proc DIR`), and those below the root of another process.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::sys::{O_NOCTTY, O_NONBLOCK, open_below};

/// Opens `path` for reading. It must be a regular file, as all are in the kernel's own
/// `/proc`: a FIFO may block for ever, and a device may have no end.
///
/// # Errors
/// Those of open(2), and if it is anything else.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    // Regular files ignore both flags. Without them, opening a FIFO waits for a writer,
    // and a terminal may become that of the watcher's session.
    options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY);
    regular(options.open(path)?)
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    // Reading a directory fails, with an error that says what it is.
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
/// As [`open`], those of read(2), and if there are more than `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_all(open(path)?, most)
}

/// The contents of the file at `path`, as a process with this `root` would find it. No magic
/// link of `/proc` is followed.
///
/// # Errors
/// As [`read`].
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

/// More bytes than this are an error where a file may be long. By default, the kernel allows
/// 100,000 mounts (`/proc/sys/fs/mount-max`).
pub(super) const MOST_BYTES: u64 = 16 << 20;

/// The contents of `path`, which is text.
///
/// # Errors
/// As [`read`], and if it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read(path, MOST_BYTES)?);
    text.map_err(|_| ErrorKind::InvalidData.into())
}

/// The contents of `path`, at most 4096 bytes. `comm` and `stat` are shorter, and of
/// `cgroup` the first lines suffice.
///
/// # Errors
/// As [`open`], and those of read(2).
pub fn read_some(path: &Path) -> io::Result<Vec<u8>> {
    read_start(open(path)?, 4096)
}

/// All that `path` holds, whatever it is: also what comes through a pipe, as ss reads it.
///
/// # Errors
/// Those of open(2) and read(2).
pub fn read_any(path: &Path) -> io::Result<Vec<u8>> {
    read_start(File::open(path)?, u64::MAX)
}

// For all of them, so that there is one copy of std's part of it.
fn read_start(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
