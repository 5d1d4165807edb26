//! `--settle`: a change is reported once it has lasted for some time.

use std::time::{Duration, Instant};

use crate::listener::{Family, Identity, Listener};
use crate::snapshot::{Change, Snapshot};

/// The changes that were seen, and when each was first seen.
#[derive(Debug)]
pub struct Settling {
    /// How long a change must last.
    duration: Duration,
    /// Whether the address of a listener means nothing, as with `--by-port`.
    by_port: bool,
    /// When the first poll was.
    started: Option<Instant>,
    /// Since when this identity has been seen open (true) or closed. In the order of
    /// [`Snapshot::changes_to`].
    seen: Vec<((bool, Identity), Instant)>,
}

impl Settling {
    /// Reports a change once it has lasted for `duration`. If it counts `by_port`, a
    /// port whose widest address changes goes on as before.
    pub fn new(duration: Duration, by_port: bool) -> Settling {
        Settling {
            duration,
            by_port,
            started: None,
            seen: Vec::new(),
        }
    }

    /// Reverts in `current`, the snapshot of a poll at `now`, the changes since
    /// `reported` that are not to be reported yet. False while none can be.
    pub fn hold_back(&mut self, now: Instant, reported: &Snapshot, current: &mut Snapshot) -> bool {
        if self.duration.is_zero() {
            return true;
        }
        let lasts = |since: Instant| now.saturating_duration_since(since) >= self.duration;
        let before = std::mem::take(&mut self.seen);
        let mut early = Vec::new();
        for change in reported.changes_to(current) {
            let opens = matches!(change, Change::Opened(_));
            let change_of = (opens, self.key(change.listener()));
            let found = before.binary_search_by_key(&change_of, |(change_of, _)| *change_of);
            let since = found.map_or(now, |index| before[index].1);
            self.seen.push((change_of, since));
            if !lasts(since) {
                early.push(change);
            }
        }
        if !early.is_empty() {
            current.undo(&early);
        }
        lasts(*self.started.get_or_insert(now))
    }

    fn key(&self, listener: &Listener) -> Identity {
        let (namespace, protocol, mut endpoint) = listener.identity();
        if self.by_port {
            endpoint.address = Family::V4.wildcard();
        }
        (namespace, protocol, endpoint)
    }

    /// Whether the last poll saw no change.
    pub fn is_calm(&self) -> bool {
        self.seen.is_empty()
    }

    /// The listeners that were seen to open and are not reported yet.
    pub fn opening(&self) -> impl Iterator<Item = Identity> {
        let is_opening = |((opens, _), _): &&((bool, Identity), Instant)| *opens;
        self.seen
            .iter()
            .filter(is_opening)
            .map(|((_, identity), _)| *identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};

    fn snapshot(ports: &[u16]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let address = "::".parse().unwrap();
        let fill = |listeners: &mut Vec<Listener>| {
            let at = |&port| Listener::new(Protocol::Tcp, Endpoint { port, address });
            listeners.extend(ports.iter().map(at));
            Ok::<_, ()>(())
        };
        snapshot.refill(fill).unwrap();
        snapshot
    }

    /// The ports that are reported after each poll that sees these, with a poll
    /// every second.
    fn settled(seconds: u64, seen: &[&[u16]]) -> Vec<Vec<u16>> {
        let mut settling = Settling::new(Duration::from_secs(seconds), false);
        let mut reported = Snapshot::default();
        let mut now = Instant::now();
        let report = |ports: &&[u16]| {
            let mut current = snapshot(ports);
            settling.hold_back(now, &reported, &mut current);
            now += Duration::from_secs(1);
            reported = current;
            let listeners = reported.listeners().iter();
            listeners.map(|listener| listener.endpoint.port).collect()
        };
        seen.iter().map(report).collect()
    }

    #[test]
    fn a_change_is_reported_once_it_has_lasted() {
        let seen: [&[u16]; 5] = [&[1], &[1, 2], &[1, 2], &[1], &[]];
        let expected: [&[u16]; 5] = [&[], &[1], &[1, 2], &[1, 2], &[1]];
        assert_eq!(settled(1, &seen), expected);
        assert_eq!(settled(0, &seen), seen);
    }

    #[test]
    fn what_comes_and_goes_or_goes_and_comes_faster_is_never_reported() {
        let seen: [&[u16]; 8] = [&[1], &[1], &[1], &[1, 2], &[1], &[2], &[1, 2], &[1]];
        let reported = settled(2, &seen);
        assert_eq!(reported[2..], vec![vec![1]; 6]);
    }

    #[test]
    fn by_port_another_address_does_not_start_the_clock_again() {
        let settled = |by_port| {
            let mut settling = Settling::new(Duration::from_secs(2), by_port);
            let (nothing, start) = (Snapshot::default(), Instant::now());
            let poll = |(seconds, address): (u64, &str)| {
                let mut current = Snapshot::default();
                let address = address.parse().unwrap();
                let listener = Listener::new(Protocol::Tcp, Endpoint { port: 1, address });
                let fill = |all: &mut Vec<Listener>| {
                    all.push(listener);
                    Ok::<_, ()>(())
                };
                current.refill(fill).unwrap();
                settling.hold_back(start + Duration::from_secs(seconds), &nothing, &mut current);
                current.listeners().len()
            };
            [(0, "127.0.0.1"), (1, "0.0.0.0"), (2, "127.0.0.1")].map(poll)
        };
        assert_eq!(settled(true), [0, 0, 1]);
        assert_eq!(settled(false), [0, 0, 0]);
    }

    /// While the output cannot be written, nothing is reported.
    #[test]
    fn a_change_that_has_lasted_stays_due_until_it_is_reported() {
        let mut settling = Settling::new(Duration::from_secs(1), false);
        let nothing = Snapshot::default();
        let start = Instant::now();
        for (seconds, expected) in [(0, 0), (1, 1), (2, 1), (3, 1)] {
            let mut current = snapshot(&[1]);
            let now = start + Duration::from_secs(seconds);
            let can_report = settling.hold_back(now, &nothing, &mut current);
            assert_eq!(current.listeners().len(), expected);
            assert_eq!(can_report, expected > 0);
        }
    }
}
