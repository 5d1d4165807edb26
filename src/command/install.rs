//! `lntu install`: copies this program to a place where another container can run it, because
//! the image may have no `cp`.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::kernel::proc::file::{read_any, split};

/// The path of this program. It works even if the file that the program was started from has
/// been renamed.
const OWN_FILE: &str = "/proc/self/exe";

/// The name of the copy in a directory.
const NAME: &str = "lntu";

/// The permissions of the copy. They do not depend on the umask.
const MODE: u32 = 0o755;

/// Copies this program to `destination`, which is a directory or the name of a file. An
/// existing file is replaced atomically.
///
/// # Errors
/// If the copy cannot be made. An existing file is then unchanged.
pub fn run(destination: &Path) -> Result<(), Error> {
    let program =
        read_any(Path::new(OWN_FILE)).map_err(|error| Error::File(OWN_FILE.into(), error))?;
    let mut file = destination.to_path_buf();
    if file.is_dir() {
        file.push(NAME);
    }
    match replace(&file, &program) {
        Ok(()) => Ok(()),
        // This also happens in a directory that exists but does not allow new files, such as
        // /proc.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let hint = "DEST must be in a directory that exists and allows new files";
            Err(Error::File(
                file,
                io::Error::other(format!("{error} ({hint})")),
            ))
        }
        Err(error) => Err(Error::File(file, error)),
    }
}

/// Creates or replaces the executable `file` with these `contents`.
fn replace(file: &Path, contents: &[u8]) -> io::Result<()> {
    match fs::metadata(file) {
        // A rename would succeed even over /dev/null.
        Ok(there) if !there.is_file() => return Err(io::Error::other("not a file")),
        // A path that ends with a slash names a directory. If it does not exist, it is probably
        // mistyped.
        Err(error) if error.kind() != ErrorKind::NotFound || names_directory(file) => {
            return Err(error);
        }
        _ => {}
    }
    // The draft is in the same directory because only a rename within one file system is
    // atomic. Its name contains the time because a process with the same id in another
    // container may write to the same directory.
    let time = SystemTime::now().duration_since(UNIX_EPOCH);
    let unique = time.unwrap_or_default().as_nanos() as u64;
    let name = format!(".{NAME}-{}-{unique}", std::process::id());
    let draft = split(file).0.join(name);
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

/// Whether `file` can only be the name of a directory.
fn names_directory(file: &Path) -> bool {
    file.as_os_str().as_encoded_bytes().ends_with(b"/")
}
