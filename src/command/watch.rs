//! `lntu watch`: prints the listeners, then every change, until it is stopped.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::notify::Notifier;
use super::pace::{Interval, Pace};
use super::probe::Question;
use super::settle::Settling;
use crate::listener::{Family, Identity, Protocol};
use crate::output::table::Table;
use crate::output::timestamp::{Seconds, Timestamp};
use crate::output::{Event, Format, Output, Renderer, Status};
use crate::report;
use crate::snapshot::{Change, Snapshot};
use crate::source::namespaces::Unreadable;
use crate::source::{Answer, Expected, Known, SecondLooks, Source, SourceError, SourceOptions};
use crate::sys::{self, Parent};

/// What the watcher writes, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchOptions {
    /// The time between two polls.
    pub interval: Interval,
    /// Whether to leave out the listeners that exist at the start.
    pub changes_only: bool,
    /// Whether to write the whole table on every change, instead of the changed lines.
    pub full: bool,
    /// How long a change must last before it is written.
    pub settle: Duration,
    /// Whether to write one line per protocol and port, however many addresses listen.
    pub by_port: bool,
    /// With `--notify`: where to look, and which ports must listen.
    pub notify: Option<(SourceOptions, Question)>,
}

/// The state that a watcher keeps between two polls.
#[derive(Debug)]
pub struct Watcher {
    source: Source,
    output: Output,
    /// The process of the application, if the watcher runs beside one. The watcher must not
    /// outlive it.
    parent: Option<Parent>,
    renderer: Renderer,
    options: WatchOptions,
    /// Sends the message of `--notify`. `None` without this option, and after the message was
    /// sent.
    notifier: Option<Notifier>,
    pace: Pace,
    /// The listeners that a reader of the output knows about as soon as `unsent` is written.
    reported: Snapshot,
    current: Snapshot,
    settling: Settling,
    changes: Vec<Change>,
    /// Lines that were rendered and are not written yet.
    unsent: Vec<u8>,
    header_is_due: bool,
    /// Whether the listeners that existed at the start have been reported.
    started: bool,
    /// Why the last poll failed, if it did.
    source_error: Option<String>,
    /// Whether the output says that no source can be read.
    is_lost: bool,
    /// Whether the output says that polls are late.
    is_late: bool,
    /// Whether the output says that polls of UDP are late.
    is_udp_late: bool,
    /// Whether a warning on stderr said that polls of UDP are late.
    said_udp_late: bool,
    /// What the last successful poll found out besides the listeners.
    answer: Answer,
    /// Whether a warning said that listeners may be missing or shown by mistake, with `--of`
    /// or `--exclude-of`.
    said_missing: bool,
    /// The inodes of the network namespaces that cannot be read, according to the output.
    lost: Vec<u64>,
    output_fails: bool,
    /// Whether the output says that the process given with `--of` has ended.
    root_has_ended: bool,
}

/// The listeners that a watcher expects to find: those that were reported, and those that
/// are settling.
struct ExpectedListeners<'a> {
    reported: &'a Snapshot,
    settling: &'a Settling,
    by_port: bool,
}

impl Expected for ExpectedListeners<'_> {
    fn find_missing(&self, snapshot: &Snapshot, lists: &mut Vec<(u64, Protocol)>) {
        let list_of = |(namespace, protocol, _): Identity| (namespace, protocol);
        let closing = self.reported.difference(snapshot);
        lists.extend(closing.map(|listener| list_of(listener.identity())));
        // With --by-port, an opening listener may have changed its address in the meantime.
        let is_missing = |identity: &Identity| match (self.by_port, *identity) {
            (true, (namespace, protocol, endpoint)) => {
                let port = (namespace, protocol, endpoint.port);
                snapshot.on_port(port).is_empty()
            }
            (false, identity) => snapshot.sockets_of(identity).is_empty(),
        };
        let opening = self.settling.opening().filter(is_missing);
        lists.extend(opening.map(list_of));
    }
}

/// One poll reports at most this many closed listeners, and at most this many opened
/// listeners, of each network namespace.
const MOST_CHANGES: usize = 500;

