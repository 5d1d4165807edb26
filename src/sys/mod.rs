//! The only `unsafe` code: the few system calls that the standard library does not
//! make, and how this program starts and gets its memory. Each declaration says why it
//! is needed.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ffi::{
    CStr, CString, OsStr, OsString, c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void,
};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::iter;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{ExitStatusExt as _, parent_id};
use std::process::ExitStatus;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::exit_status;

unsafe extern "C" {
    /// std has no signal handlers, and without one PID 1 is not ended by
    /// SIGTERM. POSIX `signal` suffices: the handler never returns.
    fn signal(signal: c_int, handler: usize) -> usize;
    /// std's `exit` runs destructors, which a signal handler must not.
    fn _exit(status: c_int) -> !;
    /// std kills a child but not the processes that the child started.
    fn kill(pid: c_int, signal: c_int) -> c_int;
    /// std cannot ask whether the reader of a pipe is gone without writing to it.
    fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    /// std starts other programs only; the watcher beside an application is
    /// this one, which may have no path under which it could be started anew.
    fn fork() -> c_int;
    /// std starts no session, so a terminal's signals would reach the watcher.
    fn setsid() -> c_int;
    /// std closes only what it opened, and gives no pidfd of a parent. As
    /// system calls, since older C libraries lack `close_range` and `pidfd_open`, and
    /// a signal mask is shown without the signals that the library uses itself.
    fn syscall(number: c_long, ...) -> c_long;
    /// What `close_range` does, one by one, for kernels before 5.9.
    fn close(fd: c_int) -> c_int;
    /// std repeats an open that is interrupted, for ever.
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    /// std cannot ask whether a descriptor is open.
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    /// std opens sockets of IP and Unix only, none of netlink.
    fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    /// std reads few options of its own sockets only.
    fn getsockopt(fd: c_int, level: c_int, name: c_int, value: *mut u64, length: *mut u32)
    -> c_int;
    /// std knows no namespaces.
    fn setns(fd: c_int, kind: c_int) -> c_int;
    /// As `dup2`. Unlike `execvp`, it starts no shell for a file that it cannot execute.
    fn execv(program: *const c_char, arguments: *const *const c_char) -> c_int;
    /// std's `exec` gives up where it cannot reset SIGPIPE.
    fn execvp(program: *const c_char, arguments: *const *const c_char) -> c_int;
    /// std's `Command` is a twelfth of the binary: it can change the environment, which
    /// takes a sorted map.
    fn dup2(fd: c_int, new: c_int) -> c_int;
    fn waitpid(id: c_int, status: *mut c_int, options: c_int) -> c_int;
    /// std's `sleep` panics where the kernel refuses to.
    fn usleep(microseconds: c_uint) -> c_int;
    /// std's stderr may allocate, and this is for when there is no memory.
    fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
}

// Elsewhere the numbers below and those of `output` mean something else. The program
// would build there, and a FIFO would block it and no request of netlink be answered.
#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86",
        target_arch = "x86_64",
        target_arch = "arm",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "powerpc",
        target_arch = "powerpc64",
        target_arch = "s390x",
        target_arch = "loongarch64",
    )
)))]
compile_error!(
    "lntu knows the numbers of Linux on x86, Arm, RISC-V, PowerPC, s390x and LoongArch only: \
     those of system calls, signals and flags differ here"
);

const SIGINT: c_int = 2;
const SIGKILL: c_int = 9;
const SIGPIPE: c_int = 13;
const SIGTERM: c_int = 15;
const SIGCHLD: c_int = 17;
const SIG_DFL: usize = 0;
const SIG_IGN: usize = 1;
const SIG_ERR: usize = usize::MAX;
const WNOHANG: c_int = 1;
const SYS_PIDFD_OPEN: c_long = 434;
const SYS_CLOSE_RANGE: c_long = 436;
const SYS_RT_SIGPROCMASK: c_long = if cfg!(target_arch = "x86_64") {
    14
} else if cfg!(any(
    target_arch = "x86",
    target_arch = "arm",
    target_arch = "s390x"
)) {
    175
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    174
} else {
    135
};
const SIG_BLOCK: c_long = 0;
const SIG_SETMASK: c_long = 2;
const POLLIN: c_short = 1;
const F_GETFD: c_int = 1;
const O_RDONLY_CLOEXEC: c_int = 0o2000000;
const AF_NETLINK: c_int = 16;
const SOCK_RAW: c_int = 3;
const SOCK_NONBLOCK: c_int = 0o4000;
const SOCK_CLOEXEC: c_int = 0o2000000;
const SOL_SOCKET: c_int = 1;
const SO_NETNS_COOKIE: c_int = 71;
const CLONE_NEWNET: c_int = 0x4000_0000;

