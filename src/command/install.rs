//! `lntu install`: copy this program to where another container can run it. An image
//! that holds nothing else has no `cp`.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::kernel::proc::file::read_any;

/// This program, also where the file that it was started from has another name now.
const OWN_FILE: &str = "/proc/self/exe";

/// The name of the copy in a directory.
const NAME: &str = "lntu";

/// Everyone may execute it, whatever the umask is.
const MODE: u32 = 0o755;

/// Copies this program to `destination`: a directory, or the name of a file, which is
/// replaced if it exists. At any moment there is the old file or the whole new one.
///
/// # Errors
/// If the copy cannot be made. What was there is then unchanged.
pub fn run(destination: &Path) -> Result<(), Error> {
    let program =
        read_any(Path::new(OWN_FILE)).map_err(|error| Error::File(OWN_FILE.into(), error))?;
    let mut file = destination.to_path_buf();
    if file.is_dir() {
        file.push(NAME);
    }
    match replace(&file, &program) {
        Ok(()) => Ok(()),
        Err(error) => Err(Error::File(file, error)),
    }
}

/// Makes an executable `file` with these `contents`.
fn replace(file: &Path, contents: &[u8]) -> io::Result<()> {
    match fs::metadata(file) {
        // The rename would succeed, also for /dev/null.
        Ok(there) if !there.is_file() => return Err(io::Error::other("not a file")),
        // Otherwise a mistyped directory would become a file.
        Err(error) if error.kind() != ErrorKind::NotFound || names_directory(file) => {
            return Err(error);
        }
        _ => {}
    }
    // Only a rename within one directory is atomic. Another container, in which this
    // process id exists too, may write to the same directory, so the name has the time.
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let unique = time.unwrap_or_default().as_nanos() as u64;
    let draft = file.with_file_name(format!(".{NAME}-{}-{unique}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut opened = options
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&draft)?;
    let result = opened
        .write_all(contents)
        .and_then(|()| opened.set_permissions(Permissions::from_mode(MODE)))
        // After a crash, a rename may be on the disk without the contents.
        .and_then(|()| opened.sync_all())
        .and_then(|()| fs::rename(&draft, file));
    if result.is_err() {
        let _ = fs::remove_file(&draft);
    }
    result
}

/// Whether it can only be the name of a directory.
fn names_directory(file: &Path) -> bool {
    file.as_os_str().as_encoded_bytes().ends_with(b"/")
}
