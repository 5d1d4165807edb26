//! `lntu wait`: waits until ports are listening, or until they are free.

use std::time::{Duration, Instant};

use super::entrypoint::Application;
use super::pace::{Interval, Pace};
use super::probe::{Looks, Probe, Wanted};
use super::settle::{CONFIRMATION, Settling};
use crate::error::Error;
use crate::output::Format;
use crate::report;
use crate::sys;

/// The time between two lines on stderr that say what `wait` is waiting for.
const PROGRESS: Duration = Duration::from_secs(10);

/// How long and how often `wait` looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// The time between two polls.
    pub interval: Interval,
    /// When to give up. `None` means never.
    pub timeout: Option<Duration>,
    /// The value of `--settle`: how long the PORTs must listen without a break.
    pub settle: Option<Duration>,
}

/// Waits until the answer of `probe` is yes, then execs the application. Without an
/// application, returns true. With `--any`, also prints the found listeners, in `format`. At
/// the timeout, prints the reason to stderr and returns false.
///
/// # Errors
/// If the answer is unknown: immediately if waiting cannot help, otherwise at the timeout.
/// If the listeners cannot be printed, or the application cannot be executed.
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
    let mut settling = Settling::new(least);
    let mut is_last = false;
    loop {
        let start = Instant::now();
        pace.start_poll(start);
        // One snapshot proves that a port listens, but not that none does. Listeners are
        // confirmed by the next poll, so only --closed needs a second look.
        probe.look(if closes { Looks::Twice } else { Looks::Once })?;
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
            // A listener that was first seen before the timeout may be confirmed by one
            // more poll.
            if !is_listening || options.settle.is_some() || is_last {
                is_met?;
                report::warn_with(|| explain(probe, is_listening, options, waited));
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
        // std's `sleep` panics if the kernel refuses the call.
        sys::wait_until_gone(due, None, None);
    }
}

/// Why the answer is still no after `waited`.
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
