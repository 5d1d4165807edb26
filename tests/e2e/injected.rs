//! Commands whose system calls fail. In each run, strace makes one call, or all calls from one on,
//! return an error. The answer must still be complete, or lntu must print a message. An application
//! must start in any case.
//!
//! By default, a random sample of the faults is tried, and its seed is printed.
//! `LNTU_TEST_FAULTS=SEED` tries the same sample again, and `LNTU_TEST_FAULTS=all` every fault.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use socket2::Type;
use tempfile::TempDir;

use crate::harness::*;

/// The errors that each call is made to return.
const ERRORS: [&str; 7] = [
    "EINTR", "EAGAIN", "EIO", "ENOMEM", "EMFILE", "EPERM", "ENOSYS",
];

/// How many faults are tried by default.
const SAMPLE: usize = 400;
/// How long the sample may take in all. The test fails if faults are left after that.
const SAMPLE_TIME: Duration = Duration::from_secs(600);

/// Calls that are not made to fail.
const LEFT_OUT: [&str; 6] = [
    // The C library makes these two before the program starts, and crashes without the first.
    "arch_prctl",
    "set_tid_address",
    // If execve failed, the application could not start at all.
    "execve",
    // This call cannot fail.
    "exit_group",
    // The kernel makes this call, not the program.
    "restart_syscall",
    // Even if close(2) fails, it has closed the descriptor. With a fault from strace, the
    // descriptor would stay open.
    "close",
];

/// Calls that Rust's std repeats as long as they return EINTR. Real interruptions end, so not every
/// call of these names is made to return EINTR.
const REPEATED_BY_STD: [&str; 3] = ["open", "wait4", "read"];
/// Commands with one of these arguments read the files of processes, and so call `read` through
/// Rust's std.
const READ_PROCESSES: [&str; 2] = ["--of", "81"];

/// The task that a command must still perform when a system call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// The command must print the two listeners, or end with an error.
    List,
    /// The command must exit with this status, or end with an error.
    ExitWith(i32),
    /// The command must execute the application, or end with an error.
    StartOrFail,
    /// The command must execute the application.
    Start,
}

/// A command to try faults on.
struct Case {
    arguments: &'static [&'static str],
    duty: Duty,
    /// True if system calls also fail in the processes that the command starts, such as the
    /// watcher.
    follows: bool,
    /// Calls and errors that every sample includes. All calls of this name fail. Each fault once
    /// revealed a bug: the command did not end, the application did not start, or the answer was
    /// incomplete.
    always: &'static [(&'static str, &'static str)],
}

static CASES: [Case; 13] = [
    Case {
        always: &[("read", "EINTR")],
        ..case(&["list", "-H", "--source", "proc"], Duty::List)
    },
    Case {
        always: &[("write", "EINTR")],
        ..case(&["list", "-H", "--source", "netlink"], Duty::List)
    },
    case(&["list", "-H"], Duty::List),
    Case {
        always: &[("readlink", "EIO")],
        ..case(&["list", "-H", "--of", "PID"], Duty::List)
    },
    Case {
        always: &[("mmap", "ENOMEM")],
        ..case(&["check", "80", "53/udp"], Duty::ExitWith(0))
    },
    case(&["check", "--source", "proc", "80"], Duty::ExitWith(0)),
    Case {
        always: &[("write", "EINTR")],
        ..case(&["check", "81"], Duty::ExitWith(1))
    },
    Case {
        always: &[("poll", "EIO")],
        ..case(&["wait", "80", "--", "APP"], Duty::StartOrFail)
    },
    Case {
        always: &[("readlink", "EINTR")],
        ..case(
            &["wait", "--source", "proc", "80", "--", "APP"],
            Duty::StartOrFail,
        )
    },
    Case {
        always: &[
            ("poll", "EIO"),
            ("mmap", "ENOMEM"),
            ("rt_sigaction", "EPERM"),
        ],
        ..case(&["-qo/dev/null", "--", "APP"], Duty::Start)
    },
    Case {
        always: &[("rt_sigaction", "EPERM")],
        ..case(
            &["-qo/dev/null", "--", "/bin/cat", "/proc/self/status"],
            Duty::Start,
        )
    },
    case(&["-qo/dev/null", "--", "/nonexistent"], Duty::ExitWith(127)),
    Case {
        follows: true,
        ..case(
            &["-qo/dev/null", "--source", "proc", "--", "APP"],
            Duty::Start,
        )
    },
];

const fn case(arguments: &'static [&'static str], duty: Duty) -> Case {
    Case {
        arguments,
        duty,
        follows: false,
        always: &[],
    }
}

/// A system call that fails.
#[derive(Clone)]
struct Fault {
    case: &'static Case,
    /// The name of the call.
    call: String,
    /// The number of the first call of that name that fails. The first call of a run is number 1.
    number: usize,
    error: &'static str,
    /// True if all later calls of that name fail, too.
    onward: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.case.arguments.join(" ");
        write!(f, "{arguments} [{}]", self.injection())
    }
}

