//! Generates the completions for bash. They need nothing but bash itself. If bash-completion is
//! loaded, they also complete the arguments of COMMAND with its help.

use super::words::{application_commands, commands, options_of, takes_next_word};
use crate::cli::description::{COMMANDS, OptionSpec, ValueKind, options};

const TEMPLATE: &str = r#"# bash completion for lntu

_lntu() {
    local current=${COMP_WORDS[COMP_CWORD]} command='' option='' words='' index
    local takes_next_word='@TAKES_NEXT_WORD@'
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        option=${COMP_WORDS[index]}
        if [[ $option == -- ]]; then
            [[ ${command:-watch} == @(@APPLICATION_COMMANDS@) ]] && _lntu_application $((index + 1))
            return
        elif [[ $option =~ $takes_next_word ]]; then
            # Readline splits --option=value into three words.
            [[ ${COMP_WORDS[index + 1]} == = ]] && ((index++))
            ((++index >= COMP_CWORD)) && break
        elif [[ -z $command && $option == @(@COMMANDS@) ]]; then
            command=$option
        elif [[ $option != -* ]]; then
            command=${command:-watch}
        fi
        option=''
    done
    [[ $current == = ]] && current=''
    case $option in
@VALUES@        ?*)
            return
            ;;
    esac
    if [[ -z $option && $current == -* ]]; then
        case ${command:-watch} in
@OPTIONS@        esac
    elif [[ -z $option && $command == install ]]; then
        _lntu_paths -f
        return
    elif [[ -z $option && -z $command ]]; then
        words='@NAMES@'
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

# Completes the command line of the application. The word with this number is its name.
_lntu_application() {
    if (($1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$current")
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    else
        _lntu_paths -f
    fi
}

# Completes a path. bash refuses compopt if no completion is in progress.
_lntu_paths() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}

complete -F _lntu lntu
"#;

pub fn completions() -> String {
    let mut values = String::new();
    for option in options() {
        let action = match option.value().map(|value| value.kind) {
            None | Some(ValueKind::Any) => continue,
            Some(ValueKind::Words(words)) => format!("words='{}'", words.join(" ")),
            Some(ValueKind::File) => "_lntu_paths -f\n            return".to_string(),
            Some(ValueKind::Directory) => "_lntu_paths -d\n            return".to_string(),
        };
        let pattern = pattern(option);
        values += &format!("        {pattern})\n            {action}\n            ;;\n");
    }
    let mut cases = String::new();
    for command in &COMMANDS {
        let (name, words) = (command.name.text(), options_of(command).flat_map(spellings));
        let words = words.collect::<Vec<_>>().join(" ");
        cases += &format!("            {name}) words='{words}' ;;\n");
    }
    TEMPLATE
        .replace("@TAKES_NEXT_WORD@", &takes_next_word())
        .replace("@APPLICATION_COMMANDS@", &application_commands("|"))
        .replace("@COMMANDS@", &commands("|"))
        .replace("@NAMES@", &commands(" "))
        .replace("@VALUES@", &values)
        .replace("@OPTIONS@", &cases)
}

fn spellings(option: &OptionSpec) -> impl Iterator<Item = String> {
    let short = option.short.map(|short| format!("-{short}"));
    short.into_iter().chain([format!("--{}", option.long)])
}

/// A pattern for the `case` statement of bash. It matches a word if the next word is the value
/// of this option.
fn pattern(option: &OptionSpec) -> String {
    match option.short {
        Some(short) => format!("--{} | -{short} | -[!-]*{short}", option.long),
        None => format!("--{}", option.long),
    }
}
