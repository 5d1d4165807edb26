//! Parses the arguments, runs the command, and turns its result into an exit status.
#![no_main]

use std::env;
use std::ffi::OsString;

use lntu::as_ss::{self, Paths};
use lntu::cli::{self, Beside, Command, CommandLine};
use lntu::command::entrypoint::Application;
use lntu::command::probe::Probe;
use lntu::command::watch::Watcher;
use lntu::command::{check, install, list, wait};
use lntu::error::Error;
use lntu::exit_status::{ExitStatus, SsExitStatus};
use lntu::output::Output;
use lntu::report::{self, Verbosity};
use lntu::source::{Source, SourceChoice, SourceError, SourceOptions};
use lntu::sys::{self, ChildStdout, Notice};

lntu::program!(program);

#[global_allocator]
static MEMORY: sys::Memory = sys::Memory;

/// Runs the whole program, and returns its exit status.
fn program() -> u8 {
    let mut arguments = sys::arguments();
    let is_ss = arguments.next().is_some_and(as_ss::is_name);
    if sys::has_privileges_of_another() {
        let (name, status) = match is_ss {
            true => ("ss", SsExitStatus::Usage as u8),
            false => ("lntu", ExitStatus::Unknown as u8),
        };
        report::error_as(
            name,
            format_args!(
                "refusing to run: the effective user or group is not the real one (is the file \
                 set-user-ID or set-group-ID? chmod ug-s removes that)"
            ),
        );
        return status;
    }
    if is_ss {
        report::set_verbosity(Verbosity::Quiet);
        let paths = Paths::from_environment(|name| env::var_os(name));
        let status = match as_ss::run(arguments.map(OsString::from), &paths) {
            Ok(()) => SsExitStatus::Done,
            Err(error) => {
                error.report();
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

/// Parses the arguments, and sets what happens if memory is exhausted from then on. If there is
/// an application after `--`, it starts without the watcher; otherwise, the program exits.
///
/// This is set before the arguments are parsed, because parsing needs memory, and set again
/// according to the parsed arguments.
fn command_line() -> Result<CommandLine, Error> {
    let arguments = sys::arguments().skip(1);
    if let Some(Beside { words, is_quiet }) = cli::beside(arguments.clone()) {
        let notice = match is_quiet {
            true => Notice::Suppress,
            false => Notice::Print,
        };
        sys::exec_if_exhausted(words, notice);
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
        }) => {
            let notice = match verbosity {
                Verbosity::Quiet => Notice::Suppress,
                Verbosity::Normal | Verbosity::Verbose => Notice::Print,
            };
            sys::exec_if_exhausted(application.words, notice);
        }
        _ => sys::end_if_exhausted(),
    }
    Ok(parsed?)
}

/// Runs a command. Returns whether its answer is yes. A command that does not ask a question
/// returns true when it is done.
fn run(command: Command) -> Result<bool, Error> {
    sys::end_on_signals();
    match command {
        Command::Watch {
            source,
            output,
            options,
            application,
        } => {
            let stdout = match output.path {
                None => ChildStdout::Shared,
                Some(_) => ChildStdout::Closed,
            };
            let become_application =
                |application: Application| application.exec_beside_watcher(stdout);
            let parent = application.map(become_application).transpose()?;
            let stream = Output::open(output.path, false)?;
            let source = open(*source).or_else(Source::ended)?;
            Watcher::new(source, output.format, stream, options, parent).run();
        }
        Command::List {
            source,
            output,
            pids,
        } => {
            let stream = Output::open(output.path, true)?;
            if pids {
                return list::run_pids(open(*source)?, stream);
            }
            list::run(open(*source)?, output.format, stream)?;
        }
        Command::Check {
            source,
            question,
            format,
        } => return check::run(Probe::new(*source, &path(), question)?, format),
        Command::Wait {
            source,
            question,
            format,
            options,
            application,
        } => {
            let probe = Probe::new(*source, &path(), question);
            let answer = probe.and_then(|probe| wait::run(probe, options, format, application));
            return answer.map_err(Error::into_wait_error);
        }
        Command::Install(destination) => install::run(&destination)?,
        Command::Help(of) => print(&cli::help(of))?,
        Command::Version => print(concat!("lntu ", env!("CARGO_PKG_VERSION"), "\n"))?,
    }
    Ok(true)
}

fn print(text: &str) -> Result<(), Error> {
    Ok(Output::open(None, true)?.write_all(text.as_bytes())?)
}

/// Opens the source of listeners. For `-A`, this first gives up all privileges that are not
/// needed, because every container controls some of the data that the source reads.
///
/// The caller must open the output and start the application before this, because both may
/// need the privileges.
fn open(options: SourceOptions) -> Result<Source, SourceError> {
    if matches!(options.choice, SourceChoice::AllNamespaces { .. })
        && let Err(error) = sys::give_up_privileges()
    {
        report::warn(format_args!("giving up privileges: {error}"));
    }
    Source::new(options, &path())
}

fn path() -> OsString {
    env::var_os("PATH").unwrap_or_default()
}