impl Fault {
    /// The value of strace's option `-e`.
    fn injection(&self) -> String {
        let onward = if self.onward { "+" } else { "" };
        let (call, error, number) = (&self.call, self.error, self.number);
        format!("inject={call}:error={error}:when={number}{onward}")
    }
}

/// Returns strace, ready to start `program`. It gets these options, and writes to the file `log`.
/// It is killed after 20 s.
fn strace(log: &str, options: &[&str], program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "20", "strace", "-qq", "-o", log]);
    command.args(options).arg(program);
    command
}

/// Returns strace, ready to start the command of a case. It gets these options, and writes to the
/// file `log`.
fn traced(case: &Case, log: &str, options: &[&str]) -> Command {
    // If close_range fails, the watcher closes 65,000 descriptors one by one. Without
    // `--seccomp-bpf`, strace would stop the watcher at each of these calls.
    let follows: &[&str] = match case.follows {
        true => &["-f", "--seccomp-bpf"],
        false => &[],
    };
    let mut command = strace(log, &[follows, options].concat(), &binaries().lntu);
    for argument in case.arguments {
        match *argument {
            "APP" => command.arg(&binaries().app),
            "PID" => command.arg(std::process::id().to_string()),
            argument => command.arg(argument),
        };
    }
    command
}

/// Returns the line of `/proc/PID/status` with the signals that the process ignores.
fn ignored_signals(status: &str) -> Option<&str> {
    status.lines().find(|line| line.starts_with("SigIgn:"))
}

