//! Prints the man page or the completions of a shell. Both are made from the
//! program's one description of its command line. The program itself does not
//! carry them.

mod bash;
mod fish;
mod man;
mod zsh;

use std::process::ExitCode;

use lntu::cli::description::{COMMANDS, CommandSpec, OptionSpec, options};

fn main() -> ExitCode {
    let what = std::env::args().nth(1).unwrap_or_default();
    let text = match what.as_str() {
        "man" => man::page(),
        "bash" => bash::completions(),
        "zsh" => zsh::completions(),
        "fish" => fish::completions(),
        _ => {
            eprintln!("usage: cargo run --example manual -- man|bash|zsh|fish");
            return ExitCode::from(2);
        }
    };
    print!("{text}");
    ExitCode::SUCCESS
}

/// The names of the commands, joined by `separator`.
fn commands(separator: &str) -> String {
    COMMANDS.map(|command| command.name.text()).join(separator)
}

/// The commands that accept an application to run.
fn takers(separator: &str) -> String {
    let takers = COMMANDS.iter().filter(|c| c.takes_application());
    let names: Vec<&str> = takers.map(|command| command.name.text()).collect();
    names.join(separator)
}

/// The options of this command.
fn options_of(command: &CommandSpec) -> impl Iterator<Item = &'static OptionSpec> {
    let name = command.name;
    options().filter(move |option| option.commands.contains(&name))
}

/// A regular expression for the options whose value is the next word. The
/// option stands alone, or is the last of several letters.
fn takes_next_word() -> String {
    let valued = || options().filter(|option| option.value().is_some());
    let letters = String::from_iter(valued().filter_map(|option| option.short));
    let names: Vec<&str> = valued().map(|option| option.long).collect();
    format!("^(-[^-{letters}]*[{letters}]|--({}))$", names.join("|"))
}
