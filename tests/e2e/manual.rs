//! The man page and the completions, run through the tools that use them.

use std::fs;
use std::path::Path;
use std::process::Command;

use lntu::cli::description::{COMMANDS, OptionSpec, options};
use tempfile::TempDir;

use crate::harness::*;

fn manual(what: &str) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["run", "--quiet", "--locked", "--example", "manual"]);
    let printed = run(cargo
        .args(["--", what])
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    assert!(printed.status.success(), "{printed:?}");
    printed.stdout
}

/// A directory with this shell's completions and some files to complete.
fn completing(shell: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("_lntu"), manual(shell)).unwrap();
    fs::write(directory.path().join("some file"), "").unwrap();
    fs::create_dir(directory.path().join("some directory")).unwrap();
    directory
}

/// For each command line, of which the last word is unfinished: its words, some
/// words that must be offered, and some that must not be.
fn cases() -> Vec<(Vec<String>, Vec<String>, Vec<String>)> {
    let case = |words: &[&str], offered: &[&str], not_offered: &[&str]| {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_string()).collect();
        (owned(words), owned(offered), owned(not_offered))
    };
    let names = COMMANDS.map(|command| command.name.text());
    let mut cases = vec![
        case(&[""], &names, &["--tcp", "some file"]),
        case(&["wa"], &["watch", "wait"], &["list"]),
        case(&["list", ""], &[], &names),
        case(
            &["--source", ""],
            &["auto", "ss", "proc", "netlink"],
            &names,
        ),
        case(&["check", "--source", "p"], &["proc"], &["ss", "--pid"]),
        case(&["--exclude", "e"], &["ephemeral/tcp"], &["loopback"]),
        case(&["--exclude", ""], &["loopback", "ephemeral"], &names),
        // `list` is the value of an option here, so no command was named.
        case(&["--output", "list", "w"], &["watch", "wait"], &[]),
        case(&["-Ho", "list", "w"], &["watch", "wait"], &[]),
        case(&["list", "-o", "some"], &["some file"], &["--json"]),
        case(&["-Ho", "some"], &["some file"], &[]),
        case(&["--proc", "some"], &["some directory"], &["some file"]),
        case(&["install", "some"], &["some file", "some directory"], &[]),
        case(&["--timeout", ""], &[], &names),
        case(&["wait", "80", "--", "mkfif"], &["mkfifo"], &[]),
        case(&["--", "mkfif"], &["mkfifo"], &names),
        case(&["list", "--", "mkfif"], &[], &["mkfifo"]),
        case(&["--", "ls", "some"], &["some file"], &[]),
    ];
    for command in &COMMANDS {
        let long = |name: &str| format!("--{name}");
        let (taken, others): (Vec<_>, Vec<_>) =
            options().partition(|option| option.commands.contains(&command.name));
        let words = vec![command.name.text().to_string(), "--".to_string()];
        let names =
            |options: Vec<&OptionSpec>| options.iter().map(|option| long(option.long)).collect();
        cases.push((words, names(taken), names(others)));
    }
    cases
}

/// Compares what a shell offers with the cases. Some shells escape blanks, and
/// some mark the end of an option that takes a value.
fn compare(offers: impl Fn(&[String]) -> Vec<String>) {
    for (words, expected, unexpected) in cases() {
        let offered: Vec<String> = offers(&words)
            .iter()
            .map(|word| {
                word.replace('\\', "")
                    .trim_end_matches(['/', '=', ' '])
                    .to_string()
            })
            .collect();
        for word in expected {
            assert!(
                offered.contains(&word),
                "{words:?}: no {word} in {offered:?}"
            );
        }
        for word in unexpected {
            assert!(!offered.contains(&word), "{words:?}: {word} in {offered:?}");
        }
    }
}

