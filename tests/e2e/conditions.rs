//! Every command under the conditions that it may meet in a container: little memory, few
//! descriptors, a missing or partial `/proc`, ignored and blocked signals, closed standard
//! streams. Each command gives the right answer or an error in one line, and an application
//! starts in the same state as without lntu.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use socket2::Type;
use tempfile::TempDir;

use crate::harness::*;

/// The commands that exit on their own. Each has a name and arguments.
const QUESTIONS: [(&str, &[&str]); 6] = [
    ("list", &["list", "-H"]),
    ("list proc", &["list", "-H", "--source", "proc"]),
    ("list netlink", &["list", "-H", "--source", "netlink"]),
    ("check", &["check", "80", "53/udp"]),
    ("check no", &["check", "81"]),
    ("wait", &["wait", "--timeout", "30s", "80"]),
];

/// The names of all commands. The first four write to stdout. The fifth, `wait ss`, reads the
/// output of ss, so it fails if ss cannot start.
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

/// A condition to run commands under.
struct Condition {
    /// A shell script that ends with `exec "$@"`.
    script: String,
    /// The names of the commands that may print an error instead of the right answer.
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
    let mut conditions = vec![
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
    // Leave out these conditions if mounts are forbidden, as in many containers.
    conditions.retain(|condition| {
        let tried = run_under(condition, &["true"]);
        have("netns", (!tried.status.success()).then_some(tried.stderr))
    });
    conditions.push(condition("exec \"$@\"", &[]));
    for descriptors in 3..=12 {
        let may_fail = match descriptors {
            3 => &ALL[..],
            4 => &ALL[..5],
            5..12 => &["wait ss"],
            _ => &[],
        };
        conditions.push(condition(
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
        conditions.push(Condition {
            hides_stderr: stderr,
            ..condition(
                format!("exec \"$@\"{first}{second}{third}"),
                if stdout { &ALL[..4] } else { &[] },
            )
        });
    }
    // SIGKILL and SIGSTOP cannot be ignored. The C library reserves 32 and 33.
    let signals = (1..=64).filter(|number| ![9, 19, 32, 33].contains(number));
    for number in signals {
        let block = format!("--block-signal={number}");
        let both = format!("--ignore-signal={number} {block}");
        for options in [block, both] {
            conditions.push(condition(format!("exec env {options} \"$@\""), &[]));
        }
    }
    conditions
}

/// Finds a directory in which control groups that limit memory can be made, and the name of their
/// file for the limit. The error says why there is no such directory.
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
    // Do not drop the TempDir: it would try to remove the kernel's files in the group first.
    let _ = fs::remove_dir(group.keep());
    Ok(found)
}

/// Runs `command` under the condition.
fn run_under(condition: &Condition, command: &[&str]) -> Finished {
    let mut shell = bounded_shell(&condition.script);
    run(shell.args(command).stdin(Stdio::null()))
}

/// Returns a shell that runs this script, and is killed after a minute.
fn bounded_shell(script: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "60", "sh", "-c", script, "sh"]);
    command
}

fn is_message(line: &str) -> bool {
    line.starts_with("lntu: ") && line.len() > 20
}

/// Returns whether lntu ended with status 2, a message of one line, and nothing on stdout.
fn is_error(condition: &Condition, finished: &Finished) -> bool {
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let has_message = match lines[..] {
        [line] => is_message(line),
        _ => lines.is_empty() && condition.hides_stderr,
    };
    finished.status.code() == Some(2) && finished.stdout.is_empty() && has_message
}

