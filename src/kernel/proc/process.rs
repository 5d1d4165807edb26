//! Facts about processes, from the files in `/proc/PID`.
//!
//! Functions that take a `directory` expect the directory of a process in `/proc`, or the
//! directory of a thread in `/proc/PID/task`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, ReadDir};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::sys::{self, FileIds};

use super::file::{self, read_some, split};

/// Calls `each` for every entry of `directory` whose name is a number. Passes it that number
/// and the path of the entry.
///
/// # Errors
/// Fails if `directory` cannot be read.
pub fn for_each_number(directory: &Path, mut each: impl FnMut(u32, &Path)) -> io::Result<()> {
    for_each_number_until(directory, &mut |number, path| {
        each(number, path);
        ControlFlow::Continue(())
    })
}

/// Calls `each` as [`for_each_number`] does, but stops when `each` breaks.
///
/// # Errors
/// Fails if `directory` cannot be read.
pub fn for_each_number_until(
    directory: &Path,
    // `each` is not generic, so that the binary has only one copy of the loop.
    each: &mut dyn FnMut(u32, &Path) -> ControlFlow<()>,
) -> io::Result<()> {
    each_number_in(fs::read_dir(directory)?, directory, each)
}

/// Does the work of [`for_each_number_until`] for a directory that is already open.
fn each_number_in(
    entries: ReadDir,
    directory: &Path,
    each: &mut dyn FnMut(u32, &Path) -> ControlFlow<()>,
) -> io::Result<()> {
    for entry in entries {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.parse().ok())
            && each(number, &directory.join(name)).is_break()
        {
            break;
        }
    }
    Ok(())
}

/// Calls `each` for every thread of a process, with the thread's id and its directory.
///
/// # Errors
/// Fails if the threads cannot be listed.
pub fn for_each_thread(directory: &Path, each: impl FnMut(u32, &Path)) -> io::Result<()> {
    for_each_number(&directory.join("task"), each)
}

/// Calls `each` for every thread of a process that may have a file descriptor table of its own
/// (unshare(2) with CLONE_FILES), until `each` breaks. Passes it the directory of the thread.
///
/// Leaves out the first thread, because the directory of the process shows its descriptors.
/// Also leaves out every thread that certainly shares its descriptors with the thread before
/// it.
///
/// # Errors
/// Fails if the threads cannot be listed.
pub fn for_each_separate_table(
    directory: &Path,
    each: &mut dyn FnMut(&Path) -> ControlFlow<()>,
) -> io::Result<()> {
    let own_id = std::process::id();
    let id_in = |link: &OsStr| link.to_str()?.parse::<u32>().ok();
    let (proc, name) = split(directory);
    let first = id_in(name);
    // kcmp(2) needs the ids of the threads in our PID namespace. This `/proc` shows those ids
    // if it shows our own id. Otherwise it may belong to another PID namespace.
    let shown_id = fs::read_link(proc.join("self"));
    let can_compare = shown_id.is_ok_and(|id| id_in(id.as_os_str()) == Some(own_id));
    let mut last = first.filter(|_| can_compare);
    for_each_number_until(&directory.join("task"), &mut |thread, path| {
        if first == Some(thread) || last.is_some_and(|last| sys::share_descriptors(last, thread)) {
            return ControlFlow::Continue(());
        }
        last = can_compare.then_some(thread);
        each(path)
    })
}

/// Calls `each` for every descriptor of a process or thread, until `each` breaks. Passes it the
/// number of the descriptor, and the inode of its socket or `None` if it is not a socket.
/// Passes an error instead of the inode if the descriptor has been closed meanwhile or cannot
/// be read.
///
/// # Errors
/// Fails if the descriptors cannot be listed.
pub fn for_each_descriptor(
    directory: &Path,
    each: &mut dyn FnMut(u32, io::Result<Option<u64>>) -> ControlFlow<()>,
) -> io::Result<()> {
    list_descriptors(Access::for_this_user(directory), each)
}

