//! The command line: what it takes and what it refuses.

use lntu::cli::{self, description, description::ValueKind};

use crate::harness::*;

#[test]
fn help_and_version_are_data_on_stdout() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["list", "-h"],
        &["--json", "--help"],
        &["help"],
        &["help", "list"],
        &["--full", "help"],
    ] {
        let help = run(&mut lntu(arguments));
        assert!(help.lines()[0].starts_with("lntu: "), "{arguments:?}");
    }
    for arguments in [&["--version"], &["-V"]] {
        let version = concat!("lntu ", env!("CARGO_PKG_VERSION"));
        assert_eq!(run(&mut lntu(arguments)).lines(), [version]);
    }
}

#[test]
fn help_fits_a_terminal_and_explains_each_option_once() {
    let help = run(&mut lntu(&["--help"]));
    for line in help.lines() {
        assert!(line.len() <= 80 && line.trim_end() == line, "{line:?}");
    }
    for option in description::options() {
        let long = format!("--{}", option.long);
        let words = help.stdout.split_whitespace();
        assert_eq!(words.filter(|word| *word == long).count(), 1, "{long}");
    }
}

/// A word that help and completions offer is one that the parser takes.
#[test]
fn every_word_that_an_option_names_is_taken() {
    for option in description::options() {
        let Some(value) = option.value() else {
            continue;
        };
        if let ValueKind::Words(words) = value.kind {
            for word in words {
                let typed = format!("--{}={word}", option.long);
                let parsed = cli::parse([typed.into()], |_| None);
                assert!(parsed.is_ok(), "{parsed:?}");
            }
        }
    }
}

