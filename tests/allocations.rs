//! A poll that finds nothing new allocates nothing, so a watcher does not grow.

use std::ffi::OsStr;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use lntu::command::pace::Interval;
use lntu::command::watch::{WatchOptions, Watcher};
use lntu::output::{Format, Output};
use lntu::source::netlink::Netlink;
use lntu::source::{Source, SourceChoice, SourceOptions};

/// Counts the allocations of `polls` polls that find nothing new. A few polls
/// before them make room first.
fn allocations(choice: &SourceChoice, holders: bool, polls: usize) -> u64 {
    let options = WatchOptions {
        interval: Interval::OF_WATCH,
        changes_only: false,
        full: false,
        // As if nothing settled where nothing changes.
        settle: Duration::from_nanos(1),
        by_port: false,
        notify: None,
    };
    let no_ss = OsStr::new("/nonexistent:/neither");
    let source_options = SourceOptions {
        choice: choice.clone(),
        holders,
        ..SourceOptions::default()
    };
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

#[test]
fn a_hundred_thousand_polls_of_a_table_allocate_nothing() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc/no-ipv6");
    let choice = SourceChoice::Proc(PathBuf::from(table));
    assert_eq!(allocations(&choice, false, 100_000), 0);
}

/// The kernel's own tables, with and without looking for a missing ss. Other
/// processes may open ports meanwhile, and that would count, so there are
/// several tries.
#[test]
fn a_poll_of_the_kernel_allocates_nothing_even_where_ss_is_missing() {
    let _tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let _udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0"));
    // A socket bound to an interface makes lntu look up the interface's name.
    let on_lo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _ = socket2::SockRef::from(&on_lo).bind_device(Some(b"lo"));
    let mut choices = vec![
        SourceChoice::Proc(PathBuf::from("/proc")),
        SourceChoice::Auto,
    ];
    // If netlink is refused, the netlink source falls back to `/proc`, which is
    // tested already.
    match Netlink::new(|_| true).read(&mut Vec::new()) {
        Ok(()) => choices.push(SourceChoice::Netlink),
        Err(error) => {
            assert!(std::env::var_os("LNTU_TEST_REQUIRE").is_none(), "{error}");
            eprintln!("skipped netlink: {error}");
        }
    }
    for choice in choices {
        for holders in [false, true] {
            let least = (0..10).map(|_| allocations(&choice, holders, 100)).min();
            assert_eq!(least, Some(0), "{choice:?} {holders}");
        }
    }
}

/// Checks the counter itself: a change does allocate. Otherwise the tests above
/// would pass whatever happens.
#[test]
fn the_first_polls_do_allocate() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc/no-ipv6");
    let choice = SourceChoice::Proc(PathBuf::from(table));
    assert!(
        allocation_counter::measure(|| {
            allocations(&choice, false, 1);
        })
        .count_total
            > 0
    );
}
