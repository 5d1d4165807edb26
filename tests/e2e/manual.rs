//! The man page, formatted by groff, and the completions in bash, fish and zsh.

use std::fs;
use std::path::Path;
use std::process::Command;

use lntu::cli::description::{COMMANDS, OptionSpec, options};
use tempfile::TempDir;

use crate::harness::*;

/// Returns the output of the example program `manual`: the man page, or the completions of a shell.
fn manual(format: &str) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["run", "--quiet", "--locked", "--example", "manual"]);
    let printed = run(cargo
        .args(["--", format])
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    assert!(printed.status.success(), "{printed:?}");
    printed.stdout
}

/// Makes a directory with this shell's completions and some files to complete.
fn directory_with_completions(shell: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("_lntu"), manual(shell)).unwrap();
    fs::write(directory.path().join("some file"), "").unwrap();
    fs::create_dir(directory.path().join("some directory")).unwrap();
    directory
}

/// Command lines whose last word is unfinished. Each comes with its words, with words that a shell
/// must offer, and with words that it must not offer.
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
        // `list` is the value of an option here, so there is no command yet.
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
        let (accepted, others): (Vec<_>, Vec<_>) =
            options().partition(|option| option.commands.contains(&command.name));
        let words = vec![command.name.text().to_string(), "--".to_string()];
        let names =
            |options: Vec<&OptionSpec>| options.iter().map(|option| long(option.long)).collect();
        cases.push((words, names(accepted), names(others)));
    }
    cases
}

/// Panics if a shell does not offer the expected words in each case. Escapes of blanks, and `=`
/// after an option that has a value, are removed before the comparison, because only some shells
/// offer them.
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
fn the_formatted_man_page_has_every_option() {
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
fn bash_offers_the_expected_completions() {
    let directory = directory_with_completions("bash");
    let reply = |words: &[String]| {
        // The last argument, `bash`, becomes $0. --norc skips the startup files of the user.
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
        let reply = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            reply(&words)
        };
        assert_eq!(reply(&["--source", "=", "a"]), ["auto"]);
        let sources = ["auto", "ss", "proc", "netlink"];
        assert_eq!(reply(&["--source", "="]), sources);
        assert_eq!(reply(&["--source", "=", "ss", "li"]), ["list"]);
    }
}

#[test]
fn fish_offers_the_expected_completions() {
    if !have_program("fish", "fish") {
        return;
    }
    let directory = directory_with_completions("fish");
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

/// Runs an interactive zsh on a pseudoterminal, with a `compadd` that records the words that it
/// gets.
#[test]
fn zsh_offers_the_expected_completions() {
    if !have_program("zsh", "zsh") {
        return;
    }
    let directory = directory_with_completions("zsh");
    fs::write(directory.path().join(".zshrc"), ZSHRC).unwrap();
    compare(|words| zsh_offers(directory.path(), &words.join(" ")));
}

/// The startup file of the interactive zsh.
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

/// A script for a second zsh. It types a command line into the interactive zsh, and waits until the
/// completion is done.
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

/// Returns the words that zsh offers if Tab is pressed after this command line.
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
