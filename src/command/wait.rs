//! `lntu wait`: wait until ports are listening, or until none is.

use std::thread;
use std::time::{Duration, Instant};

use super::pace::Interval;
use super::probe::{Probe, Wanted, names};
use crate::error::Error;
use crate::report;

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

/// Returns true as soon as all ports are as wanted. If they are not at the
/// timeout, names those on stderr and returns false.
///
/// # Errors
/// As soon as it cannot be told.
pub fn run(mut probe: Probe, options: WaitOptions) -> Result<bool, Error> {
    let started = Instant::now();
    let mut next_progress = PROGRESS;
    let wanted = probe.wanted();
    loop {
        // That a port listens is certain at once. That nothing does is not.
        let cost = probe.look(wanted == Wanted::Closed)?;
        probe.require_known()?;
        let unmet = probe.unmet();
        let waited = started.elapsed();
        if unmet.is_empty() {
            return Ok(true);
        }
        let (still, to) = match wanted {
            Wanted::Listening => ("not listening", ""),
            Wanted::Closed => ("still listening", " to close"),
        };
        if options.timeout.is_some_and(|timeout| waited >= timeout) {
            let (seconds, tenths) = (waited.as_secs(), waited.subsec_millis() / 100);
            let ports = names(&unmet);
            report::warn(format_args!("{ports}: {still} after {seconds}.{tenths} s"));
            return Ok(false);
        }
        if waited >= next_progress {
            let (ports, seconds) = (names(&unmet), waited.as_secs());
            report::warn(format_args!("waiting for {ports}{to} ({seconds} s)"));
            next_progress = waited + PROGRESS;
        }
        let pause = options.interval.pause_after(cost);
        let until_timeout = options.timeout.map(|timeout| timeout - waited);
        thread::sleep(until_timeout.map_or(pause, |left| left.min(pause)));
    }
}
