//! Starts this program, and executes another program in its place. The other program gets the
//! signals in the state in which this program got them.

use std::ffi::{CStr, OsStr, c_char, c_int, c_long, c_ulong};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use super::calls::*;

/// The arguments of the program: an array of C strings that ends with a null pointer.
static ARGUMENTS: AtomicPtr<*const c_char> = AtomicPtr::new(ptr::null_mut());
/// The number of C strings in [`ARGUMENTS`].
static ARGUMENT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// A signal whose disposition this program changes.
struct ChangedSignal {
    number: c_int,
    disposition: usize,
    /// The disposition that the signal had when the program was started. `SIG_ERR` if the
    /// change failed, so that there is nothing to restore.
    original: AtomicUsize,
}

impl ChangedSignal {
    const fn new(number: c_int, disposition: usize) -> ChangedSignal {
        ChangedSignal {
            number,
            disposition,
            original: AtomicUsize::new(SIG_ERR),
        }
    }
}

static CHANGED_SIGNALS: [ChangedSignal; 3] = [
    // With SIGPIPE and SIGXFSZ ignored, a failed write returns an error. Otherwise, it would
    // end the process.
    ChangedSignal::new(SIGPIPE, SIG_IGN),
    ChangedSignal::new(SIGXFSZ, SIG_IGN),
    // If the parent ignores SIGCHLD, waitpid(2) cannot report how a child ended.
    ChangedSignal::new(SIGCHLD, SIG_DFL),
];

/// The signals that are saved at the start and sent again before exec. These are all signals
/// whose disposition this program sets, because setting it can discard a pending signal.
const SAVED_SIGNALS: [c_int; 5] = [SIGPIPE, SIGXFSZ, SIGCHLD, SIGINT, SIGTERM];

/// `siginfo_t`, which begins with the number of the signal.
type SignalInfo = [AtomicU64; 16];

/// The [`SAVED_SIGNALS`] that were blocked and pending when the program was started. For every
/// other signal, the `siginfo_t` is all zeros.
static PENDING: [SignalInfo; SAVED_SIGNALS.len()] =
    [const { [const { AtomicU64::new(0) }; 16] }; SAVED_SIGNALS.len()];

/// The mask of signals that were blocked when the program was started, or [`UNKNOWN_MASK`] if
/// it could not be read. It must be restored because musl unblocks the signals 33 and 34, which
/// musl itself uses, when a program first sets a handler.
static ORIGINAL_MASK: AtomicU64 = AtomicU64::new(UNKNOWN_MASK);

/// An impossible mask, because SIGKILL cannot be blocked.
const UNKNOWN_MASK: u64 = u64::MAX;

/// Defines the C function `main`. It calls the function at this path, which returns the exit
/// status.
///
/// std's `main` is not used, because it first makes system calls that this program does not
/// need. If one of these fails, std aborts, and the application after `--` could not start. std
/// also ignores SIGPIPE and opens `/dev/null` for each closed standard stream. The application
/// must find SIGPIPE and the streams in their original state.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main(count: i32, arguments: *const *const std::ffi::c_char) -> i32 {
            // SAFETY: the C library calls this once, while there is one thread, and `count`
            // is the number of C strings.
            unsafe { $crate::sys::start(count, arguments) };
            i32::from($run())
        }
    };
}

/// Saves the arguments and the state of the signals, sets the dispositions that this program
/// needs, and opens a directory for each standard stream that is closed.
///
/// # Safety
/// Only [`program`](crate::program) may call it.
pub unsafe fn start(count: c_int, arguments: *const *const c_char) {
    ARGUMENTS.store(arguments.cast_mut(), Ordering::Relaxed);
    ARGUMENT_COUNT.store(count as usize, Ordering::Relaxed);
    SAVED_SIGNALS.iter().zip(&PENDING).for_each(take_pending);
    // SAFETY: SIG_IGN and SIG_DFL are valid dispositions; the path is a C string.
    unsafe {
        for changed in &CHANGED_SIGNALS {
            let original = signal(changed.number, changed.disposition);
            changed.original.store(original, Ordering::Relaxed);
        }
        let (current, nothing) = (ORIGINAL_MASK.as_ptr(), ptr::null::<u64>());
        let size = size_of::<u64>();
        syscall(SYS_RT_SIGPROCMASK, SIG_BLOCK, nothing, current, size);
        // A file that this program opens must not get the number of a closed standard stream,
        // so we open a directory with that number. `open` returns the lowest free number, which
        // is that of the stream. The directory can be neither read nor written, and exec closes
        // it.
        for fd in 0..=2 {
            if fcntl(fd, F_GETFD) == -1 {
                open(c"/".as_ptr(), O_CLOEXEC);
            }
        }
    }
}

