//! How this program starts, and how it becomes another one, which finds everything as
//! this one found it.

use std::ffi::{CStr, OsStr, c_char, c_int, c_long, c_ulong};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use super::calls::*;

/// The arguments as they were given: so many C strings, and a null pointer.
static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A signal that does something else while this program runs.
struct Changed {
    number: c_int,
    disposition: usize,
    /// What it did when the program was started. `SIG_ERR` if that could not be asked:
    /// it still does it then.
    original: AtomicUsize,
}

impl Changed {
    const fn to(number: c_int, disposition: usize) -> Changed {
        Changed {
            number,
            disposition,
            original: AtomicUsize::new(SIG_ERR),
        }
    }
}

static CHANGED: [Changed; 3] = [
    // A write fails instead.
    Changed::to(SIGPIPE, SIG_IGN),
    Changed::to(SIGXFSZ, SIG_IGN),
    // A child cannot be waited for if it is ignored.
    Changed::to(SIGCHLD, SIG_DFL),
];

/// Every signal whose disposition this program sets. To set one can discard a signal that
/// is pending.
const SET: [c_int; 5] = [SIGPIPE, SIGXFSZ, SIGCHLD, SIGINT, SIGTERM];

/// `siginfo_t`.
type SignalInfo = [u64; 16];

/// The signals of [`SET`] that were blocked and pending when the program was started.
static PENDING: OnceLock<[Option<SignalInfo>; SET.len()]> = OnceLock::new();

/// The signals that were blocked then. musl unblocks two that it uses itself, 33 and 34,
/// when a handler is first set.
static ORIGINAL_MASK: OnceLock<u64> = OnceLock::new();

/// Makes a function the program: the C function `main`. The function returns the exit
/// status.
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
            unsafe { $crate::sys::start(count, arguments) };
            i32::from($run())
        }
    };
}

/// Prepares the process, and keeps its arguments.
///
/// # Safety
/// For [`program`](crate::program) only.
pub unsafe fn start(count: c_int, arguments: *const *const c_char) {
    ARGUMENTS.store(arguments.cast_mut(), Ordering::Relaxed);
    COUNT.store(count as usize, Ordering::Relaxed);
    let _ = PENDING.set(SET.map(take_pending));
    // SAFETY: SIG_IGN and SIG_DFL are valid dispositions; the path is a C string.
    unsafe {
        for changed in &CHANGED {
            let original = signal(changed.number, changed.disposition);
            changed.original.store(original, Ordering::Relaxed);
        }
        let (mut mask, nothing) = (0u64, ptr::null::<u64>());
        let (of, size) = (&raw mut mask, size_of::<u64>());
        if syscall(SYS_RT_SIGPROCMASK, SIG_BLOCK, nothing, of, size) == 0 {
            let _ = ORIGINAL_MASK.set(mask);
        }
        // The lowest free number is that of the closed stream. Reading and
        // writing fail on it, and exec closes it.
        for fd in 0..=2 {
            if fcntl(fd, F_GETFD) == -1 {
                open(c"/".as_ptr(), O_CLOEXEC);
            }
        }
    }
}

/// The arguments of this program as they were given, its name first.
pub fn arguments() -> impl Iterator<Item = &'static OsStr> + Clone {
    let first = ARGUMENTS.load(Ordering::Relaxed);
    (0..COUNT.load(Ordering::Relaxed)).map(move |index| {
        // SAFETY: `start` was given so many C strings. They last as long as the process,
        // and nothing writes to them.
        let argument = unsafe { CStr::from_ptr(*first.add(index)) };
        OsStr::from_bytes(argument.to_bytes())
    })
}

/// Becomes the program that the last `words` arguments of this one name, the name first.
/// It is looked for in `PATH` unless it has a slash. It keeps this process's id,
/// descriptors and signal mask, and gets the signal dispositions and pending signals that
/// this process was started with. Returns only if that fails, with the error. It needs no
/// memory.
pub fn exec(words: usize) -> io::Error {
    let before = COUNT.load(Ordering::Relaxed).checked_sub(words);
    let Some(before) = before.filter(|_| words > 0) else {
        return io::ErrorKind::InvalidInput.into();
    };
    // SAFETY: the dispositions are valid. From `before` on there is at least one C string,
    // and the array ends with a null pointer.
    unsafe {
        let command = ARGUMENTS.load(Ordering::Relaxed).add(before);
        CHANGED.iter().for_each(restore);
        if let Some(mask) = ORIGINAL_MASK.get() {
            let (mask, nothing) = (ptr::from_ref(mask), ptr::null::<u64>());
            let size = size_of::<u64>();
            syscall(SYS_RT_SIGPROCMASK, SIG_SETMASK, mask, nothing, size);
        }
        for (number, info) in SET.iter().zip(PENDING.get().into_iter().flatten()) {
            if let Some(info) = info {
                let (pid, number) = (c_long::from(std::process::id()), c_long::from(*number));
                syscall(SYS_RT_SIGQUEUEINFO, pid, number, info.as_ptr());
            }
        }
        execvp(*command, command);
        let error = io::Error::last_os_error();
        for number in [SIGPIPE, SIGXFSZ] {
            signal(number, SIG_IGN);
        }
        error
    }
}

/// Takes this signal from those that are blocked and pending, if it is one of them.
fn take_pending(number: c_int) -> Option<SignalInfo> {
    // The kernel reads the first 64 bits.
    let signals: [c_ulong; 2] = [1 << (number - 1), 0];
    let (mut info, timeout) = (SignalInfo::default(), [0 as c_long; 2]);
    let (of, size) = (signals.as_ptr(), size_of::<u64>());
    // SAFETY: the pointers are to a set of signals, a `siginfo_t` and a `struct timespec`.
    let taken = unsafe {
        syscall(
            SYS_RT_SIGTIMEDWAIT,
            of,
            info.as_mut_ptr(),
            timeout.as_ptr(),
            size,
        )
    };
    (taken == c_long::from(number)).then_some(info)
}

/// Lets a signal do what it did when the program was started.
fn restore(changed: &Changed) {
    match changed.original.load(Ordering::Relaxed) {
        SIG_ERR => {}
        // SAFETY: `signal` returned this disposition.
        original => unsafe {
            // Where it is blocked, that of a failed write or of an ss is still pending.
            // Ignoring the signal discards it.
            signal(changed.number, SIG_IGN);
            signal(changed.number, original);
        },
    }
}
