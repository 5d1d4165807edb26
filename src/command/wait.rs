//! `lntu wait`: wait until ports are listening, or until none is.

use std::time::{Duration, Instant};

use super::entrypoint::Application;
use super::pace::{Interval, Pace};
use super::probe::{Probe, Wanted};
use super::settle::{CONFIRMATION, Settling};
use crate::error::Error;
use crate::output::Format;
use crate::report;
use crate::sys;

/// How often a line on stderr says that the waiting goes on.
const PROGRESS: Duration = Duration::from_secs(10);

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// The time between two polls.
    pub interval: Interval,
    /// When to give up. `None` for never.
    pub timeout: Option<Duration>,
    /// How long the PORTs must listen without a break, if that was asked for.
    pub settle: Option<Duration>,
}

/// Waits until the ports are as wanted, then becomes the application. Without one, it
/// returns true, and if any one of the ports was enough, writes what was found in
/// `format`. If the ports are not as wanted at the timeout, it says why on stderr and
/// returns false.
///
/// # Errors
/// If it cannot be told: at once where more waiting does not help, else at the
/// timeout. If what was found cannot be written, or the application not executed.
pub fn run(
    mut probe: Probe,
    options: WaitOptions,
    format: Format,
    application: Option<Application>,
) -> Result<bool, Error> {
    if !wait(&mut probe, options)? {
        return Ok(false);
    }
    match application {
        Some(application) => Err(application.exec()),
        None => probe.write_found(format).map(|()| true),
    }
}

fn wait(probe: &mut Probe, options: WaitOptions) -> Result<bool, Error> {
    let started = Instant::now();
    let mut pace = Pace::new(options.interval, started, sys::cpu_time());
    let mut next_progress = PROGRESS;
    let closes = probe.wanted() == Wanted::None;
    let least = options.settle.unwrap_or_default().max(CONFIRMATION);
    let mut settling = Settling::new(least, false);
    let mut is_last = false;
    loop {
        let start = Instant::now();
        pace.start_poll(start);
        // Only "closed" is said after one look, which must then be right.
        probe.look(closes)?;
        let end = Instant::now();
        let is_met = probe.is_met();
        let is_listening = !closes && matches!(is_met, Ok(true));
        let is_settled = match closes {
            true => matches!(is_met, Ok(true)),
            false => probe.settle(&mut settling, [start, end]),
        };
        if is_settled {
            return Ok(true);
        }
        probe.require_knowable()?;
        let waited = started.elapsed();
        if options.timeout.is_some_and(|timeout| waited >= timeout) {
            // What was first seen in time may be confirmed by one more look.
            if !is_listening || options.settle.is_some() || is_last {
                is_met?;
                report::warn_of(|| explain(probe, is_listening, options, waited));
                return Ok(false);
            }
            is_last = true;
        }
        if waited >= next_progress {
            let (ports, seconds) = (probe.names(), waited.as_secs());
            let to = if closes { " to close" } else { "" };
            report::warn(format_args!("waiting for {ports}{to} ({seconds} s)"));
            next_progress = waited + PROGRESS;
        }
        let mut due = pace.end_poll(Instant::now(), sys::cpu_time(), false);
        let confirmed = end + least;
        if is_last {
            due = confirmed;
        } else {
            if is_listening {
                due = due.min(confirmed);
            }
            if let Some(timeout) = options.timeout {
                due = due.min(started + timeout);
            }
        }
        // Not std's `sleep`, which panics where the kernel refuses to.
        sys::wait_until_gone(due, None, None);
    }
}

/// Why the answer is no after this time.
fn explain(probe: &Probe, is_listening: bool, options: WaitOptions, waited: Duration) -> String {
    let (seconds, tenths) = (waited.as_secs(), waited.subsec_millis() / 100);
    let after = match options.timeout {
        Some(Duration::ZERO) => String::new(),
        _ => format!(" after {seconds}.{tenths} s"),
    };
    match is_listening {
        true => format!(
            "{}: did not keep listening for long enough{after}",
            probe.names()
        ),
        false => probe.explain(&after),
    }
}
