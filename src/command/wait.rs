//! `lntu wait`: wait until ports are listening, or until none is.

use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::command::check::{Check, Wanted, names};
use crate::command::pace::Interval;
use crate::report::Verbosity;

/// How often a line on stderr says that the waiting goes on.
const PROGRESS: Duration = Duration::from_secs(10);

/// For what, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitOptions {
    /// The time between two polls.
    pub interval: Interval,
    /// When to give up; `None` for never.
    pub timeout: Option<Duration>,
    /// The state to wait for.
    pub wanted: Wanted,
    /// What is said on stderr.
    pub verbosity: Verbosity,
}

/// Returns true as soon as all ports are as wanted, and false if they are not
/// after the timeout, having named those on stderr.
///
/// # Errors
/// As soon as it cannot be told.
pub fn run(mut check: Check, options: WaitOptions) -> Result<bool, Error> {
    let WaitOptions {
        wanted, verbosity, ..
    } = options;
    let started = Instant::now();
    let mut next_progress = PROGRESS;
    loop {
        check.look(wanted == Wanted::Closed)?;
        check.require_known()?;
        let unmet = check.unmet(wanted);
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
            verbosity.warn(format_args!("{ports}: {still} after {seconds}.{tenths} s"));
            return Ok(false);
        }
        if waited >= next_progress {
            let (ports, seconds) = (names(&unmet), waited.as_secs());
            verbosity.warn(format_args!("waiting for {ports}{to} ({seconds} s)"));
            next_progress = waited + PROGRESS;
        }
        let pause = options.interval.pause_after(check.take_cost());
        let until_timeout = options.timeout.map(|timeout| timeout - waited);
        thread::sleep(until_timeout.map_or(pause, |left| left.min(pause)));
    }
}
