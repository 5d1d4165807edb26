//! Every system call that a command makes, made to fail: strace injects the error. The
//! answer is still complete, or there is an error. It is never a wrong one, and an
//! application starts.
//!
//! By default some of the faults are tried, by a seed that is printed.
//! `LNTU_TEST_FAULTS=all` tries all of them, and `LNTU_TEST_FAULTS=SEED` the same
//! again.

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

const ERRORS: [&str; 7] = [
    "EINTR", "EAGAIN", "EIO", "ENOMEM", "EMFILE", "EPERM", "ENOSYS",
];

/// How many faults are tried by default.
const SAMPLE: usize = 400;
/// How long they may take in all. What is not tried by then is a failure.
const SAMPLE_TIME: Duration = Duration::from_secs(600);

/// What no fault can tell anything about. Two are made by the C library before any code
/// of the program, and without the first of them it crashes. One is the start of the
/// application itself. One cannot fail, and one the kernel makes. And a `close` that
/// fails has closed its descriptor, which strace does not do.
const LEFT_OUT: [&str; 6] = [
    "arch_prctl",
    "set_tid_address",
    "execve",
    "exit_group",
    "restart_syscall",
    "close",
];

/// std repeats these for ever where they are interrupted for ever, which no kernel
/// does to them.
const REPEATED_BY_STD: [&str; 3] = ["open", "wait4", "read"];
/// Commands with one of these arguments read files of a process, which std does.
const READ_PROCESSES: [&str; 2] = ["--of", "81"];

/// What a command must do beside a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// Print the two listeners, or end with an error.
    List,
    /// Answer with this status, or end with an error.
    Answer(i32),
    /// Become the application, or end with an error.
    StartOrSayWhy,
    /// Become the application.
    Start,
}

/// A command, and what strace is told besides.
struct Case {
    arguments: &'static [&'static str],
    duty: Duty,
    /// Whether faults also hit the processes that it starts, the watcher among them.
    follows: bool,
    /// Calls and their errors that are always tried. Failed from the start on, these once
    /// kept a command from ending, an application from starting, or an answer from being
    /// whole.
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
        ..case(&["check", "80", "53/udp"], Duty::Answer(0))
    },
    case(&["check", "--source", "proc", "80"], Duty::Answer(0)),
    Case {
        always: &[("write", "EINTR")],
        ..case(&["check", "81"], Duty::Answer(1))
    },
    Case {
        always: &[("poll", "EIO")],
        ..case(&["wait", "80", "--", "APP"], Duty::StartOrSayWhy)
    },
    Case {
        always: &[("readlink", "EINTR")],
        ..case(
            &["wait", "--source", "proc", "80", "--", "APP"],
            Duty::StartOrSayWhy,
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
    case(&["-qo/dev/null", "--", "/nonexistent"], Duty::Answer(127)),
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

/// One failure, or with `onward` all from there on.
#[derive(Clone)]
struct Fault {
    case: &'static Case,
    call: String,
    number: usize,
    error: &'static str,
    onward: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments = self.case.arguments.join(" ");
        write!(f, "{arguments} [{}]", self.injection())
    }
}

impl Fault {
    fn injection(&self) -> String {
        let onward = if self.onward { "+" } else { "" };
        let (call, error, number) = (&self.call, self.error, self.number);
        format!("inject={call}:error={error}:when={number}{onward}")
    }
}

/// strace of a program, with these options. It writes to `log`.
fn strace(log: &str, options: &[&str], program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "20", "strace", "-qq", "-o", log]);
    command.args(options).arg(program);
    command
}

