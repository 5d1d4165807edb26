//! The listeners at one moment, and the changes between two moments.

use std::sync::Arc;

use crate::listener::{
    Cgroup, Container, ContainerName, Holders, Identity, Listener, PortIdentity, SocketTable,
};
use crate::sys;

/// The listeners of one poll, sorted by identity. If several sockets share an identity
/// (`SO_REUSEPORT`), the snapshot contains each of them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    listeners: Vec<Listener>,
}

/// A listener that opened or closed, with its state when it was last seen. A listener opens
/// with the first socket that has its identity, and closes with the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The listener closed.
    Closed(Listener),
    /// The listener opened.
    Opened(Listener),
}

/// Whether changes are applied or reverted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// Add the listeners that opened, and remove those that closed.
    Forward,
    /// Add the listeners that closed, and remove those that opened.
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
    /// Clears the snapshot, and fills it with the listeners that `read` appends to the vector.
    ///
    /// # Errors
    /// The errors of `read`. The snapshot is then empty.
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
        // This must happen before the caller filters the listeners, because the next refill
        // needs room for the listeners that the filter removes.
        sys::shrink_after_peak(&mut self.listeners);
        self.restore_order();
    }

    fn discard_refill(&mut self) {
        // `clear` is not used, because it would keep the memory of many listeners.
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

    /// The sockets grouped by identity, in the order of [`Identity`].
    fn by_identity(&self) -> impl Iterator<Item = &[Listener]> {
        self.listeners.chunk_by(|a, b| a.identity() == b.identity())
    }

    /// Whether the snapshot contains a listener of the socket table `table`.
    pub fn has_any(&self, table: SocketTable) -> bool {
        self.listeners.iter().any(|l| l.table() == table)
    }

    /// The number of listeners in each socket table, in the order of [`SocketTable::ALL`].
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for listener in &self.listeners {
            counts[listener.table().index()] += 1;
        }
        counts
    }

    /// Keeps only the listeners for which `keep` returns true.
    pub fn retain(&mut self, keep: &dyn Fn(&Listener) -> bool) {
        self.listeners.retain(keep);
    }

    /// One listener for each identity that is in this snapshot but not in `other`, in the order
    /// of [`Identity`]. It is the first socket with that identity, with the holders of all
    /// sockets with that identity.
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

    /// Keeps only the listeners whose identity is also in `other`.
    pub fn retain_identities_of(&mut self, other: &Snapshot) {
        let mut others = other.listeners.iter().map(Listener::identity).peekable();
        self.listeners.retain(|listener| {
            let identity = listener.identity();
            while others.next_if(|other| *other < identity).is_some() {}
            others.peek() == Some(&identity)
        });
    }

    /// Adds one listener for each identity in `other` that is not in this snapshot.
    pub fn add_missing(&mut self, other: &Snapshot) {
        let missing: Vec<Listener> = other.difference(self).collect();
        self.listeners.extend(missing);
        self.restore_order();
    }

    /// Adds every socket of `other` that is not in this snapshot.
    ///
    /// Sockets with the same identity are distinguished by their inodes. If one of them has
    /// no inode, because its source does not report inodes, it could be any of the others. In
    /// that case, a socket of `other` is added only if this snapshot lacks its identity.
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

    /// Sets the holders of each listener to what `holders_of` returns.
    pub fn set_holders(&mut self, holders_of: impl Fn(&Listener) -> Holders) {
        for listener in &mut self.listeners {
            listener.holders = holders_of(listener);
        }
        self.sort();
    }

    /// Sets the owner of each listener to the owner of the sockets with the same identity in
    /// `rows`. If those sockets have different owners, the owner becomes unknown.
    pub fn set_owners(&mut self, rows: &Snapshot) {
        for listener in &mut self.listeners {
            let mut owners = rows.sockets_of(listener.identity()).iter().map(|l| l.uid);
            let first = owners.next().flatten();
            listener.uid = first.filter(|_| owners.all(|owner| owner == first));
        }
    }

    /// Sets the control group of each listener to what `cgroup_of` returns.
    pub fn set_cgroups(&mut self, cgroup_of: &dyn Fn(&Listener) -> Option<Arc<Cgroup>>) {
        for listener in &mut self.listeners {
            listener.cgroup = cgroup_of(listener);
        }
    }

    /// Sets the container name of each listener to what `name_of` returns for the listener's
    /// own container.
    pub fn set_container_names(
        &mut self,
        name_of: &dyn Fn(&Container) -> Option<Arc<ContainerName>>,
    ) {
        for listener in &mut self.listeners {
            listener.container_name = listener.own_container().and_then(name_of);
        }
    }

    /// All sockets with this identity.
    pub fn sockets_of(&self, identity: Identity) -> &[Listener] {
        let start = self.listeners.partition_point(|l| l.identity() < identity);
        let rest = &self.listeners[start..];
        let count = rest.partition_point(|l| l.identity() == identity);
        &rest[..count]
    }

    /// All sockets on this port, at any address.
    pub fn on_port(&self, port: PortIdentity) -> &[Listener] {
        let start = (self.listeners).partition_point(|l| l.port_identity() < port);
        let rest = &self.listeners[start..];
        let count = rest.partition_point(|l| l.port_identity() == port);
        &rest[..count]
    }

    /// Merges the listeners of each protocol and port into one listener that has the holders of
    /// all of them.
    ///
    /// If one of the listeners is in `reported`, it is the one that remains. Otherwise, a
    /// wildcard address is preferred to a single address, and then IPv4 to IPv6.
    pub fn merge_ports(&mut self, reported: &Snapshot) {
        let (mut merged, mut start) = (0, 0);
        while let Some(first) = self.listeners.get(start) {
            let port = first.port_identity();
            let sockets = self.on_port(port);
            let end = start + sockets.len();
            let shown_before = reported.on_port(port).first().map(Listener::identity);
            let rank = |l: &&Listener| {
                let is_single_address = !l.endpoint.address.is_unspecified();
                (
                    Some(l.identity()) != shown_before,
                    is_single_address,
                    l.endpoint,
                )
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

    /// Copies from `other` what was found there about each listener. The holders are copied
    /// unless `other` knows none. The container and its name are copied if this snapshot does
    /// not know the name yet, and either the name is known in `other` or the container is
    /// unknown here.
    pub fn copy_found(&mut self, other: &Snapshot) {
        for listener in &mut self.listeners {
            let sockets = other.sockets_of(listener.identity());
            let Some(first) = sockets.first() else {
                continue;
            };
            let holders = Holders::merged(sockets);
            if !holders.is_empty() {
                listener.holders = holders;
            }
            let is_named = first.container_name.is_some();
            if listener.container_name.is_none() && (is_named || listener.own_container().is_none())
            {
                listener.cgroup.clone_from(&first.cgroup);
                listener.container_name.clone_from(&first.container_name);
            }
        }
        self.sort();
    }

    /// The changes from this snapshot to `next`, with one change for each identity. The
    /// listeners that closed come first, followed by those that opened, each in the order of
    /// [`Identity`].
    pub fn changes_to(&self, next: &Snapshot) -> impl Iterator<Item = Change> {
        let closed = self.difference(next).map(Change::Closed);
        let opened = next.difference(self).map(Change::Opened);
        closed.chain(opened)
    }

    /// Applies these `changes`, which must be in the order of [`Snapshot::changes_to`].
    pub fn apply(&mut self, changes: &[Change]) {
        self.replace(changes, Direction::Forward);
    }

    /// Reverts these `changes`, which must be in the order of [`Snapshot::changes_to`].
    pub fn undo(&mut self, changes: &[Change]) {
        self.replace(changes, Direction::Back);
    }

    /// Applies or reverts `changes`. Removing a listener removes every socket that has its
    /// identity.
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

    /// Sorts by identity, and sockets with the same identity by interface, first holder and
    /// inode. The first holder comes before the inode because every source can report it. The
    /// sort is unstable because a stable sort would allocate memory.
    fn sort(&mut self) {
        self.listeners.sort_unstable_by_key(|l| {
            let holder = l.holders.first().first();
            let holder = holder.map(|holder| (holder.pid, holder.fd));
            (l.identity(), l.interface, holder, l.inode)
        });
    }

    /// Sorts, and removes sockets that the source has listed twice. These have the same
    /// identity and inode. A socket without an inode is never removed.
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
    fn a_port_opens_with_its_first_socket() {
        let first = || listener(80, "::", 1);
        let second = || listener(80, "::", 2);
        assert_eq!(
            changes(&[], &[first(), second()]),
            [Change::Opened(first())]
        );
        assert_eq!(changes(&[first()], &[first(), second()]), []);
    }

    #[test]
    fn a_port_closes_with_its_last_socket() {
        let first = || listener(80, "::", 1);
        let second = || listener(80, "::", 2);
        assert_eq!(changes(&[first(), second()], &[second()]), []);
        assert_eq!(changes(&[second()], &[]), [Change::Closed(second())]);
    }

    #[test]
    fn changes_of_other_fields_are_not_reported() {
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
    fn different_owners_make_the_owner_unknown() {
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
    fn closed_listeners_come_before_opened_ones() {
        let on_port = |port| listener(port, "0.0.0.0", 0);
        assert_eq!(
            changes(
                &[on_port(2), on_port(9), on_port(1)],
                &[on_port(8), on_port(2), on_port(3)]
            ),
            [
                Change::Closed(on_port(1)),
                Change::Closed(on_port(9)),
                Change::Opened(on_port(3)),
                Change::Opened(on_port(8)),
            ]
        );
    }

    #[test]
    fn ipv4_and_ipv6_wildcards_are_different_listeners() {
        let v4 = || listener(80, "0.0.0.0", 0);
        let v6 = || listener(80, "::", 0);
        assert_eq!(
            changes(&[v4()], &[v6()]),
            [Change::Closed(v4()), Change::Opened(v6())]
        );
    }

    #[test]
    fn sockets_with_different_inodes_are_not_duplicates() {
        let first = || listener(80, "::", 1);
        let second = || listener(80, "::", 2);
        assert_eq!(
            snapshot(&[second(), first(), second()]).listeners(),
            [first(), second()]
        );
        let unknown = || listener(80, "::", 0);
        assert_eq!(snapshot(&[unknown(), unknown()]).listeners().len(), 2);
    }

    #[test]
    fn a_failed_refill_empties_the_snapshot() {
        let mut snapshot = snapshot(&[listener(80, "::", 1)]);
        let result = snapshot.refill(|rows| {
            rows.push(listener(81, "::", 2));
            Err::<(), _>("unreadable")
        });
        assert_eq!(result, Err("unreadable"));
        assert!(snapshot.listeners().is_empty());
    }

    #[test]
    fn add_missing_adds_only_missing_listeners() {
        let on_port = |port| listener(port, "::1", u64::from(port));
        let mut second_read = snapshot(&[on_port(1), on_port(3)]);
        second_read.add_missing(&snapshot(&[on_port(1), on_port(2)]));
        let expected = [on_port(1), on_port(2), on_port(3)];
        assert_eq!(second_read.listeners(), expected);
    }

    #[test]
    fn merge_ports_prefers_a_wildcard_address() {
        assert_eq!(merged(&[], &[LOOPBACK, V6]), [V6]);
        assert_eq!(merged(&[], &[V6, V4, LOOPBACK]), [V4]);
        assert_eq!(merged(&[], &["::1", LOOPBACK]), [LOOPBACK]);
    }

    #[test]
    fn merge_ports_keeps_the_reported_listener() {
        assert_eq!(merged(&[LOOPBACK], &[LOOPBACK, V4, V6]), [LOOPBACK]);
        assert_eq!(merged(&[LOOPBACK], &[V4, V6]), [V4]);
        assert_eq!(merged(&[LOOPBACK], &["::1", "10.9.9.1"]), ["10.9.9.1"]);
        assert_eq!(merged(&[LOOPBACK], &[]), [""; 0]);
    }

    #[test]
    fn merge_ports_keeps_protocols_and_ports_separate() {
        let tcp = listener(80, V4, 1);
        let udp = Listener {
            protocol: Protocol::Udp,
            ..tcp.clone()
        };
        let mut snapshot = snapshot(&[tcp, udp, listener(81, "::", 2)]);
        snapshot.merge_ports(&Snapshot::default());
        assert_eq!(snapshot.listeners().len(), 3);
    }

    const LOOPBACK: &str = "127.0.0.1";
    const V4: &str = "0.0.0.0";
    const V6: &str = "::";

    /// The addresses on port 80 that remain after `current` is merged, if `reported` was shown
    /// before.
    fn merged(reported: &[&str], current: &[&str]) -> Vec<String> {
        let on_port_80 = |addresses: &[&str]| {
            let listeners = addresses.iter().map(|address| listener(80, address, 1));
            snapshot(&Vec::from_iter(listeners))
        };
        let mut merged = on_port_80(current);
        merged.merge_ports(&on_port_80(reported));
        let address = |l: &Listener| l.endpoint.address.to_string();
        merged.listeners().iter().map(address).collect()
    }

    #[test]
    fn no_changes_remain_after_they_are_applied() {
        let on_port = |port| listener(port, "::1", u64::from(port));
        let mut reported = snapshot(&[on_port(1), on_port(2)]);
        let next = snapshot(&[on_port(2), on_port(3), on_port(4)]);
        let all: Vec<_> = reported.changes_to(&next).collect();
        reported.apply(&all[..2]);
        assert_eq!(reported.listeners(), [on_port(2), on_port(3)]);
        let rest: Vec<_> = reported.changes_to(&next).collect();
        assert_eq!(rest, [Change::Opened(on_port(4))]);
    }
}
