//! `lntu check`: are these ports listening?

use super::probe::Probe;
use crate::error::Error;
use crate::output::Format;
use crate::report;

/// Looks once. True if the ports are as wanted. If not, says why on stderr. If any
/// one of the ports was enough, writes what was found in `format`.
///
/// # Errors
/// If it cannot be told, or what was found cannot be written.
pub fn run(mut probe: Probe, format: Format) -> Result<bool, Error> {
    // The one look must be right.
    probe.look(true)?;
    let is_met = probe.is_met()?;
    match is_met {
        true => probe.write_found(format)?,
        false => report::warn_of(|| probe.explain("")),
    }
    Ok(is_met)
}
