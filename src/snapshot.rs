//! The listeners at one moment, sorted, and what changed between two moments.

use std::sync::Arc;

use crate::listener::{
    Cgroup, Container, ContainerName, Holders, Identity, Listener, PortIdentity, SocketTable,
};
use crate::sys;

/// The listeners of one poll, sorted by identity. Several sockets may share an
/// identity (`SO_REUSEPORT`); the snapshot holds each of them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    listeners: Vec<Listener>,
}

/// A listener that opened or closed, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The last socket with this identity was closed.
    Closed(Listener),
    /// The first socket with this identity was opened.
    Opened(Listener),
}

/// Whether changes are applied or reverted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Add what opened, and remove what closed.
    Forward,
    /// Add what closed, and remove what opened.
    Back,
}

impl Change {
    /// The listener that closed or opened.
    pub fn listener(&self) -> &Listener {
        match self {
            Change::Closed(listener) | Change::Opened(listener) => listener,
        }
    }
}

impl Snapshot {
    /// Replaces the contents by what `read` appends to the vector that it gets.
    ///
    /// # Errors
    /// Those of `read`. The snapshot is then empty.
    pub fn refill<T, E>(
        &mut self,
        read: impl FnOnce(&mut Vec<Listener>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.listeners.clear();
        let result = read(&mut self.listeners);
        match result.is_ok() {
            true => self.finish_refill(),
            false => self.discard_refill(),
        }
        result
    }

    fn finish_refill(&mut self) {
        // Now, because a filter may remove listeners for which the next refill needs room
        // again.
        sys::shrink_after_peak(&mut self.listeners);
        self.restore_order();
    }

    fn discard_refill(&mut self) {
        // `clear` would keep the room of what may be many listeners, and the next read may
        // need none.
        if !self.listeners.is_empty() {
            self.listeners = Vec::new();
        }
    }

    /// Removes every listener.
    pub fn clear(&mut self) {
        self.listeners.clear();
    }

    /// Every listener, in the order of [`Identity`].
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The sockets of each identity, in order.
    fn by_identity(&self) -> impl Iterator<Item = &[Listener]> {
        self.listeners.chunk_by(|a, b| a.identity() == b.identity())
    }

    /// Whether it holds a listener of `table`.
    pub fn has_any(&self, table: SocketTable) -> bool {
        self.listeners.iter().any(|l| l.table() == table)
    }

    /// How many listeners of each table it holds, in the order of [`SocketTable::ALL`].
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for listener in &self.listeners {
            counts[listener.table().index()] += 1;
        }
        counts
    }

    /// Keeps only the listeners that `keep` accepts.
    pub fn retain(&mut self, keep: &dyn Fn(&Listener) -> bool) {
        self.listeners.retain(keep);
    }

    /// One listener for each identity that is here and not in `other`, in order.
    /// It is the first socket of that identity, with the holders of all of them.
    pub fn difference(&self, other: &Snapshot) -> impl Iterator<Item = Listener> {
        let mut others = other.listeners.iter().map(Listener::identity).peekable();
        let missing = self.by_identity().filter(move |sockets| {
            let identity = sockets[0].identity();
            while others.next_if(|other| *other < identity).is_some() {}
            others.peek() != Some(&identity)
        });
        missing.map(|sockets| Listener {
            holders: Holders::merged(sockets),
            ..sockets[0].clone()
        })
    }

    /// Keeps only the listeners whose identity is in `other` too.
    pub fn retain_identities_of(&mut self, other: &Snapshot) {
        let mut others = other.listeners.iter().map(Listener::identity).peekable();
        self.listeners.retain(|listener| {
            let identity = listener.identity();
            while others.next_if(|other| *other < identity).is_some() {}
            others.peek() == Some(&identity)
        });
    }

    /// Adds one listener for each identity of `other` that is not here yet.
    pub fn add_missing(&mut self, other: &Snapshot) {
        let missing: Vec<Listener> = other.difference(self).collect();
        self.listeners.extend(missing);
        self.restore_order();
    }

