//! `lntu wait`: wait until ports are listening, or until none is.

use std::thread;
use std::time::{Duration, Instant};

use super::pace::Interval;
use super::probe::{Probe, Wanted};
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

/// Returns true as soon as the ports are as wanted. If they are not at the timeout,
/// says why on stderr and returns false.
///
/// # Errors
/// As soon as it cannot be told.
pub fn run(probe: &mut Probe, options: WaitOptions) -> Result<bool, Error> {
    let started = Instant::now();
    let mut next_progress = PROGRESS;
    let closes = probe.wanted() == Wanted::None;
    loop {
        // That a port listens is certain at once. That nothing does is not.
        let cost = probe.look(closes)?;
        if probe.is_met()? {
            return Ok(true);
        }
        // More waiting does not make it known.
        probe.require_known()?;
        let waited = started.elapsed();
        if options.timeout.is_some_and(|timeout| waited >= timeout) {
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
        let pause = options.interval.pause_after(cost);
        let until_timeout = options.timeout.map(|timeout| timeout - waited);
        thread::sleep(until_timeout.map_or(pause, |left| left.min(pause)));
    }
}
