//! Starts other processes, and makes sure that they end together with this one.

use std::ffi::{CString, OsStr, c_int, c_long};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{ExitStatusExt as _, parent_id};
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use super::calls::*;
use super::memory;
use crate::exit_status;

/// The process group that the signal handler kills before this process exits. 0 means none.
static CHILD_GROUP: AtomicI32 = AtomicI32::new(0);

/// Makes SIGTERM and SIGINT end this process at once, even if it is PID 1. The exit status is
/// 128 plus the number of the signal. If one of the signals was ignored at the start, it stays
/// ignored: a shell relies on that for a program that it starts in the background.
pub fn end_on_signals() {
    for number in [SIGINT, SIGTERM] {
        // SAFETY: `handle` has the type of a handler and calls only async-signal-safe
        // functions. SIG_IGN is what `signal` returned.
        unsafe {
            if signal(number, handle as extern "C" fn(c_int) as usize) == SIG_IGN {
                signal(number, SIG_IGN);
            }
        }
    }
}

extern "C" fn handle(number: c_int) {
    kill_child_group();
    // SAFETY: `_exit` is async-signal-safe and accepts any status.
    unsafe { _exit(c_int::from(exit_status::ExitStatus::Signal as u8) + number) }
}

/// Sets the process group that is killed if a signal ends this process. 0 means none.
///
/// The caller must set it to 0 as soon as it has reaped the first process of the group,
/// because the kernel may then reuse the id.
pub(crate) fn set_child_group(group: u32) {
    CHILD_GROUP.store(group as i32, Ordering::Relaxed);
}

/// Kills every process of the group that [`set_child_group`] has set, if it has set one.
pub(crate) fn kill_child_group() {
    let group = CHILD_GROUP.load(Ordering::Relaxed);
    if group > 0 {
        // SAFETY: `kill` is async-signal-safe and accepts any two integers.
        unsafe { kill(-group, SIGKILL) };
    }
}

/// Whether a process with this id exists, even if `/proc` hides it.
pub(crate) fn is_running(id: u32) -> bool {
    let Ok(id @ 1..) = c_int::try_from(id) else {
        return false;
    };
    // SAFETY: the call accepts any two integers. Signal 0 sends nothing.
    let may_signal = unsafe { kill(id, 0) } == 0;
    may_signal || io::Error::last_os_error().kind() == io::ErrorKind::PermissionDenied
}

/// Whether these two threads share their table of descriptors (kcmp(2)). False if the kernel
/// does not answer.
pub(crate) fn share_descriptors(thread: u32, other: u32) -> bool {
    let (thread, other, unused) = (
        c_long::from(thread as i32),
        c_long::from(other as i32),
        0 as c_long,
    );
    // SAFETY: the call accepts any integers.
    unsafe { syscall(SYS_KCMP, thread, other, KCMP_FILES, unused, unused) == 0 }
}

/// A program that this process started. Dropping it waits for the program to exit.
#[derive(Debug)]
pub(crate) struct Child {
    /// The process id, which is also the id of its process group.
    pub(crate) id: u32,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts the file `program` with one argument. The program gets its own session and the
    /// default disposition of SIGPIPE. `streams` are its stdin, stdout and stderr.
    ///
    /// # Errors
    /// The errors of fork(2), socketpair(2), setsid(2), dup2(2) and execve(2).
    pub(crate) fn spawn(
        program: &OsStr,
        argument: &str,
        streams: &[OwnedFd; 3],
    ) -> io::Result<Child> {
        let program = CString::new(program.as_bytes())?;
        let argument = CString::new(argument)?;
        let words = [program.as_ptr(), argument.as_ptr(), ptr::null()];
        let (mut ours, mut theirs) = UnixStream::pair()?;
        // SAFETY: the process has one thread, so the child may do anything.
        let id = match unsafe { fork() } {
            -1 => return Err(io::Error::last_os_error()),
            // SAFETY: no stream has the number of a standard one, because `start` opened all
            // of those. The array holds C strings and ends with a null pointer.
            0 => unsafe {
                // The program gets its own session, so that it can be killed together with the
                // processes that it starts. It gets its own streams, so that it does not write
                // to ours.
                let mut streams = (0..).zip(streams);
                if setsid() != -1
                    && streams.all(|(number, stream)| dup2(stream.as_raw_fd(), number) != -1)
                {
                    signal(SIGPIPE, SIG_DFL);
                    execv(words[0], words.as_ptr());
                }
                let error = io::Error::last_os_error()
                    .raw_os_error()
                    .unwrap_or_default();
                let _ = theirs.write(&error.to_ne_bytes());
                _exit(127)
            },
            id => id as u32,
        };
        drop(theirs);
        let mut child = Child { id, status: None };
        // A successful exec closes the other end of the stream. After a failed exec, the child
        // writes its errno to the stream.
        let mut error = [0; 4];
        match ours.read(&mut error) {
            Ok(0) => Ok(child),
            Err(error) => {
                // SAFETY: the call accepts any two integers.
                unsafe { kill(id as c_int, SIGKILL) };
                Err(error)
            }
            Ok(_) => {
                child.wait_with(0)?;
                Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error)))
            }
        }
    }

    /// The exit status, if the program has exited.
    ///
    /// # Errors
    /// The errors of waitpid(2).
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.wait_with(WNOHANG)
    }

    fn wait_with(&mut self, options: c_int) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            match unsafe { waitpid(self.id as c_int, &mut status, options) } {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                _ => self.status = Some(ExitStatus::from_raw(status)),
            }
        }
        Ok(self.status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.wait_with(0);
    }
}

