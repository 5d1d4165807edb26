//! Compares with ss in special conditions: in another network namespace, without `/proc`,
//! and without privileges.

use std::path::Path;
use std::process::{Command, Stdio};

use super::zoo::quiet_zoo;
use super::{comparable, copy_for_all};
use crate::harness::*;

/// The ss of iproute2.
const SS: &str = "/usr/bin/ss";

/// Runs `script` in its own mount namespace. The script gets `program` as `$0` and
/// `arguments` as `$@`. Returns the exit status, stdout and stderr.
fn result_in(program: &Path, script: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script]).arg(program);
    let finished = run(unshare.args(arguments).stdin(Stdio::null()));
    let stdout = comparable(&finished.stdout);
    (finished.status.code(), stdout, finished.stderr)
}

/// Asserts that both programs, run by `script`, have the same exit status and print the same
/// to stdout and stderr. Returns stdout and stderr.
fn assert_same_in(script: &str, arguments: &[&str]) -> (String, String) {
    let both = || {
        let expected = result_in(Path::new(SS), script, arguments);
        (result_in(&SS_LINK, script, arguments), expected)
    };
    // A counter may change between the two runs, so repeat both until they agree.
    let (mut actual, mut expected) = both();
    for _ in 0..20 {
        if actual != expected {
            (actual, expected) = both();
        }
    }
    assert_eq!(actual, expected, "{arguments:?}");
    (actual.1, actual.2)
}

/// A script that gives the current network namespace the name `named`, and runs the program in a
/// new network namespace. The name `plain` refers to a file that is not a network namespace.
const NAMED: &str = "\
mount -t tmpfs none /run && mkdir /run/netns && touch /run/netns/plain /run/netns/named
mount --bind /proc/self/ns/net /run/netns/named && exec unshare --net \"$0\" \"$@\"";

/// A script that runs the program without `/proc`.
const WITHOUT_PROC: &str = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";

/// Runs `test` in a network namespace with sockets, if ss and mount namespaces are available.
fn in_network_with_sockets(test: impl FnOnce() + Send) {
    if have_ss() && have_mounts() {
        in_private_network(|| {
            let _zoo = quiet_zoo();
            test();
        });
    }
}

#[test]
fn output_for_a_named_network_matches_ss() {
    in_network_with_sockets(|| {
        for arguments in [
            &["-N", "named", "-Htan"][..],
            &["-tanp", "-Nnamed"],
            &["--net=named", "-xa"],
            &["-uanN", "named", "dev", "lo"],
            &["-N", "../netns/named", "-s"],
            &["-lnmHMON", "named"],
        ] {
            let (stdout, stderr) = assert_same_in(NAMED, arguments);
            assert!(
                !stdout.is_empty() && stderr.is_empty(),
                "{arguments:?}: {stderr}"
            );
        }
    });
}

#[test]
fn help_is_printed_before_a_namespace_is_entered() {
    in_network_with_sockets(|| {
        let arguments = ["-h", "-N", "nowhere", "-V"];
        let (_, stdout, _) = result_in(&SS_LINK, NAMED, &arguments);
        assert!(!stdout.is_empty());
    });
}

#[test]
fn errors_for_unknown_network_namespaces_match_ss() {
    in_network_with_sockets(|| {
        for arguments in [
            &["-N", "nowhere"][..],
            &["-tN", "named", "-N", "no\u{e9}where"],
            &["-N", "plain", "-t"],
            &["-N", "", "-h"],
        ] {
            let (stdout, stderr) = assert_same_in(NAMED, arguments);
            assert!(stdout.is_empty() && stderr.contains("network namespace"));
        }
    });
}

/// The messages on stderr are not compared, because lntu and ss refuse the filter in different
/// words.
#[test]
fn a_cgroup_filter_is_refused_in_a_named_network() {
    in_network_with_sockets(|| {
        for cgroup in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/nonexistent"] {
            let filter = format!("not cgroup {cgroup}");
            let refused = |program| result_in(program, NAMED, &["-N", "named", "-t", &filter]);
            for (status, stdout, _) in [refused(&SS_LINK), refused(Path::new(SS))] {
                assert!(status != Some(0) && stdout.is_empty(), "{cgroup}: {stdout}");
            }
        }
    });
}

#[test]
fn the_error_for_a_forbidden_namespace_matches_ss() {
    in_network_with_sockets(|| {
        let unprivileged = NAMED.replace("--net", "--net setpriv --bounding-set -sys_admin");
        let (_, stderr) = assert_same_in(&unprivileged, &["-N", "named", "-t"]);
        assert!(
            stderr.ends_with("failed: Operation not permitted\n"),
            "{stderr}"
        );
    });
}

/// stderr is not compared, because only ss warns there that it finds no control groups.
#[test]
fn cgroups_are_unreachable_in_a_named_network() {
    in_network_with_sockets(|| {
        let arguments = ["-N", "named", "-tane", "--cgroup"];
        let stdout = |program| result_in(program, NAMED, &arguments).1;
        let expected = stdout(Path::new(SS));
        assert!(expected.contains(" cgroup:unreachable:"), "{expected}");
        assert_eq!(stdout(&SS_LINK), expected);
    });
}

#[test]
fn output_without_proc_matches_ss() {
    in_network_with_sockets(|| {
        for arguments in [
            &["-s"][..],
            &["-ts"],
            &["-tanp"],
            &["-lntup"],
            &["-xap", "-H"],
            &["-tai", "state", "listening"],
        ] {
            assert_same_in(WITHOUT_PROC, arguments);
        }
    });
}

/// For these command lines, lntu and ss print different messages to stderr, so the test compares
/// only stdout.
#[test]
fn tables_without_proc_have_as_many_rows_as_in_ss() {
    in_network_with_sockets(|| {
        for arguments in [
            &["-lnp"][..],
            &["-wp"],
            &["-a"],
            &["-Hm"],
            &["-an", "sport gt 0"],
        ] {
            let actual = result_in(&SS_LINK, WITHOUT_PROC, arguments);
            let expected = result_in(Path::new(SS), WITHOUT_PROC, arguments);
            // Each program lists its own netlink socket, whose row contains its process id.
            let length_before_own = |text: &str| text.split("tcpdiag:").next().map(str::len);
            let lines = |text: &str| text.lines().filter(|line| !line.contains("diag")).count();
            assert_eq!(actual.0, Some(0), "{actual:?}");
            assert_eq!(
                (length_before_own(&actual.1), lines(&actual.1)),
                (length_before_own(&expected.1), lines(&expected.1))
            );
            assert!(!actual.2.contains("/proc/net/tcp:"), "{actual:?}");
        }
    });
}

#[test]
fn a_missing_replacement_table_without_proc_fails() {
    in_network_with_sockets(|| {
        let script = "mount -t tmpfs none /proc && PROC_NET_TCP=/proc/none exec \"$0\" \"$@\"";
        let (status, stdout, _) = result_in(&SS_LINK, script, &["-tan"]);
        assert_eq!((status, &*stdout), (Some(1), ""));
    });
}

/// The kernel refuses to filter by marks for unprivileged users. ss reports the refusal, and then
/// reads `/proc/net`.
#[test]
fn unprivileged_filters_by_mark_match_ss() {
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
            let result = |program: &Path| {
                let mut command = Command::new(program);
                let finished = run(without_root(command.args(arguments)));
                (
                    finished.code(),
                    comparable(&finished.stdout),
                    finished.stderr,
                )
            };
            let expected = result(Path::new("ss"));
            let copy = directory.path().join("ss");
            assert_eq!(result(&copy), expected, "{arguments:?}");
        }
    });
}
