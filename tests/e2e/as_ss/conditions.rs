//! Other conditions than those of a root with `/proc`: another network namespace, another
//! user, no `/proc`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::comparable;
use super::every_state::quiet_zoo;
use crate::harness::*;

/// What `program` says if `script`, which gets it as `"$0" "$@"`, runs it with mounts of
/// its own: status, stdout and stderr.
fn said(program: &Path, script: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script]).arg(program);
    let finished = run(unshare.args(arguments).stdin(Stdio::null()));
    let stdout = comparable(&finished.stdout);
    (finished.status.code(), stdout, finished.stderr)
}

/// Both programs say the same in this script, on stdout and stderr, and end alike.
/// Returns what.
fn assert_same_in(script: &str, arguments: &[&str]) -> (String, String) {
    let both = || {
        let theirs = said(Path::new("/usr/bin/ss"), script, arguments);
        (said(&SS_LINK, script, arguments), theirs)
    };
    // A counter may change between the two.
    let (mut ours, mut theirs) = both();
    for _ in 0..20 {
        if ours != theirs {
            (ours, theirs) = both();
        }
    }
    assert_eq!(ours, theirs, "{arguments:?}");
    (ours.1, ours.2)
}

/// Gives this network namespace a name, and runs the program in another one.
const NAMED: &str = "\
mount -t tmpfs none /run && mkdir /run/netns && touch /run/netns/plain /run/netns/named
mount --bind /proc/self/ns/net /run/netns/named && exec unshare --net \"$0\" \"$@\"";

#[test]
fn a_named_network_namespace_is_shown_as_by_ss() {
    if !have_ss() || !have_mounts() {
        return;
    }
    in_private_network(|| {
        let _zoo = quiet_zoo();
        for arguments in [
            &["-N", "named", "-Htan"][..],
            &["-tanp", "-Nnamed"],
            &["--net=named", "-xa"],
            &["-uanN", "named", "dev", "lo"],
            &["-N", "../netns/named", "-s"],
            &["-lnmHMON", "named"],
            &["-h", "-N", "nowhere", "-V"],
        ] {
            let (shown, said) = assert_same_in_or_help(arguments);
            assert!(
                !shown.is_empty() && said.is_empty(),
                "{arguments:?}: {said}"
            );
        }
        for arguments in [
            &["-N", "nowhere"][..],
            &["-tN", "named", "-N", "no\u{e9}where"],
            &["-N", "plain", "-t"],
            &["-N", "", "-h"],
        ] {
            let (shown, said) = assert_same_in(NAMED, arguments);
            assert!(shown.is_empty() && said.contains("network namespace"));
        }
        // Neither finds a group there, and ss says so in other words.
        for cgroup in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/nonexistent"] {
            let filter = format!("not cgroup {cgroup}");
            let refused = |program| said(program, NAMED, &["-N", "named", "-t", &filter]);
            for (status, shown, _) in [refused(&SS_LINK), refused(Path::new("/usr/bin/ss"))] {
                assert!(status != Some(0) && shown.is_empty(), "{cgroup}: {shown}");
            }
        }
        let unprivileged = NAMED.replace("--net", "--net setpriv --bounding-set -sys_admin");
        let (_, why) = assert_same_in(&unprivileged, &["-N", "named", "-t"]);
        assert!(why.ends_with("failed: Operation not permitted\n"), "{why}");
        // ss also says that it finds no control groups.
        let details = ["-N", "named", "-tane", "--cgroup"];
        let shown = |program| said(program, NAMED, &details).1;
        let theirs = shown(Path::new("/usr/bin/ss"));
        assert!(theirs.contains(" cgroup:unreachable:"), "{theirs}");
        assert_eq!(shown(&SS_LINK), theirs);
    });
}

/// The help is another.
fn assert_same_in_or_help(arguments: &[&str]) -> (String, String) {
    match arguments.contains(&"-h") {
        true => (said(&SS_LINK, NAMED, arguments).1, String::new()),
        false => assert_same_in(NAMED, arguments),
    }
}

#[test]
fn without_proc_what_netlink_lists_is_shown_as_by_ss() {
    if !have_ss() || !have_mounts() {
        return;
    }
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    in_private_network(|| {
        let _zoo = quiet_zoo();
        for arguments in [
            &["-s"][..],
            &["-ts"],
            &["-tanp"],
            &["-lntup"],
            &["-xap", "-H"],
            &["-tai", "state", "listening"],
        ] {
            assert_same_in(script, arguments);
        }
        // On stderr each names what it lacks in its own way.
        for arguments in [
            &["-lnp"][..],
            &["-wp"],
            &["-a"],
            &["-Hm"],
            &["-an", "sport gt 0"],
        ] {
            let ours = said(&SS_LINK, script, arguments);
            let theirs = said(Path::new("/usr/bin/ss"), script, arguments);
            let pid = |text: &str| text.split("tcpdiag:").next().map(str::len);
            let lines = |text: &str| text.lines().filter(|line| !line.contains("diag")).count();
            assert_eq!(ours.0, Some(0), "{ours:?}");
            assert_eq!(
                (pid(&ours.1), lines(&ours.1)),
                (pid(&theirs.1), lines(&theirs.1))
            );
            assert!(!ours.2.contains("/proc/net/tcp:"), "{ours:?}");
        }
        // A table that must be there is still an error.
        let nowhere = "mount -t tmpfs none /proc && PROC_NET_TCP=/proc/none exec \"$0\" \"$@\"";
        let (status, shown, _) = said(&SS_LINK, nowhere, &["-tan"]);
        assert_eq!((status, &*shown), (Some(1), ""));
    });
}

/// A copy that any user may run, under the name ss.
pub fn copy_for_all() -> TempDir {
    let directory = TempDir::new().unwrap();
    let allow = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    allow(directory.path());
    let copy = directory.path().join("ss");
    fs::copy(env!("CARGO_BIN_EXE_lntu"), &copy).unwrap();
    allow(&copy);
    // Until no process that another test forked has it open for writing.
    wait_for("the copy", || Command::new(&copy).arg("-V").output().ok());
    directory
}

/// The kernel refuses to compare marks for them. ss says so, and reads `/proc/net`.
#[test]
fn marks_in_filters_of_other_users_are_as_in_ss() {
    if !have_ss() {
        return;
    }
    let directory = copy_for_all();
    in_private_network(|| {
        let _zoo = quiet_zoo();
        for arguments in [
            &["-tan", "fwmark = 7"][..],
            &["-tuan", "fwmark = 0"],
            &["-tan4", "not fwmark 7 and sport gt 0"],
            &["-6taiem", "fwmark 0"],
            &["-uanm", "fwmark != 0x1f"],
            &["-tuanO", "-i", "fwmark 0/0xff"],
            &["-tan", "dev lo and fwmark 0"],
        ] {
            let said = |program: &Path| {
                let mut command = Command::new(program);
                let finished = run(without_root(command.args(arguments)));
                (
                    finished.code(),
                    comparable(&finished.stdout),
                    finished.stderr,
                )
            };
            let theirs = said(Path::new("ss"));
            assert_eq!(said(&directory.path().join("ss")), theirs, "{arguments:?}");
        }
    });
}