/// Runs every command under the condition, and panics at a wrong answer.
fn assert_answers(condition: &Condition, lntu: &str, listed: &str) {
    for (name, arguments) in QUESTIONS {
        let finished = run_under(condition, &[&[lntu], arguments].concat());
        let is_right = match name {
            "check no" => {
                let has_reason = finished.stderr.starts_with("lntu: 81/tcp: not listening");
                finished.status.code() == Some(1) && (has_reason || condition.hides_stderr)
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
    // The watcher ends once head has exited.
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

/// Starts applications under the condition, through the command `lntu` unless it is empty. Returns
/// their exit statuses, ignored and blocked signals, and open descriptors. If lntu prints an error
/// and starts no application, returns the output of lntu as the error.
fn start_state(
    condition: &Condition,
    lntu: &[&str],
    directory: &Path,
) -> Result<Vec<String>, Finished> {
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
        // The first application is not a shell, because a shell blocks signals for short moments.
        &["sed", "-n", &copy, "/proc/self/status"],
        &["sh", "-c", &open],
        &["sh", "-c", "exit 42"],
    ];
    let mut found = Vec::new();
    for application in applications {
        let finished = run_under(condition, &[lntu, application].concat());
        if !lntu.is_empty() && is_error(condition, &finished) {
            return Err(finished);
        }
        found.push(format!("{:?}", finished.status));
        let text = fs::read_to_string(report).unwrap_or_default();
        let _ = fs::remove_file(report);
        // From /proc/self/status, keep the fields about signals, except the number of queued
        // signals, which changes.
        let is_kept = |line: &&str| match line.split_once(":\t") {
            Some((name, _)) => ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"].contains(&name),
            None => true,
        };
        let lines = text.lines().filter(is_kept);
        found.extend(lines.map(|line| match line.split_once(":[") {
            // The number of a pipe differs in each run.
            Some((before, after)) => format!("{before} {}", after.split_once(']').unwrap().1),
            None => line.to_string(),
        }));
    }
    Ok(found)
}

/// Panics if an application starts in another state with lntu than without.
fn assert_starts_as_alone(condition: &Condition, lntu: &str, directory: &Path) {
    let alone = start_state(condition, &[], directory).unwrap();
    let beside = start_state(condition, &[lntu, "-qo/dev/null", "--"], directory);
    let script = &condition.script;
    assert_eq!(beside.unwrap(), alone, "{script}");
    // If `wait` reads listeners from ss, its process has already had a child when it becomes the
    // application.
    for (name, source) in [("wait", "netlink"), ("wait ss", "ss")] {
        let wait = [lntu, "wait", "--source", source, "80", "--"];
        match start_state(condition, &wait, directory) {
            Ok(after) => assert_eq!(after, alone, "{script}: {name}"),
            Err(error) => assert!(condition.may_fail.contains(&name), "{script}: {error:?}"),
        }
    }
}

/// Calls `assert` for every condition, on four threads. Its arguments are the condition, the path
/// of lntu, the lines that `list` prints without any condition, and a directory for files.
fn for_every_condition(assert: impl Fn(&Condition, &str, &str, &Path) + Sync) {
    if !have_root() || !have_ss() || !have_static() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o777)).unwrap();
    // Copy lntu, because the user nobody may be unable to reach the original.
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
                        assert(condition, lntu, &listed.stdout, directory);
                    }
                });
            }
        });
    });
}

#[test]
fn no_condition_leads_to_a_wrong_answer() {
    for_every_condition(|condition, lntu, listed, _| assert_answers(condition, lntu, listed));
}

#[test]
fn an_application_starts_in_the_same_state_with_lntu() {
    for_every_condition(|condition, lntu, _, directory| {
        assert_starts_as_alone(condition, lntu, directory);
    });
}

/// Returns conditions with limits of memory that are enough for a static application. PATH does not
/// contain ss, because ss needs more memory.
fn little_memory() -> Vec<Condition> {
    let exec = "export PATH=/nonexistent; exec \"$@\"";
    // With `ulimit -v`, the kernel refuses more address space. Below 768 KiB, the kernel may find
    // no room to grow the stack, and kill the process.
    let mut conditions: Vec<Condition> = (768..=1536)
        .step_by(64)
        .map(|kibibytes| {
            let may_fail = if kibibytes < 1024 { &ALL[..] } else { &[] };
            condition(format!("ulimit -v {kibibytes}; {exec}"), may_fail)
        })
        .collect();
    // If a control group reaches its limit, the kernel does not refuse memory, but kills a process.
    // Each run has a new group, because the memory of an earlier run would still count.
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
    conditions
}

#[test]
fn little_memory_never_leads_to_a_wrong_answer() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let conditions = little_memory();
    in_private_network(|| {
        let _tcp = bound(Type::STREAM, "127.0.0.1:80", |_| {});
        let _udp = bound(Type::DGRAM, "127.0.0.1:53", |_| {});
        let listed = run(Command::new(lntu).args(["list", "-H"]));
        assert_eq!(listed.lines().len(), 2);
        for condition in &conditions {
            assert_answers(condition, lntu, &listed.stdout);
        }
    });
}

#[test]
fn lntu_starts_an_application_in_little_memory() {
    if !have_static() {
        return;
    }
    let lntu = binaries().lntu.to_str().unwrap();
    let conditions = little_memory();
    let application = [binaries().app.to_str().unwrap(), "exit", "42"];
    in_private_network(|| {
        let _tcp = bound(Type::STREAM, "127.0.0.1:80", |_| {});
        let mut started = 0;
        for condition in &conditions {
            let starts = |before: &[&str]| {
                let finished = run_under(condition, &[before, &application].concat());
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
