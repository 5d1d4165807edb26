//! Soak test. Thousands of listeners and connections come and go while a watcher polls. The
//! watcher must report exactly what happened.
//!
//! `cargo test --test soak [-- NAME...]` runs every configuration, or those whose names contain
//! a NAME. `LNTU_SOAK_SECONDS` is the time for all of them together.

mod churn;
mod truth;
mod verdict;
mod watching;

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lntu::listener::Protocol;
use rustix::process::{Resource, Rlimit, Signal};
use tempfile::TempDir;

use churn::{Helper, Kind};
use truth::{Identity, Lifetime, Truth, now};
use verdict::{Event, Verdict, judge};
use watching::{Asked, Record, Scope, Watched, Watching};

/// One run: a watcher, and the helpers that open and close sockets meanwhile.
struct Configuration {
    name: &'static str,
    watched: Watched,
    asked: Asked,
    scope: Scope,
    /// In each of the four tables, this many listeners stay open during the run.
    stable: u16,
    helpers: &'static [Kind],
    /// Whether the watcher must report something false, because it runs with a known fault.
    /// Such a run proves that the test can fail.
    must_fail: bool,
}

const IN_PROCESS: Watched = Watched::InProcess { second_look: true };
const ALL: &[Kind] = &[
    Kind::Listeners,
    Kind::Listeners,
    Kind::Connections,
    Kind::Groups,
];
const HEAVY: &[Kind] = &[Kind::Datagrams, Kind::Bursts, Kind::Bursts, Kind::Groups];

const CONFIGURATIONS: [Configuration; 17] = [
    Configuration {
        name: "everything, /proc, in process",
        watched: IN_PROCESS,
        asked: Asked::Proc,
        scope: Scope::All,
        stable: 60,
        helpers: ALL,
        must_fail: false,
    },
    Configuration {
        name: "everything, /proc, program",
        watched: Watched::Program,
        asked: Asked::Proc,
        scope: Scope::All,
        stable: 60,
        helpers: ALL,
        must_fail: false,
    },
    Configuration {
        name: "everything, ss, program",
        watched: Watched::Program,
        asked: Asked::Auto,
        scope: Scope::All,
        stable: 60,
        helpers: ALL,
        must_fail: false,
    },
    Configuration {
        name: "datagrams, /proc, in process",
        watched: IN_PROCESS,
        asked: Asked::Proc,
        scope: Scope::All,
        stable: 250,
        helpers: &[Kind::Datagrams],
        must_fail: false,
    },
    Configuration {
        name: "bursts, /proc, in process",
        watched: IN_PROCESS,
        asked: Asked::Proc,
        scope: Scope::All,
        stable: 250,
        helpers: HEAVY,
        must_fail: false,
    },
    Configuration {
        name: "bursts, ss, in process",
        watched: IN_PROCESS,
        asked: Asked::Auto,
        scope: Scope::All,
        stable: 250,
        helpers: HEAVY,
        must_fail: false,
    },
    Configuration {
        name: "few, /proc, in process",
        watched: IN_PROCESS,
        asked: Asked::Proc,
        scope: Scope::All,
        stable: 0,
        helpers: &[Kind::Few, Kind::Few],
        must_fail: false,
    },
    Configuration {
        name: "everything, netlink, in process",
        watched: IN_PROCESS,
        asked: Asked::Netlink,
        scope: Scope::All,
        stable: 60,
        helpers: ALL,
        must_fail: false,
    },
    Configuration {
        name: "everything, netlink, program",
        watched: Watched::Program,
        asked: Asked::Netlink,
        scope: Scope::All,
        stable: 60,
        helpers: ALL,
        must_fail: false,
    },
    Configuration {
        name: "bursts, netlink, in process",
        watched: IN_PROCESS,
        asked: Asked::Netlink,
        scope: Scope::All,
        stable: 250,
        helpers: HEAVY,
        must_fail: false,
    },
    Configuration {
        name: "few, netlink, in process",
        watched: IN_PROCESS,
        asked: Asked::Netlink,
        scope: Scope::All,
        stable: 0,
        helpers: &[Kind::Few, Kind::Few],
        must_fail: false,
    },
    Configuration {
        name: "everything, /proc, program, by port",
        watched: Watched::Program,
        asked: Asked::Proc,
        scope: Scope::ByPort,
        stable: 60,
        helpers: ALL,
        must_fail: false,
    },
    Configuration {
        name: "everything, netlink, program, of one process tree",
        watched: Watched::Program,
        asked: Asked::Netlink,
        scope: Scope::Of,
        stable: 60,
        helpers: ALL,
        must_fail: false,
    },
    Configuration {
        name: "bursts, an ss that changes its mind, in process",
        watched: IN_PROCESS,
        asked: Asked::Flapping,
        scope: Scope::All,
        stable: 250,
        helpers: HEAVY,
        must_fail: false,
    },
    Configuration {
        name: "namespaces, netlink, program",
        watched: Watched::Program,
        asked: Asked::Netlink,
        scope: Scope::AllNamespaces,
        stable: 60,
        helpers: &[Kind::Namespaces],
        must_fail: false,
    },
    Configuration {
        name: "namespaces, /proc, program",
        watched: Watched::Program,
        asked: Asked::Proc,
        scope: Scope::AllNamespaces,
        stable: 60,
        helpers: &[Kind::Namespaces],
        must_fail: false,
    },
    Configuration {
        name: "bursts, /proc, without the second look",
        watched: Watched::InProcess { second_look: false },
        asked: Asked::Proc,
        scope: Scope::All,
        stable: 250,
        helpers: HEAVY,
        must_fail: true,
    },
];

