//! `--settle`: a change is reported once several polls in a row agree on it.

use crate::listener::Identity;
use crate::snapshot::{Change, Snapshot};

/// The changes that were seen and not reported before the last poll.
#[derive(Debug)]
pub struct Settling {
    polls: u32,
    /// How many polls are left until a change can be reported at all.
    left: u32,
    /// How many polls in a row have seen this identity open (true) or close. In
    /// the order of [`Snapshot::changes_to`].
    seen: Vec<((bool, Identity), u32)>,
}

impl Settling {
    /// Reports a change once this many `polls` in a row agree on it.
    pub fn new(polls: u32) -> Settling {
        Settling {
            polls,
            left: polls,
            seen: Vec::new(),
        }
    }

    /// Reverts in `current`, the snapshot of one more poll, the changes since
    /// `reported` that are not to be reported yet. False while none can be.
    pub fn hold_back(&mut self, reported: &Snapshot, current: &mut Snapshot) -> bool {
        self.left = self.left.saturating_sub(1);
        if self.polls <= 1 {
            return true;
        }
        let before = std::mem::take(&mut self.seen);
        let mut early = Vec::new();
        for change in reported.changes_to(current) {
            let opens = matches!(change, Change::Opened(_));
            let change_of = (opens, change.listener().identity());
            let found = before.binary_search_by_key(&change_of, |(change_of, _)| *change_of);
            let polls = found.map_or(0, |index| before[index].1).saturating_add(1);
            self.seen.push((change_of, polls));
            if polls < self.polls {
                early.push(change);
            }
        }
        if !early.is_empty() {
            current.undo(&early);
        }
        self.left == 0
    }

    /// Whether the last poll saw no change.
    pub fn is_calm(&self) -> bool {
        self.seen.is_empty()
    }

    /// How many listeners that were seen to open are missing from `current`.
    pub fn count_missing(&self, current: &Snapshot) -> usize {
        let is_missing = |((opens, identity), _): &&((bool, Identity), u32)| {
            *opens && current.sockets_of(*identity).is_empty()
        };
        self.seen.iter().filter(is_missing).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Listener, Protocol};

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

    /// The ports that count after each poll that sees these.
    fn settled(polls: u32, seen: &[&[u16]]) -> Vec<Vec<u16>> {
        let mut settling = Settling::new(polls);
        let mut reported = Snapshot::default();
        let count = |ports: &&[u16]| {
            let mut current = snapshot(ports);
            settling.hold_back(&reported, &mut current);
            reported = current;
            let listeners = reported.listeners().iter();
            listeners.map(|listener| listener.endpoint.port).collect()
        };
        seen.iter().map(count).collect()
    }

    #[test]
    fn a_change_counts_once_enough_polls_in_a_row_agree() {
        let seen: [&[u16]; 5] = [&[1], &[1, 2], &[1, 2], &[1], &[]];
        let expected: [&[u16]; 5] = [&[], &[1], &[1, 2], &[1, 2], &[1]];
        assert_eq!(settled(2, &seen), expected);
        assert_eq!(settled(1, &seen), seen);
    }

    #[test]
    fn what_comes_and_goes_or_goes_and_comes_faster_never_counts() {
        let seen: [&[u16]; 8] = [&[1], &[1], &[1], &[1, 2], &[1], &[2], &[1, 2], &[1]];
        let counted = settled(3, &seen);
        assert_eq!(counted[2..], vec![vec![1]; 6]);
    }

    /// While output cannot be written, nothing is reported.
    #[test]
    fn a_change_that_counts_goes_on_to_until_it_is_reported() {
        let mut settling = Settling::new(2);
        let nothing = Snapshot::default();
        for expected in [0, 1, 1, 1] {
            let mut current = snapshot(&[1]);
            let can_count = settling.hold_back(&nothing, &mut current);
            assert_eq!(current.listeners().len(), expected);
            assert_eq!(can_count, expected > 0);
        }
    }
}
