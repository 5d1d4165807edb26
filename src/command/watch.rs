//! `lntu watch`: print the listeners, then every change, for ever.

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
    /// Do not write the listeners that are there at the start.
    pub changes_only: bool,
    /// Write the whole table on every change instead of the changed lines.
    pub full: bool,
    /// How long a change must last before it is written.
    pub settle: Duration,
    /// Write one line for each protocol and port, however many addresses listen.
    pub by_port: bool,
    /// Where to look, and what must listen, before a service manager is told.
    pub notify: Option<(SourceOptions, Question)>,
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
    /// `None` if there is nobody to tell, or once that is done.
    notifier: Option<Notifier>,
    pace: Pace,
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
    /// Why no source could be read at the last poll, if none could.
    source_error: Option<String>,
    /// What was rendered says that no source can be read.
    is_lost: bool,
    /// What was rendered says that polls come late.
    is_late: bool,
    /// What was rendered says so of UDP.
    is_udp_late: bool,
    /// What was said on stderr does.
    said_udp_late: bool,
    /// What the last poll that succeeded found out besides the listeners.
    answer: Answer,
    /// That listeners of the process that was asked about may be missing was said.
    said_missing: bool,
    /// What was rendered says that these namespaces cannot be read.
    lost: Vec<u64>,
    output_fails: bool,
    /// The process that was asked about has ended, which was rendered.
    root_has_ended: bool,
}

/// The listeners that a watcher expects: what was reported, and what is settling.
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
        // By port, an opening listener may have changed its address meanwhile.
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

/// At most this many closed listeners of one network namespace are reported in one poll, and
/// at most as many opened ones.
const MOST_CHANGES: usize = 500;

