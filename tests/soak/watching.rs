//! Runs the watcher under test, which is the built program or a watcher in this test program. Turns
//! the output of the watcher into the events of polls.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lntu::command::watch::{WatchOptions, Watcher};
use lntu::listener::{Endpoint, Protocol};
use lntu::output::{Format, Output};
use lntu::report::{self, Verbosity};
use lntu::source::{SecondLooks, Source, SourceChoice, SourceOptions};
use serde_json::Value;

use crate::helper_process;
use crate::truth::{Identity, Nanoseconds, now, without_address};
use crate::verdict::{Event, Window};

/// The source that the watcher is asked to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Proc,
    /// The source `auto`: ss, or `/proc/net` if ss fails.
    Auto,
    /// The source `auto`, with an ss that at random answers, fails, hangs, prints half of its
    /// output or prints nothing. If it does not answer, the watcher reads `/proc/net`.
    Flapping,
    Netlink,
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Asked::Proc => "proc",
            Asked::Auto | Asked::Flapping => "auto",
            Asked::Netlink => "netlink",
        }
    }
}

/// Which listeners the program is asked to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All listeners.
    All,
    /// One line for each protocol and port.
    ByPort,
    /// The listeners of this process and its descendants.
    Of,
    /// The listeners of every network namespace. No two of them have the same protocol, address and
    /// port, so an identity does not need the namespace.
    AllNamespaces,
}

impl Scope {
    /// The identity under which a listener is judged.
    pub fn reported_as(self, identity: Identity) -> Identity {
        match self {
            Scope::ByPort => without_address(identity),
            Scope::All | Scope::Of | Scope::AllNamespaces => identity,
        }
    }
}

/// The way in which the watcher runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The watcher runs as the built program. The timestamps of its events show when it polled.
    Program,
    /// The watcher runs in this test program, which records the time of each poll.
    InProcess { second_look: bool },
}

/// A running watcher and the files that it writes to.
pub struct Watching {
    pub child: Child,
    watched: Watched,
    scope: Scope,
    started: Nanoseconds,
    events: PathBuf,
    polls: PathBuf,
    errors: PathBuf,
}

/// The output of the watcher, as polls and events.
pub struct Record {
    pub polls: Vec<Window>,
    pub events: Vec<Event>,
    /// `None` for the built program, which does not count its second looks.
    pub second_looks: Option<SecondLooks>,
    pub errors: String,
}

/// The interval of a watcher in this test program. The built program polls at its default pace.
const INTERVAL: &str = "10ms";

impl Watching {
    pub fn start(watched: Watched, asked: Asked, scope: Scope, directory: &Path) -> Watching {
        let [events, polls, errors] =
            ["events", "polls", "errors"].map(|name| directory.join(name));
        let mut command = match watched {
            Watched::Program => {
                let mut command = helper_process("--exec");
                command.arg(env!("CARGO_BIN_EXE_lntu"));
                command.args(["--json", "--source", asked.name()]);
                match scope {
                    Scope::All => {}
                    Scope::ByPort => drop(command.arg("--by-port")),
                    Scope::Of => drop(command.args(["--of", &std::process::id().to_string()])),
                    Scope::AllNamespaces => drop(command.arg("--all-namespaces")),
                }
                command
            }
            Watched::InProcess { second_look } => {
                let mut command = helper_process("--watch");
                command.arg(asked.name()).arg(second_look.to_string());
                command.arg(&events).arg(&polls);
                command
            }
        };
        if asked == Asked::Flapping {
            command.env("PATH", flapping_ss_in(directory));
        }
        command.stdin(Stdio::null());
        command.stdout(File::create(&events).unwrap());
        command.stderr(File::create(&errors).unwrap());
        Watching {
            started: now(),
            child: command.spawn().unwrap(),
            watched,
            scope,
            events,
            polls,
            errors,
        }
    }