/// The arguments of this program, starting with its name.
pub fn arguments() -> impl Iterator<Item = &'static OsStr> + Clone {
    let first = ARGUMENTS.load(Ordering::Relaxed);
    (0..ARGUMENT_COUNT.load(Ordering::Relaxed)).map(move |index| {
        // SAFETY: `index` is below the number of C strings that `start` was given. They live
        // as long as the process, and nothing writes to them.
        let argument = unsafe { CStr::from_ptr(*first.add(index)) };
        OsStr::from_bytes(argument.to_bytes())
    })
}

/// Executes the command in the last `words` arguments of this program. Returns only if that
/// fails, with the error. Does not allocate memory.
///
/// The first of these words is the program. It is looked up in `PATH`, unless it contains a
/// slash. The program keeps the process id and the descriptors of this process. It gets the
/// signal mask, the signal dispositions and the pending signals with which this process was
/// started.
pub fn exec(words: usize) -> io::Error {
    let program = ARGUMENT_COUNT.load(Ordering::Relaxed).checked_sub(words);
    let Some(program) = program.filter(|_| words > 0) else {
        return io::ErrorKind::InvalidInput.into();
    };
    // SAFETY: the dispositions are valid. `program` is the index of a C string, and the array
    // ends with a null pointer.
    unsafe {
        let command = ARGUMENTS.load(Ordering::Relaxed).add(program);
        CHANGED_SIGNALS.iter().for_each(restore);
        if ORIGINAL_MASK.load(Ordering::Relaxed) != UNKNOWN_MASK {
            let (mask, nothing) = (ORIGINAL_MASK.as_ptr(), ptr::null::<u64>());
            let size = size_of::<u64>();
            syscall(SYS_RT_SIGPROCMASK, SIG_SETMASK, mask, nothing, size);
        }
        for (number, info) in SAVED_SIGNALS.iter().zip(&PENDING) {
            if info[0].load(Ordering::Relaxed) != 0 {
                // A process id has at most 22 bits, so it fits even if a long has 32 bits.
                let pid = std::process::id() as c_long;
                syscall(
                    SYS_RT_SIGQUEUEINFO,
                    pid,
                    c_long::from(*number),
                    info.as_ptr(),
                );
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

/// If this signal is blocked and pending, saves its information and removes it from the pending
/// signals.
fn take_pending((number, info): (&c_int, &'static SignalInfo)) {
    // The kernel reads 64 bits: the first number, or both on a 32-bit machine.
    let signals: [c_ulong; 2] = [1 << (number - 1), 0];
    let timeout = [0 as c_long; 2];
    // SAFETY: the pointers point to a set of signals, a `siginfo_t` and a `struct timespec`.
    // The kernel may write to the `siginfo_t`, because it is made of atomics.
    unsafe {
        syscall(
            SYS_RT_SIGTIMEDWAIT,
            signals.as_ptr(),
            info.as_ptr(),
            timeout.as_ptr(),
            size_of::<u64>(),
        );
    }
}

/// Restores the disposition that a signal had when the program was started.
fn restore(changed: &ChangedSignal) {
    match changed.original.load(Ordering::Relaxed) {
        SIG_ERR => {}
        // SAFETY: `signal` returned this disposition.
        original => unsafe {
            // If the signal is blocked, a failed write or an `ss` that has exited may have left
            // one pending. Ignoring the signal first discards it.
            signal(changed.number, SIG_IGN);
            signal(changed.number, original);
        },
    }
}
