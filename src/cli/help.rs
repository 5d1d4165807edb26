//! The text of `lntu --help`.

use super::description::{
    ABOUT, COMMANDS, CommandName, CommandSpec, OptionSpec, PORT_EXAMPLES, PORT_FORM, PORT_MEANING,
    options,
};
use crate::exit_status::{self, EXIT_STATUSES, GivenBy};

/// The width of the longest line.
const WIDTH: usize = 80;

/// The column in which the explanations of options start.
const COLUMN: usize = 23;

/// The column in which the explanation of a command starts.
const INDENT: usize = 6;

/// The help of one command with its options, or an overview of all commands. It is made from
/// the description of the command line.
pub fn help(command: Option<CommandName>) -> String {
    let is_shown = |shown: &&CommandSpec| command.is_none_or(|name| shown.name == name);
    let commands = || COMMANDS.iter().filter(is_shown);
    let mut text = String::new();
    push(&mut text, &["lntu: ", ABOUT, "\n\n"]);
    for command in commands() {
        push(&mut text, &["  ", command.usage, "\n"]);
        fill(&mut text, 0, INDENT, command.summary);
        push(&mut text, &["      $ ", command.example, "\n"]);
    }
    if command.is_none_or(CommandName::takes_ports) {
        push(&mut text, &["\nPORT is ", PORT_FORM, ":\n"]);
        for example in PORT_EXAMPLES {
            push(&mut text, &["  ", example]);
        }
        text.push('\n');
        fill(&mut text, 0, 0, &port_meaning(command));
    }
    if let Some(name) = command {
        push_options(&mut text, name);
    }
    push_exit_statuses(&mut text, |by| {
        commands().any(|command| command.can_end_with(by))
    });
    if command.is_none() {
        text.push_str("\n\"lntu help COMMAND\" lists the options of a command.\n");
    }
    text
}

/// Appends the options of a command, if it has any.
fn push_options(text: &mut String, name: CommandName) {
    let mut separator = "\n";
    for option in options().filter(|option| option.commands.contains(&name)) {
        let when = match option.needs_any(name) {
            true => " (only with --any)",
            false => "",
        };
        text.push_str(std::mem::take(&mut separator));
        item(text, &spelling(option), &(option.help.to_string() + when));
    }
}

/// Appends the exit statuses for which `is_given` is true, in one paragraph.
fn push_exit_statuses(text: &mut String, is_given: impl Fn(GivenBy) -> bool) {
    let mut words = String::from("Exit status:");
    let mut separator = " ";
    for status in EXIT_STATUSES {
        if is_given(status.given_by) {
            push(&mut words, &[separator, status.number, " ", status.meaning]);
            separator = "; ";
        }
    }
    words.push('.');
    if is_given(GivenBy::Starters) {
        push(&mut words, &[" ", exit_status::COMMAND_STATUS_NOTE]);
    }
    text.push('\n');
    fill(text, 0, 0, &words);
}

/// What a PORT means to one command, or to each command.
pub fn port_meaning(command: Option<CommandName>) -> String {
    let mut text = String::new();
    for (commands, whose, meaning) in PORT_MEANING {
        let separator = if text.is_empty() { "" } else { " " };
        match command {
            None => push(&mut text, &[separator, whose, meaning]),
            Some(name) if commands.contains(&name) => push(&mut text, &[separator, meaning]),
            Some(_) => {}
        }
    }
    text
}

fn push(text: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| text.push_str(part));
}

/// The names and the value of an option: `-o, --output FILE`.
fn spelling(option: &OptionSpec) -> String {
    let mut text = String::new();
    match option.short {
        Some(short) => text.extend(['-', short, ',', ' ']),
        None => text.push_str("    "),
    }
    push(&mut text, &["--", option.long]);
    if let Some(value) = option.value() {
        push(&mut text, &[" ", value.name]);
    }
    text
}

/// Appends a term, and its explanation next to it, or below it if the term is too wide.
fn item(text: &mut String, term: &str, explanation: &str) {
    text.push_str("  ");
    text.push_str(term);
    let mut column = 2 + term.len();
    if column >= COLUMN {
        text.push('\n');
        column = 0;
    }
    fill(text, column, COLUMN, explanation);
}

/// Appends words, broken into lines that are indented to `indent`. `column` is the length of
/// the current line.
fn fill(text: &mut String, mut column: usize, indent: usize, words: &str) {
    for word in words.split(' ') {
        if column > indent && column + 1 + word.len() > WIDTH {
            text.push('\n');
            column = 0;
        }
        let blanks = match column < indent {
            true => indent - column,
            false => usize::from(column > 0),
        };
        (0..blanks).for_each(|_| text.push(' '));
        text.push_str(word);
        column += blanks + word.len();
    }
    text.push('\n');
}
