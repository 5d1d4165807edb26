//! `lntu install`: it makes a copy that everybody can execute, or changes nothing.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::docker::*;
use crate::harness::*;

/// Runs `lntu install` with this destination.
fn install(destination: &Path) -> Finished {
    run(lntu(&["install"]).arg(destination))
}

/// The bytes of the program under test.
fn program() -> Vec<u8> {
    fs::read(env!("CARGO_BIN_EXE_lntu")).unwrap()
}

/// The names of the files in a directory.
fn file_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// Panics unless `file` is an executable copy of the program.
fn assert_is_copy(file: &Path) {
    assert!(fs::read(file).unwrap() == program(), "{}", file.display());
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755, "{}", file.display());
}

#[test]
fn an_installed_copy_has_mode_755() {
    let directory = TempDir::new().unwrap();
    for (destination, file) in [("", "lntu"), (".", "lntu"), ("ss", "ss"), ("lntu", "lntu")] {
        let destination = directory.path().join(destination);
        // With this umask, other users normally get no access to a new file.
        let mut shell = Command::new("sh");
        let script = "umask 077; exec \"$0\" install \"$1\"";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_lntu")]);
        let installed = run(shell.arg(&destination));
        assert_eq!(installed.lines(), [""; 0], "{}", destination.display());
        assert_is_copy(&directory.path().join(file));
    }
    let mut names = file_names(directory.path());
    names.sort();
    assert_eq!(names, ["lntu", "ss"]);
}

#[test]
fn a_relative_file_name_is_accepted() {
    let directory = TempDir::new().unwrap();
    let installed = run(lntu(&["install", "probe"]).current_dir(&directory));
    assert_eq!(installed.lines(), [""; 0]);
    assert_is_copy(&directory.path().join("probe"));
}

/// The kernel forbids writing to the file of a running program (`ETXTBSY`), so install must replace
/// the file.
#[test]
fn a_running_copy_is_replaced() {
    let directory = TempDir::new().unwrap();
    let copy = directory.path().join("lntu");
    assert!(install(&copy).status.success());
    let before = fs::metadata(&copy).unwrap().ino();
    let mut command = Command::new(&copy);
    let mut running = Running::start(command.args(["--json", "--source", "proc"]));
    wait_for("its first lines", || {
        running.next_line().contains("\"ready\"").then_some(())
    });
    assert_eq!(install(&copy).lines(), [""; 0]);
    assert_is_copy(&copy);
    assert_ne!(fs::metadata(&copy).unwrap().ino(), before);
    assert!(running.child.try_wait().unwrap().is_none(), "it still runs");
}

#[test]
fn a_link_is_replaced_instead_of_followed() {
    let directory = TempDir::new().unwrap();
    let (link, other) = (
        directory.path().join("link"),
        directory.path().join("other"),
    );
    fs::write(&other, "kept").unwrap();
    symlink(&other, &link).unwrap();
    assert_eq!(install(&link).lines(), [""; 0]);
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(fs::read(&other).unwrap(), b"kept");
}

/// Without a check of the destination, rename(2) would replace a FIFO or a device, and a mistyped
/// directory would become a file.
#[test]
fn a_fifo_or_a_missing_directory_is_refused() {
    let directory = TempDir::new().unwrap();
    let fifo = fifo_in(directory.path());
    let missing = directory.path().join("missing/");
    let below = missing.join("lntu");
    let no_such = "No such file or directory (os error 2) (DEST must be in a directory that \
                   exists and allows new files)";
    for (destination, reason) in [
        (&*fifo, "not a file"),
        (&missing, no_such),
        (&below, no_such),
        (Path::new("/proc/lntu"), no_such),
    ] {
        let refused = install(destination);
        assert_eq!(
            refused.error(),
            format!("{}: {reason}", destination.display())
        );
    }
    assert_eq!(file_names(directory.path()), ["fifo"]);
}

#[test]
fn a_directory_without_write_permission_is_an_error() {
    let directory = TempDir::new().unwrap();
    let allow = |mode| {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(0o755);
    fs::copy(env!("CARGO_BIN_EXE_lntu"), directory.path().join("lntu")).unwrap();
    allow(0o555);
    let destination = directory.path().join("copy");
    let refused = run_copy(&directory, &["install", destination.to_str().unwrap()]);
    let reason = format!("{}: Permission denied (os error 13)", destination.display());
    assert_eq!(refused.error(), reason);
    assert_eq!(file_names(directory.path()), ["lntu"]);
}

/// In each run, one system call fails. No temporary file may remain.
#[test]
fn a_failing_system_call_keeps_the_old_file() {
    if !have_program("strace", "strace") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("probe");
    let mut old = File::create(&file).unwrap();
    old.write_all(b"old").unwrap();
    for call in ["fsync", "fchmod", "rename,renameat,renameat2"] {
        let mut strace = Command::new("strace");
        let inject = format!("--inject={call}:error=EIO");
        strace.args(["--quiet=all", "-o", "/dev/null", &inject]);
        strace.args([env!("CARGO_BIN_EXE_lntu"), "install"]);
        let failed = run(strace.arg(&file));
        let reason = format!("{}: Input/output error (os error 5)", file.display());
        assert_eq!(failed.error(), reason, "{call}");
        assert_eq!(fs::read(&file).unwrap(), b"old", "{call}");
        assert_eq!(file_names(directory.path()), ["probe"], "{call}");
    }
}

/// An init container installs lntu into a volume for the next container.
#[test]
fn lntu_can_be_installed_into_a_shared_volume() {
    if !have_docker() {
        return;
    }
    let volume = unique_name();
    let mount = |mode: &str| format!("--volume={volume}:/shared:{mode}");
    let image = Image::scratch();
    let installed = image.run(&[&mount("rw")], &["/lntu", "install", "/shared"]);
    assert_eq!(installed.lines(), [""; 0]);
    let only_app = Image::of("FROM scratch\nCOPY app /\n", &[&binaries().app]);
    let server = only_app.start(&[&mount("ro")], &["/app", "listen", "8080", "serve"]);
    server.wait_for_line("serving");
    let exec = |command: &[&str]| server.exec(&["--user=65534"], command);
    assert_eq!(exec(&["/shared/lntu", "check", "8080"]).lines(), [""; 0]);

    let again = exec(&["/shared/lntu", "install", "/shared"]);
    assert_eq!(
        again.error(),
        "/shared/lntu: Read-only file system (os error 30)"
    );

    // The program does not fit into the 128 KiB of this file system.
    let option = "--tmpfs=/full:size=128k";
    let failed = image.run(&[option], &["/lntu", "install", "/full/lntu"]);
    assert_eq!(
        failed.error(),
        "/full/lntu: No space left on device (os error 28)"
    );
    drop(server);
    wait_within(Duration::from_secs(10), "the volume's end", || {
        let removed = run(&mut docker(&["volume", "rm", &volume]));
        removed.status.success().then_some(())
    });
}

#[test]
fn a_full_disk_keeps_the_old_file() {
    let directory = TempDir::new().unwrap();
    let disk = directory.path().display();
    let script = format!(
        "mount -t tmpfs -o size=64k none {disk} && echo old >{disk}/lntu && \
         \"$0\" install {disk}; echo $?; cat {disk}/lntu; ls -A {disk}"
    );
    if !have_mounts() {
        return;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_lntu")]);
    let finished = run(&mut unshare);
    let reason = format!("lntu: {disk}/lntu: No space left on device (os error 28)\n");
    assert_eq!(
        (&*finished.stdout, finished.stderr),
        ("2\nold\nlntu\n", reason)
    );
}