/// The command of a case under strace, which writes to `log`.
fn traced(case: &Case, log: &str, options: &[&str]) -> Command {
    // Without seccomp, strace would stop at each of the 65,000 closes of the fallback.
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

/// The signals that a process ignores, in its `/proc/PID/status`.
fn ignored(status: &str) -> Option<&str> {
    status.lines().find(|line| line.starts_with("SigIgn:"))
}

/// The name of the call that starts in this line of a log.
fn call(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
    let (name, _) = line.split_once('(')?;
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

/// How often each call is made up to the application's start. Of two processes, the
/// one that makes it more often counts.
fn made(case: &Case, directory: &str) -> BTreeMap<String, usize> {
    let log = format!("{directory}/made");
    let finished = run(&mut traced(case, &log, &[]));
    let expected = match case.duty {
        Duty::Answer(status) => status,
        _ => 0,
    };
    assert_eq!(finished.code(), expected, "{finished:?}");
    let log = fs::read_to_string(log).unwrap();
    let mut made: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut execs = 0;
    for line in log.lines() {
        let (process, _) = line.split_once(' ').unwrap();
        let process = if case.follows { process } else { "" };
        let Some(name) = call(line) else { continue };
        execs += usize::from(name == "execve");
        let is_over = execs == 2 && name != "execve";
        if is_over || execs == 1 && name == "execve" {
            continue;
        }
        *made.entry((process, name)).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((_, name), count) in made {
        let most = most.entry(name.to_string()).or_default();
        *most = count.max(*most);
    }
    most
}

fn faults(directory: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for case in &CASES {
        for (call, count) in made(case, directory) {
            if LEFT_OUT.contains(&&*call) {
                continue;
            }
            for number in 1..=count {
                for error in ERRORS {
                    for onward in [false, true] {
                        let mut arguments = case.arguments.iter();
                        let is_endless = error == "EINTR"
                            && REPEATED_BY_STD.contains(&&*call)
                            && (call != "read" || arguments.any(|it| READ_PROCESSES.contains(it)));
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

/// Why what the command did beside this fault is wrong.
///
/// Without a fault, these are `listed`, and an application ignores what is in `status`.
fn complaint(fault: &Fault, directory: &str, listed: &str, status: &str) -> Option<String> {
    let case = fault.case;
    let log = format!("{directory}/{:?}", thread::current().id());
    let trace = format!("trace=execve,{}", fault.call);
    let options = ["-e", &trace, "-e", &fault.injection()];
    let finished = run(&mut traced(case, &log, &options));
    let log = fs::read_to_string(&log).unwrap_or_default();
    let is_exec = |line: &&str| line.contains("execve") && line.ends_with("= 0");
    let started = log.lines().filter(is_exec).count() == 2;
    let said = finished.stderr.lines().count();
    // It cannot say why where it cannot write. That another source is asked, it says
    // before.
    let says = fault.call == "write" || (1..=2).contains(&said);
    let is_error = finished.status.code() == Some(2) && finished.stdout.is_empty() && says;
    let keeps_signals = fault.call == "rt_sigaction" && fault.onward && fault.number == 1;
    let is_right = match case.duty {
        Duty::List => {
            // A table that may not be read is left out, and named.
            let is_named = |row: &&str| {
                let table = row.split_whitespace().next().unwrap();
                let mut said = finished.stderr.lines();
                let start = format!("lntu: /proc/net/{table}: ");
                said.any(|line| {
                    line.starts_with(&start) && line.ends_with("; leaving out its ports")
                })
            };
            let rest: Vec<&str> = listed.lines().filter(|row| !is_named(row)).collect();
            let is_whole = || listed_sockets(&finished.stdout) == listed_sockets(&rest.join("\n"));
            // What is certain is printed, and one line says that more may be missing.
            let is_partial = || {
                let whole = listed_sockets(listed);
                let printed = listed_sockets(&finished.stdout);
                finished.status.code() == Some(2)
                    && says
                    && finished.stderr.contains("may be missing")
                    && printed.iter().all(|socket| whole.contains(socket))
            };
            is_error || finished.status.success() && is_whole() || is_partial()
        }
        Duty::Answer(status) => {
            let says = status == 0 || says;
            is_error || finished.status.code() == Some(status) && says
        }
        Duty::StartOrSayWhy => started || is_error,
        // What was set before cannot be set back. And other faults from there on can keep
        // the application from telling.
        Duty::Start if keeps_signals && case.arguments.contains(&"/bin/cat") => {
            started && ignored(&finished.stdout) == ignored(status)
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
fn whatever_call_fails_the_answer_is_complete_or_an_error_and_the_application_starts() {
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
        let mut faults = faults(directory);
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
        let all = faults.len() + always.len();
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
        assert!(ignored(&status).is_some(), "{status}");
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
        let _ = writeln!(io::stderr(), "{chosen} of {all} faults in {seconds} s");
        let complaints = complaints.into_inner().unwrap();
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        let left = left.into_inner().unwrap().len();
        assert_eq!(left, 0, "faults are left after {seconds} s");
    });
}
