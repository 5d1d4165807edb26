//! Every command under every condition that a container may start it in: little
//! memory, few descriptors, no `/proc` or part of one, signals that are ignored and
//! blocked, standard streams that are closed. Each gives the right answer, or an error
//! in one line. An application starts, and finds what it would find without lntu.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use socket2::Type;
use tempfile::TempDir;

use crate::containers::docker::{binaries, have_static};
use crate::harness::*;

/// What is asked: a name, and the arguments.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("list", &["list", "-H"]),
    ("list proc", &["list", "-H", "--source", "proc"]),
    ("list netlink", &["list", "-H", "--source", "netlink"]),
    ("check", &["check", "80", "53/udp"]),
    ("check no", &["check", "81"]),
    ("wait", &["wait", "--timeout", "30s", "80"]),
];

/// Those that write to stdout.
const LISTS: &[&str] = &["list", "list proc", "list netlink", "watch"];
const ALL: &[&str] = &[
    "list",
    "list proc",
    "list netlink",
    "watch",
    "check",
    "check no",
    "wait",
];

/// A condition: a shell script that ends with `exec "$@"`.
struct Condition {
    script: String,
    /// What may be answered with an error.
    may_fail: &'static [&'static str],
    hides_stderr: bool,
}

fn condition(script: impl Into<String>, may_fail: &'static [&'static str]) -> Condition {
    Condition {
        script: script.into(),
        may_fail,
        hides_stderr: false,
    }
}

fn conditions() -> Vec<Condition> {
    let mounted = |how: &str, before: &str| {
        let inner = format!("{how} && exec {before} \\\"\\$@\\\"");
        format!("exec unshare -m sh -c \"{inner}\" sh \"$@\"")
    };
    let as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let mut all = vec![
        condition("exec \"$@\"", &[]),
        condition(mounted("umount -l /proc", ""), &["list proc"]),
        condition(
            mounted("mount -t proc -o subset=pid proc /proc", ""),
            &["list proc"],
        ),
        condition(
            mounted("mount -t proc -o hidepid=2 proc /proc", as_nobody),
            &[],
        ),
    ];
    for descriptors in 3..=8 {
        let may_fail = match descriptors {
            3 => ALL,
            4 => LISTS,
            _ => &[],
        };
        all.push(condition(
            format!("ulimit -n {descriptors}; exec \"$@\""),
            may_fail,
        ));
    }
    for closed in 1..8 {
        let [stdin, stdout, stderr] = [0, 1, 2].map(|stream| closed & 1 << stream != 0);
        let close = |is_closed, text: &'static str| if is_closed { text } else { "" };
        let [first, second, third] = [
            close(stdin, " <&-"),
            close(stdout, " >&-"),
            close(stderr, " 2>&-"),
        ];
        all.push(Condition {
            hides_stderr: stderr,
            ..condition(
                format!("exec \"$@\"{first}{second}{third}"),
                if stdout { LISTS } else { &[] },
            )
        });
    }
    // Of the others, two cannot be ignored and two belong to the C library.
    let signals = (1..=64).filter(|number| ![9, 19, 32, 33].contains(number));
    for number in signals {
        let options = format!("--ignore-signal={number} --block-signal={number}");
        all.push(condition(format!("exec env {options} \"$@\""), &[]));
    }
    all
}