/// The time for each configuration in seconds, if `LNTU_SOAK_SECONDS` is not set.
const SECONDS_EACH: f64 = 5.0;
/// How long the test waits for an event that must happen, before it fails.
const DEADLINE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--exec") => {
            die_with_parent();
            panic!(
                "{}",
                Command::new(&arguments[1]).args(&arguments[2..]).exec()
            );
        }
        Some("--watch") => {
            die_with_parent();
            watching::watch_in_process(&arguments[1..]).unwrap();
        }
        Some("--churn") => {
            die_with_parent();
            // Lower the priority of this helper, because the helpers would starve the watcher.
            rustix::process::nice(5).unwrap();
            Helper::from_arguments(&arguments[1..]).run().unwrap();
        }
        // Start a child and exit. The child then gets another parent, so it is no longer a
        // descendant of the soak test.
        Some("--stranger") => {
            let mut command = helper_process("--orphan");
            #[expect(clippy::zombie_processes)] // init reaps the child.
            command.args(&arguments[1..]).spawn().unwrap();
        }
        Some("--orphan") => Helper::from_arguments(&arguments[1..]).run().unwrap(),
        _ => return soak(&arguments),
    }
    ExitCode::SUCCESS
}

/// A command that runs this test program in another role. The caller appends arguments.
fn helper_process(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(role).stdin(Stdio::null());
    command.env("LNTU_SOAK_PARENT", std::process::id().to_string());
    command
}

/// Makes the kernel kill this process when its parent dies, even if this process has executed
/// another program by then.
fn die_with_parent() {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let parent = std::env::var("LNTU_SOAK_PARENT").unwrap();
    assert_eq!(parent, parent_id().to_string(), "the parent is gone");
}