    /// Adds every socket of `other` that is not here yet. Sockets are told apart by
    /// their inode; of those without one, one is added for each identity. So another
    /// source, which does not know inodes, adds no socket twice.
    pub fn add_sockets(&mut self, other: &Snapshot) {
        let is_new = |listener: &&Listener| {
            let mut sockets = self.sockets_of(listener.identity()).iter();
            let is_same = |socket: &Listener| [0, listener.inode].contains(&socket.inode);
            listener.inode != 0 && !sockets.any(is_same)
        };
        let new: Vec<Listener> = other.listeners.iter().filter(is_new).cloned().collect();
        self.listeners.extend(new);
        self.restore_order();
        self.add_missing(other);
    }

    /// Sets the holders of each listener.
    pub fn set_holders(&mut self, holders_of: impl Fn(&Listener) -> Holders) {
        for listener in &mut self.listeners {
            listener.holders = holders_of(listener);
        }
        self.sort();
    }

    /// Sets the owner of each listener, and leaves it open where the sockets of its
    /// identity in `rows` have several.
    pub fn set_owners(&mut self, rows: &Snapshot) {
        for listener in &mut self.listeners {
            let mut owners = rows.sockets_of(listener.identity()).iter().map(|l| l.uid);
            let first = owners.next().flatten();
            listener.uid = first.filter(|_| owners.all(|owner| owner == first));
        }
    }

    /// Sets the control group of each listener.
    pub fn set_cgroups(&mut self, cgroup_of: impl Fn(&Listener) -> Option<Arc<Cgroup>>) {
        for listener in &mut self.listeners {
            listener.cgroup = cgroup_of(listener);
        }
    }

    /// Sets the name of the container of each listener.
    pub fn set_container_names(
        &mut self,
        name_of: &dyn Fn(&Container) -> Option<Arc<ContainerName>>,
    ) {
        for listener in &mut self.listeners {
            listener.container_name = listener.own_container().and_then(name_of);
        }
    }

    /// The sockets of one identity.
    pub fn sockets_of(&self, identity: Identity) -> &[Listener] {
        let start = self.listeners.partition_point(|l| l.identity() < identity);
        let rest = &self.listeners[start..];
        let number = rest.partition_point(|l| l.identity() == identity);
        &rest[..number]
    }

    /// The sockets of one port, whatever their address.
    pub fn on_port(&self, port: PortIdentity) -> &[Listener] {
        let start = (self.listeners).partition_point(|l| l.port_identity() < port);
        let rest = &self.listeners[start..];
        let number = rest.partition_point(|l| l.port_identity() == port);
        &rest[..number]
    }

    /// Keeps one listener for each protocol and port, with the holders of all of
    /// them: the one that `reported` has while it is there, or else the widest. A
    /// wildcard is wider than one address, and IPv4 comes before IPv6.
    pub fn merge_ports(&mut self, reported: &Snapshot) {
        let (mut merged, mut start) = (0, 0);
        while let Some(first) = self.listeners.get(start) {
            let port = first.port_identity();
            let sockets = self.on_port(port);
            let end = start + sockets.len();
            let before = reported.on_port(port).first().map(Listener::identity);
            let rank = |l: &&Listener| {
                let is_narrow = !l.endpoint.address.is_unspecified();
                (Some(l.identity()) != before, is_narrow, l.endpoint)
            };
            let shown = Listener {
                holders: Holders::merged(sockets),
                ..sockets.iter().min_by_key(rank).unwrap_or(first).clone()
            };
            self.listeners[merged] = shown;
            (merged, start) = (merged + 1, end);
        }
        self.listeners.truncate(merged);
    }

    /// Copies the holders of each identity from `other`, where any are known.
    pub fn copy_holders(&mut self, other: &Snapshot) {
        self.set_holders(|listener| {
            let holders = Holders::merged(other.sockets_of(listener.identity()));
            match holders.is_empty() {
                true => listener.holders.clone(),
                false => holders,
            }
        });
    }

    /// The changes that lead from `self` to `next`: first what closed, then what
    /// opened, each in order. One for each identity.
    pub fn changes_to(&self, next: &Snapshot) -> impl Iterator<Item = Change> {
        let closed = self.difference(next).map(Change::Closed);
        let opened = next.difference(self).map(Change::Opened);
        closed.chain(opened)
    }

