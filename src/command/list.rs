//! `lntu list`: print the listeners once.

use crate::error::Error;
use crate::output::table::Table;
use crate::output::timestamp::Timestamp;
use crate::output::{Event, Format, Output, Renderer};
use crate::report;
use crate::snapshot::Snapshot;
use crate::source::tree::TreeError;
use crate::source::{self, Known, Source, SourceError};

/// Polls `source` once and writes every listener to `output`, or with `by_port` one
/// for each protocol and port. A reader that goes away before the end is no error.
///
/// # Errors
/// If the source has no complete answer, or the output cannot be written. Where some
/// listeners may be missing, the others are written all the same.
pub fn run(mut source: Source, format: Format, by_port: bool, output: Output) -> Result<(), Error> {
    let mut snapshot = Snapshot::default();
    source.poll(Known::default(), &mut snapshot).result?;
    if let Some(pid) = source.ended_root() {
        return Err(SourceError::Tree(TreeError::Ended(pid)).into());
    }
    write(&mut source, &mut snapshot, format, by_port, output)?;
    for unreadable in source.unreadable() {
        report::warn(format_args!("{unreadable}"));
    }
    let is_unreadable = !source.unreadable().is_empty();
    let unreadable = is_unreadable.then(|| source::NAMESPACES_MISSING.into());
    match unreadable.or_else(|| source.may_be_missing()) {
        Some(what) => Err(Error::Partial(what)),
        None => Ok(()),
    }
}

/// Writes every listener of `snapshot`, a snapshot of `source`.
pub(super) fn write(
    source: &mut Source,
    snapshot: &mut Snapshot,
    format: Format,
    by_port: bool,
    mut output: Output,
) -> Result<(), Error> {
    let nothing = Snapshot::default();
    let _ = source.find_holders(&nothing, snapshot);
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
    Ok(output.write_all(text)?)
}
