//! `lntu list`: prints the listeners once.

use super::explanation;
use crate::error::Error;
use crate::output::table::Table;
use crate::output::timestamp::Timestamp;
use crate::output::{Event, Format, Output, Renderer};
use crate::report;
use crate::snapshot::Snapshot;
use crate::source::holders::NEEDS;
use crate::source::tree::TreeError;
use crate::source::{Gaps, Known, Source, SourceError};

/// Polls `source` once and writes every listener to `output`, or one per protocol and
/// port with `--by-port`. It is not an error if the reader closes the output early.
///
/// # Errors
/// If the source has no complete answer, or the output cannot be written. Also if some
/// listeners may be missing. Even then, the listeners that were found are written.
pub fn run(mut source: Source, format: Format, output: Output) -> Result<(), Error> {
    let mut snapshot = Snapshot::default();
    let mut answer = source.poll(Known::default(), &mut snapshot)?;
    if let Some(pid) = answer.ended_root {
        return Err(SourceError::Tree(TreeError::Ended(pid)).into());
    }
    let gaps = &mut answer.gaps;
    gaps.holders = write(&mut source, &mut snapshot, format, output)?;
    for unreadable in &gaps.unreadable {
        report::warn(format_args!("{unreadable}"));
    }
    match gaps.message() {
        Some(what) => Err(Error::Partial(what)),
        None => Ok(()),
    }
}

/// The number of polls after which a listener without a holder is an error.
const MOST_LOOKS: usize = 3;

/// Writes the ids of the processes that hold a listener to `output`, one per line.
/// Returns false if there is no listener.
///
/// # Errors
/// The errors of [`run`]. Also if a listener has no known holder. Even then, the ids that were
/// found are written.
pub fn run_pids(mut source: Source, mut output: Output) -> Result<bool, Error> {
    let mut snapshot = Snapshot::default();
    let mut result = Ok(false);
    for _ in 0..MOST_LOOKS {
        let mut answer = source.poll(Known::default(), &mut snapshot)?;
        if let Some(pid) = answer.ended_root {
            return Err(SourceError::Tree(TreeError::Ended(pid)).into());
        }
        // Print no warnings, because the errors below contain the same information.
        let found = report::silently(|| source.find_holders(&mut snapshot));
        answer.gaps.holders = found.are_incomplete;
        let listeners = snapshot.listeners();
        let unheld = listeners.iter().filter(|l| l.holders.is_empty());
        let unheld = Vec::from_iter(unheld);
        result = match missing(&answer.gaps) {
            Some(what) => Err(Error::Partial(what)),
            None if unheld.is_empty() => Ok(!listeners.is_empty()),
            None => Err(Error::Partial(format!(
                "{}: no process found that holds it (for processes of other users, you need {NEEDS})",
                explanation::found(&unheld).0
            ))),
        };
        // If a listener has no holder, look again: it may have closed before its holders were
        // searched for.
        if unheld.is_empty() {
            break;
        }
    }
    let mut text = String::new();
    for pid in source.pids_of(&snapshot) {
        text.push_str(&pid.to_string());
        text.push('\n');
    }
    output.write_all(text.as_bytes())?;
    result
}

/// The message that something may be missing. `None` if nothing is.
pub(super) fn missing(gaps: &Gaps) -> Option<String> {
    match gaps.tables.first() {
        Some(gap) => Some(gap.reason.clone()),
        None => gaps.message(),
    }
}

/// Finds the holders of the listeners of `snapshot`, which `source` filled, leaves out
/// listeners by their holders, merges ports with `--by-port`, and writes what is left. Returns
/// whether holders may be missing.
pub(super) fn write(
    source: &mut Source,
    snapshot: &mut Snapshot,
    format: Format,
    mut output: Output,
) -> Result<bool, Error> {
    let found = source.find_holders(snapshot);
    if format.by_port {
        snapshot.merge_ports(&Snapshot::default());
    }
    let now = Timestamp::now();
    let mut renderer = Renderer::new(format, Table::default());
    renderer.fit(snapshot.listeners());
    let mut text = Vec::new();
    renderer.header(&mut text);
    for listener in snapshot.listeners() {
        renderer.line(Event::Listening, listener, now, &mut text);
    }
    output.write_all(&text)?;
    Ok(found.are_incomplete)
}
