//! Compares the reports of the watcher with the truth.
//!
//! Each poll has a window, which is the time in which it read the tables. If a listener was open
//! during the whole window, the poll must report it as open. If it was closed during the whole
//! window, the poll must report it as closed. If it opened or closed within the window, the poll
//! may report it as either.

use std::collections::{BTreeMap, BTreeSet};

use lntu::listener::Protocol;

use crate::truth::{Identity, Lifetime, Nanoseconds, Truth};

/// The first port that the kernel assigns for connections. A UDP socket is bound for an instant
/// before it is connected, and no helper logs that.
const EPHEMERAL: u16 = 32_768;

/// The window of a poll: a time that certainly includes the time in which the poll read the tables.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub begin: Nanoseconds,
    pub end: Nanoseconds,
}

/// One report about an identity, with the index of its poll.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub poll: usize,
    pub opened: bool,
    pub identity: Identity,
}

/// The outcome of one run.
#[derive(Debug, Default)]
pub struct Verdict {
    pub events: usize,
    pub polls: usize,
    /// The number of lifetimes that spanned two polls or more. The watcher had to report these.
    pub spanning: usize,
    /// The number of lifetimes that spanned two polls, of which the first did not report the
    /// listener.
    pub late: usize,
    /// The number of false events.
    pub wrong: usize,
    /// The number of required events that are missing.
    pub missed: usize,
    /// The number of missing events about UDP.
    pub missed_of_udp: usize,
    /// The first few wrong or missed events.
    pub examples: Vec<String>,
}

impl Verdict {
    fn wrong(&mut self, fault: &str, identity: Identity, poll: usize) {
        self.wrong += 1;
        self.example(fault, identity, poll);
    }

    fn missed(&mut self, fault: &str, identity: Identity, poll: usize) {
        self.missed += 1;
        self.missed_of_udp += usize::from(identity.0 == Protocol::Udp);
        self.example(fault, identity, poll);
    }

    fn example(&mut self, fault: &str, (protocol, endpoint): Identity, poll: usize) {
        if self.examples.len() < 8 {
            let (name, address, port) = (protocol.name(), endpoint.address, endpoint.port);
            let example = format!("{fault}: {name} {address} {port} at poll {poll}");
            self.examples.push(example);
        }
    }
}

/// Compares the events of the polls with the truth.
pub fn judge(truth: &Truth, polls: &[Window], events: &[Event]) -> Verdict {
    let mut verdict = Verdict {
        events: events.len(),
        polls: polls.len(),
        ..Verdict::default()
    };
    let mut by_identity: BTreeMap<Identity, Vec<Event>> = BTreeMap::new();
    for event in events {
        by_identity.entry(event.identity).or_default().push(*event);
    }
    let identities: BTreeSet<Identity> =
        by_identity.keys().chain(truth.0.keys()).copied().collect();
    for identity in identities {
        let events = by_identity.get(&identity).map_or(&[][..], Vec::as_slice);
        let lives = truth.0.get(&identity).map_or(&[][..], Vec::as_slice);
        judge_order(&mut verdict, events);
        if lives.is_empty() && identity.1.port >= EPHEMERAL {
            continue;
        }
        judge_events(&mut verdict, polls, events, lives);
        judge_lifetimes(&mut verdict, polls, identity, events, lives);
    }
    verdict
}

/// Checks that the events of one identity alternate between open and close, and start with open.
fn judge_order(verdict: &mut Verdict, events: &[Event]) {
    let mut is_open = false;
    for event in events {
        if event.opened == is_open {
            let fault = if is_open {
                "opened twice"
            } else {
                "closed, never opened"
            };
            verdict.wrong(fault, event.identity, event.poll);
        }
        is_open = event.opened;
    }
}

/// Checks that no event contradicts the truth.
fn judge_events(verdict: &mut Verdict, polls: &[Window], events: &[Event], lives: &[Lifetime]) {
    for event in events {
        let window = polls[event.poll];
        if event.opened && !lives.iter().any(|life| life.touches(window)) {
            verdict.wrong("opened while closed", event.identity, event.poll);
        }
        if !event.opened && lives.iter().any(|life| life.covers(window)) {
            verdict.wrong("closed while open", event.identity, event.poll);
        }
    }
}

/// Checks that every required event is there.
fn judge_lifetimes(
    verdict: &mut Verdict,
    polls: &[Window],
    identity: Identity,
    events: &[Event],
    lives: &[Lifetime],
) {
    let is_open_after = |poll: usize| {
        let earlier = events.partition_point(|event| event.poll <= poll);
        earlier > 0 && events[earlier - 1].opened
    };
    for life in lives {
        let first = polls.partition_point(|window| window.begin < life.open);
        let second = first + 1;
        if polls.get(second).is_some_and(|window| life.covers(*window)) {
            verdict.spanning += 1;
            verdict.late += usize::from(!is_open_after(first));
            if !is_open_after(second) {
                verdict.missed("not reported opened", identity, second);
            }
        }
        let after = polls.partition_point(|window| window.begin < life.closed);
        if let Some(window) = polls.get(after)
            && !lives.iter().any(|life| life.touches(*window))
            && is_open_after(after)
        {
            verdict.missed("not reported closed", identity, after);
        }
    }
}

impl Lifetime {
    /// Whether the listener was certainly open during the whole window.
    fn covers(&self, window: Window) -> bool {
        self.open <= window.begin && window.end <= self.closing
    }

    /// Whether the listener may have been open at some moment of the window.
    fn touches(&self, window: Window) -> bool {
        self.opening <= window.end && window.begin <= self.closed
    }
}
