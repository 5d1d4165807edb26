//! What `lntu --help` prints.

use super::description::{
    ABOUT, COMMANDS, CommandName, CommandSpec, GROUPS, Group, OptionSpec, PORT_EXAMPLES, PORT_FORM,
    PORT_MEANING,
};
use crate::exit_status::{self, EXIT_STATUSES, GivenBy};

/// No line is wider.
const WIDTH: usize = 80;

/// Where explanations start.
const COLUMN: usize = 23;

/// The text, made from the description of the command line: that of one command, or of
/// all.
pub fn help(of: Option<CommandName>) -> String {
    let is_shown = |command: &&CommandSpec| of.is_none_or(|name| command.name == name);
    let commands = || COMMANDS.iter().filter(is_shown);
    let mut text = String::new();
    push(&mut text, &["lntu: ", ABOUT, "\n\nUsage:\n"]);
    for command in commands() {
        item(&mut text, command.usage, command.summary);
    }
    if of.is_none_or(CommandName::takes_ports) {
        push(&mut text, &["\nPORT is ", PORT_FORM, ":\n"]);
        for example in PORT_EXAMPLES {
            push(&mut text, &["  ", example]);
        }
        text.push('\n');
        fill(&mut text, 0, 0, &port_meaning(of));
    }
    for group in &GROUPS {
        let mut options = group.options.iter();
        if of.is_some_and(|name| !options.any(|option| option.commands.contains(&name))) {
            continue;
        }
        push_group(&mut text, group, of);
    }
    text.push_str("\nExit status:\n");
    let is_given = |by: GivenBy| commands().any(|command| command.can_end_with(by));
    for status in EXIT_STATUSES {
        if is_given(status.given_by) {
            item(&mut text, status.number, status.meaning);
        }
    }
    if is_given(GivenBy::Starters) {
        fill(&mut text, 0, 0, exit_status::OF_COMMAND);
    }
    text
}

/// The options of a group that one command accepts, or all of them.
fn push_group(text: &mut String, group: &Group, of: Option<CommandName>) {
    push(text, &["\n", group.title]);
    if of.is_none() && !group.is_for_all() {
        text.push_str(" (");
        push_names(text, group.commands);
        text.push(')');
    }
    text.push_str(":\n");
    for option in group.options {
        let explanation = match of {
            None => explanation(group, option),
            Some(name) if !option.commands.contains(&name) => continue,
            Some(name) if option.needs_any(name) => option.help.to_string() + " (only with --any)",
            Some(_) => option.help.to_string(),
        };
        item(text, &spelling(option), &explanation);
    }
}

/// What a PORT means to one command, or to all.
pub fn port_meaning(of: Option<CommandName>) -> String {
    let mut text = String::new();
    for (commands, whose, meaning) in PORT_MEANING {
        let separator = if text.is_empty() { "" } else { " " };
        match of {
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

/// `-o, --output FILE`
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

/// What an option does, and for which commands if that is not said above it.
fn explanation(group: &Group, option: &OptionSpec) -> String {
    let mut text = String::new();
    if option.commands != group.commands {
        push_names(&mut text, option.commands);
        text.push_str(": ");
    }
    text.push_str(option.help);
    text
}

fn push_names(text: &mut String, commands: &[CommandName]) {
    for (index, command) in commands.iter().enumerate() {
        push(text, &[if index > 0 { ", " } else { "" }, command.text()]);
    }
}

/// A term, and its explanation beside it, or below where it is too wide.
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

/// Appends words behind `column`, as many to a line as it is wide, and each
/// line from `indent` on.
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
