//! The example program `manual`: prints the man page, or the completions for a shell.

use std::process::ExitCode;

use lntu::manual::{PARTS, part};

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match part(&name) {
        Some(text) => print!("{text}"),
        None => {
            let names = PARTS.map(|(name, _)| name).join("|");
            eprintln!("usage: cargo run --example manual -- {names}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
