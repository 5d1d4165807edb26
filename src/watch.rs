//! `lntu watch`: print the listeners, then every change, for ever.

use std::io;
use std::os::unix::process::parent_id;
use std::time::Duration;

use crate::interval::Interval;
use crate::output::{Event, Format, Output, Renderer};
use crate::report::Verbosity;
use crate::snapshot::{Change, Snapshot};
use crate::source::{Source, SourceError};
use crate::table::Table;
use crate::timestamp::Timestamp;

/// How often a watcher beside an application looks whether that still runs.
const LEADER_CHECK: Duration = Duration::from_millis(500);

/// How the watcher goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// The time between two polls.
    pub interval: Interval,
    /// How lines look.
    pub format: Format,
    /// Do not write the listeners that are there at the start.
    pub changes_only: bool,
    /// Write the whole table on every change instead of the changed lines.
    pub full: bool,
    /// What is said on stderr.
    pub verbosity: Verbosity,
}

/// The state between two polls.
#[derive(Debug)]
pub struct Watcher {
    source: Source,
    output: Output,
    renderer: Renderer,
    options: WatchOptions,
    /// The listeners that readers of the output know of. Moves only past what
    /// was written.
    reported: Snapshot,
    current: Snapshot,
    second_look: Snapshot,
    changes: Vec<Change>,
    text: String,
    header_is_due: bool,
    /// The listeners that were there at the start are all reported.
    started: bool,
    source_fails: bool,
    output_fails: bool,
}

/// Whether anyone still reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as is known.
    Listens,
    /// The other end of the pipe is closed, or the application has ended.
    Gone,
}

impl Watcher {
    /// A watcher that has not looked yet.
    pub fn new(source: Source, output: Output, options: WatchOptions) -> Watcher {
        let renderer = Renderer::new(options.format, Table::for_stream());
        Watcher {
            source,
            output,
            options,
            reported: Snapshot::default(),
            current: Snapshot::default(),
            second_look: Snapshot::default(),
            changes: Vec::new(),
            text: String::new(),
            header_is_due: renderer.has_header() && !options.full,
            renderer,
            started: false,
            source_fails: false,
            output_fails: false,
        }
    }

    /// Polls until the reader of the output is gone, or until `leader`, if
    /// there is one, is no longer this process's parent.
    pub fn run(mut self, leader: Option<u32>) {
        while self.poll() == Reader::Listens && self.pause(leader) == Reader::Listens {}
    }

    fn pause(&mut self, leader: Option<u32>) -> Reader {
        let mut left = self.options.interval.pause_after(self.source.take_cost());
        loop {
            let step = match leader {
                Some(leader) if parent_id() != leader => return Reader::Gone,
                Some(_) => left.min(LEADER_CHECK),
                None => left,
            };
            if self.output.wait_for_hangup(step) {
                return Reader::Gone;
            }
            left -= step;
            if left.is_zero() {
                return Reader::Listens;
            }
        }
    }

    /// Looks once and writes what changed. A source that fails changes
    /// nothing: nothing closes because nothing could be read.
    pub fn poll(&mut self) -> Reader {
        match self.look() {
            Ok(()) => {
                if std::mem::take(&mut self.source_fails) {
                    self.options
                        .verbosity
                        .warn(format_args!("reading listeners again"));
                }
                self.write_changes()
            }
            Err(error) => {
                if !std::mem::replace(&mut self.source_fails, true) {
                    self.options
                        .verbosity
                        .warn(format_args!("{error}; trying again"));
                }
                Reader::Listens
            }
        }
    }

    /// Takes a snapshot. The kernel's listing is not atomic over several
    /// reads: a row can be passed over while others come and go. So a listener
    /// that is missing is looked for once more before it counts as gone.
    fn look(&mut self) -> Result<(), SourceError> {
        let known = self.started.then_some(&self.reported);
        self.source.poll(known, &mut self.current)?;
        if self.reported.difference(&self.current).next().is_some() {
            self.source.poll(None, &mut self.second_look)?;
            self.current.add_missing(&self.second_look);
        }
        Ok(())
    }

    /// Writes what lies between what was reported and the current snapshot.
    fn write_changes(&mut self) -> Reader {
        if self.options.changes_only && !self.started {
            self.reported.clone_from(&self.current);
            self.started = true;
        }
        self.changes.clear();
        self.changes.extend(self.reported.changes_to(&self.current));
        self.text.clear();
        let headers = if self.options.full {
            self.render_table();
            0
        } else {
            self.render_changes()
        };
        let (lines, result) = self.output.write_lines(&self.text);
        if result.is_ok() {
            self.started = true;
            std::mem::swap(&mut self.reported, &mut self.current);
        } else if !self.options.full {
            let written = lines.saturating_sub(headers);
            self.reported.apply(&self.changes[..written]);
        }
        self.header_is_due &= lines < headers;
        self.note_result(result)
    }

    /// The changed lines, under the header if that was not written yet.
    /// Returns how many lines of header there are.
    fn render_changes(&mut self) -> usize {
        let now = Timestamp::now();
        let opened = self.opened_event();
        self.renderer.fit(self.changes.iter().map(Change::listener));
        if self.header_is_due {
            self.renderer.header(&mut self.text);
        }
        for change in &self.changes {
            let event = match change {
                Change::Opened(_) => opened,
                Change::Closed(_) => Event::Closed,
            };
            self.renderer
                .line(event, change.listener(), now, &mut self.text);
        }
        usize::from(self.header_is_due)
    }

    /// The whole table, if it is due. What marks its start is the header; without
    /// one, an empty line marks its end. JSON has neither, so there the
    /// listeners that closed come first.
    fn render_table(&mut self) {
        if self.changes.is_empty() && self.started {
            return;
        }
        let now = Timestamp::now();
        self.renderer.fit(self.current.listeners());
        self.renderer.header(&mut self.text);
        if self.options.format.json {
            for closed in self.reported.difference(&self.current) {
                self.renderer
                    .line(Event::Closed, closed, now, &mut self.text);
            }
        }
        for listener in self.current.listeners() {
            self.renderer
                .line(Event::Listening, listener, now, &mut self.text);
        }
        if !self.options.format.json && self.options.format.no_header {
            self.text.push('\n');
        }
    }

    /// What a listener's first line says: only after the start did it open.
    fn opened_event(&self) -> Event {
        match self.started {
            true => Event::Opened,
            false => Event::Listening,
        }
    }

    fn note_result(&mut self, result: io::Result<()>) -> Reader {
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.output_fails) {
                    self.options
                        .verbosity
                        .warn(format_args!("{}: writing again", self.output.name()));
                }
            }
            Err(error) if self.output.is_gone(&error) => return Reader::Gone,
            Err(error) => {
                if !std::mem::replace(&mut self.output_fails, true) {
                    let message = format_args!("{}: {error}; trying again", self.output.name());
                    self.options.verbosity.warn(message);
                }
            }
        }
        Reader::Listens
    }
}
