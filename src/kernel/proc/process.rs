//! Facts about processes, from the files of `/proc/PID`.

use std::fs::{self, ReadDir};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::sys::{self, FileIds};

use super::file::{self, read_some};

/// Calls `each` with every entry of `directory` whose name is a number, and its path.
///
/// # Errors
/// If `directory` cannot be read.
pub fn for_each_number(directory: &Path, mut each: impl FnMut(u32, &Path)) -> io::Result<()> {
    for_each_number_until(directory, &mut |number, path| {
        each(number, path);
        ControlFlow::Continue(())
    })
}

/// As [`for_each_number`], until `each` breaks.
///
/// # Errors
/// If `directory` cannot be read.
pub fn for_each_number_until(
    directory: &Path,
    // Not a generic: so there is one copy in the binary, whatever is called.
    each: &mut dyn FnMut(u32, &Path) -> ControlFlow<()>,
) -> io::Result<()> {
    each_number_in(fs::read_dir(directory)?, directory.to_path_buf(), each)
}

/// As [`for_each_number_until`], with the opened directory and its path.
fn each_number_in(
    entries: ReadDir,
    mut path: PathBuf,
    each: &mut dyn FnMut(u32, &Path) -> ControlFlow<()>,
) -> io::Result<()> {
    for entry in entries {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
            path.push(name);
            let flow = each(number, &path);
            path.pop();
            if flow.is_break() {
                break;
            }
        }
    }
    Ok(())
}

/// Calls `each` with every thread of the process with this directory in `/proc`, and the
/// thread's own directory.
///
/// # Errors
/// If the threads cannot be listed.
pub fn for_each_thread(directory: &Path, each: impl FnMut(u32, &Path)) -> io::Result<()> {
    for_each_number(&directory.join("task"), each)
}

/// Calls `each` with the directory of each thread that may have a table of descriptors of
/// its own (unshare(2) with CLONE_FILES), until `each` breaks. The first thread of the
/// process with this directory in `/proc` is not among them, because the process's own
/// directory shows its table, unless that thread has ended.
///
/// # Errors
/// If the threads cannot be listed.
pub fn for_each_separate_table(
    directory: &Path,
    each: &mut dyn FnMut(&Path) -> ControlFlow<()>,
) -> io::Result<()> {
    let own_id = std::process::id();
    let id_in = |link: &Path| link.to_str()?.parse::<u32>().ok();
    let first = directory.file_name().map(Path::new).and_then(id_in);
    // Only a `/proc` that numbers processes as the kernel does for this one says which
    // threads can be asked about.
    let shown_id = directory
        .parent()
        .map(|proc| fs::read_link(proc.join("self")));
    let can_ask = shown_id.is_some_and(|id| id.is_ok_and(|id| id_in(&id) == Some(own_id)));
    let mut last = first.filter(|_| can_ask);
    for_each_number_until(&directory.join("task"), &mut |thread, path| {
        if first == Some(thread) || last.is_some_and(|last| sys::share_descriptors(last, thread)) {
            return ControlFlow::Continue(());
        }
        last = can_ask.then_some(thread);
        each(path)
    })
}

/// Calls `each` with every descriptor of the process or thread with this directory, until
/// `each` breaks: with its number, and with the inode of its socket, if it is one. It is
/// an error if the descriptor was closed meanwhile, or may not be read.
///
/// # Errors
/// If the descriptors cannot be listed.
pub fn for_each_descriptor(
    directory: &Path,
    each: &mut dyn FnMut(u32, io::Result<Option<u64>>) -> ControlFlow<()>,
) -> io::Result<()> {
    descriptors(Access::of_this_user(directory), each)
}

/// As [`for_each_descriptor`], if need be and this process is root, as the user of the
/// process. `each` may be called as that user: it may only read.
///
/// # Errors
/// If the descriptors cannot be listed.
pub fn for_each_descriptor_as_owner(
    directory: &Path,
    each: &mut dyn FnMut(u32, io::Result<Option<u64>>) -> ControlFlow<()>,
) -> io::Result<()> {
    descriptors(Access::of_owner(directory), each)
}

fn descriptors(
    mut access: Access<'_>,
    each: &mut dyn FnMut(u32, io::Result<Option<u64>>) -> ControlFlow<()>,
) -> io::Result<()> {
    let fds = access.directory.join("fd");
    let entries = access.to(|| fs::read_dir(&fds))?;
    each_number_in(entries, fds, &mut |fd, path| {
        let link = access.to(|| fs::read_link(path));
        each(fd, link.map(|link| inode_of_link(&link, "socket")))
    })
}

/// The link that names the network namespace of the process or thread with this directory,
/// read as its user where that helps, as in [`for_each_descriptor_as_owner`].
///
/// # Errors
/// If it cannot be read.
pub fn network_namespace_link(directory: &Path) -> io::Result<PathBuf> {
    Access::of_owner(directory).to(|| fs::read_link(directory.join("ns/net")))
}

/// How the files of one process or thread are read.
struct Access<'a> {
    directory: &'a Path,
    may_become_owner: bool,
    /// The ids of its user, once this process has taken them. They are given back when the
    /// value is dropped.
    owner: Option<FileIds>,
}

