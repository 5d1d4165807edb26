//! `lntu wait`: wait until ports are listening, or until none is.

use std::time::{Duration, Instant};

use super::entrypoint::Application;
use super::pace::{Interval, Pace};
use super::probe::{Probe, Wanted};
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
    loop {
        pace.start_poll(Instant::now());
        // That a port listens is certain at once. That nothing does is not.
        probe.look(closes)?;
        let is_met = probe.is_met();
        if let Ok(true) = is_met {
            return Ok(true);
        }
        probe.require_knowable()?;
        let waited = started.elapsed();
        if options.timeout.is_some_and(|timeout| waited >= timeout) {
            is_met?;
            let (seconds, tenths) = (waited.as_secs(), waited.subsec_millis() / 100);
            report::warn_of(|| probe.explain(&format!(" after {seconds}.{tenths} s")));
            return Ok(false);
        }
        if waited >= next_progress {
            let (ports, seconds) = (probe.unmet_names(), waited.as_secs());
            let to = if closes { " to close" } else { "" };
            report::warn(format_args!("waiting for {ports}{to} ({seconds} s)"));
            next_progress = waited + PROGRESS;
        }
        let due = pace.end_poll(Instant::now(), sys::cpu_time(), false);
        let give_up = options.timeout.map(|timeout| started + timeout);
        // Not std's `sleep`, which panics where the kernel refuses to.
        sys::wait_until_gone(give_up.map_or(due, |give_up| give_up.min(due)), None, None);
    }
}