/// Calls `each` as [`for_each_descriptor`] does. If reading is refused and this process is
/// root, tries again as the user of the other process. `each` may run as that user, too, so it
/// may only read.
///
/// # Errors
/// Fails if the descriptors cannot be listed.
pub fn for_each_descriptor_as_owner(
    directory: &Path,
    each: &mut dyn FnMut(u32, io::Result<Option<u64>>) -> ControlFlow<()>,
) -> io::Result<()> {
    list_descriptors(Access::for_owner(directory), each)
}

fn list_descriptors(
    mut access: Access<'_>,
    each: &mut dyn FnMut(u32, io::Result<Option<u64>>) -> ControlFlow<()>,
) -> io::Result<()> {
    let fds = access.directory.join("fd");
    let entries = access.read(|| fs::read_dir(&fds))?;
    each_number_in(entries, &fds, &mut |fd, path| {
        let link = access.read(|| fs::read_link(path));
        each(fd, link.map(|link| inode_of_link(&link, "socket")))
    })
}

/// The link that identifies the network namespace of a process or thread. If reading it is
/// refused and this process is root, tries again as the user of the other process.
///
/// # Errors
/// Fails if the link cannot be read.
pub fn network_namespace_link(directory: &Path) -> io::Result<OsString> {
    let link = read_link_as_owner(directory, &directory.join("ns/net"));
    link.map(PathBuf::into_os_string)
}

/// Reads a link of the process or thread with this directory. If that is refused, tries again
/// as the user of that process.
fn read_link_as_owner(directory: &Path, link: &Path) -> io::Result<PathBuf> {
    Access::for_owner(directory).read(|| fs::read_link(link))
}

/// Access to the files of one process or thread, if necessary as its user.
struct Access<'a> {
    directory: &'a Path,
    may_become_owner: bool,
    /// The ids of the user of that process, while this process has them. Dropping them restores
    /// our own ids.
    owner: Option<FileIds>,
}

impl Access<'_> {
    fn for_this_user(directory: &Path) -> Access<'_> {
        Access {
            directory,
            may_become_owner: false,
            owner: None,
        }
    }

    fn for_owner(directory: &Path) -> Access<'_> {
        Access {
            may_become_owner: true,
            ..Access::for_this_user(directory)
        }
    }

    /// Calls `read`. If that is refused, switches to the ids of the user and calls `read`
    /// again.
    fn read<T>(&mut self, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let result = read();
        match is_refused(&result) && self.become_owner() {
            true => read(),
            false => result,
        }
    }

    /// Switches to the ids of the user. Returns whether that succeeded. Tries only once: every
    /// further call returns false.
    fn become_owner(&mut self) -> bool {
        if !std::mem::take(&mut self.may_become_owner) {
            return false;
        }
        // The directory `fd` belongs to the effective user of the process, or to root if the
        // process is not dumpable. In the second case, the user of the process may not read it,
        // either.
        let owner = fs::metadata(self.directory.join("fd"));
        self.owner = owner
            .ok()
            .and_then(|owner| FileIds::take(owner.uid(), owner.gid()));
        self.owner.is_some()
    }
}

/// Whether the result is an error because of a missing permission (`EACCES` or `EPERM`).
pub fn is_refused<T>(result: &io::Result<T>) -> bool {
    let refused = ErrorKind::PermissionDenied;
    result.as_ref().is_err_and(|error| error.kind() == refused)
}

/// The inode of the network namespace of a process or thread. `None` if the link does not have
/// the usual form.
///
/// # Errors
/// Fails if the link cannot be read.
pub fn network_namespace(directory: &Path) -> io::Result<Option<u64>> {
    let link = fs::read_link(directory.join("ns/net"))?;
    Ok(inode_of_link(&link, "net"))
}

/// Whether the descriptor `fd` of a process is the socket with this inode. If reading it is
/// refused and this process is root, tries again as the user of the other process. False if it
/// cannot be read.
pub fn holds_socket(directory: &Path, fd: u32, inode: u64) -> bool {
    let link = directory.join("fd").join(fd.to_string());
    let link = read_link_as_owner(directory, &link);
    link.is_ok_and(|link| inode_of_link(&link, "socket") == Some(inode))
}

