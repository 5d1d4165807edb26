//! Tests of how often a watcher polls. A fake ss uses CPU time or sleeps, and records when each of
//! its runs starts and ends. Unit tests in `command::pace` check the pace that follows from each
//! cost.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::*;

/// A shell script that uses tens of milliseconds of CPU time.
const BURN: &str = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
const ANSWER: &str = "echo 'Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port'
                      echo 'tcp LISTEN 0 0 127.0.0.1:1 0.0.0.0:*'";

/// A directory with a fake ss. Each run of the fake ss runs a script, and records the times, in
/// nanoseconds, at which the run starts and ends.
struct TimedSs(TempDir);

impl TimedSs {
    fn new(work: &str) -> TimedSs {
        let directory = TempDir::new().unwrap();
        let times = directory.path().display();
        let script = format!(
            "date +%s%N >>{times}/starts; runs=$(wc -l <{times}/starts)
             {work}
             {ANSWER}
             date +%s%N >>{times}/ends"
        );
        write_program(&directory.path().join("ss"), &script);
        TimedSs(directory)
    }

    fn watcher(&self, arguments: &[&str]) -> Running {
        let mut command = lntu(&[&["-H", "--source", "ss"], arguments].concat());
        Running::start(command.env("PATH", path_with(self.0.path())))
    }