/// Leaves out the changes that one network namespace has beyond [`MOST_CHANGES`], so that
/// the lines of a poll are bounded. They are changes at the next poll, too, as long as they
/// last, because they are not applied to what was reported.
fn limit_lines(changes: &mut Vec<Change>, by_port: bool) {
    let key = |change: &Change| {
        let mut key = change.listener().identity();
        // By port, the end of one listener and the start of the next are reported together.
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
    // Where one namespace is looked at, it holds up no other.
    let ends: Vec<(Identity, u64)> = ends.filter(|(end, _)| end.0 != 0).collect();
    changes.retain(|change| {
        let (key, inode) = (key(change), inode(change));
        ends.iter().all(|(end, of_end)| match end.0 == key.0 {
            true => key < *end,
            // The listeners of a namespace that is gone close before those of the one that
            // got its inode open: the output names both by that.
            false => inode != *of_end || matches!(change, Change::Closed(_)),
        })
    });
}

impl Watcher {
    /// A watcher that has not looked yet.
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
            settling: Settling::new(options.settle, options.by_port),
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

    /// Polls until the reader of the output or the parent is gone.
    pub fn run(mut self) {
        while let ControlFlow::Continue(due) = self.poll() {
            let (stream, parent) = (self.output.stream(), self.parent.as_ref());
            if sys::wait_until_gone(due, stream, parent) {
                return;
            }
        }
    }

    /// Polls once, writes what changed, and returns when the next poll is due. Breaks
    /// when there is nobody to write for, or nothing more to come. While the source fails,
    /// nothing closes.
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
        // Old lines go out before new ones are rendered, so what waits to be written
        // does not grow.
        if self.unsent.is_empty() {
            self.render_status();
            if is_settled {
                self.render();
                has_changed |= !self.changes.is_empty();
            }
            self.render_end();
        }
        self.send()?;
        if self.is_over() {
            return ControlFlow::Break(());
        }
        // Writing counts, too.
        let due = (self.pace).end_poll(Instant::now(), sys::cpu_time(), has_changed);
        ControlFlow::Continue(due)
    }

    /// Says that polls come late, or no longer do.
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

    /// Says that the UDP listeners of network namespaces are read late, or no longer are.
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

    /// Makes of the current snapshot what is to be reported: merges ports, takes back
    /// what has not settled, and names holders. Returns whether anything can be
    /// reported yet. The poll began at `start`.
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
        // Each socket has holders of its own, so they are found before ports are
        // merged. What is excluded must not settle. Else, what does not last is not
        // searched for.
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
            reported.take_over_holders(current);
        }
        is_settled
    }

    /// Says which network namespaces can be read no longer, or again. Says once that
    /// listeners of the process that was asked about may be missing.
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
        let is_in = |all: &[Unreadable], inode| all.iter().any(|one| one.inode == inode);
        for one in now.iter().filter(|one| !is_in(before, one.inode)) {
            report::warn(format_args!("{one}; trying again"));
        }
        for Unreadable { inode, .. } in before.iter().filter(|one| !is_in(now, one.inode)) {
            let what = match answer.ended_namespaces.contains(inode) {
                true => "no process left in it",
                false => "reading its listeners again",
            };
            report::warn(format_args!("network namespace {inode}: {what}"));
        }
        self.answer = answer;
    }

    /// Whether nothing more can come: the process that was asked about has ended, and
    /// its sockets are closed.
    fn is_over(&self) -> bool {
        self.root_has_ended
            && self.settling.is_calm()
            && self.current.listeners().is_empty()
            && self.reported.listeners().is_empty()
            && self.unsent.is_empty()
    }

    /// How often polls had to look again so far.
    pub fn second_looks(&self) -> SecondLooks {
        self.source.second_looks()
    }

    /// Renders the changes from what was reported to the current snapshot, and
    /// counts them as reported.
    fn render(&mut self) {
        let is_first = !self.started;
        sys::give_back(&mut self.changes);
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

    /// Renders whether a source can be read, and each namespace, and whether polls come
    /// in time, if that is not what was said last.
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
            let is_lost = unreadable.iter().any(|one| one.inode == *inode);
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

    /// Renders, after what was there at the start, that the process that was asked about
    /// has ended. Says so on stderr, too.
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
            let (listener, text) = (change.listener(), &mut self.unsent);
            let port = listener.port_identity();
            match change {
                Change::Closed(_) => {
                    self.renderer.line(Event::Closed, listener, now, text);
                    // The new listener of this port comes next, whatever else changed, so
                    // that both are in one write.
                    let by_port = self.options.by_port;
                    let on_port = self.current.on_port(port).iter().filter(|_| by_port);
                    for new in on_port {
                        self.renderer.line(Event::Opened, new, now, text);
                    }
                }
                // This was written with the listener that it replaces.
                Change::Opened(_)
                    if self.options.by_port && !self.reported.on_port(port).is_empty() => {}
                Change::Opened(_) => self.renderer.line(opened, listener, now, text),
            }
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
        sys::give_back(&mut self.unsent);
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

    /// A snapshot of ports of namespace 7 on this address, and of one of namespace 8.
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

    /// How many changes of namespaces 7 and 8 each poll reports, until there are none.
    fn reported(before: Snapshot, now: &Snapshot, by_port: bool) -> Vec<(usize, usize)> {
        let mut reported = before;
        let mut counts = Vec::new();
        loop {
            let mut changes = Vec::from_iter(reported.changes_to(now));
            limit_lines(&mut changes, by_port);
            let of_it = |change: &&Change| change.listener().identity().0 == 7;
            let count = changes.iter().filter(of_it).count();
            if changes.is_empty() {
                return counts;
            }
            counts.push((count, changes.len() - count));
            reported.apply(&changes);
        }
    }

    #[test]
    fn changes_of_a_busy_namespace_wait_and_those_of_others_do_not() {
        let (before, now) = (snapshot("::1", 0..0, 80), snapshot("::1", 1..1301, 81));
        let counts = reported(before.clone(), &now, false);
        assert_eq!(counts, [(500, 2), (500, 0), (300, 0)]);
        assert_eq!(reported(now, &before, false), counts);
    }

    #[test]
    fn a_namespace_opens_nothing_while_the_earlier_one_of_its_inode_closes() {
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
    fn by_port_both_parts_of_a_replacement_wait() {
        let (before, now) = (snapshot("::1", 1..1301, 80), snapshot("::2", 1..1301, 80));
        let counts = reported(before, &now, true);
        assert_eq!(counts, [(1000, 0), (1000, 0), (600, 0)]);
    }

    #[test]
    fn one_port_on_many_addresses_is_reported_bit_by_bit() {
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