/// `struct pollfd` of poll(2).
#[repr(C)]
struct PollFd {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

/// Makes a function the program: the C function `main`. The function gets the
/// arguments and returns the exit status.
///
/// std's own `main` would first make calls that only itself needs. Where one of them
/// fails, it aborts, and an application that waits behind `--` could not start. It
/// also ignores SIGPIPE and opens `/dev/null` for each standard stream that is
/// closed, and the application must find both as they were.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(count: i32, arguments: *const *const std::ffi::c_char) -> i32 {
            // SAFETY: the C library calls this once, with as many C strings as it
            // says, while there is one thread.
            i32::from($run(unsafe { $crate::sys::start(count, arguments) }))
        }
    };
}

/// Prepares the process, and returns its arguments.
///
/// SIGCHLD gets its default: a child cannot be waited for if it is ignored.
///
/// # Safety
/// For [`program`] only.
pub unsafe fn start(
    count: c_int,
    arguments: *const *const c_char,
) -> impl Iterator<Item = OsString> {
    // SAFETY: SIG_IGN and SIG_DFL are valid dispositions; the path is a C string.
    unsafe {
        ORIGINAL_SIGPIPE.store(signal(SIGPIPE, SIG_IGN), Ordering::Relaxed);
        ORIGINAL_SIGCHLD.store(signal(SIGCHLD, SIG_DFL), Ordering::Relaxed);
        let (mut mask, nothing) = (0u64, ptr::null::<u64>());
        let (of, size) = (&raw mut mask, size_of::<u64>());
        if syscall(SYS_RT_SIGPROCMASK, SIG_BLOCK, nothing, of, size) == 0 {
            let _ = ORIGINAL_MASK.set(mask);
        }
        // The lowest free number is that of the closed stream. Reading and
        // writing fail on it, and exec closes it.
        for fd in 0..=2 {
            if fcntl(fd, F_GETFD) == -1 {
                open(c"/".as_ptr(), O_RDONLY_CLOEXEC);
            }
        }
    }
    (0..count as usize).map(move |place| {
        // SAFETY: by this function's contract, there are `count` C strings.
        let argument = unsafe { CStr::from_ptr(*arguments.add(place)) };
        OsString::from_vec(argument.to_bytes().to_vec())
    })
}

/// The memory of the system. Where that gives none, there is a small reserve: enough
/// to start an application, or to read a short table. Where that is used up too, one
/// line says so, and the process ends with "could not tell".
#[derive(Debug)]
pub struct Memory;

/// In pages that cost nothing until they are used.
struct Reserve(UnsafeCell<[u8; Reserve::SIZE]>);

static RESERVE: Reserve = Reserve(UnsafeCell::new([0; Reserve::SIZE]));
static RESERVE_USED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: each of its bytes is given away at most once.
unsafe impl Sync for Reserve {}

impl Reserve {
    const SIZE: usize = 256 * 1024;

    /// The next `layout.size()` bytes that are free.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let start = self.0.get().cast::<u8>();
        let take = |used: usize| {
            let skipped = start.wrapping_add(used).align_offset(layout.align());
            used.checked_add(skipped)?
                .checked_add(layout.size())
                .filter(|used| *used <= Reserve::SIZE)
        };
        let before = RESERVE_USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let end = take(before.ok()?)?;
        Some(start.wrapping_add(end - layout.size()))
    }

    fn holds(&self, memory: *mut u8) -> bool {
        let start = self.0.get().cast::<u8>();
        (start..start.wrapping_add(Reserve::SIZE)).contains(&memory)
    }
}

/// What the system gave, or where it gave nothing, part of the reserve.
fn or_reserved(memory: *mut u8, layout: Layout) -> *mut u8 {
    if !memory.is_null() {
        return memory;
    }
    RESERVE.take(layout).unwrap_or_else(|| {
        const MESSAGE: &[u8] = b"lntu: out of memory\n";
        // SAFETY: the message has that many bytes.
        unsafe {
            write(2, MESSAGE.as_ptr().cast(), MESSAGE.len());
            _exit(c_int::from(exit_status::ExitStatus::Unknown as u8))
        }
    })
}

