//! Arguments become a call, and what it returns becomes an exit status.

use std::env;
use std::process::ExitCode;

use lntu::as_ss::{self, Places};
use lntu::cli::{self, Command};
use lntu::command::check::Check;
use lntu::command::entrypoint::Application;
use lntu::command::watch::Watcher;
use lntu::command::{check, list, wait};
use lntu::output::Output;
use lntu::source::{Source, SourceOptions};
use lntu::{Error, report, sys};

fn main() -> ExitCode {
    let mut arguments = env::args_os();
    if arguments
        .next()
        .is_some_and(|program| as_ss::is_meant_by(&program))
    {
        return match as_ss::run(
            arguments,
            &Places::from_environment(|name| env::var_os(name)),
        ) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                report::say_as("ss", format_args!("{error}"));
                ExitCode::from(error.status())
            }
        };
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            report::say(format_args!("{error}"));
            ExitCode::from(error.status())
        }
    }
}

/// Whether the answer is yes; a command that asks nothing says so when done.
fn run() -> Result<bool, Error> {
    let command = cli::parse(env::args_os().skip(1))?;
    sys::end_on_signals();
    match command {
        Command::Watch(source, output, options, application) => {
            let beside = |application: Application| {
                application.exec_beside_watcher(output.path.is_none(), options.verbosity)
            };
            let leader = application.map(beside).transpose()?;
            let output = Output::open(output.path, false)?;
            Watcher::new(self::source(source), output, options, leader).run();
        }
        Command::List(source, output) => {
            let sink = Output::open(output.path, true)?;
            list::run(self::source(source), output.format, sink)?;
        }
        Command::Check(source, ports) => {
            let verbosity = source.verbosity;
            return check::run(Check::new(self::source(source), ports), verbosity);
        }
        Command::Wait(source, ports, options, application) => {
            let is_met = wait::run(Check::new(self::source(source), ports), options)?;
            return match application {
                Some(application) if is_met => Err(application.exec()),
                _ => Ok(is_met),
            };
        }
        Command::Help => print(&cli::help())?,
        Command::Version => print(concat!("lntu ", env!("CARGO_PKG_VERSION"), "\n"))?,
    }
    Ok(true)
}

fn print(text: &str) -> Result<(), Error> {
    Output::open(None, true)?.write_all(text.into())
}

fn source(options: SourceOptions) -> Source {
    let path = env::var_os("PATH").unwrap_or_default();
    Source::new(options, &path)
}
