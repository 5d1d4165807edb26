//! Lists of commands and options, for the completions of every shell.

use crate::cli::description::{COMMANDS, CommandSpec, OptionSpec, options};

/// The names of the commands, joined by `separator`.
pub fn commands(separator: &str) -> String {
    COMMANDS.map(|command| command.name.text()).join(separator)
}

/// The names of the commands that can run an application, joined by `separator`.
pub fn application_commands(separator: &str) -> String {
    let commands = COMMANDS.iter().filter(|c| c.takes_application());
    let names: Vec<&str> = commands.map(|command| command.name.text()).collect();
    names.join(separator)
}

/// The options that this command accepts.
pub fn options_of(command: &CommandSpec) -> impl Iterator<Item = &'static OptionSpec> {
    let name = command.name;
    options().filter(move |option| option.commands.contains(&name))
}

/// A regular expression for a word whose option has its value in the next word. The word is a
/// long option, a short option, or a cluster of short options that ends with such an option.
pub fn takes_next_word() -> String {
    let with_value = || options().filter(|option| option.value().is_some());
    let letters = String::from_iter(with_value().filter_map(|option| option.short));
    let names: Vec<&str> = with_value().map(|option| option.long).collect();
    format!("^(-[^-{letters}]*[{letters}]|--({}))$", names.join("|"))
}
