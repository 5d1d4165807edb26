//! Declarations of functions of the C library and of numbers of the kernel. The comment on each
//! function says why the program cannot use std for it.

use std::ffi::{c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};

unsafe extern "C" {
    /// std cannot install a signal handler. We need one because the kernel does not deliver
    /// SIGTERM to a PID 1 without a handler. POSIX `signal` is enough, because our handler
    /// never returns.
    pub(super) fn signal(signal: c_int, handler: usize) -> usize;
    /// std's `exit` runs destructors, which a signal handler must not do. It would also add
    /// std's buffer for stdout to the binary, which nothing else here uses.
    pub(super) fn _exit(status: c_int) -> !;
    /// std can kill a child of this process, but not the processes that the child started.
    pub(super) fn kill(pid: c_int, signal: c_int) -> c_int;
    /// std would have to write to a pipe to find out whether the reader of the pipe is gone.
    pub(super) fn poll(fds: *mut PollFd, count: c_ulong, timeout_ms: c_int) -> c_int;
    /// std can start only program files. The watcher that runs alongside an application is this
    /// program itself, whose file may not be reachable by any path.
    pub(super) fn fork() -> c_int;
    /// std cannot start a session. Without its own session, the watcher would receive the
    /// signals of the application's terminal.
    pub(super) fn setsid() -> c_int;
    /// Makes the system calls for which the C library has no suitable function:
    ///
    /// - `close_range` and `pidfd_open`: older C libraries lack them. std closes only
    ///   descriptors that it opened, and has no pidfd of a parent.
    /// - `rt_sigprocmask`: the C library's function hides the signals that the library itself
    ///   uses.
    /// - `rt_sigqueueinfo`: `sigqueue` replaces the information that came with the signal.
    /// - `openat2` and `kcmp`: hardly any C library has a function for them.
    pub(super) fn syscall(number: c_long, ...) -> c_long;
    /// Closes descriptors one by one on kernels before 5.9, which lack `close_range`.
    pub(super) fn close(fd: c_int) -> c_int;
    /// std retries an interrupted open without limit, and with musl it drops `O_PATH`.
    pub(super) fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    /// std cannot open a file relative to an open directory.
    pub(super) fn openat(directory: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    /// std cannot ask whether a descriptor is open.
    pub(super) fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    /// std can open IP and Unix sockets, but not netlink sockets.
    pub(super) fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int;
    /// std does not support netlink addresses, so it can neither connect to one nor report
    /// which address sent a datagram.
    pub(super) fn connect(fd: c_int, address: *const NetlinkAddress, length: u32) -> c_int;
    pub(super) fn recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        length: usize,
        flags: c_int,
        sender: *mut NetlinkAddress,
        sender_length: *mut u32,
    ) -> isize;
    /// std can read and set only a few options, and only options of its own sockets.
    pub(super) fn getsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *mut u64,
        length: *mut u32,
    ) -> c_int;
    pub(super) fn setsockopt(
        fd: c_int,
        level: c_int,
        name: c_int,
        value: *const c_int,
        length: u32,
    ) -> c_int;
    /// std can neither give up capabilities nor prevent programs that are executed later from
    /// gaining capabilities. It also cannot restore the process attributes that `setfsuid`
    /// clears.
    pub(super) fn prctl(option: c_int, ...) -> c_int;
    pub(super) fn capget(header: *mut CapabilityHeader, data: *mut [Capabilities; 2]) -> c_int;
    pub(super) fn capset(header: *mut CapabilityHeader, data: *const [Capabilities; 2]) -> c_int;
    /// std does not report the user and group of this process. getuid(2) does, but it is a
    /// system call, which a sandbox can refuse. `getauxval` makes no system call.
    pub(super) fn getauxval(kind: c_ulong) -> c_ulong;
    /// std cannot enter a namespace.
    pub(super) fn setns(fd: c_int, kind: c_int) -> c_int;
    /// Like `dup2`, this replaces std's `Command`. `execv` is used here because `execvp` would
    /// start a shell for a file that the kernel cannot execute.
    pub(super) fn execv(program: *const c_char, arguments: *const *const c_char) -> c_int;
    /// std's `exec` fails if it cannot reset SIGPIPE, and it allocates memory, while this does
    /// not.
    pub(super) fn execvp(program: *const c_char, arguments: *const *const c_char) -> c_int;
    /// With `fork`, `execv` and `waitpid`, this replaces std's `Command`. `Command` would be a
    /// twelfth of the binary, because it contains a sorted map for the environment.
    pub(super) fn dup2(fd: c_int, new: c_int) -> c_int;
    pub(super) fn waitpid(id: c_int, status: *mut c_int, options: c_int) -> c_int;
    /// std has no clock for CPU time. `/proc/self/stat` has it, but counts in ticks of 10 ms.
    pub(super) fn clock_gettime(clock: c_int, time: *mut TimeSpec) -> c_int;
    /// std does not report how much CPU time children have used, and no clock counts it.
    pub(super) fn getrusage(who: c_int, usage: *mut Usage) -> c_int;
    /// std's `sleep` panics if the kernel refuses the system call.
    pub(super) fn usleep(microseconds: c_uint) -> c_int;
    /// std cannot set the user and group ids that are used only for file access.
    pub(super) fn setfsuid(user: c_uint) -> c_int;
    pub(super) fn setfsgid(group: c_uint) -> c_int;
    /// std's stderr may allocate memory. We need a function that does not, to report that
    /// memory is exhausted.
    pub(super) fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize;
}