// SAFETY: what it returns comes from the system's allocator, to which it is given
// back, or from the reserve, each byte of which is given away once.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by this function's contract.
        or_reserved(unsafe { System.alloc(layout) }, layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by this function's contract. The reserve is zeros.
        or_reserved(unsafe { System.alloc_zeroed(layout) }, layout)
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by this function's contract. What cannot grow stays as it was, and is
        // given back once its bytes are in the new memory.
        unsafe {
            if !RESERVE.holds(memory) {
                let grown = System.realloc(memory, layout, size);
                if !grown.is_null() {
                    return grown;
                }
            }
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            ptr::copy_nonoverlapping(memory, new, size.min(layout.size()));
            self.dealloc(memory, layout);
            new
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !RESERVE.holds(memory) {
            // SAFETY: by this function's contract, it came from `alloc`.
            unsafe { System.dealloc(memory, layout) }
        }
    }
}

/// What these signals did when the program was started. `SIG_ERR` if that could not be
/// asked: they still do it then.
static ORIGINAL_SIGPIPE: AtomicUsize = AtomicUsize::new(SIG_ERR);
static ORIGINAL_SIGCHLD: AtomicUsize = AtomicUsize::new(SIG_ERR);

/// The signals that were blocked then. musl unblocks two that it uses itself, 33 and 34,
/// when a handler is first set.
static ORIGINAL_MASK: OnceLock<u64> = OnceLock::new();

/// How often a child without a pidfd checks whether its parent still runs.
const PARENT_CHECK: Duration = Duration::from_millis(500);

/// The process group of the child that must not outlive this process, or 0.
static CHILD_GROUP: AtomicI32 = AtomicI32::new(0);

/// Makes SIGTERM and SIGINT end the process at once, even as PID 1, with the exit
/// status that says which. A signal that was ignored at the start stays ignored, as a
/// shell expects of a program that it starts in the background.
pub fn end_on_signals() {
    for number in [SIGINT, SIGTERM] {
        // SAFETY: `handle` is a handler of the right type that calls only
        // async-signal-safe functions; SIG_IGN was just returned by `signal`.
        unsafe {
            if signal(number, handle as extern "C" fn(c_int) as usize) == SIG_IGN {
                signal(number, SIG_IGN);
            }
        }
    }
}

extern "C" fn handle(number: c_int) {
    kill_child_group();
    // SAFETY: `_exit` is async-signal-safe and takes any status.
    unsafe { _exit(c_int::from(exit_status::ExitStatus::Signal as u8) + number) }
}

/// Sets the process group that must end when a signal ends this process. `0` is
/// none; it must be set as soon as the group's first process is reaped.
pub(crate) fn set_child_group(group: u32) {
    CHILD_GROUP.store(group as i32, Ordering::Relaxed);
}

/// Kills every process of the group named by [`set_child_group`], if any.
pub(crate) fn kill_child_group() {
    let group = CHILD_GROUP.load(Ordering::Relaxed);
    if group > 0 {
        // SAFETY: `kill` is async-signal-safe and takes any two integers.
        unsafe { kill(-group, SIGKILL) };
    }
}

/// Waits for `pause`. Returns true at once when the reader of `stream` is gone or
/// `parent` has ended. A file has no reader, so for a file this is a plain sleep.
pub fn wait_until_gone(
    pause: Duration,
    stream: Option<BorrowedFd<'_>>,
    parent: Option<&Parent>,
) -> bool {
    let pidfd = parent.map(|parent| parent.pidfd.as_ref());
    let longest = match pidfd {
        Some(None) => PARENT_CHECK,
        _ => Duration::MAX,
    };
    let end = Instant::now() + pause;
    let mut left = pause;
    loop {
        // Rounded up, so as not to spin through the last millisecond.
        let milliseconds = left.min(longest).as_nanos().div_ceil(1_000_000);
        // A negative descriptor is passed over.
        let mut fds = [
            PollFd {
                fd: stream.map_or(-1, |fd| fd.as_raw_fd()),
                events: 0,
                revents: 0,
            },
            PollFd {
                fd: pidfd.flatten().map_or(-1, |fd| fd.as_raw_fd()),
                events: POLLIN,
                revents: 0,
            },
        ];
        let timeout = milliseconds.min(i32::MAX as u128) as c_int;
        // SAFETY: the array holds as many valid `struct pollfd` as the count says.
        let ready = unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout) };
        if ready < 0 {
            sleep_briefly();
        }
        if ready > 0 || parent.is_some_and(Parent::is_gone) {
            return true;
        }
        left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
    }
}

/// Sleeps for 200 microseconds.
pub(crate) fn sleep_briefly() {
    // SAFETY: the call takes any integer.
    unsafe { usleep(200) };
}

