//! `lntu watch`: print the listeners, then every change, for ever.

use std::ops::ControlFlow;

use crate::command::pace::Interval;
use crate::command::settle::Settling;
use crate::listener::Family;
use crate::output::table::Table;
use crate::output::timestamp::Timestamp;
use crate::output::{Event, Format, Output, Renderer};
use crate::report::Verbosity;
use crate::snapshot::{Change, Snapshot};
use crate::source::{SecondLooks, Source, SourceError};
use crate::sys::{self, Leader};

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
    /// How many polls in a row must agree on a change before it is written.
    pub settle: u32,
    /// What is said on stderr.
    pub verbosity: Verbosity,
    /// Look again for a listener that is missing before it counts as gone.
    /// Always so, but where a test shows what happens without.
    pub second_look: bool,
}

/// The state between two polls.
#[derive(Debug)]
pub struct Watcher {
    source: Source,
    output: Output,
    /// The application, beside which this is to run and no longer.
    leader: Option<Leader>,
    renderer: Renderer,
    options: WatchOptions,
    /// The listeners that readers of the output know of, once `unsent` is out.
    reported: Snapshot,
    current: Snapshot,
    settling: Settling,
    changes: Vec<Change>,
    /// What was rendered and could not be written yet.
    unsent: Vec<u8>,
    header_is_due: bool,
    /// The listeners that were there at the start are reported.
    started: bool,
    source_fails: bool,
    output_fails: bool,
}

impl Watcher {
    /// A watcher that has not looked yet.
    pub fn new(
        source: Source,
        output: Output,
        options: WatchOptions,
        leader: Option<Leader>,
    ) -> Watcher {
        let table = Table::for_stream(source.wants(Family::V6));
        let renderer = Renderer::new(options.format, table);
        Watcher {
            source,
            output,
            leader,
            settling: Settling::new(options.settle),
            options,
            reported: Snapshot::default(),
            current: Snapshot::default(),
            changes: Vec::new(),
            unsent: Vec::new(),
            header_is_due: renderer.has_header() && !options.full,
            renderer,
            started: false,
            source_fails: false,
            output_fails: false,
        }
    }

    /// Polls until the reader of the output or the leader is gone.
    pub fn run(mut self) {
        while self.poll().is_continue() {
            let pause = self.options.interval.pause_after(self.source.take_cost());
            let (stream, leader) = (self.output.stream(), self.leader.as_ref());
            if sys::wait_until_gone(pause, stream, leader) {
                return;
            }
        }
    }

    /// Looks once and writes what changed. A source that fails changes
    /// nothing: nothing closes because nothing could be read. Breaks when there
    /// is no one to write for.
    pub fn poll(&mut self) -> ControlFlow<()> {
        let verbosity = self.options.verbosity;
        match self.look() {
            Ok(()) => {
                if std::mem::take(&mut self.source_fails) {
                    verbosity.warn(format_args!("reading listeners again"));
                }
                let is_settled = self.settling.hold_back(&self.reported, &mut self.current);
                if self
                    .source
                    .find_processes(&self.reported, &mut self.current)
                {
                    self.reported.take_over_processes(&self.current);
                }
                // What could not be written comes first, and nothing is
                // rendered meanwhile: so it does not grow.
                if is_settled && self.unsent.is_empty() {
                    self.render();
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.source_fails, true) {
                    verbosity.warn(format_args!("{error}; trying again"));
                }
            }
        }
        self.send()
    }

    /// Takes a snapshot. What is missing from it is looked for again before it
    /// counts as gone.
    fn look(&mut self) -> Result<(), SourceError> {
        // Where little is relied on, an opening that settles is not missed either.
        let is_steady = self.started && self.settling.is_calm();
        let known = is_steady.then_some(&self.reported);
        self.source.poll(known, &mut self.current)?;
        if self.options.second_look {
            let missing = |current: &Snapshot| {
                self.reported.difference(current).count() + self.settling.count_missing(current)
            };
            self.source.look_again(&mut self.current, missing)?;
        }
        Ok(())
    }

    /// How often a second look was taken so far; see [`Source::look_again`].
    pub fn second_looks(&self) -> SecondLooks {
        self.source.second_looks()
    }

    /// Renders what lies between what was reported and the current snapshot,
    /// which is reported then.
    fn render(&mut self) {
        self.changes.clear();
        self.changes.extend(self.reported.changes_to(&self.current));
        if self.options.changes_only && !self.started {
            self.reported.apply(&self.changes);
            self.changes.clear();
            self.started = true;
        }
        if self.changes.is_empty() && self.started && !self.header_is_due {
            return;
        }
        if self.options.full {
            self.render_table();
        } else {
            self.render_changes();
        }
        // A listener that stays is kept as it was reported, so that its last
        // line is its first one but for the state.
        self.reported.apply(&self.changes);
        self.started = true;
    }

    /// The changed lines, the first ones under the header.
    fn render_changes(&mut self) {
        let now = Timestamp::now();
        // Only after the start did a listener open.
        let opened = match self.started {
            true => Event::Opened,
            false => Event::Listening,
        };
        self.renderer.fit(self.changes.iter().map(Change::listener));
        if std::mem::take(&mut self.header_is_due) {
            self.renderer.header(&mut self.unsent);
        }
        for change in &self.changes {
            let event = match change {
                Change::Opened(_) => opened,
                Change::Closed(_) => Event::Closed,
            };
            self.renderer
                .line(event, change.listener(), now, &mut self.unsent);
        }
    }

    /// The whole table. What marks its start is the header; without
    /// one, an empty line marks its end. JSON has neither, so there the
    /// listeners that closed come first.
    fn render_table(&mut self) {
        let (now, text) = (Timestamp::now(), &mut self.unsent);
        self.renderer.fit(self.current.listeners());
        self.renderer.header(text);
        if self.options.format.json {
            for closed in self.reported.difference(&self.current) {
                self.renderer.line(Event::Closed, &closed, now, text);
            }
        }
        for listener in self.current.listeners() {
            self.renderer.line(Event::Listening, listener, now, text);
        }
        if !self.options.format.json && self.options.format.no_header {
            text.push(b'\n');
        }
    }

    fn send(&mut self) -> ControlFlow<()> {
        if self.leader.as_ref().is_some_and(Leader::is_gone) {
            return ControlFlow::Break(());
        }
        let verbosity = self.options.verbosity;
        match self.output.write(&mut self.unsent) {
            Ok(()) => {
                if std::mem::take(&mut self.output_fails) {
                    verbosity.warn(format_args!("{}: writing again", self.output.name()));
                }
            }
            Err(error) if self.output.is_gone(&error) => return ControlFlow::Break(()),
            Err(error) => {
                if !std::mem::replace(&mut self.output_fails, true) {
                    let name = self.output.name();
                    verbosity.warn(format_args!("{name}: {error}; trying again"));
                }
            }
        }
        ControlFlow::Continue(())
    }
}
