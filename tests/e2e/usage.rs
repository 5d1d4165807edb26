//! The command line: what it takes and what it refuses.

use lntu::cli::description::{COMMANDS, CommandName, ValueKind};
use lntu::cli::{self, description};

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
fn every_help_fits_a_screen() {
    let commands = COMMANDS.iter().map(|command| command.name.text());
    for command in commands.chain([""]) {
        let help = run(lntu(&["help"]).args([command].iter().filter(|name| !name.is_empty())));
        for line in help.lines() {
            assert!(line.len() <= 80 && line.trim_end() == line, "{line:?}");
        }
        assert!(help.lines().len() <= 48, "{command}: {help:?}");
    }
}

#[test]
fn help_shows_an_example_of_each_command() {
    let help = run(&mut lntu(&["help"]));
    let examples = help.lines().into_iter();
    let examples = examples.filter_map(|line| line.trim().strip_prefix("$ lntu "));
    let examples: Vec<&str> = examples.collect();
    assert_eq!(examples.len(), COMMANDS.len());
    for (example, command) in examples.iter().zip(&COMMANDS) {
        // The shell takes away the quotes.
        let words = example
            .split(' ')
            .map(|word| word.trim_matches('\'').into());
        let parsed = cli::parse(words, |_| None);
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
        let name = command.name.text();
        assert!(name == "watch" || example.starts_with(name), "{example}");
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

/// The help of one command names its options and no others.
#[test]
fn help_of_one_command_is_about_that_command() {
    for command in &COMMANDS {
        if [CommandName::Help, CommandName::Install].contains(&command.name) {
            continue;
        }
        let name = command.name.text();
        let help = run(&mut lntu(&[name, "--help"]));
        let lines = help.lines();
        assert_eq!(run(&mut lntu(&["help", name])).lines(), lines);
        assert_eq!(run(&mut lntu(&["--help", name])).lines(), lines);
        let text = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let has = |words: &str| text.contains(words);
        assert_eq!(has(" 126 "), command.takes_application(), "{name}");
        assert_eq!(
            has("Once COMMAND is"),
            command.takes_application(),
            "{name}"
        );
        assert_eq!(has("PORTs select"), ["watch", "list"].contains(&name));
        assert_eq!(has("PROTO defaults"), ["check", "wait"].contains(&name));
        assert!(!has("For watch and list") && has("$NAME"), "{name}");
        // Without it, they refuse these.
        let with_any = text.matches("(only with --any)").count();
        assert_eq!(
            with_any,
            if ["check", "wait"].contains(&name) {
                3
            } else {
                0
            }
        );
        let usages = lines.iter().filter(|line| line.starts_with("  lntu "));
        let usages: Vec<&str> = usages.map(|line| line.trim()).collect();
        assert_eq!(usages, [command.usage]);
        for option in description::options() {
            let long = format!("--{}", option.long);
            let is_of_it = option.commands.contains(&command.name);
            // Each option stands in a column of its own.
            let rows = lines
                .iter()
                .filter(|line| line.len() > 6 && line.starts_with("  "));
            let rows = rows.filter(|line| line.split_at(6).1.split(' ').next() == Some(&long));
            assert_eq!(rows.count(), usize::from(is_of_it), "{name} {long}");
        }
    }
    let all = run(&mut lntu(&["help"]));
    assert!(all.stdout.contains("For watch and list, PORTs select"));
    assert_eq!(run(&mut lntu(&["--help"])).lines(), all.lines());
}

#[test]
fn a_port_that_an_option_leaves_out_is_a_usage_error() {
    for command in ["list", "watch"] {
        for (option, port, long) in [
            ("-t", "8080/udp", "tcp"),
            ("-u", "80/tcp", "udp"),
            ("-u", "*:1-99/TCP", "udp"),
            ("-4", "[::1]:80", "ipv4"),
            ("-6", "127.0.0.1:80", "ipv6"),
        ] {
            for arguments in [[option, port], [port, option]] {
                let refused = run(lntu(&[command, "80"]).args(arguments));
                let why = format!("PORT '{port}': not together with --{long} (try 'lntu --help')");
                assert_eq!(refused.error(), why);
            }
        }
    }
    for arguments in [["-t", "8080/tcp"], ["-t", "8080"], ["-6", "*:80"]] {
        let listed = run(lntu(&["list", "-H", "--source", "proc"]).args(arguments));
        assert!(listed.status.success(), "{listed:?}");
    }
    let both = ["list", "-H", "-t", "-u", "--source", "proc", "1/udp"];
    assert_eq!(run(&mut lntu(&both)).lines(), [""; 0]);
}

/// In a cluster with others, `-p` takes what it takes alone.
#[test]
fn letters_may_follow_p_and_digits_may_stand_before_it() {
    for arguments in [&["-pH"][..], &["-4Hp"], &["-Hp", "-4"]] {
        let listed = run(lntu(&["list"])
            .args(arguments)
            .args(["--source", "proc", "1"]));
        assert_eq!(listed.lines(), [""; 0], "{arguments:?}");
    }
}

/// To say something twice is no contradiction where it is a flag or may be repeated.
#[test]
fn a_flag_may_be_given_twice() {
    let arguments = [
        "list",
        "-H",
        "-H",
        "-t",
        "--tcp",
        "--exclude=1",
        "--exclude=2",
        "-q",
        "-q",
    ];
    let listed = run(lntu(&arguments).args(["--source", "proc", "1"]));
    assert_eq!(listed.lines(), [""; 0]);
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
        (
            &["0"],
            "PORT '0': a port is a number from 1 to 65535, as in 80 or 53/udp",
        ),
        (
            &["list", "list"],
            "PORT 'list': a port is a number from 1 to 65535, as in 80 or 53/udp",
        ),
        (
            &["lst"],
            "'lst': neither a command (watch, list, check, wait, install, help) nor a PORT",
        ),
        (
            &[""],
            "'': neither a command (watch, list, check, wait, install, help) nor a PORT",
        ),
        (
            &["wait", "8080", "-t", "5"],
            "--tcp: not an option of wait; put the protocol in PORT: 80/tcp (for a timeout, --timeout D)",
        ),
        (
            &["check", "-u", "53"],
            "--udp: not an option of check; put the protocol in PORT: 53/udp",
        ),
        (
            &["check", "-6", "80"],
            "--ipv6: not an option of check; put the address in PORT: 127.0.0.1:80 or [::1]:80",
        ),
        (
            &["check", "--timeout", "5s", "80"],
            "--timeout: not an option of check; to wait for a PORT, use wait --timeout D",
        ),
        (
            &["check", "-A", "80"],
            "--all-namespaces: not an option of check",
        ),
        (
            &["list", "-A", "--pid", "1"],
            "--all-namespaces: not together with --pid PID, which reads one network namespace",
        ),
        (
            &["list", "-A", "--proc", "/proc"],
            "--all-namespaces: not together with --proc DIR, which reads one network namespace",
        ),
        (
            &["-A", "--of", "1"],
            "--all-namespaces: not together with --of PID, which reads one network namespace",
        ),
        (
            &["-A", "--source", "ss"],
            "--all-namespaces: not together with --source ss, which reads its own network namespace",
        ),
        (
            &["list", "--pids", "--json"],
            "--pids: not together with --json, because it prints only ids",
        ),
        (&["check", "--pids", "1"], "--pids: not an option of check"),
        (&["check"], "check: needs a PORT"),
        (&["wait", "--timeout", "5s"], "wait: needs a PORT"),
        (
            &["wait", "80-81"],
            "PORT '80-81': a range requires --any (one of its ports is then enough) or --closed (none must be listening)",
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
            "--exclude 'local': a port is a number from 1 to 65535, as in 80 or 53/udp",
        ),
        (
            &["check", "80", "--", "true"],
            "-- COMMAND: not an option of check; wait takes one, and a shell's && runs one after \
             check",
        ),
        (&["--closed"], "--closed: not an option of watch"),
        (&["--"], "--: needs a COMMAND"),
        (
            &["wait", "8080", "echo", "hi"],
            "PORT 'echo': a port is a number from 1 to 65535, as in 80 or 53/udp; write -- before COMMAND",
        ),
        (
            &["8080", "python3", "app.py"],
            "PORT 'python3': a port is a number from 1 to 65535, as in 80 or 53/udp; write -- before COMMAND",
        ),
        (
            &["wait", "8080", "/app/server"],
            "PORT '/app/server': the protocol must be tcp or udp; write -- before COMMAND",
        ),
        (
            &["wait", "8080", "99999"],
            "PORT '99999': a port is a number from 1 to 65535, as in 80 or 53/udp",
        ),
        (
            &["check", "8080", "echo"],
            "PORT 'echo': a port is a number from 1 to 65535, as in 80 or 53/udp",
        ),
        (
            &["check", "http"],
            "PORT 'http': a port is a number from 1 to 65535, as in 80 or 53/udp",
        ),
        (
            &["8080,9090"],
            "PORT '8080,9090': give PORTs separately: 80 443 (or --exclude 80 --exclude 443)",
        ),
        (
            &["check", "8080,9090"],
            "PORT '8080,9090': give PORTs separately: 80 443 (or --exclude 80 --exclude 443)",
        ),
        (
            &["list", "127.0.0.1"],
            "PORT '127.0.0.1': a port is missing, as in 127.0.0.1:80 or 53/udp (for all of them, list has --tcp and --udp)",
        ),
        (
            &["check", "[::1]"],
            "PORT '[::1]': a port is missing, as in 127.0.0.1:80 or 53/udp (for all of them, list has --tcp and --udp)",
        ),
        (
            &["check", ":8080"],
            "PORT ':8080': an address is missing, as in 127.0.0.1:80 or *:80",
        ),
        (
            &["list", "1.2.3:80"],
            "PORT '1.2.3:80': the address must be IPv4 (127.0.0.1:80), bracketed IPv6 ([::1]:80) or * (*:80)",
        ),
        (
            &["--exclude", "80,443"],
            "--exclude '80,443': give PORTs separately: 80 443 (or --exclude 80 --exclude 443)",
        ),
        (
            &["wait", "8080", "./server"],
            "PORT './server': the protocol must be tcp or udp; write -- before COMMAND",
        ),
        (
            &["wait", "-t5", "8080"],
            "invalid option '-5'; PORT must be a separate argument (for a timeout, --timeout D)",
        ),
        (
            &["wait", "-t60", "8080"],
            "invalid option '-0'; PORT must be a separate argument (for a timeout, --timeout D)",
        ),
        (
            &["list", "-p4646"],
            "invalid option '-4'; PORT must be a separate argument",
        ),
        (
            &["-Hp6"],
            "invalid option '-6'; PORT must be a separate argument",
        ),
        (&["install"], "install: needs a DEST"),
        (&["install", ""], "install '': not a file"),
        (&["install", "a", "b"], "install 'b': only one DEST"),
        (&["install", "-t", "a"], "--tcp: not an option of install"),
        (
            &["install", "a", "--", "true"],
            "-- COMMAND: not an option of install",
        ),
        (&["help", "8080"], "help '8080': not a command"),
        (&["help", "list", "8080"], "help '8080': not a command"),
        (&["help", "--closed"], "--closed: not an option of help"),
        (&["help", "-t"], "--tcp: not an option of help"),
        (&["help", "--", "true"], "-- COMMAND: not an option of help"),
        (
            &["wait", "::1:5432"],
            "PORT '::1:5432': the address must be IPv4 (127.0.0.1:80), bracketed IPv6 ([::1]:80) or * (*:80)",
        ),
        (
            &["list", "tcp"],
            "PORT 'tcp': a port is missing, as in 127.0.0.1:80 or 53/udp (for all of them, list has --tcp and --udp)",
        ),
        (
            &["-p8080"],
            "invalid option '-8'; PORT must be a separate argument",
        ),
        (
            &["--of", "0"],
            "--of '0': not a process id (docker inspect prints 0 if the container is not running)",
        ),
        (&["wait", "8080", "--", ""], "--: needs a COMMAND"),
        (
            &["check", "8080-8080"],
            "PORT '8080-8080': a range requires --any (one of its ports is then enough)",
        ),
        (
            &["wait", "db:5432"],
            "PORT 'db:5432': host names are not accepted: lntu looks only at addresses of this network namespace",
        ),
        (
            &["wait", "80", "--timeout", "1m30"],
            "--timeout '1m30': not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
        ),
        (
            &["list", "80", "--", "true"],
            "-- COMMAND: not an option of list; wait takes one, and a shell's && runs one after check",
        ),
        (
            &["help", "lst"],
            "'lst': neither a command (watch, list, check, wait, install, help) nor a PORT",
        ),
        (
            &["--output", "a", "--output", "b"],
            "--output: given twice ('b')",
        ),
        (
            &["list", "-oa", "--output=a"],
            "--output: given twice ('a')",
        ),
        (
            &["-i", "1s", "--interval", "2s"],
            "--interval: given twice ('2s')",
        ),
        (
            &["--settle", "1s", "--settle", "2s"],
            "--settle: given twice ('2s')",
        ),
        (
            &["wait", "80", "--timeout", "1", "--timeout", "1"],
            "--timeout: given twice ('1')",
        ),
        (&["--of", "1", "--of", "2"], "--of: given twice ('2')"),
        (
            &["--source", "ss", "--source", "proc"],
            "--source: given twice ('proc')",
        ),
        (&["--pid", "1", "--pid", "2"], "--pid: given twice ('2')"),
        (&["--proc", "a", "--proc", "b"], "--proc: given twice ('b')"),
        (
            &["check", "--max-queued", "1", "--max-queued", "2", "80"],
            "--max-queued: given twice ('2')",
        ),
        (&["--proc", ""], "--proc '': not a directory"),
        (
            &["wait", "--timeout", "5x", "80"],
            "--timeout '5x': not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
        ),
        (
            &["80", "list"],
            "PORT 'list': a port is a number from 1 to 65535, as in 80 or 53/udp; write -- before COMMAND",
        ),
        (
            &["99999"],
            "PORT '99999': a port is a number from 1 to 65535, as in 80 or 53/udp",
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
        (&["wait", "--only", "81"], "--only: not an option of wait"),
        (
            &["check", "unix:run/x"],
            "PORT 'unix:run/x': a Unix socket is unix:/PATH or unix:@NAME",
        ),
        (
            &["check", "unix:@"],
            "PORT 'unix:@': a Unix socket is unix:/PATH or unix:@NAME",
        ),
        (
            &["list", "unix:/run/x"],
            "PORT 'unix:/run/x': only check and wait look at Unix sockets (under the name ss, \
             ss -lx lists them)",
        ),
        (
            &["check", "--exclude", "unix:/run/x", "80"],
            "--exclude 'unix:/run/x': only check and wait look at Unix sockets (under the name \
             ss, ss -lx lists them)",
        ),
        (
            &["check", "--any", "unix:/run/x", "80"],
            "--any: not together with unix:/run/x",
        ),
        (
            &["check", "--source", "proc", "unix:/run/x"],
            "--source proc: not together with unix:/run/x",
        ),
        (
            &["wait", "--of", "1", "unix:@x"],
            "--of: not together with unix:@x",
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
            &["wait", "--closed", "--settle", "2s", "80"],
            "--settle: not together with --closed",
        ),
        (
            &["--settle=+1"],
            "--settle '+1': not a duration such as 500ms, 5s, 1m30s, 1h or 0.5 (seconds)",
        ),
        (
            &["--pid", "0"],
            "--pid '0': not a process id (docker inspect prints 0 if the container is not running)",
        ),
        (&["--pid", "self"], "--pid 'self': not a process id"),
        (
            &["--pid", "1", "--proc", "/proc"],
            "--pid: not together with --proc",
        ),
        (
            &["--source", "ss", "--pid", "1"],
            "--pid: not together with --source ss, which reads its own network namespace",
        ),
        (
            &["list", "--source", "netlink", "--pid", "1"],
            "--pid: not together with --source netlink, which reads its own network namespace",
        ),
        (
            &["--proc", "/proc", "--source", "netlink"],
            "--proc: not together with --source netlink, which reads its own network namespace",
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