    /// Applies `changes`, which must be in the order of [`Snapshot::changes_to`].
    pub fn apply(&mut self, changes: &[Change]) {
        self.replace(changes, Direction::Forward);
    }

    /// Reverts `changes` that led to this snapshot, in the same order.
    pub fn undo(&mut self, changes: &[Change]) {
        self.replace(changes, Direction::Back);
    }

    /// Adds the listener of each change that adds one in this direction. Of the other
    /// changes, removes every socket with the identity of their listener.
    fn replace(&mut self, changes: &[Change], direction: Direction) {
        let is_added = |change: &Change| {
            matches!(change, Change::Opened(_)) == (direction == Direction::Forward)
        };
        let removed = changes.iter().filter(|change| !is_added(change));
        let removed: Vec<Identity> = removed.map(|c| c.listener().identity()).collect();
        self.retain(&|listener| removed.binary_search(&listener.identity()).is_err());
        let added = changes.iter().filter(|change| is_added(change));
        self.listeners.extend(added.map(Change::listener).cloned());
        sys::shrink_after_peak(&mut self.listeners);
        self.restore_order();
    }

    /// Sorts by identity, and within one by holder: unlike an inode, every source
    /// can tell that. The sort is unstable because a stable one allocates.
    fn sort(&mut self) {
        self.listeners.sort_unstable_by_key(|l| {
            let holder = l.holders.first().first();
            let holder = holder.map(|holder| (holder.pid, holder.fd));
            (l.identity(), l.interface, holder, l.inode)
        });
    }

    /// Sorts, and drops a socket that a table listed twice. The inode tells, if
    /// there is one.
    fn restore_order(&mut self) {
        self.sort();
        self.listeners
            .dedup_by(|a, b| a.inode != 0 && (a.identity(), a.inode) == (b.identity(), b.inode));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Endpoint, Protocol};

    fn listener(port: u16, address: &str, inode: u64) -> Listener {
        let address = address.parse().unwrap();
        Listener {
            inode,
            ..Listener::new(Protocol::Tcp, Endpoint { port, address })
        }
    }

    fn snapshot(listeners: &[Listener]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let fill = |rows: &mut Vec<_>| {
            rows.extend_from_slice(listeners);
            Ok::<_, ()>(())
        };
        snapshot.refill(fill).unwrap();
        snapshot
    }

    fn changes(from: &[Listener], to: &[Listener]) -> Vec<Change> {
        snapshot(from).changes_to(&snapshot(to)).collect()
    }

    #[test]
    fn a_port_opens_with_its_first_socket_and_closes_with_its_last() {
        let first = || listener(80, "::", 1);
        let second = || listener(80, "::", 2);
        assert_eq!(
            changes(&[], &[first(), second()]),
            [Change::Opened(first())]
        );
        assert_eq!(changes(&[first()], &[first(), second()]), []);
        assert_eq!(changes(&[first(), second()], &[second()]), []);
        assert_eq!(changes(&[second()], &[]), [Change::Closed(second())]);
    }

    #[test]
    fn queues_interface_and_inode_are_no_change() {
        let before = listener(80, "0.0.0.0", 1);
        let after = Listener {
            recv_q: 9,
            send_q: Some(128),
            inode: 2,
            interface: crate::listener::Interface::new(b"lo"),
            ..before.clone()
        };
        assert_eq!(changes(&[before], &[after]), []);
    }

    #[test]
    fn sockets_with_several_owners_name_none() {
        let owned = |port, uid| Listener {
            uid: Some(uid),
            ..listener(port, "::", u64::from(uid))
        };
        let rows = snapshot(&[
            owned(1, 5),
            owned(2, 5),
            owned(2, 5),
            owned(3, 5),
            owned(3, 6),
        ]);
        let mut bare = snapshot(&[1, 2, 3, 4].map(|port| listener(port, "::", 0)));
        bare.set_owners(&rows);
        let owners: Vec<_> = bare.listeners().iter().map(|l| l.uid).collect();
        assert_eq!(owners, [Some(5), Some(5), None, None]);
    }

