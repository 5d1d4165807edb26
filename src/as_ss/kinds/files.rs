//! The files of `/proc/net` that ss reads where the kernel does not answer over netlink
//! or the environment names files: their lines, and what a missing file means.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::as_ss::error::Error;
use crate::as_ss::paths::Paths;
use crate::kernel::proc::file::read_any;
use crate::kernel::proc::other_rows::protocol_and_sockets;
use crate::kernel::proc::scan::Scanner;
use crate::report;

/// The most bytes of a line. The kernel makes no longer one: it writes a line into a
/// page.
const LONGEST_LINE: usize = 64 * 1024;

/// Passes each line of a file of `/proc/net` behind its first one to `take`, which
/// returns `None` if it cannot read one.
///
/// # Errors
/// If the file, or a line of it, cannot be read. A file that is not there has no
/// lines, unless it must be there.
pub fn for_each_line(
    name: &str,
    paths: &Paths,
    take: &mut dyn FnMut(&[u8]) -> Option<()>,
) -> Result<(), Error> {
    let path = paths.file(name);
    let file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound && !paths.must_have(name) => {
            return is_proc(&path, name, paths);
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied && name != "tcp" => {
            return Err(Error::of_file(&path, "may not be read"));
        }
        Err(error) => return Err(Error::of_file(&path, error)),
        Ok(file) => file,
    };
    let mut scanner = Scanner::with_capacity(LONGEST_LINE);
    let mut lines = scanner.lines(file);
    let unreadable = || Error::of_file(&path, "has lines that cannot be read");
    let mut has_header = false;
    while let Some(line) = lines.next().map_err(|error| Error::of_file(&path, error))? {
        let is_header = !std::mem::replace(&mut has_header, true);
        if !is_header && take(line.bytes).is_none() {
            return Err(unreadable());
        }
    }
    if lines.overlong() > 0 {
        return Err(unreadable());
    }
    // WSL 1 has empty files in place of those that it lacks.
    if !has_header && paths.must_have(name) {
        return Err(Error::of_file(&path, "is empty, not even a header"));
    }
    Ok(())
}

/// A table that is not there is no table only where others are. Where there is no `/proc`,
/// ss shows what netlink lists. So does this, and says what that may lack.
fn is_proc(path: &Path, name: &str, paths: &Paths) -> Result<(), Error> {
    let tcp = paths.file("tcp");
    match File::open(&tcp) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound && paths.asks_kernel_for(name) => {
            // Without the one for IPv4 that for IPv6 is not worth a word.
            if !name.ends_with('6') {
                let (path, why) = (path.display(), "not there, and netlink does not list these");
                report::error_as("ss", format_args!("{path}: {why}: none are shown"));
            }
            Ok(())
        }
        Err(error) => Err(Error::of_file(&tcp, error)),
    }
}

/// Whether sockets of this name in `/proc/net/protocols` are in use. `None` if that
/// cannot be told.
pub fn are_in_use(name: &str, paths: &Paths) -> Option<bool> {
    let path: PathBuf = paths.proc_root().join("net/protocols");
    let text = match read_any(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(false),
        text => text.ok()?,
    };
    // One for IPv6 has a `v6` behind its name.
    Some(String::from_utf8_lossy(&text).lines().any(|line| {
        let (protocol, sockets) = protocol_and_sockets(line);
        protocol.strip_suffix("v6").unwrap_or(protocol) == name && sockets != "0"
    }))
}