/// Removes the changes of each network namespace beyond [`MOST_CHANGES`], so that the number
/// of lines per poll is bounded. The removed changes are not applied to `reported`, so the
/// next poll finds them again unless they were undone. Without `--all-namespaces`, removes
/// nothing.
fn limit_lines(changes: &mut Vec<Change>, by_port: bool) {
    let key = |change: &Change| {
        let mut key = change.listener().identity();
        // With --by-port, the end of one listener on a port and the start of the next are
        // reported together.
        if by_port {
            key.2.address = Family::V4.wildcard();
        }
        key
    };
    let list = |change: &Change| (matches!(change, Change::Closed(_)), key(change).0);
    let inode = |change: &Change| {
        let namespace = change.listener().namespace.as_ref();
        namespace.map_or(0, |namespace| namespace.inode)
    };
    let lists = changes.chunk_by(|a, b| list(a) == list(b));
    let first_left_out = lists.filter_map(|list| list.get(MOST_CHANGES));
    let ends = first_left_out.map(|change| (key(change), inode(change)));
    // Without --all-namespaces, the id is 0, and there is no other namespace to delay.
    let ends: Vec<(Identity, u64)> = ends.filter(|(end, _)| end.0 != 0).collect();
    changes.retain(|change| {
        let (key, inode) = (key(change), inode(change));
        ends.iter().all(|(end, end_inode)| match end.0 == key.0 {
            true => key < *end,
            // A new namespace can reuse the inode of one that is gone, and the output names
            // both by the inode. So all listeners of the old namespace close before any
            // listener of the new namespace opens.
            false => inode != *end_inode || matches!(change, Change::Closed(_)),
        })
    });
}

impl Watcher {
    /// A watcher that has not polled yet.
    pub fn new(
        source: Source,
        format: Format,
        output: Output,
        mut options: WatchOptions,
        parent: Option<Parent>,
    ) -> Watcher {
        let notifier = Notifier::new(options.notify.take(), options.settle);
        let renderer = Renderer::new(format, Table::for_stream());
        Watcher {
            source,
            output,
            parent,
            settling: match options.by_port {
                true => Settling::by_port(options.settle),
                false => Settling::new(options.settle),
            },
            pace: Pace::new(options.interval, Instant::now(), sys::cpu_time()),
            notifier,
            reported: Snapshot::default(),
            current: Snapshot::default(),
            changes: Vec::new(),
            unsent: Vec::new(),
            header_is_due: renderer.has_header() && !options.full,
            options,
            renderer,
            started: false,
            source_error: None,
            is_lost: false,
            is_late: false,
            is_udp_late: false,
            said_udp_late: false,
            answer: Answer::default(),
            said_missing: false,
            lost: Vec::new(),
            output_fails: false,
            root_has_ended: false,
        }
    }

    /// Polls until the reader of the output or the parent is gone, or nothing more can change.
    pub fn run(mut self) {
        while let ControlFlow::Continue(due) = self.poll() {
            let (stream, parent) = (self.output.stream(), self.parent.as_ref());
            if sys::wait_until_gone(due, stream, parent) {
                return;
            }
        }
    }

    /// Polls once, writes what changed, and returns when the next poll is due. Breaks if the
    /// reader of the output or the parent is gone, or nothing more can change. While the
    /// source fails, no listener is reported as closed.
    pub fn poll(&mut self) -> ControlFlow<(), Instant> {
        let start = Instant::now();
        if self.pace.start_poll(start) {
            self.say_if_late();
        }
        let is_settled = match self.look() {
            Ok(answer) => {
                if self.source_error.take().is_some() {
                    report::warn(format_args!("reading listeners again"));
                }
                self.pace.note_turns(!answer.awaits_turns);
                self.say_if_udp_late();
                self.note_gaps(answer);
                self.refine(start)
            }
            Err(error) => {
                if self.source_error.is_none() {
                    report::warn(format_args!("{error}; trying again"));
                    self.source_error = Some(error.to_string());
                }
                false
            }
        };
        if self.notifier.as_mut().is_some_and(Notifier::notify) {
            self.notifier = None;
        }
        let mut has_changed = !self.settling.is_calm() || self.notifier.is_some();
        let mut has_rendered = false;
        // Unsent lines are written before new ones are rendered, so the buffer does not grow.
        if self.unsent.is_empty() {
            self.render_status();
            if is_settled {
                self.render();
                has_rendered = !self.changes.is_empty();
                has_changed |= has_rendered;
            }
            self.render_end();
        }
        self.send()?;
        // Apply only the changes, so that the line of a closed listener differs from its first
        // line only in the state. Apply them after writing, because the lines of many
        // listeners need as much memory as the listeners themselves.
        if has_rendered {
            self.reported.apply(&self.changes);
        }
        if self.is_over() {
            return ControlFlow::Break(());
        }
        // The cost of a poll includes writing.
        let due = (self.pace).end_poll(Instant::now(), sys::cpu_time(), has_changed);
        ControlFlow::Continue(due)
    }