fn soak(arguments: &[String]) -> ExitCode {
    if let Err(why) = in_private_network(|| ()) {
        return skipped("soak", "netns", &why);
    }
    let files = Rlimit {
        current: Some(8192),
        maximum: Some(8192),
    };
    let _ = rustix::process::setrlimit(Resource::Nofile, files);
    let is_name = |argument: &&String| !argument.starts_with('-');
    let names: Vec<&String> = arguments.iter().filter(is_name).collect();
    let is_chosen = |configuration: &&Configuration| {
        names.is_empty() || names.iter().any(|name| configuration.name.contains(*name))
    };
    let chosen: Vec<&Configuration> = CONFIGURATIONS.iter().filter(is_chosen).collect();
    let runs_lists = names.is_empty() || names.iter().any(|name| LISTS.contains(name.as_str()));
    let runs = chosen.len() + usize::from(runs_lists);
    let seconds = match std::env::var("LNTU_SOAK_SECONDS") {
        Ok(total) => total.parse::<f64>().unwrap() / runs as f64,
        Err(_) => SECONDS_EACH,
    };
    let mut failed = false;
    let ss = Command::new("ss").arg("-V").output();
    for configuration in chosen {
        if let (Asked::Auto | Asked::Flapping, Err(why)) = (configuration.asked, &ss) {
            let skipped = skipped(configuration.name, "ss", &why.to_string());
            failed |= skipped != ExitCode::SUCCESS;
            continue;
        }
        if configuration.scope == Scope::AllNamespaces && std::env::var_os(INSIDE).is_none() {
            failed |= !run_inside(configuration.name, seconds);
            continue;
        }
        let run = || run(configuration, Duration::from_secs_f64(seconds));
        // If the watcher must fail, try several times: a false report needs luck, and on a busy
        // machine, a run may have none.
        let tries = if configuration.must_fail { 10 } else { 1 };
        failed |= !(0..tries).any(|_| in_private_network(run).unwrap());
    }
    if runs_lists {
        let lists = || run_lists(Duration::from_secs_f64(seconds));
        let mut made = Some(0);
        // Try several times, because a run on a busy machine may print too few lists.
        for _ in 0..10 {
            if made.is_none_or(|made| made >= LEAST_LISTS) {
                break;
            }
            let lists = in_private_network(lists).unwrap();
            made = made.zip(lists).map(|(made, lists)| made + lists);
        }
        failed |= made.is_none_or(|made| made < LEAST_LISTS);
    }
    ExitCode::from(u8::from(failed))
}

/// An environment variable that is set if this program runs in a PID namespace that contains only
/// processes of the soak test.
const INSIDE: &str = "LNTU_SOAK_INSIDE";

/// Runs one configuration in a PID namespace that contains only processes of the soak test, so that
/// `--all-namespaces` finds only network namespaces of the test.
fn run_inside(name: &str, seconds: f64) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--net", "--fork", "--mount-proc", "--kill-child"]);
    let unmount = include_str!("../e2e/harness/unmount_namespaces.sh");
    unshare.args(["sh", "-c", &format!("{unmount}\nexec \"$0\" \"$@\"")]);
    unshare.arg(std::env::current_exe().unwrap()).arg(name);
    unshare
        .env(INSIDE, "")
        .env("LNTU_SOAK_SECONDS", seconds.to_string());
    unshare.status().unwrap().success()
}

const LISTS: &str = "waves, list and check";
/// The least number of times that a run must execute `list` and `check`. A run with fewer proves
/// nothing.
const LEAST_LISTS: u32 = 20;

/// Runs `list` and `check` with each source in turn, while UDP sockets open and close in waves.
/// Each `list` and `check` must find the listeners that stay open, unless it answers "could not
/// tell". Returns how often `list` ran, or `None` if a listener was missing.
fn run_lists(duration: Duration) -> Option<u32> {
    let directory = TempDir::new().unwrap();
    let stable = churn::stable(250).unwrap();
    let stable: BTreeSet<Identity> = stable.iter().map(|(identity, _)| *identity).collect();
    let (mut lists, mut partial, mut missed) = (0, 0, 0);
    let (mut checks, mut unknown, mut denied) = (0, 0, 0);
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let configuration = Configuration {
                name: LISTS,
                watched: IN_PROCESS,
                asked: Asked::Proc,
                scope: Scope::All,
                stable: 0,
                helpers: HEAVY,
                must_fail: false,
            };
            churn_for(
                &configuration,
                duration,
                directory.path(),
                &mut Truth::default(),
            );
        });
        let mut udp = stable
            .iter()
            .filter(|(protocol, _)| *protocol == Protocol::Udp)
            .cycle();
        let mut sources = ["proc", "netlink", "auto"].into_iter().cycle();
        while !churn.is_finished() {
            let source = sources.next().unwrap();
            let mut list = Command::new(env!("CARGO_BIN_EXE_lntu"));
            let output = list
                .args(["list", "--json", "--source", source])
                .output()
                .unwrap();
            let list = output.status;
            let text = String::from_utf8(output.stdout).unwrap();
            let listed: BTreeSet<Identity> = text.lines().map(watching::identity).collect();
            lists += 1;
            partial += usize::from(!list.success());
            missed += usize::from(list.success() && !stable.is_subset(&listed));
            let (_, endpoint) = udp.next().unwrap();
            let mut check = Command::new(env!("CARGO_BIN_EXE_lntu"));
            let port = format!("{}/udp", endpoint.port);
            let checked = check
                .args(["check", "-q", "--source", source, &port])
                .status()
                .unwrap();
            checks += 1;
            unknown += usize::from(checked.code() == Some(2));
            denied += usize::from(checked.code() == Some(1));
        }
        churn.join().unwrap();
    });
    println!(
        "soak: {LISTS}: {lists} lists, {partial} partial, {missed} that lack a stable listener \
         without a word; {checks} checks, {unknown} unknown, {denied} that deny one"
    );
    (missed == 0 && denied == 0).then_some(lists)
}

