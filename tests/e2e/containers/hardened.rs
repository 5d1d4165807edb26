//! Containers in which something is forbidden or missing.

use crate::harness::docker::*;
use crate::harness::*;

/// Runs every command of lntu in a container with these options, after the application has taken
/// these steps. The last command starts an application with a watcher. Returns what the commands
/// printed before the application was ready, and all of stderr.
fn run_every_command(options: &[&str], steps: &[&str]) -> (String, String) {
    let commands: [&[&str]; 4] = [
        &["/lntu", "list", "-H"],
        &["/lntu", "check", "8080"],
        &["/lntu", "wait", "8080", "--timeout", "0"],
        &["/lntu", "check", "1"],
    ];
    let commands = commands.map(|command| [&["run"], command, &[";"]].concat());
    let watch = ["exec", "/lntu", "--json", "-i", "100ms", "--"];
    let app = [
        "/app", "reserve", "8080", "serve", "say", "end", "exit", "42",
    ];
    let command = [
        &["/app"],
        steps,
        &["listen", "8080"],
        &commands.concat(),
        &watch,
        &app[..],
    ];
    let container = Image::scratch().start(options, &command.concat());
    container.wait_for_line("serving");
    container.opens_its_port();
    // The watcher always prints something: the port, or why it cannot see the port.
    wait_for("output of the watcher", || {
        let logs = container.logs();
        let sees_port = logs.stdout.contains(r#""port":"tcp:*:8080""#);
        (sees_port || logs.stderr.contains("; trying again")).then_some(())
    });
    container.stop();
    assert_eq!(container.status(), 42, "{options:?} {steps:?}");
    let logs = container.logs();
    let (commands, app) = logs.stdout.split_once("serving").unwrap();
    assert!(app.ends_with("terminated\nend\n"), "{app:?}");
    let is_json = |line: &str| line.starts_with('{');
    let lines: Vec<&str> = commands.lines().filter(|line| !is_json(line)).collect();
    (lines.join("\n"), logs.stderr)
}

/// Checks that every command gives the right answer in a container with these options, after the
/// application has taken these steps.
fn assert_works(options: &[&str], steps: &[&str]) {
    let (output, errors) = run_every_command(options, steps);
    let (row, statuses) = output.split_once('\n').unwrap();
    assert_eq!(
        super::events(row),
        ["LISTEN *:8080"],
        "{options:?} {steps:?}"
    );
    assert_eq!(
        statuses, "exit 0\nexit 0\nexit 0\nexit 1",
        "{options:?} {steps:?}"
    );
    assert_eq!(
        without_holders(&errors),
        "lntu: 1/tcp: not listening; 0.0.0.0:8080/tcp is\n",
        "{options:?} {steps:?}"
    );
}

#[test]
fn commands_answer_with_a_read_only_root() {
    if have_docker() {
        assert_works(&["--read-only"], &[]);
    }
}

#[test]
fn commands_answer_for_an_unprivileged_user() {
    if have_docker() {
        assert_works(&["--user=65534:65534"], &[]);
    }
}

#[test]
fn commands_answer_without_capabilities() {
    if have_docker() {
        assert_works(&["--cap-drop=ALL"], &[]);
    }
}

#[test]
fn commands_answer_with_no_new_privileges() {
    if have_docker() {
        assert_works(&["--security-opt=no-new-privileges"], &[]);
    }
}

#[test]
fn commands_answer_with_every_restriction_at_once() {
    if have_docker() {
        let options = [
            "--read-only",
            "--user=65534:65534",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--network=none",
            "--memory=32m",
            "--pids-limit=16",
        ];
        assert_works(&options, &[]);
    }
}

#[test]
fn commands_answer_without_dev_null() {
    if have_docker() {
        assert_works(&[], &["remove", "/dev/null"]);
    }
}

#[test]
fn commands_answer_without_environment_variables() {
    if have_docker() {
        assert_works(&[], &["clear-env", "exec", "/app"]);
        assert_works(&[], &["clear-env", "env", "PATH=", "exec", "/app"]);
    }
}

#[test]
fn commands_answer_without_proc() {
    if have_docker() {
        let options = ["--cap-add=SYS_ADMIN", "--security-opt=apparmor=unconfined"];
        assert_works(&options, &["unmount", "/proc"]);
    }
}

#[test]
fn the_application_starts_if_fork_is_forbidden() {
    if !have_docker() {
        return;
    }
    let steps = ["as", "65534", "max-processes", "0", "exec", "/lntu", "--"];
    let app = ["/app", "say", "started", "exit", "42"];
    let finished = Image::scratch().run(&[], &[&["/app"][..], &steps, &app].concat());
    assert_eq!((finished.code(), &*finished.stdout), (42, "started\n"));
    assert_eq!(
        finished.stderr,
        "lntu: cannot start the watcher: Resource temporarily unavailable (os error 11); \
         COMMAND runs without it\n"
    );
}

#[test]
fn the_application_starts_without_streams_or_dev_null() {
    if !have_docker() {
        return;
    }
    let Some(image) = Image::busybox() else {
        return;
    };
    let script = r#"rm /dev/null; exec "$@" <&- >&- 2>&-"#;
    let app = ["/bin/sh", "-c", "[ ! -e /proc/self/fd/1 ] && exit 42"];
    for lntu in [
        &["/lntu", "--"][..],
        &["/lntu", "wait", "--closed", "1", "--"],
    ] {
        let command = [&["/bin/sh", "-c", script, "sh"], lntu, &app].concat();
        let finished = image.run(&[], &command);
        assert_eq!(finished.code(), 42, "{lntu:?}: {finished:?}");
    }
}
