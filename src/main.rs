//! Arguments become a call, and an error becomes a line on stderr and status 2.

use std::env;
use std::process::ExitCode;

use lntu::cli::{self, Command, SourceOptions};
use lntu::output::Output;
use lntu::source::Source;
use lntu::watch::Watcher;
use lntu::{Error, list, report, sys};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::say(format_args!("{error}"));
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), Error> {
    let command = cli::parse(env::args_os().skip(1))?;
    let mut output = Output::stdout().map_err(Error::Output)?;
    match command {
        Command::Watch(options, watch_options) => {
            sys::end_on_signals();
            Watcher::new(source(options), output, watch_options).run();
            Ok(())
        }
        Command::List(options, format) => list::run(source(options), format, output),
        Command::Help => output.write_text(cli::HELP),
        Command::Version => output.write_text(concat!("lntu ", env!("CARGO_PKG_VERSION"), "\n")),
    }
}

fn source(options: SourceOptions) -> Source {
    let path = env::var_os("PATH").unwrap_or_default();
    Source::new(&options.choice, &path, options.filter, options.verbosity)
}
