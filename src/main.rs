//! Arguments become a call, and what it returns becomes an exit status.
#![no_main]

use std::env;
use std::ffi::OsString;

use lntu::as_ss::{self, Places};
use lntu::cli::{self, Beside, Command, CommandLine};
use lntu::command::entrypoint::Application;
use lntu::command::probe::Probe;
use lntu::command::watch::Watcher;
use lntu::command::{check, list, wait};
use lntu::error::Error;
use lntu::exit_status::{ExitStatus, SsExitStatus};
use lntu::output::Output;
use lntu::report::{self, Verbosity};
use lntu::source::{Source, SourceOptions};
use lntu::sys;

lntu::program!(program);

#[global_allocator]
static MEMORY: sys::Memory = sys::Memory;

/// Returns the exit status.
fn program() -> u8 {
    let mut arguments = sys::arguments();
    if arguments.next().is_some_and(as_ss::is_name) {
        report::set_verbosity(Verbosity::Quiet);
        let places = Places::from_environment(|name| env::var_os(name));
        let status = match as_ss::run(arguments.map(OsString::from), &places) {
            Ok(()) => SsExitStatus::Done,
            Err(error) => {
                report::error_as("ss", format_args!("{error}"));
                error.status()
            }
        };
        return status as u8;
    }
    let answer = command_line().and_then(|command_line| {
        report::set_verbosity(command_line.verbosity);
        run(command_line.command)
    });
    let status = match answer {
        Ok(true) => ExitStatus::Yes,
        Ok(false) => ExitStatus::No,
        Err(error) => {
            report::error(format_args!("{error}"));
            error.status()
        }
    };
    status as u8
}

/// Reads the arguments. From then on, where memory runs out, the application of a
/// watcher starts all the same, and any other command ends.
fn command_line() -> Result<CommandLine, Error> {
    let arguments = sys::arguments().skip(1);
    if let Some(Beside { words, is_quiet }) = cli::beside(arguments.clone()) {
        sys::exec_if_exhausted(words, is_quiet);
    }
    let parsed = cli::parse(arguments.map(OsString::from), |name| env::var_os(name));
    match &parsed {
        Ok(CommandLine {
            command:
                Command::Watch {
                    application: Some(application),
                    ..
                },
            verbosity,
        }) => sys::exec_if_exhausted(application.words, *verbosity == Verbosity::Quiet),
        _ => sys::end_if_exhausted(),
    }
    Ok(parsed?)
}

/// Whether the answer is yes. A command that asks nothing answers yes when it is
/// done.
fn run(command: Command) -> Result<bool, Error> {
    sys::end_on_signals();
    match command {
        Command::Watch {
            source,
            output,
            options,
            application,
        } => {
            let keeps_stdout = output.path.is_none();
            let beside = |application: Application| application.exec_beside_watcher(keeps_stdout);
            let parent = application.map(beside).transpose()?;
            let stream = Output::open(output.path, false)?;
            Watcher::new(open(source)?, output.format, stream, options, parent).run();
        }
        Command::List {
            source,
            output,
            by_port,
        } => {
            let stream = Output::open(output.path, true)?;
            list::run(open(source)?, output.format, by_port, stream)?;
        }
        Command::Check {
            source,
            question,
            format,
        } => return check::run(Probe::new(source, &path(), question)?, format),
        Command::Wait {
            source,
            question,
            format,
            options,
            application,
        } => {
            let probe = Probe::new(source, &path(), question)?;
            return wait::run(probe, options, format, application);
        }
        Command::Help(of) => print(&cli::help(of))?,
        Command::Version => print(concat!("lntu ", env!("CARGO_PKG_VERSION"), "\n"))?,
    }
    Ok(true)
}

fn print(text: &str) -> Result<(), Error> {
    Ok(Output::open(None, true)?.write_all(text.into())?)
}

fn open(options: SourceOptions) -> Result<Source, Error> {
    Ok(Source::new(options, &path())?)
}

fn path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}
