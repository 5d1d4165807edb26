//! Scripts that stand in for ss.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A PATH in which there is no ss.
pub const NO_SS: &str = "/nonexistent";

/// Returns the PATH of the tests with the directory `first` in front of it.
pub fn path_with(first: &Path) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::iter::once(first.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(entries).unwrap()
}

/// Writes a shell script that can be run at once.
///
/// Another process writes the file. If this process did, a child that another test forks could
/// hold it open for writing, and the kernel runs no such file (`ETXTBSY`).
pub fn write_program(path: &Path, script: &str) {
    let write =
        "printf '%s' \"$1\" >\"$0.draft\" && chmod 755 \"$0.draft\" && mv \"$0.draft\" \"$0\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", write]).arg(path);
    let written = shell.arg(format!("#!/bin/sh\n{script}\n")).status();
    assert!(written.unwrap().success(), "{}", path.display());
}

/// Makes a directory with an `ss` that runs this shell script. Tests put the directory into PATH.
pub fn fake_ss(script: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    write_program(&directory.path().join("ss"), script);
    directory
}

/// Makes a directory with an ss that always prints a listener on 127.0.0.1:1. In every second run,
/// it also prints a listener on `port`.
pub fn fake_ss_that_misses_every_other_time(port: u16) -> TempDir {
    let directory = TempDir::new().unwrap();
    let flag = directory.path().join("flag");
    let flag = flag.display();
    let script = format!(
        "echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'\n\
         echo 'tcp LISTEN 0 0 127.0.0.1:1 0.0.0.0:*'\n\
         if [ -e {flag} ]; then rm {flag}; echo 'tcp LISTEN 0 0 127.0.0.1:{port} 0.0.0.0:*'\n\
         else : >{flag}; fi"
    );
    write_program(&directory.path().join("ss"), &script);
    directory
}

/// Makes a directory with an ss that prints a listener on one of these TCP ports. Each run takes
/// the next port, and starts again after the last.
pub fn ss_with_turns(ports: &[&str]) -> TempDir {
    let directory = TempDir::new().unwrap();
    let count = directory.path().join("count");
    let count = count.display();
    let script = format!(
        "echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'\n\
         echo x >>{count}\n\
         set -- {}\n\
         shift $((($(wc -l <{count}) - 1) % $#))\n\
         echo \"tcp LISTEN 0 0 127.0.0.1:$1 0.0.0.0:*\"",
        ports.join(" ")
    );
    write_program(&directory.path().join("ss"), &script);
    directory
}

/// An ss whose behavior a test can change while a watcher runs. Only the file that the program
/// reads is replaced, because a shell may be opening the program at that moment.
pub struct SwitchableSs {
    directory: TempDir,
}

impl SwitchableSs {
    pub fn new(script: &str) -> SwitchableSs {
        let directory = TempDir::new().unwrap();
        let ss = SwitchableSs { directory };
        ss.becomes(script);
        let mode = ss.path().join("mode");
        let script = format!("eval \"$(cat {})\"", mode.display());
        write_program(&ss.path().join("ss"), &script);
        ss
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn becomes(&self, script: &str) {
        let (draft, mode) = (self.path().join("draft"), self.path().join("mode"));
        fs::write(&draft, script).unwrap();
        fs::rename(draft, mode).unwrap();
    }

    /// Makes the program not executable, so that a search in PATH ignores it.
    pub fn disappears(&self) {
        self.set_mode(0o644);
    }

    pub fn appears(&self) {
        self.set_mode(0o755);
    }

    fn set_mode(&self, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path().join("ss"), permissions).unwrap();
    }
}
