//! `--settle`: holds back a change until it has lasted for some time. `wait` uses the same
//! rule before it counts a listener.

use std::time::{Duration, Instant};

use crate::listener::{Family, Identity, Listener};
use crate::snapshot::{Change, Snapshot};

/// `wait` counts a listener only if two polls that are at least this far apart saw it. Some
/// programs bind a port for a few milliseconds to find out whether it is free, close it,
/// and listen later.
pub const CONFIRMATION: Duration = Duration::from_millis(50);

/// The changes that are not reported yet, and when each was first seen.
#[derive(Debug)]
pub struct Settling {
    /// How long a change must last.
    duration: Duration,
    /// Whether snapshots contain one listener per port, as with `--by-port`.
    by_port: bool,
    /// When the first poll ended.
    started: Option<Instant>,
    /// Each change that the last poll saw, and when the first poll that saw it ended. The
    /// changes are in the order of [`Snapshot::changes_to`].
    seen: Vec<(Key, Instant)>,
}

/// Identifies a change: true if the listener opened and false if it closed, and the identity
/// of the listener.
type Key = (bool, Identity);

/// When the change with this key was first seen, if it is in `seen`.
fn first_seen(seen: &[(Key, Instant)], key: Key) -> Option<Instant> {
    let found = seen.binary_search_by_key(&key, |(key, _)| *key);
    found.ok().map(|index| seen[index].1)
}

impl Settling {
    /// Holds back a change until it has lasted for `duration`.
    pub fn new(duration: Duration) -> Settling {
        Settling {
            duration,
            by_port: false,
            started: None,
            seen: Vec::new(),
        }
    }

    /// Holds back a change until it has lasted for `duration`, in snapshots that contain one
    /// listener per port. A port that opens may change its address in the meantime. A listener
    /// that replaces another one on the same port is reported together with the end of the
    /// replaced listener.
    pub fn by_port(duration: Duration) -> Settling {
        Settling {
            by_port: true,
            ..Settling::new(duration)
        }
    }

    /// Undoes in `current` the changes since `reported` that have not lasted long enough.
    /// `current` is from a poll that lasted from `start` to `end`. Returns false as long as no
    /// change can have lasted long enough.
    pub fn hold_back(
        &mut self,
        [start, end]: [Instant; 2],
        reported: &Snapshot,
        current: &mut Snapshot,
    ) -> bool {
        if self.duration.is_zero() {
            return true;
        }
        // Count from the end of the poll that first saw the change, because it may have seen
        // the change only at its end.
        let lasts = |since: Instant| start.saturating_duration_since(since) >= self.duration;
        let before = std::mem::take(&mut self.seen);
        let mut early: Vec<Change> = reported.changes_to(current).collect();
        let timed = early.iter().map(|change| {
            let [closing, opening] = self.keys(change.listener(), reported);
            let key = match change {
                Change::Closed(_) => closing,
                Change::Opened(_) => opening,
            };
            (key, first_seen(&before, key).unwrap_or(end))
        });
        self.seen = timed.collect();
        early.retain(|change| {
            let keys = self.keys(change.listener(), reported).into_iter();
            let mut since = keys.filter_map(|key| first_seen(&self.seen, key));
            !since.all(lasts)
        });
        if !early.is_empty() {
            current.undo(&early);
        }
        lasts(*self.started.get_or_insert(end))
    }

    /// Returns two keys: one for the closing of `listener`, and one for its opening. With one
    /// listener per port, the first key instead names the listener that `reported` has on the
    /// port, if any, and the second is the same for every address of the port.
    fn keys(&self, listener: &Listener, reported: &Snapshot) -> [Key; 2] {
        let (mut closing, mut opening) = (listener.identity(), listener.identity());
        if self.by_port {
            let before = reported.on_port(listener.port_identity()).first();
            closing = before.unwrap_or(listener).identity();
            opening.2.address = Family::V4.wildcard();
        }
        [(false, closing), (true, opening)]
    }

    /// How long a change must last.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Whether the last poll saw no change.
    pub fn is_calm(&self) -> bool {
        self.seen.is_empty()
    }

