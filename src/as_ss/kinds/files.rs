//! The files of `/proc/net`, which ss reads if the kernel does not answer over netlink or
//! if the environment replaces a file: their lines, and what a missing file means.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::kernel::proc::file::read_any;
use crate::kernel::proc::other_rows::protocol_and_sockets;
use crate::kernel::proc::scan::Scanner;
use crate::report;

/// The longest supported line, in bytes. The kernel writes no line that is longer than a
/// page.
const LONGEST_LINE: usize = 64 * 1024;

/// Passes each line of a file of `/proc/net`, except the header, to `read_line`, which
/// returns `None` if it cannot read the line.
///
/// # Errors
/// If the file or one of its lines cannot be read. A file that does not exist has no
/// lines, unless it must exist.
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
    // WSL 1 has empty files for tables that it does not support.
    if !has_header && paths.must_exist(name) {
        return Err(Error::file(&path, "is empty, not even a header"));
    }
    Ok(())
}

/// Decides whether a missing file means that there are no such sockets. It does if the TCP
/// table exists. If there is no `/proc`, ss shows only the sockets that netlink lists, and
/// so does this program, with a warning.
///
/// # Errors
/// If the TCP table cannot be read either, unless there is no `/proc`.
fn check_missing(path: &Path, name: &str, paths: &Paths) -> Result<(), Error> {
    let tcp = paths.file("tcp");
    match File::open(&tcp) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && paths.asks_kernel_for(name) => {
            // The warning about the IPv4 file covers the IPv6 file, too.
            if !name.ends_with('6') {
                let (path, reason) = (path.display(), "not there, and netlink does not list these");
                report::error_as("ss", format_args!("{path}: {reason}: none are shown"));
            }
            Ok(())
        }
        Err(error) => Err(Error::file(&tcp, error)),
    }
}

/// Whether `/proc/net/protocols` counts sockets under this name. If the file does not exist,
/// it counts none. `None` if it cannot be read for another reason.
pub fn are_in_use(name: &str, paths: &Paths) -> Option<bool> {
    let path: PathBuf = paths.proc_root().join("net/protocols");
    let text = match read_any(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(false),
        text => text.ok()?,
    };
    // The IPv6 variant of a protocol has `v6` at the end of its name.
    Some(String::from_utf8_lossy(&text).lines().any(|line| {
        let (protocol, sockets) = protocol_and_sockets(line);
        protocol.strip_suffix("v6").unwrap_or(protocol) == name && sockets != "0"
    }))
}