#[test]
fn the_man_page_formats_without_warnings_and_has_every_option() {
    if !have_program("groff", "groff") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let page = directory.path().join("lntu.1");
    fs::write(&page, manual("man")).unwrap();
    let rendered = run(Command::new("groff")
        .args(["-man", "-ww", "-Tascii", "-P-cbou", "-rLL=200n"])
        .arg(&page));
    let text = rendered.lines().join("\n");
    for option in options() {
        let long = format!("--{}", option.long);
        let short = option
            .short
            .map_or(String::new(), |short| format!("-{short}, "));
        let value = option
            .value()
            .map_or(String::new(), |value| format!(" {}", value.name));
        let term = format!("{short}{long}{value}");
        assert!(
            text.lines().any(|line| line.trim().starts_with(&term)),
            "{term}"
        );
    }
    for command in &COMMANDS {
        assert!(text.contains(command.usage), "{}", command.usage);
    }
    assert!(
        text.contains("CMD [\"/lntu\", \"check\", \"${PORT:-8080}\"]"),
        "{text}"
    );
}

#[test]
fn bash_completes() {
    let directory = completing("bash");
    let reply = |words: &[String]| {
        // bash takes the first word as the program's name. No startup file of
        // the user is read.
        let script = "source ./_lntu; COMP_WORDS=(lntu \"$@\"); COMP_CWORD=$#; _lntu; \
                      printf '%s\\n' \"${COMPREPLY[@]}\"";
        let bash = run(Command::new("bash")
            .args(["--norc", "-c", script, "bash"])
            .args(words)
            .current_dir(&directory));
        bash.lines().iter().map(ToString::to_string).collect()
    };
    if have_program("bash", "bash") {
        compare(reply);
        // Readline splits words at equals signs.
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(reply(&words(&["--source", "=", "a"])), ["auto"]);
        assert_eq!(
            reply(&words(&["--source", "="])),
            ["auto", "ss", "proc", "netlink"]
        );
        assert_eq!(reply(&words(&["--source", "=", "ss", "li"])), ["list"]);
    }
}

#[test]
fn fish_completes() {
    if !have_program("fish", "fish") {
        return;
    }
    let directory = completing("fish");
    compare(|words| {
        let fish = run(Command::new("fish")
            .args(["--no-config", "-c", "source ./_lntu; complete -C $argv[1]"])
            .arg(format!("lntu {}", words.join(" ")))
            .env("HOME", directory.path())
            .current_dir(&directory));
        let word = |line: &&str| line.split('\t').next().unwrap().to_string();
        fish.lines().iter().map(word).collect()
    });
}

/// Runs an interactive zsh on its own pseudoterminal. A replaced `compadd`
/// writes down what it is given.
#[test]
fn zsh_completes() {
    if !have_program("zsh", "zsh") {
        return;
    }
    let directory = completing("zsh");
    fs::write(directory.path().join(".zshrc"), ZSHRC).unwrap();
    compare(|words| zsh_offers(directory.path(), &words.join(" ")));
}

const ZSHRC: &str = r#"
PROMPT=
fpath=($ZDOTDIR $fpath)
autoload -Uz compinit
compinit -u -D
compadd() {
    local -a hits
    if [[ ${@[1,(i)(-|--)]} != *-(O|A|D)\ * ]]; then
        builtin compadd -O hits "$@"
        print -rl -- $hits >>$ZDOTDIR/offered
    fi
    builtin compadd "$@"
}
is_done() { : >$ZDOTDIR/done }
comppostfuncs=(is_done)
bindkey '^I' complete-word
zle-line-init() { : >$ZDOTDIR/ready }
zle -N zle-line-init
"#;

const ZSH_DRIVER: &str = r#"
zmodload zsh/zpty zsh/zselect
export ZDOTDIR=$PWD
await() {
    local output
    while [[ ! -e $1 ]]; do
        zpty -rt lntu output
        zselect -t 1
    done
}
zpty lntu zsh -i
await ready
zpty -wn lntu "lntu $1"$'\t'
await done
zpty -d lntu
"#;

fn zsh_offers(directory: &Path, line: &str) -> Vec<String> {
    for file in ["ready", "done"] {
        let _ = fs::remove_file(directory.join(file));
    }
    fs::write(directory.join("offered"), "").unwrap();
    let mut zsh = Command::new("timeout");
    zsh.args(["30", "zsh", "-fc", ZSH_DRIVER, "zsh", line])
        .current_dir(directory);
    let driven = run(&mut zsh);
    assert!(driven.status.success(), "{line}: {driven:?}");
    let offered = fs::read_to_string(directory.join("offered")).unwrap();
    offered.lines().map(ToString::to_string).collect()
}
