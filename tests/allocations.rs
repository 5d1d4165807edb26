//! Tests that a poll that finds nothing new allocates no memory, so a watcher does not grow.

use std::ffi::OsStr;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use lntu::command::pace::Interval;
use lntu::command::watch::{WatchOptions, Watcher};
use lntu::output::{Format, Output};
use lntu::source::netlink::Netlink;
use lntu::source::{Source, SourceChoice, SourceOptions};

/// Counts the allocations of `polls` polls that find nothing new. A few earlier polls, which are
/// not counted, allocate the buffers.
fn allocations(source_options: SourceOptions, polls: usize) -> u64 {
    let options = WatchOptions {
        interval: Interval::OF_WATCH,
        changes_only: false,
        full: false,
        // The settle time is not zero, so that the code for --settle runs, too.
        settle: Duration::from_nanos(1),
        by_port: false,
        notify: None,
    };
    let no_ss = OsStr::new("/nonexistent:/neither");
    let source = Source::new(source_options, no_ss).unwrap();
    let output = Output::open(Some(PathBuf::from("/dev/null")), false).unwrap();
    let mut watcher = Watcher::new(source, Format::default(), output, options, None);
    let mut poll = |times| {
        for _ in 0..times {
            assert!(watcher.poll().is_continue());
        }
    };
    poll(3);
    allocation_counter::measure(|| poll(polls)).count_total
}

/// The options of a source that reads a table from a file, so the table does not change.
fn fixture() -> SourceOptions {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc/no-ipv6");
    SourceOptions {
        choice: SourceChoice::Proc(PathBuf::from(table)),
        ..SourceOptions::default()
    }
}

#[test]
fn one_hundred_thousand_polls_allocate_nothing() {
    assert_eq!(allocations(fixture(), 100_000), 0);
}

/// Each source reads the sockets of this machine. The source `Auto` also looks for ss, and does
/// not find it. Other processes may open ports meanwhile, and a report about those allocates, so
/// there are several tries.
#[test]
fn polls_of_live_sources_allocate_nothing() {
    let _tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let _udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0"));
    // This socket is bound to an interface, so lntu must look up the name of the interface.
    let on_lo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _ = socket2::SockRef::from(&on_lo).bind_device(Some(b"lo"));
    let mut choices = vec![
        SourceChoice::Proc(PathBuf::from("/proc")),
        SourceChoice::Auto,
    ];
    // If the kernel refuses netlink, skip the netlink source. It would fall back to `/proc`, which
    // is tested anyway.
    match Netlink::new(|_| true).read(&mut Vec::new()) {
        Ok(()) => choices.push(SourceChoice::Netlink),
        Err(error) => {
            assert!(std::env::var_os("LNTU_TEST_REQUIRE").is_none(), "{error}");
            eprintln!("skipped netlink: {error}");
        }
    }
    for choice in choices {
        for holders in [false, true] {
            let options = || SourceOptions {
                choice: choice.clone(),
                holders,
                ..SourceOptions::default()
            };
            let least = (0..10).map(|_| allocations(options(), 100)).min();
            assert_eq!(least, Some(0), "{choice:?} {holders}");
        }
    }
}

/// This test proves that the counter works. Otherwise, the tests above could never fail.
#[test]
fn the_counter_sees_the_allocations_of_first_polls() {
    let counted = allocation_counter::measure(|| {
        allocations(fixture(), 1);
    });
    assert!(counted.count_total > 0);
}