    #[test]
    fn closed_ones_come_before_opened_ones_each_in_order() {
        let at = |port| listener(port, "0.0.0.0", 0);
        assert_eq!(
            changes(&[at(2), at(9), at(1)], &[at(8), at(2), at(3)]),
            [
                Change::Closed(at(1)),
                Change::Closed(at(9)),
                Change::Opened(at(3)),
                Change::Opened(at(8)),
            ]
        );
    }

    #[test]
    fn the_families_of_a_wildcard_are_two_identities() {
        let v4 = || listener(80, "0.0.0.0", 0);
        let v6 = || listener(80, "::", 0);
        assert_eq!(
            changes(&[v4()], &[v6()]),
            [Change::Closed(v4()), Change::Opened(v6())]
        );
    }

    #[test]
    fn a_row_listed_twice_collapses_and_sockets_that_share_a_port_do_not() {
        let one = || listener(80, "::", 1);
        let two = || listener(80, "::", 2);
        assert_eq!(snapshot(&[two(), one(), two()]).listeners(), [one(), two()]);
        let unknown = || listener(80, "::", 0);
        assert_eq!(snapshot(&[unknown(), unknown()]).listeners().len(), 2);
    }

    #[test]
    fn a_failed_refill_leaves_nothing() {
        let mut half = snapshot(&[listener(80, "::", 1)]);
        let result = half.refill(|rows| {
            rows.push(listener(81, "::", 2));
            Err::<(), _>("unreadable")
        });
        assert_eq!(result, Err("unreadable"));
        assert!(half.listeners().is_empty());
    }

    #[test]
    fn add_missing_keeps_what_was_skipped_and_doubles_nothing() {
        let at = |port| listener(port, "::1", u64::from(port));
        let mut again = snapshot(&[at(1), at(3)]);
        again.add_missing(&snapshot(&[at(1), at(2)]));
        assert_eq!(again.listeners(), [at(1), at(2), at(3)]);
    }

    #[test]
    fn a_merged_port_is_shown_as_reported_or_by_its_widest_listener() {
        let on = |addresses: &[&str]| {
            let listeners = addresses.iter().map(|address| listener(80, address, 1));
            snapshot(&Vec::from_iter(listeners))
        };
        let merged = |reported: &[&str], current: &[&str]| {
            let mut merged = on(current);
            merged.merge_ports(&on(reported));
            let address = |l: &Listener| l.endpoint.address.to_string();
            merged.listeners().iter().map(address).collect::<Vec<_>>()
        };
        let (one, any, v6) = ("127.0.0.1", "0.0.0.0", "::");
        assert_eq!(merged(&[], &[one, v6]), [v6]);
        assert_eq!(merged(&[], &[v6, any, one]), [any]);
        assert_eq!(merged(&[], &["::1", one]), [one]);
        assert_eq!(merged(&[one], &[one, any, v6]), [one]);
        assert_eq!(merged(&[one], &[any, v6]), [any]);
        assert_eq!(merged(&[one], &["::1", "10.9.9.1"]), ["10.9.9.1"]);
        assert_eq!(merged(&[one], &[]), [""; 0]);
        let any = listener(80, any, 1);
        let udp = Listener {
            protocol: Protocol::Udp,
            ..any.clone()
        };
        let mut others = snapshot(&[any, udp, listener(81, "::", 2)]);
        others.merge_ports(&Snapshot::default());
        assert_eq!(
            others.listeners().len(),
            3,
            "one for each protocol and port"
        );
    }

    #[test]
    fn applied_changes_are_no_longer_changes() {
        let at = |port| listener(port, "::1", u64::from(port));
        let mut reported = snapshot(&[at(1), at(2)]);
        let next = snapshot(&[at(2), at(3), at(4)]);
        let all: Vec<_> = reported.changes_to(&next).collect();
        reported.apply(&all[..2]);
        assert_eq!(reported.listeners(), [at(2), at(3)]);
        let rest: Vec<_> = reported.changes_to(&next).collect();
        assert_eq!(rest, [Change::Opened(at(4))]);
    }
}
