//! `lntu check`: are these ports listening?

use super::probe::{Looks, Probe};
use crate::error::Error;
use crate::output::Format;
use crate::report;

/// Answers the question from one snapshot. If the answer is no, prints the reason to stderr.
/// If the answer is yes, with `--any`, prints the found listeners, in `format`.
///
/// # Errors
/// If the answer is unknown, or the listeners cannot be printed.
pub fn run(mut probe: Probe, format: Format) -> Result<bool, Error> {
    // There is no later poll that could correct this answer, so look again for missing ports.
    probe.look(Looks::Twice)?;
    let is_met = probe.is_met()?;
    match is_met {
        true => probe.write_found(format)?,
        false => report::warn_with(|| probe.explain("")),
    }
    Ok(is_met)
}
