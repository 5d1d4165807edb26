//! Incomplete reads: rows that cannot be parsed, and rows that the kernel skips while sockets come
//! and go. A listener that was found is certain. A listener that was not found may still exist.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::*;

const SS_HEADER: &str = "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port";

/// A port on which [`changing_ss`] always lists a socket.
const CROWDED: &str = "127.3.0.1:5353/udp";

/// The row of a listener on 127.0.0.1.
fn row(port: u16) -> String {
    format!("   0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000\n")
}

/// Returns tables with listeners on ports 80 to 82 in which the row of port 81 is damaged. Before
/// each table is the name of its damage.
fn damaged_tables() -> Vec<(&'static str, String)> {
    let header = "  sl  local_address rem_address   st tx_queue rx_queue\n";
    let nul = "\0".repeat(80);
    let damaged = [
        (
            "cut",
            row(81).replace(" 00000000:0000 0A 00000000:00000000", ""),
        ),
        ("after zeros", format!("{nul}{}", row(81))),
        ("zeros inside", row(81).replace("7F:", "7F:\0")),
        ("only zeros", format!("{nul}\n")),
        ("too long", row(81).replace("0A", &"A".repeat(10_000))),
        ("without a state", row(81).replace("0A", "G")),
        ("with a long state", row(81).replace("0A", "0AA")),
    ];
    let mut tables: Vec<_> = damaged
        .map(|(name, damaged)| (name, format!("{header}{}{damaged}{}", row(80), row(82))))
        .into();
    // The first line counts as the header, unless it looks like the rest of a row.
    let first = format!("{nul}{}{}{}", row(81), row(80), row(82));
    tables.push(("in place of the header", first));
    tables
}

/// Makes a directory that stands in for `/proc`, with this table of TCP.
fn proc_with(tcp: &str) -> TempDir {
    let proc = TempDir::new().unwrap();
    fs::create_dir(proc.path().join("net")).unwrap();
    replace_table(&proc, tcp);
    proc
}

/// Replaces the table of TCP in one step.
fn replace_table(proc: &TempDir, tcp: &str) {
    let draft = proc.path().join("draft");
    fs::write(&draft, tcp).unwrap();
    fs::rename(draft, proc.path().join("net/tcp")).unwrap();
}

/// Runs lntu with these arguments and `--proc`.
fn run_with_proc(proc: &TempDir, arguments: &[&str]) -> Finished {
    let root = proc.path().to_str().unwrap();
    run(&mut lntu(&[arguments, &["--proc", root]].concat()))
}

#[test]
fn a_port_is_unknown_if_a_row_is_damaged() {
    for (damage, table) in damaged_tables() {
        let proc = proc_with(&table);
        for arguments in [
            &["check", "81"][..],
            &["wait", "--timeout", "10ms", "81"],
            &["wait", "--closed", "--timeout", "10ms", "81"],
        ] {
            let asked = run_with_proc(&proc, arguments);
            let why = asked.error();
            let said =
                why.starts_with("81/tcp: could not tell, because ") && why.contains("1 row cannot");
            assert!(said, "{damage}: {why}");
        }
        // The rows of ports 80 and 82 are intact, so the answers about these ports are certain.
        assert_eq!(
            run_with_proc(&proc, &["check", "80", "82"]).code(),
            0,
            "{damage}"
        );
        assert_eq!(
            run_with_proc(&proc, &["check", "--any", "80", "81"]).code(),
            0,
            "{damage}"
        );
        let closed = run_with_proc(&proc, &["wait", "--closed", "--timeout", "10ms", "80"]);
        assert_eq!(closed.code(), 1, "{damage}");
        // A UDP socket cannot be in the damaged table.
        assert_eq!(
            run_with_proc(&proc, &["check", "81/udp"]).code(),
            1,
            "{damage}"
        );
    }
}

