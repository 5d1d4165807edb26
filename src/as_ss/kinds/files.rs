//! The files of `/proc/net`. ss reads them if the kernel does not answer over netlink, or if an
//! environment variable replaces a file. This module reads their lines, and decides what a
//! missing file means.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::kernel::proc::file::read_any;
use crate::kernel::proc::other_rows::protocol_and_sockets;
use crate::kernel::proc::scan::Scanner;
use crate::report;

/// The maximum length of a line in bytes. The kernel does not write lines that are longer than
/// a page.
const LONGEST_LINE: usize = 64 * 1024;

/// Passes each line of a file of `/proc/net`, except the header, to `read_line`. `read_line`
/// returns `None` if it cannot read the line.
///
/// # Errors
/// Fails if the file or one of its lines cannot be read. A file that does not exist is an error
/// only if it must exist, or if the TCP table cannot be read either although there is a `/proc`.
pub fn for_each_line(
    name: &str,
    paths: &Paths,
    read_line: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Result<(), Error> {
    let path = paths.file(name);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !paths.must_exist(name) => {
            return check_missing(&path, name, paths);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied && name != "tcp" => {
            return Err(Error::file(&path, "may not be read"));
        }
        Err(error) => return Err(Error::file(&path, error)),
        Ok(file) => file,
    };
    let mut scanner = Scanner::with_capacity(LONGEST_LINE);
    let mut lines = scanner.lines(file);
    let unreadable = || Error::file(&path, "has lines that cannot be read");
    let mut has_header = false;
    while let Some(line) = lines.next().map_err(|error| Error::file(&path, error))? {
        let is_header = !std::mem::replace(&mut has_header, true);
        if !is_header && read_line(line.bytes).is_none() {
            return Err(unreadable());
        }
    }
    if lines.overlong() > 0 {
        return Err(unreadable());
    }
    // On WSL 1, the files of tables that it does not support are empty.
    if !has_header && paths.must_exist(name) {
        return Err(Error::file(&path, "is empty, not even a header"));
    }
    Ok(())
}

/// Decides whether a missing file is an error. If the TCP table exists, there are no sockets of
/// the missing kind. If there is no `/proc`, ss shows only the sockets that netlink lists. This
/// program then does the same, and prints a warning.
///
/// # Errors
/// Fails if the TCP table cannot be read either, unless there is no `/proc`.
fn check_missing(path: &Path, name: &str, paths: &Paths) -> Result<(), Error> {
    let tcp = paths.file("tcp");
    match File::open(&tcp) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && paths.asks_kernel_for(name) => {
            // The warning about the file for IPv4 covers the file for IPv6, too.
            if !name.ends_with('6') {
                let (path, reason) = (path.display(), "not there, and netlink does not list these");
                report::error_as("ss", format_args!("{path}: {reason}: none are shown"));
            }
            Ok(())
        }
        Err(error) => Err(Error::file(&tcp, error)),
    }
}

/// Whether `/proc/net/protocols` counts any sockets of the protocol `name`. False if the file
/// does not exist, and `None` if it cannot be read for another reason.
pub fn are_in_use(name: &str, paths: &Paths) -> Option<bool> {
    let path: PathBuf = paths.proc_root().join("net/protocols");
    let text = match read_any(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(false),
        text => text.ok()?,
    };
    // The name of the IPv6 variant of a protocol ends with `v6`.
    Some(String::from_utf8_lossy(&text).lines().any(|line| {
        let (protocol, sockets) = protocol_and_sockets(line);
        protocol.strip_suffix("v6").unwrap_or(protocol) == name && sockets != "0"
    }))
}