/// Prints that a run is skipped, and the reason. Returns a failure if `LNTU_TEST_REQUIRE` contains
/// `needs`, or if the reason is only that the machine is busy (EAGAIN).
fn skipped(run: &str, needs: &str, why: &str) -> ExitCode {
    let required = std::env::var("LNTU_TEST_REQUIRE").unwrap_or_default();
    let is_required = required.split(',').any(|name| name == needs);
    let is_busy = why.contains("Resource temporarily unavailable");
    eprintln!("skipped {run}: needs {needs}: {why}");
    ExitCode::from(u8::from(is_required || is_busy))
}

/// Runs `work` on a thread in a new network namespace, with `lo` up. Programs that `work` starts
/// are in it, too.
fn in_private_network<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    let enter = || {
        #[allow(deprecated)] // The call affects only later sockets and children.
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET)
            .map_err(|error| format!("unshare: {error}"))?;
        let lo_up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        match lo_up {
            Ok(status) if status.success() => Ok(work()),
            other => Err(format!("ip link set lo up: {other:?}")),
        }
    };
    thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A process that is killed when this value is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs one configuration. Returns whether the verdict is the one that the configuration requires.
fn run(configuration: &Configuration, duration: Duration) -> bool {
    let directory = TempDir::new().unwrap();
    let mut truth = Truth::default();
    let opening = now();
    let stable = churn::stable(configuration.stable).unwrap();
    let forever = Lifetime {
        opening,
        open: now(),
        closing: u64::MAX,
        closed: u64::MAX,
    };
    for (identity, _) in &stable {
        truth.add(*identity, forever);
    }
    let Configuration {
        watched,
        asked,
        scope,
        ..
    } = *configuration;
    let watching = Watching::start(watched, asked, scope, directory.path());
    expect_sentinel(&watching, &mut truth, 0);
    churn_for(configuration, duration, directory.path(), &mut truth);
    // The helpers have ended, so nothing disturbs the polls from here on.
    expect_sentinel(&watching, &mut truth, 1);
    let record = watching.finish();
    if scope == Scope::ByPort {
        truth.merge_addresses();
    }
    truth.sort();
    let mut verdict = judge(&truth, &record.polls, &record.events);
    check_replay(
        &mut verdict,
        &record.events,
        stable
            .iter()
            .map(|(identity, _)| scope.reported_as(*identity)),
    );
    report(configuration, &record, &verdict)
}

/// Opens a listener and waits until the watcher reports it, then closes it and waits again.
fn expect_sentinel(watching: &Watching, truth: &mut Truth, number: u16) {
    let opening = now();
    let (identity, socket) = churn::sentinel(number).unwrap();
    let open = now();
    let port = format!("\"tcp:{}:{}\"", identity.1.address, identity.1.port);
    let wait = |closed: bool| {
        let end = Instant::now() + DEADLINE;
        let is_reported =
            |line: &str| line.contains(&port) && line.contains("\"type\":\"closed\"") == closed;
        while !watching.text().lines().rev().take(5_000).any(is_reported) {
            assert!(Instant::now() < end, "{port} is not reported");
            thread::sleep(Duration::from_millis(20));
        }
    };
    wait(false);
    let closing = now();
    drop(socket);
    let closed = now();
    wait(true);
    let life = Lifetime {
        opening,
        open,
        closing,
        closed,
    };
    truth.add(identity, life);
}