    /// The listeners that have opened and are not reported yet.
    pub fn opening(&self) -> impl Iterator<Item = Identity> {
        let is_opening = |((opens, _), _): &&(Key, Instant)| *opens;
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
            let listener = |&port| Listener::new(Protocol::Tcp, Endpoint { port, address });
            listeners.extend(ports.iter().map(listener));
            Ok::<_, ()>(())
        };
        snapshot.refill(fill).unwrap();
        snapshot
    }

    /// Polls once per second, and each poll sees the next element of `seen`. Returns the
    /// ports that are reported after each poll.
    fn settled(seconds: u64, seen: &[&[u16]]) -> Vec<Vec<u16>> {
        let mut settling = Settling::new(Duration::from_secs(seconds));
        let mut reported = Snapshot::default();
        let mut now = Instant::now();
        let report = |ports: &&[u16]| {
            let mut current = snapshot(ports);
            settling.hold_back([now; 2], &reported, &mut current);
            now += Duration::from_secs(1);
            reported = current;
            let listeners = reported.listeners().iter();
            listeners.map(|listener| listener.endpoint.port).collect()
        };
        seen.iter().map(report).collect()
    }

    #[test]
    fn a_change_is_reported_after_it_has_lasted() {
        let seen: [&[u16]; 5] = [&[1], &[1, 2], &[1, 2], &[1], &[]];
        let expected: [&[u16]; 5] = [&[], &[1], &[1, 2], &[1, 2], &[1]];
        assert_eq!(settled(1, &seen), expected);
        assert_eq!(settled(0, &seen), seen);
    }

    #[test]
    fn short_changes_are_never_reported() {
        let seen: [&[u16]; 8] = [&[1], &[1], &[1], &[1, 2], &[1], &[2], &[1, 2], &[1]];
        let reported = settled(2, &seen);
        assert_eq!(reported[2..], vec![vec![1]; 6]);
    }

    #[test]
    fn by_port_counts_time_across_address_changes() {
        let settled = |mut settling: Settling| {
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
                let now = start + Duration::from_secs(seconds);
                settling.hold_back([now; 2], &nothing, &mut current);
                current.listeners().len()
            };
            [(0, "127.0.0.1"), (1, "0.0.0.0"), (2, "127.0.0.1")].map(poll)
        };
        let duration = Duration::from_secs(2);
        assert_eq!(settled(Settling::by_port(duration)), [0, 0, 1]);
        assert_eq!(settled(Settling::new(duration)), [0, 0, 0]);
    }

    /// Polls once per second. Each poll sees port 1 on the addresses in the next element of
    /// `seen`, which are separated by spaces. Returns the reported addresses after each poll.
    fn settled_by_port(seconds: u64, seen: &[&str]) -> Vec<String> {
        let mut settling = Settling::by_port(Duration::from_secs(seconds));
        let mut reported = Snapshot::default();
        let mut now = Instant::now();
        let report = |addresses: &&str| {
            let mut current = Snapshot::default();
            let listener = |address: &str| {
                let address = address.parse().unwrap();
                Listener::new(Protocol::Tcp, Endpoint { port: 1, address })
            };
            let fill = |all: &mut Vec<Listener>| {
                all.extend(addresses.split_whitespace().map(listener));
                Ok::<_, ()>(())
            };
            current.refill(fill).unwrap();
            current.merge_ports(&reported);
            settling.hold_back([now; 2], &reported, &mut current);
            now += Duration::from_secs(1);
            reported = current;
            let addresses = reported.listeners().iter();
            let addresses = addresses.map(|l| l.endpoint.address.to_string());
            addresses.collect::<Vec<_>>().join(" ")
        };
        seen.iter().map(report).collect()
    }

    #[test]
    fn by_port_a_replacement_is_reported_as_one_change() {
        let (one, two, three) = ("127.0.0.1", "127.0.0.2", "127.0.0.3");
        let both = "127.0.0.1 127.0.0.2";
        for (seen, expected) in [
            // The new listener lasts; the port is closed first; a third listener follows.
            ([one, one, one, two, two, two], [one, one, two]),
            ([one, one, one, "", two, two], [one, one, one]),
            ([one, one, one, two, three, three], [one, one, three]),
            // The first listener comes back, or is replaced soon after it was reported.
            ([one, one, one, two, one, two], [one, one, one]),
            ([one, one, both, two, two, two], [one, one, two]),
            ([one, one, one, two, both, two], [one, one, one]),
            (["", one, one, one, two, two], [one, one, one]),
            // The port stays closed.
            ([one, one, one, "", "", ""], [one, one, ""]),
        ] {
            assert_eq!(settled_by_port(2, &seen)[3..], expected, "{seen:?}");
        }
        let again = settled_by_port(2, &[one, one, one, two, two, two, three, three, three]);
        assert_eq!(again[5..], [two, two, two, three]);
    }

    /// While the output cannot be written, nothing is reported.
    #[test]
    fn a_settled_change_stays_due_until_it_is_reported() {
        let mut settling = Settling::new(Duration::from_secs(1));
        let nothing = Snapshot::default();
        let start = Instant::now();
        for (seconds, expected) in [(0, 0), (1, 1), (2, 1), (3, 1)] {
            let mut current = snapshot(&[1]);
            let now = start + Duration::from_secs(seconds);
            let can_report = settling.hold_back([now; 2], &nothing, &mut current);
            assert_eq!(current.listeners().len(), expected);
            assert_eq!(can_report, expected > 0);
        }
    }
}
