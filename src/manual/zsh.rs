//! Generates the completions for zsh.

use super::words::{application_commands, commands, options_of, takes_next_word};
use crate::cli::description::{COMMANDS, CommandSpec, OptionSpec, ValueKind};

const TEMPLATE: &str = r#"#compdef lntu
# zsh completion for lntu

local command='' word='' takes_next_word='@TAKES_NEXT_WORD@'
local -i index
local -a options operands

for ((index = 2; index < CURRENT; index++)); do
    word=${words[index]}
    if [[ $word == -- ]]; then
        [[ ${command:-watch} == (@APPLICATION_COMMANDS@) ]] || return 1
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
    let mut cases = String::new();
    for command in &COMMANDS {
        let options: String = options_of(command).map(specs).collect();
        let name = command.name.text();
        cases += &format!("    {name})\n        options=(\n{options}        )\n        ;;\n");
    }
    let explained = |command: &CommandSpec| {
        let summary = escaped(command.summary, &[':', '"']);
        format!("{}\\:\"{summary}\"", command.name.text())
    };
    TEMPLATE
        .replace("@TAKES_NEXT_WORD@", &takes_next_word())
        .replace("@APPLICATION_COMMANDS@", &application_commands("|"))
        .replace("@COMMANDS@", &commands("|"))
        .replace("@NAMES@", &COMMANDS.each_ref().map(explained).join(" "))
        .replace("@OPTIONS@", &cases)
}

/// The lines that describe an option to zsh's `_arguments`, one line for each spelling.
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
    // In zsh, `+` after a short option means that its value can follow in the same word. `=`
    // after a long option means that its value can follow an equals sign. In both cases, the
    // value can also be the next word.
    let [short_suffix, long_suffix] = match option.value() {
        None => ["", ""],
        Some(_) => ["+", "="],
    };
    let mut lines = String::new();
    if let Some(short) = option.short {
        lines += &format!("            '*-{short}{short_suffix}[{help}]{value}'\n");
    }
    let long = option.long;
    lines + &format!("            '*--{long}{long_suffix}[{help}]{value}'\n")
}

/// Puts a backslash before each `special` character, and escapes single quotes, so that the
/// result can be used inside single quotes.
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
