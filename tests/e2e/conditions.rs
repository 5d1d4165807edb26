//! Every command under every condition that a container may start it in: little
//! memory, few descriptors, no `/proc` or part of one, signals that are ignored and
//! blocked, standard streams that are closed. Each gives the right answer, or an error
//! in one line. An application starts, and finds what it would find without lntu.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use socket2::Type;
use tempfile::TempDir;

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

/// All names. The first four write to stdout, and the fifth starts an ss without which
/// it fails.
const ALL: [&str; 8] = [
    "list",
    "list proc",
    "list netlink",
    "watch",
    "wait ss",
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
    // A container may forbid mounts.
    all.retain(|condition| {
        let tried = under(condition, &["true"]);
        have("netns", (!tried.status.success()).then_some(tried.stderr))
    });
    all.push(condition("exec \"$@\"", &[]));
    for descriptors in 3..=12 {
        let may_fail = match descriptors {
            3 => &ALL[..],
            4 => &ALL[..5],
            5..12 => &["wait ss"],
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
                if stdout { &ALL[..4] } else { &[] },
            )
        });
    }
    // Of the others, two cannot be ignored and two belong to the C library.
    let signals = (1..=64).filter(|number| ![9, 19, 32, 33].contains(number));
    for number in signals {
        let block = format!("--block-signal={number}");
        let both = format!("--ignore-signal={number} {block}");
        for options in [block, both] {
            all.push(condition(format!("exec env {options} \"$@\""), &[]));
        }
    }
    all
}

/// Where control groups with a limit of memory can be made, and the file of the limit.
fn parent_of_groups() -> Result<(&'static Path, &'static str), String> {
    let (first, second) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
    let enabled = fs::read_to_string(format!("{second}/cgroup.subtree_control"));
    let found = match Path::new(first).join("memory.limit_in_bytes").exists() {
        true => (Path::new(first), "memory.limit_in_bytes"),
        false if enabled.is_ok_and(|controllers| controllers.contains("memory")) => {
            (Path::new(second), "memory.max")
        }
        false => return Err(format!("{second}: its groups have no limit of memory")),
    };
    let made = TempDir::with_prefix_in("lntu-test-", found.0);
    let group = made.map_err(|error| format!("{}: {error}", found.0.display()))?;
    // The files in it go with it.
    let _ = fs::remove_dir(group.keep());
    Ok(found)
}

/// Runs this command under the condition.
fn under(condition: &Condition, command: &[&str]) -> Finished {
    let mut shell = bounded_shell(&condition.script);
    run(shell.args(command).stdin(Stdio::null()))
}

/// A shell that runs this script, but not for ever.
fn bounded_shell(script: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "60", "sh", "-c", script, "sh"]);
    command
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
            _ => {
                finished.status.success()
                    && listed_sockets(&finished.stdout) == listed_sockets(listed)
            }
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
    let mut shell = bounded_shell(watch);
    shell.args([&condition.script, lntu]);
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
    // Only ss is a child of the one that then becomes the application.
    for (name, source) in [("wait", "netlink"), ("wait ss", "ss")] {
        let wait = [lntu, "wait", "--source", source, "80", "--"];
        match found(condition, &wait, directory) {
            Ok(after) => assert_eq!(after, alone, "{script}: {name}"),
            Err(error) => assert!(condition.may_fail.contains(&name), "{script}: {error:?}"),
        }
    }
}

#[test]
fn under_every_condition_the_answer_is_right_or_an_error_and_the_application_starts_as_alone() {
    if !have_root() || !have_ss() || !have_static() {
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
    let conditions = conditions();
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

/// Memory that is enough for a static application. There is no ss, which needs more.
#[test]
fn in_little_memory_the_answer_is_right_or_an_error_and_the_application_starts() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let exec = "export PATH=/nonexistent; exec \"$@\"";
    // Where there is no more address space, the kernel refuses memory. Below 768 KiB,
    // there can be too little for the stack, and it kills.
    let mut conditions: Vec<Condition> = (768..=1536)
        .step_by(64)
        .map(|kibibytes| {
            let may_fail = if kibibytes < 1024 { &ALL[..] } else { &[] };
            condition(format!("ulimit -v {kibibytes}; {exec}"), may_fail)
        })
        .collect();
    // A control group does not refuse: it kills. What is left of one run would count
    // in the next, so each has a group of its own.
    let parent = parent_of_groups();
    if have("cgroup", parent.as_ref().err().cloned()) {
        let (parent, limit) = parent.unwrap();
        let script = format!(
            "group=$(mktemp -d {}/lntu-test-XXXXXX) && echo 2M >$group/{limit} || exit
             (echo 0 >$group/cgroup.procs; {exec})
             status=$?
             until rmdir $group 2>/dev/null; do sleep 0.01; done
             exit $status",
            parent.display()
        );
        conditions.push(condition(script, &[]));
    }
    let application = [binaries().app.to_str().unwrap(), "exit", "42"];
    in_private_network(|| {
        let _tcp = bound(Type::STREAM, "127.0.0.1:80", |_| {});
        let _udp = bound(Type::DGRAM, "127.0.0.1:53", |_| {});
        let listed = run(Command::new(lntu).args(["list", "-H"]));
        assert_eq!(listed.lines().len(), 2);
        let mut started = 0;
        for condition in &conditions {
            assert_answers(condition, lntu, &listed.stdout);
            let starts = |before: &[&str]| {
                let finished = under(condition, &[before, &application].concat());
                (finished.status.code() == Some(42))
                    .then_some(())
                    .ok_or(finished)
            };
            if starts(&[]).is_err() {
                continue;
            }
            started += 1;
            let script = &condition.script;
            let beside = starts(&[lntu, "-qo/dev/null", "--"]);
            assert!(beside.is_ok(), "{script}: {beside:?}");
            if let Err(finished) = starts(&[lntu, "wait", "80", "--"]) {
                let may_fail = condition.may_fail.contains(&"wait");
                assert!(
                    may_fail && is_error(condition, &finished),
                    "{script}: {finished:?}"
                );
            }
        }
        assert!(started > 5, "{started}");
    });
}
