//! This program under the name `ss`, for images that have no ss. It accepts the options of
//! iproute2's ss, reads the same sources and prints the same bytes. It never starts a real ss.
//!
//! - [`ask`] parses the command line into a request.
//! - [`kinds`] lists the sockets of each kind, from the kernel or from a file. For each socket
//!   that matches the request, it calls `show` to write a row.
//! - [`mod@show`] writes the rows as a table.
//! - [`names`] translates numbers to names, and names to numbers.
//!
//! Each of these modules may use only those after it: `kinds`, `show`, `ask`, [`paths`],
//! `names` and [`error`].
//!
//! If a source cannot be read, ss prints a table that may lack rows, but this program fails.
//! The one exception is an unprivileged user's filter by marks. In that case, ss reports the
//! problem, too.

pub mod ask;
pub mod error;
pub mod kinds;
pub mod names;
pub mod paths;
pub mod show;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::kernel::proc::file::split;
use crate::output::{Output, OutputError};
use crate::report;
use ask::help;
use ask::options::{self, Command};
use ask::request::Request;
pub use error::Error;
use kinds::summary;
use names::services::Services;
pub use paths::Paths;
use show::names::Names;
use show::rows::Rows;
use show::table::Sink;
use show::users::{Granularity, Users};

/// Whether `program`, the first argument of a process, has the file name `ss`.
pub fn is_name(program: &OsStr) -> bool {
    split(Path::new(program)).1 == "ss"
}

/// Prints the answer to a command line. `arguments` does not include the name of the program.
///
/// # Errors
/// Fails if not all sockets can be listed, or if the answer cannot be written. By then, part of
/// a long table may have been written. If the reader closes the output, that is not an error.
pub fn run(arguments: impl IntoIterator<Item = OsString>, paths: &Paths) -> Result<(), Error> {
    let mut output = None;
    let mut write = |text: &[u8]| -> Result<(), OutputError> {
        let output = match &mut output {
            Some(output) => output,
            None => output.insert(Output::open(None, true)?),
        };
        output.write_all(text)
    };
    answer(arguments, paths, &mut write)
}

/// Passes the bytes that [`run`] would print to `write`, piece by piece.
///
/// # Errors
/// The errors of [`run`].
pub fn answer(
    arguments: impl IntoIterator<Item = OsString>,
    paths: &Paths,
    write: Sink<'_>,
) -> Result<(), Error> {
    let services = paths.services();
    match options::parse(arguments, &services)? {
        Command::Show(request) => show(&request, paths, &services, write),
        Command::Help => write(help::HELP.as_bytes()).map_err(Error::Output),
        Command::Version => write(help::VERSION.as_bytes()).map_err(Error::Output),
    }
}

fn show(
    request: &Request,
    paths: &Paths,
    services: &Services,
    write: Sink<'_>,
) -> Result<(), Error> {
    if request.summary {
        let text = summary::summary(paths)?;
        write(text.as_bytes()).map_err(Error::Output)?;
        if !request.has_table {
            return Ok(());
        }
    }
    if request.selection.kinds.is_empty() {
        report::error_as(
            "ss",
            format_args!("no socket tables to show with such filter."),
        );
        return Ok(());
    }
    // As in ss, the processes are read before the sockets.
    let proc_root = paths.proc_root();
    let granularity = match request.threads {
        true => Granularity::Threads,
        false => Granularity::Processes,
    };
    let users = request
        .processes
        .then(|| Users::read(proc_root, granularity));
    let names = Names::new(&request.show, services, proc_root);
    let mut rows = Rows::new(request, names, users, write);
    kinds::show(request, paths, &mut rows)?;
    rows.finish().map_err(Error::Output)
}
