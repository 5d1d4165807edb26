//! Completions for bash. They need only bash. If bash-completion is loaded,
//! they use it for the arguments of COMMAND.

use super::words::{commands, options_of, takers, takes_next_word};
use crate::cli::description::{COMMANDS, OptionSpec, ValueKind, options};

const TEMPLATE: &str = r#"# bash completion for lntu

_lntu() {
    local current=${COMP_WORDS[COMP_CWORD]} command='' option='' words='' index
    local takes_next_word='@TAKES_NEXT_WORD@'
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; index++)); do
        option=${COMP_WORDS[index]}
        if [[ $option == -- ]]; then
            [[ ${command:-watch} == @(@TAKERS@) ]] && _lntu_application $((index + 1))
            return
        elif [[ $option =~ $takes_next_word ]]; then
            # Readline makes three words of --option=value.
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

# Completes the application, whose name is the word of this number.
_lntu_application() {
    if (($1 == COMP_CWORD)); then
        mapfile -t COMPREPLY < <(compgen -c -- "$current")
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    else
        _lntu_paths -f
    fi
}

# Completes a path; without a completion under way, bash refuses compopt.
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
    let mut choices = String::new();
    for command in &COMMANDS {
        let (name, words) = (command.name.text(), options_of(command).flat_map(spellings));
        let words = words.collect::<Vec<_>>().join(" ");
        choices += &format!("            {name}) words='{words}' ;;\n");
    }
    TEMPLATE
        .replace("@TAKES_NEXT_WORD@", &takes_next_word())
        .replace("@TAKERS@", &takers("|"))
        .replace("@COMMANDS@", &commands("|"))
        .replace("@NAMES@", &commands(" "))
        .replace("@VALUES@", &values)
        .replace("@OPTIONS@", &choices)
}

fn spellings(option: &OptionSpec) -> impl Iterator<Item = String> {
    let short = option.short.map(|short| format!("-{short}"));
    short.into_iter().chain([format!("--{}", option.long)])
}

/// A pattern for an option whose value is the next word.
fn pattern(option: &OptionSpec) -> String {
    match option.short {
        Some(short) => format!("--{} | -{short} | -[!-]*{short}", option.long),
        None => format!("--{}", option.long),
    }
}
