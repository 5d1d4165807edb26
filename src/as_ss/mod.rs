//! The program under the name `ss`, for images that have none. It takes the options
//! of iproute2's ss, asks the same sources and prints the same bytes. It never
//! starts another ss.
//!
//! - [`ask`] reads the command line: what was asked.
//! - [`kinds`] asks the kernel for the sockets of each kind, or reads a file, and has a
//!   row written for each that is wanted.
//! - [`mod@show`] writes the rows as a table.
//! - [`names`] are numbers and their names, both as they are typed and as they are shown.
//!
//! The floors from the top down are `kinds`, `show`, `ask` and `names`. All of them import
//! [`paths`] and [`error`].
//!
//! If a source cannot be read, ss prints a table that may lack rows. This fails, unless
//! ss says so too: where an unprivileged user filters by marks.

pub mod ask;
pub mod error;
pub mod kinds;
pub mod names;
pub mod paths;
pub mod show;

use std::ffi::{OsStr, OsString};
use std::path::Path;

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
use show::table::Write;
use show::users::Users;

/// Whether a program with this first argument was started under the name `ss`.
pub fn is_name(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some("ss".as_ref())
}

/// Prints what `arguments`, without the program's name, ask for.
///
/// # Errors
/// If the answer of ss is not known completely, or cannot be written. A long table
/// may be written in part by then. A reader that goes away is no error.
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

/// Passes what [`run`] prints to `write`.
///
/// # Errors
/// As [`run`].
pub fn answer(
    arguments: impl IntoIterator<Item = OsString>,
    paths: &Paths,
    write: Write<'_>,
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
    write: Write<'_>,
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
    // Processes are read first, as in ss.
    let proc_root = paths.proc_root();
    let users = request
        .processes
        .then(|| Users::read(proc_root, request.threads));
    let names = Names::new(&request.show, services, proc_root);
    let mut rows = Rows::new(request, names, users, write);
    kinds::show(request, paths, &mut rows)?;
    rows.finish().map_err(Error::Output)
}