    /// The output of the watcher so far.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.events).unwrap()
    }

    /// Ends the watcher and returns its output.
    pub fn finish(mut self) -> Record {
        if self.watched != Watched::Program {
            self.wait_until_recorded();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let text = self.text();
        let errors = fs::read_to_string(&self.errors).unwrap();
        match self.watched {
            Watched::Program => self.record_of_program(&text, errors),
            Watched::InProcess { .. } => self.record_in_process(&text, errors),
        }
    }

    /// Waits until the poll that wrote the last event is recorded. A watcher in this test program
    /// first writes the events of a poll, then records the poll. If it were killed in between,
    /// those events would belong to no poll.
    fn wait_until_recorded(&self) {
        let written = fs::metadata(&self.events).unwrap().len();
        let is_recorded = |line: &str| {
            let length = line.split(' ').nth(2).map(str::parse::<u64>);
            length.is_some_and(|length| length.is_ok_and(|length| length >= written))
        };
        let end = Instant::now() + crate::DEADLINE;
        while !fs::read_to_string(&self.polls)
            .unwrap()
            .lines()
            .next_back()
            .is_some_and(is_recorded)
        {
            assert!(Instant::now() < end, "the last poll is not recorded");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Turns timestamps into windows. All events of a poll have the same timestamp, which is taken
    /// after the poll has read the tables. So the poll read the tables between the previous
    /// timestamp and its own. A poll that found nothing new counts as part of the next poll.
    fn record_of_program(&self, text: &str, errors: String) -> Record {
        let mut polls: Vec<Window> = Vec::new();
        let mut events = Vec::new();
        let (realtime, monotonic) = both_clocks();
        let mut last = None;
        for line in text.lines() {
            let Some((identity, opened, timestamp)) = parse(line) else {
                continue;
            };
            let identity = self.scope.reported_as(identity);
            if last.as_ref() != Some(&timestamp) {
                // This timestamp and the current time are both truncated to milliseconds, so their
                // difference may be a millisecond too large or too small.
                let since = (realtime - milliseconds(&timestamp)) as Nanoseconds;
                let earliest = monotonic - (since + 1) * MILLISECOND;
                let end = earliest + 2 * MILLISECOND;
                let begin = polls
                    .last()
                    .map_or(self.started, |last| last.end - 2 * MILLISECOND);
                polls.push(Window { begin, end });
                last = Some(timestamp);
            }
            let poll = polls.len() - 1;
            // With --by-port, a listener may replace another on the same port. The watcher then
            // prints a line that the first closed and, directly after it, a line that the second
            // opened. The port stays open.
            let is_replacement = |last: &Event| {
                opened && !last.opened && last.poll == poll && last.identity == identity
            };
            if matches!(self.scope, Scope::ByPort) && events.last().is_some_and(is_replacement) {
                events.pop();
                continue;
            }
            events.push(Event {
                poll,
                opened,
                identity,
            });
        }
        Record {
            polls,
            events,
            second_looks: None,
            errors,
        }
    }

    fn record_in_process(&self, text: &str, errors: String) -> Record {
        let mut record = Record {
            polls: Vec::new(),
            events: Vec::new(),
            second_looks: Some(SecondLooks::default()),
            errors,
        };
        let mut start = 0;
        for line in fs::read_to_string(&self.polls).unwrap().lines() {
            let fields: Vec<u64> = line
                .split(' ')
                .map(|field| field.parse().unwrap())
                .collect();
            let [begin, end, length, taken, needed] = fields[..] else {
                break;
            };
            let poll = record.polls.len();
            record.polls.push(Window { begin, end });
            record.second_looks = Some(SecondLooks { taken, needed });
            for (identity, opened, _) in text[start..length as usize].lines().filter_map(parse) {
                record.events.push(Event {
                    poll,
                    opened,
                    identity,
                });
            }
            start = length as usize;
        }
        record
    }
}

/// Makes an ss in `directory` that at random answers or fails. Returns a PATH that starts with this
/// directory. The ss hangs only rarely, because the watcher does not run ss for a minute after it
/// has hung.
fn flapping_ss_in(directory: &Path) -> OsString {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let real = std::env::split_paths(&path).map(|directory| directory.join("ss"));
    let real = real.into_iter().find(|file| file.exists()).unwrap();
    let real = real.display();
    let script = format!(
        "#!/bin/bash
         case $((RANDOM % 300)) in
             0) exec sleep 10 ;;
             ?) exit 1 ;;
             [1-5]?) {real} \"$@\" | head -c $((RANDOM % 3000)) ;;
             [6-9]?) {real} \"$@\" | head -n 1 ;;
             1[0-5]?) exit 3 ;;
             *) exec {real} \"$@\" ;;
         esac"
    );
    let file = directory.join("ss");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let entries = [directory.to_path_buf()]
        .into_iter()
        .chain(std::env::split_paths(&path));
    std::env::join_paths(entries).unwrap()
}