impl Access<'_> {
    fn of_this_user(directory: &Path) -> Access<'_> {
        Access {
            directory,
            may_become_owner: false,
            owner: None,
        }
    }

    fn of_owner(directory: &Path) -> Access<'_> {
        Access {
            may_become_owner: true,
            ..Access::of_this_user(directory)
        }
    }

    /// Does `read`, and once more with the ids of the user if it is refused.
    fn to<T>(&mut self, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        let result = read();
        match is_refused(&result) && self.become_owner() {
            true => read(),
            false => result,
        }
    }

    /// Takes the ids of the user, unless that was tried before.
    fn become_owner(&mut self) -> bool {
        if !std::mem::take(&mut self.may_become_owner) {
            return false;
        }
        // It belongs to the effective user, or to root if the process is not dumpable. Its
        // user may not read it then, either.
        let owner = fs::metadata(self.directory.join("fd"));
        self.owner = owner
            .ok()
            .and_then(|owner| FileIds::take(owner.uid(), owner.gid()));
        self.owner.is_some()
    }
}

/// Whether this process lacks the permission.
pub fn is_refused<T>(result: &io::Result<T>) -> bool {
    let refused = ErrorKind::PermissionDenied;
    result.as_ref().is_err_and(|error| error.kind() == refused)
}

/// The inode of the network namespace of the process or thread with this directory.
/// `None` if the kernel writes it in a way that is not known.
///
/// # Errors
/// If its link cannot be read.
pub fn network_namespace(directory: &Path) -> io::Result<Option<u64>> {
    let link = fs::read_link(directory.join("ns/net"))?;
    Ok(inode_of_link(&link, "net"))
}

/// Whether this descriptor of the process with this directory is the socket with this
/// inode. The link is read as in [`for_each_descriptor_as_owner`]. Also false if it may not
/// be read.
pub fn holds_socket(directory: &Path, fd: u32, inode: u64) -> bool {
    let path = directory.join("fd").join(fd.to_string());
    let link = Access::of_owner(directory).to(|| fs::read_link(&path));
    link.is_ok_and(|link| inode_of_link(&link, "socket") == Some(inode))
}

/// The inode in a link of this kind, such as 123 in `socket:[123]`.
pub(super) fn inode_of_link(link: &Path, kind: &str) -> Option<u64> {
    let link = link.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?;
    link.strip_suffix(']')?.parse().ok()
}

/// The whole name of the process with this directory in `/proc`, from `comm`.
///
/// # Errors
/// If the file cannot be read: the process may have ended.
pub fn name_in_comm(directory: &Path) -> io::Result<Vec<u8>> {
    let mut name = read_some(&directory.join("comm"))?;
    name.pop_if(|last| *last == b'\n');
    Ok(name)
}

/// The name of the process as ss reads it, from `stat`: in `PID (NAME) S ...` what
/// stands before the first `)`, even if the name holds one.
///
/// # Errors
/// As [`name_in_comm`].
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

/// The children of all threads of the process with this directory. The kernel lists them
/// if it has `CONFIG_PROC_CHILDREN`.
///
/// # Errors
/// If the threads or the children of one cannot be listed.
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
            // The thread has ended meanwhile.
            Err(error) if is_process_gone(&error) => {}
            Err(error) => failure = Some(error),
        }
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(children),
    }
}

/// A list of children with more bytes is an error, and so are lists of more children in
/// all: a machine has no more processes (`PID_MAX_LIMIT` of the kernel).
const MOST_CHILDREN: u64 = 4 << 20;

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// It has ended, or is about to: all of its threads. Its descriptors may not be
    /// readable any more.
    pub has_ended: bool,
    /// Its first thread has ended, or is about to. The others may run.
    pub first_thread_has_ended: bool,
    /// The process id of its parent.
    pub parent: u32,
    /// In clock ticks since the boot.
    pub start_time: u64,
}

/// The kernel's flag of a process that is ending (`include/linux/sched.h`).
const PF_EXITING: u32 = 0x4;

/// `PID (NAME) STATE PPID ...`: NAME may hold anything, so what follows its last
/// parenthesis counts. The flags are the 9th field, the number of threads is the 20th, the
/// start time is the 22nd (proc(5)). The state and the flags are those of the first thread,
/// which may end before the others.
///
/// # Errors
/// If the file cannot be read, or is not one.
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

/// Whether a thread of the process with this directory has not ended. A thread has no
/// further threads.
fn has_running_thread(directory: &Path) -> bool {
    let mut is_running = false;
    let listed = for_each_thread(directory, |_, thread| {
        is_running |= read_stat(thread).is_ok_and(|stat| !stat.has_ended);
    });
    listed.is_ok() && is_running
}

/// Whether the thread with this directory has ended, so that it has no descriptors: the
/// first one, if it is the directory of a process.
pub fn has_no_descriptors(directory: &Path) -> bool {
    read_stat(directory).is_ok_and(|stat| stat.first_thread_has_ended)
}

/// Whether this is the error of a file of a process that has ended (`ENOENT`,
/// `ESRCH`).
pub fn is_process_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn ss_finds_a_name_up_to_its_first_closing_parenthesis() {
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
    fn the_fields_of_stat_follow_a_name_that_holds_anything() {
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
    fn each_descriptor_has_the_inode_of_its_socket() {
        let directory = TempDir::new().unwrap();
        let fds = directory.path().join("fd");
        fs::create_dir(&fds).unwrap();
        std::os::unix::fs::symlink("socket:[5]", fds.join("3")).unwrap();
        std::os::unix::fs::symlink("pipe:[6]", fds.join("4")).unwrap();
        fs::write(fds.join("9"), "no link").unwrap();
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