pub(super) const SIGINT: c_int = 2;
pub(super) const SIGKILL: c_int = 9;
pub(super) const SIGPIPE: c_int = 13;
pub(super) const SIGTERM: c_int = 15;
pub(super) const SIGCHLD: c_int = 17;
pub(super) const SIGXFSZ: c_int = 25;
pub(super) const SIG_DFL: usize = 0;
pub(super) const SIG_IGN: usize = 1;
pub(super) const SIG_ERR: usize = usize::MAX;
pub(super) const WNOHANG: c_int = 1;
pub(super) const SYS_PIDFD_OPEN: c_long = 434;
pub(super) const SYS_CLOSE_RANGE: c_long = 436;
pub(super) const SYS_OPENAT2: c_long = 437;
pub(super) const SYS_RT_SIGPROCMASK: c_long = if cfg!(target_arch = "x86_64") {
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
pub(super) const SYS_RT_SIGTIMEDWAIT: c_long = if cfg!(target_arch = "x86_64") {
    128
} else if cfg!(any(
    target_arch = "x86",
    target_arch = "arm",
    target_arch = "s390x"
)) {
    177
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    176
} else {
    137
};
pub(super) const SYS_RT_SIGQUEUEINFO: c_long = if cfg!(target_arch = "x86_64") {
    129
} else if cfg!(any(
    target_arch = "x86",
    target_arch = "arm",
    target_arch = "s390x"
)) {
    178
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    177
} else {
    138
};
pub(super) const SYS_KCMP: c_long = if cfg!(target_arch = "x86_64") {
    312
} else if cfg!(target_arch = "x86") {
    349
} else if cfg!(target_arch = "arm") {
    378
} else if cfg!(any(target_arch = "powerpc", target_arch = "powerpc64")) {
    354
} else if cfg!(target_arch = "s390x") {
    343
} else {
    272
};
pub(super) const KCMP_FILES: c_long = 2;
pub(super) const PR_SET_PDEATHSIG: c_int = 1;
pub(super) const PR_GET_PDEATHSIG: c_int = 2;
pub(super) const PR_GET_DUMPABLE: c_int = 3;
pub(super) const PR_SET_DUMPABLE: c_int = 4;
pub(super) const SIG_BLOCK: c_long = 0;
pub(super) const SIG_SETMASK: c_long = 2;
pub(super) const POLLIN: c_short = 1;
pub(super) const F_GETFD: c_int = 1;
pub(super) const O_CLOEXEC: c_int = 0o2000000;
pub(crate) const O_NOCTTY: c_int = 0o400;
pub(crate) const O_NONBLOCK: c_int = 0o4000;
pub(super) const O_PATH: c_int = 0o10000000;
pub(super) const O_DIRECTORY: c_int = if cfg!(any(
    target_arch = "arm",
    target_arch = "aarch64",
    target_arch = "powerpc",
    target_arch = "powerpc64"
)) {
    0o40000
} else {
    0o200000
};
pub(super) const O_NOFOLLOW: c_int = if cfg!(any(
    target_arch = "arm",
    target_arch = "aarch64",
    target_arch = "powerpc",
    target_arch = "powerpc64"
)) {
    0o100000
} else {
    0o400000
};
pub(super) const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
pub(super) const RESOLVE_IN_ROOT: u64 = 0x10;
pub(super) const AF_NETLINK: c_int = 16;
pub(super) const SOCK_RAW: c_int = 3;
pub(super) const SOCK_NONBLOCK: c_int = 0o4000;
pub(super) const SOCK_CLOEXEC: c_int = 0o2000000;
pub(super) const SOL_SOCKET: c_int = 1;
pub(super) const SO_SNDBUF: c_int = 7;
pub(super) const SO_RCVBUF: c_int = 8;
pub(super) const SO_NETNS_COOKIE: c_int = 71;
pub(super) const CLONE_NEWNET: c_int = 0x4000_0000;
pub(super) const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
pub(super) const RUSAGE_CHILDREN: c_int = -1;

/// `struct open_how` of openat2(2).
#[repr(C)]
pub(super) struct OpenHow {
    pub(super) flags: u64,
    pub(super) mode: u64,
    pub(super) resolve: u64,
}

/// `struct timespec`. On 32-bit machines, the functions declared here use the old version of
/// this structure, which has 32-bit numbers.
#[repr(C)]
#[derive(Default)]
pub(super) struct TimeSpec {
    pub(super) seconds: c_long,
    pub(super) nanoseconds: c_long,
}

/// `struct timeval`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct TimeVal {
    pub(super) seconds: c_long,
    pub(super) microseconds: c_long,
}