/// The inode in a link of this kind. If `kind` is `socket`, the inode in `socket:[123]` is 123.
pub(super) fn inode_of_link(link: &Path, kind: &str) -> Option<u64> {
    let link = link.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?;
    link.strip_suffix(']')?.parse().ok()
}

/// The name of a process from `comm`. Unlike the name in `stat` as ss reads it, it is never cut
/// at a `)`.
///
/// # Errors
/// Fails if the file cannot be read, for example because the process has exited.
pub fn name_in_comm(directory: &Path) -> io::Result<Vec<u8>> {
    let mut name = read_some(&directory.join("comm"))?;
    name.pop_if(|last| *last == b'\n');
    Ok(name)
}

/// The name of a process from `stat`, as ss reads it. In `PID (NAME) S ...`, this is the text
/// between the first `(` and the first `)`. A name that contains a `)` is cut there.
///
/// # Errors
/// The errors of [`name_in_comm`].
pub fn name_in_stat(directory: &Path) -> io::Result<Vec<u8>> {
    let stat = read_some(&directory.join("stat"))?;
    let mut parts = stat.splitn(2, |byte| *byte == b'(');
    let name = parts.nth(1).unwrap_or_default();
    Ok(name
        .split(|byte| *byte == b')')
        .next()
        .unwrap_or_default()
        .to_vec())
}

/// The process ids of the children that all threads of a process have started. Requires a
/// kernel with `CONFIG_PROC_CHILDREN`.
///
/// # Errors
/// Fails if the threads or the children of one thread cannot be listed.
pub fn children(directory: &Path) -> io::Result<Vec<u32>> {
    let mut children = Vec::new();
    let mut failure = None;
    for_each_thread(directory, |_, thread| {
        match file::read(&thread.join("children"), MOST_CHILDREN) {
            Ok(_) if children.len() as u64 >= MOST_CHILDREN => {
                failure = Some(ErrorKind::FileTooLarge.into());
            }
            Ok(text) => {
                let words = text.split(u8::is_ascii_whitespace);
                let words = words.filter_map(|word| str::from_utf8(word).ok());
                children.extend(words.flat_map(str::parse::<u32>));
            }
            // The thread has exited meanwhile.
            Err(error) if is_process_gone(&error) => {}
            Err(error) => failure = Some(error),
        }
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(children),
    }
}

/// The most bytes that a list of children may have, and the most children that all threads of a
/// process may have. No machine can have more processes (`PID_MAX_LIMIT` of the kernel), so
/// more is an error.
const MOST_CHILDREN: u64 = 4 << 20;

/// The fields of `/proc/PID/stat` that this program uses, for a process or a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Whether all threads of the process have exited or are exiting. If so, its descriptors
    /// may no longer be readable.
    pub has_ended: bool,
    /// Whether the first thread has exited or is exiting. Other threads may still be running.
    pub first_thread_has_ended: bool,
    /// The process id of the parent.
    pub parent: u32,
    /// When the process was started, in clock ticks since the boot.
    pub start_time: u64,
}

/// The flag of a thread that is exiting (`include/linux/sched.h` of the kernel).
const PF_EXITING: u32 = 0x4;

/// Reads `stat` of a process or thread: `PID (NAME) STATE PPID ...`. NAME may contain
/// anything, so the fields after it are found after the last `)`.
///
/// The flags are the 9th field, the number of threads is the 20th, and the start time is the
/// 22nd (proc(5)). The state and the flags are those of the first thread, which may exit
/// before the others.
///
/// # Errors
/// Fails if the file cannot be read or does not have this form.
pub fn read_stat(directory: &Path) -> io::Result<Stat> {
    let text = read_some(&directory.join("stat"))?;
    let stat = || {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = str::from_utf8(&text[end + 1..])
            .ok()?
            .split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let flags: u32 = fields.nth(4)?.parse().ok()?;
        let threads: u32 = fields.nth(10)?.parse().ok()?;
        let has_ended = matches!(state, "Z" | "X" | "x") || flags & PF_EXITING != 0;
        Some(Stat {
            has_ended: has_ended && !(threads > 1 && has_running_thread(directory)),
            first_thread_has_ended: has_ended,
            parent,
            start_time: fields.nth(1)?.parse().ok()?,
        })
    };
    stat().ok_or_else(|| ErrorKind::InvalidData.into())
}