/// Returns the name of the system call that starts in a line of strace's log, if one does.
fn call_name(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let (name, _) = line.split_once('(')?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

/// Counts the calls of each name that a command makes before its application starts. If several
/// processes make a call, the highest of their counts is returned.
fn count_calls(case: &Case, directory: &str) -> BTreeMap<String, usize> {
    let log = format!("{directory}/counted");
    let finished = run(&mut traced(case, &log, &[]));
    let expected = match case.duty {
        Duty::ExitWith(status) => status,
        _ => 0,
    };
    assert_eq!(finished.code(), expected, "{finished:?}");
    let log = fs::read_to_string(log).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut execs = 0;
    for line in log.lines() {
        let (process, _) = line.split_once(' ').unwrap();
        let process = if case.follows { process } else { "" };
        let Some(name) = call_name(line) else {
            continue;
        };
        execs += usize::from(name == "execve");
        let is_over = execs == 2 && name != "execve";
        if is_over || execs == 1 && name == "execve" {
            continue;
        }
        *counts.entry((process, name)).or_default() += 1;
    }
    let mut highest = BTreeMap::new();
    for ((_, name), count) in counts {
        let highest = highest.entry(name.to_string()).or_default();
        *highest = count.max(*highest);
    }
    highest
}

/// Returns every fault of every case. Runs each command once to learn which calls it makes.
fn all_faults(directory: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for case in &CASES {
        for (call, count) in count_calls(case, directory) {
            if LEFT_OUT.contains(&&*call) {
                continue;
            }
            for number in 1..=count {
                for error in ERRORS {
                    for onward in [false, true] {
                        let mut arguments = case.arguments.iter();
                        let is_endless = error == "EINTR"
                            && REPEATED_BY_STD.contains(&&*call)
                            && (call != "read"
                                || arguments.any(|word| READ_PROCESSES.contains(word)));
                        if onward && is_endless {
                            continue;
                        }
                        faults.push(Fault {
                            case,
                            call: call.clone(),
                            number,
                            error,
                            onward,
                        });
                    }
                }
            }
        }
    }
    faults
}

/// Runs the command of a fault, and returns a description if it did not do its duty.
///
/// `listed` has the lines that `list` prints without a fault. `status` is the `/proc/PID/status` of
/// an application that starts without a fault.
fn complaint(fault: &Fault, directory: &str, listed: &str, status: &str) -> Option<String> {
    let case = fault.case;
    let log = format!("{directory}/{:?}", thread::current().id());
    let trace = format!("trace=execve,{}", fault.call);
    let options = ["-e", &trace, "-e", &fault.injection()];
    let finished = run(&mut traced(case, &log, &options));
    let log = fs::read_to_string(&log).unwrap_or_default();
    let is_exec = |line: &&str| line.contains("execve") && line.ends_with("= 0");
    let started = log.lines().filter(is_exec).count() == 2;
    let messages = finished.stderr.lines().count();
    // If `write` fails, lntu cannot print a message. Before the error, lntu may print another
    // message, which says that it asks another source.
    let has_message = fault.call == "write" || (1..=2).contains(&messages);
    let is_error = finished.status.code() == Some(2) && finished.stdout.is_empty() && has_message;
    let keeps_signals = fault.call == "rt_sigaction" && fault.onward && fault.number == 1;
    let is_right = match case.duty {
        Duty::List => {
            // If a table may not be read, a message names it and its rows are missing.
            let is_named = |row: &&str| {
                let table = row.split_whitespace().next().unwrap();
                let mut messages = finished.stderr.lines();
                let start = format!("lntu: /proc/net/{table}: ");
                messages.any(|line| {
                    line.starts_with(&start) && line.ends_with("; leaving out its ports")
                })
            };
            let rest: Vec<&str> = listed.lines().filter(|row| !is_named(row)).collect();
            let is_whole = || listed_sockets(&finished.stdout) == listed_sockets(&rest.join("\n"));
            // lntu may also print only the listeners that it found, if a message says that others
            // may be missing.
            let is_partial = || {
                let whole = listed_sockets(listed);
                let printed = listed_sockets(&finished.stdout);
                finished.status.code() == Some(2)
                    && has_message
                    && finished.stderr.contains("may be missing")
                    && printed.iter().all(|socket| whole.contains(socket))
            };
            is_error || finished.status.success() && is_whole() || is_partial()
        }
        Duty::ExitWith(status) => {
            let has_message = status == 0 || has_message;
            is_error || finished.status.code() == Some(status) && has_message
        }
        Duty::StartOrFail => started || is_error,
        // If every `rt_sigaction` fails, lntu changes no handler, so the application must ignore
        // the same signals. If only later ones fail, lntu cannot restore what it changed. Other
        // faults may keep `cat` from printing.
        Duty::Start if keeps_signals && case.arguments.contains(&"/bin/cat") => {
            started && ignored_signals(&finished.stdout) == ignored_signals(status)
        }
        Duty::Start => started,
    };
    let are_messages = started
        || finished
            .stderr
            .lines()
            .all(|line| line.starts_with("lntu: "));
    (!is_right || !are_messages).then(|| {
        let log: String = log.chars().take(2000).collect();
        format!("{fault}: {finished:?}\n{log}")
    })
}

#[test]
fn a_failing_call_never_gives_a_wrong_answer() {
    if !have_program("strace", "strace") || !have_ss() || !have_static() {
        return;
    }
    let _ = binaries();
    in_private_network(|| {
        let _tcp = bound(Type::STREAM, "127.0.0.1:80", |_| {});
        let _udp = bound(Type::DGRAM, "127.0.0.1:53", |_| {});
        let listed = run(Command::new(&binaries().lntu).args(["list", "-H"]));
        assert_eq!(listed.lines().len(), 2);
        let directory = TempDir::new().unwrap();
        let directory = directory.path().to_str().unwrap();
        let mut faults = all_faults(directory);
        let always = CASES.iter().flat_map(|case| {
            case.always.iter().map(move |(call, error)| Fault {
                case,
                call: call.to_string(),
                number: 1,
                error,
                onward: true,
            })
        });
        let always: Vec<Fault> = always.collect();
        let total = faults.len() + always.len();
        let chosen = std::env::var("LNTU_TEST_FAULTS");
        let mut time = None;
        if chosen.as_deref() != Ok("all") {
            let seed = chosen.map_or_else(
                |_| fastrand::u64(..),
                |seed| seed.parse().expect("LNTU_TEST_FAULTS is `all` or a number"),
            );
            time = Some(SAMPLE_TIME);
            fastrand::Rng::with_seed(seed).shuffle(&mut faults);
            faults.truncate(SAMPLE);
            let _ = writeln!(io::stderr(), "LNTU_TEST_FAULTS={seed}");
        }
        faults.extend(always);
        let alone = strace(&format!("{directory}/alone"), &[], "/bin/cat")
            .arg("/proc/self/status")
            .output();
        let status = String::from_utf8(alone.unwrap().stdout).unwrap();
        assert!(ignored_signals(&status).is_some(), "{status}");
        let (chosen, start) = (faults.len(), Instant::now());
        let left = Mutex::new(faults.into_iter());
        let complaints = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        if time.is_some_and(|time| start.elapsed() > time) {
                            return;
                        }
                        let next = left.lock().unwrap().next();
                        let Some(fault) = next else { return };
                        if let Some(complaint) =
                            complaint(&fault, directory, &listed.stdout, &status)
                        {
                            complaints.lock().unwrap().push(complaint);
                        }
                    }
                });
            }
        });
        let seconds = start.elapsed().as_secs();
        let _ = writeln!(io::stderr(), "{chosen} of {total} faults in {seconds} s");
        let complaints = complaints.into_inner().unwrap();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        let left = left.into_inner().unwrap().len();
        assert_eq!(left, 0, "faults are left after {seconds} s");
    });
}