/// Opens a socket of netlink(7). A write is a request to the kernel, and a read is
/// one datagram of its answer. The first is there when the write returns, each
/// further one when the one before it was read. So a read never waits: it fails if
/// there is nothing.
///
/// # Errors
/// Those of socket(2).
pub(crate) fn netlink_socket(protocol: c_int) -> io::Result<File> {
    let kind = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    // SAFETY: the call takes any three integers, and nothing else owns the
    // descriptor that it opened.
    unsafe {
        match socket(AF_NETLINK, kind, protocol) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// The cookie of the network namespace in which `socket` was opened. No other namespace
/// has had it since the host was started. `None` before Linux 5.14.
pub(crate) fn namespace_cookie(socket: &File) -> Option<u64> {
    let (mut cookie, mut length) = (0, size_of::<u64>() as u32);
    let (fd, level, name) = (socket.as_raw_fd(), SOL_SOCKET, SO_NETNS_COOKIE);
    // SAFETY: the value is as long as `length` says.
    let result = unsafe { getsockopt(fd, level, name, &mut cookie, &mut length) };
    (result == 0).then_some(cookie)
}

/// Moves this thread, the only one, into the network namespace that `file` stands for.
/// What is open stays where it was opened.
///
/// # Errors
/// Those of setns(2).
pub(crate) fn enter_network_namespace(file: &File) -> io::Result<()> {
    // SAFETY: the call takes any two integers.
    match unsafe { setns(file.as_raw_fd(), CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Becomes `program`, which is looked for in `PATH` unless it has a slash. It keeps
/// this process's id, descriptors and signal mask, and gets the signal dispositions
/// that this process was started with. Returns only if that fails, with the error.
pub fn exec(program: &OsStr, arguments: &[OsString]) -> io::Error {
    let words = iter::once(program).chain(arguments.iter().map(OsString::as_os_str));
    let (_texts, pointers) = match c_strings(words) {
        Ok(strings) => strings,
        Err(error) => return error,
    };
    // SAFETY: the dispositions are valid; the array holds C strings, of which the
    // first is the program, and ends with a null pointer.
    unsafe {
        restore(SIGPIPE, &ORIGINAL_SIGPIPE);
        // Where SIGCHLD is blocked, that of an ss is still pending:
        // ignoring the signal discards it.
        signal(SIGCHLD, SIG_IGN);
        restore(SIGCHLD, &ORIGINAL_SIGCHLD);
        if let Some(mask) = ORIGINAL_MASK.get() {
            let (mask, nothing) = (ptr::from_ref(mask), ptr::null::<u64>());
            let size = size_of::<u64>();
            syscall(SYS_RT_SIGPROCMASK, SIG_SETMASK, mask, nothing, size);
        }
        execvp(pointers[0], pointers.as_ptr());
        let error = io::Error::last_os_error();
        signal(SIGPIPE, SIG_IGN);
        error
    }
}

/// Lets a signal do what it did when the program was started.
fn restore(number: c_int, original: &AtomicUsize) {
    match original.load(Ordering::Relaxed) {
        SIG_ERR => {}
        // SAFETY: `signal` returned this disposition.
        disposition => unsafe {
            signal(number, disposition);
        },
    }
}

/// A program, its arguments, and a null pointer at the end, as exec(3) takes them.
fn c_strings<'a>(
    words: impl Iterator<Item = &'a OsStr>,
) -> io::Result<(Vec<CString>, Vec<*const c_char>)> {
    let texts: Result<Vec<CString>, _> = words.map(|word| CString::new(word.as_bytes())).collect();
    let texts = texts?;
    let ends = iter::once(ptr::null());
    let pointers = texts.iter().map(|text| text.as_ptr()).chain(ends).collect();
    Ok((texts, pointers))
}

/// A started program. It is reaped when it was waited for, or is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id, which is that of its process group too.
    pub(crate) id: u32,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts the file `program` with one argument, in a session of its own. `streams`
    /// are its stdin, stdout and stderr. SIGPIPE ends it.
    ///
    /// # Errors
    /// Those of fork(2), socketpair(2) and execve(2).
    pub(crate) fn spawn(
        program: &OsStr,
        argument: &str,
        streams: &[OwnedFd; 3],
    ) -> io::Result<Child> {
        let (_texts, pointers) = c_strings([program, argument.as_ref()].into_iter())?;
        let (mut ours, mut theirs) = UnixStream::pair()?;
        // SAFETY: the process has one thread, so the child may do anything. No stream has
        // the number of a standard one: [`start`] left none of these free. The array holds
        // C strings, and ends with a null pointer.
        let id = match unsafe { fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => unsafe {
                setsid();
                for (number, stream) in (0..).zip(streams) {
                    dup2(stream.as_raw_fd(), number);
                }
                signal(SIGPIPE, SIG_DFL);
                execv(pointers[0], pointers.as_ptr());
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
        // Exec closes the other end, and a failure to sends its number.
        let mut error = [0; 4];
        match ours.read(&mut error) {
            Ok(0) => Ok(child),
            Err(error) => {
                // SAFETY: the call takes any two integers.
                unsafe { kill(id as c_int, SIGKILL) };
                Err(error)
            }
            Ok(_) => {
                child.wait_with(0)?;
                Err(io::Error::from_raw_os_error(i32::from_ne_bytes(error)))
            }
        }
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// Those of waitpid(2).
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

/// In which of the two processes `fork_child` returned.
#[derive(Debug)]
pub enum Forked {
    /// In the parent, which is to exec. If that fails, a byte written to this
    /// stream ends the child.
    Parent(UnixStream),
    /// In the child, after the parent has become another program.
    Child(Parent),
}

/// The parent of a forked child, which the child must not outlive.
#[derive(Debug)]
pub struct Parent {
    id: u32,
    /// Becomes readable when the process ends. Kernels before 5.3 have none.
    pidfd: Option<OwnedFd>,
}

impl Parent {
    /// Whether it has ended: this process then has another parent.
    pub fn is_gone(&self) -> bool {
        parent_id() != self.id
    }
}

/// Forks a child that is to end when this process ends. Returns in the parent when
/// the child is set up, and in the child when the parent has called exec. If that
/// exec fails, the child ends instead.
///
/// The child shares only stderr with its parent and, if it `keeps_stdout`, stdout.
/// It has a session of its own, so a terminal's signals do not reach it. It has no
/// other descriptor, since that would keep open a pipe that the parent closes.
///
/// A pidfd tells the child when its parent ends. A parent-death signal would not
/// do: it belongs to the thread that forked, so it also comes when an application
/// execs from another thread, and it does not come from a parent that gave up its
/// privileges.
///
/// # Errors
/// Those of fork(2) and socketpair(2), and that of a child that could not be set up.
pub(crate) fn fork_child(keeps_stdout: bool) -> io::Result<Forked> {
    let id = std::process::id();
    let (mut ours, mut theirs) = UnixStream::pair()?;
    // SAFETY: the process has one thread, so the child may do anything.
    match unsafe { fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(ours);
            // SAFETY: the arguments are those that the manual pages name. No
            // descriptor but `theirs` is owned by any value, and 0 is not used.
            let pidfd = unsafe {
                setsid();
                close_others(theirs.as_raw_fd());
                for fd in 0..=c_int::from(!keeps_stdout) {
                    close(fd);
                    open(c"/".as_ptr(), O_RDONLY_CLOEXEC);
                }
                let (pid, flags): (c_long, c_long) = (id as c_long, 0);
                let pidfd = syscall(SYS_PIDFD_OPEN, pid, flags) as c_int;
                (pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd))
            };
            // Exec closes the other end, and a failure to sends a byte. Each is tried
            // once: the parent waits for what becomes of this.
            let is_started = theirs.write(&[0]).and_then(|_| theirs.read(&mut [0]));
            if !matches!(is_started, Ok(0)) {
                std::process::exit(0);
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

/// Closes every descriptor above 2 but `kept`.
///
/// # Safety
/// No value may own one of them.
unsafe fn close_others(kept: c_int) {
    // gVisor takes no last number above this one.
    const LARGEST: c_int = c_int::MAX;
    let flags: c_long = 0;
    for (first, last) in [(3, kept - 1), (kept + 1, LARGEST)] {
        // SAFETY: by this function's contract.
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

/// Replaces the functions of std's unwinder, so that the linker leaves it out. It
/// would be half of the binary.
///
/// The static release build aborts on a panic and holds no symbols. So there is
/// nothing to unwind and no backtrace to print. A panic still prints its message
/// and its place in the source.
#[cfg(all(panic = "abort", target_env = "musl"))]
mod without_unwinder {
    use std::ffi::{c_int, c_void};

    /// Reports the end of the stack at once. 5 is `_URC_END_OF_STACK`.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
        5
    }

    /// The others are called while a frame is unwound, which never happens.
    macro_rules! never_called {
        ($($name:ident)*) => {
            $(
                #[unsafe(no_mangle)]
                extern "C" fn $name() -> ! {
                    std::process::abort()
                }
            )*
        };
    }

    never_called! {
        _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData
        _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
    }

    // 32-bit Arm has an unwinder of its own, with other functions.
    #[cfg(target_arch = "arm")]
    never_called! {
        _Unwind_VRS_Get _Unwind_VRS_Set __aeabi_unwind_cpp_pr0 __aeabi_unwind_cpp_pr1
        __gnu_unwind_frame
    }
}
