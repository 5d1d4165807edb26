//! Tests of the command line: which arguments lntu accepts and refuses, and its help.

use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::expect_file;
use lntu::cli::description::{COMMANDS, CommandName, CommandSpec, ValueKind};
use lntu::cli::{self, description};

use crate::harness::*;

#[test]
fn help_is_printed_on_stdout() {
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
}

#[test]
fn the_version_is_printed_on_stdout() {
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
        // Remove the quotes, as a shell would.
        let words = example
            .split(' ')
            .map(|word| word.trim_matches('\'').into());
        let parsed = cli::parse(words, |_| None);
        assert!(parsed.is_ok(), "{example}: {parsed:?}");
        let name = command.name.text();
        assert!(name == "watch" || example.starts_with(name), "{example}");
    }
}

/// For an option with a fixed set of words as values, help and completions offer these words. lntu
/// must accept each of them.
#[test]
fn the_parser_accepts_every_word_of_an_option() {
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

/// The commands that read listeners: not `install`, for example.
fn looking_commands() -> impl Iterator<Item = &'static CommandSpec> {
    let looks =
        |command: &&CommandSpec| ![CommandName::Help, CommandName::Install].contains(&command.name);
    COMMANDS.iter().filter(looks)
}

#[test]
fn every_spelling_of_help_prints_the_same() {
    for command in looking_commands() {
        let name = command.name.text();
        let help = run(&mut lntu(&[name, "--help"]));
        for spelling in [["help", name], ["--help", name]] {
            assert_eq!(run(&mut lntu(&spelling)).lines(), help.lines());
        }
    }
    let help = run(&mut lntu(&["help"]));
    assert_eq!(run(&mut lntu(&["--help"])).lines(), help.lines());
}

#[test]
fn help_of_a_command_omits_unrelated_notes() {
    for command in looking_commands() {
        let name = command.name.text();
        let help = run(&mut lntu(&[name, "--help"]));
        let text = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        let has = |words: &str| text.contains(words);
        assert_eq!(has(" 126 "), command.takes_application(), "{name}");
        assert_eq!(has("Once COMMAND"), command.takes_application(), "{name}");
        assert_eq!(has("PORTs select"), ["watch", "list"].contains(&name));
        assert_eq!(has("PROTO defaults"), ["check", "wait"].contains(&name));
        assert!(!has("For watch and list") && has("$NAME"), "{name}");
        // check and wait refuse three options without --any, and their help must mention that.
        let with_any = text.matches("(only with --any)").count();
        let is_probe = ["check", "wait"].contains(&name);
        assert_eq!(with_any, if is_probe { 3 } else { 0 });
    }
    for (name, says_no) in [("install", false), ("watch", false), ("check", true)] {
        let help = run(&mut lntu(&["help", name])).stdout;
        assert_eq!(help.contains("1 no ("), says_no, "{help}");
    }
    let all = run(&mut lntu(&["help"]));
    assert!(all.stdout.contains("For watch and list, PORTs select"));
}

#[test]
fn help_of_a_command_lists_only_its_options() {
    for command in looking_commands() {
        let name = command.name.text();
        let help = run(&mut lntu(&[name, "--help"]));
        let lines = help.lines();
        let usages = lines.iter().filter(|line| line.starts_with("  lntu "));
        let usages: Vec<&str> = usages.map(|line| line.trim()).collect();
        assert_eq!(usages, [command.usage]);
        for option in description::options() {
            let long = format!("--{}", option.long);
            let belongs = option.commands.contains(&command.name);
            // Find the options by their long form, which starts in the seventh column.
            let rows = lines
                .iter()
                .filter(|line| line.len() > 6 && line.starts_with("  "));
            let rows = rows.filter(|line| line.split_at(6).1.split(' ').next() == Some(&long));
            assert_eq!(rows.count(), usize::from(belongs), "{name} {long}");
        }
    }
}

#[test]
fn a_port_that_an_option_excludes_is_refused() {
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
}

#[test]
fn a_port_that_an_option_includes_is_accepted() {
    for arguments in [["-t", "8080/tcp"], ["-t", "8080"], ["-6", "*:80"]] {
        let listed = run(lntu(&["list", "-H", "--source", "proc"]).args(arguments));
        assert!(listed.status.success(), "{listed:?}");
    }
    let both = ["list", "-H", "-t", "-u", "--source", "proc", "1/udp"];
    assert_eq!(run(&mut lntu(&both)).lines(), [""; 0]);
}

/// lntu refuses only a digit after `-p`, as in `-p80`, because the digit is probably a port that
/// belongs in an argument of its own.
#[test]
fn p_can_be_combined_with_other_short_options() {
    for arguments in [&["-pH"][..], &["-4Hp"], &["-Hp", "-4"]] {
        let listed = run(lntu(&["list"])
            .args(arguments)
            .args(["--source", "proc", "1"]));
        assert_eq!(listed.lines(), [""; 0], "{arguments:?}");
    }
}

#[test]
fn flags_and_exclude_can_be_repeated() {
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

/// Runs the commands of the transcript and compares their messages. If the environment variable
/// `UPDATE_EXPECT` is 1, the test overwrites the transcript instead.
#[test]
fn a_refused_command_prints_one_line() {
    let expected = expect_file!["usage/refused.txt"];
    let mut transcript = String::new();
    for line in expected.data().lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let refused = run(shell().args(["-c", command]));
            transcript += &format!("$ {command}\nlntu: {}\n", refused.error());
        } else if line.is_empty() || line.starts_with("# ") {
            transcript += &format!("{line}\n");
        }
    }
    expected.assert_eq(&transcript);
}

/// A shell that finds lntu in its PATH.
fn shell() -> Command {
    let directory = Path::new(env!("CARGO_BIN_EXE_lntu")).parent().unwrap();
    let mut shell = Command::new("sh");
    shell.env("PATH", path_with(directory)).stdin(Stdio::null());
    shell
}

#[test]
fn a_refused_argument_is_escaped_in_the_message() {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = std::ffi::OsStr::from_bytes(b"\xff\x1b[31m");
    let refused = run(lntu(&["list"]).arg(bytes));
    assert!(
        refused.error().starts_with("PORT '\u{fffd}\\u{1b}[31m': "),
        "{refused:?}"
    );
}

#[test]
fn options_are_accepted_before_the_command() {
    assert_eq!(
        run(&mut lntu(&["-H", "--source", "proc", "list", "1"])).lines(),
        [""; 0]
    );
}