const MILLISECOND: Nanoseconds = 1_000_000;

/// The time now, as milliseconds since 1970 and as CLOCK_MONOTONIC.
fn both_clocks() -> (i64, Nanoseconds) {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    (since.as_millis() as i64, now())
}

/// The milliseconds since 1970 of an RFC 3339 timestamp. Reads only the time of day, so the
/// timestamp must be less than a day old.
fn milliseconds(timestamp: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| timestamp[range].parse::<i64>().unwrap();
    let seconds = (number(11..13) * 60 + number(14..16)) * 60 + number(17..19);
    let time_of_day = seconds * 1000 + number(20..23);
    let (now, day) = (both_clocks().0, 86_400_000);
    let today = now - now % day + time_of_day;
    if today > now { today - day } else { today }
}

/// The identity of the listener in a line of JSON.
pub fn identity(line: &str) -> Identity {
    parse(line).expect("a listener").0
}

/// Parses a line into the identity of the listener, whether the listener opened, and the timestamp.
/// Returns `None` if the line is not about a listener.
fn parse(line: &str) -> Option<(Identity, bool, String)> {
    let value: Value = serde_json::from_str(line).unwrap();
    // The helpers keep the machine busy, so it is no fault if polls come late.
    if ["ready", "late", "on_time"].contains(&value["type"].as_str().unwrap()) {
        return None;
    }
    let protocol = match value["protocol"].as_str() {
        Some("tcp") => Protocol::Tcp,
        Some(_) => Protocol::Udp,
        // The line has another type, such as `lost`, which must not occur.
        None => panic!("the watcher printed {line}"),
    };
    let address: IpAddr = value["address"].as_str().unwrap().parse().unwrap();
    let port = value["number"].as_u64().unwrap() as u16;
    let opened = value["type"] != "closed";
    let timestamp = value["timestamp"].as_str().unwrap().to_string();
    let identity = (protocol, Endpoint { port, address });
    Some((identity, opened, timestamp))
}

/// Runs a watcher until it is killed. Records each poll in a file.
pub fn watch_in_process(arguments: &[String]) -> io::Result<()> {
    let [asked, second_look, events, polls] = arguments else {
        panic!("{arguments:?}");
    };
    let choice = match asked.as_str() {
        "auto" => SourceChoice::Auto,
        "netlink" => SourceChoice::Netlink,
        _ => SourceChoice::Proc(PathBuf::from("/proc")),
    };
    report::set_verbosity(Verbosity::Verbose);
    let options = WatchOptions {
        interval: INTERVAL.parse().unwrap(),
        changes_only: false,
        full: false,
        settle: Duration::ZERO,
        by_port: false,
        notify: None,
    };
    let format = Format {
        json: true,
        ..Format::default()
    };
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    let source_options = SourceOptions {
        choice,
        ..SourceOptions::default()
    };
    let source = Source::new(source_options, &path).unwrap();
    let source = match second_look.as_str() {
        "true" => source,
        _ => source.without_second_looks(),
    };
    let output = Output::open(Some(PathBuf::from(events)), false).unwrap();
    let mut watcher = Watcher::new(source, format, output, options, None);
    let mut polls = File::create(polls)?;
    loop {
        let begin = now();
        let ControlFlow::Continue(due) = watcher.poll() else {
            panic!("the watcher has ended");
        };
        let end = now();
        let length = fs::metadata(events)?.len();
        let SecondLooks { taken, needed } = watcher.second_looks();
        polls.write_all(format!("{begin} {end} {length} {taken} {needed}\n").as_bytes())?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