/// A control group that may use so much memory. It is removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(bytes: u64) -> Result<Cgroup, String> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("lntu-test-{}", std::process::id());
        let (parent, limit) = match root.join("memory").is_dir() {
            true => (root.join("memory"), "memory.limit_in_bytes"),
            false => (root.to_path_buf(), "memory.max"),
        };
        let group = Cgroup(parent.join(name));
        // Version 1 has no such file.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        fs::create_dir(&group.0)
            .and_then(|()| fs::write(group.0.join(limit), bytes.to_string()))
            .map_err(|error| format!("{}: {error}", group.0.display()))?;
        Ok(group)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may still count.
        let _ = (0..100).find(|_| {
            thread::sleep(Duration::from_millis(10));
            fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// Runs this command under the condition.
fn under(condition: &Condition, command: &[&str]) -> Finished {
    let mut shell = Command::new("sh");
    shell.args(["-c", &condition.script, "sh"]).args(command);
    run(shell.stdin(Stdio::null()))
}

fn is_message(line: &str) -> bool {
    line.starts_with("lntu: ") && line.len() > 20
}

/// Whether it ended with "could not tell", and with one line that says why.
fn is_error(condition: &Condition, finished: &Finished) -> bool {
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let says = match lines[..] {
        [line] => is_message(line),
        _ => lines.is_empty() && condition.hides_stderr,
    };
    finished.status.code() == Some(2) && finished.stdout.is_empty() && says
}

/// Asks everything, and panics at a wrong answer.
fn assert_answers(condition: &Condition, lntu: &str, listed: &str) {
    for (name, arguments) in QUESTIONS {
        let finished = under(condition, &[&[lntu], arguments].concat());
        let is_right = match name {
            "check no" => {
                let says = finished.stderr.starts_with("lntu: 81/tcp: not listening");
                finished.status.code() == Some(1) && (says || condition.hides_stderr)
            }
            "check" | "wait" => finished.status.success(),
            _ => finished.status.success() && sockets(&finished.stdout) == sockets(listed),
        };
        let may_fail = condition.may_fail.contains(&name);
        assert!(
            is_right || may_fail && is_error(condition, &finished),
            "{}: {name}: {finished:?}",
            condition.script
        );
    }
    // The watcher ends when nobody reads its lines any more.
    let watch = "script=$1; shift; sh -c \"$script\" sh \"$@\" 2>&1 | head -n 1";
    let mut shell = Command::new("sh");
    shell.args(["-c", watch, "sh", &condition.script, lntu]);
    let watched = run(shell.args(["watch", "-H", "-i", "20ms", "80"]));
    let is_right = watched.stdout.contains("LISTEN");
    let is_error = match condition.hides_stderr {
        true => watched.stdout.is_empty(),
        false => is_message(&watched.stdout),
    };
    assert!(
        is_right || condition.may_fail.contains(&"watch") && is_error,
        "{}: watch: {watched:?}",
        condition.script
    );
}

/// What an application finds that is started like this: its exit status, the signals
/// that it ignores and those that are blocked, its streams and other descriptors.
fn found(condition: &Condition, lntu: &[&str], directory: &Path) -> Result<Vec<String>, Finished> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let report = directory.join(count.to_string());
    let report = report.to_str().unwrap();
    let copy = format!("w {report}");
    let open = format!(
        "cd /proc/$$/fd && for fd in *; do echo \"$fd $(readlink $fd) $(grep flags ../fdinfo/$fd)\"; \
         done >{report}"
    );
    let applications: [&[&str]; 3] = [
        // A shell blocks signals now and then.
        &["sed", "-n", &copy, "/proc/self/status"],
        &["sh", "-c", &open],
        &["sh", "-c", "exit 42"],
    ];
    let mut found = Vec::new();
    for application in applications {
        let finished = under(condition, &[lntu, application].concat());
        if !lntu.is_empty() && is_error(condition, &finished) {
            return Err(finished);
        }
        found.push(format!("{:?}", finished.status));
        let text = fs::read_to_string(report).unwrap_or_default();
        let _ = fs::remove_file(report);
        // Of the first report, what becomes of signals; not how many are queued.
        let is_kept = |line: &&str| match line.split_once(":\t") {
            Some((name, _)) => ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"].contains(&name),
            None => true,
        };
        let lines = text.lines().filter(is_kept);
        found.extend(lines.map(|line| match line.split_once(":[") {
            // Each run has pipes of its own.
            Some((before, after)) => format!("{before} {}", after.split_once(']').unwrap().1),
            None => line.to_string(),
        }));
    }
    Ok(found)
}

fn assert_starts(condition: &Condition, lntu: &str, directory: &Path) {
    let alone = found(condition, &[], directory).unwrap();
    let beside = found(condition, &[lntu, "-qo/dev/null", "--"], directory);
    let script = &condition.script;
    assert_eq!(beside.unwrap(), alone, "{script}");
    match found(condition, &[lntu, "wait", "80", "--"], directory) {
        Ok(after) => assert_eq!(after, alone, "{script}"),
        Err(error) => assert!(condition.may_fail.contains(&"wait"), "{script}: {error:?}"),
    }
}

#[test]
fn under_every_condition_the_answer_is_right_or_an_error_and_the_application_starts_as_alone() {
    let is_root = rustix::process::geteuid().is_root();
    let missing = (!is_root).then(|| "this user".to_string());
    if !have("root", missing) || !have_ss() || !have_static() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    // The user nobody may be unable to reach the original.
    let lntu = directory.join("lntu");
    let copied = run(Command::new("cp").arg(&binaries().lntu).arg(&lntu));
    assert!(copied.status.success(), "{copied:?}");
    let lntu = lntu.to_str().unwrap();
    let mut conditions = conditions();
    let group = Cgroup::new(2 << 20);
    if have("cgroup", group.as_ref().err().cloned()) {
        let group = group.as_ref().unwrap().0.join("cgroup.procs");
        let script = format!("echo $$ >{}; exec \"$@\"", group.display());
        conditions.push(condition(script, &[]));
    }
    in_private_network(|| {
        let _tcp = bound(Type::STREAM, "127.0.0.1:80", |_| {});
        let _udp = bound(Type::DGRAM, "127.0.0.1:53", |_| {});
        let listed = run(Command::new(lntu).args(["list", "-H"]));
        assert_eq!(listed.lines().len(), 2);
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(condition) = conditions.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        assert_answers(condition, lntu, &listed.stdout);
                        assert_starts(condition, lntu, directory);
                    }
                });
            }
        });
    });
}