/// `struct rusage` of getrusage(2).
#[repr(C)]
#[derive(Default)]
pub(super) struct Usage {
    pub(super) user: TimeVal,
    pub(super) system: TimeVal,
    /// The 14 fields that are not read, followed by 16 numbers that musl reserves.
    rest: [c_long; 30],
}

pub(super) const AT_UID: c_ulong = 11;
pub(super) const AT_EUID: c_ulong = 12;
pub(super) const AT_GID: c_ulong = 13;
pub(super) const AT_EGID: c_ulong = 14;
pub(super) const PR_CAPBSET_DROP: c_int = 24;
pub(super) const PR_SET_NO_NEW_PRIVS: c_int = 38;
pub(super) const CAP_DAC_OVERRIDE: u32 = 1;
pub(super) const CAP_DAC_READ_SEARCH: u32 = 2;
pub(crate) const CAP_SYS_PTRACE: u32 = 19;
pub(super) const CAP_SYS_ADMIN: u32 = 21;
pub(super) const _LINUX_CAPABILITY_VERSION_3: u32 = 0x20080522;

/// `struct __user_cap_header_struct` of capget(2).
#[repr(C)]
pub(super) struct CapabilityHeader {
    pub(super) version: u32,
    /// The process id. 0 means this process.
    pub(super) pid: c_int,
}

/// `struct __user_cap_data_struct` of capget(2): one bit for each of 32 capabilities. The
/// lowest bit is capability 0 in the first of two structures, and capability 32 in the second.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Capabilities {
    pub(super) effective: u32,
    pub(super) permitted: u32,
    pub(super) inheritable: u32,
}

/// `struct pollfd` of poll(2).
#[repr(C)]
pub(super) struct PollFd {
    pub(super) fd: c_int,
    pub(super) events: c_short,
    pub(super) revents: c_short,
}

/// `struct sockaddr_nl` of netlink(7).
#[repr(C)]
pub(super) struct NetlinkAddress {
    family: u16,
    padding: u16,
    /// The port id. It is 0 for the kernel, and never 0 for a process.
    pub(super) port: u32,
    groups: u32,
}

impl NetlinkAddress {
    pub(super) const KERNEL: NetlinkAddress = NetlinkAddress {
        family: AF_NETLINK as u16,
        padding: 0,
        port: 0,
        groups: 0,
    };
    pub(super) const SIZE: u32 = size_of::<NetlinkAddress>() as u32;
}