    /// Warns that polls are late, or says that they are on time again.
    fn say_if_late(&self) {
        match self.pace.late() {
            None => report::warn(format_args!("polling on time again")),
            Some(late) => {
                let why = match late.is_costly {
                    true => "polling more often would use over 10 % of a core",
                    false => "waiting for a CPU, for ss or for the output",
                };
                report::warn(format_args!(
                    "polling every {} s instead of every {} s: {why}",
                    Seconds(late.between),
                    Seconds(late.asked)
                ));
            }
        }
    }

    /// Warns that the UDP listeners of network namespaces are read late, or says that they
    /// are read on time again.
    fn say_if_udp_late(&mut self) {
        let late = self.pace.late_turns();
        let said = std::mem::replace(&mut self.said_udp_late, late.is_some());
        match late {
            Some(late) if !said => report::warn(format_args!(
                "UDP ports, and TCP ports of network namespaces with very many, are read every \
                 {} s: more would take over 5 % of a core",
                Seconds(late.between)
            )),
            None if said => report::warn(format_args!("reading UDP ports on time again")),
            _ => {}
        }
    }

    /// Takes a snapshot.
    fn look(&mut self) -> Result<Answer, SourceError> {
        // While a change settles, no table is skipped: see `Known::may_be_late`.
        let is_steady = self.started && self.settling.is_calm();
        let expected = ExpectedListeners {
            reported: &self.reported,
            settling: &self.settling,
            by_port: self.options.by_port,
        };
        let known = Known {
            listeners: Some(&self.reported),
            may_be_late: is_steady,
            expected: Some(&expected),
        };
        self.source.poll(known, &mut self.current)
    }

    /// Turns the current snapshot into what is reported: merges ports, holds back changes
    /// that have not settled, and finds holders. Returns whether anything can be reported
    /// yet. The poll began at `start`.
    fn refine(&mut self, start: Instant) -> bool {
        let Watcher {
            source,
            reported,
            current,
            settling,
            answer,
            ..
        } = self;
        let by_port = self.options.by_port;
        // Each socket has its own holders, so holders are found before ports are merged. If
        // holders decide which listeners are excluded, they are found before settling, too.
        // Otherwise, holders are found last, so that no search is made for short-lived
        // listeners.
        let is_first = by_port || source.excludes_holders();
        let mut find_holders = |current: &mut Snapshot| {
            let found = source.find_holders(current);
            answer.gaps.holders = found.are_incomplete;
            found.may_differ
        };
        let mut may_differ = is_first && find_holders(current);
        if by_port {
            current.merge_ports(reported);
        }
        let is_settled = settling.hold_back([start, Instant::now()], reported, current);
        may_differ |= !is_first && find_holders(current);
        if may_differ {
            reported.copy_found(current);
        }
        is_settled
    }

    /// Prints which network namespaces can no longer be read, or can be read again. Warns once
    /// if listeners may be missing with `--of`, or shown by mistake with `--exclude-of`.
    fn note_gaps(&mut self, answer: Answer) {
        let gaps = &answer.gaps;
        if !self.said_missing
            && (gaps.doubt.reason_for(|_| true).is_some() || gaps.exclusion.is_some())
            && let Some(missing) = gaps.message()
        {
            report::warn(format_args!("{missing}"));
            self.said_missing = true;
        }
        let (before, now) = (&self.answer.gaps.unreadable, &gaps.unreadable);
        let contains =
            |all: &[Unreadable], inode| all.iter().any(|namespace| namespace.inode == inode);
        for namespace in now.iter().filter(|new| !contains(before, new.inode)) {
            report::warn(format_args!("{namespace}; trying again"));
        }
        for Unreadable { inode, .. } in before.iter().filter(|old| !contains(now, old.inode)) {
            let what = match answer.ended_namespaces.contains(inode) {
                true => "no process left in it",
                false => "reading its listeners again",
            };
            report::warn(format_args!("network namespace {inode}: {what}"));
        }
        self.answer = answer;
    }

