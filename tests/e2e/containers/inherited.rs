//! The state that an application inherits when it starts. It must be the same with lntu as
//! without.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::*;

/// Arguments for sed to copy the kernel's description of its own process. sed is the application
/// here, not a shell, because a shell blocks signals for short moments.
const STATE: [&str; 9] = [
    "-n",
    "w REPORT",
    "/proc/self/status",
    "/proc/self/stat",
    "/proc/self/environ",
    "/proc/self/cmdline",
    "/proc/self/limits",
    "/proc/self/oom_score_adj",
    "/proc/self/timerslack_ns",
];

/// A script that prints the directories and the open files of its shell.
const FILES: &str = r#"
readlink /proc/$$/cwd /proc/$$/root
cd /proc/$$/fd
for fd in *; do
    echo "descriptor $fd: $(readlink $fd) $(grep flags ../fdinfo/$fd)"
done
"#;

/// Returns the lines of the state that are the same for any two processes that were started in the
/// same way.
fn inherited(state: &str) -> Vec<String> {
    let kept = [
        "Umask",
        "Uid",
        "Gid",
        "Groups",
        "Threads",
        "SigPnd",
        "ShdPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "Cap",
        "NoNewPrivs",
        "Seccomp",
        "Cpus_allowed",
        "THP",
        "Speculation",
    ];
    // Keep only these lines of `status`, but all lines of the other files.
    let is_kept =
        |line: &&str| !is_of_status(line) || kept.iter().any(|name| line.starts_with(name));
    state.lines().filter(is_kept).map(without_numbers).collect()
}

fn is_of_status(line: &str) -> bool {
    line.split_once(":\t")
        .is_some_and(|(name, _)| !name.contains(' '))
}

/// Removes numbers that differ between any two runs. A line of `stat` keeps only the parent, the
/// group, the session, the terminal and its group, the priority and the niceness. Pipes and
/// sockets lose their inodes.
fn without_numbers(line: &str) -> String {
    if let Some((pid, rest)) = line.split_once(" (")
        && let Some((_, rest)) = rest.rsplit_once(") ")
    {
        let replace_pid = |field| if field == pid { "itself" } else { field };
        let fields: Vec<&str> = rest.split(' ').map(replace_pid).collect();
        return format!("stat {:?} {:?}", &fields[1..6], &fields[15..17]);
    }
    let without_inode = |word: &str| match word.split_once(":[") {
        Some((kind, _)) => kind.to_string(),
        None => word.to_string(),
    };
    let words: Vec<String> = line.split(' ').map(without_inode).collect();
    words.join(" ")
}

/// Checks that both states are the same. Shows only the lines that differ.
fn assert_same(with_lntu: &[String], alone: &[String], case: &str) {
    let missing = |lines: &[String], others: &[String]| -> Vec<String> {
        let is_missing = |line: &&String| !others.contains(line);
        lines.iter().filter(is_missing).cloned().collect()
    };
    let (added, lost) = (missing(with_lntu, alone), missing(alone, with_lntu));
    assert_eq!(added, lost, "{case}");
    assert_eq!(with_lntu, alone, "{case}");
}

/// Returns the state that two applications inherit. `start` runs each of them to its end. They
/// write their state to the file `report`. Outside of the container, this file has the path `path`.
fn inherited_state(report: &str, path: &Path, start: impl Fn(&[&str]) -> Finished) -> Vec<String> {
    let state = STATE.map(|argument| argument.replace("REPORT", report));
    let files = format!("{{ {FILES} }} >{report}");
    let mut lines = Vec::new();
    for application in [
        [&["/bin/sed"], &state.each_ref().map(String::as_str)[..]].concat(),
        vec!["/bin/sh", "-c", &files],
    ] {
        // The exit status is not checked, because sed fails at the end if it has no stdout.
        let finished = start(&application);
        let text = fs::read_to_string(path).unwrap_or_else(|_| panic!("{finished:?}"));
        fs::remove_file(path).unwrap();
        let text = text.replace(report, "REPORT").replace('\0', "\n");
        lines.extend(inherited(&text));
    }
    assert!(
        lines.iter().any(|line| line.starts_with("SigIgn")),
        "{lines:?}"
    );
    lines
}

/// Returns the state that an application inherits from `wrapper` and from the command `lntu`. A
/// wrapper is a shell script that ends with `exec "$@"`.
fn inherited_through(wrapper: &str, lntu: &[&str]) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let report = directory.path().join("report");
    inherited_state(report.to_str().unwrap(), &report, |application| {
        let mut shell = Command::new("sh");
        shell.args(["-c", wrapper, "wrapper"]).args(lntu);
        Running::start(shell.args(application).stdin(Stdio::null())).finish()
    })
}

/// Returns the paths of both builds of the program: the build for tests, and the static build for
/// users.
fn builds() -> [&'static str; 2] {
    let static_build = binaries().lntu.to_str().unwrap();
    [env!("CARGO_BIN_EXE_lntu"), static_build]
}