/// Runs the helpers for the given duration and adds their logs to the truth.
fn churn_for(
    configuration: &Configuration,
    duration: Duration,
    directory: &Path,
    truth: &mut Truth,
) {
    let end = now() + duration.as_nanos() as u64;
    if configuration.scope == Scope::Of {
        start_stranger(end, directory);
    }
    let helpers: Vec<(Helper, Killed)> = (1u16..)
        .zip(configuration.helpers)
        .map(|(number, kind)| {
            let helper = Helper {
                kind: *kind,
                number,
                end,
                log: churn::log_in(directory, *kind, number),
            };
            let mut command = helper_process("--churn");
            command.args(helper.arguments());
            let child = command.spawn().unwrap();
            (helper, Killed(child))
        })
        .collect();
    for (helper, mut process) in helpers {
        let give_up = Instant::now() + duration + DEADLINE;
        let status = loop {
            if let Some(status) = process.0.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < give_up, "{helper:?} does not end");
            thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{helper:?}: {status}");
        truth.add_log(&helper.log);
    }
}

/// Starts a helper that is not a descendant of this process. The watcher of this process tree must
/// not report the helper's listeners.
fn start_stranger(end: truth::Nanoseconds, directory: &Path) {
    let (kind, number) = (Kind::Listeners, 9);
    let helper = Helper {
        kind,
        number,
        end,
        log: churn::log_in(directory, kind, number),
    };
    let mut command = helper_process("--stranger");
    assert!(command.args(helper.arguments()).status().unwrap().success());
}

/// Checks that the listeners that are open after all events are those of the table.
fn check_replay(verdict: &mut Verdict, events: &[Event], table: impl Iterator<Item = Identity>) {
    let mut replayed = BTreeSet::new();
    for event in events {
        match event.opened {
            true => replayed.insert(event.identity),
            false => replayed.remove(&event.identity),
        };
    }
    let table: BTreeSet<Identity> = table.collect();
    for difference in replayed.symmetric_difference(&table) {
        verdict.wrong += 1;
        verdict.examples.push(format!("replayed: {difference:?}"));
    }
}

fn report(configuration: &Configuration, record: &Record, verdict: &Verdict) -> bool {
    let Verdict {
        events,
        polls,
        spanning,
        late,
        wrong,
        missed,
        missed_of_udp,
        ..
    } = verdict;
    // A missed event about UDP is no fault if the watcher reads all namespaces, because it may
    // postpone UDP to a later poll.
    let wrongly_missed = match configuration.scope {
        Scope::AllNamespaces => missed - missed_of_udp,
        _ => *missed,
    };
    let looks = match record.second_looks {
        None => String::new(),
        Some(looks) => {
            let percent = 100.0 * looks.needed as f64 / *polls as f64;
            let (taken, needed) = (looks.taken, looks.needed);
            format!(", {taken} polls took a second look, {needed} needed it ({percent:.1} %)")
        }
    };
    let name = configuration.name;
    let lengths = record.polls.iter().map(|window| window.end - window.begin);
    let milliseconds = lengths.sum::<u64>() as f64 / 1e6 / *polls as f64;
    println!(
        "soak: {name}: {events} events checked, {wrong} false, {missed} missed{looks}; \
         {polls} polls of {milliseconds:.1} ms, {spanning} listeners spanned two, of which {late} were seen by the second"
    );
    // If the watcher fell back to another source, the run proves nothing about netlink.
    if configuration.asked == Asked::Netlink {
        assert!(!record.errors.contains("/net instead"), "{}", record.errors);
    }
    for line in record.errors.lines().take(8) {
        eprintln!("  the watcher said: {line}");
    }
    for example in &verdict.examples {
        eprintln!("  {example}");
    }
    match configuration.must_fail {
        true => *wrong > 0,
        false => *wrong == 0 && wrongly_missed == 0,
    }
}
