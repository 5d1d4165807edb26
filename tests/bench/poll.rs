//! Measures costs within one process: splitting bytes into lines, decoding lines into sockets, a
//! poll of the tables, and a watcher's poll without changes. `cargo bench` runs this benchmark. The
//! script `peers` compares lntu with other programs.
//!
//! The tables are plain files, so the benchmark leaves out the kernel's cost of making them.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tempfile::TempDir;

use lntu::command::pace::Interval;
use lntu::command::watch::{WatchOptions, Watcher};
use lntu::kernel::proc::row::{decode_row, row_fields};
use lntu::kernel::proc::scan::Scanner;
use lntu::listener::Protocol;
use lntu::output::{Format, Output};
use lntu::report::{self, Verbosity};
use lntu::snapshot::Snapshot;
use lntu::source::{Known, Source, SourceChoice, SourceOptions};

fn main() {
    report::set_verbosity(Verbosity::Quiet);
    divan::main();
}

/// The contents of the tables.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// Ten listeners, as in a container. This is the common case.
    Listeners10,
    /// Ten listeners and 50,000 connections, as on a busy proxy. A poll must not cost more than in
    /// a container.
    Listeners10Connections50k,
    /// 10,000 listeners and no connections. lntu must decode every row.
    Listeners10k,
    /// 50,000 UDP sockets. Their rows have no order, so lntu must read the table to the end.
    Udp50k,
}

const INPUTS: [Input; 4] = [
    Input::Listeners10,
    Input::Listeners10Connections50k,
    Input::Listeners10k,
    Input::Udp50k,
];

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Input::Listeners10 => "10 listeners",
            Input::Listeners10Connections50k => "10 listeners, 50,000 connections",
            Input::Listeners10k => "10,000 listeners",
            Input::Udp50k => "50,000 UDP sockets",
        })
    }
}

impl Input {
    /// The protocol of the sockets, the number of listeners, and the number of other sockets.
    fn shape(self) -> (Protocol, usize, usize) {
        match self {
            Input::Listeners10 => (Protocol::Tcp, 10, 0),
            Input::Listeners10Connections50k => (Protocol::Tcp, 10, 50_000),
            Input::Listeners10k => (Protocol::Tcp, 10_000, 0),
            Input::Udp50k => (Protocol::Udp, 25_000, 25_000),
        }
    }

    /// The table as the kernel prints it.
    fn table(self) -> String {
        let (protocol, listeners, connections) = self.shape();
        let (listening, width) = match protocol {
            Protocol::Tcp => ("0A", 149),
            Protocol::Udp => ("07", 127),
        };
        let row = |number: usize| {
            let (address, port) = (0x0100007F + (number / 60_000) as u32, number % 60_000 + 1);
            let (state, remote) = match number < listeners {
                true => (listening, "00000000:0000"),
                false => ("01", "0200007F:9C40"),
            };
            let row = format!(
                "{number:4}: {address:08X}:{port:04X} {remote} {state} 00000000:00000000 \
                 00:00000000 00000000     0        0 {} 1 0000000000000000 100 0 0 10 0",
                number + 10_000
            );
            format!("{row:width$}\n")
        };
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n";
        (0..listeners + connections).fold(header.to_string(), |table, number| table + &row(number))
    }

    /// Makes a `/proc` with the table.
    fn proc(self) -> TempDir {
        let proc = TempDir::new().unwrap();
        let net = proc.path().join("net");
        fs::create_dir(&net).unwrap();
        let sockstat = "TCP: inuse 9 orphan 0\nUDP: inuse 9 mem 0\n";
        fs::write(net.join("sockstat"), sockstat).unwrap();
        fs::write(net.join("tcp"), "  sl  local_address\n").unwrap();
        fs::write(net.join(self.shape().0.name()), self.table()).unwrap();
        proc
    }
}

#[divan::bench(args = INPUTS)]
fn scan(bencher: Bencher, input: Input) {
    let table = input.table();
    let mut scanner = Scanner::default();
    bencher
        .counter(BytesCount::new(table.len()))
        .bench_local(|| {
            let mut lines = scanner.lines(table.as_bytes());
            let mut count = 0;
            while let Some(line) = lines.next().unwrap() {
                count += black_box(line).bytes.len();
            }
            count
        });
}

#[divan::bench(args = INPUTS)]
fn decode(bencher: Bencher, input: Input) {
    let table = input.table();
    let rows: Vec<_> = table
        .lines()
        .filter_map(|line| row_fields(line.as_bytes()))
        .collect();
    let protocol = input.shape().0;
    bencher
        .counter(ItemsCount::new(rows.len()))
        .bench_local(|| {
            for row in &rows {
                let _ = black_box(decode_row(black_box(row), protocol));
            }
        });
}

fn source(proc: &TempDir) -> Source {
    let options = SourceOptions {
        choice: SourceChoice::Proc(proc.path().to_path_buf()),
        ..SourceOptions::default()
    };
    Source::new(options, OsStr::new("")).unwrap()
}

#[divan::bench(args = INPUTS)]
fn poll(bencher: Bencher, input: Input) {
    let proc = input.proc();
    let mut source = source(&proc);
    let mut snapshot = Snapshot::default();
    bencher.bench_local(|| source.poll(Known::default(), &mut snapshot).unwrap());
    assert_eq!(snapshot.listeners().len(), input.shape().1);
}

#[divan::bench(args = INPUTS)]
fn steady_poll_of_a_watcher(bencher: Bencher, input: Input) {
    let proc = input.proc();
    let options = WatchOptions {
        interval: Interval::OF_WATCH,
        changes_only: true,
        full: false,
        settle: Duration::ZERO,
        by_port: false,
        notify: None,
    };
    let output = Output::open(Some(PathBuf::from("/dev/null")), false).unwrap();
    let mut watcher = Watcher::new(source(&proc), Format::default(), output, options, None);
    assert!(watcher.poll().is_continue());
    bencher.bench_local(|| watcher.poll());
}