    /// Whether nothing more can change: the process given with `--of` has ended, and its
    /// sockets are closed.
    fn is_over(&self) -> bool {
        self.root_has_ended
            && self.settling.is_calm()
            && self.current.listeners().is_empty()
            && self.reported.listeners().is_empty()
            && self.unsent.is_empty()
    }

    /// How often polls have had to look again so far.
    pub fn second_looks(&self) -> SecondLooks {
        self.source.second_looks()
    }

    /// Renders the changes from `reported` to `current`. The caller then has to apply
    /// `changes` to `reported`.
    fn render(&mut self) {
        let is_first = !self.started;
        sys::shrink_after_peak(&mut self.changes);
        self.changes.clear();
        self.changes.extend(self.reported.changes_to(&self.current));
        if !is_first && !self.options.full {
            limit_lines(&mut self.changes, self.options.by_port);
        }
        if self.options.changes_only && is_first {
            self.reported.apply(&self.changes);
            self.changes.clear();
            self.started = true;
        }
        if !self.changes.is_empty() || !self.started || self.header_is_due {
            self.render_listeners();
        }
        if is_first {
            let missing = self.answer.gaps.message();
            let ready = Status::Ready(missing.as_deref());
            self.renderer
                .status(ready, Timestamp::now(), &mut self.unsent);
        }
    }

    /// Renders the status of the source, of each namespace and of the pace, if it has changed
    /// since it was last rendered.
    fn render_status(&mut self) {
        let Watcher {
            renderer,
            unsent,
            answer,
            lost,
            pace,
            ..
        } = self;
        let mut say = |status| renderer.status(status, Timestamp::now(), unsent);
        match &self.source_error {
            Some(error) if !self.is_lost => say(Status::Lost(None, error)),
            None if self.is_lost => say(Status::Back(None)),
            _ => {}
        }
        self.is_lost = self.source_error.is_some();
        match pace.late() {
            Some(late) if !self.is_late => say(Status::Late(late.between)),
            None if self.is_late => say(Status::OnTime),
            _ => {}
        }
        self.is_late = pace.late().is_some();
        match pace.late_turns() {
            Some(late) if !self.is_udp_late => say(Status::UdpLate(late.between)),
            None if self.is_udp_late => say(Status::UdpOnTime),
            _ => {}
        }
        self.is_udp_late = pace.late_turns().is_some();
        let unreadable = &answer.gaps.unreadable;
        lost.retain(|inode| {
            let is_lost = unreadable.iter().any(|lost| lost.inode == *inode);
            if !is_lost {
                say(Status::Back(Some(*inode)));
            }
            is_lost
        });
        for Unreadable { inode, reason } in unreadable {
            if !lost.contains(inode) {
                say(Status::Lost(Some(*inode), reason));
                lost.push(*inode);
            }
        }
    }

    /// Renders once that the process given with `--of` has ended, but not before the listeners
    /// that existed at the start. Also prints this to stderr.
    fn render_end(&mut self) {
        if let Some(pid) = self.answer.ended_root
            && self.started
            && !std::mem::replace(&mut self.root_has_ended, true)
        {
            report::warn(format_args!("process {pid} has ended"));
            self.renderer
                .status(Status::Ended, Timestamp::now(), &mut self.unsent);
        }
    }

    fn render_listeners(&mut self) {
        if self.options.full {
            self.render_table();
        } else {
            self.render_changes();
        }
        self.started = true;
    }

    /// Renders a line for each change, and the header before the first line.
    fn render_changes(&mut self) {
        let now = Timestamp::now();
        // The listeners that exist at the start opened earlier.
        let opened = match self.started {
            true => Event::Opened,
            false => Event::Listening,
        };
        self.renderer.fit(self.changes.iter().map(Change::listener));
        if std::mem::take(&mut self.header_is_due) {
            self.renderer.header(&mut self.unsent);
        }
        for change in &self.changes {
            let (listener, text) = (change.listener(), &mut self.unsent);
            let port = listener.port_identity();
            match change {
                Change::Closed(_) => {
                    self.renderer.line(Event::Closed, listener, now, text);
                    // If a new listener replaces this one on its port, its line comes right
                    // after this line, so that the two are written together.
                    let by_port = self.options.by_port;
                    let on_port = self.current.on_port(port).iter().filter(|_| by_port);
                    for new in on_port {
                        self.renderer.line(Event::Opened, new, now, text);
                    }
                }
                // The line of this listener was rendered together with the line of the
                // listener that it replaces.
                Change::Opened(_)
                    if self.options.by_port && !self.reported.on_port(port).is_empty() => {}
                Change::Opened(_) => self.renderer.line(opened, listener, now, text),
            }
        }
    }

