//! `lntu check`: are these ports listening?

use super::probe::{Probe, names};
use crate::error::Error;
use crate::report;

/// Looks once. True if all ports are listening. If not, the missing ones are named
/// on stderr.
///
/// # Errors
/// If it cannot be told.
pub fn run(mut probe: Probe) -> Result<bool, Error> {
    probe.look(true)?;
    let missing = probe.unmet();
    if missing.is_empty() {
        return probe.require_known().map(|()| true);
    }
    report::warn(format_args!("{}: not listening", names(&missing)));
    Ok(false)
}
