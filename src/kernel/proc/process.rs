//! Facts about processes, from the files of `/proc/PID`.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::ops::ControlFlow;
use std::path::Path;

/// Calls `each` with every entry of `directory` whose name is a number.
pub fn for_each_number(directory: &Path, mut each: impl FnMut(u32, &Path)) -> io::Result<()> {
    for_each_number_until(directory, &mut |number, path| {
        each(number, path);
        ControlFlow::Continue(())
    })
}

/// Calls `each` with the entries of `directory` whose names are numbers, until it breaks.
pub fn for_each_number_until(
    directory: &Path,
    // Not a generic: so there is one copy in the binary, whatever is called.
    each: &mut dyn FnMut(u32, &Path) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut path = directory.to_path_buf();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(number) = name.to_str().and_then(|name| name.parse().ok()) {
            path.push(name);
            let flow = each(number, &path);
            path.pop();
            if flow.is_break() {
                break;
            }
        }
    }
    Ok(())
}

/// The inode in a link of this kind, such as 123 in `socket:[123]`.
pub fn inode_of_link(link: &Path, kind: &str) -> Option<u64> {
    let link = link.to_str()?.strip_prefix(kind)?.strip_prefix(":[")?;
    link.strip_suffix(']')?.parse().ok()
}

/// The contents of `file`, at most 4096 bytes. `comm` and `stat` are shorter, and of
/// `cgroup` the first lines suffice.
pub fn read_some(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(4096).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The whole name of the process with this directory in `/proc`, from `comm`.
///
/// # Errors
/// If the file cannot be read: the process may have ended.
pub fn name_in_comm(directory: &Path) -> io::Result<Vec<u8>> {
    let mut name = read_some(&directory.join("comm"))?;
    name.pop_if(|last| *last == b'\n');
    Ok(name)
}

/// The name of the process as ss reads it, from `stat`: in `PID (NAME) S ...` what
/// stands before the first `)`, even if the name holds one.
///
/// # Errors
/// As [`name_in_comm`].
pub fn name_in_stat(directory: &Path) -> io::Result<Vec<u8>> {
    let stat = read_some(&directory.join("stat"))?;
    let mut parts = stat.splitn(2, |byte| *byte == b'(');
    let name = parts.nth(1).unwrap_or_default();
    Ok(name
        .split(|byte| *byte == b')')
        .next()
        .unwrap_or_default()
        .to_vec())
}

/// Whether this is the error of a file of a process that has ended (`ENOENT`,
/// `ESRCH`).
pub fn is_of_ended(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn ss_finds_a_name_up_to_its_first_closing_parenthesis() {
        let directory = TempDir::new().unwrap();
        let name_in = |stat: &[u8]| {
            fs::write(directory.path().join("stat"), stat).unwrap();
            name_in_stat(directory.path()).unwrap()
        };
        assert_eq!(name_in(b"12 (nginx) S 1 12"), b"nginx");
        assert_eq!(name_in(b"12 ((sd-pam)) S 1 12"), b"(sd-pam");
        assert_eq!(name_in(b"12 (a\n\\) b) S 1 12"), b"a\n\\");
        assert_eq!(name_in(b"12 ()) S 1 12"), b"");
        assert_eq!(name_in(b""), b"");
    }
}