#[test]
fn a_list_with_a_damaged_row_is_reported_as_partial() {
    for (damage, table) in damaged_tables() {
        let proc = proc_with(&table);
        let listed = run_with_proc(&proc, &["list", "-H"]);
        assert_eq!(
            (listed.code(), listed.stdout.lines().count()),
            (2, 2),
            "{damage}"
        );
        let said = "lntu: listeners may be missing: ";
        assert!(listed.stderr.starts_with(said), "{damage}: {listed:?}");
        assert_eq!(listed.stderr.lines().count(), 1, "{damage}");
        for arguments in [&["list", "-u"][..], &["list", "81/udp", "[::1]:81"]] {
            let other = run_with_proc(&proc, arguments);
            assert_eq!((other.code(), other.stderr.as_str()), (0, ""), "{damage}");
        }
        let verbose = run_with_proc(&proc, &["list", "-v", "-u"]);
        assert!(
            verbose.stderr.contains("1 row cannot be read"),
            "{damage}: {verbose:?}"
        );
    }
}

#[test]
fn a_damaged_row_closes_no_listener() {
    let whole = [row(80), row(81), row(82)].concat();
    for (damage, table) in damaged_tables() {
        let proc = proc_with(&whole);
        let root = proc.path().to_str().unwrap();
        let watching = ["-v", "-H", "-i", "10ms", "--proc", root];
        let watcher = Running::start(&mut lntu(&watching));
        for _ in 0..3 {
            assert!(watcher.next_line().contains("LISTEN"), "{damage}");
        }
        replace_table(&proc, &table);
        assert!(
            watcher.next_error().contains("1 row cannot be read"),
            "{damage}"
        );
        // The watcher still reports events of the intact rows.
        replace_table(&proc, &format!("{table}{}", row(83)));
        assert!(watcher.next_line().contains(":83"), "{damage}");
        replace_table(&proc, &row(83));
        for port in [":80", ":81", ":82"] {
            let line = watcher.next_line();
            assert!(
                line.contains("CLOSED") && line.contains(port),
                "{damage}: {line}"
            );
        }
    }
}

/// Makes an ss that lists `rows` UDP sockets. In some runs, it also lists a socket that is in no
/// other run. `lists_more` is a shell command that succeeds in those runs. In this command, `$n` is
/// the number of the run. The file `runs` gets one byte per run.
fn changing_ss(rows: u16, lists_more: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    let runs = directory.path().join("runs");
    let runs = runs.display();
    let rows: String = (1..=rows)
        .map(|n| format!("udp UNCONN 0 0 127.3.0.{n}:5353 0.0.0.0:*\n"))
        .collect();
    let script = format!(
        "echo >>{runs}; n=$(wc -l <{runs})\necho '{SS_HEADER}'\necho '{}'\n\
         if {lists_more}; then echo \"udp UNCONN 0 0 127.4.0.$n:5353 0.0.0.0:*\"; fi",
        rows.trim_end()
    );
    write_program(&directory.path().join("ss"), &script);
    directory
}

/// Returns how often the ss in this directory has run.
fn runs_of(directory: &Path) -> usize {
    fs::read(directory.join("runs")).unwrap_or_default().len()
}

/// Runs lntu with these arguments and the ss in this directory as its source.
fn run_with_ss(directory: &TempDir, arguments: &[&str]) -> Finished {
    let arguments = [arguments, &["--source", "ss"]].concat();
    run(lntu(&arguments).env("PATH", path_with(directory.path())))
}

#[test]
fn a_list_that_keeps_changing_is_reported_as_partial() {
    let directory = changing_ss(40, "true");
    let listed = run_with_ss(&directory, &["list", "-H"]);
    let said = "lntu: listeners may be missing: the list of udp changed during every read\n";
    assert_eq!((listed.code(), listed.stderr.as_str()), (2, said));
    assert_eq!(
        listed.stdout.lines().count(),
        40 + runs_of(directory.path())
    );
    assert_eq!(runs_of(directory.path()), 11);
}