#[test]
fn a_watcher_does_not_change_the_inherited_state() {
    if !have_static() || !have_program("services", "setsid") {
        return;
    }
    let app = binaries().app.to_str().unwrap();
    let masked = "block USR1 block TERM block CHLD block PIPE block INT";
    let strange = "clear-env env PATH=/bin env B=2 env A=1 env A=3 env nothing env =empty";
    let wrappers = [
        r#"exec "$@""#,
        r#"trap '' PIPE; exec "$@""#,
        r#"trap '' USR1 INT TERM HUP; exec "$@""#,
        r#"exec env --ignore-signal=CHLD "$@""#,
        // `app` is a Rust program, and the start-up code of std ignores SIGPIPE. So this wrapper
        // passes on two ignored signals: USR1 and PIPE.
        &format!(r#"trap '' USR1; exec {app} {masked} exec "$@""#),
        r#"exec "$@" <&-"#,
        r#"exec "$@" >&-"#,
        r#"exec "$@" 2>&-"#,
        r#"exec "$@" <&- >&- 2>&-"#,
        r#"exec "$@" </etc/passwd >/dev/null"#,
        r#"exec 3</etc/passwd 5>&1 9</dev/null; exec "$@""#,
        r#"umask 027; cd /usr; exec "$@""#,
        r#"ulimit -n 64; ulimit -c 0; exec "$@""#,
        r#"exec nice -n 5 "$@""#,
        r#"exec setsid "$@""#,
        &format!(r#"exec {app} {strange} exec "$@""#),
    ];
    for wrapper in wrappers {
        let alone = inherited_through(wrapper, &[]);
        for lntu in builds() {
            for options in [&["-q", "--"][..], &["-o", "/dev/null", "--"]] {
                let watched = inherited_through(wrapper, &[&[lntu], options].concat());
                assert_same(&watched, &alone, wrapper);
            }
        }
    }
}

#[test]
fn a_wait_does_not_change_the_inherited_state() {
    if !have_static() {
        return;
    }
    let app = binaries().app.to_str().unwrap();
    let port = listen("127.0.0.1");
    let wait = ["wait", &port_of(&port).to_string(), "--"];
    for wrapper in [
        r#"exec "$@""#,
        r#"trap '' PIPE INT; exec "$@""#,
        r#"exec "$@" <&- >&- 2>&-"#,
        r#"exec 3</etc/passwd 9</dev/null; exec "$@""#,
        r#"exec env --ignore-signal=CHLD "$@""#,
        // If lntu started a child before the application, the blocked SIGCHLD would be pending.
        &format!(r#"exec {app} block CHLD exec "$@""#),
    ] {
        let alone = inherited_through(wrapper, &[]);
        for lntu in builds() {
            let waited = inherited_through(wrapper, &[&[lntu], &wait[..]].concat());
            assert_same(&waited, &alone, wrapper);
        }
    }
}

/// Returns the signals that are pending for the application or its thread, as the application reads
/// them in `/proc/self/status`.
fn pending_signals(wrapper: &str, lntu: &[&str]) -> u64 {
    let mut shell = Command::new("sh");
    shell.args(["-c", wrapper, "wrapper"]).args(lntu);
    let status = run(shell.args(["/bin/cat", "/proc/self/status"]));
    let lines = status.stdout.lines();
    let set = |line: &str| u64::from_str_radix(line.split_once("Pnd:\t")?.1, 16).ok();
    lines.filter_map(set).fold(0, |union, set| union | set)
}

#[test]
fn pending_signals_stay_pending() {
    if !have_static() {
        return;
    }
    let app = binaries().app.to_str().unwrap();
    let port = listen("127.0.0.1");
    let wait = ["wait", &port_of(&port).to_string(), "--"];
    let names = ["PIPE", "CHLD", "XFSZ", "INT", "TERM", "USR1"];
    let raised = names
        .map(|name| format!("block {name} raise {name}"))
        .join(" ");
    for before in ["", "trap '' PIPE INT TERM XFSZ; "] {
        let wrapper = format!("{before}exec {app} {raised} exec \"$@\"");
        let alone = pending_signals(&wrapper, &[]);
        assert_eq!(alone.count_ones(), 6, "{alone:x}");
        for lntu in builds() {
            for options in [&["-q", "--"][..], &["-o", "/dev/null", "--"], &wait] {
                let pending = pending_signals(&wrapper, &[&[lntu], options].concat());
                assert_eq!(pending, alone, "{pending:x} {alone:x} {options:?}");
            }
        }
    }
}

/// A shell's `trap '' CHLD` would not make its programs ignore the signal, but env does.
#[test]
fn ss_answers_even_if_sigchld_is_ignored() {
    if !have_ss() {
        return;
    }
    let mut env = Command::new("env");
    env.args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_lntu")]);
    let list = run(env.args(["list", "--source", "ss"]));
    assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
}

/// The applications are programs of busybox, because the start-up code of Rust's std changes the
/// state of a Rust program.
#[test]
fn lntu_in_a_container_keeps_the_inherited_state() {
    if !have_docker() {
        return;
    }
    let Some(image) = Image::busybox() else {
        return;
    };
    let directory = TempDir::new().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let volume = format!("--volume={}:/out", directory.path().display());
    let report = directory.path().join("report");

    let masked: &[&str] = &["/app", "block", "USR1", "block", "CHLD", "exec"];
    for (options, wrapper) in [
        (&[][..], &[][..]),
        (&[], masked),
        (&["--tty"], &[]),
        (&["--interactive"], &[]),
        (&["--user=65534:65534", "--workdir=/etc", "--env=A=1"], &[]),
        (
            &[
                "--cap-drop=ALL",
                "--security-opt=no-new-privileges",
                "--read-only",
            ],
            &[],
        ),
        (&["--ulimit=nofile=64", "--oom-score-adj=7"], &[]),
    ] {
        let options = [&["--hostname=container", &volume], options].concat();
        let start = |lntu: &[&str]| {
            inherited_state("/out/report", &report, |application| {
                image.run(&options, &[wrapper, lntu, application].concat())
            })
        };
        let alone = start(&[]);
        let watched = start(&["/lntu", "-o", "/dev/null", "--"]);
        assert_same(&watched, &alone, &format!("{options:?} {wrapper:?}"));
        let is_terminal = alone.iter().any(|line| line.contains("/dev/pts/"));
        assert_eq!(is_terminal, options.contains(&"--tty"), "{alone:?}");
    }
}
