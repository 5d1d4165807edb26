//! `lntu list`: print the listeners once.

use crate::error::Error;
use crate::output::table::Table;
use crate::output::timestamp::Timestamp;
use crate::output::{Event, Format, Output, Renderer};
use crate::snapshot::Snapshot;
use crate::source::{Known, Source};

/// Polls `source` once and writes every listener to `output`. A reader that goes
/// away before the end is no error.
///
/// # Errors
/// If the source has no complete answer, or the output cannot be written.
pub fn run(mut source: Source, format: Format, output: Output) -> Result<(), Error> {
    let mut snapshot = Snapshot::default();
    source.poll(Known::default(), &mut snapshot).result?;
    write(&mut source, &mut snapshot, format, output)
}

/// Writes every listener of `snapshot`, a snapshot of `source`.
pub(super) fn write(
    source: &mut Source,
    snapshot: &mut Snapshot,
    format: Format,
    mut output: Output,
) -> Result<(), Error> {
    let _ = source.find_holders(&Snapshot::default(), snapshot);
    let now = Timestamp::now();
    let mut renderer = Renderer::new(format, Table::default(), source.finds_holders());
    renderer.fit(snapshot.listeners());
    let mut text = Vec::new();
    renderer.header(&mut text);
    for listener in snapshot.listeners() {
        renderer.line(Event::Listening, listener, now, &mut text);
    }
    Ok(output.write_all(text)?)
}