    fn times(&self, file: &str) -> Vec<u64> {
        let times = fs::read_to_string(self.0.path().join(file)).unwrap_or_default();
        times.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits for at least `number` pauses and returns their lengths. A pause lasts from the end of
    /// one run to the start of the next.
    fn pauses(&self, number: usize) -> Vec<Duration> {
        wait_for("more runs of ss", || {
            (self.times("starts").len() > number).then_some(())
        });
        let (starts, ends) = (self.times("starts"), self.times("ends"));
        let pauses = ends.iter().zip(&starts[1..]);
        pauses
            .map(|(end, start)| Duration::from_nanos(start - end))
            .collect()
    }
}

/// The CPU time of a process plus that of the children that it has reaped.
fn cpu_time(pid: rustix::process::Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    // utime, stime, cutime and cstime, in ticks of 10 ms.
    let ticks = fields.split(' ').skip(11).take(4);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn polls_use_at_most_a_tenth_of_a_core() {
    let ss = TimedSs::new(BURN);
    let started = Instant::now();
    let watcher = ss.watcher(&["-i", "10ms"]);
    let (used, elapsed) = wait_for("a run after ten pauses", || {
        let (used, elapsed) = (cpu_time(watcher.pid()), started.elapsed());
        // Measure while ss runs. At that time, the pause after each earlier poll is over.
        let (starts, ends) = (ss.times("starts").len(), ss.times("ends").len());
        (starts > 10 && starts > ends).then_some((used, elapsed))
    });
    assert!(used >= Duration::from_millis(100), "{used:?}");
    // Allow 40 ms more, because the kernel rounds to ticks of 10 ms, and because the start of the
    // program is not part of a poll. Allow the cost of one more poll, because polls become more
    // expensive when other tests start.
    let limit = elapsed / 10 + Duration::from_millis(40) + used / 10;
    assert!(used <= limit, "{used:?} within {elapsed:?}");
}

#[test]
fn sleeping_in_a_poll_does_not_lengthen_the_pause() {
    let ss = TimedSs::new("sleep 0.5");
    let _watcher = ss.watcher(&["-i", "20ms"]);
    let shortest = ss.pauses(5).into_iter().min().unwrap();
    assert!(shortest < Duration::from_millis(500), "{shortest:?}");
}

#[test]
fn an_expensive_ss_runs_at_most_once_a_second() {
    // This script is so cheap that several runs a second would use less than a tenth of a core.
    let ss = TimedSs::new(&BURN.replace("100000", "20000"));
    let _watcher = ss.watcher(&[]);
    ss.pauses(4);
    let starts = ss.times("starts");
    let shortest = starts
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .min()
        .unwrap();
    let shortest = Duration::from_nanos(shortest);
    // Two runs must start at least one second apart. Allow 100 ms less, because the shell records
    // the start of a run with a varying delay.
    assert!(shortest > Duration::from_millis(900), "{shortest:?}");
}

#[test]
fn cheap_polls_run_up_to_ten_times_a_second() {
    let proc = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/proc/no-ipv6");
    let watcher = Running::start(&mut lntu(&["-H", "--proc", proc]));
    // The watcher sleeps only between two polls, so the number of sleeps is the number of polls.
    let sleeps = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", watcher.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    watcher.next_line();
    wait_for("a second with more than five polls", || {
        let (before, started) = (sleeps(), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        let polls = sleeps() - before;
        let limit = started.elapsed().as_millis() as u64 / 100 + 2;
        assert!(polls <= limit, "{polls}");
        (polls > 5).then_some(())
    });
}

#[test]
fn time_stopped_in_a_poll_does_not_lengthen_the_pause() {
    const STOPPED: Duration = Duration::from_millis(1500);
    let ss = TimedSs::new("[ $runs != 3 ] || { kill -STOP $PPID; sleep 1.5; kill -CONT $PPID; }");
    let _watcher = ss.watcher(&["-i", "20ms"]);
    let pause = ss.pauses(4)[2];
    assert!(pause < 4 * STOPPED, "{pause:?}");
}

#[test]
fn a_pause_goes_on_while_the_watcher_is_stopped() {
    const INTERVAL: Duration = Duration::from_secs(3);
    let ss = TimedSs::new("");
    let watcher = ss.watcher(&["-i", "3s"]);
    watcher.next_line();
    let runs = ss.times("starts").len();
    kill_process(watcher.pid(), Signal::STOP).unwrap();
    std::thread::sleep(INTERVAL + Duration::from_millis(500));
    kill_process(watcher.pid(), Signal::CONT).unwrap();
    let continued = Instant::now();
    wait_for("the next poll", || {
        (ss.times("starts").len() > runs).then_some(())
    });
    let pause = continued.elapsed();
    assert!(pause < INTERVAL, "{pause:?}");
}

#[test]
fn late_polls_are_reported_once() {
    let expensive = format!("{BURN}\n{ANSWER}");
    let ss = SwitchableSs::new(&expensive);
    let mut command = lntu(&["--json", "-i", "100ms", "--source", "ss"]);
    let watcher = Running::start(command.env("PATH", path_with(ss.path())));
    let next = || -> Value { serde_json::from_str(&watcher.next_line()).unwrap() };
    assert_eq!(next()["type"], "listening");
    assert_eq!(next()["type"], "ready");
    let late = next();
    assert_eq!(late["type"], "late");
    let interval = late["interval"].as_f64().unwrap();
    assert!(interval > 0.2, "{interval}");
    let message = watcher.next_error();
    let expected = format!("lntu: polling every {interval:.3} s instead of every 0.100 s: ");
    assert!(message.starts_with(&expected), "{message}");
    watcher.assert_no_more_errors();
    ss.becomes(ANSWER);
    assert_eq!(next()["type"], "on_time");
    assert_eq!(watcher.next_error(), "lntu: polling on time again");
}

/// The CPU time of the main thread of a process, which the kernel reports in nanoseconds here, not
/// in ticks.
fn precise_cpu_time(pid: rustix::process::Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// The watcher must count the time in which it prints tables as cost of a poll. With `--full` and
/// netlink, printing is a third of that cost.
#[test]
fn polls_are_rarer_if_printing_the_table_is_expensive() {
    in_private_network(|| {
        let limit = rustix::process::Rlimit {
            current: Some(4096),
            maximum: Some(4096),
        };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let listen = |port: u16| listen_on("127.0.0.1", port);
        let mut listeners: Vec<Listener> = (1001..=4000).map(listen).collect();
        let directory = TempDir::new().unwrap();
        let output = directory.path().join("output");
        let options = "--json --full -i 10ms --source netlink -o";
        let options: Vec<&str> = options.split(' ').collect();
        let watcher = Running::start(lntu(&options).arg(&output));
        // `port` must be the highest one, because its line is the last one of a table.
        let wait_for_table = |port: u16| {
            let number = format!("\"number\":{port},");
            wait_for("the table", || {
                let mut file = fs::File::open(&output).ok()?;
                let end = file.seek(SeekFrom::End(0)).ok()?;
                file.seek(SeekFrom::Start(end.saturating_sub(500))).ok()?;
                let mut tail = String::new();
                file.read_to_string(&mut tail).ok()?;
                tail.contains(&number).then_some(())
            });
            (precise_cpu_time(watcher.pid()), Instant::now())
        };
        let (used_before, started) = wait_for_table(4000);
        // The watcher limits its CPU time within ten seconds, not that of each poll. So measure
        // several polls.
        let tables = (4001..).map(|port| {
            listeners.push(listen(port));
            wait_for_table(port)
        });
        let mut late_tables =
            tables.skip_while(|(_, time)| *time - started < Duration::from_secs(12));
        let (used, ended) = late_tables.next().unwrap();
        let share = (used - used_before).as_secs_f64() / (ended - started).as_secs_f64();
        assert!(share <= 0.11, "{share}");
    });
}
