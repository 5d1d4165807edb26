//! What the completions of every shell need to know of the command line.

use crate::cli::description::{COMMANDS, CommandSpec, OptionSpec, options};

/// The names of the commands, joined by `separator`.
pub fn commands(separator: &str) -> String {
    COMMANDS.map(|command| command.name.text()).join(separator)
}

/// The commands that accept an application to run.
pub fn takers(separator: &str) -> String {
    let takers = COMMANDS.iter().filter(|c| c.takes_application());
    let names: Vec<&str> = takers.map(|command| command.name.text()).collect();
    names.join(separator)
}

/// The options of this command.
pub fn options_of(command: &CommandSpec) -> impl Iterator<Item = &'static OptionSpec> {
    let name = command.name;
    options().filter(move |option| option.commands.contains(&name))
}

/// A regular expression for the options whose value is the next word. The
/// option stands alone, or is the last of several letters.
pub fn takes_next_word() -> String {
    let valued = || options().filter(|option| option.value().is_some());
    let letters = String::from_iter(valued().filter_map(|option| option.short));
    let names: Vec<&str> = valued().map(|option| option.long).collect();
    format!("^(-[^-{letters}]*[{letters}]|--({}))$", names.join("|"))
}
