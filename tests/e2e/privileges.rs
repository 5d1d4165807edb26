//! Tests of the privileges that `--all-namespaces` gives up. lntu also refuses to run as a
//! set-user-ID or set-group-ID program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

/// The watcher keeps only the capabilities that it needs, also if an init system has added
/// inheritable capabilities, or if Docker has dropped CAP_DAC_READ_SEARCH.
#[test]
fn a_watcher_of_all_namespaces_reduces_its_privileges() {
    if !have_root() || !have_program("services", "setpriv") {
        return;
    }
    let own = Privileges::of(std::process::id());
    let like_docker = ["--bounding-set=-dac_read_search"];
    let like_init = ["--inh-caps=+kill,+chown", "--ambient-caps=+kill,+chown"];
    for options in [&[][..], &like_docker, &like_init] {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(options).arg(env!("CARGO_BIN_EXE_lntu"));
        let watcher = Running::start(setpriv.args(["-A", "-q", "--json"]));
        while !watcher.next_line().contains("\"ready\"") {}
        let mut expected = own.reduced();
        if options == like_docker {
            let without = Privileges {
                permitted: own.permitted & !DAC_READ_SEARCH,
                effective: own.effective & !DAC_READ_SEARCH,
                bounding: own.bounding & !DAC_READ_SEARCH,
                ..own
            };
            expected = without.reduced();
        }
        let found = Privileges::of(watcher.child.id());
        assert_eq!(found, expected, "{options:?}");
    }
}

#[test]
fn a_watcher_of_one_namespace_keeps_its_privileges() {
    let watcher = Running::start(&mut lntu(&["-q", "--json"]));
    while !watcher.next_line().contains("\"ready\"") {}
    let own = Privileges::of(std::process::id());
    assert_eq!(Privileges::of(watcher.child.id()), own);
}

#[test]
fn with_all_namespaces_the_command_keeps_privileges() {
    let status = ["cat", "/proc/self/status"];
    let beside = run(lntu(&["-A", "-qo/dev/null", "--"]).args(status));
    let alone = run(Command::new(status[0]).arg(status[1]));
    assert!(beside.status.success(), "{beside:?}");
    assert_eq!(
        Privileges::in_status(&beside.stdout),
        Privileges::in_status(&alone.stdout)
    );
}

/// lntu refuses both permission bits, set-user-ID and set-group-ID, under the name lntu and under
/// the name ss.
#[test]
fn lntu_refuses_to_run_set_user_id_or_set_group_id() {
    if !have_root() {
        return;
    }
    let directory = TempDir::new().unwrap();
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(directory.path(), 0o755);
    for (name, status) in [("lntu", 2), ("ss", 255)] {
        let file = directory.path().join(name);
        // Use cp to write the file. If this process wrote it, a child that another test forks could
        // still have the file open, and the kernel refuses to run a file that is open for writing.
        let mut copy = Command::new("cp");
        assert!(
            run(copy.arg(env!("CARGO_BIN_EXE_lntu")).arg(&file))
                .status
                .success()
        );
        let run = |mode| {
            set_mode(&file, mode);
            run(without_root(Command::new(&file).arg("-V")))
        };
        assert_eq!(run(0o755).code(), 0);
        for mode in [0o4755, 0o2755] {
            let refused = run(mode);
            let result = (refused.code(), &*refused.stdout);
            assert_eq!(result, (status, ""), "{mode:o}: {refused:?}");
            assert!(
                refused
                    .stderr
                    .starts_with(&format!("{name}: refusing to run: "))
            );
            assert_eq!(refused.stderr.lines().count(), 1);
        }
    }
}