/// Whether a thread of this process is still running. For the directory of a thread, the result
/// is false, because it does not list threads.
fn has_running_thread(directory: &Path) -> bool {
    let mut is_running = false;
    let listed = for_each_thread(directory, |_, thread| {
        is_running |= read_stat(thread).is_ok_and(|stat| !stat.has_ended);
    });
    listed.is_ok() && is_running
}

/// Whether a thread has exited and thus has no descriptors. For the directory of a process, the
/// result is about its first thread.
pub fn has_no_descriptors(directory: &Path) -> bool {
    read_stat(directory).is_ok_and(|stat| stat.first_thread_has_ended)
}

/// Whether an error of reading a file in `/proc` means that its process or thread has exited
/// (`ENOENT` or `ESRCH`).
pub fn is_process_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn name_in_stat_ends_at_the_first_closing_parenthesis() {
        let directory = TempDir::new().unwrap();
        let name_in = |stat: &[u8]| {
            fs::write(directory.path().join("stat"), stat).unwrap();
            name_in_stat(directory.path()).unwrap()
        };
        assert_eq!(name_in(b"12 (nginx) S 1 12"), b"nginx");
        assert_eq!(name_in(b"12 ((sd-pam)) S 1 12"), b"(sd-pam");
        assert_eq!(name_in(b"12 (a\n\\) b) S 1 12"), b"a\n\\");
        assert_eq!(name_in(b"12 ()) S 1 12"), b"");
        assert_eq!(name_in(b""), b"");
    }

    #[test]
    fn read_stat_accepts_names_with_parentheses() {
        let directory = TempDir::new().unwrap();
        let stat = |text: String| {
            fs::write(directory.path().join("stat"), text).unwrap();
            read_stat(directory.path()).map_err(|error| error.kind())
        };
        let line = |state, flags| {
            let zeros = "0 ".repeat(12);
            format!("12 (a) S 1) b) {state} 34 0 0 0 0 {flags} {zeros}777 0\n")
        };
        let expected = |has_ended| Stat {
            has_ended,
            first_thread_has_ended: has_ended,
            parent: 34,
            start_time: 777,
        };
        assert_eq!(stat(line("S", 0)), Ok(expected(false)));
        assert_eq!(stat(line("Z", 0)), Ok(expected(true)));
        assert_eq!(stat(line("S", PF_EXITING)), Ok(expected(true)));
        assert_eq!(stat("12 (a) S 34".into()), Err(ErrorKind::InvalidData));
    }

    #[test]
    fn descriptors_are_listed_with_their_socket_inodes() {
        let directory = TempDir::new().unwrap();
        let fds = directory.path().join("fd");
        fs::create_dir(&fds).unwrap();
        std::os::unix::fs::symlink("socket:[5]", fds.join("3")).unwrap();
        std::os::unix::fs::symlink("pipe:[6]", fds.join("4")).unwrap();
        fs::write(fds.join("9"), "not a link").unwrap();
        let mut found = Vec::new();
        let mut each = |fd, socket: io::Result<Option<u64>>| {
            found.push((fd, socket.map_err(|error| error.kind())));
            ControlFlow::Continue(())
        };
        for_each_descriptor(directory.path(), &mut each).unwrap();
        found.sort();
        let not_a_link = Err(ErrorKind::InvalidInput);
        assert_eq!(found, [(3, Ok(Some(5))), (4, Ok(None)), (9, not_a_link)]);
    }
}