#[test]
fn what_makes_no_sense_is_one_line_and_status_2() {
    for (arguments, message) in [
        (&["--nonsense"][..], "invalid option '--nonsense'"),
        (&["-x"], "invalid option '-x'"),
        (&["list", "-i", "1s"], "--interval: not an option of list"),
        (&["list", "--full"], "--full: not an option of list"),
        (
            &["list", "--changes-only"],
            "--changes-only: not an option of list",
        ),
        (&["--interval"], "missing argument for option '--interval'"),
        (
            &["--json=yes"],
            "unexpected argument for option '--json': \"yes\"",
        ),
        (
            &["-i", "9ms"],
            "--interval '9ms': an interval is at least 10ms",
        ),
        (
            &["-i", "-1"],
            "--interval '-1': not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
        ),
        (&["0"], "PORT '0': a port is a number from 1 to 65535"),
        (
            &["list", "list"],
            "PORT 'list': a port is a number from 1 to 65535",
        ),
        (
            &["lst"],
            "'lst': neither a command (watch, list, check, wait, help) nor a PORT",
        ),
        (
            &[""],
            "'': neither a command (watch, list, check, wait, help) nor a PORT",
        ),
        (
            &["wait", "8080", "-t", "5"],
            "--tcp: not an option of wait; the PORT says it: 80/tcp (and a timeout is \
             --timeout D)",
        ),
        (
            &["check", "-u", "53"],
            "--udp: not an option of check; the PORT says it: 53/udp",
        ),
        (
            &["check", "-6", "80"],
            "--ipv6: not an option of check; the PORT says it: 127.0.0.1:80 or [::1]:80",
        ),
        (
            &["check", "-A", "80"],
            "--all-namespaces: not an option of check",
        ),
        (
            &["list", "-A", "--pid", "1"],
            "--all-namespaces: not together with --pid PID, which is about one network namespace",
        ),
        (
            &["list", "-A", "--proc", "/proc"],
            "--all-namespaces: not together with --proc DIR, which is about one network namespace",
        ),
        (
            &["-A", "--of", "1"],
            "--all-namespaces: not together with --of PID, which is about one network namespace",
        ),
        (
            &["-A", "--source", "ss"],
            "--all-namespaces: not together with --source ss, which looks at its own network \
             namespace",
        ),
        (&["check"], "check: needs a PORT"),
        (&["wait", "--timeout", "5s"], "wait: needs a PORT"),
        (
            &["wait", "80-81"],
            "PORT '80-81': a range needs --any (one of its ports is then enough) or --closed (none may listen)",
        ),
        (
            &["wait", "--json", "80"],
            "--json: wait prints listeners only with --any",
        ),
        (
            &["check", "-H", "80"],
            "--no-header: check prints listeners only with --any",
        ),
        (
            &["wait", "--any", "--closed", "80"],
            "--any: not together with --closed",
        ),
        (&["list", "--any", "80"], "--any: not an option of list"),
        (
            &["wait", "--max-queued", "1", "80"],
            "--max-queued: not an option of wait",
        ),
        (
            &["check", "--max-queued", "1", "53/udp"],
            "--max-queued: 53/udp has no connections to accept",
        ),
        (
            &["check", "--max-queued", "-1", "80"],
            "--max-queued '-1': not a number of connections",
        ),
        (
            &["check", "--max-queued", "4294967296", "80"],
            "--max-queued '4294967296': not a number of connections",
        ),
        (
            &["--exclude", "local"],
            "--exclude 'local': a port is a number from 1 to 65535",
        ),
        (
            &["check", "80", "--", "true"],
            "-- COMMAND: not an option of check",
        ),
        (&["--closed"], "--closed: not an option of watch"),
        (&["--"], "--: needs a COMMAND"),
        (&["--proc", ""], "--proc '': not a directory"),
        (
            &["wait", "--timeout", "5x", "80"],
            "--timeout '5x': not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
        ),
        (
            &["80", "list"],
            "PORT 'list': a port is a number from 1 to 65535",
        ),
        (
            &["99999"],
            "PORT '99999': a port is a number from 1 to 65535",
        ),
        (&["90-80"], "PORT '90-80': the range ends before it starts"),
        (
            &["80/sctp"],
            "PORT '80/sctp': the protocol must be tcp or udp",
        ),
        (
            &["--source", "netstat"],
            "--source 'netstat': must be auto, ss, proc or netlink",
        ),
        (
            &["--exclude", "90-80"],
            "--exclude '90-80': the range ends before it starts",
        ),
        (
            &["check", "--exclude", "80", "81"],
            "--exclude: not an option of check",
        ),
        (
            &["wait", "-p", "80"],
            "--processes: wait prints listeners only with --any",
        ),
        (
            &["list", "--settle", "2s"],
            "--settle: not an option of list",
        ),
        (
            &["--settle=+1"],
            "--settle '+1': not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
        ),
        (&["--pid", "0"], "--pid '0': not a process id"),
        (&["--pid", "self"], "--pid 'self': not a process id"),
        (
            &["--pid", "1", "--proc", "/proc"],
            "--pid: not together with --proc",
        ),
        (
            &["--source", "ss", "--pid", "1"],
            "--pid: not together with --source ss, which looks at its own network namespace",
        ),
        (
            &["list", "--source", "netlink", "--pid", "1"],
            "--pid: not together with --source netlink, which looks at its own network namespace",
        ),
        (
            &["--proc", "/proc", "--source", "netlink"],
            "--proc: not together with --source netlink, which looks at its own network namespace",
        ),
    ] {
        let refused = run(&mut lntu(arguments));
        assert_eq!(refused.error(), format!("{message} (try 'lntu --help')"));
    }
}

#[test]
fn arguments_that_are_not_text_are_refused_and_control_characters_are_escaped() {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\x1b[31m");
    let refused = run(lntu(&["list"]).arg(bytes));
    assert!(
        refused.error().starts_with("PORT '\u{fffd}\\u{1b}[31m': "),
        "{refused:?}"
    );
}

#[test]
fn options_may_stand_before_the_command() {
    assert_eq!(
        run(&mut lntu(&["-H", "--source", "proc", "list", "1"])).lines(),
        [""; 0]
    );
}
