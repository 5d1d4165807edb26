//! What an application finds when it starts. It must be the same with a watcher
//! as without one.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::*;

/// Copies what the kernel says about the process that reads it. That process
/// must be the application itself. A shell would not do, because it blocks
/// signals now and then.
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

/// Prints what the shell that runs this has open, and where it is.
const PLACES: &str = r#"
readlink /proc/$$/cwd /proc/$$/root
cd /proc/$$/fd
for fd in *; do
    echo "descriptor $fd: $(readlink $fd) $(grep flags ../fdinfo/$fd)"
done
"#;

/// The part of the state that two processes have in common if they were started
/// in the same way.
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
    // Of the process's `status` file keep these lines, and of all others
    // everything.
    let is_kept =
        |line: &&str| !is_of_status(line) || kept.iter().any(|name| line.starts_with(name));
    state.lines().filter(is_kept).map(without_numbers).collect()
}

fn is_of_status(line: &str) -> bool {
    line.split_once(":\t")
        .is_some_and(|(name, _)| !name.contains(' '))
}

/// Removes what differs between any two runs. Of `stat` only the parent, the
/// group, the session, the terminal and its group, the priority and the
/// niceness stay. Pipes lose their numbers.
fn without_numbers(line: &str) -> String {
    if let Some((pid, rest)) = line.split_once(" (")
        && let Some((_, rest)) = rest.rsplit_once(") ")
    {
        let name = |field| if field == pid { "itself" } else { field };
        let fields: Vec<&str> = rest.split(' ').map(name).collect();
        return format!("stat {:?} {:?}", &fields[1..6], &fields[15..17]);
    }
    let word = |word: &str| match word.split_once(":[") {
        Some((kind, _)) => kind.to_string(),
        None => word.to_string(),
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Fails and shows only the lines that differ.
fn assert_same(beside: &[String], alone: &[String], what: &str) {
    let missing = |lines: &[String], others: &[String]| -> Vec<String> {
        let is_missing = |line: &&String| !others.contains(line);
        lines.iter().filter(is_missing).cloned().collect()
    };
    let (added, lost) = (missing(beside, alone), missing(alone, beside));
    assert_eq!(added, lost, "{what}");
    assert_eq!(beside, alone, "{what}");
}

/// What the two applications find. `start` runs each to its end. They write to
/// `report`, and `here` is the same file.
fn found(report: &str, here: &Path, start: impl Fn(&[&str]) -> Finished) -> Vec<String> {
    let state = STATE.map(|argument| argument.replace("REPORT", report));
    let places = format!("{{ {PLACES} }} >{report}");
    let mut lines = Vec::new();
    for application in [
        [&["/bin/sed"], &state.each_ref().map(String::as_str)[..]].concat(),
        vec!["/bin/sh", "-c", &places],
    ] {
        // sed fails at the end if it has no stdout.
        let finished = start(&application);
        let text = fs::read_to_string(here).unwrap_or_else(|_| panic!("{finished:?}"));
        fs::remove_file(here).unwrap();
        let text = text.replace(report, "REPORT").replace('\0', "\n");
        lines.extend(inherited(&text));
    }
    assert!(
        lines.iter().any(|line| line.starts_with("SigIgn")),
        "{lines:?}"
    );
    lines
}

/// What an application finds if `lntu` starts it through `wrapper`. A wrapper
/// is a shell script that ends with `exec "$@"`.
fn found_through(wrapper: &str, lntu: &[&str]) -> Vec<String> {
    let directory = TempDir::new().unwrap();
    let report = directory.path().join("report");
    found(report.to_str().unwrap(), &report, |application| {
        let mut shell = Command::new("sh");
        shell.args(["-c", wrapper, "wrapper"]).args(lntu);
        Running::start(shell.args(application).stdin(Stdio::null())).finish()
    })
}

/// Both builds of the program: the one for tests, and the static one for users.
fn builds() -> [&'static str; 2] {
    let static_one = binaries().lntu.to_str().unwrap();
    [env!("CARGO_BIN_EXE_lntu"), static_one]
}

#[test]
fn the_application_finds_everything_as_if_it_was_started_alone() {
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
        // This one ignores SIGPIPE too.
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
        let alone = found_through(wrapper, &[]);
        for lntu in builds() {
            for options in [&["-q", "--"][..], &["-o", "/dev/null", "--"]] {
                let beside = found_through(wrapper, &[&[lntu], options].concat());
                assert_same(&beside, &alone, wrapper);
            }
        }
    }
}

#[test]
fn an_application_that_waited_finds_everything_as_if_it_had_not() {
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
        // If lntu had a child that ended, the blocked SIGCHLD would be pending
        // here.
        &format!(r#"exec {app} block CHLD exec "$@""#),
    ] {
        let alone = found_through(wrapper, &[]);
        for lntu in builds() {
            let after = found_through(wrapper, &[&[lntu], &wait[..]].concat());
            assert_same(&after, &alone, wrapper);
        }
    }
}

/// The signals that are blocked and pending, of the process or its thread, by the
/// application's own `/proc/self/status`.
fn pending(wrapper: &str, lntu: &[&str]) -> u64 {
    let mut shell = Command::new("sh");
    shell.args(["-c", wrapper, "wrapper"]).args(lntu);
    let status = run(shell.args(["/bin/cat", "/proc/self/status"]));
    let lines = status.stdout.lines();
    let of = |line: &str| u64::from_str_radix(line.split_once("Pnd:\t")?.1, 16).ok();
    lines.filter_map(of).fold(0, |all, some| all | some)
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
        let alone = pending(&wrapper, &[]);
        assert_eq!(alone.count_ones(), 6, "{alone:x}");
        for lntu in builds() {
            for options in [&["-q", "--"][..], &["-o", "/dev/null", "--"], &wait] {
                let beside = pending(&wrapper, &[&[lntu], options].concat());
                assert_eq!(beside, alone, "{beside:x} {alone:x} {options:?}");
            }
        }
    }
}

/// In a shell, `trap '' CHLD` does not do this to the programs it starts.
#[test]
fn ss_answers_even_where_sigchld_is_ignored() {
    if !have_ss() {
        return;
    }
    let mut env = Command::new("env");
    env.args(["--ignore-signal=CHLD", env!("CARGO_BIN_EXE_lntu")]);
    let list = run(env.args(["list", "--source", "ss"]));
    assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
}

/// The applications are busybox programs. Neither lntu nor any Rust program
/// would do: Rust's start-up code changes what they find.
#[test]
fn the_application_finds_its_container_as_if_it_was_started_alone() {
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
            found("/out/report", &report, |application| {
                image.run(&options, &[wrapper, lntu, application].concat())
            })
        };
        let alone = start(&[]);
        let beside = start(&["/lntu", "-o", "/dev/null", "--"]);
        assert_same(&beside, &alone, &format!("{options:?} {wrapper:?}"));
        let is_terminal = alone.iter().any(|line| line.contains("/dev/pts/"));
        assert_eq!(is_terminal, options.contains(&"--tty"), "{alone:?}");
    }
}
