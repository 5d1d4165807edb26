//! `lntu watch`: print the listeners, then every change, for ever.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::pace::Interval;
use super::settle::Settling;
use crate::listener::Family;
use crate::output::table::Table;
use crate::output::timestamp::Timestamp;
use crate::output::{Event, Format, Output, Renderer};
use crate::report;
use crate::snapshot::{Change, Snapshot};
use crate::source::{Known, Poll, SecondLooks, Source};
use crate::sys::{self, Parent};

/// What the watcher writes, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// The time between two polls.
    pub interval: Interval,
    /// Do not write the listeners that are there at the start.
    pub changes_only: bool,
    /// Write the whole table on every change instead of the changed lines.
    pub full: bool,
    /// How long a change must last before it is written.
    pub settle: Duration,
}

/// The state between two polls.
#[derive(Debug)]
pub struct Watcher {
    source: Source,
    output: Output,
    /// The application that this runs beside, and must not outlive.
    parent: Option<Parent>,
    renderer: Renderer,
    options: WatchOptions,
    /// What a reader of the output knows, once `unsent` is written.
    reported: Snapshot,
    current: Snapshot,
    settling: Settling,
    changes: Vec<Change>,
    /// Lines that were rendered and are not written yet.
    unsent: Vec<u8>,
    header_is_due: bool,
    /// The listeners that were there at the start have been reported.
    started: bool,
    source_fails: bool,
    output_fails: bool,
}

impl Watcher {
    /// A watcher that has not looked yet.
    pub fn new(
        source: Source,
        format: Format,
        output: Output,
        options: WatchOptions,
        parent: Option<Parent>,
    ) -> Watcher {
        let table = Table::for_stream(source.wants(Family::V6));
        let renderer = Renderer::new(format, table, source.finds_holders());
        Watcher {
            source,
            output,
            parent,
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

    /// Polls until the reader of the output or the parent is gone.
    pub fn run(mut self) {
        while let ControlFlow::Continue(cost) = self.poll() {
            let pause = self.options.interval.pause_after(cost);
            let (stream, parent) = (self.output.stream(), self.parent.as_ref());
            if sys::wait_until_gone(pause, stream, parent) {
                return;
            }
        }
    }

    /// Polls once, writes what changed, and returns the time that looking took.
    /// Breaks when there is nobody to write for. While the source fails, nothing
    /// closes.
    pub fn poll(&mut self) -> ControlFlow<(), Duration> {
        let Poll { result, mut cost } = self.look();
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.source_fails) {
                    report::warn(format_args!("reading listeners again"));
                }
                let now = Instant::now();
                let is_settled = (self.settling).hold_back(now, &self.reported, &mut self.current);
                let search = self.source.find_holders(&self.reported, &mut self.current);
                cost += search.cost;
                if search.may_differ {
                    self.reported.take_over_holders(&self.current);
                }
                // Old lines go out before new ones are rendered, so what waits to
                // be written does not grow.
                if is_settled && self.unsent.is_empty() {
                    self.render();
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.source_fails, true) {
                    report::warn(format_args!("{error}; trying again"));
                }
            }
        }
        self.send().map_continue(|()| cost)
    }

    /// Takes a snapshot.
    fn look(&mut self) -> Poll {
        // While a change settles, no table is skipped: see `Known::listeners`.
        let is_steady = self.started && self.settling.is_calm();
        let missing = |current: &Snapshot| {
            self.reported.difference(current).count() + self.settling.count_missing(current)
        };
        let known = Known {
            listeners: is_steady.then_some(&self.reported),
            missing: Some(&missing),
        };
        self.source.poll(known, &mut self.current)
    }

    /// How often polls had to look again so far.
    pub fn second_looks(&self) -> SecondLooks {
        self.source.second_looks()
    }

    /// Renders the changes from what was reported to the current snapshot, and
    /// counts them as reported.
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
        // A listener that stays is kept as it was reported. So its closing line
        // differs from its first line in the state only.
        self.reported.apply(&self.changes);
        self.started = true;
    }

    /// Renders a line for each change, and the header before the first ones.
    fn render_changes(&mut self) {
        let now = Timestamp::now();
        // What is there at the start did not open now.
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

    /// Renders the whole table. The header marks its start. Without a header, an
    /// empty line marks its end. JSON has neither, so there the listeners that
    /// closed come first.
    fn render_table(&mut self) {
        let (now, text) = (Timestamp::now(), &mut self.unsent);
        let format = self.renderer.format();
        self.renderer.fit(self.current.listeners());
        self.renderer.header(text);
        if format.json {
            for closed in self.reported.difference(&self.current) {
                self.renderer.line(Event::Closed, &closed, now, text);
            }
        }
        for listener in self.current.listeners() {
            self.renderer.line(Event::Listening, listener, now, text);
        }
        if !format.json && format.no_header {
            text.push(b'\n');
        }
    }

    fn send(&mut self) -> ControlFlow<()> {
        if self.parent.as_ref().is_some_and(Parent::is_gone) {
            return ControlFlow::Break(());
        }
        match self.output.write(&mut self.unsent) {
            Ok(()) => {
                if std::mem::take(&mut self.output_fails) {
                    report::warn(format_args!("{}: writing again", self.output.name()));
                }
            }
            Err(error) if self.output.is_gone(&error) => return ControlFlow::Break(()),
            Err(error) => {
                if !std::mem::replace(&mut self.output_fails, true) {
                    let name = self.output.name();
                    report::warn(format_args!("{name}: {error}; trying again"));
                }
            }
        }
        ControlFlow::Continue(())
    }
}