    /// Renders the whole table. The header marks its start; without a header, an empty line
    /// marks its end. JSON has neither, so the listeners that closed are rendered first.
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
        let written = self.output.write(&mut self.unsent);
        sys::shrink_after_peak(&mut self.unsent);
        match written {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Listener, Namespace};
    use std::sync::Arc;

    fn listener(namespace: u64, address: &str, port: u16) -> Listener {
        let address = address.parse().unwrap();
        let namespace = Namespace {
            id: namespace,
            inode: namespace % 100,
            pid: 1,
            cgroup: Arc::default(),
            mount: Vec::new(),
        };
        Listener {
            namespace: Some(Arc::new(namespace)),
            ..Listener::new(Protocol::Tcp, Endpoint { port, address })
        }
    }

    /// A snapshot with these `ports` of namespace 7 on this address, and with the port
    /// `other` of namespace 8.
    fn snapshot(address: &str, ports: std::ops::Range<u16>, other: u16) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let fill = |listeners: &mut Vec<Listener>| {
            listeners.extend(ports.map(|port| listener(7, address, port)));
            listeners.push(listener(8, "127.0.0.1", other));
            Ok::<_, ()>(())
        };
        snapshot.refill(fill).unwrap();
        snapshot
    }

    /// The number of changes of namespace 7, and of other namespaces, that each poll reports
    /// until there are none.
    fn reported(before: Snapshot, now: &Snapshot, by_port: bool) -> Vec<(usize, usize)> {
        let mut reported = before;
        let mut counts = Vec::new();
        loop {
            let mut changes = Vec::from_iter(reported.changes_to(now));
            limit_lines(&mut changes, by_port);
            let is_of_7 = |change: &&Change| change.listener().identity().0 == 7;
            let count = changes.iter().filter(is_of_7).count();
            if changes.is_empty() {
                return counts;
            }
            counts.push((count, changes.len() - count));
            reported.apply(&changes);
        }
    }

    #[test]
    fn changes_of_a_busy_namespace_delay_no_others() {
        let (before, now) = (snapshot("::1", 0..0, 80), snapshot("::1", 1..1301, 81));
        let counts = reported(before.clone(), &now, false);
        assert_eq!(counts, [(500, 2), (500, 0), (300, 0)]);
        assert_eq!(reported(now, &before, false), counts);
    }

    #[test]
    fn an_old_namespace_closes_before_its_successor_opens() {
        let mut reported = snapshot("::1", 1..1301, 80);
        let mut now = Snapshot::default();
        let fill = |listeners: &mut Vec<Listener>| {
            listeners.extend((1..11).map(|port| listener(107, "::1", port)));
            listeners.push(listener(8, "127.0.0.1", 81));
            Ok::<_, ()>(())
        };
        now.refill(fill).unwrap();
        let mut opened = Vec::new();
        for _ in 0..4 {
            let mut changes = Vec::from_iter(reported.changes_to(&now));
            limit_lines(&mut changes, false);
            let opens = changes.iter();
            let opens = opens.filter(|change| matches!(change, Change::Opened(_)));
            opened.push(Vec::from_iter(opens.map(|o| o.listener().identity().0)));
            reported.apply(&changes);
        }
        assert_eq!(opened, [vec![8], vec![], vec![107; 10], vec![]]);
    }

    #[test]
    fn by_port_lines_of_a_replacement_stay_together() {
        let (before, now) = (snapshot("::1", 1..1301, 80), snapshot("::2", 1..1301, 80));
        let counts = reported(before, &now, true);
        assert_eq!(counts, [(1000, 0), (1000, 0), (600, 0)]);
    }

    #[test]
    fn many_addresses_of_a_port_are_reported_in_parts() {
        let mut now = snapshot("::1", 0..0, 80);
        let before = now.clone();
        let mut all = now.listeners().to_vec();
        all.extend((0..1300).map(|n| listener(7, &format!("::{n:x}"), 80)));
        let fill = |listeners: &mut Vec<Listener>| {
            listeners.append(&mut all);
            Ok::<_, ()>(())
        };
        now.refill(fill).unwrap();
        assert_eq!(
            reported(before, &now, false),
            [(500, 0), (500, 0), (300, 0)]
        );
    }
}
