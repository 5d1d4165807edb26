//! `lntu list`: print the listeners once.

use crate::error::Error;
use crate::output::table::Table;
use crate::output::timestamp::Timestamp;
use crate::output::{Event, Format, Output, Renderer};
use crate::report;
use crate::snapshot::Snapshot;
use crate::source::tree::TreeError;
use crate::source::{Known, Source, SourceError};

/// Polls `source` once and writes every listener to `output`, or with `by_port` one
/// for each protocol and port. A reader that goes away before the end is no error.
///
/// # Errors
/// If the source has no complete answer, or the output cannot be written. Where some
/// listeners may be missing, the others are written all the same.
pub fn run(mut source: Source, format: Format, by_port: bool, output: Output) -> Result<(), Error> {
    let mut snapshot = Snapshot::default();
    let mut answer = source.poll(Known::default(), &mut snapshot)?;
    if let Some(pid) = answer.ended_root {
        return Err(SourceError::Tree(TreeError::Ended(pid)).into());
    }
    let gaps = &mut answer.gaps;
    gaps.holders = write(&mut source, &mut snapshot, format, by_port, output)?;
    for unreadable in &gaps.unreadable {
        report::warn(format_args!("{unreadable}"));
    }
    gaps.hides_namespaces |= !gaps.unreadable.is_empty();
    match gaps.message() {
        Some(what) => Err(Error::Partial(what)),
        None => Ok(()),
    }
}

/// Writes every listener of `snapshot`, a snapshot of `source`. Returns whether holders
/// may be missing.
pub(super) fn write(
    source: &mut Source,
    snapshot: &mut Snapshot,
    format: Format,
    by_port: bool,
    mut output: Output,
) -> Result<bool, Error> {
    let nothing = Snapshot::default();
    let found = source.find_holders(snapshot);
    if by_port {
        snapshot.merge_ports(&nothing);
    }
    let now = Timestamp::now();
    let mut renderer = Renderer::new(format, Table::default());
    renderer.fit(snapshot.listeners());
    let mut text = Vec::new();
    renderer.header(&mut text);
    for listener in snapshot.listeners() {
        renderer.line(Event::Listening, listener, now, &mut text);
    }
    output.write_all(text)?;
    Ok(found.are_incomplete)
}
