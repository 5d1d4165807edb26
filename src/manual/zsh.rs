//! Completions for zsh.

use super::words::{commands, options_of, takers, takes_next_word};
use crate::cli::description::{COMMANDS, CommandSpec, OptionSpec, ValueKind};

const TEMPLATE: &str = r#"#compdef lntu
# zsh completion for lntu

local command='' word='' takes_next_word='@TAKES_NEXT_WORD@'
local -i index
local -a options operands

for ((index = 2; index < CURRENT; index++)); do
    word=${words[index]}
    if [[ $word == -- ]]; then
        [[ ${command:-watch} == (@TAKERS@) ]] || return 1
        shift $index words
        ((CURRENT -= index))
        _normal
        return
    elif [[ $word =~ $takes_next_word ]]; then
        ((index++))
    elif [[ -z $command && $word == (@COMMANDS@) ]]; then
        command=$word
        operands=('1: :')
    elif [[ $word != -* ]]; then
        command=${command:-watch}
    fi
done

case ${command:-watch} in
@OPTIONS@esac
if [[ -z $command ]]; then
    operands=('1:command or PORT:((@NAMES@))')
fi
case $command in
    help) ;;
    install) operands+=('2:DEST:_files') ;;
    *) operands+=('*:PORT: ') ;;
esac
_arguments -s -S $options $operands
"#;

pub fn completions() -> String {
    let mut choices = String::new();
    for command in &COMMANDS {
        let options: String = options_of(command).map(specs).collect();
        let name = command.name.text();
        choices += &format!("    {name})\n        options=(\n{options}        )\n        ;;\n");
    }
    let explained = |command: &CommandSpec| {
        let summary = escaped(command.summary, &[':', '"']);
        format!("{}\\:\"{summary}\"", command.name.text())
    };
    TEMPLATE
        .replace("@TAKES_NEXT_WORD@", &takes_next_word())
        .replace("@TAKERS@", &takers("|"))
        .replace("@COMMANDS@", &commands("|"))
        .replace("@NAMES@", &COMMANDS.each_ref().map(explained).join(" "))
        .replace("@OPTIONS@", &choices)
}

/// Describes an option to `_arguments`, one line per spelling.
fn specs(option: &OptionSpec) -> String {
    let help = escaped(option.help, &['[', ']', ':']);
    let value = match option.value() {
        None => String::new(),
        Some(value) => {
            let action = match value.kind {
                ValueKind::Any => " ".to_string(),
                ValueKind::Words(words) => format!("({})", words.join(" ")),
                ValueKind::File => "_files".to_string(),
                ValueKind::Directory => "_files -/".to_string(),
            };
            format!(":{}:{action}", value.name)
        }
    };
    // A short option's value may follow in the same word. A long option's value
    // may follow after an equals sign. Both values may also be the next word.
    let [letter, name] = match option.value() {
        None => ["", ""],
        Some(_) => ["+", "="],
    };
    let mut lines = String::new();
    if let Some(short) = option.short {
        lines += &format!("            '*-{short}{letter}[{help}]{value}'\n");
    }
    lines + &format!("            '*--{}{name}[{help}]{value}'\n", option.long)
}

/// Puts a backslash before each of these characters. The result is safe in
/// single quotes.
fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\'' => escaped += r"'\''",
            _ if special.contains(&character) => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    escaped
}
