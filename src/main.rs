//! Arguments become a call, and what it returns becomes an exit status.

use std::env;
use std::process::ExitCode;

use lntu::check::Check;
use lntu::cli::{self, Command, SourceOptions};
use lntu::output::Output;
use lntu::source::Source;
use lntu::watch::Watcher;
use lntu::{Error, check, entrypoint, list, report, sys, wait};

fn main() -> ExitCode {
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
    match cli::parse(env::args_os().skip(1))? {
        Command::Watch(source, output, options, application) => {
            let mut leader = None;
            if let Some(application) = application {
                leader = entrypoint::start_watcher(output.path.is_none(), options.verbosity);
                if leader.is_none() {
                    return Err(entrypoint::become_application(application));
                }
            }
            sys::end_on_signals();
            let output = Output::open(output.path)?;
            Watcher::new(self::source(source), output, options).run(leader);
        }
        Command::List(source, output) => {
            let sink = Output::open(output.path)?;
            list::run(self::source(source), output.format, sink)?;
        }
        Command::Check(source, ports) => {
            let verbosity = source.verbosity;
            return check::run(Check::new(self::source(source), ports), verbosity);
        }
        Command::Wait(source, ports, options, application) => {
            sys::end_on_signals();
            let is_met = wait::run(Check::new(self::source(source), ports), options)?;
            return match application {
                Some(application) if is_met => Err(entrypoint::become_application(application)),
                _ => Ok(is_met),
            };
        }
        Command::Help => Output::open(None)?.write_text(cli::HELP)?,
        Command::Version => {
            Output::open(None)?.write_text(concat!("lntu ", env!("CARGO_PKG_VERSION"), "\n"))?;
        }
    }
    Ok(true)
}

fn source(options: SourceOptions) -> Source {
    let path = env::var_os("PATH").unwrap_or_default();
    Source::new(&options.choice, &path, options.filter, options.verbosity)
}