/// Whether a forked child can write to the stdout of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildStdout {
    /// The child shares stdout with its parent.
    Shared,
    /// The stdout of the child is closed.
    Closed,
}

/// The process in which [`fork_child`] has returned: the parent or the child.
#[derive(Debug)]
pub enum Forked {
    /// This process is the parent, which must exec next. If its exec fails, the parent must
    /// write a byte to this stream, which ends the child.
    Parent(UnixStream),
    /// This process is the child. The parent has become another program by now.
    Child(Parent),
}

/// The parent of a forked child. The child must not outlive the parent.
#[derive(Debug)]
pub struct Parent {
    id: u32,
    /// A descriptor that becomes readable when the parent exits. `None` before Linux 5.3.
    pidfd: Option<OwnedFd>,
}

impl Parent {
    /// Whether the parent has exited. If so, this process has another parent now.
    pub fn is_gone(&self) -> bool {
        parent_id() != self.id
    }

    /// The descriptor that becomes readable when the parent exits. `None` before Linux 5.3.
    pub(super) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(OwnedFd::as_fd)
    }
}

/// Forks a child that must not outlive this process. Returns in the parent once the child is
/// set up. Returns in the child once the exec of the parent has succeeded. If that exec fails,
/// the child exits.
///
/// The child shares stderr with its parent, and also stdout if `stdout` says so. It closes
/// every other descriptor, because otherwise it would keep open the pipes that its parent
/// closes. It has its own session, so the signals of a terminal do not reach it.
///
/// A pidfd tells the child when its parent exits. A parent-death signal would not work, because
/// it depends on the thread that forked: the child would also get it if the application execs
/// from another thread. The kernel also does not send it if the parent has given up its
/// privileges.
///
/// # Errors
/// The errors of fork(2) and socketpair(2), and an error if the child could not be set up.
pub(crate) fn fork_child(stdout: ChildStdout) -> io::Result<Forked> {
    let id = std::process::id();
    let (mut ours, mut theirs) = UnixStream::pair()?;
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // Only the parent may execute the application, so the child exits if memory is
            // exhausted.
            memory::end_if_exhausted();
            drop(ours);
            // SAFETY: the arguments are those of the manual pages. No value owns a
            // descriptor other than `theirs`, and stdin is not used.
            let pidfd = unsafe {
                setsid();
                close_others(theirs.as_raw_fd());
                for fd in 0..=c_int::from(stdout == ChildStdout::Closed) {
                    close(fd);
                    open(c"/".as_ptr(), O_CLOEXEC);
                }
                let (pid, flags): (c_long, c_long) = (id as c_long, 0);
                let pidfd = syscall(SYS_PIDFD_OPEN, pid, flags) as c_int;
                (pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd))
            };
            // The byte tells the parent that the child is set up. A successful exec of the
            // parent closes the other end of the stream. If the exec fails, the parent writes a
            // byte. We retry neither call, because the parent is waiting.
            let reply = theirs.write(&[0]).and_then(|_| theirs.read(&mut [0]));
            if !matches!(reply, Ok(0)) {
                // SAFETY: the call accepts any integer.
                unsafe { _exit(0) };
            }
            Ok(Forked::Child(Parent { id, pidfd }))
        }
        _ => {
            drop(theirs);
            match ours.read(&mut [0]) {
                Ok(0) => Err(io::Error::other("it ended at once")),
                Ok(_) => Ok(Forked::Parent(ours)),
                Err(error) => {
                    let _ = ours.write(&[0]);
                    Err(error)
                }
            }
        }
    }
}

/// Closes every descriptor above 2 except `kept`.
///
/// # Safety
/// No value may own any of the descriptors that are closed.
unsafe fn close_others(kept: c_int) {
    // gVisor refuses numbers above this as the end of the range.
    const LARGEST: c_int = c_int::MAX;
    let flags: c_long = 0;
    for (first, last) in [(3, kept - 1), (kept + 1, LARGEST)] {
        // SAFETY: the caller keeps this function's contract.
        unsafe {
            let range = (c_long::from(first), c_long::from(last));
            if first <= last && syscall(SYS_CLOSE_RANGE, range.0, range.1, flags) != 0 {
                let last = if last == LARGEST { 65_535 } else { last };
                (first..=last).for_each(|fd| {
                    close(fd);
                });
            }
        }
    }
}
