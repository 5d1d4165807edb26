//! Generates the completions for fish.

use super::words::{application_commands, commands, takes_next_word};
use crate::cli::description::{COMMANDS, ValueKind, options};

const TEMPLATE: &str = r#"# fish completion for lntu

# Prints what the words so far belong to: "none" before a command or a PORT, then the name
# of the command, which is watch if none was named, or "application" after "--".
function __lntu_where
    set -l words (commandline -opc)
    set -e words[1]
    set -l command none
    set -l is_value no
    for word in $words
        if test $is_value = yes
            set is_value no
        else if test "$word" = --
            contains -- $command none @APPLICATION_COMMANDS@
            and echo application
            return
        else if string match -qr -- '@TAKES_NEXT_WORD@' $word
            set is_value yes
        else if test $command = none; and contains -- "$word" @COMMANDS@
            set command $word
        else if test $command = none; and not string match -q -- '-*' $word
            set command watch
        end
    end
    echo $command
end

function __lntu_is
    contains -- (__lntu_where) $argv
end

function __lntu_is_at_value
    set -l words (commandline -opc)
    string match -qr -- '@TAKES_NEXT_WORD@' $words[-1]
end

function __lntu_application
    set -l words (commandline -opc)
    set -e words[1..(contains -i -- -- $words)]
    set -l line (string join ' ' -- (string escape -- $words) (commandline -ct))
    complete -C "$line"
end

complete -c lntu -f
complete -c lntu -n '__lntu_is install' -F
complete -c lntu -n '__lntu_is application' -a '(__lntu_application)'
"#;

pub fn completions() -> String {
    let mut text = TEMPLATE
        .replace("@TAKES_NEXT_WORD@", &takes_next_word())
        .replace("@APPLICATION_COMMANDS@", &application_commands(" "))
        .replace("@COMMANDS@", &commands(" "));
    for command in &COMMANDS {
        let (name, summary) = (command.name.text(), quoted(command.summary));
        let condition = "'__lntu_is none; and not __lntu_is_at_value'";
        text += &format!("complete -c lntu -n {condition} -a {name} -d {summary}\n");
    }
    for option in options() {
        // If no command was given, the command is watch.
        let mut contexts: Vec<&str> = option.commands.iter().map(|name| name.text()).collect();
        if contexts.contains(&"watch") {
            contexts.push("none");
        }
        text += &format!("complete -c lntu -n '__lntu_is {}'", contexts.join(" "));
        if let Some(short) = option.short {
            text += &format!(" -s {short}");
        }
        text += &format!(" -l {}", option.long);
        match option.value().map(|value| value.kind) {
            None => {}
            Some(ValueKind::Any) => text += " -x",
            Some(ValueKind::Words(words)) => text += &format!(" -x -a '{}'", words.join(" ")),
            Some(ValueKind::File) => text += " -r -F",
            Some(ValueKind::Directory) => text += " -x -a '(__fish_complete_directories)'",
        }
        text += &format!(" -d {}\n", quoted(option.help));
    }
    text
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}