#[test]
fn a_port_is_unknown_if_the_list_keeps_changing() {
    let directory = changing_ss(40, "true");
    assert_eq!(run_with_ss(&directory, &["check", CROWDED]).code(), 0);
    let said =
        "127.5.0.1:5353/udp: could not tell, because the list of udp changed during every read";
    let asked = run_with_ss(&directory, &["check", "127.5.0.1:5353/udp"]);
    assert_eq!(asked.error(), said);
    let closed = [
        "wait",
        "--closed",
        "--timeout",
        "10ms",
        "127.5.0.1:5353/udp",
    ];
    assert_eq!(run_with_ss(&directory, &closed).error(), said);
    // The list of TCP does not change.
    assert_eq!(run_with_ss(&directory, &["check", "81"]).code(), 1);
}

#[test]
fn a_row_missing_from_the_first_two_reads_is_found() {
    let directory = changing_ss(40, "[ $n = 3 ]");
    let listed = run_with_ss(&directory, &["list", "-H", "127.4.0.3:5353/udp"]);
    assert_eq!(listed.lines().len(), 1);
}

#[test]
fn a_short_list_is_read_a_single_time() {
    let directory = changing_ss(20, "true");
    assert_eq!(run_with_ss(&directory, &["list", "-H"]).lines().len(), 21);
    assert_eq!(runs_of(directory.path()), 1);
}

#[test]
fn a_close_is_reported_if_the_list_keeps_changing() {
    let directory = changing_ss(40, "true");
    let mut command = lntu(&["-H", "-i", "10ms", "--source", "ss", "127.4.0.1:5353/udp"]);
    let watcher = Running::start(command.env("PATH", path_with(directory.path())));
    // Only the first run of ss lists this socket.
    assert!(watcher.next_line().contains("127.4.0.1:5353"));
    assert!(watcher.next_line().contains("CLOSED"));
}

/// Rows are from the same moment only if they are in the same datagram, so lntu offers the kernel a
/// large buffer. 200 rows take 25 KB. With a smaller buffer, the first datagram would hold 4 KiB.
#[test]
fn netlink_lists_200_sockets_in_one_datagram() {
    if !have_program("strace", "strace") {
        return;
    }
    in_private_network(|| {
        let bind = |n| UdpSocket::bind(format!("127.3.0.{n}:5353")).unwrap();
        let _sockets: Vec<UdpSocket> = (1..=200).map(bind).collect();
        let mut strace = Command::new("strace");
        strace.args(["-e", "trace=recvfrom", "-e", "raw=recvfrom"]);
        strace.arg(env!("CARGO_BIN_EXE_lntu"));
        let listed = run(strace.args(["list", "-H", "-u", "--source", "netlink"]));
        assert_eq!(listed.stdout.lines().count(), 200);
        let lengths = listed.stderr.lines().filter_map(|line| {
            let (_, length) = line.rsplit_once("= ")?;
            i64::from_str_radix(length.strip_prefix("0x")?, 16).ok()
        });
        let with_rows: Vec<i64> = lengths.filter(|length| *length > 1000).collect();
        assert_eq!(with_rows.len(), 1, "{}", listed.stderr);
    });
}

/// Runs lntu without ss, in a mount namespace in which the shell command `mount` has changed
/// `/proc`.
fn run_after_mount(mount: &str, arguments: &[&str]) -> Finished {
    let script = format!("{mount} && exec env PATH={NO_SS} \"$0\" \"$@\"");
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script, env!("CARGO_BIN_EXE_lntu")]);
    run(unshare.args(arguments))
}

#[test]
fn tables_are_found_in_a_proc_mounted_with_subset_pid() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().display();
    let mount = format!("mount -t proc -o subset=pid proc {path} && mount --bind {path} /proc");
    if !have_mounts() {
        return;
    }
    in_private_network(|| {
        let tried = run_after_mount(&mount, &["-V"]);
        let missing = (!tried.status.success()).then(|| format!("subset=pid: {tried:?}"));
        if !have("netns", missing) {
            return;
        }
        let _listener = listen_on("127.0.0.1", 80);
        for arguments in [
            &["list", "-H"][..],
            &["list", "-H", "--source", "proc"],
            &["check", "--source", "proc", "80"],
            &["check", "80"],
        ] {
            let asked = run_after_mount(&mount, arguments);
            let lines = usize::from(arguments[0] == "list");
            assert_eq!(asked.lines().len(), lines, "{arguments:?}");
        }
    });
}
